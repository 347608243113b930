use std::collections::{BTreeMap, VecDeque};

use samara_wire::RecordId;

use super::Reject;
use crate::limits;

/// Ids of bytes that can never be a record of this channel, the latest
/// [`limits::MAX_REFUSED`]: whoever offers them again is not asked for them.
#[derive(Debug, Default)]
pub(super) struct Refused {
    reasons: BTreeMap<RecordId, Reject>,
    order: VecDeque<RecordId>,
}

impl Refused {
    pub(super) fn insert(&mut self, id: RecordId, reason: Reject) {
        if self.reasons.insert(id, reason).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > limits::MAX_REFUSED
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
    }

    pub(super) fn get(&self, id: &RecordId) -> Option<Reject> {
        self.reasons.get(id).copied()
    }
}
