//! How two ends of a connection prove to each other that they belong to a private
//! channel, before a byte of it passes.
//!
//! The channel's id never travels: a [`tag`](Gate::tag) stands for it, which only who
//! knows the id and sits on this very TLS connection can make or recognize. What is
//! proved is sealed under a key of the same two things, so that whoever does not know
//! the channel learns nothing, not even how long the proof is to a page.

use bytes::Bytes;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit, aead::Aead};
use samara_wire::{ChannelId, PeerId, Reader, WireError, Writer};
use thiserror::Error;

use crate::{
    CharterRef, Record, RecordError, Reject, Role, WallMs,
    body::{Body, subject},
    limits,
};

const TAG_CONTEXT: &str = "samara gate tag v1";
const KEY_CONTEXT: &str = "samara gate key v1";
const NONCE_CONTEXT: &str = "samara gate nonce v1";
const NONCE_BYTES: usize = 12;

/// One direction of one private channel on one connection.
#[derive(Clone)]
pub struct Gate {
    tag: [u8; 32],
    key: [u8; 32],
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate(..)")
    }
}

impl Gate {
    /// The gate of `channel` for what `from` says to `to`. `exporter` is 32 bytes of
    /// keying material of the TLS connection (RFC 8446 section 7.5), which both ends
    /// compute alike and nobody else can.
    pub fn new(channel: ChannelId, exporter: &[u8; 32], from: &PeerId, to: &PeerId) -> Self {
        let material = [&channel.0[..], exporter, from.as_bytes(), to.as_bytes()].concat();
        Self {
            tag: blake3::derive_key(TAG_CONTEXT, &material),
            key: blake3::derive_key(KEY_CONTEXT, &material),
        }
    }

    /// What stands for the channel here.
    pub fn tag(&self) -> [u8; 32] {
        self.tag
    }

    /// Whether `tag` is the one; takes as long for a wrong one as for the right one.
    pub fn knows(&self, tag: &[u8; 32]) -> bool {
        blake3::Hash::from_bytes(self.tag) == blake3::Hash::from_bytes(*tag)
    }

    /// Encrypts a proof; the length is a multiple of [`limits::PROOF_PAGE`], at most
    /// [`limits::MAX_SEALED_PROOF`].
    ///
    /// The nonce is made of the proof itself: saying the same thing twice gives the
    /// same bytes, and no two things share a nonce.
    ///
    /// # Errors
    /// [`GateError::TooLarge`] beyond [`limits::MAX_PROOF_BYTES`].
    pub fn seal(&self, proof: &Proof) -> Result<Vec<u8>, GateError> {
        let proof = proof.encode();
        if proof.len() > limits::MAX_PROOF_BYTES {
            return Err(GateError::TooLarge);
        }
        let pages = (proof.len() + limits::PROOF_OVERHEAD).div_ceil(limits::PROOF_PAGE);
        let mut w = Writer::new();
        w.u32(proof.len() as u32);
        w.raw(&proof);
        let mut plain = w.finish();
        plain.resize(pages * limits::PROOF_PAGE - limits::PROOF_OVERHEAD + 4, 0);
        let nonce = blake3::derive_key(NONCE_CONTEXT, &[&self.key[..], &plain].concat());
        let nonce: [u8; NONCE_BYTES] = *nonce.first_chunk().expect("a hash is longer");
        let sealed = self
            .cipher()
            .encrypt(&nonce.into(), plain.as_slice())
            .map_err(|_| GateError::TooLarge)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Reads what [`seal`](Self::seal) wrote for the same direction of the same
    /// channel on the same connection, and nothing else.
    ///
    /// # Errors
    /// [`GateError`].
    pub fn open(&self, sealed: &[u8]) -> Result<Proof, GateError> {
        if sealed.len() > limits::MAX_SEALED_PROOF {
            return Err(GateError::TooLarge);
        }
        let (nonce, sealed) = sealed
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(GateError::Forged)?;
        let plain = self
            .cipher()
            .decrypt(&(*nonce).into(), sealed)
            .map_err(|_| GateError::Forged)?;
        let mut r = Reader::new(&plain);
        let len = r.u32("proof length")? as usize;
        let proof = Proof::decode(r.take("proof", len)?)?;
        let padding = r.rest();
        let whole = (plain.len() + limits::PROOF_OVERHEAD - 4).is_multiple_of(limits::PROOF_PAGE);
        match whole && padding.len() < limits::PROOF_PAGE && padding.iter().all(|b| *b == 0) {
            true => Ok(proof),
            false => Err(WireError::NonCanonical { field: "padding" }.into()),
        }
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&self.key.into())
    }
}

