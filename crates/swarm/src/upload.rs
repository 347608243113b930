//! Granting credit and answering requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::Rng;
use samara_wire::PeerId;

use crate::{
    Action, ContentKey, Message, Offence, Policy, ServeId, Tier,
    announce::FAR_SPACING,
    content::Content,
    limits::{MAX_CREDIT, MAX_REFUSALS, MAX_REQUEST_CHUNKS, MAX_SERVES_PER_PEER, MAX_SUGGESTED},
    link::Link,
    pace::{DeliveryRate, Mark},
    site, spread,
    swarm::Swarm,
};

/// Added to the round trips that credit has to cover: what both ends take from a
/// message to what it leads to.
const TURNAROUND: Duration = Duration::from_millis(5);

/// Every fifth grant goes by turns instead of to whoever has least, so that
/// nobody is starved by those who claim to have nothing.
const TURN_EVERY: u64 = 5;
/// And every so many of them to one that passes nothing on, while others want something.
const RARELY: u64 = TURN_EVERY * TURN_EVERY;

/// One that waits for what was sent to it, and has taken nothing for this long, lost it.
const STUCK: Duration = Duration::from_secs(3);

/// Places for peers that have nothing yet, and how many chunks more of each make one
/// place more.
const FIRST_SLOTS: usize = 8;
const SLOT_RAMP: u64 = 4;

/// A node that has sent so many chunks of an average size knows how fast it sends. If
/// that is less than one part in [`SLOWER`] of what it receives, it serves fewer, but
/// so many at least.
const MEASURED_CHUNKS: u64 = 16;
const SLOWER: f64 = 1.5;
const LEAST_SLOTS: usize = 2;

/// While it answers so many at once the link is busy; what it brought over so long a time
/// is what it brings. The best single answer says more than that, up to three times as
/// much, and then a node whose link is full of promises would go on making them.
const BUSY: usize = 3;
const STEADY: Duration = Duration::from_secs(2);
/// It counts if it is less than one part in [`FAR_SLOWER`] of what the node receives, with
/// a margin of [`MARGIN`]: swarms of equal links do best with the best answers.
const FAR_SLOWER: f64 = 3.0;
const MARGIN: f64 = 1.25;

/// A seeder that serves so many has its link busy, and lets those wait who are to pass on
/// what they have first.
const SERVED_AT_LEAST: usize = 4;
/// Announcements come after so long, from those who have no way out in common.
const TOLD: Duration = Duration::from_millis(60);

/// A node that needs longer than this for a chunk, or has not sent one yet, sends each peer
/// one at a time; and if it has all of them, so many peers at once: what it sends is what
/// the others have to pass on, and the sooner it is whole the better.
const SLOW_CHUNK: Duration = Duration::from_secs(1);
const SLOW_SLOTS: usize = 4;
/// Chunks so small are sent to more at once even if it is not known how long they take.
const SMALL_CHUNK: u64 = 128 << 10;

/// Who has so many chunks more than one that waits for a place makes room for it.
const PATIENCE: u64 = 16;

/// A peer that nobody else wants anything beside gets so much of what it wants at
/// once on a path that is not measured yet, as bytes a second of the round trip: on a
/// long one its rate would take many round trips to find. Not more than one part in
/// so many of what it wants, in case that others come.
const FIRST_RATE: f64 = 50e6;
const FIRST_PART: u64 = 16;

/// Who is served first, the smallest: by how much the content matters, what the peer
/// has, how near it is, and chance.
type Rank = (u8, u64, Tier, u32);

/// How many peers want something besides the one that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    None,
    Some,
    /// So many that the link is busy while one of them waits for its next grant.
    Crowd,
}

/// Those who want something, over all contents.
struct Crowd {
    company: Company,
    /// Places for them to be served in.
    slots: usize,
    /// There are several, and a chunk takes long: each gets one at a time.
    slow: bool,
    /// For each content, the chunks that its peers keep to themselves, and the peers.
    kept: Vec<(ContentKey, u32, u32)>,
}

/// From so many on it is a crowd.
const CROWD: usize = 12;

/// A content of fewer chunks has one less on its way to a peer: its peers have nothing to
/// pass on until their first chunk is whole.
const FEW_CHUNKS: u32 = 512;

