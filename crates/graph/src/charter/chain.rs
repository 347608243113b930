use std::collections::BTreeSet;

use bytes::Bytes;
use samara_wire::{ChannelId, PeerId, Reader, WireError, Writer};

use super::{Charter, CharterBounds, CharterError, CharterHash, CharterRef};
use crate::{Domain, SecretKey, Signature, limits, verify};

/// A charter with its signatures, as it travels: all of them verified, though
/// maybe too few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCharter {
    charter: Charter,
    hash: CharterHash,
    signatures: Vec<(PeerId, Signature)>,
    bytes: Bytes,
}

impl Charter {
    /// Signs with all of `keys`.
    ///
    /// # Errors
    /// [`CharterError::Invalid`]. Whether the signatures suffice is judged by the
    /// [chain](CharterChain), since a new version needs the old roots too.
    pub fn sign(&self, keys: &[&SecretKey]) -> Result<SignedCharter, CharterError> {
        let body = self.encode()?;
        let signatures = keys
            .iter()
            .map(|k| (k.peer_id(), k.sign(Domain::Charter, &body)));
        SignedCharter::assemble(self.clone(), signatures.collect())
    }
}

impl SignedCharter {
    /// A charter with signatures that were verified.
    pub(super) fn assemble(
        charter: Charter,
        mut signatures: Vec<(PeerId, Signature)>,
    ) -> Result<Self, CharterError> {
        let body = charter.encode()?;
        signatures.sort_by_key(|s| s.0);
        signatures.dedup_by_key(|s| s.0);
        if signatures.len() > limits::MAX_CHARTER_SIGNATURES {
            return Err(CharterError::Invalid {
                what: "the number of signatures",
                bounds: CharterBounds::Number(1, limits::MAX_CHARTER_SIGNATURES as u64),
            });
        }
        let mut w = Writer::new();
        w.bytes(&body);
        w.varint(signatures.len() as u64);
        for (peer, signature) in &signatures {
            peer.write(&mut w);
            w.raw(&signature.0);
        }
        Ok(Self {
            hash: CharterHash(blake3::hash(&body).into()),
            charter,
            signatures,
            bytes: w.finish().into(),
        })
    }

    /// Reads and verifies; at most [`limits::MAX_CHARTER_BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CharterError> {
        if bytes.len() > limits::MAX_CHARTER_BYTES {
            return Err(WireError::TooLarge {
                field: "charter",
                got: bytes.len() as u64,
                max: limits::MAX_CHARTER_BYTES as u64,
            }
            .into());
        }
        let mut r = Reader::new(bytes);
        let body = r.bytes("charter", limits::MAX_CHARTER_BYTES)?;
        let charter = Charter::decode(body)?;
        let n = r.count("signatures", limits::MAX_CHARTER_SIGNATURES, 96)?;
        let mut signatures: Vec<(PeerId, Signature)> = Vec::with_capacity(n);
        for _ in 0..n {
            let signer = PeerId::read(&mut r)?;
            if signatures.last().is_some_and(|(last, _)| *last >= signer) {
                return Err(WireError::NonCanonical {
                    field: "signatures",
                }
                .into());
            }
            let signature = Signature(r.array("signature")?);
            verify(&signer, Domain::Charter, body, &signature)
                .map_err(|_| CharterError::BadSignature { signer })?;
            signatures.push((signer, signature));
        }
        r.finish()?;
        Ok(Self {
            charter,
            hash: CharterHash(blake3::hash(body).into()),
            signatures,
            bytes: Bytes::copy_from_slice(bytes),
        })
    }

    /// What it says.
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// The bytes that travel.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its version and the hash of its body.
    pub fn reference(&self) -> CharterRef {
        CharterRef {
            version: self.charter.version,
            hash: self.hash,
        }
    }

    /// Who signed it, in ascending order.
    pub fn signers(&self) -> impl Iterator<Item = &PeerId> {
        self.signatures.iter().map(|(signer, _)| signer)
    }

    pub(super) fn signatures(&self) -> &[(PeerId, Signature)] {
        &self.signatures
    }

    pub(super) fn signed_by(&self, roots: &BTreeSet<PeerId>) -> usize {
        self.signatures
            .iter()
            .filter(|(signer, _)| roots.contains(signer))
            .count()
    }
}

/// Every version of a channel's charter, each signed by a threshold of its own
/// roots and of those before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharterChain {
    versions: Vec<SignedCharter>,
}

impl CharterChain {
    /// A chain of the first version.
    pub fn new(first: SignedCharter) -> Result<Self, CharterError> {
        if first.charter.version != 1 {
            return Err(CharterError::NotTheFirst);
        }
        enough(&first, &first.charter)?;
        Ok(Self {
            versions: vec![first],
        })
    }

    /// Adds the next version.
    ///
    /// # Errors
    /// [`CharterError::Fork`] if it is another one than we have of that version or
    /// does not follow from our newest; [`CharterError::TooFewSignatures`].
    pub fn push(&mut self, next: SignedCharter) -> Result<(), CharterError> {
        let newest = self.newest();
        let version = next.charter.version;
        if version != newest.charter.version + 1 || next.charter.previous != Some(newest.hash) {
            return Err(CharterError::Fork { version });
        }
        enough(&next, &newest.charter)?;
        enough(&next, &next.charter)?;
        self.versions.push(next);
        Ok(())
    }

    /// The channel.
    pub fn channel(&self) -> ChannelId {
        ChannelId(self.versions[0].hash.0)
    }

    /// The charter in force.
    pub fn current(&self) -> &Charter {
        &self.newest().charter
    }

    /// Version and hash of the charter in force.
    pub fn reference(&self) -> CharterRef {
        self.newest().reference()
    }

    /// Every version, the first first; never empty.
    pub fn versions(&self) -> &[SignedCharter] {
        &self.versions
    }

    /// The version `version`, if the chain has it.
    pub fn version(&self, version: u32) -> Option<&SignedCharter> {
        self.versions.get((version as usize).checked_sub(1)?)
    }

    /// The chain as it was before `version`; none before the first.
    pub(crate) fn before(&self, version: u32) -> Option<Self> {
        let versions = self.versions.get(..(version as usize).checked_sub(1)?)?;
        (!versions.is_empty()).then(|| Self {
            versions: versions.to_vec(),
        })
    }

    /// All versions in one piece, for the store.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.varint(self.versions.len() as u64);
        self.versions.iter().for_each(|v| w.bytes(&v.bytes));
        w.finish()
    }

    /// Reads and verifies what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, CharterError> {
        let mut r = Reader::new(bytes);
        let n = r.count("charter versions", limits::MAX_CHARTER_VERSIONS, 96)?;
        let next = |r: &mut Reader<'_>| {
            SignedCharter::decode(r.bytes("charter", limits::MAX_CHARTER_BYTES)?)
        };
        if n == 0 {
            return Err(CharterError::NotTheFirst);
        }
        let mut chain = Self::new(next(&mut r)?)?;
        for _ in 1..n {
            chain.push(next(&mut r)?)?;
        }
        r.finish()?;
        Ok(chain)
    }

    fn newest(&self) -> &SignedCharter {
        self.versions.last().expect("a chain is never empty")
    }
}

pub(super) fn enough(signed: &SignedCharter, by: &Charter) -> Result<(), CharterError> {
    let (got, need) = (signed.signed_by(&by.roots), usize::from(by.threshold));
    if got < need {
        let version = signed.charter.version;
        return Err(CharterError::TooFewSignatures { version, got, need });
    }
    Ok(())
}
