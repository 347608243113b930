//! Getting connected: dialling known peers of the channels, accepting, and what
//! happens when two peers dial each other at once.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::{Connection, Endpoint};
use samara_wire::{ChannelId, PeerId};
use tokio::{
    sync::{Semaphore, mpsc},
    time,
};

use super::{Core, Input, Link, Live, known::Turn, race};
use crate::{
    discovery::{self, Source},
    limits,
    message::Control,
    pool::PoolShare,
    session::{Close, Session, SessionId, canonical},
    tls,
};

/// How often the list of peers to dial is gone through.
const DIAL_ROUND: Duration = Duration::from_millis(250);

/// A dial under way.
#[derive(Debug)]
pub(super) struct Dial {
    since: Instant,
    /// Who named the peer.
    source: Source,
}

impl Core {
    /// Dials whoever is due; greets whoever is connected for another channel's sake.
    pub(super) fn dial_round(&mut self) {
        let now = Instant::now();
        self.next_dial = now + DIAL_ROUND;
        self.close_strangers();
        self.seek_company();
        let mut due: BTreeMap<PeerId, (Turn, Vec<SocketAddr>)> = BTreeMap::new();
        let mut greet = Vec::new();
        for (id, channel) in self.channels.iter().filter(|(_, c)| c.active) {
            let mut candidates = Vec::new();
            for (peer, known) in &channel.known {
                let barred = self.banned.contains_key(peer) || channel.graph.is_revoked(peer);
                if barred || channel.members.contains(peer) {
                    continue;
                }
                if self.sessions.contains_key(peer) {
                    if !channel.greeted.contains(peer) && known.is_due(now) {
                        greet.push((*id, *peer));
                    }
                } else if !self.dialling.contains_key(peer) && known.is_due(now) {
                    candidates.push((known.turn(), *peer, known));
                }
            }
            candidates.sort_by_key(|(turn, peer, _)| (*turn, *peer));
            let wanted =
                limits::WANTED_NEIGHBOURS.saturating_sub(channel.members.len() + greet.len());
            for (turn, peer, known) in candidates.into_iter().take(wanted) {
                let mut ways = known.ways();
                ways.retain(|addr| self.may_reach(addr));
                if !ways.is_empty() {
                    due.entry(peer).or_insert((turn, ways));
                }
            }
        }
        let sought: Vec<_> = self.sought_due(now).collect();
        for (peer, (turn, mut ways)) in sought {
            ways.retain(|addr| self.may_reach(addr));
            due.insert(peer, (turn, ways));
        }
        for (channel, peer) in greet {
            self.greet(channel, peer);
        }
        let Some((endpoint, own)) = self
            .transport
            .as_ref()
            .map(|t| (t.endpoint.clone(), t.addr))
        else {
            return;
        };
        let mut hearsay = self.hearsay_dials();
        let most = self.max_connections();
        let mut due: Vec<_> = due.into_iter().collect();
        due.sort_by_key(|(peer, (turn, _))| (*turn, *peer));
        for (peer, ((source, ..), addrs)) in due {
            if self.sessions.len() + self.dialling.len() >= most {
                break;
            }
            if source.is_hearsay() {
                if hearsay >= discovery::limits::MAX_HINT_DIALS {
                    continue;
                }
                hearsay += 1;
            }
            tracing::debug!(%peer, ?addrs, source = source.name(), "dial");
            self.metrics.hint_dialled(source);
            self.dialling.insert(peer, Dial { since: now, source });
            let inputs = self.inputs.clone();
            tokio::spawn(race::dial(endpoint.clone(), own, peer, addrs, inputs));
        }
        self.dial_strangers(now);
    }

    /// Dials under way to whom only hearsay names.
    pub(super) fn hearsay_dials(&self) -> usize {
        let by_name = self.dialling.values().filter(|d| d.source.is_hearsay());
        by_name.count() + self.search.strangers_dialled()
    }

    /// Whether all known peers of a channel were tried in vain.
    pub(crate) fn nobody_answers(&self, channel: ChannelId) -> bool {
        self.channels.get(&channel).is_some_and(|channel| {
            channel.members.is_empty()
                && !channel.known.is_empty()
                && channel
                    .known
                    .values()
                    .all(|known| known.last_error.is_some())
        })
    }

    /// Whether the network that a connection came from has its share of them.
    fn is_network_full(&self, connection: &Connection) -> bool {
        let network = network_of(canonical(connection.remote_address()).ip());
        let came = self.sessions.values().filter(|link| {
            !link.session.dialled && network_of(link.session.addr().ip()) == network
        });
        came.count() >= limits::MAX_CONNECTIONS_PER_NETWORK
    }

