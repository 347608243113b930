//! Making a content of a channel whole on this disk.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use samara_content::share_of;
use samara_store::{Content, Destination, Selection};
use samara_wire::{ChannelId, ContentId, PeerId};

use super::{
    Context,
    manifest::{Filter, GRACE_AFTER_BAD, manifest, no_peer},
    tally::Tally,
};
use crate::{
    EngineError,
    api::{Downloaded, ErrorKind, Event},
    core::{Sources, TransferKey},
    priority::Priority,
};

/// How often progress is reported.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// What is wanted, and where.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    pub(crate) channel: ChannelId,
    pub(crate) content: ContentId,
    /// Bytes of all files, as the record says.
    pub(crate) bytes: u64,
    /// Whose record names it.
    pub(crate) author: PeerId,
    pub(crate) place: Place,
    pub(crate) filter: Filter,
    /// How long to wait without progress; `None`: for ever.
    pub(crate) patience: Option<Duration>,
    pub(crate) priority: Priority,
    /// The first bytes first, for somebody uses them while the rest arrives.
    pub(crate) in_order: bool,
    /// Nothing is fetched of a folder.
    pub(crate) file_only: bool,
    /// What to do while the content is paused.
    pub(crate) when_paused: WhenPaused,
}

/// What a request does while what it wants is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenPaused {
    /// Waits until it goes on, however long.
    Wait,
    /// Gives up: it is wanted again when it goes on.
    GiveUp,
}

/// Where a content goes.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// As `parent/<the content's name>`.
    Under { parent: PathBuf, force: bool },
    /// Into the store.
    Sealed,
    /// Into the store, as much as falls to this node if these members keep it together;
    /// all of it if there is no parity.
    Share { members: BTreeSet<PeerId> },
}

/// A content that is whole and in its place.
#[derive(Debug)]
pub(crate) struct Obtained {
    pub(crate) content: Arc<Content>,
    /// What of the bytes wanted was fetched, each once.
    pub(crate) downloaded: Downloaded,
    /// What of them was on this disk: together all that was wanted.
    pub(crate) reused: u64,
    /// Bytes that came for nothing.
    pub(crate) wasted: u64,
}

/// Fetches what is missing and puts it in place. The transfer stays, so that
/// others are served, until the caller removes it.
pub(crate) async fn obtain(context: &Context, want: Want) -> Result<Obtained, EngineError> {
    let lock = context.engine.obtaining.lock_of(want.content);
    let _turn = turn(context, &want, &lock).await?;
    let found = manifest(
        context,
        want.channel,
        want.content,
        &want.filter,
        false,
        want.patience,
    )
    .await?;
    // What was decided by the record's word must not turn out otherwise.
    if found.root().total_bytes != want.bytes {
        return Err(EngineError::new(
            ErrorKind::Manifest,
            format!(
                "the record says {} bytes, the content has {}",
                want.bytes,
                found.root().total_bytes
            ),
        ));
    }
    let name = found.root().name.clone();
    if want.file_only && !found.root().single_file() {
        let message = format!("{name} is a folder; a single file is needed");
        return Err(EngineError::new(ErrorKind::Usage, message));
    }
    let destination = match &want.place {
        Place::Under { parent, force } => Destination::Install {
            parent: parent.clone(),
            name: name.clone(),
            force: *force,
        },
        Place::Sealed | Place::Share { .. } => Destination::Sealed,
    };
    let share = match (&want.place, found.stripes()) {
        (Place::Share { members }, Some(stripes)) => {
            let me = context.core().call(|core| core.me).await?;
            Some(share_of(stripes, &want.content, members, &me))
        }
        _ => None,
    };
    let filter = want.filter.clone();
    let (content, tally) = context
        .blocking(move |store| {
            let wants = |entry: &samara_content::Entry| filter.wants(entry);
            let selection = if filter.is_all() {
                Selection::All
            } else {
                Selection::Only(&wants)
            };
            let content = match &share {
                Some(share) => store.begin_share(found, share)?,
                None => store.begin(found, &destination, selection)?,
            };
            if !content.has_wanted() {
                content.reuse(&|_| {})?;
            }
            let tally = Tally::new(content.manifest(), &filter);
            Ok((content, tally))
        })
        .await?;
    let (channel, author) = (want.channel, want.author);
    let (priority, in_order) = (want.priority, want.in_order);
    let held = content.clone();
    let (key, before) = context
        .core()
        .call(move |core| {
            let key = core.add_transfer(held, channel, author, priority);
            // Nobody else is at it: each request waits for its turn.
            core.set_in_order(key, in_order);
            (key, core.recount(key))
        })
        .await?;
    let prefix = in_order.then(|| Prefix::of(content.clone()));
    let result = match (wait(context, &want, key, &name, prefix).await, before) {
        (Ok(after), Some(before)) => Ok((before, after)),
        (Ok(_), None) => Err(given_up()),
        (Err(error), _) => Err(error),
    };
    if in_order {
        let order = context
            .core()
            .call(move |core| core.set_in_order(key, false));
        let _ = order.await;
    }
    match result {
        Ok((before, after)) => {
            let (downloaded, reused) = tally.count(&before.counted, &after);
            Ok(Obtained {
                content,
                downloaded,
                reused,
                wasted: after.wasted - before.wasted,
            })
        }
        Err(error) => {
            let _ = context
                .core()
                .call(move |core| core.remove_transfer(key))
                .await;
            Err(error)
        }
    }
}

