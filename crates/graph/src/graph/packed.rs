use std::collections::BTreeMap;

use hashbrown::HashTable;
use samara_wire::{PeerId, RecordId};

use crate::{Control, HeaderRef, Kind, RecordHeader, WallMs, limits};

/// A record's place in the order of reconciliation, docs/protocol.md section 7.
///
/// Control records come first, by their creation: a grant is made after the grant that
/// it stands by, so whoever fetches in this order has a right before what stands by
/// it. The others come by expiry: what one clock counts as expired and another does
/// not lies together in one range.
pub(super) type Place = (u64, RecordId);

/// Before the expiry of ordinary records: no creation is as late.
const ORDINARY: u64 = 2 * limits::MAX_TIME_MS;

/// Where the ordinary records begin.
pub(super) const FIRST_ORDINARY: Place = (ORDINARY, RecordId([0; 32]));

/// Headers in one piece of memory: never moved, so that a channel that grows is
/// never copied whole.
const CHUNK: usize = 1024;
/// Longest key that lies in the header itself.
const SHORT_KEY: usize = 22;

/// Where in [`Headers`] a header lies. Given again to another once it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(u32);

/// The headers of all records held, by slot and by id: about 110 bytes each.
///
/// Authors are numbered, short keys lie inside, ids are looked up by a table of
/// slots. A million records are what a node has to hold in memory for each channel
/// of that size, so a map of whole headers (300 bytes each) would not do.
#[derive(Debug)]
pub(super) struct Headers {
    chunks: Vec<Vec<Packed>>,
    free: Vec<Slot>,
    by_id: HashTable<Slot>,
    /// Keeps those who make ids from choosing which share a place in the table.
    seed: u64,
    authors: Authors,
}

#[derive(Debug)]
struct Packed {
    id: RecordId,
    seq: u64,
    created: WallMs,
    expires: WallMs,
    author: u32,
    kind: Kind,
    /// The length of the record, at most 2^16, and above it the priority.
    len_priority: u32,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Nothing,
    ShortKey { len: u8, bytes: [u8; SHORT_KEY] },
    Long(Box<Long>),
}

#[derive(Debug)]
struct Long {
    key: Box<[u8]>,
    control: Option<Box<Control>>,
}

impl Headers {
    /// None yet; `seed` is unknown to others.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            chunks: Vec::new(),
            free: Vec::new(),
            by_id: HashTable::new(),
            seed,
            authors: Authors::default(),
        }
    }

    /// Makes room in the table, so that it is not made anew again and again.
    pub(super) fn reserve(&mut self, more: usize) {
        let (seed, chunks) = (self.seed, &self.chunks);
        let rehash = |slot: &Slot| hash(seed, &in_chunks(chunks, *slot).id);
        self.by_id.reserve(more, rehash);
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn find(&self, id: &RecordId) -> Option<Slot> {
        let same = |slot: &Slot| self.packed(*slot).id == *id;
        self.by_id.find(self.hash(id), same).copied()
    }

    pub(super) fn get(&self, id: &RecordId) -> Option<HeaderRef<'_>> {
        self.find(id).map(|slot| self.at(slot))
    }

    pub(super) fn at(&self, slot: Slot) -> HeaderRef<'_> {
        let p = self.packed(slot);
        let (key, control) = match &p.rest {
            Rest::Nothing => (&[][..], None),
            Rest::ShortKey { len, bytes } => (&bytes[..usize::from(*len)], None),
            Rest::Long(long) => (&*long.key, long.control.as_deref()),
        };
        HeaderRef {
            id: p.id,
            author: self.authors.names[p.author as usize].0,
            kind: p.kind,
            seq: p.seq,
            created: p.created,
            expires: p.expires,
            priority: (p.len_priority >> 24) as u8,
            len: p.len_priority & 0xff_ffff,
            key,
            control,
        }
    }

    /// What reconciliation orders records by; cheaper than [`at`](Self::at).
    pub(super) fn place(&self, slot: Slot) -> Place {
        let p = self.packed(slot);
        match p.kind.is_control() {
            true => (p.created.0, p.id),
            false => (ORDINARY + p.expires.0, p.id),
        }
    }

    pub(super) fn is_control(&self, slot: Slot) -> bool {
        self.packed(slot).kind.is_control()
    }

    /// When the record ends, and which it is.
    pub(super) fn end(&self, slot: Slot) -> (WallMs, RecordId) {
        let p = self.packed(slot);
        (p.expires, p.id)
    }

    /// All of them, in an order that says nothing.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        let all = self.chunks.iter().flatten().enumerate();
        all.filter(|(_, p)| p.author != Authors::NONE)
            .map(|(i, _)| Slot(i as u32))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = HeaderRef<'_>> {
        self.slots().map(|slot| self.at(slot))
    }

    /// Takes in a header that is not held.
    pub(super) fn insert(&mut self, h: RecordHeader) -> Slot {
        let packed = Packed {
            id: h.id,
            seq: h.seq,
            created: h.created,
            expires: h.expires,
            author: self.authors.number(h.author),
            kind: h.kind,
            len_priority: h.len | u32::from(h.priority) << 24,
            rest: Rest::new(h.key, h.control),
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.packed_mut(slot) = packed;
                slot
            }
            None => self.append(packed),
        };
        let (seed, chunks) = (self.seed, &self.chunks);
        let rehash = |slot: &Slot| hash(seed, &in_chunks(chunks, *slot).id);
        self.by_id.insert_unique(hash(seed, &h.id), slot, rehash);
        slot
    }

    /// Forgets a header that is held.
    pub(super) fn remove(&mut self, slot: Slot) {
        let hash = self.hash(&self.packed(slot).id);
        if let Ok(entry) = self.by_id.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
        let p = self.packed_mut(slot);
        let author = std::mem::replace(&mut p.author, Authors::NONE);
        p.rest = Rest::Nothing;
        self.authors.release(author);
        self.free.push(slot);
    }

    fn append(&mut self, packed: Packed) -> Slot {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            // Most channels are small.
            let capacity = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        let full = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("just made");
        chunk.push(packed);
        Slot((full + chunk.len() - 1) as u32)
    }

    fn packed(&self, slot: Slot) -> &Packed {
        in_chunks(&self.chunks, slot)
    }

    fn packed_mut(&mut self, slot: Slot) -> &mut Packed {
        let at = slot.0 as usize;
        &mut self.chunks[at / CHUNK][at % CHUNK]
    }

    fn hash(&self, id: &RecordId) -> u64 {
        hash(self.seed, id)
    }
}

