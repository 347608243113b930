use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use samara_wire::{PeerId, RecordId};
use thiserror::Error;

use crate::{
    Attributes, CharterChain, CharterRef, Kind, Message, PeerAddress, Record, RecordHeader, Role,
};

/// What a graph is told on making it.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub us: PeerId,
    /// Seeds the choice of peers and the jitter of timers; same seed and same events,
    /// same actions.
    pub seed: u64,
    /// Below that many active neighbours the graph looks for more; it takes in half as
    /// many again. Default 6: with it an overlay of 10,000 stays connected when 30 %
    /// vanish at once. More costs traffic, less costs resilience.
    pub target_neighbours: usize,
    /// Above that many connected peers one that is no active neighbour is let go, or
    /// the newcomer is told of others and let go. Default 64: a publisher is
    /// everybody's first contact.
    pub max_neighbours: usize,
}

impl Config {
    /// The defaults for `us`.
    pub fn new(us: PeerId, seed: u64) -> Self {
        Self {
            us,
            seed,
            target_neighbours: 6,
            max_neighbours: 64,
        }
    }
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A connection to `peer` on which both sides carry this channel is there.
    NeighbourUp {
        /// Who.
        peer: PeerId,
    },
    /// It is gone.
    NeighbourDown {
        /// Who.
        peer: PeerId,
    },
    /// An [`Action::Connect`] came to nothing.
    ConnectFailed {
        /// Who.
        peer: PeerId,
    },
    /// A neighbour said something.
    Message {
        /// Who.
        peer: PeerId,
        /// What. Bytes that are no message are the node's to complain about.
        message: Message,
    },
    /// This node's own addresses, now or again.
    OurAddress(PeerAddress),
    /// A peer remembered from an earlier run.
    PeerKnown(PeerAddress),
    /// All known peers together have not what this node is after. Peers are exchanged
    /// with all active neighbours, ever less often until the next regular exchange.
    PeersWanted,
    /// A neighbour takes what is sent to it slower than it comes, or does so no more.
    Slow {
        /// Who.
        peer: PeerId,
        /// Whether it is slow now. Until it is not, it is sent ids in the place of
        /// records, and nothing that it asked for.
        slow: bool,
    },
    /// The record of an [`Action::Store`] is on disk, synced.
    Stored {
        /// Which.
        id: RecordId,
    },
    /// It could not be written. It is forgotten, and comes again with the next
    /// reconciliation.
    StoreFailed {
        /// Which.
        id: RecordId,
    },
    /// A stored record does not read back. It is forgotten and fetched again.
    Lost {
        /// Which.
        id: RecordId,
    },
    /// The time that [`Graph::next_timeout`](crate::Graph::next_timeout) named has come.
    Tick,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Send a message to a neighbour.
    Send {
        /// To whom.
        peer: PeerId,
        /// What.
        message: Message,
    },
    /// Load a stored record and send it as [`Message::Record`]; if it does not read
    /// back, say [`Event::Lost`].
    SendRecord {
        /// To whom.
        peer: PeerId,
        /// Which.
        id: RecordId,
    },
    /// Write a record durably, then say [`Event::Stored`]: only then it counts.
    Store {
        /// What to keep beside it for [`Graph::restore`](crate::Graph::restore).
        header: RecordHeader,
        /// The record.
        bytes: Bytes,
    },
    /// Write the channel's charters durably; nothing waits for it.
    StoreCharters {
        /// All versions.
        chain: CharterChain,
    },
    /// A record is new, valid and stored: for the application.
    Deliver {
        /// Which.
        record: Record,
    },
    /// A record ended: delete it, and tell the application.
    Remove {
        /// Which.
        id: RecordId,
        /// Why.
        reason: RemoveReason,
    },
    /// Connect to a peer for this channel; then [`Event::NeighbourUp`] or
    /// [`Event::ConnectFailed`].
    Connect {
        /// Whom.
        peer: PeerId,
        /// Where, best first.
        addrs: Vec<SocketAddr>,
    },
    /// Stop carrying this channel on the connection to a peer, after sending what
    /// was to be sent; no `NeighbourDown` is needed.
    Drop {
        /// Whom.
        peer: PeerId,
        /// Why.
        reason: DropReason,
    },
    /// A peer lost its right to be in this channel: its proof is void, and nothing of
    /// the channel may pass to it or from it any more, also what is under way; but of
    /// who left by itself what it was told until now. It is a neighbour no more; no
    /// `NeighbourDown` is needed.
    Expel {
        /// Whom.
        peer: PeerId,
        /// Why.
        reason: LeaveReason,
    },
    /// Who belonged to the channel when its records were restored, nothing having been
    /// recalled.
    MembersFound {
        /// Each with the mightiest role.
        roles: Vec<(PeerId, Role)>,
    },
    /// Somebody got a role that had none.
    MemberJoined {
        /// Who.
        peer: PeerId,
        /// Which, the mightiest.
        role: Role,
    },
    /// Somebody's mightiest role changed.
    RoleChanged {
        /// Who.
        peer: PeerId,
        /// To which.
        role: Role,
    },
    /// Somebody has no role any more.
    MemberLeft {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: LeaveReason,
    },
    /// A neighbour broke the protocol; it is a neighbour no more. What else it costs
    /// it is the node's choice.
    Fault {
        /// Who.
        peer: PeerId,
        /// How.
        fault: Fault,
    },
    /// With that neighbour: everything that it holds and we take is on our disk.
    Synchronized {
        /// With whom.
        peer: PeerId,
    },
    /// Somebody has another charter of a version that we have, signed by its roots:
    /// their keys may be stolen. No newer charter is taken from now on.
    CharterFork {
        /// Ours.
        ours: CharterRef,
        /// Theirs.
        theirs: CharterRef,
    },
}

