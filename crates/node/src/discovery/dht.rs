//! The Mainline DHT: members announce themselves under a channel's info hash of
//! the day (BEP 5), nodes leave their addresses under their own key (BEP 44). The
//! library has a thread of its own.

use std::{io, net::SocketAddr};

use ed25519_dalek::SigningKey;
use futures_util::StreamExt;
use mainline::{Id, MutableItem, async_dht::AsyncDht};
use samara_graph::{PeerAddress, WallMs};
use samara_wire::PeerId;
use tokio::{sync::mpsc, time::timeout};

use super::{limits, names::InfoHash};
use crate::session::is_lan;

/// Sets our items apart from others under the same key.
const SALT: &[u8] = b"samara";

/// A member of the DHT. Cheap to clone.
#[derive(Clone)]
pub(super) struct Dht {
    dht: AsyncDht,
    /// It is the user's own network: its members may have private addresses.
    own_network: bool,
}

impl Dht {
    /// Joins through `bootstrap` (`host:port`), or through the network's well-known
    /// nodes if it is empty. Blocks: names are resolved.
    pub(super) fn start(bootstrap: &[String]) -> io::Result<Self> {
        let mut builder = mainline::Dht::builder();
        if !bootstrap.is_empty() {
            builder.bootstrap(bootstrap);
        }
        Ok(Self {
            dht: builder.build()?.as_async(),
            own_network: !bootstrap.is_empty(),
        })
    }

