//! Asking the gateway for a way in: UPnP, NAT-PMP and PCP.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
};

use portmapper::{Client, Config, Protocol};

use crate::session::is_lan;

/// Whether a gateway is to be asked: this node is reachable from its own network
/// under a private IPv4 address, and from outside under none.
pub(crate) fn needs_mapping(own: &[SocketAddr]) -> bool {
    let inside = |ip: IpAddr| ip.is_ipv4() && is_lan(ip) && !ip.is_loopback();
    let outside = |ip: IpAddr| ip.is_ipv4() && !is_lan(ip);
    own.iter().any(|addr| inside(addr.ip())) && !own.iter().any(|addr| outside(addr.ip()))
}

/// A mapping that is asked for, kept and renewed.
pub(super) struct Gateway {
    client: Client,
    external: tokio::sync::watch::Receiver<Option<std::net::SocketAddrV4>>,
}

impl Gateway {
    /// Asks for a mapping of a UDP port, on the current runtime.
    pub(super) fn start(port: NonZeroU16) -> Self {
        let client = Client::new(Config {
            protocol: Protocol::Udp,
            ..Config::default()
        });
        let external = client.watch_external_address();
        let asking = client.clone();
        tokio::spawn(async move {
            // What answers is found out first, or only UPnP would be tried.
            let _ = asking.probe().await;
            asking.update_local_port(port);
        });
        Self { client, external }
    }

    /// Asks again if nothing was got: another network, another gateway.
    pub(super) fn retry(&self) {
        if self.external.borrow().is_none() {
            let asking = self.client.clone();
            tokio::spawn(async move {
                let _ = asking.probe().await;
                asking.procure_mapping();
            });
        }
    }

    /// The address that the gateway forwards from, as soon as it is another.
    pub(super) async fn changed(&mut self) -> Option<SocketAddr> {
        if self.external.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let external = *self.external.borrow_and_update();
        external.map(SocketAddr::V4)
    }

    /// Gives the mapping back.
    pub(super) fn stop(&self) {
        self.client.deactivate();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_node_behind_a_gateway_asks_it() {
        let needs = |addrs: &[&str]| {
            let addrs: Vec<_> = addrs.iter().map(|a| a.parse().unwrap()).collect();
            needs_mapping(&addrs)
        };
        assert!(needs(&["192.168.1.7:7421"]));
        assert!(needs(&["10.0.0.1:7421", "[2001:db8::1]:7421"]));
        assert!(!needs(&["127.0.0.1:7421"]));
        assert!(!needs(&["192.0.2.1:7421", "10.0.0.1:7421"]));
        assert!(!needs(&["[2001:db8::1]:7421"]));
        assert!(!needs(&[]));
    }
}
