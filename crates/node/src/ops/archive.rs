//! Old releases of a channel that its keepers hold together, each a share.

use std::{collections::BTreeSet, num::NonZeroU32};

use samara_content::{ChunkSet, share_of};
use samara_graph::{Kind, Role as Rank, WallMs};
use samara_store::{Content, Placement};
use samara_wire::{ChannelId, ContentId, PeerId};

use super::{Context, interrupted};
use crate::{
    EngineError, Mode, Priority,
    api::Event,
    core::{self, Channel, Core, Item, Role, Unshared},
};

/// How many of a channel's newest releases are kept whole, and how many at all.
pub(super) fn kept(channel: &Channel, keep: Option<NonZeroU32>) -> (usize, usize) {
    let keep = keep.map(|keep| keep.get() as usize);
    match keeps_shares(channel) {
        true => (keep.unwrap_or(1), usize::MAX),
        false => (keep.unwrap_or(usize::MAX), keep.unwrap_or(usize::MAX)),
    }
}

fn keeps_shares(channel: &Channel) -> bool {
    channel.meta.keep_share && channel.meta.role == Role::Mirror
}

/// Whether a release's content is held in shares once it is old, and so is not removed.
pub(super) fn is_archived(core: &Core, channel: &Channel, item: &Item) -> bool {
    let content = item.contents().next();
    let held = content.and_then(|content| core.store.content(&content.id));
    let parity = |content: &Content| content.manifest().stripes().is_some();
    keeps_shares(channel) && held.is_some_and(|content| parity(&content))
}

/// Who holds a channel's old releases together: those that have the role of a keeper
/// now. Every keeper that holds the same records finds the same.
pub(super) async fn keepers(
    context: &Context,
    id: ChannelId,
) -> Result<BTreeSet<PeerId>, EngineError> {
    let asked = context.core().call(move |core| {
        let channel = core.channels.get(&id).ok_or_else(interrupted)?;
        Ok(keepers_of(channel))
    });
    asked.await?
}

fn keepers_of(channel: &Channel) -> BTreeSet<PeerId> {
    let members = channel.graph.members(WallMs(core::wall_ms()));
    let keeper = |m: &samara_graph::MemberView| m.role == Some(Rank::Keeper);
    members
        .iter()
        .filter(|m| keeper(m))
        .map(|m| m.peer)
        .collect()
}

/// Whether all that falls to this node of a content is here, or more.
pub(super) async fn is_kept(
    context: &Context,
    id: ChannelId,
    content: ContentId,
) -> Result<bool, EngineError> {
    let members = keepers(context, id).await?;
    let me = context.core().call(|core| core.me).await?;
    context
        .blocking(move |store| {
            let held = store.content(&content).filter(|c| c.is_finished());
            Ok(held.is_some_and(|c| c.is_complete() || has_share(&c, &members, &me)))
        })
        .await
}

fn has_share(content: &Content, members: &BTreeSet<PeerId>, me: &PeerId) -> bool {
    let Some(assigned) = assigned(content, members, me) else {
        return false;
    };
    let share = content.share();
    content.has_wanted() && share.is_some_and(|s| assigned.difference_count(s) == 0)
}

fn assigned(content: &Content, members: &BTreeSet<PeerId>, me: &PeerId) -> Option<ChunkSet> {
    let stripes = content.manifest().stripes()?;
    Some(share_of(stripes, content.id(), members, me))
}

/// An old release that is here as a whole, and that only a share of is to be kept.
struct Old {
    content: ContentId,
    author: PeerId,
}

/// Gives up all but this node's share of a mirrored channel's old releases, where they
/// have parity and this node is a keeper of the channel.
///
/// The share is that of the keepers there are now. It stays when others come or go: a
/// shard is not given up because another keeper should have it, who may not yet.
pub(super) async fn keep_shares(context: &Context, id: ChannelId) -> Result<(), EngineError> {
    let keep = context.config().keep_releases;
    let asked = context.clone();
    let (me, members, old) = context
        .core()
        .call(move |core| {
            let Some(channel) = core.channels.get(&id).filter(|c| keeps_shares(c)) else {
                return (core.me, BTreeSet::new(), Vec::new());
            };
            let old = old(core, channel, keep)
                .into_iter()
                .filter(|old| !asked.engine.obtaining.is_held(&old.content));
            (core.me, keepers_of(channel), old.collect())
        })
        .await?;
    if members.contains(&me) {
        for old in old {
            narrow(context, id, old, members.clone(), me).await?;
        }
    }
    Ok(())
}

