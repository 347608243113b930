//! `samara node`.

use std::io::{IsTerminal, stdout};

use samara_node::{
    Engine, EngineError,
    api::{ErrorKind, Event, Request},
    config::DEFAULT_PORT,
    limit::LimitConfig,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    plan::Plan,
    report,
    run::open_node,
    servers::Servers,
    settings::{Settings, usage},
};

/// Runs until interrupted.
pub(crate) async fn run(
    settings: &Settings,
    exit_with_parent: bool,
    interrupt: CancellationToken,
    limits: impl Fn() -> Result<LimitConfig, EngineError>,
) -> Result<(), EngineError> {
    if exit_with_parent {
        end_with_parent()?;
    }
    let engine = open_node(&settings.node).await?;
    let served = tokio::select! {
        served = serve(settings, &engine, interrupt) => served,
        Err(error) = reload(&engine, limits) => Err(error),
    };
    engine.shutdown().await;
    served
}

/// Reads the limits again whenever a SIGHUP comes.
async fn reload(
    engine: &Engine,
    limits: impl Fn() -> Result<LimitConfig, EngineError>,
) -> Result<std::convert::Infallible, EngineError> {
    let mut hangups = signal(SignalKind::hangup()).map_err(|error| EngineError {
        kind: ErrorKind::Internal,
        message: format!("cannot listen for signals: {error}"),
    })?;
    loop {
        hangups.recv().await;
        match limits() {
            Ok(limits) => {
                engine.configure_limits(limits).await?;
                info!("the limits of the configuration were read again");
            }
            // As it was, rather than none at all.
            Err(error) => warn!("{error}; the limits stay as they were"),
        }
    }
}

async fn serve(
    settings: &Settings,
    engine: &Engine,
    interrupt: CancellationToken,
) -> Result<(), EngineError> {
    let servers = Servers::start(
        engine,
        settings,
        settings.http,
        settings.metrics,
        settings.http_by_default,
    )
    .await?;
    let addr = engine.listen_addr().ok_or_else(|| EngineError {
        kind: ErrorKind::Internal,
        message: "the node has no address".to_owned(),
    })?;
    if settings.node.listen.is_none() && addr.port() != DEFAULT_PORT {
        warn!("UDP port {DEFAULT_PORT} is taken: listening on a free one");
    }
    let listening = Event::Listening {
        addr: addr.to_string(),
        peer_id: peer_id(engine).await?,
        http: servers.http.map(|addr| addr.to_string()),
        metrics: servers.metrics.map(|addr| addr.to_string()),
    };
    // A daemon goes on when nobody reads what it prints.
    let _ = report::for_request(settings, &Plan::from(Request::Status)).event(&listening);
    if let Some(http) = servers.http
        && !settings.json
        && stdout().is_terminal()
    {
        // Only to a terminal: logs are read by others.
        println!(
            "Open the pages: http://{http}/?token={}",
            engine.api_token()
        );
    }
    info!(%addr, data_dir = %engine.data_dir().display(), "node is up");
    interrupt.cancelled().await;
    info!("stopping");
    servers.stop().await;
    Ok(())
}

async fn peer_id(engine: &Engine) -> Result<String, EngineError> {
    let mut events = engine.run(Request::Id, CancellationToken::new());
    while let Some(event) = events.recv().await {
        match event {
            Event::Id { peer_id } => return Ok(peer_id),
            Event::Error { kind, message } => return Err(EngineError { kind, message }),
            _ => {}
        }
    }
    Err(EngineError {
        kind: ErrorKind::Internal,
        message: "the node does not know who it is".to_owned(),
    })
}

/// Asks the kernel for a SIGTERM when the parent is gone, and looks whether it is
/// gone already.
#[cfg(target_os = "linux")]
fn end_with_parent() -> Result<(), EngineError> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| usage(format!("--exit-with-parent: {error}")))?;
    if getppid() != parent {
        return Err(usage("--exit-with-parent: the parent has ended already"));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent() -> Result<(), EngineError> {
    Err(usage("--exit-with-parent needs Linux"))
}
