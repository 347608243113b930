use std::{
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use samara_content::EntryKind;

use crate::{
    Content, Difference, Placement, StoreError,
    bitfield::Bitfield,
    content::{Place, State, staged},
    files,
    install::set_mode,
    limits::MAX_SINGLE_SYNCS,
    parallel,
    stamp::{Stamp, settle, wall_ns},
};

impl Content {
    /// Puts a download in its final place, when all wanted chunks are there, and
    /// nothing but what was selected: modes, links, empty files and directories, one sync pass, one rename, one
    /// fsync of the parent. Nothing happens if it is finished.
    pub fn finish(&self) -> Result<(), StoreError> {
        let _examining = self.examining.lock().expect("no panic inside");
        let mut place = self.place.write().expect("no panic inside");
        let placement = match (&place.placement, place.state) {
            (_, State::Finished) => return Ok(()),
            (_, State::Retired) => return Err(StoreError::UnknownContent(*self.id())),
            (placement, State::Open) => placement.clone(),
        };
        if !self.has_wanted() {
            let missing = self.wanted.count() - self.have.count();
            return Err(StoreError::Incomplete { missing });
        }
        self.stop_allocating();
        let (placement, stamps) = match placement {
            Placement::Staging {
                staging,
                destination,
            } => {
                self.unlock_folders(&place)?;
                if self.prune(&staged(&staging))? {
                    self.make_folders(&staging)?;
                }
                self.make_rest(&place)?;
                let (stamps, short) = self.set_modes(&place)?;
                if !short.is_empty() {
                    // Somebody cut our files: those chunks are fetched again.
                    let seen = place.clone();
                    drop(place);
                    let chunks: Vec<u32> =
                        short.into_iter().flat_map(|i| self.chunks_of(i)).collect();
                    self.lose(&seen, &self.damaged(&seen, &chunks));
                    let missing = self.wanted.count() - self.have.count();
                    return Err(StoreError::Incomplete { missing });
                }
                let stamps = self.install(&place, stamps, &staging, &destination)?;
                (Placement::Installed(destination), stamps)
            }
            other => (other, self.seal()?),
        };
        *self.stamps.write().expect("no panic inside") = stamps.clone();
        let staging = match &place.placement {
            Placement::Staging { staging, .. } => Some(staging.clone()),
            _ => None,
        };
        *place = Arc::new(Place {
            placement,
            state: State::Finished,
        });
        self.dirty.lock().expect("no panic inside").clear();
        drop(place);
        self.shared.files.close_all(self.uid);
        self.write_down(&stamps)?;
        if let Some(staging) = staging
            && let Err(e) = files::remove_tree(&staging)
        {
            tracing::warn!(path = %staging.display(), error = %e, "cannot remove the staging folder");
        }
        Ok(())
    }

    /// Writes the claims and the row of a content whose files lie where they stay.
    fn write_down(&self, stamps: &[Stamp]) -> Result<(), StoreError> {
        let failed = |e| StoreError::io("write in", self.dir.path(), e);
        // The other placement of the same content is not needed any more.
        if let Some(donor) = self.donor.lock().expect("no panic inside").take() {
            donor.synced.lock().expect("no panic inside").bitfield = None;
            match donor.placement() {
                Placement::Sealed if self.placement() != Placement::Sealed => {
                    donor.retire();
                    files::remove_tree(&self.dir.data()).map_err(failed)?;
                }
                Placement::Staging { staging, .. } => {
                    donor.retire();
                    files::remove_tree(&staging).map_err(failed)?;
                }
                _ => {}
            }
        }
        self.dir.save_stamps(stamps).map_err(failed)?;
        let mut synced = self.synced.lock().expect("no panic inside");
        let (have, stamp_ns) = (self.have(), wall_ns());
        synced.bitfield = match synced.bitfield.take() {
            Some(bitfield) if self.placement() == Placement::Sealed => Some(bitfield),
            _ => Bitfield::open(&self.dir.have(), self.id(), have.len())
                .map_err(failed)?
                .map(|(b, _)| b),
        };
        if let Some(bitfield) = &mut synced.bitfield {
            bitfield.write(&have, stamp_ns).map_err(failed)?;
        }
        synced.set = have;
        synced.stamp_ns = stamp_ns;
        drop(synced);
        match self.table.upgrade() {
            Some(table) => table.put_row(&self.shared, self),
            None => Ok(()),
        }
    }

    fn seal(&self) -> Result<Vec<Stamp>, StoreError> {
        let path = self.dir.data();
        let stamp = files::open_read(&path).and_then(|file| {
            file.sync_all()?;
            Stamp::of(&file)
        });
        Ok(vec![stamp.map_err(|e| StoreError::io("sync", path, e))?])
    }

    fn install(
        &self,
        place: &Place,
        mut stamps: Vec<Stamp>,
        staging: &Path,
        destination: &Path,
    ) -> Result<Vec<Stamp>, StoreError> {
        let tree = staged(staging);
        self.sync_tree(place, &tree)?;
        // From here on others can write.
        settle(&stamps);
        move_into_place(&tree, destination, self.replace)?;
        let parent = destination.parent().unwrap_or(Path::new("/"));
        files::sync_dir(parent).map_err(|e| StoreError::io("sync", parent, e))?;
        match self.manifest.root().folder_mode {
            Some(mode) if !is_movable(mode) => {
                // Only the owner could enter it until now.
                let folder = files::open_read(destination);
                folder
                    .and_then(|folder| set_mode(destination, mode).and_then(|()| folder.sync_all()))
                    .map_err(|e| StoreError::io("change the mode of", destination, e))?;
            }
            Some(_) => {}
            None => {
                // The renaming changed its ctime.
                let meta = std::fs::symlink_metadata(destination);
                let meta = meta.map_err(|e| StoreError::io("examine", destination, e))?;
                stamps[0] = Stamp::from_metadata(&meta);
            }
        }
        Ok(stamps)
    }

    /// Lets the store into the folders again that an earlier `finish`, which did
    /// not come to its end, gave the modes that they will have.
    pub(crate) fn unlock_folders(&self, place: &Place) -> Result<(), StoreError> {
        let unlock = |path: PathBuf| match set_mode(&path, STAGING_MODE) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("change the mode of", path, e))
            }
            _ => Ok(()),
        };
        let locks_out = |mode: u16| mode & STAGING_MODE != STAGING_MODE;
        if self.manifest.root().folder_mode.is_some_and(locks_out) {
            unlock(self.base(place))?;
        }
        // In path order: a folder before what lies in it.
        self.chosen_entries(|kind| *kind == EntryKind::Directory)
            .filter(|(_, entry)| locks_out(entry.mode))
            .try_for_each(|(i, _)| unlock(self.path_of(place, i)))
    }

    /// What no chunk brings: empty files and symlinks.
    fn make_rest(&self, place: &Place) -> Result<(), StoreError> {
        for (i, entry) in self.chosen_entries(|_| true) {
            let path = self.path_of(place, i);
            let made = match &entry.kind {
                EntryKind::File { size: 0 } => files::open_staged(&path).map(drop),
                EntryKind::Symlink { target } => match symlink(&**target, &path) {
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                        std::fs::remove_file(&path).and_then(|()| symlink(&**target, &path))
                    }
                    made => made,
                },
                _ => Ok(()),
            };
            made.map_err(|e| StoreError::io("make", path, e))?;
        }
        Ok(())
    }

    /// Files first, on all threads; then folders, the deepest first, since one
    /// may end up not writable; the root last, and later still if that would keep
    /// it from being moved. Returns stamps by entry, and the files that are
    /// not there or not of their size.
    fn set_modes(&self, place: &Place) -> Result<(Vec<Stamp>, Vec<u32>), StoreError> {
        let files: Vec<_> = self
            .chosen_entries(|kind| matches!(kind, EntryKind::File { .. }))
            .collect();
        let done = Mutex::new((vec![Stamp::default(); self.entries().len()], Vec::new()));
        parallel::for_each(self.shared.config.threads, files.len(), 64, |i, _| {
            let (number, entry) = files[i];
            let path = self.path_of(place, number);
            let stamp = set_mode(&path, entry.mode)
                .and_then(|()| std::fs::symlink_metadata(&path))
                .map(|meta| Stamp::from_metadata(&meta));
            let mut done = done.lock().expect("no panic inside");
            match stamp {
                Ok(stamp) if stamp.size == entry.size() => done.0[number as usize] = stamp,
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("change the mode of", path, e));
                }
                _ => done.1.push(number),
            }
            Ok(())
        })?;
        let folders: Vec<_> = self
            .chosen_entries(|kind| *kind == EntryKind::Directory)
            .collect();
        for (number, entry) in folders.into_iter().rev() {
            let path = self.path_of(place, number);
            set_mode(&path, entry.mode)
                .map_err(|e| StoreError::io("change the mode of", path, e))?;
        }
        if let Some(mode) = self.manifest.root().folder_mode.filter(|m| is_movable(*m)) {
            let path = self.base(place);
            set_mode(&path, mode).map_err(|e| StoreError::io("change the mode of", path, e))?;
        }
        Ok(done.into_inner().expect("no panic inside"))
    }

    fn sync_tree(&self, place: &Place, tree: &Path) -> Result<(), StoreError> {
        let failed = |path: &Path, e| StoreError::io("sync", path, e);
        let staging = tree.parent().unwrap_or(tree);
        if self.chosen.is_some() && self.dir.spill().exists() {
            let spill = self.dir.spill();
            let synced = files::open_read(&spill).and_then(|file| file.sync_data());
            synced.map_err(|e| failed(&spill, e))?;
        }
        let count = self
            .chosen_entries(|_| true)
            .take(MAX_SINGLE_SYNCS + 1)
            .count();
        if count > MAX_SINGLE_SYNCS {
            return files::sync_file_system(staging).map_err(|e| failed(staging, e));
        }
        match self.sync_entries(place, tree, staging) {
            // A mode that keeps its owner out.
            Err((_, e)) if e.kind() == io::ErrorKind::PermissionDenied => {
                files::sync_file_system(staging).map_err(|e| failed(staging, e))
            }
            synced => synced.map_err(|(path, e)| failed(&path, e)),
        }
    }

    fn sync_entries(
        &self,
        place: &Place,
        tree: &Path,
        staging: &Path,
    ) -> Result<(), (PathBuf, io::Error)> {
        let mut folders = vec![staging.to_owned()];
        if !self.manifest.root().single_file() {
            folders.push(tree.to_owned());
        }
        for (number, entry) in self.chosen_entries(|_| true) {
            let path = self.path_of(place, number);
            match entry.kind {
                EntryKind::File { .. } => {
                    let synced = files::open_read(&path).and_then(|file| file.sync_all());
                    synced.map_err(|e| (path.clone(), e))?;
                }
                EntryKind::Directory => folders.push(path.clone()),
                EntryKind::Symlink { .. } => {}
            }
            folders.extend(path.parent().map(Path::to_owned));
        }
        folders.sort();
        folders.dedup();
        folders
            .into_iter()
            .try_for_each(|folder| files::sync_dir(&folder).map_err(|e| (folder, e)))
    }
}

