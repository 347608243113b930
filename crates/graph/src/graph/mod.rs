use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use samara_wire::{ChannelId, PeerId, RecordId};
use thiserror::Error;

use crate::{
    CharterChain, CharterError, CharterRef, Kind, Message, PeerAddress, Record, RecordError,
    RecordHeader, SecretKey, WallMs,
};

/// What a graph is told on making it.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub us: PeerId,
    /// Seeds the choice of peers and the jitter of timers; same seed and same events,
    /// same actions.
    pub seed: u64,
    /// Below that many neighbours the graph asks for connections. Default 6: with it
    /// an overlay of 10,000 stays connected when 30 % vanish at once. More costs
    /// traffic, less costs resilience.
    pub target_neighbours: usize,
    /// Above that many a newcomer is told of other peers and let go. Default 64: a
    /// publisher is everybody's first contact, and each neighbour costs it a
    /// summary every 45 s and every new record once.
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
    /// The time that [`Graph::next_timeout`] named has come.
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
        /// What to keep beside it for [`Graph::restore`].
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
    /// The charter changed, and its author is no publisher any more.
    NotPublisher,
    /// The disk lost it.
    Lost,
}

/// Why a neighbour is let go without fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// We have as many neighbours as we take.
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

/// Why a record was not taken. Each is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
#[non_exhaustive]
pub enum Reject {
    /// Not the canonical bytes of a record.
    #[error("it is malformed")]
    Malformed,
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

/// A record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What the body is.
    pub kind: Kind,
    /// What it is about; at most [`limits::MAX_KEY_BYTES`](crate::limits::MAX_KEY_BYTES).
    pub key: Bytes,
    /// As its kind says.
    pub body: Bytes,
    /// How long it lives; cut to what the charter allows.
    pub lifetime: Duration,
    /// Higher ones are wanted first; 0 is usual.
    pub priority: u8,
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

/// What a graph is doing, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The channel.
    pub channel: ChannelId,
    /// Its name, once the charter is there.
    pub name: Option<String>,
    /// The charter in force, once it is there.
    pub charter: Option<CharterRef>,
    /// Whether somebody has another charter of a version that we have.
    pub forked: bool,
    /// Records held.
    pub records: usize,
    /// Their bytes.
    pub record_bytes: u64,
    /// Records that wait for the disk.
    pub pending: usize,
    /// Neighbours, by identity.
    pub neighbours: Vec<NeighbourStatus>,
    /// Peers known and not connected.
    pub known_peers: usize,
    /// Authors that signed two records of one sequence.
    pub equivocators: Vec<PeerId>,
    /// Whether a reconciliation with any neighbour was ever completed.
    pub synchronized: bool,
    /// Records received, duplicates included.
    pub received: u64,
    /// Records received that we held already.
    pub duplicates: u64,
    /// Records whose author's grant had not arrived.
    pub deferred: u64,
    /// Records not taken, by reason; reasons that never occurred are left out.
    pub rejected: Vec<(Reject, u64)>,
}

/// One neighbour of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourStatus {
    /// Who.
    pub peer: PeerId,
    /// Whether we hold everything that it does.
    pub synchronized: bool,
    /// Records that we asked it for and wait for.
    pub requested: usize,
    /// Records not taken from it.
    pub rejected: u64,
}

/// One node's copy of one channel: its charter, the headers of its records, its
/// neighbours. Bodies stay with the node.
///
/// Drive it with [`handle`](Self::handle) on every event, and with
/// [`Event::Tick`] at [`next_timeout`](Self::next_timeout). Actions are to be done
/// in order.
#[derive(Debug)]
pub struct Graph {}

impl Graph {
    /// A channel that one has a link to and no charter of: it is asked of the first
    /// neighbours. `charter` is the link's: a chain that does not contain it, or
    /// does not reach it, is not believed.
    pub fn join(_channel: ChannelId, _charter: CharterRef, _config: Config) -> Self {
        todo!()
    }

    /// A channel whose charter is here: one's own new one, or one from the disk with
    /// the headers of its stored records, in any order. What expired meanwhile is
    /// removed by the first [`handle`](Self::handle).
    ///
    /// # Errors
    /// [`GraphError::Private`].
    pub fn restore(
        _chain: CharterChain,
        _headers: impl IntoIterator<Item = RecordHeader>,
        _config: Config,
    ) -> Result<Self, GraphError> {
        todo!()
    }

    /// Takes one event in, appends what to do to `out`.
    ///
    /// `now` is the wall clock; `mono` a clock that only runs forward, of any origin.
    pub fn handle(&mut self, _now: WallMs, _mono: Duration, _event: Event, _out: &mut Vec<Action>) {
        todo!()
    }

    /// When [`Event::Tick`] is due, on the monotonic clock.
    pub fn next_timeout(&self) -> Option<Duration> {
        todo!()
    }

    /// Signs a new record with the next sequence of `author` and appends its
    /// [`Action::Store`]; it is flooded once it is stored.
    ///
    /// # Errors
    /// [`GraphError`].
    pub fn publish(
        &mut self,
        _now: WallMs,
        _author: &SecretKey,
        _draft: Draft,
        _out: &mut Vec<Action>,
    ) -> Result<Record, GraphError> {
        todo!()
    }

    /// Publishes a retraction of every record of `author` with this kind and key, as
    /// [`publish`](Self::publish) does; it expires with the last of them.
    ///
    /// # Errors
    /// [`GraphError::NothingToRetract`], and those of `publish`.
    pub fn retract(
        &mut self,
        _now: WallMs,
        _author: &SecretKey,
        _kind: Kind,
        _key: &[u8],
        _out: &mut Vec<Action>,
    ) -> Result<Record, GraphError> {
        todo!()
    }

    /// What the graph would say to `record` now; changes nothing.
    pub fn validate(&self, _now: WallMs, _record: &Record) -> Verdict {
        todo!()
    }

    /// The channel.
    pub fn channel(&self) -> ChannelId {
        todo!()
    }

    /// The charters, once they are there.
    pub fn charters(&self) -> Option<&CharterChain> {
        todo!()
    }

    /// Whether the record is held.
    pub fn contains(&self, _id: &RecordId) -> bool {
        todo!()
    }

    /// The headers of all records held, in no particular order.
    pub fn records(&self) -> impl Iterator<Item = &RecordHeader> {
        std::iter::empty()
    }

    /// The record that stands for (author, kind, key): an extension before what it
    /// extends. Among several, the latest expiry, then the highest sequence.
    pub fn head(&self, _author: &PeerId, _kind: Kind, _key: &[u8]) -> Option<&RecordHeader> {
        todo!()
    }

    /// The neighbours, in order of their identities.
    pub fn neighbours(&self) -> impl Iterator<Item = PeerId> {
        std::iter::empty()
    }

    /// Signed addresses of peers of this channel, neighbours included: for a link,
    /// and to remember for the next start.
    pub fn known_peers(&self) -> impl Iterator<Item = &PeerAddress> {
        std::iter::empty()
    }

    /// What the graph is doing.
    pub fn status(&self) -> Status {
        todo!()
    }
}