    /// Ends connections that serve no channel.
    fn close_strangers(&self) {
        for link in self.sessions.values() {
            if link.channels.is_empty() && link.session.since.elapsed() >= limits::STRANGER_TIMEOUT
            {
                link.session.close(Close::Busy);
            }
        }
    }

    pub(super) fn on_dial_failed(&mut self, peer: PeerId, reason: &str) {
        tracing::debug!(%peer, reason, "dial failed");
        self.dialling.remove(&peer);
        let now = Instant::now();
        for channel in self.channels.values_mut() {
            if let Some(known) = channel.known.get_mut(&peer) {
                known.failed(now, reason);
            }
        }
        self.search.dial_failed(peer, reason);
        self.notify();
    }

    pub(super) fn on_connected(&mut self, peer: PeerId, connection: Connection, dialled: bool) {
        let dial = self.dialling.remove(&peer);
        if let Some(dial) = dial.as_ref().filter(|_| dialled) {
            self.metrics.hint_proved(dial.source);
        }
        if peer == self.me {
            connection.close(Close::WrongPeer.code(), b"that was myself");
            return;
        }
        if !self.may_reach(&canonical(connection.remote_address())) {
            connection.close(Close::Busy.code(), b"not beyond the local network");
            return;
        }
        if let Some(why) = self.banned.get(&peer) {
            connection.close(Close::Misbehaved.code(), why.as_bytes());
            return;
        }
        if let Some(existing) = self.sessions.get(&peer) {
            // Both ends keep the connection that the lower id dialled; if one end
            // dialled both, the newer, for the older may be dead.
            let keep_new = if existing.session.dialled == dialled {
                true
            } else {
                dialled == (self.me < peer)
            };
            if !keep_new {
                connection.close(Close::Duplicate.code(), b"");
                return;
            }
            existing.session.close(Close::Duplicate);
            self.forget_session(peer);
        } else if self.sessions.len() >= self.max_connections()
            || (!dialled && self.is_network_full(&connection))
        {
            connection.close(Close::Busy.code(), b"too many connections");
            return;
        }
        tracing::info!(peer = %peer.short(), addr = %connection.remote_address(), dialled, took = ?dial.map(|d| d.since.elapsed()), "connected");
        self.next_session += 1;
        let doors = super::gate::Doors::new(&connection);
        let session = Session::start(
            self.next_session,
            peer,
            connection,
            dialled,
            self.inputs.clone(),
            Arc::clone(&self.turnstile),
        );
        session.send(&Control::Introduce {
            site: self.config.site.clone(),
        });
        self.sessions.insert(
            peer,
            Link {
                session,
                channels: Default::default(),
                site: None,
                doors,
                theirs: Default::default(),
                ours: Default::default(),
                requests: Default::default(),
                share: PoolShare::default(),
                meter: Default::default(),
                held: Default::default(),
                held_told: Default::default(),
                asked: false,
                talk: Default::default(),
                received: 0,
                sent: Default::default(),
            },
        );
        self.metrics.connections.set(self.sessions.len() as i64);
        let mut greet = Vec::new();
        let now = Instant::now();
        for (id, channel) in &mut self.channels {
            if let Some(known) = channel.known.get_mut(&peer) {
                known.answered();
                if channel.active && !channel.graph.is_revoked(&peer) && !known.is_shut(now) {
                    greet.push(*id);
                }
            }
        }
        for channel in greet {
            self.greet(channel, peer);
        }
        self.notify();
    }

    pub(super) fn on_disconnected(
        &mut self,
        session: SessionId,
        peer: PeerId,
        reason: &str,
        misbehaved: bool,
    ) {
        if misbehaved {
            self.metrics
                .misbehaviour
                .with_label_values(&["protocol"])
                .inc();
        }
        if !self.is_current(session, peer) {
            return;
        }
        tracing::info!(peer = %peer.short(), reason, "disconnected");
        self.forget_session(peer);
        for channel in self.channels.values_mut() {
            if let Some(known) = channel.known.get_mut(&peer) {
                known.lost(Instant::now(), reason);
            }
        }
        self.notify();
    }

    /// Ends the connection and keeps the peer away while the node runs.
    pub(crate) fn ban(&mut self, peer: PeerId, why: &str) {
        tracing::warn!(peer = %peer.short(), why, "banned");
        self.banned.insert(peer, why.to_owned());
        if self.banned.len() > limits::MAX_BANNED {
            // Identities are free: the list is a courtesy to ourselves, not a defence.
            let first = *self.banned.keys().next().expect("not empty");
            self.banned.remove(&first);
        }
        if let Some(link) = self.sessions.get(&peer) {
            link.session.close(Close::Misbehaved);
            self.forget_session(peer);
        }
        self.notify();
    }

