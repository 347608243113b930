//! The local network: DNS-based service discovery over multicast DNS (RFC 6762,
//! RFC 6763). The library has a thread of its own.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6},
    time::Duration,
};

use mdns_sd::{
    IfKind, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo,
};
use samara_wire::PeerId;

use super::{found::Announcement, limits, names::LanName};
use crate::addrs::{self, Subnet};

/// The service, as docs/protocol.md has it.
const SERVICE: &str = "_samara._udp.local.";
/// Keys of the TXT record: the version of this format, the peer, and the channels'
/// names in as many strings as they need.
const VERSION_KEY: &str = "v";
const VERSION: &[u8] = b"1";
const PEER_KEY: &str = "p";
const NAME_KEYS: [&str; 3] = ["c0", "c1", "c2"];
/// Names in one string of a TXT record, which has 255 bytes at most.
const NAMES_PER_KEY: usize = 15;
const NAMES_PER_INSTANCE: usize = NAME_KEYS.len() * NAMES_PER_KEY;
const _: () = assert!(NAMES_PER_INSTANCE == limits::MAX_NAMES_PER_ANSWER);
/// How long the good-bye may take.
const GOODBYE: Duration = Duration::from_millis(200);

/// A running mDNS responder and browser.
pub(super) struct Lan {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    me: PeerId,
    bound: SocketAddr,
    /// What is announced, by instance.
    announced: BTreeMap<usize, Vec<LanName>>,
    subnets: Vec<Subnet>,
}

/// News of the local network.
#[derive(Debug)]
pub(super) enum LanNews {
    /// An instance is there, or says something else than before.
    Said(String, Announcement),
    /// An instance is gone.
    Gone(String),
    /// The library gave up: too many answers at once.
    Ended,
}

impl Lan {
    /// Starts listening on the interfaces that `bound` is reachable on.
    pub(super) fn start(me: PeerId, bound: SocketAddr) -> mdns_sd::Result<Self> {
        let daemon = ServiceDaemon::new()?;
        if bound.ip().is_unspecified() {
            daemon.disable_interface(vec![IfKind::LoopbackV4, IfKind::LoopbackV6])?;
            if bound.is_ipv4() {
                daemon.disable_interface(IfKind::IPv6)?;
            }
        } else {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(IfKind::Addr(bound.ip().to_canonical()))?;
        }
        let events = daemon.browse(SERVICE)?;
        Ok(Self {
            daemon,
            events,
            me,
            bound,
            announced: BTreeMap::new(),
            subnets: addrs::subnets(),
        })
    }

    /// Hears once more of everybody who is known to the library.
    pub(super) fn repeat(&mut self) -> mdns_sd::Result<()> {
        self.events = self.daemon.browse(SERVICE)?;
        Ok(())
    }

    /// Announces these names, in this order as far as there is room, and nothing else.
    pub(super) fn announce(&mut self, names: &[LanName]) -> mdns_sd::Result<()> {
        let mut wanted: BTreeMap<usize, Vec<LanName>> = names
            .chunks(NAMES_PER_INSTANCE)
            .take(limits::MAX_OWN_INSTANCES)
            .map(<[_]>::to_vec)
            .enumerate()
            .collect();
        // Whoever looks for this peer finds it also when it carries nothing now.
        wanted.entry(0).or_default();
        for (page, names) in &wanted {
            if self.announced.get(page) != Some(names) {
                self.daemon.register(self.service(*page, names)?)?;
            }
        }
        for page in self
            .announced
            .keys()
            .filter(|page| !wanted.contains_key(page))
        {
            let full = format!("{}.{SERVICE}", instance(&self.me, *page));
            let _ = self.daemon.unregister(&full)?;
        }
        self.announced = wanted;
        Ok(())
    }

