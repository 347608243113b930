//! Carrying out a request: by the process that has the data directory, or by an
//! engine of our own; by another one when that process ends before it is done, or
//! when ours makes room for a node.

mod attempts;

use std::{io, time::Duration};

use samara_node::{
    Asked, Engine, EngineError, Mode,
    api::{ErrorKind, Event, Request},
    control,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use self::attempts::{Attempts, Next, Wait};
use crate::{
    fresh,
    plan::Plan,
    report::{self, Report, Told},
    servers::Servers,
    settings::Settings,
};

/// How often a command looks whether the data directory is free or its process answers.
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// How often to look whether anybody still reads what is printed: what serves without
/// end prints nothing more that would tell.
const LOOK_FOR_READER: Duration = Duration::from_secs(1);
/// How long the engine may take to end a request that was broken off.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Runs a plan to its end and tells the user about it.
pub(crate) async fn request(
    settings: &Settings,
    plan: Plan,
    interrupt: CancellationToken,
) -> Result<(), EngineError> {
    let fresh = fresh::look(settings, &plan.request)?;
    let mut report = Told::new(report::for_request(settings, &plan));
    if let Some(message) = fresh {
        let told = report.event(&Event::Warning { message });
        told.or_else(ignore_closed)?;
    }
    // Broken off as well when nobody reads the results any more.
    let cancel = interrupt.child_token();
    let mut asked = Asked::new(plan.request.clone())?;
    asked.patience = Some(settings.node.timeout);
    let endless = asked.request.is_endless();
    let mut attempts = Attempts::new(endless, settings.node.timeout);
    let mut complete = false;
    let mut not_before = None;
    let followed = loop {
        let followed = once(settings, &plan, &asked, not_before, &mut report, &cancel).await?;
        complete |= followed.complete;
        not_before = match attempts.after(Instant::now(), &followed, cancel.is_cancelled()) {
            Next::Again(not_before) => not_before,
            Next::End => break followed,
            Next::Busy => return Err(busy(settings)),
            Next::AlwaysDies => return Err(always_dies()),
        };
        go_on_behind(&mut asked.request, followed.cursor);
        report.repeat();
        tokio::select! {
            () = tokio::time::sleep(LOCK_PAUSE) => {}
            () = cancel.cancelled() => {}
        }
    };
    let interrupted = interrupt.is_cancelled();
    let seeding = complete && matches!(plan.request, Request::Get { seed: true, .. });
    match followed.end {
        _ if followed.unread => Ok(()),
        // Ending what has no end is how it succeeds.
        _ if interrupted && (plan.endless || seeding) => Ok(()),
        End::Done if interrupted && !complete => Err(broken_off()),
        End::Done => report.finish().or_else(ignore_closed),
        End::Moved | End::Died => Err(broken_off()),
        End::Failed(_) if interrupted => Err(broken_off()),
        End::Failed(error) if attempts.had_deaths() && undone(&plan.request, &error) => {
            let message = "the process that was asked first was killed when it had done it";
            let warning = Event::Warning {
                message: message.to_owned(),
            };
            report.event(&warning).or_else(ignore_closed)
        }
        End::Failed(error) => Err(error),
    }
}

/// Has a watcher that is carried out anew hear what comes behind the last event that it
/// was told, and nothing twice.
fn go_on_behind(request: &mut Request, cursor: Option<u64>) {
    if let Request::Watch { since, .. } = request {
        *since = cursor.or(*since);
    }
}

/// Whether an error says that what was to be removed is not there.
fn undone(request: &Request, error: &EngineError) -> bool {
    let removes = matches!(
        request,
        Request::Unsubscribe { .. } | Request::Leave { .. } | Request::Forget { .. }
    );
    removes && error.kind == ErrorKind::NotFound
}

fn busy(settings: &Settings) -> EngineError {
    EngineError {
        kind: ErrorKind::Locked,
        message: format!(
            "another command is at work on {}; try again when it has ended",
            settings.node.data_dir.display()
        ),
    }
}

fn always_dies() -> EngineError {
    EngineError {
        kind: ErrorKind::Internal,
        message: "every process that carried this out has died over it".to_owned(),
    }
}

/// Has the request carried out by whoever has the directory now.
async fn once(
    settings: &Settings,
    plan: &Plan,
    asked: &Asked,
    not_before: Option<Instant>,
    report: &mut Told,
    cancel: &CancellationToken,
) -> Result<Followed, EngineError> {
    // Cancelled as well by a node that gets the directory.
    let work = cancel.child_token();
    let (engine, events) = begin(settings, plan, asked, not_before, &work).await?;
    // Without a network it is soon done.
    let may_move = engine.is_none() || plan.mode == Mode::Online;
    if let Some(engine) = engine.as_ref().filter(|_| may_move) {
        engine.give_way(work.clone());
    }
    let servers = match &engine {
        Some(engine) if plan.mode == Mode::Online => {
            let started = Servers::start(
                engine,
                settings,
                settings.http_asked,
                settings.metrics_asked,
                false,
            );
            match started.await {
                Ok(servers) => Some(servers),
                Err(error) => {
                    engine.shutdown().await;
                    return Err(error);
                }
            }
        }
        _ => None,
    };
    report.may_repeat(may_move);
    let own = engine.as_ref().filter(|_| plan.endless && !settings.json);
    if let Some(note) = own.and_then(port_note) {
        let told = report.event(&Event::Warning { message: note });
        told.or_else(ignore_closed)?;
    }
    let mut followed = follow(events, report, &work, STOP_PATIENCE).await;
    if followed.unread {
        cancel.cancel();
    }
    if engine.is_some() {
        followed.gave_way = work.is_cancelled() && !cancel.is_cancelled();
        followed.end = followed
            .end
            .of_own_engine(followed.gave_way, asked.request.is_endless());
    }
    if let Some(servers) = servers {
        servers.stop().await;
    }
    if let Some(engine) = engine {
        // All is told: what others still have done here is not waited for in silence.
        if matches!(followed.end, End::Done) && !cancel.is_cancelled() {
            // If it fails here, it fails again at the end, and is told.
            let _ = report.finish();
        }
        engine.shutdown().await;
    }
    Ok(followed)
}

/// Who waits for others at the default port is told when it is another one.
fn port_note(engine: &Engine) -> Option<String> {
    let listen = engine.listen_addr().filter(|_| engine.port_was_taken())?;
    Some(format!(
        "UDP port {} is taken; listening on port {} instead",
        samara_node::config::DEFAULT_PORT,
        listen.port()
    ))
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

/// Asks whoever has the data directory; if nobody answers, opens an engine here, but
/// not before a time until which the directory is left to others.
async fn begin(
    settings: &Settings,
    plan: &Plan,
    asked: &Asked,
    not_before: Option<Instant>,
    cancel: &CancellationToken,
) -> Result<(Option<Engine>, mpsc::Receiver<Event>), EngineError> {
    let wait = Wait::new(Instant::now(), not_before, settings.node.timeout);
    loop {
        let dir = &settings.node.data_dir;
        if let Some(events) = control::ask(dir, asked, cancel.clone()).await {
            return Ok((None, events));
        }
        if wait.may_open(Instant::now()) || cancel.is_cancelled() {
            match Engine::open(settings.node.clone(), plan.mode).await {
                Ok(engine) => {
                    let events = engine.run_as(asked.clone(), cancel.clone());
                    return Ok((Some(engine), events));
                }
                Err(error)
                    if error.kind == ErrorKind::Locked
                        && wait.goes_on(Instant::now())
                        && !cancel.is_cancelled() => {}
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

/// How the events of a request ended.
#[derive(Debug)]
enum End {
    Done,
    Failed(EngineError),
    /// It has to be asked again.
    Moved,
    /// The process that carried it out is gone, without a word.
    Died,
}

impl End {
    /// How a request ended that an engine of our own carried out.
    fn of_own_engine(self, gave_way: bool, endless: bool) -> Self {
        let broken_off = match &self {
            Self::Done => endless,
            Self::Failed(error) => error.kind == ErrorKind::Interrupted,
            Self::Died => true,
            Self::Moved => false,
        };
        match self {
            _ if gave_way && broken_off => Self::Moved,
            Self::Died => Self::Failed(EngineError {
                kind: ErrorKind::Internal,
                message: "the node ended before it had answered".to_owned(),
            }),
            other => other,
        }
    }
}

struct Followed {
    end: End,
    /// Whether a content was completed.
    complete: bool,
    /// Whether nothing came but the end.
    silent: bool,
    /// Whether standard output was closed.
    unread: bool,
    /// Whether it was broken off for a node that wants the directory.
    gave_way: bool,
    /// Of the last change that a watcher was told.
    cursor: Option<u64>,
    /// From the asking to the end.
    lasted: Duration,
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
        end: End::Died,
        complete: false,
        silent: true,
        unread: false,
        gave_way: false,
        cursor: None,
        lasted: Duration::ZERO,
    };
    let started = Instant::now();
    let mut unwritable = None;
    let stopped = async {
        cancel.cancelled().await;
        tokio::time::sleep(patience).await;
    };
    tokio::pin!(stopped);
    let mut look = tokio::time::interval(LOOK_FOR_READER);
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = &mut stopped => None,
            _ = look.tick() => {
                if !followed.unread && report.is_unread() {
                    followed.unread = true;
                    cancel.cancel();
                }
                continue;
            }
        };
        followed.end = match event {
            Some(Event::Done) => End::Done,
            Some(Event::Moved) => End::Moved,
            Some(Event::Error { kind, message }) => End::Failed(EngineError { kind, message }),
            Some(event) => {
                followed.silent = false;
                followed.complete |= matches!(event, Event::Complete { .. });
                if let Event::Change { cursor, .. } = &event {
                    followed.cursor = Some(*cursor);
                }
                if followed.unread || unwritable.is_some() {
                    continue;
                }
                if let Err(error) = report.event(&event) {
                    match ignore_closed(error) {
                        Ok(()) => followed.unread = true,
                        Err(error) => unwritable = Some(error),
                    }
                    cancel.cancel();
                }
                continue;
            }
            None => End::Died,
        };
        if let Some(error) = unwritable {
            followed.end = End::Failed(error);
        }
        followed.lasted = started.elapsed();
        return followed;
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
            invitation: None,
        }
    }

    #[tokio::test]
    async fn the_last_event_decides() {
        let (followed, kept, _) = run(vec![link(), Event::Done], 9).await;
        assert!(matches!(followed.end, End::Done) && !followed.silent);
        assert_eq!(kept.events, [link()]);

        let error = Event::Error {
            kind: ErrorKind::NoPeer,
            message: "nobody".into(),
        };
        let (followed, _, _) = run(vec![error], 9).await;
        assert!(matches!(followed.end, End::Failed(e) if e.kind == ErrorKind::NoPeer));

        let (followed, _, _) = run(vec![link()], 9).await;
        assert!(matches!(followed.end, End::Died));
        let (followed, _, _) = run(vec![Event::Moved], 9).await;
        assert!(matches!(followed.end, End::Moved) && followed.silent);
    }

    #[tokio::test]
    async fn a_watcher_goes_on_behind_what_it_was_told() {
        let change = |cursor| Event::Change {
            channel: "c".into(),
            cursor,
            at: None,
            change: samara_node::api::Change::Watching,
        };
        let mut request = Request::Watch {
            channel: "c".into(),
            since: None,
        };
        for (told, expected) in [
            (vec![], None),
            (vec![change(4), change(7)], Some(7)),
            (vec![Event::Moved], Some(7)),
        ] {
            let (followed, _, _) = run(told, 9).await;
            go_on_behind(&mut request, followed.cursor);
            let Request::Watch { since, .. } = &request else {
                panic!("another request")
            };
            assert_eq!(*since, expected);
        }
        let mut other = Request::Status;
        go_on_behind(&mut other, Some(7));
        assert_eq!(other, Request::Status);
    }

    #[test]
    fn what_was_broken_off_for_a_node_goes_on_there() {
        let failed = |kind| {
            End::Failed(EngineError {
                kind,
                message: String::new(),
            })
        };
        let interrupted = || failed(ErrorKind::Interrupted);
        let moves = |end: End, gave_way, endless| {
            matches!(end.of_own_engine(gave_way, endless), End::Moved)
        };
        assert!(moves(interrupted(), true, false) && moves(End::Died, true, false));
        assert!(moves(End::Done, true, true), "what has no end ends well");
        assert!(!moves(End::Done, true, false), "it was done before");
        assert!(!moves(failed(ErrorKind::Disk), true, true));
        assert!(!moves(interrupted(), false, true) && !moves(End::Done, false, true));
    }

    #[tokio::test]
    async fn a_closed_output_breaks_the_request_off() {
        let (followed, _, cancel) = run(vec![link(), link(), Event::Done], 1).await;
        assert!(followed.unread && cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_ends_what_prints_nothing() {
        struct Unread;
        impl Report for Unread {
            fn event(&mut self, _: &Event) -> io::Result<()> {
                Ok(())
            }
            fn finish(&mut self) -> io::Result<()> {
                Ok(())
            }
            fn is_unread(&self) -> bool {
                true
            }
        }
        let (_tx, rx) = mpsc::channel(8);
        let cancel = CancellationToken::new();
        let followed = follow(rx, &mut Unread, &cancel, Duration::ZERO).await;
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
        let followed = follow(rx, &mut kept, &cancel, Duration::ZERO).await;
        assert!(matches!(followed.end, End::Died));
        drop(tx);
    }
}
