use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use samara_content::{
    ChunkParams, ChunkSet, Coder, Cutter, Entry, Layout, Manifest, ManifestBuilder, Stripes,
    chunk_hash, limits::MAX_STRIPE_BYTES, portability,
};
use samara_wire::ChunkHash;

use crate::{
    Content, ImportOptions, ImportProgress, Placement, Store, StoreError, files,
    install::{Parts, free},
    limits::IMPORT_BUFFER_BYTES,
    parallel,
    scan::Tree,
    stamp::settle,
};

/// Progress is told about this often, per thread.
const PROGRESS_BYTES: u64 = 8 << 20;

impl Store {
    /// Makes a content of a file or a folder, which is served from where it lies.
    ///
    /// The same unchanged path again gives the earlier result without reading.
    /// If the store holds the same content sealed already, that is what comes
    /// back. `progress` is called from several threads, a few hundred times for
    /// a few gigabytes.
    pub fn import(
        &self,
        path: &Path,
        options: &ImportOptions,
        progress: &(dyn Fn(ImportProgress) + Sync),
        cancel: &AtomicBool,
    ) -> Result<Arc<Content>, StoreError> {
        let path = std::fs::canonicalize(path).map_err(|e| StoreError::io("find", path, e))?;
        let name = match &options.name {
            Some(name) => name.clone(),
            None => name_of(&path)?,
        };
        let meta = std::fs::metadata(&path).map_err(|e| StoreError::io("examine", &path, e))?;
        let single_file = !meta.is_dir();
        let scan = || {
            if single_file {
                let meta = std::fs::symlink_metadata(&path)
                    .map_err(|_| StoreError::ChangedDuringImport { path: path.clone() })?;
                Tree::of_file(&path, &name, &meta)
            } else {
                Tree::of_folder(&path)
            }
        };
        let tree = scan()?;
        if options.portable
            && let Some(issue) = portability(&tree.entries).into_iter().next()
        {
            return Err(StoreError::Unportable { path, issue });
        }
        let total = tree.entries.iter().map(Entry::size).sum();
        let params = match options.parity {
            Some(parity) => ChunkParams::with_parity(total, parity),
            None => options
                .params
                .unwrap_or_else(|| ChunkParams::for_size(total)),
        };
        if let Some(content) = self.imported(&path, &name, params, &tree) {
            return Ok(content);
        }

        let entries = tree.entries.clone();
        settle(&tree.stamps);
        let mut builder = ManifestBuilder::new(&name, tree.folder_mode, params, entries)?;
        let job = Job {
            root: &path,
            single_file,
            entries: builder.entries(),
            layout: builder.layout(),
            params,
            files: tree.entries.iter().filter(|e| e.size() > 0).count() as u64,
            done: AtomicU64::new(0),
            progress,
            cancel,
        };
        let chunks = job.run(self.shared.config.threads)?;
        let made = match builder.stripes() {
            Some(stripes) => Some(job.parity(self, *stripes)?),
            None => None,
        };
        let shards = made.iter().flat_map(|made| made.hashes.iter().copied());
        for (hash, len) in chunks.into_iter().chain(shards) {
            builder.push_chunk(hash, len)?;
        }
        // Whatever changed since the first look changed while it was read, or
        // before: either way these hashes may be of something that never was.
        let again = scan()?;
        if let Some(changed) = tree.first_change(&again) {
            let path = if single_file || changed.is_empty() {
                path
            } else {
                path.join(changed)
            };
            return Err(StoreError::ChangedDuringImport { path });
        }
        let manifest = Manifest::from_encoded(&builder.finish()?)?;
        self.place_import(path, manifest, tree, made)
    }

    /// The content that this path became before, if nothing there has changed.
    fn imported(
        &self,
        path: &Path,
        name: &str,
        params: ChunkParams,
        tree: &Tree,
    ) -> Option<Arc<Content>> {
        let here = Placement::InPlace(path.to_owned());
        self.contents().into_iter().find(|content| {
            let root = content.manifest().root();
            content.placement() == here
                && content.is_complete()
                && content.has_all_shards()
                && root.name == name
                && root.params == params
                && root.folder_mode == tree.folder_mode
                && content.entries() == tree.entries
                && content.matches(tree)
        })
    }

