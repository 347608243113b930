//! `samara demo`: the main job, played through on this machine with real
//! processes, and checked to the last byte.

mod compare;
mod live;
mod member;
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use samara_node::{
    EngineError,
    api::{ErrorKind, Event, Request},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::{live::Live, member::Member, source::Source};
use crate::{
    quantity::{count, rate, size},
    report::write_line,
    settings::Settings,
    terminal::{Style, line},
};

/// Longest that one act may take before the demo says what is missing.
pub(crate) const ACT: Duration = Duration::from_secs(60);
/// How often the stage is looked at.
const GLANCE: Duration = Duration::from_millis(60);

const SUBSCRIBERS: [&str; 3] = ["anna", "bert", "cleo"];
const LATE: &str = "dora";
const CHANNEL: &str = "demo";
const SUBJECT: &str = "Let go once";
const BODY: &str = "# Let go once\n\nThe publisher of this issue was **killed** before the last \
    subscriber came. The issue arrived all the same, and so did its attachment:\n\n\
    - signed by its author,\n- kept by every member,\n- handed on by any of them.\n";

/// Plays it. The temporary folder and all processes are gone afterwards, however
/// it ends.
pub(crate) async fn run(
    settings: &Settings,
    path: Option<&Path>,
    interrupt: CancellationToken,
) -> Result<(), EngineError> {
    let folder = tempfile::Builder::new()
        .prefix("samara-demo-")
        .tempdir()
        .map_err(|error| disk("a temporary folder", &error))?;
    let stage = Stage {
        folder: folder.path().to_owned(),
        say: !settings.json,
        style: Style::of_stdout(),
    };
    let played = tokio::select! {
        played = stage.play(path) => played,
        () = interrupt.cancelled() => Err(EngineError {
            kind: ErrorKind::Interrupted,
            message: "interrupted".to_owned(),
        }),
    };
    // The processes ended with the play; what they wrote goes now.
    let gone = folder
        .close()
        .map_err(|error| disk("the temporary folder", &error));
    let summary = played?;
    gone?;
    summary.tell(settings.json, stage.style)
}

struct Stage {
    folder: PathBuf,
    say: bool,
    style: Style,
}

/// Bytes that a member received, by who sent them.
type Received = Vec<(String, u64)>;

struct Summary {
    source: Source,
    seconds: f64,
    received: Vec<(String, Received)>,
    late: Received,
    late_seconds: f64,
    total_seconds: f64,
}

impl Stage {
    async fn play(&self, path: Option<&Path>) -> Result<Summary, EngineError> {
        let curtain = Instant::now();
        let source = match path {
            Some(path) => Source::named(path)?,
            None => Source::on_this_machine()?,
        };
        self.act(&format!(
            "Starting a publisher and {} subscribers, each a process of its own on loopback",
            SUBSCRIBERS.len()
        ));
        let publisher = Member::start("publisher", &self.folder).await?;
        let mut subscribers = Vec::new();
        for name in SUBSCRIBERS {
            subscribers.push(Member::start(name, &self.folder).await?);
        }
        publisher
            .call(Request::ChannelCreate {
                name: CHANNEL.to_owned(),
                private: false,
            })
            .await?;
        let link = publisher.link(CHANNEL).await?;
        for subscriber in &subscribers {
            subscriber.subscribe(&link).await?;
        }

        self.act(&format!(
            "Publishing {}: {}, {}",
            line(&source.path.to_string_lossy()),
            count(source.files, "file", "files"),
            size(source.bytes)
        ));
        let content = publisher.publish(CHANNEL, &source.path).await?;
        let started = Instant::now();
        let attachment = self.attachment(&source)?;
        publisher
            .call(Request::Post {
                channel: CHANNEL.to_owned(),
                subject: Some(SUBJECT.to_owned()),
                body: BODY.to_owned(),
                attach: vec![attachment.clone()],
            })
            .await?;
        let everyone: Vec<&Member> = std::iter::once(&publisher).chain(&subscribers).collect();
        let waiting: Vec<&Member> = subscribers.iter().collect();
        let (seconds, received) = self
            .watch(&waiting, &everyone, &content, &source.name, started)
            .await?;
        let received = names_of(&subscribers).zip(received).collect();

        self.act("Killing the publisher (SIGKILL)");
        publisher.kill()?;
        self.act(&format!(
            "{LATE} comes late, through {}'s link, and fetches everything from the others",
            SUBSCRIBERS[1]
        ));
        let late = Member::start(LATE, &self.folder).await?;
        let link = subscribers[1].link(CHANNEL).await?;
        let started = Instant::now();
        late.subscribe(&link).await?;
        let everyone: Vec<&Member> = subscribers.iter().chain([&late]).collect();
        let (late_seconds, mut late_received) = self
            .watch(&[&late], &everyone, &content, &source.name, started)
            .await?;

        self.act("Comparing every copy with the source, byte for byte");
        for member in &everyone {
            let copy = member.into.join("current").join(&source.name);
            let (original, name) = (source.path.clone(), member.name);
            tokio::task::spawn_blocking(move || compare::same(&original, &copy))
                .await
                .map_err(|error| bug(&error.to_string()))?
                .map_err(|what| differs(&format!("{name}'s copy: {what}")))?;
            self.check_issue(member, &attachment).await?;
        }
        Ok(Summary {
            source,
            seconds,
            received,
            late: late_received.pop().unwrap_or_default(),
            late_seconds,
            total_seconds: curtain.elapsed().as_secs_f64(),
        })
    }

    fn act(&self, text: &str) {
        if self.say {
            // Whoever stops reading does not stop the demo.
            use std::io::Write;
            let _ = writeln!(std::io::stdout(), "{} {text}", self.style.good("•"));
        }
    }

    /// Something real to attach: the largest file of the source that is small
    /// enough for a mail, else this text.
    fn attachment(&self, source: &Source) -> Result<PathBuf, EngineError> {
        if let Some(path) = &source.attachment {
            return Ok(path.clone());
        }
        let path = self.folder.join("attachment.md");
        fs::write(&path, BODY).map_err(|error| disk("the attachment", &error))?;
        Ok(path)
    }

    /// Shows who gets what from whom until each of `waiting` has the release and
    /// the issue. Returns the seconds to the last release, and what each received.
    async fn watch(
        &self,
        waiting: &[&Member],
        everyone: &[&Member],
        content: &str,
        name: &str,
        started: Instant,
    ) -> Result<(f64, Vec<Received>), EngineError> {
        let mut live = Live::new(self.say, waiting);
        let mut received = vec![Received::new(); waiting.len()];
        let mut installed_after = None;
        loop {
            let mut installed = 0;
            let mut informed = 0;
            for (n, member) in waiting.iter().enumerate() {
                let sight = member.look(content, everyone).await?;
                live.show(n, &sight);
                received[n] = sight.received;
                installed += usize::from(member.into.join("current").join(name).exists());
                informed += usize::from(member.issue().await?.is_some());
            }
            if installed == waiting.len() {
                installed_after.get_or_insert_with(|| started.elapsed().as_secs_f64());
                if informed == waiting.len() {
                    break;
                }
            }
            if started.elapsed() > ACT {
                return Err(EngineError {
                    kind: ErrorKind::NoPeer,
                    message: format!(
                        "after {} s only {installed} of {} have the release and {informed} the issue; {}",
                        ACT.as_secs(),
                        waiting.len(),
                        waiting[0].last_words()
                    ),
                });
            }
            tokio::time::sleep(GLANCE).await;
        }
        // What arrived between the last look and the end.
        for (n, member) in waiting.iter().enumerate() {
            let sight = member.look(content, everyone).await?;
            live.show(n, &sight);
            received[n] = sight.received;
        }
        live.end();
        Ok((installed_after.unwrap_or_default(), received))
    }

    async fn check_issue(&self, member: &Member, attachment: &Path) -> Result<(), EngineError> {
        let whose = |what: &str| differs(&format!("{}'s issue: {what}", member.name));
        let issue = member
            .issue()
            .await?
            .ok_or_else(|| whose("it is missing"))?;
        if issue.subject != SUBJECT || issue.body != BODY {
            return Err(whose("its text differs"));
        }
        let [path] = &issue.attachments[..] else {
            return Err(whose("its attachment is missing"));
        };
        compare::same(attachment, path).map_err(|what| whose(&what))
    }
}

fn names_of(members: &[Member]) -> impl Iterator<Item = String> {
    members.iter().map(|member| member.name.to_owned())
}

impl Summary {
    fn tell(&self, json: bool, style: Style) -> Result<(), EngineError> {
        let told = if json {
            write_line(&self.as_json())
        } else {
            use std::io::Write;
            writeln!(std::io::stdout(), "{}", self.as_text(style))
        };
        told.map_err(|error| disk("standard output", &error))
    }

    fn as_json(&self) -> serde_json::Value {
        let sources = |received: &Received| {
            let pairs = received
                .iter()
                .map(|(from, bytes)| (from.clone(), json!(bytes)));
            serde_json::Value::Object(pairs.collect())
        };
        let mut members: Vec<_> = self
            .received
            .iter()
            .map(|(name, received)| json!({"name": name, "received": sources(received)}))
            .collect();
        members.push(json!({"name": LATE, "received": sources(&self.late)}));
        json!({
            "event": "demo",
            "path": self.source.path.to_string_lossy(),
            "files": self.source.files,
            "bytes": self.source.bytes,
            "seconds": self.seconds,
            "late_seconds": self.late_seconds,
            "total_seconds": self.total_seconds,
            "members": members,
            "verified": true,
        })
    }

    fn as_text(&self, style: Style) -> String {
        let from_publisher: u64 = self
            .received
            .iter()
            .flat_map(|(_, received)| received)
            .filter(|(from, _)| from == "publisher")
            .map(|(_, bytes)| bytes)
            .sum();
        let copies = from_publisher as f64 / self.source.bytes.max(1) as f64;
        let moved = self.source.bytes * self.received.len() as u64;
        let speed = rate((moved as f64 / self.seconds.max(1e-3)) as u64);
        format!(
            "\n{}\n{}, {} went to {} subscribers in {:.1} s ({speed} altogether); the publisher sent \
             {copies:.1} copies, the subscribers each other the rest.\nWith the publisher killed, {LATE} \
             had all of it {:.1} s after subscribing.\n{}: {} copies and {} newsletters with their \
             attachments. All of it took {:.1} s; nothing is left behind.",
            live::matrix(&self.received, &self.late, style),
            count(self.source.files, "file", "files"),
            size(self.source.bytes),
            self.received.len(),
            self.seconds,
            self.late_seconds,
            style.good("Identical byte for byte"),
            self.received.len() + 1,
            self.received.len() + 1,
            self.total_seconds,
        )
    }
}

/// One issue as a member has it, once it is complete.
struct Issue {
    subject: String,
    body: String,
    attachments: Vec<PathBuf>,
}

impl Issue {
    fn of(event: Event) -> Option<Self> {
        let Event::Issue {
            subject,
            body,
            attachments,
            complete: true,
            ..
        } = event
        else {
            return None;
        };
        let attachments = attachments
            .into_iter()
            .map(|attachment| attachment.path)
            .collect::<Option<_>>()?;
        Some(Self {
            subject,
            body,
            attachments,
        })
    }
}

fn disk(what: &str, error: &std::io::Error) -> EngineError {
    EngineError {
        kind: ErrorKind::Disk,
        message: format!("{what}: {error}"),
    }
}

fn bug(what: &str) -> EngineError {
    EngineError {
        kind: ErrorKind::Internal,
        message: what.to_owned(),
    }
}

fn differs(what: &str) -> EngineError {
    EngineError {
        kind: ErrorKind::BadData,
        message: what.to_owned(),
    }
}
