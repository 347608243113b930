//! `get` and `ls`: what a link leads to, looked at or fetched once.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use samara_content::EntryKind;
use samara_graph::{Kind, Link, body::ContentRef};
use samara_store::{Batch, Store};
use samara_wire::{ChannelId, ContentId, PeerId};

use super::{
    Context, consult, interrupted,
    manifest::{Filter, manifest, no_peer, tried},
    obtain::{Place, Want, WhenPaused, obtain},
    parse_link,
    publish::tell_release,
    resolve, visited,
};
use crate::{
    EngineError, Priority,
    api::{ErrorKind, Event},
    core::{self, ChannelMeta, Known, Role},
    discovery::Source,
};

/// How long to wait for somebody who says whether what is here is the newest: a
/// handshake over a satellite, and some.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(3);

/// What `get` was asked for.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) link: String,
    pub(super) into: PathBuf,
    pub(super) only: Vec<String>,
    pub(super) seed: bool,
    pub(super) force: bool,
    pub(super) in_order: bool,
    pub(super) file_only: bool,
}

pub(super) async fn get(context: &Context, order: Order) -> Result<(), EngineError> {
    let link = parse_link(&order.link)?;
    let filter = Filter::new(&order.only)?;
    folder(&order.into).await?;
    visit(context, &link, &order.link).await?;
    let result = fetch(context, &link, &order, filter).await;
    if result.is_ok() && order.seed {
        // Serves until the asker goes away.
        context.cancel.cancelled().await;
    }
    leave(context, link.channel()).await;
    result
}

/// A file cannot hold what is fetched; what is not there yet is made.
pub(super) async fn folder(into: &Path) -> Result<(), EngineError> {
    match tokio::fs::metadata(into).await {
        Ok(meta) if !meta.is_dir() => Err(EngineError::new(
            ErrorKind::Usage,
            format!(
                "{} is not a folder; name one that shall hold it",
                into.display()
            ),
        )),
        _ => Ok(()),
    }
}

async fn fetch(
    context: &Context,
    link: &Link,
    order: &Order,
    filter: Filter,
) -> Result<(), EngineError> {
    let started = Instant::now();
    let channel = link.channel();
    let needed = filter.clone();
    let is_here = move |store: &Store, id: &ContentId| holds(store, id, &needed);
    let Newest {
        author,
        content: newest,
        confirmed,
    } = newest(context, channel, is_here).await?;
    tell_release(context, channel, newest.id).await?;
    let want = Want {
        channel,
        content: newest.id,
        bytes: newest.bytes,
        author,
        place: Place::Under {
            parent: order.into.clone(),
            force: order.force,
        },
        filter: filter.clone(),
        patience: Some(context.timeout()),
        priority: Priority::Normal,
        in_order: order.in_order,
        file_only: order.file_only,
        when_paused: WhenPaused::Wait,
    };
    let obtained = obtain(context, want).await?;
    let content = &obtained.content;
    let manifest = content.manifest();
    let (mut files, mut bytes) = (0, 0);
    for entry in manifest.entries().unwrap_or_default() {
        if let EntryKind::File { size } = entry.kind
            && filter.wants(entry)
        {
            files += 1;
            bytes += size;
        }
    }
    let name = manifest.root().name.clone();
    context
        .blocking(move |store| {
            let mut batch = Batch::new();
            visited::put(&mut batch, channel, author, newest);
            Ok(store.write(batch)?)
        })
        .await?;
    context
        .emit(Event::Complete {
            channel: channel.to_string(),
            content: newest.id.to_string(),
            path: order.into.join(&name),
            name,
            files,
            bytes,
            seconds: started.elapsed().as_secs_f64(),
            downloaded: obtained.downloaded,
            wasted: obtained.wasted,
            reused: obtained.reused,
            confirmed,
        })
        .await;
    Ok(())
}

