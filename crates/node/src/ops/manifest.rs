//! Getting a manifest from whichever member has it.

use std::{collections::HashSet, time::Duration};

use globset::GlobSet;
use samara_content::{Entry, EntryKind, Fault, Manifest};
use samara_wire::{ChannelId, ContentId, PeerId};
use tokio::time::Instant;

use super::Context;
use crate::{
    EngineError,
    api::{ErrorKind, Event},
    core::{Core, Known},
    fetch::fetch_pages,
    limits,
    message::ROOT_PAGE,
};

/// How often peers that had not what was asked for are asked again.
const RETRY: Duration = Duration::from_millis(500);
/// Peers that a failure names; who was tried beside them is counted.
const TRIED_SHOWN: usize = 4;

/// When a source turned out bad and no other answers: how long to wait for one.
pub(super) const GRACE_AFTER_BAD: Duration = Duration::from_secs(2);

/// Which entries are wanted. Empty globs: all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    globs: Option<GlobSet>,
}

impl Filter {
    pub(crate) fn new(globs: &[String]) -> Result<Self, EngineError> {
        if globs.is_empty() {
            return Ok(Self::default());
        }
        let mut set = GlobSet::builder();
        for glob in globs {
            let glob = globset::Glob::new(glob)
                .map_err(|e| EngineError::new(ErrorKind::Usage, format!("--only {glob}: {e}")))?;
            set.add(glob);
        }
        let globs = set
            .build()
            .map_err(|e| EngineError::new(ErrorKind::Usage, e.to_string()))?;
        Ok(Self { globs: Some(globs) })
    }

    pub(crate) fn is_all(&self) -> bool {
        self.globs.is_none()
    }

    /// Whether an entry, or a directory that it lies in, matches.
    pub(crate) fn wants(&self, entry: &Entry) -> bool {
        let Some(globs) = &self.globs else {
            return true;
        };
        let path = entry.path.as_str();
        globs.is_match(path)
            || path
                .match_indices('/')
                .any(|(end, _)| globs.is_match(&path[..end]))
    }
}

/// The manifest of a content of a channel, with all pages that the entries wanted
/// need; from the disk, else from members. Fails with [`ErrorKind::NoPeer`] when
/// nothing came for `patience`.
pub(crate) async fn manifest(
    context: &Context,
    channel: ChannelId,
    id: ContentId,
    filter: &Filter,
    entries_only: bool,
    patience: Option<Duration>,
) -> Result<Manifest, EngineError> {
    let mut manifest = context
        .blocking(move |store| Ok(store.load_manifest(&id)))
        .await?;
    let mut last_progress = Instant::now();
    let mut bad: HashSet<PeerId> = HashSet::new();
    loop {
        let pages = match &manifest {
            None => vec![ROOT_PAGE],
            Some(manifest) => needed(manifest, filter, entries_only),
        };
        if pages.is_empty() {
            let manifest = manifest.expect("no page is missing");
            let saved = manifest.clone();
            context
                .blocking(move |store| Ok(store.save_manifest(&saved)?))
                .await?;
            return Ok(manifest);
        }
        let peers = context
            .core()
            .call(move |core| members(core, channel))
            .await?;
        let mut progress = false;
        let alone = peers.iter().all(|(peer, ..)| bad.contains(peer));
        for (peer, connection, window) in peers {
            if bad.contains(&peer) {
                continue;
            }
            let batch: Vec<u32> = pages
                .iter()
                .copied()
                .take(limits::MAX_REQUEST_PAGES)
                .collect();
            let fetch = async { Ok(fetch_pages(&connection, channel, id, &batch, window).await) };
            let got = context.unless_cancelled(fetch).await?;
            if got.is_empty() {
                continue;
            }
            match take_in(&mut manifest, id, got) {
                Ok(()) => {
                    progress = true;
                    break;
                }
                // The publisher's fault: nobody else has a better one.
                Err(error) if error.fault() != Fault::Peer => {
                    return Err(EngineError::new(ErrorKind::Manifest, error.to_string()));
                }
                Err(error) => {
                    bad.insert(peer);
                    let why = format!("sent a wrong manifest page: {error}");
                    context
                        .core()
                        .call(move |core| core.ban(peer, &why))
                        .await?;
                }
            }
        }
        if progress {
            last_progress = Instant::now();
            continue;
        }
        let waited = last_progress.elapsed();
        let only_bad = !bad.is_empty() && alone && waited >= GRACE_AFTER_BAD;
        if patience.is_some_and(|p| waited >= p || only_bad) {
            return Err(no_peer(context, channel, bad.len()).await);
        }
        context
            .emit(Event::Waiting {
                what: "a peer that has the content's manifest".into(),
            })
            .await;
        context
            .unless_cancelled(async {
                tokio::time::sleep(RETRY).await;
                Ok(())
            })
            .await?;
    }
}

