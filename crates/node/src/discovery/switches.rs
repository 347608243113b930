//! What of discovery is on.

use std::net::SocketAddr;

use crate::{
    config::{Dht, DiscoveryConfig},
    engine::Mode,
};

/// The means that a running engine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Means {
    /// The local network is listened to, and told.
    pub(crate) lan: bool,
    /// The DHT may be asked, and told.
    pub(crate) dht: bool,
    /// Also about one-off shares and what is fetched once.
    pub(crate) dht_for_all: bool,
    /// A gateway may be asked for a way in.
    pub(crate) gateway: bool,
}

impl Means {
    /// What the configuration allows an engine that listens on `bound`. Whoever
    /// listens on loopback alone can be reached by nobody else and says nothing to
    /// anybody; a DHT of one's own on the same machine is the exception.
    pub(crate) fn of(config: &DiscoveryConfig, bound: SocketAddr, mode: Mode) -> Self {
        let outside = !bound.ip().to_canonical().is_loopback();
        let own_network = !config.dht_bootstrap.is_empty();
        Self {
            lan: config.mdns && outside,
            dht: match config.dht {
                Dht::Off => false,
                Dht::Lasting => outside,
                Dht::On => outside || own_network,
            },
            dht_for_all: config.dht == Dht::On,
            gateway: config.port_mapping && outside && mode == Mode::Node,
        }
    }

    /// Whether anything is on.
    pub(crate) fn any(&self) -> bool {
        self.lan || self.dht || self.gateway
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_on_loopback_is_silent() {
        let config = DiscoveryConfig::standard();
        for bound in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            let means = Means::of(&config, bound.parse().unwrap(), Mode::Node);
            assert!(!means.any(), "{bound}");
        }
        let everywhere = Means::of(&config, "[::]:7421".parse().unwrap(), Mode::Node);
        assert!(everywhere.lan && everywhere.dht && everywhere.gateway);
        let once = Means::of(&config, "[::]:7421".parse().unwrap(), Mode::Online);
        assert!(once.lan && !once.gateway);
    }

    #[test]
    fn each_switch_is_heeded_and_all_are_off_unless_asked_for() {
        let any = "[::]:7421".parse().unwrap();
        let off = Means::of(&DiscoveryConfig::default(), any, Mode::Node);
        assert!(!off.any());
        let mut config = DiscoveryConfig::standard();
        config.dht = Dht::On;
        assert!(Means::of(&config, any, Mode::Node).dht_for_all);
        // Even so, the network of millions is not told from loopback.
        let loopback = "127.0.0.1:7421".parse().unwrap();
        assert!(!Means::of(&config, loopback, Mode::Node).any());
        config.dht_bootstrap = vec!["127.0.0.1:6881".into()];
        assert!(Means::of(&config, loopback, Mode::Node).dht);
        config.dht = Dht::Lasting;
        assert!(!Means::of(&config, loopback, Mode::Node).dht);
    }
}
