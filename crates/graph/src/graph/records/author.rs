//! What one author has, and what there is no room for of it: found from the end, so that
//! a record costs as much as it takes itself and not as much as is there.

use std::collections::{BTreeMap, BTreeSet};

use samara_wire::PeerId;

use crate::{
    HeaderRef, Kind,
    graph::{
        Bucket,
        packed::{Headers, Slot},
        quota::Shelf,
    },
    limits,
    member::steps::step,
};

#[derive(Debug, Default)]
pub(super) struct Author {
    /// By what they count with, and by sequence.
    pub(super) control: BTreeMap<(Shelf, u64), Slot>,
    pub(super) ordinary: BTreeMap<u64, Slot>,
    pub(super) leases: BTreeMap<u64, Slot>,
    pub(super) retractions: BTreeSet<Slot>,
    /// How much of each shelf its control records take.
    pub(super) taken: [u64; Shelf::COUNT],
    /// By which its records give way.
    pub(super) rank: u8,
    pub(super) granted: Granted,
    pub(super) equivocated: bool,
    pub(super) pace: Option<Box<Pace>>,
}

/// How fast an author's new records are told of.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) told: Bucket,
    pub(super) whole: Bucket,
}

impl Author {
    pub(super) fn at(&self, seq: u64) -> Option<Slot> {
        let ordinary = || self.ordinary.get(&seq).copied();
        self.beside_ordinary(seq).or_else(ordinary)
    }

    /// Its record of that sequence, unless it is an ordinary one.
    pub(super) fn beside_ordinary(&self, seq: u64) -> Option<Slot> {
        let mut control = Shelf::ALL.iter();
        let control = control.find_map(|shelf| self.control.get(&(*shelf, seq)));
        control.or_else(|| self.leases.get(&seq)).copied()
    }

    /// The highest sequence.
    pub(super) fn last_seq(&self) -> Option<u64> {
        let last = |shelf: &BTreeMap<u64, Slot>| shelf.last_key_value().map(|(seq, _)| *seq);
        let control = Shelf::ALL
            .into_iter()
            .filter_map(|shelf| self.last_on(shelf));
        let control = control.map(|(seq, _)| seq).max();
        control.max(last(&self.ordinary)).max(last(&self.leases))
    }

    /// The highest sequence on a shelf, and what it is of.
    pub(super) fn last_on(&self, shelf: Shelf) -> Option<(u64, Slot)> {
        self.from(shelf, 0).next()
    }

    /// What is on a shelf from a sequence on, the highest first.
    fn from(&self, shelf: Shelf, seq: u64) -> impl Iterator<Item = (u64, Slot)> {
        let all = self.control.range((shelf, seq)..=(shelf, u64::MAX));
        all.rev().map(|((_, seq), slot)| (*seq, *slot))
    }

    /// Whether its records of lower sequences leave no room for a control record.
    pub(super) fn is_full(&self, headers: &Headers, h: &HeaderRef<'_>) -> bool {
        let shelf = Shelf::of(h);
        let later = self.from(shelf, h.seq);
        let later = later.map(|(_, slot)| headers.at(slot));
        shelf.is_full(self.taken[shelf.index()], later, h)
    }

    /// Those for which the lower ones leave no room.
    pub(super) fn overflow(&self, headers: &Headers) -> Vec<Slot> {
        let beyond = |shelf: Shelf| {
            let all = self.from(shelf, 0);
            let all = all.map(|(_, slot)| (slot, headers.at(slot)));
            shelf.overflow(self.taken[shelf.index()], all)
        };
        Shelf::ALL.into_iter().flat_map(beyond).collect()
    }

    /// How many of [`Shelf::Others`] it has.
    pub(super) fn others(&self) -> u64 {
        self.taken[Shelf::Others.index()]
    }

    /// How many records it has that a channel has so much room for in all: ordinary
    /// ones, and those of [`Shelf::Others`].
    pub(super) fn counts(&self) -> [u64; 2] {
        [self.ordinary.len() as u64, self.others()]
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        let lesser = self.ordinary.values().chain(self.leases.values());
        self.control.values().chain(lesser)
    }

    /// Holds a record; `shelf` is that of a control record.
    pub(super) fn put(&mut self, kind: Kind, shelf: Shelf, seq: u64, slot: Slot) {
        match kind {
            _ if kind.is_control() => self.control.insert((shelf, seq), slot),
            Kind::PRESENCE => self.leases.insert(seq, slot),
            _ => self.ordinary.insert(seq, slot),
        };
    }

    /// Holds it no more.
    pub(super) fn take(&mut self, kind: Kind, shelf: Shelf, seq: u64) {
        match kind {
            _ if kind.is_control() => self.control.remove(&(shelf, seq)),
            Kind::PRESENCE => self.leases.remove(&seq),
            _ => self.ordinary.remove(&seq),
        };
    }
}

/// An author's grants, by to whom they are.
#[derive(Debug, Default)]
pub(super) struct Granted {
    all: BTreeSet<(PeerId, u64)>,
    /// How many they are to whom there are several.
    several: BTreeMap<PeerId, usize>,
}

impl Granted {
    pub(super) fn insert(&mut self, whom: PeerId, seq: u64) {
        if !self.all.insert((whom, seq)) {
            return;
        }
        if let Some(count) = self.several.get_mut(&whom) {
            *count += 1;
        } else if self.from(whom, 0).nth(1).is_some() {
            self.several.insert(whom, 2);
        }
    }

    pub(super) fn remove(&mut self, whom: PeerId, seq: u64) {
        if !self.all.remove(&(whom, seq)) {
            return;
        }
        if let Some(count) = self.several.get_mut(&whom) {
            *count -= 1;
            if *count == 1 {
                self.several.remove(&whom);
            }
        }
    }

    /// Whether there are so many to `whom` of lower sequences that none is taken.
    pub(super) fn has_enough(&self, whom: PeerId, seq: u64) -> bool {
        let Some(more) = self.count(whom).checked_sub(limits::MAX_GRANTS_TO_ONE) else {
            return false;
        };
        self.from(whom, seq).take(more + 1).count() <= more
    }

    /// The sequences of those to `whom` that are too many, the highest first.
    pub(super) fn beyond(&self, whom: PeerId) -> impl Iterator<Item = u64> {
        let more = self.count(whom).saturating_sub(limits::MAX_GRANTS_TO_ONE);
        self.from(whom, 0).take(more)
    }

    /// Those to `whom` from a sequence on, the highest first.
    fn from(&self, whom: PeerId, seq: u64) -> impl Iterator<Item = u64> {
        let granted = self.all.range((whom, seq)..=(whom, u64::MAX));
        granted.rev().inspect(|_| step()).map(|(_, seq)| *seq)
    }

    /// How many there are to `whom`; of one or none it makes no difference.
    fn count(&self, whom: PeerId) -> usize {
        self.several.get(&whom).copied().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn to(&self, whom: PeerId) -> Vec<u64> {
        let mut seqs: Vec<_> = self.from(whom, 0).collect();
        seqs.reverse();
        seqs
    }
}
