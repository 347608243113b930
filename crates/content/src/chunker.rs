use fastcdc::v2020::{Normalization, cut, select_masks};
use samara_wire::ChunkHash;

use crate::{ContentError, limits};

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
        let avg_log2 = match total {
            0..=0x40_0000 => 14,
            t if t <= 1024 * MIB => 16,
            t if t <= 16 * 1024 * MIB => 18,
            _ => 20,
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
        let (mask_s, mask_l) = select_masks(params.avg() as usize, Normalization::Level1);
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
