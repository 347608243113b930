//! Walks through the overlay: newcomers are told of, peers exchanged (HyParView).
//!
//! The answer to an exchange goes back the way that it came, from neighbour to
//! neighbour, so that it reaches a member that nobody can dial.

use std::{collections::VecDeque, time::Duration};

use rand::{
    RngExt,
    seq::{IndexedRandom, IteratorRandom},
};
use samara_wire::PeerId;

use super::{Action, Fault, Graph, Learned};
use crate::{Message, PeerAddress, limits};

/// The ways back of walks that we passed on or began.
#[derive(Debug, Default)]
pub(super) struct Routes {
    list: VecDeque<Route>,
    last: u32,
}

#[derive(Debug)]
struct Route {
    ours: u32,
    to: PeerId,
    /// Whose walk it is and what it calls it; `None`: our own.
    from: Option<(PeerId, u32)>,
    until: Duration,
}

/// Exchanges of peers before their time.
#[derive(Debug, Default)]
pub(super) struct Haste {
    at: Option<Duration>,
    last: Option<Duration>,
    /// How many there were since the last regular one.
    count: u32,
}

impl Haste {
    pub(super) fn next(&self) -> Option<Duration> {
        self.at
    }

    /// Has one come as soon as may be.
    pub(super) fn want(&mut self, mono: Duration) {
        let wait = limits::SHUFFLE_HASTE.saturating_mul(1 << self.count.min(16));
        let soonest = self.last.map_or(mono, |last| mono.max(last + wait));
        self.at.get_or_insert(soonest);
    }

    /// Notes an exchange.
    fn exchanged(&mut self, mono: Duration, regular: bool) {
        let count = if regular { 0 } else { self.count + 1 };
        let last = Some(mono);
        *self = Self {
            at: None,
            last,
            count,
        };
    }
}

impl Routes {
    /// Notes a walk that goes on to `to`; what we call it there.
    fn add(&mut self, from: Option<(PeerId, u32)>, to: PeerId, mono: Duration) -> u32 {
        while self.list.front().is_some_and(|r| r.until <= mono) {
            self.list.pop_front();
        }
        let source = from.map(|(peer, _)| peer);
        let same = |r: &Route| r.from.map(|(peer, _)| peer) == source;
        if self.list.iter().filter(|r| same(r)).count() >= limits::MAX_ROUTES_SHARE {
            let oldest = self.list.iter().position(same);
            self.list.remove(oldest.expect("there are some"));
        }
        if self.list.len() >= limits::MAX_ROUTES {
            self.list.pop_front();
        }
        self.last = self.last.wrapping_add(1);
        self.list.push_back(Route {
            ours: self.last,
            to,
            from,
            until: mono + limits::ROUTE_LIFETIME,
        });
        self.last
    }

    /// Whose answer this is, once: `Some(None)` for our own walk.
    fn take(&mut self, ours: u32, to: PeerId, mono: Duration) -> Option<Option<(PeerId, u32)>> {
        let is = |r: &Route| r.ours == ours && r.to == to && r.until > mono;
        let at = self.list.iter().position(is)?;
        self.list.remove(at).map(|r| r.from)
    }
}

impl Graph {
    /// A newcomer: it gets a place if there is any way, is told of others, and others
    /// are told of it.
    pub(super) fn on_join(&mut self, peer: PeerId, out: &mut Vec<Action>) -> Result<(), Fault> {
        let (now, mono) = self.clock;
        self.on_neighbour(peer, true, out)?;
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        if !n.walks.take(1, mono) || !self.joins.take_whole(1, mono) {
            return Ok(());
        }
        self.tell_peers(peer, out);
        let Some(address) = self.overlay.address(&peer, now).cloned() else {
            return Ok(());
        };
        for n in self.neighbours.values() {
            if n.active && n.peer != peer {
                let (ttl, address) = (limits::WALK_STEPS, address.clone());
                n.send(Message::JoinWalk { ttl, address }, out);
            }
        }
        Ok(())
    }

    /// Passes a newcomer on, or is where its walk ends: then it is dialled.
    pub(super) fn on_join_walk(
        &mut self,
        peer: PeerId,
        ttl: u8,
        address: PeerAddress,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let mono = self.clock.1;
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        let newcomer = address.peer();
        if !n.walks.take(1, mono) || newcomer == self.config.us {
            return Ok(());
        }
        let next = self.stranger(&[peer, newcomer]);
        let (Some(next), 1..) = (next, ttl) else {
            // Who passed it on did not verify it, and has no part in a forgery.
            if self.learn(address) != Learned::Forged && !self.neighbours.contains_key(&newcomer) {
                self.overlay.reserve(newcomer, peer, &mut self.rng);
                if self.has_place() {
                    self.overlay.connect_to(newcomer, mono, out);
                }
            }
            return Ok(());
        };
        if ttl == limits::WALK_REMEMBERED && self.learn(address.clone()) != Learned::Forged {
            self.remember(newcomer, peer);
        }
        let ttl = ttl - 1;
        self.neighbours[&next].send(Message::JoinWalk { ttl, address }, out);
        Ok(())
    }

