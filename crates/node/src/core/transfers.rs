//! Contents that are being fetched or served: the swarm's actions carried out,
//! and what comes of them told back to it.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use samara_content::ChunkSet;
use samara_store::{Content, ReadError, SyncError, WriteError};
use samara_swarm::{Action, Event, Order, RequestId, Role, ServeId};
use samara_wire::{ChannelId, ContentId, PeerId};
use tokio::task;

use super::{Core, Input, TransferKey, watch::Watched};
use crate::{
    EngineError, api::ErrorKind, fetch::Fetched, message::Control, metrics::Metrics,
    priority::Priority, rate::Rate, session::Close, stopwatch::Stopwatch,
};

/// Least time between two syncs of one transfer: what the persistent bitfield may
/// lag behind by.
const SYNC_EVERY: Duration = Duration::from_millis(100);
/// A slow disk is left alone for this many times as long as its last sync took.
const SYNC_REST: u32 = 10;

/// A content that this node exchanges with others.
#[derive(Debug)]
pub(crate) struct Transfer {
    pub(crate) content: Arc<Content>,
    /// Whose record names it: the origin.
    pub(crate) author: PeerId,
    /// Channels whose members may have it from us.
    pub(crate) channels: BTreeSet<ChannelId>,
    /// Verified chunk bytes that the origin sent, each chunk's once.
    pub(crate) from_origin: u64,
    /// Those that others sent.
    pub(crate) from_others: u64,
    /// Chunk bytes that were of no use: wrong, here already, or of an answer that broke off.
    pub(crate) wasted: u64,
    /// Chunks that were here, or are counted in one of the above.
    pub(super) counted: ChunkSet,
    /// Those of them that the origin sent.
    by_origin: ChunkSet,
    /// Chunks whose hash was wrong.
    pub(crate) rejected: u64,
    /// Why it will not be completed.
    pub(crate) failure: Option<Failure>,
    /// Whole, verified, and in its place.
    pub(crate) finished: bool,
    pub(crate) down: Rate,
    pub(crate) up: Rate,
    /// When bytes last came in.
    pub(crate) last_progress: Instant,
    /// When it was last missing here, or somebody wanted something of it.
    last_wanted: Instant,
    /// What it does for others, at which priority, and what is to be early.
    pub(crate) terms: Terms,
    /// While limits hold back what is fetched, and what is served.
    pub(crate) held_down: Stopwatch,
    pub(crate) held_up: Stopwatch,
    /// While what has arrived waits for room in front of those who write.
    pub(crate) unwritten: Stopwatch,
    pub(super) watched: Watched,
    finishing: bool,
    pub(super) dirty: bool,
    syncing: bool,
    next_sync: Instant,
}

impl Transfer {
    /// Counts a verified chunk that a peer sent.
    fn count(&mut self, chunk: u32, peer: PeerId, metrics: &Metrics) {
        if !self.counted.insert(chunk) {
            self.waste(chunk, metrics);
            return;
        }
        let bytes = self.bytes_of(chunk);
        if peer == self.author {
            self.from_origin += bytes;
            self.by_origin.insert(chunk);
        } else {
            self.from_others += bytes;
            self.by_origin.remove(chunk);
        }
    }

    /// Counts a chunk that came for nothing.
    fn waste(&mut self, chunk: u32, metrics: &Metrics) {
        let bytes = self.bytes_of(chunk);
        self.wasted += bytes;
        metrics.chunk_bytes_wasted.inc_by(bytes);
    }

    fn bytes_of(&self, chunk: u32) -> u64 {
        let chunk = self.content.manifest().chunk(chunk);
        chunk.map_or(0, |chunk| chunk.len.into())
    }
}

/// How the node takes part in a content's swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) role: Role,
    pub(crate) priority: u8,
    pub(crate) order: Order,
}

/// Why a transfer stopped for good.
#[derive(Debug, Clone)]
pub(crate) struct Failure(pub(crate) EngineError);

