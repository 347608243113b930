use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
};

use samara_content::Manifest;
use samara_wire::{ChannelId, ContentId, RecordId};

use crate::{
    Batch, Content, Destination, GcReport, ImportOptions, ImportProgress, Selection, StoreConfig,
    StoreError,
};

/// A node's data directory, opened.
///
/// A clone is another handle of the same store. The directory stays locked until
/// the last handle and the last [`Content`] are gone.
#[derive(Debug, Clone)]
pub struct Store {}

impl Store {
    /// Opens a data directory, making it if it is not there.
    pub fn open(dir: impl AsRef<Path>, config: StoreConfig) -> Result<Self, StoreError> {
        let _ = (dir.as_ref(), config);
        todo!()
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        todo!()
    }

    /// Makes a content of a file or a folder, which is served from where it lies.
    ///
    /// The same unchanged path again gives the earlier result without reading.
    /// `progress` is called from several threads, a few hundred times in all.
    pub fn import(
        &self,
        path: &Path,
        options: &ImportOptions,
        progress: &(dyn Fn(ImportProgress) + Sync),
        cancel: &AtomicBool,
    ) -> Result<Arc<Content>, StoreError> {
        let _ = (path, options, progress, cancel);
        todo!()
    }

    /// Starts or resumes a download. The space is reserved when it returns.
    ///
    /// `manifest` needs all pages of entries, and the pages of the chunks that
    /// `selection` needs. The content may come back with everything in `have`:
    /// when the destination holds it already (then it is finished as well), when
    /// the store has it in the same place, or when an interrupted download had
    /// it all. [`Content::reuse`] then fills what other contents know.
    pub fn begin(
        &self,
        manifest: Manifest,
        destination: &Destination,
        selection: Selection<'_>,
    ) -> Result<Arc<Content>, StoreError> {
        let _ = (manifest, destination, selection);
        todo!()
    }

    /// All contents, in no order.
    pub fn contents(&self) -> Vec<Arc<Content>> {
        todo!()
    }

    /// The content with this identifier, finished or not.
    pub fn content(&self, id: &ContentId) -> Option<Arc<Content>> {
        let _ = id;
        todo!()
    }

    /// Keeps what is known of a manifest (root and some pages), so that an
    /// interrupted fetch of pages resumes. No content comes of it.
    pub fn save_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let _ = manifest;
        todo!()
    }

    /// What was kept of a manifest, by [`save_manifest`](Self::save_manifest) or
    /// with a content. A damaged file is as good as none.
    pub fn load_manifest(&self, id: &ContentId) -> Option<Manifest> {
        let _ = id;
        todo!()
    }

    /// Removes a content: sealed data, staging, index; never the user's own
    /// files. Returns the bytes of disk space given back.
    pub fn forget(&self, id: &ContentId) -> Result<u64, StoreError> {
        let _ = id;
        todo!()
    }

    /// Forgets every content for which `keep` does not hold, and whatever lies in
    /// the store without belonging to one.
    pub fn gc(&self, keep: &dyn Fn(&ContentId) -> bool) -> Result<GcReport, StoreError> {
        let _ = keep;
        todo!()
    }

    /// Bytes that sealed contents take, reserved ones included: what the quota
    /// limits.
    pub fn used(&self) -> u64 {
        todo!()
    }

    /// Sealed contents for which `pinned` does not hold, with the bytes that
    /// [`forget`](Self::forget) would give back, longest in the store first.
    pub fn evictable(&self, pinned: &dyn Fn(&ContentId) -> bool) -> Vec<(ContentId, u64)> {
        let _ = pinned;
        todo!()
    }

    /// Makes the changes of `batch` durable, and returns when they are.
    /// Batches of several threads share a commit.
    pub fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let _ = batch;
        todo!()
    }

    /// Like [`write`](Self::write), but returns at once and calls `done` on the
    /// index's own thread when the changes are durable, or are not. `done` must
    /// not block. Waits only while
    /// [`MAX_QUEUED_BATCHES`](crate::limits::MAX_QUEUED_BATCHES) are under way.
    pub fn write_then(
        &self,
        batch: Batch,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        let _ = (batch, done);
        todo!()
    }

    /// A channel's charter, as [`Batch::put_charter`] kept it.
    pub fn charter(&self, channel: &ChannelId) -> Result<Option<Vec<u8>>, StoreError> {
        let _ = channel;
        todo!()
    }

    /// All channels with their charters, in order of the identifiers.
    pub fn charters(&self) -> Result<Vec<(ChannelId, Vec<u8>)>, StoreError> {
        todo!()
    }

    /// A record's bytes.
    pub fn record(
        &self,
        channel: &ChannelId,
        id: &RecordId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let _ = (channel, id);
        todo!()
    }

    /// Calls `each` with the identifier and the head of every record of a
    /// channel, in order of the identifiers.
    pub fn record_heads(
        &self,
        channel: &ChannelId,
        each: &mut dyn FnMut(RecordId, &[u8]),
    ) -> Result<(), StoreError> {
        let _ = (channel, each);
        todo!()
    }

    /// A setting's value.
    pub fn setting(&self, namespace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let _ = (namespace, key);
        todo!()
    }

    /// All keys and values of a namespace, in order of the keys.
    pub fn settings(&self, namespace: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let _ = namespace;
        todo!()
    }
}
