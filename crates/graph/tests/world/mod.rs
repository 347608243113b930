//! A made-up network in virtual time: graphs, disks and links, everything from one
//! seed. Time jumps to whatever is next.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::LazyLock,
    time::Duration,
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use samara_graph::{
    Action, Attributes, Charter, CharterChain, Config, Draft, Event, Graph, Kind, Link, LinkPeer,
    Message, PeerAddress, Record, RecordHeader, SecretKey, WallMs,
};
use samara_wire::{PeerId, RecordId};

/// 2025-01-01T00:00:00Z.
pub(crate) const START: u64 = 1_735_689_600_000;
const DISK: Duration = Duration::from_millis(5);

pub(crate) struct Node {
    pub(crate) graph: Graph,
    pub(crate) disk: BTreeMap<RecordId, (RecordHeader, Bytes)>,
    pub(crate) charters: Option<CharterChain>,
    pub(crate) skew_ms: i64,
    pub(crate) synchronized: usize,
    pub(crate) delivered: Vec<RecordId>,
    pub(crate) faults: Vec<PeerId>,
    pub(crate) alive: bool,
    timer: Option<Duration>,
}

enum What {
    Dropped {
        at: usize,
        other: usize,
    },
    Deliver {
        to: usize,
        from: PeerId,
        bytes: Bytes,
    },
    Up {
        a: usize,
        b: usize,
    },
    Failed {
        at: usize,
        peer: PeerId,
    },
    Stored {
        at: usize,
        id: RecordId,
    },
    Timer {
        at: usize,
    },
}

pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) mono: Duration,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) links: BTreeSet<(usize, usize)>,
    /// Which connections can exist at all.
    pub(crate) reachable: fn(usize, usize) -> bool,
    /// How long a message takes from one to another.
    pub(crate) latency: fn(usize, usize) -> Duration,
    pub(crate) bytes_sent: u64,
    pub(crate) trace: blake3::Hasher,
    queue: BTreeMap<(Duration, u64), (What, u64)>,
    order: u64,
    /// Counts how often a pair's link was cut: what was under way then is lost.
    cuts: BTreeMap<(usize, usize), u64>,
}

/// The key of node `n`; made once, since making one costs as much as an event.
pub(crate) fn key(n: usize) -> SecretKey {
    KEYS[n].0.clone()
}

pub(crate) fn id(n: usize) -> PeerId {
    KEYS[n].1
}

static KEYS: LazyLock<Vec<(SecretKey, PeerId)>> = LazyLock::new(|| {
    let pair = |n: u8| {
        let key = SecretKey::from_bytes(&[n; 32]);
        let id = key.peer_id();
        (key, id)
    };
    (1..=32).map(pair).collect()
});

pub(crate) fn addr(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 4242))
}

/// An open channel of node 0, in which the first `publishers` nodes publish.
pub(crate) fn charter(publishers: usize) -> Charter {
    let mut charter = Charter::open("world", id(0), WallMs(START), [9; 16]);
    let named = (0..publishers).map(id).collect();
    charter.publishers = samara_graph::Publishers::Named(named);
    charter
}

pub(crate) fn chain(charter: &Charter) -> CharterChain {
    CharterChain::new(charter.sign(&[&key(0)]).unwrap()).unwrap()
}

pub(crate) fn draft(key: &str, lifetime: Duration) -> Draft {
    Draft {
        kind: Kind(70_000),
        key: Bytes::copy_from_slice(key.as_bytes()),
        attributes: Attributes::default(),
        body: Bytes::from_static(b"body"),
        lifetime,
        priority: 0,
    }
}

impl World {
    /// `n` nodes that know no one; the first of them hold the charter, the others a link.
    pub(crate) fn new(seed: u64, n: usize, with_charter: usize, charter: &Charter) -> Self {
        let mut world = Self {
            nodes: Vec::new(),
            mono: Duration::from_secs(1000),
            rng: ChaCha8Rng::seed_from_u64(seed),
            links: BTreeSet::new(),
            reachable: |_, _| true,
            // Ordered within a link, different between links.
            latency: |at, to| Duration::from_millis(5 + (at * 7 + to * 7) as u64 % 60),
            bytes_sent: 0,
            trace: blake3::Hasher::new(),
            queue: BTreeMap::new(),
            order: 0,
            cuts: BTreeMap::new(),
        };
        for i in 0..n {
            let chain = chain(charter);
            match i < with_charter {
                true => world.add_owner(chain),
                false => {
                    let link = Link::new(chain.channel(), chain.reference(), &[]);
                    world.add(&link)
                }
            };
        }
        world
    }

    pub(crate) fn config(&self, at: usize) -> Config {
        Config::new(id(at), at as u64)
    }

