use std::collections::BTreeMap;

use samara_wire::{ChannelId, PeerId};

use super::{Graph, Neighbour, Offender, Reject};
use crate::{CharterChain, CharterRef};

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
    /// Those of them that are in reserve for lost neighbours.
    pub reserved_peers: usize,
    /// Authors that signed two records of one sequence.
    pub equivocators: Vec<PeerId>,
    /// Whether a reconciliation with any neighbour was ever completed.
    pub synchronized: bool,
    /// Records received, duplicates included.
    pub received: u64,
    /// Records received that we held already.
    pub duplicates: u64,
    /// Records whose author's grant had not arrived when they came.
    pub deferred: u64,
    /// Records that wait for a grant now.
    pub waiting: usize,
    /// Records that waited for a grant and had to make room for others.
    pub deferred_dropped: u64,
    /// Identities with a role now.
    pub members: usize,
    /// Records not taken, by reason; reasons that never occurred are left out.
    pub rejected: Vec<(Reject, u64)>,
    /// Records that were taken and gave way to others, since there were more than the
    /// charter allows their author, or the channel as a whole.
    pub displaced: u64,
    /// Whose records those were that were not taken or not kept, the most first; at
    /// most [`limits::MAX_OFFENDERS`](crate::limits::MAX_OFFENDERS).
    pub offenders: Vec<Offender>,
}

/// One neighbour of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeighbourStatus {
    /// Who.
    pub peer: PeerId,
    /// Whether it is told of new records and tells us.
    pub active: bool,
    /// Whether new records go to it whole.
    pub eager: bool,
    /// Whether we hold everything that it does.
    pub synchronized: bool,
    /// Records that we asked it for and wait for.
    pub requested: usize,
    /// Records not taken from it.
    pub rejected: u64,
}

/// What is only counted.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: u64,
    pub(super) duplicates: u64,
    pub(super) deferred: u64,
    pub(super) rejected: BTreeMap<Reject, u64>,
    pub(super) displaced: u64,
    pub(super) synchronized: bool,
}

impl Graph {
    /// What the graph is doing.
    pub fn status(&self) -> Status {
        let neighbour = |n: &Neighbour| NeighbourStatus {
            peer: n.peer,
            active: n.active,
            eager: n.eager,
            synchronized: n.synchronized,
            requested: n.requested(),
            rejected: n.rejected,
        };
        let unconnected = |p: &PeerId| !self.neighbours.contains_key(p);
        let known = self.known_peers().map(|a| a.peer());
        Status {
            channel: self.channel,
            name: self.chain.as_ref().map(|c| c.current().name.clone()),
            charter: self.chain.as_ref().map(CharterChain::reference),
            forked: self.forks.is_open(),
            records: self.records.len(),
            record_bytes: self.records.bytes(),
            pending: self.pending.len(),
            neighbours: self.neighbours.values().map(neighbour).collect(),
            reserved_peers: self.overlay.reserved(),
            known_peers: known.filter(unconnected).count(),
            equivocators: self.records.equivocators(),
            synchronized: self.counters.synchronized,
            received: self.counters.received,
            duplicates: self.counters.duplicates,
            deferred: self.counters.deferred,
            waiting: self.deferred.len(),
            deferred_dropped: self.deferred.dropped,
            members: self.members.len(),
            rejected: self.counters.rejected.clone().into_iter().collect(),
            displaced: self.counters.displaced,
            offenders: self.offenders.list(),
        }
    }
}
