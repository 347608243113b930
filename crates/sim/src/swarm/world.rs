//! Virtual time: the queue of events between the nodes and their links.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use samara_content::ChunkSet;
use samara_swarm::{
    Action, Config, ContentKey, Event, Message, RequestId, Role, ServeId, Swarm, Tier,
};
use samara_wire::PeerId;

use super::{
    Behaviour, Outcome, Scenario, When,
    flow::{End, Links, Pair},
};

const KEY: ContentKey = ContentKey(0);

/// What is to happen.
#[derive(Debug)]
enum Next {
    /// A node's own event.
    Tell {
        node: usize,
        event: Event,
    },
    /// The last byte of the transfer at the head of a pair has left.
    Sent(End),
    /// A request reaches whom it was sent to.
    Asked {
        serve: ServeId,
    },
    /// A refusal, or the end of a stream, reaches who asked.
    Failed {
        serve: ServeId,
    },
    /// The end of an answer is known to the one who sent it.
    Ended {
        serve: ServeId,
    },
    /// A chunk is all here.
    Arrived {
        serve: ServeId,
        chunk: u32,
    },
    /// A node does not want the rest of an answer.
    Stopped {
        serve: ServeId,
    },
    Vanish {
        node: usize,
    },
}

/// A request on its way through the world.
#[derive(Debug)]
struct Stream {
    from: usize,
    to: usize,
    request: RequestId,
    chunks: Vec<u32>,
    /// Chunks that have not left yet.
    left: usize,
}

struct Node {
    swarm: Swarm,
    behaviour: Behaviour,
    tick_at: Option<Duration>,
    acked: u64,
    gone: bool,
}

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    due: BTreeMap<u64, Next>,
    nodes: Vec<Node>,
    index: BTreeMap<PeerId, usize>,
    neighbours: Vec<BTreeSet<usize>>,
    links: Links,
    /// What waits for its turn on a pair, the one being sent at the head.
    lines: BTreeMap<Pair, VecDeque<(ServeId, u32)>>,
    streams: BTreeMap<ServeId, Stream>,
    by_request: BTreeMap<(usize, RequestId), ServeId>,
    unfinished: usize,
    sequence: u64,
    trace: DefaultHasher,
    outcome: Outcome,
}

