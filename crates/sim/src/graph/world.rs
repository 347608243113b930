//! Members, their disks and links in virtual time. Time jumps to whatever is next.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use samara_graph::{
    Action, Attributes, Charter, CharterChain, Config, Draft, Event, Graph, Kind, Message,
    PeerAddress, Publishers, Record, RecordHeader, SecretKey, WallMs,
};
use samara_wire::{PeerId, RecordId};

/// 2025-01-01T00:00:00Z.
const START: u64 = 1_735_689_600_000;
/// One way, on every link.
pub(super) const LATENCY: Duration = Duration::from_millis(40);
/// From the order to write until it is on the disk.
const DISK: Duration = Duration::from_millis(5);
/// Until a connection is there, or was refused.
const HANDSHAKE: Duration = Duration::from_millis(120);
/// Until an attempt at nobody is given up.
const UNANSWERED: Duration = Duration::from_secs(5);
/// Until the end of a dead peer's connection is noticed.
pub(super) const DETECTION: Duration = Duration::from_secs(10);
/// Addresses that a member remembers for its next start.
const REMEMBERED: usize = 32;

/// Who can reach whom.
pub(super) type Reachable = fn(usize, usize) -> bool;

pub(super) struct Member {
    pub(super) graph: Graph,
    key: SecretKey,
    id: PeerId,
    charters: Option<CharterChain>,
    disk: BTreeSet<RecordId>,
    /// The other end of each connection, and which connection of the two it is.
    links: BTreeMap<usize, u64>,
    pub(super) skew_ms: i64,
    pub(super) alive: bool,
    timer: Option<Duration>,
    /// What became of each record here.
    pub(super) story: Vec<Story>,
}

/// What became of one record at one member.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Story {
    /// Links from its author; 0: it has not come yet, or this is its author.
    pub(super) hops: u8,
    /// When it was on the disk.
    pub(super) delivered: Option<Duration>,
    pub(super) removed: bool,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    /// Messages sent.
    pub messages: u64,
    /// Their bytes, without frames and packets around them.
    pub bytes: u64,
    /// Whole records among them.
    pub bodies: u64,
}

enum What {
    Deliver {
        to: usize,
        from: usize,
        link: u64,
        message: Message,
    },
    Up {
        a: usize,
        b: usize,
    },
    Down {
        at: usize,
        other: usize,
        link: u64,
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

pub(super) struct World {
    pub(super) members: Vec<Member>,
    pub(super) mono: Duration,
    pub(super) rng: ChaCha8Rng,
    pub(super) reachable: Reachable,
    pub(super) traffic: Traffic,
    pub(super) faults: u64,
    /// Records that came again to a member after they had ended there.
    pub(super) risen: u64,
    pub(super) events: u64,
    records: HashMap<RecordId, (usize, RecordHeader, Bytes)>,
    ids: Vec<RecordId>,
    chain: CharterChain,
    index: HashMap<PeerId, usize>,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    due: HashMap<u64, What>,
    order: u64,
    connections: u64,
    trace: DefaultHasher,
}

fn key(member: usize) -> SecretKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(member as u64).to_le_bytes());
    SecretKey::from_bytes(&seed)
}

fn addr(member: usize) -> SocketAddr {
    let [_, a, b, c] = (member as u32).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 7421))
}

impl World {
    /// A channel whose first `publishers` members may publish; the first of them is
    /// there.
    pub(super) fn new(seed: u64, publishers: usize) -> Self {
        let root = key(0).peer_id();
        let mut charter = Charter::open("simulated", root, WallMs(START), [9; 16]);
        charter.publishers = Publishers::Named((0..publishers).map(|n| key(n).peer_id()).collect());
        let signed = charter
            .sign(&[&key(0)])
            .expect("a charter within its bounds");
        let mut world = Self {
            members: Vec::new(),
            mono: Duration::from_secs(1000),
            rng: ChaCha8Rng::seed_from_u64(seed),
            reachable: |_, _| true,
            traffic: Traffic::default(),
            faults: 0,
            risen: 0,
            events: 0,
            records: HashMap::new(),
            ids: Vec::new(),
            chain: CharterChain::new(signed).expect("a first charter"),
            index: HashMap::new(),
            queue: BinaryHeap::new(),
            due: HashMap::new(),
            order: 0,
            connections: 0,
            trace: DefaultHasher::new(),
        };
        world.join(None);
        world
    }

    /// A newcomer that knows one member, or has the charter if it knows nobody.
    pub(super) fn join(&mut self, through: Option<usize>) -> usize {
        let at = self.members.len();
        let key = key(at);
        let id = key.peer_id();
        let config = self.config(at, id);
        let (graph, charters) = match through {
            Some(_) => {
                let link = (self.chain.channel(), self.chain.reference());
                (Graph::join(link.0, link.1, config), None)
            }
            None => {
                let graph = Graph::restore(self.chain.clone(), [], config);
                (graph, Some(self.chain.clone()))
            }
        };
        self.index.insert(id, at);
        self.members.push(Member {
            graph,
            key,
            id,
            charters,
            disk: BTreeSet::new(),
            links: BTreeMap::new(),
            skew_ms: 0,
            alive: true,
            timer: None,
            story: vec![Story::default(); self.ids.len()],
        });
        self.introduce(at);
        if let Some(b) = through {
            self.schedule(HANDSHAKE, What::Up { a: at, b });
        }
        at
    }

