//! What happens in a channel, as it happens, and from where one left off.

use data_encoding::BASE64;
use samara_store::{About, LogEntry, Logged};
use samara_wire::ChannelId;
use tokio::sync::broadcast::error::RecvError;

use super::{Context, resolve};
use crate::{
    EngineError,
    api::{Change, ErrorKind, Event, RecordAbout},
    core::{Heard, Live, reason_name},
    rfc3339,
};

/// Entries that are read at a time.
const PAGE: usize = 256;

pub(super) async fn watch(
    context: &Context,
    channel: &str,
    since: Option<u64>,
) -> Result<(), EngineError> {
    let text = channel.to_owned();
    let (id, heard) = context
        .core()
        .call(move |core| {
            let id = resolve(core, &text)?;
            core.visit(id);
            Ok::<_, EngineError>((id, core.listen(id)))
        })
        .await??;
    let result = follow(context, id, since, heard).await;
    let _ = context.core().call(move |core| core.leave(id)).await;
    result
}

async fn follow(
    context: &Context,
    id: ChannelId,
    since: Option<u64>,
    mut heard: Heard,
) -> Result<(), EngineError> {
    let watcher = Watcher { context, id };
    // Before the first look, so that nothing falls between.
    let (mut logged, mut live) = context
        .core()
        .call(|core| (core.news.logged(), core.news.live()))
        .await?;
    let mut cursor = match since {
        Some(cursor) => cursor,
        None => watcher.page(u64::MAX).await?.last,
    };
    watcher.emit(cursor, None, Change::Watching).await;
    loop {
        logged.mark_unchanged();
        cursor = watcher.catch_up(cursor).await?;
        let change = tokio::select! {
            () = context.cancel.cancelled() => return Err(super::interrupted()),
            changed = logged.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Err(super::interrupted()),
            },
            words = heard.recv() => match words {
                Ok(words) => Change::Words {
                    peer: words.peer.to_string(),
                    body: BASE64.encode(&words.body),
                },
                Err(RecvError::Lagged(_)) => Change::WordsMissed,
                Err(RecvError::Closed) => return Err(super::interrupted()),
            },
            news = live.recv() => match news {
                Ok((channel, _)) if channel != id => continue,
                Ok((_, news)) => of_live(news),
                Err(RecvError::Lagged(_)) => Change::NeighboursMissed,
                Err(RecvError::Closed) => return Err(super::interrupted()),
            },
        };
        watcher.emit(cursor, None, change).await;
    }
}

struct Watcher<'a> {
    context: &'a Context,
    id: ChannelId,
}

impl Watcher<'_> {
    /// Tells all that is logged after `cursor`; the last one told.
    async fn catch_up(&self, mut cursor: u64) -> Result<u64, EngineError> {
        loop {
            let id = self.id;
            let held = self
                .context
                .core()
                .call(move |core| core.channels.contains_key(&id));
            if !held.await? {
                let gone = "the channel was dropped from this node";
                return Err(EngineError::new(ErrorKind::NotFound, gone));
            }
            let page = self.page(cursor).await?;
            if cursor < page.dropped || cursor > page.last {
                let after = cursor;
                cursor = page.dropped;
                self.emit(cursor, None, Change::Gap { after }).await;
                continue;
            }
            let done = page.entries.len() < PAGE;
            for LogEntry {
                cursor: at,
                at: time,
                what,
            } in page.entries
            {
                cursor = at;
                if let Some(change) = of_entry(what) {
                    let time = Some(rfc3339::format_ms(time.0));
                    self.emit(cursor, time, change).await;
                }
            }
            if self.context.cancel.is_cancelled() {
                return Err(super::interrupted());
            }
            if done {
                return Ok(cursor);
            }
        }
    }

    async fn page(&self, after: u64) -> Result<samara_store::LogPage, EngineError> {
        let id = self.id;
        let page = self
            .context
            .blocking(move |store| Ok(store.log(&id, after, PAGE)?));
        page.await
    }

    async fn emit(&self, cursor: u64, at: Option<String>, change: Change) {
        let event = Event::Change {
            channel: self.id.to_string(),
            cursor,
            at,
            change,
        };
        self.context.emit(event).await;
    }
}

fn of_live(news: Live) -> Change {
    match news {
        Live::NeighbourUp(peer) => Change::NeighbourUp {
            peer: peer.to_string(),
        },
        Live::NeighbourDown(peer) => Change::NeighbourDown {
            peer: peer.to_string(),
        },
        Live::Synchronized(peer) => Change::Synchronized {
            peer: peer.to_string(),
        },
        Live::Present(peer) => Change::Present {
            peer: peer.to_string(),
        },
        Live::Absent(peer) => Change::Absent {
            peer: peer.to_string(),
        },
    }
}

/// None for what a later version logged.
fn of_entry(what: Logged) -> Option<Change> {
    let view = |about: About| {
        RecordAbout::new(
            &about.record,
            about.author.to_string(),
            about.kind,
            &about.key,
        )
    };
    Some(match what {
        Logged::Arrived(about) => Change::Arrived(view(about)),
        Logged::Replaced(about, previous) => Change::Replaced {
            about: view(about),
            previous: previous.to_string(),
        },
        Logged::Removed(about, reason) => match reason_name(reason) {
            "expired" => Change::Expired(view(about)),
            "retracted" => Change::Retracted(view(about)),
            other => Change::Removed {
                about: view(about),
                reason: other.to_owned(),
            },
        },
        Logged::Note(note) => return serde_json::from_slice(&note).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_notes_is_told_and_what_a_later_one_notes_is_passed_over() {
        let joined = Change::MemberJoined {
            peer: "p".repeat(52),
            role: "publisher".to_owned(),
        };
        let note = serde_json::to_vec(&joined).unwrap();
        assert!(note.len() <= samara_store::limits::MAX_LOG_NOTE_BYTES);
        assert_eq!(of_entry(Logged::Note(note)), Some(joined));
        let later = br#"{"change":"charter_framed"}"#.to_vec();
        assert_eq!(of_entry(Logged::Note(later)), None);
    }
}
