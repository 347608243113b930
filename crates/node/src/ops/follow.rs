//! Subscriptions: what a channel has is fetched, put in place and kept current.

mod current;
mod delivery;
mod due;

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use samara_wire::{ChannelId, ContentId, RecordId};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use self::{
    current::switch,
    due::{Due, DuePlace, dues_of},
};
use super::{
    Context, archive,
    get::{folder, synchronized, tell_unconfirmed},
    manifest::no_peer,
    parse_link, retain,
};
use crate::{
    EngineError, Priority,
    api::{ErrorKind, Event},
    core::{self, ChannelMeta, Role},
    discovery::Source,
    issues::issue_dir,
};

/// Shortest wait before a failed fetch is tried again; doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const MAX_RETRY: Duration = Duration::from_secs(60);

/// What `subscribe` or `mirror` was asked for.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) link: String,
    pub(super) into: Option<PathBuf>,
    pub(super) once: bool,
    pub(super) wait: bool,
    pub(super) mirror: bool,
    pub(super) keep_share: bool,
}

pub(super) async fn subscribe(context: &Context, order: Order) -> Result<(), EngineError> {
    let (id, name, into) = store(context, &order).await?;
    let following = context.engine.mode == crate::Mode::Node;
    context
        .emit(Event::Subscribed {
            channel: id.to_string(),
            name,
            mirror: order.mirror,
            into,
        })
        .await;
    if !order.once {
        archive::warn_of_whole(context, id, true).await?;
    }
    if order.once {
        once(context, id).await?;
    } else if order.wait && !following {
        follow(context.clone(), id).await?;
    } else if order.wait {
        context.cancel.cancelled().await;
    }
    Ok(())
}

/// Fetches all that is current; if nobody can be asked what is, at least what is whole
/// on this disk is put in its place, as after an import.
async fn once(context: &Context, id: ChannelId) -> Result<(), EngineError> {
    let is_here = is_here(context, id).await?;
    if synchronized(context, id, is_here).await? {
        return fetch_current(context, id, context.timeout(), Which::All).await;
    }
    put_in_place(context, id).await?;
    match is_here {
        true => tell_unconfirmed(context, id).await,
        false => return Err(no_peer(context, id, 0).await),
    }
    Ok(())
}

/// Whether a release is to be fetched, and all that is to be is whole on this disk.
async fn is_here(context: &Context, id: ChannelId) -> Result<bool, EngineError> {
    let keep = context.config().keep_releases;
    let is_here = context.core().call(move |core| {
        let (dues, _) = core.channels.get(&id).map(|c| dues_of(c, keep))?;
        let release = |due: &Due| !matches!(due.place, DuePlace::Issue { .. });
        Some(dues.iter().any(release) && dues.iter().all(|due| due.is_whole(core)))
    });
    Ok(is_here.await?.unwrap_or(false))
}

/// Puts in its place what is current and whole on this disk: releases, where they are
/// installed, and what belongs to issues. Needs no network.
pub(super) async fn put_in_place(context: &Context, id: ChannelId) -> Result<(), EngineError> {
    fetch_current(context, id, context.timeout(), Which::Here).await
}

