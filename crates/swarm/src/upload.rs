//! Granting credit and answering requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::Rng;
use samara_wire::PeerId;

use crate::{
    Action, ContentKey, Message, Offence, Role, ServeId, Tier,
    limits::{
        MAX_CREDIT, MAX_REFUSALS, MAX_REQUEST_CHUNKS, MAX_SERVES_PER_PEER, MAX_SUGGESTED,
    },
    pace::{DeliveryRate, Mark},
    swarm::Swarm,
};

/// Added to the round trips that credit has to cover: what both ends take to
/// get from a message to the next one.
const TURNAROUND: Duration = Duration::from_millis(5);

/// Every fifth grant goes by turns instead of to whoever has least, so that
/// nobody is starved by those who claim to have nothing.
const TURN_EVERY: u64 = 5;

/// A peer that has taken nothing for this long holds no place among those served.
const STUCK: Duration = Duration::from_secs(3);

/// An answer on its way out.
#[derive(Debug)]
struct Serve {
    key: ContentKey,
    peer: PeerId,
    /// Bytes asked for.
    bytes: u64,
    /// Bytes that the transport took.
    served: u64,
    /// Chunks that it did not take yet.
    left: Vec<u32>,
    mark: Mark,
}

/// What this node sends, over all contents.
#[derive(Debug, Default)]
pub(crate) struct Uplink {
    serves: BTreeMap<ServeId, Serve>,
    /// What all peers together take.
    rate: DeliveryRate,
    /// Links with credit or answers outstanding.
    busy: BTreeSet<(ContentKey, PeerId)>,
    grants: u64,
    /// Whose turn it was last.
    turn: Option<(ContentKey, PeerId)>,
    /// A grant could not be made for want of a free place: look again when a
    /// peer turns out slow.
    waiting: bool,
}

impl Uplink {
    pub(crate) fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// The link is gone; answers that are still going out are not its any more.
    pub(crate) fn forget(&mut self, key: ContentKey, peer: PeerId) {
        self.busy.remove(&(key, peer));
    }

    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        self.serves.retain(|_, serve| serve.peer != peer);
    }
}

/// What the served peers leave free.
struct Room {
    /// Bytes outstanding at peers that take them as fast as expected.
    counted: u64,
    /// Such peers.
    brisk: usize,
    /// Those and the slow ones, without the stuck.
    held: usize,
}

impl Swarm {
    /// Credit that keeps the uplink busy for as long as a peer at this distance
    /// takes to answer a grant and to acknowledge what it got for it: 1.5 times two round trips.
    fn pipe(&self, key: ContentKey, peer: &PeerId) -> u64 {
        let rtt = self.peers.get(peer).map_or(Duration::ZERO, |p| p.delay.get());
        let time = 3 * rtt + TURNAROUND;
        let bytes = (self.uplink.rate.get() as f64 * time.as_secs_f64()) as u64;
        let two = self.contents.get(&key).map_or(1, |c| 2 * c.average());
        bytes.max(two).min(MAX_CREDIT)
    }

    /// How long a peer may take nothing before others get its place.
    fn patience(&self, key: ContentKey, peer: &PeerId) -> Duration {
        let rtt = self.peers.get(peer).map_or(Duration::ZERO, |p| p.delay.get());
        let drain = self.uplink.rate.time_for(self.pipe(key, peer));
        2 * rtt + TURNAROUND + drain.unwrap_or(Duration::ZERO) * 3 / 2
    }

    /// When the next of the served peers will have turned out slow, if that
    /// would make room for a grant that waits.
    pub(crate) fn next_slow(&self) -> Option<Duration> {
        if !self.uplink.waiting {
            return None;
        }
        let at = |(key, peer): &(ContentKey, PeerId)| {
            let link = self.contents.get(key)?.links.get(peer)?;
            Some(link.progress_at + self.patience(*key, peer))
        };
        self.uplink
            .busy
            .iter()
            .filter_map(at)
            .filter(|at| *at > self.now)
            .min()
    }

    fn room(&self) -> Room {
        let mut room = Room {
            counted: 0,
            brisk: 0,
            held: 0,
        };
        for (key, peer) in &self.uplink.busy {
            let Some(link) = self.contents.get(key).and_then(|c| c.links.get(peer)) else {
                continue;
            };
            let idle = self.now.saturating_sub(link.progress_at);
            if idle < self.patience(*key, peer) {
                room.counted += link.outstanding();
                room.brisk += 1;
            }
            room.held += usize::from(idle < STUCK);
        }
        room
    }

    /// Grants credit while the uplink has less to do than keeps it busy.
    pub(crate) fn grant(&mut self, out: &mut Vec<Action>) {
        loop {
            let room = self.room();
            self.uplink.waiting = false;
            let may_open = room.brisk < self.config.upload_slots
                && room.held < self.config.max_upload_slots;
            let Some((key, peer)) = self.next_to_serve(may_open, room.counted) else {
                // Whoever is slow may give way to somebody else, if there is one.
                self.uplink.waiting = self.uplink.is_busy()
                    && self.contents.values().any(|c| {
                        c.role == Role::Member && c.links.values().any(|l| l.is_interested(self.now))
                    });
                return;
            };
            self.grant_to(key, peer, room.counted, out);
        }
    }