/// Which chunks of a transfer are here, and came from whom.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// That were here when it began, or came since.
    pub(crate) counted: ChunkSet,
    /// That came from the origin.
    pub(crate) by_origin: ChunkSet,
    /// Bytes that came for nothing.
    pub(crate) wasted: u64,
}

/// A transfer as those who wait for it see it.
#[derive(Debug, Clone)]
pub(crate) struct TransferView {
    pub(crate) have: u64,
    pub(crate) total: u64,
    pub(crate) rate: u64,
    pub(crate) peers: u32,
    pub(crate) sources: u32,
    pub(crate) from_origin: u64,
    pub(crate) from_others: u64,
    pub(crate) rejected: u64,
    pub(crate) finished: bool,
    pub(crate) failure: Option<Failure>,
    pub(crate) idle: Duration,
    /// Neither fetched nor served, for somebody said so.
    pub(crate) paused: bool,
}

impl Core {
    /// Takes part in a content's swarm, for the members of `channel`.
    pub(crate) fn add_transfer(
        &mut self,
        content: Arc<Content>,
        channel: ChannelId,
        author: PeerId,
        priority: Priority,
    ) -> TransferKey {
        if let Some(key) = self.transfer_by_content.get(content.id()).copied() {
            let transfer = self.transfers.get_mut(&key).expect("indexed");
            if Arc::ptr_eq(&transfer.content, &content) {
                transfer.channels.insert(channel);
                let mut terms = transfer.terms;
                terms.priority = terms.priority.max(priority.level());
                self.set_terms(key, terms);
                self.set_role(key);
                self.announce(key);
                return key;
            }
            // The same content in another place: the newer handle counts.
            self.remove_transfer(key);
        }
        let key = samara_swarm::ContentKey(self.next_key);
        self.next_key += 1;
        let now = Instant::now();
        let manifest = content.manifest();
        let largest = manifest.root().params.max();
        let sizes: Arc<[u32]> = (0..manifest.shard_count())
            .map(|i| manifest.chunk(i).map_or(largest, |c| c.len))
            .collect();
        let have = content.held();
        let terms = Terms {
            role: self.role_in(content.id(), [&channel]),
            priority: priority.level(),
            order: Order::Rarest,
        };
        let event = Event::ContentAdded {
            key,
            stripes: manifest.stripes().copied(),
            chunk_sizes: sizes,
            have: have.clone(),
            wanted: Some(content.targets()),
            role: terms.role,
            priority: terms.priority,
            order: terms.order,
        };
        self.transfer_by_content.insert(*content.id(), key);
        self.transfers.insert(
            key,
            Transfer {
                finished: content.is_finished(),
                content,
                author,
                channels: BTreeSet::from([channel]),
                from_origin: 0,
                from_others: 0,
                wasted: 0,
                by_origin: ChunkSet::new(have.len()),
                counted: have,
                rejected: 0,
                failure: None,
                down: Rate::default(),
                up: Rate::default(),
                last_progress: now,
                last_wanted: now,
                terms,
                held_down: Stopwatch::default(),
                held_up: Stopwatch::default(),
                unwritten: Stopwatch::default(),
                watched: Watched::default(),
                finishing: false,
                dirty: false,
                syncing: false,
                next_sync: now,
            },
        );
        self.swarm_event(event);
        self.announce(key);
        self.notify();
        key
    }

    /// Has the first bytes of a transfer come first from now on, or no more.
    pub(crate) fn set_in_order(&mut self, key: TransferKey, in_order: bool) {
        if let Some(transfer) = self.transfers.get(&key) {
            let order = match in_order {
                true => Order::Stream,
                false => Order::Rarest,
            };
            let terms = Terms {
                order,
                ..transfer.terms
            };
            self.set_terms(key, terms);
        }
    }

    /// Leaves a content's swarm.
    pub(crate) fn remove_transfer(&mut self, key: TransferKey) {
        let Some(transfer) = self.transfers.remove(&key) else {
            return;
        };
        self.transfer_by_content.remove(transfer.content.id());
        self.swarm_event(Event::ContentRemoved { key });
        for link in self.sessions.values_mut() {
            if link.ours.remove(&key) {
                link.session.send(&Control::Close { handle: key.0 });
            }
        }
        self.notify();
    }

