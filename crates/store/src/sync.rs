use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, fadvise};
use samara_content::ChunkSet;

use crate::{
    Content, SyncError,
    bitfield::Bitfield,
    content::{DATA, SPILL},
    files,
    limits::MAX_SINGLE_SYNCS,
    stamp::wall_ns,
};

/// What is on disk for good.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) set: ChunkSet,
    /// `None` once the content is forgotten.
    pub(crate) bitfield: Option<Bitfield>,
    pub(crate) stamp_ns: i64,
}

impl Content {
    /// Makes everything durable that was in `have` when it was called, then says
    /// so in the persistent bitfield, then in [`synced`](Self::synced). Returns
    /// at once when nothing is new.
    ///
    /// Meant to be called every 100 ms, or after ten times as long as the last
    /// call took if that is more: with many small files it syncs the whole file
    /// system, and a busy disk needs seconds for that.
    pub fn sync(&self) -> Result<(), SyncError> {
        if let Some(shards) = &self.shards {
            shards.sync()?;
        }
        let mut synced = self.synced.lock().expect("no panic inside");
        let have = self.have();
        if have == synced.set || synced.bitfield.is_none() {
            return Ok(());
        }
        // After `have`: whatever it claims was written before this moment, into
        // files that are in `dirty`.
        let stamp_ns = wall_ns();
        let dirty = std::mem::take(&mut *self.dirty.lock().expect("no panic inside"));
        if let Err((path, source)) = self.flush(dirty.iter().copied().collect()) {
            drop(synced);
            return Err(self.distrust(path, source));
        }
        let Some(bitfield) = &mut synced.bitfield else {
            return Ok(());
        };
        if let Err(source) = bitfield.write(&have, stamp_ns) {
            // The data is safe; the next sync tries the claim again.
            return Err(SyncError {
                path: self.dir.path().to_owned(),
                lost: Vec::new(),
                source,
            });
        }
        synced.stamp_ns = stamp_ns;
        synced.set = have;
        Ok(())
    }

    fn flush(&self, dirty: Vec<u32>) -> Result<(), (PathBuf, io::Error)> {
        let place = self.place();
        let at = |path: &Path| {
            let path = path.to_owned();
            move |e| (path, e)
        };
        if dirty.len() > MAX_SINGLE_SYNCS {
            if dirty.contains(&SPILL) {
                flush_file(&self.dir.spill()).map_err(at(&self.dir.spill()))?;
            }
            let base = self.base(&place);
            return files::sync_file_system(&base).map_err(at(&base));
        }
        let mut parents = BTreeSet::new();
        for key in dirty {
            let path = self.path_of(&place, key);
            flush_file(&path).map_err(at(&path))?;
            // A small file is made when its first chunk comes: its name is as
            // new as its bytes.
            if key < DATA
                && let Some(parent) = path.parent()
            {
                parents.insert(parent.to_owned());
            }
        }
        for parent in parents {
            files::sync_dir(&parent).map_err(at(&parent))?;
        }
        Ok(())
    }

    /// After a failed fsync nothing that it covered can be believed: the kernel
    /// may have marked the pages clean and dropped them.
    fn distrust(&self, path: PathBuf, source: io::Error) -> SyncError {
        tracing::error!(path = %path.display(), error = %source, "fsync failed; verifying again");
        let _examining = self.examining.lock().expect("no panic inside");
        let place = self.place();
        let before = self.have();
        let trusted = {
            let synced = self.synced.lock().expect("no panic inside");
            if let Some(bitfield) = &synced.bitfield {
                // If this fails too, the claim that stands is older and was true.
                let _ = bitfield.distrust();
            }
            synced.set.clone()
        };
        let unsynced: Vec<u32> = before.iter_difference(&trusted).collect();
        self.lose(&place, &unsynced);
        // What was synced before is hashed from the disk, not from memory.
        self.shared.files.close_all(self.uid);
        let mut keys = BTreeSet::new();
        for chunk in trusted
            .iter()
            .filter_map(|chunk| self.manifest.chunk(chunk))
        {
            keys.extend(self.pieces(&place, &chunk).map(|piece| piece.key));
        }
        for key in keys {
            if let Ok(file) = files::open_read(&self.path_of(&place, key)) {
                let _ = fadvise(&file, 0, None, Advice::DontNeed);
            }
        }
        let damaged = self.damaged(&place, &trusted.iter().collect::<Vec<_>>());
        self.lose(&place, &damaged);
        let left = self.have();
        SyncError {
            path,
            lost: before.iter_difference(&left).collect(),
            source,
        }
    }

    /// Takes chunks out of what is claimed durably.
    pub(crate) fn unclaim(&self, lost: &[u32]) {
        let mut synced = self.synced.lock().expect("no panic inside");
        for chunk in lost {
            synced.set.remove(*chunk);
        }
        let (set, stamp_ns) = (synced.set.clone(), synced.stamp_ns);
        if let Some(bitfield) = &mut synced.bitfield
            && let Err(e) = bitfield.write(&set, stamp_ns)
        {
            tracing::warn!(content = %self.id(), error = %e, "cannot write the bitfield");
        }
    }
}

/// A file may be synced through any descriptor of it.
fn flush_file(path: &Path) -> io::Result<()> {
    files::open_read(path)?.sync_data()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::{Destination, ImportOptions, Selection, Store, StoreConfig};

    #[test]
    fn a_failed_fsync_costs_what_was_not_synced_and_what_is_not_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, bytes).unwrap();
        let open = |name: &str| Store::open(dir.path().join(name), StoreConfig::default()).unwrap();
        let (ours, theirs) = (open("ours"), open("theirs"));
        let never = AtomicBool::new(false);
        let content = ours
            .import(&path, &ImportOptions::default(), &|_| {}, &never)
            .unwrap();
        let begun = theirs.begin(
            content.manifest().clone(),
            &Destination::Sealed,
            Selection::All,
        );
        let copy = begun.unwrap();
        let mut buffer = Vec::new();
        let mut transfer = |chunk| {
            content.read_chunk(chunk, &mut buffer).unwrap();
            copy.verify_and_write(chunk, &buffer).unwrap();
        };
        (0..4).for_each(&mut transfer);
        copy.sync().unwrap();
        (4..6).for_each(&mut transfer);
        // The disk lost a synced chunk as well.
        let second = copy.manifest.chunk(1).unwrap().offset;
        let data = files::open_write(&copy.dir.data()).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&data, b"gone", second).unwrap();

        let error = copy.distrust(copy.dir.data(), io::Error::other("the disk is gone"));
        assert_eq!(error.lost, [1, 4, 5]);
        assert_eq!(copy.have().iter().collect::<Vec<_>>(), [0, 2, 3]);
        assert_eq!(copy.synced(), copy.have());
        // They can be fetched again, and claimed again.
        [1, 4, 5].into_iter().for_each(&mut transfer);
        copy.sync().unwrap();
        assert_eq!(copy.synced().count(), 6);
    }
}
