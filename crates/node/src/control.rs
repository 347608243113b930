//! The control socket: one JSON request a connection, answered by JSON events, a
//! line each. Who may open the socket (mode 0600) may do everything.
//!
//! Whoever has the data directory serves it, were it only for the moment of one
//! command. When that process is done it gives the directory up: requests of others
//! that it has not carried out end with [`Event::Moved`], and their askers ask again,
//! or take the directory themselves. A node that is started asks for it in place
//! of a request: who has the directory for a command that a node can carry out as well
//! gives it up to the node.

use std::{
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Asked, Engine, EngineError, Mode,
    api::{ErrorKind, Event},
    engine::WeakEngine,
};

/// File name of the socket in the data directory.
pub const SOCKET_NAME: &str = "control.sock";
/// Folder of the data directory in which the socket is made.
const CLOSED_NAME: &str = "control.new";
/// Longest request, in bytes: a newsletter issue's text with its quoting.
const MAX_REQUEST: u64 = 4 << 20;
/// Longest event, in bytes: the status of a node with very many contents.
const MAX_EVENT: u64 = 64 << 20;
/// Events that may wait for a slow reader.
pub(crate) const MAX_QUEUED_EVENTS: usize = 256;
/// Requests that are carried out at once; more are refused.
const MAX_GUESTS: usize = 128;
/// What a node that wants the directory says.
const GIVE_WAY: &str = r#"{"command":"give_way"}"#;
/// How long the answer to that may take: it needs no disk and no network.
const GIVE_WAY_PATIENCE: Duration = Duration::from_secs(1);
/// How long whoever connects has to say its request.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);
/// How long a process that gives the directory up waits for what it does for others
/// to end: all of it is broken off, or about to be written.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// Sends a request to the process that serves `data_dir`. `None` if none does.
///
/// The events end with [`Event::Done`], [`Event::Error`] or [`Event::Moved`]; if they
/// end without, that process has died. Cancelling, or dropping the receiver, ends the
/// request on the other side.
pub async fn ask(
    data_dir: &Path,
    asked: &Asked,
    cancel: CancellationToken,
) -> Option<mpsc::Receiver<Event>> {
    // Absent, or left behind by a node that was killed: nobody answers.
    let path = SocketPath::of(data_dir).ok()?;
    let stream = UnixStream::connect(path.as_ref()).await.ok()?;
    let line = asked.to_line().ok()?;
    let (events, receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
    tokio::spawn(async move {
        let last = tokio::select! {
            last = relay(stream, &line, &events) => last,
            () = cancel.cancelled() => Some(Event::Done),
        };
        if let Some(last) = last {
            let _ = events.send(last).await;
        }
    });
    Some(receiver)
}

/// Asks the process that serves `data_dir` to leave it to a node. `Ok` if the directory
/// will be free in a moment; `None` if nobody answers, or not to that.
///
/// # Errors
/// [`ErrorKind::Locked`]: it keeps the directory. The message says who it is, and what
/// to do.
pub async fn ask_to_give_way(data_dir: &Path) -> Option<Result<(), EngineError>> {
    let asked = async {
        let path = SocketPath::of(data_dir).ok()?;
        let mut stream = UnixStream::connect(path.as_ref()).await.ok()?;
        let said = stream.write_all(format!("{GIVE_WAY}\n").as_bytes()).await;
        let mut line = String::new();
        let mut answer = BufReader::new(stream).take(MAX_EVENT);
        match said.and(answer.read_line(&mut line).await) {
            // It ends at this moment.
            Ok(0) | Err(_) => Some(Ok(())),
            Ok(_) => match serde_json::from_str(&line).ok()? {
                Event::Error { kind, message } => {
                    let keeps = kind == ErrorKind::Locked;
                    keeps.then(|| Err(EngineError::new(kind, message)))
                }
                _ => Some(Ok(())),
            },
        }
    };
    timeout(GIVE_WAY_PATIENCE, asked).await.ok().flatten()
}

/// What a node is told that wants the directory.
fn give_way(engine: &Engine) -> Event {
    if let Some(work) = engine.inner().gives_way.get() {
        work.cancel();
        return Event::Done;
    }
    let (dir, pid) = (engine.data_dir().display(), std::process::id());
    let message = match engine.mode() {
        Mode::Node => format!("a node runs on {dir} already: process {pid}"),
        _ => format!(
            "{dir} is in use: process {pid} carries out a command there; start the node when that has ended"
        ),
    };
    EngineError::new(ErrorKind::Locked, message).into()
}

/// Forwards events until the last; `Some` if the last has still to be said.
async fn relay(mut stream: UnixStream, line: &str, events: &mpsc::Sender<Event>) -> Option<Event> {
    if stream.write_all(line.as_bytes()).await.is_err() {
        // What was not heard to its end was not begun.
        return Some(Event::Moved);
    }
    let mut lines = BufReader::new(stream);
    let mut text = String::new();
    loop {
        text.clear();
        match (&mut lines).take(MAX_EVENT).read_line(&mut text).await {
            Ok(1..) if text.ends_with('\n') => {}
            Ok(_) => return None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            Err(error) => return Some(failed(&error)),
        }
        let event: Event = match serde_json::from_str(&text) {
            Ok(event) => event,
            Err(error) => return Some(failed(&error)),
        };
        let last = is_last(&event);
        if events.send(event).await.is_err() || last {
            return None;
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> Event {
    Event::Error {
        kind: ErrorKind::Internal,
        message: format!("the control socket failed: {error}"),
    }
}

/// Whether nothing follows this event.
pub fn is_last(event: &Event) -> bool {
    matches!(event, Event::Done | Event::Moved | Event::Error { .. })
}

/// The socket as the engine has it.
#[derive(Debug)]
pub(crate) struct Control {
    drain: CancellationToken,
    /// A place for each request under way, and one for the listener.
    places: Arc<Semaphore>,
}

impl Control {
    /// Takes no more requests, and has those under way end: finished if they are past
    /// the point where they could be done again, else moved.
    pub(crate) async fn drain(&self) {
        self.drain.cancel();
        let all = self.places.acquire_many(MAX_GUESTS as u32 + 1);
        if timeout(DRAIN_PATIENCE, all).await.is_err() {
            tracing::warn!("requests of other commands do not end; they are cut off");
        }
    }
}

/// Serves the socket until [`Control::drain`], or the end of the engine. Whoever ends
/// that [`remove`]s the socket: no task of the runtime is sure to run any more.
pub(crate) fn serve(engine: &Engine, stop: &CancellationToken) -> Result<Control, EngineError> {
    let full = engine.data_dir().join(SOCKET_NAME);
    // Whatever lies there was left behind.
    remove(engine.data_dir());
    let listener = bind(engine.data_dir()).map_err(|e| EngineError::disk(&full, &e))?;
    let control = Control {
        drain: stop.child_token(),
        places: Arc::new(Semaphore::new(MAX_GUESTS + 1)),
    };
    let own = control.places.clone().try_acquire_owned();
    let own = own.expect("nobody else has a place yet");
    tokio::spawn(listen(
        engine.downgrade(),
        engine.data_dir().to_owned(),
        listener,
        control.drain.clone(),
        control.places.clone(),
        own,
    ));
    Ok(control)
}

/// Makes the socket where nobody else comes, and moves it to its place when its mode
/// keeps others out: a user's data directory may be open to all.
fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    let closed = data_dir.join(CLOSED_NAME);
    let socket = closed.join(SOCKET_NAME);
    let clear = || {
        let _ = std::fs::remove_file(&socket);
        let _ = std::fs::remove_dir(&closed);
    };
    // A process that was killed in here may have left it.
    clear();
    std::fs::DirBuilder::new().mode(0o700).create(&closed)?;
    let bound = SocketPath::of(&closed)
        .and_then(|path| UnixListener::bind(path.as_ref()))
        .and_then(|listener| {
            std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
            std::fs::rename(&socket, data_dir.join(SOCKET_NAME))?;
            Ok(listener)
        });
    clear();
    bound
}

async fn listen(
    engine: WeakEngine,
    data_dir: PathBuf,
    listener: UnixListener,
    drain: CancellationToken,
    places: Arc<Semaphore>,
    _own: OwnedSemaphorePermit,
) {
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = drain.cancelled() => break,
        };
        let Some(engine) = engine.upgrade() else {
            break;
        };
        let place = places.clone().try_acquire_owned();
        let drain = drain.clone();
        tokio::spawn(async move {
            let answered = match place {
                Ok(_place) => answer(engine, stream, &drain).await,
                // Whoever drains waits for all places, and so none is free.
                Err(_) if drain.is_cancelled() => move_on(stream).await,
                Err(_) => refuse(stream).await,
            };
            if let Err(error) = answered {
                tracing::debug!(%error, "control connection");
            }
        });
    }
    // From here on nobody finds it; who found it before is sent on.
    remove(&data_dir);
    if let Ok(listener) = listener.into_std() {
        let line = line_of(&Event::Moved);
        while let (Ok((mut stream, _)), Ok(line)) = (listener.accept(), &line) {
            let _ = stream.write_all(line);
        }
    }
}

/// Removes the socket. The directory's lock must be ours.
pub(crate) fn remove(data_dir: &Path) {
    let _ = std::fs::remove_file(data_dir.join(SOCKET_NAME));
}

/// Sends a command on to whoever has the directory next.
async fn move_on(mut stream: UnixStream) -> io::Result<()> {
    send(&mut stream, &Event::Moved).await
}

async fn refuse(mut stream: UnixStream) -> io::Result<()> {
    let event = Event::Error {
        kind: ErrorKind::Locked,
        message: format!(
            "{MAX_GUESTS} commands are at work on this data directory; try again when some have ended"
        ),
    };
    send(&mut stream, &event).await
}

async fn answer(engine: Engine, stream: UnixStream, drain: &CancellationToken) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    let mut limited = (&mut read).take(MAX_REQUEST);
    tokio::select! {
        heard = timeout(REQUEST_PATIENCE, limited.read_line(&mut line)) => match heard {
            Ok(heard) => drop(heard?),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        },
        () = drain.cancelled() => return send(&mut write, &Event::Moved).await,
    }
    if line.trim_end() == GIVE_WAY {
        return send(&mut write, &give_way(&engine)).await;
    }
    let asked = match Asked::parse(&line) {
        Ok(asked) => asked,
        Err(error) => {
            let event = Event::Error {
                kind: ErrorKind::Usage,
                message: format!("this node does not understand the request: {error}"),
            };
            return send(&mut write, &event).await;
        }
    };
    if engine.mode() == Mode::Offline && asked.request.needs_peers() {
        return send(&mut write, &Event::Moved).await;
    }
    let endless = asked.request.is_endless();
    let cancel = drain.child_token();
    let mut events = engine.run_as(asked, cancel.clone());
    let _guard = cancel.drop_guard();
    let mut hang_up = [0];
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => {
                    let moved = drain.is_cancelled() && broken_off(&event, endless);
                    let event = if moved { Event::Moved } else { event };
                    send(&mut write, &event).await?;
                    if is_last(&event) {
                        return Ok(());
                    }
                }
                None => return Ok(()),
            },
            // The asker says one line; whatever comes after is it going away.
            _ = read.read(&mut hang_up) => return Ok(()),
        }
    }
}

