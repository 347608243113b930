//! What happened in a channel, in order, for applications that were away: an entry
//! is written in the commit of what it tells of, so neither is there without the
//! other. Cursors count from 1 in each channel and are never used twice, also when
//! the channel is removed and comes back.

use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};
use samara_graph::{Kind, RecordHeader, WallMs, limits::MAX_KEY_BYTES};
use samara_wire::{ChannelId, PeerId, Reader, RecordId, WireError, Writer};

use crate::limits::{MAX_LOG_EVENTS, MAX_LOG_NOTE_BYTES};

/// Channel, then cursor (big-endian): a channel's entries stand in order.
const EVENTS: TableDefinition<'_, [u8; 40], &[u8]> = TableDefinition::new("events");
/// A channel's last cursor, and the last one that is not kept any more. Stays when
/// the channel goes: else an old cursor would mean something else afterwards.
const ENDS: TableDefinition<'_, [u8; 32], (u64, u64)> = TableDefinition::new("event ends");
/// Channel and topic to the record that was written last about it.
const TOPICS: TableDefinition<'_, [u8; 48], [u8; 32]> = TableDefinition::new("topics");

/// An entry of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place; 1 more than that of the entry before it.
    pub cursor: u64,
    /// When it was written.
    pub at: WallMs,
    /// What happened.
    pub what: Logged,
}

/// What an entry tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logged {
    /// A record was written.
    Arrived(About),
    /// A record was written, with the author, kind and key of another one that is
    /// there. A record without a key replaces none.
    Replaced(About, RecordId),
    /// A record was removed, for a reason of the caller's numbering.
    Removed(About, u8),
    /// Something of the caller's own, at most [`MAX_LOG_NOTE_BYTES`].
    Note(Vec<u8>),
}

/// Which record, and what it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The record.
    pub record: RecordId,
    /// Who signed it.
    pub author: PeerId,
    /// Its kind.
    pub kind: Kind,
    /// Its key.
    pub key: Box<[u8]>,
}

/// A part of a channel's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The last cursor that was given out; 0 if none was.
    pub last: u64,
    /// The last cursor whose entry is not kept any more; 0 if all are.
    pub dropped: u64,
    /// In order.
    pub entries: Vec<LogEntry>,
}

/// The tables of the log, within a commit.
pub(crate) struct Log<'tx> {
    events: Table<'tx, [u8; 40], &'static [u8]>,
    ends: Table<'tx, [u8; 32], (u64, u64)>,
    topics: Table<'tx, [u8; 48], [u8; 32]>,
}

impl<'tx> Log<'tx> {
    pub(crate) fn open(tx: &'tx WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            events: tx.open_table(EVENTS)?,
            ends: tx.open_table(ENDS)?,
            topics: tx.open_table(TOPICS)?,
        })
    }

    /// A record is written for the first time, under the head `head`.
    pub(crate) fn put(
        &mut self,
        channel: &ChannelId,
        head: &[u8],
        at: WallMs,
    ) -> Result<(), redb::Error> {
        // A head that does not read back is none of a record's.
        let Ok(header) = RecordHeader::decode(head) else {
            return Ok(());
        };
        let about = About::of(&header);
        let mut previous = None;
        if let Some(topic) = topic(channel, &about) {
            let old = self.topics.insert(topic, about.record.0)?;
            previous = old.map(|id| RecordId(id.value()));
        }
        let what = match previous {
            Some(previous) => Logged::Replaced(about, previous),
            None => Logged::Arrived(about),
        };
        self.append(channel, at, &what)
    }

    /// A record that was there under the head `head` is removed.
    pub(crate) fn remove(
        &mut self,
        channel: &ChannelId,
        head: &[u8],
        logged: Option<(u8, WallMs)>,
    ) -> Result<(), redb::Error> {
        let Ok(header) = RecordHeader::decode(head) else {
            return Ok(());
        };
        let about = About::of(&header);
        if let Some(topic) = topic(channel, &about) {
            let holds = self.topics.get(topic)?.map(|id| id.value());
            if holds == Some(about.record.0) {
                self.topics.remove(topic)?;
            }
        }
        match logged {
            Some((reason, at)) => self.append(channel, at, &Logged::Removed(about, reason)),
            None => Ok(()),
        }
    }

    /// Adds an entry; the oldest goes when there are too many.
    pub(crate) fn append(
        &mut self,
        channel: &ChannelId,
        at: WallMs,
        what: &Logged,
    ) -> Result<(), redb::Error> {
        let ends = self.ends.get(channel.0)?.map(|ends| ends.value());
        let (last, mut dropped) = ends.unwrap_or((0, 0));
        let last = last + 1;
        let bytes = encode(at, what);
        self.events.insert(key(channel, last), &bytes[..])?;
        while last - dropped > MAX_LOG_EVENTS {
            dropped += 1;
            self.events.remove(key(channel, dropped))?;
        }
        self.ends.insert(channel.0, (last, dropped))?;
        Ok(())
    }

    /// All entries go; the numbers do not start again.
    pub(crate) fn remove_channel(&mut self, channel: &ChannelId) -> Result<(), redb::Error> {
        let ends = self.ends.get(channel.0)?.map(|ends| ends.value());
        if let Some((last, _)) = ends {
            self.ends.insert(channel.0, (last, last))?;
        }
        let all = key(channel, 0)..=key(channel, u64::MAX);
        self.events.retain_in(all, |_, _| false)?;
        let mut ends = [[0; 48], [0xff; 48]];
        for end in &mut ends {
            end[..32].copy_from_slice(&channel.0);
        }
        self.topics.retain_in(ends[0]..=ends[1], |_, _| false)?;
        Ok(())
    }
}

