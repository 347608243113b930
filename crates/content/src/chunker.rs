use fastcdc::v2020::{Normalization, cut, select_masks};
use samara_wire::ChunkHash;

use crate::{ContentError, limits};

/// How far sizes are drawn to the average. At this level (the paper's choice) no
/// chunk of random bytes reaches the largest size, where a cut would not follow
/// the bytes, and the mean is 1.14 of the average; all levels cut 3 GB/s a thread.
const LEVEL: Normalization = Normalization::Level2;

/// How a content's stream is cut: the average chunk size, from which the
/// smallest (a quarter) and largest (four times) follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkParams {
    avg_log2: u8,
}

impl ChunkParams {
    /// `avg` bytes on average: a power of two from 16 KiB to 1 MiB.
    pub fn new(avg: u32) -> Result<Self, ContentError> {
        if !avg.is_power_of_two() || !(limits::MIN_AVG_BYTES..=limits::MAX_AVG_BYTES).contains(&avg)
        {
            return Err(ContentError::BadChunkSize(avg.into()));
        }
        Ok(Self {
            avg_log2: avg.trailing_zeros() as u8,
        })
    }

    /// The parameters for a content of `total` bytes that no channel has pinned:
    /// 16 KiB up to 4 MiB (a swarm wants 16·log2(N) chunks), 64 KiB up to 1 GiB,
    /// 256 KiB up to 16 GiB, 1 MiB above.
    pub fn for_size(total: u64) -> Self {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        let avg_log2 = if total <= 4 * MIB {
            14
        } else if total <= GIB {
            16
        } else if total <= 16 * GIB {
            18
        } else {
            20
        };
        Self { avg_log2 }
    }

    /// Average chunk size in bytes.
    pub fn avg(self) -> u32 {
        1 << self.avg_log2
    }

    /// Smallest chunk in bytes, but for the last before a forced cut.
    pub fn min(self) -> u32 {
        self.avg() / 4
    }

    /// Largest chunk in bytes.
    pub fn max(self) -> u32 {
        self.avg() * 4
    }
}

/// Cuts a segment into chunks at places that its bytes choose (FastCDC, Xia et
/// al. 2020), so that two versions of a file share the chunks that did not change.
#[derive(Debug, Clone)]
pub struct Cutter {
    params: ChunkParams,
    mask_s: u64,
    mask_l: u64,
}

impl Cutter {
    /// A cutter for these parameters.
    pub fn new(params: ChunkParams) -> Self {
        let (mask_s, mask_l) = select_masks(params.avg() as usize, LEVEL);
        Self {
            params,
            mask_s,
            mask_l,
        }
    }

    /// The length of the chunk at the start of `buf`, or `None` when that takes
    /// more bytes than are there (always enough: `params.max()`).
    ///
    /// `buf` starts at a chunk's start and must not reach past the end of the
    /// segment; `is_last` says that it reaches exactly there. However the bytes
    /// come in, the cuts are the same.
    pub fn cut(&self, buf: &[u8], is_last: bool) -> Option<usize> {
        let (_, len) = cut(
            buf,
            self.params.min() as usize,
            self.params.avg() as usize,
            self.params.max() as usize,
            self.mask_s,
            self.mask_l,
            self.mask_s << 1,
            self.mask_l << 1,
        );
        // A cut before the end of the buffer depends on nothing behind it.
        let final_cut = is_last || len < buf.len() || len == self.params.max() as usize;
        (final_cut && len > 0).then_some(len)
    }
}

