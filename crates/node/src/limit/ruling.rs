//! What holds now, and why.

use jiff::civil::DateTime;
use samara_wire::ChannelId;

use super::{Hours, LimitConfig, Line, Orders, Rates, UploadPolicy};

/// What the clock on the wall shows.
pub(crate) fn local_time() -> DateTime {
    jiff::Zoned::now().datetime()
}

/// A limit that holds, or none, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// Bytes a second.
    pub(crate) rate: Option<u64>,
    pub(crate) why: Why,
}

/// Who set a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// `samara limit`.
    Order,
    /// The configuration, for these hours: until when.
    Hours(String),
    /// The configuration.
    Config,
    /// Nobody.
    Default,
}

/// Everything that decides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ruling<'a> {
    pub(crate) config: &'a LimitConfig,
    pub(crate) orders: &'a Orders,
}

impl Ruling<'_> {
    /// What holds for the node at a local time: an order before hours, hours before what the
    /// configuration says for the rest of the day, that before the default.
    pub(crate) fn of_node(&self, line: Line, at: DateTime) -> Held {
        let held = |rate, why| Held { rate, why };
        if let Some(cap) = self.orders.rates.get(&line) {
            return held(cap.rate(), Why::Order);
        }
        configured(&self.config.rates, &self.config.hours, line, at).unwrap_or_else(|| {
            let default = self.config.defaults.get(&line);
            held(default.and_then(|cap| cap.rate()), Why::Default)
        })
    }

    /// What holds for a channel at a local time, besides; what is said of its id before
    /// what is said of its name.
    pub(crate) fn of_channel(
        &self,
        id: &ChannelId,
        name: Option<&str>,
        line: Line,
        at: DateTime,
    ) -> Held {
        let held = |rate, why| Held { rate, why };
        let text = id.to_string();
        let order = self.orders.channels.get(&text);
        if let Some(cap) = order.and_then(|rates| rates.get(&line)) {
            return held(cap.rate(), Why::Order);
        }
        let config = &self.config.channels;
        let by_name = name.and_then(|name| config.get(name));
        let said = config.get(&text).into_iter().chain(by_name);
        said.into_iter()
            .find_map(|said| configured(&said.rates, &said.hours, line, at))
            .unwrap_or(held(None, Why::Default))
    }

    pub(crate) fn leech(&self) -> bool {
        self.orders.leech.unwrap_or(self.config.leech)
    }

    pub(crate) fn no_wan(&self) -> bool {
        self.orders.no_wan.unwrap_or(self.config.no_wan)
    }

    pub(crate) fn max_connections(&self) -> usize {
        let wanted = self.orders.max_connections.or(self.config.max_connections);
        let most = crate::limits::MAX_CONNECTIONS;
        wanted.map_or(most, |wanted| wanted.clamp(1, most))
    }

    pub(crate) fn upload_slots(&self) -> usize {
        let wanted = self.orders.upload_slots.or(self.config.upload_slots);
        wanted.map_or(samara_swarm::Config::default().upload_slots, |n| n.max(1))
    }

    pub(crate) fn upload_policy(&self) -> UploadPolicy {
        let wanted = self.orders.upload_policy.or(self.config.upload_policy);
        wanted.unwrap_or_default()
    }
}

