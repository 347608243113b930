use std::{collections::BTreeSet, fmt, time::Duration};

use bytes::Bytes;
use samara_wire::{ChannelId, PeerId, Reader, WireError, Writer};
use thiserror::Error;

use crate::{Domain, SecretKey, Signature, WallMs, limits, verify};

const FORMAT: u8 = 1;

/// BLAKE3 of a charter's unsigned body. The first version's is the channel's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CharterHash(pub [u8; 32]);

impl fmt::Display for CharterHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&samara_wire::base32().encode(&self.0))
    }
}

impl fmt::Debug for CharterHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CharterHash({})", &self.to_string()[..10])
    }
}

/// Which charter: what a link carries, so that an old charter cannot be passed off
/// as the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CharterRef {
    /// 1 for the first; at most [`limits::MAX_CHARTER_VERSIONS`].
    pub version: u32,
    /// The hash of that version's body.
    pub hash: CharterHash,
}

impl CharterRef {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            version: version(r)?,
            hash: CharterHash(r.array("charter hash")?),
        })
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.varint(self.version.into());
        w.raw(&self.hash.0);
    }
}

/// Who may read a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Whoever knows its id.
    Everyone,
    /// Who holds a grant. Laid for; [`Graph`](crate::Graph) refuses such a channel today.
    Members,
}

/// Who may write records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publishers {
    /// These, at most [`limits::MAX_PUBLISHERS`].
    Named(BTreeSet<PeerId>),
    /// Who holds a grant. Laid for: their records are deferred today.
    Members,
}

/// What a charter allows its authors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CharterLimits {
    /// Largest record in bytes; at most [`limits::MAX_RECORD_BYTES`], at least 1,024.
    pub record_bytes: u32,
    /// Ordinary records of one author: its highest sequences stand. At least 1.
    pub records_per_author: u32,
    /// Ordinary records of the channel. At least 1.
    pub records_total: u32,
    /// Longest time from a record's creation to its expiry, in milliseconds; at
    /// most [`limits::MAX_LIFETIME`].
    pub lifetime_ms: u64,
}

impl Default for CharterLimits {
    /// 64 KiB, 16,384 records an author, 65,536 in total, ten years: generous for a
    /// product's releases, and at worst 4 GiB for a member's disk.
    fn default() -> Self {
        Self {
            record_bytes: limits::MAX_RECORD_BYTES as u32,
            records_per_author: 16_384,
            records_total: 65_536,
            lifetime_ms: Duration::from_secs(3653 * 24 * 3600).as_millis() as u64,
        }
    }
}

/// A channel's constitution, before anyone signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charter {
    /// 1 for the first.
    pub version: u32,
    /// The version before; `None` exactly for the first.
    pub previous: Option<CharterHash>,
    /// For people; at most [`limits::MAX_NAME_BYTES`] bytes, no control characters.
    pub name: String,
    /// Who may change the charter: 1 to [`limits::MAX_ROOTS`] keys.
    pub roots: BTreeSet<PeerId>,
    /// How many of the roots it takes.
    pub threshold: u8,
    /// Who may read.
    pub readers: Readers,
    /// Who may write.
    pub publishers: Publishers,
    /// What they may write.
    pub limits: CharterLimits,
    /// log2 of the average chunk size in bytes that all contents are cut with, if it
    /// is fixed from the start: 14 to 20.
    pub chunk_bits: Option<u8>,
    /// When it was written.
    pub created: WallMs,
    /// Random, so that two channels of the same name are two channels.
    pub nonce: [u8; 16],
}

impl Charter {
    /// The first charter of an open channel with one owner, who alone publishes.
    pub fn open(name: &str, owner: PeerId, created: WallMs, nonce: [u8; 16]) -> Self {
        Self {
            version: 1,
            previous: None,
            name: name.into(),
            roots: [owner].into(),
            threshold: 1,
            readers: Readers::Everyone,
            publishers: Publishers::Named([owner].into()),
            limits: CharterLimits::default(),
            chunk_bits: None,
            created,
            nonce,
        }
    }