/// An answer on its way out.
#[derive(Debug)]
struct Serve {
    key: ContentKey,
    peer: PeerId,
    /// Bytes asked for.
    bytes: u64,
    /// Bytes that the transport took.
    served: u64,
    chunks: Vec<u32>,
    /// Those that it did not take yet.
    left: Vec<u32>,
    /// What the peer had acknowledged when it began.
    mark: Mark,
    /// What all had.
    all: Mark,
}

/// What this node sends, over all contents.
#[derive(Debug, Default)]
pub(crate) struct Uplink {
    serves: BTreeMap<ServeId, Serve>,
    /// Links with credit or answers outstanding.
    busy: BTreeSet<(ContentKey, PeerId)>,
    grants: u64,
    /// What all peers together take.
    pub(crate) rate: DeliveryRate,
    /// Two moments since which the link has been busy, [`STEADY`] apart.
    busy_since: Option<(Mark, Mark)>,
    /// Whose turn it was last.
    turn: Option<(ContentKey, PeerId)>,
    /// Contents that somebody wanted something of when last looked.
    demand: BTreeSet<ContentKey>,
}

impl Uplink {
    pub(crate) fn is_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// Somebody wants something of this content.
    pub(crate) fn demand(&mut self, key: ContentKey) {
        self.demand.insert(key);
    }

    /// Looks whether the link is still busy, after an answer began or ended.
    fn look_if_busy(&mut self, now: Duration) {
        let mark = self.rate.mark(now);
        self.busy_since = match self.busy_since {
            _ if self.serves.len() < BUSY => None,
            None => Some((mark, mark)),
            Some((_, middle)) if now >= middle.at + STEADY => Some((middle, mark)),
            kept => kept,
        };
    }

    /// Bytes a second that a link brings which has been busy for a while.
    fn steady(&self, now: Duration) -> Option<u64> {
        let (since, _) = self.busy_since?;
        self.rate
            .since(now, since)
            .filter(|_| since.at + STEADY <= now)
    }

    /// The link is gone; answers that are still going out are not its any more.
    pub(crate) fn forget(&mut self, key: ContentKey, peer: PeerId) {
        self.busy.remove(&(key, peer));
    }

    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        self.serves.retain(|_, serve| serve.peer != peer);
    }
}

impl Swarm {
    /// Grants credit for as long as there is a free place and somebody to fill it.
    pub(crate) fn grant(&mut self, out: &mut Vec<Action>) {
        if self.uplink.demand.is_empty() {
            return;
        }
        let crowd = self.crowd();
        while let Some((key, peer)) = self.next_to_serve(&crowd) {
            self.grant_to(key, peer, &crowd, out);
        }
    }

    /// Looks over those who want something.
    fn crowd(&self) -> Crowd {
        let (mut known, mut all) = (0u64, 0usize);
        let mut kept = Vec::new();
        for key in &self.uplink.demand {
            let Some(content) = self.contents.get(key) else {
                continue;
            };
            let (mut keep, mut peers) = (0, 0);
            for link in content.links.values().filter(|link| link.wants > 0) {
                known += u64::from(link.known);
                keep += link.kept;
                peers += 1;
            }
            all += peers as usize;
            kept.push((*key, keep, peers));
        }
        // Few places while they have little: their links are idle, and a chunk that
        // leaves at full rate can be passed on soonest. More as they have more, and
        // so are busy with each other.
        let more = known / all.max(1) as u64 / SLOT_RAMP;
        let slots = self.slower(self.config.upload_slots.min(FIRST_SLOTS + more as usize));
        let slow = all > 1 && self.sends_slowly();
        Crowd {
            company: match all {
                0 | 1 => Company::None,
                CROWD.. => Company::Crowd,
                _ => Company::Some,
            },
            slots: match slow && self.only_seeds() {
                true => slots.min(SLOW_SLOTS),
                false => slots,
            },
            slow,
            kept,
        }
    }

