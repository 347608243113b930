mod bucket;
mod event;
mod exchange;
mod greeting;
mod intake;
mod neighbour;
mod order;
mod overlay;
mod packed;
mod ranges;
mod records;
mod refused;
mod status;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use samara_wire::{ChannelId, PeerId, RecordId};

use crate::{
    CharterChain, CharterRef, HeaderRef, Kind, Message, PeerAddress, Readers, Record, RecordHeader,
    WallMs, limits,
};
use bucket::Bucket;
pub use event::{Action, Config, Draft, DropReason, Event, Fault, RemoveReason};
use neighbour::Neighbour;
use overlay::{Learned, Overlay};
use records::{Records, Removed};
use refused::Refused;
use status::Counters;
pub use status::{NeighbourStatus, Status};
pub use verdict::{GraphError, Reject, Verdict};

/// One node's copy of one channel: its charter, the headers of its records, its
/// neighbours. Bodies stay with the node.
///
/// Drive it with [`handle`](Self::handle) on every event, and with
/// [`Event::Tick`] at [`next_timeout`](Self::next_timeout). Actions are to be done
/// in order.
///
/// How copies become alike: a new record is sent to every neighbour but those that
/// have it (small ones whole, large ones and floods by id); every 45 s neighbours
/// compare a summary, and whoever sees a difference pulls what it lacks by set
/// reconciliation. Each side pulls for itself, so a lie costs the liar's reader
/// nothing but bounded time.
#[derive(Debug)]
pub struct Graph {
    config: Config,
    channel: ChannelId,
    /// What the link promised; kept until the chain is checked against it.
    promised: Option<CharterRef>,
    chain: Option<CharterChain>,
    forked: bool,
    records: Records,
    /// Validated, handed to the disk, not acknowledged yet.
    pending: BTreeMap<RecordId, Pending>,
    pending_bytes: usize,
    refused: Refused,
    neighbours: BTreeMap<PeerId, Neighbour>,
    /// Whom each wanted record was asked of: one at a time.
    inflight: BTreeMap<RecordId, PeerId>,
    overlay: Overlay,
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

impl Graph {
    /// A channel that one has a link to and no charter of: it is asked of the first
    /// neighbours. `charter` is the link's: a chain that does not contain it, or
    /// does not reach it, is not believed.
    pub fn join(channel: ChannelId, charter: CharterRef, config: Config) -> Self {
        Self {
            promised: Some(charter),
            chain: None,
            channel,
            forked: false,
            records: Records::new(config.seed),
            pending: BTreeMap::new(),
            pending_bytes: 0,
            refused: Refused::default(),
            neighbours: BTreeMap::new(),
            inflight: BTreeMap::new(),
            overlay: Overlay::default(),
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
    ///
    /// # Errors
    /// [`GraphError::Private`].
    pub fn restore(
        chain: CharterChain,
        headers: impl IntoIterator<Item = RecordHeader>,
        config: Config,
    ) -> Result<Self, GraphError> {
        if chain.current().readers == Readers::Members {
            return Err(GraphError::Private);
        }
        let mut graph = Self::join(chain.channel(), chain.reference(), config);
        graph.promised = None;
        graph.records.begin_restoring();
        for header in headers {
            let id = header.id;
            match graph.records.place(chain.current(), WallMs(0), header) {
                Ok(removed) => report(removed, &mut graph.backlog),
                Err(reject) => {
                    let reason = reject.as_removal();
                    graph.backlog.push(Action::Remove { id, reason });
                }
            }
        }
        graph.records.end_restoring();
        graph.chain = Some(chain);
        Ok(graph)
    }

    /// Takes one event in, appends what to do to `out`.
    ///
    /// `now` is the wall clock; `mono` a clock that only runs forward, of any origin.
    pub fn handle(&mut self, now: WallMs, mono: Duration, event: Event, out: &mut Vec<Action>) {
        self.clock = (now, mono);
        out.append(&mut self.backlog);
        report(self.records.advance(now), out);
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
                self.learn(address);
            }
            Event::Stored { id } => self.on_stored(id, out),
            Event::StoreFailed { id } => self.on_store_failed(&id),
            Event::Lost { id } => {
                report(self.records.lose(&id), out);
                // Whoever has it is asked at once, not in 45 s.
                let peers: Vec<_> = self.neighbours.keys().copied().collect();
                peers.into_iter().for_each(|peer| self.compare(peer, out));
            }
            Event::Tick => self.on_tick(out),
        }
        if std::mem::take(&mut self.restless) {
            self.connect(out);
        }
        self.settle(out);
    }

