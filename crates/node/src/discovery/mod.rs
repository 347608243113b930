//! Finding members without any server: the local network, the DHT, and a way in
//! through the gateway. Everything found is a hint, dialled and proved by key.
//!
//! Runs on a thread of its own, beside the core: some of the libraries block for a
//! moment. The core says what it wants through a [`watch`] channel, which holds one
//! value, and hears of what is found as [`Input`]s.

mod dht;
mod found;
pub(crate) mod gateway;
mod lan;
pub(crate) mod limits;
mod names;
mod search;
pub(crate) mod switches;

use std::{collections::BTreeMap, net::SocketAddr, thread, time::Duration};

use samara_graph::SecretKey;
use samara_wire::{ChannelId, PeerId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{core::Input, metrics::Metrics};
use switches::Means;

/// How long the good-byes may take when the node stops.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// Who named an address. The order is the one in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Source {
    /// A link, in its user's hand.
    Link,
    /// The overlay, signed by the peer; also what is remembered of it from last time.
    Overlay,
    /// The local network.
    Mdns,
    /// The DHT.
    Dht,
}

impl Source {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Link, Self::Overlay, Self::Mdns, Self::Dht];

    /// As metrics and events have it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Overlay => "overlay",
            Self::Mdns => "mdns",
            Self::Dht => "dht",
        }
    }

    /// Whether anybody can have said it.
    pub(crate) fn is_hearsay(self) -> bool {
        matches!(self, Self::Mdns | Self::Dht)
    }
}

/// Something found.
#[derive(Debug)]
pub(crate) enum Discovered {
    /// A peer is said to be there, and to carry these channels; none, if it was the
    /// peer that was looked for.
    Peer {
        peer: PeerId,
        addrs: Vec<SocketAddr>,
        channels: Vec<ChannelId>,
        source: Source,
    },
    /// Some member of a channel is said to be there.
    Member {
        channel: ChannelId,
        addr: SocketAddr,
    },
    /// The gateway forwards from this address, or no longer from any.
    External(Option<SocketAddr>),
}

/// What the core wants found, and what it wants others to find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) channels: BTreeMap<ChannelId, WantedChannel>,
    /// Peers to look for, and how often they have been asked for so far.
    pub(crate) peers: BTreeMap<PeerId, u32>,
    /// Where this node can be reached, best first.
    pub(crate) own: Vec<SocketAddr>,
    /// Whether the gateway is to be asked.
    pub(crate) mapping: bool,
}

/// A channel in [`Wanted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WantedChannel {
    /// Its readers are members only.
    pub(crate) private: bool,
    /// This node has it, and says so on the local network.
    pub(crate) carried: bool,
    /// It says so in the DHT as well.
    pub(crate) announced: bool,
    /// The DHT may be asked for members.
    pub(crate) asked: bool,
    /// How often members have been asked for in the DHT so far.
    pub(crate) lookups: u32,
}

/// The running search. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Discovery {
    wanted: watch::Sender<Wanted>,
    ended: oneshot::Receiver<()>,
}

/// What the search is started with.
pub(crate) struct Setup {
    pub(crate) means: Means,
    /// Nodes to join the DHT through; empty: the well-known ones.
    pub(crate) bootstrap: Vec<String>,
    pub(crate) key: SecretKey,
    pub(crate) bound: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) inputs: mpsc::Sender<Input>,
}

impl Discovery {
    /// Starts the search's thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(setup: Setup) -> std::io::Result<Self> {
        let (wanted, told) = watch::channel(Wanted::default());
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(2)
            .thread_name("samara-discovery-blocking")
            .build()?;
        thread::Builder::new()
            .name("samara-discovery".into())
            .spawn(move || {
                runtime.block_on(search::run(setup, told));
                // Names may still be being resolved: nobody waits for that.
                runtime.shutdown_background();
                let _ = end.send(());
            })?;
        Ok(Self { wanted, ended })
    }

    /// Says what is wanted from now on.
    pub(crate) fn want(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|now| {
            let changed = *now != wanted;
            *now = wanted;
            changed
        });
    }

    /// Takes back what was said to others, and ends.
    pub(crate) async fn stop(self) {
        drop(self.wanted);
        let _ = tokio::time::timeout(STOP_PATIENCE, self.ended).await;
    }
}
