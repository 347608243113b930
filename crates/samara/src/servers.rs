//! The TCP listeners beside an engine.

use std::{io, net::SocketAddr};

use samara_node::{Engine, EngineError, api::ErrorKind};
use samara_web::{Kind, WebOptions};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::settings::{Endpoint, Settings};

/// Pages and metrics that are being served.
#[derive(Default)]
pub(crate) struct Servers {
    pub(crate) http: Option<SocketAddr>,
    pub(crate) metrics: Option<SocketAddr>,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Servers {
    /// Binds and serves. `yielding`: whether a taken `http` address may be replaced
    /// by a free port, since nobody asked for that one.
    pub(crate) async fn start(
        engine: &Engine,
        settings: &Settings,
        http: Endpoint,
        metrics: Endpoint,
        yielding: bool,
    ) -> Result<Self, EngineError> {
        let mut servers = Self::default();
        if let Endpoint::At(addr) = http {
            let listener = match TcpListener::bind(addr).await {
                Err(error) if yielding && error.kind() == io::ErrorKind::AddrInUse => {
                    let free = SocketAddr::new(addr.ip(), 0);
                    let listener = TcpListener::bind(free)
                        .await
                        .map_err(|error| cannot_bind("--http", free, &error))?;
                    warn!("TCP {addr} is taken: the pages are on a free port");
                    listener
                }
                bound => bound.map_err(|error| cannot_bind("--http", addr, &error))?,
            };
            servers.http = Some(servers.serve(engine, listener, Kind::Full, settings)?);
        }
        if let Endpoint::At(addr) = metrics {
            let listener = TcpListener::bind(addr)
                .await
                .map_err(|error| cannot_bind("--metrics", addr, &error))?;
            servers.metrics = Some(servers.serve(engine, listener, Kind::MetricsOnly, settings)?);
        }
        Ok(servers)
    }

    fn serve(
        &mut self,
        engine: &Engine,
        listener: TcpListener,
        kind: Kind,
        settings: &Settings,
    ) -> Result<SocketAddr, EngineError> {
        let addr = listener.local_addr().map_err(|error| EngineError {
            kind: ErrorKind::Internal,
            message: format!("a listener without address: {error}"),
        })?;
        let options = WebOptions {
            allowed_hosts: settings.allowed_hosts.clone(),
        };
        let serving = samara_web::serve(
            engine.clone(),
            listener,
            kind,
            options,
            self.shutdown.clone(),
        );
        self.tasks.push(tokio::spawn(async move {
            if let Err(error) = serving.await {
                error!(%error, "the HTTP server ended");
            }
        }));
        Ok(addr)
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        for task in self.tasks {
            // A server that panicked has told so already.
            let _ = task.await;
        }
    }
}

fn cannot_bind(option: &str, addr: SocketAddr, error: &io::Error) -> EngineError {
    let (kind, what) = match error.kind() {
        io::ErrorKind::AddrInUse => (ErrorKind::AddressInUse, "is taken".to_owned()),
        _ => (ErrorKind::Usage, format!("cannot be used ({error})")),
    };
    EngineError {
        kind,
        message: format!("TCP {addr} {what}; choose another address with {option}, or `off`"),
    }
}
