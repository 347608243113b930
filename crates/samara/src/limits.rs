//! Limits as people write them: options, environment, file, and the command.

use std::{collections::BTreeMap, ffi::OsString, num::NonZeroU16, str::FromStr};

use clap::Args;
use samara_node::{
    EngineError,
    api::LimitOrder,
    limit::{Cap, ChannelLimits, Days, Hours, LimitConfig, Line, Rates, TimeOfDay, UploadPolicy},
};
use serde::{Deserialize, Deserializer, de};

use crate::{
    quantity::parse_rate,
    settings::{fill, is_truthy},
};

/// Limits for the time that a command runs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitFlags {
    /// Send at most so much, headers included: 5 MB/s, 20 Mbit/s, or `off`
    #[arg(long, value_name = "RATE|off", value_parser = parse_cap)]
    pub(crate) up: Option<Cap>,
    /// Receive at most so much
    #[arg(long, value_name = "RATE|off", value_parser = parse_cap)]
    pub(crate) down: Option<Cap>,
    /// Send at most so much beyond the local network; default: 2.5 MB/s for `node`
    #[arg(long, value_name = "RATE|off", value_parser = parse_cap)]
    pub(crate) wan_up: Option<Cap>,
    /// Receive at most so much from beyond the local network
    #[arg(long, value_name = "RATE|off", value_parser = parse_cap)]
    pub(crate) wan_down: Option<Cap>,
    /// No connections beyond the local network
    #[arg(long)]
    pub(crate) no_wan: bool,
    /// Fetch and never serve
    #[arg(long)]
    pub(crate) leech: bool,
    /// Connections at once; default: 512
    #[arg(long, value_name = "N")]
    pub(crate) max_connections: Option<NonZeroU16>,
    /// Peers served at once; default: 16
    #[arg(long, value_name = "N")]
    pub(crate) upload_slots: Option<NonZeroU16>,
    /// Whose download is to be done soonest: the `last` one's, which is the default, or peers' on `average`
    #[arg(long, value_name = "last|average")]
    pub(crate) upload_policy: Option<UploadPolicy>,
}

