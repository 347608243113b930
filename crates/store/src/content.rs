use std::sync::Arc;

use bytes::Bytes;
use samara_content::{ChunkSet, Manifest};
use samara_wire::ContentId;

use crate::{Placement, ReadError, StoreError, SyncError, WriteError};

/// A content that the store has, wholly or in part.
///
/// Shared between threads. Reading, writing and asking what is there take no
/// lock that another of them holds for longer than a table look-up.
#[derive(Debug)]
pub struct Content {}

impl Content {
    /// The content's identifier.
    pub fn id(&self) -> &ContentId {
        todo!()
    }

    /// Root and pages as they came; complete unless only a part was selected.
    pub fn manifest(&self) -> &Manifest {
        todo!()
    }

    /// The root's bytes, for a peer that asks.
    pub fn root_bytes(&self) -> Bytes {
        todo!()
    }

    /// A page's bytes, for a peer that asks.
    pub fn page(&self, index: u32) -> Option<Bytes> {
        let _ = index;
        todo!()
    }

    /// Where its bytes are at the moment.
    pub fn placement(&self) -> Placement {
        todo!()
    }

    /// Whether `chunk` was verified and written. One atomic load.
    pub fn has(&self, chunk: u32) -> bool {
        let _ = chunk;
        todo!()
    }

    /// The chunks that were verified and written: what may be announced.
    pub fn have(&self) -> ChunkSet {
        todo!()
    }

    /// How many chunks `have` has. One atomic load.
    pub fn have_count(&self) -> u32 {
        todo!()
    }

    /// The chunks that are on disk for good: what counts as a replica.
    pub fn synced(&self) -> ChunkSet {
        todo!()
    }

    /// The chunks that the selection needs; all, unless only a part was selected.
    pub fn wanted(&self) -> &ChunkSet {
        todo!()
    }

    /// Whether every chunk of the content is here, whatever was selected.
    pub fn is_complete(&self) -> bool {
        todo!()
    }

    /// Whether every wanted chunk is here.
    pub fn has_wanted(&self) -> bool {
        todo!()
    }

    /// Whether it is in its final place: in place, installed, or sealed and whole.
    pub fn is_finished(&self) -> bool {
        todo!()
    }

    /// Bytes of wanted chunks that were on the disk already, at the destination
    /// or in another content, and did not have to be fetched.
    pub fn reused_bytes(&self) -> u64 {
        todo!()
    }

    /// Bytes of the wanted chunks.
    pub fn wanted_bytes(&self) -> u64 {
        todo!()
    }

    /// Reads a chunk into `into`, which is emptied first and keeps its capacity.
    ///
    /// A file that is not the store's alone is checked (inode, size, mtime,
    /// ctime) before and after.
    pub fn read_chunk(&self, chunk: u32, into: &mut Vec<u8>) -> Result<(), ReadError> {
        let _ = (chunk, into);
        todo!()
    }

    /// Hashes `bytes` and writes them if they are chunk number `chunk`; `have`
    /// has it when this returns `Ok`. A chunk that is there already is `Ok` too.
    pub fn verify_and_write(&self, chunk: u32, bytes: &[u8]) -> Result<(), WriteError> {
        let _ = (chunk, bytes);
        todo!()
    }

    /// Makes everything durable that was in `have` when it was called, then says
    /// so in the persistent bitfield, then in [`synced`](Self::synced). Returns
    /// at once when nothing is new. Meant to be called at most every 100 ms.
    pub fn sync(&self) -> Result<(), SyncError> {
        todo!()
    }

    /// Fills missing wanted chunks from other contents of the store and from an
    /// earlier version at the destination. `progress` gets the bytes found so
    /// far, from several threads. Returns the bytes found.
    pub fn reuse(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<u64, StoreError> {
        let _ = progress;
        todo!()
    }

    /// Puts a download in its final place, when all wanted chunks are there:
    /// modes, links, empty files and directories, one sync pass, one rename, one
    /// fsync of the parent. Nothing happens if it is finished.
    pub fn finish(&self) -> Result<(), StoreError> {
        todo!()
    }

    /// Hashes everything that `have` claims again, on all cores. What does not
    /// match any more is taken out of `have` and returned, ascending.
    pub fn verify(&self) -> Result<Vec<u32>, StoreError> {
        todo!()
    }

    /// Hashes one chunk again, as a peer's complaint asks for. `Ok(false)`: it
    /// was damaged and is not in `have` any more.
    pub fn recheck(&self, chunk: u32) -> Result<bool, StoreError> {
        let _ = chunk;
        todo!()
    }
}

#[allow(dead_code)]
pub(crate) type Shared = Arc<Content>;