    /// Of so many places those that a node gives away that sends more slowly than it, or
    /// its peers on average, receive: what it promised waits for its turn, and the faster
    /// ones find nobody who still lacks it; and a link that is full of what it sends
    /// brings no acknowledgements of what it receives.
    fn slower(&self, slots: usize) -> usize {
        let contents = self.uplink.demand.iter();
        let contents = contents.filter_map(|key| self.contents.get(key));
        let (mut comes, mut average) = (0, 0);
        for content in contents.filter(|content| !content.is_complete()) {
            let others = content.links.values().filter(|link| !link.whole).count();
            let heard = content.heard.get(self.now) / others.max(1) as u64;
            comes += content.rate.get().max(heard);
            average = average.max(content.average());
        }
        let rate = &self.uplink.rate;
        if comes == 0 || rate.delivered() < MEASURED_CHUNKS * average {
            return slots;
        }
        let steady = self.uplink.steady(self.now);
        let steady = steady.filter(|steady| FAR_SLOWER * (*steady as f64) < comes as f64);
        let most = steady.map_or(f64::INFINITY, |steady| MARGIN * steady as f64);
        let part = (SLOWER * most.min(rate.get() as f64) / comes as f64).min(1.0);
        ((slots as f64 * part * part).round() as usize).max(LEAST_SLOTS.min(slots))
    }

    /// Whether a chunk takes this node long, or it does not know yet. Whatever it sent of
    /// many at once, none would be whole for a long time, and nobody could pass it on.
    fn sends_slowly(&self) -> bool {
        let contents = self.uplink.demand.iter();
        let contents = contents.filter_map(|key| self.contents.get(key));
        let average = contents.map(|content| content.average()).max();
        let average = average.unwrap_or(0);
        match self.uplink.rate.time_for(average) {
            Some(time) => time > SLOW_CHUNK,
            None => average > SMALL_CHUNK,
        }
    }

    /// Whether it has all of what anybody wants.
    fn only_seeds(&self) -> bool {
        let contents = self.uplink.demand.iter();
        let mut contents = contents.filter_map(|key| self.contents.get(key));
        contents.all(|content| content.is_complete())
    }

    /// Links that hold a place among those served.
    fn served_now(&self) -> usize {
        let holds = |(key, peer): &&(ContentKey, PeerId)| {
            let content = self.contents.get(key);
            content.is_some_and(|content| {
                let link = content.links.get(peer);
                link.is_some_and(|link| self.holds_place(content, link))
            })
        };
        self.uplink.busy.iter().filter(holds).count()
    }

    /// The link that gets the next grant: of the contents that matter most, the
    /// one that has least, the nearest of several, any of those; or whose turn it is.
    fn next_to_serve(&mut self, crowd: &Crowd) -> Option<(ContentKey, PeerId)> {
        let served = self.served_now();
        if served > crowd.slots {
            return None;
        }
        let may_open = served < crowd.slots;
        let by_turns = self.uplink.grants % TURN_EVERY == TURN_EVERY - 1;
        let turn = self.uplink.turn;
        let mut best: Option<(Rank, (ContentKey, PeerId))> = None;
        let mut in_turn: Option<(bool, (ContentKey, PeerId))> = None;
        let mut waits = None;
        let mut idle = Vec::new();
        for key in &self.uplink.demand {
            let Some(content) = self.contents.get(key) else {
                idle.push(*key);
                continue;
            };
            let mut wanted = false;
            let injects = content.is_complete() && !content.rarity.without_copies().is_empty();
            // What each has on its way to others if the link is busy and they pass it on at
            // once: it is asked for, sent, announced, asked for again and sent again.
            let passing = |link: &Link| {
                let beyond = link.tier == Tier::Elsewhere && link.site.is_some();
                let told = if beyond { 2 * FAR_SPACING } else { TOLD };
                let time = (4 * link.rtt + told).as_secs_f64();
                let bytes = self.uplink.rate.get() as f64 * time;
                (bytes / (content.average() * content.links.len() as u64) as f64) as u32
            };
            let seen = crowd.kept.iter().find(|(seen, ..)| seen == key);
            let (kept, peers) = seen.map_or((0, 0), |(_, kept, peers)| (*kept, *peers));
            for (peer, link) in &content.links {
                wanted |= link.wants > 0;
                if link.held_until > self.now
                    || !content.role.serves()
                    || !link.is_interested(self.now)
                    || Self::room(content, link, crowd).is_none()
                {
                    continue;
                }
                let average = content.average();
                let spent = link.spent.div_ceil(average);
                let has = u64::from(link.known).max(spent) + link.credit.div_ceil(average);
                let important = u8::MAX - content.priority;
                let has = match self.config.policy {
                    Policy::LastPeer => has,
                    Policy::Average => u64::MAX - has,
                };
                let others = (kept.saturating_sub(link.kept), peers.saturating_sub(1));
                if injects
                    && served >= SERVED_AT_LEAST
                    && spread::lags(link.kept, passing(link), others.0, others.1)
                {
                    continue;
                }
                let hoards = spread::hoards(link.kept, others.0, others.1);
                if link.outstanding() == 0 && !may_open {
                    let place = (important, has.saturating_add(PATIENCE));
                    if !hoards {
                        waits = Some(waits.map_or(place, |first: (u8, u64)| first.min(place)));
                    }
                    continue;
                }
                let rank = (important, has, link.tier, self.rng.next_u32());
                let at = (*key, *peer);
                if !hoards && best.as_ref().is_none_or(|(least, _)| rank < *least) {
                    best = Some((rank, at));
                }
                let place = (turn.is_some_and(|turn| at <= turn), at);
                // The others may have all they can use, so that every turn would be its.
                let by_turns = by_turns && (!hoards || self.uplink.grants % RARELY == RARELY - 1);
                if by_turns && in_turn.is_none_or(|first| place < first) {
                    in_turn = Some(place);
                }
            }
            if !wanted {
                idle.push(*key);
            }
        }
        for key in idle {
            self.uplink.demand.remove(&key);
        }
        if let Some((_, link)) = in_turn {
            self.uplink.turn = Some(link);
            return Some(link);
        }
        // Who has a place gives it up to one who has far less.
        let stays = |(important, has, ..): &Rank| waits.is_none_or(|w| (*important, *has) < w);
        best.filter(|(rank, _)| stays(rank)).map(|(_, link)| link)
    }

