//! From a command to the engine's request, and to how it must be run.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::Path,
    time::Duration,
};

use data_encoding::BASE64;
use samara_node::{EngineError, Mode, api::Request};

use crate::{
    cli::{ChannelCommand, Command, Follow, KeepOld, RecordCommand},
    settings::{absolute, usage},
};

/// Largest text file that goes into a request (notes, an issue's Markdown). The
/// engine has its own, tighter limits; this one is against reading a disk image.
const MAX_TEXT_BYTES: u64 = 2 << 20;

/// How much is read of a body, and what to say of a larger one.
struct BodyBound {
    bytes: usize,
    what: &'static str,
    instead: &'static str,
}

/// The engine's limit of a record, which counts the rest of it as well.
const RECORD_BODY: BodyBound = BodyBound {
    bytes: 64 << 10,
    what: "a record has",
    instead: "content, to be published",
};

/// The engine's limit of what is told.
const WORDS: BodyBound = BodyBound {
    bytes: samara_node::limits::MAX_WORDS,
    what: "a member can be told",
    instead: "a record (`samara record put`), or content, to be published",
};

/// Where a charter's draft goes if nobody says.
const DRAFT_NAME: &str = "new.charter";

/// What is to be done, by whoever does it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) request: Request,
    /// What an engine in this process needs, if no node runs.
    pub(crate) mode: Mode,
    /// Whether it goes on until interrupted, so that an interruption is success.
    pub(crate) endless: bool,
    /// Whether a link is to be drawn as a QR code, too.
    pub(crate) qr: bool,
    /// Whether a file's bytes go to standard output.
    pub(crate) stdout: bool,
}