    pub(super) fn forget_session(&mut self, peer: PeerId) {
        let Some(link) = self.sessions.remove(&peer) else {
            return;
        };
        for cancel in link.requests.values() {
            cancel.cancel();
        }
        for channel in &link.channels {
            self.news.tell(*channel, Live::NeighbourDown(peer));
        }
        self.swarm_event(samara_swarm::Event::Disconnected { peer });
        self.leave_channels(peer);
        self.metrics.connections.set(self.sessions.len() as i64);
    }
}

/// Accepts connections as long as the endpoint lives.
pub(super) async fn accept(endpoint: Endpoint, core: mpsc::Sender<Input>) {
    let places = Arc::new(Semaphore::new(limits::MAX_HANDSHAKES));
    while let Some(incoming) = endpoint.accept().await {
        // When many come, each has to show first that it is where it says it is: a
        // flood of forged addresses takes no more than half of the places.
        let crowded = places.available_permits() <= limits::MAX_HANDSHAKES / 2;
        if crowded && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        let place = places.clone().try_acquire_owned();
        let full = endpoint.open_connections() > limits::MAX_CONNECTIONS + limits::MAX_HANDSHAKES;
        let (Ok(place), false) = (place, full) else {
            incoming.refuse();
            continue;
        };
        let core = core.clone();
        tokio::spawn(async move {
            let _place = place;
            let handshake = async { incoming.accept().ok()?.await.ok() };
            let Ok(Some(connection)) = time::timeout(limits::DIAL_TIMEOUT, handshake).await else {
                return;
            };
            let Some(peer) = tls::remote_peer(&connection) else {
                connection.close(Close::Protocol.code(), b"no key");
                return;
            };
            let _ = core
                .send(Input::Connected {
                    peer,
                    connection,
                    dialled: false,
                })
                .await;
        });
    }
}

