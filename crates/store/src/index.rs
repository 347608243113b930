use std::{
    ops::Bound,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel, sync_channel},
    },
    thread::JoinHandle,
};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use samara_graph::WallMs;
use samara_wire::{ChannelId, ContentId, RecordId};

use crate::{
    StoreError,
    limits::{INDEX_CACHE_BYTES, MAX_BATCHES_PER_COMMIT, MAX_QUEUED_BATCHES, MAX_SETTING_BYTES},
    log::{self, Log, LogPage, Logged},
};

const CHARTERS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("charters");
/// Channel, then record: a channel's records stand together.
const RECORDS: TableDefinition<'_, [u8; 64], &[u8]> = TableDefinition::new("records");
/// Beside the records, so that start-up reads kilobytes instead of megabytes.
const HEADS: TableDefinition<'_, [u8; 64], &[u8]> = TableDefinition::new("record heads");
const SETTINGS: TableDefinition<'_, (&str, &[u8]), &[u8]> = TableDefinition::new("settings");
const CONTENTS: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("contents");

/// Keys and values of a namespace, in order of the keys.
pub type Settings = Vec<(Vec<u8>, Vec<u8>)>;

/// Changes to the index that become durable together, or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    ops: Vec<Op>,
}

#[derive(Debug)]
enum Op {
    PutCharter(ChannelId, Vec<u8>),
    RemoveChannel(ChannelId),
    /// With the time of its entry in the log, if it gets one.
    PutRecord(ChannelId, RecordId, Vec<u8>, Vec<u8>, Option<WallMs>),
    /// With reason and time of its entry in the log, if it gets one.
    RemoveRecord(ChannelId, RecordId, Option<(u8, WallMs)>),
    Log(ChannelId, Vec<u8>, WallMs),
    PutSetting(String, Vec<u8>, Vec<u8>),
    RemoveSetting(String, Vec<u8>),
    PutContent(ContentId, Vec<u8>),
    RemoveContent(ContentId),
}

impl Batch {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the charter (or chain of charters) of a channel, instead of what
    /// was kept before.
    pub fn put_charter(&mut self, channel: &ChannelId, bytes: &[u8]) -> &mut Self {
        self.push(Op::PutCharter(*channel, bytes.to_vec()))
    }

    /// Removes a channel's charter and all its records.
    pub fn remove_channel(&mut self, channel: &ChannelId) -> &mut Self {
        self.push(Op::RemoveChannel(*channel))
    }

    /// Keeps a record. `head` is whatever the caller wants to read of every
    /// record at start-up without loading the records themselves.
    pub fn put_record(
        &mut self,
        channel: &ChannelId,
        id: &RecordId,
        head: &[u8],
        bytes: &[u8],
    ) -> &mut Self {
        let (head, bytes) = (head.to_vec(), bytes.to_vec());
        self.push(Op::PutRecord(*channel, *id, head, bytes, None))
    }

    /// Like [`put_record`](Self::put_record), and the channel's event log tells of
    /// it if the record is not there yet. `head` is an encoded
    /// [`RecordHeader`](samara_graph::RecordHeader).
    pub fn put_record_logged(
        &mut self,
        channel: &ChannelId,
        id: &RecordId,
        head: &[u8],
        bytes: &[u8],
        at: WallMs,
    ) -> &mut Self {
        let (head, bytes) = (head.to_vec(), bytes.to_vec());
        self.push(Op::PutRecord(*channel, *id, head, bytes, Some(at)))
    }

    /// Removes a record; nothing happens if it is not there.
    pub fn remove_record(&mut self, channel: &ChannelId, id: &RecordId) -> &mut Self {
        self.push(Op::RemoveRecord(*channel, *id, None))
    }

    /// Like [`remove_record`](Self::remove_record), and the channel's event log
    /// tells of it, with a reason of the caller's numbering.
    pub fn remove_record_logged(
        &mut self,
        channel: &ChannelId,
        id: &RecordId,
        reason: u8,
        at: WallMs,
    ) -> &mut Self {
        self.push(Op::RemoveRecord(*channel, *id, Some((reason, at))))
    }

    /// Adds something of the caller's own to a channel's event log.
    ///
    /// # Panics
    /// If it has more than
    /// [`MAX_LOG_NOTE_BYTES`](crate::limits::MAX_LOG_NOTE_BYTES).
    pub fn note(&mut self, channel: &ChannelId, note: &[u8], at: WallMs) -> &mut Self {
        assert!(log::fits(note), "the note is too large");
        self.push(Op::Log(*channel, note.to_vec(), at))
    }

