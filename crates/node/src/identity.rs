//! The node's identity: one Ed25519 key in the data directory, and its export
//! under a password.

use std::{
    fs,
    io::{ErrorKind as IoKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use ed25519_dalek::SigningKey;
use samara_wire::{PeerId, base32};

use crate::{EngineError, api::ErrorKind};

/// File name of the identity in the data directory, mode 0600.
const KEY_FILE: &str = "identity.key";
/// First word of an exported identity; names the format.
const EXPORT_PREFIX: &str = "samara-identity-1:";
/// Argon2id memory in KiB: 64 MiB (RFC 9106 section 4, second recommended option).
const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
/// Argon2id passes (RFC 9106 section 4).
const ARGON2_PASSES: u32 = 3;
/// Argon2id lanes (RFC 9106 section 4).
const ARGON2_LANES: u32 = 4;
/// Shortest password that an export accepts, in characters.
const MIN_PASSWORD: usize = 8;
const SALT: usize = 16;
const NONCE: usize = 24;

/// The identity of a data directory; made, with fresh randomness, if there is none.
pub fn load_or_create(data_dir: &Path) -> Result<SigningKey, EngineError> {
    let path = data_dir.join(KEY_FILE);
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
        Err(error) if error.kind() == IoKind::NotFound => {
            let mut seed = [0; 32];
            random(&mut seed)?;
            write_secret(&path, &seed)?;
            Ok(SigningKey::from_bytes(&seed))
        }
        Err(error) => Err(EngineError::disk(&path, &error)),
    }
}

/// The public half.
pub fn peer_id(key: &SigningKey) -> PeerId {
    PeerId(key.verifying_key().to_bytes())
}

/// The identity of `data_dir` as one line of text, encrypted under `password`
/// with Argon2id (RFC 9106) and XChaCha20-Poly1305.
pub fn export(data_dir: &Path, password: &str) -> Result<String, EngineError> {
    if password.chars().count() < MIN_PASSWORD {
        return Err(EngineError::new(
            ErrorKind::Usage,
            format!("the password needs at least {MIN_PASSWORD} characters"),
        ));
    }
    let key = load_or_create(data_dir)?;
    let mut salt_nonce = [0; SALT + NONCE];
    random(&mut salt_nonce)?;
    let sealed = cipher(password, &salt_nonce[..SALT])?
        .encrypt(
            &salt_nonce[SALT..].try_into().expect("24 bytes"),
            Payload {
                msg: key.as_bytes(),
                aad: EXPORT_PREFIX.as_bytes(),
            },
        )
        .map_err(|_| EngineError::new(ErrorKind::Internal, "the identity cannot be encrypted"))?;
    let token = [&salt_nonce[..], &sealed].concat();
    Ok(format!("{EXPORT_PREFIX}{}", base32().encode(&token)))
}

/// Makes an exported identity the one of `data_dir`. An existing different
/// identity is kept beside it as `identity.key.replaced` (`.replaced-2` and so
/// on), never destroyed.
pub fn import(data_dir: &Path, text: &str, password: &str) -> Result<PeerId, EngineError> {
    let damaged = || {
        EngineError::new(
            ErrorKind::Usage,
            "this is not an exported identity, or part of it is missing",
        )
    };
    let token = text
        .trim()
        .strip_prefix(EXPORT_PREFIX)
        .and_then(|t| base32().decode(t.as_bytes()).ok())
        .ok_or_else(damaged)?;
    let (salt_nonce, sealed) = token.split_at_checked(SALT + NONCE).ok_or_else(damaged)?;
    let seed: [u8; 32] = cipher(password, &salt_nonce[..SALT])?
        .decrypt(
            &salt_nonce[SALT..].try_into().expect("24 bytes"),
            Payload {
                msg: sealed,
                aad: EXPORT_PREFIX.as_bytes(),
            },
        )
        .ok()
        .and_then(|seed| seed.try_into().ok())
        .ok_or_else(|| {
            EngineError::new(
                ErrorKind::Denied,
                "wrong password, or the exported identity was changed",
            )
        })?;
    let path = data_dir.join(KEY_FILE);
    fs::create_dir_all(data_dir).map_err(|e| EngineError::disk(data_dir, &e))?;
    match fs::read(&path) {
        Ok(old) if old == seed => {}
        Ok(_) => {
            let aside = unused_name(&path);
            fs::rename(&path, &aside).map_err(|e| EngineError::disk(&aside, &e))?;
            write_secret(&path, &seed)?;
        }
        Err(_) => write_secret(&path, &seed)?,
    }
    Ok(peer_id(&SigningKey::from_bytes(&seed)))
}

/// The first name beside `path` for what is replaced that nothing has yet.
fn unused_name(path: &Path) -> std::path::PathBuf {
    let mut aside = path.with_extension("key.replaced");
    for n in 2.. {
        if !aside.exists() {
            break;
        }
        aside = path.with_extension(format!("key.replaced-{n}"));
    }
    aside
}

/// The token of the local API: read, or made and written with mode 0600.
pub fn api_token(data_dir: &Path) -> Result<String, EngineError> {
    let path = data_dir.join("token");
    if let Ok(token) = fs::read_to_string(&path) {
        let token = token.trim();
        if token.len() >= 32 {
            return Ok(token.to_owned());
        }
    }
    let mut raw = [0; 20];
    random(&mut raw)?;
    let token = base32().encode(&raw);
    write_secret(&path, token.as_bytes())?;
    Ok(token)
}

/// Fills `out` from the operating system.
pub(crate) fn random(out: &mut [u8]) -> Result<(), EngineError> {
    getrandom::fill(out).map_err(|e| {
        EngineError::new(
            ErrorKind::Internal,
            format!("the operating system gives no random numbers: {e}"),
        )
    })
}

fn cipher(password: &str, salt: &[u8]) -> Result<XChaCha20Poly1305, EngineError> {
    let internal = |e: argon2::Error| EngineError::new(ErrorKind::Internal, format!("Argon2: {e}"));
    let params =
        Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, ARGON2_LANES, Some(32)).map_err(internal)?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut key)
        .map_err(internal)?;
    Ok(XChaCha20Poly1305::new(&key.into()))
}

