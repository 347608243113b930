use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{RngExt, seq::IteratorRandom};
use rand_chacha::ChaCha8Rng;
use samara_wire::PeerId;

use super::Action;
use crate::{PeerAddress, WallMs, limits};

/// The peers that could become neighbours, and when to try which.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    pub(super) ours: Option<PeerAddress>,
    known: BTreeMap<PeerId, Known>,
    /// Attempts under way at known peers, each until it is given up. There are few,
    /// and they are counted at every event.
    attempts: BTreeMap<PeerId, Duration>,
    /// All that are known by when they may be tried.
    rested: BTreeSet<(Duration, PeerId)>,
    /// When addresses that are too old were last forgotten.
    swept: Option<Duration>,
    /// Peers in reserve for lost neighbours (HyParView's passive view), and who named
    /// each. All of them are known.
    passive: BTreeMap<PeerId, PeerId>,
}

#[derive(Debug)]
struct Known {
    address: PeerAddress,
    failures: u32,
    not_before: Duration,
}

/// What an address that somebody told us is worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Learned {
    /// News.
    New,
    /// Known, our own, too old or of no use.
    Ignored,
    /// Its peer did not sign it.
    Forged,
}

impl Overlay {
    /// Takes a peer's addresses in; a full table lets a random one go, so that
    /// nobody can choose who is forgotten.
    pub(super) fn learn(
        &mut self,
        us: PeerId,
        now: WallMs,
        address: PeerAddress,
        keep: impl Fn(&PeerId) -> bool,
        rng: &mut ChaCha8Rng,
    ) -> Learned {
        let peer = address.peer();
        let old = self.known.get(&peer).map(|k| k.address.issued());
        let useless = peer == us || address.addrs().is_empty() || !fresh(now, &address);
        // Before the signature: what changes nothing need not be verified.
        if useless || old >= Some(address.issued()) {
            return Learned::Ignored;
        }
        if address.verify().is_err() {
            return Learned::Forged;
        }
        match self.known.get_mut(&peer) {
            Some(known) => {
                known.address = address;
                // It may be somewhere else now: the failures were there.
                known.failures = 0;
            }
            None => {
                if self.known.len() >= limits::MAX_KNOWN_PEERS {
                    let keep = |p: &&PeerId| !keep(p) && !self.passive.contains_key(p);
                    let others = self.known.keys().filter(keep);
                    let Some(victim) = others.choose(rng).copied() else {
                        return Learned::Ignored;
                    };
                    self.drop_known(&victim);
                }
                self.rested.insert((Duration::ZERO, peer));
                self.known.insert(
                    peer,
                    Known {
                        address,
                        failures: 0,
                        not_before: Duration::ZERO,
                    },
                );
            }
        }
        Learned::New
    }

    /// Keeps a known peer in reserve. Who named too many displaces its own, and a full
    /// reserve lets a random one go.
    pub(super) fn reserve(&mut self, peer: PeerId, source: PeerId, rng: &mut ChaCha8Rng) {
        if !self.known.contains_key(&peer) || self.passive.contains_key(&peer) {
            return;
        }
        let named = self.passive.values().filter(|s| **s == source).count();
        let full = self.passive.len() >= limits::PASSIVE_VIEW;
        if named >= limits::PASSIVE_SHARE || full {
            let own = |s: &PeerId| named < limits::PASSIVE_SHARE || *s == source;
            let victims = self.passive.iter().filter(|(_, s)| own(s));
            if let Some(victim) = victims.map(|(p, _)| *p).choose(rng) {
                self.passive.remove(&victim);
            }
        }
        self.passive.insert(peer, source);
    }