fn in_chunks(chunks: &[Vec<Packed>], slot: Slot) -> &Packed {
    let at = slot.0 as usize;
    &chunks[at / CHUNK][at % CHUNK]
}

/// Ids are hashes already; the seed keeps their makers from aiming.
fn hash(seed: u64, id: &RecordId) -> u64 {
    let half = |at: usize| {
        let bytes = id.0[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    let wide = u128::from(half(0) ^ seed) * u128::from(half(8) | 1);
    (wide >> 64) as u64 ^ wide as u64
}

impl Rest {
    fn new(key: Box<[u8]>, control: Option<Box<Control>>) -> Self {
        if control.is_some() || key.len() > SHORT_KEY {
            return Self::Long(Box::new(Long { key, control }));
        }
        if key.is_empty() {
            return Self::Nothing;
        }
        let mut bytes = [0; SHORT_KEY];
        bytes[..key.len()].copy_from_slice(&key);
        let len = key.len() as u8;
        Self::ShortKey { len, bytes }
    }
}

/// Authors by number, as long as they have a header here.
#[derive(Debug, Default)]
struct Authors {
    names: Vec<(PeerId, u32)>,
    free: Vec<u32>,
    numbers: BTreeMap<PeerId, u32>,
}

impl Authors {
    /// The number of nobody.
    const NONE: u32 = u32::MAX;

    fn number(&mut self, author: PeerId) -> u32 {
        let (names, free) = (&mut self.names, &mut self.free);
        let number = *self.numbers.entry(author).or_insert_with(|| {
            let number = free.pop().unwrap_or(names.len() as u32);
            match names.get_mut(number as usize) {
                Some(name) => *name = (author, 0),
                None => names.push((author, 0)),
            }
            number
        });
        self.names[number as usize].1 += 1;
        number
    }

    fn release(&mut self, number: u32) {
        let (author, uses) = &mut self.names[number as usize];
        *uses -= 1;
        if *uses == 0 {
            self.numbers.remove(author);
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(n: u64, key: &[u8], retracts: bool) -> RecordHeader {
        let mut id = [3; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        RecordHeader {
            id: RecordId(id),
            author: PeerId([(n % 5) as u8; 32]),
            kind: Kind(u32::MAX - n as u32),
            seq: n + 1,
            created: WallMs(crate::limits::MAX_TIME_MS),
            expires: WallMs(n),
            priority: 255 - n as u8,
            len: crate::limits::MAX_RECORD_BYTES as u32 - n as u32 % 100,
            key: key.into(),
            attributes: crate::Attributes::default(),
            control: retracts.then(|| {
                Box::new(Control::Retraction(crate::body::Retraction {
                    kind: Kind(n as u32),
                    key: key.into(),
                    up_to: n,
                }))
            }),
        }
    }

    #[test]
    fn what_goes_in_comes_out_and_places_are_used_again() {
        let mut headers = Headers::new(7);
        let keys: [&[u8]; 5] = [b"", b"k", &[1; SHORT_KEY], &[2; SHORT_KEY + 1], &[3; 64]];
        let all: Vec<_> = (0..3000u64)
            .map(|n| header(n, keys[n as usize % 5], n % 7 == 0))
            .collect();
        let insert = |headers: &mut Headers| {
            for h in &all {
                headers.insert(h.clone());
            }
        };
        insert(&mut headers);
        for h in &all {
            assert_eq!(headers.get(&h.id).map(|h| h.to_header()).as_ref(), Some(h));
        }
        assert_eq!(headers.iter().count(), 3000);
        for h in &all {
            let slot = headers.find(&h.id).unwrap();
            headers.remove(slot);
            assert_eq!(headers.get(&h.id), None);
        }
        assert_eq!(
            (
                headers.len(),
                headers.iter().count(),
                headers.authors.numbers.len()
            ),
            (0, 0, 0)
        );
        let pieces = headers.chunks.len();
        insert(&mut headers);
        assert_eq!(
            (headers.chunks.len(), headers.authors.names.len()),
            (pieces, 5)
        );
    }

    #[test]
    fn a_header_is_small() {
        assert_eq!(size_of::<Packed>(), 96);
    }
}
