//! One process of the demo, and how to talk to it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use samara_node::{
    Asked, EngineError,
    api::{ErrorKind, Event, Request},
    control,
};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{ACT, Issue, Received, bug, disk};

/// How long a process may take until it listens.
const START: Duration = Duration::from_secs(15);

/// A node as a child process; killed, and waited for, when dropped.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) peer_id: String,
    /// Where its releases appear.
    pub(super) into: PathBuf,
    data: PathBuf,
    log: PathBuf,
    child: Mutex<Child>,
}

/// What a member has of the release at the moment.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) have: u64,
    pub(super) chunks: u64,
    pub(super) received: Received,
}

impl Member {
    /// Starts `samara node` on a free loopback port.
    pub(super) async fn start(name: &'static str, folder: &Path) -> Result<Self, EngineError> {
        let home = folder.join(name);
        let (data, into, log) = (home.join("data"), home.join("releases"), home.join("log"));
        let io = |error| disk(name, &error);
        fs::create_dir_all(&data).map_err(io)?;
        let errors = File::create(&log).map_err(io)?;
        let program = std::env::current_exe().map_err(io)?;
        let mut command = Command::new(program);
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("SAMARA_") {
                command.env_remove(key);
            }
        }
        let mut child = command
            .arg("--data-dir")
            .arg(&data)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--http",
                "off",
                "--metrics",
                "off",
            ])
            .args(["--json", "node"])
            .args(cfg!(target_os = "linux").then_some("--exit-with-parent"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            // Ctrl-C is for us; we end them.
            .process_group(0)
            .spawn()
            .map_err(io)?;
        let stdout = child.stdout.take().ok_or_else(|| bug("no pipe"))?;
        let mut member = Self {
            name,
            peer_id: String::new(),
            into,
            data,
            log,
            child: Mutex::new(child),
        };
        let first = tokio::time::timeout(START, first_line(stdout)).await;
        let line = first.ok().flatten().unwrap_or_default();
        match serde_json::from_str(&line) {
            Ok(Event::Listening { peer_id, .. }) => {
                member.peer_id = peer_id;
                Ok(member)
            }
            Ok(Event::Error { kind, message }) => Err(EngineError {
                kind,
                message: format!("{name}: {message}"),
            }),
            _ => Err(bug(&format!(
                "{name} did not start; {}",
                member.last_words()
            ))),
        }
    }

    /// Sends a request over the control socket and gathers its events.
    pub(super) async fn call(&self, request: Request) -> Result<Vec<Event>, EngineError> {
        let gone = || bug(&format!("{} is gone; {}", self.name, self.last_words()));
        let asked = Asked::new(request)?;
        let answer = async {
            let cancel = CancellationToken::new();
            let _ends_with_us = cancel.clone().drop_guard();
            let mut events = control::ask(&self.data, &asked, cancel)
                .await
                .ok_or_else(gone)?;
            let mut all = Vec::new();
            loop {
                match events.recv().await.ok_or_else(gone)? {
                    Event::Done => return Ok(all),
                    Event::Moved => return Err(gone()),
                    Event::Error { kind, message } => {
                        return Err(EngineError {
                            kind,
                            message: format!("{}: {message}", self.name),
                        });
                    }
                    event => all.push(event),
                }
            }
        };
        tokio::time::timeout(ACT, answer)
            .await
            .unwrap_or_else(|_| Err(bug(&format!("{} does not answer", self.name))))
    }

    pub(super) async fn link(&self, channel: &str) -> Result<String, EngineError> {
        let request = Request::Link {
            channel: channel.to_owned(),
        };
        let events = self.call(request).await?;
        let link = events.into_iter().find_map(|event| match event {
            Event::Link { link, .. } => Some(link),
            _ => None,
        });
        link.ok_or_else(|| bug("no link came"))
    }

    pub(super) async fn subscribe(&self, link: &str) -> Result<(), EngineError> {
        let request = Request::Subscribe {
            link: link.to_owned(),
            into: Some(self.into.clone()),
            once: false,
            wait: false,
            mirror: false,
            keep_share: false,
        };
        self.call(request).await.map(drop)
    }

    /// Publishes a release; returns its content id.
    pub(super) async fn publish(&self, channel: &str, path: &Path) -> Result<String, EngineError> {
        let request = Request::Publish {
            channel: channel.to_owned(),
            path: path.to_owned(),
            version: None,
            notes: None,
            portable: false,
            priority: Default::default(),
            parity: None,
        };
        let events = self.call(request).await?;
        let content = events.into_iter().find_map(|event| match event {
            Event::Published { content, .. } => Some(content),
            _ => None,
        });
        content.ok_or_else(|| bug("nothing was published"))
    }

    /// The newsletter issue, once it is complete here.
    pub(super) async fn issue(&self) -> Result<Option<Issue>, EngineError> {
        let request = Request::Read {
            channel: None,
            issue: None,
        };
        match self.call(request).await {
            Ok(events) => Ok(events.into_iter().find_map(Issue::of)),
            // The channel itself has not arrived yet.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What it has of `content`, and from whom it received how much.
    pub(super) async fn look(
        &self,
        content: &str,
        everyone: &[&Self],
    ) -> Result<Sight, EngineError> {
        let mut sight = Sight::default();
        for event in self.call(Request::Status).await? {
            let Event::Status(status) = event else {
                continue;
            };
            if let Some(found) = status.contents.iter().find(|c| c.manifest == content) {
                (sight.have, sight.chunks) = (found.have, found.chunks);
            }
        }
        let peers = self.call(Request::Peers).await?;
        for other in everyone.iter().filter(|other| other.name != self.name) {
            let received = peers
                .iter()
                .filter_map(|event| match event {
                    Event::Peer(peer) if peer.peer_id == other.peer_id => Some(peer.received),
                    _ => None,
                })
                .sum();
            sight.received.push((other.name.to_owned(), received));
        }
        Ok(sight)
    }

    /// SIGKILL, without a chance to say goodbye.
    pub(super) fn kill(&self) -> Result<(), EngineError> {
        let mut child = self.child.lock().expect("no one panics with it");
        child
            .kill()
            .and_then(|()| child.wait())
            .map(drop)
            .map_err(|error| disk(self.name, &error))
    }

    /// The end of its log, for an error message.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        match log.lines().rfind(|line| !line.trim().is_empty()) {
            Some(last) => format!("{} said last: {last}", self.name),
            None => format!("{} said nothing", self.name),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let child = self.child.get_mut().expect("no one panics with it");
        // It may have ended already; what counts is that it is no more.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The first line, as soon as it is there; what follows is read and forgotten, so
/// that the process never blocks on its pipe.
async fn first_line(stdout: ChildStdout) -> Option<String> {
    let (tx, rx) = oneshot::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines();
        if let Some(Ok(first)) = lines.next() {
            // Nobody waits for it any more if the demo was broken off.
            let _ = tx.send(first);
        }
        while let Some(Ok(_)) = lines.next() {}
    });
    rx.await.ok()
}