/// Stores the subscription: the channel, its name if that is known already, and where
/// its releases appear.
pub(super) async fn store(
    context: &Context,
    order: &Order,
) -> Result<(ChannelId, String, Option<PathBuf>), EngineError> {
    let link = parse_link(&order.link)?;
    if let Some(into) = &order.into {
        folder(into).await?;
    }
    let id = link.channel();
    let role = if order.mirror {
        Role::Mirror
    } else {
        Role::Subscriber
    };
    let online = context.engine.mode != crate::Mode::Offline;
    let keep_share = order.keep_share;
    let (text, into) = (order.link.trim().to_owned(), order.into.clone());
    let peers = link.peers().to_vec();
    let (name, into) = context
        .core()
        .call(move |core| {
            if let Some(channel) = core.channels.get_mut(&id) {
                if channel.meta.role == Role::Owner {
                    return Err(EngineError::new(
                        ErrorKind::Usage,
                        "this node owns the channel: there is nothing to follow",
                    ));
                }
                channel.meta.role = role;
                channel.meta.keep_share = keep_share;
                channel.meta.link = Some(text);
                channel.veiled = false;
                channel.meta.into = into.or(channel.meta.into.take());
                let meta = channel.meta.clone();
                core.remember_meta(id, &meta);
                if online {
                    core.stay(id);
                    core.activate(id);
                }
                for peer in peers {
                    core.learn_peer(id, peer.peer, &peer.addrs, Source::Link);
                }
                core.knock_again(id);
            } else {
                let mut meta = ChannelMeta::new(role);
                meta.link = Some(text);
                meta.into = into;
                meta.keep_share = keep_share;
                let channel = core::join(&link, core.me, meta)?;
                core.add_channel(id, channel, online);
            }
            core.notify();
            let channel = &core.channels[&id];
            Ok((
                channel.name().unwrap_or_default(),
                channel.meta.into.clone(),
            ))
        })
        .await??;
    // The subscription is on the disk before it is said to be.
    context
        .blocking(|store| Ok(store.write(samara_store::Batch::new())?))
        .await?;
    Ok((id, name, into))
}

/// Follows every subscription, also those that come later, until the node stops.
pub(crate) async fn follow_all(context: Context) {
    let mut followed = HashSet::new();
    let mut tasks = JoinSet::new();
    loop {
        let known = followed.clone();
        let fresh = context.core().wait_for(move |core| {
            let fresh: Vec<ChannelId> = core
                .channels
                .iter()
                .filter(|(id, c)| {
                    matches!(c.meta.role, Role::Subscriber | Role::Mirror) && !known.contains(*id)
                })
                .map(|(id, _)| *id)
                .collect();
            (!fresh.is_empty()).then_some(fresh)
        });
        let fresh = tokio::select! {
            fresh = fresh => fresh,
            // Left; it may be subscribed to again.
            Some(left) = tasks.join_next() => {
                if let Ok(id) = left {
                    followed.remove(&id);
                }
                continue;
            }
        };
        let Ok(fresh) = fresh else { return };
        for id in fresh {
            followed.insert(id);
            let context = context.clone();
            tasks.spawn(async move {
                if let Err(error) = follow(context, id).await {
                    tracing::debug!(channel = %id.short(), %error, "no longer followed");
                }
                id
            });
        }
    }
}

/// Fetches what a channel has and what it gets, until it is left: what is urgent beside
/// what is not, each in its turn.
async fn follow(context: Context, id: ChannelId) -> Result<(), EngineError> {
    let [urgent, normal, bulk] = Priority::ALL.map(|only| follow_those(context.clone(), id, only));
    let (urgent, normal, bulk) = tokio::join!(urgent, normal, bulk);
    urgent.and(normal).and(bulk)
}

/// The part of it that is of one priority.
async fn follow_those(context: Context, id: ChannelId, only: Priority) -> Result<(), EngineError> {
    let mut seen = None;
    let mut retry = FIRST_RETRY;
    loop {
        let before = seen;
        let look = context.core().wait_for(move |core| {
            let Some(channel) = core.channels.get(&id) else {
                return Some(None);
            };
            // What was paused may go on.
            let now = Some((wants_of(channel), core.pauses));
            (now != before).then_some(Some(now))
        });
        let Some(now) = context.unless_cancelled(look).await? else {
            return Ok(());
        };
        match fetch_current(&context, id, context.timeout(), Which::Of(only)).await {
            Ok(()) => {
                seen = now;
                retry = FIRST_RETRY;
            }
            Err(error) if context.cancel.is_cancelled() => return Err(error),
            Err(error) => {
                let message = format!("channel {}: {error}; tried again in {retry:?}", id.short());
                tracing::warn!("{message}");
                context.emit(Event::Warning { message }).await;
                pause(&context, id, retry).await?;
                retry = (retry * 2).min(MAX_RETRY);
                seen = None;
            }
        }
    }
}