/// Whether a last event means that a request was cancelled. What has no end ends well
/// when it is.
fn broken_off(event: &Event, endless: bool) -> bool {
    match event {
        Event::Error { kind, .. } => *kind == ErrorKind::Interrupted,
        Event::Done => endless,
        _ => false,
    }
}

async fn send(write: &mut (impl AsyncWriteExt + Unpin), event: &Event) -> io::Result<()> {
    write.write_all(&line_of(event)?).await
}

fn line_of(event: &Event) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    Ok(line)
}

/// The socket's path in a form that fits an address: a Unix socket's has 108
/// bytes at most (unix(7)), a data directory's path has no such limit.
struct SocketPath {
    path: PathBuf,
    /// Keeps the directory open that the path goes through.
    _directory: Option<std::fs::File>,
}

impl SocketPath {
    const MAX_BYTES: usize = 100;

    fn of(data_dir: &Path) -> io::Result<Self> {
        use std::os::{fd::AsRawFd, unix::ffi::OsStrExt};
        let path = data_dir.join(SOCKET_NAME);
        if path.as_os_str().as_bytes().len() <= Self::MAX_BYTES {
            return Ok(Self {
                path,
                _directory: None,
            });
        }
        let directory = std::fs::File::open(data_dir)?;
        let through = format!("/proc/self/fd/{}/{SOCKET_NAME}", directory.as_raw_fd());
        Ok(Self {
            path: through.into(),
            _directory: Some(directory),
        })
    }
}

