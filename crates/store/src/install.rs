use std::{
    collections::HashSet,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Arc, Mutex, RwLock, atomic::AtomicBool},
};

use samara_content::{ChunkSet, EntryKind, Manifest};
use samara_wire::ContentId;

use crate::{
    Content, Placement, Selection, Store, StoreError,
    bitfield::Bitfield,
    chunks::AtomicChunks,
    content::{Place, State},
    scan::Tree,
    shards::{Shards, shards_of},
    stamp::{Stamp, wall_ns},
    state::{ContentDir, Row},
    sync::Synced,
};

/// What a [`Content`] is made of, before it is known where it lies.
pub(crate) struct Parts {
    pub(crate) manifest: Manifest,
    pub(crate) chosen: Option<ChunkSet>,
    pub(crate) share: Option<ChunkSet>,
    pub(crate) wanted: ChunkSet,
    pub(crate) wanted_bytes: u64,
    pub(crate) dir: ContentDir,
    pub(crate) shards: Option<Arc<Shards>>,
    pub(crate) donor: Option<Arc<Content>>,
    pub(crate) replace: bool,
    pub(crate) added_ms: u64,
}

impl Parts {
    /// Finds out which chunks the `chosen` entries need.
    pub(crate) fn new(
        store: &Store,
        manifest: Manifest,
        chosen: Option<ChunkSet>,
    ) -> Result<Self, StoreError> {
        let (Some(entries), Some(layout)) = (manifest.entries(), manifest.layout()) else {
            let page = manifest.missing_pages().next().unwrap_or(0);
            return Err(StoreError::PageMissing { page });
        };
        let mut wanted = ChunkSet::new(manifest.chunk_count());
        match &chosen {
            None => wanted = ChunkSet::full(manifest.chunk_count()),
            Some(chosen) => {
                for range in (0..entries.len() as u32)
                    .filter(|i| chosen.contains(*i))
                    .filter_map(|i| layout.file_range(i))
                {
                    let pages = manifest.pages_for(range.clone());
                    let chunks = manifest.chunks_of_range(range);
                    let missing = || pages.clone().find(|i| manifest.page(*i).is_none());
                    wanted.insert_range(chunks.ok_or_else(|| StoreError::PageMissing {
                        page: missing().unwrap_or(pages.start),
                    })?);
                }
            }
        }
        let mut wanted_bytes = 0;
        for chunk in &wanted {
            let Some(chunk) = manifest.chunk(chunk) else {
                let page = manifest.missing_pages().next().unwrap_or(0);
                return Err(StoreError::PageMissing { page });
            };
            wanted_bytes += u64::from(chunk.len);
        }
        let dir = store.content_dir(manifest.id());
        Ok(Self {
            shards: shards_of(&store.shared.open_shards, dir.clone(), &manifest)?,
            dir,
            manifest,
            chosen,
            share: None,
            wanted,
            wanted_bytes,
            donor: None,
            replace: false,
            added_ms: (wall_ns() / 1_000_000) as u64,
        })
    }

    /// What the claims about a staging tree are made under. Where the parts of a chunk
    /// lie depends on the selection, and the parts that were not selected lie in the
    /// store: a claim for another selection, or of another store, does not read back.
    pub(crate) fn claim_key(&self) -> ContentId {
        let Some(chosen) = &self.chosen else {
            return *self.manifest.id();
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.manifest.id().as_bytes());
        hasher.update(&chosen.encode());
        hasher.update(self.dir.path().as_os_str().as_bytes());
        ContentId(*hasher.finalize().as_bytes())
    }

    /// A content that lies at `placement` and is not written to any more, with
    /// its claims written down.
    pub(crate) fn finished(
        self,
        store: &Store,
        placement: Placement,
        have: ChunkSet,
        stamps: Vec<Stamp>,
    ) -> Result<Arc<Content>, StoreError> {
        let io = |e| StoreError::io("write in", self.dir.path(), e);
        self.dir.save_manifest(&self.manifest).map_err(io)?;
        self.dir.save_stamps(&stamps).map_err(io)?;
        let synced = self.claims(&have)?;
        Ok(self.content(store, placement, State::Finished, have, stamps, synced))
    }

