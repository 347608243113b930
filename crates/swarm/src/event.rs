use std::{sync::Arc, time::Duration};

use samara_content::{ChunkSet, Stripes};
use samara_wire::PeerId;

use crate::Message;

/// The node's own number for a content. Never on the wire: the node maps it to
/// a channel and a content there. Not used again after the content was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey(pub u32);

/// A request of ours, numbered by the swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A request of a peer, numbered by the node; unique among those that have not
/// ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServeId(pub u64);

/// How near a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The same link: bytes to it cross no router.
    Subnet,
    /// The same site: bytes to it do not leave the house.
    Site,
    /// Anywhere else.
    Elsewhere,
}

/// A site, by a number that stands for its label or network: the same for two peers
/// exactly if they are in the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub u64);

/// Who is to be done early, as far as it is for a node that serves to say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// The last peer: whoever has least is served first.
    #[default]
    LastPeer,
    /// Peers on average: whoever has most is served first, and then another. What
    /// peers announce is believed here too; every fifth grant goes by turns all the same.
    Average,
}

/// In which order a node asks for chunks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Those first of which there are the fewest copies, so that there is something to
    /// pass on.
    #[default]
    Rarest,
    /// As they lie in the content, for one that is used while it arrives: one after the
    /// other if nobody else fetches, else about so, within a window of the next ones.
    Stream,
}

/// What a node does for others in a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes what it wants and serves what it has.
    Member,
    /// Takes only; announces nothing, grants nobody credit and refuses requests.
    Leech,
    /// Neither takes nor serves, until that changes.
    Paused,
}

impl Role {
    /// Whether others can have from this node what it has.
    pub fn serves(self) -> bool {
        self == Self::Member
    }

    /// Whether this node takes what it wants.
    pub fn fetches(self) -> bool {
        self != Self::Paused
    }
}

