//! How records come in: from neighbours, from this node's own hand, from the disk.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use samara_wire::{PeerId, RecordId};

use super::{
    Action, Draft, Fault, Graph, GraphError, Neighbour, Offence, Pending, Reject, RemoveReason,
    Verdict, report,
};
use crate::{
    Attributes, Control, Kind, Message, NewRecord, Record, RecordHeader, SecretKey, WallMs,
    body::{Body, Retraction, subject},
    limits,
    member::{Denied, Wait},
};

impl Graph {
    /// What the graph would say to `record` now; changes nothing.
    pub fn validate(&self, now: WallMs, record: &Record) -> Verdict {
        match self.examine(now, record) {
            _ if self.chain.is_none() => Verdict::Deferred,
            Ok(_) => Verdict::Valid,
            Err(Denied::Reject(reject)) => Verdict::Invalid(reject),
            Err(Denied::Waits(_)) => Verdict::Deferred,
        }
    }

    pub(super) fn examine(&self, now: WallMs, record: &Record) -> Result<RecordHeader, Denied> {
        let invalid = |reject| Err(Denied::Reject(reject));
        let Some(chain) = &self.chain else {
            return Err(Denied::Waits(Wait::Author(record.author())));
        };
        if record.channel() != self.channel {
            return invalid(Reject::ForeignChannel);
        }
        // DESIGN section 5, "Clocks".
        if record.created() > now.after(limits::CLOCK_AHEAD) {
            return invalid(Reject::Future);
        }
        if record.expires().after(limits::EXPIRY_GRACE) <= now {
            return invalid(Reject::Expired);
        }
        if self.is_held_up(record) {
            return invalid(Reject::Forked);
        }
        let Ok(header) = record.header() else {
            return invalid(Reject::BadBody);
        };
        self.records.judge(chain.current(), &header.view())?;
        // Last, since it costs as much as the record's own signature.
        if let Ok(Body::Redemption(redemption)) = Body::of(record) {
            let key = subject(record.key()).ok_or(Denied::Reject(Reject::BadBody))?;
            if !redemption.is_signed(self.channel, &record.author(), &key) {
                return invalid(Reject::BadInvitation);
            }
        }
        Ok(header)
    }

    pub(super) fn on_record(
        &mut self,
        peer: PeerId,
        bytes: Bytes,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let mono = self.clock.1;
        self.counters.received += 1;
        let id = RecordId(blake3::hash(&bytes).into());
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        let asked = n.answered(&id, mono);
        if asked {
            n.unfulfilled = n.unfulfilled.saturating_sub(1);
            self.inflight.remove(&id);
        }
        // What was asked for to mend the tree goes on along it.
        let fetched = asked && !self.grafted.remove(&id);
        if !asked {
            let held = self.records.get(&id).is_some() || self.deferred.contains(&id);
            let news = !held && !self.pending.contains_key(&id);
            self.weigh_link(peer, news, out);
        }
        let outcome = match self.take_in(peer, id, bytes, asked, fetched, out) {
            Err(reject) => self.reject(peer, id, asked, reject),
            Ok(()) => Ok(()),
        };
        if outcome.is_ok() {
            self.pump(peer, out);
        }
        outcome
    }

    fn take_in(
        &mut self,
        peer: PeerId,
        id: RecordId,
        bytes: Bytes,
        asked: bool,
        fetched: bool,
        out: &mut Vec<Action>,
    ) -> Result<(), Reject> {
        let mono = self.clock.1;
        if self.records.get(&id).is_some() {
            self.counters.duplicates += 1;
            return Ok(());
        }
        if let Some(pending) = self.pending.get_mut(&id) {
            self.counters.duplicates += 1;
            pending.from.insert(peer);
            return Ok(());
        }
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        if !asked && !n.unasked.take(1, mono) {
            self.offenders.note(peer, Offence::Rejected(Reject::Rate));
            return Err(Reject::Rate);
        }
        // Without a charter nothing can be judged, and it comes again with one.
        if self.chain.is_none() || self.deferred.contains(&id) {
            self.counters.deferred += 1;
            return Ok(());
        }
        if let Some(reject) = self.refused.get(&id) {
            return Err(reject);
        }
        // Before the signature is paid for.
        if self.pending.len() >= limits::MAX_PENDING
            || self.pending_bytes + bytes.len() > limits::MAX_PENDING_BYTES
        {
            return Err(Reject::Busy);
        }
        let record = Record::decode(bytes).map_err(|e| Reject::of(&e))?;
        self.admit(record, Some(peer), fetched, out)
    }

