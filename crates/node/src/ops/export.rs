//! `export`: a channel as one file.

use std::{
    collections::HashSet,
    io::{self, Write},
    path::{Path, PathBuf},
};

use samara_graph::{SecretKey, WallMs};
use samara_store::{Content, ReadError, Store};
use samara_wire::{ChannelId, ContentId, RecordId};

use super::{Context, place::place, record::each_head, resolve};
use crate::{
    EngineError,
    api::{ErrorKind, Event},
    bundle::{BundleWriter, Head, Totals},
    core::wall_ms,
};

/// What goes into the file, besides the records themselves.
struct Cargo {
    id: ChannelId,
    key: SecretKey,
    head: Head,
    contents: Vec<ContentId>,
}

pub(super) async fn export(
    context: &Context,
    channel: &str,
    file: PathBuf,
    with_content: bool,
) -> Result<(), EngineError> {
    let text = channel.to_owned();
    let mut cargo = context
        .core()
        .call(move |core| {
            let id = resolve(core, &text)?;
            let channel = &core.channels[&id];
            let chain = channel.graph.charters().ok_or_else(|| {
                let why = "the channel's charter has not arrived yet";
                EngineError::new(ErrorKind::NotFound, why)
            })?;
            let named = channel.items.values().flat_map(|item| item.contents());
            let contents: HashSet<_> = named.map(|content| content.id).collect();
            Ok::<_, EngineError>(Cargo {
                id,
                key: core.key.clone(),
                head: Head {
                    channel: id,
                    exporter: core.me,
                    created: wall_ms(),
                    charters: chain.versions().iter().map(|v| v.bytes().clone()).collect(),
                },
                contents: contents.into_iter().collect(),
            })
        })
        .await??;
    cargo.contents.sort_unstable();
    if !with_content {
        cargo.contents.clear();
    }
    let id = cargo.id;
    let cancel = context.cancel.clone();
    let to = file.clone();
    let (totals, left_out) = context
        .blocking(move |store| {
            place(&to, 0o600, |out| {
                let stop = || cancel.is_cancelled();
                write(store, &cargo, out, &stop).map_err(|error| error.on(&to))
            })
        })
        .await?;
    if left_out > 0 {
        let message = format!("{left_out} contents are not whole on this node and were left out");
        context.emit(Event::Warning { message }).await;
    }
    let bytes = tokio::fs::metadata(&file).await;
    let bytes = bytes.map_err(|e| EngineError::disk(&file, &e))?.len();
    let exported = Event::Exported {
        channel: id.to_string(),
        file,
        records: totals.records,
        contents: totals.contents,
        bytes,
    };
    context.emit(exported).await;
    Ok(())
}

/// Whose fault it was.
enum Failure {
    /// The new file's.
    File(io::Error),
    Engine(EngineError),
}

impl Failure {
    fn on(self, path: &Path) -> EngineError {
        match self {
            Self::File(error) => EngineError::disk(path, &error),
            Self::Engine(error) => error,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// Writes it all; also how many contents are not whole here. Blocks.
fn write(
    store: &Store,
    cargo: &Cargo,
    out: &mut dyn Write,
    stop: &dyn Fn() -> bool,
) -> Result<(Totals, u64), Failure> {
    let mut bundle = BundleWriter::begin(out, &cargo.head)?;
    for record in records(store, &cargo.id)? {
        // One that ended meanwhile is left out.
        if let Some(bytes) = store
            .record(&cargo.id, &record)
            .map_err(EngineError::from)?
        {
            bundle.record(&bytes)?;
        }
    }
    let mut left_out = 0;
    let mut chunk = Vec::new();
    for id in &cargo.contents {
        let whole = |content: &Content| content.is_complete() && content.is_finished();
        let Some(content) = store.content(id).filter(|content| whole(content)) else {
            left_out += 1;
            continue;
        };
        bundle.content(id)?;
        bundle.page(&content.root_bytes())?;
        for page in 0..content.manifest().page_count() {
            let bytes = content.page(page).ok_or_else(|| changed(id))?;
            bundle.page(&bytes)?;
        }
        for index in 0..content.manifest().chunk_count() {
            if stop() {
                return Err(super::interrupted().into());
            }
            content
                .read_chunk(index, &mut chunk)
                .map_err(|e| unread(id, &e))?;
            bundle.chunk(&chunk)?;
        }
    }
    Ok((bundle.end(&cargo.key)?, left_out))
}

/// The records that have not ended: control records first, then by age, so that
/// whoever reads them has what they stand by. Blocks.
fn records(store: &Store, id: &ChannelId) -> Result<Vec<RecordId>, EngineError> {
    let now = WallMs(wall_ms());
    let mut found = Vec::new();
    each_head(store, id, &mut |header| {
        if header.expires > now {
            found.push((!header.kind.is_control(), header.created, header.id));
        }
    })?;
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, _, record)| record).collect())
}

fn changed(id: &ContentId) -> EngineError {
    EngineError::new(
        ErrorKind::Changed,
        format!("content {} was changed while it was exported", id.short()),
    )
}

fn unread(id: &ContentId, error: &ReadError) -> EngineError {
    let kind = match error {
        ReadError::Io { .. } => ErrorKind::Disk,
        _ => return changed(id),
    };
    EngineError::new(kind, error.to_string())
}
