//! How a new record reaches everybody: Plumtree (Leitão, Pereira and Rodrigues, SRDS
//! 2007). Records go whole along the links of a tree that their own duplicates prune,
//! and as ids along the others, which mend the tree when an id came and its record
//! did not.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use samara_wire::{PeerId, RecordId};

use super::{Action, Fault, Graph, Pending, quota::Shelf, records::Telling};
use crate::{Message, limits};

/// Records whose ids came and that are expected from another neighbour.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    holders: BTreeMap<RecordId, Vec<PeerId>>,
    /// When which is asked for, and who named it first.
    due: VecDeque<(Duration, RecordId, PeerId)>,
    /// How many are in `due` by whom.
    named: BTreeMap<PeerId, usize>,
}

impl Awaited {
    /// Notes that `peer` has it. What there is no room for comes with a
    /// reconciliation.
    fn note(&mut self, id: RecordId, peer: PeerId, mono: Duration) {
        if let Some(holders) = self.holders.get_mut(&id) {
            if holders.len() < limits::MAX_HOLDERS && !holders.contains(&peer) {
                holders.push(peer);
            }
            return;
        }
        let named = self.named.get(&peer).copied().unwrap_or(0);
        if self.due.len() < limits::MAX_AWAITED && named < limits::MAX_AWAITED_SHARE {
            self.named.insert(peer, named + 1);
            self.holders.insert(id, vec![peer]);
            self.due.push_back((mono + limits::GRAFT_AFTER, id, peer));
        }
    }

    /// It came: who else has it.
    pub(super) fn came(&mut self, id: &RecordId) -> Vec<PeerId> {
        self.holders.remove(id).unwrap_or_default()
    }

    /// Takes out what has been awaited for too long.
    fn overdue(&mut self, mono: Duration) -> Vec<(RecordId, Vec<PeerId>)> {
        let mut all = Vec::new();
        while let Some((at, id, peer)) = self.due.front().copied()
            && at <= mono
        {
            self.due.pop_front();
            match self.named.get_mut(&peer) {
                Some(named) if *named > 1 => *named -= 1,
                _ => _ = self.named.remove(&peer),
            }
            all.extend(self.holders.remove(&id).map(|holders| (id, holders)));
        }
        all
    }

    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.due.front().map(|(at, _, _)| *at)
    }
}

impl Graph {
    /// Passes a new record on: whole along the tree while it is small and its author
    /// does not flood, as an id along the other links. What is large, or was fetched
    /// and so is known to most, goes by id and is asked for at once. Of an author that
    /// floods more than that nobody is told.
    pub(super) fn flood(&mut self, pending: &Pending, out: &mut Vec<Action>) {
        let mono = self.clock.1;
        let h = &pending.header;
        if self.records.live(&h.id).is_none() {
            return;
        }
        let small = pending.record.bytes().len() <= limits::EAGER_BYTES;
        let telling = self
            .records
            .telling(&h.author, small && !pending.fetched, mono);
        // Nothing that governs others waits, and there is little of it.
        let governs = h.kind.is_control() && Shelf::of(&h.view()) != Shelf::Others;
        if telling == Telling::Nothing && !governs {
            return;
        }
        let whole = telling == Telling::Whole;
        for n in self.neighbours.values_mut() {
            // Who has no charter cannot judge it and will reconcile.
            let useless = !n.active || n.charter.is_none();
            if useless || pending.from.contains(&n.peer) || n.offers(&h.id) {
                continue;
            }
            match whole {
                true if n.eager && !n.slow => {
                    n.send(Message::Record(pending.record.bytes().clone()), out);
                }
                _ => n.announce(h.id, whole, mono, out),
            }
        }
    }

    /// A record came unasked: the link is one of the tree if it was news, else not.
    pub(super) fn weigh_link(&mut self, peer: PeerId, news: bool, out: &mut Vec<Action>) {
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        if !news && n.eager {
            n.send(Message::Prune, out);
        }
        n.eager = news;
    }

    pub(super) fn on_prune(&mut self, peer: PeerId) -> Result<(), Fault> {
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        n.eager = false;
        Ok(())
    }

    pub(super) fn on_graft(
        &mut self,
        peer: PeerId,
        ids: Vec<RecordId>,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        n.eager = true;
        self.on_request(peer, ids, out)
    }

    pub(super) fn on_i_have(&mut self, peer: PeerId, ids: Vec<RecordId>) -> Result<(), Fault> {
        let mono = self.clock.1;
        for id in ids {
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.from.insert(peer);
            } else if self.inflight.contains_key(&id) {
                self.want(peer, id);
            } else if !self.is_useless(&id) {
                self.awaited.note(id, peer, mono);
            }
        }
        Ok(())
    }

    /// Asks for what was awaited in vain: of the first that has it, which joins the
    /// tree; of the others if it does not deliver.
    pub(super) fn graft(&mut self, out: &mut Vec<Action>) {
        let mono = self.clock.1;
        let mut asked: BTreeMap<PeerId, Vec<RecordId>> = BTreeMap::new();
        let mut waiting = BTreeSet::new();
        for (id, holders) in self.awaited.overdue(mono) {
            if self.is_useless(&id) || self.pending.contains_key(&id) {
                continue;
            }
            let open = self.pending.len() + self.inflight.len();
            let mut first = open < limits::MAX_PENDING && !self.inflight.contains_key(&id);
            for peer in holders {
                let Some(n) = self.neighbours.get_mut(&peer) else {
                    continue;
                };
                if first && n.requested() < limits::MAX_REQUESTED {
                    first = false;
                    n.eager = true;
                    n.ask(id, mono);
                    self.inflight.insert(id, peer);
                    self.grafted.insert(id);
                    asked.entry(peer).or_default().push(id);
                } else {
                    n.want(id);
                    waiting.insert(peer);
                }
            }
        }
        for (peer, ids) in asked {
            self.neighbours[&peer].send(Message::Graft(ids), out);
        }
        for peer in waiting {
            self.pump(peer, out);
        }
    }

    /// A neighbour takes what is sent to it slower than it comes, or not any more.
    pub(super) fn on_slow(&mut self, peer: PeerId, slow: bool, out: &mut Vec<Action>) {
        let summary = self.records.summary();
        let Some(n) = self.neighbours.get_mut(&peer) else {
            return;
        };
        n.slow = slow;
        if !slow {
            n.flush(out);
            if std::mem::take(&mut n.overflowed) {
                n.send(Message::Summary(summary), out);
            }
            self.serve(peer, out);
        }
    }
}
