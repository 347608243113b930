use samara_wire::{Reader, WireError, Writer};

use crate::limits;

const BITS: u32 = u64::BITS;
const TAG_RAW: u8 = 0;
const TAG_RUNS: u8 = 1;

/// Which of a content's `len` chunks somebody has: one bit each.
///
/// A chunk number of `len` or more is never in the set: inserting it does nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct ChunkSet {
    /// Bits from `len` on are zero.
    words: Vec<u64>,
    len: u32,
    count: u32,
}

impl ChunkSet {
    /// No chunk of `len`.
    pub fn new(len: u32) -> Self {
        Self {
            words: vec![0; len.div_ceil(BITS) as usize],
            len,
            count: 0,
        }
    }

    /// Every chunk of `len`.
    pub fn full(len: u32) -> Self {
        let mut set = Self {
            words: vec![u64::MAX; len.div_ceil(BITS) as usize],
            len,
            count: len,
        };
        let tail = len % BITS;
        if tail != 0 {
            let last = set.words.len() - 1;
            set.words[last] = (1 << tail) - 1;
        }
        set
    }

    /// How many chunks the content has.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no chunk is in the set.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many chunks are in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether every chunk is in the set; true for a content without chunks.
    pub fn is_full(&self) -> bool {
        self.count == self.len
    }

    /// Whether `chunk` is in the set.
    pub fn contains(&self, chunk: u32) -> bool {
        chunk < self.len && self.words[(chunk / BITS) as usize] >> (chunk % BITS) & 1 == 1
    }

    /// Adds `chunk`; whether it is new.
    pub fn insert(&mut self, chunk: u32) -> bool {
        if chunk >= self.len || self.contains(chunk) {
            return false;
        }
        self.words[(chunk / BITS) as usize] |= 1 << (chunk % BITS);
        self.count += 1;
        true
    }

    /// Adds the chunks of `range`.
    pub fn insert_range(&mut self, range: std::ops::Range<u32>) {
        for chunk in range.start..range.end.min(self.len) {
            self.insert(chunk);
        }
    }

    /// Takes `chunk` out; whether it was there.
    pub fn remove(&mut self, chunk: u32) -> bool {
        if !self.contains(chunk) {
            return false;
        }
        self.words[(chunk / BITS) as usize] &= !(1 << (chunk % BITS));
        self.count -= 1;
        true
    }

    /// Adds everything in `other`, a set of the same length.
    pub fn union_with(&mut self, other: &ChunkSet) {
        self.combine(other, |mine, theirs| mine | theirs);
    }

    /// Takes out everything in `other`, a set of the same length.
    pub fn subtract(&mut self, other: &ChunkSet) {
        self.combine(other, |mine, theirs| mine & !theirs);
    }

    /// Keeps only what is in `other` too, a set of the same length.
    pub fn intersect_with(&mut self, other: &ChunkSet) {
        self.combine(other, |mine, theirs| mine & theirs);
    }

    /// How many chunks are in this set and not in `other`.
    pub fn difference_count(&self, other: &ChunkSet) -> u32 {
        self.pairs(other).map(|(a, b)| (a & !b).count_ones()).sum()
    }

    /// The chunks in the set, ascending.
    pub fn iter(&self) -> ChunkSetIter<'_> {
        ChunkSetIter::new(self, None, false)
    }

    /// The chunks that are not in the set, ascending.
    pub fn iter_missing(&self) -> ChunkSetIter<'_> {
        ChunkSetIter::new(self, None, true)
    }

    /// The chunks in this set and not in `other`, ascending.
    pub fn iter_difference<'a>(&'a self, other: &'a ChunkSet) -> ChunkSetIter<'a> {
        ChunkSetIter::new(self, Some(other), false)
    }

    fn pairs<'a>(&'a self, other: &'a ChunkSet) -> impl Iterator<Item = (u64, u64)> + 'a {
        let theirs = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words.iter().copied().zip(theirs)
    }

    fn combine(&mut self, other: &ChunkSet, op: impl Fn(u64, u64) -> u64) {
        debug_assert_eq!(self.len, other.len, "chunk sets of different contents");
        if self.len != other.len {
            return;
        }
        self.count = 0;
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine = op(*mine, *theirs);
            self.count += mine.count_ones();
        }
    }

    /// The most bytes that the encoding of a set of `len` chunks has.
    pub fn max_encoded_len(len: u32) -> usize {
        1 + len.div_ceil(8) as usize
    }

    /// The canonical bytes: a tag, then whichever is shorter of the bits and the
    /// lengths of their runs; the bits when both are equally long.
    pub fn encode(&self) -> Vec<u8> {
        let raw_len = Self::max_encoded_len(self.len);
        self.encode_runs(raw_len)
            .unwrap_or_else(|| self.encode_raw())
    }

    /// Reads a set of `len` chunks, which the caller knows from the manifest.
    ///
    /// Allocates for `len`, whatever the bytes say; other encodings of the same
    /// set are refused.
    pub fn decode(bytes: &[u8], len: u32) -> Result<Self, WireError> {
        let _ = (bytes, len, limits::MAX_CHUNKS, Reader::new(bytes), TAG_RUNS);
        todo!()
    }

    fn encode_raw(&self) -> Vec<u8> {
        let mut w = Writer::with_capacity(Self::max_encoded_len(self.len));
        w.u8(TAG_RAW);
        todo!()
    }

    fn encode_runs(&self, below: usize) -> Option<Vec<u8>> {
        let _ = below;
        todo!()
    }
}

impl std::fmt::Debug for ChunkSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChunkSet({} of {})", self.count, self.len)
    }
}

impl<'a> IntoIterator for &'a ChunkSet {
    type Item = u32;
    type IntoIter = ChunkSetIter<'a>;
    fn into_iter(self) -> ChunkSetIter<'a> {
        self.iter()
    }
}

/// Ascending chunk numbers of a [`ChunkSet`].
#[derive(Debug, Clone)]
pub struct ChunkSetIter<'a> {
    set: &'a ChunkSet,
    without: Option<&'a ChunkSet>,
    inverted: bool,
    /// Index of the next word to load.
    next: usize,
    /// What is left of the word before it.
    word: u64,
}

impl<'a> ChunkSetIter<'a> {
    fn new(set: &'a ChunkSet, without: Option<&'a ChunkSet>, inverted: bool) -> Self {
        Self {
            set,
            without,
            inverted,
            next: 0,
            word: 0,
        }
    }
}

impl Iterator for ChunkSetIter<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.word == 0 {
            let mut word = *self.set.words.get(self.next)?;
            if self.inverted {
                word = !word;
            }
            if let Some(other) = self.without {
                word &= !other.words.get(self.next).copied().unwrap_or(0);
            }
            self.word = word;
            self.next += 1;
        }
        let chunk = (self.next as u32 - 1) * BITS + self.word.trailing_zeros();
        self.word &= self.word - 1;
        // Inverted, the bits past the end read as missing.
        (chunk < self.set.len).then_some(chunk)
    }
}
