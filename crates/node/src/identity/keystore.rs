//! The identities of a data directory. One of them is who the node is; others sign
//! charters, or wait for their turn.
//!
//! ```text
//! identity.key         the identity called `main`: 32 bytes, mode 0600
//! identities/NAME.key  any other
//! identity.default     the name of the one that a node runs as; missing: `main`
//! ```
//!
//! A directory from before there were several has `identity.key` alone, and reads as
//! one identity.

use std::{
    fs,
    io::ErrorKind as IoKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use ed25519_dalek::SigningKey;
use samara_wire::PeerId;

use super::{open, peer_id, random, seal, write_secret};
use crate::{EngineError, api::ErrorKind};

/// The name of the identity that a data directory has from the beginning, in `identity.key`.
pub const MAIN: &str = "main";
/// Most identities in one keystore: names are listed and keys tried one by one.
pub const MAX_IDENTITIES: usize = 256;
/// Longest name, in bytes.
const MAX_NAME: usize = 64;
/// File name of the first identity in the data directory, mode 0600.
const KEY_FILE: &str = "identity.key";
const OTHERS: &str = "identities";
const EXTENSION: &str = "key";
const DEFAULT_FILE: &str = "identity.default";

/// The identities of one data directory.
#[derive(Debug, Clone)]
pub struct Keystore {
    dir: PathBuf,
}

/// One identity, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Under which name it is kept.
    pub name: String,
    /// Who it is.
    pub peer: PeerId,
    /// Whether a node runs as this one if nobody says otherwise.
    pub default: bool,
}

impl Keystore {
    /// The keystore of a data directory, which need not be there.
    pub fn of(data_dir: &Path) -> Self {
        Self {
            dir: data_dir.to_owned(),
        }
    }

    /// All identities, by name.
    ///
    /// # Errors
    /// Of the disk, or a key file that is none.
    pub fn list(&self) -> Result<Vec<Named>, EngineError> {
        let mut names = Vec::new();
        if self.path(MAIN).exists() {
            names.push(MAIN.to_owned());
        }
        let others = self.dir.join(OTHERS);
        match fs::read_dir(&others) {
            Ok(entries) => {
                for entry in entries {
                    let path = entry.map_err(|e| EngineError::disk(&others, &e))?.path();
                    let name = path.file_stem().and_then(|stem| stem.to_str());
                    let key = path.extension().is_some_and(|e| e == EXTENSION);
                    if let Some(name) = name.filter(|name| key && check(name).is_ok()) {
                        names.push(name.to_owned());
                    }
                }
            }
            Err(error) if error.kind() == IoKind::NotFound => {}
            Err(error) => return Err(EngineError::disk(&others, &error)),
        }
        names.sort();
        let default = self.default_name()?;
        let named = names.into_iter().map(|name| {
            Ok(Named {
                peer: peer_id(&self.load(&name)?),
                default: name == default,
                name,
            })
        });
        named.collect()
    }

