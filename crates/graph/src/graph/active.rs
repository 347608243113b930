//! Who of the connected peers is an active neighbour: HyParView (Leitão, Pereira and
//! Rodrigues, DSN 2007), with two changes.
//!
//! A connection serves other things too, so that one which is no active neighbour's
//! stays, idle: its two ends answer each other and say nothing by themselves. And of
//! the places a third is kept for peers that we chose to dial: whoever connects to us
//! under any number of names holds at most the others.

use std::time::Duration;

use rand::seq::IteratorRandom;
use samara_wire::PeerId;

use super::{Action, DropReason, Fault, Graph, Neighbour};
use crate::{Message, limits};

impl Graph {
    /// A connection is there: an active neighbour at once if one is missing.
    pub(super) fn on_up(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let mono = self.clock.1;
        if peer == self.config.us {
            return;
        }
        self.forget(&peer);
        if !self.may_be_here(&peer, self.clock.0) {
            let reason = self.why(&peer);
            out.push(Action::Expel { peer, reason });
            return;
        }
        let dialled = self.overlay.connected(&peer);
        let probe = dialled && self.probed.take_if(|p| *p == peer).is_some();
        if self.neighbours.len() >= self.config.max_neighbours && !self.make_room(out) {
            self.tell_peers(peer, out);
            let reason = DropReason::Full;
            out.push(Action::Drop { peer, reason });
            return;
        }
        let mut neighbour = Neighbour::new(peer, mono);
        neighbour.probe = probe;
        neighbour.send(self.hello(), out);
        self.neighbours.insert(peer, neighbour);
        let active = self.active();
        let most = match dialled && !probe {
            true => self.capacity(),
            false => self.config.target_neighbours,
        };
        if active < most {
            let message = match active {
                0 => Message::Join,
                _ => Message::Neighbour { urgent: false },
            };
            self.activate(peer, dialled, out);
            self.neighbours[&peer].send(message, out);
        }
        self.restless = true;
    }

    pub(super) fn on_down(&mut self, peer: &PeerId) {
        let mono = self.clock.1;
        self.proved.remove(peer);
        if self.forget(peer) {
            self.overlay.failed(peer, mono, &mut self.rng);
            self.restless = true;
        }
    }

    /// A peer that was dialled without need said what it holds: if that is something
    /// else, it belongs to a part of the overlay that ours has lost, and gets a place.
    pub(super) fn weigh_probe(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let ours = self.records.summary();
        let n = &self.neighbours[&peer];
        let same = n.summary.is_none_or(|theirs| theirs == ours);
        if n.active || !n.probe || same || self.chain.is_none() {
            return;
        }
        if self.active() < self.capacity() || self.displace(out) {
            self.activate(peer, true, out);
            self.neighbours[&peer].send(Message::Neighbour { urgent: true }, out);
        }
    }

    /// A peer asks for a place among the active neighbours.
    pub(super) fn on_neighbour(
        &mut self,
        peer: PeerId,
        urgent: bool,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let mono = self.clock.1;
        let price = limits::PLACE_PAUSE.as_secs();
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        if n.active || !n.places.take_whole(price, mono) {
            return Ok(());
        }
        match self.has_place() || urgent && self.displace(out) {
            true => self.activate(peer, false, out),
            false => self.neighbours[&peer].send(Message::Disconnect, out),
        }
        Ok(())
    }

    /// The peer does not count us among its neighbours, so neither do we.
    pub(super) fn on_disconnect(&mut self, peer: PeerId) -> Result<(), Fault> {
        let mono = self.clock.1;
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        n.not_before = mono + limits::PLACE_PAUSE;
        self.deactivate(peer);
        Ok(())
    }

    /// Looks for neighbours while there are too few: among those connected, then by
    /// new connections.
    pub(super) fn connect(&mut self, out: &mut Vec<Action>) {
        let (now, mono) = self.clock;
        let (missing, own) = self.missing();
        let ready = |n: &&Neighbour| !n.active && n.greeted && n.not_before <= mono;
        let ready = self.neighbours.values().filter(ready).map(|n| n.peer);
        let asked = ready.sample(&mut self.rng, missing);
        for peer in &asked {
            let urgent = self.active() == 0;
            self.activate(*peer, false, out);
            self.neighbours[peer].send(Message::Neighbour { urgent }, out);
        }
        let neighbours = &self.neighbours;
        let is_neighbour = |p: &PeerId| neighbours.contains_key(p);
        let dial = own.max(missing - asked.len());
        self.overlay
            .connect(now, mono, dial, is_neighbour, &mut self.rng, out);
    }

