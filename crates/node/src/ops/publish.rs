//! Releases: publishing and taking back.

use std::{collections::HashSet, path::PathBuf};

use samara_content::{ChunkParams, Parity};
use samara_graph::{
    Kind,
    body::{ContentRef, Release, valid_version},
};
use samara_store::{Content, ImportOptions};
use samara_wire::{ChannelId, ContentId, RecordId};

use super::{Context, share, writable};
use crate::{
    EngineError, Priority,
    api::{ErrorKind, Event},
    core::{self, Channel, What},
    rfc3339,
};

/// Versions that a channel has used, for ever.
const VERSION_SETTINGS: &str = "version";

/// What `publish` was asked for.
#[derive(Debug)]
pub(super) struct ReleaseDraft {
    pub(super) path: PathBuf,
    pub(super) version: Option<String>,
    pub(super) notes: Option<String>,
    pub(super) portable: bool,
    pub(super) priority: Priority,
    /// `M/K`, or `none`; by default that of the release before.
    pub(super) parity: Option<String>,
}

pub(super) async fn publish(
    context: &Context,
    channel: &str,
    draft: ReleaseDraft,
) -> Result<(), EngineError> {
    let (id, ..) = owned(context, channel).await?;
    // In turn, or two would find the same version free.
    let lock = context.engine.publishing.lock_of(id);
    let _turn = context
        .unless_cancelled(async { Ok(lock.lock().await) })
        .await?;
    let (id, avg, previous, live) = owned(context, channel).await?;
    let used = used_versions(context, id, live).await?;
    let version = match draft.version {
        Some(version) => version,
        None => next_version(&used),
    };
    if !valid_version(&version) {
        return Err(EngineError::new(
            ErrorKind::Usage,
            format!(
                "\"{version}\" cannot be a version: one path component of at most 64 bytes, not starting with a dot, not \"current\", and no device of Windows like CON"
            ),
        ));
    }
    if used.contains(&version) {
        return Err(EngineError::new(
            ErrorKind::Exists,
            format!("version {version} was published before; a version is never used twice"),
        ));
    }
    let parity = parity(context, id, draft.parity.as_deref()).await?;
    let (name, path) = share::found(&draft.path).await?;
    let params = avg
        .map(ChunkParams::new)
        .transpose()
        .map_err(|e| EngineError::new(ErrorKind::Internal, e.to_string()))?;
    let options = ImportOptions {
        params,
        parity,
        portable: draft.portable,
        name,
    };
    let content = share::import(context, path, options).await?;
    let reference = content_ref(&content);
    let release = Release {
        version: version.clone(),
        content: reference,
        notes: draft.notes.unwrap_or_default(),
    };
    if release.notes.len() > samara_graph::limits::MAX_NOTES_BYTES {
        return Err(EngineError::new(
            ErrorKind::Usage,
            format!(
                "the notes have {} bytes; at most {} fit a release",
                release.notes.len(),
                samara_graph::limits::MAX_NOTES_BYTES
            ),
        ));
    }
    let fresh = fresh_bytes(context, &content, previous).await?;
    let params = content.manifest().root().params;
    let (about, priority) = (version.clone(), draft.priority);
    let (files, bytes) = (reference.files.into(), reference.bytes);
    let (channel, content, said) = (id.to_string(), reference.id.to_string(), version.clone());
    let published = move |record: RecordId| Event::Published {
        channel,
        version: said,
        content,
        files,
        bytes,
        fresh,
        record: record.to_string(),
    };
    let mut key = id.as_bytes().to_vec();
    key.extend_from_slice(version.as_bytes());
    let receipt = context.receipt(published.clone()).unwrap_or_default();
    let receipt = receipt.with_mark(VERSION_SETTINGS, key);
    let record = context
        .core()
        .call(move |core| {
            let mut draft = core::draft(Kind::RELEASE, about.as_bytes(), release.encode());
            (draft.attributes, draft.priority) = priority.said();
            let record = core.publish(id, draft, Some(receipt))?;
            if let Some(channel) = core.channels.get_mut(&id) {
                if params.parity().is_none() {
                    channel.meta.chunk_avg.get_or_insert(params.avg());
                }
                channel.meta.parity = params.parity().map(|parity| parity.to_string());
                let meta = channel.meta.clone();
                core.remember_meta(id, &meta);
            }
            Ok::<_, EngineError>(record.id())
        })
        .await??;
    delivered(context, id, record).await?;
    context.emit(published(record)).await;
    Ok(())
}