/// Writes beside, syncs, renames: the file is whole or not there.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let fresh = path.with_extension("new");
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|e| EngineError::disk(path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path()).unwrap();
        let again = load_or_create(dir.path()).unwrap();
        assert_eq!(peer_id(&first), peer_id(&again));
        let mode = fs::metadata(dir.path().join(KEY_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_export_opens_with_its_password_alone() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = peer_id(&load_or_create(here.path()).unwrap());
        let text = export(here.path(), "correct horse").unwrap();
        assert!(text.starts_with(EXPORT_PREFIX));
        assert_eq!(
            import(there.path(), &text, "correct hors3")
                .unwrap_err()
                .kind,
            ErrorKind::Denied
        );
        assert!(!there.path().join(KEY_FILE).exists());
        let before = peer_id(&load_or_create(there.path()).unwrap());
        assert_eq!(import(there.path(), &text, "correct horse").unwrap(), id);
        assert_eq!(peer_id(&load_or_create(there.path()).unwrap()), id);
        let aside = fs::read(there.path().join("identity.key.replaced")).unwrap();
        assert_eq!(
            peer_id(&SigningKey::from_bytes(&aside.try_into().unwrap())),
            before
        );
        // A second import keeps what the first one replaced, and what it replaces.
        let third = tempfile::tempdir().unwrap();
        load_or_create(third.path()).unwrap();
        let other = export(third.path(), "correct horse").unwrap();
        import(there.path(), &other, "correct horse").unwrap();
        let kept = |name: &str| {
            fs::read(there.path().join(name))
                .unwrap()
                .try_into()
                .unwrap()
        };
        let first = SigningKey::from_bytes(&kept("identity.key.replaced"));
        let second = SigningKey::from_bytes(&kept("identity.key.replaced-2"));
        assert_eq!((peer_id(&first), peer_id(&second)), (before, id));
        for cut in 0..text.len() {
            // Damaged text never reaches the cipher as a key of its own.
            if cut < EXPORT_PREFIX.len() + base32().encode_len(SALT + NONCE) {
                let kind = import(there.path(), &text[..cut], "correct horse")
                    .unwrap_err()
                    .kind;
                assert_eq!(kind, ErrorKind::Usage, "cut at {cut}");
            }
        }
        assert!(import(there.path(), &text[..text.len() - 32], "correct horse").is_err());
        assert_eq!(
            export(here.path(), "short").unwrap_err().kind,
            ErrorKind::Usage
        );
    }
}