    /// Bytes to grant to a link, if it is worth a grant.
    ///
    /// Its pipe is 1.5 times what it takes in the two round trips from a grant to the
    /// acknowledgement of what came of it, and at least three chunks of average size: one
    /// on its way, one waiting, for sizes differ, and one that is asked for. Small pipes
    /// to many keep chunks from waiting in a slow peer's queue while others lack them,
    /// which matters more the fewer there are.
    /// For one that is alone the pipe is twice that: there is nobody to delay, and it
    /// finds the rate of a fast path in half the time.
    fn room(content: &Content, link: &Link, crowd: &Crowd) -> Option<u64> {
        let company = crowd.company;
        let rtt = link.rtt;
        let time = (3 * rtt + TURNAROUND) * if company == Company::None { 2 } else { 1 };
        let taken = (link.taken.get() as f64 * time.as_secs_f64()) as u64;
        let average = content.average();
        let slow = link.taken.time_for(average).is_some_and(|t| t > 2 * time);
        let crowded = slow && company == Company::Crowd;
        let few = content.have.len() < FEW_CHUNKS;
        let chunks = match crowd.slow {
            true => 1,
            false => 3 - u64::from(crowded) - u64::from(few),
        };
        let unknown = company == Company::None && link.taken.get() == 0;
        let first = if unknown {
            let fills = (link.rtt.as_secs_f64() * FIRST_RATE) as u64;
            (link.wants / FIRST_PART).min(fills)
        } else {
            0
        };
        let least = chunks * average;
        let pipe = taken.max(least).max(first).min(MAX_CREDIT);
        // A quarter of the pipe at least, or long paths would drown in grants; and half a
        // chunk, for a large one may leave no room for a whole one beside it.
        let quantum = (pipe / 4).max(average / 2).min(pipe);
        let free = pipe.saturating_sub(link.outstanding());
        // At most half, or a chunk, so that the next in need waits less.
        let most = if pipe == least { average } else { pipe / 2 };
        (free >= quantum).then(|| free.min(most.max(quantum)))
    }

    fn grant_to(&mut self, key: ContentKey, peer: PeerId, crowd: &Crowd, out: &mut Vec<Action>) {
        let content = self.contents.get_mut(&key).expect("chosen above");
        let Some(room) = Self::room(content, &content.links[&peer], crowd) else {
            return;
        };
        let Some((bytes, suggested)) = self.suggest(key, &peer, room) else {
            return;
        };
        let content = self.contents.get_mut(&key).expect("chosen above");
        let link = content.links.get_mut(&peer).expect("chosen above");
        if link.outstanding() == 0 {
            link.progress_at = self.now;
        }
        if link.credit == 0 {
            link.credit_at = self.now;
        }
        link.credit += bytes;
        let bytes = (bytes + std::mem::take(&mut link.overdrawn)).min(MAX_CREDIT);
        self.uplink.grants += 1;
        self.uplink.busy.insert((key, peer));
        let msg = Message::Grant { bytes, suggested };
        out.push(Action::Send { peer, key, msg });
    }

