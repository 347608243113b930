//! One graph, and neighbours that say whatever a test wants.

use std::time::Duration;

use bytes::Bytes;
use samara_graph::{
    Action, Attributes, Charter, CharterChain, CharterLimits, Config, Event, Fault, Graph, Kind,
    Message, NewRecord, Publishers, Record, Reject, SecretKey, Summary, WallMs,
};
use samara_wire::{ChannelId, PeerId, RecordId};

/// 2025-01-01T00:00:00Z.
pub(crate) const NOW: WallMs = WallMs(1_735_689_600_000);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn key(n: u8) -> SecretKey {
    SecretKey::from_bytes(&[n; 32])
}

pub(crate) struct Lone {
    pub(crate) graph: Graph,
    pub(crate) now: WallMs,
    pub(crate) mono: Duration,
    /// What the last event brought, stores acknowledged.
    pub(crate) out: Vec<Action>,
}

impl Lone {
    /// A channel of key 1, in which keys 1 to 3 publish.
    pub(crate) fn new(limits: CharterLimits) -> Self {
        let mut charter = Charter::open("lone", key(1).peer_id(), NOW, [0; 16]);
        charter.publishers = Publishers::Named((1..=3).map(|n| key(n).peer_id()).collect());
        charter.limits = limits;
        Self::of(&charter)
    }

    /// A channel of that charter, which key 1 signs, with two neighbours.
    pub(crate) fn of(charter: &Charter) -> Self {
        let chain = CharterChain::new(charter.sign(&[&key(1)]).unwrap()).unwrap();
        let config = Config::new(key(100).peer_id(), 1);
        let mut lone = Self {
            graph: Graph::restore(chain, [], config),
            now: NOW,
            mono: Duration::from_secs(5),
            out: Vec::new(),
        };
        lone.up(50);
        lone.up(51);
        lone
    }

    pub(crate) fn channel(&self) -> ChannelId {
        self.graph.channel()
    }

    /// A neighbour that has the charter and nothing else.
    pub(crate) fn up(&mut self, n: u8) {
        let peer = key(n).peer_id();
        self.event(Event::NeighbourUp { peer });
        let hello = Message::Hello {
            charter: self.graph.charters().map(CharterChain::reference),
            address: None,
            summary: Summary::default(),
        };
        self.say(n, hello);
    }

    pub(crate) fn say(&mut self, n: u8, message: Message) -> &[Action] {
        let peer = key(n).peer_id();
        self.event(Event::Message { peer, message })
    }

    pub(crate) fn offer(&mut self, record: &Record) -> &[Action] {
        self.say(50, Message::Record(record.bytes().clone()))
    }

    pub(crate) fn event(&mut self, event: Event) -> &[Action] {
        self.out.clear();
        self.graph.handle(self.now, self.mono, event, &mut self.out);
        self.acknowledge()
    }

    /// The disk says that it has what it was given, and what that brought about.
    pub(crate) fn acknowledge(&mut self) -> &[Action] {
        let mut done = 0;
        while let Some(action) = self.out.get(done) {
            done += 1;
            if let Action::Store { header, .. } = action {
                let id = header.id;
                let stored = Event::Stored { id };
                self.graph
                    .handle(self.now, self.mono, stored, &mut self.out);
            }
        }
        &self.out
    }

    /// Time passes, timers fire when they are due.
    pub(crate) fn pass(&mut self, time: Duration) -> Vec<Action> {
        let (wall, start) = (self.now, self.mono);
        let (end, mut all) = (start + time, Vec::new());
        while let Some(at) = self.graph.next_timeout().filter(|at| *at <= end) {
            let at = at.max(self.mono);
            self.now = wall.after(at - start);
            self.mono = at;
            all.extend_from_slice(self.event(Event::Tick));
        }
        self.now = wall.after(time);
        self.mono = end;
        all
    }

    pub(crate) fn held(&self) -> Vec<RecordId> {
        let mut ids: Vec<_> = self.graph.records().map(|h| h.id).collect();
        ids.sort();
        ids
    }

    pub(crate) fn holds(&self, record: &Record) -> bool {
        self.graph.contains(&record.id())
    }

    pub(crate) fn rejected(&self, reason: Reject) -> u64 {
        let all = self.graph.status().rejected;
        all.iter().find(|(r, _)| *r == reason).map_or(0, |r| r.1)
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        self.out.iter().find_map(|a| match a {
            Action::Fault { fault, .. } => Some(*fault),
            _ => None,
        })
    }
}

pub(crate) fn sent_to(actions: &[Action], n: u8) -> Vec<Message> {
    let to: PeerId = key(n).peer_id();
    let sent = actions.iter().filter_map(|a| match a {
        Action::Send { peer, message } if *peer == to => Some(message.clone()),
        _ => None,
    });
    sent.collect()
}

/// An application's record of author `n`, one hour long.
pub(crate) fn new_record(channel: ChannelId, seq: u64) -> NewRecord {
    NewRecord {
        channel,
        kind: Kind(70_000),
        seq,
        created: NOW,
        expires: NOW.after(HOUR),
        priority: 0,
        key: Bytes::from_static(b"k"),
        attributes: Attributes::default(),
        body: Bytes::from_static(b"b"),
    }
}

pub(crate) fn record(channel: ChannelId, n: u8, seq: u64) -> Record {
    new_record(channel, seq).sign(&key(n)).unwrap()
}
