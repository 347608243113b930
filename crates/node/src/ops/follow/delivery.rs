//! Bringing to its place what a subscription wants on this disk.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use samara_content::{EntryKind, share_of};
use samara_wire::ChannelId;

use super::{
    super::{
        archive,
        manifest::{Filter, manifest},
        obtain::{Place, Want, WhenPaused, obtain},
        publish::{newest_version, tell_release},
    },
    Context,
    current::{Current, lies_in, lies_in_again, switch},
    due::{Due, DuePlace},
};
use crate::{
    EngineError,
    api::{ErrorKind, Event},
    issues::{ISSUES, bytes_below},
};

/// Installs a release, and has `current` point at it if it is the newest.
pub(super) async fn release(
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
pub(super) async fn room_for_issue(
    context: &Context,
    dir: &Path,
    due: &Due,
) -> Result<(), EngineError> {
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

/// Fetches a content to `parent/<name>`, and keeps serving it. Says whether
/// anything had to be done.
pub(super) async fn place(
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

/// Fetches a content to the store's own place, if it is not whole.
pub(super) async fn sealed(
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
pub(super) async fn share(
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
    // With so many places to it a stripe is made of its chunks: `keep_shares` does so, and
    // gives up the rest.
    let is_most = found.stripes().is_some_and(|stripes| {
        share_of(stripes, &due.content, &members, &me).count() >= stripes.chunks()
    });
    if is_most || !members.contains(&me) {
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
        file_only: false,
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