pub(super) async fn ls(context: &Context, text: &str) -> Result<(), EngineError> {
    let channel = match parse_link(text) {
        Ok(link) => {
            visit(context, &link, text).await?;
            link.channel()
        }
        Err(no_link) => visit_held(context, text, no_link).await?,
    };
    let result = list(context, channel).await;
    leave(context, channel).await;
    result
}

/// Begins to work in a channel that is here, by whatever names it.
async fn visit_held(
    context: &Context,
    text: &str,
    no_link: EngineError,
) -> Result<ChannelId, EngineError> {
    let text = text.to_owned();
    let visit = move |core: &mut core::Core| {
        let id = resolve(core, &text).map_err(|error| match error.kind {
            ErrorKind::NotFound => no_link,
            _ => error,
        })?;
        core.visit(id);
        Ok(id)
    };
    context.core().call(visit).await?
}

async fn list(context: &Context, channel: ChannelId) -> Result<(), EngineError> {
    // What is listed stands in the manifest.
    let is_here = |store: &Store, id: &ContentId| {
        let manifest = store.load_manifest(id);
        manifest.is_some_and(|manifest| manifest.entries().is_some())
    };
    let Newest {
        content: newest,
        confirmed,
        ..
    } = newest(context, channel, is_here).await?;
    let patience = Some(context.timeout());
    let found = manifest(
        context,
        channel,
        newest.id,
        &Filter::default(),
        true,
        patience,
    )
    .await?;
    let id = newest.id;
    let held = context
        .blocking(move |store| Ok(store.content(&id)))
        .await?;
    tell_release(context, channel, newest.id).await?;
    let layout = found.layout();
    let (mut files, mut total, mut here) = (0, 0, 0);
    for (i, entry) in found.entries().unwrap_or_default().iter().enumerate() {
        let bytes = entry.size();
        let (kind, target) = match &entry.kind {
            EntryKind::File { .. } => ("file", None),
            EntryKind::Directory => ("directory", None),
            EntryKind::Symlink { target } => ("symlink", Some(target.to_string())),
        };
        let have = match (&held, layout.and_then(|l| l.file_range(i as u32))) {
            (Some(content), Some(range)) if bytes > 0 => held_bytes(content, range),
            _ => 0,
        };
        files += u64::from(kind == "file");
        total += bytes;
        here += have;
        context
            .emit(Event::Entry {
                path: entry.path.to_string(),
                kind: kind.to_owned(),
                bytes,
                mode: format!("{:o}", entry.mode),
                target,
                have,
                here: held.as_ref().is_some_and(|c| c.has_entry(i as u32)),
            })
            .await;
    }
    context
        .emit(Event::Listing {
            channel: channel.to_string(),
            content: newest.id.to_string(),
            name: found.root().name.clone(),
            files,
            bytes: total,
            have: here,
            confirmed,
        })
        .await;
    Ok(())
}

/// Bytes of a stretch of the stream that are on this disk.
fn held_bytes(content: &samara_store::Content, range: std::ops::Range<u64>) -> u64 {
    let manifest = content.manifest();
    let Some(chunks) = manifest.chunks_of_range(range.clone()) else {
        return 0;
    };
    chunks
        .filter(|i| content.has(*i))
        .filter_map(|i| manifest.chunk(i))
        .map(|chunk| {
            let end = (chunk.offset + u64::from(chunk.len)).min(range.end);
            end.saturating_sub(chunk.offset.max(range.start))
        })
        .sum()
}

/// Joins a link's channel for as long as the command runs.
pub(super) async fn visit(context: &Context, link: &Link, text: &str) -> Result<(), EngineError> {
    let (link, text) = (link.clone(), text.trim().to_owned());
    context
        .core()
        .call(move |core| {
            let id = link.channel();
            if !core.channels.contains_key(&id) {
                let mut meta = ChannelMeta::new(Role::Guest);
                meta.link = Some(text);
                let channel = core::join(&link, core.me, meta)?;
                core.add_channel(id, channel, false);
            }
            core.unveil(id, &link);
            core.visit(id);
            for peer in link.peers() {
                core.learn_peer(id, peer.peer, &peer.addrs, Source::Link);
            }
            Ok(())
        })
        .await?
}