    fn place_import(
        &self,
        path: PathBuf,
        manifest: Manifest,
        tree: Tree,
        made: Option<Made>,
    ) -> Result<Arc<Content>, StoreError> {
        // Of two imports of one path at once the second finds what the first made.
        let _turn = self.shared.placing.lock().expect("no panic inside");
        let parts = Parts::new(self, manifest, None)?;
        if let (Some(shards), Some(made)) = (&parts.shards, &made) {
            shards.take(&made.path)?;
        }
        if let Some(old) = self.content(parts.manifest.id())
            && old.is_complete()
            && match old.placement() {
                Placement::Sealed => true,
                Placement::InPlace(at) => at == path && old.matches(&tree),
                _ => false,
            }
        {
            return Ok(old);
        }
        let have = ChunkSet::full(parts.manifest.chunk_count());
        self.supersede(parts.manifest.id())?;
        let content = parts.finished(self, Placement::InPlace(path), have, tree.stamps)?;
        self.register(&content)?;
        Ok(content)
    }
}

fn name_of(path: &Path) -> Result<String, StoreError> {
    let name = path.file_name().ok_or_else(|| StoreError::BadDestination {
        path: path.to_owned(),
        reason: "it has no name; give the content one".into(),
    })?;
    let name = name.to_str().map(str::to_owned);
    name.ok_or_else(|| StoreError::NotUtf8 {
        path: path.to_owned(),
    })
}

/// Cutting and hashing a tree, segment by segment, on all cores.
struct Job<'a> {
    root: &'a Path,
    single_file: bool,
    entries: &'a [Entry],
    layout: &'a Layout,
    params: ChunkParams,
    files: u64,
    done: AtomicU64,
    progress: &'a (dyn Fn(ImportProgress) + Sync),
    cancel: &'a AtomicBool,
}

type Chunks = Vec<(ChunkHash, u32)>;

impl Job<'_> {
    fn run(&self, threads: usize) -> Result<Chunks, StoreError> {
        let segments: Vec<_> = self.layout.segments().collect();
        let results: Vec<Mutex<Chunks>> = segments.iter().map(|_| Mutex::default()).collect();
        self.tell(0);
        parallel::for_each(threads, segments.len(), 1, |i, buffer| {
            let chunks = self.segment(segments[i].clone(), buffer)?;
            *results[i].lock().expect("no panic inside") = chunks;
            Ok::<_, StoreError>(())
        })?;
        let chunks = results
            .into_iter()
            .flat_map(|c| c.into_inner().expect("no panic inside"));
        Ok(chunks.collect())
    }

    fn segment(
        &self,
        range: std::ops::Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<Chunks, StoreError> {
        let cutter = Cutter::new(self.params);
        let max = self.params.max() as usize;
        buffer.resize(IMPORT_BUFFER_BYTES.max(2 * max), 0);
        let mut source = Source {
            job: self,
            extents: self.layout.extents(range.clone()),
            file: None,
            left: range.end - range.start,
        };
        let mut chunks = Vec::with_capacity((source.left / u64::from(self.params.avg())) as usize);
        let (mut filled, mut untold) = (0, 0);
        while source.left > 0 || filled > 0 {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(StoreError::Cancelled);
            }
            filled += source.fill(&mut buffer[filled..])?;
            let mut start = 0;
            while start < filled {
                let Some(len) = cutter.cut(&buffer[start..filled], source.left == 0) else {
                    break;
                };
                let bytes = &buffer[start..start + len];
                chunks.push((chunk_hash(bytes), len as u32));
                start += len;
            }
            buffer.copy_within(start..filled, 0);
            filled -= start;
            untold += start as u64;
            if untold >= PROGRESS_BYTES {
                self.tell(std::mem::take(&mut untold));
            }
        }
        self.tell(untold);
        Ok(chunks)
    }

    /// Makes the parity shards of what was cut. The whole tree is read a second time,
    /// stripe by stripe, from everywhere in it: S chunks lie between one chunk of a
    /// stripe and the next.
    fn parity(&self, store: &Store, stripes: Stripes) -> Result<Made, StoreError> {
        let shared = &store.shared;
        let bytes = stripes.shard_bytes();
        let used = store.used();
        if let Some(quota) = shared
            .config
            .quota_bytes
            .filter(|quota| used + bytes > *quota)
        {
            let need = bytes;
            return Err(StoreError::OverQuota { quota, used, need });
        }
        let mut made = Made::new(shared.making(), shared.next_uid(), stripes)?;
        let hashes: Vec<Mutex<Vec<ChunkHash>>> =
            (0..stripes.count()).map(|_| Mutex::default()).collect();
        let coder = Coder::new(stripes);
        // As many stripes at once as there is room for in memory.
        let stripe = u64::from(self.params.max()) * u64::from(stripes.parity().width());
        let threads = (MAX_STRIPE_BYTES / stripe).clamp(1, shared.config.threads as u64);
        parallel::for_each(threads as usize, hashes.len(), 1, |i, _| {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(StoreError::Cancelled);
            }
            let chunks = stripes
                .chunks_of(i as u32)
                .map(|chunk| self.chunk(&stripes, chunk));
            let shards = coder.encode(i as u32, chunks.collect::<Result<_, _>>()?)?;
            for (number, shard) in stripes.shards_of(i as u32).zip(&shards) {
                made.write(number, shard)?;
            }
            let hashed = shards.iter().map(|shard| chunk_hash(shard)).collect();
            *hashes[i].lock().expect("no panic inside") = hashed;
            Ok(())
        })?;
        let hashes: Vec<_> = hashes
            .into_iter()
            .map(|hashes| hashes.into_inner().expect("no panic inside"))
            .collect();
        let number = |number: u32| {
            let row = stripes.position(number) - stripes.parity().chunks();
            let hash = hashes[stripes.stripe_of(number) as usize][row as usize];
            (hash, stripes.len(number))
        };
        made.hashes = (stripes.chunks()..stripes.all()).map(number).collect();
        Ok(made)
    }

    /// The bytes of one chunk.
    fn chunk(&self, stripes: &Stripes, chunk: u32) -> Result<Vec<u8>, StoreError> {
        let start = u64::from(chunk) * u64::from(self.params.max());
        let mut bytes = vec![0; stripes.len(chunk) as usize];
        let mut source = Source {
            job: self,
            extents: self.layout.extents(start..start + bytes.len() as u64),
            file: None,
            left: bytes.len() as u64,
        };
        source.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn tell(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.progress)(ImportProgress {
            files: self.files,
            total_bytes: self.layout.total(),
            done_bytes: done,
        });
    }

    fn path(&self, entry: u32) -> PathBuf {
        if self.single_file {
            self.root.to_owned()
        } else {
            self.root.join(&self.entries[entry as usize].path)
        }
    }
}