    /// Keeps a value under a key of a namespace (the caller's choice of a word).
    ///
    /// # Panics
    /// If the value has more than
    /// [`MAX_SETTING_BYTES`]: settings are the
    /// node's own small things, nothing that a peer can grow.
    pub fn put_setting(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> &mut Self {
        assert!(value.len() <= MAX_SETTING_BYTES, "the setting is too large");
        self.push(Op::PutSetting(
            namespace.to_owned(),
            key.to_vec(),
            value.to_vec(),
        ))
    }

    /// Removes a key; nothing happens if it is not there.
    pub fn remove_setting(&mut self, namespace: &str, key: &[u8]) -> &mut Self {
        self.push(Op::RemoveSetting(namespace.to_owned(), key.to_vec()))
    }

    /// Whether there is no change in it.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(crate) fn put_content(&mut self, id: &ContentId, row: Vec<u8>) -> &mut Self {
        self.push(Op::PutContent(*id, row))
    }

    pub(crate) fn remove_content(&mut self, id: &ContentId) -> &mut Self {
        self.push(Op::RemoveContent(*id))
    }

    fn push(&mut self, op: Op) -> &mut Self {
        self.ops.push(op);
        self
    }
}

type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// The redb file and the thread that writes to it.
///
/// One commit is a few fsyncs, whatever is in it. While one is under way the
/// batches of all threads queue up, and the next commit takes them together: a
/// batch waits for at most two commits, and for nothing when it is alone.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    db: Arc<Database>,
    queue: Option<Sender<(Batch, Done)>>,
    /// Batches that wait or are being committed.
    queued: Arc<AtomicUsize>,
    committer: Option<JoinHandle<()>>,
}