    /// The transfer of a content, if there is one.
    pub(crate) fn transfer_of(&self, content: &ContentId) -> Option<(TransferKey, &Transfer)> {
        let key = *self.transfer_by_content.get(content)?;
        Some((key, self.transfers.get(&key)?))
    }

    /// Where a transfer's chunks came from, from now on: a chunk that was lost since
    /// it came is counted again when it comes again.
    pub(crate) fn recount(&mut self, key: TransferKey) -> Option<Sources> {
        let transfer = self.transfers.get_mut(&key)?;
        let have = transfer.content.held();
        transfer.counted.intersect_with(&have);
        self.sources(key)
    }

    /// Where a transfer's chunks came from.
    pub(crate) fn sources(&self, key: TransferKey) -> Option<Sources> {
        let transfer = self.transfers.get(&key)?;
        Some(Sources {
            counted: transfer.counted.clone(),
            by_origin: transfer.by_origin.clone(),
            wasted: transfer.wasted,
        })
    }

    /// How a transfer stands.
    pub(crate) fn view(&self, key: TransferKey) -> Option<TransferView> {
        let transfer = self.transfers.get(&key)?;
        let progress = self.swarm.progress(key)?;
        Some(TransferView {
            have: progress.have_bytes,
            total: progress.wanted_bytes,
            rate: transfer.down.per_second(),
            peers: progress.peers as u32,
            sources: progress.sources as u32,
            from_origin: transfer.from_origin,
            from_others: transfer.from_others,
            rejected: transfer.rejected,
            finished: transfer.finished,
            failure: transfer.failure.clone(),
            idle: transfer.last_progress.elapsed(),
            paused: transfer.terms.role == Role::Paused,
        })
    }

    /// Tells the swarm what happened and does what it says.
    pub(super) fn swarm_event(&mut self, event: Event) {
        let now = self.now();
        let mut events = vec![event];
        let mut actions = std::mem::take(&mut self.swarm_actions);
        while let Some(event) = events.pop() {
            self.swarm.handle(now, event, &mut actions);
            for action in actions.drain(..) {
                self.swarm_action(action, &mut events);
            }
        }
        self.swarm_actions = actions;
    }

    fn swarm_action(&mut self, action: Action, events: &mut Vec<Event>) {
        match action {
            Action::Send { peer, key, msg } => {
                if let Some(link) = self.sessions.get(&peer) {
                    link.session.send(&Control::Swarm {
                        handle: key.0,
                        body: msg.encode().into(),
                    });
                }
            }
            Action::Request {
                peer,
                key,
                request,
                chunks,
            } => {
                if !self.request(peer, key, request, &chunks) {
                    events.push(Event::RequestFailed { key, peer, request });
                }
            }
            Action::Cancel { peer, request, .. } => {
                if let Some(cancel) = self
                    .sessions
                    .get_mut(&peer)
                    .and_then(|link| link.requests.remove(&request))
                {
                    cancel.cancel();
                }
            }
            Action::Serve {
                peer,
                key,
                serve,
                chunks,
            } => {
                if !self.serve(peer, key, serve, &chunks) {
                    let taken = false;
                    events.push(Event::ServeEnded {
                        key,
                        peer,
                        serve,
                        taken,
                    });
                }
            }
            Action::Refuse { serve, .. } => {
                if let Some(mut waiting) = self.asked.remove(&serve) {
                    let _ = waiting.stream.reset(Close::Busy.code());
                }
            }
            Action::Punish { peer, offence } => {
                self.metrics
                    .misbehaviour
                    .with_label_values(&["swarm"])
                    .inc();
                self.ban_later.push((peer, offence.to_string()));
            }
            Action::Recheck { key, chunk } => self.recheck(key, chunk),
            Action::Decode { key, stripe } => self.decode(key, stripe),
            Action::Complete { key } => self.complete(key),
            Action::NoSource { .. } => self.notify(),
        }
    }

