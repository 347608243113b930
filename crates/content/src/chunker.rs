use fastcdc::v2020::{Normalization, cut, select_masks};
use samara_wire::ChunkHash;

use crate::{ContentError, Parity, limits};

/// How far sizes are drawn to the average. At this level (the paper's choice) no
/// chunk of random bytes reaches the largest size, where a cut would not follow
/// the bytes, and the mean is 1.14 of the average; all levels cut 3 GB/s a thread.
const LEVEL: Normalization = Normalization::Level2;

/// How a content's stream is cut: where its bytes choose, at an average chunk size
/// from which the smallest (a quarter) and largest (four times) follow; or, for
/// parity, every so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkParams(Cuts);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Cuts {
    ByBytes { avg_log2: u8 },
    Fixed { size: u32, parity: Parity },
}

impl ChunkParams {
    /// `avg` bytes on average: a power of two from 16 KiB to 1 MiB.
    pub fn new(avg: u32) -> Result<Self, ContentError> {
        if !avg.is_power_of_two() || !(limits::MIN_AVG_BYTES..=limits::MAX_AVG_BYTES).contains(&avg)
        {
            return Err(ContentError::BadChunkSize(avg.into()));
        }
        Ok(Self(Cuts::ByBytes {
            avg_log2: avg.trailing_zeros() as u8,
        }))
    }

    /// Chunks of `size` bytes, of which stripes with this parity are made.
    ///
    /// # Errors
    /// [`ContentError::BadFixedSize`] unless `size` is from 4 KiB to 4 MiB and a
    /// stripe has at most 64 MiB.
    pub fn fixed(size: u32, parity: Parity) -> Result<Self, ContentError> {
        let stripe = u64::from(size) * u64::from(parity.width());
        if !(limits::MIN_FIXED_BYTES..=limits::MAX_CHUNK_BYTES).contains(&size)
            || stripe > limits::MAX_STRIPE_BYTES
        {
            return Err(ContentError::BadFixedSize { size, parity });
        }
        Ok(Self(Cuts::Fixed { size, parity }))
    }

    /// The parameters with this parity for a content of `total` bytes: chunks as
    /// large as those of other contents of its size at most, and so that all stripes
    /// but perhaps one are full, or parity would cost more than its share.
    pub fn with_parity(total: u64, parity: Parity) -> Self {
        let most = limits::MAX_STRIPE_BYTES / u64::from(parity.width());
        let most = u64::from(Self::for_size(total).avg()).min(most);
        let chunks = u64::from(parity.chunks());
        let stripes = total.div_ceil(most * chunks).max(1);
        let size = total.div_ceil(stripes * chunks).next_multiple_of(64);
        // A stripe of 256 chunks may have 256 KiB each, so that both bounds hold.
        let size = size.clamp(limits::MIN_FIXED_BYTES.into(), most) as u32;
        Self(Cuts::Fixed { size, parity })
    }

    /// Parity, if there is any: then all chunks but the last are of one size.
    pub fn parity(self) -> Option<Parity> {
        match self.0 {
            Cuts::ByBytes { .. } => None,
            Cuts::Fixed { parity, .. } => Some(parity),
        }
    }

    /// The parameters for a content of `total` bytes that no channel has pinned:
    /// 16 KiB up to 4 MiB (a swarm wants 16·log2(N) chunks), 32 KiB up to 256 MiB, 64 KiB
    /// up to 1 GiB, 256 KiB up to 16 GiB, 1 MiB above.
    pub fn for_size(total: u64) -> Self {
        const MIB: u64 = 1 << 20;
        const GIB: u64 = 1 << 30;
        let avg_log2 = if total <= 4 * MIB {
            14
        } else if total <= 256 * MIB {
            15
        } else if total <= GIB {
            16
        } else if total <= 16 * GIB {
            18
        } else {
            20
        };
        Self(Cuts::ByBytes { avg_log2 })
    }

    /// Average chunk size in bytes.
    pub fn avg(self) -> u32 {
        match self.0 {
            Cuts::ByBytes { avg_log2 } => 1 << avg_log2,
            Cuts::Fixed { size, .. } => size,
        }
    }