fn peer_id(node: usize) -> PeerId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(node as u64 + 1).to_be_bytes());
    PeerId(id)
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let n = scenario.nodes.len();
        let mut rng = ChaCha8Rng::seed_from_u64(scenario.seed);
        let nodes: Vec<Node> = (scenario.nodes.iter().enumerate())
            .map(|(i, spec)| Node {
                swarm: Swarm::new(Config::default(), peer_id(i), rng.next_u64()),
                behaviour: spec.behaviour,
                tick_at: None,
                acked: 0,
                gone: false,
            })
            .collect();
        Self {
            scenario,
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            due: BTreeMap::new(),
            index: (0..n).map(|i| (peer_id(i), i)).collect(),
            neighbours: neighbours(n, scenario.neighbours, &mut rng),
            links: Links::new(scenario.nodes.iter().map(|s| (s.up, s.down))),
            lines: BTreeMap::new(),
            streams: BTreeMap::new(),
            by_request: BTreeMap::new(),
            unfinished: n,
            sequence: 0,
            trace: DefaultHasher::new(),
            outcome: Outcome {
                finished: vec![None; n],
                gone: vec![false; n],
                sent: vec![0.0; n],
                bans: Vec::new(),
                bound: scenario.fluid_bound(),
                bytes: scenario.bytes(),
                messages: 0,
                message_bytes: 0,
                events: 0,
                trace: 0,
            },
            nodes,
        }
    }

    pub(crate) fn run(mut self) -> Outcome {
        self.begin();
        while self.unfinished > 0 {
            let Some(Reverse((at, sequence))) = self.queue.pop() else {
                break;
            };
            if at > self.scenario.give_up {
                break;
            }
            self.now = at;
            let next = self.due.remove(&sequence).expect("queued together");
            self.step(next);
        }
        self.outcome.trace = self.trace.finish();
        self.outcome
    }

    fn begin(&mut self) {
        let chunks = self.scenario.chunks;
        let sizes: Arc<[u32]> = vec![self.scenario.chunk_bytes; chunks as usize].into();
        for (i, spec) in self.scenario.nodes.iter().enumerate() {
            let have = match spec.seeder {
                true => ChunkSet::full(chunks),
                false => ChunkSet::new(chunks),
            };
            self.tell(
                i,
                Event::ContentAdded {
                    key: KEY,
                    chunk_sizes: sizes.clone(),
                    have,
                    wanted: None,
                    role: Role::Member,
                    priority: 0,
                },
            );
        }
        for i in 0..self.nodes.len() {
            for j in self.neighbours[i].clone() {
                let (key, peer, rtt) = (KEY, peer_id(j), self.scenario.rtt);
                let tier = Tier::Elsewhere;
                self.tell(i, Event::PeerJoined { key, peer, tier });
                self.tell(i, Event::PathSample { peer, rtt });
            }
        }
        for fault in &self.scenario.faults {
            if let When::At(at) = fault.when {
                self.after(at, Next::Vanish { node: fault.node });
            }
        }
    }

    fn half(&self) -> Duration {
        self.scenario.rtt / 2
    }

    fn after(&mut self, delay: Duration, next: Next) {
        self.sequence += 1;
        self.queue.push(Reverse((self.now + delay, self.sequence)));
        self.due.insert(self.sequence, next);
    }

    fn schedule(&mut self, ends: impl IntoIterator<Item = End>) {
        for end in ends {
            let at = Duration::from_secs_f64(end.at).max(self.now);
            self.after(at - self.now, Next::Sent(end));
        }
    }

    fn step(&mut self, next: Next) {
        match next {
            Next::Tell { node, event } => {
                if matches!(event, Event::Tick) {
                    if self.nodes[node].tick_at != Some(self.now) {
                        return;
                    }
                    self.nodes[node].tick_at = None;
                }
                self.tell(node, event);
            }
            Next::Sent(end) => {
                if self.links.is_current(&end) {
                    self.sent(end.pair);
                }
            }
            Next::Asked { serve } => self.asked(serve),
            Next::Failed { serve } => {
                if let Some(stream) = self.streams.remove(&serve) {
                    self.by_request.remove(&(stream.from, stream.request));
                    let event = Event::RequestFailed {
                        key: KEY,
                        peer: peer_id(stream.to),
                        request: stream.request,
                    };
                    self.tell(stream.from, event);
                }
            }
            Next::Ended { serve } => self.ended(serve),
            Next::Arrived { serve, chunk } => self.arrived(serve, chunk),
            Next::Stopped { serve } => self.stopped(serve),
            Next::Vanish { node } => self.vanish(node),
        }
    }

    /// Gives a node an event and does what it answers.
    fn tell(&mut self, node: usize, event: Event) {
        if self.nodes[node].gone {
            return;
        }
        self.outcome.events += 1;
        (self.now, node, std::mem::discriminant(&event)).hash(&mut self.trace);
        let stored = matches!(event, Event::ChunkStored { .. });
        let mut actions = Vec::new();
        self.nodes[node].swarm.handle(self.now, event, &mut actions);
        for action in actions {
            self.act(node, action);
        }
        let state = &mut self.nodes[node];
        let due = state.swarm.next_timeout();
        if let Some(at) = due.filter(|at| state.tick_at.is_none_or(|old| *at < old)) {
            let at = at.max(self.now);
            state.tick_at = Some(at);
            let event = Event::Tick;
            self.after(at - self.now, Next::Tell { node, event });
        }
        if stored {
            let progress = self.nodes[node].swarm.progress(KEY);
            let have = progress.map_or(0, |p| p.have_chunks);
            self.check_faults(node, |when| matches!(when, When::Stored(n) if n == have));
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Send { peer, msg, .. } => self.send(node, self.index[&peer], msg),
            Action::Request {
                peer,
                request,
                chunks,
                ..
            } => {
                self.sequence += 1;
                let serve = ServeId(self.sequence);
                let stream = Stream {
                    from: node,
                    to: self.index[&peer],
                    request,
                    left: chunks.len(),
                    chunks,
                };
                self.streams.insert(serve, stream);
                self.by_request.insert((node, request), serve);
                self.after(self.half(), Next::Asked { serve });
            }
            Action::Cancel { request, .. } => {
                if let Some(serve) = self.by_request.remove(&(node, request)) {
                    self.after(self.half(), Next::Stopped { serve });
                }
            }
            Action::Serve { serve, chunks, .. } => {
                if self.nodes[node].behaviour == Behaviour::Mute {
                    return;
                }
                let pair = (node, self.streams[&serve].from);
                let line = self.lines.entry(pair).or_default();
                let idle = line.is_empty();
                line.extend(chunks.iter().map(|chunk| (serve, *chunk)));
                if idle {
                    let bytes = f64::from(self.scenario.chunk_bytes);
                    let ends = self.links.start(self.now.as_secs_f64(), pair, bytes);
                    self.schedule(ends);
                }
            }
            Action::Refuse { serve, .. } => self.after(self.half(), Next::Failed { serve }),
            Action::Punish { peer, offence } => {
                let other = self.index[&peer];
                self.outcome.bans.push((node, other, offence));
                self.disconnect(node, other);
            }
            Action::Complete { .. } => {
                if self.outcome.finished[node].is_none() {
                    self.outcome.finished[node] = Some(self.now);
                    self.unfinished -= 1;
                }
            }
            Action::Recheck { .. } | Action::NoSource { .. } => {}
        }
    }

    fn send(&mut self, node: usize, other: usize, msg: Message) {
        if !self.neighbours[node].contains(&other) {
            return;
        }
        self.outcome.messages += 1;
        self.outcome.message_bytes += msg.encode().len() as u64;
        let idler = self.nodes[other].behaviour == Behaviour::Idler;
        if idler && matches!(msg, Message::Grant { .. }) {
            return;
        }
        let event = Event::Message {
            peer: peer_id(node),
            key: KEY,
            msg,
        };
        let node = other;
        self.after(self.half(), Next::Tell { node, event });
    }

    fn asked(&mut self, serve: ServeId) {
        let Some(stream) = self.streams.get(&serve) else {
            return;
        };
        let (to, event) = (
            stream.to,
            Event::Incoming {
                key: KEY,
                peer: peer_id(stream.from),
                serve,
                chunks: stream.chunks.clone(),
            },
        );
        if self.neighbours[to].contains(&stream.from) {
            self.tell(to, event);
        }
    }

    /// The chunk at the head of a pair's line has left; the next one starts.
    fn sent(&mut self, pair: Pair) {
        let line = self
            .lines
            .get_mut(&pair)
            .expect("a pair that sends has a line");
        let (serve, chunk) = line.pop_front().expect("its head is what was sent");
        let bytes = self.scenario.chunk_bytes;
        let now = self.now.as_secs_f64();
        let ends = match line.is_empty() {
            true => self.links.stop(now, pair),
            false => vec![self.links.go_on(now, pair, f64::from(bytes))],
        };
        self.schedule(ends);
        self.outcome.sent[pair.0] += f64::from(bytes);
        self.after(self.half(), Next::Arrived { serve, chunk });
        let stream = self
            .streams
            .get_mut(&serve)
            .expect("it ends after its last chunk");
        stream.left -= 1;
        if stream.left == 0 {
            self.after(self.scenario.rtt, Next::Ended { serve });
        }
        let event = Event::Served {
            key: KEY,
            peer: peer_id(pair.1),
            serve,
            chunk,
            bytes,
        };
        self.tell(pair.0, event);
    }

    fn ended(&mut self, serve: ServeId) {
        let Some(stream) = self.streams.remove(&serve) else {
            return;
        };
        self.by_request.remove(&(stream.from, stream.request));
        let node = &mut self.nodes[stream.to];
        node.acked += (stream.chunks.len() - stream.left) as u64;
        let acked = node.acked;
        let event = Event::ServeEnded {
            key: KEY,
            peer: peer_id(stream.from),
            serve,
        };
        self.tell(stream.to, event);
        self.check_faults(
            stream.to,
            |when| matches!(when, When::Sent(n) if n <= acked),
        );
    }

    fn arrived(&mut self, serve: ServeId, chunk: u32) {
        let Some(stream) = self.streams.get(&serve) else {
            return;
        };
        let (node, peer) = (stream.from, peer_id(stream.to));
        let garbage = self.nodes[stream.to].behaviour == Behaviour::Garbage;
        let (key, bytes) = (KEY, self.scenario.chunk_bytes);
        self.tell(
            node,
            Event::ChunkArrived {
                key,
                chunk,
                peer,
                bytes,
            },
        );
        let delay = self.scenario.store_delay;
        if garbage {
            let event = Event::ChunkRejected { key, chunk, peer };
            self.after(delay, Next::Tell { node, event });
        } else {
            let event = Event::ChunkVerified { key, chunk, peer };
            self.after(delay / 2, Next::Tell { node, event });
            let event = Event::ChunkStored { key, chunk };
            self.after(delay, Next::Tell { node, event });
        }
    }

    /// What a stopped answer has not sent yet is not sent.
    fn stopped(&mut self, serve: ServeId) {
        let Some(stream) = self.streams.get(&serve) else {
            return;
        };
        let pair = (stream.to, stream.from);
        if stream.left == 0 {
            return;
        }
        let now = self.now.as_secs_f64();
        if let Some(line) = self.lines.get_mut(&pair) {
            let head = line.front().is_some_and(|(s, _)| *s == serve);
            line.retain(|(s, _)| *s != serve);
            let bytes = f64::from(self.scenario.chunk_bytes);
            let ends = match (head, line.is_empty()) {
                (true, true) => self.links.stop(now, pair),
                (true, false) => vec![self.links.go_on(now, pair, bytes)],
                (false, _) => Vec::new(),
            };
            self.schedule(ends);
        }
        self.ended(serve);
    }

    fn check_faults(&mut self, node: usize, strikes: impl Fn(When) -> bool) {
        let faults = &self.scenario.faults;
        if faults.iter().any(|f| f.node == node && strikes(f.when)) {
            self.vanish(node);
        }
    }

    fn vanish(&mut self, node: usize) {
        if std::mem::replace(&mut self.nodes[node].gone, true) {
            return;
        }
        self.outcome.gone[node] = true;
        if self.outcome.finished[node].is_none() {
            self.unfinished -= 1;
        }
        for other in self.neighbours[node].clone() {
            self.disconnect(node, other);
        }
    }

    /// Ends everything between two nodes; each hears of it a round trip later.
    fn disconnect(&mut self, a: usize, b: usize) {
        if !self.neighbours[a].remove(&b) {
            return;
        }
        self.neighbours[b].remove(&a);
        let now = self.now.as_secs_f64();
        for pair in [(a, b), (b, a)] {
            self.lines.remove(&pair);
            let ends = self.links.stop(now, pair);
            self.schedule(ends);
        }
        let between = |s: &Stream| (s.from, s.to) == (a, b) || (s.from, s.to) == (b, a);
        self.streams.retain(|_, stream| !between(stream));
        for (node, peer) in [(a, b), (b, a)] {
            let peer = peer_id(peer);
            let event = Event::Disconnected { peer };
            self.after(self.scenario.rtt, Next::Tell { node, event });
        }
    }
}

/// Who knows whom: everybody, or a random graph in which everybody looks for half
/// of their neighbours and is found by about as many.
fn neighbours(n: usize, wanted: usize, rng: &mut ChaCha8Rng) -> Vec<BTreeSet<usize>> {
    let mut sets = vec![BTreeSet::new(); n];
    for i in 0..n {
        if n <= wanted + 1 {
            sets[i] = (0..n).filter(|j| *j != i).collect();
            continue;
        }
        let mut looked_for = 0;
        while looked_for < wanted / 2 {
            let j = (rng.next_u64() % n as u64) as usize;
            if j != i && sets[i].insert(j) {
                sets[j].insert(i);
                looked_for += 1;
            }
        }
    }
    sets
}