    /// Stores a record, or lets it wait for what it stands by.
    pub(super) fn admit(
        &mut self,
        record: Record,
        from: Option<PeerId>,
        fetched: bool,
        out: &mut Vec<Action>,
    ) -> Result<(), Reject> {
        match self.examine(self.clock.0, &record) {
            Ok(header) => {
                let holders = self.awaited.came(&record.id()).into_iter();
                let from = holders.chain(from).collect();
                self.store(record, header, from, fetched, out);
                Ok(())
            }
            Err(Denied::Waits(wait)) => {
                self.counters.deferred += 1;
                self.defer(record, from, fetched, wait);
                Ok(())
            }
            Err(Denied::Reject(reject)) => {
                if reject == Reject::Equivocation {
                    self.records.mark(&record.author());
                }
                // A lease that a later one overtook on the way is nobody's fault.
                if record.kind() != Kind::PRESENCE {
                    self.offenders
                        .note(record.author(), Offence::Rejected(reject));
                }
                Err(reject)
            }
        }
    }

    /// Lets a record wait; who brought what makes room for it is noted.
    fn defer(&mut self, record: Record, from: Option<PeerId>, fetched: bool, wait: Wait) {
        for brought in self.deferred.insert(record, from, fetched, wait) {
            self.offenders.note(brought, Offence::CrowdedOut);
        }
    }

    /// Looks again at what waited for `waits`; at everything that waits, for none.
    pub(super) fn wake(&mut self, waits: Option<&[Wait]>, out: &mut Vec<Action>) {
        let ready = match waits {
            Some(waits) => self.deferred.wake(waits),
            None => self.deferred.wake_all(),
        };
        for waited in ready {
            let id = waited.record.id();
            if let Err(reject) = self.admit(waited.record, waited.from, waited.fetched, out) {
                *self.counters.rejected.entry(reject).or_default() += 1;
                if reject.is_final() {
                    self.refused.insert(id, reject);
                }
            }
        }
    }

