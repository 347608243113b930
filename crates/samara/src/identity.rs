//! What is done with identities where no node is needed: `samara id`, and signing
//! charters.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use samara_node::{
    Asked, EngineError,
    api::{ErrorKind, Event, Request},
    charter, control,
    identity::{Keystore, Named, peer_id},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::IdCommand,
    report::{draft_text, write_line},
    settings::{Settings, usage},
    terminal::{Style, Table},
};

/// Ctrl-C as a character.
const INTERRUPT: u8 = 3;
/// Larger than any export; smaller than what a wrong file may be.
const MAX_EXPORT_BYTES: u64 = 64 << 10;

pub(crate) async fn run(settings: &Settings, command: &IdCommand) -> Result<(), EngineError> {
    let dir = &settings.node.data_dir;
    let keys = Keystore::of(dir);
    let name_or_default = |name: &Option<String>| match name {
        Some(name) => Ok(name.clone()),
        None => keys.default_name(),
    };
    match command {
        IdCommand::List => list(settings, &keys),
        IdCommand::Create { name } => {
            let peer = keys.create(name)?;
            tell(
                settings,
                &json!({"event": "id", "peer_id": peer.to_string(), "name": name}),
                &peer.to_string(),
            )
        }
        IdCommand::Default { name } => {
            refuse_while_running(dir, "stop it first").await?;
            let peer = keys.set_default(name)?;
            tell(
                settings,
                &json!({"event": "id", "peer_id": peer.to_string(), "name": name}),
                &format!("This node is now {peer}"),
            )
        }
        IdCommand::Delete { name } => {
            let peer = peer_id(&keys.load(name)?);
            if running(dir).await == Some(peer.to_string()) {
                return Err(locked(dir, "runs as this identity; stop it first"));
            }
            keys.delete(name)?;
            tell(
                settings,
                &json!({"event": "deleted", "peer_id": peer.to_string(), "name": name}),
                &format!("Deleted {name}: {peer}"),
            )
        }
        IdCommand::Export {
            file,
            name,
            password_file,
        } => {
            let name = name_or_default(name)?;
            // One that is made only now is of no use in a file.
            keys.load(&name)?;
            let password = password(password_file.as_deref(), true)?;
            write_secret(file, &keys.export(&name, &password)?)?;
            tell(
                settings,
                &json!({"event": "exported", "file": file.to_string_lossy(), "name": name}),
                &format!(
                    "The identity {name} is in {}; keep it and its password safe",
                    file.display()
                ),
            )
        }
        IdCommand::Import {
            file,
            name,
            force,
            password_file,
        } => {
            let name = name_or_default(name)?;
            let is_default = name == keys.default_name()?;
            if is_default {
                refuse_while_running(dir, "stop it before the import").await?;
            }
            let fail = |error: io::Error| usage(format!("{}: {error}", file.display()));
            if fs::metadata(file).map_err(fail)?.len() > MAX_EXPORT_BYTES {
                return Err(usage(format!(
                    "{}: not an exported identity",
                    file.display()
                )));
            }
            let text = fs::read_to_string(file).map_err(fail)?;
            let password = password(password_file.as_deref(), false)?;
            let peer = keys.import(&name, text.trim(), &password, *force)?;
            let said = match is_default {
                true => format!("This node is now {peer}"),
                false => format!("{name} is {peer}"),
            };
            tell(
                settings,
                &json!({"event": "imported", "peer_id": peer.to_string(), "name": name}),
                &said,
            )
        }
    }
}

fn list(settings: &Settings, keys: &Keystore) -> Result<(), EngineError> {
    let all = keys.list()?;
    if settings.json {
        for named in all {
            let Named {
                name,
                peer,
                default,
            } = named;
            let row = json!({"event": "id", "peer_id": peer.to_string(), "name": name, "default": default});
            tell(settings, &row, "")?;
        }
        return Ok(());
    }
    if all.is_empty() {
        eprintln!("No identity yet; the first command that needs one makes it.");
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "ID", ""], &[]);
    for named in all {
        let default = if named.default { "default" } else { "" };
        table.row([named.name, named.peer.to_string(), default.to_owned()]);
    }
    tell(
        settings,
        &json!(null),
        table.render(Style::of_stdout()).trim_end(),
    )
}

/// Signs the draft of a charter with an identity of this machine.
pub(crate) fn sign(settings: &Settings, file: &Path, show: bool) -> Result<(), EngineError> {
    let draft = match show {
        true => charter::show_draft(file)?,
        false => {
            let keys = Keystore::of(&settings.node.data_dir);
            let name = match &settings.node.identity {
                Some(name) => name.clone(),
                None => keys.default_name()?,
            };
            charter::sign_draft(file, &keys.load(&name)?)?
        }
    };
    let event = Event::CharterDraft(Box::new(draft));
    let written = match settings.json {
        true => write_line(&event),
        false => write_out(&draft_text(&event, Style::of_stdout())),
    };
    written.map_err(unwritable)
}

/// An identity was asked for by name: a node that runs as another one cannot answer.
pub(crate) async fn refuse_another(settings: &Settings) -> Result<(), EngineError> {
    let dir = &settings.node.data_dir;
    let keys = Keystore::of(dir);
    let (name, key) = keys.choose(settings.node.identity.as_deref())?;
    match running(dir).await {
        Some(peer) if peer != peer_id(&key).to_string() => Err(locked(
            dir,
            &format!("runs as {peer}, not as {name}; stop it first, or leave --identity out"),
        )),
        _ => Ok(()),
    }
}

