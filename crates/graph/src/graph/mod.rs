mod active;
mod bucket;
#[cfg(test)]
mod cost;
mod deferred;
mod door;
mod event;
mod exchange;
mod fork;
mod former;
mod greeting;
mod hold;
mod intake;
mod members;
mod neighbour;
mod offender;
mod order;
mod outside;
mod overlay;
mod packed;
mod quota;
mod ranges;
mod records;
mod refused;
mod revoking;
mod rights;
mod status;
mod tree;
mod verdict;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use samara_wire::{ChannelId, PeerId, RecordId};

use crate::{
    CharterChain, CharterRef, HeaderRef, Kind, Message, PeerAddress, Record, RecordHeader, WallMs,
    limits,
};
use bucket::Bucket;
use deferred::Deferred;
pub use event::{Action, Config, Draft, DropReason, Event, Fault, LeaveReason, RemoveReason};
pub use fork::Fork;
use fork::Forks;
pub use former::{Listed, TooMany};
use hold::Hold;
pub use members::MemberView;
use members::Members;
use neighbour::Neighbour;
use offender::Offenders;
pub use offender::{Offence, Offender};
pub use outside::Offered;
use overlay::{Learned, Overlay};
use records::{Records, Removed};
use refused::Refused;
pub use revoking::{Keep, Keeping, Lowering};
pub use rights::{NewGrant, NewInvite};
use status::Counters;
pub use status::{NeighbourStatus, Status};
use tree::Awaited;
pub use verdict::{GraphError, Reject, Verdict};
use walk::{Haste, Routes};

/// One node's copy of one channel: its charter, the headers of its records, its
/// neighbours. Bodies stay with the node.
///
/// Drive it with [`handle`](Self::handle) on every event, and with
/// [`Event::Tick`] at [`next_timeout`](Self::next_timeout). Actions are to be done
/// in order.
///
/// How copies become alike: some of the connected peers are *active* neighbours, whose
/// links make the overlay. A new record is sent to those that are not known to have it
/// (small ones whole along a tree, else by id); every 45 s they compare a summary, and
/// whoever sees a difference pulls what it lacks by set reconciliation. Each side
/// pulls for itself, so a lie costs the liar's reader nothing but bounded time.
#[derive(Debug)]
pub struct Graph {
    config: Config,
    channel: ChannelId,
    /// What the link promised; kept until the chain is checked against it.
    promised: Option<CharterRef>,
    chain: Option<CharterChain>,
    forks: Forks,
    records: Records,
    /// Validated, handed to the disk, not acknowledged yet.
    pending: BTreeMap<RecordId, Pending>,
    pending_bytes: usize,
    /// How many of them may be what others wait for.
    pending_control: usize,
    /// Verified, and waiting for a grant.
    deferred: Deferred,
    refused: Refused,
    offenders: Offenders,
    members: Members,
    /// What peers showed to be let into a private channel.
    proved: BTreeMap<PeerId, Vec<RecordHeader>>,
    hold: Hold,
    neighbours: BTreeMap<PeerId, Neighbour>,
    /// Whom each wanted record was asked of: one at a time.
    inflight: BTreeMap<RecordId, PeerId>,
    /// Those of them that were asked for to mend the tree.
    grafted: BTreeSet<RecordId>,
    awaited: Awaited,
    overlay: Overlay,
    routes: Routes,
    next_shuffle: Option<Duration>,
    haste: Haste,
    /// Whom we dialled without need.
    probed: Option<PeerId>,
    /// Newcomers that were told of.
    joins: Bucket,
    /// Neighbours that gave way to others.
    displaced: Bucket,
    /// Something happened that may call for connections.
    restless: bool,
    rng: ChaCha8Rng,
    counters: Counters,
    /// Highest sequence that each identity of this node used.
    last_seq: BTreeMap<PeerId, u64>,
    session: u32,
    /// What [`restore`](Self::restore) found to do.
    backlog: Vec<Action>,
    /// Wall and monotonic time of the last event, to set a timer by the wall clock.
    clock: (WallMs, Duration),
}

