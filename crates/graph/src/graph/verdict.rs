use samara_wire::{PeerId, RecordId};
use thiserror::Error;

use super::{Fault, RemoveReason};
use crate::{CharterError, Kind, RecordError, Role};

/// Why a record was not taken. Each is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
#[non_exhaustive]
pub enum Reject {
    /// Not the canonical bytes of a record.
    #[error("it is malformed")]
    Malformed,
    /// Of a format that this version does not know.
    #[error("it is of a newer format")]
    UnknownFormat,
    /// Larger than the charter or the protocol allows.
    #[error("it is larger than the channel allows")]
    TooLarge,
    /// The signature is not the author's.
    #[error("its signature is forged")]
    BadSignature,
    /// For another channel.
    #[error("it is for another channel")]
    ForeignChannel,
    /// Its kind is known and its body is not of it.
    #[error("its body is not of its kind")]
    BadBody,
    /// Made more than 10 minutes ahead of our clock.
    #[error("it is from the future")]
    Future,
    /// Its time, and 15 minutes of grace, are over.
    #[error("it has expired")]
    Expired,
    /// It lives longer than the charter allows.
    #[error("it would live longer than the channel allows")]
    Lifetime,
    /// Its author may not publish.
    #[error("its author may not publish")]
    NotPublisher,
    /// The charter does not name who wrote it, and it names no grant; or the grant
    /// that it names is another's.
    #[error("its author has no right to give that away")]
    NoAuthority,
    /// It gives more than its author has: a higher role, more kinds, more time.
    #[error("it gives away more than its author has")]
    Widens,
    /// It was made when the grant of its author was not valid.
    #[error("the grant of its author was not valid when it was made")]
    OutOfTime,
    /// Too many grants lie between it and the charter.
    #[error("more than {max} grants lie between it and the charter", max = crate::limits::MAX_CHAIN)]
    ChainTooLong,
    /// It gives something to who gave it, directly or through others.
    #[error("it gives something to somebody by whom it was given")]
    Circular,
    /// Its author was revoked, and the revocation does not let it stand.
    #[error("its author was revoked")]
    Revoked,
    /// It revokes somebody whom its author does not outrank.
    #[error("it revokes somebody whom its author does not outrank")]
    Outranked,
    /// It redeems an invitation that it does not fit, or without its one-time key.
    #[error("it does not fit the invitation that it redeems")]
    BadInvitation,
    /// It redeems an invitation whose time was over.
    #[error("the invitation's time was over")]
    InviteExpired,
    /// As many others redeemed that invitation as may.
    #[error("the invitation is used up")]
    InviteUsedUp,
    /// Its author signed another record of that sequence, and that one stands.
    #[error("another record of its author has the same sequence")]
    Equivocation,
    /// Its author took it back already.
    #[error("its author took it back")]
    Retracted,
    /// Its author or the channel has more than the charter allows.
    #[error("its author or the channel has more than the charter allows")]
    Quota,
    /// More waits for the disk than we hold in memory; it will come again.
    #[error("too many records wait for the disk")]
    Busy,
    /// A release, while two charters contradict each other; it will come again.
    #[error("two charters of the channel contradict each other, and the operator has not chosen")]
    Forked,
    /// The neighbour sends more unasked than it may; it will come again.
    #[error("too many records came unasked")]
    Rate,
}

impl Reject {
    /// Why bytes that do not decode are not taken.
    pub(super) fn of(error: &RecordError) -> Self {
        match error {
            RecordError::UnknownFormat(_) => Self::UnknownFormat,
            RecordError::TooLarge(_) => Self::TooLarge,
            RecordError::BadSignature => Self::BadSignature,
            RecordError::Wire(_) => Self::Malformed,
        }
    }

