//! `samara id export` and `samara id import`.

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
    control, identity,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::IdCommand,
    report::write_line,
    settings::{Settings, usage},
};

/// Ctrl-C as a character.
const INTERRUPT: u8 = 3;
/// Larger than any export; smaller than what a wrong file may be.
const MAX_EXPORT_BYTES: u64 = 64 << 10;

pub(crate) async fn run(settings: &Settings, command: &IdCommand) -> Result<(), EngineError> {
    let dir = &settings.node.data_dir;
    match command {
        IdCommand::Export {
            file,
            password_file,
        } => {
            let password = password(password_file.as_deref(), true)?;
            let text = identity::export(dir, &password)?;
            write_secret(file, &text)?;
            tell(settings, file, "exported", None)
        }
        IdCommand::Import {
            file,
            password_file,
        } => {
            refuse_while_running(dir).await?;
            let fail = |error: io::Error| usage(format!("{}: {error}", file.display()));
            if fs::metadata(file).map_err(fail)?.len() > MAX_EXPORT_BYTES {
                return Err(usage(format!(
                    "{}: not an exported identity",
                    file.display()
                )));
            }
            let text = fs::read_to_string(file).map_err(fail)?;
            let password = password(password_file.as_deref(), false)?;
            let peer_id = identity::import(dir, text.trim(), &password)?;
            tell(settings, file, "imported", Some(peer_id.to_string()))
        }
    }
}

/// A running node has its identity in memory and would go on with the old one.
async fn refuse_while_running(dir: &Path) -> Result<(), EngineError> {
    let asked = Asked::new(Request::Id)?;
    let Some(mut events) = control::ask(dir, &asked, CancellationToken::new()).await else {
        return Ok(());
    };
    match events.recv().await {
        None | Some(Event::Error { .. } | Event::Moved) => Ok(()),
        Some(_) => Err(EngineError {
            kind: ErrorKind::Locked,
            message: format!(
                "a node runs on {}; stop it before the import",
                dir.display()
            ),
        }),
    }
}

fn tell(
    settings: &Settings,
    file: &Path,
    what: &str,
    peer_id: Option<String>,
) -> Result<(), EngineError> {
    let told = if settings.json {
        write_line(&match &peer_id {
            Some(peer_id) => json!({"event": what, "peer_id": peer_id}),
            None => json!({"event": what, "file": file.to_string_lossy()}),
        })
    } else {
        let text = match &peer_id {
            Some(peer_id) => format!("This node is now {peer_id}"),
            None => format!(
                "The identity is in {}; keep it and its password safe",
                file.display()
            ),
        };
        writeln!(io::stdout(), "{text}")
    };
    told.map_err(|error| usage(format!("cannot write to standard output: {error}")))
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