impl Index {
    pub(crate) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let db = Database::builder()
            .set_cache_size(INDEX_CACHE_BYTES)
            .create(&path)
            .map_err(|e| failed(&path, e))?;
        // Records of private channels and invitations' keys are in it, and somebody else
        // may have made the directory.
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private)
            .map_err(|e| StoreError::io("make private", &path, e))?;
        let db = Arc::new(db);
        apply(&db, &path, &[]).map_err(|message| failed(&path, message))?;
        let (queue, batches) = channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let committer = {
            let (db, file, queued) = (db.clone(), path.clone(), queued.clone());
            std::thread::Builder::new()
                .name("samara-index".into())
                .spawn(move || commit_all(&db, &file, &batches, &queued))
                .map_err(|e| StoreError::io("start the thread of", &path, e))?
        };
        Ok(Self {
            path,
            db,
            queue: Some(queue),
            queued,
            committer: Some(committer),
        })
    }

    pub(crate) fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let (tell, told) = sync_channel(1);
        self.write_then(batch, move |result| {
            // The receiver waits below.
            let _ = tell.send(result);
        });
        told.recv()
            .unwrap_or_else(|_| Err(failed(&self.path, "the committing thread is gone")))
    }

    pub(crate) fn write_then(
        &self,
        batch: Batch,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        let queue = self.queue.as_ref().expect("taken only in drop");
        self.queued.fetch_add(1, Ordering::Relaxed);
        if let Err(unsent) = queue.send((batch, Box::new(done))) {
            unsent.0.1(Err(failed(&self.path, "the committing thread is gone")));
        }
    }

    pub(crate) fn offer_then(
        &self,
        batch: Batch,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        if self.queued.load(Ordering::Relaxed) < MAX_QUEUED_BATCHES {
            self.write_then(batch, done);
        } else {
            done(Err(StoreError::Busy));
        }
    }

    pub(crate) fn charter(&self, channel: &ChannelId) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(CHARTERS, channel.0)
    }

    pub(crate) fn charters(&self) -> Result<Vec<(ChannelId, Vec<u8>)>, StoreError> {
        self.read(|tx| {
            let table = tx.open_table(CHARTERS)?;
            let rows = table.iter()?.map(|row| {
                let (channel, bytes) = row?;
                Ok((ChannelId(channel.value()), bytes.value().to_vec()))
            });
            rows.collect()
        })
    }

    /// Channels that have a charter or records, in order.
    pub(crate) fn channels(&self) -> Result<Vec<ChannelId>, StoreError> {
        self.read(|tx| {
            let mut all = Vec::new();
            for row in tx.open_table(CHARTERS)?.iter()? {
                all.push(ChannelId(row?.0.value()));
            }
            let heads = tx.open_table(HEADS)?;
            let mut from = [0; 64];
            // From each channel's first record straight to the next channel's.
            while let Some(row) = heads.range(from..)?.next() {
                let (key, _) = row?;
                let key = key.value();
                let channel = ChannelId(std::array::from_fn(|i| key[i]));
                all.push(channel);
                let (_, last) = channel_range(&channel);
                from = last;
                if !step(&mut from) {
                    break;
                }
            }
            all.sort_unstable();
            all.dedup();
            Ok(all)
        })
    }

    pub(crate) fn record(
        &self,
        channel: &ChannelId,
        id: &RecordId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(RECORDS, record_key(channel, id))
    }

    pub(crate) fn record_heads(
        &self,
        channel: &ChannelId,
        each: &mut dyn FnMut(RecordId, &[u8]),
    ) -> Result<(), StoreError> {
        self.read(|tx| {
            let (first, last) = channel_range(channel);
            for row in tx.open_table(HEADS)?.range(first..=last)? {
                let (key, head) = row?;
                each(id_of(key.value()), head.value());
            }
            Ok(())
        })
    }

    /// Up to `limit` records' heads that come after `after`, in order of the
    /// identifiers.
    pub(crate) fn record_heads_after(
        &self,
        channel: &ChannelId,
        after: Option<&RecordId>,
        limit: usize,
    ) -> Result<Vec<(RecordId, Vec<u8>)>, StoreError> {
        self.read(|tx| {
            let (first, last) = channel_range(channel);
            let start = match after {
                Some(id) => Bound::Excluded(record_key(channel, id)),
                None => Bound::Included(first),
            };
            let heads = tx.open_table(HEADS)?;
            let range = heads.range((start, Bound::Included(last)))?;
            let rows = range.take(limit).map(|row| {
                let (key, head) = row?;
                Ok((id_of(key.value()), head.value().to_vec()))
            });
            rows.collect()
        })
    }

    pub(crate) fn record_head(
        &self,
        channel: &ChannelId,
        id: &RecordId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(HEADS, record_key(channel, id))
    }

    pub(crate) fn log(
        &self,
        channel: &ChannelId,
        after: u64,
        limit: usize,
    ) -> Result<LogPage, StoreError> {
        self.read(|tx| log::read(&tx, channel, after, limit))
    }

    pub(crate) fn setting(
        &self,
        namespace: &str,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|tx| {
            let table = tx.open_table(SETTINGS)?;
            Ok(table.get((namespace, key))?.map(|v| v.value().to_vec()))
        })
    }

    pub(crate) fn settings(&self, namespace: &str) -> Result<Settings, StoreError> {
        self.read(|tx| {
            let table = tx.open_table(SETTINGS)?;
            let mut all = Vec::new();
            for row in table.range::<(&str, &[u8])>((namespace, &[][..])..)? {
                let (key, value) = row?;
                let (space, key) = key.value();
                if space != namespace {
                    break;
                }
                all.push((key.to_vec(), value.value().to_vec()));
            }
            Ok(all)
        })
    }

    pub(crate) fn contents(&self) -> Result<Vec<(ContentId, Vec<u8>)>, StoreError> {
        self.read(|tx| {
            let table = tx.open_table(CONTENTS)?;
            let rows = table.iter()?.map(|row| {
                let (id, bytes) = row?;
                Ok((ContentId(id.value()), bytes.value().to_vec()))
            });
            rows.collect()
        })
    }

    fn get<const N: usize>(
        &self,
        table: TableDefinition<'_, [u8; N], &'static [u8]>,
        key: [u8; N],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|tx| Ok(tx.open_table(table)?.get(key)?.map(|v| v.value().to_vec())))
    }

    fn read<T>(
        &self,
        work: impl FnOnce(redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let tx = self.db.begin_read().map_err(|e| failed(&self.path, e))?;
        work(tx).map_err(|e| failed(&self.path, e))
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        // Ends the thread's loop when it has committed what is queued.
        drop(self.queue.take());
        if let Some(committer) = self.committer.take() {
            // The last handle may be dropped by a `done` on that very thread.
            if committer.thread().id() != std::thread::current().id() {
                let _ = committer.join();
            }
        }
    }
}

