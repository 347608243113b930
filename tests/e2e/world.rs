//! Directories and nodes of one test.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::running::{Ended, Running};

/// A place of its own for a test.
pub(crate) struct World {
    dir: TempDir,
}

/// A data directory, and the commands that are given on it.
pub(crate) struct Peer {
    home: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    /// For many files: where there is room in memory, nothing waits for a disk that
    /// others write to as well.
    pub(crate) fn in_memory() -> Self {
        const ROOM: u64 = 1 << 30;
        const MEMORY: &str = "/dev/shm";
        let stat = rustix::fs::statvfs(MEMORY);
        if stat.is_ok_and(|stat| stat.f_bavail * stat.f_frsize >= ROOM)
            && let Ok(dir) = tempfile::tempdir_in(MEMORY)
        {
            return Self { dir };
        }
        Self::new()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A node with directories of its own.
    pub(crate) fn peer(&self, name: &str) -> Peer {
        Peer::at(self.path(name))
    }
}

impl Peer {
    /// A node whose data directory is `home/data`.
    pub(crate) fn at(home: PathBuf) -> Self {
        fs::create_dir_all(&home).expect("a directory can be made");
        Self { home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    /// The binary with this node's directory, a free port on loopback, no pages, and
    /// JSON; nothing of the tester's own configuration.
    pub(crate) fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samara"));
        for (key, _) in std::env::vars_os() {
            if key.to_string_lossy().starts_with("SAMARA_") {
                command.env_remove(key);
            }
        }
        command
            .args(args)
            .current_dir(&self.home)
            .env("HOME", "/nonexistent")
            .env("SAMARA_DATA_DIR", self.data_dir())
            .env("SAMARA_LISTEN", "127.0.0.1:0")
            .env("SAMARA_HTTP", "off")
            .env("SAMARA_TIMEOUT", "20s")
            .env("SAMARA_JSON", "1");
        command
    }

    /// Starts a command that goes on.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(args))
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        self.start(args).end()
    }

    /// Runs a command that must succeed; its one event of a name.
    pub(crate) fn ask(&self, args: &[&str], event: &str) -> Value {
        self.run(args).ok().event(event).clone()
    }

    /// Shares a path; the process and the link.
    pub(crate) fn share(&self, path: &Path) -> (Running, String) {
        let mut share = self.start(&["share", text(path)]);
        let event = share.event("sharing");
        let link = string(&event["link"]);
        (share, link)
    }

    /// Fetches a link to `out`.
    pub(crate) fn get(&self, link: &str) -> Ended {
        self.run(&["get", link, "-o", text(&self.path("out"))])
    }

    /// Starts the daemon; the process and its address.
    pub(crate) fn node(&self) -> (Running, String) {
        let mut node = self.start(&["node"]);
        let event = node.event("listening");
        let addr = string(&event["addr"]);
        (node, addr)
    }

    /// The link of a channel, as this node gives it.
    pub(crate) fn link(&self, channel: &str) -> String {
        string(&self.ask(&["link", channel], "link")["link"])
    }
}

/// A path of this suite as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ASCII")
}

/// A value that must be a text.
pub(crate) fn string(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// A value that must be a number.
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

/// Bytes of a `complete` event: from the origin, from other peers, reused.
pub(crate) fn sources(complete: &Value) -> (u64, u64, u64) {
    let downloaded = &complete["downloaded"];
    (
        number(&downloaded["origin"]),
        number(&downloaded["peers"]),
        number(&complete["reused"]),
    )
}
