//! How two copies become alike: offers, requests, reconciliation.

use std::time::Duration;

use bytes::Bytes;
use samara_wire::{PeerId, RecordId};

use super::{Action, Fault, Graph, neighbour::Sync, ranges};
use crate::{Message, Summary, limits};

impl Graph {
    pub(super) fn on_have(
        &mut self,
        peer: PeerId,
        ids: Vec<RecordId>,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        for id in ids {
            if let Some(pending) = self.pending.get_mut(&id) {
                pending.from.insert(peer);
            } else {
                self.want(peer, id);
            }
        }
        self.pump(peer, out);
        Ok(())
    }

    /// Whether a record is held, or would not be taken.
    pub(super) fn is_useless(&self, id: &RecordId) -> bool {
        self.chain.is_none() || self.records.get(id).is_some() || self.refused.get(id).is_some()
    }

    /// Notes that `peer` has a record; false if that is no news or no use.
    pub(super) fn want(&mut self, peer: PeerId, id: RecordId) -> bool {
        let coming = self.pending.contains_key(&id) || self.deferred.contains(&id);
        let useless = self.is_useless(&id) || coming;
        let n = self.neighbours.get_mut(&peer).expect("a neighbour");
        !useless && n.want(id)
    }

    /// Asks a neighbour for what it has and we lack, as much as there is room for.
    pub(super) fn pump(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let mono = self.clock.1;
        let busy = self.pending_bytes > limits::MAX_PENDING_BYTES / 2;
        let open = self.pending.len() + self.inflight.len();
        let Some(n) = self.neighbours.get_mut(&peer) else {
            return;
        };
        // In batches: half of the window has to be free.
        if n.requested() <= limits::MAX_REQUESTED / 2 {
            let room = match busy {
                true => 0,
                false => limits::MAX_PENDING.saturating_sub(open),
            };
            let mut room = room.min(limits::MAX_REQUESTED - n.requested());
            if self.inflight.len() > n.requested() || self.pending_control > 0 {
                // What comes from elsewhere or goes to the disk may be the rights that
                // these stand by. A few at a time are not worth a message.
                let may_wait = self.deferred.room(&peer).saturating_sub(n.requested());
                let few = may_wait < limits::MAX_DEFERRED_PER_NEIGHBOUR / 4;
                room = room.min(if few { 0 } else { may_wait });
            }
            let (mut ask, mut later) = (Vec::new(), Vec::new());
            for _ in 0..limits::MAX_WANTED_SCAN {
                if ask.len() >= room {
                    break;
                }
                let Some(id) = n.next_wanted() else { break };
                let here = self.records.get(&id).is_some() || self.deferred.contains(&id);
                if here || self.pending.contains_key(&id) {
                    continue;
                }
                match self.inflight.contains_key(&id) {
                    true => later.push(id),
                    false => ask.push(id),
                }
            }
            n.put_back(later);
            for id in &ask {
                n.ask(*id, mono);
                self.inflight.insert(*id, peer);
            }
            if !ask.is_empty() {
                n.send(Message::Request(ask), out);
            }
        }
        n.retry_at = (!n.wanted.is_empty()).then(|| mono + limits::WANTED_RETRY);
        self.proceed(peer, out);
    }

    /// Asks those on who were not asked for more while a right was on its way.
    pub(super) fn pump_waiting(&mut self, out: &mut Vec<Action>) {
        let waiting = self.neighbours.values().filter(|n| !n.wanted.is_empty());
        let waiting: Vec<PeerId> = waiting.map(|n| n.peer).collect();
        waiting.into_iter().for_each(|peer| self.pump(peer, out));
    }

    pub(super) fn on_request(
        &mut self,
        peer: PeerId,
        ids: Vec<RecordId>,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        for id in ids {
            match self.records.live(&id) {
                Some(h) => found.push((!h.kind.is_control(), u8::MAX - h.priority, id)),
                None => gone.push(id),
            }
        }
        if n.serving.len() + found.len() > limits::MAX_SERVING {
            return Err(Fault::RequestFlood);
        }
        // What governs others first, then by priority; the asker's order decides the rest.
        found.sort_by_key(|(ordinary, rank, _)| (*ordinary, *rank));
        n.serving.extend(found.into_iter().map(|(_, _, id)| id));
        if !gone.is_empty() {
            n.send(Message::Gone(gone), out);
        }
        self.serve(peer, out);
        Ok(())
    }

    /// Sends what was asked for, as fast as the neighbour's share allows.
    pub(super) fn serve(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let mono = self.clock.1;
        let n = self.neighbours.get_mut(&peer).expect("a neighbour");
        if n.slow {
            return;
        }
        let mut gone = Vec::new();
        while let Some(id) = n.serving.front().copied() {
            let Some(h) = self.records.live(&id) else {
                n.serving.pop_front();
                gone.push(id);
                continue;
            };
            if !n.serve.take(h.len.into(), mono) {
                break;
            }
            n.serving.pop_front();
            out.push(Action::SendRecord { peer, id });
        }
        if !gone.is_empty() {
            n.send(Message::Gone(gone), out);
        }
    }