    /// How many of `room` bytes to grant, and what to suggest with them; `None`: the link
    /// is held back for now.
    fn suggest(&mut self, key: ContentKey, peer: &PeerId, room: u64) -> Option<(u64, Vec<u32>)> {
        let content = self.contents.get_mut(&key).expect("chosen above");
        if content.is_complete() {
            return self.inject(key, peer, room);
        }
        // What is not announced yet, or the credit would come back for want of use.
        let link = &content.links[peer];
        let lacks = |chunk: &u32| !link.theirs.contains(*chunk) && !link.sent.contains(*chunk);
        let news = content.untold(link).iter().copied().filter(lacks);
        Some((room, news.take(MAX_SUGGESTED).collect()))
    }

    /// What a seeder wants handed on with a grant: the chunks of which there are
    /// the fewest copies, those that it handed out counted as copies already; in
    /// every site once. A chunk whose first copy is likely to spread by itself is not
    /// handed out again; where there is nothing else, the peer gets nothing for now.
    fn inject(&mut self, key: ContentKey, peer: &PeerId, room: u64) -> Option<(u64, Vec<u32>)> {
        let content = self.contents.get_mut(&key).expect("chosen above");
        let link = &content.links[peer];
        let elsewhere = link.site.filter(|_| link.tier == Tier::Elsewhere);
        let others = content.links.iter().filter(|(other, _)| *other != peer);
        let mates: Vec<PeerId> = others
            .clone()
            .filter(|(_, other)| elsewhere.is_some() && other.site == elsewhere)
            .map(|(mate, _)| *mate)
            .collect();
        let (kept, peers) = others
            .filter(|(_, other)| other.wants > 0)
            .fold((0, 0), |(kept, n), (_, other)| (kept + other.kept, n + 1));
        let hoards = spread::hoards(link.kept, kept, peers);
        let shards_wait = content.has_fresh_chunks();
        let (mut suggested, mut bytes) = (Vec::new(), 0);
        let mut young: Option<Duration> = None;
        while bytes < room && suggested.len() < MAX_SUGGESTED {
            content.rarity.skip_copied();
            let link = &content.links[peer];
            let mut fits = |chunk: u32| {
                if content.is_shard(chunk)
                    && (shards_wait || !content.is_worth_handing_out(chunk, link))
                {
                    return false;
                }
                let copies = content.rarity.copies(chunk);
                let got = |link: &Link| link.theirs.contains(chunk) || link.counts(chunk, true);
                let rival = |mate: &PeerId| {
                    let mate_link = &content.links[mate];
                    got(mate_link)
                        || mate_link.wants > 0 && site::pull(mate, chunk) > site::pull(peer, chunk)
                };
                if got(link) || hoards && copies == 0 || mates.iter().any(rival) {
                    return false;
                }
                let until = match copies {
                    0 => None,
                    _ => content.spread.young_until(self.now, chunk),
                };
                if let Some(until) = until {
                    young = Some(young.map_or(until, |first| first.min(until)));
                }
                until.is_none()
            };
            // First copies in order, for those who use them as they come; to the others it
            // is all the same.
            let first = content.rarity.first_without_copies(&mut fits);
            let chunk = first.or_else(|| content.rarity.choose(&mut self.rng, fits));
            let Some(chunk) = chunk else {
                break;
            };
            content.suggest(self.now, peer, chunk);
            suggested.push(chunk);
            bytes += content.size(chunk);
        }
        match young {
            None => Some((room, suggested)),
            Some(_) if !suggested.is_empty() => Some((room.min(bytes), suggested)),
            Some(until) => {
                let link = content.links.get_mut(peer).expect("chosen above");
                link.held_until = until;
                self.held_at = Some(self.held_at.map_or(until, |at| at.min(until)));
                None
            }
        }
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
    pub(crate) fn rest(&mut self, key: ContentKey, peer: PeerId) {
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
        let state = self.peer(peer);
        state.serves += 1;
        state.conduct.refusals = state.conduct.refusals.saturating_sub(1);
        let content = self.contents.get_mut(&key).expect("accepted");
        for chunk in &chunks {
            content.send(&peer, *chunk);
        }
        let link = content.links.get_mut(&peer).expect("accepted");
        link.overdrawn = bytes.saturating_sub(link.credit);
        link.credit = link.credit.saturating_sub(bytes);
        link.credit_at = self.now;
        link.owed += bytes;
        link.spent += bytes;
        link.held_off.forgive();
        let mark = link.taken.mark(self.now);
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
                chunks: chunks.clone(),
                left: chunks.clone(),
                mark,
                all: self.uplink.rate.mark(self.now),
            },
        );
        self.uplink.look_if_busy(self.now);
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
        if !content.role.serves()
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
            link.overdrawn = 0;
            content.forget_suggestions(&peer);
            self.rest(key, peer);
        }
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        state.conduct.refusals += 1;
        if state.conduct.refusals > MAX_REFUSALS {
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
        let link = self
            .contents
            .get_mut(&key)
            .and_then(|c| c.links.get_mut(&peer));
        if let Some(link) = link {
            link.sent_bytes += u64::from(bytes);
            link.progress_at = self.now;
        }
    }

    pub(crate) fn serve_ended(
        &mut self,
        key: ContentKey,
        peer: PeerId,
        serve: ServeId,
        taken: bool,
    ) {
        let known = |serve: &Serve| serve.peer == peer && serve.key == key;
        if !self.uplink.serves.get(&serve).is_some_and(known) {
            return;
        }
        let Some(serve) = self.uplink.serves.remove(&serve) else {
            return;
        };
        let rate = &mut self.uplink.rate;
        rate.deliver(self.now, serve.all, serve.served);
        self.uplink.look_if_busy(self.now);
        if let Some(state) = self.peers.get_mut(&peer) {
            state.serves = state.serves.saturating_sub(1);
        }
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let theirs = content.links.get(&peer).map(|link| &link.theirs);
        let got = |chunk: &u32| {
            let announced = || theirs.is_some_and(|theirs| theirs.contains(*chunk));
            !serve.left.contains(chunk) && (taken || announced())
        };
        let lost: Vec<u32> = (serve.chunks.iter().copied()).filter(|c| !got(c)).collect();
        for chunk in lost {
            content.unsend(&peer, chunk);
        }
        // The first of them may have been under way, and is not to be had for nothing.
        let unsent = serve.left.iter().skip(1).map(|chunk| content.size(*chunk));
        let unsent: u64 = unsent.sum();
        if let Some(link) = content.links.get_mut(&peer) {
            // Saturating: the peer may have left and joined again meanwhile.
            link.owed = link.owed.saturating_sub(serve.bytes);
            link.spent = link.spent.saturating_sub(unsent);
            link.progress_at = self.now;
            link.taken.deliver(self.now, serve.mark, serve.served);
        }
        self.rest(key, peer);
    }

    /// Takes back credit that lies unused.
    pub(crate) fn look_over_credit(&mut self) {
        let busy: Vec<_> = self.uplink.busy.iter().copied().collect();
        for (key, peer) in busy {
            let rtt = self
                .peers
                .get(&peer)
                .map_or(Duration::ZERO, |p| p.delay.get());
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

    /// Whether somebody waits for what we believe to have sent.
    pub(crate) fn may_have_lost(&self) -> bool {
        let contents = self.uplink.demand.iter();
        let mut contents = contents.filter_map(|key| self.contents.get(key));
        contents.any(|content| {
            content
                .links
                .values()
                .any(|link| link.misses_what_was_sent())
        })
    }

    /// Believes those who wait on that they have not got what they do not announce: what
    /// the transport brought can be lost before it is stored.
    pub(crate) fn look_over_losses(&mut self) {
        for key in &self.uplink.demand {
            let Some(content) = self.contents.get_mut(key) else {
                continue;
            };
            let waits =
                |link: &Link| link.misses_what_was_sent() && link.progress_at + STUCK <= self.now;
            let waiting = content.links.iter().filter(|(_, link)| waits(link));
            let lost: Vec<(PeerId, Vec<u32>)> = waiting
                .map(|(peer, link)| (*peer, link.sent.iter_difference(&link.theirs).collect()))
                .collect();
            for (peer, chunks) in lost {
                for chunk in chunks {
                    content.resend(&peer, chunk);
                }
            }
        }
    }
}