/// What `tree` and its folders are until `finish`.
const STAGING_MODE: u16 = 0o700;

/// Whether a folder's owner may move it: its `..` is written to.
fn is_movable(mode: u16) -> bool {
    mode & 0o200 != 0
}

/// One rename. With `replace`, what lies there changes places with the new tree,
/// so that at no moment there is nothing; it is removed with the staging folder.
fn move_into_place(tree: &Path, destination: &Path, replace: bool) -> Result<(), StoreError> {
    use rustix::io::Errno;
    let rename = |flags| renameat_with(CWD, tree, CWD, destination, flags);
    let failed = |e: Errno| failed_to_move(destination, e.into());
    match rename(RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) if replace => {
            let locked = unlock(destination).map_err(|e| failed_to_move(destination, e))?;
            let moved = match rename(RenameFlags::EXCHANGE) {
                Err(Errno::INVAL | Errno::NOSYS) => move_in_steps(tree, destination),
                other => other.map_err(failed),
            };
            if let (Err(_), Some(before)) = (&moved, locked) {
                // The error that is under way matters more.
                let _ = std::fs::set_permissions(destination, before);
            }
            moved
        }
        Err(Errno::EXIST) => Err(StoreError::DestinationDiffers {
            path: destination.to_owned(),
            difference: Difference::one("it appeared while it was being fetched"),
        }),
        // A file system without these flags, some network ones.
        Err(Errno::INVAL | Errno::NOSYS) if replace || !destination.exists() => {
            move_in_steps(tree, destination)
        }
        Err(e) => Err(failed(e)),
    }
}

/// Makes a folder movable that its owner may not write to. What its permissions
/// were, if they had to be changed.
fn unlock(path: &Path) -> io::Result<Option<std::fs::Permissions>> {
    use std::os::unix::fs::PermissionsExt;
    let meta = std::fs::symlink_metadata(path)?;
    if !meta.is_dir() || is_movable(meta.permissions().mode() as u16) {
        return Ok(None);
    }
    set_mode(path, STAGING_MODE)?;
    Ok(Some(meta.permissions()))
}

fn failed_to_move(destination: &Path, e: io::Error) -> StoreError {
    StoreError::io("move the finished download to", destination, e)
}

fn move_in_steps(tree: &Path, destination: &Path) -> Result<(), StoreError> {
    let failed = |e| failed_to_move(destination, e);
    let aside: PathBuf = tree.with_file_name("old");
    match std::fs::rename(destination, &aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    std::fs::rename(tree, destination).map_err(failed)
}