#[derive(Debug)]
struct Pending {
    record: Record,
    header: RecordHeader,
    /// Who has it too, and need not be told.
    from: BTreeSet<PeerId>,
    /// It was fetched and not flooded to us: the neighbours probably know it.
    fetched: bool,
}

/// A graph whose stored records come in.
#[derive(Debug)]
pub struct Restoring {
    graph: Graph,
    chain: CharterChain,
    removed: Removed,
}

impl Restoring {
    /// Takes in the header of a stored record.
    pub fn add(&mut self, header: RecordHeader) {
        let charter = self.chain.current();
        let records = &mut self.graph.records;
        records.restore(charter, header, &mut self.removed);
    }

    /// All are there.
    pub fn finish(mut self) -> Graph {
        let charter = self.chain.current();
        let late = self.graph.records.finish_restoring(charter);
        report(self.removed, &mut self.graph.backlog);
        report(late, &mut self.graph.backlog);
        self.graph.chain = Some(self.chain);
        self.graph.members = Members::default();
        self.graph
    }
}

impl Graph {
    /// A channel that one has a link to and no charter of: it is asked of the first
    /// neighbours. `charter` is the link's: a chain that does not contain it, or
    /// does not reach it, is not believed.
    pub fn join(channel: ChannelId, charter: CharterRef, config: Config) -> Self {
        Self {
            promised: Some(charter),
            chain: None,
            channel,
            forks: Forks::default(),
            records: Records::new(config.seed),
            pending: BTreeMap::new(),
            pending_bytes: 0,
            pending_control: 0,
            deferred: Deferred::default(),
            refused: Refused::default(),
            offenders: Offenders::default(),
            members: Members::introduced(),
            proved: BTreeMap::new(),
            hold: Hold::default(),
            neighbours: BTreeMap::new(),
            inflight: BTreeMap::new(),
            grafted: BTreeSet::new(),
            awaited: Awaited::default(),
            overlay: Overlay::default(),
            routes: Routes::default(),
            next_shuffle: None,
            haste: Haste::default(),
            probed: None,
            joins: Bucket::new(limits::JOIN_BURST, limits::JOIN_RATE, Duration::ZERO),
            displaced: Bucket::new(
                limits::DISPLACE_BURST,
                limits::DISPLACE_RATE,
                Duration::ZERO,
            ),
            restless: false,
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            counters: Counters::default(),
            last_seq: BTreeMap::new(),
            session: 0,
            backlog: Vec::new(),
            clock: (WallMs(0), Duration::ZERO),
            config,
        }
    }

    /// A channel whose charter is here: one's own new one, or one from the disk with
    /// the headers of its stored records, in any order. What expired meanwhile is
    /// removed by the first [`handle`](Self::handle).
    pub fn restore(
        chain: CharterChain,
        headers: impl IntoIterator<Item = RecordHeader>,
        config: Config,
    ) -> Self {
        let headers = headers.into_iter();
        let expected = headers.size_hint().0;
        let mut restoring = Self::restoring(chain, expected, config);
        headers.for_each(|h| restoring.add(h));
        restoring.finish()
    }

    /// The same for headers that come one by one: a million of them in a list take
    /// more memory than the graph. `expected` is how many there are at least.
    pub fn restoring(chain: CharterChain, expected: usize, config: Config) -> Restoring {
        let mut graph = Self::join(chain.channel(), chain.reference(), config);
        graph.promised = None;
        graph.records.begin_restoring(expected);
        let removed = Removed::new();
        Restoring {
            graph,
            chain,
            removed,
        }
    }