/// How much of a file is here without a gap.
struct Prefix {
    content: Arc<Content>,
    /// All chunks before this one are here, and have so many bytes.
    chunk: u32,
    bytes: u64,
}

impl Prefix {
    fn of(content: Arc<Content>) -> Self {
        Self {
            content,
            chunk: 0,
            bytes: 0,
        }
    }

    /// Where the file is now, and how many of its first bytes were verified and written;
    /// `None` if the content is a folder.
    fn look(&mut self) -> Option<(PathBuf, u64)> {
        let path = self.content.file()?;
        while self.chunk < self.content.manifest().chunk_count() && self.content.has(self.chunk) {
            let chunk = self.content.manifest().chunk(self.chunk)?;
            self.bytes += u64::from(chunk.len);
            self.chunk += 1;
        }
        Some((path, self.bytes))
    }
}

fn given_up() -> EngineError {
    EngineError::new(ErrorKind::Interrupted, "the transfer was given up")
}

/// Waits until no other request is at the same content; gives up like that
/// request would.
async fn turn<'a>(
    context: &Context,
    want: &Want,
    lock: &'a tokio::sync::Mutex<()>,
) -> Result<tokio::sync::MutexGuard<'a, ()>, EngineError> {
    let mut since = Instant::now();
    let content = want.content;
    loop {
        let acquire = async { Ok(tokio::time::timeout(REPORT_EVERY, lock.lock()).await.ok()) };
        if let Some(guard) = context.unless_cancelled(acquire).await? {
            return Ok(guard);
        }
        let moving = context
            .core()
            .call(move |core| {
                let (key, _) = core.transfer_of(&content)?;
                let view = core.view(key)?;
                Some(view.have >= view.total || view.idle < REPORT_EVERY * 4)
            })
            .await?;
        if moving == Some(true) {
            since = Instant::now();
        }
        if want
            .patience
            .is_some_and(|patience| since.elapsed() >= patience)
        {
            return Err(no_peer(context, want.channel, 0).await);
        }
    }
}

async fn wait(
    context: &Context,
    want: &Want,
    key: TransferKey,
    name: &str,
    mut prefix: Option<Prefix>,
) -> Result<Sources, EngineError> {
    let started = Instant::now();
    loop {
        let done = context.core().wait_for(move |core| {
            let view = core.view(key)?;
            let sources = core.sources(key)?;
            (view.finished || view.failure.is_some()).then_some((view, sources))
        });
        let done = async { Ok(tokio::time::timeout(REPORT_EVERY, done).await.ok()) };
        let view = match context.unless_cancelled(done).await? {
            Some(ended) => {
                let (view, sources) = ended?;
                return match view.failure {
                    Some(failure) => Err(failure.0),
                    None => Ok(sources),
                };
            }
            None => context
                .core()
                .call(move |core| core.view(key))
                .await?
                .ok_or_else(given_up)?,
        };
        let growing = prefix.as_mut().and_then(Prefix::look);
        let (path, ready) = growing.unzip();
        context.emit_lossy(Event::Progress {
            content: want.content.to_string(),
            name: name.to_owned(),
            have: view.have,
            total: view.total,
            rate: view.rate,
            peers: view.peers,
            origin: view.from_origin,
            others: view.from_others,
            path,
            ready,
        });
        if view.have >= view.total {
            // Being put in place.
            continue;
        }
        if view.paused {
            if want.when_paused == WhenPaused::GiveUp {
                return Err(EngineError::new(ErrorKind::Interrupted, "it is paused"));
            }
            let what = format!("{name} is paused; `samara resume` lets it go on");
            context.emit_lossy(Event::Waiting { what });
            continue;
        }
        let idle = view.idle.min(started.elapsed());
        let bad = view.rejected > 0 && view.sources == 0;
        if want.patience.is_some_and(|patience| idle >= patience)
            || (want.patience.is_some() && bad && idle >= GRACE_AFTER_BAD)
        {
            return Err(no_peer(context, want.channel, usize::from(bad)).await);
        }
    }
}
