//! What goes when only the newest releases of the followed channels are kept.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    path::PathBuf,
};

use samara_graph::Kind;
use samara_store::{Placement, Store};
use samara_wire::ContentId;

use super::Context;
use crate::{
    EngineError,
    core::{Channel, Core, Item, Role, What},
};

/// Releases that are not kept, and the folder that each was installed in.
#[derive(Debug, Default)]
pub(super) struct Old(HashMap<ContentId, Option<PathBuf>>);

impl Old {
    pub(super) fn contains(&self, content: &ContentId) -> bool {
        self.0.contains_key(content)
    }

    /// Whether following a channel put it where it lies. What the user fetched to
    /// another place is the user's.
    pub(super) fn was_installed(&self, store: &Store, content: &ContentId) -> bool {
        let placement = store.content(content).map(|content| content.placement());
        match (self.0.get(content), placement) {
            (Some(Some(folder)), Some(Placement::Installed(path))) => path.starts_with(folder),
            _ => false,
        }
    }

    /// Removes the folders of versions in which nothing is left. Blocks.
    pub(super) fn remove_empty_folders(&self) {
        for folder in self.0.values().flatten() {
            // It fails, as it should, where the user has something of his own.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Contents that a channel names, but for releases that are not kept.
pub(super) fn named(core: &Core, keep: Option<NonZeroU32>) -> HashSet<ContentId> {
    let mut named = HashSet::new();
    for channel in core.channels.values() {
        if channel.meta.role == Role::Guest {
            continue;
        }
        let old = beyond(core, channel, keep);
        let kept = channel
            .items
            .values()
            .filter(|item| !old.contains(&item.header.id));
        named.extend(kept.flat_map(Item::contents).map(|content| content.id));
    }
    named
}

/// Releases of followed channels that are not kept and that nothing else names.
/// Those that a request is fetching at the moment are left alone.
pub(super) fn old(core: &Core, context: &Context) -> Old {
    let keep = context.config().keep_releases;
    let named = named(core, keep);
    let mut found = Old::default();
    for channel in core.channels.values() {
        let beyond = beyond(core, channel, keep);
        for item in channel.items.values() {
            let What::Release(release) = &item.what else {
                continue;
            };
            let id = release.content.id;
            let fetched = context.engine.obtaining.is_held(&id);
            if beyond.contains(&item.header.id) && !named.contains(&id) && !fetched {
                let into = channel.meta.into.as_ref();
                found
                    .0
                    .insert(id, into.map(|into| into.join(&release.version)));
            }
        }
    }
    found
}

/// The records of a channel's releases beyond the newest `keep`. The newest that is
/// whole on this disk is not among them, whatever has come since: it is current.
fn beyond(
    core: &Core,
    channel: &Channel,
    keep: Option<NonZeroU32>,
) -> HashSet<samara_wire::RecordId> {
    let Some(keep) = keep else {
        return HashSet::new();
    };
    if !matches!(channel.meta.role, Role::Subscriber | Role::Mirror) {
        return HashSet::new();
    }
    let whole = |item: &&Item| {
        let content = item
            .contents()
            .next()
            .and_then(|c| core.store.content(&c.id));
        content.is_some_and(|content| content.is_complete() && content.is_finished())
    };
    let mut newest = channel.newest(Kind::RELEASE);
    // Of these a share is kept.
    newest.retain(|item| !super::archive::is_archived(core, channel, item));
    let current = newest
        .iter()
        .find(|item| whole(item))
        .map(|item| item.header.id);
    newest
        .into_iter()
        .skip(keep.get() as usize)
        // What this node published stays, whatever else it is in the channel.
        .filter(|item| item.header.author != core.me)
        .map(|item| item.header.id)
        .filter(|id| Some(*id) != current)
        .collect()
}

/// Ends the exchange of what is old.
pub(super) fn stop_exchange(core: &mut Core, old: &Old) {
    for content in old.0.keys() {
        if let Some((key, _)) = core.transfer_of(content) {
            core.remove_transfer(key);
        }
    }
}

/// Gives back what is not kept, so that there is room for what is new.
pub(super) async fn make_room(context: &Context) -> Result<(), EngineError> {
    if context.config().keep_releases.is_none() {
        return Ok(());
    }
    let asked = context.clone();
    let old = context
        .core()
        .call(move |core| {
            let old = old(core, &asked);
            stop_exchange(core, &old);
            old
        })
        .await?;
    if old.0.is_empty() {
        return Ok(());
    }
    context
        .blocking(move |store| {
            let report = store.gc(&|id| !old.contains(id), &|id| old.was_installed(store, id))?;
            old.remove_empty_folders();
            if report.freed > 0 {
                tracing::info!(bytes = report.freed, "old releases removed");
            }
            Ok(())
        })
        .await
}
