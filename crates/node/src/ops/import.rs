//! `import`: a channel out of a file, believed as little as a peer.
//!
//! The file is read twice. First to its end, without using anything: if it is not,
//! to the byte, what its exporter signed, nothing happens. Then each charter and
//! record is judged by the channel's graph, and each page and chunk by its hash; a
//! content is there when it is whole, or not at all. At last what is whole is put in
//! its place, so that it can be read where no node ever runs.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use samara_content::Manifest;
use samara_graph::{CharterChain, Offered, Reject, SignedCharter};
use samara_store::{Batch, Destination, Selection, Store, WriteError};
use samara_wire::{ChannelId, ContentId, RecordId};
use tokio::runtime::Handle;

use super::{Context, follow};
use crate::{
    EngineError,
    api::{ErrorKind, Event},
    bundle::{BundleError, BundleReader, Head, Item},
    core::{Channel, ChannelMeta, Core, CoreHandle, Role, graph_config},
};

/// Records that are offered to the graph at a time.
const BATCH: usize = 64;
/// Bytes of records that are offered at a time.
const BATCH_BYTES: usize = 1 << 20;
/// How soon a graph is asked again that has too much to write.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What became of what was in the file.
#[derive(Debug, Default)]
struct Tally {
    new: u64,
    known: u64,
    waits: u64,
    refused: u64,
    contents: u64,
    left_out: u64,
    /// What stood by something that had not come when it was offered.
    early: Vec<RecordId>,
}

pub(super) async fn import(context: &Context, file: PathBuf) -> Result<(), EngineError> {
    let path = file.clone();
    let checked = context.blocking(move |_| check(&path)).await?;
    let (head, chain) = match checked {
        Ok(checked) => checked,
        Err(error) => return Err(refused(context, &file, error).await),
    };
    let id = head.channel;
    let held = hold(context, &head, chain).await?;
    let work = Work {
        context: context.clone(),
        core: context.core().clone(),
        runtime: Handle::current(),
        file: file.clone(),
        id,
    };
    let mut tally = context.blocking(move |store| work.take_in(store)).await?;
    // Acknowledged is what is on disk.
    written(context, id).await?;
    let early = std::mem::take(&mut tally.early);
    let [stand, wait, fell] = context
        .core()
        .call(move |core| core.became(id, &early))
        .await?;
    tally.new += stand;
    tally.waits += wait;
    tally.refused += fell;
    let imported = Event::Imported {
        channel: id.to_string(),
        file,
        exporter: head.exporter.to_string(),
        joined: held,
        new: tally.new,
        known: tally.known,
        waiting: tally.waits,
        refused: tally.refused,
        contents: tally.contents,
        contents_left_out: tally.left_out,
    };
    context.emit(imported).await;
    let role = move |core: &mut Core| core.channels.get(&id).map(|c| c.meta.role);
    match context.core().call(role).await? {
        Some(Role::Owner | Role::Subscriber | Role::Mirror) => {
            follow::put_in_place(context, id).await
        }
        _ => Ok(()),
    }
}

/// Waits until all that was taken in is on disk, and what stands by it was judged.
async fn written(context: &Context, id: ChannelId) -> Result<(), EngineError> {
    let written = context.core().wait_for(move |core| {
        let channel = core.channels.get(&id);
        let pending = channel.map_or(0, |c| c.graph.status().pending);
        (pending == 0).then_some(())
    });
    context.unless_cancelled(written).await
}

/// Reads the file to its end. Blocks.
fn check(path: &Path) -> Result<Result<(Head, CharterChain), BundleError>, EngineError> {
    Ok(open(path)?.and_then(|bundle| {
        let (head, _) = bundle.check()?;
        let chain = chain_of(&head).ok_or(BundleError::BadCharters)?;
        Ok((head, chain))
    }))
}

/// A file that is refused as a whole is counted.
async fn refused(context: &Context, path: &Path, error: BundleError) -> EngineError {
    let reason = error.label();
    let count = move |core: &mut Core| {
        let refused = core.metrics.imports_refused.with_label_values(&[reason]);
        refused.inc();
    };
    match context.core().call(count).await {
        Ok(()) => refuse(path, error),
        Err(error) => error,
    }
}

