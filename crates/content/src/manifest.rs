use std::ops::Range;

use bytes::Bytes;
use samara_wire::ContentId;

use crate::{ChunkRef, ContentError, Encoded, Entry, Layout, Root};

/// A verified root with as many of its pages as have come in.
///
/// Pages count from 0: those of entries, then those of chunks. Whatever a method
/// returns was checked against its hash and the format's rules; what depends on a
/// page that is not there yet is `None`.
#[derive(Debug, Clone)]
pub struct Manifest {}

impl Manifest {
    /// Starts from the root's bytes, which `id` must name.
    pub fn from_root(id: &ContentId, root: &[u8]) -> Result<Self, ContentError> {
        let _ = (id, root);
        todo!()
    }

    /// The complete manifest that a builder made.
    pub fn from_encoded(encoded: &Encoded) -> Result<Self, ContentError> {
        let _ = encoded;
        todo!()
    }

    /// The content's identifier.
    pub fn id(&self) -> &ContentId {
        todo!()
    }

    /// The root.
    pub fn root(&self) -> &Root {
        todo!()
    }

    /// The root's bytes, as they came.
    pub fn root_bytes(&self) -> &Bytes {
        todo!()
    }

    /// How many pages there are in all.
    pub fn page_count(&self) -> u32 {
        todo!()
    }

    /// The pages of entries: `0..E`.
    pub fn entry_page_range(&self) -> Range<u32> {
        todo!()
    }

    /// The pages of chunks: `E..E+C`.
    pub fn chunk_page_range(&self) -> Range<u32> {
        todo!()
    }

    /// A page's bytes, as they came.
    pub fn page(&self, index: u32) -> Option<&Bytes> {
        let _ = index;
        todo!()
    }

    /// The pages that have not come in yet, those of entries first.
    pub fn missing_pages(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::empty()
    }

    /// Adds a page after checking its hash and everything that can be checked
    /// with the pages that are there. A page that is there already is ignored.
    ///
    /// # Errors
    /// When [`ContentError::fault`] is the publisher's, the whole content is
    /// unusable; the pages are kept as they were before.
    pub fn add_page(&mut self, index: u32, bytes: Bytes) -> Result<(), ContentError> {
        let _ = (index, bytes);
        todo!()
    }

    /// Whether every page is there.
    pub fn is_complete(&self) -> bool {
        todo!()
    }

    /// The tree, in path order, when all pages of entries are there.
    pub fn entries(&self) -> Option<&[Entry]> {
        todo!()
    }

    /// Where the files lie in the stream, when all pages of entries are there.
    pub fn layout(&self) -> Option<&Layout> {
        todo!()
    }

    /// How many chunks the content has, from the root.
    pub fn chunk_count(&self) -> u32 {
        self.root().chunk_count
    }

    /// A chunk, when its page and all pages of entries are there.
    pub fn chunk(&self, index: u32) -> Option<ChunkRef> {
        let _ = index;
        todo!()
    }

    /// Every chunk's length in bytes, in order, when the manifest is complete.
    pub fn chunk_sizes(&self) -> Option<Vec<u32>> {
        todo!()
    }

    /// The pages whose chunks cover `range` of the stream, as page numbers; known
    /// from the root alone.
    pub fn pages_for(&self, range: Range<u64>) -> Range<u32> {
        let _ = range;
        todo!()
    }

    /// The chunks that cover `range` of the stream, when their pages are there.
    /// Empty for an empty range.
    pub fn chunks_of_range(&self, range: Range<u64>) -> Option<Range<u32>> {
        let _ = range;
        todo!()
    }
}