    /// Takes one event in, appends what to do to `out`.
    ///
    /// `now` is the wall clock; `mono` a clock that only runs forward, of any origin.
    pub fn handle(&mut self, now: WallMs, mono: Duration, event: Event, out: &mut Vec<Action>) {
        self.clock = (now, mono);
        out.append(&mut self.backlog);
        let hold = self.defers_expiry();
        if let Some(chain) = &self.chain {
            let charter = chain.current();
            report(self.records.advance(charter, now, hold), out);
        }
        match event {
            Event::NeighbourUp { peer } => self.on_up(peer, out),
            Event::NeighbourDown { peer } => self.on_down(&peer),
            Event::ConnectFailed { peer } => {
                self.overlay.failed(&peer, mono, &mut self.rng);
                self.restless = true;
            }
            Event::Message { peer, message } => self.on_message(peer, message, out),
            Event::OurAddress(address) => self.on_our_address(address, out),
            Event::PeerKnown(address) => {
                let peer = address.peer();
                if self.learn(address) != Learned::Forged {
                    self.remember(peer, self.config.us);
                }
            }
            Event::PeersWanted => self.haste.want(mono),
            Event::Slow { peer, slow } => self.on_slow(peer, slow, out),
            Event::Stored { id } => self.on_stored(id, out),
            Event::StoreFailed { id } => self.on_store_failed(&id),
            Event::Lost { id } => {
                if let Some(chain) = &self.chain {
                    report(self.records.lose(chain.current(), &id), out);
                }
                // Whoever has it is asked at once, not in 45 s.
                let peers: Vec<_> = self.neighbours.keys().copied().collect();
                peers.into_iter().for_each(|peer| self.compare(peer, out));
            }
            Event::Tick => self.on_tick(out),
        }
        self.review(out);
        if !self.neighbours.values().any(|n| n.greeted) {
            self.hold.alone();
        }
        if std::mem::take(&mut self.restless) {
            self.connect(out);
        }
        self.settle(out);
    }

    /// Whether what ends stays readable at present, since this node is off the network
    /// and the charter has deferred expiry.
    pub fn defers_expiry(&self) -> bool {
        let charter = self.chain.as_ref().map(CharterChain::current);
        charter.is_some_and(|c| c.deferred_expiry) && self.hold.holds()
    }

    /// When [`Event::Tick`] is due, on the monotonic clock.
    pub fn next_timeout(&self) -> Option<Duration> {
        let (now, mono) = self.clock;
        let expiry = self.records.next_expiry(self.defers_expiry());
        let expiry = expiry.into_iter().chain(self.members.next_due()).min();
        let expiry = expiry.map(|at| mono + at.since(now).min(limits::MAX_SLEEP));
        let own = [
            expiry,
            self.connect_timeout(),
            self.awaited.next_timeout(),
            self.next_shuffle,
            self.haste.next(),
            (!self.backlog.is_empty()).then_some(mono),
        ];
        let timers = self.neighbours.values().filter_map(Neighbour::next_timeout);
        timers.chain(own.into_iter().flatten()).min()
    }

    /// The channel.
    pub fn channel(&self) -> ChannelId {
        self.channel
    }

    /// The charters, once they are there.
    pub fn charters(&self) -> Option<&CharterChain> {
        self.chain.as_ref()
    }

    /// Whether the record is held.
    pub fn contains(&self, id: &RecordId) -> bool {
        self.records.get(id).is_some()
    }