pub(super) async fn unpublish(
    context: &Context,
    channel: &str,
    version: &str,
) -> Result<(), EngineError> {
    let (id, ..) = owned(context, channel).await?;
    let about = version.to_owned();
    let (named, said) = (id.to_string(), version.to_owned());
    let unpublished = move |record: RecordId| Event::Unpublished {
        channel: named,
        version: said,
        record: record.to_string(),
    };
    let receipt = context.receipt(unpublished.clone());
    let (retraction, gone) = context
        .core()
        .call(move |core| {
            let me = core.me;
            // Forgotten meanwhile: with what was published in it.
            let channel = core.channels.get(&id).ok_or_else(super::interrupted)?;
            let head = channel.graph.head(&me, Kind::RELEASE, about.as_bytes());
            let Some(gone) = head.map(|h| h.id) else {
                return Err(EngineError::new(
                    ErrorKind::NotFound,
                    format!("version {about} is not published"),
                ));
            };
            let record = core.retract(id, Kind::RELEASE, about.as_bytes(), receipt)?;
            Ok((record.id(), gone))
        })
        .await??;
    context
        .core()
        .wait_for(move |core| {
            let channel = core.channels.get(&id)?;
            (!channel.items.contains_key(&gone)).then_some(())
        })
        .await?;
    context.emit(unpublished(retraction)).await;
    Ok(())
}

type Owned = (ChannelId, Option<u32>, Option<ContentRef>, Vec<String>);

/// A channel that this node may publish in: its id, pinned chunk size, newest
/// release and live versions.
async fn owned(context: &Context, channel: &str) -> Result<Owned, EngineError> {
    let text = channel.to_owned();
    context
        .core()
        .call(move |core| {
            let id = writable(core, &text, Kind::RELEASE)?;
            let channel = &core.channels[&id];
            let releases = channel.newest(Kind::RELEASE);
            let previous = releases.first().and_then(|item| item.contents().next());
            let live = releases
                .iter()
                .map(|item| String::from_utf8_lossy(&item.header.key).into_owned())
                .collect();
            Ok((id, channel.meta.chunk_avg, previous, live))
        })
        .await?
}

/// What parity the next release gets: what was asked for, else what the one before
/// got.
async fn parity(
    context: &Context,
    id: ChannelId,
    asked: Option<&str>,
) -> Result<Option<Parity>, EngineError> {
    let text = match asked {
        Some(text) => Some(text.to_owned()),
        None => {
            let before = context.core().call(move |core| {
                let channel = core.channels.get(&id)?;
                channel.meta.parity.clone()
            });
            before.await?
        }
    };
    match text.as_deref() {
        None | Some("none") => Ok(None),
        Some(text) => {
            let parity = text.parse();
            parity.map(Some).map_err(|e: samara_content::ContentError| {
                EngineError::new(ErrorKind::Usage, e.to_string())
            })
        }
    }
}

async fn used_versions(
    context: &Context,
    id: ChannelId,
    live: Vec<String>,
) -> Result<HashSet<String>, EngineError> {
    let settings = context
        .blocking(|store| Ok(store.settings(VERSION_SETTINGS)?))
        .await?;
    let mut used: HashSet<String> = live.into_iter().collect();
    used.extend(settings.into_iter().filter_map(|(key, _)| {
        let version = key.strip_prefix(id.as_bytes())?;
        Some(String::from_utf8_lossy(version).into_owned())
    }));
    Ok(used)
}

