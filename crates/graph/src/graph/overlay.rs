use std::{collections::BTreeMap, time::Duration};

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
}

#[derive(Debug)]
struct Known {
    address: PeerAddress,
    failures: u32,
    not_before: Duration,
    /// An attempt is under way until then.
    connecting: Option<Duration>,
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
                    let others = self.known.keys().filter(|p| !keep(p));
                    let Some(victim) = others.choose(rng).copied() else {
                        return Learned::Ignored;
                    };
                    self.known.remove(&victim);
                }
                self.known.insert(
                    peer,
                    Known {
                        address,
                        failures: 0,
                        not_before: Duration::ZERO,
                        connecting: None,
                    },
                );
            }
        }
        Learned::New
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &PeerAddress> {
        self.known.values().map(|k| &k.address)
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

    /// A connection is there.
    pub(super) fn connected(&mut self, peer: &PeerId) {
        if let Some(known) = self.known.get_mut(peer) {
            known.failures = 0;
            known.connecting = None;
        }
    }

    /// An attempt came to nothing, or the peer let us go: not again soon.
    pub(super) fn failed(&mut self, peer: &PeerId, mono: Duration, rng: &mut ChaCha8Rng) {
        if let Some(known) = self.known.get_mut(peer) {
            known.connecting = None;
            let wait = limits::CONNECT_RETRY * 2u32.saturating_pow(known.failures.min(16));
            let wait = wait.min(limits::CONNECT_RETRY_MAX);
            known.failures = known.failures.saturating_add(1);
            known.not_before = mono + wait.mul_f64(rng.random_range(0.75..1.25));
        }
    }

    /// Forgets what is too old, gives up attempts that took too long, and starts new
    /// ones while there are fewer than `missing` under way.
    pub(super) fn connect(
        &mut self,
        now: WallMs,
        mono: Duration,
        missing: usize,
        is_neighbour: impl Fn(&PeerId) -> bool,
        rng: &mut ChaCha8Rng,
        out: &mut Vec<Action>,
    ) {
        self.known
            .retain(|peer, k| fresh(now, &k.address) || is_neighbour(peer));
        let late = |k: &Known| k.connecting.is_some_and(|until| until <= mono);
        let given_up: Vec<_> = self.known.iter().filter(|(_, k)| late(k)).collect();
        let given_up: Vec<_> = given_up.into_iter().map(|(peer, _)| *peer).collect();
        for peer in given_up {
            self.failed(&peer, mono, rng);
        }
        let busy = self.known.values().filter(|k| k.connecting.is_some());
        let room = missing.min(limits::MAX_CONNECTING);
        let chosen = self
            .known
            .iter()
            .filter(|(peer, k)| {
                k.connecting.is_none() && k.not_before <= mono && !is_neighbour(peer)
            })
            .map(|(peer, _)| *peer)
            .sample(rng, room.saturating_sub(busy.count()));
        for peer in chosen {
            let known = self.known.get_mut(&peer).expect("just chosen");
            known.connecting = Some(mono + limits::CONNECT_TIMEOUT);
            let addrs = known.address.addrs().to_vec();
            out.push(Action::Connect { peer, addrs });
        }
    }

    /// When [`connect`](Self::connect) has something to do, while `missing` more are
    /// wanted.
    pub(super) fn next_timeout(
        &self,
        missing: usize,
        is_neighbour: impl Fn(&PeerId) -> bool,
    ) -> Option<Duration> {
        let deadlines = self.known.values().filter_map(|k| k.connecting);
        let room = deadlines.clone().count() < missing.min(limits::MAX_CONNECTING);
        let idle = self
            .known
            .iter()
            .filter(|(peer, k)| room && k.connecting.is_none() && !is_neighbour(peer));
        deadlines.chain(idle.map(|(_, k)| k.not_before)).min()
    }
}

fn fresh(now: WallMs, address: &PeerAddress) -> bool {
    address.issued() <= now.after(limits::CLOCK_AHEAD)
        && now.since(address.issued()) <= limits::ADDRESS_LIFETIME
}
