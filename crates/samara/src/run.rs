//! Carrying out a request: by the node that runs, or by an engine of our own.

use std::{io, time::Duration};

use samara_node::{
    Engine, EngineError, Mode, NodeConfig,
    api::{ErrorKind, Event, Request},
    control,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    plan::Plan,
    report::{self, Report},
    servers::Servers,
    settings::Settings,
};

/// How long a command waits for another one that has the data directory at the
/// moment, and how often it looks.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// How long the engine may take to end a request that was broken off.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Runs a plan to its end and tells the user about it.
pub(crate) async fn request(
    settings: &Settings,
    plan: Plan,
    interrupt: CancellationToken,
) -> Result<(), EngineError> {
    let mut report = report::for_request(settings, &plan.request);
    // Broken off as well when nobody reads the results any more.
    let cancel = interrupt.child_token();
    let (engine, events) = begin(settings, &plan, &cancel).await?;
    let servers = match &engine {
        Some(engine) if plan.mode == Mode::Online => {
            let started = Servers::start(
                engine,
                settings,
                settings.http_asked,
                settings.metrics_asked,
                false,
            );
            Some(started.await?)
        }
        _ => None,
    };
    let outcome = follow(events, &mut *report, &cancel, STOP_PATIENCE).await;
    if let Some(servers) = servers {
        servers.stop().await;
    }
    if let Some(engine) = engine {
        engine.shutdown().await;
    }
    let Followed {
        result,
        complete,
        unread,
    } = outcome;
    let interrupted = interrupt.is_cancelled();
    let seeding = complete && matches!(plan.request, Request::Get { seed: true, .. });
    match result {
        _ if unread => Ok(()),
        // Ending what has no end is how it succeeds.
        _ if interrupted && (plan.endless || seeding) => Ok(()),
        Ok(()) if interrupted && !complete => Err(broken_off()),
        Ok(()) => report.finish().or_else(ignore_closed),
        Err(_) if interrupted => Err(broken_off()),
        Err(error) => Err(error),
    }
}

fn broken_off() -> EngineError {
    EngineError {
        kind: ErrorKind::Interrupted,
        message: "interrupted; run the same command again to go on where it stopped".to_owned(),
    }
}

fn ignore_closed(error: io::Error) -> Result<(), EngineError> {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(EngineError {
        kind: ErrorKind::Disk,
        message: format!("cannot write to standard output: {error}"),
    })
}

/// Asks the running node; without one, opens an engine here. Another command may
/// hold the data directory for a moment: then both are tried again.
async fn begin(
    settings: &Settings,
    plan: &Plan,
    cancel: &CancellationToken,
) -> Result<(Option<Engine>, mpsc::Receiver<Event>), EngineError> {
    let started = tokio::time::Instant::now();
    loop {
        let dir = &settings.node.data_dir;
        if let Some(events) = control::ask(dir, &plan.request, cancel.clone()).await {
            return Ok((None, events));
        }
        match Engine::open(settings.node.clone(), plan.mode).await {
            Ok(engine) => {
                let events = engine.run(plan.request.clone(), cancel.clone());
                return Ok((Some(engine), events));
            }
            Err(error) if error.kind == ErrorKind::Locked && started.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens an engine for `samara node`, with the same patience.
pub(crate) async fn open_node(config: &NodeConfig) -> Result<Engine, EngineError> {
    let started = tokio::time::Instant::now();
    loop {
        match Engine::open(config.clone(), Mode::Node).await {
            Err(error) if error.kind == ErrorKind::Locked && started.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            opened => return opened,
        }
    }
}

struct Followed {
    result: Result<(), EngineError>,
    /// Whether a content was completed.
    complete: bool,
    /// Whether standard output was closed.
    unread: bool,
}

/// Hands events to the report until the last one, or for `patience` after the
/// request was broken off.
async fn follow(
    mut events: mpsc::Receiver<Event>,
    report: &mut dyn Report,
    cancel: &CancellationToken,
    patience: Duration,
) -> Followed {
    let mut followed = Followed {
        result: Ok(()),
        complete: false,
        unread: false,
    };
    let stopped = async {
        cancel.cancelled().await;
        tokio::time::sleep(patience).await;
    };
    tokio::pin!(stopped);
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = &mut stopped => None,
        };
        match event {
            Some(Event::Done) => return followed,
            Some(Event::Error { kind, message }) => {
                followed.result = Err(EngineError { kind, message });
                return followed;
            }
            Some(event) => {
                followed.complete |= matches!(event, Event::Complete { .. });
                if !followed.unread && report.event(&event).is_err() {
                    followed.unread = true;
                    cancel.cancel();
                }
            }
            None => {
                followed.result = Err(EngineError {
                    kind: ErrorKind::Internal,
                    message: "the node ended before it had answered".to_owned(),
                });
                return followed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers events; its output closes after `room` of them.
    struct Kept {
        events: Vec<Event>,
        room: usize,
    }

    impl Report for Kept {
        fn event(&mut self, event: &Event) -> io::Result<()> {
            if self.events.len() == self.room {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.events.push(event.clone());
            Ok(())
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn run(events: Vec<Event>, room: usize) -> (Followed, Kept, CancellationToken) {
        let (tx, rx) = mpsc::channel(8);
        for event in events {
            tx.send(event).await.unwrap();
        }
        drop(tx);
        let cancel = CancellationToken::new();
        let mut kept = Kept {
            events: vec![],
            room,
        };
        let followed = follow(rx, &mut kept, &cancel, Duration::ZERO).await;
        (followed, kept, cancel)
    }

    fn link() -> Event {
        Event::Link {
            link: "samara:x".into(),
        }
    }

    #[tokio::test]
    async fn the_last_event_decides() {
        let (followed, kept, _) = run(vec![link(), Event::Done], 9).await;
        assert!(followed.result.is_ok());
        assert_eq!(kept.events, [link()]);

        let error = Event::Error {
            kind: ErrorKind::NoPeer,
            message: "nobody".into(),
        };
        let (followed, _, _) = run(vec![error], 9).await;
        assert_eq!(followed.result.unwrap_err().kind, ErrorKind::NoPeer);

        let (followed, _, _) = run(vec![link()], 9).await;
        assert_eq!(followed.result.unwrap_err().kind, ErrorKind::Internal);
    }

    #[tokio::test]
    async fn a_closed_output_breaks_the_request_off() {
        let (followed, _, cancel) = run(vec![link(), link(), Event::Done], 1).await;
        assert!(followed.unread && cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_request_that_does_not_stop_is_left() {
        let (tx, rx) = mpsc::channel::<Event>(1);
        let cancel = CancellationToken::new();
        cancel.cancel();
        let mut kept = Kept {
            events: vec![],
            room: 9,
        };
        assert!(
            follow(rx, &mut kept, &cancel, Duration::ZERO)
                .await
                .result
                .is_err()
        );
        drop(tx);
    }
}
