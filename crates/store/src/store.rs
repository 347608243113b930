use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::fs::{FlockOperation, flock};
use samara_content::Manifest;
use samara_wire::{ChannelId, ContentId, RecordId};

use crate::{
    Batch, Content, GcReport, LogPage, Placement, StoreConfig, StoreError, case,
    files::{self, FileCache},
    index::{Index, Settings},
    install::Parts,
    limits::{FORMAT, MAX_THREADS},
    shards::OpenShards,
    state::{ContentDir, Row},
};

/// A node's data directory, opened.
///
/// A clone is another handle of the same store. The directory stays locked until
/// the last handle and the last [`Content`] are gone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    pub(crate) table: Arc<Table>,
}

/// Says of a content whether something is to be done with it.
type Choice<'a> = &'a dyn Fn(&ContentId) -> bool;

/// What contents need of the store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) dir: PathBuf,
    pub(crate) config: StoreConfig,
    pub(crate) files: FileCache,
    pub(crate) index: Index,
    next_uid: AtomicU64,
    /// The parity shards that contents have open.
    pub(crate) open_shards: OpenShards,
    /// Held while a stripe is coded: only one is in memory.
    pub(crate) coding: Mutex<()>,
    /// One imported content at a time is put in its place.
    pub(crate) placing: Mutex<()>,
    /// Says whether a folder tells names apart that differ in case.
    pub(crate) folds_case: case::Probe,
    /// Locked while it is open.
    _lock: File,
}

impl Shared {
    /// Where parity is made before it is known of what content.
    pub(crate) fn making(&self) -> PathBuf {
        self.dir.join("making")
    }

    pub(crate) fn next_uid(&self) -> u64 {
        self.next_uid.fetch_add(1, Ordering::Relaxed)
    }
}

/// The contents. Apart from [`Shared`], which each of them holds, so that they
/// do not keep each other alive.
#[derive(Debug, Default)]
pub(crate) struct Table {
    contents: RwLock<HashMap<ContentId, Arc<Content>>>,
    /// As in the index; also those that are not loaded (interrupted downloads).
    pub(crate) rows: Mutex<HashMap<ContentId, Row>>,
}

impl Table {
    pub(crate) fn all(&self) -> Vec<Arc<Content>> {
        self.contents
            .read()
            .expect("no panic inside")
            .values()
            .cloned()
            .collect()
    }

    pub(crate) fn get(&self, id: &ContentId) -> Option<Arc<Content>> {
        self.contents
            .read()
            .expect("no panic inside")
            .get(id)
            .cloned()
    }

    /// Writes down what a content is, durably.
    pub(crate) fn put_row(&self, shared: &Shared, content: &Content) -> Result<(), StoreError> {
        let row = content.row();
        let mut batch = Batch::new();
        batch.put_content(content.id(), row.encode());
        shared.index.write(batch)?;
        self.rows
            .lock()
            .expect("no panic inside")
            .insert(*content.id(), row);
        Ok(())
    }
}

impl Store {
    /// Opens a data directory, making it if it is not there.
    ///
    /// Finished contents are there at once: their files were compared with their
    /// stamps, and what had changed was hashed again. Interrupted downloads come
    /// back through [`begin`](Self::begin).
    pub fn open(dir: impl AsRef<Path>, config: StoreConfig) -> Result<Self, StoreError> {
        Self::open_with(dir.as_ref(), config, case::folds)
    }