/// Until it is worth another try: after `longest`, or sooner when something else is
/// wanted or there are other members.
async fn pause(context: &Context, id: ChannelId, longest: Duration) -> Result<(), EngineError> {
    let state = move |core: &mut core::Core| {
        let channel = core.channels.get(&id)?;
        let mut members: Vec<_> = channel.synchronized.iter().copied().collect();
        members.sort_unstable();
        Some((wants_of(channel), members))
    };
    let before = context.core().call(state).await?;
    let other = context.core().wait_for(move |core| {
        let now = state(core);
        (now != before).then_some(())
    });
    context
        .unless_cancelled(async {
            sleep(FIRST_RETRY).await;
            let rest = longest.saturating_sub(FIRST_RETRY);
            timeout(rest, other).await.unwrap_or(Ok(()))
        })
        .await
}

/// What decides about what is wanted of a channel.
#[derive(Clone, PartialEq, Eq)]
struct Wants {
    records: Vec<RecordId>,
    role: Role,
    into: Option<PathBuf>,
    keep_share: bool,
    /// Whether it can be said by now that nothing is kept in shares.
    known: bool,
}

fn wants_of(channel: &core::Channel) -> Wants {
    let mut records: Vec<_> = channel.items.keys().copied().collect();
    records.sort_unstable();
    let core::ChannelMeta {
        role,
        into,
        keep_share,
        synchronized,
        ..
    } = &channel.meta;
    Wants {
        records,
        role: *role,
        into: into.clone(),
        keep_share: *keep_share,
        known: *keep_share && *synchronized,
    }
}

/// Which of what is current is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// What is of one priority.
    Of(Priority),
    /// What is whole on this disk and lacks its place at most.
    Here,
}

impl Which {
    fn has(self, due: &Due, core: &core::Core) -> bool {
        match self {
            Self::All => true,
            Self::Of(priority) => due.priority == priority,
            Self::Here => due.is_whole(core),
        }
    }

    /// What is due of a channel, the most urgent first, paused or not.
    fn dues(self, channel: &core::Channel, core: &core::Core) -> Vec<Due> {
        let (mut dues, _) = dues_of(channel, core.config.keep_releases);
        dues.retain(|due| self.has(due, core));
        dues.sort_by_key(|due| std::cmp::Reverse(due.priority));
        dues
    }
}

/// Fetches what is current and not here yet, the most urgent first, and nothing that is
/// paused. What cannot be had does not keep back what can: each waits for `patience`
/// without progress, and the first failure is told at the end. What comes to be due before
/// what is being fetched goes first, and what is not due after it any more is left.
async fn fetch_current(
    context: &Context,
    id: ChannelId,
    patience: Duration,
    which: Which,
) -> Result<(), EngineError> {
    let patience = Some(patience);
    let keep = context.config().keep_releases;
    let looks_after = matches!(
        which,
        Which::All | Which::Here | Which::Of(Priority::Normal)
    );
    if looks_after {
        retain::make_room(context).await?;
        archive::keep_shares(context, id).await?;
    }
    let mut failure = None;
    let mut done: Vec<Due> = Vec::new();
    'again: loop {
        let dues = dues(context, id, which).await?;
        let known: Arc<HashSet<ContentId>> = Arc::new(dues.iter().map(|d| d.content).collect());
        for due in dues {
            let is_same = |d: &Due| (d.content, &d.place) == (due.content, &due.place);
            if done.iter().any(is_same) {
                continue;
            }
            let result = tokio::select! {
                biased;
                result = deliver(context, id, &due, patience) => result,
                overtaken = overtaken(context, id, which, &due, known.clone()) => {
                    overtaken?;
                    give_way(context, due.content).await?;
                    continue 'again;
                }
            };
            match result {
                Ok(()) => {}
                Err(error) if context.cancel.is_cancelled() => return Err(error),
                // It is looked for again when that changes.
                Err(_) if is_paused(context, id, due.content).await? => {}
                Err(error) => failure = failure.or(Some(error)),
            }
            done.push(due);
        }
        break;
    }
    if done.is_empty() && !looks_after {
        return Ok(());
    }
    // A retracted release must not stay current, nor one that was overtaken meanwhile
    // become it.
    let current = context
        .core()
        .call(move |core| core.channels.get(&id).and_then(|c| dues_of(c, keep).1))
        .await?;
    if let Some(current) = current {
        switch(context, &current).await?;
    }
    // What was current until now may be old.
    retain::make_room(context).await?;
    archive::keep_shares(context, id).await?;
    archive::warn_of_whole(context, id, which == Which::All).await?;
    failure.map_or(Ok(()), Err)
}

