//! Records for the applications of others: listing, publishing, reading.

use std::{collections::BTreeMap, io::Write, path::PathBuf, time::Duration};

use data_encoding::BASE64;
use samara_graph::{Draft, Kind, Query, Record, RecordHeader, WallMs, limits};
use samara_store::Store;
use samara_wire::{ChannelId, RecordId};

use super::{Context, place::place, resolve};
use crate::{
    EngineError,
    api::{Attribute, ErrorKind, Event, RecordView, attributes},
    core::wall_ms,
};

/// Heads that are read from the index at a time.
const HEADS_PER_PAGE: usize = 1024;
/// Records that are loaded at a time, bodies and all: at most 4 MiB.
const RECORDS_PER_PAGE: usize = 64;

/// The channel that is meant; also one whose charter is still on its way.
pub(super) async fn channel_id(context: &Context, channel: &str) -> Result<ChannelId, EngineError> {
    let text = channel.to_owned();
    let found = context.core().call(move |core| resolve(core, &text));
    found.await?
}

pub(super) async fn list(
    context: &Context,
    channel: &str,
    filter: Option<&str>,
    bodies: bool,
) -> Result<(), EngineError> {
    let query = filter.map(Query::parse).transpose();
    let query = query.map_err(|e| EngineError::new(ErrorKind::Usage, format!("--where: {e}")))?;
    let id = channel_id(context, channel).await?;
    // Where expiry is put off nothing ends while it is held.
    let defers = context
        .core()
        .call(move |core| {
            let channel = core.channels.get(&id);
            channel.is_some_and(|c| c.graph.defers_expiry())
        })
        .await?;
    let now = WallMs(wall_ms());
    // Which, in order, before what: forty bytes a record, whatever is in them.
    let found = context
        .blocking(move |store| {
            let mut found = Vec::new();
            each_head(store, &id, &mut |header| {
                let live = defers || header.expires > now;
                if live && query.as_ref().is_none_or(|q| q.matches(&header, now)) {
                    found.push((header.created, header.id));
                }
            })?;
            found.sort_unstable();
            Ok(found)
        })
        .await?;
    for page in found.chunks(RECORDS_PER_PAGE) {
        let page: Vec<_> = page.iter().map(|(_, record)| *record).collect();
        let views = context.blocking(move |store| load(store, &id, &page, bodies));
        for view in context.unless_cancelled(views).await? {
            context.emit(Event::Record(Box::new(view))).await;
        }
    }
    Ok(())
}

/// Calls `each` with the header of every record of a channel, in no order. Blocks.
pub(super) fn each_head(
    store: &Store,
    id: &ChannelId,
    each: &mut dyn FnMut(RecordHeader),
) -> Result<(), EngineError> {
    let mut after = None;
    loop {
        let page = store.record_heads_after(id, after.as_ref(), HEADS_PER_PAGE)?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = Some(*last);
        // A damaged head is as good as a missing record: it comes again.
        let headers = page
            .iter()
            .filter_map(|(_, head)| RecordHeader::decode(head).ok());
        headers.for_each(&mut *each);
    }
}

/// Records that are still there.
fn load(
    store: &Store,
    id: &ChannelId,
    records: &[RecordId],
    bodies: bool,
) -> Result<Vec<RecordView>, EngineError> {
    let mut views = Vec::new();
    for record in records {
        let Some(head) = store.record_head(id, record)? else {
            continue;
        };
        let Ok(header) = RecordHeader::decode(&head) else {
            continue;
        };
        if !bodies {
            views.push(RecordView::of(id, &header, None));
        } else if let Some(record) = read(store, id, record)? {
            views.push(RecordView::of(id, &header, Some(record.body())));
        }
    }
    Ok(views)
}

fn read(store: &Store, id: &ChannelId, record: &RecordId) -> Result<Option<Record>, EngineError> {
    let bytes = store.record(id, record)?;
    Ok(bytes.and_then(|bytes| Record::decode(bytes.into()).ok()))
}

/// What an application wants published.
pub(super) struct Put {
    pub(super) kind: u32,
    pub(super) key: String,
    pub(super) attributes: BTreeMap<String, Attribute>,
    pub(super) lifetime_ms: Option<u64>,
    pub(super) priority: u8,
    pub(super) body: String,
}

