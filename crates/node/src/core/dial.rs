//! Getting connected: dialling known peers of the channels, accepting, and what
//! happens when two peers dial each other at once.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use quinn::{Connection, Endpoint};
use samara_wire::{ChannelId, PeerId};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time,
};

use super::{Core, Input, Link};
use crate::{
    limits,
    message::Control,
    session::{Close, Session, SessionId},
    tls,
};

/// How often the list of peers to dial is gone through.
const DIAL_ROUND: Duration = Duration::from_millis(250);
/// Head start of one address over the next of the same peer (RFC 8305 section 5).
const ADDRESS_DELAY: Duration = Duration::from_millis(150);
/// Wait after a peer's first failed dial; doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Longest wait between two dials of one peer.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Of two that learn of each other at once, the one with the higher id waits this
/// long for the other's dial.
const POLITE_DELAY: Duration = Duration::from_millis(300);

/// What is known of a peer that may be dialled for a channel.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Where it may be reached.
    pub(crate) addrs: Vec<SocketAddr>,
    failures: u32,
    not_before: Instant,
    /// How the last dial ended, for people.
    pub(crate) last_error: Option<String>,
}

impl Known {
    /// The peer answered and has not what we are after: try again much later.
    pub(super) fn refused(&mut self, why: &str) {
        self.not_before = Instant::now() + MAX_BACKOFF;
        self.last_error = Some(why.to_owned());
    }
}

/// A dial under way.
#[derive(Debug)]
pub(super) struct Dial {
    since: Instant,
}

impl Core {
    /// Remembers addresses of a peer of a channel. `urgent` ones (from a link)
    /// are dialled at once.
    pub(crate) fn learn_peer(
        &mut self,
        channel: ChannelId,
        peer: PeerId,
        addrs: &[SocketAddr],
        urgent: bool,
    ) {
        if peer == self.me || addrs.is_empty() {
            return;
        }
        let me = self.me;
        let Some(channel) = self.channels.get_mut(&channel) else {
            return;
        };
        let now = Instant::now();
        if channel.known.len() >= limits::MAX_KNOWN_PEERS && !channel.known.contains_key(&peer) {
            // Room is made by whoever answered worst; if all answer, there is no need.
            let worst = channel
                .known
                .iter()
                .filter(|(known, _)| !channel.members.contains(*known))
                .max_by_key(|(known, k)| (k.failures, **known))
                .map(|(known, k)| (*known, k.failures));
            match worst {
                Some((worst, failures)) if failures > 0 || urgent => channel.known.remove(&worst),
                _ => return,
            };
        }
        let wait = if urgent || me < peer {
            Duration::ZERO
        } else {
            POLITE_DELAY
        };
        let known = channel.known.entry(peer).or_insert_with(|| Known {
            addrs: Vec::new(),
            failures: 0,
            not_before: now + wait,
            last_error: None,
        });
        let mut fresh = addrs.to_vec();
        fresh.truncate(samara_graph::limits::MAX_ADDRESSES);
        if known.addrs != fresh {
            // A new address deserves a new try.
            known.failures = 0;
            known.not_before = known.not_before.min(now + wait);
            known.addrs = fresh;
        }
        self.next_dial = self.next_dial.min(now + wait);
    }

    /// Dials whoever is due; greets whoever is connected for another channel's sake.
    pub(super) fn dial_round(&mut self) {
        let now = Instant::now();
        self.next_dial = now + DIAL_ROUND;
        self.close_strangers();
        let mut due = Vec::new();
        let mut greet = Vec::new();
        for (id, channel) in &self.channels {
            if !channel.active {
                continue;
            }
            let mut wanted = limits::WANTED_NEIGHBOURS.saturating_sub(channel.members.len());
            for (peer, known) in &channel.known {
                if wanted == 0 {
                    break;
                }
                if self.banned.contains_key(peer) || channel.members.contains(peer) {
                    continue;
                }
                if self.sessions.contains_key(peer) {
                    if !channel.greeted.contains(peer) && known.not_before <= now {
                        greet.push((*id, *peer));
                    }
                } else if !self.dialling.contains_key(peer) && known.not_before <= now {
                    due.push((*peer, known.addrs.clone()));
                    wanted -= 1;
                }
            }
        }
        for (channel, peer) in greet {
            self.greet(channel, peer);
        }
        due.sort_by_key(|(peer, _)| *peer);
        due.dedup_by_key(|(peer, _)| *peer);
        let Some(transport) = &self.transport else {
            return;
        };
        for (peer, addrs) in due {
            if self.sessions.len() + self.dialling.len() >= limits::MAX_CONNECTIONS {
                break;
            }
            tracing::debug!(%peer, ?addrs, "dial");
            self.dialling.insert(peer, Dial { since: now });
            tokio::spawn(dial(
                transport.endpoint.clone(),
                transport.addr,
                peer,
                addrs,
                self.inputs.clone(),
            ));
        }
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
        for channel in self.channels.values_mut() {
            if let Some(known) = channel.known.get_mut(&peer) {
                let wait = (FIRST_BACKOFF * 2u32.saturating_pow(known.failures)).min(MAX_BACKOFF);
                known.failures = known.failures.saturating_add(1).min(16);
                known.not_before = Instant::now() + wait;
                known.last_error = Some(reason.to_owned());
            }
        }
        self.notify();
    }