/// The version after the highest: of those that are numbers with dots between (with a
/// `v` before, or without), compared number by number, the last number one higher.
fn next_version(used: &HashSet<String>) -> String {
    let highest = used.iter().filter_map(|v| Some((numbers(v)?, v))).max();
    let Some((mut numbers, highest)) = highest else {
        return "1".to_owned();
    };
    let v = &highest[..usize::from(highest.starts_with('v'))];
    loop {
        let last = numbers.last_mut().expect("at least one number");
        *last = last.saturating_add(1);
        let parts: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        let next = format!("{v}{}", parts.join("."));
        // As far as numbers go: nobody counts there.
        if !used.contains(&next) || numbers.last() == Some(&u64::MAX) {
            return next;
        }
    }
}

fn numbers(version: &str) -> Option<Vec<u64>> {
    let digits = version.strip_prefix('v').unwrap_or(version);
    let number = |part: &str| match part.starts_with('+') {
        true => None,
        false => part.parse().ok(),
    };
    digits.split('.').map(number).collect()
}

/// Bytes of chunks that the previous release had not.
async fn fresh_bytes(
    context: &Context,
    content: &Content,
    previous: Option<ContentRef>,
) -> Result<u64, EngineError> {
    let manifest = content.manifest().clone();
    context
        .blocking(move |store| {
            let chunks = |m: &samara_content::Manifest| -> Vec<_> {
                (0..m.chunk_count()).filter_map(|i| m.chunk(i)).collect()
            };
            let old: HashSet<_> = previous
                .and_then(|p| store.load_manifest(&p.id))
                .map(|m| chunks(&m).into_iter().map(|c| c.hash).collect())
                .unwrap_or_default();
            Ok(chunks(&manifest)
                .into_iter()
                .filter(|c| !old.contains(&c.hash))
                .map(|c| u64::from(c.len))
                .sum())
        })
        .await
}

/// What a record says of a content.
pub(super) fn content_ref(content: &Content) -> ContentRef {
    ContentRef {
        id: *content.id(),
        root_len: content.root_bytes().len() as u32,
        bytes: content.manifest().root().total_bytes,
        files: share::file_count(content),
    }
}

/// Until a record of ours is on disk.
pub(super) async fn delivered(
    context: &Context,
    id: ChannelId,
    record: RecordId,
) -> Result<(), EngineError> {
    context
        .core()
        .wait_for(move |core| {
            let channel = core.channels.get(&id)?;
            channel.items.contains_key(&record).then_some(())
        })
        .await
}

/// Tells about the release that brought a content, if one did.
pub(super) async fn tell_release(
    context: &Context,
    id: ChannelId,
    content: ContentId,
) -> Result<(), EngineError> {
    let told = context.core().call(move |core| {
        let releases = core.channels.get(&id)?.newest(Kind::RELEASE).into_iter();
        let mut found = releases.filter_map(|item| match &item.what {
            What::Release(release) if release.content.id == content => Some((item, release)),
            _ => None,
        });
        found.next().map(|(item, release)| Event::Release {
            channel: id.to_string(),
            version: release.version.clone(),
            published: rfc3339::format(item.header.created.0),
            notes: release.notes.clone(),
        })
    });
    if let Some(release) = told.await? {
        context.emit(release).await;
    }
    Ok(())
}

/// The version of the newest release.
pub(super) fn newest_version(channel: &Channel) -> Option<String> {
    match &channel.newest(Kind::RELEASE).first()?.what {
        What::Release(release) => Some(release.version.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_version_follows_the_highest() {
        for (used, next) in [
            (&[][..], "1"),
            (&["1", "2"], "3"),
            (&["9", "10"], "11"),
            (&["1.0"], "1.1"),
            (&["1.9", "1.10"], "1.11"),
            (&["1.2.9", "2"], "3"),
            (&["2.0", "2"], "2.1"),
            (&["v1.4", "1.3"], "v1.5"),
            (&["spring", "1.0-rc1", "+1", "1."], "1"),
            (&["spring", "7"], "8"),
            (&["01"], "2"),
            (&["18446744073709551615"], "18446744073709551615"),
        ] {
            let used = used.iter().map(|&v| v.to_owned()).collect();
            assert_eq!(next_version(&used), next, "{used:?}");
        }
    }
}