    /// Forgets where somebody is who was revoked, so that nobody is sent there.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.unreserve(peer);
        self.drop_known(peer);
    }

    fn drop_known(&mut self, peer: &PeerId) {
        self.attempts.remove(peer);
        if let Some(known) = self.known.remove(peer) {
            self.rested.remove(&(known.not_before, *peer));
        }
    }

    /// A neighbour is in reserve no more.
    pub(super) fn unreserve(&mut self, peer: &PeerId) {
        self.passive.remove(peer);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PeerAddress> {
        self.known.values().map(|k| &k.address)
    }

    /// Peers in reserve.
    pub(super) fn reserved(&self) -> usize {
        self.passive.len()
    }

    /// What is known of a peer, if it may be passed on.
    pub(super) fn address(&self, peer: &PeerId, now: WallMs) -> Option<&PeerAddress> {
        let known = self.known.get(peer).map(|k| &k.address);
        known.filter(|a| fresh(now, a))
    }

    /// Ours and a random choice of the fresh others, for `to`.
    pub(super) fn sample(
        &self,
        to: &PeerId,
        now: WallMs,
        rng: &mut ChaCha8Rng,
    ) -> Vec<PeerAddress> {
        let others = self
            .iter()
            .filter(|a| a.peer() != *to && fresh(now, a))
            .sample(rng, limits::MAX_PEERS_IN_MESSAGE - 1);
        self.ours.iter().chain(others).cloned().collect()
    }

    /// Ours, some of the `active` ones and some in reserve, for an exchange with those
    /// that are `not` to be told of themselves.
    pub(super) fn exchange(
        &self,
        active: &[PeerId],
        not: &[PeerId],
        now: WallMs,
        rng: &mut ChaCha8Rng,
    ) -> Vec<PeerAddress> {
        let mut pick = |peers: &mut dyn Iterator<Item = &PeerId>, n| {
            let others = peers.filter(|p| !not.contains(p));
            let known = others.filter_map(|p| self.address(p, now));
            known.sample(rng, n)
        };
        let active = pick(&mut active.iter(), limits::SHUFFLE_ACTIVE);
        let passive = pick(&mut self.passive.keys(), limits::SHUFFLE_PASSIVE);
        let all = self.ours.iter().chain(active).chain(passive);
        all.cloned().collect()
    }

    /// A connection is there; whether we had asked for it.
    pub(super) fn connected(&mut self, peer: &PeerId) -> bool {
        if let Some(known) = self.known.get_mut(peer) {
            known.failures = 0;
        }
        self.attempts.remove(peer).is_some()
    }

    /// An attempt came to nothing, or the peer let us go: not again soon.
    pub(super) fn failed(&mut self, peer: &PeerId, mono: Duration, rng: &mut ChaCha8Rng) {
        self.passive.remove(peer);
        self.attempts.remove(peer);
        if let Some(known) = self.known.get_mut(peer) {
            let wait = limits::CONNECT_RETRY * 2u32.saturating_pow(known.failures.min(16));
            let wait = wait.min(limits::CONNECT_RETRY_MAX);
            known.failures = known.failures.saturating_add(1);
            self.rested.remove(&(known.not_before, *peer));
            known.not_before = mono + wait.mul_f64(rng.random_range(0.75..1.25));
            self.rested.insert((known.not_before, *peer));
        }
    }

    /// Forgets what is too old, gives up attempts that took too long, and starts new
    /// ones while there are fewer than `missing` under way: those in reserve first.
    pub(super) fn connect(
        &mut self,
        now: WallMs,
        mono: Duration,
        missing: usize,
        is_neighbour: impl Fn(&PeerId) -> bool,
        rng: &mut ChaCha8Rng,
        out: &mut Vec<Action>,
    ) {
        if self
            .swept
            .is_none_or(|at| mono >= at + limits::ADDRESS_SWEEP)
        {
            self.swept = Some(mono);
            let stale =
                |(peer, k): &(&PeerId, &Known)| !fresh(now, &k.address) && !is_neighbour(peer);
            let stale: Vec<_> = self.known.iter().filter(stale).map(|(p, _)| *p).collect();
            stale.iter().for_each(|peer| self.forget(peer));
        }
        let late = self.attempts.iter().filter(|(_, until)| **until <= mono);
        let given_up: Vec<_> = late.map(|(peer, _)| *peer).collect();
        for peer in given_up {
            self.failed(&peer, mono, rng);
        }
        let room = self.room(missing);
        if room == 0 {
            return;
        }
        let may = |peer: &PeerId| {
            let rested = self.known[peer].not_before <= mono;
            rested && !self.attempts.contains_key(peer) && !is_neighbour(peer)
        };
        let reserved = self.passive.keys().filter(|p| may(p)).copied();
        let mut chosen = reserved.sample(rng, room);
        let others = self.known.keys().filter(|p| !self.passive.contains_key(p));
        let others = others.filter(|p| may(p)).copied();
        chosen.extend(others.sample(rng, room - chosen.len()));
        for peer in chosen {
            self.dial(peer, mono, out);
        }
    }

    /// Connects to one known peer, if it may be tried and there is room for an attempt.
    pub(super) fn connect_to(
        &mut self,
        peer: PeerId,
        mono: Duration,
        out: &mut Vec<Action>,
    ) -> bool {
        let rested = |k: &Known| k.not_before <= mono;
        let room = self.room(limits::MAX_CONNECTING) > 0 && !self.attempts.contains_key(&peer);
        let may = room && self.known.get(&peer).is_some_and(rested);
        if may {
            self.dial(peer, mono, out);
        }
        may
    }

    fn dial(&mut self, peer: PeerId, mono: Duration, out: &mut Vec<Action>) {
        let addrs = self.known[&peer].address.addrs().to_vec();
        self.attempts.insert(peer, mono + limits::CONNECT_TIMEOUT);
        out.push(Action::Connect { peer, addrs });
    }

    /// Attempts that may be started.
    fn room(&self, missing: usize) -> usize {
        let most = missing.min(limits::MAX_CONNECTING);
        most.saturating_sub(self.attempts.len())
    }

    /// When [`connect`](Self::connect) has something to do, while `missing` more are
    /// wanted.
    pub(super) fn next_timeout(
        &self,
        missing: usize,
        is_neighbour: impl Fn(&PeerId) -> bool,
    ) -> Option<Duration> {
        let deadlines = self.attempts.values().copied();
        if self.room(missing) == 0 {
            return deadlines.min();
        }
        let idle = |peer: &PeerId| !self.attempts.contains_key(peer) && !is_neighbour(peer);
        let next = self.rested.iter().find(|(_, peer)| idle(peer));
        deadlines.chain(next.map(|(at, _)| *at)).min()
    }
}