/// What is due now and not paused.
async fn dues(context: &Context, id: ChannelId, which: Which) -> Result<Vec<Due>, EngineError> {
    let dues = context.core().call(move |core| {
        let Some(channel) = core.channels.get(&id) else {
            return Err(super::interrupted());
        };
        let mut dues = which.dues(channel, core);
        dues.retain(|due| !core.orders.paused.has(&due.content, [&id]));
        for due in &mut dues {
            due.confirmed = which != Which::Here;
        }
        Ok(dues)
    });
    dues.await?
}

async fn deliver(
    context: &Context,
    id: ChannelId,
    due: &Due,
    patience: Option<Duration>,
) -> Result<(), EngineError> {
    match &due.place {
        DuePlace::Release { into, version } => {
            delivery::release(context, id, due, into, version, patience).await
        }
        DuePlace::Issue { slug } => {
            let parent = issue_dir(context.data_dir(), id, slug);
            delivery::room_for_issue(context, &parent, due).await?;
            delivery::place(context, id, due, parent, patience)
                .await
                .map(drop)
        }
        DuePlace::Sealed => delivery::sealed(context, id, due, patience).await,
        DuePlace::Share => delivery::share(context, id, due, patience).await,
    }
}

/// Until something is due before this, or in its place, that was not `known` and is not
/// here.
async fn overtaken(
    context: &Context,
    id: ChannelId,
    which: Which,
    due: &Due,
    known: Arc<HashSet<ContentId>>,
) -> Result<(), EngineError> {
    let content = due.content;
    let look = context.core().wait_for(move |core| {
        let dues = which.dues(core.channels.get(&id)?, core);
        let place = dues.iter().position(|due| due.content == content);
        let paused = &core.orders.paused;
        let fresh = |due: &Due| {
            let known = known.contains(&due.content) || paused.has(&due.content, [&id]);
            !known && !due.is_whole(core)
        };
        dues[..place.unwrap_or(dues.len())]
            .iter()
            .any(fresh)
            .then_some(())
    });
    context.unless_cancelled(look).await
}

/// Stops what fetches a content, if nobody else waits for it. What is here of it stays.
async fn give_way(context: &Context, content: ContentId) -> Result<(), EngineError> {
    let engine = context.engine.clone();
    let stop = move |core: &mut core::Core| {
        let moving = core.transfer_of(&content).filter(|(_, t)| !t.finished);
        if let Some((key, _)) = moving
            && !engine.obtaining.is_held(&content)
        {
            core.remove_transfer(key);
        }
    };
    context.core().call(stop).await
}

async fn is_paused(
    context: &Context,
    id: ChannelId,
    content: ContentId,
) -> Result<bool, EngineError> {
    let paused = move |core: &mut core::Core| core.orders.paused.has(&content, [&id]);
    context.core().call(paused).await
}
