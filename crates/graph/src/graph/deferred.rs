use std::collections::{BTreeMap, BTreeSet};

use samara_wire::{PeerId, RecordId};

use crate::{Record, limits, member::Wait};

/// Records whose right to be here has not arrived: by what they wait for, at most
/// [`limits::MAX_DEFERRED`], and of one neighbour
/// [`limits::MAX_DEFERRED_PER_NEIGHBOUR`]. The oldest give way, and come again with
/// the next reconciliation.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    records: BTreeMap<u64, Deferral>,
    ids: BTreeMap<RecordId, u64>,
    waits: BTreeMap<Wait, BTreeSet<u64>>,
    by: BTreeMap<Option<PeerId>, BTreeSet<u64>>,
    bytes: usize,
    next: u64,
    /// How many had to give way.
    pub(super) dropped: u64,
}

/// A record that waits.
#[derive(Debug)]
pub(super) struct Deferral {
    pub(super) record: Record,
    /// Who brought it; none: this node itself.
    pub(super) from: Option<PeerId>,
    pub(super) fetched: bool,
    wait: Wait,
}

impl Deferred {
    pub(super) fn contains(&self, id: &RecordId) -> bool {
        self.ids.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn insert(
        &mut self,
        record: Record,
        from: Option<PeerId>,
        fetched: bool,
        wait: Wait,
    ) {
        if self.contains(&record.id()) {
            return;
        }
        let at = self.next;
        self.next += 1;
        self.ids.insert(record.id(), at);
        self.waits.entry(wait).or_default().insert(at);
        self.by.entry(from).or_default().insert(at);
        self.bytes += record.bytes().len();
        let deferral = Deferral {
            record,
            from,
            fetched,
            wait,
        };
        self.records.insert(at, deferral);
        let share = &self.by[&from];
        if from.is_some() && share.len() > limits::MAX_DEFERRED_PER_NEIGHBOUR {
            let oldest = *share.first().expect("more than its share");
            self.give_way(oldest);
        }
        while self.records.len() > limits::MAX_DEFERRED || self.bytes > limits::MAX_DEFERRED_BYTES {
            // What this node waits for itself is little, and goes last.
            let others = self.records.iter().find(|(_, d)| d.from.is_some());
            let oldest = others.or(self.records.first_key_value());
            let oldest = *oldest.expect("too many").0;
            self.give_way(oldest);
        }
    }

    fn give_way(&mut self, at: u64) {
        self.dropped += 1;
        self.take(at);
    }

    /// Takes out what waited for one of `waits`, the oldest first.
    pub(super) fn wake(&mut self, waits: &[Wait]) -> Vec<Deferral> {
        let ready = waits.iter().filter_map(|wait| self.waits.get(wait));
        let ready: BTreeSet<u64> = ready.flatten().copied().collect();
        ready.into_iter().filter_map(|at| self.take(at)).collect()
    }

    /// Takes everything out, the oldest first.
    pub(super) fn wake_all(&mut self) -> Vec<Deferral> {
        let all: Vec<u64> = self.records.keys().copied().collect();
        all.into_iter().filter_map(|at| self.take(at)).collect()
    }

    fn take(&mut self, at: u64) -> Option<Deferral> {
        let deferral = self.records.remove(&at)?;
        self.ids.remove(&deferral.record.id());
        self.bytes -= deferral.record.bytes().len();
        drop_from(&mut self.waits, deferral.wait, at);
        drop_from(&mut self.by, deferral.from, at);
        Some(deferral)
    }
}

fn drop_from<K: Ord>(map: &mut BTreeMap<K, BTreeSet<u64>>, key: K, at: u64) {
    if let Some(set) = map.get_mut(&key) {
        set.remove(&at);
        if set.is_empty() {
            map.remove(&key);
        }
    }
}
