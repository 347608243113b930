use std::time::Duration;

use samara_content::ChunkSet;
use samara_wire::PeerId;

use crate::{Action, Config, ContentKey, Event, Tier};

/// All swarms that a node takes part in.
#[derive(Debug)]
pub struct Swarm {}

/// How far a content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes stored, of those wanted.
    pub have_bytes: u64,
    /// Bytes wanted, stored or not.
    pub wanted_bytes: u64,
    /// Chunks stored, wanted or not.
    pub have_chunks: u32,
    /// Bytes requested and not yet here.
    pub in_flight_bytes: u64,
    /// Peers in the swarm.
    pub peers: usize,
    /// Peers that have a chunk that is missing here.
    pub sources: usize,
}

/// What passes between this node and one peer about one content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkStatus {
    /// Who.
    pub peer: PeerId,
    /// How near.
    pub tier: Tier,
    /// Chunks that it announced.
    pub has_chunks: u32,
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// Bytes received from it.
    pub received_bytes: u64,
    /// Bytes a second that it sends us, by the last answers; 0: not known.
    pub rate: u64,
    /// Smallest round trip of late, if measured.
    pub rtt: Option<Duration>,
}

impl Swarm {
    /// A node that takes part in no swarm yet. Ties are broken by random numbers
    /// from `seed`.
    pub fn new(_config: Config, _our_id: PeerId, _seed: u64) -> Self {
        todo!()
    }

    /// Takes in what happened at `now` and appends what is to be done.
    ///
    /// `now` is the time since any fixed instant and does not run backwards.
    /// Events about contents or peers that are not known (any longer) are ignored,
    /// except that an [`Incoming`](Event::Incoming) is then refused.
    pub fn handle(&mut self, _now: Duration, _event: Event, _out: &mut Vec<Action>) {
        todo!()
    }

    /// When [`Event::Tick`] is due at the latest; `None`: nothing is pending.
    pub fn next_timeout(&self) -> Option<Duration> {
        todo!()
    }

    /// Number of chunks of a content: what [`Message::decode`](crate::Message::decode) needs.
    pub fn chunk_count(&self, _key: ContentKey) -> Option<u32> {
        todo!()
    }

    /// What is stored of a content.
    pub fn have(&self, _key: ContentKey) -> Option<&ChunkSet> {
        todo!()
    }

    /// How far a content is.
    pub fn progress(&self, _key: ContentKey) -> Option<Progress> {
        todo!()
    }

    /// The peers in a content's swarm, by identity.
    pub fn links(&self, _key: ContentKey) -> Vec<LinkStatus> {
        todo!()
    }
}