    pub(super) fn on_fetched(
        &mut self,
        key: TransferKey,
        request: RequestId,
        peer: PeerId,
        news: Fetched,
    ) {
        match news {
            Fetched::Progress { chunk, bytes, came } => {
                self.came(key, peer, came);
                self.swarm_event(Event::Progress {
                    key,
                    chunk,
                    peer,
                    bytes,
                });
            }
            Fetched::Arrived { chunk, bytes, came } => {
                self.came(key, peer, came);
                let lan = match self.sessions.get_mut(&peer) {
                    Some(link) => {
                        link.received += u64::from(bytes);
                        link.session.is_lan()
                    }
                    None => true,
                };
                if let Some(transfer) = self.transfers.get(&key) {
                    let origin = peer == transfer.author;
                    self.metrics.received(bytes.into(), origin, lan);
                }
                self.swarm_event(Event::ChunkArrived {
                    key,
                    chunk,
                    peer,
                    bytes,
                });
            }
            Fetched::Written { chunk, took } => {
                self.metrics.chunks_verified.inc();
                self.metrics.chunk_fetch.observe(took.as_secs_f64());
                if let Some(transfer) = self.transfers.get_mut(&key) {
                    transfer.dirty = true;
                    transfer.count(chunk, peer, &self.metrics);
                }
                self.swarm_event(Event::ChunkVerified { key, chunk, peer });
                self.swarm_event(Event::ChunkStored { key, chunk });
            }
            Fetched::Mismatch { chunk } => {
                self.metrics.chunks_rejected.inc();
                if let Some(transfer) = self.transfers.get_mut(&key) {
                    transfer.rejected += 1;
                    transfer.waste(chunk, &self.metrics);
                }
                tracing::warn!(peer = %peer.short(), chunk, "chunk with a wrong hash");
                self.swarm_event(Event::ChunkRejected { key, chunk, peer });
                self.notify();
            }
            Fetched::Failed { chunk, error } => self.on_write_failed(key, chunk, &error),
            Fetched::Ended { whole, wasted } => {
                self.metrics.open_requests.dec();
                self.metrics.chunk_bytes_wasted.inc_by(wasted);
                if let Some(transfer) = self.transfers.get_mut(&key) {
                    transfer.wasted += wasted;
                }
                let ours = self
                    .sessions
                    .get_mut(&peer)
                    .is_some_and(|link| link.requests.remove(&request).is_some());
                if ours && !whole {
                    self.swarm_event(Event::RequestFailed { key, peer, request });
                }
            }
        }
    }

    /// So many more bytes of chunks came from a peer.
    fn came(&mut self, key: TransferKey, peer: PeerId, bytes: u32) {
        if let Some(transfer) = self.transfers.get_mut(&key) {
            transfer.down.add(bytes.into());
            transfer.watched.arrived(peer, bytes.into());
            transfer.last_progress = Instant::now();
        }
    }

    fn on_write_failed(&mut self, key: TransferKey, chunk: u32, error: &WriteError) {
        let forgotten = |t: &Transfer| !t.content.is_finished();
        if matches!(error, WriteError::NotWritable)
            && self.transfers.get(&key).is_some_and(forgotten)
        {
            // Or it would be fetched again and again.
            let message = "the content was forgotten while it was fetched";
            self.fail(key, EngineError::new(ErrorKind::Interrupted, message));
            return;
        }
        if matches!(
            error,
            WriteError::NotWritable | WriteError::NotWanted { .. }
        ) {
            self.swarm_event(Event::ChunkDropped { key, chunk });
            return;
        }
        let full = matches!(error, WriteError::NoSpace { .. });
        self.fail(key, disk_error(full, error));
    }

    /// Ends a transfer for good; whoever waits for it reports why.
    pub(super) fn fail(&mut self, key: TransferKey, error: EngineError) {
        if let Some(transfer) = self.transfers.get_mut(&key)
            && transfer.failure.is_none()
        {
            tracing::warn!(%error, content = %transfer.content.id().short(), "transfer failed");
            transfer.failure = Some(Failure(error));
            self.swarm_event(Event::ContentRemoved { key });
            self.notify();
        }
    }