fn commit_all(db: &Database, path: &Path, batches: &Receiver<(Batch, Done)>, queued: &AtomicUsize) {
    while let Ok(first) = batches.recv() {
        let mut group = vec![first];
        group.extend(batches.try_iter().take(MAX_BATCHES_PER_COMMIT - 1));
        let (group, dones): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let result = apply(db, path, &group);
        queued.fetch_sub(dones.len(), Ordering::Relaxed);
        for done in dones {
            done(result.clone().map_err(|message| failed(path, message)));
        }
    }
}

fn apply(db: &Database, path: &Path, batches: &[Batch]) -> Result<(), String> {
    let attempt = || -> Result<(), redb::Error> {
        let mut tx = db.begin_write()?;
        // Implies two-phase commit; without it an unclean end costs a walk over
        // the whole file at the next start.
        tx.set_quick_repair(true);
        apply_ops(&tx, batches)?;
        Ok(tx.commit()?)
    };
    attempt().map_err(|e| {
        tracing::error!(path = %path.display(), error = %e, "the index refused a commit");
        e.to_string()
    })
}

fn apply_ops(tx: &WriteTransaction, batches: &[Batch]) -> Result<(), redb::Error> {
    let mut charters = tx.open_table(CHARTERS)?;
    let mut records = tx.open_table(RECORDS)?;
    let mut heads = tx.open_table(HEADS)?;
    let mut settings = tx.open_table(SETTINGS)?;
    let mut contents = tx.open_table(CONTENTS)?;
    let mut log = Log::open(tx)?;
    for op in batches.iter().flat_map(|batch| &batch.ops) {
        match op {
            Op::PutCharter(channel, bytes) => {
                charters.insert(channel.0, &bytes[..])?;
            }
            Op::RemoveChannel(channel) => {
                charters.remove(channel.0)?;
                let (first, last) = channel_range(channel);
                records.retain_in(first..=last, |_, _| false)?;
                heads.retain_in(first..=last, |_, _| false)?;
                log.remove_channel(channel)?;
            }
            Op::PutRecord(channel, id, head, bytes, logged) => {
                let key = record_key(channel, id);
                let new = heads.insert(key, &head[..])?.is_none();
                if let Some(at) = logged.filter(|_| new) {
                    log.put(channel, head, at)?;
                }
                records.insert(key, &bytes[..])?;
            }
            Op::RemoveRecord(channel, id, logged) => {
                let key = record_key(channel, id);
                if let Some(head) = heads.remove(key)? {
                    log.remove(channel, head.value(), *logged)?;
                }
                records.remove(key)?;
            }
            Op::Log(channel, note, at) => {
                log.append(channel, *at, &Logged::Note(note.clone()))?;
            }
            Op::PutSetting(namespace, key, value) => {
                settings.insert((&namespace[..], &key[..]), &value[..])?;
            }
            Op::RemoveSetting(namespace, key) => {
                settings.remove((&namespace[..], &key[..]))?;
            }
            Op::PutContent(id, row) => {
                contents.insert(id.0, &row[..])?;
            }
            Op::RemoveContent(id) => {
                contents.remove(id.0)?;
            }
        }
    }
    Ok(())
}

/// The next key; false if there is none.
fn step(key: &mut [u8; 64]) -> bool {
    for byte in key.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return true;
        }
    }
    false
}

fn record_key(channel: &ChannelId, id: &RecordId) -> [u8; 64] {
    let mut key = [0; 64];
    key[..32].copy_from_slice(&channel.0);
    key[32..].copy_from_slice(&id.0);
    key
}

/// Takes the key by value: redb decodes it anew at every look.
fn id_of(key: [u8; 64]) -> RecordId {
    RecordId(std::array::from_fn(|i| key[32 + i]))
}

fn channel_range(channel: &ChannelId) -> ([u8; 64], [u8; 64]) {
    let end = |byte| record_key(channel, &RecordId([byte; 32]));
    (end(0), end(0xff))
}