impl LimitFlags {
    /// What was not given, out of the environment.
    pub(crate) fn with_environment(
        &self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, EngineError> {
        let given = |name: &str| {
            let value = variable(name).filter(|value| !value.is_empty())?;
            Some(value.to_string_lossy().into_owned())
        };
        let mut all = self.clone();
        fill(&mut all.up, "SAMARA_UP", &given, parse_cap)?;
        fill(&mut all.down, "SAMARA_DOWN", &given, parse_cap)?;
        fill(&mut all.wan_up, "SAMARA_WAN_UP", &given, parse_cap)?;
        fill(&mut all.wan_down, "SAMARA_WAN_DOWN", &given, parse_cap)?;
        let number = |text: &str| {
            text.parse()
                .map_err(|_| "not a number from 1 on".to_owned())
        };
        fill(
            &mut all.max_connections,
            "SAMARA_MAX_CONNECTIONS",
            &given,
            number,
        )?;
        fill(&mut all.upload_slots, "SAMARA_UPLOAD_SLOTS", &given, number)?;
        let policy = |text: &str| text.parse();
        fill(
            &mut all.upload_policy,
            "SAMARA_UPLOAD_POLICY",
            &given,
            policy,
        )?;
        all.no_wan |= given("SAMARA_NO_WAN").is_some_and(|text| is_truthy(&text));
        all.leech |= given("SAMARA_LEECH").is_some_and(|text| is_truthy(&text));
        Ok(all)
    }

    /// Puts them before what a file says.
    pub(crate) fn put(&self, config: &mut LimitConfig) {
        for (line, cap) in [
            (Line::Up, self.up),
            (Line::Down, self.down),
            (Line::WanUp, self.wan_up),
            (Line::WanDown, self.wan_down),
        ] {
            if let Some(cap) = cap {
                config.rates.insert(line, cap);
                // Given for this run: also at the hours that the file names.
                for hours in &mut config.hours {
                    hours.rates.remove(&line);
                }
            }
        }
        config.no_wan |= self.no_wan;
        config.leech |= self.leech;
        let number = |n: NonZeroU16| usize::from(n.get());
        config.max_connections = self.max_connections.map(number).or(config.max_connections);
        config.upload_slots = self.upload_slots.map(number).or(config.upload_slots);
        config.upload_policy = self.upload_policy.or(config.upload_policy);
    }
}

/// What `samara limit` is to change.
#[derive(Debug, Clone, Args)]
pub(crate) struct LimitArgs {
    /// Rates of this channel, within those of the node; name, id, or the beginning of an id
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// What is sent: 5 MB/s, 20 Mbit/s, `off`, or `default` for what the configuration says
    #[arg(long, value_name = "RATE|off|default", value_parser = parse_change)]
    up: Option<Change>,
    /// What is received
    #[arg(long, value_name = "RATE|off|default", value_parser = parse_change)]
    down: Option<Change>,
    /// What is sent beyond the local network
    #[arg(long, value_name = "RATE|off|default", value_parser = parse_change)]
    wan_up: Option<Change>,
    /// What is received from beyond the local network
    #[arg(long, value_name = "RATE|off|default", value_parser = parse_change)]
    wan_down: Option<Change>,
    /// What is sent within the local network
    #[arg(long, value_name = "RATE|off|default", value_parser = parse_change)]
    lan_up: Option<Change>,
    /// What is received from within the local network
    #[arg(long, value_name = "RATE|off|default", value_parser = parse_change)]
    lan_down: Option<Change>,
    /// Fetch and never serve
    #[arg(long, value_name = "on|off", value_parser = parse_switch, conflicts_with = "channel")]
    leech: Option<bool>,
    /// No connections beyond the local network
    #[arg(long, value_name = "on|off", value_parser = parse_switch, conflicts_with = "channel")]
    no_wan: Option<bool>,
    /// Connections at once
    #[arg(long, value_name = "N", conflicts_with = "channel")]
    max_connections: Option<NonZeroU16>,
    /// Peers served at once
    #[arg(long, value_name = "N", conflicts_with = "channel")]
    upload_slots: Option<NonZeroU16>,
    /// Whose download is to be done soonest: the `last` one's, or peers' on `average`
    #[arg(long, value_name = "last|average", conflicts_with = "channel")]
    upload_policy: Option<UploadPolicy>,
    /// Take back all that was set by this command, before what else is given; with --channel
    /// what was set for that channel alone
    #[arg(long)]
    reset: bool,
}

impl LimitArgs {
    pub(crate) fn order(&self) -> LimitOrder {
        let rates = [
            (Line::Up, self.up),
            (Line::Down, self.down),
            (Line::WanUp, self.wan_up),
            (Line::WanDown, self.wan_down),
            (Line::LanUp, self.lan_up),
            (Line::LanDown, self.lan_down),
        ];
        let given = rates.into_iter();
        LimitOrder {
            channel: self.channel.clone(),
            rates: given
                .filter_map(|(line, c)| c.map(|c| (line, c.0)))
                .collect(),
            leech: self.leech,
            no_wan: self.no_wan,
            max_connections: self.max_connections.map(|n| n.get().into()),
            upload_slots: self.upload_slots.map(|n| n.get().into()),
            upload_policy: self.upload_policy,
            reset: self.reset,
        }
    }
}

/// Another limit; `None`: what the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change(Option<Cap>);

fn parse_change(text: &str) -> Result<Change, String> {
    match text {
        "default" => Ok(Change(None)),
        _ => parse_cap(text).map(|cap| Change(Some(cap))),
    }
}

fn parse_cap(text: &str) -> Result<Cap, String> {
    match text {
        "off" => Ok(Cap::Off),
        _ => parse_rate(text)?.try_into(),
    }
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("neither `on` nor `off`".to_owned()),
    }
}

