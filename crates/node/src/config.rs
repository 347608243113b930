use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use crate::limit::LimitConfig;

/// UDP port that a node listens on unless told otherwise. Unassigned by IANA.
pub const DEFAULT_PORT: u16 = 7421;
/// TCP port of the pages and the local API, on loopback.
pub const DEFAULT_HTTP_PORT: u16 = 7422;
/// WAN upload cap of `samara node`: 2.5 MB/s (20 Mbit/s), so that a seeding
/// machine does not take a home's or branch office's uplink from its people.
pub const DEFAULT_WAN_UPLOAD: u64 = 2_500_000;
/// Bytes that the store's own files may take: 20 GiB.
pub const DEFAULT_QUOTA: u64 = 20 << 30;
/// How long a command waits without progress: 30 s.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Default of [`NodeConfig::rest_after`].
pub const DEFAULT_REST_AFTER: Duration = Duration::from_secs(60);

/// How a node is to run.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Where identity, index and contents live.
    pub data_dir: PathBuf,
    /// As which of the data directory's identities the node runs. `None`: the default
    /// one; the first is made if there is none.
    pub identity: Option<String>,
    /// QUIC address. `None`: the default port on all addresses, or a free one if
    /// it is taken. `Some`: exactly this one, or an error (port 0: a free one).
    pub listen: Option<SocketAddr>,
    /// Label that makes nodes one site wherever they are. `None`: by address.
    pub site: Option<String>,
    /// How long a command waits without progress.
    pub timeout: Duration,
    /// Bytes that the store's own files may take.
    pub quota: u64,
    /// How many releases of a followed channel are kept, the newest ones. `None`: a
    /// subscriber fetches the newest and removes nothing, a mirror keeps all.
    pub keep_releases: Option<NonZeroU32>,
    /// How much may be sent and received, and by whom.
    pub limits: LimitConfig,
    /// Threads that hash; 0: one a core.
    pub threads: usize,
    /// How others are found, and find this node.
    pub discovery: DiscoveryConfig,
    /// Addresses under which this node is reachable from outside, beside those of
    /// its interfaces: what a gateway with fixed forwarding has.
    pub external: Vec<SocketAddr>,
    /// How long a whole content that nobody wants anything of stays open.
    pub rest_after: Duration,
}

/// How a node finds others beyond links and the overlay, and lets itself be found.
/// Nothing of it is on unless asked for; `samara` asks for
/// [`standard`](Self::standard). A node that listens on loopback alone uses none of
/// it, but a DHT of one's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiscoveryConfig {
    /// The local network: mDNS/DNS-SD.
    pub mdns: bool,
    /// The Mainline DHT.
    pub dht: Dht,
    /// Nodes to join the DHT through, as `host:port`; empty: the well-known ones.
    /// Given, the DHT counts as one's own: its members may have private addresses.
    pub dht_bootstrap: Vec<String>,
    /// Asking the gateway for a way in (UPnP, NAT-PMP, PCP); only
    /// [`Mode::Node`](crate::Mode::Node) does.
    pub port_mapping: bool,
}

/// For which channels the DHT is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dht {
    /// None.
    #[default]
    Off,
    /// Open channels that are owned, followed or mirrored here.
    Lasting,
    /// One-off shares, what is fetched once, and private channels whose charter
    /// allows it, as well.
    On,
}

impl DiscoveryConfig {
    /// Everything on, as far as it is on without being asked for.
    pub fn standard() -> Self {
        Self {
            mdns: true,
            dht: Dht::Lasting,
            dht_bootstrap: Vec::new(),
            port_mapping: true,
        }
    }
}

impl NodeConfig {
    /// Defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            identity: None,
            listen: None,
            site: None,
            timeout: DEFAULT_TIMEOUT,
            quota: DEFAULT_QUOTA,
            keep_releases: None,
            limits: LimitConfig::default(),
            threads: 0,
            discovery: DiscoveryConfig::default(),
            external: Vec::new(),
            rest_after: DEFAULT_REST_AFTER,
        }
    }
}
