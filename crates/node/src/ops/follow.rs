//! Subscriptions: what a channel has is fetched, put in place and kept current.

use std::{
    collections::HashSet,
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use samara_content::EntryKind;
use samara_graph::{Kind, body::valid_version};
use samara_store::{Placement, Store};
use samara_wire::{ChannelId, ContentId, PeerId, RecordId};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Context, archive,
    get::{folder, synchronized, tell_unconfirmed},
    manifest::{Filter, manifest, no_peer},
    obtain::{Place, Want, WhenPaused, obtain},
    parse_link,
    publish::{newest_version, tell_release},
    retain,
};
use crate::{
    EngineError, Priority,
    api::{ErrorKind, Event},
    core::{self, ChannelMeta, Role, What},
    discovery::Source,
    issues::{ISSUES, bytes_below, issue_dir},
};

/// Name of the link that points at the newest installed release.
const CURRENT: &str = "current";
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
        return fetch_current(context, id, context.config().timeout, Which::All).await;
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
        Some(dues.iter().any(release) && dues.iter().all(|due| is_whole(core, due)))
    });
    Ok(is_here.await?.unwrap_or(false))
}

fn is_whole(core: &core::Core, due: &Due) -> bool {
    let content = core.store.content(&due.content);
    content.is_some_and(|content| content.is_complete())
}

