use std::ops::Range;

use crate::{ChunkParams, ContentError, Entry};

/// A part of the stream that lies in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The file, by its number among the entries.
    pub entry: u32,
    /// Where it starts in the file.
    pub file_offset: u64,
    /// Where it starts in the stream.
    pub stream_offset: u64,
    /// How many bytes; never 0.
    pub len: u64,
}

/// Where each file lies in the stream, and where cuts are forced.
///
/// First the pack: all files smaller than the average chunk, back to back in path
/// order. Then every other file, in path order. The pack and each such file are
/// regions, cut independently; within a region a cut is forced at every multiple
/// of [`SEGMENT_BYTES`](crate::limits::SEGMENT_BYTES) from its start.
#[derive(Debug, Clone)]
pub struct Layout {}

impl Layout {
    /// The layout of a valid tree's `entries`, in order.
    ///
    /// # Errors
    /// [`ContentError::TooManyBytes`] if the files are too large together.
    pub fn new(entries: &[Entry], params: ChunkParams) -> Result<Self, ContentError> {
        let _ = (entries, params);
        todo!()
    }

    /// Bytes of the stream.
    pub fn total(&self) -> u64 {
        todo!()
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        todo!()
    }

    /// The segments' places in the stream, in order, without gaps. Chunks start
    /// anew at every one: they can be cut and hashed independently.
    pub fn segments(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        std::iter::empty()
    }

    /// The segment that holds the stream's byte at `offset`.
    pub fn segment_at(&self, offset: u64) -> Option<Range<u64>> {
        let _ = offset;
        todo!()
    }

    /// The parts of files that `range` of the stream consists of, in stream order.
    /// What lies past the end of the stream is left out.
    pub fn extents(&self, range: Range<u64>) -> impl Iterator<Item = Extent> + '_ {
        let _ = range;
        std::iter::empty()
    }

    /// Where the file with the number `entry` lies in the stream; `None` for what
    /// has no bytes there (empty files, directories, links).
    pub fn file_range(&self, entry: u32) -> Option<Range<u64>> {
        let _ = entry;
        todo!()
    }
}