    fn reject(
        &mut self,
        peer: PeerId,
        id: RecordId,
        asked: bool,
        reject: Reject,
    ) -> Result<(), Fault> {
        *self.counters.rejected.entry(reject).or_default() += 1;
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        n.rejected += 1;
        if reject == Reject::Busy && asked {
            n.want(id);
        }
        if reject.is_final() {
            self.refused.insert(id, reject);
        }
        match reject.fault() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    fn store(
        &mut self,
        record: Record,
        header: RecordHeader,
        from: BTreeSet<PeerId>,
        fetched: bool,
        out: &mut Vec<Action>,
    ) {
        let bytes = record.bytes().clone();
        self.pending_bytes += bytes.len();
        out.push(Action::Store {
            header: header.clone(),
            bytes,
        });
        let pending = Pending {
            record,
            header,
            from,
            fetched,
        };
        self.pending_control += usize::from(pending.header.kind.is_control());
        self.pending.insert(pending.header.id, pending);
    }

    pub(super) fn on_stored(&mut self, id: RecordId, out: &mut Vec<Action>) {
        let (Some(pending), Some(chain)) = (self.pending.remove(&id), &self.chain) else {
            return;
        };
        self.pending_bytes -= pending.record.bytes().len();
        let control = pending.header.kind.is_control();
        self.pending_control -= usize::from(control);
        let placed = self
            .records
            .place(chain.current(), self.clock.0, pending.header.clone());
        match placed {
            Ok(removed) => {
                for author in self.records.take_displaced() {
                    self.counters.displaced += 1;
                    self.offenders.note(author, Offence::Displaced);
                }
                report(removed, out);
                self.flood(&pending, out);
                self.confirm(&pending, out);
                let mut waits = vec![Wait::Record(id)];
                match pending.header.kind {
                    Kind::GRANT => waits.extend(subject(pending.record.key()).map(Wait::Author)),
                    Kind::REDEMPTION => waits.push(Wait::Author(pending.record.author())),
                    _ => {}
                }
                out.push(Action::Deliver {
                    record: pending.record,
                });
                if control {
                    self.wake(Some(&waits), out);
                    self.pump_waiting(out);
                }
            }
            // What else arrived while it was written beats it.
            Err(denied) => {
                let reason = match denied {
                    Denied::Reject(reject) => {
                        *self.counters.rejected.entry(reject).or_default() += 1;
                        reject.as_removal()
                    }
                    Denied::Waits(wait) => {
                        // What it stood by went meanwhile, and may come again.
                        self.defer(pending.record, None, true, wait);
                        RemoveReason::NotPublisher
                    }
                };
                out.push(Action::Remove { id, reason });
            }
        }
    }

    pub(super) fn on_store_failed(&mut self, id: &RecordId) {
        if let Some(pending) = self.pending.remove(id) {
            self.pending_bytes -= pending.record.bytes().len();
            self.pending_control -= usize::from(pending.header.kind.is_control());
        }
    }

    /// Signs a new record with the next sequence of `author` and appends its
    /// [`Action::Store`]; it is flooded once it is stored.
    ///
    /// The sequence is the next after the author's highest, and at least the time in
    /// milliseconds: so a node that lost its disk, and has not met a neighbour yet,
    /// does not sign a sequence twice.
    ///
    /// # Errors
    /// [`GraphError`].
    pub fn publish(
        &mut self,
        now: WallMs,
        author: &SecretKey,
        draft: Draft,
        out: &mut Vec<Action>,
    ) -> Result<Record, GraphError> {
        self.publish_at(now, now, author, draft, out)
    }

    /// The same with a time of creation that is not now.
    pub(super) fn publish_at(
        &mut self,
        now: WallMs,
        created: WallMs,
        author: &SecretKey,
        draft: Draft,
        out: &mut Vec<Action>,
    ) -> Result<Record, GraphError> {
        let chain = self.chain.as_ref().ok_or(GraphError::NoCharter)?;
        let peer = author.peer_id();
        let longest = chain.current().lifetime(draft.kind);
        let forever = draft.lifetime == Duration::MAX;
        let expires = match forever {
            true => WallMs(limits::MAX_TIME_MS),
            false => created.after(draft.lifetime.min(longest)),
        };
        // An hour too much must not cost a publisher its record; a leave outlives what it
        // gives back.
        let roster = self.records.roster();
        let granted = match forever && draft.kind == Kind::RETRACTION {
            true => None,
            false => roster.lasts(chain.current(), &peer, draft.kind, created),
        };
        let expires = granted.map_or(expires, |end| expires.min(end));
        let record = NewRecord {
            channel: self.channel,
            kind: draft.kind,
            seq: self.next_seq(&peer, now),
            created,
            expires,
            priority: draft.priority,
            key: draft.key,
            attributes: draft.attributes,
            body: draft.body,
        }
        .sign(author)?;
        let header = self.examine(now, &record).map_err(|denied| match denied {
            Denied::Reject(Reject::NotPublisher | Reject::Revoked) | Denied::Waits(_) => {
                GraphError::NotPublisher(peer)
            }
            Denied::Reject(reject) => GraphError::Refused(reject),
        })?;
        self.last_seq.insert(peer, record.seq());
        self.store(record.clone(), header, BTreeSet::new(), false, out);
        Ok(record)
    }

    /// The next sequence of an identity of this node.
    pub(super) fn next_seq(&self, peer: &PeerId, created: WallMs) -> u64 {
        let held = self.records.last_seq(peer);
        let last = held.max(self.last_seq.get(peer).copied()).unwrap_or(0);
        (last + 1).max(created.0)
    }

    /// Tells a neighbour that joins or leaves that this is known here: it waits for that.
    fn confirm(&self, stored: &Pending, out: &mut Vec<Action>) {
        let (author, id) = (stored.header.author, stored.header.id);
        let waits = match stored.header.control.as_deref() {
            Some(Control::Retraction(retraction)) => retraction.leaves(&author),
            Some(Control::Redemption { .. }) => true,
            _ => false,
        };
        if let Some(neighbour) = self.neighbours.get(&author).filter(|_| waits) {
            neighbour.send(Message::Have(vec![id]), out);
        }
    }

    /// Publishes a retraction of every record of `author` with this kind and key, as
    /// [`publish`](Self::publish) does; it expires with the last of them.
    ///
    /// # Errors
    /// [`GraphError::NothingToRetract`], and those of `publish`.
    pub fn retract(
        &mut self,
        now: WallMs,
        author: &SecretKey,
        kind: Kind,
        key: &[u8],
        out: &mut Vec<Action>,
    ) -> Result<Record, GraphError> {
        let peer = author.peer_id();
        let pending = self.pending.values().map(|p| p.header.view());
        let (mut up_to, mut expires, mut created) = (0, WallMs(0), now);
        for h in self.records.of_author(&peer).chain(pending) {
            if h.author == peer && h.kind == kind && h.key == key {
                up_to = up_to.max(h.seq);
                expires = expires.max(h.expires);
                // A clock that was set back must not cut the retraction's life short.
                created = created.max(h.created);
            }
        }
        if up_to == 0 || kind.is_control() {
            let key = String::from_utf8_lossy(key).into_owned();
            return Err(GraphError::NothingToRetract { kind, key });
        }
        let body = Retraction {
            kind,
            key: key.into(),
            up_to,
        };
        let draft = Draft {
            kind: Kind::RETRACTION,
            key: Bytes::copy_from_slice(key),
            attributes: Attributes::default(),
            body: body.encode().into(),
            lifetime: expires.since(created).max(Duration::from_millis(1)),
            priority: 0,
        };
        self.publish_at(now, created, author, draft, out)
    }

    /// Says with whom everything is on our disk now.
    pub(super) fn settle(&mut self, out: &mut Vec<Action>) {
        if !self.pending.is_empty() {
            return;
        }
        let done = |n: &Neighbour| n.sync.as_ref().is_some_and(|s| s.finished) && n.is_drained();
        for n in self.neighbours.values_mut() {
            if done(n) {
                n.sync = None;
                n.synchronized = true;
                self.counters.synchronized = true;
                self.hold.synchronized();
                out.push(Action::Synchronized { peer: n.peer });
            }
        }
    }
}