    /// The name of the identity that a node runs as if nobody says otherwise.
    ///
    /// # Errors
    /// Of the disk.
    pub fn default_name(&self) -> Result<String, EngineError> {
        let path = self.dir.join(DEFAULT_FILE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let name = text.trim();
                check(name)?;
                Ok(name.to_owned())
            }
            Err(error) if error.kind() == IoKind::NotFound => Ok(MAIN.to_owned()),
            Err(error) => Err(EngineError::disk(&path, &error)),
        }
    }

    /// The key of an identity.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Disk`] if the file is no key.
    pub fn load(&self, name: &str) -> Result<SigningKey, EngineError> {
        check(name)?;
        let path = self.path(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(SigningKey::from_bytes(&bytes.try_into().map_err(
                |bytes: Vec<u8>| {
                    EngineError::new(
                        ErrorKind::Disk,
                        format!(
                            "{}: an identity has 32 bytes, this file has {}; restore it from a backup or `samara id import`",
                            path.display(),
                            bytes.len()
                        ),
                    )
                },
            )?)),
            Err(error) if error.kind() == IoKind::NotFound => Err(EngineError::new(
                ErrorKind::NotFound,
                format!("no identity is called \"{name}\" in {}; `samara id list` shows those that are, `samara id create` makes one", self.dir.display()),
            )),
            Err(error) => Err(EngineError::disk(&path, &error)),
        }
    }

    /// Who a node is: the identity asked for, else the default one. The first of a
    /// data directory is made, with fresh randomness, if there is none.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn choose(&self, asked: Option<&str>) -> Result<(String, SigningKey), EngineError> {
        let name = match asked {
            Some(name) => name.to_owned(),
            None => self.default_name()?,
        };
        let found = self.load(&name);
        let missing = found.as_ref().is_err_and(|e| e.kind == ErrorKind::NotFound);
        if missing && asked.is_none() && name == MAIN {
            self.create(MAIN)?;
            return Ok((name, self.load(MAIN)?));
        }
        Ok((name, found?))
    }

    /// Makes an identity.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`] if the name is taken; [`ErrorKind::Usage`] if it is none.
    pub fn create(&self, name: &str) -> Result<PeerId, EngineError> {
        self.check_free(name)?;
        let mut seed = [0; 32];
        random(&mut seed)?;
        self.write(name, &seed)
    }

    /// Says as which identity nodes run from now on.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn set_default(&self, name: &str) -> Result<PeerId, EngineError> {
        let peer = peer_id(&self.load(name)?);
        write_secret(&self.dir.join(DEFAULT_FILE), name.as_bytes())?;
        Ok(peer)
    }

    /// Removes an identity for good.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] for the default one; as [`load`](Self::load).
    pub fn delete(&self, name: &str) -> Result<PeerId, EngineError> {
        let peer = peer_id(&self.load(name)?);
        if name == self.default_name()? {
            return Err(EngineError::new(
                ErrorKind::Denied,
                format!(
                    "\"{name}\" is the identity that nodes run as here; make another one the default first: `samara id default NAME`"
                ),
            ));
        }
        let path = self.path(name);
        fs::remove_file(&path).map_err(|e| EngineError::disk(&path, &e))?;
        Ok(peer)
    }

    /// An identity as one line of text, encrypted under `password` with Argon2id (RFC
    /// 9106) and XChaCha20-Poly1305. Its name is no part of it.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] if the password is too short; as [`load`](Self::load).
    pub fn export(&self, name: &str, password: &str) -> Result<String, EngineError> {
        seal(&self.load(name)?, password)
    }

    /// Takes an exported identity in under a name. A different one that has the name
    /// is replaced only by `force`, and kept beside it as `NAME.key.replaced`
    /// (`.replaced-2` and so on), never destroyed.
    ///
    /// # Errors
    /// [`ErrorKind::Exists`]; [`ErrorKind::Denied`] for a wrong password.
    pub fn import(
        &self,
        name: &str,
        text: &str,
        password: &str,
        force: bool,
    ) -> Result<PeerId, EngineError> {
        check(name)?;
        let seed = open(text, password)?;
        let path = self.path(name);
        match fs::read(&path) {
            Ok(old) if old == seed => return Ok(peer_id(&SigningKey::from_bytes(&seed))),
            Ok(_) if !force => {
                return Err(taken(name, "; --force replaces it, and keeps it beside"));
            }
            Ok(_) => {
                let aside = unused_name(&path);
                fs::rename(&path, &aside).map_err(|e| EngineError::disk(&aside, &e))?;
            }
            Err(_) => self.check_free(name)?,
        }
        self.write(name, &seed)
    }

    fn check_free(&self, name: &str) -> Result<(), EngineError> {
        check(name)?;
        if self.path(name).exists() {
            return Err(taken(name, ""));
        }
        if name != MAIN && self.list()?.len() >= MAX_IDENTITIES {
            return Err(EngineError::new(
                ErrorKind::Usage,
                format!("a keystore has at most {MAX_IDENTITIES} identities"),
            ));
        }
        Ok(())
    }

    fn write(&self, name: &str, seed: &[u8; 32]) -> Result<PeerId, EngineError> {
        let path = self.path(name);
        let dir = path.parent().unwrap_or(&self.dir);
        // It may be the data directory's first: nothing in there is for others.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| EngineError::disk(dir, &e))?;
        write_secret(&path, seed)?;
        Ok(peer_id(&SigningKey::from_bytes(seed)))
    }

    fn path(&self, name: &str) -> PathBuf {
        match name {
            MAIN => self.dir.join(KEY_FILE),
            _ => self.dir.join(OTHERS).join(format!("{name}.{EXTENSION}")),
        }
    }
}

/// A name that is a file's name everywhere, and no option.
fn check(name: &str) -> Result<(), EngineError> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if begins && name.len() <= MAX_NAME && name.chars().all(allowed) {
        return Ok(());
    }
    Err(EngineError::new(
        ErrorKind::Usage,
        format!(
            "\"{}\" is no name of an identity: 1 to {MAX_NAME} letters, digits, - and _, the first one a letter or digit",
            name.escape_default()
        ),
    ))
}

fn taken(name: &str, hint: &str) -> EngineError {
    EngineError::new(
        ErrorKind::Exists,
        format!("an identity called \"{name}\" is here already{hint}"),
    )
}