/// Up to `limit` entries after a cursor.
pub(crate) fn read(
    tx: &ReadTransaction,
    channel: &ChannelId,
    after: u64,
    limit: usize,
) -> Result<LogPage, redb::Error> {
    let ends = tx.open_table(ENDS)?;
    let ends = ends.get(channel.0)?.map(|ends| ends.value());
    let (last, dropped) = ends.unwrap_or((0, 0));
    let events = tx.open_table(EVENTS)?;
    let mut entries = Vec::new();
    let rest = key(channel, after.saturating_add(1))..=key(channel, u64::MAX);
    for row in events.range(rest)?.take(limit) {
        let (key, value) = row?;
        let cursor = *key.value().last_chunk().expect("eight of forty bytes");
        // What does not read back was not written by us.
        if let Ok((at, what)) = decode(value.value()) {
            let cursor = u64::from_be_bytes(cursor);
            entries.push(LogEntry { cursor, at, what });
        }
    }
    Ok(LogPage {
        last,
        dropped,
        entries,
    })
}

impl About {
    fn of(header: &RecordHeader) -> Self {
        Self {
            record: header.id,
            author: header.author,
            kind: header.kind,
            key: header.key.clone(),
        }
    }

    fn write(&self, w: &mut Writer) {
        self.record.write(w);
        self.author.write(w);
        w.varint(self.kind.0.into());
        w.bytes(&self.key);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            record: RecordId::read(r)?,
            author: PeerId::read(r)?,
            kind: Kind(r.varint32("kind", u32::MAX)?),
            key: r.bytes("key", MAX_KEY_BYTES)?.into(),
        })
    }
}

