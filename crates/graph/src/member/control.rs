use samara_wire::{Reader, RecordId, WireError, Writer};

use crate::{
    Kind, WallMs,
    body::{Body, Grant, Invite, Retraction, Revocation, TimeFloor},
};

/// What a control record decides: the part of its body that a
/// [`Graph`](crate::Graph) keeps in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Control {
    /// Takes records of its own author back.
    Retraction(Retraction),
    /// Gives a role.
    Grant(Grant),
    /// Takes an identity's rights back.
    Revocation(Revocation),
    /// Offers a role to who redeems it.
    Invite(Invite),
    /// Takes the role of that invite.
    Redemption {
        /// Which.
        invite: RecordId,
    },
    /// It is at least that late.
    Time {
        /// How late.
        at: WallMs,
    },
}

impl Control {
    pub(crate) fn of(body: Body) -> Option<Self> {
        match body {
            Body::Retraction(it) => Some(Self::Retraction(it)),
            Body::Grant(it) => Some(Self::Grant(it)),
            Body::Revocation(it) => Some(Self::Revocation(it)),
            Body::Invite(it) => Some(Self::Invite(it)),
            Body::Redemption(it) => Some(Self::Redemption { invite: it.invite }),
            Body::Time(it) => Some(Self::Time { at: it.at }),
            _ => None,
        }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        match self {
            Self::Retraction(it) => it.write(w),
            Self::Grant(it) => it.write(w),
            Self::Revocation(it) => it.write(w),
            Self::Invite(it) => it.write(w),
            Self::Redemption { invite } => invite.write(w),
            Self::Time { at } => w.varint(at.0),
        }
    }

    pub(crate) fn read(kind: Kind, r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(match kind {
            Kind::RETRACTION => Self::Retraction(Retraction::read(r)?),
            Kind::GRANT => Self::Grant(Grant::read(r)?),
            Kind::REVOCATION => Self::Revocation(Revocation::read(r)?),
            Kind::INVITE => Self::Invite(Invite::read(r)?),
            Kind::REDEMPTION => Self::Redemption {
                invite: RecordId::read(r)?,
            },
            Kind::TIME => Self::Time {
                at: TimeFloor::read(r)?.at,
            },
            _ => return Err(WireError::Invalid { field: "control" }),
        })
    }
}
