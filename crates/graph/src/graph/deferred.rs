use std::collections::{BTreeMap, BTreeSet};

use samara_wire::{PeerId, RecordId};

use crate::{Record, limits, member::Wait};

/// Records whose right to be here has not arrived: by what they wait for, at most
/// [`limits::MAX_DEFERRED`], and of one neighbour
/// [`limits::MAX_DEFERRED_PER_NEIGHBOUR`]. The oldest give way, ordinary ones before
/// those that others may wait for, and come again with the next reconciliation.
#[derive(Debug, Default)]
pub(super) struct Deferred {
    records: BTreeMap<u64, Deferral>,
    ids: BTreeMap<RecordId, u64>,
    waits: BTreeMap<Wait, BTreeSet<u64>>,
    by: BTreeMap<Option<PeerId>, BTreeSet<Rank>>,
    bytes: usize,
    next: u64,
    /// How many had to give way.
    pub(super) dropped: u64,
}

/// Who gives way first: an ordinary record, then the older one.
type Rank = (bool, u64);

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

    /// Takes a record in; says who brought those that make room for it.
    pub(super) fn insert(
        &mut self,
        record: Record,
        from: Option<PeerId>,
        fetched: bool,
        wait: Wait,
    ) -> Vec<PeerId> {
        let mut crowded_out = Vec::new();
        if self.contains(&record.id()) {
            return crowded_out;
        }
        let at = self.next;
        self.next += 1;
        self.ids.insert(record.id(), at);
        self.waits.entry(wait).or_default().insert(at);
        let control = record.kind().is_control();
        self.by.entry(from).or_default().insert((control, at));
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
            let first = share.first().expect("more than its share").1;
            crowded_out.extend(self.give_way(first));
        }
        while self.records.len() > limits::MAX_DEFERRED || self.bytes > limits::MAX_DEFERRED_BYTES {
            // What this node waits for itself is little, and goes last.
            let firsts = self.by.iter().filter_map(|(from, share)| {
                let (control, at) = *share.first()?;
                Some((from.is_none(), control, at))
            });
            let (.., first) = firsts.min().expect("too many");
            crowded_out.extend(self.give_way(first));
        }
        crowded_out
    }

    /// How many more of a neighbour's records may wait.
    pub(super) fn room(&self, from: &PeerId) -> usize {
        let taken = self.by.get(&Some(*from)).map_or(0, BTreeSet::len);
        limits::MAX_DEFERRED_PER_NEIGHBOUR.saturating_sub(taken)
    }

    fn give_way(&mut self, at: u64) -> Option<PeerId> {
        self.dropped += 1;
        self.take(at)?.from
    }

    /// What waits for this and was brought by its own author.
    pub(super) fn brought_by_author(&self, wait: Wait) -> impl Iterator<Item = &Record> {
        let waiting = self.waits.get(&wait).into_iter().flatten();
        let waiting = waiting.map(|at| &self.records[at]);
        let own = waiting.filter(|d| d.from == Some(d.record.author()));
        own.map(|d| &d.record)
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
        drop_from(&mut self.waits, deferral.wait, &at);
        let rank = (deferral.record.kind().is_control(), at);
        drop_from(&mut self.by, deferral.from, &rank);
        Some(deferral)
    }
}

fn drop_from<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: K, value: &V) {
    if let Some(set) = map.get_mut(&key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(&key);
        }
    }
}
