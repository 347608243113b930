//! One measured process tree: started in a namespace and a cgroup of its own, accounted for, and stopped for certain.
//!
//! CPU comes from the cgroup (children included, also those that have exited), memory from `RssAnon` of
//! every process in it. Mapped and page-cache pages are left out on purpose: they are the content, not the tool.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::Serialize;

use crate::{
    error::{Context, Error, Result},
    interrupt, limits,
};

/// First argument of the bench's own re-execution inside a namespace; see [`enter`].
pub(crate) const ENTER: &str = "__enter";

/// Names of the bench's cgroups begin with this and its process id.
pub(crate) const CGROUP: &str = "samara-bench.";

/// What to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(String, String)>,
    /// Working directory; the node's own folder when `None`.
    pub(crate) cwd: Option<PathBuf>,
}

impl Launch {
    pub(crate) fn new<A: Into<OsString>>(argv: impl IntoIterator<Item = A>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.argv.push(arg.into());
        self
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }
}

/// CPU seconds of a process tree.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
        }
    }
}

/// A running tool. Dropping it kills the whole tree.
pub(crate) struct Process {
    child: std::process::Child,
    cgroup: PathBuf,
    log: PathBuf,
    read_to: u64,
    output: String,
    pub(crate) started: Instant,
    pub(crate) peak_anon_kib: u64,
}

impl Process {
    /// Starts `launch` in namespace `netns`; its output goes to `log`, its home is `home`, so that it
    /// finds no settings of this machine's user and leaves none.
    pub(crate) fn start(
        name: &str,
        netns: &str,
        launch: &Launch,
        home: &Path,
        log: &Path,
    ) -> Result<Self> {
        let cgroup = cgroup_root()?.join(format!("{}{}.{name}", CGROUP, std::process::id()));
        fs::create_dir_all(&cgroup).on("creating cgroup", &cgroup)?;
        let out = File::create(log).on("creating", log)?;
        let err = out.try_clone().on("opening", log)?;
        let me = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(me);
        command
            .arg(ENTER)
            .arg(Path::new("/run/netns").join(netns))
            .arg(cgroup.join("cgroup.procs"))
            .args(&launch.argv)
            .current_dir(launch.cwd.as_deref().unwrap_or(home))
            .env("LC_ALL", "C")
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home.join(".config"))
            .env("XDG_DATA_HOME", home.join(".local"))
            .env("XDG_CACHE_HOME", home.join(".cache"))
            .envs(launch.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // A group of its own: the terminal's Ctrl-C reaches the bench alone, which then stops it in order.
            .process_group(0);
        let started = Instant::now();
        match command.spawn() {
            Ok(child) => Ok(Self {
                child,
                cgroup,
                log: log.to_owned(),
                read_to: 0,
                output: String::new(),
                started,
                peak_anon_kib: 0,
            }),
            Err(source) => {
                let _ = fs::remove_dir(&cgroup);
                Err(Error::Io {
                    what: format!("starting {name}"),
                    source,
                })
            }
        }
    }

