//! The engine's outside: opening, asking, closing. Everything runs on one thread
//! of its own (a QUIC endpoint does best on a runtime that nothing else shares)
//! and on the blocking threads of that runtime.

use std::{
    collections::HashMap,
    hash::Hash,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    thread,
};

use samara_graph::SecretKey;
use samara_store::{Batch, Store, StoreConfig};
use samara_wire::{ChannelId, ContentId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    Asked, EngineError,
    api::{ErrorKind, Event, Request},
    config::NodeConfig,
    control::{self, Control},
    core::{self, CHANNEL_SETTINGS, ChannelMeta, Core, CoreHandle, Role},
    identity::{self, Keystore},
    issues::Drafts,
    limit::{LimitConfig, Orders},
    metrics::Metrics,
    ops, receipt,
    transport::Transport,
};

/// Where the node's own settings are kept in the store.
pub(crate) const NODE_SETTINGS: &str = "node";
const PORT_KEY: &[u8] = b"port";
/// Blocking threads for disk and hashing. More than cores: some wait for the disk.
const MAX_BLOCKING_THREADS: usize = 16;

/// How much of a node an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Reads and writes the data directory only.
    Offline,
    /// Listens, dials and serves what requests ask for.
    Online,
    /// Besides, serves the channels that are held here and follows subscriptions.
    Node,
}

/// A running node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

/// An engine that its own tasks do not keep alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakEngine(Weak<Inner>);

impl WeakEngine {
    pub(crate) fn upgrade(&self) -> Option<Engine> {
        self.0.upgrade().map(|inner| Engine { inner })
    }
}

pub(crate) struct Inner {
    pub(crate) config: NodeConfig,
    pub(crate) core: CoreHandle,
    pub(crate) store: Store,
    pub(crate) mode: Mode,
    /// Bound addresses; empty offline.
    pub(crate) listen: Option<SocketAddr>,
    /// The default port was taken, so it is another one.
    port_was_taken: bool,
    token: String,
    metrics: Metrics,
    /// Contents that a request is making whole; whoever wants one too waits.
    pub(crate) obtaining: Locks<ContentId>,
    /// Channels that something is being published in: versions are given in turn.
    pub(crate) publishing: Locks<ChannelId>,
    /// Held while a channel of a new name is made.
    pub(crate) naming: tokio::sync::Mutex<()>,
    pub(crate) drafts: Drafts,
    runtime: tokio::runtime::Handle,
    stop: CancellationToken,
    control: OnceLock<Control>,
    /// What is cancelled when a node asks for the data directory, if it may have it.
    pub(crate) gives_way: OnceLock<CancellationToken>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// One lock a content, a channel or the like.
#[derive(Debug)]
pub(crate) struct Locks<K>(Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>);

impl<K> Default for Locks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash> Locks<K> {
    /// The lock of `of`.
    pub(crate) fn lock_of(&self, of: K) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(&of).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(of, Arc::downgrade(&lock));
        lock
    }

