//! Who is let in, by what it shows.

use std::collections::BTreeSet;

use samara_wire::{PeerId, RecordId};

use super::{Action, Graph, Reject};
use crate::{
    Access, CharterChain, Control, Kind, Proof, Record, RecordHeader, Refusal, WallMs, limits,
    member::{Denied, Wait},
};

impl Graph {
    /// Whether `peer`, which the connection proved to be itself, belongs to the
    /// channel, by our charter, our records and what it shows. A revocation that we
    /// hold wins over everything.
    ///
    /// What it shows is taken in like records that a neighbour sent: so a joiner's
    /// redemption takes its place at once, and in `out` is what to do about that.
    /// Say [`Event::NeighbourUp`](super::Event::NeighbourUp) after this, never before;
    /// if the peer loses its right later, [`Action::Expel`] says so.
    ///
    /// # Errors
    /// [`Refusal`], for the own log; to the peer all of them must look alike.
    pub fn check_proof(
        &mut self,
        now: WallMs,
        peer: &PeerId,
        proof: &Proof,
        out: &mut Vec<Action>,
    ) -> Result<Access, Refusal> {
        self.clock.0 = now;
        let mut shown = Vec::new();
        for record in &proof.records {
            let header = record.header();
            let header = header.map_err(|_| Refusal::Record(Reject::BadBody))?;
            if record.channel() != self.channel {
                return Err(Refusal::Record(Reject::ForeignChannel));
            }
            shown.push(header);
        }
        if self.proved.len() >= limits::MAX_PROVED && !self.proved.contains_key(peer) {
            return Err(Refusal::Full);
        }
        if self.chain.is_none() {
            self.proved.insert(*peer, shown);
            return Ok(Access::Unchecked);
        }
        let access = self.weigh(peer, &shown, now).map_err(|refusal| {
            let ours = self.chain.as_ref().map(CharterChain::reference);
            let newer = ours.is_some_and(|ours| proof.charter.version > ours.version);
            match newer && refusal != Refusal::Revoked {
                true => Refusal::NewerCharter,
                false => refusal,
            }
        })?;
        let few = self.pending.len() + proof.records.len() <= limits::MAX_PENDING;
        if !few || self.pending_bytes > limits::MAX_PENDING_BYTES {
            return Err(Refusal::Record(Reject::Busy));
        }
        // From the charter down, so that none has to wait for the one before.
        for record in proof.records.iter().rev() {
            let id = record.id();
            let known = self.records.get(&id).is_some() || self.pending.contains_key(&id);
            if !known && !self.deferred.contains(&id) {
                match self.admit(record.clone(), Some(*peer), true, out) {
                    Ok(()) | Err(Reject::Retracted | Reject::Quota) => {}
                    // It lost what it had, and used a link again that is used up.
                    Err(Reject::Revoked) if self.standing(peer, now).is_some() => {}
                    Err(reject) => return Err(Refusal::Record(reject)),
                }
            }
        }
        self.proved.insert(*peer, shown);
        Ok(access)
    }

    /// What `peer` may do by what is held, or by the chain that it shows.
    fn weigh(&self, peer: &PeerId, shown: &[RecordHeader], now: WallMs) -> Result<Access, Refusal> {
        let Some(charter) = self.chain.as_ref().map(CharterChain::current) else {
            return Ok(Access::Unchecked);
        };
        if self.is_revoked(peer) {
            return Err(Refusal::Revoked);
        }
        if let Some(standing) = self.standing(peer, now) {
            let (role, until) = (standing.role, standing.until);
            return Ok(Access::Member { role, until });
        }
        if shown.is_empty() {
            return Err(Refusal::NotMember);
        }
        let unsettled = |invite: &RecordId| self.unsettled(invite);
        let entry = self.records.roster();
        let entry = entry.weigh(charter, shown, now, unsettled);
        let entry = entry.map_err(|denied| match denied {
            Denied::Waits(Wait::Record(_)) => Refusal::Incomplete,
            Denied::Waits(Wait::Author(_)) => Refusal::NotMember,
            Denied::Reject(Reject::Revoked) => Refusal::Revoked,
            Denied::Reject(reject) => Refusal::Record(reject),
        })?;
        if entry.kind == crate::Kind::INVITE || entry.subject != *peer {
            return Err(Refusal::NotTheirs);
        }
        if !entry.authority.covers(now) {
            return Err(Refusal::Lapsed);
        }
        Ok(Access::Member {
            role: entry.authority.role,
            until: entry.authority.until,
        })
    }

    /// Who was let in by an invitation, though its redemption may not be held yet: it
    /// came a moment ago, or waits for what it stands by.
    pub(super) fn unsettled(&self, invite: &RecordId) -> BTreeSet<PeerId> {
        let redeems = |control: Option<&Control>| matches!(control, Some(Control::Redemption { invite: of }) if of == invite);
        let let_in = self.proved.iter().filter(|(_, shown)| {
            let mut shown = shown.iter();
            shown.any(|h| redeems(h.control.as_deref()))
        });
        let written = self.pending.values().map(|p| &p.header);
        let written = written.filter(|h| redeems(h.control.as_deref()));
        let let_in = let_in.map(|(peer, _)| *peer);
        let waiting = self.deferred.brought_by_author(Wait::Record(*invite));
        let waiting = waiting.filter(|record| record.kind() == Kind::REDEMPTION);
        let others = written.map(|h| h.author).chain(waiting.map(Record::author));
        let_in.chain(others).collect()
    }

    /// Whether a peer may be a neighbour: by what is held, or by what it showed.
    pub(super) fn may_be_here(&self, peer: &PeerId, now: WallMs) -> bool {
        if self.chain.is_none() || self.may_read(peer, now) {
            return !self.is_revoked(peer);
        }
        let shown = self.proved.get(peer);
        shown.is_some_and(|shown| self.weigh(peer, shown, now).is_ok())
    }

    /// Forgets what a peer showed, once its connection is gone.
    pub fn forget_proof(&mut self, peer: &PeerId) {
        self.proved.remove(peer);
    }
}