/// What a record with a key is about, within its channel.
fn topic(channel: &ChannelId, about: &About) -> Option<[u8; 48]> {
    if about.key.is_empty() {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(&about.author.0);
    hasher.update(&about.kind.0.to_le_bytes());
    hasher.update(&about.key);
    let mut topic = [0; 48];
    topic[..32].copy_from_slice(&channel.0);
    topic[32..].copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Some(topic)
}

fn key(channel: &ChannelId, cursor: u64) -> [u8; 40] {
    let mut key = [0; 40];
    key[..32].copy_from_slice(&channel.0);
    key[32..].copy_from_slice(&cursor.to_be_bytes());
    key
}

fn encode(at: WallMs, what: &Logged) -> Vec<u8> {
    let mut w = Writer::with_capacity(160);
    w.u64(at.0);
    match what {
        Logged::Arrived(about) => {
            w.u8(0);
            about.write(&mut w);
        }
        Logged::Replaced(about, previous) => {
            w.u8(1);
            about.write(&mut w);
            previous.write(&mut w);
        }
        Logged::Removed(about, reason) => {
            w.u8(2);
            about.write(&mut w);
            w.u8(*reason);
        }
        Logged::Note(bytes) => {
            w.u8(3);
            w.raw(bytes);
        }
    }
    w.finish()
}

fn decode(bytes: &[u8]) -> Result<(WallMs, Logged), WireError> {
    let mut r = Reader::new(bytes);
    let at = WallMs(r.u64("time")?);
    let what = match r.u8("entry")? {
        0 => Logged::Arrived(About::read(&mut r)?),
        1 => Logged::Replaced(About::read(&mut r)?, RecordId::read(&mut r)?),
        2 => Logged::Removed(About::read(&mut r)?, r.u8("reason")?),
        3 => Logged::Note(r.rest().to_vec()),
        _ => return Err(WireError::Invalid { field: "entry" }),
    };
    r.finish()?;
    Ok((at, what))
}

/// Whether a note may be logged.
pub(crate) fn fits(note: &[u8]) -> bool {
    note.len() <= MAX_LOG_NOTE_BYTES
}

#[cfg(test)]
mod tests {
    use samara_graph::Attributes;

    use super::*;
    use crate::{Batch, Store, StoreConfig};

    const C: ChannelId = ChannelId([7; 32]);
    const AT: WallMs = WallMs(5);

    fn header(id: u8, key: &[u8]) -> RecordHeader {
        RecordHeader {
            id: RecordId([id; 32]),
            author: PeerId([1; 32]),
            kind: Kind(70_000),
            seq: id.into(),
            created: WallMs(1),
            expires: WallMs(2),
            priority: 0,
            len: 100,
            key: key.into(),
            attributes: Attributes::default(),
            control: None,
        }
    }

    fn put(batch: &mut Batch, header: &RecordHeader) {
        batch.put_record_logged(&C, &header.id, &header.encode(), b"bytes", AT);
    }

    fn store(dir: &std::path::Path) -> Store {
        Store::open(dir, StoreConfig::default()).unwrap()
    }

    fn logged(store: &Store, after: u64) -> Vec<(u64, Logged)> {
        let page = store.log(&C, after, 1000).unwrap();
        page.entries
            .into_iter()
            .map(|e| (e.cursor, e.what))
            .collect()
    }

    #[test]
    fn what_happens_is_told_in_order_also_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, loose) = (header(1, b"k"), header(2, b"k"), header(3, b""));
        let opened = store(dir.path());
        let mut batch = Batch::new();
        put(&mut batch, &a);
        put(&mut batch, &b);
        put(&mut batch, &loose);
        put(&mut batch, &header(4, b""));
        opened.write(batch).unwrap();
        let mut batch = Batch::new();
        batch.remove_record_logged(&C, &a.id, 9, AT);
        // What is not there is not told of.
        batch.remove_record_logged(&C, &a.id, 9, AT);
        batch.note(&C, b"hello", AT);
        opened.write(batch).unwrap();
        drop(opened);

        let opened = store(dir.path());
        let about = |h: &RecordHeader| About::of(h);
        assert_eq!(
            logged(&opened, 0),
            [
                (1, Logged::Arrived(about(&a))),
                (2, Logged::Replaced(about(&b), a.id)),
                (3, Logged::Arrived(about(&loose))),
                (4, Logged::Arrived(about(&header(4, b"")))),
                (5, Logged::Removed(about(&a), 9)),
                (6, Logged::Note(b"hello".to_vec())),
            ]
        );
        assert_eq!(logged(&opened, 5).len(), 1);
        let page = opened.log(&C, 1, 2).unwrap();
        assert_eq!((page.last, page.dropped), (6, 0));
        assert_eq!(
            page.entries.iter().map(|e| e.cursor).collect::<Vec<_>>(),
            [2, 3]
        );
        assert_eq!(page.entries[0].at, AT);
        // The second is still the topic's; when it goes, the next one replaces nothing.
        let mut batch = Batch::new();
        batch.remove_record(&C, &b.id);
        put(&mut batch, &header(5, b"k"));
        opened.write(batch).unwrap();
        let last = logged(&opened, 6);
        assert_eq!(last, [(7, Logged::Arrived(about(&header(5, b"k"))))]);
        // Written again, a record is no news.
        let mut batch = Batch::new();
        put(&mut batch, &header(5, b"k"));
        opened.write(batch).unwrap();
        assert_eq!(logged(&opened, 7), []);
    }

    #[test]
    fn the_oldest_go_and_the_numbers_stay() {
        let dir = tempfile::tempdir().unwrap();
        let opened = store(dir.path());
        let notes = |n: u64| {
            let mut batch = Batch::new();
            for _ in 0..n {
                batch.note(&C, b"", AT);
            }
            opened.write(batch).unwrap();
        };
        notes(MAX_LOG_EVENTS);
        assert_eq!(opened.log(&C, 0, 1).unwrap().dropped, 0);
        notes(1);
        let page = opened.log(&C, 0, 1).unwrap();
        assert_eq!((page.dropped, page.last), (1, MAX_LOG_EVENTS + 1));
        assert_eq!(page.entries[0].cursor, 2);

        let mut batch = Batch::new();
        batch.remove_channel(&C);
        opened.write(batch).unwrap();
        let page = opened.log(&C, 0, 1).unwrap();
        assert_eq!((page.dropped, page.entries.len()), (MAX_LOG_EVENTS + 1, 0));
        notes(1);
        assert_eq!(
            opened.log(&C, 0, 9).unwrap().entries[0].cursor,
            MAX_LOG_EVENTS + 2
        );
        // Another channel counts for itself.
        let other = opened.log(&ChannelId([8; 32]), 0, 9).unwrap();
        assert_eq!((other.last, other.dropped), (0, 0));
    }

    #[test]
    #[should_panic(expected = "the note is too large")]
    fn a_note_has_a_bound() {
        let mut batch = Batch::new();
        batch.note(&C, &[0; MAX_LOG_NOTE_BYTES], AT);
        batch.note(&C, &[0; MAX_LOG_NOTE_BYTES + 1], AT);
    }
}
