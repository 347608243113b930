//! What two members that hold nearly the same say to each other.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use samara_graph::{
    Action, Attributes, Charter, CharterChain, Config, Event, Graph, Kind, Message, NewRecord,
    RecordHeader, SecretKey, WallMs, limits,
};
use samara_wire::{PeerId, RecordId};

/// 2025-01-01T00:00:00Z.
const NOW: WallMs = WallMs(1_735_689_600_000);
/// The years over which records were made, in milliseconds.
const HISTORY: u64 = 3 * 365 * 24 * 3_600_000;
const YEARS: Duration = Duration::from_secs(9 * 365 * 24 * 3600);
const AUTHORS: u8 = 8;

/// What it costs to find out what one lacks of the other's records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Difference {
    /// Bytes of all messages but the records, the first hellos included.
    pub bytes: u64,
    /// Of them, to find the differences; the rest asks for what was found.
    pub reconciling: u64,
    /// Questions of the one that lacks something.
    pub rounds: u64,
    /// Records that it got.
    pub records: u64,
}

fn key(author: u8) -> SecretKey {
    SecretKey::from_bytes(&[author + 1; 32])
}

fn chain() -> CharterChain {
    let mut charter = Charter::open("cost", key(0).peer_id(), NOW, [1; 16]);
    let authors = (0..AUTHORS).map(|a| key(a).peer_id()).collect();
    charter.publishers = samara_graph::Publishers::Named(authors);
    charter.limits.records_per_author = limits::MAX_CHANNEL_RECORDS;
    charter.limits.records_total = limits::MAX_CHANNEL_RECORDS;
    let signed = charter
        .sign(&[&key(0)])
        .expect("a charter within its bounds");
    CharterChain::new(signed).expect("a first charter")
}

/// When the `n`th record was made: anywhere in the history.
fn created(n: u64) -> WallMs {
    let hash = blake3::hash(&n.to_le_bytes());
    let random = u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("32 bytes"));
    WallMs(NOW.0 - random % HISTORY)
}

/// Headers as a store gives them back, of records that nobody signed.
fn headers(n: u64) -> impl Iterator<Item = RecordHeader> {
    let authors: Vec<PeerId> = (0..AUTHORS).map(|a| key(a).peer_id()).collect();
    (0..n).map(move |n| {
        let created = created(n);
        RecordHeader {
            id: RecordId(blake3::hash(&(n ^ 1 << 60).to_le_bytes()).into()),
            author: authors[n as usize % authors.len()],
            kind: Kind(70_000),
            seq: n + 1,
            created,
            expires: created.after(YEARS),
            priority: 0,
            len: 400,
            key: format!("{n:012}").as_bytes().into(),
            attributes: Attributes::default(),
            control: None,
        }
    })
}

fn restore(headers: impl Iterator<Item = RecordHeader>, us: u8) -> Graph {
    let config = Config::new(key(us).peer_id(), us.into());
    Graph::restore(chain(), headers, config)
}

/// A graph of `n` records, restored from their headers.
pub fn held(n: u64) -> Graph {
    let mut graph = restore(headers(n), 100);
    graph.handle(NOW, Duration::from_secs(1), Event::Tick, &mut Vec::new());
    graph
}

/// What [`held`] spends on making the headers up.
pub fn made_up(n: u64) -> usize {
    headers(n).map(|h| h.key.len()).sum()
}

/// Two copies: both hold `common` records, one of them `more`, made last or, if
/// `scattered`, at any time.
pub fn reconcile(common: u64, more: u64, scattered: bool) -> Difference {
    let mut bodies: BTreeMap<RecordId, Bytes> = BTreeMap::new();
    let mut theirs = Vec::new();
    let channel = chain().channel();
    for n in 0..more {
        let created = match scattered {
            true => created(n + (1 << 40)),
            false => WallMs(NOW.0 + n),
        };
        let new = NewRecord {
            channel,
            kind: Kind(70_000),
            seq: common + n + 1,
            created,
            expires: created.after(YEARS),
            priority: 0,
            key: Bytes::from(n.to_string()),
            attributes: Attributes::default(),
            body: Bytes::from_static(&[b'x'; 120]),
        };
        let record = new.sign(&key((n % u64::from(AUTHORS)) as u8));
        let record = record.expect("a record within its bounds");
        theirs.push(record.header().expect("an application's kind"));
        bodies.insert(record.id(), record.bytes().clone());
    }
    let peers = [key(100).peer_id(), key(101).peer_id()];
    let mut graphs = [
        restore(headers(common), 100),
        restore(headers(common).chain(theirs), 101),
    ];
    let mut talk = Talk {
        bodies: &bodies,
        cost: Difference::default(),
        mono: Duration::from_secs(1),
    };
    let mut under_way = Vec::new();
    for side in 0..2 {
        let peer = peers[1 - side];
        let up = Event::NeighbourUp { peer };
        talk.tell(&mut graphs[side], side, up, &mut under_way);
    }
    // Until nobody has anything to say; time passes for those who wait.
    while talk.mono < Duration::from_secs(30) {
        for (from, message) in std::mem::take(&mut under_way) {
            let (to, peer) = (1 - from, peers[from]);
            let said = Event::Message { peer, message };
            talk.tell(&mut graphs[to], to, said, &mut under_way);
        }
        if under_way.is_empty() {
            talk.mono += Duration::from_millis(500);
            for (side, graph) in graphs.iter_mut().enumerate() {
                talk.tell(graph, side, Event::Tick, &mut under_way);
            }
        }
    }
    talk.cost
}

struct Talk<'a> {
    bodies: &'a BTreeMap<RecordId, Bytes>,
    cost: Difference,
    mono: Duration,
}

impl Talk<'_> {
    fn tell(
        &mut self,
        graph: &mut Graph,
        side: usize,
        event: Event,
        under_way: &mut Vec<(usize, Message)>,
    ) {
        let mut out = Vec::new();
        graph.handle(NOW, self.mono, event, &mut out);
        for action in out {
            match action {
                Action::Send { message, .. } => {
                    self.count(side, &message);
                    under_way.push((side, message));
                }
                Action::SendRecord { id, .. } => {
                    let body = self.bodies[&id].clone();
                    under_way.push((side, Message::Record(body)));
                }
                Action::Store { header, .. } => {
                    self.cost.records += 1;
                    let stored = Event::Stored { id: header.id };
                    self.tell(graph, side, stored, under_way);
                }
                _ => {}
            }
        }
    }

    fn count(&mut self, side: usize, message: &Message) {
        let bytes = message.encode().len() as u64;
        self.cost.bytes += bytes;
        match message {
            Message::Reconcile { .. } => {
                self.cost.reconciling += bytes;
                self.cost.rounds += u64::from(side == 0);
            }
            Message::Reconciled { .. } => self.cost.reconciling += bytes,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_costs_a_hello_and_a_difference_what_it_is_worth() {
        let same = reconcile(2000, 0, false);
        assert_eq!((same.records, same.reconciling, same.rounds), (0, 0, 0));
        assert!(same.bytes < 200, "{same:?}");
        for scattered in [false, true] {
            let some = reconcile(2000, 50, scattered);
            assert_eq!(some.records, 50);
            assert!(some.reconciling < 2050 * 32, "{some:?}");
        }
        assert_eq!(held(1000).records().count(), 1000);
    }
}