    pub(crate) fn add_owner(&mut self, chain: CharterChain) -> usize {
        let config = self.config(self.nodes.len());
        let graph = Graph::restore(chain.clone(), [], config);
        self.push(graph, Some(chain))
    }

    /// A node that has but a link; it starts by connecting to the link's peers.
    pub(crate) fn add(&mut self, link: &Link) -> usize {
        let graph = Graph::join(
            link.channel(),
            link.charter(),
            self.config(self.nodes.len()),
        );
        let at = self.push(graph, None);
        for LinkPeer { peer, .. } in link.peers() {
            let to = self.find(peer).unwrap();
            self.connect(at, to);
        }
        at
    }

    fn push(&mut self, graph: Graph, charters: Option<CharterChain>) -> usize {
        let at = self.nodes.len();
        self.nodes.push(Node {
            graph,
            disk: BTreeMap::new(),
            charters,
            skew_ms: 0,
            synchronized: 0,
            delivered: Vec::new(),
            faults: Vec::new(),
            alive: true,
            timer: None,
        });
        self.introduce(at);
        at
    }

    fn introduce(&mut self, at: usize) {
        let address = PeerAddress::sign(&key(at), &[addr(at)], self.wall(at));
        self.event(at, Event::OurAddress(address));
    }

    pub(crate) fn wall(&self, at: usize) -> WallMs {
        let since = self.mono.as_millis() as i64 - 1_000_000;
        WallMs((START as i64 + since + self.nodes[at].skew_ms) as u64)
    }

    pub(crate) fn find(&self, peer: &PeerId) -> Option<usize> {
        (0..self.nodes.len()).find(|n| id(*n) == *peer)
    }

    pub(crate) fn publish(&mut self, at: usize, draft: Draft) -> Record {
        let (now, mut out) = (self.wall(at), Vec::new());
        let record = self.nodes[at]
            .graph
            .publish(now, &key(at), draft, &mut out)
            .unwrap();
        self.perform(at, out);
        record
    }

