use samara_wire::PeerId;

use crate::{ContentKey, Message, RequestId, ServeId};

/// What the node is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send a message on the control stream; messages to one peer stay in order.
    Send {
        /// To whom.
        peer: PeerId,
        /// About which content.
        key: ContentKey,
        /// What.
        msg: Message,
    },
    /// Ask a peer for chunks: one bidirectional stream, answered in order.
    Request {
        /// Whom.
        peer: PeerId,
        /// The content.
        key: ContentKey,
        /// The swarm's number for it.
        request: RequestId,
        /// At least one, at most [`limits::MAX_REQUEST_CHUNKS`](crate::limits::MAX_REQUEST_CHUNKS).
        chunks: Vec<u32>,
    },
    /// Stop reading the answer to a request. Chunks of it that arrive all the
    /// same may be reported or dropped.
    Cancel {
        /// Whom it was sent to.
        peer: PeerId,
        /// The content.
        key: ContentKey,
        /// Which request.
        request: RequestId,
    },
    /// Answer a peer's request.
    Serve {
        /// Who asked.
        peer: PeerId,
        /// The content.
        key: ContentKey,
        /// The node's number for it.
        serve: ServeId,
        /// What was asked for, all of it stored here.
        chunks: Vec<u32>,
    },
    /// Refuse a peer's request: it had no credit, or the chunks are not here.
    Refuse {
        /// Who asked.
        peer: PeerId,
        /// The content.
        key: ContentKey,
        /// The node's number for it.
        serve: ServeId,
    },
    /// The peer broke the rules: close the connection and do not talk to it for
    /// a while. The swarm has forgotten it already.
    Punish {
        /// Who.
        peer: PeerId,
        /// What for.
        offence: Offence,
    },
    /// A peer says that a chunk we sent was wrong: hash our copy again, and
    /// report [`ChunkLost`](crate::Event::ChunkLost) if it is.
    Recheck {
        /// The content.
        key: ContentKey,
        /// Which chunk.
        chunk: u32,
    },
    /// Enough of a stripe is stored: bring back its chunks that are missing, and report
    /// [`ChunkStored`](crate::Event::ChunkStored) for each, or
    /// [`DecodeFailed`](crate::Event::DecodeFailed).
    Decode {
        /// The content.
        key: ContentKey,
        /// Which stripe.
        stripe: u32,
    },
    /// Every wanted chunk is stored. Comes again after
    /// [`WantMore`](crate::Event::WantMore) or a lost chunk; comes at once for a
    /// content that was whole when it was added.
    Complete {
        /// The content.
        key: ContentKey,
    },
    /// Chunks are missing, none is on its way, and no peer in the swarm has any
    /// of them. Once, until a peer offers one.
    NoSource {
        /// The content.
        key: ContentKey,
    },
}

/// What a peer did that no honest one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Offence {
    /// It sent chunks whose hash is wrong, more than once.
    BadChunks,
    /// It went on sending requests without credit for them, or snapshots.
    Flood,
}

impl std::fmt::Display for Offence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BadChunks => "sent chunks with wrong hashes",
            Self::Flood => "sent more requests or snapshots than it may",
        })
    }
}
