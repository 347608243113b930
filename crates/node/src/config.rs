use std::{net::SocketAddr, path::PathBuf, time::Duration};

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

/// How a node is to run.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Where identity, index and contents live.
    pub data_dir: PathBuf,
    /// QUIC address. `None`: the default port on all addresses, or a free one if
    /// it is taken. `Some`: exactly this one, or an error (port 0: a free one).
    pub listen: Option<SocketAddr>,
    /// Label that makes nodes one site wherever they are. `None`: by address.
    pub site: Option<String>,
    /// How long a command waits without progress.
    pub timeout: Duration,
    /// Bytes that the store's own files may take.
    pub quota: u64,
    /// Bytes a second sent beyond the local network; `None`: no cap.
    pub wan_upload: Option<u64>,
    /// Threads that hash; 0: one a core.
    pub threads: usize,
}

impl NodeConfig {
    /// Defaults for a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: None,
            site: None,
            timeout: DEFAULT_TIMEOUT,
            quota: DEFAULT_QUOTA,
            wan_upload: None,
            threads: 0,
        }
    }
}