/// The BLAKE3 hash of a chunk's bytes.
pub fn chunk_hash(bytes: &[u8]) -> ChunkHash {
    ChunkHash(*blake3::hash(bytes).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn params() -> ChunkParams {
        ChunkParams::new(limits::MIN_AVG_BYTES).unwrap()
    }

    fn noise(len: usize, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; len];
        ChaCha8Rng::seed_from_u64(seed).fill(&mut bytes[..]);
        bytes
    }

    /// The lengths of the chunks of one segment that is in memory as a whole.
    fn lengths(params: ChunkParams, mut segment: &[u8]) -> Vec<usize> {
        let cutter = Cutter::new(params);
        let mut lengths = Vec::new();
        while let Some(len) = cutter.cut(segment, true) {
            lengths.push(len);
            segment = &segment[len..];
        }
        lengths
    }

    fn hashes(segment: &[u8]) -> Vec<ChunkHash> {
        let mut at = 0;
        let cut = lengths(params(), segment).into_iter();
        cut.map(|len| {
            at += len;
            chunk_hash(&segment[at - len..at])
        })
        .collect()
    }

    #[test]
    fn sizes_are_powers_of_two_within_bounds() {
        for avg in [16 << 10, 64 << 10, 1 << 20] {
            assert_eq!(ChunkParams::new(avg).unwrap().avg(), avg);
        }
        for avg in [0, 1, 8 << 10, 24 << 10, 2 << 20, u32::MAX] {
            assert!(ChunkParams::new(avg).is_err(), "{avg}");
        }
    }

    #[test]
    fn the_average_follows_the_size() {
        const KIB: u32 = 1 << 10;
        for (total, avg) in [
            (0, 16 * KIB),
            (4 << 20, 16 * KIB),
            ((4 << 20) + 1, 64 * KIB),
            (1 << 30, 64 * KIB),
            ((1 << 30) + 1, 256 * KIB),
            (16 << 30, 256 * KIB),
            ((16 << 30) + 1, 1024 * KIB),
            (u64::MAX, 1024 * KIB),
        ] {
            assert_eq!(ChunkParams::for_size(total).avg(), avg, "{total}");
        }
    }

    #[test]
    fn chunks_keep_within_their_sizes() {
        let bytes = noise(4 << 20, 1);
        let cut = lengths(params(), &bytes);
        assert_eq!(cut.iter().sum::<usize>(), bytes.len());
        let (last, rest) = cut.split_last().unwrap();
        assert!(*last <= params().max() as usize);
        for len in rest {
            assert!((params().min() as usize..=params().max() as usize).contains(len));
        }
        let mean = bytes.len() as f64 / cut.len() as f64 / f64::from(params().avg());
        assert!((0.9..1.4).contains(&mean), "{mean}");
    }

    #[test]
    fn bytes_without_a_place_to_cut_are_cut_at_the_largest_size() {
        let max = params().max() as usize;
        assert_eq!(lengths(params(), &vec![0; 2 * max + 1]), [max, max, 1]);
    }

    #[test]
    fn nothing_is_cut_from_nothing() {
        let cutter = Cutter::new(params());
        assert_eq!(cutter.cut(&[], true), None);
        assert_eq!(cutter.cut(&[], false), None);
        assert_eq!(cutter.cut(&[1], false), None);
        assert_eq!(cutter.cut(&[1], true), Some(1));
    }

    #[test]
    fn an_insertion_leaves_most_chunks_as_they_were() {
        let old = noise(10 << 20, 2);
        let before: std::collections::HashSet<_> = hashes(&old).into_iter().collect();
        for at in [0, 1, 5 << 20, (10 << 20) - 1] {
            let mut new = old.clone();
            new.splice(at..at, *b"seventeen bytes..");
            let new_chunks = hashes(&new);
            let fresh = new_chunks.iter().filter(|h| !before.contains(h)).count();
            assert!(fresh <= 4, "{fresh} of {} at {at}", new_chunks.len());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn cuts_do_not_depend_on_how_the_bytes_come_in(
            len in 0usize..300_000,
            seed in 0u64..4,
            refills in proptest::collection::vec(1usize..70_000, 1..20),
        ) {
            // A quarter of zeros: chunks of the largest size too.
            let mut bytes = noise(len, seed);
            bytes[len / 2..len * 3 / 4].fill(0);
            let cutter = Cutter::new(params());
            let (mut got, mut start, mut end) = (Vec::new(), 0, 0);
            for refill in refills.iter().cycle() {
                end = (end + refill).min(len);
                while let Some(cut) = cutter.cut(&bytes[start..end], end == len) {
                    got.push(cut);
                    start += cut;
                }
                if end == len {
                    break;
                }
                prop_assert!(end - start < params().max() as usize, "a full buffer must be cut");
            }
            prop_assert_eq!(got, lengths(params(), &bytes));
        }
    }
}