fn take_in(
    manifest: &mut Option<Manifest>,
    id: ContentId,
    pages: Vec<(u32, Vec<u8>)>,
) -> Result<(), samara_content::ContentError> {
    for (page, bytes) in pages {
        match manifest {
            None => *manifest = Some(Manifest::from_root(&id, &bytes)?),
            Some(manifest) => manifest.add_page(page, bytes.into())?,
        }
    }
    Ok(())
}

/// Pages that are missing and needed.
fn needed(manifest: &Manifest, filter: &Filter, entries_only: bool) -> Vec<u32> {
    let entry_pages = manifest.entry_page_range();
    let missing: Vec<u32> = manifest.missing_pages().collect();
    let (Some(entries), Some(layout)) = (manifest.entries(), manifest.layout()) else {
        return missing
            .into_iter()
            .filter(|page| entry_pages.contains(page))
            .collect();
    };
    if entries_only {
        return Vec::new();
    }
    if filter.is_all() {
        return missing;
    }
    let wanted: HashSet<u32> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| matches!(entry.kind, EntryKind::File { .. }) && filter.wants(entry))
        .filter_map(|(i, _)| layout.file_range(i as u32))
        .flat_map(|range| manifest.pages_for(range))
        .collect();
    missing
        .into_iter()
        .filter(|page| wanted.contains(page))
        .collect()
}

fn members(core: &mut Core, channel: ChannelId) -> Vec<(PeerId, quinn::Connection, u32)> {
    let mut peers: Vec<_> = core
        .sessions
        .values()
        .filter(|link| link.channels.contains(&channel))
        .map(|link| {
            (
                link.session.rtt(),
                link.session.peer,
                link.session.connection.clone(),
                core.receive_window(link),
            )
        })
        .collect();
    peers.sort_by_key(|(rtt, peer, ..)| (*rtt, *peer));
    let peers = peers.into_iter();
    peers
        .map(|(_, peer, c, window)| (peer, c, window))
        .collect()
}

/// Nobody had it: says whom we tried.
pub(crate) async fn no_peer(context: &Context, channel: ChannelId, bad: usize) -> EngineError {
    let whom = tried(context, channel).await;
    let (kind, what) = if bad > 0 {
        (
            ErrorKind::BadData,
            "peers sent wrong data and there is no other source",
        )
    } else {
        (ErrorKind::NoPeer, "no peer could be reached that has it")
    };
    EngineError::new(kind, format!("{what}; tried {whom}"))
}

/// Where a peer was looked for, and how that ended.
pub(super) fn attempt(core: &Core, peer: &PeerId, known: &Known) -> String {
    let ways = known.ways();
    let addrs: Vec<_> = ways.iter().map(ToString::to_string).collect();
    let barred = !ways.is_empty() && !ways.iter().any(|at| core.may_reach(at));
    let connected = core.sessions.contains_key(peer);
    let how = match known.last_error.as_deref() {
        _ if barred => "not tried: beyond the local network, and no-wan is on",
        Some(error) => error,
        None if connected => "connected, has not what is needed",
        None => "no answer",
    };
    format!("{} at {} ({how})", peer.short(), addrs.join(", "))
}

/// Whom we tried to reach for a channel, and how that ended.
pub(super) async fn tried(context: &Context, channel: ChannelId) -> String {
    let tried = context
        .core()
        .call(move |core| {
            let mut tried: Vec<String> = core
                .channels
                .get(&channel)
                .into_iter()
                .flat_map(|c| &c.known)
                .map(|(peer, known)| attempt(core, peer, known))
                .collect();
            tried.sort();
            let more = tried.len().saturating_sub(TRIED_SHOWN);
            tried.truncate(TRIED_SHOWN);
            if more > 0 {
                tried.push(format!("and {more} more"));
            }
            tried
        })
        .await
        .unwrap_or_default();
    if tried.is_empty() {
        return "nobody: no address is known".to_owned();
    }
    tried.join("; ")
}