    /// Announces that a member answers at this machine's address and `port`.
    pub(super) async fn announce(&self, hash: InfoHash, port: u16) -> Result<(), String> {
        let put = self.dht.announce_peer(Id::from(hash.0), Some(port));
        match timeout(limits::LOOKUP_TIMEOUT, put).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// Hands over the addresses that are announced under a hash, as they come.
    pub(super) async fn members(&self, hash: InfoHash, found: mpsc::Sender<SocketAddr>) {
        let mut answers = self.dht.get_peers(Id::from(hash.0));
        let mut taken = Vec::new();
        let all = async {
            while let Some(addrs) = answers.next().await {
                for addr in addrs.into_iter().map(SocketAddr::V4) {
                    if taken.len() >= limits::MAX_DHT_ADDRS {
                        return;
                    }
                    if self.plausible(addr) && !taken.contains(&addr) {
                        taken.push(addr);
                        if found.send(addr).await.is_err() {
                            return;
                        }
                    }
                }
            }
        };
        let _ = timeout(limits::LOOKUP_TIMEOUT, all).await;
    }

    /// Leaves a node's addresses under its key.
    pub(super) async fn publish(
        &self,
        key: &SigningKey,
        address: &PeerAddress,
    ) -> Result<(), String> {
        let seq = i64::try_from(address.issued().0).unwrap_or(i64::MAX);
        let item = MutableItem::new(key.clone(), &address.encode(), seq, Some(SALT));
        match timeout(limits::LOOKUP_TIMEOUT, self.dht.put_mutable(item, None)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    }

    /// The newest addresses that a node left under its key, if there are any that
    /// still count.
    pub(super) async fn addresses(&self, peer: PeerId, now: WallMs) -> Vec<SocketAddr> {
        let mut items = self.dht.get_mutable(peer.as_bytes(), Some(SALT), None);
        let mut newest: Option<PeerAddress> = None;
        let all = async {
            while let Some(item) = items.next().await {
                if let Some(address) = read_item(peer, item.value(), now)
                    && newest
                        .as_ref()
                        .is_none_or(|n| n.issued() < address.issued())
                {
                    newest = Some(address);
                }
            }
        };
        let _ = timeout(limits::LOOKUP_TIMEOUT, all).await;
        let addrs = newest.as_ref().map_or(&[][..], |address| address.addrs());
        addrs
            .iter()
            .copied()
            .filter(|addr| self.plausible(*addr))
            .collect()
    }

    /// Whether an address may be dialled on the word of a network of strangers:
    /// private ones would have us knock at our own neighbours' doors.
    fn plausible(&self, addr: SocketAddr) -> bool {
        let ip = addr.ip();
        addr.port() != 0
            && !ip.is_unspecified()
            && !ip.is_multicast()
            && (self.own_network || !is_lan(ip))
    }
}

/// What an item says, if the peer itself signed it and it is not too old. That the
/// item is under the peer's key was checked by the library; that the addresses are
/// the peer's own word is checked here, as wherever they travel.
fn read_item(peer: PeerId, value: &[u8], now: WallMs) -> Option<PeerAddress> {
    let address = PeerAddress::decode(value).ok()?;
    let ahead = now.after(samara_graph::limits::CLOCK_AHEAD);
    let fresh = address.issued() <= ahead
        && now.since(address.issued()) <= samara_graph::limits::ADDRESS_LIFETIME;
    (address.peer() == peer && fresh).then_some(address)
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use mainline::Testnet;
    use samara_graph::SecretKey;

    use super::*;
    use crate::discovery::names::{Day, DiscoverySecret};

    const NOW: WallMs = WallMs(1_735_689_600_000);

    fn addr(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 7421).into()
    }

    async fn member(net: &Testnet) -> Dht {
        let bootstrap = net.bootstrap.clone();
        let start = move || {
            let mut builder = mainline::Dht::builder();
            builder
                .bootstrap(&bootstrap)
                .bind_address(Ipv4Addr::LOCALHOST);
            // Nothing is far away here.
            builder.request_timeout(Duration::from_millis(50));
            Dht {
                dht: builder.build().unwrap().as_async(),
                own_network: true,
            }
        };
        tokio::task::spawn_blocking(start).await.unwrap()
    }

    async fn found(dht: &Dht, hash: InfoHash) -> Vec<SocketAddr> {
        let (send, mut told) = mpsc::channel(limits::MAX_DHT_ADDRS);
        dht.members(hash, send).await;
        let mut list = Vec::new();
        while let Some(addr) = told.recv().await {
            list.push(addr);
        }
        list
    }

    #[tokio::test]
    async fn two_nodes_meet_under_the_hash_of_the_day() {
        let net = Testnet::new_async(5).await.unwrap();
        let (one, two) = (member(&net).await, member(&net).await);
        let secret = DiscoverySecret::of(&samara_wire::ChannelId([1; 32]));
        let today = secret.info_hash(Day(20_000));
        one.announce(today, 4242).await.unwrap();
        let met = found(&two, today).await;
        // The port is the one that was said, not the one that the DHT speaks from.
        assert_eq!(met, ["127.0.0.1:4242".parse().unwrap()]);
        assert!(found(&two, secret.info_hash(Day(20_001))).await.is_empty());
    }

    #[tokio::test]
    async fn addresses_are_found_under_their_peers_key_and_forged_ones_are_not() {
        let net = Testnet::new_async(5).await.unwrap();
        let (one, two) = (member(&net).await, member(&net).await);
        let seed = [7; 32];
        let (signing, key) = (SigningKey::from_bytes(&seed), SecretKey::from_bytes(&seed));
        let peer = key.peer_id();
        assert!(two.addresses(peer, NOW).await.is_empty());
        let address = PeerAddress::sign(&key, &[addr(1)], NOW);
        one.publish(&signing, &address).await.unwrap();
        assert_eq!(two.addresses(peer, NOW).await, [addr(1)]);
        // A newer one replaces it.
        let newer = PeerAddress::sign(&key, &[addr(2)], WallMs(NOW.0 + 1));
        one.publish(&signing, &newer).await.unwrap();
        assert_eq!(two.addresses(peer, NOW).await, [addr(2)]);
        // Another's addresses under a key of one's own lead nowhere.
        let liar = SigningKey::from_bytes(&[8; 32]);
        one.publish(&liar, &newer).await.unwrap();
        let liar = PeerId(liar.verifying_key().to_bytes());
        assert!(two.addresses(liar, NOW).await.is_empty());
    }

    #[test]
    fn only_the_peers_own_fresh_word_counts() {
        let key = SecretKey::from_bytes(&[7; 32]);
        let peer = key.peer_id();
        let said = |at: u64| PeerAddress::sign(&key, &[addr(1)], WallMs(at)).encode();
        assert!(read_item(peer, &said(NOW.0), NOW).is_some());
        assert!(read_item(PeerId([9; 32]), &said(NOW.0), NOW).is_none());
        let lifetime = samara_graph::limits::ADDRESS_LIFETIME.as_millis() as u64;
        assert!(read_item(peer, &said(NOW.0 - lifetime), NOW).is_some());
        assert!(read_item(peer, &said(NOW.0 - lifetime - 1), NOW).is_none());
        let ahead = samara_graph::limits::CLOCK_AHEAD.as_millis() as u64;
        assert!(read_item(peer, &said(NOW.0 + ahead), NOW).is_some());
        assert!(read_item(peer, &said(NOW.0 + ahead + 1), NOW).is_none());
        let mut forged = said(NOW.0);
        let last = forged.len() - 1;
        forged[last] ^= 1;
        assert!(read_item(peer, &forged, NOW).is_none());
    }

    #[test]
    fn strangers_do_not_send_us_into_our_own_network() {
        let net = Testnet::new(1).unwrap();
        let mut dht = Dht::start(&net.bootstrap).unwrap();
        let private = "192.168.1.1:7421".parse().unwrap();
        assert!(dht.plausible(private) && dht.plausible(addr(1)));
        dht.own_network = false;
        assert!(!dht.plausible(private) && dht.plausible(addr(1)));
        assert!(!dht.plausible("[::1]:7421".parse().unwrap()));
        assert!(!dht.plausible("192.0.2.1:0".parse().unwrap()));
    }
}