    pub(super) fn on_gone(
        &mut self,
        peer: PeerId,
        ids: Vec<RecordId>,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let mono = self.clock.1;
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        for id in ids {
            if n.answered(&id, mono) {
                self.inflight.remove(&id);
                self.grafted.remove(&id);
                n.unfulfilled += 1;
            }
        }
        if n.unfulfilled > limits::MAX_UNFULFILLED {
            return Err(Fault::EmptyPromise);
        }
        self.pump(peer, out);
        Ok(())
    }

    /// Counts the requests that a neighbour let lie against it.
    pub(super) fn give_up_overdue(&mut self, peer: PeerId) -> Result<(), Fault> {
        let mono = self.clock.1;
        let n = self.neighbours.get_mut(&peer).expect("a neighbour");
        let failed = n.overdue(mono);
        n.unfulfilled += failed.len();
        for id in failed {
            self.inflight.remove(&id);
            self.grafted.remove(&id);
        }
        match n.unfulfilled > limits::MAX_UNFULFILLED {
            true => Err(Fault::EmptyPromise),
            false => Ok(()),
        }
    }

    pub(super) fn on_summary(
        &mut self,
        peer: PeerId,
        summary: Summary,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        n.summary = Some(summary);
        self.compare(peer, out);
        Ok(())
    }

    /// Starts a reconciliation with a neighbour whose summary differs from ours.
    pub(super) fn compare(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let mono = self.clock.1;
        let ours = self.records.summary();
        let n = self.neighbours.get_mut(&peer).expect("a neighbour");
        let (Some(theirs), Some(_), None) = (n.summary, &self.chain, &n.sync) else {
            return;
        };
        self.session = self.session.wrapping_add(1);
        if theirs == ours || theirs.count == 0 {
            if !n.synchronized {
                n.sync = Some(Sync::done(self.session));
            }
            return;
        }
        if mono < n.next_sync {
            return;
        }
        n.synchronized = false;
        n.next_sync = mono + limits::RECONCILE_PAUSE;
        let first = ranges::ask(self.records.view());
        n.sync = Some(Sync::started(self.session, first));
        self.proceed(peer, out);
    }

    /// Sends the next step of our reconciliation once most of what it has named so
    /// far has arrived: so it names no more than we have room for.
    fn proceed(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let mono = self.clock.1;
        let Some(n) = self.neighbours.get_mut(&peer) else {
            return;
        };
        let open = n.wanted.len() + n.requested();
        let Some(sync) = &mut n.sync else { return };
        if open < limits::MAX_REQUESTED
            && let Some(bytes) = sync.held.take()
        {
            sync.due = mono + limits::RECONCILE_TIMEOUT;
            let session = sync.session;
            let bytes = bytes.into();
            n.send(Message::Reconcile { session, bytes }, out);
        }
    }

    pub(super) fn on_reconcile(
        &mut self,
        peer: PeerId,
        session: u32,
        bytes: Bytes,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        // The protocol is question and answer: a second question before the answer is
        // no honest neighbour's, except after its time-out.
        let session_before = n.parked.as_ref().map(|(session, _)| *session);
        if session_before == Some(session) {
            return Err(Fault::Reconciliation);
        }
        n.parked = Some((session, bytes));
        self.answer_parked(peer, out)
    }

    /// Answers the neighbour's reconciliation, when its share allows.
    pub(super) fn answer_parked(
        &mut self,
        peer: PeerId,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let mono = self.clock.1;
        let n = self.neighbours.get_mut(&peer).expect("a neighbour");
        if n.parked.is_none() || !n.reconcile.take(1, mono) {
            return Ok(());
        }
        let Some((session, question)) = n.parked.take() else {
            return Ok(());
        };
        let answer =
            ranges::answer(self.records.view(), &question).map_err(|_| Fault::Reconciliation)?;
        let bytes = answer.into();
        n.send(Message::Reconciled { session, bytes }, out);
        Ok(())
    }

    pub(super) fn on_reconciled(
        &mut self,
        peer: PeerId,
        session: u32,
        bytes: &[u8],
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        // An answer that comes after its time-out is late, not wrong.
        let awaited = |s: &Sync| s.session == session && s.awaits_answer();
        if !n.sync.as_ref().is_some_and(awaited) {
            return Ok(());
        }
        let (lacking, next) =
            ranges::learn(self.records.view(), bytes).map_err(|_| Fault::Reconciliation)?;
        let news = lacking
            .into_iter()
            .filter(|id| self.want(peer, *id))
            .count();
        let allowed = limits::MAX_BARREN_ROUNDS + self.records.len() / limits::BARREN_IDS;
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        let sync = n.sync.as_mut().expect("awaited");
        sync.barren += usize::from(news == 0);
        sync.finished = next.is_none();
        sync.held = next;
        if sync.barren > allowed {
            return Err(Fault::Reconciliation);
        }
        self.pump(peer, out);
        Ok(())
    }
}

impl Sync {
    fn started(session: u32, first: Vec<u8>) -> Self {
        Self {
            session,
            barren: 0,
            held: Some(first),
            finished: false,
            due: Duration::ZERO,
        }
    }

    /// Nothing to do: what they hold, we hold.
    fn done(session: u32) -> Self {
        Self {
            held: None,
            finished: true,
            ..Self::started(session, Vec::new())
        }
    }

    pub(super) fn is_overdue(&self, mono: Duration) -> bool {
        self.awaits_answer() && self.due <= mono
    }
}
