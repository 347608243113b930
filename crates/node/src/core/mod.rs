//! The core: one task that owns all state machines, and says what the connections'
//! tasks do. Everything that happens reaches it as an [`Input`]; it never blocks
//! and never waits.

mod channel;
mod channels;
mod cpu;
mod decode;
mod dial;
mod direct;
mod exchange;
mod forks;
mod gate;
mod known;
mod leaving;
mod news;
mod offer;
mod presence;
mod race;
mod remembered;
#[cfg(test)]
mod revoked;
mod search;
mod shut_out;
mod throttle;
mod time;
mod told;
mod transfers;
mod visits;
mod watch;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use quinn::SendStream;
use samara_graph::SecretKey;
use samara_store::{ReadError, Store};
use samara_swarm::{ContentKey, RequestId, ServeId, Swarm};
use samara_wire::{ChannelId, ContentId, PeerId, RecordId};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use channel::{
    CHANNEL_SETTINGS, Channel, ChannelMeta, Item, Role, Unshared, What, draft, graph_config, join,
    load, put_meta,
};
pub(crate) use cpu::{RunQueue, thread_time};
pub(crate) use direct::Heard;
pub(crate) use known::Known;
use leaving::Leaving;
pub(crate) use news::{Live, News, reason_name};
pub(crate) use shut_out::ShutOut;
pub(crate) use transfers::{Sources, Terms, Transfer};
use visits::Visits;

use crate::{
    EngineError, addrs,
    api::ErrorKind,
    config::NodeConfig,
    discovery::Discovered,
    engine::Mode,
    fetch::Fetched,
    limit::{Meter, Orders, Shapers},
    limits,
    message::{Ask, Control, Handle},
    metrics::Metrics,
    pool::{BufferPool, PoolShare},
    receipt::Receipt,
    session::{Close, Session, SessionId},
    stopwatch::Stopwatch,
    transport::Transport,
    turnstile::{Place, Turnstile},
    writers::Writers,
};

/// Names a transfer within the node.
pub(crate) type TransferKey = ContentKey;

/// Inputs that may wait for the core; whoever brings more waits.
pub(crate) const MAX_QUEUED_INPUTS: usize = 4096;

type Call = Box<dyn FnOnce(&mut Core) + Send>;

/// Something that happened.
pub(crate) enum Input {
    /// A handshake succeeded.
    Connected {
        peer: PeerId,
        connection: quinn::Connection,
        dialled: bool,
    },
    /// A dial failed.
    DialFailed { peer: PeerId, reason: String },
    /// A session's tasks ended.
    Disconnected {
        session: SessionId,
        peer: PeerId,
        reason: String,
        misbehaved: bool,
    },
    /// A frame of a control stream.
    Control {
        session: SessionId,
        peer: PeerId,
        control: Control,
    },
    /// A proof of membership, once it is its turn.
    Prove {
        session: SessionId,
        peer: PeerId,
        tag: [u8; 32],
        sealed: Bytes,
        place: Place,
    },
    /// A request, and the stream to answer it on.
    Asked {
        session: SessionId,
        peer: PeerId,
        ask: Ask,
        stream: SendStream,
    },
    /// News of a request of ours.
    Fetched {
        key: TransferKey,
        request: RequestId,
        peer: PeerId,
        news: Fetched,
    },
    /// An answer takes long, and goes on.
    Sending { key: TransferKey, peer: PeerId },
    /// A chunk went out.
    Served {
        key: TransferKey,
        serve: ServeId,
        peer: PeerId,
        chunk: u32,
        bytes: u32,
    },
    /// A request of a peer was answered or broke off.
    ServeEnded {
        key: TransferKey,
        serve: ServeId,
        peer: PeerId,
        /// The peer acknowledged all of it.
        taken: bool,
    },
    /// A stored chunk turned out not to have its hash.
    Damaged { key: TransferKey, chunk: u32 },
    /// A chunk could not be read for a peer.
    ReadFailed {
        key: TransferKey,
        chunk: u32,
        error: ReadError,
    },
    /// A record is on disk, or is not.
    RecordStored {
        channel: ChannelId,
        record: RecordId,
        result: Result<(), samara_store::StoreError>,
    },
    /// A sync of a transfer ended.
    Synced {
        key: TransferKey,
        took: Duration,
        result: Result<(), samara_store::SyncError>,
    },
    /// A stripe was decoded, or could not be.
    Decoded {
        key: TransferKey,
        stripe: u32,
        result: Result<Vec<u32>, samara_store::CodingError>,
    },
    /// A finished transfer is in place, or is not.
    Finished {
        key: TransferKey,
        result: Result<(), EngineError>,
    },
    /// Somebody was found, as somebody says.
    Discovered(Discovered),
    /// Whoever is at an address was dialled: it proved to be `peer`, or nobody.
    StrangerTried {
        channel: ChannelId,
        addr: SocketAddr,
        peer: Option<PeerId>,
    },
    /// Code of a request that wants to see or change the core.
    Call(Call),
}