/// The file's section.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct FileLimits {
    leech: bool,
    no_wan: bool,
    max_connections: Option<NonZeroU16>,
    upload_slots: Option<NonZeroU16>,
    #[serde(deserialize_with = "parsed")]
    upload_policy: Option<UploadPolicy>,
    hours: Vec<FileHours>,
    channel: BTreeMap<String, FileChannel>,
    #[serde(flatten)]
    rates: BTreeMap<Line, FileCap>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct FileChannel {
    hours: Vec<FileHours>,
    #[serde(flatten)]
    rates: BTreeMap<Line, FileCap>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct FileHours {
    #[serde(default, deserialize_with = "parsed")]
    days: Option<Days>,
    #[serde(deserialize_with = "parsed")]
    from: Option<TimeOfDay>,
    #[serde(deserialize_with = "parsed")]
    to: Option<TimeOfDay>,
    #[serde(flatten)]
    rates: BTreeMap<Line, FileCap>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct FileCap(Cap);

impl<'de> Deserialize<'de> for FileCap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a rate like \"5 MB/s\", or \"off\"")]
        enum Written {
            Text(String),
            Number(u64),
        }
        let cap = match Written::deserialize(deserializer)? {
            Written::Text(text) => parse_cap(&text),
            Written::Number(rate) => rate.try_into(),
        };
        cap.map(Self).map_err(de::Error::custom)
    }
}

fn parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(de::Error::custom)
}

impl FileLimits {
    /// What the section says, as the engine wants it.
    pub(crate) fn config(self) -> Result<LimitConfig, String> {
        let channels = self.channel.into_iter().map(|(name, written)| {
            let limits = ChannelLimits {
                rates: rates(written.rates),
                hours: hours(&format!("limits.channel.{name}.hours"), written.hours)?,
            };
            Ok::<_, String>((name, limits))
        });
        Ok(LimitConfig {
            rates: rates(self.rates),
            hours: hours("limits.hours", self.hours)?,
            channels: channels.collect::<Result<_, _>>()?,
            defaults: Rates::default(),
            leech: self.leech,
            no_wan: self.no_wan,
            max_connections: self.max_connections.map(|n| n.get().into()),
            upload_slots: self.upload_slots.map(|n| n.get().into()),
            upload_policy: self.upload_policy,
        })
    }
}

fn rates(written: BTreeMap<Line, FileCap>) -> Rates {
    let written = written.into_iter();
    written.map(|(line, cap)| (line, cap.0)).collect()
}

