//! `share`: a one-off channel for a path, served as long as the asker stays.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use samara_content::EntryKind;
use samara_graph::{Kind, body};
use samara_store::{Content, ImportOptions};
use samara_wire::ChannelId;

use super::{
    Context,
    channel::{new_channel, short_name},
    publish::content_ref,
};
use crate::{
    EngineError,
    api::{ErrorKind, Event},
    core::{self, ChannelMeta, Role},
};

/// Where the channels of shared paths are kept in the store.
const SHARE_SETTINGS: &str = "share";

pub(super) async fn share(
    context: &Context,
    path: PathBuf,
    portable: bool,
) -> Result<(), EngineError> {
    let (name, path) = found(&path).await?;
    let options = ImportOptions {
        portable,
        name,
        ..ImportOptions::default()
    };
    let content = import(context, path.clone(), options).await?;
    let channel = channel_of(context, &path, &content.manifest().root().name).await?;
    let result = serve(context, channel, &content).await;
    let _ = context.core().call(move |core| core.leave(channel)).await;
    result
}

async fn serve(
    context: &Context,
    channel: ChannelId,
    content: &Arc<Content>,
) -> Result<(), EngineError> {
    let reference = content_ref(content);
    let held = content.clone();
    let link = context
        .core()
        .call(move |core| {
            let current = core
                .channels
                .get(&channel)
                .and_then(|c| c.newest_content())
                .map(|(_, content)| content.id);
            core.visit_to_share(channel);
            if current != Some(reference.id) {
                let body = body::Share { content: reference }.encode();
                core.publish(channel, core::draft(Kind::SHARE, b"", body), None)?;
            }
            let me = core.me;
            core.add_transfer(held, channel, me, Default::default());
            let addrs = core.own_addrs();
            Ok::<_, EngineError>(core.link_of(channel, &addrs, None).unwrap_or_default())
        })
        .await??;
    let id = reference.id;
    context
        .core()
        .wait_for(move |core| {
            let (_, newest) = core.channels.get(&channel)?.newest_content()?;
            (newest.id == id).then_some(())
        })
        .await?;
    let mut warnings = context
        .core()
        .call(|core| core.warnings.subscribe())
        .await?;
    let manifest = content.manifest();
    context
        .emit(Event::Sharing {
            channel: channel.to_string(),
            link,
            content: id.to_string(),
            name: manifest.root().name.clone(),
            files: reference.files.into(),
            bytes: reference.bytes,
            chunks: manifest.chunk_count().into(),
        })
        .await;
    loop {
        tokio::select! {
            () = context.cancel.cancelled() => return Ok(()),
            warning = warnings.recv() => if let Ok(message) = warning {
                context.emit(Event::Warning { message }).await;
            },
        }
    }
}

/// The channel of a path: the same each time.
async fn channel_of(context: &Context, path: &Path, name: &str) -> Result<ChannelId, EngineError> {
    let key = {
        use std::os::unix::ffi::OsStrExt;
        path.as_os_str().as_bytes().to_vec()
    };
    let known = context
        .blocking({
            let key = key.clone();
            move |store| Ok(store.setting(SHARE_SETTINGS, &key)?)
        })
        .await?
        .and_then(|id| <[u8; 32]>::try_from(id).ok())
        .map(ChannelId);
    if let Some(id) = known {
        let here = context
            .core()
            .call(move |core| core.channels.contains_key(&id))
            .await?;
        if here {
            return Ok(id);
        }
        let me = context.core().call(|core| core.me).await?;
        let loaded = context
            .blocking(move |store| core::load(store, me, id, ChannelMeta::new(Role::Share)))
            .await;
        // Not there any more: a new channel, and so a new link.
        if let Ok(channel) = loaded {
            context
                .core()
                .call(move |core| core.add_channel(id, channel, false))
                .await?;
            return Ok(id);
        }
    }
    let meta = ChannelMeta::new(Role::Share);
    new_channel(context, &short_name(name), false, meta, |batch, id| {
        batch.put_setting(SHARE_SETTINGS, &key, id.as_bytes());
    })
    .await
}

/// Imports a path, reporting how far it is.
pub(super) async fn import(
    context: &Context,
    path: PathBuf,
    options: ImportOptions,
) -> Result<Arc<Content>, EngineError> {
    let stop = Arc::new(AtomicBool::new(false));
    let (watcher, flag) = (context.clone(), stop.clone());
    let work = context.blocking(move |store| {
        let progress = |p: samara_store::ImportProgress| {
            watcher.emit_lossy(Event::Importing {
                bytes: p.done_bytes,
                total: p.total_bytes,
            });
        };
        Ok(store.import(&path, &options, &progress, &flag)?)
    });
    tokio::pin!(work);
    tokio::select! {
        result = &mut work => result,
        () = context.cancel.cancelled() => {
            stop.store(true, Ordering::Relaxed);
            work.await
        }
    }
}

/// Where a path leads, and the name that it was given: of a link to it the link's own,
/// so that `latest` stays `latest`.
pub(super) async fn found(path: &Path) -> Result<(Option<String>, PathBuf), EngineError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let real = tokio::fs::canonicalize(path)
        .await
        .map_err(|e| EngineError::disk(path, &e))?;
    if name.is_none() && real.file_name().is_none() {
        return Err(EngineError::new(
            ErrorKind::Usage,
            format!(
                "{} has no name to give its contents; name a folder in it",
                real.display()
            ),
        ));
    }
    Ok((name.map(str::to_owned), real))
}

/// Files in a content.
pub(super) fn file_count(content: &Content) -> u32 {
    content
        .manifest()
        .entries()
        .unwrap_or_default()
        .iter()
        .filter(|entry| matches!(entry.kind, EntryKind::File { .. }))
        .count() as u32
}
