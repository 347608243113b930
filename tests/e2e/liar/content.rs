//! Contents of the liar: true ones, and manifests that no builder makes.

use bytes::Bytes;
use samara_content::{
    ChunkPageRef, ChunkParams, Cutter, Entry, EntryPageRef, EntryPath, ManifestBuilder, Root,
    chunk_hash,
};
use samara_graph::body::ContentRef;
use samara_wire::{ContentId, Writer};

/// A manifest and chunks, whether they belong together or not.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(super) root: Bytes,
    pub(super) pages: Vec<Bytes>,
    pub(super) chunks: Vec<Vec<u8>>,
}

impl Content {
    /// A file, cut and hashed as an honest node does it.
    pub(crate) fn file(name: &str, bytes: &[u8]) -> Self {
        let params = ChunkParams::for_size(bytes.len() as u64);
        let entry = Entry::file(EntryPath::new(name).unwrap(), 0o644, bytes.len() as u64);
        let mut builder = ManifestBuilder::new(name, None, params, vec![entry]).unwrap();
        let cutter = Cutter::new(params);
        let mut chunks = Vec::new();
        let mut rest = bytes;
        while let Some(len) = cutter.cut(rest, true).filter(|_| !rest.is_empty()) {
            let (chunk, after) = rest.split_at(len);
            builder.push_chunk(chunk_hash(chunk), len as u32).unwrap();
            chunks.push(chunk.to_vec());
            rest = after;
        }
        let encoded = builder.finish().unwrap();
        Self {
            root: encoded.root,
            pages: encoded.pages,
            chunks,
        }
    }

    /// A tree that only a forger makes: every hash in it is right, the rest as given.
    pub(crate) fn forged(entries: &[Vec<u8>], change: impl FnOnce(&mut Root)) -> Self {
        let page: Bytes = entries.concat().into();
        let chunk = b"pack".to_vec();
        let mut chunk_page = Writer::new();
        chunk_page.raw(&chunk_hash(&chunk).0);
        chunk_page.u32(chunk.len() as u32);
        let chunk_page: Bytes = chunk_page.finish().into();
        let mut root = Root {
            name: "tree".into(),
            folder_mode: Some(0o755),
            params: ChunkParams::new(16 * 1024).unwrap(),
            total_bytes: chunk.len() as u64,
            entry_count: entries.len() as u32,
            chunk_count: 1,
            entry_pages: vec![EntryPageRef {
                hash: chunk_hash(&page).0,
                count: entries.len() as u32,
            }],
            chunk_pages: vec![ChunkPageRef {
                hash: chunk_hash(&chunk_page).0,
                bytes: chunk.len() as u64,
            }],
        };
        change(&mut root);
        Self {
            root: root.encode().into(),
            pages: vec![page, chunk_page],
            chunks: vec![chunk],
        }
    }

    /// Gives another page than the one that the root names.
    pub(crate) fn with_page(mut self, index: usize, bytes: &[u8]) -> Self {
        self.pages[index] = Bytes::copy_from_slice(bytes);
        self
    }

    pub(crate) fn id(&self) -> ContentId {
        Root::id(&self.root)
    }

    /// What an honest record says of it.
    pub(crate) fn reference(&self) -> ContentRef {
        ContentRef {
            id: self.id(),
            root_len: self.root.len() as u32,
            bytes: self.chunks.iter().map(|c| c.len() as u64).sum(),
            files: 1,
        }
    }
}

/// An entry for a file, whatever its path.
pub(crate) fn file(path: &str, size: u64) -> Vec<u8> {
    let mut w = Writer::new();
    w.str(path);
    w.u8(1);
    w.varint(0o644);
    w.varint(size);
    w.finish()
}

/// An entry for a symlink, whatever it points at.
pub(crate) fn link(path: &str, target: &str) -> Vec<u8> {
    let mut w = Writer::new();
    w.str(path);
    w.u8(2);
    w.varint(0o777);
    w.str(target);
    w.finish()
}