impl AsRef<Path> for SocketPath {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

    use super::*;

    #[tokio::test]
    async fn a_node_gets_the_directory_from_who_may_leave_it() {
        for (mode, who) in [
            (Mode::Offline, "carries out a command there"),
            (Mode::Node, "a node runs on"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut config = crate::NodeConfig::new(dir.path().join("data"));
            config.listen = Some("127.0.0.1:0".parse().unwrap());
            let data_dir = config.data_dir.clone();
            assert_eq!(ask_to_give_way(&data_dir).await, None, "nobody is there");

            let engine = Engine::open(config, mode).await.unwrap();
            let Some(Err(error)) = ask_to_give_way(&data_dir).await else {
                panic!("it was given up")
            };
            assert_eq!(error.kind, ErrorKind::Locked);
            assert!(error.message.contains(who), "{error}");
            let pid = format!("process {}", std::process::id());
            assert!(error.message.contains(&pid), "{error}");

            let work = CancellationToken::new();
            engine.give_way(work.clone());
            assert_eq!(ask_to_give_way(&data_dir).await, Some(Ok(())));
            assert!(work.is_cancelled());
            engine.shutdown().await;
            assert_eq!(ask_to_give_way(&data_dir).await, None);
        }
    }

    #[tokio::test]
    async fn at_no_moment_can_others_open_the_socket() {
        let long = "l".repeat(90);
        for name in ["short", &long] {
            let dir = tempfile::tempdir().unwrap();
            let data_dir = dir.path().join(name);
            std::fs::create_dir(&data_dir).unwrap();
            let open = std::fs::Permissions::from_mode(0o777);
            std::fs::set_permissions(&data_dir, open).unwrap();
            // As a process leaves it that is killed on the way.
            std::fs::create_dir(data_dir.join(CLOSED_NAME)).unwrap();
            std::fs::write(data_dir.join(CLOSED_NAME).join(SOCKET_NAME), "").unwrap();

            let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
            let seen = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ATTRIB;
            inotify::add_watch(&watch, &data_dir, seen).unwrap();
            let listener = bind(&data_dir).unwrap();
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(&watch, &mut buffer);
            let mut of_socket = Vec::new();
            while let Ok(event) = events.next() {
                let name = event.file_name().map(|name| name.to_bytes().to_vec());
                if name.is_some_and(|name| name == SOCKET_NAME.as_bytes()) {
                    of_socket.push(event.events());
                }
            }
            assert_eq!(of_socket, [ReadFlags::MOVED_TO]);

            let socket = data_dir.join(SOCKET_NAME);
            let mode = socket.symlink_metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(!data_dir.join(CLOSED_NAME).exists());
            let path = SocketPath::of(&data_dir).unwrap();
            let (asked, answered) =
                tokio::join!(UnixStream::connect(path.as_ref()), listener.accept());
            asked.unwrap();
            answered.unwrap();
        }
    }
}