    /// When [`connect`](Self::connect) has something to do.
    pub(super) fn connect_timeout(&self) -> Option<Duration> {
        let (missing, own) = self.missing();
        let is_neighbour = |p: &PeerId| self.neighbours.contains_key(p);
        let dial = self.overlay.next_timeout(missing.max(own), is_neighbour);
        let idle = self
            .neighbours
            .values()
            .filter(|n| missing > 0 && !n.active && n.greeted);
        dial.into_iter().chain(idle.map(|n| n.not_before)).min()
    }

    /// How many active neighbours are missing, and how many that we dialled.
    pub(super) fn missing(&self) -> (usize, usize) {
        let (active, target) = (self.active(), self.config.target_neighbours);
        let dialled = self.neighbours.values().filter(|n| n.active && n.dialled);
        let own = self.own_places().saturating_sub(dialled.count());
        let room = self.capacity().saturating_sub(active);
        (target.saturating_sub(active), own.min(room))
    }

    pub(super) fn active(&self) -> usize {
        self.neighbours.values().filter(|n| n.active).count()
    }

    pub(super) fn active_peers(&self) -> Vec<PeerId> {
        let active = self.neighbours.values().filter(|n| n.active);
        active.map(|n| n.peer).collect()
    }

    fn capacity(&self) -> usize {
        self.config.target_neighbours + self.config.target_neighbours.div_ceil(2)
    }

    /// Places that only those get whom we dialled.
    fn own_places(&self) -> usize {
        self.config.target_neighbours / 3
    }

    /// Whether one more that asks by itself may have a place.
    pub(super) fn has_place(&self) -> bool {
        let others = self.neighbours.values().filter(|n| n.active && !n.dialled);
        self.active() < self.capacity() && others.count() < self.capacity() - self.own_places()
    }

    /// Takes the place of a random one that we did not dial.
    pub(super) fn displace(&mut self, out: &mut Vec<Action>) -> bool {
        let mono = self.clock.1;
        let others = self.neighbours.values().filter(|n| n.active && !n.dialled);
        let Some(victim) = others.map(|n| n.peer).choose(&mut self.rng) else {
            return false;
        };
        if !self.displaced.take_whole(1, mono) {
            return false;
        }
        self.neighbours[&victim].send(Message::Disconnect, out);
        let n = self.neighbours.get_mut(&victim).expect("just chosen");
        n.not_before = mono + limits::PLACE_PAUSE;
        self.deactivate(victim);
        true
    }

    pub(super) fn activate(&mut self, peer: PeerId, dialled: bool, out: &mut Vec<Action>) {
        let mono = self.clock.1;
        let summary = self.records.summary();
        let n = self.neighbours.get_mut(&peer).expect("a neighbour");
        (n.active, n.dialled, n.eager) = (true, dialled, true);
        n.next_summary = Some(mono + limits::RECONCILE_EVERY);
        if n.greeted {
            // What we took since our Hello was flooded to others only.
            n.send(Message::Summary(summary), out);
        }
        self.overlay.unreserve(&peer);
        let first = mono + limits::SHUFFLE_FIRST;
        self.next_shuffle.get_or_insert(first);
    }

    fn deactivate(&mut self, peer: PeerId) {
        let n = self.neighbours.get_mut(&peer).expect("a neighbour");
        n.active = false;
        n.next_summary = None;
        self.overlay.reserve(peer, peer, &mut self.rng);
        self.restless = true;
    }

    /// Lets an idle connection go that is no active neighbour's.
    fn make_room(&mut self, out: &mut Vec<Action>) -> bool {
        let idle = self.neighbours.values().filter(|n| n.is_idle());
        let Some(peer) = idle.map(|n| n.peer).choose(&mut self.rng) else {
            return false;
        };
        self.forget(&peer);
        let reason = DropReason::Full;
        out.push(Action::Drop { peer, reason });
        true
    }
}