    pub(crate) fn retract(&mut self, at: usize, name: &str) -> Record {
        let (now, mut out) = (self.wall(at), Vec::new());
        let record = self.nodes[at]
            .graph
            .retract(now, &key(at), Kind(70_000), name.as_bytes(), &mut out)
            .unwrap();
        self.perform(at, out);
        record
    }

    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        self.schedule(Duration::from_millis(30), What::Up { a, b });
    }

    pub(crate) fn cut(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))) {
            *self.cuts.entry((a.min(b), a.max(b))).or_default() += 1;
            for (at, other) in [(a, b), (b, a)] {
                let peer = id(other);
                self.event(at, Event::NeighbourDown { peer });
            }
        }
    }

    /// The machine is gone: links drop, nothing of it runs any more.
    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at].alive = false;
        for (a, b) in self.links.clone() {
            if a == at || b == at {
                self.cut(a, b);
            }
        }
    }

    /// Starts again from what was on its disk.
    pub(crate) fn restart(&mut self, at: usize) {
        let config = self.config(at);
        let node = &mut self.nodes[at];
        let headers = node.disk.values().map(|(h, _)| {
            let bytes = h.encode();
            RecordHeader::decode(&bytes).unwrap()
        });
        let chain = CharterChain::decode(&node.charters.as_ref().unwrap().encode()).unwrap();
        node.graph = Graph::restore(chain, headers.collect::<Vec<_>>(), config);
        node.alive = true;
        self.introduce(at);
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.mono + time;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end {
                break;
            }
            let ((at, _), (what, cuts)) = entry.remove_entry();
            self.mono = at;
            self.happen(what, cuts);
        }
        self.mono = end;
    }

    /// The records of a node that have not ended, by its own graph.
    pub(crate) fn held(&self, at: usize) -> BTreeSet<RecordId> {
        self.nodes[at].graph.records().map(|h| h.id).collect()
    }

    pub(crate) fn assert_alike(&self, expected: usize) {
        let mut alive = (0..self.nodes.len()).filter(|n| self.nodes[*n].alive);
        let first = self.held(alive.next().unwrap());
        assert_eq!(first.len(), expected, "records held by the first");
        for n in alive {
            let held = self.held(n);
            let missing = first.difference(&held).count();
            let more = held.difference(&first).count();
            assert_eq!((missing, more), (0, 0), "missing and more at node {n}");
            let disk: BTreeSet<_> = self.nodes[n].disk.keys().copied().collect();
            assert_eq!(disk, held, "disk of node {n}");
        }
        for (n, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.faults, [], "faults seen by node {n}");
        }
    }

    fn schedule(&mut self, after: Duration, what: What) {
        let cuts = match &what {
            What::Deliver { to, from, .. } => {
                let from = self.find(from).unwrap();
                let pair = (from.min(*to), from.max(*to));
                self.cuts.get(&pair).copied().unwrap_or(0)
            }
            _ => 0,
        };
        self.order += 1;
        self.queue
            .insert((self.mono + after, self.order), (what, cuts));
    }

    fn happen(&mut self, what: What, cuts: u64) {
        match what {
            What::Deliver { to, from, bytes } => {
                let sender = self.find(&from).unwrap();
                let pair = (sender.min(to), sender.max(to));
                if self.links.contains(&pair) && self.cuts.get(&pair).copied().unwrap_or(0) == cuts
                {
                    self.trace.update(&bytes);
                    let message = Message::decode(&bytes).unwrap();
                    assert_eq!(message.encode(), bytes, "one encoding");
                    self.event(
                        to,
                        Event::Message {
                            peer: from,
                            message,
                        },
                    );
                }
            }
            What::Up { a, b } => {
                let possible = self.nodes[a].alive && self.nodes[b].alive && (self.reachable)(a, b);
                if !possible {
                    let peer = id(b);
                    self.event(a, Event::ConnectFailed { peer });
                } else if self.links.insert((a.min(b), a.max(b))) {
                    for (at, other) in [(a, b), (b, a)] {
                        let peer = id(other);
                        self.event(at, Event::NeighbourUp { peer });
                    }
                }
            }
            What::Failed { at, peer } => self.event(at, Event::ConnectFailed { peer }),
            What::Dropped { at, other } => self.cut(at, other),
            What::Stored { at, id } => self.event(at, Event::Stored { id }),
            What::Timer { at } => {
                if self.nodes[at].timer.is_some_and(|t| t <= self.mono) {
                    self.nodes[at].timer = None;
                    self.event(at, Event::Tick);
                }
            }
        }
    }

    pub(crate) fn event(&mut self, at: usize, event: Event) {
        if !self.nodes[at].alive {
            return;
        }
        let (now, mut out) = (self.wall(at), Vec::new());
        self.nodes[at].graph.handle(now, self.mono, event, &mut out);
        self.perform(at, out);
    }

    fn perform(&mut self, at: usize, actions: Vec<Action>) {
        let us = id(at);
        for action in actions {
            match action {
                Action::Send { peer, message } => self.send(at, &peer, message.encode().into()),
                Action::SendRecord { peer, id } => {
                    let bytes = self.nodes[at].disk[&id].1.clone();
                    self.send(at, &peer, Message::Record(bytes).encode().into());
                }
                Action::Store { header, bytes } => {
                    let id = header.id;
                    self.nodes[at].disk.insert(id, (header, bytes));
                    self.schedule(DISK, What::Stored { at, id });
                }
                Action::StoreCharters { chain } => self.nodes[at].charters = Some(chain),
                Action::Deliver { record } => self.nodes[at].delivered.push(record.id()),
                Action::Remove { id, .. } => {
                    self.nodes[at].disk.remove(&id);
                }
                Action::Connect { peer, addrs } => {
                    let to = self.find(&peer).unwrap();
                    assert_eq!(addrs, [addr(to)]);
                    match self.nodes[to].alive {
                        true => self.connect(at, to),
                        false => self.schedule(Duration::from_secs(3), What::Failed { at, peer }),
                    }
                }
                Action::Drop { peer, .. } => {
                    let other = self.find(&peer).unwrap();
                    // What was sent before it still arrives.
                    self.schedule(Duration::from_millis(100), What::Dropped { at, other });
                }
                Action::Fault { peer, .. } => {
                    let other = self.find(&peer).unwrap();
                    self.nodes[at].faults.push(peer);
                    self.links.remove(&(at.min(other), at.max(other)));
                    self.event(other, Event::NeighbourDown { peer: us });
                }
                Action::Synchronized { .. } => self.nodes[at].synchronized += 1,
                Action::Expel { peer, .. } => {
                    let other = self.find(&peer).unwrap();
                    self.links.remove(&(at.min(other), at.max(other)));
                    self.event(other, Event::NeighbourDown { peer: us });
                }
                Action::MembersFound { .. }
                | Action::MemberJoined { .. }
                | Action::RoleChanged { .. }
                | Action::MemberLeft { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        let Some(next) = self.nodes[at].graph.next_timeout() else {
            return;
        };
        // A timer that is always due would stop time.
        let next = next.max(self.mono + Duration::from_millis(1));
        if self.nodes[at].timer.is_none_or(|t| next < t) {
            self.nodes[at].timer = Some(next);
            self.schedule(next - self.mono, What::Timer { at });
        }
    }

    fn send(&mut self, at: usize, peer: &PeerId, bytes: Bytes) {
        let to = self.find(peer).unwrap();
        self.bytes_sent += bytes.len() as u64;
        let latency = (self.latency)(at, to);
        let from = id(at);
        self.schedule(latency, What::Deliver { to, from, bytes });
    }

    pub(crate) fn pick(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }
}