    /// The link that gets the next grant.
    fn next_to_serve(&mut self, may_open: bool, counted: u64) -> Option<(ContentKey, PeerId)> {
        let by_turns = self.uplink.grants % TURN_EVERY == TURN_EVERY - 1;
        let turn = self.uplink.turn;
        let mut best: Option<((u8, u64, Tier, u32), (ContentKey, PeerId))> = None;
        let mut in_turn: Option<(bool, (ContentKey, PeerId))> = None;
        let keys: Vec<ContentKey> = self.contents.keys().copied().collect();
        for key in keys {
            let content = &self.contents[&key];
            if content.role == Role::Leech || content.have.is_empty() {
                continue;
            }
            let average = content.average();
            for (peer, link) in &content.links {
                if !link.is_interested(self.now) {
                    continue;
                }
                let outstanding = link.outstanding();
                if outstanding == 0 && !may_open {
                    continue;
                }
                let pipe = self.pipe(key, peer);
                let quantum = quantum(pipe, average);
                if counted.max(outstanding) + quantum > pipe {
                    continue;
                }
                let has = u64::from(link.known) + link.credit.div_ceil(average);
                let rank = (
                    u8::MAX - content.priority,
                    has,
                    link.tier,
                    self.rng.next_u32(),
                );
                if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                    best = Some((rank, (key, *peer)));
                }
                if by_turns {
                    let place = (turn.is_some_and(|turn| (key, *peer) <= turn), (key, *peer));
                    if in_turn.is_none_or(|first| place < first) {
                        in_turn = Some(place);
                    }
                }
            }
        }
        match in_turn {
            Some((_, link)) => {
                self.uplink.turn = Some(link);
                Some(link)
            }
            None => best.map(|(_, link)| link),
        }
    }

    fn grant_to(&mut self, key: ContentKey, peer: PeerId, counted: u64, out: &mut Vec<Action>) {
        let pipe = self.pipe(key, &peer);
        let content = self.contents.get_mut(&key).expect("chosen above");
        let quantum = quantum(pipe, content.average());
        let link = content.links.get_mut(&peer).expect("chosen above");
        let free = pipe - counted.max(link.outstanding());
        // Half of a large pipe at a time, so that the next in need waits less.
        let bytes = free.min(quantum.max(pipe / 2));
        if link.outstanding() == 0 {
            link.progress_at = self.now;
        }
        if link.credit == 0 {
            link.credit_at = self.now;
        }
        link.credit += bytes;
        self.uplink.grants += 1;
        self.uplink.busy.insert((key, peer));
        let suggested = self.suggest(key, &peer, bytes);
        let msg = Message::Grant { bytes, suggested };
        out.push(Action::Send { peer, key, msg });
    }

    /// What a seeder wants handed on with a grant: the chunks of which there are
    /// the fewest copies, those that it handed out counted as copies already.
    fn suggest(&mut self, key: ContentKey, peer: &PeerId, bytes: u64) -> Vec<u32> {
        let content = self.contents.get_mut(&key).expect("chosen above");
        let mut suggested = Vec::new();
        let mut left = bytes as i64;
        while content.is_complete() && left > 0 && suggested.len() < MAX_SUGGESTED {
            let link = &content.links[peer];
            let lacks = |chunk: u32| {
                !link.theirs.contains(chunk)
                    && !link.sent.contains(chunk)
                    && !link.suggested.contains(&chunk)
            };
            let Some(chunk) = content.rarity.choose(&mut self.rng, lacks) else {
                break;
            };
            content.suggest(peer, chunk);
            suggested.push(chunk);
            left -= content.size(chunk) as i64;
        }
        suggested
    }

    /// A peer gives credit back.
    pub(crate) fn take_back(&mut self, key: ContentKey, peer: PeerId, bytes: u64) {
        let content = self.contents.get_mut(&key).expect("looked up by hear");
        let link = content.links.get_mut(&peer).expect("looked up by hear");
        link.declined = true;
        link.credit = link.credit.saturating_sub(bytes);
        if link.credit == 0 {
            content.forget_suggestions(&peer);
        }
        self.rest(key, peer);
    }

    /// Notes that a link may have nothing outstanding any more.
    fn rest(&mut self, key: ContentKey, peer: PeerId) {
        let link = self.contents.get(&key).and_then(|c| c.links.get(&peer));
        if link.is_none_or(|link| link.outstanding() == 0) {
            self.uplink.busy.remove(&(key, peer));
        }
    }

    pub(crate) fn incoming(
        &mut self,
        key: ContentKey,
        peer: PeerId,
        serve: ServeId,
        chunks: Vec<u32>,
        out: &mut Vec<Action>,
    ) {
        let Some(bytes) = self.accept(key, &peer, &chunks) else {
            out.push(Action::Refuse { peer, key, serve });
            self.refused(key, peer, out);
            return;
        };
        let state = self.peers.entry(peer).or_default();
        state.serves += 1;
        state.refusals = state.refusals.saturating_sub(1);
        let content = self.contents.get_mut(&key).expect("accepted");
        for chunk in &chunks {
            content.send(&peer, *chunk);
        }
        let link = content.links.get_mut(&peer).expect("accepted");
        link.credit = link.credit.saturating_sub(bytes);
        link.owed += bytes;
        link.held_off.forgive();
        if link.credit == 0 {
            content.forget_suggestions(&peer);
        }
        self.uplink.busy.insert((key, peer));
        self.uplink.serves.insert(
            serve,
            Serve {
                key,
                peer,
                bytes,
                served: 0,
                left: chunks.clone(),
                mark: self.uplink.rate.mark(self.now),
            },
        );
        out.push(Action::Serve {
            peer,
            key,
            serve,
            chunks,
        });
    }

    /// The bytes of a request that may be answered.
    fn accept(&self, key: ContentKey, peer: &PeerId, chunks: &[u32]) -> Option<u64> {
        let content = self.contents.get(&key)?;
        let link = content.links.get(peer)?;
        let serves = self.peers.get(peer).map_or(0, |p| p.serves);
        if content.role == Role::Leech
            || chunks.is_empty()
            || chunks.len() > MAX_REQUEST_CHUNKS
            || serves >= MAX_SERVES_PER_PEER
        {
            return None;
        }
        let mut bytes = 0;
        let mut seen = BTreeSet::new();
        for chunk in chunks {
            let fine = content.have.contains(*chunk)
                && !link.is_served_out(*chunk)
                && seen.insert(*chunk)
                && bytes < link.credit;
            if !fine {
                return None;
            }
            bytes += content.size(*chunk);
        }
        Some(bytes)
    }

    fn refused(&mut self, key: ContentKey, peer: PeerId, out: &mut Vec<Action>) {
        // The request used up what it was meant for.
        if let Some(content) = self.contents.get_mut(&key)
            && let Some(link) = content.links.get_mut(&peer)
        {
            link.credit = 0;
            content.forget_suggestions(&peer);
            self.rest(key, peer);
        }
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        state.refusals += 1;
        if state.refusals > MAX_REFUSALS {
            self.punish(peer, Offence::Flood, out);
        }
    }

    pub(crate) fn served(
        &mut self,
        key: ContentKey,
        peer: PeerId,
        serve: ServeId,
        chunk: u32,
        bytes: u32,
    ) {
        if let Some(serve) = self.uplink.serves.get_mut(&serve) {
            serve.left.retain(|c| *c != chunk);
            serve.served += u64::from(bytes);
        }
        let link = self.contents.get_mut(&key).and_then(|c| c.links.get_mut(&peer));
        if let Some(link) = link {
            link.sent_bytes += u64::from(bytes);
            link.progress_at = self.now;
        }
    }

    pub(crate) fn serve_ended(&mut self, key: ContentKey, peer: PeerId, serve: ServeId) {
        let known = |serve: &Serve| serve.peer == peer && serve.key == key;
        if !self.uplink.serves.get(&serve).is_some_and(known) {
            return;
        }
        let Some(serve) = self.uplink.serves.remove(&serve) else {
            return;
        };
        self.uplink.rate.deliver(self.now, serve.mark, serve.served);
        if let Some(state) = self.peers.get_mut(&peer) {
            state.serves = state.serves.saturating_sub(1);
        }
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        for chunk in &serve.left {
            content.unsend(&peer, *chunk);
        }
        if let Some(link) = content.links.get_mut(&peer) {
            // Saturating: the peer may have left and joined again meanwhile.
            link.owed = link.owed.saturating_sub(serve.bytes);
            link.progress_at = self.now;
        }
        self.rest(key, peer);
    }

    /// Takes back credit that lies unused.
    pub(crate) fn look_over_credit(&mut self) {
        let busy: Vec<_> = self.uplink.busy.iter().copied().collect();
        for (key, peer) in busy {
            let rtt = self.peers.get(&peer).map_or(Duration::ZERO, |p| p.delay.get());
            let timeout = self.config.credit_timeout.max(8 * rtt);
            let Some(content) = self.contents.get_mut(&key) else {
                continue;
            };
            let Some(link) = content.links.get_mut(&peer) else {
                continue;
            };
            if link.credit > 0 && link.credit_at + timeout <= self.now {
                link.credit = 0;
                link.held_off.strike(self.now);
                content.forget_suggestions(&peer);
                self.paused.insert((key, peer));
                self.rest(key, peer);
            }
        }
    }
}

/// The least that is worth a grant: a quarter of the pipe, and a chunk.
fn quantum(pipe: u64, average: u64) -> u64 {
    (pipe / 4).max(average).min(pipe)
}