/// The way to the core for tasks.
#[derive(Clone)]
pub(crate) struct CoreHandle {
    inputs: mpsc::Sender<Input>,
    changed: Arc<Notify>,
}

impl CoreHandle {
    /// Runs `f` in the core and returns what it returns.
    pub(crate) async fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Core) -> R + Send + 'static,
    ) -> Result<R, EngineError> {
        let (send, receive) = oneshot::channel();
        let call: Call = Box::new(move |core| {
            let _ = send.send(f(core));
        });
        let gone = || EngineError::new(ErrorKind::Interrupted, "the node is stopping");
        self.inputs
            .send(Input::Call(call))
            .await
            .map_err(|_| gone())?;
        receive.await.map_err(|_| gone())
    }

    /// Calls `look` until it says something, each time that the core's state has
    /// changed in a way that someone may wait for.
    pub(crate) async fn wait_for<R: Send + 'static>(
        &self,
        mut look: impl FnMut(&mut Core) -> Option<R> + Send + Clone + 'static,
    ) -> Result<R, EngineError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let mut once = look.clone();
            let found = self
                .call(move |core| {
                    let found = once(core);
                    (once, found)
                })
                .await?;
            look = found.0;
            if let Some(result) = found.1 {
                return Ok(result);
            }
            changed.await;
        }
    }
}

/// All that a node knows while it runs.
pub(crate) struct Core {
    pub(crate) config: NodeConfig,
    pub(crate) key: SecretKey,
    pub(crate) me: PeerId,
    pub(crate) store: Store,
    pub(crate) metrics: Metrics,
    pub(crate) started: Instant,
    pub(crate) channels: HashMap<ChannelId, Channel>,
    /// Channels that requests are at work in.
    visits: HashMap<ChannelId, Visits>,
    pub(crate) transfers: HashMap<TransferKey, Transfer>,
    transfer_by_content: HashMap<ContentId, TransferKey>,
    pub(crate) sessions: HashMap<PeerId, Link>,
    /// Peers whose bytes were wrong too often, until the node stops.
    banned: HashMap<PeerId, String>,
    dialling: HashMap<PeerId, dial::Dial>,
    swarm: Swarm,
    swarm_actions: Vec<samara_swarm::Action>,
    transport: Option<Transport>,
    /// Whether this is a node that stays, and no visit of a command.
    resident: bool,
    /// Finding members beyond links and the overlay.
    search: search::Search,
    inputs: mpsc::Sender<Input>,
    changed: Arc<Notify>,
    next_session: SessionId,
    turnstile: Arc<Turnstile>,
    next_key: u32,
    /// Streams of requests that wait for the swarm's word.
    asked: HashMap<ServeId, exchange::Waiting>,
    next_asked: u64,
    /// Peers to ban when the state machine at work is done.
    ban_later: Vec<(PeerId, String)>,
    /// To be stored with the record that is being published.
    receipt: Option<Receipt>,
    next_sample: Instant,
    pub(crate) warnings: broadcast::Sender<String>,
    pub(crate) news: News,
    direct: direct::Direct,
    subnets: Vec<addrs::Subnet>,
    next_dial: Instant,
    receive_pool: BufferPool,
    writers: Writers,
    send_pool: BufferPool,
    pub(crate) shapers: Shapers,
    /// What people ordered of limits and pauses.
    pub(crate) orders: Orders,
    /// Counts changes of what is paused.
    pub(crate) pauses: u64,
    next_settling: Instant,
    /// When those are asked again who were turned away for want of room, and the last of
    /// them.
    next_invitation: Instant,
    last_invited: Option<(TransferKey, PeerId)>,
    last_look: Instant,
    /// Whether anything moved then.
    moves: bool,
    load: cpu::Load,
    stop: CancellationToken,
}

