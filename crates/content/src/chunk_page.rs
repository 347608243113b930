use std::ops::Range;

use samara_wire::ChunkHash;

/// One chunk of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRef {
    /// BLAKE3 of its bytes.
    pub hash: ChunkHash,
    /// Its length in bytes.
    pub len: u32,
    /// Where it starts in the stream.
    pub offset: u64,
}

impl ChunkRef {
    /// Its place in the stream.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + u64::from(self.len)
    }
}
