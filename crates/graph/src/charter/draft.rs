use std::collections::BTreeSet;

use samara_wire::{PeerId, Reader, WireError, Writer};

use super::{Charter, CharterError, CharterRef, SignedCharter, chain::enough};
use crate::{Domain, SecretKey, limits};

const MAGIC: &[u8; 24] = b"samara charter draft v1\0";

/// A charter on its way from root to root: each signs on its own machine, which need
/// never have run a node. The file carries the charter before it, so that whoever
/// signs sees what changes and whose signatures are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharterDraft {
    previous: Option<SignedCharter>,
    signed: SignedCharter,
}

impl CharterDraft {
    /// A draft that nobody has signed.
    ///
    /// # Errors
    /// [`CharterError::Invalid`] if a field is outside its bounds;
    /// [`CharterError::Fork`] if `charter` does not follow from `previous`.
    pub fn new(charter: Charter, previous: Option<SignedCharter>) -> Result<Self, CharterError> {
        Self::assemble(SignedCharter::assemble(charter, Vec::new())?, previous)
    }

    fn assemble(
        signed: SignedCharter,
        previous: Option<SignedCharter>,
    ) -> Result<Self, CharterError> {
        let charter = signed.charter();
        let before = previous.as_ref().map(SignedCharter::reference);
        let hash = before.map(|r| r.hash);
        if charter.version != before.map_or(0, |r| r.version) + 1 || charter.previous != hash {
            let version = charter.version;
            return Err(CharterError::Fork { version });
        }
        Ok(Self { previous, signed })
    }

    /// What is to be signed.
    pub fn charter(&self) -> &Charter {
        self.signed.charter()
    }

    /// The charter before it; none before the first.
    pub fn previous(&self) -> Option<&Charter> {
        self.previous.as_ref().map(SignedCharter::charter)
    }

    /// Version and hash of what is to be signed.
    pub fn reference(&self) -> CharterRef {
        self.signed.reference()
    }

    /// Who has signed, in ascending order.
    pub fn signers(&self) -> impl Iterator<Item = &PeerId> {
        self.signed.signers()
    }

    /// The roots, of this charter and of the one before it, that have not signed.
    /// Not all of them need to.
    pub fn unsigned(&self) -> BTreeSet<PeerId> {
        let mut roots = self.charter().roots.clone();
        roots.extend(self.previous().iter().flat_map(|p| &p.roots));
        self.signers().for_each(|signer| {
            roots.remove(signer);
        });
        roots
    }

    /// Adds the signature of a root.
    ///
    /// # Errors
    /// [`CharterError::NotARoot`] of this charter nor of the one before it.
    pub fn add_signature(&mut self, key: &SecretKey) -> Result<(), CharterError> {
        let signer = key.peer_id();
        let before = self.previous().is_some_and(|p| p.roots.contains(&signer));
        if !before && !self.charter().roots.contains(&signer) {
            return Err(CharterError::NotARoot(signer));
        }
        let signature = key.sign(Domain::Charter, &self.charter().encode()?);
        self.add(&[(signer, signature)])
    }

    /// Adds the signatures of another copy of this draft.
    ///
    /// # Errors
    /// [`CharterError::OtherDraft`].
    pub fn merge(&mut self, other: &Self) -> Result<(), CharterError> {
        if other.reference() != self.reference() {
            return Err(CharterError::OtherDraft);
        }
        self.add(other.signed.signatures())
    }

    fn add(&mut self, more: &[(PeerId, crate::Signature)]) -> Result<(), CharterError> {
        let signatures = [self.signed.signatures(), more].concat();
        self.signed = SignedCharter::assemble(self.charter().clone(), signatures)?;
        Ok(())
    }

    /// The charter, once enough roots have signed it.
    ///
    /// # Errors
    /// [`CharterError::TooFewSignatures`].
    pub fn finish(self) -> Result<SignedCharter, CharterError> {
        if let Some(previous) = self.previous() {
            enough(&self.signed, previous)?;
        }
        enough(&self.signed, self.charter())?;
        Ok(self.signed)
    }

    /// The bytes of a draft's file.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.raw(MAGIC);
        w.bool(self.previous.is_some());
        if let Some(previous) = &self.previous {
            w.bytes(previous.bytes());
        }
        w.bytes(self.signed.bytes());
        w.finish()
    }

    /// Reads what [`encode`](Self::encode) wrote, and verifies every signature.
    ///
    /// # Errors
    /// [`CharterError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CharterError> {
        let mut r = Reader::new(bytes);
        if r.take("draft", MAGIC.len())? != MAGIC {
            return Err(WireError::Invalid { field: "draft" }.into());
        }
        let signed = |r: &mut Reader<'_>| {
            SignedCharter::decode(r.bytes("charter", limits::MAX_CHARTER_BYTES)?)
        };
        let previous = match r.bool("previous charter")? {
            true => Some(signed(&mut r)?),
            false => None,
        };
        let charter = signed(&mut r)?;
        r.finish()?;
        Self::assemble(charter, previous)
    }
}