    /// The canonical bytes that are hashed and signed.
    ///
    /// # Errors
    /// [`CharterError::Invalid`] if a field is outside its bounds.
    pub fn encode(&self) -> Result<Vec<u8>, CharterError> {
        self.check()?;
        let mut w = Writer::new();
        w.u8(FORMAT);
        w.varint(self.version.into());
        if let Some(previous) = &self.previous {
            w.raw(&previous.0);
        }
        w.str(&self.name);
        w.varint(self.roots.len() as u64);
        self.roots.iter().for_each(|r| r.write(&mut w));
        w.u8(self.threshold);
        w.u8(match self.readers {
            Readers::Everyone => 0,
            Readers::Members => 1,
        });
        match &self.publishers {
            Publishers::Named(list) => {
                w.u8(0);
                w.varint(list.len() as u64);
                list.iter().for_each(|p| p.write(&mut w));
            }
            Publishers::Members => w.u8(1),
        }
        w.varint(self.limits.record_bytes.into());
        w.varint(self.limits.records_per_author.into());
        w.varint(self.limits.records_total.into());
        w.varint(self.limits.lifetime_ms);
        w.u8(self.chunk_bits.unwrap_or(0));
        w.varint(self.created.0);
        w.raw(&self.nonce);
        Ok(w.finish())
    }

    /// Reads what [`encode`](Self::encode) wrote, and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, CharterError> {
        let mut r = Reader::new(bytes);
        let format = r.u8("charter format")?;
        if format != FORMAT {
            return Err(CharterError::UnknownFormat(format));
        }
        let version = version(&mut r)?;
        let charter = Self {
            version,
            previous: match version {
                1 => None,
                _ => Some(CharterHash(r.array("previous charter")?)),
            },
            name: r.str("channel name", limits::MAX_NAME_BYTES)?.into(),
            roots: peers(&mut r, "roots", limits::MAX_ROOTS)?,
            threshold: r.u8("threshold")?,
            readers: match r.u8("readers")? {
                0 => Readers::Everyone,
                1 => Readers::Members,
                _ => return Err(WireError::Invalid { field: "readers" }.into()),
            },
            publishers: match r.u8("publishers")? {
                0 => Publishers::Named(peers(&mut r, "publishers", limits::MAX_PUBLISHERS)?),
                1 => Publishers::Members,
                _ => {
                    return Err(WireError::Invalid {
                        field: "publishers",
                    }
                    .into());
                }
            },
            limits: CharterLimits {
                record_bytes: r.varint32("record bytes", limits::MAX_RECORD_BYTES as u32)?,
                records_per_author: r
                    .varint32("records per author", limits::MAX_CHANNEL_RECORDS)?,
                records_total: r.varint32("records in total", limits::MAX_CHANNEL_RECORDS)?,
                lifetime_ms: r.varint("lifetime", limits::MAX_LIFETIME.as_millis() as u64)?,
            },
            chunk_bits: match r.u8("chunk size")? {
                0 => None,
                bits => Some(bits),
            },
            created: WallMs(r.varint("created", limits::MAX_TIME_MS)?),
            nonce: r.array("nonce")?,
        };
        r.finish()?;
        charter.check()?;
        Ok(charter)
    }

    /// Whether `author` may write records, as far as the charter alone can tell.
    pub fn names_publisher(&self, author: &PeerId) -> bool {
        matches!(&self.publishers, Publishers::Named(list) if list.contains(author))
    }

    /// Signs with all of `keys`.
    ///
    /// # Errors
    /// [`CharterError::Invalid`]. Whether the signatures suffice is judged by the
    /// [chain](CharterChain), since a new version needs the old roots too.
    pub fn sign(&self, keys: &[&SecretKey]) -> Result<SignedCharter, CharterError> {
        let body = self.encode()?;
        let mut signatures: Vec<_> = keys
            .iter()
            .map(|k| (k.peer_id(), k.sign(Domain::Charter, &body)))
            .collect();
        signatures.sort_by_key(|s| s.0);
        signatures.dedup_by_key(|s| s.0);
        if signatures.len() > limits::MAX_CHARTER_SIGNATURES {
            return Err(CharterError::Invalid("the number of signatures"));
        }
        let mut w = Writer::new();
        w.bytes(&body);
        w.varint(signatures.len() as u64);
        for (peer, signature) in &signatures {
            peer.write(&mut w);
            w.raw(&signature.0);
        }
        Ok(SignedCharter {
            hash: CharterHash(blake3::hash(&body).into()),
            charter: self.clone(),
            signatures,
            bytes: w.finish().into(),
        })
    }

    fn check(&self) -> Result<(), CharterError> {
        let first = self.version == 1;
        let named = match &self.publishers {
            Publishers::Named(list) => list.len(),
            Publishers::Members => 0,
        };
        let l = &self.limits;
        let rules = [
            (
                (1..=limits::MAX_CHARTER_VERSIONS as u32).contains(&self.version),
                "the version",
            ),
            (first == self.previous.is_none(), "the previous version"),
            (
                self.name.len() <= limits::MAX_NAME_BYTES
                    && !self.name.chars().any(char::is_control),
                "the name",
            ),
            (
                (1..=limits::MAX_ROOTS).contains(&self.roots.len()),
                "the number of roots",
            ),
            (
                (1..=self.roots.len()).contains(&self.threshold.into()),
                "the threshold",
            ),
            (named <= limits::MAX_PUBLISHERS, "the number of publishers"),
            (
                (1024..=limits::MAX_RECORD_BYTES as u32).contains(&l.record_bytes),
                "the record size",
            ),
            (
                (1..=limits::MAX_CHANNEL_RECORDS).contains(&l.records_per_author),
                "the records per author",
            ),
            (
                (1..=limits::MAX_CHANNEL_RECORDS).contains(&l.records_total),
                "the records in total",
            ),
            (
                (1..=limits::MAX_LIFETIME.as_millis() as u64).contains(&l.lifetime_ms),
                "the lifetime",
            ),
            (
                self.chunk_bits.is_none_or(|b| (14..=20).contains(&b)),
                "the chunk size",
            ),
            (
                self.created.0 <= limits::MAX_TIME_MS,
                "the time of creation",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(CharterError::Invalid(what)),
            None => Ok(()),
        }
    }
}