fn open(path: &Path) -> Result<Result<BundleReader<BufReader<File>>, BundleError>, EngineError> {
    let failed = |e| EngineError::disk(path, &e);
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.is_dir() {
        let why = format!(
            "{}: it is a folder; name the file that `samara export` wrote",
            path.display()
        );
        return Err(EngineError::new(ErrorKind::Usage, why));
    }
    Ok(BundleReader::open(BufReader::with_capacity(1 << 20, file)))
}

fn refuse(path: &Path, error: BundleError) -> EngineError {
    match error {
        BundleError::Io(error) => EngineError::disk(path, &error),
        BundleError::NotABundle => {
            EngineError::new(ErrorKind::Usage, format!("{}: {error}", path.display()))
        }
        _ => EngineError::new(ErrorKind::BadData, format!("{}: {error}", path.display())),
    }
}

/// The charters, if they are a chain and the channel's.
fn chain_of(head: &Head) -> Option<CharterChain> {
    let mut charters = head
        .charters
        .iter()
        .map(|bytes| SignedCharter::decode(bytes));
    let mut chain = CharterChain::new(charters.next()?.ok()?).ok()?;
    for next in charters {
        chain.push(next.ok()?).ok()?;
    }
    (chain.channel() == head.channel).then_some(chain)
}

/// Shows a channel that is here the charters; makes one that is not, and says so.
async fn hold(context: &Context, head: &Head, chain: CharterChain) -> Result<bool, EngineError> {
    let (id, charters) = (head.channel, head.charters.clone());
    let here = context
        .core()
        .call(move |core| {
            let here = core.channels.contains_key(&id);
            here.then(|| core.offer_charters(id, &charters))
        })
        .await?;
    if let Some(offered) = here {
        offered?;
        return Ok(false);
    }
    let bytes = chain.encode();
    let write = context.blocking(move |store| {
        let mut batch = Batch::new();
        batch.put_charter(&id, &bytes);
        Ok(store.write(batch)?)
    });
    write.await?;
    let active = context.engine.mode == crate::Mode::Node;
    let added = context.core().call(move |core| {
        // A publisher that comes back to its channel owns it.
        let role = match chain.current().roots.contains(&core.me) {
            true => Role::Owner,
            false => Role::Subscriber,
        };
        let graph = samara_graph::Graph::restore(chain, [], graph_config(core.me)?);
        let channel = Channel::new(graph, ChannelMeta::new(role), Default::default());
        core.add_channel(id, channel, active);
        Ok::<_, EngineError>(())
    });
    added.await??;
    Ok(true)
}

/// The second reading, on a thread that may block.
struct Work {
    context: Context,
    core: CoreHandle,
    runtime: Handle,
    file: PathBuf,
    id: ChannelId,
}

impl Work {
    fn take_in(&self, store: &Store) -> Result<Tally, EngineError> {
        let mut bundle = open(&self.file)?.map_err(|e| refuse(&self.file, e))?;
        if bundle.head().channel != self.id {
            let why = format!("{}: it was changed meanwhile", self.file.display());
            return Err(EngineError::new(ErrorKind::Changed, why));
        }
        let mut tally = Tally::default();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut item = self.next(&mut bundle)?;
        loop {
            if let Item::Record(record) = item {
                bytes += record.len();
                batch.push(record);
                if batch.len() == BATCH || bytes >= BATCH_BYTES {
                    self.offer(std::mem::take(&mut batch), &mut tally)?;
                    bytes = 0;
                }
                item = self.next(&mut bundle)?;
                continue;
            }
            self.offer(std::mem::take(&mut batch), &mut tally)?;
            item = match item {
                Item::End(_) => return Ok(tally),
                Item::Content(id) => self.content(store, id, &mut bundle, &mut tally)?,
                _ => self.next(&mut bundle)?,
            };
        }
    }

    fn next(&self, bundle: &mut BundleReader<BufReader<File>>) -> Result<Item, EngineError> {
        if self.context.cancel.is_cancelled() {
            return Err(super::interrupted());
        }
        bundle.next().map_err(|e| refuse(&self.file, e))
    }

    fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Core) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        self.runtime.block_on(self.core.call(f))
    }

    /// Offers records until each was judged.
    fn offer(&self, mut records: Vec<Bytes>, tally: &mut Tally) -> Result<(), EngineError> {
        let before = tally.early.len();
        while !records.is_empty() {
            let (id, batch) = (self.id, records.clone());
            let judged = self.call(move |core| core.offer_records(id, batch))??;
            let mut busy = Vec::new();
            for (record, outcome) in records.into_iter().zip(judged) {
                match outcome {
                    Ok(Offered::New) => tally.new += 1,
                    Ok(Offered::Known) => tally.known += 1,
                    Ok(Offered::Waits) => {
                        tally.early.push(RecordId(blake3::hash(&record).into()));
                    }
                    Err(Reject::Busy) => busy.push(record),
                    Err(reason) => {
                        tracing::info!(channel = %self.id.short(), %reason, "record not imported");
                        tally.refused += 1;
                    }
                }
            }
            records = busy;
            if !records.is_empty() {
                if self.context.cancel.is_cancelled() {
                    return Err(super::interrupted());
                }
                std::thread::sleep(BUSY_PAUSE);
            }
        }
        if tally.early.len() > before {
            // What they stand by is on its way to the disk; more of them than may wait
            // would be lost.
            self.runtime.block_on(written(&self.context, self.id))?;
        }
        Ok(())
    }

    /// Takes a content in, or passes over it; what follows it.
    fn content(
        &self,
        store: &Store,
        id: ContentId,
        bundle: &mut BundleReader<BufReader<File>>,
        tally: &mut Tally,
    ) -> Result<Item, EngineError> {
        let channel = self.id;
        // Records count when they are stored, and only then name a content.
        let named = self.core.wait_for(move |core| {
            let channel = core.channels.get(&channel)?;
            let named = channel.named(&id).is_some();
            (named || channel.graph.status().pending == 0).then_some(named)
        });
        let named = self
            .runtime
            .block_on(self.context.unless_cancelled(named))?;
        let lock = self.context.engine.obtaining.lock_of(id);
        let turn = lock.try_lock();
        let whole = store
            .content(&id)
            .is_some_and(|content| content.is_complete());
        if whole {
            tally.contents += 1;
        } else if !named || turn.is_err() {
            // Nobody asked for it; or somebody fetches it at this moment.
            tally.left_out += 1;
        } else {
            let fresh = store.content(&id).is_none();
            let result = self.fill(store, id, bundle);
            if result.is_err() && fresh {
                // A part of it is of no use to anybody.
                let _ = store.forget(&id);
            }
            let item = result?;
            tally.contents += 1;
            return Ok(item);
        }
        loop {
            match self.next(bundle)? {
                Item::Page(_) | Item::Chunk(_) => {}
                other => return Ok(other),
            }
        }
    }

    fn fill(
        &self,
        store: &Store,
        id: ContentId,
        bundle: &mut BundleReader<BufReader<File>>,
    ) -> Result<Item, EngineError> {
        let bad = |why: String| {
            let message = format!("{}: content {}: {why}", self.file.display(), id.short());
            EngineError::new(ErrorKind::BadData, message)
        };
        let mut manifest: Option<Manifest> = None;
        let mut item = self.next(bundle)?;
        let mut page = 0;
        while let Item::Page(bytes) = item {
            match &mut manifest {
                None => {
                    let root = Manifest::from_root(&id, &bytes);
                    manifest = Some(root.map_err(|e| bad(e.to_string()))?);
                }
                Some(manifest) => {
                    let added = manifest.add_page(page, bytes);
                    added.map_err(|e| bad(e.to_string()))?;
                    page += 1;
                }
            }
            item = self.next(bundle)?;
        }
        let manifest = manifest
            .filter(Manifest::is_complete)
            .ok_or_else(|| bad("pages of its manifest are missing".to_owned()))?;
        let content = store.begin(manifest, &Destination::Sealed, Selection::All)?;
        let mut index = 0;
        while let Item::Chunk(bytes) = item {
            if !content.has(index) {
                content
                    .verify_and_write(index, &bytes)
                    .map_err(|error| match error {
                        WriteError::NoSpace { .. } => {
                            EngineError::new(ErrorKind::NoSpace, error.to_string())
                        }
                        WriteError::Io { .. } => {
                            EngineError::new(ErrorKind::Disk, error.to_string())
                        }
                        _ => bad(error.to_string()),
                    })?;
            }
            index += 1;
            item = self.next(bundle)?;
        }
        if !content.has_wanted() {
            return Err(bad("chunks are missing".to_owned()));
        }
        content.finish()?;
        Ok(item)
    }
}
