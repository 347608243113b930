use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use samara_wire::PeerId;
use thiserror::Error;

/// An Ed25519 signature (RFC 8032), 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}

/// What a signature is about. Its tag goes in front of the signed bytes, so that
/// a signature over one kind of thing never passes for one over another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Domain {
    /// A charter's body.
    Charter,
    /// A record, all bytes before its signature.
    Record,
    /// A peer's addresses.
    Address,
    /// An invitation's one-time key lets a joiner in.
    Redemption,
    /// A file with a whole channel: BLAKE3 of all before the signature.
    Bundle,
}

impl Domain {
    /// The bytes in front of what is signed; no tag is a prefix of another.
    pub fn tag(self) -> &'static [u8] {
        match self {
            Self::Charter => b"samara charter v1\0",
            Self::Record => b"samara record v1\0",
            Self::Address => b"samara address v1\0",
            Self::Redemption => b"samara redemption v1\0",
            Self::Bundle => b"samara bundle v1\0",
        }
    }

    fn message(self, bytes: &[u8]) -> Vec<u8> {
        [self.tag(), bytes].concat()
    }
}

/// The signature does not belong to this key and these bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the signature is not this key's over these bytes")]
pub struct BadSignature;

/// The private half of an identity. Wiped from memory when dropped; never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key that `seed` stands for (RFC 8032 section 5.1.5); the seed must come
    /// from a cryptographic random source, and is the thing to keep.
    pub fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for storing it.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half: who this identity is.
    pub fn peer_id(&self) -> PeerId {
        PeerId(self.0.verifying_key().to_bytes())
    }

    /// Signs `bytes` as a thing of `domain`. The same bytes give the same signature.
    pub fn sign(&self, domain: Domain, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(&domain.message(bytes)).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.peer_id())
    }
}

/// Checks that `peer` signed `bytes` as a thing of `domain`.
///
/// Strict verification: keys of small order and non-canonical scalars are refused,
/// so nobody but the signer can make a second signature over the same bytes.
pub fn verify(
    peer: &PeerId,
    domain: Domain,
    bytes: &[u8],
    signature: &Signature,
) -> Result<(), BadSignature> {
    VerifyingKey::from_bytes(peer.as_bytes())
        .and_then(|key| {
            let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
            key.verify_strict(&domain.message(bytes), &signature)
        })
        .map_err(|_| BadSignature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_domain_one_key_and_one_text() {
        let key = SecretKey::from_bytes(&[7; 32]);
        let other = SecretKey::from_bytes(&[8; 32]);
        let s = key.sign(Domain::Record, b"abc");
        assert_eq!(verify(&key.peer_id(), Domain::Record, b"abc", &s), Ok(()));
        for (peer, domain, text) in [
            (key.peer_id(), Domain::Charter, &b"abc"[..]),
            (key.peer_id(), Domain::Record, b"abd"),
            (other.peer_id(), Domain::Record, b"abc"),
        ] {
            assert_eq!(verify(&peer, domain, text, &s), Err(BadSignature));
        }
    }

    #[test]
    fn keys_of_small_order_sign_nothing() {
        // The identity point verifies everything under the lenient rule.
        let mut weak = [0; 32];
        weak[0] = 1;
        let mut forged = [0; 64];
        forged[0] = 1;
        let refused = verify(&PeerId(weak), Domain::Record, b"x", &Signature(forged));
        assert_eq!(refused, Err(BadSignature));
    }

    #[test]
    fn a_secret_key_does_not_print_itself() {
        let key = SecretKey::from_bytes(&[7; 32]);
        assert!(!format!("{key:?}").contains("7, 7"));
        assert_eq!(
            SecretKey::from_bytes(&key.to_bytes()).peer_id(),
            key.peer_id()
        );
    }
}
