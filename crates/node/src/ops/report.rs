//! What the node has, with whom it talks, and giving space back.

use std::{collections::HashSet, num::NonZeroU32, path::PathBuf, sync::Arc};

use samara_graph::WallMs;
use samara_store::{Content, Placement, Store};
use samara_wire::ContentId;

use super::{Context, publish::newest_version, resolve, retain, standing::standing, visited};
use crate::{
    EngineError,
    api::{ChannelStatus, ContentStatus, ErrorKind, Event, PeerStatus, ShareStatus, Status},
    core::{Channel, Core, What, wall_ms},
    engine::Inner,
    issues,
};

pub(super) async fn id(context: &Context) -> Result<(), EngineError> {
    let me = context.core().call(|core| core.me).await?;
    context
        .emit(Event::Id {
            peer_id: me.to_string(),
        })
        .await;
    Ok(())
}

pub(super) async fn status(context: &Context) -> Result<(), EngineError> {
    let contents = context.blocking(|store| Ok(store.contents())).await?;
    let listen = context
        .engine
        .listen
        .map(|addr| addr.to_string())
        .unwrap_or_default();
    let online = !listen.is_empty();
    let quota = context.config().quota;
    let status = context
        .core()
        .call(move |core| {
            let mut channels: Vec<_> = core
                .channels
                .iter()
                .map(|(id, channel)| ChannelStatus {
                    id: id.to_string(),
                    name: channel.name().unwrap_or_default(),
                    role: channel.meta.role.name().to_owned(),
                    records: channel.graph.status().records as u64,
                    neighbours: channel.members.len() as u64,
                    forked: channel.graph.fork().is_some(),
                    paused: core.orders.paused.has_channel(id),
                    release: newest_version(channel),
                    into: channel.meta.into.clone(),
                    standing: standing(channel, &core.me, WallMs(wall_ms())),
                })
                .collect();
            channels.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
            let mut contents: Vec<_> = contents
                .iter()
                .map(|content| {
                    let manifest = content.manifest();
                    let (peers, rate_down, rate_up) = match core.transfer_of(content.id()) {
                        Some((key, transfer)) => (
                            core.view(key).map_or(0, |v| u64::from(v.peers)),
                            transfer.down.per_second(),
                            transfer.up.per_second(),
                        ),
                        None => (0, 0, 0),
                    };
                    ContentStatus {
                        manifest: content.id().to_string(),
                        name: manifest.root().name.clone(),
                        bytes: manifest.root().total_bytes,
                        chunks: manifest.chunk_count().into(),
                        have: content.have_count().into(),
                        complete: content.is_complete(),
                        share: share(content),
                        paused: core.is_paused(content.id()),
                        peers,
                        rate_down,
                        rate_up,
                    }
                })
                .collect();
            contents.sort_by(|a, b| (&a.name, &a.manifest).cmp(&(&b.name, &b.manifest)));
            Status {
                peer_id: core.me.to_string(),
                listen,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime: if online {
                    core.started.elapsed().as_secs()
                } else {
                    0
                },
                store_bytes: core.store.used(),
                quota_bytes: quota,
                paused: core.orders.paused.all,
                channels,
                contents,
            }
        })
        .await?;
    context.emit(Event::Status(Box::new(status))).await;
    Ok(())
}

/// How much of its share is here, where no more is kept.
fn share(content: &Content) -> Option<ShareStatus> {
    let share = content.share()?;
    let have = share.iter().filter(|number| content.has(*number));
    Some(ShareStatus {
        chunks: share.count().into(),
        have: have.count() as u64,
    })
}

pub(super) async fn peers(context: &Context) -> Result<(), EngineError> {
    let peers = context
        .core()
        .call(|core| {
            let mut peers: Vec<_> = core
                .sessions
                .iter()
                .map(|(peer, link)| {
                    let mut channels: Vec<_> = link
                        .channels
                        .iter()
                        .filter_map(|id| core.channels.get(id)?.name())
                        .collect();
                    channels.sort();
                    PeerStatus {
                        peer_id: peer.to_string(),
                        addr: link.session.addr().to_string(),
                        scope: if link.session.is_lan() { "lan" } else { "wan" }.to_owned(),
                        rtt_ms: link.session.rtt_ms(),
                        received: link.received,
                        sent: core.sent_to(peer),
                        channels,
                    }
                })
                .collect();
            peers.sort_by(|a, b| a.peer_id.cmp(&b.peer_id));
            peers
        })
        .await?;
    for peer in peers {
        context.emit(Event::Peer(peer)).await;
    }
    Ok(())
}

pub(super) async fn gc(context: &Context, dry_run: bool) -> Result<(), EngineError> {
    let asked = context.clone();
    let (needed, old, held) = context
        .core()
        .call(move |core| {
            let old = retain::old(core, &asked);
            if !dry_run {
                retain::stop_exchange(core, &old);
            }
            let mut needed = needed(core, asked.config().keep_releases);
            needed.retain(|id| !old.contains(id));
            (needed, old, held_issues(core))
        })
        .await?;
    let inner = context.engine.clone();
    let (bytes, contents) = context
        .blocking(move |store| {
            // Also what a request is at, whose transfer has not begun.
            let keep = |id: &ContentId| needed.contains(id) || inner.obtaining.is_held(id);
            let uninstall = |id: &ContentId| old.was_installed(store, id);
            let report = if dry_run {
                store.gc_preview(&keep, &uninstall)?
            } else {
                store.gc(&keep, &uninstall)?
            };
            if !dry_run {
                visited::prune(store, |id| store.content(id).is_some())?;
                old.remove_empty_folders();
            }
            let strays = remove_strays(store, &inner, &held, &keep, dry_run)?;
            Ok((report.freed + strays, report.removed))
        })
        .await?;
    context
        .emit(Event::Freed {
            bytes,
            contents: contents.iter().map(ToString::to_string).collect(),
            dry_run,
        })
        .await;
    Ok(())
}