/// A charter with its signatures, as it travels: all of them verified, though
/// maybe too few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCharter {
    charter: Charter,
    hash: CharterHash,
    signatures: Vec<(PeerId, Signature)>,
    bytes: Bytes,
}

impl SignedCharter {
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

    fn signed_by(&self, roots: &BTreeSet<PeerId>) -> usize {
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

/// Why bytes are not a charter, or a charter not the next of its chain.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CharterError {
    /// Not the canonical encoding of a charter.
    #[error("the charter is malformed: {0}")]
    Wire(#[from] WireError),
    /// Written by a newer Samara.
    #[error("the charter is of format {0}; this version of Samara knows format {FORMAT}")]
    UnknownFormat(u8),
    /// A field is outside its bounds.
    #[error("{0} of the charter is outside its bounds")]
    Invalid(&'static str),
    /// A signature on it is not its signer's.
    #[error("the charter's signature by {signer} is forged or damaged")]
    BadSignature {
        /// Whose it claims to be.
        signer: PeerId,
    },
    /// Fewer roots signed than it takes.
    #[error("{got} of the charter's roots signed version {version}, {need} are needed")]
    TooFewSignatures {
        /// Which version.
        version: u32,
        /// How many signed.
        got: usize,
        /// How many it takes.
        need: usize,
    },
    /// The chain starts with another version than the first.
    #[error("a chain of charters starts with version 1")]
    NotTheFirst,
    /// It does not follow from the newest that is known.
    #[error("version {version} of the charter does not follow from the newest known one")]
    Fork {
        /// Which version.
        version: u32,
    },
}

fn enough(signed: &SignedCharter, by: &Charter) -> Result<(), CharterError> {
    let (got, need) = (signed.signed_by(&by.roots), usize::from(by.threshold));
    if got < need {
        let version = signed.charter.version;
        return Err(CharterError::TooFewSignatures { version, got, need });
    }
    Ok(())
}

fn version(r: &mut Reader<'_>) -> Result<u32, WireError> {
    let field = "charter version";
    match r.varint32(field, limits::MAX_CHARTER_VERSIONS as u32)? {
        0 => Err(WireError::Invalid { field }),
        n => Ok(n),
    }
}

fn peers(
    r: &mut Reader<'_>,
    field: &'static str,
    max: usize,
) -> Result<BTreeSet<PeerId>, WireError> {
    let n = r.count(field, max, 32)?;
    let mut set = BTreeSet::new();
    for _ in 0..n {
        let peer = PeerId::read(r)?;
        if set.last().is_some_and(|last| *last >= peer) {
            return Err(WireError::NonCanonical { field });
        }
        set.insert(peer);
    }
    Ok(set)
}