/// Why a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemoveReason {
    /// Its time is over.
    Expired,
    /// Its author took it back.
    Retracted,
    /// Its author signed two records of one sequence, and the other one stands.
    Equivocation,
    /// Its author or the channel has more than the charter allows.
    Quota,
    /// The charter or the grant by which its author had the right to write it is gone.
    NotPublisher,
    /// Its author was revoked.
    Revoked,
    /// Others redeemed the invitation before it.
    InviteUsedUp,
    /// The disk lost it.
    Lost,
}

impl RemoveReason {
    /// The reason as a metrics label: lowercase, fixed for ever.
    pub fn label(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Retracted => "retracted",
            Self::Equivocation => "equivocation",
            Self::Quota => "quota",
            Self::NotPublisher => "not_publisher",
            Self::Revoked => "revoked",
            Self::InviteUsedUp => "invite_used_up",
            Self::Lost => "lost",
        }
    }
}

/// Why somebody belongs to a channel no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaveReason {
    /// It was revoked.
    Revoked,
    /// Its grant ended, or fell with another one; or the charter names it no more.
    Lapsed,
    /// It left by itself.
    Left,
}

impl LeaveReason {
    /// The reason as a metrics label: lowercase, fixed for ever.
    pub fn label(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Lapsed => "lapsed",
            Self::Left => "left",
        }
    }
}

/// Why a neighbour is let go without fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// We are connected to as many as we take.
    Full,
}

/// What a neighbour did that no honest one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Fault {
    /// It sent a record that is no record, or of another channel.
    #[error("sent a malformed record")]
    MalformedRecord,
    /// It sent a record with a forged signature.
    #[error("sent a record with a forged signature")]
    ForgedRecord,
    /// It sent charters that are none of this channel.
    #[error("sent a charter that is not this channel's")]
    BadCharter,
    /// It sent addresses that their peer did not sign.
    #[error("sent forged addresses")]
    ForgedAddress,
    /// It asks for more at once than it may.
    #[error("asked for too much at once")]
    RequestFlood,
    /// It broke the rules of reconciliation, or never ends it.
    #[error("broke the rules of reconciliation")]
    Reconciliation,
    /// It claimed to hold what it does not send.
    #[error("claims to hold records that it does not send")]
    EmptyPromise,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::MalformedRecord,
        Self::ForgedRecord,
        Self::BadCharter,
        Self::ForgedAddress,
        Self::RequestFlood,
        Self::Reconciliation,
        Self::EmptyPromise,
    ];

    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::MalformedRecord => "malformed_record",
            Self::ForgedRecord => "forged_record",
            Self::BadCharter => "bad_charter",
            Self::ForgedAddress => "forged_address",
            Self::RequestFlood => "request_flood",
            Self::Reconciliation => "reconciliation",
            Self::EmptyPromise => "empty_promise",
        }
    }
}

/// A record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What the body is.
    pub kind: Kind,
    /// What it is about; at most [`limits::MAX_KEY_BYTES`](crate::limits::MAX_KEY_BYTES).
    pub key: Bytes,
    /// What it can be searched by.
    pub attributes: Attributes,
    /// As its kind says.
    pub body: Bytes,
    /// How long it lives; cut to what the charter and the author's grant allow.
    pub lifetime: Duration,
    /// Higher ones are wanted first; 0 is usual.
    pub priority: u8,
}
