//! A node of the network in memory: the node's endpoint, sessions, frames and requests
//! around the swarm, without a store. Chunks are zeros and are written in no time that
//! the machine has to do with.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use quinn::SendStream;
use samara_content::ChunkSet;
use samara_swarm::{
    Action, Config, ContentKey, Event, Message, Order, RequestId, Role, ServeId, Swarm, Tier,
};
use samara_wire::{ChannelId, ContentId, PeerId};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    clock::{Clock, Runtime},
    probe::{Flows, Watch},
    wire::{Wire, address},
};
use crate::{
    core::Input,
    fetch::{Fetched, HERE, NEWS_EVERY},
    message::{Ask, Control},
    restart,
    session::{Close, Session, SessionId, open_request},
    tls, transport,
    turnstile::Turnstile,
};

const KEY: ContentKey = ContentKey(0);
const CHANNEL: ChannelId = ChannelId([7; 32]);
const CONTENT: ContentId = ContentId([8; 32]);
const QUEUE: usize = 1024;
/// How often the core tells the swarm of round trips, as in a node.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// What all members have in common.
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) wire: Wire,
    pub(super) chunk_sizes: Arc<[u32]>,
    /// From a chunk's last byte to its being stored.
    pub(super) store_delay: Duration,
    pub(super) config: Config,
    pub(super) tier: Tier,
    pub(super) seed: u64,
}

/// What others may see of a member while the clock stands still.
#[derive(Debug, Default)]
pub(super) struct Glimpse {
    /// When it was complete.
    pub(super) finished: Option<Duration>,
    /// Chunk bytes that peers asked for and have not acknowledged.
    pub(super) owed: u64,
}

pub(super) type Shared = Arc<Mutex<Glimpse>>;

struct Peer {
    session: Session,
    requests: BTreeMap<RequestId, AbortHandle>,
    owed: u64,
}

struct Member {
    world: Arc<World>,
    swarm: Swarm,
    inputs: mpsc::Sender<Input>,
    peers: BTreeMap<PeerId, Peer>,
    asked: BTreeMap<ServeId, SendStream>,
    /// Bytes of each answer under way.
    serving: BTreeMap<ServeId, u64>,
    next: u64,
    shared: Shared,
    done: mpsc::Sender<()>,
}

fn identity(node: usize) -> SigningKey {
    let mut seed = [0x5a; 32];
    seed[..8].copy_from_slice(&(node as u64).to_le_bytes());
    SigningKey::from_bytes(&seed)
}

/// Starts a node that dials `dials`; `done` hears when it is complete.
pub(super) fn start(
    world: &Arc<World>,
    node: usize,
    seeder: bool,
    dials: Vec<usize>,
    flows: &Flows,
    done: mpsc::Sender<()>,
) -> Shared {
    let key = identity(node);
    let mut endpoint = restart::endpoint_config(&key);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&world.seed.to_le_bytes());
    seed[8..16].copy_from_slice(&(node as u64).to_le_bytes());
    endpoint.rng_seed(Some(seed));
    let mut config = transport::transport_config();
    config.congestion_controller_factory(Arc::new(Watch::cubic(flows)));
    let socket = Arc::new(world.wire.socket(node));
    let runtime = Arc::new(Runtime(world.clock.clone()));
    let socket = (socket as Arc<dyn quinn::AsyncUdpSocket>, address(node));
    let transport = transport::start_on(&key, socket, runtime, endpoint, config);
    let endpoint = transport.expect("an endpoint in memory").endpoint;
    let (inputs, queue) = mpsc::channel(QUEUE);
    {
        let (endpoint, inputs) = (endpoint.clone(), inputs.clone());
        tokio::spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let inputs = inputs.clone();
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        connected(connection, false, inputs).await;
                    }
                });
            }
        });
    }
    for other in dials {
        let connecting = endpoint.connect(address(other), tls::SERVER_NAME);
        let (connecting, inputs) = (connecting.expect("an address"), inputs.clone());
        tokio::spawn(async move {
            if let Ok(connection) = connecting.await {
                connected(connection, true, inputs).await;
            }
        });
    }
    let shared = Shared::default();
    let me = PeerId(*key.verifying_key().as_bytes());
    let seed = world.seed.wrapping_mul(1_000_003) + node as u64;
    let member = Member {
        world: Arc::clone(world),
        swarm: Swarm::new(world.config.clone(), me, seed),
        inputs,
        peers: BTreeMap::new(),
        asked: BTreeMap::new(),
        serving: BTreeMap::new(),
        next: 0,
        shared: Arc::clone(&shared),
        done,
    };
    tokio::spawn(member.run(queue, seeder));
    shared
}

