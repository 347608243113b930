use std::{fmt, str::FromStr};

use samara_wire::{Reader, WireError};
use thiserror::Error;

use crate::{Charter, Kind, Publishers};

/// What an identity may do in a channel, the mightiest first.
///
/// Owners and admins do everything; publishers, inviters and keepers stand beside
/// each other, below them members and readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A root of a charter that takes one signature: its own word is the charter's.
    Owner,
    /// Grants and revokes everything below itself.
    Admin,
    /// Writes records of every ordinary kind.
    Publisher,
    /// Invites members and readers.
    Inviter,
    /// Holds everything and is reachable.
    Keeper,
    /// Reads, and writes where all members publish.
    Member,
    /// Reads.
    Reader,
}

impl Role {
    /// All of them, the mightiest first.
    pub const ALL: [Self; 7] = [
        Self::Owner,
        Self::Admin,
        Self::Publisher,
        Self::Inviter,
        Self::Keeper,
        Self::Member,
        Self::Reader,
    ];

    /// Its place from above: equal for publisher, inviter and keeper.
    pub fn rank(self) -> u8 {
        match self {
            Self::Owner => 0,
            Self::Admin => 1,
            Self::Publisher | Self::Inviter | Self::Keeper => 2,
            Self::Member => 3,
            Self::Reader => 4,
        }
    }

    /// Whether who has this role may give `other` away.
    ///
    /// Nobody grants an owner: that takes a charter. An inviter gives what its
    /// invitations give, so that it can renew what they gave.
    pub fn may_grant(self, other: Self) -> bool {
        match self {
            Self::Owner => other > Self::Owner,
            Self::Admin => other > Self::Admin,
            Self::Inviter => other >= Self::Member,
            _ => false,
        }
    }

    /// Whether who has this role may do all that who has `other` may.
    pub(crate) fn includes(self, other: Self) -> bool {
        match other {
            Self::Publisher | Self::Inviter => self == other || self <= Self::Admin,
            _ => self <= other,
        }
    }

    /// Whether who has this role may put `other` into an invitation.
    ///
    /// An admin is made by a grant to a known key, never by a link: revocations
    /// stand by it for as long as the channel lives.
    pub fn may_invite(self, other: Self) -> bool {
        other != Self::Admin && self.may_grant(other)
    }

    /// Whether who has this role may write records of `kind` under `charter`. Of
    /// grants, revocations and invitations only that it may write some.
    pub fn may_write(self, kind: Kind, charter: &Charter) -> bool {
        match kind {
            Kind::GRANT | Kind::INVITE => matches!(self, Self::Owner | Self::Admin | Self::Inviter),
            Kind::REVOCATION => self <= Self::Admin,
            // Judged by the invitation, and by the charter.
            Kind::REDEMPTION => true,
            Kind::TIME => self <= Self::Admin,
            Kind::RETRACTION => self < Self::Reader,
            Kind::PRESENCE => self < Self::Reader && charter.presence_ms.is_some(),
            _ if self <= Self::Publisher => true,
            _ => {
                !kind.is_control()
                    && self <= Self::Member
                    && charter.publishers == Publishers::Members
            }
        }
    }

    /// As a byte of a grant.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let code = r.u8("role")?;
        Self::ALL
            .get(usize::from(code))
            .copied()
            .ok_or(WireError::Invalid { field: "role" })
    }

    /// The role's name: lowercase, fixed for ever.
    pub fn label(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Publisher => "publisher",
            Self::Inviter => "inviter",
            Self::Keeper => "keeper",
            Self::Member => "member",
            Self::Reader => "reader",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The text names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no such role; there are owner, admin, publisher, inviter, keeper, member and reader")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let named = Self::ALL.into_iter().find(|role| role.label() == text);
        named.ok_or(UnknownRole)
    }
}
