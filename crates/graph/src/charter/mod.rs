mod bounds;
mod chain;
mod draft;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use samara_wire::{PeerId, Reader, WireError, Writer};
use thiserror::Error;

use crate::{
    Role, WallMs,
    body::{IdPrefix, read_prefixes},
    limits,
};
pub use bounds::CharterBounds;
pub use chain::{CharterChain, SignedCharter};
pub use draft::CharterDraft;

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
    /// Whom the charter names and who holds a grant. To everybody else the channel
    /// does not exist.
    Members,
}

/// Who may write records, besides owners, admins and those who are granted the role
/// of a publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publishers {
    /// These, at most [`limits::MAX_PUBLISHERS`].
    Named(BTreeSet<PeerId>),
    /// All members.
    Members,
}

/// Somebody who was an owner or an admin by an earlier charter, and which of the
/// records that it wrote as such stay.
///
/// They are named one by one: sequences have gaps, and whoever stole the key could
/// write into them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Former {
    /// The version from which on it was no owner any more, or no admin if it never was
    /// an owner: at least 2.
    pub since: u32,
    /// What it wrote as an owner.
    pub as_owner: BTreeSet<IdPrefix>,
    /// What it wrote as an admin.
    pub as_admin: BTreeSet<IdPrefix>,
}

impl Former {
    /// The mightiest role by which a record of it stands.
    pub fn role(&self) -> Role {
        match self.as_owner.is_empty() {
            true => Role::Admin,
            false => Role::Owner,
        }
    }

    /// The lists, the mightier role's first.
    pub fn lists(&self) -> [(Role, &BTreeSet<IdPrefix>); 2] {
        [(Role::Owner, &self.as_owner), (Role::Admin, &self.as_admin)]
    }

    pub(crate) fn keeps(&self, prefix: &IdPrefix) -> bool {
        let mut lists = self.lists().into_iter();
        lists.any(|(_, kept)| kept.contains(prefix))
    }

    /// How many records of it stay.
    pub fn kept(&self) -> usize {
        self.as_owner.len() + self.as_admin.len()
    }
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
    /// How many of the roots it takes. If it is one, each root is an owner; if it is
    /// more, one root alone decides nothing, and authority begins with `admins`.
    pub threshold: u8,
    /// Admins from the charter on; at most [`limits::MAX_ADMINS`].
    pub admins: BTreeSet<PeerId>,
    /// Owners and admins of earlier charters who are less by this one, and what stays
    /// of what they wrote; at most [`limits::MAX_FORMER`] of them and
    /// [`limits::MAX_FORMER_KEPT`] records. Whoever is left out takes with it all that
    /// it ever decided.
    pub former: BTreeMap<PeerId, Former>,
    /// Who may read.
    pub readers: Readers,
    /// Who may write.
    pub publishers: Publishers,
    /// What they may write.
    pub limits: CharterLimits,
    /// log2 of the average chunk size in bytes that all contents are cut with, if it
    /// is fixed from the start: 14 to 20.
    pub chunk_bits: Option<u8>,
    /// How long a presence lease of a member may be, in milliseconds, within
    /// [`limits::PRESENCE_LEASE`]; none: no presence. With more than
    /// [`limits::MAX_PRESENT`] members nobody writes any.
    pub presence_ms: Option<u64>,
    /// Whether what ends while a node is off the network stays readable there until
    /// it has met the others again. Never holds for releases.
    pub deferred_expiry: bool,
    /// Whether members may announce the channel beyond their site (DHT).
    pub announced: bool,
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
            admins: BTreeSet::new(),
            former: BTreeMap::new(),
            readers: Readers::Everyone,
            publishers: Publishers::Named([owner].into()),
            limits: CharterLimits::default(),
            chunk_bits: None,
            presence_ms: None,
            deferred_expiry: false,
            announced: true,
            created,
            nonce,
        }
    }

    /// The first charter of a private channel with one owner, who alone publishes:
    /// members read, and nobody else learns that it exists.
    pub fn private(name: &str, owner: PeerId, created: WallMs, nonce: [u8; 16]) -> Self {
        Self {
            readers: Readers::Members,
            announced: false,
            ..Self::open(name, owner, created, nonce)
        }
    }

    /// The charter that follows this one, of hash `hash`, to be changed and signed.
    pub fn successor(&self, hash: CharterHash, created: WallMs) -> Self {
        Self {
            version: self.version + 1,
            previous: Some(hash),
            created,
            ..self.clone()
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
        w.varint(self.admins.len() as u64);
        self.admins.iter().for_each(|a| a.write(&mut w));
        w.varint(self.former.len() as u64);
        for (peer, former) in &self.former {
            peer.write(&mut w);
            w.varint(former.since.into());
            for (_, kept) in former.lists() {
                w.varint(kept.len() as u64);
                kept.iter().for_each(|prefix| w.raw(prefix));
            }
        }
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
        w.varint(self.presence_ms.unwrap_or(0));
        w.bool(self.deferred_expiry);
        w.bool(self.announced);
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
            admins: peers(&mut r, "admins", limits::MAX_ADMINS)?,
            former: former(&mut r)?,
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
            presence_ms: match r.varint("presence", *limits::PRESENCE_LEASE.end())? {
                0 => None,
                lease => Some(lease),
            },
            deferred_expiry: r.bool("deferred expiry")?,
            announced: r.bool("announced")?,
            created: WallMs(r.varint("created", limits::MAX_TIME_MS)?),
            nonce: r.array("nonce")?,
        };
        r.finish()?;
        charter.check()?;
        Ok(charter)
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
    #[error("{what} of the charter is outside its bounds: {bounds}")]
    Invalid {
        /// Which.
        what: &'static str,
        /// What it may be.
        bounds: CharterBounds,
    },
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
    /// A draft's charters do not belong together.
    #[error("the draft is of another charter")]
    OtherDraft,
    /// A key that is no root of the charter or the one before it signs nothing.
    #[error("{0} is no root of this charter")]
    NotARoot(PeerId),
    /// It does not follow from the newest that is known.
    #[error("version {version} of the charter does not follow from the newest known one")]
    Fork {
        /// Which version.
        version: u32,
    },
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

fn former(r: &mut Reader<'_>) -> Result<BTreeMap<PeerId, Former>, WireError> {
    let field = "former";
    let n = r.count(field, limits::MAX_FORMER, 35)?;
    let mut room = limits::MAX_FORMER_KEPT;
    let mut map = BTreeMap::new();
    for _ in 0..n {
        let peer = PeerId::read(r)?;
        if map.last_key_value().is_some_and(|(last, _)| *last >= peer) {
            return Err(WireError::NonCanonical { field });
        }
        let former = Former {
            since: version(r)?,
            as_owner: kept(r, &mut room)?,
            as_admin: kept(r, &mut room)?,
        };
        map.insert(peer, former);
    }
    Ok(map)
}

fn kept(r: &mut Reader<'_>, room: &mut usize) -> Result<BTreeSet<IdPrefix>, WireError> {
    let kept = read_prefixes(r, "records of a former owner or admin", *room)?;
    *room -= kept.len();
    Ok(kept)
}
