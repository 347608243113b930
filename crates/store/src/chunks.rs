use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use samara_content::ChunkSet;

/// A set of chunks that several threads read and grow without a lock.
#[derive(Debug)]
pub(crate) struct AtomicChunks {
    words: Box<[AtomicU64]>,
    count: AtomicU32,
    len: u32,
}

impl AtomicChunks {
    pub(crate) fn new(set: &ChunkSet) -> Self {
        let words = (0..set.len().div_ceil(64)).map(|_| AtomicU64::new(0));
        let chunks = Self {
            words: words.collect(),
            count: AtomicU32::new(0),
            len: set.len(),
        };
        chunks.extend(set.iter());
        chunks
    }

    pub(crate) fn contains(&self, chunk: u32) -> bool {
        // Acquire: whoever sees the bit sees the write of the bytes.
        chunk < self.len
            && self.words[(chunk / 64) as usize].load(Ordering::Acquire) >> (chunk % 64) & 1 == 1
    }

    pub(crate) fn insert(&self, chunk: u32) -> bool {
        let bit = 1 << (chunk % 64);
        let old = self.words[(chunk / 64) as usize].fetch_or(bit, Ordering::AcqRel);
        if old & bit == 0 {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
        old & bit == 0
    }

    pub(crate) fn extend(&self, chunks: impl Iterator<Item = u32>) {
        for chunk in chunks {
            self.insert(chunk);
        }
    }

    pub(crate) fn remove(&self, chunk: u32) -> bool {
        let bit = 1 << (chunk % 64);
        let old = self.words[(chunk / 64) as usize].fetch_and(!bit, Ordering::AcqRel);
        if old & bit != 0 {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        old & bit != 0
    }

    pub(crate) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn snapshot(&self) -> ChunkSet {
        let mut set = ChunkSet::new(self.len);
        for (i, word) in self.words.iter().enumerate() {
            let start = i as u32 * 64;
            let mut word = word.load(Ordering::Acquire);
            if word == u64::MAX {
                set.insert_range(start..start + 64);
                continue;
            }
            while word != 0 {
                set.insert(start + word.trailing_zeros());
                word &= word - 1;
            }
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_plain_set() {
        let mut plain = ChunkSet::new(200);
        plain.insert_range(60..135);
        let chunks = AtomicChunks::new(&plain);
        assert_eq!(chunks.snapshot(), plain);
        assert!(chunks.insert(0) && !chunks.insert(0) && chunks.remove(100) && !chunks.remove(100));
        plain.insert(0);
        plain.remove(100);
        assert_eq!(chunks.snapshot(), plain);
        assert_eq!(chunks.count(), plain.count());
        assert!(!chunks.contains(200) && chunks.contains(134) && !chunks.contains(135));
    }
}