/// A session, and what both ends have said on it.
pub(crate) struct Link {
    pub(crate) session: Session,
    /// Channels that the peer spoke of and that we hold.
    pub(crate) channels: std::collections::BTreeSet<ChannelId>,
    /// The site that the peer says it is in.
    site: Option<String>,
    /// Private channels that were proved here.
    doors: gate::Doors,
    /// The peer's names for contents.
    theirs: HashMap<Handle, (ChannelId, ContentId)>,
    /// Contents that we announced, under the transfer's key as the name.
    ours: std::collections::HashSet<TransferKey>,
    /// Requests of ours under way, to break them off.
    requests: HashMap<RequestId, CancellationToken>,
    talk: direct::Talk,
    /// What the peer may have of the send pool.
    share: PoolShare,
    /// What passed between us, and what of it was paid for.
    meter: Arc<Meter>,
    /// While limits hold back what the peer sends, and what the swarm knows of that.
    held: Stopwatch,
    held_told: Duration,
    /// It was asked for something: its answers have room.
    pub(crate) asked: bool,
    /// Chunk bytes from and to this peer.
    pub(crate) received: u64,
    pub(crate) sent: Arc<std::sync::atomic::AtomicU64>,
}

impl Core {
    /// A core without a network: channels and store only.
    pub(crate) fn new(
        config: NodeConfig,
        key: SecretKey,
        store: Store,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<(Self, CoreHandle, mpsc::Receiver<Input>), EngineError> {
        let (inputs, queue) = mpsc::channel(MAX_QUEUED_INPUTS);
        let changed = Arc::new(Notify::new());
        let mut seed = [0; 8];
        crate::identity::random(&mut seed)?;
        let me = key.peer_id();
        let writers = Writers::start().map_err(|e| {
            EngineError::new(ErrorKind::Internal, format!("no thread can be made: {e}"))
        })?;
        let handle = CoreHandle {
            inputs: inputs.clone(),
            changed: changed.clone(),
        };
        let core = Self {
            me,
            key,
            store,
            metrics,
            started: Instant::now(),
            channels: HashMap::new(),
            visits: HashMap::new(),
            transfers: HashMap::new(),
            transfer_by_content: HashMap::new(),
            sessions: HashMap::new(),
            banned: HashMap::new(),
            dialling: HashMap::new(),
            swarm: Swarm::new(
                samara_swarm::Config::default(),
                me,
                u64::from_le_bytes(seed),
            ),
            swarm_actions: Vec::new(),
            transport: None,
            resident: false,
            search: search::Search::default(),
            inputs,
            changed,
            next_session: 0,
            turnstile: Arc::new(Turnstile::new()),
            next_key: 0,
            asked: HashMap::new(),
            next_asked: 0,
            ban_later: Vec::new(),
            receipt: None,
            next_sample: Instant::now(),
            warnings: broadcast::channel(64).0,
            news: News::new(),
            direct: direct::Direct::default(),
            subnets: addrs::subnets(),
            next_dial: Instant::now(),
            receive_pool: BufferPool::new(limits::MAX_UNWRITTEN),
            writers,
            send_pool: BufferPool::new(limits::MAX_UNSENT),
            shapers: Shapers::default(),
            orders: Orders::default(),
            pauses: 0,
            next_settling: Instant::now(),
            next_invitation: Instant::now(),
            last_invited: None,
            last_look: Instant::now(),
            moves: false,
            load: cpu::Load::default(),
            config,
            stop,
        };
        Ok((core, handle, queue))
    }

    /// Gives the core a network. To be called on the engine's runtime.
    pub(crate) fn go_online(&mut self, transport: Transport, mode: Mode) {
        tokio::spawn(dial::accept(
            transport.endpoint.clone(),
            self.inputs.clone(),
        ));
        self.start_search(transport.addr, mode);
        self.resident = mode == Mode::Node;
        self.transport = Some(transport);
    }

    /// Whether there is a network.
    pub(crate) fn is_online(&self) -> bool {
        self.transport.is_some()
    }

    /// Takes inputs until told to stop.
    pub(crate) async fn run(mut self, mut queue: mpsc::Receiver<Input>) {
        let mut batch = Vec::new();
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                n = queue.recv_many(&mut batch, 64) => {
                    if n == 0 {
                        break;
                    }
                    for input in batch.drain(..) {
                        self.handle(input);
                    }
                }
                () = tokio::time::sleep_until(deadline.into()) => {}
            }
            self.on_time();
        }
        for link in self.sessions.values() {
            link.session.close(Close::Bye);
        }
        // Threads that wait for room in it would keep the syncs from theirs.
        drop(queue);
        let search = self.search.stop();
        self.sync_all().await;
        search.await;
        if let Some(transport) = &self.transport {
            transport.endpoint.close(Close::Bye.code(), b"");
            let _ =
                tokio::time::timeout(Duration::from_millis(300), transport.endpoint.wait_idle())
                    .await;
        }
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Connected {
                peer,
                connection,
                dialled,
            } => self.on_connected(peer, connection, dialled),
            Input::DialFailed { peer, reason } => self.on_dial_failed(peer, &reason),
            Input::Disconnected {
                session,
                peer,
                reason,
                misbehaved,
            } => self.on_disconnected(session, peer, &reason, misbehaved),
            Input::Control {
                session,
                peer,
                control,
            } => {
                if self.is_current(session, peer) {
                    self.on_control(peer, control);
                }
            }
            Input::Prove {
                session,
                peer,
                tag,
                sealed,
                place,
            } => {
                if self.is_current(session, peer) {
                    self.on_prove(peer, tag, sealed, place);
                }
            }
            Input::Asked {
                session,
                peer,
                ask,
                stream,
            } => {
                if self.is_current(session, peer) {
                    self.on_asked(peer, ask, stream);
                }
            }
            Input::Fetched {
                key,
                request,
                peer,
                news,
            } => self.on_fetched(key, request, peer, news),
            Input::Sending { key, peer } => {
                self.swarm_event(samara_swarm::Event::Sending { key, peer });
            }
            Input::Served {
                key,
                serve,
                peer,
                chunk,
                bytes,
            } => self.on_served(key, serve, peer, chunk, bytes),
            Input::ServeEnded {
                key,
                serve,
                peer,
                taken,
            } => self.on_serve_ended(key, serve, peer, taken),
            Input::Damaged { key, chunk } => self.on_damaged(key, chunk),
            Input::ReadFailed { key, chunk, error } => self.on_read_failed(key, chunk, &error),
            Input::RecordStored {
                channel,
                record,
                result,
            } => self.on_record_stored(channel, record, result),
            Input::Synced { key, took, result } => self.on_synced(key, took, result),
            Input::Decoded {
                key,
                stripe,
                result,
            } => self.on_decoded(key, stripe, result),
            Input::Finished { key, result } => self.on_finished(key, result),
            Input::Discovered(found) => self.on_discovered(found),
            Input::StrangerTried {
                channel,
                addr,
                peer,
            } => self.on_stranger_tried(channel, addr, peer),
            Input::Call(call) => call(self),
        }
    }

    /// Tells whoever listens of something that stops nothing.
    pub(crate) fn warn(&self, message: String) {
        tracing::warn!("{message}");
        let _ = self.warnings.send(message);
    }

    /// Addresses under which others may reach this node, best first.
    pub(crate) fn own_addrs(&self) -> Vec<SocketAddr> {
        self.transport
            .as_ref()
            .map(|t| {
                let own = addrs::reachable(t.addr);
                addrs::with_external(own, &self.external_addrs())
            })
            .unwrap_or_default()
    }

    /// Whether an address is on a network that this machine has an interface in.
    fn on_own_subnet(&self, addr: std::net::IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(addr))
    }

    fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let mut next = now + Duration::from_secs(1);
        if let Some(swarm) = self.swarm.next_timeout() {
            next = next.min(self.started + swarm);
        }
        for channel in self.channels.values() {
            if let Some(graph) = channel.next_timeout() {
                next = next.min(self.started + graph);
            }
        }
        if self.is_online() {
            next = next.min(self.next_dial);
        }
        if let Some(sync) = self.next_sync() {
            next = next.min(sync);
        }
        if self.shapers.is_stirred() {
            next = next.min(self.next_settling);
        }
        if !self.swarm.cramped().is_empty() {
            next = next.min(self.next_invitation);
        }
        if let Some(look) = self.next_look() {
            next = next.min(look);
        }
        next.max(now)
    }

    fn on_time(&mut self) {
        let now = self.now();
        if self.swarm.next_timeout().is_some_and(|t| t <= now) {
            self.tell_held_back();
            self.swarm_event(samara_swarm::Event::Tick);
        }
        self.tick_channels(now);
        for (peer, why) in std::mem::take(&mut self.ban_later) {
            self.ban(peer, &why);
        }
        self.sync_round();
        self.settle_round();
        self.invite_round();
        self.look_round();
        if Instant::now() >= self.next_sample {
            self.next_sample = Instant::now() + Duration::from_secs(1);
            self.sample();
            self.follow_the_clock();
        }
        if self.is_online() && Instant::now() >= self.next_dial {
            self.dial_round();
            self.search_round();
        }
    }

    /// Time since the node started: what the state machines call now.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells whoever waits that something changed.
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }
}

/// Milliseconds since 1970, UTC.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}