    /// When [`Event::Tick`] is due, on the monotonic clock.
    pub fn next_timeout(&self) -> Option<Duration> {
        let (now, mono) = self.clock;
        let expiry = self.records.next_expiry();
        let expiry = expiry.map(|at| mono + at.since(now).min(limits::MAX_SLEEP));
        let overlay = self
            .overlay
            .next_timeout(self.missing(), |p| self.neighbours.contains_key(p));
        let backlog = (!self.backlog.is_empty()).then_some(mono);
        let timers = self.neighbours.values().map(Neighbour::next_timeout);
        timers.chain(expiry).chain(overlay).chain(backlog).min()
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

    fn on_up(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let (now, mono) = self.clock;
        if peer == self.config.us {
            return;
        }
        self.forget(&peer);
        self.overlay.connected(&peer);
        if self.neighbours.len() >= self.config.max_neighbours {
            let sample = self.overlay.sample(&peer, now, &mut self.rng);
            let message = Message::Peers(sample);
            out.push(Action::Send { peer, message });
            let reason = DropReason::Full;
            out.push(Action::Drop { peer, reason });
            return;
        }
        let neighbour = Neighbour::new(peer, mono);
        neighbour.send(self.hello(), out);
        self.neighbours.insert(peer, neighbour);
        self.restless = true;
    }

    fn on_down(&mut self, peer: &PeerId) {
        let mono = self.clock.1;
        if self.forget(peer) {
            self.overlay.failed(peer, mono, &mut self.rng);
            self.restless = true;
        }
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
        if due(Some(n.next_summary)) {
            n.next_summary = mono + limits::RECONCILE_EVERY.mul_f64(jitter);
            n.send(Message::Summary(summary), out);
        }
        if due(n.charters_due) {
            n.charters_due = None;
        }
        if n.sync.as_ref().is_some_and(|s| s.is_overdue(mono)) {
            n.sync = None;
        }
        if due(Some(n.next_peers)) {
            n.next_peers = mono + limits::PEERS_EVERY.mul_f64(jitter);
            self.gossip(peer, out);
        }
        self.seek_charters(peer, out);
        self.serve(peer, out);
        self.answer_parked(peer, out)?;
        self.give_up_overdue(peer)?;
        self.pump(peer, out);
        Ok(())
    }

    /// Asks for connections while there are too few.
    fn connect(&mut self, out: &mut Vec<Action>) {
        let (now, mono) = self.clock;
        let missing = self.missing();
        let neighbours = &self.neighbours;
        let is_neighbour = |p: &PeerId| neighbours.contains_key(p);
        self.overlay
            .connect(now, mono, missing, is_neighbour, &mut self.rng, out);
    }

    fn missing(&self) -> usize {
        let target = self.config.target_neighbours;
        target.saturating_sub(self.neighbours.len())
    }

    fn learn(&mut self, address: PeerAddress) -> Learned {
        let neighbours = &self.neighbours;
        let learned = self.overlay.learn(
            self.config.us,
            self.clock.0,
            address,
            |p| neighbours.contains_key(p),
            &mut self.rng,
        );
        self.restless |= learned == Learned::New && self.missing() > 0;
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
