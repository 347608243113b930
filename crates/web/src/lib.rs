//! What people and scripts see of a node over TCP: Prometheus metrics, the local
//! API, a status page and the newsletter reader.
//!
//! Three doors guard it. The `Host` header must name this machine (DNS rebinding:
//! a web page's name that resolves to loopback is refused). Everything but
//! `/metrics` and `/healthz` wants the token of the data directory. And whatever
//! came from the network is sanitised, under a policy that runs no script and
//! loads nothing from elsewhere: a newsletter cannot see that it is read.

mod api;
mod body;
mod guard;
mod html;
mod issue;
mod limits;
mod markdown;
mod node;
mod pages;
mod patient;
mod records;
mod server;

use std::{io, sync::Arc};

use samara_node::Engine;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use limits::{
    BODY_TIMEOUT, HEADER_TIMEOUT, ISSUES_PER_PAGE, MAX_CONNECTIONS, MAX_EVENT_BYTES, MAX_EVENTS,
    MAX_NESTING, MAX_RAW_TAGS, MAX_RENDERED_BODY, MAX_REQUEST_BYTES, REQUEST_TIMEOUT,
    WRITE_TIMEOUT,
};

/// What a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Metrics, health, local API, pages.
    Full,
    /// `/metrics` and `/healthz` only; fit for an address that others can reach.
    MetricsOnly,
}

/// What the operator chose.
#[derive(Debug, Clone, Default)]
pub struct WebOptions {
    /// Names that the `Host` header may carry besides `localhost`, loopback
    /// addresses and the bound address; without port.
    pub allowed_hosts: Vec<String>,
}

/// Serves until `shutdown` is cancelled; then open requests are given a second.
///
/// # Errors
/// If the listener has no local address. A connection that fails harms only itself.
pub async fn serve(
    engine: Engine,
    listener: TcpListener,
    kind: Kind,
    options: WebOptions,
    shutdown: CancellationToken,
) -> io::Result<()> {
    server::serve(Arc::new(engine), listener, kind, options, shutdown).await
}
