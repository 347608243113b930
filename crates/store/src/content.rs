use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use bytes::Bytes;
use samara_content::{ChunkRef, ChunkSet, Entry, EntryKind, Layout, Manifest};
use samara_wire::ContentId;

use crate::{
    Placement,
    chunks::AtomicChunks,
    reserve::Reserve,
    shards::Shards,
    stamp::Stamp,
    state::{ContentDir, Row},
    store::{Shared, Table},
    sync::Synced,
};

/// Stands for the store's own file of parts that were not selected.
pub(crate) const SPILL: u32 = u32::MAX;
/// Stands for a sealed content's file.
pub(crate) const DATA: u32 = u32::MAX - 1;

/// A content that the store has, wholly or in part.
///
/// Shared between threads. Reading, writing and asking what is there take no
/// lock that another of them holds for longer than a table look-up.
#[derive(Debug)]
pub struct Content {
    /// Tells this handle's open files from those of an earlier placement.
    pub(crate) uid: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: Weak<Table>,
    pub(crate) dir: ContentDir,
    pub(crate) manifest: Manifest,
    pub(crate) chosen: Option<ChunkSet>,
    /// The chunks and parity shards that are kept for good; `None`: all chunks.
    pub(crate) share: Option<ChunkSet>,
    /// Chunks; no parity shards.
    pub(crate) wanted: ChunkSet,
    pub(crate) wanted_bytes: u64,
    /// Always within `wanted`.
    pub(crate) have: AtomicChunks,
    /// `None` if the content has no parity.
    pub(crate) shards: Option<Arc<Shards>>,
    /// Read-locked while a chunk is written, write-locked while `finish` moves
    /// the tree. Readers of chunks only clone it.
    pub(crate) place: RwLock<Arc<Place>>,
    /// By entry; for a sealed content its one file's.
    pub(crate) stamps: RwLock<Vec<Stamp>>,
    pub(crate) synced: Mutex<Synced>,
    /// Files written to since the last sync. A file is in here before the chunk
    /// is in `have`.
    pub(crate) dirty: Mutex<HashSet<u32>>,
    /// Held while files are hashed again, or moved.
    pub(crate) examining: Mutex<()>,
    /// The same content in another place, to be copied from.
    pub(crate) donor: Mutex<Option<Arc<Content>>>,
    pub(crate) reserve: Mutex<Option<Reserve>>,
    /// Stops the thread that preallocates.
    pub(crate) abandon: Arc<AtomicBool>,
    pub(crate) allocating: Mutex<Option<JoinHandle<()>>>,
    /// Whether `finish` may replace what lies at the destination.
    pub(crate) replace: bool,
    pub(crate) added_ms: u64,
}

/// Where the files are, and what may be done to them.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) placement: Placement,
    pub(crate) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Being written; only the store touches the files.
    Open,
    /// At rest: the files must look like their stamps.
    Finished,
    /// Forgotten.
    Retired,
}

/// A part of a chunk in one file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// An entry's number, or [`SPILL`], or [`DATA`].
    pub(crate) key: u32,
    pub(crate) offset: u64,
    pub(crate) len: usize,
}

impl Content {
    /// The content's identifier.
    pub fn id(&self) -> &ContentId {
        self.manifest.id()
    }

    /// Root and pages as they came; complete unless only a part was selected.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The root's bytes, for a peer that asks.
    pub fn root_bytes(&self) -> Bytes {
        self.manifest.root_bytes().clone()
    }

    /// A page's bytes, for a peer that asks.
    pub fn page(&self, index: u32) -> Option<Bytes> {
        self.manifest.page(index).cloned()
    }

    /// Where its bytes are at the moment.
    pub fn placement(&self) -> Placement {
        self.place().placement.clone()
    }

    /// Where the file is at the moment; `None` if the content is a folder.
    pub fn file(&self) -> Option<PathBuf> {
        let is_file = self.manifest.root().single_file();
        is_file.then(|| self.base(&self.place()))
    }

    /// Whether the chunk or parity shard was verified and written. One atomic load.
    pub fn has(&self, chunk: u32) -> bool {
        match self.shards_with(chunk) {
            Some(shards) => shards.has(chunk),
            None => self.have.contains(chunk),
        }
    }

    /// The chunks that were verified and written.
    pub fn have(&self) -> ChunkSet {
        self.have.snapshot()
    }