/// Parity shards in a file that belongs to no content yet; removed with this, unless
/// it was taken.
struct Made {
    path: PathBuf,
    file: File,
    stripes: Stripes,
    /// By number, from that of the first shard.
    hashes: Chunks,
}

impl Made {
    fn new(folder: PathBuf, name: u64, stripes: Stripes) -> Result<Self, StoreError> {
        let path = folder.join(name.to_string());
        let made = std::fs::create_dir_all(&folder).and_then(|()| files::open_write(&path));
        let file = made.map_err(|e| StoreError::io("make", &path, e))?;
        Ok(Self {
            path,
            file,
            stripes,
            hashes: Vec::new(),
        })
    }

    fn write(&self, number: u32, shard: &[u8]) -> Result<(), StoreError> {
        let offset = self.stripes.shard_offset(number);
        let written = self.file.write_all_at(shard, offset);
        written.map_err(|e| match files::is_full(&e) {
            true => StoreError::NoSpace {
                path: self.path.clone(),
                need: self.stripes.shard_bytes(),
                free: free(&self.path),
            },
            false => StoreError::io("write", &self.path, e),
        })
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The bytes of one segment, in order.
struct Source<'a, I> {
    job: &'a Job<'a>,
    extents: I,
    file: Option<(File, samara_content::Extent)>,
    left: u64,
}

impl<I: Iterator<Item = samara_content::Extent>> Source<'_, I> {
    /// Reads until `buffer` is full or the segment ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let mut filled = 0;
        while filled < buffer.len() && self.left > 0 {
            if self.file.is_none() {
                let Some(extent) = self.extents.next() else {
                    break;
                };
                let path = self.job.path(extent.entry);
                let file = files::open_read(&path).map_err(|e| failed(&path, e))?;
                self.file = Some((file, extent));
            }
            let Some((file, extent)) = &mut self.file else {
                break;
            };
            let len = (buffer.len() - filled).min(extent.len as usize);
            let into = &mut buffer[filled..filled + len];
            files::read_exact(file, into, extent.file_offset)
                .map_err(|e| failed(&self.job.path(extent.entry), e))?;
            extent.file_offset += len as u64;
            extent.len -= len as u64;
            filled += len;
            self.left -= len as u64;
            if extent.len == 0 {
                self.file = None;
            }
        }
        Ok(filled)
    }
}

fn failed(path: &Path, e: std::io::Error) -> StoreError {
    use std::io::ErrorKind::{NotADirectory, NotFound, UnexpectedEof};
    if matches!(e.kind(), NotFound | UnexpectedEof | NotADirectory) {
        StoreError::ChangedDuringImport {
            path: path.to_owned(),
        }
    } else {
        StoreError::io("read", path, e)
    }
}
