//! Two members of one channel that meet: alike, or with a hundred records to exchange.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, Criterion};
use samara_graph::{
    Action, Attributes, Charter, CharterChain, CharterLimits, Config, Event, Graph, Kind, Message,
    NewRecord, Record, SecretKey, WallMs,
};
use samara_wire::{PeerId, RecordId};

/// 2025-01-01T00:00:00Z.
const NOW: WallMs = WallMs(1_735_689_600_000);
const RECORDS: u64 = 10_000;
/// Records that each lacks and the other has.
const APART: usize = 50;

struct Channel {
    chain: CharterChain,
    records: Vec<Record>,
    bytes: HashMap<RecordId, Bytes>,
}

impl Channel {
    fn new() -> Self {
        let owner = SecretKey::from_bytes(&[1; 32]);
        let mut charter = Charter::open("bench", owner.peer_id(), NOW, [0; 16]);
        charter.limits = CharterLimits {
            records_per_author: 2 * RECORDS as u32,
            records_total: 2 * RECORDS as u32,
            ..CharterLimits::default()
        };
        let signed = charter.sign(&[&owner]).expect("a sound charter");
        let chain = CharterChain::new(signed).expect("a first charter");
        let record = |seq| {
            let new = NewRecord {
                channel: chain.channel(),
                kind: Kind(70_000),
                seq,
                created: NOW,
                expires: NOW.after(Duration::from_secs(3600)),
                priority: 0,
                key: Bytes::from_static(b"k"),
                attributes: Attributes::default(),
                body: Bytes::from_static(b"b"),
            };
            new.sign(&owner).expect("a sound record")
        };
        let records: Vec<Record> = (1..=RECORDS).map(record).collect();
        let bytes = records.iter().map(|r| (r.id(), r.bytes().clone()));
        Self {
            bytes: bytes.collect(),
            chain,
            records,
        }
    }

    /// A member that lacks `APART` records from `gap` on.
    fn member(&self, name: u8, gap: Option<usize>) -> Graph {
        let lacks = |i: &usize| gap.is_some_and(|gap| (gap..gap + APART).contains(i));
        let held = self.records.iter().enumerate().filter(|(i, _)| !lacks(i));
        let headers = held.map(|(_, record)| record.header().expect("a sound record"));
        let config = Config::new(PeerId([name; 32]), u64::from(name));
        Graph::restore(self.chain.clone(), headers, config)
    }

    /// Everything that the two say to each other until both have nothing to say.
    fn meet(&self, mut members: [Graph; 2]) -> [Graph; 2] {
        let peers = [1, 2].map(|name| PeerId([name; 32]));
        let at = Duration::from_secs(5);
        let mut out = [Vec::new(), Vec::new()];
        for i in 0..2 {
            let peer = peers[1 - i];
            members[i].handle(NOW, at, Event::NeighbourUp { peer }, &mut out[i]);
        }
        while out.iter().any(|actions| !actions.is_empty()) {
            for i in 0..2 {
                for action in std::mem::take(&mut out[i]) {
                    let message = match action {
                        Action::Send { message, .. } => message,
                        Action::SendRecord { id, .. } => Message::Record(self.bytes[&id].clone()),
                        Action::Store { header, .. } => {
                            let stored = Event::Stored { id: header.id };
                            members[i].handle(NOW, at, stored, &mut out[i]);
                            continue;
                        }
                        _ => continue,
                    };
                    let peer = peers[i];
                    let event = Event::Message { peer, message };
                    members[1 - i].handle(NOW, at, event, &mut out[1 - i]);
                }
            }
        }
        members
    }
}

pub(crate) fn bench(c: &mut Criterion) {
    let channel = Channel::new();
    let mut group = c.benchmark_group("reconcile 10,000 records");
    group.sample_size(20);
    for (name, gaps) in [
        ("alike", [None, None]),
        ("100 apart", [Some(1_000), Some(9_000)]),
    ] {
        let setup = || [channel.member(1, gaps[0]), channel.member(2, gaps[1])];
        let met = channel.meet(setup());
        for member in &met {
            assert_eq!(member.records().count(), channel.records.len(), "{name}");
        }
        group.bench_function(name, |b| {
            b.iter_batched(setup, |pair| channel.meet(pair), BatchSize::LargeInput);
        });
    }
}
