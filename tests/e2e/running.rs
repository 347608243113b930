//! Processes of the binary, and what they say.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest that a test waits for anything: a debug build on a machine that is busy
/// with another test. Less than the 40 s after which reconciliation would hide that a
/// record was not pushed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause between two looks at what tells nobody that it changed.
const LOOK: Duration = Duration::from_millis(20);

/// A process, killed when dropped. Its standard output is one JSON object a line.
pub(crate) struct Running {
    name: String,
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<Value>,
    errors: Arc<Mutex<String>>,
}

/// How a process ended, and all that it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit status; `None` if a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) events: Vec<Value>,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let name = command
            .get_args()
            .map(|arg| arg.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let mut stderr = child.stderr.take().expect("piped");
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let errors = Arc::<Mutex<String>>::default();
        let into = errors.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..n]);
                into.lock().unwrap().push_str(&text);
            }
        });
        Self {
            name,
            child,
            lines,
            seen: Vec::new(),
            errors,
        }
    }

    /// The next event of that name; whatever comes before it is kept for the report.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        self.until(name, |event| event["event"] == name)
    }

    /// The next event that is wanted. Ends the test if the process ends or fails first.
    pub(crate) fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(event) = self.next(deadline) else {
                panic!("waited in vain for {what}\n{}", self.report());
            };
            if wanted(&event) {
                return event;
            }
            assert_ne!(event["event"], "error", "{}", self.report());
        }
    }

    /// The next line; `None` at the end of the output or of the patience.
    fn next(&mut self, deadline: Instant) -> Option<Value> {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = self.lines.recv_timeout(left).ok()?;
        let event: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}\n{}", self.report()));
        self.seen.push(event.clone());
        Some(event)
    }

    /// Until the process has ended by itself.
    pub(crate) fn end(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        while self.next(deadline).is_some() {}
        // Standard output is closed: the process is at its end, or hangs.
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "does not end\n{}", self.report());
            thread::sleep(Duration::from_millis(2));
        };
        Ended {
            status: status.code(),
            events: std::mem::take(&mut self.seen),
            stderr: self.errors.lock().unwrap().clone(),
        }
    }

    /// SIGINT, as Ctrl-C; then until it has ended.
    pub(crate) fn interrupt(self) -> Ended {
        kill_process(self.pid(), Signal::INT).expect("the process is there");
        self.end()
    }

    /// SIGKILL, and until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("the process is there");
        self.child.wait().expect("a child can be waited for");
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether this stands on standard error by now.
    pub(crate) fn told(&self, part: &str) -> bool {
        self.errors.lock().unwrap().contains(part)
    }

    /// What the process said so far, for a test that fails.
    fn report(&self) -> String {
        let mut text = format!("samara {}\n", self.name);
        for event in &self.seen {
            let _ = writeln!(text, "  {event}");
        }
        let _ = write!(text, "{}", self.errors.lock().unwrap());
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The only event of a name.
    pub(crate) fn event(&self, name: &str) -> &Value {
        let mut found = self.events.iter().filter(|event| event["event"] == name);
        match (found.next(), found.next()) {
            (Some(event), None) => event,
            _ => panic!("not one {name} in {self:#?}"),
        }
    }

    /// Ends the test unless the process succeeded.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "{self:#?}");
        self
    }

    /// Ends the test unless the process failed in the right way: its kind's exit
    /// status, and one line that says why. Returns what it says.
    pub(crate) fn failed(&self, kind: &str, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{self:#?}");
        let error = self.event("error");
        assert_eq!(error["kind"], kind, "{self:#?}");
        assert_eq!(self.events.last(), Some(error), "{self:#?}");
        assert!(self.stderr.lines().count() <= 1, "{self:#?}");
        self.failed_as(kind, status)
    }

    /// As [`failed`](Self::failed), where standard error explains more.
    pub(crate) fn failed_as(&self, kind: &str, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{self:#?}");
        let error = self.event("error");
        assert_eq!(error["kind"], kind, "{self:#?}");
        let message = error["message"].as_str().expect("a text").to_owned();
        assert!(
            !message.is_empty() && !message.contains('\n'),
            "{message:?}"
        );
        message
    }
}

/// Looks until something holds, where nothing tells when it does.
pub(crate) fn poll(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(LOOK);
    }
}