    /// The reason as a metrics label: lowercase, fixed for ever.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownFormat => "unknown_format",
            Self::TooLarge => "too_large",
            Self::BadSignature => "bad_signature",
            Self::ForeignChannel => "foreign_channel",
            Self::BadBody => "bad_body",
            Self::Future => "future",
            Self::Expired => "expired",
            Self::Lifetime => "lifetime",
            Self::NotPublisher => "not_publisher",
            Self::NoAuthority => "no_authority",
            Self::Widens => "widens",
            Self::OutOfTime => "out_of_time",
            Self::ChainTooLong => "chain_too_long",
            Self::Circular => "circular",
            Self::Revoked => "revoked",
            Self::Outranked => "outranked",
            Self::BadInvitation => "bad_invitation",
            Self::InviteExpired => "invite_expired",
            Self::InviteUsedUp => "invite_used_up",
            Self::Equivocation => "equivocation",
            Self::Retracted => "retracted",
            Self::Quota => "quota",
            Self::Busy => "busy",
            Self::Forked => "forked",
            Self::Rate => "rate",
        }
    }

    /// Which offence it is of whoever sent the record; `None` if an honest neighbour
    /// may have sent it, with another clock, another charter or another version.
    pub(super) fn fault(self) -> Option<Fault> {
        match self {
            Self::Malformed | Self::ForeignChannel => Some(Fault::MalformedRecord),
            Self::BadSignature => Some(Fault::ForgedRecord),
            _ => None,
        }
    }

    /// Whether these bytes can never be taken, whatever else changes.
    pub(super) fn is_final(self) -> bool {
        use Reject::*;
        matches!(
            self,
            Malformed | UnknownFormat | BadSignature | ForeignChannel | BadBody
        )
    }

    /// The same as the end of a record that was stored before it was refused.
    pub(super) fn as_removal(self) -> RemoveReason {
        match self {
            Self::Equivocation => RemoveReason::Equivocation,
            Self::Retracted => RemoveReason::Retracted,
            Self::Expired => RemoveReason::Expired,
            Self::Revoked => RemoveReason::Revoked,
            Self::InviteUsedUp => RemoveReason::InviteUsedUp,
            Self::Quota | Self::TooLarge | Self::Lifetime => RemoveReason::Quota,
            _ => RemoveReason::NotPublisher,
        }
    }
}

/// What validation says of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be stored.
    Valid,
    /// It is not.
    Invalid(Reject),
    /// The grant that it stands by has not arrived; it waits for it.
    Deferred,
}

/// Why a graph does not do what its own node asks. Never a peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The charter has not arrived yet.
    #[error(
        "the channel's charter has not arrived yet; a connection to one of its members is needed"
    )]
    NoCharter,
    /// Neither the charter nor a grant that is here lets this identity do that.
    #[error("{0} may not do that in this channel")]
    NotPublisher(PeerId),
    /// The own role does not let this identity give that one away.
    #[error("this identity is {0} in the channel, and may not give that role away")]
    MayNotGive(Role),
    /// Who is to be revoked is not below this identity's role.
    #[error("{0} outranks this identity, or is its equal")]
    Outranked(PeerId),
    /// Only owners and admins take anything away.
    #[error("that would leave {0} with less than it has, which only an owner or an admin may do")]
    MayNotLower(PeerId),
    /// A revocation cannot list all the records that have to stay.
    #[error(
        "{0} wrote more grants, revocations and other records that decide about others than one record can list"
    )]
    TooManyToKeep(PeerId),
    /// The channel does not take the record.
    #[error("the channel does not take the record: {0}")]
    Refused(Reject),
    /// The record would be outside its bounds.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The charter is not one.
    #[error(transparent)]
    Charter(#[from] CharterError),
    /// It is to be revoked and is no invitation.
    #[error("no invitation {0} is held here")]
    NoInvitation(RecordId),
    /// There is no contradiction of charters to decide, or not about that one.
    #[error("no fork of this channel is about that charter")]
    NoFork,
    /// Nobody gave the identity anything in this channel that it could give back.
    #[error("{0} has nothing in this channel to give back")]
    NothingToLeave(PeerId),
    /// There is nothing of that kind and key to retract.
    #[error("there is no {kind} \"{key}\" by this identity to retract")]
    NothingToRetract {
        /// Of which kind.
        kind: Kind,
        /// About what.
        key: String,
    },
}