    /// Like [`open`](Self::open), on file systems of which `folds_case` speaks.
    pub(crate) fn open_with(
        dir: &Path,
        mut config: StoreConfig,
        folds_case: case::Probe,
    ) -> Result<Self, StoreError> {
        config.threads = config.threads.clamp(1, MAX_THREADS);
        let make = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir.join("contents"));
        make.map_err(|e| StoreError::io("make the data directory", dir, e))?;
        let dir = std::fs::canonicalize(dir).map_err(|e| StoreError::io("find", dir, e))?;
        check_format(&dir)?;
        let lock = lock(&dir)?;
        let version = dir.join("VERSION");
        if !version.exists() {
            files::replace(&version, format!("{FORMAT}\n").as_bytes())
                .map_err(|e| StoreError::io("write", &version, e))?;
        }
        let store = Self {
            shared: Arc::new(Shared {
                index: Index::open(dir.join("index.redb"))?,
                dir,
                config,
                files: FileCache::default(),
                next_uid: AtomicU64::new(0),
                open_shards: Mutex::default(),
                coding: Mutex::new(()),
                placing: Mutex::new(()),
                folds_case,
                _lock: lock,
            }),
            table: Arc::default(),
        };
        // What an import that was killed left.
        let making = store.shared.making();
        files::remove_tree(&making).map_err(|e| StoreError::io("remove", &making, e))?;
        store.load()?;
        Ok(store)
    }

    fn load(&self) -> Result<(), StoreError> {
        for (id, bytes) in self.shared.index.contents()? {
            let row = match Row::decode(&bytes) {
                Ok(row) => row,
                Err(e) => {
                    tracing::warn!(content = %id, error = %e, "the index has a bad row; ignored");
                    continue;
                }
            };
            self.table
                .rows
                .lock()
                .expect("no panic inside")
                .insert(id, row.clone());
            if !row.finished {
                continue;
            }
            match Parts::load(self, &id, &row) {
                Ok(content) => self.insert(&content),
                Err(e) => {
                    tracing::warn!(content = %id, error = %e, "a content cannot be loaded; left out");
                }
            }
        }
        Ok(())
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// All contents, in no order.
    pub fn contents(&self) -> Vec<Arc<Content>> {
        self.table.all()
    }

    /// The content with this identifier, finished or not.
    pub fn content(&self, id: &ContentId) -> Option<Arc<Content>> {
        self.table.get(id)
    }

    /// Keeps what is known of a manifest (root and some pages), so that an
    /// interrupted fetch of pages resumes. No content comes of it.
    pub fn save_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let dir = self.content_dir(manifest.id());
        let saved = dir.save_manifest(manifest);
        saved.map_err(|e| StoreError::io("write the manifest in", dir.path(), e))
    }

    /// What was kept of a manifest, by [`save_manifest`](Self::save_manifest) or
    /// with a content. A damaged file is as good as none.
    pub fn load_manifest(&self, id: &ContentId) -> Option<Manifest> {
        if let Some(content) = self.content(id) {
            return Some(content.manifest().clone());
        }
        self.content_dir(id).load_manifest(id)
    }

    /// Removes a content: sealed data, staging, index; never the user's own
    /// files. Returns the bytes of disk space given back.
    ///
    /// Handles that are still around read and write nothing any more.
    ///
    /// # Errors
    /// [`StoreError::UnknownContent`] if there is nothing of that name.
    pub fn forget(&self, id: &ContentId) -> Result<u64, StoreError> {
        self.drop_content(id, false)
    }

    fn drop_content(&self, id: &ContentId, installed: bool) -> Result<u64, StoreError> {
        let folders = self.folders(id, installed);
        let row = self.table.rows.lock().expect("no panic inside").remove(id);
        let content = self
            .table
            .contents
            .write()
            .expect("no panic inside")
            .remove(id);
        if row.is_none() && content.is_none() && !folders.iter().any(|folder| folder.exists()) {
            return Err(StoreError::UnknownContent(*id));
        }
        if let Some(content) = content {
            content.retire_shards();
            content.retire();
        }
        // First the index: a crash in between leaves folders that `gc` finds.
        let mut batch = Batch::new();
        batch.remove_content(id);
        self.shared.index.write(batch)?;
        folders.iter().map(|folder| remove(folder)).sum()
    }

    /// Forgets every content for which `keep` does not hold, and whatever lies in
    /// the store without belonging to one. Where `uninstall` holds as well, what was
    /// installed is removed, unless somebody changed it or put something beside it.
    pub fn gc(&self, keep: Choice<'_>, uninstall: Choice<'_>) -> Result<GcReport, StoreError> {
        let mut report = GcReport::default();
        for id in self.collectable(keep)? {
            report.freed += self.drop_content(&id, uninstall(&id))?;
            report.removed.push(id);
        }
        Ok(report)
    }

    /// What [`gc`](Self::gc) would do, if it were called now.
    pub fn gc_preview(
        &self,
        keep: Choice<'_>,
        uninstall: Choice<'_>,
    ) -> Result<GcReport, StoreError> {
        let removed = self.collectable(keep)?;
        let freed = removed
            .iter()
            .flat_map(|id| self.folders(id, uninstall(id)))
            .map(|folder| disk_usage(&folder))
            .sum();
        Ok(GcReport { freed, removed })
    }

    /// The folders that belong to a content, there or not: its own in the store,
    /// that of an unfinished download, and with `installed` the destination as long
    /// as it is what was installed.
    fn folders(&self, id: &ContentId, installed: bool) -> Vec<PathBuf> {
        let placement = {
            let rows = self.table.rows.lock().expect("no panic inside");
            rows.get(id).map(|row| row.placement.clone())
        };
        let untouched = |path: &Path| self.content(id).is_some_and(|c| c.is_untouched_at(path));
        let outside = match placement {
            Some(Placement::Staging { staging, .. }) => Some(staging),
            Some(Placement::Installed(path)) if installed && untouched(&path) => Some(path),
            _ => None,
        };
        let own = self.content_dir(id).path().to_owned();
        [own].into_iter().chain(outside).collect()
    }

    fn collectable(&self, keep: Choice<'_>) -> Result<Vec<ContentId>, StoreError> {
        let mut ids: Vec<ContentId> = self
            .table
            .rows
            .lock()
            .expect("no panic inside")
            .keys()
            .copied()
            .collect();
        let contents = self.shared.dir.join("contents");
        let unreadable = |e| StoreError::io("read the folder", &contents, e);
        for item in std::fs::read_dir(&contents).map_err(unreadable)? {
            let item = item.map_err(unreadable)?;
            // What else lies there is nothing of ours.
            if let Some(id) = item.file_name().to_str().and_then(|name| name.parse().ok()) {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| !keep(id));
        Ok(ids)
    }

    /// Bytes that sealed contents take, reserved ones included, and parity shards:
    /// what the quota limits.
    pub fn used(&self) -> u64 {
        let open = self.shared.open_shards.lock().expect("no panic inside");
        let shards: Vec<_> = open.values().filter_map(Weak::upgrade).collect();
        drop(open);
        let rows = self.table.rows.lock().expect("no panic inside");
        let sealed: u64 = rows.values().map(|row| row.bytes).sum();
        sealed + shards.iter().map(|shards| shards.bytes()).sum::<u64>()
    }

    /// Makes the changes of `batch` durable, and returns when they are.
    /// Batches of several threads share a commit.
    pub fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.shared.index.write(batch)
    }

    /// Like [`write`](Self::write), but returns at once and calls `done` on the
    /// index's own thread when the changes are durable, or are not. `done` must
    /// neither block nor write to the store. Never waits: for what this node decides
    /// to write, and does not decide without end.
    pub fn write_then(
        &self,
        batch: Batch,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        self.shared.index.write_then(batch, done);
    }

    /// Like [`write_then`](Self::write_then), for what others make this node write:
    /// while [`MAX_QUEUED_BATCHES`](crate::limits::MAX_QUEUED_BATCHES) are under way
    /// it calls `done` at once with [`StoreError::Busy`].
    pub fn offer_then(
        &self,
        batch: Batch,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        self.shared.index.offer_then(batch, done);
    }

    /// Channels of which there is a charter or a record, in order.
    pub fn channels(&self) -> Result<Vec<ChannelId>, StoreError> {
        self.shared.index.channels()
    }

    /// A channel's charter, as [`Batch::put_charter`] kept it.
    pub fn charter(&self, channel: &ChannelId) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.index.charter(channel)
    }

    /// All channels with their charters, in order of the identifiers.
    pub fn charters(&self) -> Result<Vec<(ChannelId, Vec<u8>)>, StoreError> {
        self.shared.index.charters()
    }

    /// A record's bytes.
    pub fn record(
        &self,
        channel: &ChannelId,
        id: &RecordId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.index.record(channel, id)
    }

    /// Calls `each` with the identifier and the head of every record of a
    /// channel, in order of the identifiers.
    pub fn record_heads(
        &self,
        channel: &ChannelId,
        each: &mut dyn FnMut(RecordId, &[u8]),
    ) -> Result<(), StoreError> {
        self.shared.index.record_heads(channel, each)
    }

    /// Up to `limit` records' identifiers and heads that come after `after`, in
    /// order of the identifiers.
    pub fn record_heads_after(
        &self,
        channel: &ChannelId,
        after: Option<&RecordId>,
        limit: usize,
    ) -> Result<Vec<(RecordId, Vec<u8>)>, StoreError> {
        self.shared.index.record_heads_after(channel, after, limit)
    }

    /// A record's head.
    pub fn record_head(
        &self,
        channel: &ChannelId,
        id: &RecordId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.index.record_head(channel, id)
    }

    /// Up to `limit` entries of a channel's event log, after a cursor.
    pub fn log(
        &self,
        channel: &ChannelId,
        after: u64,
        limit: usize,
    ) -> Result<LogPage, StoreError> {
        self.shared.index.log(channel, after, limit)
    }

    /// A setting's value.
    pub fn setting(&self, namespace: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.index.setting(namespace, key)
    }

    /// All keys and values of a namespace, in order of the keys.
    pub fn settings(&self, namespace: &str) -> Result<Settings, StoreError> {
        self.shared.index.settings(namespace)
    }

    pub(crate) fn content_dir(&self, id: &ContentId) -> ContentDir {
        ContentDir::new(&self.shared.dir, id)
    }

    pub(crate) fn insert(&self, content: &Arc<Content>) {
        let mut contents = self.table.contents.write().expect("no panic inside");
        contents.insert(*content.id(), content.clone());
    }

    /// Makes a content known under its name, durably.
    pub(crate) fn register(&self, content: &Arc<Content>) -> Result<(), StoreError> {
        self.table.put_row(&self.shared, content)?;
        self.insert(content);
        Ok(())
    }
}

