//! What the scheduler takes for one chunk, in a swarm of as many neighbours as a node has.

use std::{sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, Throughput};
use samara_content::ChunkSet;
use samara_swarm::{Action, Config, ContentKey, Event, Message, Order, Role, ServeId, Swarm, Tier};
use samara_wire::PeerId;

const KEY: ContentKey = ContentKey(0);
const NEIGHBOURS: u8 = 32;
const CHUNK: u32 = 64 << 10;
/// 1 GiB in chunks of 64 KiB.
const CHUNKS: u32 = 16_384;
/// Chunks that one measured round moves.
const ROUND: u32 = 256;
/// Virtual time between two events: about 1 Gbit/s.
const STEP: Duration = Duration::from_micros(500);

struct Node {
    swarm: Swarm,
    now: Duration,
    out: Vec<Action>,
    serves: u64,
}

impl Node {
    /// With neighbours that say that they have `theirs` and want the rest.
    fn new(ours: ChunkSet, theirs: &ChunkSet) -> Self {
        let mut node = Self {
            swarm: Swarm::new(Config::default(), PeerId([0; 32]), 1),
            now: Duration::ZERO,
            out: Vec::new(),
            serves: 0,
        };
        node.event(Event::ContentAdded {
            stripes: None,
            key: KEY,
            chunk_sizes: vec![CHUNK; CHUNKS as usize].into(),
            have: ours,
            wanted: None,
            role: Role::Member,
            priority: 0,
            order: Order::default(),
        });
        for peer in peers() {
            node.event(Event::PathSample {
                peer,
                rtt: Duration::from_millis(2),
            });
            node.event(Event::PeerJoined {
                key: KEY,
                peer,
                tier: Tier::Elsewhere,
                site: None,
            });
            node.say(peer, Message::Have(theirs.clone()));
            let wants = CHUNKS - theirs.count();
            node.say(peer, Message::Want(u64::from(wants) * u64::from(CHUNK)));
        }
        node
    }

    fn say(&mut self, peer: PeerId, msg: Message) {
        let key = KEY;
        self.event(Event::Message {
            peer,
            key,
            msg,
            room: None,
        });
    }

    fn event(&mut self, event: Event) {
        self.swarm.handle(self.now, event, &mut self.out);
    }

    /// A grant, the request that it brings, the chunks of it from arrival to disk.
    fn receive(mut self) -> Self {
        let mut stored = 0;
        for peer in peers().cycle() {
            if stored >= ROUND {
                break;
            }
            self.now += STEP;
            self.out.clear();
            let grant = Message::Grant {
                bytes: 2 * u64::from(CHUNK),
                suggested: Vec::new(),
            };
            self.say(peer, grant);
            for action in std::mem::take(&mut self.out) {
                let Action::Request { peer, chunks, .. } = action else {
                    continue;
                };
                for chunk in chunks {
                    let (key, bytes) = (KEY, CHUNK);
                    self.event(Event::ChunkArrived {
                        key,
                        chunk,
                        peer,
                        bytes,
                    });
                    self.event(Event::ChunkVerified { key, chunk, peer });
                    self.event(Event::ChunkStored { key, chunk });
                    stored += 1;
                }
            }
        }
        self
    }

    /// The requests that our grants bring, each answered, and what is announced then.
    fn serve(mut self) -> Self {
        let mut served = 0;
        let mut grants = std::mem::take(&mut self.out);
        while served < ROUND {
            assert!(!grants.is_empty(), "the uploader grants while it is asked");
            for action in std::mem::take(&mut grants) {
                let Action::Send { peer, msg, .. } = action else {
                    continue;
                };
                let Message::Grant { suggested, .. } = msg else {
                    continue;
                };
                self.now += STEP;
                self.serves += 1;
                let (key, serve) = (KEY, ServeId(self.serves));
                self.event(Event::Incoming {
                    key,
                    peer,
                    serve,
                    chunks: suggested.clone(),
                });
                for &chunk in &suggested {
                    self.event(Event::Served {
                        key,
                        peer,
                        serve,
                        chunk,
                        bytes: CHUNK,
                    });
                }
                let taken = true;
                self.event(Event::ServeEnded {
                    key,
                    peer,
                    serve,
                    taken,
                });
                served += suggested.len() as u32;
                let mut has = suggested;
                has.sort_unstable();
                self.say(peer, Message::HaveMore(has));
                grants.append(&mut self.out);
            }
        }
        self
    }
}

fn peers() -> impl Iterator<Item = PeerId> + Clone {
    (1..=NEIGHBOURS).map(|n| PeerId([n; 32]))
}

pub(crate) fn bench(c: &mut Criterion) {
    let (none, all) = (ChunkSet::new(CHUNKS), Arc::new(ChunkSet::full(CHUNKS)));
    let mut group = c.benchmark_group("schedule 256 chunks");
    group.throughput(Throughput::Elements(u64::from(ROUND)));
    group.sample_size(20);
    group.bench_function("receiver", |b| {
        let setup = || Node::new(none.clone(), &all);
        b.iter_batched(setup, Node::receive, BatchSize::LargeInput);
    });
    group.bench_function("seeder", |b| {
        let setup = || Node::new(ChunkSet::clone(&all), &none);
        b.iter_batched(setup, Node::serve, BatchSize::LargeInput);
    });
}