    /// Opens the bitfield of a finished or sealed content and claims `have`.
    fn claims(&self, have: &ChunkSet) -> Result<Synced, StoreError> {
        let mut bitfield = open_bitfield(&self.dir.have(), self.manifest.id(), &self.manifest)?.0;
        let stamp_ns = wall_ns();
        let written = bitfield.write(have, stamp_ns);
        written.map_err(|e| StoreError::io("write", self.dir.have(), e))?;
        Ok(Synced {
            set: have.clone(),
            bitfield: Some(bitfield),
            stamp_ns,
        })
    }

    pub(crate) fn content(
        self,
        store: &Store,
        placement: Placement,
        state: State,
        have: ChunkSet,
        stamps: Vec<Stamp>,
        synced: Synced,
    ) -> Arc<Content> {
        Arc::new(Content {
            uid: store.shared.next_uid(),
            shared: store.shared.clone(),
            table: Arc::downgrade(&store.table),
            dir: self.dir,
            manifest: self.manifest,
            chosen: self.chosen,
            share: self.share,
            shards: self.shards,
            wanted: self.wanted,
            wanted_bytes: self.wanted_bytes,
            have: AtomicChunks::new(&have),
            place: RwLock::new(Arc::new(Place { placement, state })),
            stamps: RwLock::new(stamps),
            synced: Mutex::new(synced),
            dirty: Mutex::new(HashSet::new()),
            examining: Mutex::new(()),
            donor: Mutex::new(self.donor),
            reserve: Mutex::new(None),
            abandon: Arc::new(AtomicBool::new(false)),
            allocating: Mutex::new(None),
            replace: self.replace,
            added_ms: self.added_ms,
        })
    }

    /// A finished content, as it is found at start-up.
    pub(crate) fn load(
        store: &Store,
        id: &ContentId,
        row: &Row,
    ) -> Result<Arc<Content>, StoreError> {
        let manifest = store.content_dir(id).load_manifest(id);
        let manifest = manifest.ok_or(StoreError::UnknownContent(*id))?;
        let mut parts = Self::new(store, manifest, row.chosen.clone())?;
        if let Some(share) = &row.share {
            parts = parts.narrowed(share.clone());
        }
        parts.added_ms = row.added_ms;
        let sealed = row.placement == Placement::Sealed;
        let entries = parts.manifest.entries().map_or(0, <[_]>::len);
        let stamps = parts.dir.load_stamps(if sealed { 1 } else { entries });
        let (mut bitfield, claim) = open_bitfield(&parts.dir.have(), id, &parts.manifest)?;
        let trusted = stamps.is_some() && claim.is_some();
        // Without its papers everything is looked at again.
        let mut have = claim.map_or_else(|| parts.wanted.clone(), |claim| claim.have);
        have.intersect_with(&parts.wanted);
        let stamps =
            stamps.unwrap_or_else(|| vec![Stamp::default(); if sealed { 1 } else { entries }]);
        let stamp_ns = wall_ns();
        if !trusted {
            let written = bitfield.write(&ChunkSet::new(have.len()), stamp_ns);
            written.map_err(|e| StoreError::io("write", parts.dir.have(), e))?;
        }
        let synced = Synced {
            set: have.clone(),
            bitfield: Some(bitfield),
            stamp_ns,
        };
        let whole = have == parts.wanted;
        let state = if sealed && !whole {
            State::Open
        } else {
            State::Finished
        };
        let content = parts.content(store, row.placement.clone(), state, have, stamps, synced);
        let place = content.place();
        if sealed {
            if state == State::Finished {
                content.examine(crate::content::DATA, &place);
                content.give_back_rest();
            } else {
                content.verify()?;
            }
        } else {
            content.examine_files();
        }
        if !trusted {
            content.unclaim(&[]);
        }
        Ok(content)
    }
}

impl Content {
    /// Whether exactly this content lies at `path`, as the store left it.
    pub(crate) fn is_untouched_at(&self, path: &Path) -> bool {
        self.tree_like_this(path)
            .is_some_and(|tree| self.matches(&tree))
    }

    /// Whether all entries of this content lie at `path`, and nothing else, of their
    /// kinds, sizes and modes. Bytes are not looked at.
    pub fn resembles(&self, path: &Path) -> bool {
        self.tree_like_this(path).is_some()
    }