    fn config(&mut self, at: usize, id: PeerId) -> Config {
        let seed = self.rng.random::<u64>() ^ at as u64;
        Config::new(id, seed)
    }

    fn introduce(&mut self, at: usize) {
        let address = PeerAddress::sign(&self.members[at].key, &[addr(at)], self.wall(at));
        self.event(at, Event::OurAddress(address));
    }

    fn wall(&self, at: usize) -> WallMs {
        let since = self.mono.as_millis() as i64 - 1_000_000;
        WallMs((START as i64 + since + self.members[at].skew_ms) as u64)
    }

    /// Publishes a record of some 300 bytes; its number.
    pub(super) fn publish(&mut self, at: usize, lifetime: Duration) -> usize {
        let number = self.ids.len();
        let draft = Draft {
            kind: Kind(70_000),
            key: Bytes::from(number.to_string()),
            attributes: Attributes::default(),
            body: Bytes::from_static(&[b'x'; 120]),
            lifetime,
            priority: 0,
        };
        let (now, mut out) = (self.wall(at), Vec::new());
        let m = &mut self.members[at];
        let record: Record =
            (m.graph.publish(now, &m.key, draft, &mut out)).expect("a publisher with a charter");
        self.ids.push(record.id());
        let stored = out.iter().find_map(|a| match a {
            Action::Store { header, bytes } => Some((header.clone(), bytes.clone())),
            _ => None,
        });
        let (header, bytes) = stored.expect("what is published is stored");
        self.records.insert(record.id(), (number, header, bytes));
        for m in &mut self.members {
            m.story.push(Story::default());
        }
        self.perform(at, out);
        number
    }

    /// The machine is gone, and the others notice later.
    pub(super) fn kill(&mut self, at: usize) {
        self.members[at].alive = false;
        self.cut_all(at, DETECTION);
    }

    /// Links between members that cannot reach each other any more end.
    pub(super) fn split(&mut self, reachable: Reachable) {
        self.reachable = reachable;
        for a in 0..self.members.len() {
            let links: Vec<_> = self.members[a]
                .links
                .iter()
                .map(|(b, l)| (*b, *l))
                .collect();
            for (b, link) in links {
                if !reachable(a, b) {
                    let other = b;
                    self.schedule(DETECTION, What::Down { at: a, other, link });
                }
            }
        }
    }

    /// Everybody starts again from the disk, with the addresses of some others.
    pub(super) fn restart_all(&mut self) {
        for at in 0..self.members.len() {
            self.cut_all(at, Duration::ZERO);
            self.members[at].links.clear();
        }
        for at in 0..self.members.len() {
            if !self.members[at].alive {
                continue;
            }
            let config = self.config(at, self.members[at].id);
            let m = &mut self.members[at];
            let known: Vec<_> = m.graph.known_peers().take(REMEMBERED).cloned().collect();
            let headers = m.disk.iter().map(|id| self.records[id].1.clone());
            let chain = m.charters.clone().expect("it has met somebody");
            m.graph = Graph::restore(chain, headers, config);
            self.introduce(at);
            for address in known {
                self.event(at, Event::PeerKnown(address));
            }
        }
    }

    fn cut_all(&mut self, at: usize, noticed: Duration) {
        let links = std::mem::take(&mut self.members[at].links);
        for (other, link) in links {
            self.schedule(
                noticed,
                What::Down {
                    at: other,
                    other: at,
                    link,
                },
            );
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.mono + time;
        while let Some(Reverse((at, order))) = self.queue.peek().copied()
            && at <= end
        {
            self.queue.pop();
            self.mono = at;
            self.events += 1;
            let what = self.due.remove(&order).expect("scheduled");
            self.happen(what);
        }
        self.mono = end;
    }

    /// How many living members hold all of `records`.
    pub(super) fn holders(&self, records: &[usize]) -> usize {
        let ids: Vec<_> = records.iter().map(|n| self.ids[*n]).collect();
        let has_all = |m: &&Member| m.alive && ids.iter().all(|id| m.graph.contains(id));
        self.members.iter().filter(has_all).count()
    }

    /// Whether all living members hold the same, and how many records that are.
    pub(super) fn alike(&self) -> Option<usize> {
        let mut living = self.members.iter().filter(|m| m.alive);
        let first = &living.next()?.disk;
        living.all(|m| m.disk == *first).then_some(first.len())
    }

    /// Hash over every message and its time.
    pub(super) fn trace(&self) -> u64 {
        let mut trace = self.trace.clone();
        (self.events, self.traffic.bytes).hash(&mut trace);
        trace.finish()
    }

    fn schedule(&mut self, after: Duration, what: What) {
        self.order += 1;
        self.queue.push(Reverse((self.mono + after, self.order)));
        self.due.insert(self.order, what);
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Deliver {
                to,
                from,
                link,
                message,
            } => self.arrive(to, from, link, message),
            What::Up { a, b } => self.meet(a, b),
            What::Down { at, other, link } => {
                if self.members[at].links.get(&other) == Some(&link) {
                    self.members[at].links.remove(&other);
                    let peer = self.members[other].id;
                    self.event(at, Event::NeighbourDown { peer });
                }
            }
            What::Failed { at, peer } => self.event(at, Event::ConnectFailed { peer }),
            What::Stored { at, id } => self.event(at, Event::Stored { id }),
            What::Timer { at } => {
                if self.members[at].timer.is_some_and(|t| t <= self.mono) {
                    self.members[at].timer = None;
                    self.event(at, Event::Tick);
                }
            }
        }
    }