/// Removes a tree and says how much room it took.
pub(crate) fn remove(path: &Path) -> Result<u64, StoreError> {
    let freed = disk_usage(path);
    files::remove_tree(path).map_err(|e| StoreError::io("remove", path, e))?;
    Ok(freed)
}

/// Bytes of the blocks that a tree takes; what cannot be read counts as nothing.
pub(crate) fn disk_usage(path: &Path) -> u64 {
    let Ok(meta) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    let mut bytes = meta.blocks() * 512;
    if meta.is_dir() {
        let items = std::fs::read_dir(path).into_iter().flatten().flatten();
        bytes += items.map(|item| disk_usage(&item.path())).sum::<u64>();
    }
    bytes
}

fn check_format(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join("VERSION");
    let text = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text.map_err(|e| StoreError::io("read", &path, e))?,
    };
    let unreadable = io::Error::new(io::ErrorKind::InvalidData, "it is not a format number");
    let found = text.trim().parse();
    let found = found.map_err(|_| StoreError::io("read", &path, unreadable))?;
    if found > FORMAT {
        return Err(StoreError::NewerFormat {
            dir: dir.to_owned(),
            found,
            supported: FORMAT,
        });
    }
    Ok(())
}

/// Takes the directory for this process, and says in the file who has it.
fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = files::open_write(&path).map_err(|e| StoreError::io("open", &path, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            return Err(StoreError::Locked {
                dir: dir.to_owned(),
                pid: holder.trim().parse().unwrap_or(0),
            });
        }
        other => other.map_err(|e| StoreError::io("lock", &path, e))?,
    }
    let pid = format!("{}\n", std::process::id());
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all_at(pid.as_bytes(), 0));
    written.map_err(|e| StoreError::io("write", &path, e))?;
    Ok(file)
}
