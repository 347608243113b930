//! What comes by another way than a neighbour: a file that somebody carried.

use std::time::Duration;

use bytes::Bytes;
use samara_wire::RecordId;

use super::{Action, Fault, Graph, Reject};
use crate::{Record, WallMs, limits};

/// What became of a record that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// It is valid, and on its way to the disk.
    New,
    /// It was here.
    Known,
    /// What it stands by has not come yet.
    Waits,
}

impl Graph {
    /// Takes consecutive charters, oldest first, as from a neighbour that was asked
    /// for them: newer ones are put in force, a conflicting one raises
    /// [`Action::CharterFork`].
    ///
    /// # Errors
    /// [`Fault::BadCharter`] if one of them is none of this channel.
    pub fn offer_charters(
        &mut self,
        now: WallMs,
        mono: Duration,
        list: &[Bytes],
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        self.clock = (now, mono);
        self.take_charters(self.config.us, list, out)
    }

    /// Whether a record is here and waits for what it stands by.
    pub fn is_waiting(&self, id: &RecordId) -> bool {
        self.deferred.contains(id)
    }

    /// Takes a record as from a neighbour: verified, judged by the same rules,
    /// stored, passed on.
    ///
    /// # Errors
    /// Why it is not taken; [`Reject::Busy`] if too many wait for the disk.
    pub fn offer(
        &mut self,
        now: WallMs,
        mono: Duration,
        bytes: Bytes,
        out: &mut Vec<Action>,
    ) -> Result<Offered, Reject> {
        self.clock = (now, mono);
        let id = RecordId(blake3::hash(&bytes).into());
        if self.records.get(&id).is_some() || self.pending.contains_key(&id) {
            return Ok(Offered::Known);
        }
        if self.chain.is_none() || self.deferred.contains(&id) {
            return Ok(Offered::Waits);
        }
        if self.pending.len() >= limits::MAX_PENDING
            || self.pending_bytes + bytes.len() > limits::MAX_PENDING_BYTES
        {
            return Err(Reject::Busy);
        }
        let record = Record::decode(bytes).map_err(|e| Reject::of(&e));
        let taken = record.and_then(|record| self.admit(record, None, true, out));
        if let Err(reject) = taken {
            *self.counters.rejected.entry(reject).or_default() += 1;
            return Err(reject);
        }
        Ok(match self.pending.contains_key(&id) {
            true => Offered::New,
            false => Offered::Waits,
        })
    }
}
