use std::{net::SocketAddr, path::Path, sync::Arc};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    EngineError,
    api::{Event, Request},
    config::NodeConfig,
};

/// Whether an engine talks to anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Reads and writes the data directory only.
    Offline,
    /// Listens, dials, serves and follows; also serves the control socket.
    Online,
}

/// A running node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<NodeConfig>,
}

impl Engine {
    /// Opens the data directory (making it if need be) and, online, the network.
    pub async fn open(config: NodeConfig, _mode: Mode) -> Result<Self, EngineError> {
        Ok(Self {
            inner: Arc::new(config),
        })
    }

    /// Carries out a request. Cancelling ends it soon; the last event is
    /// [`Event::Done`] or [`Event::Error`] either way.
    pub fn run(&self, _request: Request, _cancel: CancellationToken) -> mpsc::Receiver<Event> {
        todo!()
    }

    /// The QUIC address, online.
    pub fn listen_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.inner.data_dir
    }

    /// The token that the local API asks for; made at first start, mode 0600.
    pub fn api_token(&self) -> &str {
        todo!()
    }

    /// All metrics, for `/metrics`.
    pub fn metrics(&self) -> &prometheus::Registry {
        todo!()
    }

    /// Whether the engine's tasks are alive and its disk answers.
    pub async fn healthy(&self) -> bool {
        true
    }

    /// Stops serving, syncs, closes connections. Takes a second at most.
    pub async fn shutdown(&self) {}
}
