use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use samara_content::{ChunkSet, Stripes};
use samara_wire::PeerId;

use crate::{
    Action, ContentKey, Message, Order, RequestId, Role, SiteId, Tier,
    limits::MAX_SPENT,
    link::Link,
    pace::{AnswerTime, DeliveryRate, Mark, Throughput},
    rarity::Rarity,
    site::Share,
    spread::Spread,
    stripes::Striped,
};

/// A request of ours that has not ended.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) peer: PeerId,
    /// Not here yet, in the order of the answer.
    pub(crate) chunks: Vec<u32>,
    /// Bytes of `chunks`.
    pub(crate) bytes: u64,
    pub(crate) mark: Mark,
    /// The same for all peers together.
    pub(crate) all: Mark,
    /// When it should be over, as far as the peer's rate is known.
    pub(crate) due: Duration,
    /// When it is late, by what others have taken.
    pub(crate) late_at: Duration,
    pub(crate) progress_at: Duration,
    /// Bytes of the chunk that is coming in.
    pub(crate) begun: u64,
}

/// One content: what is here, what is on its way, who has what.
///
/// The counts in [`Link`] and [`Rarity`] follow from the sets; every change of a
/// set goes through a method here that keeps them.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) sizes: Arc<[u32]>,
    pub(crate) have: ChunkSet,
    pub(crate) wanted: ChunkSet,
    pub(crate) role: Role,
    pub(crate) priority: u8,
    pub(crate) order: Order,
    /// Bytes of chunks wanted, stored or not.
    pub(crate) wanted_bytes: u64,
    /// Chunks and bytes wanted and not stored.
    pub(crate) missing: u32,
    pub(crate) missing_bytes: u64,
    /// While chunks are missing, the members are those that nobody was asked for;
    /// after that, all that is here.
    pub(crate) rarity: Rarity,
    /// Nothing is missing: copies are counted as a seeder does.
    pub(crate) seeding: bool,
    /// `None` without parity.
    pub(crate) striped: Option<Striped>,
    /// Boxed, or the gaps in the tree's nodes would be as large as links.
    pub(crate) links: BTreeMap<PeerId, Box<Link>>,
    pub(crate) requests: BTreeMap<RequestId, Asked>,
    /// Which requests a chunk is expected from.
    pub(crate) flights: BTreeMap<u32, Vec<RequestId>>,
    /// Bytes of all requests.
    pub(crate) asked: u64,
    /// What all peers together deliver.
    pub(crate) rate: DeliveryRate,
    /// What all peers said that came to them.
    pub(crate) heard: Throughput,
    /// What answers have taken.
    pub(crate) answers: AnswerTime,
    /// Here, and not yet stored.
    pub(crate) arrived: BTreeSet<u32>,
    /// Stored, and not yet announced.
    pub(crate) news: BTreeSet<u32>,
    /// Stored, and not yet announced to those beyond the site's way out.
    pub(crate) far_news: BTreeSet<u32>,
    /// Wanted again since links were last told.
    pub(crate) again: Vec<u32>,
    /// What became of the chunks that were handed out, for a seeder.
    pub(crate) spread: Spread,
    /// Bytes that answers to peers took who are gone, the last one at the end.
    pub(crate) spent: VecDeque<(PeerId, u64)>,
    /// Shards may have to stand in for chunks that nobody has any more.
    pub(crate) look_for_shards: bool,
    /// Peers that are not elsewhere.
    pub(crate) near: usize,
    pub(crate) share: Share,
    /// It gave credit back for the sake of a more urgent content.
    pub(crate) yielded: bool,
    pub(crate) told_complete: bool,
    pub(crate) told_no_source: bool,
}

impl Content {
    pub(crate) fn new(
        sizes: Arc<[u32]>,
        have: ChunkSet,
        wanted: Option<ChunkSet>,
        role: Role,
        priority: u8,
        order: Order,
    ) -> Self {
        let chunks = sizes.len() as u32;
        let mut content = Self {
            have,
            wanted: wanted.unwrap_or_else(|| ChunkSet::full(chunks)),
            role,
            priority,
            order,
            wanted_bytes: 0,
            missing: 0,
            missing_bytes: 0,
            rarity: Rarity::new(0),
            seeding: false,
            striped: None,
            links: BTreeMap::new(),
            requests: BTreeMap::new(),
            flights: BTreeMap::new(),
            asked: 0,
            rate: DeliveryRate::default(),
            heard: Throughput::default(),
            answers: AnswerTime::default(),
            arrived: BTreeSet::new(),
            news: BTreeSet::new(),
            far_news: BTreeSet::new(),
            again: Vec::new(),
            spread: Spread::default(),
            spent: VecDeque::new(),
            look_for_shards: false,
            near: 0,
            share: Share::default(),
            yielded: false,
            told_complete: false,
            told_no_source: false,
            sizes,
        };
        content.recount();
        content
    }

