//! A peer that speaks the protocol and lies in it. Written after docs/protocol.md and
//! not after the node, of which it uses nothing: a second implementation, small and
//! malicious. Only the state machine of the graph is the real one, since a liar has to
//! be believed until it lies.

pub(crate) mod content;
mod tls;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use samara_content::ChunkSet;
use samara_graph::{
    Action, Attributes, Charter, CharterChain, CharterRef, Config, Draft, Event, Graph, Kind, Link,
    LinkPeer, Message, Record, SecretKey, WallMs, body,
};
use samara_wire::{
    ChannelId, ContentId, FrameDecoder, PeerId, Reader, RecordId, Writer, encode_frame,
};
use tokio::{runtime::Runtime, sync::mpsc};

use content::Content;

/// Frames of the control stream.
mod kind {
    pub(super) const GRAPH: u64 = 1;
    pub(super) const OPEN: u64 = 3;
    pub(super) const SWARM: u64 = 5;
    pub(super) const INTRODUCE: u64 = 6;
}

/// The page that stands for the root.
const ROOT_PAGE: u32 = u32::MAX;
/// All the credit that a grant can give.
const CREDIT: u64 = 16 << 20;
const MAX_FRAME: usize = 1 << 20;

/// The liar: a key, an endpoint, channels and contents.
pub(crate) struct Liar {
    pub(crate) key: SecretKey,
    addr: SocketAddr,
    endpoint: Endpoint,
    shared: Arc<Shared>,
    runtime: Runtime,
}

#[derive(Default)]
struct Shared {
    channels: Mutex<HashMap<ChannelId, Channel>>,
    contents: Mutex<HashMap<ContentId, Content>>,
    peers: Mutex<HashMap<PeerId, mpsc::UnboundedSender<Bytes>>>,
    lying: AtomicBool,
    /// Chunks that were sent with wrong bytes.
    lies: AtomicU64,
}

struct Channel {
    graph: Graph,
    charter: CharterRef,
    records: HashMap<RecordId, Bytes>,
    /// Records that are pushed to whoever asks for the charter, behind the graph's back.
    pushed: Vec<Bytes>,
}

impl Liar {
    pub(crate) fn start() -> Self {
        let seed = blake3::hash(format!("{:?}", Instant::now()).as_bytes());
        let key = SecretKey::from_bytes(seed.as_bytes());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (client, server) = tls::configs(seed.as_bytes());
        let guard = runtime.enter();
        let mut endpoint = Endpoint::server(server, "127.0.0.1:0".parse().unwrap()).unwrap();
        drop(guard);
        endpoint.set_default_client_config(client);
        let shared = Arc::<Shared>::default();
        let (accepting, theirs) = (endpoint.clone(), shared.clone());
        runtime.spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                if let Ok(connection) = incoming.await {
                    tokio::spawn(converse(connection, theirs.clone()));
                }
            }
        });
        Self {
            addr: endpoint.local_addr().unwrap(),
            key,
            endpoint,
            shared,
            runtime,
        }
    }

    /// A channel of the liar's own.
    pub(crate) fn channel(&self, name: &str) -> ChannelId {
        self.channel_of(name, |_| {})
    }

    /// The same with a charter that `change` makes what it is to be.
    pub(crate) fn channel_of(&self, name: &str, change: impl FnOnce(&mut Charter)) -> ChannelId {
        let mut charter = Charter::open(name, self.key.peer_id(), now(), [7; 16]);
        change(&mut charter);
        let chain = CharterChain::new(charter.sign(&[&self.key]).unwrap()).unwrap();
        let id = chain.channel();
        let channel = Channel {
            charter: chain.reference(),
            graph: Graph::restore(chain, [], Config::new(self.key.peer_id(), 1)),
            records: HashMap::new(),
            pushed: Vec::new(),
        };
        self.shared.channels.lock().unwrap().insert(id, channel);
        id
    }

    /// A channel with a content, as `share` makes it; its link.
    pub(crate) fn share(&self, content: Content) -> String {
        let id = self.channel(&format!("share of {}", content.id()));
        let body = body::Share {
            content: content.reference(),
        };
        self.publish(id, Kind::SHARE, b"", body.encode());
        let mut contents = self.shared.contents.lock().unwrap();
        contents.insert(content.id(), content);
        self.link(id, &[])
    }

    /// A record as an honest publisher makes it.
    pub(crate) fn publish(&self, id: ChannelId, kind: Kind, about: &[u8], body: Vec<u8>) {
        self.publish_for(id, kind, about, body, Duration::from_secs(3600));
    }

    /// The same for as long as that.
    pub(crate) fn publish_for(
        &self,
        id: ChannelId,
        kind: Kind,
        about: &[u8],
        body: Vec<u8>,
        lifetime: Duration,
    ) {
        let draft = Draft {
            kind,
            key: Bytes::copy_from_slice(about),
            attributes: Attributes::default(),
            body: body.into(),
            lifetime,
            priority: 0,
        };
        let mut channels = self.shared.channels.lock().unwrap();
        let channel = channels.get_mut(&id).unwrap();
        let mut actions = Vec::new();
        channel
            .graph
            .publish(now(), &self.key, draft, &mut actions)
            .unwrap();
        self.shared.act(id, channel, actions);
    }

    /// Sends bytes as a record to whoever asks for the channel's charter.
    pub(crate) fn push(&self, id: ChannelId, record: Bytes) {
        let mut channels = self.shared.channels.lock().unwrap();
        channels.get_mut(&id).unwrap().pushed.push(record);
    }

    /// The way to a channel: the liar, and others after it.
    pub(crate) fn link(&self, id: ChannelId, others: &[LinkPeer]) -> String {
        let me = LinkPeer {
            peer: self.key.peer_id(),
            addrs: vec![self.addr],
        };
        let charter = self.shared.channels.lock().unwrap()[&id].charter;
        let peers: Vec<_> = [me].into_iter().chain(others.iter().cloned()).collect();
        Link::new(id, charter, &peers).to_string()
    }

    /// From now on every chunk that is sent has a wrong byte.
    pub(crate) fn lie(&self) {
        self.shared.lying.store(true, Ordering::Relaxed);
    }

    /// How many chunks with a wrong byte were sent.
    pub(crate) fn lies(&self) -> u64 {
        self.shared.lies.load(Ordering::Relaxed)
    }

    /// Connects to a node as a stranger that has no manners; `f` says what it does.
    pub(crate) fn visit<R>(&self, node: SocketAddr, f: impl AsyncFnOnce(Connection) -> R) -> R {
        self.runtime.block_on(async {
            let dial = self.endpoint.connect(node, tls::SERVER_NAME).unwrap();
            f(dial.await.expect("the node takes connections")).await
        })
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.endpoint.close(0u32.into(), b"");
    }
}