/// Who the node that runs on a data directory is.
async fn running(dir: &Path) -> Option<String> {
    let asked = Asked::new(Request::Id).ok()?;
    let mut events = control::ask(dir, &asked, CancellationToken::new()).await?;
    match events.recv().await {
        Some(Event::Id { peer_id }) => Some(peer_id),
        _ => None,
    }
}

/// A running node has its identity in memory and would go on with the old one.
async fn refuse_while_running(dir: &Path, what: &str) -> Result<(), EngineError> {
    match running(dir).await {
        Some(_) => Err(locked(dir, &format!("runs here; {what}"))),
        None => Ok(()),
    }
}

fn locked(dir: &Path, what: &str) -> EngineError {
    EngineError {
        kind: ErrorKind::Locked,
        message: format!("{}: a node {what}", dir.display()),
    }
}

fn tell(settings: &Settings, event: &serde_json::Value, text: &str) -> Result<(), EngineError> {
    let told = match settings.json {
        true => write_line(event),
        false => write_out(text),
    };
    told.map_err(unwritable)
}

fn write_out(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

fn unwritable(error: io::Error) -> EngineError {
    usage(format!("cannot write to standard output: {error}"))
}

fn write_secret(path: &Path, text: &str) -> Result<(), EngineError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            writeln!(file, "{text}")?;
            file.sync_all()
        });
    written.map_err(|error| EngineError {
        kind: match error.kind() {
            io::ErrorKind::AlreadyExists => ErrorKind::Exists,
            _ => ErrorKind::Disk,
        },
        message: match error.kind() {
            io::ErrorKind::AlreadyExists => format!(
                "{} exists already and is not written over; remove it, or name another file",
                path.display()
            ),
            _ => format!("{}: {error}", path.display()),
        },
    })
}

fn password(file: Option<&Path>, twice: bool) -> Result<String, EngineError> {
    if let Some(path) = file {
        let text = fs::read_to_string(path)
            .map_err(|error| usage(format!("{}: {error}", path.display())))?;
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    let first = prompt("Password: ")?;
    if twice && prompt("The same again: ")? != first {
        return Err(usage("the passwords differ"));
    }
    Ok(first)
}

/// Asks on the terminal, without showing what is typed.
fn prompt(question: &str) -> Result<String, EngineError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return Err(usage(
            "no terminal to ask for the password on; use --password-file",
        ));
    }
    let fail = |error: io::Error| usage(format!("cannot ask for the password: {error}"));
    let before = tcgetattr(&stdin).map_err(|error| fail(error.into()))?;
    let mut quiet = before.clone();
    // Ctrl-C must not leave a terminal behind that shows nothing: it comes as a
    // character that ends the line, and the terminal is set back first.
    quiet
        .local_modes
        .remove(LocalModes::ECHO | LocalModes::ISIG);
    quiet.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
    tcsetattr(&stdin, OptionalActions::Flush, &quiet).map_err(|error| fail(error.into()))?;
    let asked = write!(io::stderr(), "{question}").and_then(|()| io::stderr().flush());
    let mut typed = Vec::new();
    let read = asked.and_then(|()| stdin.lock().read_until_either(&mut typed));
    let restored = tcsetattr(&stdin, OptionalActions::Flush, &before);
    let _ = writeln!(io::stderr());
    read.map_err(fail)?;
    restored.map_err(|error| fail(error.into()))?;
    if typed.pop() == Some(INTERRUPT) {
        return Err(EngineError {
            kind: ErrorKind::Interrupted,
            message: "interrupted".to_owned(),
        });
    }
    String::from_utf8(typed).map_err(|_| usage("the password is not UTF-8 text"))
}

trait ReadPassword {
    /// Up to a line break or Ctrl-C, that included.
    fn read_until_either(&mut self, into: &mut Vec<u8>) -> io::Result<()>;
}

impl<R: BufRead> ReadPassword for R {
    fn read_until_either(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let buffer = self.fill_buf()?;
            if buffer.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let end = buffer.iter().position(|&b| b == b'\n' || b == INTERRUPT);
            let taken = end.map_or(buffer.len(), |at| at + 1);
            into.extend_from_slice(&buffer[..taken]);
            self.consume(taken);
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_for_its_owner_and_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("id");
        write_secret(&path, "x").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            write_secret(&path, "y").unwrap_err().kind,
            ErrorKind::Exists
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "x\n");
    }

    #[test]
    fn the_password_is_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p");
        fs::write(&path, "correct horse\r\nbattery\n").unwrap();
        assert_eq!(password(Some(&path), true).unwrap(), "correct horse");
    }

    #[test]
    fn typing_ends_at_enter_or_at_the_interrupt() {
        let mut typed = Vec::new();
        (&b"secret\nrest"[..])
            .read_until_either(&mut typed)
            .unwrap();
        assert_eq!(typed, b"secret\n");
        typed.clear();
        (&b"sec\x03"[..]).read_until_either(&mut typed).unwrap();
        assert_eq!(typed, b"sec\x03");
        assert!((&b"sec"[..]).read_until_either(&mut typed).is_err());
    }
}