/// What happened outside.
#[derive(Debug, Clone)]
pub enum Event {
    /// The node takes part in a content's swarm from now on.
    ///
    /// Comes when the manifest is known, and before the first
    /// [`PeerJoined`](Self::PeerJoined) of that key.
    ContentAdded {
        /// New key.
        key: ContentKey,
        /// How parity shards belong to the chunks, if there are any: they are numbered
        /// after the chunks. Shards are not wanted for themselves unless `wanted` says
        /// so; while every chunk is wanted they are taken in place of missing ones.
        stripes: Option<Stripes>,
        /// Bytes of every chunk, in stream order, and then of every shard. For a chunk whose manifest page
        /// is not known (and which is not wanted), the largest size it may have.
        chunk_sizes: Arc<[u32]>,
        /// Chunks that are verified and written here.
        have: ChunkSet,
        /// Chunks to fetch; `None`: all, but no shards.
        wanted: Option<ChunkSet>,
        /// What this node does for the others.
        role: Role,
        /// Contents of higher priority are served first, and fetched first: while
        /// anything of one is on its way, nothing is asked of those below it.
        priority: u8,
        /// In which order chunks are asked for.
        order: Order,
    },
    /// More chunks of a content are to be fetched.
    WantMore {
        /// The content.
        key: ContentKey,
        /// Added to those wanted already.
        wanted: ChunkSet,
    },
    /// The node takes part in another way from now on. Open requests go on unless it
    /// stops fetching; answers under way go on in any case.
    TermsChanged {
        /// The content.
        key: ContentKey,
        /// What this node does for the others.
        role: Role,
        /// As in [`ContentAdded`](Self::ContentAdded).
        priority: u8,
        /// In which order chunks are asked for.
        order: Order,
    },
    /// The node left the swarm; its open requests are cancelled.
    ContentRemoved {
        /// The content.
        key: ContentKey,
    },
    /// A connected peer takes part in the content's swarm (both ends have said so).
    PeerJoined {
        /// The content.
        key: ContentKey,
        /// The peer.
        peer: PeerId,
        /// How near it is.
        tier: Tier,
        /// Where it is, if that is known. Of those in one site elsewhere, a seeder
        /// suggests each chunk to one.
        site: Option<SiteId>,
    },
    /// The peer left this content's swarm and stays connected.
    PeerLeft {
        /// The content.
        key: ContentKey,
        /// The peer.
        peer: PeerId,
    },
    /// The connection to the peer ended; it leaves every swarm.
    Disconnected {
        /// The peer.
        peer: PeerId,
    },
    /// The transport measured the path. The smallest of the last minute counts,
    /// so that our own queues do not look like distance.
    PathSample {
        /// The peer.
        peer: PeerId,
        /// Round trip.
        rtt: Duration,
    },
    /// A peer said something about a content.
    Message {
        /// Who.
        peer: PeerId,
        /// The content.
        key: ContentKey,
        /// What, decoded with this content's chunk count.
        msg: Message,
        /// While limits of this node hold: bytes that may be asked for now, overdrawn by
        /// less than a chunk. What is left of a grant is given back until there is more.
        room: Option<u64>,
    },
    /// There is room again for what one of [`Swarm::cramped`](crate::Swarm::cramped)
    /// could send.
    Roomier {
        /// The content.
        key: ContentKey,
        /// The peer.
        peer: PeerId,
    },
    /// This node's own limits held back what a peer sends, for so long since the last such
    /// event: for that time nobody is late.
    HeldBack {
        /// The peer.
        peer: PeerId,
        /// For how long.
        wait: Duration,
    },
    /// Part of a chunk came in, and the rest did not yet: for a node to tell about twice a
    /// second of every answer that it reads. Such a peer is slow and not silent, as long as
    /// [`SLOWEST_SENDER`](crate::limits::SLOWEST_SENDER) bytes a second come from it.
    Progress {
        /// The content.
        key: ContentKey,
        /// Which chunk.
        chunk: u32,
        /// Who sends it.
        peer: PeerId,
        /// How many bytes of it are here.
        bytes: u32,
    },
    /// All bytes of a requested chunk came in. Not verified yet: it is not asked
    /// for elsewhere meanwhile, and nothing is announced.
    ChunkArrived {
        /// The content.
        key: ContentKey,
        /// Which chunk.
        chunk: u32,
        /// Who sent it.
        peer: PeerId,
        /// How many bytes.
        bytes: u32,
    },
    /// The chunk's hash is right; [`ChunkStored`](Self::ChunkStored) follows.
    ChunkVerified {
        /// The content.
        key: ContentKey,
        /// Which chunk.
        chunk: u32,
        /// Who sent it.
        peer: PeerId,
    },
    /// The chunk's length or hash is wrong: the fault of `peer`. May come before
    /// [`ChunkArrived`](Self::ChunkArrived), when an answer is of the wrong length.
    ChunkRejected {
        /// The content.
        key: ContentKey,
        /// Which chunk.
        chunk: u32,
        /// Who sent it.
        peer: PeerId,
    },
    /// The chunk is verified and written: it is announced. Also for chunks that
    /// were never requested (found on the disk).
    ChunkStored {
        /// The content.
        key: ContentKey,
        /// Which chunk.
        chunk: u32,
    },
    /// A chunk that arrived could not be kept for a reason of ours (disk): it is
    /// wanted again, and nobody is blamed.
    ChunkDropped {
        /// The content.
        key: ContentKey,
        /// Which chunk.
        chunk: u32,
    },
    /// A chunk that was stored is damaged or gone: it is withdrawn, and fetched
    /// again if it is wanted.
    ChunkLost {
        /// The content.
        key: ContentKey,
        /// Which chunk.
        chunk: u32,
    },
    /// A stripe could not be brought back. Those of its chunks and shards that turned
    /// out damaged are reported as [`ChunkLost`](Self::ChunkLost) before.
    DecodeFailed {
        /// The content.
        key: ContentKey,
        /// Which stripe.
        stripe: u32,
        /// Its shards were not made from its chunks: they are of no use.
        broken: bool,
    },
    /// A request of ours ended (refused, reset, cut short) before all its chunks
    /// arrived; those that did not are wanted again. A request whose chunks all
    /// arrived needs no such event, nor does one that was cancelled.
    RequestFailed {
        /// The content.
        key: ContentKey,
        /// Whom it was sent to.
        peer: PeerId,
        /// Which request.
        request: RequestId,
    },
    /// A peer asks for chunks. Answered at once with [`Action::Serve`] or
    /// [`Action::Refuse`](crate::Action::Refuse).
    ///
    /// [`Action::Serve`]: crate::Action::Serve
    Incoming {
        /// The content.
        key: ContentKey,
        /// Who asks.
        peer: PeerId,
        /// The node's number for it.
        serve: ServeId,
        /// What it asks for, in the order of the answer.
        chunks: Vec<u32>,
    },
    /// Bytes of an answer went out, and the peer acknowledges: for a node to tell about
    /// twice a second of every answer that takes longer.
    Sending {
        /// The content.
        key: ContentKey,
        /// To whom.
        peer: PeerId,
    },
    /// The transport took the last byte of one chunk of an answer.
    Served {
        /// The content.
        key: ContentKey,
        /// To whom.
        peer: PeerId,
        /// Which answer.
        serve: ServeId,
        /// Which chunk.
        chunk: u32,
        /// How many bytes.
        bytes: u32,
    },
    /// An answer is over: the peer acknowledged all of it, stopped it, or the
    /// stream failed. This is what frees credit, so it must not come when bytes
    /// are merely queued: with quinn, when `SendStream::stopped` resolves.
    ServeEnded {
        /// The content.
        key: ContentKey,
        /// To whom.
        peer: PeerId,
        /// Which answer.
        serve: ServeId,
        /// The peer acknowledged all of it. If not, what it does not announce may have
        /// been thrown away there, though the transport took it.
        taken: bool,
    },
    /// Nothing but the time: [`Swarm::next_timeout`](crate::Swarm::next_timeout)
    /// has come.
    Tick,
}