impl Shared {
    /// Does what the graph says; what it wants written is written at once.
    fn act(&self, id: ChannelId, channel: &mut Channel, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { peer, message } => {
                    let asked = matches!(message, Message::Charters(_));
                    self.say(id, peer, &message);
                    if asked {
                        for record in &channel.pushed {
                            self.say(id, peer, &Message::Record(record.clone()));
                        }
                    }
                }
                Action::SendRecord { peer, id: record } => {
                    let bytes = channel.records[&record].clone();
                    self.say(id, peer, &Message::Record(bytes));
                }
                Action::Store { header, bytes } => {
                    channel.records.insert(header.id, bytes);
                    let event = Event::Stored { id: header.id };
                    let mut more = Vec::new();
                    channel.graph.handle(now(), mono(), event, &mut more);
                    self.act(id, channel, more);
                }
                _ => {}
            }
        }
    }

    fn say(&self, id: ChannelId, peer: PeerId, message: &Message) {
        let mut w = Writer::new();
        id.write(&mut w);
        w.raw(&message.encode());
        self.frame(peer, kind::GRAPH, w);
    }

    fn frame(&self, peer: PeerId, kind: u64, body: Writer) {
        if let Some(frames) = self.peers.lock().unwrap().get(&peer) {
            let _ = frames.send(encode_frame(kind, &body.finish()));
        }
    }

    fn graph_event(&self, id: ChannelId, event: Event) {
        let mut channels = self.channels.lock().unwrap();
        if let Some(channel) = channels.get_mut(&id) {
            let mut actions = Vec::new();
            channel.graph.handle(now(), mono(), event, &mut actions);
            self.act(id, channel, actions);
        }
    }

    /// A frame of a peer's control stream. `opened` are its names for contents.
    fn on_frame(
        &self,
        peer: PeerId,
        kind: u64,
        body: &[u8],
        opened: &mut HashMap<u32, ContentId>,
        met: &mut Vec<ChannelId>,
    ) {
        let mut r = Reader::new(body);
        match kind {
            kind::GRAPH => {
                let channel = ChannelId::read(&mut r).unwrap();
                if !met.contains(&channel) {
                    met.push(channel);
                    self.graph_event(channel, Event::NeighbourUp { peer });
                }
                let message = Message::decode(&Bytes::copy_from_slice(r.rest())).unwrap();
                self.graph_event(channel, Event::Message { peer, message });
            }
            kind::OPEN => {
                let handle = r.varint32("handle", u32::MAX).unwrap();
                let channel = ChannelId::read(&mut r).unwrap();
                let content = ContentId::read(&mut r).unwrap();
                let Some(count) = self.chunk_count(content) else {
                    return;
                };
                opened.insert(handle, content);
                // The same name the other way: it is ours to choose.
                let mut w = Writer::new();
                w.varint(handle.into());
                channel.write(&mut w);
                content.write(&mut w);
                self.frame(peer, kind::OPEN, w);
                let have = samara_swarm::Message::Have(ChunkSet::full(count));
                self.swarm(peer, handle, &have);
            }
            kind::SWARM => {
                use samara_swarm::Message as Swarm;
                let handle = r.varint32("handle", u32::MAX).unwrap();
                let Some(count) = opened.get(&handle).and_then(|id| self.chunk_count(*id)) else {
                    return;
                };
                if let Swarm::Want(1..) = Swarm::decode(r.rest(), count).unwrap() {
                    let grant = Swarm::Grant {
                        bytes: CREDIT,
                        suggested: vec![],
                    };
                    self.swarm(peer, handle, &grant);
                }
            }
            _ => {}
        }
    }

    fn swarm(&self, peer: PeerId, handle: u32, message: &samara_swarm::Message) {
        let mut w = Writer::new();
        w.varint(handle.into());
        w.raw(&message.encode());
        self.frame(peer, kind::SWARM, w);
    }

    fn chunk_count(&self, id: ContentId) -> Option<u32> {
        let contents = self.contents.lock().unwrap();
        Some(contents.get(&id)?.chunks.len() as u32)
    }

    /// The answer to a request.
    fn answer(&self, kind: u64, body: &[u8]) -> Vec<u8> {
        let mut r = Reader::new(body);
        let _channel = ChannelId::read(&mut r).unwrap();
        let id = ContentId::read(&mut r).unwrap();
        let count = r.count("items", 64, 1).unwrap();
        let items: Vec<u32> = (0..count)
            .map(|_| r.varint32("item", u32::MAX).unwrap())
            .collect();
        let contents = self.contents.lock().unwrap();
        let Some(content) = contents.get(&id) else {
            return vec![1];
        };
        let mut answer = Vec::new();
        for item in items {
            answer.push(0);
            if kind == 1 {
                let page = match item {
                    ROOT_PAGE => &content.root,
                    item => &content.pages[item as usize],
                };
                answer.extend_from_slice(&(page.len() as u32).to_le_bytes());
                answer.extend_from_slice(page);
                continue;
            }
            let start = answer.len();
            answer.extend_from_slice(&content.chunks[item as usize]);
            if self.lying.load(Ordering::Relaxed) {
                answer[start] ^= 1;
                self.lies.fetch_add(1, Ordering::Relaxed);
            }
        }
        answer
    }
}