/// The first name beside `path` for what is replaced that nothing has yet.
fn unused_name(path: &Path) -> PathBuf {
    let mut aside = path.with_extension("key.replaced");
    for n in 2.. {
        if !aside.exists() {
            break;
        }
        aside = path.with_extension(format!("key.replaced-{n}"));
    }
    aside
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn store() -> (tempfile::TempDir, Keystore) {
        let dir = tempfile::tempdir().unwrap();
        let keystore = Keystore::of(dir.path());
        (dir, keystore)
    }

    fn kind<T: std::fmt::Debug>(result: Result<T, EngineError>) -> ErrorKind {
        result.unwrap_err().kind
    }

    #[test]
    fn an_identity_is_made_once_and_kept_private() {
        let (dir, keys) = store();
        assert_eq!(keys.list().unwrap(), []);
        let (name, first) = keys.choose(None).unwrap();
        assert_eq!(name, MAIN);
        let again = keys.choose(None).unwrap().1;
        assert_eq!(peer_id(&first), peer_id(&again));
        keys.create("root").unwrap();
        for file in [KEY_FILE, "identities/root.key"] {
            let mode = fs::metadata(dir.path().join(file)).unwrap();
            assert_eq!(mode.permissions().mode() & 0o777, 0o600, "{file}");
        }
        let fresh = dir.path().join("fresh");
        Keystore::of(&fresh).create("root").unwrap();
        for dir in [fresh.clone(), fresh.join("identities")] {
            let mode = fs::metadata(&dir).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", dir.display());
        }
    }

    #[test]
    fn several_have_names_and_one_is_the_default() {
        let (dir, keys) = store();
        let main = peer_id(&keys.choose(None).unwrap().1);
        let root = keys.create("root-1").unwrap();
        let named = |name: &str, peer, default| Named {
            name: name.into(),
            peer,
            default,
        };
        let both = |main_is: bool| [named(MAIN, main, main_is), named("root-1", root, !main_is)];
        assert_eq!(keys.list().unwrap(), both(true));
        assert_eq!(kind(keys.delete(MAIN)), ErrorKind::Denied);
        keys.set_default("root-1").unwrap();
        assert_eq!(keys.list().unwrap(), both(false));
        assert_eq!(keys.choose(None).unwrap().0, "root-1");
        assert_eq!(peer_id(&keys.choose(Some(MAIN)).unwrap().1), main);
        assert_eq!(kind(keys.delete("root-1")), ErrorKind::Denied);
        keys.delete(MAIN).unwrap();
        assert!(!dir.path().join(KEY_FILE).exists());
        // Who is asked for by name is never made up.
        assert_eq!(kind(keys.choose(Some(MAIN))), ErrorKind::NotFound);
        assert_eq!(kind(keys.choose(Some("nobody"))), ErrorKind::NotFound);
        assert_eq!(kind(keys.set_default("nobody")), ErrorKind::NotFound);
    }

    #[test]
    fn a_name_never_leads_out_of_the_keystore() {
        let (_dir, keys) = store();
        for bad in [
            "",
            "..",
            "../x",
            "a/b",
            ".x",
            "-x",
            "a.key",
            "é",
            "a\0",
            &"a".repeat(65),
        ] {
            assert_eq!(kind(keys.create(bad)), ErrorKind::Usage, "{bad}");
            assert_eq!(kind(keys.load(bad)), ErrorKind::Usage, "{bad}");
        }
        keys.create(&"a".repeat(64)).unwrap();
        keys.create("a").unwrap();
        assert_eq!(kind(keys.create("a")), ErrorKind::Exists);
    }

    #[test]
    fn an_import_replaces_nothing_unless_told_and_destroys_nothing_then() {
        let (_here, from) = store();
        let id = from.create("signing").unwrap();
        let text = from.export("signing", "correct horse").unwrap();
        let (there, to) = store();
        let wrong = to.import(MAIN, &text, "correct hors3", false);
        assert_eq!(kind(wrong), ErrorKind::Denied);
        assert_eq!(to.list().unwrap(), []);
        let before = peer_id(&to.choose(None).unwrap().1);
        let refused = to.import(MAIN, &text, "correct horse", false);
        assert_eq!(kind(refused), ErrorKind::Exists);
        assert_eq!(peer_id(&to.load(MAIN).unwrap()), before);
        assert_eq!(to.import(MAIN, &text, "correct horse", true).unwrap(), id);
        // The same again is no replacement.
        assert_eq!(to.import(MAIN, &text, "correct horse", false).unwrap(), id);
        let other = from.create("other").unwrap();
        let text = from.export("other", "correct horse").unwrap();
        to.import(MAIN, &text, "correct horse", true).unwrap();
        assert_eq!(peer_id(&to.load(MAIN).unwrap()), other);
        let kept = |name: &str| {
            let bytes = fs::read(there.path().join(name)).unwrap();
            peer_id(&SigningKey::from_bytes(&bytes.try_into().unwrap()))
        };
        assert_eq!(kept("identity.key.replaced"), before);
        assert_eq!(kept("identity.key.replaced-2"), id);
        to.import("spare", &text, "correct horse", false).unwrap();
        assert_eq!(to.list().unwrap().len(), 2);
    }
}