    fn tree_like_this(&self, path: &Path) -> Option<Tree> {
        let root = self.manifest.root();
        let meta = std::fs::symlink_metadata(path).ok()?;
        let tree = if root.single_file() {
            Tree::of_file(path, &root.name, &meta)
        } else {
            Tree::of_folder(path)
        };
        tree.ok()
            .filter(|tree| meta.is_dir() != root.single_file() && self.entries() == tree.entries)
    }

    /// Whether the files look like `tree`'s.
    pub(crate) fn matches(&self, tree: &Tree) -> bool {
        let stamps = self.stamps.read().expect("no panic inside");
        let mut files = self.chosen_entries(|kind| matches!(kind, EntryKind::File { .. }));
        files.all(|(i, _)| stamps.get(i as usize) == tree.stamps.get(i as usize))
    }
}

impl Store {
    /// Makes room for another placement of a content: what was being downloaded
    /// is dropped, what is finished gives up its bitfield and stays readable.
    pub(crate) fn supersede(&self, id: &ContentId) -> Result<(), StoreError> {
        if let Some(old) = self.content(id) {
            if old.place().state == State::Open || old.placement() == Placement::Sealed {
                old.retire();
            }
            old.synced.lock().expect("no panic inside").bitfield = None;
        }
        let row = self
            .table
            .rows
            .lock()
            .expect("no panic inside")
            .get(id)
            .cloned();
        match row.map(|row| row.placement) {
            Some(Placement::Staging { staging, .. }) => crate::store::remove(&staging).map(drop),
            Some(Placement::Sealed) => crate::store::remove(&self.content_dir(id).data()).map(drop),
            _ => Ok(()),
        }
    }
}

/// Which entries are selected; `None` for all.
pub(crate) fn choose(
    manifest: &Manifest,
    selection: Selection<'_>,
) -> Result<Option<ChunkSet>, StoreError> {
    let Selection::Only(filter) = selection else {
        return Ok(None);
    };
    let Some(entries) = manifest.entries() else {
        let page = manifest.missing_pages().next().unwrap_or(0);
        return Err(StoreError::PageMissing { page });
    };
    let mut chosen = ChunkSet::new(entries.len() as u32);
    let mut last = None;
    for (i, entry) in (0..).zip(entries).filter(|(_, entry)| filter(entry)) {
        chosen.insert(i);
        // The folders on the way come with it, with their modes.
        let parent = entry.path.parent();
        let known = parent == last;
        last.clone_from(&parent);
        let mut folder = parent.filter(|_| !known);
        while let Some(path) = folder {
            if let Ok(i) = entries.binary_search_by(|e| e.path.cmp(&path)) {
                chosen.insert(i as u32);
            }
            folder = path.parent();
        }
    }
    if chosen.is_empty() {
        return Err(StoreError::NothingSelected);
    }
    Ok((!chosen.is_full()).then_some(chosen))
}

/// Opens a bitfield that only another process could hold.
pub(crate) fn open_bitfield(
    path: &Path,
    key: &ContentId,
    manifest: &Manifest,
) -> Result<(Bitfield, Option<crate::bitfield::Claim>), StoreError> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| StoreError::io("make", parent, e))?;
    }
    let opened = Bitfield::open(path, key, manifest.chunk_count());
    opened
        .map_err(|e| StoreError::io("open", path, e))?
        .ok_or_else(|| StoreError::BadDestination {
            path: path.to_owned(),
            reason: "another process is downloading the same content to the same place".into(),
        })
}

/// Bytes free on the file system of `path`, for this user; 0 if that is unknown.
pub(crate) fn free(path: &Path) -> u64 {
    let mut at = Some(path);
    while let Some(path) = at {
        if let Ok(stat) = rustix::fs::statvfs(path) {
            return stat.f_bavail * stat.f_frsize;
        }
        at = path.parent();
    }
    0
}

/// Makes a name that cannot be taken for the user's.
pub(crate) fn staging_name(id: &ContentId, name: &str) -> String {
    let tag = &blake3::hash(name.as_bytes()).to_hex()[..6];
    format!(".samara-{}-{tag}.partial", id.short())
}

/// Sets a path's permissions, unless they are so already.
pub(crate) fn set_mode(path: &Path, mode: u16) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(mode.into());
    std::fs::set_permissions(path, permissions)
}