/// One connection: frames each way, and requests.
async fn converse(connection: Connection, shared: Arc<Shared>) {
    let peer = tls::peer_of(&connection);
    let (frames, mut queue) = mpsc::unbounded_channel::<Bytes>();
    let mut introduce = Writer::new();
    introduce.bool(false);
    let _ = frames.send(encode_frame(kind::INTRODUCE, &introduce.finish()));
    shared.peers.lock().unwrap().insert(peer, frames);
    let writer = connection.clone();
    tokio::spawn(async move {
        let mut stream = writer.open_uni().await.ok()?;
        while let Some(frame) = queue.recv().await {
            stream.write_all(&frame).await.ok()?;
        }
        Some(())
    });
    let (asking, answering) = (connection.clone(), shared.clone());
    tokio::spawn(async move {
        while let Ok((send, recv)) = asking.accept_bi().await {
            tokio::spawn(serve(send, recv, answering.clone()));
        }
    });
    let Ok(mut stream) = connection.accept_uni().await else {
        return;
    };
    let mut decoder = FrameDecoder::new(MAX_FRAME);
    let (mut opened, mut met) = (HashMap::new(), Vec::new());
    while let Ok(Some(chunk)) = stream.read_chunk(MAX_FRAME, true).await {
        decoder.push(&chunk.bytes);
        while let Some(frame) = decoder.next_frame().unwrap() {
            shared.on_frame(peer, frame.kind, &frame.body, &mut opened, &mut met);
        }
    }
    for channel in met {
        shared.graph_event(channel, Event::NeighbourDown { peer });
    }
}

async fn serve(mut send: SendStream, mut recv: RecvStream, shared: Arc<Shared>) {
    let Ok(request) = recv.read_to_end(MAX_FRAME).await else {
        return;
    };
    let mut decoder = FrameDecoder::new(MAX_FRAME);
    decoder.push(&request);
    let frame = decoder.next_frame().unwrap().unwrap();
    let answer = shared.answer(frame.kind, &frame.body);
    // Whoever asked may have heard enough.
    let _ = send.write_all(&answer).await;
    let _ = send.finish();
}

/// A record with a wrong bit in its signature.
pub(crate) fn forged(record: &Record) -> Bytes {
    let mut bytes = record.bytes().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes.into()
}

pub(crate) fn now() -> WallMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    WallMs(since.as_millis() as u64)
}

/// A clock that only runs forward.
fn mono() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
