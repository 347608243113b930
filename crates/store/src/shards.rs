//! Parity shards, kept by the store beside the content wherever that lies.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rustix::fs::{FallocateFlags, fallocate};
use samara_content::{ChunkSet, Coder, Manifest, Stripes, chunk_hash};
use samara_wire::ContentId;

use crate::{
    ReadError, StoreError, SyncError, WriteError,
    bitfield::Bitfield,
    chunks::AtomicChunks,
    files,
    stamp::{Stamp, wall_ns},
    state::ContentDir,
};

/// The parity shards of one content.
///
/// ```text
/// contents/<content id>/
///   parity        the shards, each at its place in the order of their numbers; sparse
///   parity-have   bitfield of them, by number less that of the first
/// ```
/// A shard is hashed when it is written and each time that it is read: few are read,
/// and so no stamp has to be kept of the file. Written is a shard first, then the
/// file is synced, then the bitfield; so a crash costs what came after the last sync.
///
/// All handles of a content share this, in whatever place its files are.
#[derive(Debug)]
pub(crate) struct Shards {
    id: ContentId,
    dir: ContentDir,
    coder: Coder,
    /// The hash of each shard; those of pages that are not known yet are missing.
    manifest: Manifest,
    /// By number less that of the first shard, as the bitfield has it.
    have: AtomicChunks,
    claims: Mutex<Claims>,
}

#[derive(Debug)]
struct Claims {
    synced: ChunkSet,
    stamp_ns: i64,
    /// Forgotten: nothing is written any more.
    retired: bool,
}

impl Shards {
    /// What is kept of a content's shards; `None` if it has none.
    pub(crate) fn open(dir: ContentDir, manifest: &Manifest) -> Result<Option<Self>, StoreError> {
        let Some(stripes) = manifest.stripes().copied() else {
            return Ok(None);
        };
        let nothing = ChunkSet::new(stripes.shards());
        let shards = Self {
            id: *manifest.id(),
            coder: Coder::new(stripes),
            manifest: manifest.clone(),
            have: AtomicChunks::new(&nothing),
            claims: Mutex::new(Claims {
                synced: nothing,
                stamp_ns: 0,
                retired: false,
            }),
            dir,
        };
        shards.resume()?;
        Ok(Some(shards))
    }

    pub(crate) fn stripes(&self) -> &Stripes {
        self.coder.stripes()
    }

    pub(crate) fn coder(&self) -> &Coder {
        &self.coder
    }

    pub(crate) fn has(&self, number: u32) -> bool {
        self.have.contains(number - self.stripes().chunks())
    }

    /// How many are here.
    pub(crate) fn count(&self) -> u32 {
        self.have.count()
    }

    /// Bytes of those that are here.
    pub(crate) fn bytes(&self) -> u64 {
        match self.count() == self.stripes().shards() {
            true => self.stripes().shard_bytes(),
            false => self
                .numbers()
                .map(|n| u64::from(self.stripes().len(n)))
                .sum(),
        }
    }

