//! Virtual time: the queue of events between the nodes and their links.

use std::{
    collections::{BTreeSet, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use samara_content::{ChunkSet, Stripes};
use samara_swarm::{
    Action, Config, ContentKey, Event, Message, Order, ServeId, SiteId, Swarm, Tier,
};
use samara_wire::PeerId;

use super::{
    Behaviour, Fault, Outcome, Scenario, Sharing, SitePipes, When,
    agenda::{Agenda, News, Next},
    fluid::{End, Fluid},
    neighbours,
    pipes::{Pair, Pipes},
    queue::Queue,
    reading::Reading,
    streams::{Streams, Ticket},
};

const KEY: ContentKey = ContentKey(0);

/// How often the ends of an answer report on a chunk that takes long, as nodes do.
const LOOK_EVERY: Duration = Duration::from_millis(500);

struct Node {
    swarm: Swarm,
    behaviour: Behaviour,
    /// Of one that asks for chunks in their order.
    reading: Option<Reading>,
    tick_at: Option<Duration>,
    acked: u64,
    started: bool,
    gone: bool,
}

/// How bytes flow.
enum Links {
    Fluid(Fluid),
    Queue(Queue),
}

pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    now: Duration,
    agenda: Agenda,
    nodes: Vec<Node>,
    neighbours: Vec<BTreeSet<u32>>,
    stripes: Option<Stripes>,
    sizes: Arc<[u32]>,
    pipes: Pipes,
    links: Links,
    streams: Streams,
    /// What was on its way at the last look; `None`: none is planned.
    looked: Option<HashSet<(Pair, ServeId, u32)>>,
    unfinished: usize,
    actions: Vec<Action>,
    trace: DefaultHasher,
    outcome: Outcome,
}

fn peer_id(node: usize) -> PeerId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(node as u64 + 1).to_be_bytes());
    PeerId(id)
}