pub(super) async fn put(context: &Context, channel: &str, put: Put) -> Result<(), EngineError> {
    let usage = |message: String| Err(EngineError::new(ErrorKind::Usage, message));
    of_application(put.kind)?;
    let Ok(body) = BASE64.decode(put.body.as_bytes()) else {
        return usage("the body is not base64".to_owned());
    };
    if put.lifetime_ms == Some(0) {
        return usage("a record has to live for a while".to_owned());
    }
    let draft = Draft {
        kind: Kind(put.kind),
        key: put.key.into_bytes().into(),
        attributes: attributes(put.attributes)?,
        body: body.into(),
        lifetime: put
            .lifetime_ms
            .map_or(limits::MAX_LIFETIME, Duration::from_millis),
        priority: put.priority,
    };
    let text = channel.to_owned();
    let (id, record) = context
        .core()
        .call(move |core| {
            let id = resolve(core, &text)?;
            Ok::<_, EngineError>((id, core.publish(id, draft, None)?))
        })
        .await??;
    tell_stored(context, id, &record).await
}

/// Takes back what this identity published under a kind and key.
pub(super) async fn retract(
    context: &Context,
    channel: &str,
    kind: u32,
    key: String,
) -> Result<(), EngineError> {
    of_application(kind)?;
    let text = channel.to_owned();
    let (id, record) = context
        .core()
        .call(move |core| {
            let id = resolve(core, &text)?;
            let record = core.retract(id, Kind(kind), key.as_bytes(), None)?;
            Ok::<_, EngineError>((id, record))
        })
        .await??;
    tell_stored(context, id, &record).await
}

/// The kinds below are Samara's own, and have commands of their own.
fn of_application(kind: u32) -> Result<(), EngineError> {
    let first = Kind::FIRST_OF_APPLICATIONS;
    if Kind(kind) >= first {
        return Ok(());
    }
    let message = format!(
        "kind {kind} is Samara's own; those of applications begin at {}",
        first.0
    );
    Err(EngineError::new(ErrorKind::Usage, message))
}

/// Says that a record of ours is published, once it is on disk.
async fn tell_stored(context: &Context, id: ChannelId, record: &Record) -> Result<(), EngineError> {
    stored(context, id, record.id()).await?;
    let header = record
        .header()
        .map_err(|e| EngineError::new(ErrorKind::Record, e.to_string()))?;
    let view = RecordView::of(&id, &header, None);
    context.emit(Event::Record(Box::new(view))).await;
    Ok(())
}

/// Until a record of ours is on disk, or turns out not to get there.
async fn stored(context: &Context, id: ChannelId, record: RecordId) -> Result<(), EngineError> {
    let outcome = context.core().wait_for(move |core| {
        let graph = &core.channels.get(&id)?.graph;
        match graph.contains(&record) {
            true => Some(true),
            false => (graph.status().pending == 0).then_some(false),
        }
    });
    match context.unless_cancelled(outcome).await? {
        true => Ok(()),
        false => Err(EngineError::new(
            ErrorKind::Disk,
            "the record could not be written; `samara -v node` says why",
        )),
    }
}

pub(super) async fn get(
    context: &Context,
    channel: &str,
    record: &str,
    output: Option<PathBuf>,
) -> Result<(), EngineError> {
    let id = channel_id(context, channel).await?;
    let text = record.to_owned();
    let view = context
        .blocking(move |store| {
            let wanted = find(store, &id, &text)?;
            let (Some(head), Some(record)) =
                (store.record_head(&id, &wanted)?, read(store, &id, &wanted)?)
            else {
                return Err(missing(&text));
            };
            let header = RecordHeader::decode(&head)
                .map_err(|e| EngineError::new(ErrorKind::Disk, e.to_string()))?;
            let body = match &output {
                Some(path) => {
                    place(path, 0o666, |w| {
                        w.write_all(record.body())
                            .map_err(|e| EngineError::disk(path, &e))
                    })?;
                    None
                }
                None => Some(record.body()),
            };
            Ok(RecordView::of(&id, &header, body.map(|body| &body[..])))
        })
        .await?;
    context.emit(Event::Record(Box::new(view))).await;
    Ok(())
}

/// The record that is meant: by its id, or by the beginning of it. Blocks.
fn find(store: &Store, id: &ChannelId, text: &str) -> Result<RecordId, EngineError> {
    if let Ok(record) = text.parse() {
        return Ok(record);
    }
    let mut found = Vec::new();
    if text.len() >= 4 {
        each_head(store, id, &mut |header| {
            if found.len() < 2 && header.id.to_string().starts_with(text) {
                found.push(header.id);
            }
        })?;
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(missing(text)),
        _ => Err(EngineError::new(
            ErrorKind::Usage,
            format!("\"{text}\" means several records; give more of the id"),
        )),
    }
}

fn missing(text: &str) -> EngineError {
    let message = format!("the channel has no record \"{text}\" here");
    EngineError::new(ErrorKind::NotFound, message)
}
