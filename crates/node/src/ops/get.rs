//! `get` and `ls`: what a link leads to, looked at or fetched once.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use samara_content::EntryKind;
use samara_graph::{Link, body::ContentRef};
use samara_wire::{ChannelId, PeerId};

use super::{
    Context, interrupted,
    manifest::{Filter, manifest, no_peer},
    obtain::{Place, Want, obtain},
    parse_link,
};
use crate::{
    EngineError,
    api::{ErrorKind, Event},
    core::{self, ChannelMeta, Known, Role},
    discovery::Source,
};

/// What `get` was asked for.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) link: String,
    pub(super) into: PathBuf,
    pub(super) only: Vec<String>,
    pub(super) seed: bool,
    pub(super) force: bool,
}

pub(super) async fn get(context: &Context, order: Order) -> Result<(), EngineError> {
    let link = parse_link(&order.link)?;
    let filter = Filter::new(&order.only)?;
    visit(context, &link, &order.link).await?;
    let result = fetch(context, &link, &order, filter).await;
    if result.is_ok() && order.seed {
        // Serves until the asker goes away.
        context.cancel.cancelled().await;
    }
    leave(context, link.channel()).await;
    result
}

async fn fetch(
    context: &Context,
    link: &Link,
    order: &Order,
    filter: Filter,
) -> Result<(), EngineError> {
    let started = Instant::now();
    let channel = link.channel();
    let (author, newest) = newest(context, channel).await?;
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
        patience: Some(context.config().timeout),
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
        .emit(Event::Complete {
            channel: channel.to_string(),
            content: newest.id.to_string(),
            path: order.into.join(&name),
            name,
            files,
            bytes,
            seconds: started.elapsed().as_secs_f64(),
            downloaded: obtained.downloaded,
            reused: content.reused_bytes(),
        })
        .await;
    Ok(())
}

pub(super) async fn ls(context: &Context, text: &str) -> Result<(), EngineError> {
    let link = parse_link(text)?;
    visit(context, &link, text).await?;
    let result = list(context, &link).await;
    leave(context, link.channel()).await;
    result
}

async fn list(context: &Context, link: &Link) -> Result<(), EngineError> {
    let channel = link.channel();
    let (_, newest) = newest(context, channel).await?;
    let patience = Some(context.config().timeout);
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

/// The newest content of a channel, once one member has told us all that it has.
async fn newest(
    context: &Context,
    channel: ChannelId,
) -> Result<(PeerId, ContentRef), EngineError> {
    let patience = context.config().timeout;
    let found = context.core().wait_for(move |core| {
        let channel = core.channels.get(&channel)?;
        // What one member says may be old news: what is here already counts only
        // when a member has confirmed it, or when nobody can be asked.
        if channel.synchronized.is_empty() {
            return None;
        }
        channel
            .newest_content()
            .map(|(item, content)| (item.header.author, content))
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
    let limited = async { Ok(tokio::time::timeout(patience, found).await.ok()) };
    match context.unless_cancelled(limited).await? {
        Some(found) => found,
        None => newest_offline(context, channel).await,
    }
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
        Some((None, true)) => Err(EngineError::new(
            ErrorKind::NotFound,
            "the channel has no release and no share; `samara subscribe` follows it, `samara read` shows its issues",
        )),
        Some((None, false)) => Err(no_peer(context, channel, 0).await),
        None => Err(interrupted()),
    }
}

/// Until some member has told us all that it has.
pub(super) async fn synchronized(
    context: &Context,
    channel: ChannelId,
    patience: Duration,
) -> Result<(), EngineError> {
    let synchronized = context.core().wait_for(move |core| {
        let channel = core.channels.get(&channel)?;
        (!channel.synchronized.is_empty()).then_some(())
    });
    let limited = async { Ok(tokio::time::timeout(patience, synchronized).await.ok()) };
    match context.unless_cancelled(limited).await? {
        Some(done) => done,
        None => Err(no_peer(context, channel, 0).await),
    }
}