    pub(super) fn on_served(
        &mut self,
        key: TransferKey,
        serve: ServeId,
        peer: PeerId,
        chunk: u32,
        bytes: u32,
    ) {
        let lan = self
            .sessions
            .get(&peer)
            .is_none_or(|link| link.session.is_lan());
        if let Some(transfer) = self.transfers.get_mut(&key) {
            transfer.up.add(bytes.into());
            self.metrics
                .sent(bytes.into(), transfer.author == self.me, lan);
        }
        self.swarm_event(Event::Served {
            key,
            peer,
            serve,
            chunk,
            bytes,
        });
    }

    pub(super) fn on_serve_ended(
        &mut self,
        key: TransferKey,
        serve: ServeId,
        peer: PeerId,
        taken: bool,
    ) {
        self.swarm_event(Event::ServeEnded {
            key,
            peer,
            serve,
            taken,
        });
    }

    pub(super) fn on_read_failed(&mut self, key: TransferKey, chunk: u32, error: &ReadError) {
        if matches!(error, ReadError::NotHere { .. }) {
            return;
        }
        let lost = match error {
            ReadError::Changed { lost, .. } => lost.clone(),
            _ => vec![chunk],
        };
        let message = format!("{error}");
        tracing::warn!("{message}");
        self.warn(message);
        self.withdraw(key, lost);
    }

    /// Chunks that turned out damaged: withdrawn, and fetched again where that is
    /// possible.
    pub(super) fn withdraw(&mut self, key: TransferKey, lost: Vec<u32>) {
        for chunk in lost {
            self.metrics.chunks_withdrawn.inc();
            self.swarm_event(Event::ChunkLost { key, chunk });
        }
        if let Some(transfer) = self.transfers.get_mut(&key)
            && !transfer.content.has_wanted()
        {
            transfer.finished = false;
            self.announce_again(key);
        }
        self.notify();
    }

    fn recheck(&self, key: TransferKey, chunk: u32) {
        let Some(transfer) = self.transfers.get(&key) else {
            return;
        };
        let (content, inputs) = (transfer.content.clone(), self.inputs.clone());
        task::spawn_blocking(move || {
            if let Ok(false) = content.recheck(chunk) {
                let _ = inputs.blocking_send(Input::Damaged { key, chunk });
            }
        });
    }

    pub(super) fn on_damaged(&mut self, key: TransferKey, chunk: u32) {
        self.warn(format!(
            "chunk {chunk} was damaged on this disk; it is fetched again"
        ));
        self.withdraw(key, vec![chunk]);
    }

    fn complete(&mut self, key: TransferKey) {
        let Some(transfer) = self.transfers.get_mut(&key) else {
            return;
        };
        if transfer.content.is_finished() {
            transfer.finished = true;
            self.notify();
            return;
        }
        if std::mem::replace(&mut transfer.finishing, true) {
            return;
        }
        let (content, inputs) = (transfer.content.clone(), self.inputs.clone());
        task::spawn_blocking(move || {
            let result = content.finish().map_err(EngineError::from);
            let _ = inputs.blocking_send(Input::Finished { key, result });
        });
    }

    pub(super) fn on_finished(&mut self, key: TransferKey, result: Result<(), EngineError>) {
        let Some(transfer) = self.transfers.get_mut(&key) else {
            return;
        };
        transfer.finishing = false;
        match result {
            Ok(()) => {
                transfer.finished = true;
                tracing::info!(content = %transfer.content.id().short(), "complete");
                self.notify();
            }
            Err(error) => {
                let content = transfer.content.clone();
                if content.has_wanted() {
                    self.fail(key, error);
                } else {
                    // Somebody cut a staging file: what it held is fetched again.
                    self.warn(format!("{error}; it is fetched again"));
                    let held = content.held();
                    let lost = content.targets().iter_difference(&held).collect();
                    self.withdraw(key, lost);
                }
            }
        }
    }

