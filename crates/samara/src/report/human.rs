use std::io::{self, Write};

use samara_node::api::{Event, InvitationView, PeerStatus, Request};

use super::{
    Report, bars::Bars, charter, explanation, limits, markdown, qr::Scannable, record, status,
};
use crate::{
    quantity::{count, rate, size},
    terminal::{Style, Table, body, columns, line, terminal_columns},
};

/// How lists are to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Channels in a table.
    Channels,
    /// Issues in a table.
    Issues,
    /// An issue to read.
    Issue,
    /// Peers in a table.
    Peers,
    /// Records in a table.
    Records,
    /// A record's body as it is.
    Body,
    /// Members in a table.
    Members,
    /// Each event as it comes.
    News,
}

/// For people: results on standard output, everything else on standard error.
pub(crate) struct Human {
    shape: Shape,
    verbose: bool,
    /// Links are drawn as QR codes, too.
    qr: bool,
    style: Style,
    bars: Bars,
    /// The list may lack some.
    partial: bool,
    table: Table,
    out: io::Stdout,
}

impl Human {
    pub(crate) fn new(request: &Request, verbose: bool, qr: bool) -> Self {
        let (shape, head, right): (_, &[&str], &'static [usize]) = match request {
            Request::ChannelList => (
                Shape::Channels,
                &["NAME", "ROLE", "RECORDS", "RELEASE", "ISSUES", "ID"],
                &[2, 4],
            ),
            Request::Read { issue: None, .. } => (
                Shape::Issues,
                &["CHANNEL", "NO", "PUBLISHED", "SUBJECT", "FILES"],
                &[1, 4],
            ),
            Request::Read { issue: Some(_), .. } => (Shape::Issue, &[""], &[]),
            Request::Records { .. } => (Shape::Records, record::HEAD, record::RIGHT),
            Request::RecordGet { output: None, .. } => (Shape::Body, &[""], &[]),
            Request::Peers => (Shape::Peers, PEER_HEAD, PEER_RIGHT),
            Request::Members { .. } => (
                Shape::Members,
                &["WHO", "ROLE", "SINCE", "UNTIL", "PRESENT", "BY"],
                &[],
            ),
            _ => (Shape::News, &[""], &[]),
        };
        Self {
            shape,
            verbose,
            qr,
            style: Style::of_stdout(),
            bars: Bars::new(),
            partial: false,
            table: Table::new(head, right),
            out: io::stdout(),
        }
    }

    fn result(&self, text: &str) -> io::Result<()> {
        self.bars.aside(|| {
            let mut out = self.out.lock();
            out.write_all(text.as_bytes())?;
            out.write_all(b"\n")?;
            out.flush()
        })
    }

    fn aside(&self, text: &str) {
        // Standard error may be closed; the result does not depend on it.
        self.bars.aside(|| {
            let _ = writeln!(io::stderr(), "{text}");
        });
    }

    fn issue(&mut self, event: &Event) -> io::Result<()> {
        let Event::Issue {
            channel,
            number,
            subject,
            published,
            body: text,
            attachments,
            complete,
            ..
        } = event
        else {
            return Ok(());
        };
        let state = if *complete { "" } else { " (arriving)" };
        let minute = published.get(..16).unwrap_or(published).replace('T', " ");
        match self.shape {
            Shape::Issues => {
                self.table.row([
                    channel.clone(),
                    number.to_string(),
                    minute,
                    format!("{subject}{state}"),
                    attachments.len().to_string(),
                ]);
                Ok(())
            }
            Shape::Issue => {
                let style = self.style;
                // Most issues bring their title along.
                let titled = text.trim_start().starts_with("# ");
                let title = match titled {
                    true => String::new(),
                    false => style.bold(line(subject)) + "\n",
                };
                let mut page = format!(
                    "{title}{}\n\n{}",
                    style.dim(format!("{}, {} UTC{state}", line(channel), line(&minute))),
                    markdown::render(&body(text), columns(), style),
                );
                if !attachments.is_empty() {
                    page += &format!("\n{}\n", style.bold("Attachments"));
                    for attachment in attachments {
                        let place = match &attachment.path {
                            Some(path) => line(&path.to_string_lossy()),
                            None => "arriving".to_owned(),
                        };
                        page += &format!(
                            "  {} ({})  {}\n",
                            line(&attachment.name),
                            size(attachment.bytes),
                            style.dim(place)
                        );
                    }
                }
                self.result(page.trim_end())
            }
            _ => self.result(&format!(
                "New issue in {}: {}{state}",
                line(channel),
                line(subject)
            )),
        }
    }