    /// The numbers of those that are here.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        let first = self.stripes().chunks();
        let have: Vec<u32> = self.have.snapshot().iter().collect();
        have.into_iter().map(move |shard| first + shard)
    }

    /// The numbers of those that are here for good.
    pub(crate) fn synced(&self) -> Vec<u32> {
        let first = self.stripes().chunks();
        let claims = self.claims.lock().expect("no panic inside");
        claims.synced.iter().map(|shard| first + shard).collect()
    }

    /// Hashes `bytes` and writes them, if they are shard `number`.
    pub(crate) fn write(&self, number: u32, bytes: &[u8]) -> Result<(), WriteError> {
        if self.has(number) {
            return Ok(());
        }
        let Some(expected) = self.manifest.chunk(number) else {
            return Err(WriteError::NotWanted { chunk: number });
        };
        if bytes.len() != expected.len as usize || chunk_hash(bytes) != expected.hash {
            return Err(WriteError::Mismatch { chunk: number });
        }
        // Held over the write, so that nothing comes after the folder was removed.
        let claims = self.claims.lock().expect("no panic inside");
        if claims.retired {
            return Err(WriteError::NotWritable);
        }
        let path = self.path();
        let written = std::fs::create_dir_all(self.dir.path())
            .and_then(|()| files::open_write(&path))
            .and_then(|file| file.write_all_at(bytes, self.stripes().shard_offset(number)));
        match written {
            Ok(()) => {
                self.have.insert(number - self.stripes().chunks());
                Ok(())
            }
            Err(e) if files::is_full(&e) => Err(WriteError::NoSpace { path }),
            Err(source) => Err(WriteError::Io { path, source }),
        }
    }

    /// Reads a shard and hashes it. What does not match is given up.
    pub(crate) fn read(&self, number: u32, into: &mut Vec<u8>) -> Result<(), ReadError> {
        if !self.has(number) {
            return Err(ReadError::NotHere { chunk: number });
        }
        match self.read_raw(number, into) {
            Ok(true) => Ok(()),
            Err(source) if !is_gone(&source) => Err(ReadError::Io {
                path: self.path(),
                source,
            }),
            _ => {
                self.lose(&[number]);
                Err(ReadError::Changed {
                    path: self.path(),
                    lost: vec![number],
                })
            }
        }
    }

    /// Whether what lies in the shard's place is the shard.
    fn read_raw(&self, number: u32, into: &mut Vec<u8>) -> io::Result<bool> {
        let Some(expected) = self.manifest.chunk(number) else {
            return Ok(false);
        };
        into.resize(expected.len as usize, 0);
        let file = files::open_read(&self.path())?;
        files::read_exact(&file, into, self.stripes().shard_offset(number))?;
        Ok(chunk_hash(into) == expected.hash)
    }

    /// Hashes those of `numbers` that are here; what does not match is given up and
    /// returned.
    pub(crate) fn verify(&self, numbers: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let mut buffer = Vec::new();
        let mut lost = Vec::new();
        for number in numbers {
            if self.has(number) && !matches!(self.read_raw(number, &mut buffer), Ok(true)) {
                lost.push(number);
            }
        }
        self.lose(&lost);
        lost
    }

    /// Makes durable what is here, and says so.
    pub(crate) fn sync(&self) -> Result<(), SyncError> {
        let mut claims = self.claims.lock().expect("no panic inside");
        let have = self.have.snapshot();
        if have == claims.synced || claims.retired {
            return Ok(());
        }
        let stamp_ns = wall_ns();
        let path = self.path();
        let flushed = files::open_read(&path).and_then(|file| file.sync_data());
        if let Err(source) = flushed.and_then(|()| files::sync_dir(self.dir.path())) {
            // As of other files: what was not synced before cannot be believed.
            let first = self.stripes().chunks();
            let lost: Vec<u32> = have.iter_difference(&claims.synced).collect();
            for shard in &lost {
                self.have.remove(*shard);
            }
            let lost = lost.into_iter().map(|shard| first + shard).collect();
            return Err(SyncError { path, lost, source });
        }
        let written = self.claim(&have, stamp_ns);
        if let Err(source) = written {
            let lost = Vec::new();
            return Err(SyncError { path, lost, source });
        }
        claims.stamp_ns = stamp_ns;
        claims.synced = have;
        Ok(())
    }

    /// Takes a file of all shards, made and named by [`Store::import`] on the same
    /// file system, for its own.
    ///
    /// [`Store::import`]: crate::Store::import
    pub(crate) fn take(&self, made: &std::path::Path) -> Result<(), StoreError> {
        let mut claims = self.claims.lock().expect("no panic inside");
        let path = self.path();
        let failed = |e| StoreError::io("put the parity in", &path, e);
        std::fs::create_dir_all(self.dir.path()).map_err(failed)?;
        let synced = files::open_read(made).and_then(|file| file.sync_all());
        synced.map_err(failed)?;
        std::fs::rename(made, &path).map_err(failed)?;
        files::sync_dir(self.dir.path()).map_err(failed)?;
        let all = ChunkSet::full(self.stripes().shards());
        let stamp_ns = wall_ns();
        self.claim(&all, stamp_ns).map_err(failed)?;
        self.have.extend(all.iter());
        *claims = Claims {
            synced: all,
            stamp_ns,
            retired: false,
        };
        Ok(())
    }

    /// Gives up all shards but those for which `keep` holds, and their room.
    pub(crate) fn keep(&self, keep: &dyn Fn(u32) -> bool) -> Result<(), StoreError> {
        let first = self.stripes().chunks();
        let gone: Vec<u32> = self.numbers().filter(|number| !keep(*number)).collect();
        // First the claims: what is punched out is not claimed.
        self.lose(&gone);
        let path = self.path();
        let Ok(file) = files::open_write(&path) else {
            return Ok(());
        };
        for number in first..self.stripes().all() {
            if !self.has(number) {
                let offset = self.stripes().shard_offset(number);
                punch(&file, offset, self.stripes().len(number).into())
                    .map_err(|e| StoreError::io("give back room in", &path, e))?;
            }
        }
        Ok(())
    }

    /// Ends its use: nothing is read or written any more.
    pub(crate) fn retire(&self) {
        let mut claims = self.claims.lock().expect("no panic inside");
        claims.retired = true;
        let have = self.have.snapshot();
        for shard in &have {
            self.have.remove(shard);
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.parity()
    }

    /// Finds out what is there: what the bitfield claims, hashed again if the file
    /// was written to since.
    fn resume(&self) -> Result<(), StoreError> {
        let path = self.dir.parity_have();
        if !path.exists() {
            return Ok(());
        }
        let opened = Bitfield::open(&path, &self.id, self.stripes().shards());
        let claim = opened.map_err(|e| StoreError::io("open", &path, e))?;
        let Some((_, Some(claim))) = claim else {
            return Ok(());
        };
        self.have.extend(claim.have.iter());
        let mut claims = self.claims.lock().expect("no panic inside");
        claims.synced = claim.have;
        claims.stamp_ns = claim.stamp_ns;
        drop(claims);
        let stamp = files::open_read(&self.path()).and_then(Stamp::of).ok();
        if stamp.is_none_or(|stamp| stamp.may_be_later(claim.stamp_ns)) {
            self.verify(self.numbers());
        }
        Ok(())
    }

    fn claim(&self, have: &ChunkSet, stamp_ns: i64) -> io::Result<()> {
        let path = self.dir.parity_have();
        let opened = Bitfield::open(&path, &self.id, self.stripes().shards())?;
        let locked = || io::Error::other("another process has it open");
        let (mut bitfield, _) = opened.ok_or_else(locked)?;
        bitfield.write(have, stamp_ns)
    }

    fn lose(&self, lost: &[u32]) {
        if lost.is_empty() {
            return;
        }
        let first = self.stripes().chunks();
        let mut claims = self.claims.lock().expect("no panic inside");
        for number in lost {
            self.have.remove(number - first);
            claims.synced.remove(number - first);
        }
        if let Err(e) = self.claim(&claims.synced, claims.stamp_ns) {
            tracing::warn!(content = %self.id, error = %e, "cannot write the bitfield of the parity");
        }
    }
}

