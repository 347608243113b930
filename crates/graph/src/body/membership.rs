//! Who may do what, as records say it.

use std::collections::BTreeSet;

use samara_wire::{ChannelId, PeerId, Reader, RecordId, VARINT_MAX, WireError, Writer};

use super::FORMAT;
use crate::{Domain, Kind, Role, SecretKey, Signature, WallMs, limits, verify};

/// The first bytes of a [`RecordId`] that a [`Revocation`] names a record by.
pub type IdPrefix = [u8; limits::ID_PREFIX_BYTES];

/// The first bytes of an id, as a [`Revocation`] lists it.
pub fn id_prefix(id: &RecordId) -> IdPrefix {
    *id.0.first_chunk().expect("an id is longer")
}

/// A signed credential. The record's key is the 32 bytes of whom it is for, its
/// `created` the beginning of its validity; it expires no earlier than `until`, and
/// no record that stands by it outlives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Never [`Role::Owner`]. An admin's grant never expires, since revocations
    /// stand by it.
    pub role: Role,
    /// The grant or redemption by which the author may grant; `None` if the charter
    /// names it.
    pub parent: Option<RecordId>,
    /// Until when records may be made by it.
    pub until: WallMs,
    /// The only kinds that may be written by it, at most
    /// [`limits::MAX_SCOPE_KINDS`]; empty for all that the role may write. A
    /// retraction may always be written.
    pub kinds: BTreeSet<Kind>,
    /// Whether it is renewed before it ends, without anybody asking.
    pub renewable: bool,
    /// Takes the place of the earlier grants of this subject whose authors do not
    /// outrank its own: by those only records up to this sequence stand.
    pub replaces: Option<u64>,
}

/// Takes everything back that an identity was granted, for as long as the channel
/// lives. The record's key is the 32 bytes of whom, and it never expires.
///
/// Of what that identity wrote stand the records that are listed and those up to a
/// sequence; of several revocations, what all of them let stand.
///
/// A *seal* takes back nothing but what was not written: of the records up to a sequence
/// stand those that are listed, later ones as without it. It goes with a grant that
/// lowers a role, so that nobody writes records of before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Whether it is a seal.
    pub seal: bool,
    /// Sequences up to this one stand; 0: none. The revoked can still fill gaps
    /// below it, so a list is safer. Of a seal: these stand only if they are listed.
    pub up_to: u64,
    /// The records that stand, at most [`limits::MAX_KEPT`].
    pub keep: BTreeSet<IdPrefix>,
}

/// The public half of an invitation. The record's key is the 32 bytes of the
/// one-time public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// What the bearer becomes; neither owner nor admin.
    pub role: Role,
    /// As in a [`Grant`].
    pub parent: Option<RecordId>,
    /// How many identities may redeem it, 1 to [`limits::MAX_INVITE_USES`].
    pub uses: u32,
    /// Until when it may be redeemed. What was redeemed lasts until the record expires;
    /// in an open channel until then.
    pub until: WallMs,
    /// As in a [`Grant`].
    pub kinds: BTreeSet<Kind>,
    /// Whether what was redeemed is renewed before it ends.
    pub renewable: bool,
}

/// An invitation used. The author is who joins, the record's key the one-time public
/// key; it expires with the invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redemption {
    /// The invite record.
    pub invite: RecordId,
    /// The one-time key's, over the channel, the invite and who joins.
    pub signature: Signature,
}

/// An owner's word that it was at least that late. It raises the floor below which
/// a node's clock is known to be wrong; it never ends a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeFloor {
    /// Not later than the record's own creation.
    pub at: WallMs,
}

impl Grant {
    /// The bytes of a record's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT);
        self.write(&mut w);
        w.finish()
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let grant = Self {
            role: Role::read(r)?,
            parent: read_parent(r)?,
            until: WallMs(r.varint("until", limits::MAX_TIME_MS)?),
            kinds: read_kinds(r)?,
            renewable: r.bool("renewable")?,
            replaces: match r.bool("replaces")? {
                true => Some(r.varint("replaced sequence", VARINT_MAX)?),
                false => None,
            },
        };
        match grant.role {
            Role::Owner => Err(WireError::Invalid { field: "role" }),
            _ => Ok(grant),
        }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.u8(self.role.code());
        write_parent(w, &self.parent);
        w.varint(self.until.0);
        write_kinds(w, &self.kinds);
        w.bool(self.renewable);
        w.bool(self.replaces.is_some());
        if let Some(up_to) = self.replaces {
            w.varint(up_to);
        }
    }
}

