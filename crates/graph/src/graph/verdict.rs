use samara_wire::PeerId;
use thiserror::Error;

use super::{Fault, RemoveReason};
use crate::{CharterError, Kind, RecordError};

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
    /// The neighbour sends more unasked than it may; it will come again.
    #[error("too many records came unasked")]
    Rate,
}

impl Reject {
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
            Self::Equivocation => "equivocation",
            Self::Retracted => "retracted",
            Self::Quota => "quota",
            Self::Busy => "busy",
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
            Self::NotPublisher => RemoveReason::NotPublisher,
            _ => RemoveReason::Quota,
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
    /// Its author's grant has not arrived; it is dropped for now and comes again.
    Deferred,
}

/// Why a graph does not do what its own node asks. Never a peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GraphError {
    /// Only members may read the channel.
    #[error("the channel is private, which this version of Samara does not support yet")]
    Private,
    /// The charter has not arrived yet.
    #[error(
        "the channel's charter has not arrived yet; a connection to one of its members is needed"
    )]
    NoCharter,
    /// The charter does not let this identity publish.
    #[error("{0} may not publish in this channel")]
    NotPublisher(PeerId),
    /// The channel does not take the record.
    #[error("the channel does not take the record: {0}")]
    Refused(Reject),
    /// The record would be outside its bounds.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The charter is not one.
    #[error(transparent)]
    Charter(#[from] CharterError),
    /// There is nothing of that kind and key to retract.
    #[error("there is no {kind} \"{key}\" by this identity to retract")]
    NothingToRetract {
        /// Of which kind.
        kind: Kind,
        /// About what.
        key: String,
    },
}
