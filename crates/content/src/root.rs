use samara_wire::ContentId;

use crate::{ChunkParams, ContentError};

/// Names a page of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPageRef {
    /// BLAKE3 of the page's bytes.
    pub hash: [u8; 32],
    /// How many entries it has.
    pub count: u32,
}

/// Names a page of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPageRef {
    /// BLAKE3 of the page's bytes.
    pub hash: [u8; 32],
    /// How many bytes of the stream its chunks have together.
    pub bytes: u64,
}

/// The head of a manifest; its hash is the [`ContentId`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The file's or the folder's name: one valid path component.
    pub name: String,
    /// Whether the content is one file of that name rather than a folder.
    pub single_file: bool,
    /// How the stream is cut.
    pub params: ChunkParams,
    /// Bytes of the stream.
    pub total_bytes: u64,
    /// How many entries there are.
    pub entry_count: u32,
    /// How many chunks there are.
    pub chunk_count: u32,
    /// The pages of entries, in order.
    pub entry_pages: Vec<EntryPageRef>,
    /// The pages of chunks, in order.
    pub chunk_pages: Vec<ChunkPageRef>,
}

impl Root {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }

    /// Reads and checks the canonical bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let _ = bytes;
        todo!()
    }

    /// The identifier that root bytes have.
    pub fn id(bytes: &[u8]) -> ContentId {
        ContentId(*blake3::hash(bytes).as_bytes())
    }

    /// How many pages there are, of entries and of chunks.
    pub fn page_count(&self) -> u32 {
        (self.entry_pages.len() + self.chunk_pages.len()) as u32
    }
}
