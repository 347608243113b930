use bytes::Bytes;
use samara_wire::{ChunkHash, ContentId};

use crate::{ChunkParams, ContentError, Entry, Layout};

/// A finished manifest in the bytes that travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// BLAKE3 of `root`.
    pub id: ContentId,
    /// The root.
    pub root: Bytes,
    /// The pages: those of entries, then those of chunks.
    pub pages: Vec<Bytes>,
}

/// Makes a manifest: entries first, then chunks in the order of the stream.
#[derive(Debug)]
pub struct ManifestBuilder {
    entries: Vec<Entry>,
    layout: Layout,
}

impl ManifestBuilder {
    /// Sorts and checks the entries of a folder called `name`, or of the single
    /// file of that name (its only entry).
    pub fn new(
        name: &str,
        single_file: bool,
        params: ChunkParams,
        entries: Vec<Entry>,
    ) -> Result<Self, ContentError> {
        let _ = (name, single_file, params, entries);
        todo!()
    }

    /// The entries, in the order that [`Extent::entry`](crate::Extent) counts.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Which bytes to cut and hash.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Adds the next chunk of the stream.
    pub fn push_chunk(&mut self, hash: ChunkHash, len: u32) -> Result<(), ContentError> {
        let _ = (hash, len);
        todo!()
    }

    /// The manifest, when the chunks cover the whole stream.
    pub fn finish(self) -> Result<Encoded, ContentError> {
        todo!()
    }
}