/// Puts in its place what is current and whole on this disk: releases, where they are
/// installed, and what belongs to issues. Needs no network.
pub(super) async fn put_in_place(context: &Context, id: ChannelId) -> Result<(), EngineError> {
    fetch_current(context, id, context.config().timeout, Which::Here).await
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
            let now = Some((records_of(channel), core.pauses));
            (now != before).then_some(Some(now))
        });
        let Some(now) = context.unless_cancelled(look).await? else {
            return Ok(());
        };
        match fetch_current(&context, id, context.config().timeout, Which::Of(only)).await {
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

/// Until it is worth another try: after `longest`, or sooner when there are other
/// records or other members.
async fn pause(context: &Context, id: ChannelId, longest: Duration) -> Result<(), EngineError> {
    let state = move |core: &mut core::Core| {
        let channel = core.channels.get(&id)?;
        let mut members: Vec<_> = channel.synchronized.iter().copied().collect();
        members.sort_unstable();
        Some((records_of(channel), members))
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

fn records_of(channel: &core::Channel) -> Vec<RecordId> {
    let mut ids: Vec<_> = channel.items.keys().copied().collect();
    ids.sort_unstable();
    ids
}

/// Something that a subscription wants on this disk.
#[derive(Debug, Clone)]
struct Due {
    content: ContentId,
    bytes: u64,
    author: PeerId,
    priority: Priority,
    place: DuePlace,
    /// Whether somebody could be asked for what is current.
    confirmed: bool,
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

#[derive(Debug, Clone)]
enum DuePlace {
    Release {
        into: PathBuf,
        version: String,
    },
    Issue {
        slug: String,
    },
    Sealed,
    /// What falls to this node of an old release.
    Share,
}

/// Fetches what is current and not here yet, the most urgent first, and nothing that is paused. What cannot be had does not keep
/// back what can: each waits for `patience` without progress, and the first failure is
/// told at the end.
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
    let dues = context
        .core()
        .call(move |core| {
            let Some(channel) = core.channels.get(&id) else {
                return Err(super::interrupted());
            };
            let (mut dues, _) = dues_of(channel, keep);
            let paused = &core.orders.paused;
            dues.retain(|due| {
                let meant = match which {
                    Which::All => true,
                    Which::Of(priority) => due.priority == priority,
                    Which::Here => is_whole(core, due),
                };
                meant && !paused.has(&due.content, [&id])
            });
            for due in &mut dues {
                due.confirmed = which != Which::Here;
            }
            dues.sort_by_key(|due| std::cmp::Reverse(due.priority));
            Ok(dues)
        })
        .await??;
    let nothing = dues.is_empty();
    let mut failure = None;
    for due in dues {
        let result = match &due.place {
            DuePlace::Release { into, version } => {
                release(context, id, &due, into, version, patience).await
            }
            DuePlace::Issue { slug } => {
                let parent = issue_dir(context.data_dir(), id, slug);
                match room_for_issue(context, &parent, &due).await {
                    Err(error) => Err(error),
                    Ok(()) => place(context, id, &due, parent, patience).await.map(drop),
                }
            }
            DuePlace::Sealed => sealed(context, id, &due, patience).await,
            DuePlace::Share => share(context, id, &due, patience).await,
        };
        match result {
            Ok(()) => {}
            Err(error) if context.cancel.is_cancelled() => return Err(error),
            // It is looked for again when that changes.
            Err(_) if is_paused(context, id, due.content).await? => {}
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if nothing && !looks_after {
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
    if let Some(not_a_keeper) = archive::keep_shares(context, id).await? {
        not_a_keeper.tell(context, id).await;
    }
    failure.map_or(Ok(()), Err)
}

async fn is_paused(
    context: &Context,
    id: ChannelId,
    content: ContentId,
) -> Result<bool, EngineError> {
    let paused = move |core: &mut core::Core| core.orders.paused.has(&content, [&id]);
    context.core().call(paused).await
}

fn dues_of(channel: &core::Channel, keep: Option<NonZeroU32>) -> (Vec<Due>, Option<Current>) {
    let mut dues = Vec::new();
    let mirror = channel.meta.role == Role::Mirror;
    let releases = channel.newest(Kind::RELEASE);
    let mut current = None;
    let (whole, kept) = archive::kept(channel, keep);
    for (i, item) in releases.iter().enumerate().take(kept) {
        let What::Release(release) = &item.what else {
            continue;
        };
        let due = |place| Due {
            content: release.content.id,
            bytes: release.content.bytes,
            author: item.header.author,
            priority: item.priority(),
            place,
            confirmed: true,
        };
        if i == 0
            && let Some(into) = &channel.meta.into
        {
            current = Some(Current {
                content: release.content.id,
                into: into.clone(),
                version: release.version.clone(),
            });
            dues.push(due(DuePlace::Release {
                into: into.clone(),
                version: release.version.clone(),
            }));
            continue;
        }
        if mirror {
            dues.push(due(match i < whole {
                true => DuePlace::Sealed,
                false => DuePlace::Share,
            }));
        }
    }
    for item in channel.newest(Kind::ISSUE) {
        let slug = String::from_utf8_lossy(&item.header.key).into_owned();
        if !valid_slug(&slug) {
            continue;
        }
        dues.extend(item.contents().map(|content| Due {
            content: content.id,
            bytes: content.bytes,
            author: item.header.author,
            priority: item.priority(),
            place: DuePlace::Issue { slug: slug.clone() },
            confirmed: true,
        }));
    }
    (dues, current)
}

/// A slug becomes a directory of the data directory.
pub(super) fn valid_slug(slug: &str) -> bool {
    !slug.is_empty()
        && slug
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

async fn release(
    context: &Context,
    id: ChannelId,
    due: &Due,
    into: &Path,
    version: &str,
    patience: Option<Duration>,
) -> Result<(), EngineError> {
    let current = Current {
        content: due.content,
        into: into.to_owned(),
        version: version.to_owned(),
    };
    // Before anything is fetched that could not be shown.
    let found = current.clone();
    context
        .blocking(move |_| {
            fs::create_dir_all(&found.into).map_err(|e| EngineError::disk(&found.into, &e))?;
            found.version_shown().map(drop)
        })
        .await?;
    let parent = into.join(version);
    let placed = place(context, id, due, parent.clone(), patience).await;
    let fresh = placed.map_err(|error| match error.kind {
        ErrorKind::Exists => EngineError::new(
            ErrorKind::Exists,
            format!(
                "{} holds something that is not version {version} of this channel; move it away, or subscribe with another --into",
                parent.display()
            ),
        ),
        _ => error,
    })?;
    // A newer one may have overtaken it.
    let newest = context
        .core()
        .call(move |core| core.channels.get(&id).and_then(newest_version))
        .await?;
    let is_current = newest.is_none_or(|newest| newest == version);
    let switched = is_current && switch(context, &current).await?;
    if fresh || switched {
        tell_release(context, id, due.content).await?;
        context
            .emit(Event::Installed {
                channel: id.to_string(),
                version: version.to_owned(),
                path: parent,
                current: is_current,
            })
            .await;
    }
    Ok(())
}

/// Issues lie in the data directory: the quota counts them too.
async fn room_for_issue(context: &Context, dir: &Path, due: &Due) -> Result<(), EngineError> {
    let (content, bytes) = (due.content, due.bytes);
    let (quota, dir) = (context.config().quota, dir.to_owned());
    let issues = context.data_dir().join(ISSUES);
    context
        .blocking(move |store| {
            if store.content(&content).is_some_and(|c| c.is_complete()) {
                return Ok(());
            }
            let used = store.used() + bytes_below(&issues);
            // What is here already, in part or whole, is counted and needs no more.
            let here = bytes_below(&dir);
            if used.saturating_sub(here).saturating_add(bytes) <= quota {
                return Ok(());
            }
            Err(EngineError::new(
                ErrorKind::NoSpace,
                format!(
                    "an issue of {bytes} bytes does not fit the quota of {quota} bytes, of which {used} are used; `samara gc` or `samara forget` give some back, `quota` in the configuration sets it"
                ),
            ))
        })
        .await
}

/// What `current` is to point at.
#[derive(Debug, Clone)]
struct Current {
    content: ContentId,
    into: PathBuf,
    version: String,
}

impl Current {
    /// The version that `current` points at; `None` if there is none. What is there
    /// and was not made here is the user's: an error.
    fn version_shown(&self) -> Result<Option<String>, EngineError> {
        let link = self.into.join(CURRENT);
        let foreign = || {
            let link = link.display();
            EngineError::new(
                ErrorKind::Exists,
                format!(
                    "{link} is not a link to a version; move it away, or subscribe with another --into"
                ),
            )
        };
        match fs::read_link(&link) {
            Ok(at) => match at.to_str().filter(|at| valid_version(at)) {
                Some(version) => Ok(Some(version.to_owned())),
                None => Err(foreign()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // There, and no link.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(foreign()),
            Err(error) => Err(EngineError::disk(&link, &error)),
        }
    }

    /// Points `current` at the version if that is whole in its place, atomically. Says
    /// whether it pointed elsewhere. Blocks.
    fn show(&self, store: &Store) -> Result<bool, EngineError> {
        // `subscribe` and what follows by itself may both be here, with one name between them.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        if !lies_in(store, &self.content, &self.into.join(&self.version))
            || self.version_shown()?.as_ref() == Some(&self.version)
        {
            return Ok(false);
        }
        let link = self.into.join(CURRENT);
        // One name, so that what a crash leaves is used again.
        let fresh = self.into.join(format!(".{CURRENT}.samara"));
        let _ = fs::remove_file(&fresh);
        std::os::unix::fs::symlink(&self.version, &fresh)
            .and_then(|()| fs::rename(&fresh, &link))
            .and_then(|()| fs::File::open(&self.into)?.sync_all())
            .map_err(|e| EngineError::disk(&link, &e))?;
        Ok(true)
    }
}

/// Whether a content is whole, and lies in a folder. Blocks.
fn lies_in(store: &Store, content: &ContentId, folder: &Path) -> bool {
    store.content(content).is_some_and(|content| {
        let there = matches!(
            content.placement(),
            Placement::Installed(path) | Placement::InPlace(path) if path.starts_with(folder)
        );
        there && content.is_finished() && content.has_wanted()
    })
}

/// Whether a content is whole, and something of its shape lies in a folder that is not
/// the store's place of it. Blocks.
fn lies_in_again(store: &Store, content: &ContentId, folder: &Path) -> bool {
    store.content(content).is_some_and(|content| {
        let path = folder.join(&content.manifest().root().name);
        content.is_finished() && content.has_wanted() && content.resembles(&path)
    })
}

async fn switch(context: &Context, current: &Current) -> Result<bool, EngineError> {
    let current = current.clone();
    context.blocking(move |store| current.show(store)).await
}

/// Fetches a content to `parent/<name>`, and keeps serving it. Says whether
/// anything had to be done.
async fn place(
    context: &Context,
    id: ChannelId,
    due: &Due,
    parent: PathBuf,
    patience: Option<Duration>,
) -> Result<bool, EngineError> {
    let content = due.content;
    let at = parent.clone();
    // Two issues may have the same files. The store serves them from one place; they
    // were verified when they were put in the other.
    let one_of_several = matches!(due.place, DuePlace::Issue { .. });
    let here = context
        .blocking(move |store| {
            Ok(lies_in(store, &content, &at)
                || one_of_several && lies_in_again(store, &content, &at))
        })
        .await?;
    if here {
        return Ok(false);
    }
    fetch(
        context,
        id,
        due,
        Place::Under {
            parent,
            force: false,
        },
        patience,
    )
    .await?;
    Ok(true)
}

async fn sealed(
    context: &Context,
    id: ChannelId,
    due: &Due,
    patience: Option<Duration>,
) -> Result<(), EngineError> {
    let content = due.content;
    let here = context
        .blocking(move |store| Ok(store.content(&content).is_some_and(|c| c.is_complete())))
        .await?;
    if !here {
        fetch(context, id, due, Place::Sealed, patience).await?;
    }
    Ok(())
}

/// Fetches what falls to this node of an old release; all of it, if that cannot be had:
/// what is missing is made of the rest then.
async fn share(
    context: &Context,
    id: ChannelId,
    due: &Due,
    patience: Option<Duration>,
) -> Result<(), EngineError> {
    if archive::is_kept(context, id, due.content).await? {
        return Ok(());
    }
    let members = archive::keepers(context, id).await?;
    let me = context.core().call(|core| core.me).await?;
    let all = Filter::default();
    let found = manifest(context, id, due.content, &all, false, patience).await?;
    if found.stripes().is_none() && context.config().keep_releases.is_some() {
        // Without parity old releases go.
        return Ok(());
    }
    if !members.contains(&me) {
        return fetch(context, id, due, Place::Sealed, patience).await;
    }
    match fetch(context, id, due, Place::Share { members }, patience).await {
        Err(error) if error.kind == ErrorKind::NoPeer => {
            tracing::debug!(%error, "a share cannot be had; fetching all of it");
            fetch(context, id, due, Place::Sealed, patience).await
        }
        fetched => fetched,
    }
}

async fn fetch(
    context: &Context,
    id: ChannelId,
    due: &Due,
    place: Place,
    patience: Option<Duration>,
) -> Result<(), EngineError> {
    let started = Instant::now();
    let want = Want {
        channel: id,
        content: due.content,
        bytes: due.bytes,
        author: due.author,
        place: place.clone(),
        filter: Filter::default(),
        patience,
        priority: due.priority,
        in_order: false,
        when_paused: WhenPaused::GiveUp,
    };
    let obtained = obtain(context, want).await?;
    let manifest = obtained.content.manifest();
    let files = manifest
        .entries()
        .unwrap_or_default()
        .iter()
        .filter(|e| matches!(e.kind, EntryKind::File { .. }))
        .count() as u64;
    let name = manifest.root().name.clone();
    let path = match place {
        Place::Under { parent, .. } => parent.join(&name),
        Place::Sealed | Place::Share { .. } => context.data_dir().to_owned(),
    };
    context
        .emit(Event::Complete {
            channel: id.to_string(),
            content: due.content.to_string(),
            name,
            path,
            files,
            bytes: manifest.root().total_bytes,
            seconds: started.elapsed().as_secs_f64(),
            downloaded: obtained.downloaded,
            wasted: obtained.wasted,
            reused: obtained.reused,
            confirmed: due.confirmed,
        })
        .await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_never_leaves_its_folder() {
        assert!(valid_slug("2026-11-21-hello-abcd"));
        for bad in ["", "..", "a/b", ".hidden", "a b", "a\0"] {
            assert!(!valid_slug(bad), "{bad:?}");
        }
    }
}
