use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use rustix::fs::{FallocateFlags, fallocate};
use samara_content::{ChunkRef, chunk_hash};

use crate::{
    Content, WriteError,
    content::{DATA, Piece, Place, State},
    files,
    limits::PREALLOCATE_BYTES,
};

impl Content {
    /// Hashes `bytes` and writes them if they are chunk number `chunk`; `have`
    /// has it when this returns `Ok`. A chunk that is there already is `Ok` too.
    pub fn verify_and_write(&self, chunk: u32, bytes: &[u8]) -> Result<(), WriteError> {
        if self.has(chunk) {
            return Ok(());
        }
        let wanted = self
            .wanted
            .contains(chunk)
            .then(|| self.manifest.chunk(chunk));
        let Some(Some(expected)) = wanted else {
            return Err(WriteError::NotWanted { chunk });
        };
        if bytes.len() != expected.len as usize || chunk_hash(bytes) != expected.hash {
            return Err(WriteError::Mismatch { chunk });
        }
        // Held until the chunk is written and claimed: `finish` waits for it.
        let place = self.place.read().expect("no panic inside");
        if place.state != State::Open {
            return Err(WriteError::NotWritable);
        }
        self.release_reserve(&place, &expected);
        let mut rest = bytes;
        let mut keys = Vec::new();
        for piece in self.pieces(&place, &expected) {
            let (part, tail) = rest.split_at(piece.len);
            rest = tail;
            self.write_piece(&place, piece, part).map_err(|source| {
                let path = self.path_of(&place, piece.key);
                if files::is_full(&source) {
                    WriteError::NoSpace { path }
                } else {
                    WriteError::Io { path, source }
                }
            })?;
            keys.push(piece.key);
        }
        self.dirty.lock().expect("no panic inside").extend(keys);
        self.have.insert(chunk);
        Ok(())
    }

    fn write_piece(&self, place: &Place, piece: Piece, bytes: &[u8]) -> io::Result<()> {
        let open = || files::open_write(&self.path_of(place, piece.key));
        if piece.len as u64 == self.size_of(piece.key) {
            // One write makes it whole; keeping it open would only push others out.
            return open()?.write_all_at(bytes, piece.offset);
        }
        let file = self.shared.files.get((self.uid, piece.key, true), open)?;
        file.write_all_at(bytes, piece.offset)
    }

    /// Gives back as much of the reservation as is about to be written.
    fn release_reserve(&self, place: &Place, chunk: &ChunkRef) {
        let mut reserve = self.reserve.lock().expect("no panic inside");
        if let Some(reserve) = &mut *reserve {
            let small = self
                .pieces(place, chunk)
                .filter(|piece| piece.key < DATA && !is_preallocated(self.size_of(piece.key)));
            reserve.release(small.map(|piece| on_disk(piece.len as u64)).sum());
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
    pub(crate) fn take(path: PathBuf, bytes: u64) -> io::Result<Option<Self>> {
        if bytes == 0 {
            return Ok(None);
        }
        let file = files::open_write(&path)?;
        file.set_len(0)?;
        allocate(&file, 0, bytes)?;
        Ok(Some(Self { file, left: bytes }))
    }

    fn release(&mut self, bytes: u64) {
        if self.left > 0 && bytes > 0 {
            self.left = self.left.saturating_sub(bytes);
            // Failing to shrink costs room, nothing else.
            let _ = self.file.set_len(self.left);
        }
    }
}

/// Gives `file` its size and its blocks. Where the file system cannot do that
/// (NFS before 4.2, some FUSE), only the size.
pub(crate) fn allocate(file: &File, offset: u64, len: u64) -> io::Result<()> {
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
pub(crate) fn allocate_behind(
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
