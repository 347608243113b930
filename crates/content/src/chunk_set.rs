use samara_wire::{Reader, WireError, Writer};

const BITS: u32 = u64::BITS;
const TAG_RAW: u8 = 0;
const TAG_RUNS: u8 = 1;
const FIELD: &str = "chunk set";

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
        let end = range.end.min(self.len);
        let mut at = range.start;
        while at < end {
            let word = &mut self.words[(at / BITS) as usize];
            let stop = end.min((at / BITS + 1) * BITS);
            let mask = (u64::MAX >> (BITS - (stop - at))) << (at % BITS);
            self.count += (mask & !*word).count_ones();
            *word |= mask;
            at = stop;
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

    /// Adds everything in `other`.
    ///
    /// # Panics
    /// If the sets are not of the same length.
    pub fn union_with(&mut self, other: &ChunkSet) {
        self.combine(other, |mine, theirs| mine | theirs);
    }

    /// Takes out everything in `other`.
    ///
    /// # Panics
    /// If the sets are not of the same length.
    pub fn subtract(&mut self, other: &ChunkSet) {
        self.combine(other, |mine, theirs| mine & !theirs);
    }

    /// Keeps only what is in `other` too.
    ///
    /// # Panics
    /// If the sets are not of the same length.
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
        assert_eq!(self.len, other.len, "chunk sets of different contents");
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
    ///
    /// Tag 0: the bits, chunk 0 in the lowest bit of the first byte, the last byte
    /// filled with zeros. Tag 1: varints, how many chunks are missing, then how
    /// many are there, and so on in turn; only the first may be 0, and a missing
    /// run at the end is left out.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_runs().unwrap_or_else(|| self.encode_raw())
    }

    /// Reads a set of `len` chunks, which the caller knows from the manifest.
    ///
    /// Allocates `len / 8` bytes at most; other encodings of a set than the one
    /// that [`encode`](Self::encode) gives are refused.
    pub fn decode(bytes: &[u8], len: u32) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        match r.u8("chunk set tag")? {
            TAG_RAW => Self::decode_raw(r, len),
            TAG_RUNS if bytes.len() >= Self::max_encoded_len(len) => {
                Err(WireError::NonCanonical { field: FIELD })
            }
            TAG_RUNS => Self::decode_runs(r, len),
            _ => Err(WireError::Invalid {
                field: "chunk set tag",
            }),
        }
    }

    fn decode_raw(mut r: Reader<'_>, len: u32) -> Result<Self, WireError> {
        let mut set = Self::new(len);
        let bits = r.take(FIELD, len.div_ceil(8) as usize)?;
        r.finish()?;
        for (word, bytes) in set.words.iter_mut().zip(bits.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(whole);
            set.count += word.count_ones();
        }
        let filled = set.words.last().is_some_and(|last| {
            let tail = len % BITS;
            tail != 0 && last >> tail != 0
        });
        if filled || set.encode_runs().is_some() {
            return Err(WireError::NonCanonical { field: FIELD });
        }
        Ok(set)
    }

    fn decode_runs(mut r: Reader<'_>, len: u32) -> Result<Self, WireError> {
        let mut set = Self::new(len);
        let (mut at, mut present) = (0, false);
        while r.remaining() > 0 {
            let run = r.varint32("chunk set run", len - at)?;
            if run == 0 && (present || at > 0) {
                return Err(WireError::NonCanonical { field: FIELD });
            }
            if present {
                set.insert_range(at..at + run);
            }
            at += run;
            present = !present;
        }
        // A run of present chunks was the last one read, or none was.
        if present {
            return Err(WireError::NonCanonical { field: FIELD });
        }
        Ok(set)
    }

    fn encode_raw(&self) -> Vec<u8> {
        let whole = Self::max_encoded_len(self.len);
        let mut w = Writer::with_capacity(whole + 8);
        w.u8(TAG_RAW);
        for word in &self.words {
            w.u64(*word);
        }
        let mut bytes = w.finish();
        bytes.truncate(whole);
        bytes
    }

    /// The run form, if it is shorter than the bits.
    fn encode_runs(&self) -> Option<Vec<u8>> {
        let below = Self::max_encoded_len(self.len);
        let mut w = Writer::new();
        w.u8(TAG_RUNS);
        let (mut at, mut present) = (0, false);
        while w.len() < below {
            let end = self.run_end(at, present);
            if end == self.len && !present {
                return Some(w.finish());
            }
            w.varint(u64::from(end - at));
            (at, present) = (end, !present);
        }
        None
    }

    /// The first chunk from `at` on that is not `present`, or the end.
    fn run_end(&self, at: u32, present: bool) -> u32 {
        let mut index = (at / BITS) as usize;
        let mut above = u64::MAX << (at % BITS);
        while let Some(word) = self.words.get(index) {
            let found = if present { !word } else { *word } & above;
            if found != 0 {
                return (index as u32 * BITS + found.trailing_zeros()).min(self.len);
            }
            above = u64::MAX;
            index += 1;
        }
        self.len
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(len: u32, chunks: impl IntoIterator<Item = u32>) -> ChunkSet {
        let mut set = ChunkSet::new(len);
        for chunk in chunks {
            set.insert(chunk);
        }
        set
    }

    #[test]
    fn numbers_past_the_end_are_never_in_the_set() {
        for len in [0, 1, 63, 64, 65] {
            let mut s = ChunkSet::full(len);
            assert!(s.is_full());
            assert!(!s.contains(len) && !s.insert(len) && !s.remove(len));
            s.insert_range(0..u32::MAX);
            assert_eq!(s, ChunkSet::full(len));
            assert_eq!(s.iter_missing().count(), 0);
            assert_eq!(s.iter().count(), len as usize);
        }
    }

    #[test]
    fn the_usual_sets_take_a_few_bytes() {
        assert_eq!(ChunkSet::new(4_000_000).encode(), [1]);
        assert_eq!(ChunkSet::full(40).encode(), [1, 0, 40]);
        assert_eq!(set(40, 3..7).encode(), [1, 3, 4]);
        assert_eq!(set(40, [0, 2, 4, 6, 8]).encode(), [0, 0x55, 1, 0, 0, 0]);
        assert_eq!(ChunkSet::new(0).encode(), [0]);
    }

    #[test]
    fn a_tie_goes_to_the_bits() {
        // Both forms of {0} of 9..=16 take three bytes; from 17 on the runs win.
        assert_eq!(set(16, [0]).encode(), [0, 1, 0]);
        assert!(ChunkSet::decode(&[1, 0, 1], 16).is_err());
        assert_eq!(set(17, [0]).encode(), [1, 0, 1]);
        assert!(ChunkSet::decode(&[0, 1, 0, 0], 17).is_err());
    }

    #[test]
    fn other_spellings_are_refused() {
        let len = 1000;
        for bytes in [
            &[][..],
            &[2],
            &[1, 5],             // ends in a missing run
            &[1, 5, 0],          // empty run of present chunks
            &[1, 0, 5, 0, 5],    // empty run of missing chunks
            &[1, 0, 0x40, 5],    // a longer varint than needed
            &[1, 0, 0x43, 0xe9], // 1,001 chunks
            &[0, 1, 2, 3],       // bits cut short
        ] {
            assert!(ChunkSet::decode(bytes, len).is_err(), "{bytes:?}");
        }
        // Bits set past the end, bytes past the end.
        assert!(ChunkSet::decode(&[0, 0b0101_0101, 1], 9).is_ok());
        assert!(ChunkSet::decode(&[0, 0b0101_0101, 3], 9).is_err());
        assert!(ChunkSet::decode(&[0, 0b0101_0101, 1, 0], 9).is_err());
    }

    #[test]
    fn an_encoding_is_at_most_the_bits_and_a_tag() {
        let odd = set(4096, (0..4096).step_by(2));
        assert_eq!(odd.encode().len(), ChunkSet::max_encoded_len(4096));
    }

    fn any_set() -> impl Strategy<Value = ChunkSet> {
        (0u32..400).prop_flat_map(|len| {
            let sparse =
                proptest::collection::vec(0..len.max(1), 0..12).prop_map(move |c| set(len, c));
            let dense = proptest::collection::vec(any::<bool>(), len as usize)
                .prop_map(move |b| set(len, (0..len).filter(|i| b[*i as usize])));
            let runs = proptest::collection::vec(0..=len, 0..6).prop_map(move |ends| {
                let mut s = ChunkSet::new(len);
                for pair in ends.chunks(2) {
                    s.insert_range(pair[0].min(pair[pair.len() - 1])..pair[0]);
                }
                s
            });
            prop_oneof![sparse, dense, runs]
        })
    }

    proptest! {
        #[test]
        fn a_set_survives_its_encoding(s in any_set()) {
            let bytes = s.encode();
            prop_assert!(bytes.len() <= ChunkSet::max_encoded_len(s.len()));
            prop_assert_eq!(ChunkSet::decode(&bytes, s.len()), Ok(s));
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            tag in 0u8..2,
            body in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..8, any::<u8>()], 0..12),
            len in 0u32..100,
        ) {
            let bytes = [&[tag], &body[..]].concat();
            if let Ok(s) = ChunkSet::decode(&bytes, len) {
                prop_assert_eq!(s.encode(), bytes);
            }
        }

        #[test]
        fn it_behaves_like_a_set_of_numbers(
            len in 1u32..300,
            ops in proptest::collection::vec((0u8..3, 0u32..320, 0u32..80), 0..60),
        ) {
            let (mut ours, mut model) = (ChunkSet::new(len), std::collections::BTreeSet::new());
            for (op, at, n) in ops {
                match op {
                    0 => prop_assert_eq!(ours.insert(at), at < len && model.insert(at)),
                    1 => prop_assert_eq!(ours.remove(at), model.remove(&at)),
                    _ => {
                        ours.insert_range(at..at + n);
                        model.extend((at..at + n).filter(|c| *c < len));
                    }
                }
                prop_assert_eq!(ours.count() as usize, model.len());
            }
            prop_assert!(ours.iter().eq(model.iter().copied()));
            prop_assert!(ours.iter_missing().eq((0..len).filter(|c| !model.contains(c))));
        }

        #[test]
        fn set_algebra_agrees_with_its_iterators(
            a in proptest::collection::vec(any::<bool>(), 130),
            b in proptest::collection::vec(any::<bool>(), 130),
        ) {
            let of = |bits: &[bool]| set(130, (0..130).filter(|i| bits[*i as usize]));
            let (a, b) = (of(&a), of(&b));
            let minus: Vec<u32> = a.iter().filter(|c| !b.contains(*c)).collect();
            prop_assert!(a.iter_difference(&b).eq(minus.iter().copied()));
            prop_assert_eq!(a.difference_count(&b) as usize, minus.len());
            let mut left = a.clone();
            left.subtract(&b);
            prop_assert!(left.iter().eq(minus));
            let mut both = a.clone();
            both.intersect_with(&b);
            prop_assert_eq!(both.count() + left.count(), a.count());
            left.union_with(&b);
            let mut joined = b.clone();
            joined.union_with(&a);
            prop_assert_eq!(left, joined);
        }
    }
}