    /// The chunks and parity shards that were verified and written: what may be
    /// announced.
    pub fn held(&self) -> ChunkSet {
        self.with_shards(&self.have(), |shards| shards.numbers().collect())
    }

    /// How many parity shards are here.
    pub fn shards_held(&self) -> u32 {
        self.shards.as_ref().map_or(0, |shards| shards.count())
    }

    /// Whether every parity shard is here, if there are any.
    pub fn has_all_shards(&self) -> bool {
        let shards = self.shards.as_ref();
        shards.is_none_or(|shards| shards.count() == shards.stripes().shards())
    }

    /// The chunks and parity shards that were kept of a content that is not kept as
    /// a whole.
    pub fn share(&self) -> Option<&ChunkSet> {
        self.share.as_ref()
    }

    /// The shards, if `chunk` is the number of one.
    pub(crate) fn shards_with(&self, chunk: u32) -> Option<&Shards> {
        let shards = self.shards.as_deref()?;
        let stripes = shards.stripes();
        (stripes.is_shard(chunk) && chunk < stripes.all()).then_some(shards)
    }

    fn with_shards(
        &self,
        chunks: &ChunkSet,
        numbers: impl FnOnce(&Shards) -> Vec<u32>,
    ) -> ChunkSet {
        let Some(shards) = &self.shards else {
            return chunks.clone();
        };
        let mut all = ChunkSet::new(shards.stripes().all());
        for number in chunks.iter().chain(numbers(shards)) {
            all.insert(number);
        }
        all
    }

    /// How many chunks `have` has. One atomic load.
    pub fn have_count(&self) -> u32 {
        self.have.count()
    }

    /// The chunks and parity shards that are on disk for good: what counts as a
    /// replica.
    pub fn synced(&self) -> ChunkSet {
        let chunks = self.synced.lock().expect("no panic inside").set.clone();
        self.with_shards(&chunks, Shards::synced)
    }

    /// The chunks that the selection needs; all, unless only a part was selected.
    pub fn wanted(&self) -> &ChunkSet {
        &self.wanted
    }

    /// Whether every chunk of the content is here, whatever was selected.
    pub fn is_complete(&self) -> bool {
        self.have.count() == self.manifest.chunk_count()
    }

    /// The chunks and parity shards that the node should have: the wanted chunks, and
    /// of the shards those of its share.
    pub fn targets(&self) -> ChunkSet {
        self.with_shards(&self.wanted, |shards| {
            let share = self.share.iter().flat_map(ChunkSet::iter);
            share.filter(|n| shards.stripes().is_shard(*n)).collect()
        })
    }

    /// Whether every wanted chunk is here, and every parity shard of the share.
    pub fn has_wanted(&self) -> bool {
        self.have.count() == self.wanted.count()
            && self
                .share
                .iter()
                .flat_map(ChunkSet::iter)
                .all(|number| self.has(number))
    }

    /// Whether nothing of an entry is missing: no chunk of a file, and of what has
    /// no bytes that it was put in place.
    pub fn has_entry(&self, entry: u32) -> bool {
        let chunks = self.chunks_of(entry);
        match chunks.is_empty() {
            true => self.is_finished() && self.is_chosen(entry),
            false => chunks.into_iter().all(|chunk| self.has(chunk)),
        }
    }

    /// Whether it is in its final place: in place, installed, or sealed and whole.
    pub fn is_finished(&self) -> bool {
        self.place().state == State::Finished
    }

    /// Bytes of the wanted chunks.
    pub fn wanted_bytes(&self) -> u64 {
        self.wanted_bytes
    }

    pub(crate) fn place(&self) -> Arc<Place> {
        self.place.read().expect("no panic inside").clone()
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        self.manifest
            .entries()
            .expect("checked when the content was made")
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.manifest
            .layout()
            .expect("checked when the content was made")
    }

    pub(crate) fn is_chosen(&self, entry: u32) -> bool {
        self.chosen
            .as_ref()
            .is_none_or(|chosen| chosen.contains(entry))
    }

    /// The selected entries of which `kind` holds, with their numbers.
    pub(crate) fn chosen_entries(
        &self,
        kind: fn(&EntryKind) -> bool,
    ) -> impl Iterator<Item = (u32, &Entry)> {
        (0..)
            .zip(self.entries())
            .filter(move |(i, entry)| kind(&entry.kind) && self.is_chosen(*i))
    }