    /// Starts the syncs that are due.
    pub(super) fn sync_round(&mut self) {
        let now = Instant::now();
        for (key, transfer) in &mut self.transfers {
            if transfer.dirty && !transfer.syncing && transfer.next_sync <= now {
                transfer.dirty = false;
                transfer.syncing = true;
                let (key, content, inputs) = (*key, transfer.content.clone(), self.inputs.clone());
                task::spawn_blocking(move || {
                    let started = Instant::now();
                    let result = content.sync();
                    let took = started.elapsed();
                    let _ = inputs.blocking_send(Input::Synced { key, took, result });
                });
            }
        }
    }

    /// When the next sync is due.
    pub(super) fn next_sync(&self) -> Option<Instant> {
        self.transfers
            .values()
            .filter(|t| t.dirty && !t.syncing)
            .map(|t| t.next_sync)
            .min()
    }

    pub(super) fn on_synced(
        &mut self,
        key: TransferKey,
        took: Duration,
        result: Result<(), SyncError>,
    ) {
        let Some(transfer) = self.transfers.get_mut(&key) else {
            return;
        };
        transfer.syncing = false;
        transfer.next_sync = Instant::now() + SYNC_EVERY.max(took * SYNC_REST);
        if let Err(error) = result {
            tracing::warn!(%error, "sync");
            self.withdraw(key, error.lost);
        }
    }

    /// Makes durable what came in, before the node stops.
    pub(super) async fn sync_all(&mut self) {
        for transfer in self.transfers.values() {
            if transfer.dirty || transfer.syncing {
                let content = transfer.content.clone();
                let _ = task::spawn_blocking(move || content.sync()).await;
            }
        }
    }

    /// Once a second: path measurements for the swarm, and the gauges.
    pub(super) fn sample(&mut self) {
        let samples: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, link)| !link.ours.is_empty())
            .map(|(peer, link)| (*peer, link.session.rtt()))
            .collect();
        for (peer, rtt) in samples {
            self.swarm_event(Event::PathSample { peer, rtt });
        }
        self.settle();
        self.retire_idle();
        self.metrics.store_bytes.set(self.store.used() as i64);
        let (mut records, mut waiting) = (0, 0);
        for channel in self.channels.values_mut() {
            let status = channel.graph.status();
            records += status.records;
            waiting += status.waiting;
            let gave_way = (status.displaced, status.deferred_dropped);
            let (displaced, crowded) = std::mem::replace(&mut channel.gave_way, gave_way);
            self.metrics
                .records_displaced
                .inc_by(gave_way.0 - displaced);
            self.metrics
                .records_crowded_out
                .inc_by(gave_way.1 - crowded);
            for (reason, count) in status.rejected {
                let counted = channel.rejected.insert(reason, count).unwrap_or(0);
                self.metrics
                    .records_rejected
                    .with_label_values(&[reason.label()])
                    .inc_by(count.saturating_sub(counted));
            }
        }
        self.metrics.records.set(records as i64);
        self.metrics.records_waiting.set(waiting as i64);
    }

    /// Lets transfers go that are whole and that nobody wants anything of, so that a
    /// node with very many contents has only the others in memory and to look after.
    fn retire_idle(&mut self) {
        let mut idle = Vec::new();
        for (key, transfer) in &mut self.transfers {
            let wanted = self.swarm.progress(*key).is_some_and(|p| p.takers > 0);
            if wanted || !transfer.finished || transfer.dirty || transfer.syncing {
                transfer.last_wanted = Instant::now();
            } else if transfer.last_wanted.elapsed() >= self.config.rest_after {
                idle.push(*key);
            }
        }
        for key in idle {
            self.remove_transfer(key);
        }
    }

    /// Chunk bytes sent to a peer.
    pub(crate) fn sent_to(&self, peer: &PeerId) -> u64 {
        self.sessions
            .get(peer)
            .map_or(0, |link| link.sent.load(Ordering::Relaxed))
    }
}

/// What those hear who wait for a transfer that the disk ended.
pub(super) fn disk_error(full: bool, error: &dyn std::fmt::Display) -> EngineError {
    let kind = match full {
        true => ErrorKind::NoSpace,
        false => ErrorKind::Disk,
    };
    EngineError::new(
        kind,
        format!("{error}; what is there is kept, run it again to resume"),
    )
}