    /// It has parity; what is wanted was given with it in mind.
    pub(crate) fn stripe(&mut self, stripes: Stripes) {
        if stripes.all() == self.have.len() {
            self.striped = Some(Striped::new(stripes));
            self.recount();
        }
    }

    /// Bytes of one chunk.
    pub(crate) fn size(&self, chunk: u32) -> u64 {
        u64::from(self.sizes[chunk as usize])
    }

    /// Bytes of an average chunk.
    pub(crate) fn average(&self) -> u64 {
        // A subset's chunks are as good a sample as all of them.
        (self.wanted_bytes / u64::from(self.wanted.count().max(1))).max(1)
    }

    pub(crate) fn is_missing(&self, chunk: u32) -> bool {
        self.wanted.contains(chunk) && !self.have.contains(chunk)
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Bytes that others may be asked for.
    pub(crate) fn to_fetch(&self) -> u64 {
        match self.role.fetches() {
            true => self.missing_bytes,
            false => 0,
        }
    }

    /// Adds to what is wanted.
    pub(crate) fn want(&mut self, more: &ChunkSet) {
        self.wanted.union_with(more);
        self.recount();
    }

    /// Derives everything that follows from `have`, `wanted` and the links.
    fn recount(&mut self) {
        self.wanted_bytes = self.wanted.iter().map(|c| self.size(c)).sum();
        let missing = self.wanted.iter_difference(&self.have);
        self.missing_bytes = missing.map(|c| self.size(c)).sum();
        self.missing = self.wanted.difference_count(&self.have);
        if let Some(striped) = &mut self.striped {
            striped.whole = striped.chunks().all(|c| self.wanted.contains(c));
        }
        for link in self.links.values_mut() {
            link.offers = link
                .theirs
                .iter_difference(&self.have)
                .filter(|c| self.wanted.contains(*c))
                .count() as u32;
        }
        self.reindex();
    }

    /// Builds the order of chunks anew, for a seeder or for a receiver.
    fn reindex(&mut self) {
        self.seeding = self.is_complete();
        let chunks = self.sizes.len() as u32;
        let mut copies = vec![0; chunks as usize];
        for link in self.links.values() {
            link.add_copies(self.seeding, &mut copies);
        }
        self.rarity = Rarity::of(copies);
        for chunk in 0..chunks {
            if self.is_member(chunk) {
                self.rarity.insert(chunk);
            }
        }
    }

    pub(crate) fn is_member(&self, chunk: u32) -> bool {
        if self.seeding {
            self.have.contains(chunk)
        } else {
            self.is_missing(chunk)
                && !self.flights.contains_key(&chunk)
                && !self.arrived.contains(&chunk)
                && !self.is_settled(chunk)
        }
    }

    /// The chunk is stored; false if it was already.
    pub(crate) fn store(&mut self, chunk: u32) -> bool {
        self.arrived.remove(&chunk);
        let was_missing = self.is_missing(chunk);
        if !self.have.insert(chunk) {
            return false;
        }
        for link in self.links.values_mut() {
            if link.theirs.contains(chunk) {
                link.offers -= u32::from(was_missing);
            } else if !link.sent.contains(chunk) {
                link.useful += 1;
            }
        }
        if was_missing {
            self.missing -= 1;
            self.missing_bytes -= self.size(chunk);
        }
        if self.is_complete() != self.seeding {
            self.reindex();
        } else if self.seeding {
            self.rarity.insert(chunk);
        } else {
            self.rarity.remove(chunk);
            self.settle(chunk);
        }
        self.news.insert(chunk);
        self.far_news.insert(chunk);
        true
    }

    /// The chunk is not stored any more; false if it was not.
    pub(crate) fn lose(&mut self, chunk: u32) -> bool {
        if !self.have.remove(chunk) {
            return false;
        }
        self.news.remove(&chunk);
        self.far_news.remove(&chunk);
        self.undecode(chunk);
        let missing = self.is_missing(chunk);
        for link in self.links.values_mut() {
            if link.theirs.contains(chunk) {
                link.offers += u32::from(missing);
            } else if !link.sent.contains(chunk) {
                link.useful -= 1;
            }
        }
        if missing {
            self.missing += 1;
            self.missing_bytes += self.size(chunk);
            self.told_complete = false;
        }
        if self.is_complete() != self.seeding {
            self.reindex();
        } else if self.seeding {
            self.rarity.remove(chunk);
        }
        self.requeue(chunk);
        true
    }

    /// Whether `chunk` is wanted and nobody was asked for it.
    pub(crate) fn is_open(&self, chunk: u32) -> bool {
        !self.seeding && self.rarity.contains(chunk)
    }

    /// Whether we gave credit back to the peer and have not asked for more since.
    pub(crate) fn released(&self, peer: &PeerId) -> bool {
        self.links.get(peer).is_some_and(|link| link.released)
    }

    /// Whether one of these chunks is the first copy near us.
    pub(crate) fn brings(&self, peer: &PeerId, chunks: &[u32]) -> bool {
        let is_near = |link: &Link| link.tier != Tier::Elsewhere;
        if self.near == 0 || !self.links.get(peer).is_some_and(|link| is_near(link)) {
            return false;
        }
        let near = || self.links.values().filter(|link| is_near(link));
        let new =
            |c: &&u32| !self.have.contains(**c) && !near().any(|link| link.theirs.contains(**c));
        chunks.iter().any(|c| new(&c))
    }

    /// Has a peer know that had given up on us, and now has something that we need.
    pub(crate) fn ask_credit(
        &mut self,
        peer: &PeerId,
        key: ContentKey,
        now: Duration,
        out: &mut Vec<Action>,
    ) {
        let Some(link) = self.links.get_mut(peer) else {
            return;
        };
        if self.role.fetches() && link.may_be_asked(now) {
            link.released = false;
            let msg = Message::Want(self.missing_bytes);
            out.push(Action::Send {
                peer: *peer,
                key,
                msg,
            });
        }
    }

    /// A chunk that is no longer on its way is to be asked for again.
    pub(crate) fn requeue(&mut self, chunk: u32) {
        if self.seeding {
            return;
        }
        if self.is_member(chunk) {
            self.rarity.insert(chunk);
            self.again.push(chunk);
        }
        for other in self.reopened(chunk) {
            self.rarity.insert(other);
            self.again.push(other);
        }
    }

    pub(crate) fn join(
        &mut self,
        now: Duration,
        peer: PeerId,
        tier: Tier,
        site: Option<SiteId>,
        rtt: Duration,
    ) {
        self.near += usize::from(tier != Tier::Elsewhere);
        let mut link = Link::new(now, tier, site, rtt, &self.have);
        if let Some(place) = self.spent.iter().position(|(gone, _)| *gone == peer) {
            (_, link.spent) = self.spent.remove(place).expect("found there");
        }
        self.links.insert(peer, Box::new(link));
    }

    /// Takes the peer out, with what only it was expected to bring.
    pub(crate) fn leave(&mut self, peer: &PeerId) -> Option<Box<Link>> {
        let link = self.links.remove(peer)?;
        if link.spent > 0 {
            if self.spent.len() == MAX_SPENT {
                self.spent.pop_front();
            }
            self.spent.push_back((*peer, link.spent));
        }
        let seeding = self.seeding;
        self.near -= usize::from(link.tier != Tier::Elsewhere);
        self.spread.forget(peer);
        // What only it had is to be handed out again.
        for other in self.links.values_mut() {
            other.held_until = Duration::ZERO;
        }
        if !link.whole {
            let held = link.theirs.iter();
            let assumed = link.sent.iter_difference(&link.theirs);
            let suggested = link.suggested.iter().copied();
            let others = assumed
                .chain(suggested.filter(|c| !link.sent.contains(*c) && !link.theirs.contains(*c)));
            for chunk in held.chain(others.filter(|_| seeding)) {
                self.rarity.drop_copy(chunk);
            }
        }
        for id in &link.requests {
            self.forget_request(*id);
        }
        Some(link)
    }

    /// Changes what is known of one chunk at one link, keeping the copies counted.
    fn adjust(&mut self, peer: &PeerId, chunk: u32, change: impl FnOnce(&mut Link)) {
        let Some(link) = self.links.get_mut(peer) else {
            return;
        };
        let before = link.counts(chunk, self.seeding);
        change(link);
        match (before, link.counts(chunk, self.seeding)) {
            (false, true) => self.rarity.add_copy(chunk),
            (true, false) => self.rarity.drop_copy(chunk),
            _ => {}
        }
    }

    /// The peer announced a chunk.
    pub(crate) fn peer_has(&mut self, peer: &PeerId, chunk: u32) {
        if self.seeding
            && self
                .links
                .get(peer)
                .is_some_and(|link| !link.sent.contains(chunk))
            && let Some(keeper) = self.spread.pass_on(chunk)
            && let Some(link) = self.links.get_mut(&keeper)
        {
            link.kept -= 1;
        }
        let (mine, missing) = (self.have.contains(chunk), self.is_missing(chunk));
        self.adjust(peer, chunk, |link| {
            if link.theirs.insert(chunk) {
                link.offers += u32::from(missing);
                if !link.sent.contains(chunk) {
                    link.known += 1;
                    link.useful -= u32::from(mine);
                }
            }
        });
    }

    /// The peer withdrew a chunk, or it cannot be had from there.
    pub(crate) fn peer_lacks(&mut self, peer: &PeerId, chunk: u32) {
        self.scatter(peer);
        let (mine, missing) = (self.have.contains(chunk), self.is_missing(chunk));
        self.adjust(peer, chunk, |link| {
            if link.theirs.remove(chunk) {
                link.offers -= u32::from(missing);
                if !link.sent.contains(chunk) {
                    link.known -= 1;
                    link.useful += u32::from(mine);
                }
            }
        });
    }

    /// The peer announced all that it has.
    pub(crate) fn peer_has_only(&mut self, peer: &PeerId, set: ChunkSet) {
        let Some(link) = self.links.get(peer) else {
            return;
        };
        if set.is_full() && link.known == 0 && link.suggested.is_empty() {
            let link = self.links.get_mut(peer).expect("looked up above");
            link.whole = true;
            link.known = set.count();
            link.useful = 0;
            link.offers = self.missing;
            link.theirs = set;
            return;
        }
        let gone: Vec<u32> = link.theirs.iter_difference(&set).collect();
        for chunk in gone {
            self.peer_lacks(peer, chunk);
        }
        for chunk in &set {
            self.peer_has(peer, chunk);
        }
    }

    /// A peer that had everything no longer does: it is counted like others.
    fn scatter(&mut self, peer: &PeerId) {
        if let Some(link) = self.links.get_mut(peer)
            && std::mem::take(&mut link.whole)
        {
            for chunk in 0..self.sizes.len() as u32 {
                self.rarity.add_copy(chunk);
            }
        }
    }

    /// The chunk is being sent to the peer.
    pub(crate) fn send(&mut self, peer: &PeerId, chunk: u32) {
        if self.seeding
            && self.rarity.copies(chunk) <= 1
            && let Some(link) = self.links.get_mut(peer)
            && !link.theirs.contains(chunk)
            && self.spread.keep(chunk, *peer)
        {
            link.kept += 1;
        }
        self.adjust(peer, chunk, |link| {
            if link.send(chunk) && !link.theirs.contains(chunk) {
                link.known += 1;
                // Only what is here is sent.
                link.useful -= 1;
            }
            link.suggested.remove(&chunk);
        });
    }

    /// The chunk did not get through to the peer.
    pub(crate) fn unsend(&mut self, peer: &PeerId, chunk: u32) {
        self.take_off_sent(peer, chunk, Link::unsend);
    }

    /// The peer says that the chunk got lost there; whether it may have it again.
    pub(crate) fn resend(&mut self, peer: &PeerId, chunk: u32) -> bool {
        self.take_off_sent(peer, chunk, Link::resend)
    }

    fn take_off_sent(
        &mut self,
        peer: &PeerId,
        chunk: u32,
        take: fn(&mut Link, u32) -> bool,
    ) -> bool {
        let mine = self.have.contains(chunk);
        let mut taken = false;
        self.adjust(peer, chunk, |link| {
            taken = take(link, chunk);
            if taken && !link.theirs.contains(chunk) {
                link.known -= 1;
                link.useful += u32::from(mine);
            }
        });
        taken
    }

    pub(crate) fn suggest(&mut self, now: Duration, peer: &PeerId, chunk: u32) {
        if self.rarity.copies(chunk) == 0 {
            self.spread.hand_out(now, chunk, self.sizes.len());
        }
        self.adjust(peer, chunk, |link| {
            link.suggested.insert(chunk);
        });
    }

    /// The peer's credit is used up or gone, and with it what was suggested.
    pub(crate) fn forget_suggestions(&mut self, peer: &PeerId) {
        while let Some(chunk) = self
            .links
            .get(peer)
            .and_then(|link| link.suggested.first().copied())
        {
            self.adjust(peer, chunk, |link| {
                link.suggested.remove(&chunk);
            });
        }
    }

    /// Enters a request of ours; its chunks are no longer to be chosen.
    pub(crate) fn ask(&mut self, id: RequestId, asked: Asked) {
        let link = self
            .links
            .get_mut(&asked.peer)
            .expect("only peers are asked");
        link.requests.push(id);
        link.asked += asked.bytes;
        self.asked += asked.bytes;
        for chunk in &asked.chunks {
            self.rarity.remove(*chunk);
            self.flights.entry(*chunk).or_default().push(id);
        }
        let chunks = asked.chunks.clone();
        self.requests.insert(id, asked);
        if self.striped.is_some() {
            chunks.into_iter().for_each(|chunk| self.settle(chunk));
        }
    }

    /// The request of `peer` that `chunk` is the answer to.
    pub(crate) fn request_of(&self, peer: &PeerId, chunk: u32) -> Option<RequestId> {
        let link = self.links.get(peer)?;
        let asks = |id: &&RequestId| self.requests[id].chunks.contains(&chunk);
        link.requests.iter().find(asks).copied()
    }

    /// Takes one chunk out of a request; ends the request with the last of them.
    pub(crate) fn take_from_request(&mut self, now: Duration, id: RequestId, chunk: u32) {
        let size = self.size(chunk);
        let asked = self.requests.get_mut(&id).expect("found by request_of");
        asked.chunks.retain(|c| *c != chunk);
        asked.bytes -= size;
        asked.progress_at = now;
        asked.begun = 0;
        let (peer, over) = (asked.peer, asked.chunks.is_empty());
        self.asked -= size;
        if let Some(link) = self.links.get_mut(&peer) {
            link.asked -= size;
        }
        self.ground(id, chunk);
        if over {
            self.forget_request(id);
        }
    }

    /// `chunk` is not expected from request `id` any more.
    fn ground(&mut self, id: RequestId, chunk: u32) {
        if let Some(ids) = self.flights.get_mut(&chunk) {
            ids.retain(|i| *i != id);
            if ids.is_empty() {
                self.flights.remove(&chunk);
            }
        }
    }

    /// Ends a request; what it still owed is wanted again.
    pub(crate) fn forget_request(&mut self, id: RequestId) -> Option<Asked> {
        let asked = self.requests.remove(&id)?;
        self.asked -= asked.bytes;
        if let Some(link) = self.links.get_mut(&asked.peer) {
            link.requests.retain(|i| *i != id);
            link.asked -= asked.bytes;
        }
        for chunk in &asked.chunks {
            self.ground(id, *chunk);
            self.requeue(*chunk);
        }
        Some(asked)
    }

    /// The chunk is here: it is not expected from anybody else. Returns the
    /// requests that bring nothing more.
    pub(crate) fn arrive(&mut self, chunk: u32) -> Vec<RequestId> {
        if self.have.contains(chunk) {
            return Vec::new();
        }
        self.arrived.insert(chunk);
        self.rarity.remove(chunk);
        self.settle(chunk);
        let ids = self.flights.remove(&chunk).unwrap_or_default();
        ids.into_iter()
            .filter(|id| {
                let asked = &self.requests[id];
                let awaited = |c: &u32| self.flights.get(c).is_some_and(|ids| ids.contains(id));
                !asked.chunks.iter().any(awaited)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNKS: u32 = 6;

    fn peer(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    /// Two stripes of two chunks and a shard.
    fn stripes() -> Stripes {
        let params = samara_content::ChunkParams::fixed(4096, "1/2".parse().unwrap()).unwrap();
        Stripes::of(params, 4 * 4096).unwrap().unwrap()
    }

    /// Counts everything anew and compares.
    fn check(content: &Content) {
        assert_eq!(content.seeding, content.is_complete());
        let missing: Vec<u32> = (0..CHUNKS).filter(|c| content.is_missing(*c)).collect();
        assert_eq!(content.missing, missing.len() as u32);
        for link in content.links.values() {
            let count =
                |fits: &dyn Fn(u32) -> bool| (0..CHUNKS).filter(|c| fits(*c)).count() as u32;
            let known = |c: u32| link.theirs.contains(c) || link.sent.contains(c);
            assert_eq!(link.known, count(&known));
            assert_eq!(
                link.useful,
                count(&|c| content.have.contains(c) && !known(c))
            );
            let offered = |c: u32| link.theirs.contains(c) && content.is_missing(c);
            assert_eq!(link.offers, count(&offered));
        }
        for chunk in 0..CHUNKS {
            let holders = content.links.values();
            let copies = holders.filter(|l| l.counts(chunk, content.seeding)).count();
            assert_eq!(usize::from(content.rarity.copies(chunk)), copies);
            assert_eq!(content.rarity.contains(chunk), content.is_member(chunk));
        }
        let owed: u64 = content.requests.values().map(|a| a.bytes).sum();
        assert_eq!(content.asked, owed);
        assert_eq!(
            content.asked,
            content.links.values().map(|l| l.asked).sum::<u64>()
        );
    }

    fn ask(content: &mut Content, id: u64, from: PeerId, chunk: u32) {
        let offered = content
            .links
            .get(&from)
            .is_some_and(|l| l.theirs.contains(chunk));
        let open = content.rarity.contains(chunk) || content.takes_shard(chunk);
        if offered && open && !content.seeding {
            let asked = Asked {
                peer: from,
                chunks: vec![chunk],
                bytes: content.size(chunk),
                mark: Default::default(),
                all: Default::default(),
                due: Duration::ZERO,
                late_at: Duration::ZERO,
                progress_at: Duration::ZERO,
                begun: 0,
            };
            content.ask(RequestId(id), asked);
        }
    }

    proptest! {
        #[test]
        fn the_counts_are_what_the_sets_say(
            have in 0u32..64,
            wanted in 0u32..64,
            parity in any::<bool>(),
            steps in proptest::collection::vec((0u8..16, 1u8..4, 0..CHUNKS), 0..80),
        ) {
            let bits = |bits: u32| {
                let mut set = ChunkSet::new(CHUNKS);
                for chunk in (0..CHUNKS).filter(|c| bits >> c & 1 == 1) {
                    set.insert(chunk);
                }
                set
            };
            let sizes = (1..=CHUNKS).collect::<Vec<_>>().into();
            let mut content = Content::new(sizes, bits(have), Some(bits(wanted)), Role::Member, 0, Order::Rarest);
            if parity {
                content.stripe(stripes());
            }
            for (id, (step, who, chunk)) in (0..).zip(steps) {
                let who = peer(who);
                match step {
                    0 if !content.links.contains_key(&who) => {
                        content.join(Duration::ZERO, who, Tier::Site, None, Duration::ZERO);
                    }
                    1 => {
                        content.leave(&who);
                    }
                    2 | 3 => content.peer_has(&who, chunk),
                    4 => content.peer_lacks(&who, chunk),
                    5 => content.peer_has_only(&who, ChunkSet::full(CHUNKS)),
                    6 => content.peer_has_only(&who, bits(chunk * 7)),
                    7 if content.have.contains(chunk) => content.send(&who, chunk),
                    8 => content.unsend(&who, chunk),
                    15 => {
                        content.resend(&who, chunk);
                    }
                    9 => content.suggest(Duration::ZERO, &who, chunk),
                    10 => content.forget_suggestions(&who),
                    11 => {
                        content.arrive(chunk);
                        content.store(chunk);
                    }
                    12 => {
                        content.lose(chunk);
                    }
                    13 => ask(&mut content, id, who, chunk),
                    14 => {
                        if let Some(request) = content.request_of(&who, chunk) {
                            content.take_from_request(Duration::ZERO, request, chunk);
                            content.requeue(chunk);
                        }
                    }
                    _ => content.want(&bits(1 << chunk)),
                }
                check(&content);
            }
        }
    }
}