impl Revocation {
    /// The bytes of a record's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT);
        self.write(&mut w);
        w.finish()
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let field = "kept records";
        let seal = r.bool("seal")?;
        let up_to = r.varint("revoked sequence", VARINT_MAX)?;
        let keep = read_prefixes(r, field, limits::MAX_KEPT)?;
        Ok(Self { seal, up_to, keep })
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.bool(self.seal);
        w.varint(self.up_to);
        w.varint(self.keep.len() as u64);
        self.keep.iter().for_each(|prefix| w.raw(prefix));
    }

    /// Whether it lets a record of its subject stand.
    pub fn lets_stand(&self, seq: u64, id: &RecordId) -> bool {
        (seq <= self.up_to) != self.seal || self.keep.contains(&id_prefix(id))
    }
}

impl Invite {
    /// The bytes of a record's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT);
        self.write(&mut w);
        w.finish()
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let invite = Self {
            role: Role::read(r)?,
            parent: read_parent(r)?,
            uses: r.varint32("uses", limits::MAX_INVITE_USES)?,
            until: WallMs(r.varint("until", limits::MAX_TIME_MS)?),
            kinds: read_kinds(r)?,
            renewable: r.bool("renewable")?,
        };
        if invite.uses == 0 {
            return Err(WireError::Invalid { field: "uses" });
        }
        match invite.role {
            Role::Owner | Role::Admin => Err(WireError::Invalid { field: "role" }),
            _ => Ok(invite),
        }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.u8(self.role.code());
        write_parent(w, &self.parent);
        w.varint(self.uses.into());
        w.varint(self.until.0);
        write_kinds(w, &self.kinds);
        w.bool(self.renewable);
    }
}

impl Redemption {
    /// Signs the joiner's identity with the invitation's one-time key.
    pub fn sign(
        channel: ChannelId,
        invite: RecordId,
        joiner: &PeerId,
        one_time: &SecretKey,
    ) -> Self {
        let signed = redeemed(&channel, &invite, joiner);
        Self {
            invite,
            signature: one_time.sign(Domain::Redemption, &signed),
        }
    }

    /// Whether the one-time key `key` let `joiner` in.
    pub fn is_signed(&self, channel: ChannelId, joiner: &PeerId, key: &PeerId) -> bool {
        let signed = redeemed(&channel, &self.invite, joiner);
        verify(key, Domain::Redemption, &signed, &self.signature).is_ok()
    }

    /// The bytes of a record's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT);
        self.invite.write(&mut w);
        w.raw(&self.signature.0);
        w.finish()
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            invite: RecordId::read(r)?,
            signature: Signature(r.array("one-time signature")?),
        })
    }
}

impl TimeFloor {
    /// The bytes of a record's body.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(FORMAT);
        w.varint(self.at.0);
        w.finish()
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            at: WallMs(r.varint("time", limits::MAX_TIME_MS)?),
        })
    }
}

fn redeemed(channel: &ChannelId, invite: &RecordId, joiner: &PeerId) -> Vec<u8> {
    [&channel.0[..], &invite.0, joiner.as_bytes()].concat()
}

fn read_parent(r: &mut Reader<'_>) -> Result<Option<RecordId>, WireError> {
    match r.bool("parent")? {
        true => Ok(Some(RecordId::read(r)?)),
        false => Ok(None),
    }
}

fn write_parent(w: &mut Writer, parent: &Option<RecordId>) {
    w.bool(parent.is_some());
    if let Some(parent) = parent {
        parent.write(w);
    }
}

fn read_kinds(r: &mut Reader<'_>) -> Result<BTreeSet<Kind>, WireError> {
    let field = "kinds";
    let n = r.count(field, limits::MAX_SCOPE_KINDS, 1)?;
    let mut kinds = BTreeSet::new();
    for _ in 0..n {
        let kind = Kind(r.varint32(field, u32::MAX)?);
        if kinds.last().is_some_and(|last| *last >= kind) {
            return Err(WireError::NonCanonical { field });
        }
        kinds.insert(kind);
    }
    Ok(kinds)
}

fn write_kinds(w: &mut Writer, kinds: &BTreeSet<Kind>) {
    w.varint(kinds.len() as u64);
    kinds.iter().for_each(|kind| w.varint(kind.0.into()));
}

/// At most `max` in strictly ascending order.
pub(crate) fn read_prefixes(
    r: &mut Reader<'_>,
    field: &'static str,
    max: usize,
) -> Result<BTreeSet<IdPrefix>, WireError> {
    let n = r.count(field, max, limits::ID_PREFIX_BYTES)?;
    let mut set = BTreeSet::new();
    for _ in 0..n {
        let prefix: IdPrefix = r.array(field)?;
        if set.last().is_some_and(|last| *last >= prefix) {
            return Err(WireError::NonCanonical { field });
        }
        set.insert(prefix);
    }
    Ok(set)
}