    /// Whether a request is at it.
    pub(crate) fn is_held(&self, of: &K) -> bool {
        let locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.get(of).is_some_and(|lock| lock.strong_count() > 0)
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("data_dir", &self.config.data_dir)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// What the engine's thread says when it is up.
struct Started {
    core: CoreHandle,
    store: Store,
    listen: Option<SocketAddr>,
    port_was_taken: bool,
    token: String,
    metrics: Metrics,
    runtime: tokio::runtime::Handle,
}

impl Engine {
    /// Opens the data directory (making it if need be) and, online, the network.
    ///
    /// # Errors
    /// [`ErrorKind::Locked`], [`ErrorKind::NewerFormat`], [`ErrorKind::AddressInUse`],
    /// [`ErrorKind::Disk`].
    pub async fn open(config: NodeConfig, mode: Mode) -> Result<Self, EngineError> {
        let stop = CancellationToken::new();
        let (send, started) = oneshot::channel();
        let thread = {
            let (config, stop) = (config.clone(), stop.clone());
            thread::Builder::new()
                .name("samara-engine".into())
                .spawn(move || run(config, mode, stop, send))
                .map_err(|e| {
                    EngineError::new(ErrorKind::Internal, format!("no thread can be made: {e}"))
                })?
        };
        let started = started.await.map_err(|_| {
            EngineError::new(ErrorKind::Internal, "the engine's thread ended at once")
        })??;
        let engine = Self {
            inner: Arc::new(Inner {
                config,
                core: started.core,
                store: started.store,
                mode,
                listen: started.listen,
                port_was_taken: started.port_was_taken,
                token: started.token,
                metrics: started.metrics,
                obtaining: Locks::default(),
                publishing: Locks::default(),
                naming: tokio::sync::Mutex::default(),
                drafts: Drafts::default(),
                runtime: started.runtime,
                stop: stop.clone(),
                control: OnceLock::new(),
                gives_way: OnceLock::new(),
                thread: Mutex::new(Some(thread)),
            }),
        };
        let served = engine.clone();
        let serving = engine
            .inner
            .runtime
            .spawn(async move { control::serve(&served, &stop) });
        let result = serving
            .await
            .unwrap_or_else(|e| Err(EngineError::new(ErrorKind::Internal, e.to_string())));
        match result {
            Ok(control) => drop(engine.inner.control.set(control)),
            Err(error) => {
                engine.shutdown().await;
                return Err(error);
            }
        }
        if mode == Mode::Node {
            let follower = ops::Context::background(&engine);
            engine.inner.runtime.spawn(ops::follow_all(follower));
        }
        Ok(engine)
    }

    /// Carries out a request. Cancelling ends it soon; the last event is
    /// [`Event::Done`] or [`Event::Error`] either way.
    pub fn run(&self, request: Request, cancel: CancellationToken) -> mpsc::Receiver<Event> {
        let asked = Asked {
            name: None,
            patience: None,
            request,
        };
        self.run_as(asked, cancel)
    }

    /// As [`run`](Self::run). A request that has a name, must be done once, and was
    /// done under that name in the last hour, is answered as it was then.
    pub fn run_as(&self, asked: Asked, cancel: CancellationToken) -> mpsc::Receiver<Event> {
        let (events, receiver) = mpsc::channel(control::MAX_QUEUED_EVENTS);
        let context = ops::Context::new(self, events.clone(), asked.name, asked.patience, cancel);
        self.inner.runtime.spawn(async move {
            let last = match ops::run(context, asked.request).await {
                Ok(()) => Event::Done,
                Err(error) => error.into(),
            };
            let _ = events.send(last).await;
        });
        receiver
    }

    /// How much of a node it is.
    pub fn mode(&self) -> Mode {
        self.inner.mode
    }

    /// The QUIC address, online.
    pub fn listen_addr(&self) -> Option<SocketAddr> {
        self.inner.listen
    }

    /// Whether the default port was taken by another program, so that
    /// [`listen_addr`](Self::listen_addr) has another one.
    pub fn port_was_taken(&self) -> bool {
        self.inner.port_was_taken
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.inner.config.data_dir
    }

    /// The token that the local API asks for; made at first start, mode 0600.
    pub fn api_token(&self) -> &str {
        &self.inner.token
    }

    /// All metrics, for `/metrics`.
    pub fn metrics(&self) -> &prometheus::Registry {
        &self.inner.metrics.registry
    }

    /// From now on a node that wants the data directory gets it: when one asks, `work` is
    /// cancelled, and whoever opened this engine has to [shut it down](Self::shutdown)
    /// then. Without this, such a node is told to wait. The first call counts.
    pub fn give_way(&self, work: CancellationToken) {
        let _ = self.inner.gives_way.set(work);
    }

    /// Has other limits hold than those that it was opened with; what was ordered by
    /// `limit` goes on before them.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`], if the engine is stopping.
    pub async fn configure_limits(&self, limits: LimitConfig) -> Result<(), EngineError> {
        let configure = |core: &mut Core| core.configure_limits(limits);
        self.inner.core.call(configure).await
    }

    /// Whether the engine's tasks are alive.
    pub async fn healthy(&self) -> bool {
        self.inner.core.call(|_| ()).await.is_ok()
    }

    /// Has the requests of other processes end, stops serving, syncs, closes
    /// connections. Takes a second at most, plus what the disk and the others need.
    pub async fn shutdown(&self) {
        if let Some(control) = self.inner.control.get() {
            control.drain().await;
        }
        self.inner.stop.cancel();
        let thread = self
            .inner
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    pub(crate) fn downgrade(&self) -> WeakEngine {
        WeakEngine(Arc::downgrade(&self.inner))
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The engine's thread.
fn run(
    config: NodeConfig,
    mode: Mode,
    stop: CancellationToken,
    started: oneshot::Sender<Result<Started, EngineError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(MAX_BLOCKING_THREADS)
        .thread_name("samara-blocking")
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = started.send(Err(EngineError::new(
                ErrorKind::Internal,
                format!("no runtime can be made: {error}"),
            )));
            return;
        }
    };
    let handle = runtime.handle().clone();
    let data_dir = config.data_dir.clone();
    runtime.block_on(async move {
        match start(config, mode, handle, &stop) {
            Ok((core, queue, up)) => {
                let mode_stop = stop.clone();
                // Holds the directory's lock until the socket is gone.
                let store = up.store.clone();
                if started.send(Ok(up)).is_ok() {
                    core.run(queue).await;
                }
                mode_stop.cancel();
                control::remove(&data_dir);
                drop(store);
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
    // What still hashes or writes is not waited for longer than this.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
}

fn start(
    config: NodeConfig,
    mode: Mode,
    runtime: tokio::runtime::Handle,
    stop: &CancellationToken,
) -> Result<(Core, mpsc::Receiver<core::Input>, Started), EngineError> {
    let mut store_config = StoreConfig {
        quota_bytes: Some(config.quota),
        ..StoreConfig::default()
    };
    if config.threads > 0 {
        store_config.threads = config.threads;
    }
    let store = Store::open(&config.data_dir, store_config)?;
    receipt::prune(&store)?;
    let asked = config.identity.as_deref();
    let (_, signing) = Keystore::of(&config.data_dir).choose(asked)?;
    let token = identity::api_token(&config.data_dir)?;
    let key = SecretKey::from_bytes(signing.as_bytes());
    let metrics = Metrics::new()?;
    let (mut core, handle, queue) = Core::new(
        config.clone(),
        key,
        store.clone(),
        metrics.clone(),
        stop.clone(),
    )?;
    core.obey(Orders::load(&store)?);
    let mut listen = None;
    let mut port_was_taken = false;
    if mode != Mode::Offline {
        let transport = Transport::bind(&signing, config.listen, last_port(&store))?;
        listen = Some(transport.addr);
        port_was_taken = transport.port_was_taken;
        let mut batch = Batch::new();
        batch.put_setting(
            NODE_SETTINGS,
            PORT_KEY,
            &transport.addr.port().to_le_bytes(),
        );
        store.write(batch)?;
        core.go_online(transport, mode);
    }
    let settings = store.settings(CHANNEL_SETTINGS)?;
    drop_guests(&store, &settings)?;
    for (key, value) in settings {
        let (Ok(id), Ok(meta)) = (
            <[u8; 32]>::try_from(key),
            serde_json::from_slice::<ChannelMeta>(&value),
        ) else {
            continue;
        };
        let id = ChannelId(id);
        let active = mode == Mode::Node && meta.role != Role::Share;
        match core::load(&store, core.me, id, meta) {
            Ok(channel) => core.add_channel(id, channel, active),
            Err(error) => tracing::warn!("{error}"),
        }
    }
    let started = Started {
        core: handle,
        store,
        listen,
        port_was_taken,
        token,
        metrics,
        runtime,
    };
    Ok((core, queue, started))
}

/// Removes the records of channels that were only looked into, by a process that was
/// killed over it.
fn drop_guests(store: &Store, held: &samara_store::Settings) -> Result<(), EngineError> {
    let mut batch = Batch::new();
    for id in store.channels()? {
        if !held.iter().any(|(key, _)| key == id.as_bytes()) {
            batch.remove_channel(&id);
        }
    }
    if !batch.is_empty() {
        store.write(batch)?;
    }
    Ok(())
}

/// The port that this data directory listened on last.
pub(crate) fn last_port(store: &Store) -> Option<u16> {
    let bytes = store.setting(NODE_SETTINGS, PORT_KEY).ok()??;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_visit_left_goes_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Default::default()).unwrap();
        let (guest, held) = (ChannelId([1; 32]), ChannelId([2; 32]));
        let mut batch = Batch::new();
        for id in [&guest, &held] {
            batch.put_record(id, &samara_wire::RecordId([3; 32]), b"head", b"record");
        }
        batch.put_setting(CHANNEL_SETTINGS, held.as_bytes(), b"{}");
        store.write(batch).unwrap();
        drop_guests(&store, &store.settings(CHANNEL_SETTINGS).unwrap()).unwrap();
        assert_eq!(store.channels().unwrap(), [held]);
    }

    #[test]
    fn a_content_is_being_obtained_as_long_as_somebody_is_at_it() {
        let (obtaining, one) = (Locks::default(), ContentId([1; 32]));
        assert!(!obtaining.is_held(&one));
        let lock = obtaining.lock_of(one);
        assert!(obtaining.is_held(&one));
        assert!(!obtaining.is_held(&ContentId([2; 32])));
        drop(lock);
        assert!(!obtaining.is_held(&one));
    }
}