    /// The headers of all records held, in no particular order.
    pub fn records(&self) -> impl Iterator<Item = HeaderRef<'_>> {
        self.records.iter()
    }

    /// The record that stands for (author, kind, key): an extension before what it
    /// extends. Among several, the latest expiry, then the highest sequence: so one
    /// with an earlier expiry takes nothing away.
    pub fn head(&self, author: &PeerId, kind: Kind, key: &[u8]) -> Option<HeaderRef<'_>> {
        self.records
            .of_author(author)
            .filter(|h| h.kind == kind && *h.key == *key)
            .max_by_key(|h| (h.expires, h.seq))
    }

    /// The neighbours, in order of their identities.
    pub fn neighbours(&self) -> impl Iterator<Item = PeerId> {
        self.neighbours.keys().copied()
    }

    /// Signed addresses of peers of this channel, neighbours included: for a link,
    /// and to remember for the next start.
    pub fn known_peers(&self) -> impl Iterator<Item = &PeerAddress> {
        self.overlay.iter()
    }

    fn on_message(&mut self, peer: PeerId, message: Message, out: &mut Vec<Action>) {
        if !self.neighbours.contains_key(&peer) {
            return;
        }
        let outcome = match message {
            Message::Hello {
                charter,
                address,
                summary,
            } => self.on_hello(peer, charter, address, summary, out),
            Message::CharterRequest { after } => self.on_charter_request(peer, after, out),
            Message::Charters(list) => self.on_charters(peer, &list, out),
            Message::Record(bytes) => self.on_record(peer, bytes, out),
            Message::Have(ids) => self.on_have(peer, ids, out),
            Message::Request(ids) => self.on_request(peer, ids, out),
            Message::Gone(ids) => self.on_gone(peer, ids, out),
            Message::Summary(summary) => self.on_summary(peer, summary, out),
            Message::Reconcile { session, bytes } => self.on_reconcile(peer, session, bytes, out),
            Message::Reconciled { session, bytes } => {
                self.on_reconciled(peer, session, &bytes, out)
            }
            Message::Peers(list) => self.on_peers(peer, list),
            Message::Join => self.on_join(peer, out),
            Message::JoinWalk { ttl, address } => self.on_join_walk(peer, ttl, address, out),
            Message::Neighbour { urgent } => self.on_neighbour(peer, urgent, out),
            Message::Disconnect => self.on_disconnect(peer),
            Message::Shuffle { walk, ttl, peers } => self.on_shuffle(peer, walk, ttl, peers, out),
            Message::Shuffled { walk, peers } => self.on_shuffled(peer, walk, peers, out),
            Message::IHave(ids) => self.on_i_have(peer, ids),
            Message::Graft(ids) => self.on_graft(peer, ids, out),
            Message::Prune => self.on_prune(peer),
        };
        if let Err(fault) = outcome {
            self.blame(peer, fault, out);
        }
    }

    fn on_tick(&mut self, out: &mut Vec<Action>) {
        let mono = self.clock.1;
        let peers: Vec<_> = self.neighbours.keys().copied().collect();
        for peer in peers {
            if let Err(fault) = self.tick_neighbour(peer, mono, out) {
                self.blame(peer, fault, out);
            }
        }
        self.graft(out);
        self.shuffle(out);
        self.restless = true;
    }

    fn tick_neighbour(
        &mut self,
        peer: PeerId,
        mono: Duration,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let summary = self.records.summary();
        let jitter = self.rng.random_range(0.9..1.1);
        let due = |at: Option<Duration>| at.is_some_and(|at| at <= mono);
        let n = self.neighbours.get_mut(&peer).expect("a neighbour");
        if due(n.announce_at) {
            n.flush(out);
        }
        if due(n.next_summary) {
            n.next_summary = Some(mono + limits::RECONCILE_EVERY.mul_f64(jitter));
            n.send(Message::Summary(summary), out);
        }
        if due(n.charters_due) {
            n.charters_due = None;
        }
        if n.sync.as_ref().is_some_and(|s| s.is_overdue(mono)) {
            n.sync = None;
        }
        self.seek_charters(peer, out);
        self.serve(peer, out);
        self.answer_parked(peer, out)?;
        self.give_up_overdue(peer)?;
        self.pump(peer, out);
        Ok(())
    }

    fn learn(&mut self, address: PeerAddress) -> Learned {
        if self.is_revoked(&address.peer()) || self.is_out(&address.peer()) {
            return Learned::Ignored;
        }
        let neighbours = &self.neighbours;
        let learned = self.overlay.learn(
            self.config.us,
            self.clock.0,
            address,
            |p| neighbours.contains_key(p),
            &mut self.rng,
        );
        self.restless |= learned == Learned::New && self.missing() > (0, 0);
        learned
    }

    fn blame(&mut self, peer: PeerId, fault: Fault, out: &mut Vec<Action>) {
        if self.forget(&peer) {
            self.overlay.failed(&peer, self.clock.1, &mut self.rng);
            self.restless = true;
            out.push(Action::Fault { peer, fault });
        }
    }

    /// Ends a neighbourhood; what was asked of it may be asked of others.
    fn forget(&mut self, peer: &PeerId) -> bool {
        let Some(n) = self.neighbours.remove(peer) else {
            return false;
        };
        for id in n.open_requests() {
            self.inflight.remove(id);
            self.grafted.remove(id);
        }
        true
    }
}

fn report(removed: Removed, out: &mut Vec<Action>) {
    out.extend(
        removed
            .into_iter()
            .map(|(id, reason)| Action::Remove { id, reason }),
    );
}