/// What the sections `key` say.
fn hours(key: &str, written: Vec<FileHours>) -> Result<Vec<Hours>, String> {
    let read = written.into_iter().map(|hours| {
        let (Some(from), Some(to)) = (hours.from, hours.to) else {
            return Err(format!("{key} need from and to"));
        };
        if from == to {
            return Err(format!("{key} from {from} to {to} are none"));
        }
        if hours.rates.is_empty() {
            let lines = Line::ALL.map(Line::name).join(", ");
            return Err(format!(
                "{key} from {from} to {to} name no rate and would change nothing; write at least one of {lines}, like up = \"1 MB/s\", or remove the section"
            ));
        }
        Ok(Hours {
            days: hours.days.unwrap_or(Days::ALL),
            from,
            to,
            rates: rates(hours.rates),
        })
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<LimitConfig, String> {
        let limits: FileLimits = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        limits.config()
    }

    #[test]
    fn the_file_has_rates_hours_and_channels() {
        let config = file(
            "up = \"5 MB/s\"\nwan_down = \"off\"\nlan_up = 9000\nleech = true\nmax_connections = 9\nupload_policy = \"average\"\n\
             [[hours]]\ndays = \"mon-fri\"\nfrom = \"08:00\"\nto = \"18:00\"\nup = \"1 MB/s\"\n\
             [channel.news]\ndown = \"8 Mbit/s\"\n\
             [[channel.news.hours]]\nfrom = \"22:00\"\nto = \"06:00\"\ndown = \"off\"",
        )
        .unwrap();
        let rates = [
            (Line::Up, Cap::At(5_000_000)),
            (Line::WanDown, Cap::Off),
            (Line::LanUp, Cap::At(9_000)),
        ];
        assert_eq!(config.rates, Rates::from(rates));
        assert_eq!(config.hours[0].rates[&Line::Up], Cap::At(1_000_000));
        assert_eq!(config.hours[0].from.to_string(), "08:00");
        let news = &config.channels["news"];
        assert_eq!(news.rates, Rates::from([(Line::Down, Cap::At(1_000_000))]));
        assert_eq!(news.hours[0].to.to_string(), "06:00");
        assert_eq!(news.hours[0].rates[&Line::Down], Cap::Off);
        assert!(config.leech && !config.no_wan);
        assert_eq!(
            (config.max_connections, config.upload_slots),
            (Some(9), None)
        );
        assert_eq!(config.upload_policy, Some(UploadPolicy::Average));
        assert_eq!(file("").unwrap(), LimitConfig::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("upp = 9000", "upp"),
            ("up = 0", "too little"),
            ("up = \"fast\"", "fast"),
            ("up = true", "a rate"),
            ("max_connections = 0", "nonzero"),
            ("upload_policy = \"first\"", "`last` nor `average`"),
            ("[[hours]]\nfrom = \"08:00\"", "to"),
            ("[[hours]]\nfrom = \"8\"\nto = \"18:00\"", "time of the day"),
            ("[[hours]]\nfrom = \"08:00\"\nto = \"08:00\"", "none"),
            (
                "[[hours]]\nfrom = \"08:00\"\nto = \"18:00\"\nup = 9000\n[[hours]]\nfrom = \"22:00\"\nto = \"06:00\"",
                "limits.hours from 22:00 to 06:00 name no rate",
            ),
            (
                "[[hours]]\nfrom = \"08:00\"\nto = \"18:00\"\ndays = \"never\"",
                "days",
            ),
            (
                "[[hours]]\nfrom = \"08:00\"\nto = \"18:00\"\nuntil = 3",
                "until",
            ),
            ("[channel.news]\nspeed = 9000", "speed"),
            (
                "[[channel.news.hours]]\nfrom = \"22:00\"\nto = \"06:00\"",
                "limits.channel.news.hours from 22:00 to 06:00 name no rate",
            ),
        ] {
            let message = file(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn an_option_goes_before_the_environment_and_both_before_the_file() {
        let variable = |name: &str| {
            let value = match name {
                "SAMARA_UP" => "1 MB/s",
                "SAMARA_DOWN" => "2 MB/s",
                "SAMARA_LEECH" => "1",
                "SAMARA_NO_WAN" => "off",
                "SAMARA_UPLOAD_SLOTS" => "3",
                "SAMARA_UPLOAD_POLICY" => "average",
                _ => return None,
            };
            Some(OsString::from(value))
        };
        let flags = LimitFlags {
            up: Some(Cap::Off),
            ..LimitFlags::default()
        };
        let mut config = file(
            "up = 9000\nwan_up = 8000\nupload_slots = 9\nupload_policy = \"last\"\n\
             [[hours]]\nfrom = \"08:00\"\nto = \"18:00\"\nup = 7000\nwan_up = 6000",
        )
        .unwrap();
        flags.with_environment(variable).unwrap().put(&mut config);
        assert_eq!(config.rates[&Line::Up], Cap::Off);
        assert_eq!(config.rates[&Line::Down], Cap::At(2_000_000));
        assert_eq!(config.rates[&Line::WanUp], Cap::At(8000));
        assert_eq!(
            config.hours[0].rates,
            Rates::from([(Line::WanUp, Cap::At(6000))])
        );
        assert!(config.leech && !config.no_wan);
        assert_eq!(config.upload_slots, Some(3));
        assert_eq!(config.upload_policy, Some(UploadPolicy::Average));
        let bad = |_: &str| Some(OsString::from("x"));
        let message = LimitFlags::default()
            .with_environment(bad)
            .unwrap_err()
            .message;
        assert!(message.contains("SAMARA_UP"), "{message}");
    }

    #[test]
    fn a_change_can_be_taken_back() {
        assert_eq!(parse_change("default"), Ok(Change(None)));
        assert_eq!(parse_change("off"), Ok(Change(Some(Cap::Off))));
        assert_eq!(
            parse_change("20 Mbit/s"),
            Ok(Change(Some(Cap::At(2_500_000))))
        );
        assert!(parse_change("0").is_err() && parse_change("quick").is_err());
    }
}