    fn link(&self, link: &str) -> io::Result<()> {
        if !self.qr {
            return self.result(&line(link));
        }
        let columns = columns();
        let Some(code) = Scannable::fitting(link, columns) else {
            self.aside("samara: warning: the link is too long for a QR code");
            return self.result(&line(link));
        };
        self.result(code.render(self.style.is_coloured()).trim_end_matches('\n'))?;
        if code.width() > columns {
            self.aside(&format!(
                "samara: warning: the code is {} columns wide, the terminal {columns}",
                code.width()
            ));
        }
        self.result(&line(&code.link))
    }

    fn entry(&self, event: &Event) -> io::Result<()> {
        let Event::Entry {
            path,
            kind,
            bytes,
            mode,
            target,
            have,
            here,
        } = event
        else {
            return Ok(());
        };
        let here = match (have, bytes) {
            _ if *here => "here".to_owned(),
            (0, _) => String::new(),
            (have, bytes) => format!("{} %", u128::from(*have) * 100 / u128::from(*bytes)),
        };
        let (amount, tail) = match &**kind {
            "directory" => (String::new(), "/".to_owned()),
            "symlink" => {
                let target = line(target.as_deref().unwrap_or_default());
                (String::new(), format!(" -> {target}"))
            }
            _ => (size(*bytes), String::new()),
        };
        self.result(&format!(
            "{:>4}  {amount:>10}  {here:>4}  {}{tail}",
            line(mode),
            line(path)
        ))
    }
}