/// What stands in the way, by what is known here; the channel must be known as a member
/// knows it, or a role that is on its way would seem not to be.
fn unshared(core: &Core, channel: &Channel) -> Option<Unshared> {
    let known = channel.meta.synchronized && channel.graph.charters().is_some();
    if !keeps_shares(channel) || !known {
        return None;
    }
    if channel.graph.role_of(&core.me, WallMs(core::wall_ms())) != Some(Rank::Keeper) {
        return Some(Unshared::NotAKeeper);
    }
    let releases = channel.newest(Kind::RELEASE);
    let mut contents = releases.iter().flat_map(|item| item.contents());
    let lacks = contents.any(|content| {
        let held = core.store.content(&content.id);
        held.is_some_and(|content| content.manifest().stripes().is_none())
    });
    lacks.then_some(Unshared::NoParity)
}

/// Warns if nothing or not all of a channel is kept in shares that was to be; once as long
/// as that is so, or again to who `asked` for it.
pub(super) async fn warn_of_whole(
    context: &Context,
    id: ChannelId,
    asked: bool,
) -> Result<(), EngineError> {
    let news = context.core().call(move |core| {
        let found = unshared(core, core.channels.get(&id)?);
        let me = core.me;
        let channel = core.channels.get_mut(&id)?;
        let told = std::mem::replace(&mut channel.unshared, found);
        found
            .filter(|_| asked || told != found)
            .map(|found| (found, me))
    });
    let Some((found, me)) = news.await? else {
        return Ok(());
    };
    let id = id.short();
    let message = match found {
        Unshared::NotAKeeper => format!(
            "channel {id}: old releases are kept whole and not in shares, since this node is not one of its keepers; its owner makes it one with `samara role {id} {me} keeper`"
        ),
        Unshared::NoParity => format!(
            "channel {id}: releases without parity are kept whole and not in shares; its publisher gives the next ones parity with `samara publish {id} PATH --parity 20/10`"
        ),
    };
    if context.engine.mode == Mode::Node {
        tracing::warn!("{message}");
    }
    context.emit(Event::Warning { message }).await;
    Ok(())
}

/// Releases beyond those that are kept whole, and that lie whole in the store.
fn old(core: &Core, channel: &Channel, keep: Option<NonZeroU32>) -> Vec<Old> {
    let (whole, _) = kept(channel, keep);
    let releases = channel.newest(Kind::RELEASE);
    let recent: Vec<ContentId> = releases
        .iter()
        .take(whole)
        .flat_map(|item| item.contents())
        .map(|content| content.id)
        .collect();
    let mut found = Vec::new();
    for item in releases.iter().skip(whole) {
        for reference in item.contents() {
            let Some(content) = core.store.content(&reference.id) else {
                continue;
            };
            if is_to_shrink(&content) && !recent.contains(&reference.id) {
                found.push(Old {
                    content: reference.id,
                    author: item.header.author,
                });
            }
        }
    }
    found
}

/// Whether a content has parity, lies whole in the store, and was not narrowed to a share.
fn is_to_shrink(content: &Content) -> bool {
    let chunks = content.manifest().chunk_count();
    let share = content.share();
    content.placement() == Placement::Sealed
        && content.is_finished()
        && content.is_complete()
        && content.manifest().stripes().is_some()
        && !share.is_some_and(|share| (0..chunks).all(|chunk| share.contains(chunk)))
}

async fn narrow(
    context: &Context,
    id: ChannelId,
    old: Old,
    members: BTreeSet<PeerId>,
    me: PeerId,
) -> Result<(), EngineError> {
    let content = old.content;
    // Whoever is at it shrinks it afterwards.
    let lock = context.engine.obtaining.lock_of(content);
    let Ok(_turn) = lock.try_lock() else {
        return Ok(());
    };
    let served = context
        .core()
        .call(move |core| {
            let key = core.transfer_of(&content).map(|(key, _)| key);
            key.inspect(|key| core.remove_transfer(*key)).is_some()
        })
        .await?;
    let held = context
        .blocking(move |store| {
            // Another request may have done it since it was looked at.
            let found = store.content(&content);
            let Some(held) = found.as_ref().filter(|content| is_to_shrink(content)) else {
                return Ok(found);
            };
            let Some(share) = assigned(held, &members, &me) else {
                return Ok(found);
            };
            held.make_shards(&share)?;
            let freed = store.narrow(&content, &share)?;
            tracing::info!(
                content = %content.short(),
                kept = share.count(),
                bytes = freed,
                "only a share is kept"
            );
            Ok(store.content(&content))
        })
        .await?;
    if let (true, Some(held)) = (served, held) {
        let add =
            move |core: &mut Core| core.add_transfer(held, id, old.author, Priority::default());
        context.core().call(add).await?;
    }
    Ok(())
}
