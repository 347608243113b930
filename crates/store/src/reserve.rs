use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rustix::fs::{FallocateFlags, fallocate};

use crate::{Content, StoreError, files, install::free, limits::PREALLOCATE_BYTES};

impl Content {
    pub(crate) fn reserve_sealed(&self) -> Result<(), StoreError> {
        let path = self.dir.data();
        let total = self.layout().total();
        let failed = |e| self.no_room("allocate", &path, self.wanted_bytes, e);
        let file = files::open_write(&path).map_err(failed)?;
        let allocated = file.metadata().map_err(failed)?.blocks() * 512;
        check_room(&path, self.wanted_bytes.saturating_sub(allocated))?;
        file.set_len(total).map_err(failed)?;
        // Of a part, the holes between what is wanted stay holes.
        if self.chosen.is_some() || self.share.is_some() || allocated >= total {
            return Ok(());
        }
        if in_memory(&path) {
            return self.allocate_behind(vec![(file, total)]).map_err(failed);
        }
        allocate(&file, 0, total).map_err(failed)
    }

    fn allocate_behind(&self, files: Vec<(File, u64)>) -> std::io::Result<()> {
        let thread = allocate_behind(files, self.abandon.clone())?;
        *self.allocating.lock().expect("no panic inside") = Some(thread);
        Ok(())
    }

    pub(crate) fn reserve_files(&self, staging: &Path) -> Result<(), StoreError> {
        let place = self.place();
        let have = self.have();
        let is_whole = |entry: u32| self.chunks_of(entry).all(|chunk| have.contains(chunk));
        let mut small = 0;
        let mut large = Vec::new();
        let mut need = 0;
        for (i, entry) in self.files_with_bytes() {
            if is_whole(i) {
                continue;
            }
            let path = self.path_of(&place, i);
            if is_preallocated(entry.size()) {
                let allocated = std::fs::metadata(&path).map_or(0, |meta| meta.blocks() * 512);
                if allocated < entry.size() {
                    need += on_disk(entry.size()) - allocated;
                    large.push((path, entry.size()));
                }
            } else {
                small += on_disk(entry.size());
            }
        }
        // What an interrupted download had reserved is free again.
        let reserve = staging.join("reserve");
        let _ = std::fs::remove_file(&reserve);
        check_room(staging, need + small)?;
        let mut behind = Vec::new();
        for (path, size) in large {
            let failed = |e| self.no_room("allocate", &path, need, e);
            let file = files::open_staged(&path).map_err(failed)?;
            if in_memory(staging) {
                file.set_len(size).map_err(failed)?;
                behind.push((file, size));
            } else {
                allocate(&file, 0, size).map_err(failed)?;
            }
        }
        let taken = Reserve::take(reserve, small);
        let taken = taken.map_err(|e| self.no_room("reserve space in", staging, small, e))?;
        *self.reserve.lock().expect("no panic inside") = taken;
        if !behind.is_empty() {
            let started = self.allocate_behind(behind);
            started.map_err(|e| StoreError::io("start a thread for", staging, e))?;
        }
        Ok(())
    }

    fn no_room(
        &self,
        action: &'static str,
        path: &Path,
        need: u64,
        e: std::io::Error,
    ) -> StoreError {
        if files::is_full(&e) {
            StoreError::NoSpace {
                path: path.to_owned(),
                need,
                free: free(path),
            }
        } else {
            StoreError::io(action, path, e)
        }
    }
}

/// Room on the destination's file system for the files that are too small to be
/// preallocated one by one: a file that shrinks as they are written.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: File,
    left: u64,
}

impl Reserve {
    /// Takes `bytes`; `Ok(None)` if there is nothing to take.
    fn take(path: PathBuf, bytes: u64) -> io::Result<Option<Self>> {
        if bytes == 0 {
            return Ok(None);
        }
        let file = files::open_write(&path)?;
        file.set_len(0)?;
        allocate(&file, 0, bytes)?;
        Ok(Some(Self { file, left: bytes }))
    }

    pub(crate) fn release(&mut self, bytes: u64) {
        if self.left > 0 && bytes > 0 {
            self.left = self.left.saturating_sub(bytes);
            // Failing to shrink costs room, nothing else.
            let _ = self.file.set_len(self.left);
        }
    }
}

/// Gives `file` its size and its blocks. Where the file system cannot do that
/// (NFS before 4.2, some FUSE), only the size.
fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), offset, len) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            file.set_len((offset + len).max(file.metadata()?.len()))
        }
        other => Ok(other?),
    }
}

/// Bytes that a file of `size` bytes takes, in the blocks of most file systems.
pub(crate) fn on_disk(size: u64) -> u64 {
    size.next_multiple_of(4096)
}

/// Whether a file of this size is preallocated by itself.
pub(crate) fn is_preallocated(size: u64) -> bool {
    size >= PREALLOCATE_BYTES
}

/// Preallocates files in steps on a thread of its own, while chunks are already
/// written. For file systems in memory: there allocation is as much work as
/// writing (0.2 s a GiB), elsewhere it is a few extents and done at once.
fn allocate_behind(
    files: Vec<(File, u64)>,
    abandon: Arc<AtomicBool>,
) -> io::Result<JoinHandle<()>> {
    /// Short enough not to keep a writer waiting for the inode's lock.
    const STEP: u64 = 16 << 20;
    std::thread::Builder::new()
        .name("samara-allocate".into())
        .spawn(move || {
            for (file, size) in files {
                for offset in (0..size).step_by(STEP as usize) {
                    let full = || allocate(&file, offset, STEP.min(size - offset)).is_err();
                    // A full disk is told by the write that meets it.
                    if abandon.load(Ordering::Relaxed) || full() {
                        return;
                    }
                }
            }
        })
}

fn check_room(path: &Path, need: u64) -> Result<(), StoreError> {
    let free = free(path);
    if need > free {
        return Err(StoreError::NoSpace {
            path: path.to_owned(),
            need,
            free,
        });
    }
    Ok(())
}

/// Whether the file system keeps its files in memory.
fn in_memory(path: &Path) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    #[allow(clippy::unnecessary_cast)]
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as u64 == TMPFS_MAGIC)
}