fn fresh(now: WallMs, address: &PeerAddress) -> bool {
    address.issued() <= now.after(limits::CLOCK_AHEAD)
        && now.since(address.issued()) <= limits::ADDRESS_LIFETIME
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::SecretKey;

    #[test]
    fn one_source_fills_a_third_of_the_reserve() {
        let mut overlay = Overlay::default();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let now = WallMs(1_735_689_600_000);
        let mut name = |source: u8, n: u8| {
            let key = SecretKey::from_bytes(&[n; 32]);
            let addrs = [([10, 0, 0, n], 1).into()];
            let address = PeerAddress::sign(&key, &addrs, now);
            overlay.learn(PeerId([0; 32]), now, address, |_| false, &mut rng);
            overlay.reserve(key.peer_id(), PeerId([source; 32]), &mut rng);
            let by = |s: u8| overlay.passive.values().filter(|v| v.0[0] == s).count();
            (overlay.passive.len(), by(source))
        };
        for n in 0..20 {
            let (_, named) = name(1, n);
            assert_eq!(named, limits::PASSIVE_SHARE.min(n as usize + 1));
        }
        for n in 20..40 {
            name(2, n);
        }
        for n in 40..50 {
            assert!(name(3, n).0 <= limits::PASSIVE_VIEW);
        }
        // Full now: a newcomer's word displaces anybody's, a flooder's its own.
        let before = overlay.passive.clone();
        let key = SecretKey::from_bytes(&[60; 32]);
        let address = PeerAddress::sign(&key, &[([10, 0, 0, 60], 1).into()], now);
        overlay.learn(PeerId([0; 32]), now, address, |_| false, &mut rng);
        overlay.reserve(key.peer_id(), PeerId([1; 32]), &mut rng);
        let gone: Vec<_> = before
            .iter()
            .filter(|(p, _)| !overlay.passive.contains_key(p))
            .collect();
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].1.0[0], 1);
        assert_eq!(overlay.reserved(), limits::PASSIVE_VIEW);
    }

    #[test]
    fn the_next_attempt_is_the_first_of_those_that_may_be_tried() {
        let mut overlay = Overlay::default();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let now = WallMs(1_735_689_600_000);
        let us = PeerId([0; 32]);
        let mut peers = Vec::new();
        for n in 0..12 {
            let key = SecretKey::from_bytes(&[n; 32]);
            let address = PeerAddress::sign(&key, &[([10, 0, 0, n], 1).into()], now);
            overlay.learn(us, now, address, |_| false, &mut rng);
            peers.push(key.peer_id());
        }
        let is_neighbour = |p: &PeerId| *p == peers[0] || *p == peers[1];
        for step in 0..200u64 {
            let mono = Duration::from_secs(step);
            let peer = peers[rng.random_range(0..peers.len())];
            match step % 5 {
                0 | 1 => overlay.failed(&peer, mono, &mut rng),
                2 => drop(overlay.connected(&peer)),
                3 => drop(overlay.connect_to(peer, mono, &mut Vec::new())),
                _ if step > 150 => overlay.forget(&peer),
                _ => overlay.connect(now, mono, 2, is_neighbour, &mut rng, &mut Vec::new()),
            }
            let times = overlay.known.iter().map(|(p, k)| (k.not_before, *p));
            assert_eq!(overlay.rested, times.collect());
            let idle = |p: &PeerId| !overlay.attempts.contains_key(p) && !is_neighbour(p);
            let idle = overlay.known.iter().filter(|(p, _)| idle(p));
            let walked = idle.map(|(_, k)| k.not_before);
            let due = overlay.attempts.values().copied();
            let walked = match overlay.room(4) {
                0 => due.min(),
                _ => due.chain(walked).min(),
            };
            assert_eq!(overlay.next_timeout(4, is_neighbour), walked);
        }
    }
}
