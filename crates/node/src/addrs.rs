//! This machine's addresses: which of them others can use, and which networks it
//! is in.

use std::net::{IpAddr, SocketAddr};

/// A network that this machine has an interface in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    address: IpAddr,
    prefix: u32,
}

impl Subnet {
    /// The network of `prefix` bits that an address is in.
    pub(crate) fn new(address: IpAddr, prefix: u32) -> Self {
        Self { address, prefix }
    }

    pub(crate) fn contains(&self, addr: IpAddr) -> bool {
        match (self.address, addr.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
                ours.to_bits() & mask == theirs.to_bits() & mask
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
                ours.to_bits() & mask == theirs.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// The networks of this machine's interfaces.
pub(crate) fn subnets() -> Vec<Subnet> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces
        .iter()
        .filter(|i| !i.is_loopback())
        .map(|interface| match &interface.addr {
            if_addrs::IfAddr::V4(v4) => {
                Subnet::new(v4.ip.into(), v4.netmask.to_bits().leading_ones())
            }
            if_addrs::IfAddr::V6(v6) => {
                Subnet::new(v6.ip.into(), v6.netmask.to_bits().leading_ones())
            }
        })
        .collect()
}

/// A node's addresses, best first: those of its interfaces, then the ones from
/// outside, for which room is kept.
pub(crate) fn with_external(mut own: Vec<SocketAddr>, external: &[SocketAddr]) -> Vec<SocketAddr> {
    let outside: Vec<_> = external.iter().filter(|addr| !own.contains(addr)).collect();
    let room = samara_graph::limits::MAX_ADDRESSES.saturating_sub(outside.len());
    own.truncate(room);
    own.extend(outside);
    own.truncate(samara_graph::limits::MAX_ADDRESSES);
    own
}

/// Addresses under which a socket bound to `bound` can be reached: itself, or
/// every interface's address if it is bound to all; loopback only where there is
/// nothing else; link-local IPv6, which needs a zone, never.
pub(crate) fn reachable(bound: SocketAddr) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let mut addrs: Vec<SocketAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .iter()
        .map(|interface| interface.ip())
        .filter(|ip| match ip {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => bound.is_ipv6() && !v6.is_unicast_link_local(),
        })
        .map(|ip| SocketAddr::new(ip, bound.port()))
        .collect();
    if addrs.iter().any(|addr| !addr.ip().is_loopback()) {
        addrs.retain(|addr| !addr.ip().is_loopback());
    }
    // IPv4 first: the path that works most often inside one site.
    addrs.sort_by_key(|addr| addr.is_ipv6());
    addrs.truncate(samara_graph::limits::MAX_ADDRESSES);
    addrs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_ends_where_its_mask_does() {
        let subnet = Subnet {
            address: "10.1.2.3".parse().unwrap(),
            prefix: 24,
        };
        assert!(subnet.contains("10.1.2.250".parse().unwrap()));
        assert!(subnet.contains("::ffff:10.1.2.250".parse().unwrap()));
        assert!(!subnet.contains("10.1.3.1".parse().unwrap()));
        let all = Subnet {
            address: "10.1.2.3".parse().unwrap(),
            prefix: 0,
        };
        assert!(all.contains("192.168.0.1".parse().unwrap()));
    }

    #[test]
    fn addresses_from_outside_find_room_after_ours() {
        let max = samara_graph::limits::MAX_ADDRESSES;
        let own: Vec<SocketAddr> = (0..max as u8)
            .map(|i| ([10, 0, 0, i], 7421).into())
            .collect();
        let external = [([192, 0, 2, 1], 4242).into(), own[0]];
        let all = with_external(own.clone(), &external);
        assert_eq!(all.len(), max);
        assert_eq!(all[..max - 1], own[..max - 1]);
        assert_eq!(all[max - 1], external[0]);
        assert_eq!(with_external(vec![], &external), external);
    }

    #[test]
    fn a_bound_address_is_the_only_one() {
        let bound: SocketAddr = "127.0.0.1:7421".parse().unwrap();
        assert_eq!(reachable(bound), [bound]);
    }
}