async fn connected(connection: quinn::Connection, dialled: bool, inputs: mpsc::Sender<Input>) {
    let peer = tls::remote_peer(&connection).expect("it proved its key");
    let news = Input::Connected {
        peer,
        connection,
        dialled,
    };
    let _ = inputs.send(news).await;
}

impl Member {
    async fn run(mut self, mut queue: mpsc::Receiver<Input>, seeder: bool) {
        let chunks = self.world.chunk_sizes.len() as u32;
        self.tell(Event::ContentAdded {
            key: KEY,
            stripes: None,
            chunk_sizes: self.world.chunk_sizes.clone(),
            have: match seeder {
                true => ChunkSet::full(chunks),
                false => ChunkSet::new(chunks),
            },
            wanted: None,
            role: Role::Member,
            priority: 0,
            order: Order::Rarest,
        });
        let mut batch = Vec::new();
        let mut sample_at = SAMPLE_EVERY;
        loop {
            let deadline = self.swarm.next_timeout().unwrap_or(sample_at);
            let clock = self.world.clock.clone();
            tokio::select! {
                biased;
                n = queue.recv_many(&mut batch, 64) => {
                    if n == 0 {
                        return;
                    }
                    for input in batch.drain(..) {
                        self.handle(input);
                    }
                }
                () = clock.sleep_until(deadline.min(sample_at)) => {}
            }
            let now = clock.now();
            if self.swarm.next_timeout().is_some_and(|at| at <= now) {
                self.tell(Event::Tick);
            }
            if sample_at <= now {
                sample_at = now + SAMPLE_EVERY;
                let rtt = |(id, peer): (&PeerId, &Peer)| (*id, peer.session.rtt());
                let rtts: Vec<_> = self.peers.iter().map(rtt).collect();
                for (peer, rtt) in rtts {
                    self.tell(Event::PathSample { peer, rtt });
                }
            }
            let owed = self.peers.values().map(|peer| peer.owed).sum();
            self.shared.lock().expect("no panic").owed = owed;
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Connected {
                peer,
                connection,
                dialled,
            } => {
                self.next += 1;
                let id: SessionId = self.next;
                let session = Session::start(
                    id,
                    peer,
                    connection,
                    dialled,
                    self.inputs.clone(),
                    Arc::new(Turnstile::new()),
                );
                session.send(&Control::Open {
                    handle: KEY.0,
                    channel: CHANNEL,
                    content: CONTENT,
                });
                let rtt = session.rtt();
                let (requests, owed) = (BTreeMap::new(), 0);
                self.peers.insert(
                    peer,
                    Peer {
                        session,
                        requests,
                        owed,
                    },
                );
                // Both are members, and either says so first.
                let tier = self.world.tier;
                self.tell(Event::PeerJoined {
                    key: KEY,
                    peer,
                    tier,
                    site: None,
                });
                self.tell(Event::PathSample { peer, rtt });
            }
            Input::Control {
                peer,
                control: Control::Swarm { body, .. },
                ..
            } => {
                let count = self.world.chunk_sizes.len() as u32;
                let msg = Message::decode(&body, count).expect("an honest peer's");
                self.tell(Event::Message {
                    peer,
                    key: KEY,
                    msg,
                    room: None,
                });
            }
            Input::Asked {
                peer,
                ask: Ask::Chunks { chunks, .. },
                stream,
                ..
            } => {
                self.next += 1;
                let serve = ServeId(self.next);
                self.asked.insert(serve, stream);
                self.tell(Event::Incoming {
                    key: KEY,
                    peer,
                    serve,
                    chunks,
                });
            }
            Input::Fetched {
                key,
                request,
                peer,
                news,
            } => self.fetched(key, request, peer, news),
            Input::Sending { key, peer } => self.tell(Event::Sending { key, peer }),
            Input::Served {
                key,
                serve,
                peer,
                chunk,
                bytes,
            } => self.tell(Event::Served {
                key,
                peer,
                serve,
                chunk,
                bytes,
            }),
            Input::ServeEnded {
                key,
                serve,
                peer,
                taken,
            } => {
                let bytes = self.serving.remove(&serve).unwrap_or(0);
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.owed -= bytes;
                }
                self.tell(Event::ServeEnded {
                    key,
                    peer,
                    serve,
                    taken,
                });
            }
            Input::Disconnected { peer, reason, .. } => {
                panic!("{} lost: {reason}", peer.short())
            }
            _ => {}
        }
    }

    fn fetched(&mut self, key: ContentKey, request: RequestId, peer: PeerId, news: Fetched) {
        match news {
            Fetched::Progress { chunk, bytes, .. } => self.tell(Event::Progress {
                key,
                chunk,
                peer,
                bytes,
            }),
            Fetched::Arrived { chunk, bytes, .. } => self.tell(Event::ChunkArrived {
                key,
                chunk,
                peer,
                bytes,
            }),
            Fetched::Written { chunk, .. } => {
                self.tell(Event::ChunkVerified { key, chunk, peer });
                self.tell(Event::ChunkStored { key, chunk });
            }
            Fetched::Ended { whole, .. } => {
                let open = self.peers.get_mut(&peer);
                let ours = open.is_some_and(|peer| peer.requests.remove(&request).is_some());
                if ours && !whole {
                    self.tell(Event::RequestFailed { key, peer, request });
                }
            }
            Fetched::Mismatch { .. } | Fetched::Failed { .. } => unreachable!("zeros"),
        }
    }

    fn tell(&mut self, event: Event) {
        let now = self.world.clock.now();
        let mut actions = Vec::new();
        self.swarm.handle(now, event, &mut actions);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send { peer, key, msg } => {
                if let Some(peer) = self.peers.get(&peer) {
                    peer.session.send(&Control::Swarm {
                        handle: key.0,
                        body: msg.encode().into(),
                    });
                }
            }
            Action::Request {
                peer,
                request,
                chunks,
                ..
            } => {
                let asks = |peer: &&Peer| !peer.requests.is_empty();
                let sources = self.peers.values().filter(asks).count().max(1);
                let Some(at) = self.peers.get_mut(&peer) else {
                    return;
                };
                let fetch = fetch(
                    Arc::clone(&self.world),
                    at.session.connection.clone(),
                    (request, peer, chunks),
                    transport::window(sources, Duration::ZERO),
                    self.inputs.clone(),
                );
                let task = tokio::spawn(fetch).abort_handle();
                at.requests.insert(request, task);
            }
            Action::Cancel { peer, request, .. } => {
                let peer = self.peers.get_mut(&peer);
                if let Some(task) = peer.and_then(|peer| peer.requests.remove(&request)) {
                    task.abort();
                }
            }
            Action::Serve {
                peer,
                serve,
                chunks,
                ..
            } => {
                let stream = self.asked.remove(&serve).expect("asked before");
                let sizes = Arc::clone(&self.world.chunk_sizes);
                let bytes = chunks.iter().map(|c| u64::from(sizes[*c as usize])).sum();
                self.serving.insert(serve, bytes);
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.owed += bytes;
                }
                let answer = answer(stream, (serve, peer, chunks), sizes, self.inputs.clone());
                tokio::spawn(answer);
            }
            Action::Refuse { serve, .. } => {
                if let Some(mut stream) = self.asked.remove(&serve) {
                    let _ = stream.reset(Close::Busy.code());
                }
            }
            Action::Complete { .. } => {
                let mut glimpse = self.shared.lock().expect("no panic");
                if glimpse.finished.is_none() {
                    glimpse.finished = Some(self.world.clock.now());
                    self.done.try_send(()).expect("room for everybody");
                }
            }
            Action::Punish { peer, offence } => panic!("{} {offence}", peer.short()),
            Action::Recheck { .. } | Action::Decode { .. } | Action::NoSource { .. } => {}
        }
    }
}