pub(super) async fn leave(context: &Context, id: ChannelId) {
    let _ = context.core().call(move |core| core.leave(id)).await;
}

/// The newest content of a channel.
struct Newest {
    author: PeerId,
    content: ContentRef,
    /// Whether a member has told us all that it has; else it is what this disk knows.
    confirmed: bool,
}

/// The newest content of a channel, once one member has told us all that it has; or
/// the newest known here, if that `is_here` and nobody answers soon.
async fn newest(
    context: &Context,
    channel: ChannelId,
    is_here: impl Fn(&Store, &ContentId) -> bool + Send + 'static,
) -> Result<Newest, EngineError> {
    let known = known_here(context, channel, is_here).await?;
    let content_here = known.is_some();
    let found = context.core().wait_for(move |core| {
        let id = channel;
        let nobody = content_here && core.nobody_answers(id);
        let channel = core.channels.get(&id)?;
        // What one member says may be old news: what is here already counts only
        // when a member has confirmed it, or when nobody can be asked.
        if channel.synchronized.is_empty() {
            return nobody.then_some(Told::Nobody);
        }
        match channel.newest_content() {
            Some(newest) => Some(Told::newest(newest)),
            // A record counts when it is on disk; and that there is none is believed
            // only of those who can know: a newcomer beside us has nothing either.
            None => {
                let all_here = channel.graph.status().pending == 0;
                (all_here && consult::are_agreed(core, id)).then_some(Told::Nothing)
            }
        }
    });
    let waiting = context.core().call(move |core| {
        core.channels.get(&channel).map(|c| {
            c.known
                .values()
                .flat_map(Known::ways)
                .map(|addr| addr.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        })
    });
    if let Some(what) = waiting.await? {
        context
            .emit(Event::Waiting {
                what: format!("peers at {what}"),
            })
            .await;
    }
    let limited = patiently(context, channel, content_here, found);
    let told = context.unless_cancelled(limited).await?;
    let mut told = told.unwrap_or(Told::Nobody);
    if let Told::Nothing | Told::Newest(_, Kind::RELEASE, _) = told {
        consult::others(context, channel).await?;
        let newer = context.core().call(move |core| {
            let newest = core.channels.get(&channel)?.newest_content();
            newest.map(Told::newest)
        });
        told = newer.await?.unwrap_or(told);
    }
    let (author, content) = match (told, known) {
        (Told::Newest(author, _, content), _) => {
            return Ok(Newest {
                author,
                content,
                confirmed: true,
            });
        }
        (Told::Nothing, None) => return Err(no_release()),
        (Told::Nothing, Some(known)) => {
            let message =
                "the channel has no release and no share any more; this one is still here";
            context
                .emit(Event::Warning {
                    message: message.to_owned(),
                })
                .await;
            known
        }
        (Told::Nobody, Some(known)) => {
            tell_unconfirmed(context, channel).await;
            known
        }
        (Told::Nobody, None) => newest_offline(context, channel).await?,
    };
    Ok(Newest {
        author,
        content,
        confirmed: false,
    })
}

/// What members of a channel say. `None` if they do not within the timeout, or, where
/// what they are asked for `is_here` as this disk knows it, if nobody can be asked soon.
async fn patiently<T>(
    context: &Context,
    channel: ChannelId,
    is_here: bool,
    said: impl Future<Output = Result<T, EngineError>>,
) -> Result<Option<T>, EngineError> {
    let patience = context.timeout();
    tokio::pin!(said);
    if is_here {
        let soon = patience.min(CONFIRM_PATIENCE);
        if let Ok(said) = tokio::time::timeout(soon, &mut said).await {
            return said.map(Some);
        }
        let connected = context.core().call(move |core| {
            let channel = core.channels.get(&channel);
            channel.is_some_and(|c| !c.members.is_empty())
        });
        if !connected.await? {
            return Ok(None);
        }
    }
    let said = tokio::time::timeout(patience, said).await;
    said.ok().transpose()
}

/// Tells that what is here counts for the newest only because nobody could be asked.
pub(super) async fn tell_unconfirmed(context: &Context, channel: ChannelId) {
    let tried = tried(context, channel).await;
    let message = format!("nobody could be asked whether there is something newer; tried {tried}");
    context.emit(Event::Warning { message }).await;
}

/// What those who were asked for the newest content said.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// Nobody answered.
    Nobody,
    /// There is none.
    Nothing,
    /// That it is this one, of this kind of record.
    Newest(PeerId, Kind, ContentRef),
}