    fn service(&self, page: usize, names: &[LanName]) -> mdns_sd::Result<ServiceInfo> {
        let host = format!("samara-{}.local.", instance(&self.me, 0));
        let txt = encode_txt(&self.me, names);
        let port = self.bound.port();
        let name = instance(&self.me, page);
        let mut service = if self.bound.ip().is_unspecified() {
            ServiceInfo::new(SERVICE, &name, &host, (), port, txt)?.enable_addr_auto()
        } else {
            let ip = self.bound.ip().to_canonical();
            ServiceInfo::new(SERVICE, &name, &host, ip, port, txt)?
        };
        // The name is a key: nobody else has it.
        service.set_requires_probe(false);
        Ok(service)
    }

    /// The next thing heard of others.
    pub(super) async fn next(&self) -> LanNews {
        loop {
            match self.events.recv_async().await {
                Ok(ServiceEvent::ServiceResolved(service)) => {
                    if let Some(said) = decode(&service, &self.subnets)
                        && said.peer != self.me
                    {
                        return LanNews::Said(service.fullname.clone(), said);
                    }
                }
                Ok(ServiceEvent::ServiceRemoved(_, instance)) => return LanNews::Gone(instance),
                Ok(_) => {}
                Err(_) => return LanNews::Ended,
            }
        }
    }

    /// Looks at this machine's networks again, and whether the library still keeps
    /// to what it may remember.
    pub(super) async fn check(&mut self) -> bool {
        self.subnets = addrs::subnets();
        let Ok(answer) = self.daemon.get_metrics() else {
            return false;
        };
        let Ok(metrics) = answer.recv_async().await else {
            return false;
        };
        let cached = metrics
            .iter()
            .filter(|(name, _)| name.starts_with("cached-"));
        cached.map(|(_, count)| *count).sum::<i64>() <= limits::MAX_LAN_RECORDS
    }

    /// Says good-bye and ends.
    pub(super) async fn stop(self) {
        for page in self.announced.keys() {
            let full = format!("{}.{SERVICE}", instance(&self.me, *page));
            if let Ok(done) = self.daemon.unregister(&full) {
                let _ = tokio::time::timeout(GOODBYE, done.recv_async()).await;
            }
        }
        if let Ok(done) = self.daemon.shutdown() {
            let _ = tokio::time::timeout(GOODBYE, done.recv_async()).await;
        }
    }
}

/// An instance's label: at most 63 bytes (RFC 6763 section 4.1.1).
fn instance(peer: &PeerId, page: usize) -> String {
    let id = peer.to_string();
    format!("{}-{page}", &id[..32])
}

fn encode_txt(peer: &PeerId, names: &[LanName]) -> Vec<mdns_sd::TxtProperty> {
    let mut txt = vec![
        (VERSION_KEY, VERSION).into(),
        (PEER_KEY, peer.as_bytes()).into(),
    ];
    for (key, names) in NAME_KEYS.iter().zip(names.chunks(NAMES_PER_KEY)) {
        let value: Vec<u8> = names.iter().flat_map(|name| name.0).collect();
        txt.push((*key, value).into());
    }
    txt
}

/// Reads an announcement; `None` if it is none of ours, or of nowhere that a
/// neighbour can be.
fn decode(service: &ResolvedService, subnets: &[Subnet]) -> Option<Announcement> {
    let value = |key| service.get_property_val(key).flatten();
    if value(VERSION_KEY)? != VERSION || service.port == 0 {
        return None;
    }
    let peer = PeerId(value(PEER_KEY)?.try_into().ok()?);
    let mut names = Vec::new();
    for bytes in NAME_KEYS.iter().filter_map(|key| value(key)) {
        let (chunks, rest) = bytes.as_chunks::<16>();
        if !rest.is_empty() {
            return None;
        }
        names.extend(chunks.iter().copied().map(LanName));
    }
    let mut addrs: Vec<SocketAddr> = service
        .addresses
        .iter()
        .filter_map(|ip| neighbour(ip, service.port, subnets))
        .collect();
    // A set has no order of its own; IPv4 first as everywhere.
    addrs.sort_by_key(|addr| (addr.is_ipv6(), *addr));
    addrs.truncate(limits::MAX_HINTS);
    (!addrs.is_empty()).then_some(Announcement { peer, addrs, names })
}