fn failed(path: &Path, error: impl ToString) -> StoreError {
    StoreError::Index {
        path: path.to_owned(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(index: &Index, channel: &ChannelId) -> Vec<(RecordId, Vec<u8>)> {
        let mut all = Vec::new();
        index
            .record_heads(channel, &mut |id, head| all.push((id, head.to_vec())))
            .unwrap();
        all
    }

    #[test]
    fn what_was_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        let (a, b) = (ChannelId([1; 32]), ChannelId([2; 32]));
        let (first, last) = (RecordId([0; 32]), RecordId([0xff; 32]));
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let index = Index::open(path.clone()).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut batch = Batch::new();
        batch.put_charter(&a, b"A").put_charter(&b, b"B");
        batch
            .put_record(&a, &first, b"h1", b"r1")
            .put_record(&a, &last, b"h2", b"r2");
        batch.put_record(&b, &first, b"h3", b"r3");
        batch
            .put_setting("n", b"k", b"v")
            .put_setting("n", b"", b"w")
            .put_setting("nn", b"k", b"x");
        index.write(batch).unwrap();
        drop(index);

        let index = Index::open(path).unwrap();
        assert_eq!(
            index.charters().unwrap(),
            [(a, b"A".to_vec()), (b, b"B".to_vec())]
        );
        assert_eq!(index.record(&a, &last).unwrap().unwrap(), b"r2");
        assert_eq!(
            heads(&index, &a),
            [(first, b"h1".to_vec()), (last, b"h2".to_vec())]
        );
        assert_eq!(
            index.settings("n").unwrap(),
            [(vec![], b"w".to_vec()), (b"k".to_vec(), b"v".to_vec())]
        );
        let mut batch = Batch::new();
        batch
            .remove_channel(&a)
            .remove_setting("n", b"k")
            .remove_record(&b, &last);
        index.write(batch).unwrap();
        assert_eq!(index.charter(&a).unwrap(), None);
        assert_eq!(index.record(&a, &first).unwrap(), None);
        assert_eq!(heads(&index, &a), []);
        assert_eq!(heads(&index, &b), [(first, b"h3".to_vec())]);
        assert_eq!(index.setting("n", b"k").unwrap(), None);
        assert_eq!(index.setting("nn", b"k").unwrap().unwrap(), b"x");
    }

    #[test]
    fn channels_are_listed_by_charter_or_record() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path().join("index.redb")).unwrap();
        assert_eq!(index.channels().unwrap(), []);
        let ids = [0, 1, 2, 0xff].map(|byte| ChannelId([byte; 32]));
        let mut batch = Batch::new();
        batch.put_charter(&ids[1], b"A").put_charter(&ids[2], b"B");
        for channel in [&ids[0], &ids[2], &ids[3]] {
            for record in [0, 7, 0xff] {
                batch.put_record(channel, &RecordId([record; 32]), b"h", b"r");
            }
        }
        index.write(batch).unwrap();
        assert_eq!(index.channels().unwrap(), ids);
    }

    #[test]
    fn what_others_make_us_write_is_refused_when_too_much_waits() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path().join("index.redb")).unwrap();
        let (hold, held) = sync_channel::<()>(0);
        let (started, waits) = sync_channel(1);
        // Commits stand still.
        index.write_then(Batch::new(), move |_| {
            started.send(()).unwrap();
            let _ = held.recv();
        });
        waits.recv().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        for _ in 0..=MAX_QUEUED_BATCHES {
            let tell = tell.clone();
            index.offer_then(Batch::new(), move |result| tell.send(result).unwrap());
        }
        assert!(matches!(told.recv().unwrap(), Err(StoreError::Busy)));
        // Our own is taken, and does not wait here.
        index.write_then(Batch::new(), move |result| tell.send(result).unwrap());
        drop(hold);
        let taken: Vec<_> = told.iter().collect();
        assert_eq!(taken.len(), MAX_QUEUED_BATCHES + 1);
        assert!(taken.iter().all(Result::is_ok));
    }

    #[test]
    fn concurrent_batches_are_all_told() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path().join("index.redb")).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        for i in 0..200u8 {
            let mut batch = Batch::new();
            batch.put_record(&ChannelId([9; 32]), &RecordId([i; 32]), &[i], &[i; 100]);
            let tell = tell.clone();
            index.write_then(batch, move |result| tell.send((i, result.is_ok())).unwrap());
        }
        drop(tell);
        // Told in order, and only when it can be read.
        for (expected, (i, ok)) in told.iter().enumerate() {
            assert!(ok && usize::from(i) == expected);
            let record = index.record(&ChannelId([9; 32]), &RecordId([i; 32]));
            assert_eq!(record.unwrap().unwrap(), [i; 100]);
        }
        assert_eq!(heads(&index, &ChannelId([9; 32])).len(), 200);
    }
}
