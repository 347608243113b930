//! The control socket: one JSON request a connection, answered by JSON events, a
//! line each. Who may open the socket (mode 0600) may do everything.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Engine, EngineError,
    api::{ErrorKind, Event, Request},
};

/// File name of the socket in the data directory.
pub const SOCKET_NAME: &str = "control.sock";
/// Longest request, in bytes: a newsletter issue's text with its quoting.
const MAX_REQUEST: u64 = 4 << 20;
/// Longest event, in bytes: the status of a node with very many contents.
const MAX_EVENT: u64 = 64 << 20;
/// Events that may wait for a slow reader.
pub(crate) const MAX_QUEUED_EVENTS: usize = 256;

/// Sends `request` to the node that runs on `data_dir`. `None` if none runs there.
/// Cancelling, or dropping the receiver, ends the request on the node's side.
pub async fn ask(
    data_dir: &Path,
    request: &Request,
    cancel: CancellationToken,
) -> Option<mpsc::Receiver<Event>> {
    // Absent, or left behind by a node that was killed: nobody answers.
    let path = SocketPath::of(data_dir).ok()?;
    let stream = UnixStream::connect(path.as_ref()).await.ok()?;
    let line = serde_json::to_string(request).ok()?;
    let (events, receiver) = mpsc::channel(MAX_QUEUED_EVENTS);
    tokio::spawn(async move {
        let outcome = tokio::select! {
            outcome = relay(stream, line, &events) => outcome,
            () = cancel.cancelled() => Ok(Some(Event::Done)),
        };
        let last = match outcome {
            Ok(last) => last,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::BrokenPipe
                ) =>
            {
                Some(
                    EngineError::new(
                        ErrorKind::Interrupted,
                        "the node that runs on this data directory stopped; run the command again",
                    )
                    .into(),
                )
            }
            Err(error) => Some(
                EngineError::new(
                    ErrorKind::Internal,
                    format!("the control socket failed: {error}"),
                )
                .into(),
            ),
        };
        if let Some(last) = last {
            let _ = events.send(last).await;
        }
    });
    Some(receiver)
}

/// Forwards events until the last; `Some` if the last has still to be said.
async fn relay(
    mut stream: UnixStream,
    mut line: String,
    events: &mpsc::Sender<Event>,
) -> io::Result<Option<Event>> {
    line.push('\n');
    stream.write_all(line.as_bytes()).await?;
    let mut lines = BufReader::new(stream);
    let mut text = String::new();
    loop {
        text.clear();
        if (&mut lines).take(MAX_EVENT).read_line(&mut text).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let event: Event = serde_json::from_str(&text)?;
        let last = is_last(&event);
        if events.send(event).await.is_err() || last {
            return Ok(None);
        }
    }
}

/// Whether nothing follows this event.
pub fn is_last(event: &Event) -> bool {
    matches!(event, Event::Done | Event::Error { .. })
}

/// Serves the socket until `stop`. Whoever stops [`remove`]s it: no task of the
/// runtime is sure to run once the node's end has begun.
pub(crate) fn serve(engine: &Engine, stop: CancellationToken) -> Result<(), EngineError> {
    let full = engine.data_dir().join(SOCKET_NAME);
    let path = SocketPath::of(engine.data_dir()).map_err(|e| EngineError::disk(&full, &e))?;
    // Whatever lies there was left behind.
    remove(engine.data_dir());
    let listener = UnixListener::bind(path.as_ref()).map_err(|e| EngineError::disk(&full, &e))?;
    std::fs::set_permissions(&full, std::fs::Permissions::from_mode(0o600))
        .map_err(|e| EngineError::disk(&full, &e))?;
    let engine = engine.downgrade();
    tokio::spawn(async move {
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        tracing::warn!(%error, "control socket");
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                        continue;
                    }
                },
                () = stop.cancelled() => break,
            };
            let Some(engine) = engine.upgrade() else {
                break;
            };
            let stop = stop.child_token();
            tokio::spawn(async move {
                if let Err(error) = answer(engine, stream, stop).await {
                    tracing::debug!(%error, "control connection");
                }
            });
        }
    });
    Ok(())
}

/// Removes the socket. The directory's lock must be ours.
pub(crate) fn remove(data_dir: &Path) {
    let _ = std::fs::remove_file(data_dir.join(SOCKET_NAME));
}

async fn answer(engine: Engine, stream: UnixStream, stop: CancellationToken) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = String::new();
    (&mut read).take(MAX_REQUEST).read_line(&mut line).await?;
    let request = match serde_json::from_str::<Request>(&line) {
        Ok(request) => request,
        Err(error) => {
            let event = Event::Error {
                kind: ErrorKind::Usage,
                message: format!("this node does not understand the request: {error}"),
            };
            return send(&mut write, &event).await;
        }
    };
    let cancel = stop.child_token();
    let mut events = engine.run(request, cancel.clone());
    let _guard = cancel.clone().drop_guard();
    let mut hang_up = [0];
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => {
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

async fn send(write: &mut (impl AsyncWriteExt + Unpin), event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    write.write_all(&line).await
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