    pub(super) fn on_connected(&mut self, peer: PeerId, connection: Connection, dialled: bool) {
        let dial = self.dialling.remove(&peer);
        if peer == self.me {
            connection.close(Close::WrongPeer.code(), b"that was myself");
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
        } else if self.sessions.len() >= limits::MAX_CONNECTIONS {
            connection.close(Close::Busy.code(), b"too many connections");
            return;
        }
        tracing::info!(peer = %peer.short(), addr = %connection.remote_address(), dialled, took = ?dial.map(|d| d.since.elapsed()), "connected");
        self.next_session += 1;
        let session = Session::start(
            self.next_session,
            peer,
            connection,
            dialled,
            self.inputs.clone(),
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
                theirs: Default::default(),
                ours: Default::default(),
                requests: Default::default(),
                received: 0,
                sent: Default::default(),
            },
        );
        self.metrics.connections.set(self.sessions.len() as i64);
        let mut greet = Vec::new();
        for (id, channel) in &mut self.channels {
            if let Some(known) = channel.known.get_mut(&peer) {
                known.failures = 0;
                known.last_error = None;
                if channel.active {
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
                // One that refused stays refused.
                known.not_before = known.not_before.max(Instant::now() + FIRST_BACKOFF);
                known.last_error = Some(reason.to_owned());
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

    fn forget_session(&mut self, peer: PeerId) {
        let Some(link) = self.sessions.remove(&peer) else {
            return;
        };
        for cancel in link.requests.values() {
            cancel.cancel();
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

/// Races the addresses of a peer; the first that proves the right key wins.
async fn dial(
    endpoint: Endpoint,
    own: SocketAddr,
    peer: PeerId,
    addrs: Vec<SocketAddr>,
    core: mpsc::Sender<Input>,
) {
    let mut tries = JoinSet::new();
    for (i, addr) in addrs.iter().enumerate() {
        let (endpoint, addr) = (endpoint.clone(), reachable_as(own, *addr));
        tries.spawn(async move {
            time::sleep(ADDRESS_DELAY * i as u32).await;
            connect(&endpoint, addr, peer)
                .await
                .map_err(|reason| format!("{addr}: {reason}"))
        });
    }
    let mut reasons = Vec::new();
    while let Some(result) = tries.join_next().await {
        match result {
            Ok(Ok(connection)) => {
                let _ = core
                    .send(Input::Connected {
                        peer,
                        connection,
                        dialled: true,
                    })
                    .await;
                return;
            }
            Ok(Err(reason)) => reasons.push(reason),
            Err(_) => {}
        }
    }
    let _ = core
        .send(Input::DialFailed {
            peer,
            reason: reasons.join("; "),
        })
        .await;
}

async fn connect(
    endpoint: &Endpoint,
    addr: SocketAddr,
    peer: PeerId,
) -> Result<Connection, String> {
    let connecting = endpoint
        .connect(addr, tls::SERVER_NAME)
        .map_err(|e| e.to_string())?;
    let connection = time::timeout(limits::DIAL_TIMEOUT, connecting)
        .await
        .map_err(|_| "no answer".to_owned())?
        .map_err(|e| e.to_string())?;
    match tls::remote_peer(&connection) {
        Some(found) if found == peer => Ok(connection),
        Some(found) => {
            connection.close(Close::WrongPeer.code(), b"");
            Err(format!("somebody else answers ({})", found.short()))
        }
        None => Err("no key".to_owned()),
    }
}

/// A dual-stack socket dials IPv4 addresses as mapped ones.
fn reachable_as(own: SocketAddr, addr: SocketAddr) -> SocketAddr {
    match (own, addr) {
        (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
            SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
        }
        _ => addr,
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
        made.unwrap().0
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