impl Told {
    fn newest((item, content): (&core::Item, ContentRef)) -> Self {
        Self::Newest(item.header.author, item.header.kind, content)
    }
}

fn no_release() -> EngineError {
    EngineError::new(
        ErrorKind::NotFound,
        "the channel has no release and no share; `samara subscribe` follows it, `samara read` shows its issues",
    )
}

/// The newest content that this disk knows of a channel, if it is here.
async fn known_here(
    context: &Context,
    channel: ChannelId,
    is_here: impl Fn(&Store, &ContentId) -> bool + Send + 'static,
) -> Result<Option<(PeerId, ContentRef)>, EngineError> {
    let held = context
        .core()
        .call(move |core| {
            let newest = core.channels.get(&channel)?.newest_content();
            newest.map(|(item, content)| (item.header.author, content))
        })
        .await?;
    context
        .blocking(move |store| {
            let known = match held {
                Some(held) => Some(held),
                None => visited::load(store, channel)?,
            };
            Ok(known.filter(|(_, content)| is_here(store, &content.id)))
        })
        .await
}

/// Whether all files that are wanted of a content are here whole.
fn holds(store: &Store, id: &ContentId, filter: &Filter) -> bool {
    let Some(content) = store.content(id) else {
        return false;
    };
    let manifest = content.manifest();
    let (Some(entries), Some(layout)) = (manifest.entries(), manifest.layout()) else {
        return false;
    };
    (0..).zip(entries).all(|(i, entry)| {
        let bytes = entry.size();
        bytes == 0
            || !filter.wants(entry)
            || layout
                .file_range(i)
                .is_some_and(|range| held_bytes(&content, range) == bytes)
    })
}

/// Nobody answered: what this disk knows, or why there is nothing.
async fn newest_offline(
    context: &Context,
    channel: ChannelId,
) -> Result<(PeerId, ContentRef), EngineError> {
    let state = context
        .core()
        .call(move |core| {
            let channel = core.channels.get(&channel)?;
            Some((
                channel.newest_content().map(|(i, c)| (i.header.author, c)),
                !channel.synchronized.is_empty(),
            ))
        })
        .await?;
    match state {
        Some((Some(found), _)) => Ok(found),
        Some((None, true)) => Err(no_release()),
        Some((None, false)) => Err(no_peer(context, channel, 0).await),
        None => Err(interrupted()),
    }
}

/// Until some member has told us all that it has; whether one did. Where all that is
/// wanted `is_here`, as this disk knows it, one is not waited for long.
pub(super) async fn synchronized(
    context: &Context,
    channel: ChannelId,
    is_here: bool,
) -> Result<bool, EngineError> {
    let synchronized = context.core().wait_for(move |core| {
        let nobody = is_here && core.nobody_answers(channel);
        let channel = core.channels.get(&channel)?;
        let told = !channel.synchronized.is_empty();
        (told || nobody).then_some(told)
    });
    let limited = patiently(context, channel, is_here, synchronized);
    let told = context.unless_cancelled(limited).await? == Some(true);
    if told {
        consult::others(context, channel).await?;
    }
    Ok(told)
}
