//! What lets a node that was killed and started again end the connections of its
//! former self: packets of such a connection are answered with a stateless reset
//! (RFC 9000 section 10.3), so that the other end dials anew at its next packet,
//! and not only when its connection has been silent for
//! [`IDLE_TIMEOUT`](crate::limits::IDLE_TIMEOUT).

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use quinn::{
    ConnectionId, ConnectionIdGenerator, EndpointConfig,
    crypto::{CryptoError, HmacKey},
};

/// Names what the key is derived for (BLAKE3 `derive_key`).
const CONTEXT: &str = "samara quic stateless reset v1";
/// Bytes of our connection ids: no two of a node's are ever alike.
const ID_BYTES: usize = 8;
const TAG_BYTES: usize = blake3::OUT_LEN;

/// An endpoint's configuration that is the same after each start of an identity.
pub(crate) fn endpoint_config(identity: &SigningKey) -> EndpointConfig {
    let key = blake3::derive_key(CONTEXT, identity.as_bytes());
    let mut config = EndpointConfig::new(Arc::new(ResetKey(key)));
    // quinn's own generator drops packets with ids that an earlier start made.
    config.cid_generator(|| Box::new(RandomIds));
    config
}

/// Signs reset tokens.
struct ResetKey([u8; blake3::KEY_LEN]);

impl ResetKey {
    fn tag(&self, data: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, data)
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(self.tag(data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        TAG_BYTES
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // `Hash` compares in constant time.
        match blake3::Hash::from_slice(signature) {
            Ok(claimed) if claimed == self.tag(data) => Ok(()),
            _ => Err(CryptoError),
        }
    }
}

/// Makes connection ids.
struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; ID_BYTES]>())
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<std::time::Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_again_and_a_forged_one_is_not() {
        let key = ResetKey([7; 32]);
        let mut tag = [0; TAG_BYTES];
        key.sign(b"id", &mut tag);
        assert!(ResetKey([7; 32]).verify(b"id", &tag).is_ok());
        assert!(ResetKey([8; 32]).verify(b"id", &tag).is_err());
        assert!(key.verify(b"other", &tag).is_err());
        assert!(key.verify(b"id", &tag[1..]).is_err());
    }
}