impl Plan {
    /// The request of a command; `None` for those that are more than a request
    /// (`node`, `demo`, `channel sign`, those of `id`).
    pub(crate) fn of(command: &Command) -> Result<Option<Self>, EngineError> {
        let of = |request: Request| Ok(Some(Self::from(request)));
        match command.clone() {
            Command::Share { path, portable, .. } => {
                let path = absolute(&path)?;
                of(Request::Share { path, portable })
            }
            Command::Ls { link } => of(Request::Ls { link }),
            Command::Get {
                link,
                output,
                only,
                seed,
                force,
                in_order,
                stdout,
                ..
            } => {
                let into = absolute(&output)?;
                let request = Request::Get {
                    link,
                    into,
                    only,
                    seed,
                    force,
                    in_order: in_order || stdout,
                    file_only: stdout,
                };
                Ok(Some(Self {
                    stdout,
                    ..Self::from(request)
                }))
            }
            Command::Subscribe { follow } => Self::follow(follow, None),
            Command::Mirror { follow, keep } => Self::follow(follow, Some(keep)),
            Command::Unsubscribe { channel } => of(Request::Unsubscribe { channel }),
            Command::Read { channel, issue } => of(Request::Read { channel, issue }),
            Command::Channel(ChannelCommand::Create { name, private }) => {
                of(Request::ChannelCreate { name, private })
            }
            Command::Invite {
                channel,
                role,
                expires,
                member_for,
                uses,
                qr,
            } => {
                let expires_ms = expires.map(millis);
                let member_ms = member_for.map(millis);
                let invite = Request::Invite {
                    channel,
                    role,
                    expires_ms,
                    member_ms,
                    uses,
                };
                Ok(Some(Self::drawn(invite, qr)))
            }
            Command::Join { link, into } => {
                let into = into.as_deref().map(absolute).transpose()?;
                of(Request::Join { link, into })
            }
            Command::Members { channel } => of(Request::Members { channel }),
            Command::Revoke {
                channel,
                peer,
                erase,
                pardon,
                invitation,
            } => of(Request::Revoke {
                channel,
                peer,
                erase,
                pardon,
                invitation,
            }),
            Command::Role {
                channel,
                peer,
                role,
                expires,
            } => of(Request::Role {
                channel,
                peer,
                role,
                expires_ms: expires.map(millis),
            }),
            Command::Leave { channel } => of(Request::Leave { channel }),
            Command::Channel(ChannelCommand::List) => of(Request::ChannelList),
            Command::Channel(ChannelCommand::Show { channel }) => of(Request::Charter { channel }),
            Command::Channel(ChannelCommand::Edit {
                channel,
                change,
                draft,
            }) => {
                let only_draft = draft.is_some();
                let file = draft.unwrap_or_else(|| DRAFT_NAME.into());
                of(Request::CharterEdit {
                    channel,
                    change: Box::new((*change).into()),
                    file: absolute(&file)?,
                    only_draft,
                })
            }
            Command::Channel(ChannelCommand::Apply { file }) => of(Request::CharterApply {
                file: absolute(&file)?,
            }),
            Command::Channel(ChannelCommand::Choose { channel, hash }) => {
                of(Request::CharterChoose { channel, hash })
            }
            Command::Link { channel, qr } => Ok(Some(Self::drawn(Request::Link { channel }, qr))),
            Command::Publish {
                channel,
                path,
                version,
                notes,
                portable,
                priority,
                parity,
            } => of(Request::Publish {
                channel,
                path: absolute(&path)?,
                version,
                notes: notes.as_deref().map(read_text).transpose()?,
                portable,
                priority,
                parity,
            }),
            Command::Unpublish { channel, version } => of(Request::Unpublish { channel, version }),
            Command::Post {
                channel,
                file,
                subject,
                attach,
            } => of(Request::Post {
                channel,
                subject,
                body: read_text(&file)?,
                attach: attach
                    .iter()
                    .map(|path| absolute(path))
                    .collect::<Result<_, _>>()?,
            }),
            Command::Records {
                channel,
                filter,
                bodies,
            } => of(Request::Records {
                channel,
                filter,
                bodies,
            }),
            Command::Record(RecordCommand::Put {
                channel,
                kind,
                key,
                attributes,
                expires,
                priority,
                file,
            }) => {
                let mut by_name = BTreeMap::new();
                for (name, attribute) in attributes {
                    if by_name.insert(name.clone(), attribute).is_some() {
                        return Err(usage(format!("--attr {name} is given twice")));
                    }
                }
                of(Request::RecordPut {
                    channel,
                    kind,
                    key,
                    attributes: by_name,
                    lifetime_ms: expires.map(|time| time.as_millis() as u64),
                    priority,
                    body: BASE64.encode(&read_body(&file, &RECORD_BODY)?),
                })
            }
            Command::Record(RecordCommand::Retract { channel, kind, key }) => {
                of(Request::RecordRetract { channel, kind, key })
            }
            Command::Record(RecordCommand::Get {
                channel,
                record,
                output,
            }) => of(Request::RecordGet {
                channel,
                record,
                output: output.as_deref().map(absolute).transpose()?,
            }),
            Command::Export {
                channel,
                file,
                with_content,
            } => of(Request::Export {
                channel,
                file: absolute(&file)?,
                with_content,
            }),
            Command::Import { file } => of(Request::Import {
                file: absolute(&file)?,
            }),
            Command::Watch { channel, since } => of(Request::Watch { channel, since }),
            Command::Tell {
                channel,
                peer,
                file,
            } => of(Request::Tell {
                channel,
                peer,
                body: BASE64.encode(&read_body(&file, &WORDS)?),
            }),
            Command::Status => of(Request::Status),
            Command::Peers => of(Request::Peers),
            Command::Explain { what } => of(Request::Explain { what }),
            Command::Limit(args) => of(Request::Limit(args.order())),
            Command::Pause { what } => of(Request::Pause { what }),
            Command::Resume { what } => of(Request::Resume { what }),
            Command::Resolve { what, scope, count } => of(Request::Resolve { what, scope, count }),
            Command::Gc { dry_run } => of(Request::Gc { dry_run }),
            Command::Forget { what } => of(Request::Forget { what }),
            Command::Id { action: None } => of(Request::Id),
            Command::Id { action: Some(_) }
            | Command::Channel(ChannelCommand::Sign { .. })
            | Command::Node { .. }
            | Command::Demo { .. } => Ok(None),
        }
    }

    fn drawn(request: Request, qr: bool) -> Self {
        Self {
            qr,
            ..Self::from(request)
        }
    }

    fn follow(follow: Follow, mirror: Option<KeepOld>) -> Result<Option<Self>, EngineError> {
        let Follow {
            link,
            into,
            once,
            wait,
            ..
        } = follow;
        Ok(Some(Self::from(Request::Subscribe {
            link,
            into: into.as_deref().map(absolute).transpose()?,
            once,
            wait,
            mirror: mirror.is_some(),
            keep_share: mirror == Some(KeepOld::Share),
        })))
    }
}