    fn meet(&mut self, a: usize, b: usize) {
        let possible = self.members[b].alive && (self.reachable)(a, b);
        let peer = self.members[b].id;
        if !self.members[a].alive {
        } else if !possible {
            self.event(a, Event::ConnectFailed { peer });
        } else if !self.members[a].links.contains_key(&b) {
            self.connections += 1;
            for (at, other) in [(a, b), (b, a)] {
                self.members[at].links.insert(other, self.connections);
            }
            for (at, other) in [(a, b), (b, a)] {
                let peer = self.members[other].id;
                self.event(at, Event::NeighbourUp { peer });
            }
        }
    }

    fn arrive(&mut self, to: usize, from: usize, link: u64, message: Message) {
        if self.members[to].links.get(&from) != Some(&link) || !(self.reachable)(from, to) {
            return;
        }
        (self.mono, to, from).hash(&mut self.trace);
        if let Message::Record(bytes) = &message {
            let id = RecordId(blake3::hash(bytes).into());
            if let Some((number, _, _)) = self.records.get(&id) {
                let hops = self.members[from].story[*number].hops + 1;
                let m = &mut self.members[to];
                let known = m.graph.contains(&id) || m.story[*number].hops > 0;
                if !known {
                    m.story[*number].hops = hops;
                }
            }
        }
        let peer = self.members[from].id;
        self.event(to, Event::Message { peer, message });
    }

    fn event(&mut self, at: usize, event: Event) {
        if !self.members[at].alive {
            return;
        }
        let (now, mut out) = (self.wall(at), Vec::new());
        let graph = &mut self.members[at].graph;
        graph.handle(now, self.mono, event, &mut out);
        self.perform(at, out);
    }

    fn perform(&mut self, at: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { peer, message } => self.send(at, &peer, message),
                Action::SendRecord { peer, id } => {
                    let bytes = self.records[&id].2.clone();
                    self.send(at, &peer, Message::Record(bytes));
                }
                Action::Store { header, .. } => {
                    let id = header.id;
                    self.members[at].disk.insert(id);
                    self.schedule(DISK, What::Stored { at, id });
                }
                Action::StoreCharters { chain } => self.members[at].charters = Some(chain),
                Action::Deliver { record } => {
                    let number = self.records[&record.id()].0;
                    let story = &mut self.members[at].story[number];
                    self.risen += u64::from(story.removed);
                    story.delivered.get_or_insert(self.mono);
                }
                Action::Remove { id, .. } => {
                    let number = self.records[&id].0;
                    self.members[at].story[number].removed = true;
                    self.members[at].disk.remove(&id);
                }
                Action::Connect { peer, .. } => {
                    let b = self.index[&peer];
                    match self.members[b].alive && (self.reachable)(at, b) {
                        true => self.schedule(HANDSHAKE, What::Up { a: at, b }),
                        false => self.schedule(UNANSWERED, What::Failed { at, peer }),
                    }
                }
                Action::Drop { peer, .. } => self.hang_up(at, &peer),
                Action::Fault { peer, .. } => {
                    self.faults += 1;
                    self.hang_up(at, &peer);
                }
                _ => {}
            }
        }
        let Some(next) = self.members[at].graph.next_timeout() else {
            return;
        };
        // A timer that is always due would stop time.
        let next = next.max(self.mono + Duration::from_millis(1));
        if self.members[at].timer.is_none_or(|t| next < t) {
            self.members[at].timer = Some(next);
            self.schedule(next - self.mono, What::Timer { at });
        }
    }

    /// One end lets go; the other hears of it after what was sent before.
    fn hang_up(&mut self, at: usize, peer: &PeerId) {
        let other = self.index[peer];
        if let Some(link) = self.members[at].links.remove(&other) {
            self.schedule(
                LATENCY,
                What::Down {
                    at: other,
                    other: at,
                    link,
                },
            );
        }
    }

    fn send(&mut self, at: usize, peer: &PeerId, message: Message) {
        self.traffic.messages += 1;
        self.traffic.bytes += message.encode().len() as u64;
        self.traffic.bodies += u64::from(matches!(message, Message::Record(_)));
        let (to, from) = (self.index[peer], at);
        if let Some(link) = self.members[at].links.get(&to).copied() {
            self.schedule(
                LATENCY,
                What::Deliver {
                    to,
                    from,
                    link,
                    message,
                },
            );
        }
    }
}
