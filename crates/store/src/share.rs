//! Keeping a part of a content for good: for archives, where every member holds a
//! share of each content and any few of them together have it all.

use std::sync::Arc;

use samara_content::ChunkSet;

use crate::{
    Content, Placement, Store, StoreError,
    content::{DATA, State},
    files,
    install::Parts,
    shards::punch,
    stamp::Stamp,
};
use samara_wire::ContentId;

/// Bytes of a file system's blocks, usually.
const BLOCK: u64 = 4096;

impl Parts {
    /// Wants no more of the chunks than are in the share.
    pub(crate) fn narrowed(mut self, share: ChunkSet) -> Self {
        let mut wanted = ChunkSet::new(self.wanted.len());
        for chunk in self.wanted.iter().filter(|chunk| share.contains(*chunk)) {
            wanted.insert(chunk);
        }
        self.wanted_bytes = wanted
            .iter()
            .filter_map(|chunk| self.manifest.chunk(chunk))
            .map(|chunk| u64::from(chunk.len))
            .sum();
        self.wanted = wanted;
        self.share = Some(share);
        self
    }
}

impl Store {
    /// Gives up all of a sealed content but `share`, chunks and parity shards by their
    /// numbers, and the room that the rest took. Returns the bytes of disk space that
    /// were given back.
    ///
    /// Chunks and shards of the share that are not here stay missing: fetch or
    /// [make](Content::make_shards) them before. The share that a content has
    /// already is kept too. Handles from before read and write nothing any more.
    ///
    /// # Errors
    /// [`StoreError::NotSealed`] if the content lies at a user's path, is not whole,
    /// or has no parity.
    pub fn narrow(&self, id: &ContentId, share: &ChunkSet) -> Result<u64, StoreError> {
        let content = self.content(id).ok_or(StoreError::UnknownContent(*id))?;
        let sealed = content.placement() == Placement::Sealed && content.is_finished();
        let (true, Some(shards)) = (sealed, content.shards.clone()) else {
            return Err(StoreError::NotSealed(*id));
        };
        if share.len() != shards.stripes().all() {
            return Err(StoreError::NotSealed(*id));
        }
        let mut share = share.clone();
        if let Some(before) = content.share() {
            share.union_with(before);
        }
        shards.sync()?;
        let before = crate::store::disk_usage(self.content_dir(id).path());
        let mut have = content.have();
        let stamps = content.stamps.read().expect("no panic inside").clone();
        let added_ms = content.added_ms;
        content.retire();
        let mut parts = Parts::new(self, content.manifest.clone(), content.chosen.clone())?;
        parts.added_ms = added_ms;
        let parts = parts.narrowed(share.clone());
        have.intersect_with(&parts.wanted);
        // First the claims and the row, then the bytes: after a crash in between the
        // room is still taken, and the next call gives it back.
        let narrow = parts.finished(self, Placement::Sealed, have, stamps)?;
        self.register(&narrow)?;
        narrow.give_back()?;
        shards.keep(&|number| share.contains(number))?;
        let after = crate::store::disk_usage(self.content_dir(id).path());
        Ok(before.saturating_sub(after))
    }

    /// Starts or resumes fetching a share of a content into the store. `manifest`
    /// needs all its pages.
    pub fn begin_share(
        &self,
        manifest: samara_content::Manifest,
        share: &ChunkSet,
    ) -> Result<Arc<Content>, StoreError> {
        let mut share = share.clone();
        let before = self.content(manifest.id());
        if let Some(before) = before.as_ref().and_then(|content| content.share()) {
            share.union_with(before);
        }
        self.begin_sealed(Parts::new(self, manifest, None)?.narrowed(share))
    }
}

impl Content {
    /// Gives the room back that a crash kept `narrow` from giving back.
    pub(crate) fn give_back_rest(&self) {
        // Holes leave a part of a block at either end of what is between them.
        let most = self.wanted_bytes + u64::from(self.wanted.count()) * 2 * BLOCK;
        let taken = crate::store::disk_usage(&self.dir.data());
        if self.share.is_some()
            && taken > most
            && let Err(e) = self.give_back()
        {
            tracing::warn!(content = %self.id(), error = %e, "cannot give back room");
        }
    }

    /// Gives back the blocks of chunks that are not wanted.
    fn give_back(&self) -> Result<(), StoreError> {
        let path = self.dir.data();
        let failed = |e| StoreError::io("give back room in", &path, e);
        let file = files::open_write(&path).map_err(failed)?;
        // Neighbouring chunks in one call: blocks that two share are freed as well.
        let mut hole = 0..0;
        for chunk in (0..self.manifest.chunk_count()).filter(|c| !self.wanted.contains(*c)) {
            let Some(range) = self.manifest.chunk(chunk).map(|c| c.range()) else {
                continue;
            };
            if range.start != hole.end {
                punch(&file, hole.start, hole.end - hole.start).map_err(failed)?;
                hole.start = range.start;
            }
            hole.end = range.end;
        }
        punch(&file, hole.start, hole.end - hole.start).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        // The stamp was that of the file before; what is kept was hashed when it came.
        let stamp = Stamp::of(&file).map_err(failed)?;
        crate::stamp::settle([&stamp]);
        let kept: Vec<u32> = self.wanted.iter().collect();
        let place = self.place();
        let lost = self.damaged(&place, &kept);
        *self.stamps.write().expect("no panic inside") = vec![stamp];
        self.lose(&place, &lost);
        self.dir.save_stamps(&[stamp]).map_err(failed)?;
        debug_assert!(matches!(place.state, State::Finished));
        self.shared.files.close(self.uid, DATA);
        Ok(())
    }
}
