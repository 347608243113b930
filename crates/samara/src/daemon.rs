//! `samara node`.

use std::{
    io::{IsTerminal, stdout},
    time::Duration,
};

use samara_node::{
    Engine, EngineError, Mode, NodeConfig,
    api::{ErrorKind, Event, Request},
    config::DEFAULT_PORT,
    control,
    limit::LimitConfig,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    plan::Plan,
    report,
    servers::Servers,
    settings::{Settings, usage},
};

/// How long to wait for a process that keeps the data directory: a command without
/// network may be about to end.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// How long one has that gives it up: what it does for others is ended, its
/// connections are closed, its data is synced.
const HANDOVER_PATIENCE: Duration = Duration::from_secs(15);
/// Shorter than that of commands that wait as well: the node comes first.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

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
    let engine = open(&settings.node, &interrupt).await?;
    let served = tokio::select! {
        served = serve(settings, &engine, interrupt) => served,
        Err(error) = reload(&engine, limits) => Err(error),
    };
    engine.shutdown().await;
    served
}

/// Opens the node; a command that has the directory and can be carried out by a node as
/// well is asked to leave it.
async fn open(config: &NodeConfig, interrupt: &CancellationToken) -> Result<Engine, EngineError> {
    let started = Instant::now();
    let mut patience = LOCK_PATIENCE;
    loop {
        let locked = match Engine::open(config.clone(), Mode::Node).await {
            Err(error) if error.kind == ErrorKind::Locked => error,
            opened => return opened,
        };
        let error = match control::ask_to_give_way(&config.data_dir).await {
            Some(Ok(())) => {
                patience = HANDOVER_PATIENCE;
                locked
            }
            Some(Err(keeps)) => keeps,
            None => locked,
        };
        if started.elapsed() >= patience || interrupt.is_cancelled() {
            return Err(error);
        }
        sleep(LOCK_PAUSE).await;
    }
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