/// The network of an address, as large as one party commonly has at no cost: an IPv4
/// /24, an IPv6 /64.
fn network_of(ip: IpAddr) -> [u8; 8] {
    match ip {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            [0, 0, 0, 0, 4, a, b, c]
        }
        IpAddr::V6(v6) => std::array::from_fn(|i| v6.octets()[i]),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{net::UdpSocket, path::Path};

    use super::*;
    use crate::{
        NodeConfig,
        metrics::Metrics,
        transport::tests::{endpoint, pair},
    };

    /// A core without a network.
    pub(in crate::core) fn core(dir: &Path) -> Core {
        core_with_queue(dir).0
    }

    /// The same, to be run.
    pub(in crate::core) fn core_with_queue(
        dir: &Path,
    ) -> (Core, super::super::CoreHandle, mpsc::Receiver<Input>) {
        let store = samara_store::Store::open(dir, Default::default()).unwrap();
        let key = samara_graph::SecretKey::from_bytes(&[1; 32]);
        let config = NodeConfig::new(dir);
        let made = Core::new(
            config,
            key,
            store,
            Metrics::new().unwrap(),
            Default::default(),
        );
        made.unwrap()
    }

    #[tokio::test]
    async fn a_flood_from_forged_addresses_leaves_room_for_others() {
        let (server, client) = (endpoint(1), endpoint(2));
        let (send, mut connected) = mpsc::channel(8);
        tokio::spawn(accept(server.endpoint.clone(), send));
        // What a client says first, sent on by somebody who hears no answer.
        let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
        let forged = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut dials = Vec::new();
        for _ in 0..2 * limits::MAX_HANDSHAKES {
            let addr = sink.local_addr().unwrap();
            let dial = client.endpoint.connect(addr, tls::SERVER_NAME).unwrap();
            dials.push(dial);
            tokio::time::sleep(Duration::from_millis(2)).await;
            let mut first = [0; 2048];
            let n = sink.recv(&mut first).unwrap();
            forged.send_to(&first[..n], server.addr).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let open = server.endpoint.open_connections();
        assert!((1..=limits::MAX_HANDSHAKES / 2).contains(&open), "{open}");
        let honest = client.endpoint.connect(server.addr, tls::SERVER_NAME);
        honest.unwrap().await.unwrap();
        assert!(connected.recv().await.is_some());
    }

    #[tokio::test]
    async fn a_flood_of_hints_gets_few_dials_and_takes_none_from_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let mut core = core(dir.path());
        let id = ChannelId([1; 32]);
        let version = 1;
        let hash = samara_graph::CharterHash(id.0);
        let charter = samara_graph::CharterRef { version, hash };
        let config = super::super::graph_config(core.me).unwrap();
        let graph = samara_graph::Graph::join(id, charter, config);
        let meta = super::super::ChannelMeta::new(super::super::Role::Guest);
        let channel = super::super::Channel::new(graph, meta, Default::default());
        core.add_channel(id, channel, true);
        core.transport = Some(endpoint(1));
        // Nobody answers there.
        let closed = "127.0.0.1:1".parse().unwrap();
        for i in 0..2 * discovery::limits::MAX_HINTED_PEERS {
            let mut peer = [0; 32];
            peer[..8].copy_from_slice(&(i as u64).to_be_bytes());
            core.learn_peer(id, PeerId(peer), &[closed], Source::Mdns);
        }
        // The last in any order.
        let linked = PeerId([0xff; 32]);
        core.learn_peer(id, linked, &[closed], Source::Link);
        let known = &mut core.channels.get_mut(&id).unwrap().known;
        assert_eq!(known.len(), discovery::limits::MAX_HINTED_PEERS + 1);
        known.values_mut().for_each(|k| k.try_by(Instant::now()));
        for _ in 0..2 {
            core.dial_round();
            assert_eq!(core.hearsay_dials(), discovery::limits::MAX_HINT_DIALS);
            assert!(core.dialling.contains_key(&linked));
        }
        // Each has its turn, however often the others are due again meanwhile.
        let mut had = std::collections::HashSet::new();
        for _ in 0..discovery::limits::MAX_HINTED_PEERS / discovery::limits::MAX_HINT_DIALS {
            let hearsay = core.dialling.iter().filter(|(_, d)| d.source.is_hearsay());
            for peer in hearsay.map(|(peer, _)| *peer).collect::<Vec<_>>() {
                had.insert(peer);
                core.on_dial_failed(peer, "no answer");
            }
            let known = &mut core.channels.get_mut(&id).unwrap().known;
            known.values_mut().for_each(|k| k.try_by(Instant::now()));
            core.dial_round();
        }
        assert_eq!(had.len(), discovery::limits::MAX_HINTED_PEERS);
    }

    #[test]
    fn a_network_is_what_one_party_has() {
        let network = |ip: &str| network_of(ip.parse().unwrap());
        assert_eq!(network("192.0.2.1"), network("192.0.2.254"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:0:0:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        // No IPv4 network is an IPv6 one.
        assert_ne!(network("1.2.3.4"), network("::1"));
    }

    #[tokio::test]
    async fn one_network_never_has_all_the_places() {
        let dir = tempfile::tempdir().unwrap();
        let mut core = core(dir.path());
        let mut strangers = Vec::new();
        for i in 0..=limits::MAX_CONNECTIONS_PER_NETWORK {
            let (ours, stranger) = pair().await;
            // Each with an identity of its own.
            let mut key = [0; 32];
            key[..8].copy_from_slice(&(i as u64).to_le_bytes());
            let peer = samara_graph::SecretKey::from_bytes(&key).peer_id();
            core.on_connected(peer, ours, false);
            assert_eq!(
                core.sessions.len(),
                (i + 1).min(limits::MAX_CONNECTIONS_PER_NETWORK)
            );
            strangers.push(stranger);
        }
        // Whom we dial ourselves is no part of it.
        let (ours, _stranger) = pair().await;
        let peer = samara_graph::SecretKey::from_bytes(&[9; 32]).peer_id();
        core.on_connected(peer, ours, true);
        assert!(core.sessions.contains_key(&peer));
    }

    #[tokio::test]
    async fn a_connection_without_a_channel_gives_its_place_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut core = core(dir.path());
        let (ours, stranger) = pair().await;
        let peer = tls::remote_peer(&ours).unwrap();
        core.on_connected(peer, ours, false);
        core.dial_round();
        assert!(stranger.close_reason().is_none());
        let link = core.sessions.get_mut(&peer).unwrap();
        link.session.since -= limits::STRANGER_TIMEOUT;
        link.channels.insert(ChannelId([1; 32]));
        core.dial_round();
        assert!(
            core.sessions[&peer]
                .session
                .connection
                .close_reason()
                .is_none()
        );
        let link = core.sessions.get_mut(&peer).unwrap();
        link.channels.clear();
        core.dial_round();
        assert!(
            core.sessions[&peer]
                .session
                .connection
                .close_reason()
                .is_some()
        );
        stranger.closed().await;
    }
}