/// What the configuration says: of hours first, then of the rest of the day.
fn configured(rates: &Rates, hours: &[Hours], line: Line, at: DateTime) -> Option<Held> {
    let now = hours.iter().filter(|hours| hours.holds(at));
    let mut now = now.filter_map(|hours| Some((hours.rates.get(&line)?, hours.to)));
    let (cap, why) = match now.next() {
        Some((cap, until)) => (cap, Why::Hours(until.to_string())),
        None => (rates.get(&line)?, Why::Config),
    };
    let rate = cap.rate();
    Some(Held { rate, why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Cap, ChannelLimits, Days};

    fn rates(line: Line, rate: u64) -> Rates {
        Rates::from([(line, Cap::At(rate))])
    }

    #[test]
    fn an_order_counts_before_hours_and_they_before_the_rest() {
        let mut config = LimitConfig {
            defaults: rates(Line::WanUp, 1_000),
            ..LimitConfig::default()
        };
        let mut orders = Orders::default();
        let noon: DateTime = "2026-11-16T12:00:00".parse().unwrap();
        let held = |config: &LimitConfig, orders: &Orders, at| {
            Ruling { config, orders }.of_node(Line::WanUp, at)
        };
        let is = |rate, why| Held {
            rate: Some(rate),
            why,
        };
        assert_eq!(held(&config, &orders, noon), is(1_000, Why::Default));
        config.rates = rates(Line::WanUp, 2_000);
        assert_eq!(held(&config, &orders, noon), is(2_000, Why::Config));
        let hours = |rates| Hours {
            days: Days::ALL,
            from: "08:00".parse().unwrap(),
            to: "18:00".parse().unwrap(),
            rates,
        };
        // The first says nothing of this line.
        config.hours = vec![
            hours(rates(Line::Up, 9_000)),
            hours(rates(Line::WanUp, 3_000)),
        ];
        assert_eq!(
            held(&config, &orders, noon),
            is(3_000, Why::Hours("18:00".into()))
        );
        let evening = "2026-11-16T18:00:00".parse().unwrap();
        assert_eq!(held(&config, &orders, evening), is(2_000, Why::Config));
        orders.rates = Rates::from([(Line::WanUp, Cap::Off)]);
        let none = Held {
            rate: None,
            why: Why::Order,
        };
        assert_eq!(held(&config, &orders, noon), none);
    }

    #[test]
    fn a_channel_is_meant_by_name_or_id() {
        let id = ChannelId([7; 32]);
        let mut config = LimitConfig::default();
        let mut orders = Orders::default();
        let noon: DateTime = "2026-11-16T12:00:00".parse().unwrap();
        let held = |config: &LimitConfig, orders: &Orders| {
            Ruling { config, orders }
                .of_channel(&id, Some("news"), Line::Up, noon)
                .rate
        };
        let limits = |rate| ChannelLimits {
            rates: rates(Line::Up, rate),
            hours: Vec::new(),
        };
        assert_eq!(held(&config, &orders), None);
        config.channels.insert("news".into(), limits(5_000));
        assert_eq!(held(&config, &orders), Some(5_000));
        config.channels.insert(id.to_string(), limits(4_000));
        assert_eq!(held(&config, &orders), Some(4_000));
        orders
            .channels
            .insert(id.to_string(), Rates::from([(Line::Up, Cap::Off)]));
        assert_eq!(held(&config, &orders), None);
    }

    #[test]
    fn a_channel_has_hours_of_its_own() {
        let (id, mut orders) = (ChannelId([7; 32]), Orders::default());
        let hours = Hours {
            days: Days::ALL,
            from: "08:00".parse().unwrap(),
            to: "18:00".parse().unwrap(),
            rates: rates(Line::Up, 3_000),
        };
        let news = ChannelLimits {
            rates: Rates::from([(Line::Up, Cap::At(5_000)), (Line::Down, Cap::At(6_000))]),
            hours: vec![hours],
        };
        let config = LimitConfig {
            channels: [("news".to_owned(), news)].into(),
            ..LimitConfig::default()
        };
        let held = |orders: &Orders, line, at: &str| {
            let config = &config;
            let ruling = Ruling { config, orders };
            ruling.of_channel(&id, Some("news"), line, at.parse().unwrap())
        };
        let is = |rate, why| Held { rate, why };
        let (noon, evening) = ("2026-11-16T12:00:00", "2026-11-16T18:00:00");
        let until = || Why::Hours("18:00".into());
        assert_eq!(held(&orders, Line::Up, noon), is(Some(3_000), until()));
        assert_eq!(
            held(&orders, Line::Up, evening),
            is(Some(5_000), Why::Config)
        );
        assert_eq!(
            held(&orders, Line::Down, noon),
            is(Some(6_000), Why::Config)
        );
        assert_eq!(held(&orders, Line::LanUp, noon), is(None, Why::Default));
        let ordered = rates(Line::Up, 9_000);
        orders.channels.insert(id.to_string(), ordered);
        assert_eq!(held(&orders, Line::Up, noon), is(Some(9_000), Why::Order));
    }

    #[test]
    fn numbers_stay_within_what_there_can_be() {
        let (mut config, orders) = (LimitConfig::default(), Orders::default());
        let most = crate::limits::MAX_CONNECTIONS;
        for (wanted, held) in [
            (None, most),
            (Some(0), 1),
            (Some(7), 7),
            (Some(most + 1), most),
        ] {
            config.max_connections = wanted;
            let ruling = Ruling {
                config: &config,
                orders: &orders,
            };
            assert_eq!(ruling.max_connections(), held);
        }
    }

    #[test]
    fn the_policy_that_was_ordered_counts_before_the_configuration() {
        let (last, average) = (Some(UploadPolicy::Last), Some(UploadPolicy::Average));
        for (config, order, held) in [
            (None, None, UploadPolicy::Last),
            (average, None, UploadPolicy::Average),
            (average, last, UploadPolicy::Last),
            (None, average, UploadPolicy::Average),
        ] {
            let ruling = Ruling {
                config: &LimitConfig {
                    upload_policy: config,
                    ..LimitConfig::default()
                },
                orders: &Orders {
                    upload_policy: order,
                    ..Orders::default()
                },
            };
            assert_eq!(ruling.upload_policy(), held);
        }
    }
}