impl Report for Human {
    fn is_unread(&self) -> bool {
        super::reader_is_gone()
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.bars.event(event);
        let style = self.style;
        match event {
            Event::Waiting { what } if self.verbose => self.aside(&line(what)),
            Event::Importing { .. }
            | Event::Progress { .. }
            | Event::Waiting { .. }
            | Event::Error { .. }
            | Event::Moved
            | Event::Done => {}
            Event::Sharing {
                link,
                name,
                files,
                bytes,
                ..
            } => {
                self.bars.settle();
                self.aside(&format!(
                    "Sharing {}: {}, {}. Whoever has this link can fetch it:",
                    line(name),
                    count(*files, "file", "files"),
                    size(*bytes)
                ));
                self.result(&style.bold(line(link)))?;
                self.aside("Serving until interrupted (Ctrl-C). Fetch with: samara get LINK");
            }
            Event::Entry { .. } => self.entry(event)?,
            Event::Listing {
                name,
                files,
                bytes,
                have,
                ..
            } => {
                self.bars.settle();
                self.result(&format!(
                    "{}: {}, {}; {} of it on this disk",
                    style.bold(line(name)),
                    count(*files, "file", "files"),
                    size(*bytes),
                    size(*have)
                ))?;
            }
            Event::Release { .. } => {
                self.bars.settle();
                self.result(&release_text(event, style))?;
            }
            Event::Complete { .. } => self.result(&complete_text(event, style))?,
            Event::Channel {
                id,
                name,
                role,
                records,
                version,
                issues,
            } => {
                if self.shape == Shape::Channels {
                    self.table.row([
                        name.clone(),
                        role.clone(),
                        records.to_string(),
                        version.clone().unwrap_or_else(|| "-".to_owned()),
                        issues.to_string(),
                        id.clone(),
                    ]);
                } else {
                    self.result(&format!("Channel {}\n{}", style.bold(line(name)), line(id)))?;
                }
            }
            Event::Charter(view) => self.result(&charter::charter_text(view, style))?,
            Event::CharterDraft(_) => self.result(&charter::draft_text(event, style))?,
            Event::Link { link, invitation } => {
                self.link(link)?;
                if let Some(invitation) = invitation {
                    self.aside(&invitation_text(invitation));
                }
            }
            Event::Joined { name, role, .. } => {
                self.result(&format!(
                    "Joined {} as {}",
                    style.bold(line(name)),
                    line(role)
                ))?;
            }
            Event::Member { synchronized, .. } => {
                self.partial = !synchronized;
                self.table.row(member_row(event));
            }
            Event::Revoked {
                peer_id,
                still_revoked,
                pardoned,
                ..
            } => {
                self.result(&format!("Revoked {}", line(peer_id)))?;
                for peer in still_revoked {
                    self.aside(&format!("{} was revoked by it, and stays so", line(peer)));
                }
                for peer in pardoned {
                    self.aside(&format!("{} is not revoked any more", line(peer)));
                }
            }
            Event::InvitationRevoked {
                invitation,
                revoked,
                outranking,
                ..
            } => {
                let many = count(revoked.len() as u64, "member", "members");
                self.result(&format!(
                    "Revoked the invitation {} and {many} who came by it",
                    line(invitation)
                ))?;
                for peer in revoked {
                    self.result(&format!("  {}", line(peer)))?;
                }
                for peer in outranking {
                    self.aside(&format!(
                        "{} came by it too and was not revoked: this identity does not outrank it",
                        line(peer)
                    ));
                }
            }
            Event::RoleGiven { peer_id, role, .. } => {
                self.result(&format!("{} is {} now", line(peer_id), line(role)))?;
            }
            Event::Left { channel, told } => {
                let and = match told {
                    Some(true) => "; the members know",
                    _ => "",
                };
                self.result(&format!("Left {}{and}", line(channel)))?;
                if *told == Some(false) {
                    self.aside(
                        "No member was reached to be told: they go on listing this node as one of them.",
                    );
                }
            }
            Event::Published {
                version,
                files,
                bytes,
                fresh,
                ..
            } => {
                self.bars.settle();
                self.result(&format!(
                    "Published {}: {}, {}, {} of it new",
                    style.bold(line(version)),
                    count(*files, "file", "files"),
                    size(*bytes),
                    size(*fresh)
                ))?;
            }
            Event::Unpublished { version, .. } => {
                self.result(&format!("Took {} back", line(version)))?;
            }
            Event::Posted {
                issue,
                subject,
                attachments,
                ..
            } => {
                self.bars.settle();
                self.result(&format!(
                    "Posted \"{}\" as {}, {}",
                    line(subject),
                    line(issue),
                    count(*attachments, "attachment", "attachments")
                ))?;
            }
            Event::Subscribed {
                channel,
                name,
                mirror,
                into,
            } => {
                let verb = if *mirror { "Mirroring" } else { "Following" };
                let name = if name.is_empty() { channel } else { name };
                let place = into
                    .as_ref()
                    .map(|into| format!("; releases appear in {}", line(&into.to_string_lossy())))
                    .unwrap_or_default();
                self.result(&format!("{verb} {}{place}", style.bold(line(name))))?;
            }
            Event::Unsubscribed { channel } => {
                self.result(&format!("No longer following {}", line(channel)))?;
            }
            Event::Installed {
                version,
                path,
                current,
                ..
            } => {
                let current = if *current { ", now current" } else { "" };
                self.result(&format!(
                    "Installed {}{current}: {}",
                    style.bold(line(version)),
                    line(&path.to_string_lossy())
                ))?;
            }
            Event::Issue { .. } => self.issue(event)?,
            Event::Exported { .. } | Event::Imported { .. } => {
                self.result(&record::carried(event))?;
            }
            Event::Record(found) => match self.shape {
                Shape::Records => self.table.row(record::row(found)),
                Shape::Body => {
                    let mut out = self.out.lock();
                    out.write_all(&record::body(found).unwrap_or_default())?;
                    out.flush()?;
                }
                _ => self.result(&line(&found.about.record))?,
            },
            Event::Change {
                cursor, at, change, ..
            } => self.result(&record::change(*cursor, at.as_deref(), change))?,
            Event::Heading {
                channel,
                number,
                subject,
                ..
            } => self.result(&format!("{} {number}: {}", line(channel), line(subject)))?,
            Event::Status(status) => self.result(&status::text(status, style))?,
            Event::Explained(found) => self.result(&explanation::text(found, style))?,
            Event::Limits(found) => self.result(&limits::text(found, style))?,
            Event::Peer(peer) => self.table.row(peer_row(peer)),
            Event::Freed {
                bytes,
                contents,
                dry_run,
            } => {
                let verb = if *dry_run { "Would free" } else { "Freed" };
                let many = count(contents.len() as u64, "content", "contents");
                self.result(&format!("{verb} {} ({many})", size(*bytes)))?;
                for id in contents {
                    self.result(&format!("  {}", line(id)))?;
                }
            }
            Event::Resolved {
                peer_id,
                addr,
                scope,
                rtt_ms,
                ..
            } => self.result(&format!(
                "{}  {}  {rtt_ms:.1} ms  {}",
                line(peer_id),
                line(addr),
                scope.name()
            ))?,
            Event::Told { peer_id, bytes, .. } => {
                self.result(&format!("Told {}: {}", line(peer_id), size(*bytes)))?;
            }
            Event::Id { peer_id } => self.result(&line(peer_id))?,
            Event::Listening {
                addr,
                peer_id,
                http,
                metrics,
            } => {
                let mut text = format!("Listening on {addr} as {peer_id}");
                if let Some(http) = http {
                    text += &format!("\nPages and local API: http://{http}/");
                }
                if let Some(metrics) = metrics {
                    text += &format!("\nMetrics: http://{metrics}/metrics");
                }
                self.result(&text)?;
            }
            Event::Warning { message } => {
                self.aside(&format!("samara: warning: {}", line(message)));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.bars.clear();
        let nothing = match self.shape {
            Shape::Channels => "No channels yet.",
            Shape::Issues => "No issues yet.",
            Shape::Peers => "Connected with nobody.",
            Shape::Members => "No members yet.",
            Shape::Records => "No such records.",
            Shape::Issue | Shape::Body | Shape::News => return Ok(()),
        };
        if self.table.is_empty() {
            self.aside(nothing);
        } else {
            if let Some(columns) = terminal_columns() {
                self.table.fit(columns);
            }
            self.result(self.table.render(self.style).trim_end())?;
        }
        if self.partial {
            self.aside(
                "This node has not been alike with another member yet: there may be more members than it knows of.",
            );
        }
        Ok(())
    }
}

/// How an invitation is told from others, beside its link.
fn invitation_text(invitation: &InvitationView) -> String {
    let expires = &invitation.expires;
    format!(
        "Invitation {}: {}, {}, until {} UTC. `samara revoke CHANNEL {} --invitation` takes it back.",
        line(&invitation.invitation),
        line(&invitation.role),
        count(invitation.uses.into(), "use", "uses"),
        line(&expires.get(..16).unwrap_or(expires).replace('T', " ")),
        line(
            invitation
                .invitation
                .get(..12)
                .unwrap_or(&invitation.invitation)
        ),
    )
}

/// By whom somebody has its role: an identity, by an invitation of its, or the charter.
fn giver(by: Option<&str>, invitation: Option<&str>) -> String {
    let short = |id: &str| id.get(..12).unwrap_or(id).to_owned();
    let by = by.map_or("the charter".to_owned(), short);
    match invitation {
        Some(invitation) => format!("{by} (invitation {})", short(invitation)),
        None => by,
    }
}

fn member_row(event: &Event) -> [String; 6] {
    let Event::Member {
        peer_id,
        role,
        since,
        until,
        by,
        invitation,
        revoked,
        left,
        this_node,
        present_since,
        present_until,
        ..
    } = event
    else {
        return Default::default();
    };
    let day = |time: &str| time.get(..10).unwrap_or(time).to_owned();
    let minute = |time: &str| time.get(..16).unwrap_or(time).replace('T', " ");
    let clock = |time: &str| time.get(11..19).unwrap_or(time).to_owned();
    let who = if *this_node { " (this node)" } else { "" };
    let role = match (revoked, role) {
        (true, _) => "revoked",
        (false, Some(role)) => role,
        (false, None) if *left => "left",
        (false, None) => "ended",
    };
    [
        format!("{peer_id}{who}"),
        role.to_owned(),
        day(since),
        until.as_deref().map_or("-".to_owned(), day),
        match (present_since, present_until) {
            (Some(since), Some(until)) => format!("{} to {}", minute(since), clock(until)),
            _ => "-".to_owned(),
        },
        giver(by.as_deref(), invitation.as_deref()),
    ]
}

/// A release and what its publisher says of it.
fn release_text(event: &Event, style: Style) -> String {
    let Event::Release {
        version,
        published,
        notes,
        ..
    } = event
    else {
        return String::new();
    };
    let minute = published.get(..16).unwrap_or(published).replace('T', " ");
    let head = format!(
        "Release {}, {}",
        style.bold(line(version)),
        style.dim(format!("{} UTC", line(&minute)))
    );
    match notes.trim() {
        "" => head,
        notes => {
            let text = markdown::render(&body(notes), columns(), style);
            format!("{head}\n\n{text}")
        }
    }
}

fn complete_text(event: &Event, style: Style) -> String {
    let Event::Complete {
        name,
        path,
        files,
        bytes,
        seconds,
        downloaded,
        reused,
        ..
    } = event
    else {
        return String::new();
    };
    let fetched = downloaded.origin + downloaded.peers;
    // The rate is that of what came: what was here took no time worth telling.
    let sources = match fetched {
        0 => format!("nothing had to be fetched, {} were here", size(*reused)),
        _ => format!(
            "{} fetched at {}: {} from the origin, {} from others; {} were here",
            size(fetched),
            rate((fetched as f64 / seconds.max(0.001)) as u64),
            size(downloaded.origin),
            size(downloaded.peers),
            size(*reused),
        ),
    };
    format!(
        "{} {}: {}, {} in {seconds:.1} s\n  {sources}\n  {}",
        style.good("Complete"),
        style.bold(line(name)),
        count(*files, "file", "files"),
        size(*bytes),
        line(&path.to_string_lossy()),
    )
}

const PEER_HEAD: &[&str] = &[
    "PEER", "ADDRESS", "SCOPE", "RTT", "RECEIVED", "SENT", "CHANNELS",
];
const PEER_RIGHT: &[usize] = &[3, 4, 5];

fn peer_row(peer: &PeerStatus) -> [String; 7] {
    [
        peer.peer_id.chars().take(10).collect(),
        peer.addr.clone(),
        peer.scope.clone(),
        format!("{:.1} ms", peer.rtt_ms),
        size(peer.received),
        size(peer.sent),
        peer.channels.join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use samara_node::api::Downloaded;

    use super::*;

    #[test]
    fn a_result_says_where_the_bytes_came_from() {
        let complete = |origin, peers, reused| Event::Complete {
            channel: String::new(),
            content: String::new(),
            name: "a\u{1b}]0;x\u{7}b".into(),
            path: "/d/ab".into(),
            files: 1,
            bytes: 3 << 20,
            seconds: 2.0,
            downloaded: Downloaded { origin, peers },
            wasted: 0,
            reused,
            confirmed: true,
        };
        let mib = 1 << 20;
        assert_eq!(
            complete_text(&complete(mib, mib, mib), Style::PLAIN),
            "Complete ab: 1 file, 3.0 MiB in 2.0 s\n  \
             2.0 MiB fetched at 1.0 MB/s: 1.0 MiB from the origin, 1.0 MiB from others; \
             1.0 MiB were here\n  /d/ab"
        );
        // No rate of what took no fetching.
        assert_eq!(
            complete_text(&complete(0, 0, 3 * mib), Style::PLAIN),
            "Complete ab: 1 file, 3.0 MiB in 2.0 s\n  \
             nothing had to be fetched, 3.0 MiB were here\n  /d/ab"
        );
    }

    #[test]
    fn a_release_shows_its_notes_and_nothing_of_what_they_hide() {
        let release = |notes: &str| Event::Release {
            channel: String::new(),
            version: "2.1\u{1b}[2J".into(),
            published: "2026-11-21T10:20:30Z".into(),
            notes: notes.into(),
        };
        let text = |notes| release_text(&release(notes), Style::PLAIN);
        assert_eq!(text(" \n"), "Release 2.1, 2026-11-21 10:20 UTC");
        assert_eq!(
            text("Fixes *it*.\u{1b}]0;x\u{7}"),
            "Release 2.1, 2026-11-21 10:20 UTC\n\nFixes it.\n"
        );
    }
}
