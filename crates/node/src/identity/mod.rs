//! Identities: Ed25519 keys in the data directory, and their export under a password.

mod keystore;

use std::{
    fs,
    io::Write,
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
pub use keystore::{Keystore, MAIN, MAX_IDENTITIES, Named};

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

/// The public half.
pub fn peer_id(key: &SigningKey) -> PeerId {
    PeerId(key.verifying_key().to_bytes())
}

/// A key as one line of text, encrypted under `password` with Argon2id (RFC 9106) and
/// XChaCha20-Poly1305.
fn seal(key: &SigningKey, password: &str) -> Result<String, EngineError> {
    if password.chars().count() < MIN_PASSWORD {
        return Err(EngineError::new(
            ErrorKind::Usage,
            format!("the password needs at least {MIN_PASSWORD} characters"),
        ));
    }
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

/// The seed of a key that was sealed.
fn open(text: &str, password: &str) -> Result<[u8; 32], EngineError> {
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
    cipher(password, &salt_nonce[..SALT])?
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
        })
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
    fn an_export_opens_with_its_password_alone() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let text = seal(&key, "correct horse").unwrap();
        assert!(text.starts_with(EXPORT_PREFIX));
        assert_eq!(open(&text, "correct horse").unwrap(), [7; 32]);
        let kind = |text: &str, password: &str| open(text, password).unwrap_err().kind;
        assert_eq!(kind(&text, "correct hors3"), ErrorKind::Denied);
        for cut in 0..EXPORT_PREFIX.len() + base32().encode_len(SALT + NONCE) {
            // Damaged text never reaches the cipher as a key of its own.
            assert_eq!(
                kind(&text[..cut], "correct horse"),
                ErrorKind::Usage,
                "cut at {cut}"
            );
        }
        assert!(open(&text[..text.len() - 32], "correct horse").is_err());
        assert_eq!(seal(&key, "short").unwrap_err().kind, ErrorKind::Usage);
    }
}