    /// The exit status, once there is one.
    pub(crate) fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("waiting for a process")
    }

    /// All output so far, or its last [`limits::OUTPUT_KEPT`] bytes.
    pub(crate) fn output(&mut self) -> Result<&str> {
        let mut file = File::open(&self.log).on("reading", &self.log)?;
        file.seek(SeekFrom::Start(self.read_to))
            .on("reading", &self.log)?;
        let mut new = Vec::new();
        self.read_to += file.read_to_end(&mut new).on("reading", &self.log)? as u64;
        if !new.is_empty() {
            self.output.push_str(&String::from_utf8_lossy(&new));
            let over = self.output.len().saturating_sub(2 * limits::OUTPUT_KEPT);
            if over > 0 {
                let cut = self
                    .output
                    .ceil_char_boundary(self.output.len() - limits::OUTPUT_KEPT);
                self.output.drain(..cut);
            }
        }
        Ok(&self.output)
    }

    /// The end of the output, for an error message.
    pub(crate) fn last_words(&mut self) -> String {
        let Ok(all) = self.output() else {
            return String::new();
        };
        let start = all.ceil_char_boundary(all.len().saturating_sub(limits::OUTPUT_SHOWN));
        all[start..].trim().to_owned()
    }

    pub(crate) fn pids(&self) -> Vec<i32> {
        pids_in(&self.cgroup)
    }

    /// CPU of the tree so far.
    pub(crate) fn cpu(&self) -> Cpu {
        let text = fs::read_to_string(self.cgroup.join("cpu.stat")).unwrap_or_default();
        let seconds = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key)?.trim().parse::<f64>().ok())
                .unwrap_or(0.0)
                / 1e6
        };
        Cpu {
            user: seconds("user_usec "),
            system: seconds("system_usec "),
        }
    }

    /// Looks at the tree's anonymous memory now and keeps the peak.
    pub(crate) fn sample_memory(&mut self) {
        let now = self.pids().into_iter().map(anon_kib).sum();
        self.peak_anon_kib = self.peak_anon_kib.max(now);
    }

    fn signal(&self, signal: Signal) {
        for pid in self.pids().into_iter().filter_map(Pid::from_raw) {
            // It may have ended since the list was read.
            let _ = kill_process(pid, signal);
        }
    }

    fn kill(&mut self) {
        // Before the child has entered its cgroup the list is empty, so the child itself is killed too.
        let _ = self.child.kill();
        remove_cgroup(&self.cgroup);
        let _ = self.child.wait();
        let _ = fs::remove_dir(&self.cgroup);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// SIGINT to every tree, a grace period for all together, then SIGKILL.
pub(crate) fn stop_all(processes: Vec<Process>) {
    for process in &processes {
        process.signal(Signal::INT);
    }
    let end = Instant::now() + limits::STOP_GRACE;
    while Instant::now() < end && processes.iter().any(|p| !p.pids().is_empty()) {
        thread::sleep(Duration::from_millis(20));
    }
    drop(processes);
}

/// The re-executed bench: enters the namespace and the cgroup, asks to die with its parent, and becomes the tool.
///
/// `args` are the namespace's path, the cgroup's `cgroup.procs` and the tool's command line. Returns only on failure.
pub(crate) fn enter(args: &[OsString]) -> Error {
    let attempt = || -> Result<Error> {
        let [netns, procs, program, rest @ ..] = args else {
            return Err(Error::Setup("this is an internal command".into()));
        };
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(Into::into)
            .context("tying to the parent")?;
        fs::write(procs, std::process::id().to_string()).on("entering cgroup", Path::new(procs))?;
        let file = File::open(netns).on("opening namespace", Path::new(netns))?;
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&file),
            Some(LinkNameSpaceType::Network),
        )
        .map_err(Into::into)
        .on("entering namespace", Path::new(netns))?;
        Err(Error::Io {
            what: format!("running {}", Path::new(program).display()),
            source: Command::new(program).args(rest).exec(),
        })
    };
    match attempt() {
        Ok(error) | Err(error) => error,
    }
}

/// Runs a helper to its end and returns its standard output.
pub(crate) fn helper(argv: &[&str]) -> Result<String> {
    let mut child = Command::new(argv[0])
        .args(&argv[1..])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .context(format!("running {}", argv[0]))?;
    let end = Instant::now() + limits::HELPER_TIMEOUT;
    // Helpers print less than a pipe holds, so waiting before reading cannot block them.
    while child.try_wait().context("waiting")?.is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return Err(Error::Setup(format!("`{}` hangs", argv.join(" "))));
        }
        thread::sleep(Duration::from_millis(1));
    }
    let output = child
        .wait_with_output()
        .context(format!("running {}", argv[0]))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Setup(format!(
            "`{}` failed: {}",
            argv.join(" "),
            said.trim()
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr))
}

/// Waits for a long-running child of the bench (a build, say) without losing sight of signals.
pub(crate) fn wait(mut child: std::process::Child) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context("waiting for a process")? {
            return Ok(status);
        }
        if let Err(stop) = interrupt::sleep(Duration::from_millis(50)) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(stop);
        }
    }
}

/// Kills whatever is left in a cgroup of the bench, and removes it.
pub(crate) fn remove_cgroup(cgroup: &Path) {
    let end = Instant::now() + limits::KILL_TIMEOUT;
    loop {
        let pids = pids_in(cgroup);
        if pids.is_empty() || Instant::now() > end {
            break;
        }
        for pid in pids.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        thread::sleep(Duration::from_millis(5));
    }
    let _ = fs::remove_dir(cgroup);
}

fn anon_kib(pid: i32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|l| l.strip_prefix("RssAnon:"))?;
            line.trim().strip_suffix(" kB")?.parse().ok()
        })
        .unwrap_or(0)
}

fn pids_in(cgroup: &Path) -> Vec<i32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Where cgroup v2 is mounted.
pub(crate) fn cgroup_root() -> Result<&'static Path> {
    ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .map(Path::new)
        .into_iter()
        .find(|root| root.join("cgroup.subtree_control").exists())
        .ok_or_else(|| {
            Error::Setup("no cgroup v2 at /sys/fs/cgroup or /sys/fs/cgroup/unified: mount it with `mount -t cgroup2 none DIR`".into())
        })
}
