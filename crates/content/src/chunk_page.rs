use std::ops::Range;

use bytes::Bytes;
use samara_wire::{ChunkHash, Reader, WireError, Writer};

use crate::{ChunkPageRef, ContentError, limits::CHUNKS_PER_PAGE, root::check_sum};

/// Bytes of a chunk in its page: the hash, and the length as a `u32`.
const STRIDE: usize = 36;

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

/// A page of chunks: its bytes as they came, and where each chunk starts.
///
/// The hashes stay in the bytes, which are kept for other peers anyway; a content
/// of four million chunks has 150 MB of them.
#[derive(Debug, Clone)]
pub(crate) struct ChunkPage {
    bytes: Bytes,
    /// From the start of the page's part of the stream. The last start of 1,024
    /// chunks of 4 MiB still fits.
    starts: Box<[u32]>,
}

impl ChunkPage {
    /// Reads the page that `reference` names, which has `count` chunks. Whether
    /// their lengths are those of chunks is for the layout to say.
    pub(crate) fn read(
        bytes: Bytes,
        reference: &ChunkPageRef,
        count: u32,
    ) -> Result<Self, ContentError> {
        let mut r = Reader::new(&bytes);
        // The count is at most 1,024, whatever the peer says.
        let mut starts = Vec::with_capacity(count as usize);
        let mut end = 0u64;
        for _ in 0..count {
            starts.push(u32::try_from(end).map_err(|_| WireError::TooLarge {
                field: "start of a chunk in its page",
                got: end,
                max: u32::MAX.into(),
            })?);
            ChunkHash::read(&mut r)?;
            end += u64::from(r.u32("chunk length")?);
        }
        r.finish()?;
        check_sum(
            "a page's chunks and its size in the root",
            end,
            reference.bytes,
        )?;
        Ok(Self {
            bytes,
            starts: starts.into(),
        })
    }

    /// The page's bytes.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many chunks it has.
    pub(crate) fn count(&self) -> u32 {
        self.starts.len() as u32
    }

    /// Chunk `index` of the page, which starts at `page_start` in the stream.
    pub(crate) fn chunk(&self, index: u32, page_start: u64) -> Option<ChunkRef> {
        let start = *self.starts.get(index as usize)?;
        let mut r = Reader::new(&self.bytes[index as usize * STRIDE..]);
        Some(ChunkRef {
            hash: ChunkHash::read(&mut r).ok()?,
            len: r.u32("chunk length").ok()?,
            offset: page_start + u64::from(start),
        })
    }

    /// The chunk that holds the byte at `offset` from the page's start.
    pub(crate) fn chunk_at(&self, offset: u64) -> u32 {
        let after = self.starts.partition_point(|s| u64::from(*s) <= offset);
        after.saturating_sub(1) as u32
    }
}

/// Writes one chunk of a page.
pub(crate) fn write_chunk(w: &mut Writer, hash: &ChunkHash, len: u32) {
    hash.write(w);
    w.u32(len);
}

/// How many chunks page `page` of a content with `chunk_count` has.
pub(crate) fn chunks_in_page(page: u32, chunk_count: u32) -> u32 {
    chunk_count
        .saturating_sub(page * CHUNKS_PER_PAGE)
        .min(CHUNKS_PER_PAGE)
}