fn held_issues(core: &mut Core) -> issues::Held {
    let slugs = |channel: &Channel| {
        let items = channel.items.values();
        items
            .filter(|item| matches!(item.what, What::Issue { .. }))
            .map(|item| String::from_utf8_lossy(&item.header.key).into_owned())
            .collect()
    };
    core.channels
        .iter()
        .map(|(id, channel)| (id.to_string(), slugs(channel)))
        .collect()
}

/// Removes the folders of issues that no record names, but for those in which a
/// content lies that is kept: another issue has the same attachments. Returns the
/// bytes. Blocks.
fn remove_strays(
    store: &Store,
    inner: &Inner,
    held: &issues::Held,
    keep: &dyn Fn(&ContentId) -> bool,
    dry_run: bool,
) -> Result<u64, EngineError> {
    let kept: Vec<PathBuf> = store
        .contents()
        .iter()
        .filter(|content| keep(content.id()))
        .filter_map(|content| match content.placement() {
            Placement::InPlace(path) | Placement::Installed(path) => Some(path),
            Placement::Staging { staging, .. } => Some(staging),
            _ => None,
        })
        .collect();
    let mut bytes = 0;
    for stray in issues::strays(&inner.config.data_dir, held, &inner.drafts)? {
        if kept.iter().any(|path| path.starts_with(&stray)) {
            continue;
        }
        bytes += issues::bytes_below(&stray);
        if !dry_run {
            issues::remove(&stray)?;
        }
    }
    Ok(bytes)
}

/// Contents that a channel names, or that are being exchanged.
fn needed(core: &Core, keep: Option<NonZeroU32>) -> HashSet<ContentId> {
    let moving = core.transfers.values().map(|t| *t.content.id());
    let mut needed = retain::named(core, keep);
    needed.extend(moving);
    needed
}

pub(super) async fn forget(context: &Context, what: &str) -> Result<(), EngineError> {
    let text = what.to_owned();
    let channel = context
        .core()
        .call(move |core| match resolve(core, &text) {
            Ok(id) => {
                let contents: Vec<ContentId> = core.channels[&id]
                    .items
                    .values()
                    .flat_map(|item| item.contents())
                    .map(|content| content.id)
                    .collect::<HashSet<_>>()
                    .into_iter()
                    .collect();
                core.drop_channel(id, true);
                let needed = needed(core, None);
                Ok(Some(
                    contents
                        .into_iter()
                        .filter(|c| !needed.contains(c))
                        .collect::<Vec<_>>(),
                ))
            }
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await??;
    let contents = match channel {
        Some(contents) => contents,
        None => vec![content_named(context, what).await?],
    };
    for id in contents.clone() {
        context
            .core()
            .call(move |core| {
                if let Some((key, _)) = core.transfer_of(&id) {
                    core.remove_transfer(key);
                }
            })
            .await?;
    }
    let held = context.core().call(held_issues).await?;
    let inner = context.engine.clone();
    let (freed, gone) = context
        .blocking(move |store| {
            let mut freed = 0;
            let mut gone = Vec::new();
            for id in contents {
                match store.forget(&id) {
                    Ok(bytes) => {
                        freed += bytes;
                        gone.push(id);
                    }
                    // Named in the channel, and never here.
                    Err(samara_store::StoreError::UnknownContent(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            freed += remove_strays(store, &inner, &held, &|_| true, false)?;
            visited::prune(store, |id| store.content(id).is_some())?;
            store.write(samara_store::Batch::new())?;
            Ok((freed, gone))
        })
        .await?;
    context
        .emit(Event::Freed {
            bytes: freed,
            contents: gone.iter().map(ToString::to_string).collect(),
            dry_run: false,
        })
        .await;
    Ok(())
}

pub(super) async fn content_named(context: &Context, text: &str) -> Result<ContentId, EngineError> {
    let prefix = text.to_owned();
    let found: Vec<ContentId> = context
        .blocking(move |store| {
            let contents = store.contents();
            let begins =
                |c: &&Arc<Content>| prefix.len() >= 4 && c.id().to_string().starts_with(&prefix);
            let is_called = |c: &&Arc<Content>| c.manifest().root().name == prefix;
            let mut found: Vec<_> = contents.iter().filter(begins).map(|c| *c.id()).collect();
            if found.is_empty() {
                found = contents.iter().filter(is_called).map(|c| *c.id()).collect();
            }
            Ok(found)
        })
        .await?;
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(EngineError::new(
            ErrorKind::NotFound,
            format!("neither a channel nor a content is called \"{text}\" here"),
        )),
        _ => Err(EngineError::new(
            ErrorKind::Usage,
            format!("\"{text}\" means several contents; give the id, or more of it"),
        )),
    }
}