fn index(peer: &PeerId) -> usize {
    let (head, _) = peer.0.split_first_chunk().expect("32 bytes");
    u64::from_be_bytes(*head) as usize - 1
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let n = scenario.nodes.len();
        let mut rng = ChaCha8Rng::seed_from_u64(scenario.seed);
        let nodes: Vec<Node> = (scenario.nodes.iter().enumerate())
            .map(|(i, spec)| Node {
                swarm: Swarm::new(
                    Config {
                        policy: spec.policy,
                        ..scenario.config.clone()
                    },
                    peer_id(i),
                    rng.next_u64(),
                ),
                behaviour: spec.behaviour,
                reading: (spec.order == Order::Stream && !spec.seeder).then(Reading::default),
                tick_at: None,
                acked: 0,
                started: false,
                gone: false,
            })
            .collect();
        let left = 1.0 - scenario.overhead;
        let specs = scenario.nodes.iter();
        let rates = specs.map(|s| (s.up * left, s.down * left, s.site));
        let ways = scenario.sites.iter().map(|site| SitePipes {
            out: site.out * left,
            back: site.back * left,
        });
        let stripes = scenario.stripes();
        let pipes = Pipes::new(rates, &ways.collect::<Vec<_>>());
        let links = match scenario.sharing {
            Sharing::Fluid => Links::Fluid(Fluid::new(&pipes)),
            Sharing::Queue => Links::Queue(Queue::new(&pipes, n)),
        };
        Self {
            scenario,
            now: Duration::ZERO,
            agenda: Agenda::default(),
            neighbours: neighbours::choose(&scenario.nodes, scenario.neighbours, &mut rng),
            sizes: {
                let all = stripes.map_or(scenario.chunks, |s| s.all());
                vec![scenario.chunk_bytes; all as usize].into()
            },
            stripes,
            pipes,
            links,
            streams: Streams::default(),
            looked: None,
            unfinished: n,
            actions: Vec::new(),
            trace: DefaultHasher::new(),
            outcome: Outcome {
                finished: vec![None; n],
                readable: Vec::new(),
                started: (scenario.nodes.iter().map(|spec| spec.start)).collect(),
                honest: (scenario.nodes.iter())
                    .map(|spec| spec.behaviour == Behaviour::Honest)
                    .collect(),
                gone: vec![false; n],
                sent: vec![0.0; n],
                crossed: vec![0.0; scenario.sites.len()],
                tenths: Vec::new(),
                uplinks: scenario.nodes.iter().map(|node| node.up).sum(),
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
        for (node, spec) in self.scenario.nodes.iter().enumerate() {
            self.after(spec.start, Next::Start { node });
        }
        for fault in &self.scenario.faults {
            if let When::At(at) = fault.when {
                self.after(at, Next::Vanish { node: fault.node });
            }
        }
        while self.unfinished > 0 {
            let Some((at, next)) = self.agenda.next() else {
                break;
            };
            if at > self.scenario.give_up {
                break;
            }
            self.now = at;
            self.step(next);
        }
        let readings = self.nodes.into_iter().map(|node| node.reading);
        self.outcome.readable = readings.map(|r| r.unwrap_or_default().upto).collect();
        self.outcome.trace = self.trace.finish();
        self.outcome
    }

    fn start(&mut self, node: usize) {
        if self.nodes[node].gone {
            return;
        }
        self.nodes[node].started = true;
        let spec = &self.scenario.nodes[node];
        let chunks = self.sizes.len() as u32;
        let event = Event::ContentAdded {
            key: KEY,
            stripes: self.stripes,
            chunk_sizes: self.sizes.clone(),
            have: match spec.seeder {
                true => ChunkSet::full(chunks),
                false => ChunkSet::new(chunks),
            },
            wanted: None,
            role: spec.role,
            priority: 0,
            order: spec.order,
        };
        self.tell(node, event);
        for other in self.neighbours[node].clone() {
            let other = other as usize;
            // Whoever is there later looks for the other.
            if self.nodes[other].started {
                let known = spec.seeder || self.scenario.nodes[other].seeder;
                let delay = match known {
                    true => Duration::ZERO,
                    false => self.scenario.meet,
                };
                self.after(delay, Next::Meet { a: node, b: other });
            }
        }
    }

    fn meet(&mut self, a: usize, b: usize) {
        if !self.neighbours[a].contains(&(b as u32)) {
            return;
        }
        let tier = match self.pipes.crosses((a, b)) {
            true => Tier::Elsewhere,
            false => Tier::Site,
        };
        for (node, other) in [(a, b), (b, a)] {
            let (key, peer, rtt) = (KEY, peer_id(other), self.rtt((a, b)));
            let site = self.scenario.nodes[other]
                .site
                .map(|site| SiteId(site as u64));
            let event = Event::PeerJoined {
                key,
                peer,
                tier,
                site,
            };
            self.tell(node, event);
            self.tell(node, Event::PathSample { peer, rtt });
        }
    }

    fn rtt(&self, pair: Pair) -> Duration {
        match self.pipes.crosses(pair) {
            true => self.scenario.rtt,
            false => self.scenario.site_rtt,
        }
    }

    fn half(&self, pair: Pair) -> Duration {
        self.rtt(pair) / 2
    }

    fn after(&mut self, delay: Duration, next: Next) {
        self.agenda.plan(self.now + delay, next);
    }

    fn tell_after(&mut self, delay: Duration, node: usize, event: Event) {
        let event = Box::new(event);
        self.after(delay, Next::Tell { node, event });
    }

    fn schedule(&mut self, ends: impl IntoIterator<Item = End>) {
        for end in ends {
            let at = Duration::from_secs_f64(end.at).max(self.now);
            self.agenda.plan(at, Next::Sent(end));
        }
    }

    fn step(&mut self, next: Next) {
        match next {
            Next::Start { node } => self.start(node),
            Next::Meet { a, b } => self.meet(a, b),
            Next::Tell { node, event } => {
                if matches!(*event, Event::Tick) {
                    if self.nodes[node].tick_at != Some(self.now) {
                        return;
                    }
                    self.nodes[node].tick_at = None;
                }
                self.tell(node, *event);
            }
            Next::News { from, news } => {
                let News { to, chunks, .. } = *news;
                for node in to {
                    let event = Event::Message {
                        peer: peer_id(from),
                        key: KEY,
                        msg: Message::HaveMore(chunks.to_vec()),
                        room: None,
                    };
                    self.tell(node as usize, event);
                }
            }
            Next::Sent(end) => {
                if matches!(&self.links, Links::Fluid(fluid) if fluid.is_current(&end)) {
                    self.sent(end.pair, Duration::ZERO);
                }
            }
            Next::Passed { pair, rest } => {
                self.sent(pair, rest);
                self.send_next(pair.0);
            }
            Next::Asked { ticket } => self.asked(ticket),
            Next::Failed { ticket } => {
                if let Some(stream) = self.streams.close(ticket) {
                    let event = Event::RequestFailed {
                        key: KEY,
                        peer: peer_id(ticket.pair.0),
                        request: stream.request,
                    };
                    self.tell(ticket.pair.1, event);
                }
            }
            Next::Ended { ticket } => self.ended(ticket, true),
            Next::Arrived { ticket, chunk } => self.arrived(ticket, chunk),
            Next::Stopped { ticket } => self.stopped(ticket),
            Next::Vanish { node } => self.vanish(node),
            Next::Look => self.look(),
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
        if let Event::ChunkStored { chunk, .. } = event
            && let Some(reading) = &mut self.nodes[node].reading
        {
            reading.store(self.now, chunk, self.scenario.chunks);
        }
        let mut actions = std::mem::take(&mut self.actions);
        self.nodes[node].swarm.handle(self.now, event, &mut actions);
        let mut news: Option<News> = None;
        for action in actions.drain(..) {
            match action {
                Action::Send {
                    peer,
                    msg: Message::HaveMore(chunks),
                    ..
                } => self.collect(node, index(&peer), chunks, &mut news),
                action => self.act(node, action),
            }
        }
        self.spread(node, news);
        self.actions = actions;
        let state = &mut self.nodes[node];
        let due = state.swarm.next_timeout();
        if let Some(at) = due.filter(|at| state.tick_at.is_none_or(|old| *at < old)) {
            let at = at.max(self.now);
            state.tick_at = Some(at);
            let event = Box::new(Event::Tick);
            self.agenda.plan(at, Next::Tell { node, event });
        }
        if stored {
            let progress = self.nodes[node].swarm.progress(KEY);
            let have = progress.map_or(0, |p| p.have_chunks);
            self.check_faults(node, |when| matches!(when, When::Stored(n) if n == have));
        }
    }

    /// Adds a message to those that say the same, or has those sent and begins anew.
    fn collect(&mut self, from: usize, to: usize, chunks: Vec<u32>, news: &mut Option<News>) {
        if !self.neighbours[from].contains(&(to as u32)) {
            return;
        }
        let delay = self.half((from, to));
        if !news
            .as_ref()
            .is_some_and(|n| n.delay == delay && *n.chunks == *chunks)
        {
            let msg = Message::HaveMore(chunks);
            let bytes = msg.encode().len() as u64;
            let Message::HaveMore(chunks) = msg else {
                unreachable!("made above");
            };
            let (to, chunks) = (Vec::new(), chunks.into());
            let begun = News {
                delay,
                to,
                chunks,
                bytes,
            };
            let before = news.replace(begun);
            self.spread(from, before);
        }
        let news = news.as_mut().expect("begun above");
        news.to.push(to as u32);
        self.outcome.messages += 1;
        self.outcome.message_bytes += news.bytes;
    }

    fn spread(&mut self, from: usize, news: Option<News>) {
        if let Some(news) = news {
            let news = Box::new(news);
            self.after(news.delay, Next::News { from, news });
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Send { peer, msg, .. } => self.send(node, index(&peer), msg),
            Action::Request {
                peer,
                request,
                chunks,
                ..
            } => {
                let pair = (index(&peer), node);
                let ticket = self.streams.open(pair, request, chunks);
                self.after(self.half(pair), Next::Asked { ticket });
            }
            Action::Cancel { peer, request, .. } => {
                let pair = (index(&peer), node);
                if let Some(ticket) = self.streams.ticket(pair, request) {
                    self.after(self.half(pair), Next::Stopped { ticket });
                }
            }
            Action::Serve {
                peer,
                serve,
                chunks,
                ..
            } => {
                if self.nodes[node].behaviour == Behaviour::Mute {
                    return;
                }
                let pair = (node, index(&peer));
                if self.streams.line_up(Ticket { pair, serve }, &chunks) {
                    self.start_pair(pair);
                }
            }
            Action::Refuse { peer, serve, .. } => {
                let pair = (node, index(&peer));
                let ticket = Ticket { pair, serve };
                self.after(self.half(pair), Next::Failed { ticket });
            }
            Action::Punish { peer, offence } => {
                let other = index(&peer);
                self.outcome.bans.push((node, other, offence));
                self.disconnect(node, other);
            }
            Action::Complete { .. } => {
                if self.outcome.finished[node].is_none() {
                    self.outcome.finished[node] = Some(self.now);
                    self.unfinished -= 1;
                    self.check_faults(node, |when| matches!(when, When::Complete));
                }
            }
            Action::Decode { stripe, .. } => self.decode(node, stripe),
            Action::Recheck { .. } | Action::NoSource { .. } => {}
        }
    }

    /// What was missing of a stripe is there as soon as a chunk would be.
    fn decode(&mut self, node: usize, stripe: u32) {
        let delay = self.scenario.store_delay;
        let have = self.nodes[node].swarm.have(KEY);
        let stripes = self.stripes.iter();
        let missing: Vec<u32> = stripes
            .flat_map(|stripes| stripes.chunks_of(stripe))
            .filter(|chunk| have.is_some_and(|have| !have.contains(*chunk)))
            .collect();
        for chunk in missing {
            self.tell_after(delay, node, Event::ChunkStored { key: KEY, chunk });
        }
    }

    /// Whether the message gets anywhere.
    fn count_message(&mut self, node: usize, other: usize, msg: &Message) -> bool {
        if !self.neighbours[node].contains(&(other as u32)) {
            return false;
        }
        self.outcome.messages += 1;
        self.outcome.message_bytes += msg.encode().len() as u64;
        true
    }

    fn send(&mut self, node: usize, other: usize, msg: Message) {
        let idler = self.nodes[other].behaviour == Behaviour::Idler;
        let ignored = idler && matches!(msg, Message::Grant { .. });
        if !self.count_message(node, other, &msg) || ignored {
            return;
        }
        let event = Event::Message {
            peer: peer_id(node),
            key: KEY,
            msg,
            room: None,
        };
        let delay = self.half((node, other));
        self.tell_after(delay, other, event);
    }

    fn asked(&mut self, ticket: Ticket) {
        let Some(stream) = self.streams.get(ticket) else {
            return;
        };
        let event = Event::Incoming {
            key: KEY,
            peer: peer_id(ticket.pair.1),
            serve: ticket.serve,
            chunks: stream.chunks.clone(),
        };
        self.tell(ticket.pair.0, event);
    }

    /// A pair that had nothing to send has something.
    fn start_pair(&mut self, pair: Pair) {
        let bytes = f64::from(self.scenario.chunk_bytes);
        if self.looked.is_none() {
            self.looked = Some(HashSet::new());
            self.after(LOOK_EVERY, Next::Look);
        }
        match &mut self.links {
            Links::Fluid(fluid) => {
                let ends = fluid.start(&self.pipes, self.now.as_secs_f64(), pair, bytes);
                self.schedule(ends);
            }
            Links::Queue(queue) => {
                if queue.join(pair) {
                    self.send_next(pair.0);
                }
            }
        }
    }

    /// Goes on with a pair's line, or ends it.
    fn go_on(&mut self, pair: Pair, more: bool) {
        let bytes = f64::from(self.scenario.chunk_bytes);
        let now = self.now.as_secs_f64();
        let ends = match &mut self.links {
            Links::Fluid(fluid) if more => vec![fluid.go_on(now, pair, bytes)],
            Links::Fluid(fluid) => fluid.stop(&self.pipes, now, pair),
            Links::Queue(queue) => {
                if more {
                    queue.join(pair);
                }
                return;
            }
        };
        self.schedule(ends);
    }

    /// An uplink that carries one chunk at a time takes the next one.
    fn send_next(&mut self, node: usize) {
        let bytes = f64::from(self.scenario.chunk_bytes);
        let Links::Queue(queue) = &mut self.links else {
            return;
        };
        if let Some(other) = queue.next(node) {
            let pair = (node, other);
            let passage = queue.pass(&self.pipes, self.now.as_secs_f64(), pair, bytes);
            let rest = Duration::from_secs_f64(passage.there - passage.left);
            let at = Duration::from_secs_f64(passage.left).max(self.now);
            self.agenda.plan(at, Next::Passed { pair, rest });
        }
    }

    /// Tells both ends of the chunks that are on their way and were at the last look.
    fn look(&mut self) {
        let now = self.now.as_secs_f64();
        let bytes = f64::from(self.scenario.chunk_bytes);
        let under_way = match &self.links {
            Links::Fluid(fluid) => fluid.under_way(now),
            Links::Queue(queue) => queue.under_way(now, bytes),
        };
        if under_way.is_empty() {
            self.looked = None;
            return;
        }
        let before = self.looked.replace(HashSet::new()).unwrap_or_default();
        for (pair, left) in under_way {
            let Some((serve, chunk)) = self.streams.head(pair) else {
                continue;
            };
            let seen = (pair, serve, chunk);
            if before.contains(&seen) {
                let (key, here) = (KEY, (bytes - left).max(0.0) as u32);
                let peer = peer_id(pair.1);
                self.tell(pair.0, Event::Sending { key, peer });
                let event = Event::Progress {
                    key,
                    chunk,
                    peer: peer_id(pair.0),
                    bytes: here,
                };
                self.tell_after(self.half(pair), pair.1, event);
            }
            self.looked.get_or_insert_default().insert(seen);
        }
        self.after(LOOK_EVERY, Next::Look);
    }

    /// The chunk at the head of a pair's line has left; the next one starts.
    fn sent(&mut self, pair: Pair, rest: Duration) {
        let Some(((serve, chunk), more)) = self.streams.advance(pair) else {
            return;
        };
        self.go_on(pair, more);
        let bytes = self.scenario.chunk_bytes;
        self.outcome.sent[pair.0] += f64::from(bytes);
        let tenth = self.now.as_secs_f64() / self.outcome.bound.as_secs_f64() * 10.0;
        let tenths = &mut self.outcome.tenths;
        tenths.resize(tenths.len().max(tenth as usize + 1), 0.0);
        tenths[tenth as usize] += f64::from(bytes);
        if self.pipes.crosses(pair)
            && let Some(site) = self.scenario.nodes[pair.1].site
        {
            self.outcome.crossed[site] += f64::from(bytes);
        }
        let ticket = Ticket { pair, serve };
        let way = rest + self.half(pair);
        self.after(way, Next::Arrived { ticket, chunk });
        let ended = match self.streams.get(ticket) {
            Some(stream) => {
                stream.left -= 1;
                stream.left == 0
            }
            None => false,
        };
        if ended {
            self.after(way + self.half(pair), Next::Ended { ticket });
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

    fn ended(&mut self, ticket: Ticket, taken: bool) {
        let Some(stream) = self.streams.close(ticket) else {
            return;
        };
        let (uploader, asker) = ticket.pair;
        let node = &mut self.nodes[uploader];
        node.acked += (stream.chunks.len() - stream.left) as u64;
        let acked = node.acked;
        let event = Event::ServeEnded {
            key: KEY,
            peer: peer_id(asker),
            serve: ticket.serve,
            taken,
        };
        self.tell(uploader, event);
        self.check_faults(uploader, |when| matches!(when, When::Sent(n) if n <= acked));
    }

    fn arrived(&mut self, ticket: Ticket, chunk: u32) {
        if self.streams.get(ticket).is_none() {
            return;
        }
        let (uploader, node) = ticket.pair;
        let peer = peer_id(uploader);
        let garbage = self.nodes[uploader].behaviour == Behaviour::Garbage;
        let (key, bytes) = (KEY, self.scenario.chunk_bytes);
        let event = Event::ChunkArrived {
            key,
            chunk,
            peer,
            bytes,
        };
        self.tell(node, event);
        let delay = self.scenario.store_delay;
        if garbage {
            let event = Event::ChunkRejected { key, chunk, peer };
            self.tell_after(delay, node, event);
        } else {
            let event = Event::ChunkVerified { key, chunk, peer };
            self.tell_after(delay / 2, node, event);
            let event = Event::ChunkStored { key, chunk };
            self.tell_after(delay, node, event);
        }
    }

    /// What a stopped answer has not sent yet is not sent.
    fn stopped(&mut self, ticket: Ticket) {
        if self.streams.get(ticket).is_none_or(|s| s.left == 0) {
            return;
        }
        let queued = matches!(self.links, Links::Queue(_));
        let (head, more) = self.streams.strike(ticket, queued);
        match &mut self.links {
            Links::Queue(queue) => {
                // What is being sent is: the pair goes on after it, if at all.
                if !more {
                    queue.leave(ticket.pair);
                }
            }
            Links::Fluid(_) if head => self.go_on(ticket.pair, more),
            Links::Fluid(_) => {}
        }
        self.ended(ticket, false);
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
            self.disconnect(node, other as usize);
        }
        let with_it = |fault: &&Fault| matches!(fault.when, When::Gone(n) if n == node);
        let faults = &self.scenario.faults;
        for fault in faults.iter().filter(with_it) {
            self.vanish(fault.node);
        }
    }

    /// Ends everything between two nodes; each hears of it a round trip later.
    fn disconnect(&mut self, a: usize, b: usize) {
        if !self.neighbours[a].remove(&(b as u32)) {
            return;
        }
        self.neighbours[b].remove(&(a as u32));
        let now = self.now.as_secs_f64();
        for pair in [(a, b), (b, a)] {
            self.streams.drop_pair(pair);
            match &mut self.links {
                Links::Fluid(fluid) => {
                    let ends = fluid.stop(&self.pipes, now, pair);
                    self.schedule(ends);
                }
                Links::Queue(queue) => queue.leave(pair),
            }
        }
        for (node, peer) in [(a, b), (b, a)] {
            let peer = peer_id(peer);
            let event = Event::Disconnected { peer };
            let rtt = self.rtt((a, b));
            self.tell_after(rtt, node, event);
        }
    }
}