/// The address of a neighbour: what is on none of our networks would send us to
/// somebody who never said anything.
fn neighbour(ip: &ScopedIp, port: u16, subnets: &[Subnet]) -> Option<SocketAddr> {
    match ip {
        ScopedIp::V6(v6) if v6.addr().is_unicast_link_local() => {
            let scope = v6.scope_id().index;
            let addr = SocketAddrV6::new(*v6.addr(), port, 0, scope);
            (scope != 0).then_some(addr.into())
        }
        _ => {
            let ip = ip.to_ip_addr();
            let odd = ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_loopback()
                || ip == IpAddr::V4(Ipv4Addr::BROADCAST);
            let near = subnets.iter().any(|subnet| subnet.contains(ip));
            (near && !odd).then_some(SocketAddr::new(ip, port))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId([3; 32]);

    fn subnets() -> Vec<Subnet> {
        vec![Subnet::new("10.0.0.7".parse().unwrap(), 24)]
    }

    fn heard(txt: Vec<mdns_sd::TxtProperty>, ips: &str, port: u16) -> Option<Announcement> {
        let service = ServiceInfo::new(SERVICE, "x", "x.local.", ips, port, txt).unwrap();
        decode(&service.as_resolved_service(), &subnets())
    }

    fn names(n: usize) -> Vec<LanName> {
        (0..n).map(|i| LanName([i as u8; 16])).collect()
    }

    #[test]
    fn an_announcement_reads_back_up_to_the_last_name() {
        for n in [0, 1, NAMES_PER_KEY, NAMES_PER_KEY + 1, NAMES_PER_INSTANCE] {
            let said = heard(encode_txt(&PEER, &names(n)), "10.0.0.1", 7421).unwrap();
            assert_eq!((said.peer, said.names), (PEER, names(n)));
            assert_eq!(said.addrs, ["10.0.0.1:7421".parse().unwrap()]);
        }
        // There is no key to read further ones from.
        let more = heard(encode_txt(&PEER, &names(46)), "10.0.0.1", 7421).unwrap();
        assert_eq!(more.names.len(), limits::MAX_NAMES_PER_ANSWER);
    }

    #[test]
    fn nobody_is_sent_beyond_the_local_network() {
        let txt = || encode_txt(&PEER, &names(1));
        for elsewhere in ["192.0.2.1", "10.0.1.1", "127.0.0.1", "::1", "fe80::1"] {
            assert_eq!(heard(txt(), elsewhere, 7421), None, "{elsewhere}");
        }
        let both = heard(txt(), "192.0.2.1,10.0.0.9", 7421).unwrap();
        assert_eq!(both.addrs, ["10.0.0.9:7421".parse().unwrap()]);
        let many = "10.0.0.1,10.0.0.2,10.0.0.3,10.0.0.4,10.0.0.5";
        let many = heard(txt(), many, 7421).unwrap();
        assert_eq!(many.addrs.len(), limits::MAX_HINTS);
        assert_eq!(heard(txt(), "10.0.0.1", 0), None);
    }

    #[test]
    fn what_is_not_of_this_format_is_nothing() {
        let peer: mdns_sd::TxtProperty = (PEER_KEY, PEER.as_bytes()).into();
        let version: mdns_sd::TxtProperty = (VERSION_KEY, VERSION).into();
        let at = |txt| heard(txt, "10.0.0.1", 7421);
        assert!(at(vec![version.clone(), peer.clone()]).is_some());
        assert_eq!(at(vec![]), None);
        assert_eq!(at(vec![peer.clone()]), None);
        assert_eq!(at(vec![version.clone()]), None);
        assert_eq!(at(vec![(VERSION_KEY, b"2").into(), peer.clone()]), None);
        let short = (PEER_KEY, &[3; 31]).into();
        assert_eq!(at(vec![version.clone(), short]), None);
        let ragged = (NAME_KEYS[0], &[3; 17]).into();
        assert_eq!(at(vec![version, peer, ragged]), None);
    }

    #[test]
    fn labels_fit_and_differ() {
        let last = instance(&PEER, limits::MAX_OWN_INSTANCES - 1);
        assert!(last.len() <= 63 && last != instance(&PEER, 0));
    }
}