    /// Smallest chunk in bytes, but for the last before a forced cut.
    pub fn min(self) -> u32 {
        match self.0 {
            Cuts::ByBytes { .. } => self.avg() / 4,
            Cuts::Fixed { size, .. } => size,
        }
    }

    /// Largest chunk in bytes.
    pub fn max(self) -> u32 {
        match self.0 {
            Cuts::ByBytes { .. } => self.avg() * 4,
            Cuts::Fixed { size, .. } => size,
        }
    }

    /// Bytes after which a cut is forced, so that segments are cut independently.
    pub(crate) fn segment(self) -> u64 {
        match self.0 {
            Cuts::ByBytes { .. } => limits::SEGMENT_BYTES,
            Cuts::Fixed { size, .. } => {
                limits::SEGMENT_BYTES - limits::SEGMENT_BYTES % u64::from(size)
            }
        }
    }
}

/// Cuts a segment into chunks at places that its bytes choose (FastCDC, Xia et
/// al. 2020), so that two versions of a file share the chunks that did not change;
/// or at the size that parity needs.
#[derive(Debug, Clone)]
pub struct Cutter {
    params: ChunkParams,
    mask_s: u64,
    mask_l: u64,
}

impl Cutter {
    /// A cutter for these parameters.
    pub fn new(params: ChunkParams) -> Self {
        // A fixed size has no use for the masks.
        let avg = match params.parity() {
            None => params.avg(),
            Some(_) => limits::MIN_AVG_BYTES,
        };
        let (mask_s, mask_l) = select_masks(avg as usize, LEVEL);
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
        if self.params.parity().is_some() {
            let len = buf.len().min(self.params.max() as usize);
            let whole = is_last || len == self.params.max() as usize;
            return (whole && len > 0).then_some(len);
        }
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
            ((4 << 20) + 1, 32 * KIB),
            (256 << 20, 32 * KIB),
            ((256 << 20) + 1, 64 * KIB),
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
    fn fixed_sizes_are_bounded_by_the_chunk_and_by_the_stripe() {
        let parity = |m, k| Parity::new(m, k).unwrap();
        for (size, m, k, fits) in [
            (4096, 1, 1, true),
            (4095, 1, 1, false),
            (4 << 20, 1, 15, true),
            ((4 << 20) + 1, 1, 15, false),
            (4 << 20, 1, 16, false),
            (256 << 10, 128, 128, true),
            ((256 << 10) + 1, 128, 128, false),
        ] {
            let made = ChunkParams::fixed(size, parity(m, k));
            assert_eq!(made.is_ok(), fits, "{size} {m}/{k}");
        }
    }

    #[test]
    fn parity_costs_its_share() {
        let (small, eighth) = ("20/10".parse().unwrap(), "4/32".parse().unwrap());
        for (total, parity, size, chunks) in [
            (0u64, small, 4096, 0),
            (5000, small, 4096, 2),
            (100_000, small, 10_048, 10),
            (1 << 20, eighth, 16 << 10, 64),
            (64 << 20, eighth, 32 << 10, 2048),
            ((64 << 20) + 1, eighth, 32_320, 2077),
            (40 << 30, eighth, 1 << 20, 40_960),
        ] {
            let params = ChunkParams::with_parity(total, parity);
            assert_eq!(params, ChunkParams::fixed(params.max(), parity).unwrap());
            assert_eq!(
                (params.max(), total.div_ceil(params.max().into())),
                (size, chunks)
            );
        }
    }

    #[test]
    fn a_fixed_cut_waits_for_its_size_or_the_end() {
        let params = ChunkParams::fixed(5000, Parity::new(1, 4).unwrap()).unwrap();
        let cutter = Cutter::new(params);
        assert_eq!(cutter.cut(&[0; 4999], false), None);
        assert_eq!(cutter.cut(&[0; 4999], true), Some(4999));
        assert_eq!(cutter.cut(&[0; 5001], true), Some(5000));
        assert_eq!(cutter.cut(&[], true), None);
        assert_eq!(params.segment() % 5000, 0);
        assert!(params.segment() + 5000 > limits::SEGMENT_BYTES);
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
