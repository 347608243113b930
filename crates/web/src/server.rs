//! The accept loop and the table of routes.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use crate::{
    Kind, WebOptions, api,
    guard::{self, Guard},
    issue,
    limits::{HEADER_TIMEOUT, MAX_CONNECTIONS, MAX_REQUEST_BYTES, WRITE_TIMEOUT},
    node::Node,
    pages,
    patient::Patient,
    records,
};

/// How long open requests may go on after the shutdown.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after a failed accept (out of file descriptors, say), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) type State = axum::extract::State<Arc<dyn Node>>;

pub(crate) async fn serve(
    node: Arc<dyn Node>,
    listener: TcpListener,
    kind: Kind,
    options: WebOptions,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let guard = Guard::new(node.clone(), listener.local_addr()?, &options);
    let service = TowerToHyperService::new(router(node, kind, guard));
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let open = TaskTracker::new();
    loop {
        let place = tokio::select! {
            () = shutdown.cancelled() => break,
            place = places.clone().acquire_owned() => place.expect("never closed"),
        };
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    debug!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (service, shutdown) = (service.clone(), shutdown.clone());
        open.spawn(async move {
            let _place = place;
            visit(stream, service, shutdown).await;
        });
    }
    open.close();
    open.wait().await;
    Ok(())
}

/// One connection, from its first request to its end.
async fn visit(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: TowerToHyperService<Router>,
    shutdown: CancellationToken,
) {
    let stream = TokioIo::new(Patient::new(stream, WRITE_TIMEOUT));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(stream, service)
    );
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection.as_mut()).await {
                Ok(served) => served,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = served {
        debug!(%error, "connection ended");
    }
}

fn router(node: Arc<dyn Node>, kind: Kind, guard: Guard) -> Router {
    let routes = Router::new()
        .route("/metrics", get(api::metrics))
        .route("/healthz", get(api::healthz));
    let routes = match kind {
        Kind::MetricsOnly => routes,
        Kind::Full => routes
            .route("/api/v1/run", post(api::run))
            .route("/api/v1/status", get(api::status))
            .route("/api/v1/peers", get(api::peers))
            .route("/api/v1/channels", get(api::channels))
            .route("/api/v1/issues", get(api::issues))
            .route("/api/v1/records/{channel}", get(records::list))
            .route("/api/v1/records/{channel}/{record}", get(records::show))
            .route("/api/v1/watch/{channel}", get(records::watch))
            .route("/", get(pages::overview))
            .route("/read", get(issue::all))
            .route("/read/{channel}", get(issue::of_channel))
            .route("/read/{channel}/{issue}", get(issue::show))
            .route(
                "/read/{channel}/{issue}/attachment/{number}",
                get(issue::attachment),
            )
            .route(guard::STYLE_PATH, get(pages::style)),
    };
    routes
        .fallback(pages::nothing_here)
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .layer(middleware::from_fn_with_state(
            Arc::new(guard),
            guard::check,
        ))
        .with_state(node)
}

#[cfg(test)]
#[path = "server_tests.rs"]
pub(crate) mod tests;
