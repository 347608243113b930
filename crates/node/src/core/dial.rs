//! Getting connected: dialling known peers of the channels, accepting, and what
//! happens when two peers dial each other at once.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use quinn::{Connection, Endpoint};
use samara_wire::{ChannelId, PeerId};
use tokio::{sync::mpsc, task::JoinSet, time};

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
                known.not_before = Instant::now() + FIRST_BACKOFF;
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
    while let Some(incoming) = endpoint.accept().await {
        if endpoint.open_connections() > limits::MAX_CONNECTIONS + limits::MAX_HANDSHAKES {
            incoming.refuse();
            continue;
        }
        let core = core.clone();
        tokio::spawn(async move {
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