    /// The selected files that are not empty, with their numbers.
    pub(crate) fn files_with_bytes(&self) -> impl Iterator<Item = (u32, &Entry)> {
        self.chosen_entries(|kind| matches!(kind, EntryKind::File { size } if *size > 0))
    }

    /// Where the parts of a chunk lie.
    pub(crate) fn pieces<'a>(
        &'a self,
        place: &Place,
        chunk: &ChunkRef,
    ) -> impl Iterator<Item = Piece> + use<'a> {
        let sealed = place.placement == Placement::Sealed;
        let whole = sealed.then_some(Piece {
            key: DATA,
            offset: chunk.offset,
            len: chunk.len as usize,
        });
        let range = if sealed { 0..0 } else { chunk.range() };
        let parts = self.layout().extents(range).map(|extent| {
            let chosen = self.is_chosen(extent.entry);
            Piece {
                key: if chosen { extent.entry } else { SPILL },
                offset: if chosen {
                    extent.file_offset
                } else {
                    extent.stream_offset
                },
                len: extent.len as usize,
            }
        });
        whole.into_iter().chain(parts)
    }

    /// Where a piece's file lies.
    pub(crate) fn path_of(&self, place: &Place, key: u32) -> PathBuf {
        match key {
            SPILL => self.dir.spill(),
            DATA => self.dir.data(),
            entry => {
                let base = self.base(place);
                if self.manifest.root().single_file() {
                    base
                } else {
                    base.join(&self.entries()[entry as usize].path)
                }
            }
        }
    }

    /// The file or folder that the entries lie in.
    pub(crate) fn base(&self, place: &Place) -> PathBuf {
        match &place.placement {
            Placement::InPlace(path) | Placement::Installed(path) => path.clone(),
            Placement::Staging { staging, .. } => staged(staging),
            Placement::Sealed => self.dir.data(),
        }
    }

    /// How large the piece's file is when it is whole.
    pub(crate) fn size_of(&self, key: u32) -> u64 {
        match key {
            SPILL | DATA => self.layout().total(),
            entry => self.entries()[entry as usize].size(),
        }
    }

    /// The chunks that have a part in a file.
    pub(crate) fn chunks_of(&self, key: u32) -> std::ops::Range<u32> {
        let range = match key {
            SPILL | DATA => Some(0..self.layout().total()),
            entry => self.layout().file_range(entry),
        };
        range
            .and_then(|range| self.manifest.chunks_of_range(range))
            .unwrap_or(0..0)
    }

    /// What the index should know of it.
    pub(crate) fn row(&self) -> Row {
        let place = self.place();
        Row {
            bytes: if place.placement == Placement::Sealed {
                self.wanted_bytes
            } else {
                0
            },
            finished: place.state == State::Finished,
            placement: place.placement.clone(),
            chosen: self.chosen.clone(),
            share: self.share.clone(),
            added_ms: self.added_ms,
        }
    }

    /// Waits for the thread that preallocates, a few milliseconds at most.
    pub(crate) fn stop_allocating(&self) {
        self.abandon.store(true, Ordering::Relaxed);
        let thread = self.allocating.lock().expect("no panic inside").take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }

    /// Ends its use: nothing is read or written any more, no file stays open.
    pub(crate) fn retire(&self) {
        self.stop_allocating();
        let _examining = self.examining.lock().expect("no panic inside");
        let mut place = self.place.write().expect("no panic inside");
        *place = Arc::new(Place {
            placement: place.placement.clone(),
            state: State::Retired,
        });
        drop(place);
        self.synced.lock().expect("no panic inside").bitfield = None;
        *self.reserve.lock().expect("no panic inside") = None;
        *self.donor.lock().expect("no panic inside") = None;
        self.shared.files.close_all(self.uid);
    }

    /// Ends the use of its parity shards, in whatever place its files are.
    pub(crate) fn retire_shards(&self) {
        if let Some(shards) = &self.shards {
            shards.retire();
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.abandon.store(true, Ordering::Relaxed);
        self.shared.files.close_all(self.uid);
    }
}

/// The tree in a staging folder.
pub(crate) fn staged(staging: &Path) -> PathBuf {
    staging.join("tree")
}