/// As `fetch::fetch_chunks`, without a pool, limits and writers.
async fn fetch(
    world: Arc<World>,
    connection: quinn::Connection,
    (request, peer, chunks): (RequestId, PeerId, Vec<u32>),
    window: u32,
    inputs: mpsc::Sender<Input>,
) {
    let input = move |news| Input::Fetched {
        key: KEY,
        request,
        peer,
        news,
    };
    let ask = Ask::Chunks {
        channel: CHANNEL,
        content: CONTENT,
        chunks: chunks.clone(),
    };
    let mut whole = false;
    if let Ok((_request, mut stream)) = open_request(&connection, &ask, window).await {
        whole = true;
        for chunk in chunks {
            let bytes = world.chunk_sizes[chunk as usize];
            let mut buffer = vec![0; bytes as usize + 1];
            let mut told_at = world.clock.now();
            let mut here = 0;
            while here < buffer.len() {
                let Ok(Some(read)) = stream.read(&mut buffer[here..]).await else {
                    break;
                };
                here += read;
                if told_at + NEWS_EVERY <= world.clock.now() {
                    told_at = world.clock.now();
                    let (bytes, came) = (here as u32 - 1, 0);
                    let news = Fetched::Progress { chunk, bytes, came };
                    let _ = inputs.send(input(news)).await;
                }
            }
            if here < buffer.len() {
                whole = false;
                break;
            }
            let came = bytes;
            let arrived = Fetched::Arrived { chunk, bytes, came };
            let _ = inputs.send(input(arrived)).await;
            let (world, inputs) = (Arc::clone(&world), inputs.clone());
            let at = world.clock.nanos() + world.store_delay.as_nanos() as u64;
            let took = world.store_delay;
            world.clock.clone().plan(at, move |_| {
                world.clock.stand_still();
                let news = input(Fetched::Written { chunk, took });
                inputs.try_send(news).expect("a short line");
            });
        }
    }
    let ended = Fetched::Ended { whole, wasted: 0 };
    let _ = inputs.send(input(ended)).await;
}

/// As `serve::serve_chunks`, without a store, a pool and limits.
async fn answer(
    mut stream: SendStream,
    (serve, peer, chunks): (ServeId, PeerId, Vec<u32>),
    sizes: Arc<[u32]>,
    inputs: mpsc::Sender<Input>,
) {
    let key = KEY;
    let send = async {
        for chunk in chunks {
            let size = sizes[chunk as usize];
            let zeros = Bytes::from(vec![0; size as usize]);
            let mut parts = [Bytes::from_static(&[HERE]), zeros];
            stream.write_all_chunks(&mut parts).await?;
            let served = Input::Served {
                key,
                serve,
                peer,
                chunk,
                bytes: size,
            };
            let _ = inputs.send(served).await;
        }
        Ok::<(), quinn::WriteError>(())
    };
    let mut taken = false;
    if send.await.is_ok() && stream.finish().is_ok() {
        taken = matches!(stream.stopped().await, Ok(None));
    }
    let ended = Input::ServeEnded {
        key,
        serve,
        peer,
        taken,
    };
    let _ = inputs.send(ended).await;
}