    /// Begins an exchange of peers, when it is time.
    pub(super) fn shuffle(&mut self, out: &mut Vec<Action>) {
        let (now, mono) = self.clock;
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= mono);
        let regular = due(self.next_shuffle);
        if !regular && !due(self.haste.next()) {
            return;
        }
        self.haste.exchanged(mono, regular);
        if regular {
            let jitter = self.rng.random_range(0.9..1.1);
            self.next_shuffle = Some(mono + limits::SHUFFLE_EVERY.mul_f64(jitter));
            if self.missing() == (0, 0) {
                self.probe(out);
            }
        }
        let active = self.active_peers();
        // In haste it goes to all and no further: a walk ends where somebody has just left.
        let (to, ttl) = match regular {
            true => (
                active.choose(&mut self.rng).into_iter().collect(),
                limits::SHUFFLE_STEPS,
            ),
            false => (active.iter().collect::<Vec<_>>(), 0),
        };
        for to in to {
            let peers = self.overlay.exchange(&active, &[*to], now, &mut self.rng);
            let walk = self.routes.add(None, *to, mono);
            self.neighbours[to].send(Message::Shuffle { walk, ttl, peers }, out);
        }
    }

    /// Dials a random peer that is known and not connected, though none is missing: the
    /// other half of an overlay that fell apart is found by nothing else.
    fn probe(&mut self, out: &mut Vec<Action>) {
        let mono = self.clock.1;
        let known = self.overlay.iter().map(PeerAddress::peer);
        let strangers = known.filter(|p| !self.neighbours.contains_key(p));
        if let Some(peer) = strangers.choose(&mut self.rng)
            && self.overlay.connect_to(peer, mono, out)
        {
            self.probed = Some(peer);
        }
    }

    /// Passes an exchange on, or is where its walk ends: then it is answered.
    pub(super) fn on_shuffle(
        &mut self,
        peer: PeerId,
        walk: u32,
        ttl: u8,
        peers: Vec<PeerAddress>,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let (now, mono) = self.clock;
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        if !n.walks.take(1, mono) {
            return Ok(());
        }
        let mut not = vec![peer];
        not.extend(peers.first().map(PeerAddress::peer));
        if let (Some(to), 1..) = (self.stranger(&not), ttl) {
            let (walk, ttl) = (self.routes.add(Some((peer, walk)), to, mono), ttl - 1);
            self.neighbours[&to].send(Message::Shuffle { walk, ttl, peers }, out);
            return Ok(());
        }
        let active = self.active_peers();
        let given = self.overlay.exchange(&active, &not, now, &mut self.rng);
        self.take_peers(peer, peers);
        let peers = given;
        self.neighbours[&peer].send(Message::Shuffled { walk, peers }, out);
        Ok(())
    }

    /// Passes the answer to an exchange back, or takes it in.
    pub(super) fn on_shuffled(
        &mut self,
        peer: PeerId,
        walk: u32,
        peers: Vec<PeerAddress>,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let mono = self.clock.1;
        match self.routes.take(walk, peer, mono) {
            Some(None) => self.take_peers(peer, peers),
            Some(Some((back, walk))) => {
                if let Some(n) = self.neighbours.get(&back) {
                    n.send(Message::Shuffled { walk, peers }, out);
                }
            }
            None => {}
        }
        Ok(())
    }

    /// Tells a peer of us and of some others.
    pub(super) fn tell_peers(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let peers = self.overlay.sample(&peer, self.clock.0, &mut self.rng);
        if !peers.is_empty() {
            let message = Message::Peers(peers);
            out.push(Action::Send { peer, message });
        }
    }

    /// Keeps a peer that `source` named in reserve, unless it is connected.
    pub(super) fn remember(&mut self, peer: PeerId, source: PeerId) {
        if !self.neighbours.contains_key(&peer) {
            self.overlay.reserve(peer, source, &mut self.rng);
        }
    }

    /// Peers that went through several hands: forged ones are nobody's whom we know.
    fn take_peers(&mut self, source: PeerId, peers: Vec<PeerAddress>) {
        for address in peers {
            let peer = address.peer();
            if self.learn(address) != Learned::Forged {
                self.remember(peer, source);
            }
        }
    }

    /// A random active neighbour that is none of these.
    fn stranger(&mut self, not: &[PeerId]) -> Option<PeerId> {
        let mut active = self.active_peers();
        active.retain(|p| !not.contains(p));
        active.choose(&mut self.rng).copied()
    }
}