/// Gives the blocks of a part of a file back; where the file system cannot, they stay.
pub(crate) fn punch(file: &File, offset: u64, len: u64) -> io::Result<()> {
    use rustix::io::Errno;
    if len == 0 {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, offset, len) {
        Err(Errno::NOTSUP | Errno::NOSYS) => Ok(()),
        punched => Ok(punched?),
    }
}

fn is_gone(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
    )
}

/// Which contents' shards are open.
pub(crate) type OpenShards = Mutex<std::collections::HashMap<ContentId, std::sync::Weak<Shards>>>;

/// The shards of a content, those that another handle has open if there is one.
pub(crate) fn shards_of(
    open: &OpenShards,
    dir: ContentDir,
    manifest: &Manifest,
) -> Result<Option<Arc<Shards>>, StoreError> {
    let Some(stripes) = manifest.stripes() else {
        return Ok(None);
    };
    let mut open = open.lock().expect("no panic inside");
    let known = open.get(manifest.id()).and_then(std::sync::Weak::upgrade);
    let knows_all = |shards: &Arc<Shards>| {
        let known = |m: &Manifest| m.page_count() as usize - m.missing_pages().count();
        let retired = shards.claims.lock().expect("no panic inside").retired;
        !retired && (stripes.shards() == 0 || known(&shards.manifest) >= known(manifest))
    };
    if let Some(shards) = known.filter(knows_all) {
        return Ok(Some(shards));
    }
    let shards = Shards::open(dir, manifest)?.map(Arc::new);
    if let Some(shards) = &shards {
        open.retain(|_, weak| weak.strong_count() > 0);
        open.insert(*manifest.id(), Arc::downgrade(shards));
    }
    Ok(shards)
}
