use std::{
    collections::HashMap,
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::limits::MAX_OPEN_FILES;

const SHARDS: usize = 8;

/// Names an open file: the content's number in this process, the entry, whether
/// it is open for writing.
pub(crate) type FileKey = (u64, u32, bool);

type Shard = Mutex<HashMap<FileKey, (Arc<File>, u64)>>;

/// Open files, the least recently used closed first. An open file survives the
/// renaming of the tree that it lies in.
#[derive(Debug, Default)]
pub(crate) struct FileCache {
    shards: [Shard; SHARDS],
    clock: AtomicU64,
}

impl FileCache {
    /// The file of this name, opened by `open` if it is not open.
    pub(crate) fn get(
        &self,
        key: FileKey,
        open: impl FnOnce() -> io::Result<File>,
    ) -> io::Result<Arc<File>> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        if let Some((file, used)) = self
            .shard(key)
            .lock()
            .expect("no panic inside")
            .get_mut(&key)
        {
            *used = now;
            return Ok(file.clone());
        }
        // Outside the lock: opening can wait for a disk.
        let file = Arc::new(open()?);
        let mut shard = self.shard(key).lock().expect("no panic inside");
        if shard.len() >= MAX_OPEN_FILES / SHARDS {
            let oldest = shard
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(k, _)| *k);
            oldest.and_then(|k| shard.remove(&k));
        }
        Ok(shard.entry(key).or_insert((file, now)).0.clone())
    }

    /// Forgets one file.
    pub(crate) fn close(&self, content: u64, entry: u32) {
        for key in [(content, entry, false), (content, entry, true)] {
            self.shard(key)
                .lock()
                .expect("no panic inside")
                .remove(&key);
        }
    }

    /// Forgets all files of a content.
    pub(crate) fn close_all(&self, content: u64) {
        for shard in &self.shards {
            shard
                .lock()
                .expect("no panic inside")
                .retain(|key, _| key.0 != content);
        }
    }

    fn shard(&self, (content, entry, _): FileKey) -> &Shard {
        &self.shards[(content as usize)
            .wrapping_mul(31)
            .wrapping_add(entry as usize)
            % SHARDS]
    }
}

/// Opens a file that is not a symlink for reading; does not wait for a pipe's
/// other end.
pub(crate) fn open_read(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat(CWD, path, flags, Mode::empty())?.into())
}

/// Opens or makes a file for reading and writing, for nobody else's eyes and not
/// executable until it is finished.
pub(crate) fn open_write(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Like [`open_write`], for a file of a staging tree that may have its final mode
/// already, without the right to write, because `finish` was interrupted.
pub(crate) fn open_staged(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::PermissionsExt;
    match open_write(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
            open_write(path)
        }
        opened => opened,
    }
}

/// Fills `buf` from `offset`; a file that ends before is `UnexpectedEof`.
pub(crate) fn read_exact(file: &File, buf: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buf, offset)
}

/// Makes a directory's entries durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a whole file system durable, the one that `path` lies on.
pub(crate) fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?.as_fd())?)
}

/// Replaces `path` with `bytes`: after a crash it has the old or the new ones.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = File::create(&temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Removes a file or a tree, also one with directories that are not writable.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let meta = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    if !meta.is_dir() {
        return std::fs::remove_file(path);
    }
    if meta.permissions().mode() & 0o700 != 0o700 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    }
    for entry in std::fs::read_dir(path)? {
        remove_tree(&entry?.path())?;
    }
    std::fs::remove_dir(path)
}

/// Whether the system said that there is no room.
pub(crate) fn is_full(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_open_files_is_bounded() {
        let cache = FileCache::default();
        for entry in 0..10 * MAX_OPEN_FILES as u32 {
            cache
                .get((1, entry, false), || File::open("/dev/null"))
                .unwrap();
        }
        let open = || {
            cache
                .shards
                .iter()
                .map(|s| s.lock().unwrap().len())
                .sum::<usize>()
        };
        assert_eq!(open(), MAX_OPEN_FILES);
        cache.get((2, 0, true), || File::open("/dev/null")).unwrap();
        cache.close_all(1);
        assert_eq!(open(), 1);
        cache.get((2, 0, true), || panic!("it is open")).unwrap();
        cache.close(2, 0);
        assert_eq!(open(), 0);
    }

    #[test]
    fn a_read_only_tree_is_removed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(top.join("a/b/f"), "x").unwrap();
        std::os::unix::fs::symlink("/nowhere", top.join("a/l")).unwrap();
        for d in ["a/b", "a"] {
            std::fs::set_permissions(top.join(d), std::fs::Permissions::from_mode(0o500)).unwrap();
        }
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        remove_tree(&top).unwrap();
    }
}