/// What somebody shows to be let in. Who it is, the connection says; the proof says
/// by which grants it belongs to the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The newest charter that the prover knows; a joiner's link's.
    pub charter: CharterRef,
    /// Its grants, each before the one that it stands by, up to one that the charter
    /// gave or that the other side holds; none if the charter names the prover. A
    /// joiner shows its redemption. At most [`limits::MAX_PROOF_RECORDS`].
    pub records: Vec<Record>,
}

impl Proof {
    /// The bytes that are sealed.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.charter.write(&mut w);
        w.varint(self.records.len() as u64);
        self.records.iter().for_each(|r| w.bytes(r.bytes()));
        w.finish()
    }

    /// Reads what [`encode`](Self::encode) wrote, and verifies every signature in it,
    /// those of one-time keys included.
    ///
    /// # Errors
    /// [`GateError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, GateError> {
        if bytes.len() > limits::MAX_PROOF_BYTES {
            return Err(GateError::TooLarge);
        }
        let mut r = Reader::new(bytes);
        let charter = CharterRef::read(&mut r)?;
        let n = r.count("proof", limits::MAX_PROOF_RECORDS, 1)?;
        let mut raw = Vec::with_capacity(n);
        for _ in 0..n {
            raw.push(r.bytes("proof", limits::MAX_RECORD_BYTES)?);
        }
        r.finish()?;
        // Signatures last: they cost more than everything before.
        let records = raw.into_iter().map(|b| verified(Bytes::copy_from_slice(b)));
        Ok(Self {
            charter,
            records: records.collect::<Result<_, _>>()?,
        })
    }
}

/// A record of a proof, with nothing left to verify that costs much.
fn verified(bytes: Bytes) -> Result<Record, RecordError> {
    let record = Record::decode(bytes)?;
    if let Ok(Body::Redemption(redemption)) = Body::of(&record) {
        let (channel, author) = (record.channel(), record.author());
        let key = subject(record.key());
        if !key.is_some_and(|key| redemption.is_signed(channel, &author, &key)) {
            return Err(RecordError::BadSignature);
        }
    }
    Ok(record)
}

/// Why bytes are no proof.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GateError {
    /// Larger than any proof.
    #[error("the proof is larger than {max} bytes", max = limits::MAX_PROOF_BYTES)]
    TooLarge,
    /// Not sealed for this channel, this connection and this direction.
    #[error("the proof is not for this channel on this connection")]
    Forged,
    /// Sealed, and wrongly made.
    #[error("the proof is malformed: {0}")]
    Wire(#[from] WireError),
    /// It shows something that is no record.
    #[error("the proof shows a bad record: {0}")]
    Record(#[from] RecordError),
}

impl GateError {
    /// The reason as a metrics label: lowercase, fixed for ever.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Forged => "forged",
            Self::Wire(_) => "malformed",
            Self::Record(_) => "bad_record",
        }
    }
}

/// What a proof gives to who showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// It belongs to the channel.
    Member {
        /// In which role.
        role: Role,
        /// Until when, unless it is renewed.
        until: WallMs,
    },
    /// We have no charter to judge by, being new ourselves. Once it is there, the
    /// proof is judged, and who does not pass is expelled.
    Unchecked,
}

/// Why a proof, whole as it is, lets nobody in. The other side is told none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It was revoked.
    #[error("it was revoked")]
    Revoked,
    /// Nothing shown or held says that it belongs here.
    #[error("it is no member")]
    NotMember,
    /// What it shows was given to another.
    #[error("it shows somebody else's grant")]
    NotTheirs,
    /// Its time is over, or has not come.
    #[error("its grant is not valid now")]
    Lapsed,
    /// What it shows stands by a record that is neither shown nor held.
    #[error("its grants do not reach the charter")]
    Incomplete,
    /// It may be right by a charter that has not arrived.
    #[error("it knows a newer charter")]
    NewerCharter,
    /// A record that it shows is not taken.
    #[error("it shows a record that is not taken: {0}")]
    Record(Reject),
    /// We remember as many proofs as we can.
    #[error("too many peers have shown proofs")]
    Full,
}

impl Refusal {
    /// The reason as a metrics label: lowercase, fixed for ever.
    pub fn label(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::NotMember => "not_member",
            Self::NotTheirs => "not_theirs",
            Self::Lapsed => "lapsed",
            Self::Incomplete => "incomplete",
            Self::NewerCharter => "newer_charter",
            Self::Record(reject) => reject.label(),
            Self::Full => "full",
        }
    }
}
