use std::{
    collections::HashSet,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use samara_content::{ChunkSet, EntryKind, EntryPath, Manifest};

use crate::{
    Content, Destination, Placement, Selection, Store, StoreError,
    adopt::{difference, same_place, widens},
    case,
    content::{State, staged},
    files,
    install::{Parts, choose, open_bitfield, staging_name},
    stamp::Stamp,
    sync::Synced,
};

impl Store {
    /// Starts or resumes a download. The space is reserved when it returns.
    ///
    /// `manifest` needs all pages of entries, and the pages of the chunks that
    /// `selection` needs. The content may come back with everything in `have`:
    /// when the destination holds it already (then it is finished as well), when
    /// the store has it in the same place, or when an interrupted download had
    /// it all. [`Content::reuse`] then fills what other contents know.
    ///
    /// For [`Destination::Sealed`], a content that lies complete somewhere else
    /// is good enough: bytes live once.
    pub fn begin(
        &self,
        manifest: Manifest,
        destination: &Destination,
        selection: Selection<'_>,
    ) -> Result<Arc<Content>, StoreError> {
        let chosen = choose(&manifest, selection)?;
        let mut parts = Parts::new(self, manifest, chosen)?;
        parts.donor = self
            .content(parts.manifest.id())
            .filter(|old| old.have_count() > 0);
        match destination {
            Destination::Sealed => self.begin_sealed(parts),
            Destination::Install {
                parent,
                name,
                force,
            } => {
                let absent = parent.ancestors().take_while(|folder| !folder.exists());
                let absent: Vec<&Path> = absent.collect();
                self.begin_in(parts, parent, name, *force).inspect_err(|_| {
                    // The error that is under way matters more, and what lies in one
                    // by now is somebody's.
                    let _ = absent.iter().try_for_each(std::fs::remove_dir);
                })
            }
        }
    }

    fn begin_in(
        &self,
        parts: Parts,
        parent: &Path,
        name: &str,
        force: bool,
    ) -> Result<Arc<Content>, StoreError> {
        std::fs::create_dir_all(parent)
            .map_err(|e| StoreError::io("make the folder", parent, e))?;
        let parent =
            std::fs::canonicalize(parent).map_err(|e| StoreError::io("find", parent, e))?;
        let path = parent.join(name);
        if EntryPath::new(name).is_err() || name.contains('/') {
            let reason = "its name is not one plain path component".into();
            return Err(StoreError::BadDestination { path, reason });
        }
        self.begin_install(parts, &parent, name, force)
    }

    pub(crate) fn begin_sealed(&self, mut parts: Parts) -> Result<Arc<Content>, StoreError> {
        let id = *parts.manifest.id();
        if let Some(old) = self.content(&id)
            && parts.wanted.difference_count(&old.wanted) == 0
            && (old.has_wanted() || old.place().state == State::Open)
        {
            return Ok(old);
        }
        let row = self
            .table
            .rows
            .lock()
            .expect("no panic inside")
            .get(&id)
            .cloned();
        let reserved = row.as_ref().map_or(0, |row| row.bytes);
        let need = parts.wanted_bytes.saturating_sub(reserved);
        let used = self.used();
        if let Some(quota) = self
            .shared
            .config
            .quota_bytes
            .filter(|quota| used + need > *quota)
        {
            return Err(StoreError::OverQuota { quota, used, need });
        }
        if let Some(old) = self.content(&id) {
            old.synced.lock().expect("no panic inside").bitfield = None;
        }
        parts.added_ms = row.map_or(parts.added_ms, |row| row.added_ms);
        let (bitfield, claim) = open_bitfield(&parts.dir.have(), &id, &parts.manifest)?;
        // A bitfield that speaks of another placement says nothing of this file.
        let claim = claim.filter(|_| parts.dir.data().exists());
        let synced = unclaimed(&parts.manifest, bitfield);
        let have = ChunkSet::new(parts.manifest.chunk_count());
        let stamps = vec![Stamp::default()];
        let content = parts.content(self, Placement::Sealed, State::Open, have, stamps, synced);
        content.resume(claim)?;
        content.reserve_sealed()?;
        content.save_manifest()?;
        self.register(&content)?;
        Ok(content)
    }

    fn begin_install(
        &self,
        mut parts: Parts,
        parent: &Path,
        name: &str,
        force: bool,
    ) -> Result<Arc<Content>, StoreError> {
        let path = parent.join(name);
        if let Some(old) = self.content(parts.manifest.id())
            && let Some(same) = same_place(&old, &path, &parts)?
        {
            return Ok(same);
        }
        let folds = self.shared.folds_case;
        case::check(&parts.manifest, parts.chosen.as_ref(), parent, folds)?;
        if std::fs::symlink_metadata(&path).is_ok() {
            if let Some(content) = self.adopt(&parts, &path)? {
                return Ok(content);
            }
            if !force && !widens(&mut parts, &path) {
                let difference = difference(self, parts, &path);
                return Err(StoreError::DestinationDiffers { path, difference });
            }
            parts = Parts {
                replace: true,
                ..self.reselect(parts)?
            };
        }
        self.stage(parts, parent, name, path)
    }

    /// Works out again what the selection needs.
    fn reselect(&self, parts: Parts) -> Result<Parts, StoreError> {
        let (donor, added_ms) = (parts.donor, parts.added_ms);
        let again = Parts::new(self, parts.manifest, parts.chosen)?;
        Ok(Parts {
            donor,
            added_ms,
            ..again
        })
    }

    fn stage(
        &self,
        parts: Parts,
        parent: &Path,
        name: &str,
        destination: PathBuf,
    ) -> Result<Arc<Content>, StoreError> {
        let staging = parent.join(staging_name(parts.manifest.id(), name));
        let mut parts = parts;
        if let Some(old) = self.content(parts.manifest.id())
            && old.is_staged_in(&staging)
        {
            // Another selection, of which the store knows only that it was begun.
            old.retire();
            parts.donor = None;
        }
        if parts.donor.is_none() {
            parts.donor = self.interrupted(&parts, &staging);
        }
        let fresh = match std::fs::DirBuilder::new().mode(0o700).create(&staging) {
            Ok(()) => true,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(StoreError::io("make the folder", &staging, e)),
        };
        let (key, have) = (parts.claim_key(), staging.join("have"));
        let (bitfield, claim) = open_bitfield(&have, &key, &parts.manifest)?;
        if claim.is_none() {
            // What was claimed for another selection must not come back either.
            let cleared = bitfield.distrust();
            cleared.map_err(|e| StoreError::io("write", &have, e))?;
        }
        let synced = unclaimed(&parts.manifest, bitfield);
        let have = ChunkSet::new(parts.manifest.chunk_count());
        let placement = Placement::Staging {
            staging: staging.clone(),
            destination,
        };
        let content = parts.content(self, placement, State::Open, have, Vec::new(), synced);
        let prepare = || {
            content.unlock_folders(&content.place())?;
            content.make_folders(&staging)?;
            content.resume(claim)?;
            content.reserve_files(&staging)?;
            content.save_manifest()?;
            self.register(&content)
        };
        prepare().inspect_err(|_| {
            if fresh {
                content.stop_allocating();
                // The error that is under way matters more.
                let _ = files::remove_tree(&staging);
            }
        })?;
        Ok(content)
    }

    /// An interrupted download of the same content to another place, to take its
    /// chunks from; it is removed when this one is finished.
    fn interrupted(&self, parts: &Parts, staging: &Path) -> Option<Arc<Content>> {
        let id = parts.manifest.id();
        let row = self
            .table
            .rows
            .lock()
            .expect("no panic inside")
            .get(id)
            .cloned()?;
        let Placement::Staging { staging: other, .. } = &row.placement else {
            return None;
        };
        if other == staging || !other.is_dir() {
            return None;
        }
        let old = Parts::new(self, parts.manifest.clone(), row.chosen.clone()).ok()?;
        let (bitfield, claim) =
            open_bitfield(&other.join("have"), &old.claim_key(), &old.manifest).ok()?;
        let synced = unclaimed(&old.manifest, bitfield);
        let have = ChunkSet::new(old.manifest.chunk_count());
        let content = old.content(self, row.placement, State::Open, have, Vec::new(), synced);
        content.resume(claim).ok()?;
        Some(content)
    }
}

impl Content {
    fn is_staged_in(&self, folder: &Path) -> bool {
        matches!(self.placement(), Placement::Staging { staging, .. } if staging == folder)
    }

    fn save_manifest(&self) -> Result<(), StoreError> {
        let saved = self.dir.save_manifest(&self.manifest);
        saved.map_err(|e| StoreError::io("write in", self.dir.path(), e))
    }

    /// Makes the tree's folders, writable until `finish`.
    pub(crate) fn make_folders(&self, staging: &Path) -> Result<(), StoreError> {
        let base = staged(staging);
        let make = |path: &Path| {
            std::fs::create_dir_all(path).map_err(|e| StoreError::io("make the folder", path, e))
        };
        if self.manifest.root().single_file() {
            return Ok(());
        }
        make(&base)?;
        let mut made = HashSet::new();
        for (_, entry) in self.chosen_entries(|_| true) {
            let folder = match entry.kind {
                EntryKind::Directory => Some(entry.path.clone()),
                _ => entry.path.parent(),
            };
            if let Some(folder) = folder
                && made.insert(folder.clone())
            {
                make(&base.join(&folder))?;
            }
        }
        Ok(())
    }
}

fn unclaimed(manifest: &Manifest, bitfield: crate::bitfield::Bitfield) -> Synced {
    Synced {
        set: ChunkSet::new(manifest.chunk_count()),
        bitfield: Some(bitfield),
        stamp_ns: 0,
    }
}