impl From<Request> for Plan {
    fn from(request: Request) -> Self {
        let mode = match request.needs_peers() {
            true => Mode::Online,
            false => Mode::Offline,
        };
        Self {
            mode,
            // Seeding is over when the content has come: until then it can fail.
            endless: request.is_endless() && !matches!(request, Request::Get { .. }),
            request,
            qr: false,
            stdout: false,
        }
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}

/// The body of a record or what is told, of a file or of standard input.
fn read_body(path: &Path, bound: &BodyBound) -> Result<Vec<u8>, EngineError> {
    let say = |what: String| usage(format!("{}: {what}", path.display()));
    let mut body = Vec::new();
    let most = bound.bytes as u64 + 1;
    let read = match path == Path::new("-") {
        true => io::stdin().take(most).read_to_end(&mut body),
        false => File::open(path).and_then(|f| f.take(most).read_to_end(&mut body)),
    };
    read.map_err(|e| say(e.to_string()))?;
    match body.len() > bound.bytes {
        true => Err(say(format!(
            "{} at most {} bytes; what is larger is {}",
            bound.what, bound.bytes, bound.instead
        ))),
        false => Ok(body),
    }
}

fn read_text(path: &Path) -> Result<String, EngineError> {
    let say = |what: String| usage(format!("{}: {what}", path.display()));
    let length = fs::metadata(path).map_err(|e| say(e.to_string()))?.len();
    if length > MAX_TEXT_BYTES {
        return Err(say(format!(
            "{length} bytes are more than a text may have ({MAX_TEXT_BYTES})"
        )));
    }
    let bytes = fs::read(path).map_err(|e| say(e.to_string()))?;
    String::from_utf8(bytes).map_err(|_| say("not UTF-8 text".to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn plan(line: &str) -> Result<Option<Plan>, EngineError> {
        Plan::of(&Cli::try_parse_from(line.split(' ')).unwrap().command)
    }

    #[test]
    fn paths_are_absolute_whoever_carries_them_out() {
        let here = std::env::current_dir().unwrap();
        let request = |line| plan(line).unwrap().unwrap().request;
        assert_eq!(
            request("samara share x"),
            Request::Share {
                path: here.join("x"),
                portable: false
            }
        );
        let Request::Get { into, .. } = request("samara get l") else {
            panic!()
        };
        assert_eq!(into, here);
        let Request::Subscribe { into, .. } = request("samara mirror l --into a/../b") else {
            panic!()
        };
        assert_eq!(into, Some(here.join("a/../b")));
    }

    #[test]
    fn only_what_needs_peers_goes_online() {
        for (line, mode, endless) in [
            ("samara share x", Mode::Online, true),
            ("samara ls l", Mode::Online, false),
            ("samara get l", Mode::Online, false),
            ("samara subscribe l", Mode::Offline, false),
            ("samara subscribe l --once", Mode::Online, false),
            ("samara subscribe l --wait", Mode::Online, true),
            ("samara mirror l", Mode::Offline, false),
            ("samara publish c x", Mode::Offline, false),
            ("samara link c", Mode::Offline, false),
            ("samara leave c", Mode::Online, false),
            ("samara status", Mode::Offline, false),
            ("samara read", Mode::Offline, false),
            (
                "samara resolve c --scope lan --count 3",
                Mode::Online,
                false,
            ),
        ] {
            let plan = plan(line).unwrap().unwrap();
            assert_eq!((plan.mode, plan.endless), (mode, endless), "{line}");
        }
        assert_eq!(plan("samara node").unwrap(), None);
    }

    #[test]
    fn what_is_too_large_to_be_told_is_not_called_a_record() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("words");
        let body = |command: &str, bytes: usize| {
            fs::write(&file, vec![b'x'; bytes]).unwrap();
            plan(&format!("samara {command} {}", file.display())).map(|plan| plan.is_some())
        };
        let most = samara_node::limits::MAX_WORDS;
        assert_eq!(most, 4_000);
        assert!(body("tell c p", most).unwrap());
        for bytes in [most + 1, 70_000] {
            let said = body("tell c p", bytes).unwrap_err().message;
            assert!(said.contains("can be told at most 4000 bytes"), "{said}");
            assert!(said.contains("record put"), "{said}");
        }
        let put = "record put c --kind 70000";
        assert!(body(put, 64 << 10).unwrap());
        let said = body(put, (64 << 10) + 1).unwrap_err().message;
        assert!(said.contains("a record has at most 65536 bytes"), "{said}");
    }

    #[test]
    fn texts_are_read_here_and_mistakes_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.md");
        fs::write(&path, "# Hi").unwrap();
        let line = format!("samara post c {} --attach x", path.display());
        let Request::Post { body, attach, .. } = plan(&line).unwrap().unwrap().request else {
            panic!()
        };
        assert_eq!(body, "# Hi");
        assert!(attach[0].is_absolute());

        fs::write(&path, [0xff]).unwrap();
        assert!(plan(&line).unwrap_err().message.contains("UTF-8"));
        fs::write(&path, vec![b'x'; MAX_TEXT_BYTES as usize]).unwrap();
        assert!(plan(&line).is_ok());
        fs::write(&path, vec![b'x'; MAX_TEXT_BYTES as usize + 1]).unwrap();
        assert!(plan(&line).is_err());
        let missing = format!("samara post c {}", dir.path().join("no.md").display());
        assert!(plan(&missing).unwrap_err().message.contains("no.md"));
    }
}
