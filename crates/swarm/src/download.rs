//! Spending credit and taking in what comes for it.

use std::time::Duration;

use samara_wire::PeerId;

use crate::{
    Action, ContentKey, Message, Offence, Order, RequestId, Tier,
    content::{Asked, Content},
    limits::{MAX_BAD_CHUNKS, MAX_IN_FLIGHT, MAX_REQUEST_CHUNKS},
    site::{Near, weight},
    stream::Window,
    swarm::Swarm,
};

/// The most bytes of one request, but for its last chunk. Enough that an answer
/// is long against what opening a stream costs; several of them fill a pipe.
const REQUEST_BYTES: u64 = 1 << 20;

/// What an answer is expected to take while the peer's rate is not known.
const UNKNOWN_ANSWER: Duration = Duration::from_secs(1);

/// An answer that is less late than this is waited for.
const LATE: Duration = Duration::from_millis(50);

/// Peers that a chunk is asked of at once, each when those before are late.
const MOST_COPIES: usize = 4;

/// A request without progress is given up after this many times what it should take.
const GIVE_UP: u32 = 8;

/// How often chunks that are left to others of the site are looked at again.
const LOOK_ELSEWHERE: Duration = Duration::from_millis(500);

impl Swarm {
    /// Spends a grant at once, as far as there is room, and gives back what is left of it.
    pub(crate) fn spend(
        &mut self,
        key: ContentKey,
        peer: PeerId,
        (bytes, room): (u64, u64),
        suggested: &[u32],
        out: &mut Vec<Action>,
    ) {
        let content = self.contents.get_mut(&key).expect("looked up by hear");
        let credit = bytes as i64 - content.links[&peer].debt as i64;
        let mut left = credit.min(i64::try_from(room).unwrap_or(i64::MAX));
        let beyond = credit - left;
        // A suggestion announces what it names.
        let count = content.have.len();
        for chunk in suggested.iter().filter(|c| **c < count) {
            content.peer_has(&peer, *chunk);
        }
        let shunned = !content.links[&peer].shunned.is_over(self.now);
        if !self.contents[&key].role.fetches() {
            // Granted before it heard that nothing is wanted.
        } else if self.is_preempted(key) {
            let content = self.contents.get_mut(&key).expect("looked up by hear");
            content.yielded = true;
        } else if !shunned && self.contents[&key].asked < MAX_IN_FLIGHT {
            left = self.request(key, peer, left, suggested, out);
            if left > 0 {
                left = self.duplicate(key, peer, left, out);
            }
        }
        // All of the room was used: there may be more to ask for.
        let cramped = beyond > 0 && left <= 0 && left + beyond > 0;
        left += beyond;
        let content = self.contents.get_mut(&key).expect("looked up by hear");
        let link = content.links.get_mut(&peer).expect("looked up by hear");
        if std::mem::replace(&mut link.cramped, cramped) != cramped {
            match cramped {
                true => self.cramped.insert((key, peer)),
                false => self.cramped.remove(&(key, peer)),
            };
        }
        link.debt = left.min(0).unsigned_abs();
        if left > 0 {
            link.released = true;
            let msg = Message::Release(left as u64);
            out.push(Action::Send { peer, key, msg });
        }
    }

    /// Requests chunks that nobody was asked for; returns the credit that is left.
    fn request(
        &mut self,
        key: ContentKey,
        peer: PeerId,
        credit: i64,
        suggested: &[u32],
        out: &mut Vec<Action>,
    ) -> i64 {
        let piece = (credit.max(0) as u64 / 4).min(REQUEST_BYTES);
        let mut left = credit;
        let window = Window::of(&self.contents[&key]);
        let mut in_turn = suggested.iter().copied();
        let mut put_off = None;
        while left > 0 {
            let content = self.contents.get_mut(&key).expect("looked up by hear");
            let (mut chunks, mut bytes) = (Vec::new(), 0);
            while chunks.len() < MAX_REQUEST_CHUNKS
                && (chunks.is_empty() || bytes < piece)
                && (bytes as i64) < left
            {
                let near = Near::of(content, &self.our_id, &peer, self.now);
                let theirs = &content.links[&peer].theirs;
                let open = |c: u32| theirs.contains(c) && content.rarity.contains(c);
                // A seeder sees to it that nobody else in the site gets what it suggests.
                let seeds = theirs.is_full();
                let free = |c: u32| {
                    open(c)
                        && near
                            .as_ref()
                            .is_none_or(|n| !n.has(c) && (seeds || n.elects_us(c)))
                };
                let ours = |c: u32| open(c) && near.as_ref().is_none_or(|n| n.leaves_us(c));
                let takes = |c: u32| open(c) || content.takes_shard(c);
                let next = put_off.take().filter(|c| takes(*c));
                let next = next.or_else(|| match content.order {
                    Order::Stream => window
                        .as_ref()
                        .and_then(|w| {
                            w.choose(content, (&self.our_id, &peer), suggested, free, ours)
                        })
                        .or_else(|| earliest(content, ours)),
                    Order::Rarest => in_turn
                        .by_ref()
                        .find(|c| free(*c) || seeds && content.takes_shard(*c))
                        .or_else(|| rarest(content, &peer, &mut self.rng, ours)),
                });
                let leaves_us = |c: u32| near.as_ref().is_none_or(|n| n.leaves_us(c));
                let next = next.or_else(|| content.substitute(&peer, leaves_us));
                let Some(chunk) = next else { break };
                if content.has_of_stripe(&chunks, chunk) {
                    // Whether the stripe needs it is known when those are asked for.
                    put_off = Some(chunk);
                    break;
                }
                bytes += content.size(chunk);
                content.rarity.remove(chunk);
                chunks.push(chunk);
            }
            if chunks.is_empty() {
                break;
            }
            left -= bytes as i64;
            self.ask(key, peer, chunks, bytes, out);
        }
        self.note_share(key, &peer, left < credit);
        left
    }

    /// Notes whether there was anything to fetch for the site.
    fn note_share(&mut self, key: ContentKey, peer: &PeerId, asked: bool) {
        let content = self.contents.get_mut(&key).expect("looked up by hear");
        let link = &content.links[peer];
        if link.tier != Tier::Elsewhere || content.near == 0 {
            return;
        }
        if asked {
            content.share.done = None;
        } else if link.offers > 0 && !content.rarity.is_empty() {
            let near = Near::of(content, &self.our_id, peer, self.now);
            let ours = |c: u32| near.as_ref().is_some_and(|n| n.leaves_us(c));
            let open = |c: &u32| content.is_open(*c) && ours(*c);
            if !content
                .wanted
                .iter_difference(&content.have)
                .any(|c| open(&c))
            {
                content.share.done.get_or_insert(self.now);
            }
            content
                .share
                .retry_at
                .get_or_insert(self.now + LOOK_ELSEWHERE);
        }
    }

    /// Whether something more urgent is on its way.
    fn is_preempted(&self, key: ContentKey) -> bool {
        let priority = self.contents[&key].priority;
        self.fetching.iter().any(|other| {
            let content = self.contents.get(other);
            content.is_some_and(|c| c.priority > priority && c.asked > 0)
        })
    }

    /// What a content lets pass: it gave credit back for it, or got none, for its source
    /// heeds priorities as well.
    pub(crate) fn yields_to(&self, key: ContentKey, content: &Content) -> Option<ContentKey> {
        let waits = content.to_fetch() > 0 && content.asked == 0 && self.is_preempted(key);
        if !content.yielded && !waits {
            return None;
        }
        let fetching = self.fetching.iter();
        fetching
            .filter_map(|key| Some((self.contents.get(key)?, *key)))
            .filter(|(other, _)| other.priority > content.priority && other.to_fetch() > 0)
            .max_by_key(|(other, key)| (other.asked > 0, other.priority, *key))
            .map(|(_, key)| key)
    }

    /// Whether any content waits for others, nearer or more urgent, to be done.
    pub(crate) fn is_sharing(&self) -> bool {
        self.fetching.iter().any(|key| {
            let content = self.contents.get(key);
            content.is_some_and(|c| c.yielded || c.share.retry_at.is_some())
        })
    }

    /// Asks again where credit was given back for others' sake, now that they may be done.
    pub(crate) fn look_elsewhere(&mut self, out: &mut Vec<Action>) {
        for key in self.fetching.clone() {
            let preempted = self.contents.contains_key(&key) && self.is_preempted(key);
            let Some(content) = self.contents.get_mut(&key) else {
                continue;
            };
            let due = content.share.retry_at.is_some_and(|at| at <= self.now);
            if due {
                content.share.retry_at = None;
            }
            let resumes = content.yielded && !preempted;
            if resumes {
                content.yielded = false;
            }
            if due || resumes {
                let offering = content.links.iter().filter(|(_, link)| link.offers > 0);
                let peers: Vec<_> = offering.map(|(peer, _)| *peer).collect();
                for peer in peers {
                    content.ask_credit(&peer, key, self.now, out);
                }
            }
        }
    }

    /// Endgame: everything that the peer could send was asked of others. What
    /// comes from there much later than it would from here is asked for twice,
    /// a chunk a request, so that either can be cancelled.
    fn duplicate(
        &mut self,
        key: ContentKey,
        peer: PeerId,
        credit: i64,
        out: &mut Vec<Action>,
    ) -> i64 {
        let mut left = credit;
        while left > 0 {
            let content = &self.contents[&key];
            if !content.rarity.is_empty() {
                break;
            }
            let link = &content.links[&peer];
            let cost = |from: &PeerId, due: Duration| {
                let wait = due.saturating_sub(self.now) + LATE;
                wait.mul_f64(weight(content.links[from].tier))
            };
            let late = content
                .flights
                .iter()
                .filter(|(chunk, ids)| ids.len() < MOST_COPIES && link.theirs.contains(**chunk))
                .filter_map(|(chunk, ids)| {
                    let mut asked = ids.iter().map(|id| &content.requests[id]);
                    let first = &content.requests[&ids[0]];
                    let here = self.expect(content, &peer, content.size(*chunk))?;
                    let overdue = asked.clone().all(|asked| asked.late_at <= self.now);
                    let worth = ids.len() == 1
                        && cost(&first.peer, first.due) > 2 * cost(&peer, self.now + here);
                    let another = asked.all(|asked| asked.peer != peer);
                    (another && (overdue || worth)).then_some((first.due, *chunk))
                })
                .max_by_key(|(due, chunk)| (*due, *chunk));
            let Some((_, chunk)) = late else { break };
            let bytes = content.size(chunk);
            left -= bytes as i64;
            self.ask(key, peer, vec![chunk], bytes, out);
        }
        left
    }

    /// How long `bytes` more from the peer take, behind what it was asked for already;
    /// all that is on its way from others shares this node's link with it.
    fn expect(&self, content: &Content, peer: &PeerId, bytes: u64) -> Option<Duration> {
        let link = content.links.get(peer)?;
        let rtt = self
            .peers
            .get(peer)
            .map_or(Duration::ZERO, |p| p.delay.get());
        let answer = link.rate.time_for(link.asked + bytes);
        let all = content.rate.time_for(content.asked + bytes);
        let answer = answer.unwrap_or(UNKNOWN_ANSWER);
        Some(rtt + answer.max(all.unwrap_or_default()))
    }

    fn ask(
        &mut self,
        key: ContentKey,
        peer: PeerId,
        chunks: Vec<u32>,
        bytes: u64,
        out: &mut Vec<Action>,
    ) {
        let content = &self.contents[&key];
        let expected = self.expect(content, &peer, bytes).unwrap_or(UNKNOWN_ANSWER);
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let asked = Asked {
            peer,
            chunks: chunks.clone(),
            bytes,
            mark: content.links[&peer].rate.mark(self.now),
            all: content.rate.mark(self.now),
            due: self.now + expected,
            late_at: self.now + expected.max(content.answers.usual()) + LATE,
            progress_at: self.now,
            begun: 0,
        };
        let content = self.contents.get_mut(&key).expect("indexed above");
        content.ask(request, asked);
        out.push(Action::Request {
            peer,
            key,
            request,
            chunks,
        });
    }

    pub(crate) fn chunk_arrived(
        &mut self,
        key: ContentKey,
        chunk: u32,
        peer: PeerId,
        bytes: u32,
        out: &mut Vec<Action>,
    ) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        if chunk >= content.have.len() {
            return;
        }
        let was_full = content.asked >= MAX_IN_FLIGHT;
        if let Some(id) = content.request_of(&peer, chunk) {
            let all = content.requests[&id].all;
            content.answers.sample(self.now.saturating_sub(all.at));
            let came = content.deliver(self.now, id, u64::from(bytes));
            content.hear_from(self.now, &peer, came);
            // Here before it is taken off, so that it is not wanted again between.
            let idle = content.arrive(chunk);
            content.take_from_request(self.now, id, chunk);
            for request in idle.into_iter().filter(|i| *i != id) {
                if let Some(asked) = content.forget_request(request) {
                    out.push(Action::Cancel {
                        peer: asked.peer,
                        key,
                        request,
                    });
                }
            }
        }
        if let Some(link) = content.links.get_mut(&peer) {
            link.received_bytes += u64::from(bytes);
        }
        if was_full && content.asked < MAX_IN_FLIGHT {
            let missing: Vec<u32> = content.wanted.iter_difference(&content.have).collect();
            content.again.extend(missing);
        }
    }

    pub(crate) fn chunk_verified(&mut self, key: ContentKey, peer: PeerId) {
        let link = self
            .contents
            .get_mut(&key)
            .and_then(|c| c.links.get_mut(&peer));
        if let Some(link) = link {
            link.shunned.forgive();
        }
    }

    /// The peer sent a wrong chunk. A chunk comes from one peer as a whole, so
    /// there is no doubt who it was.
    pub(crate) fn chunk_rejected(
        &mut self,
        key: ContentKey,
        chunk: u32,
        peer: PeerId,
        out: &mut Vec<Action>,
    ) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        if chunk >= content.have.len() {
            return;
        }
        if let Some(id) = content.request_of(&peer, chunk) {
            content.take_from_request(self.now, id, chunk);
        }
        content.arrived.remove(&chunk);
        content.peer_lacks(&peer, chunk);
        content.requeue(chunk);
        if content.links.contains_key(&peer) {
            let msg = Message::BadChunk(chunk);
            out.push(Action::Send { peer, key, msg });
        }
        if let Some(state) = self.peers.get_mut(&peer) {
            state.conduct.bad_chunks += 1;
            if state.conduct.bad_chunks >= MAX_BAD_CHUNKS {
                self.punish(peer, Offence::BadChunks, out);
            }
        }
        self.check_source(key, out);
    }

    pub(crate) fn chunk_stored(&mut self, key: ContentKey, chunk: u32, out: &mut Vec<Action>) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        if chunk >= content.have.len() {
            return;
        }
        // Found on the disk while it was on its way.
        for request in content.arrive(chunk) {
            if let Some(asked) = content.forget_request(request) {
                out.push(Action::Cancel {
                    peer: asked.peer,
                    key,
                    request,
                });
            }
        }
        if content.store(chunk) {
            self.announce_soon(key);
            self.check_stripe(key, chunk, out);
            self.check_complete(key, out);
        }
    }

    pub(crate) fn chunk_dropped(&mut self, key: ContentKey, chunk: u32) {
        if let Some(content) = self.contents.get_mut(&key)
            && content.arrived.remove(&chunk)
        {
            content.requeue(chunk);
        }
    }

    pub(crate) fn chunk_lost(&mut self, key: ContentKey, chunk: u32, out: &mut Vec<Action>) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        if !content.lose(chunk) {
            return;
        }
        self.fetching.insert(key);
        for (peer, link) in &mut content.links {
            let msg = Message::Withdraw(vec![chunk]);
            out.push(Action::Send {
                peer: *peer,
                key,
                msg,
            });
            if content.missing > 0 && content.role.fetches() {
                link.released = false;
                let msg = Message::Want(content.missing_bytes);
                out.push(Action::Send {
                    peer: *peer,
                    key,
                    msg,
                });
            }
        }
        self.check_source(key, out);
    }

    pub(crate) fn request_failed(&mut self, key: ContentKey, peer: PeerId, request: RequestId) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        if content
            .requests
            .get(&request)
            .is_some_and(|a| a.peer == peer)
        {
            content.forget_request(request);
            // A refusal uses up all credit, and with it what was owed.
            if let Some(link) = content.links.get_mut(&peer) {
                link.debt = 0;
            }
            self.shun(key, peer);
        }
    }

    /// Asks nothing of a peer for a while that did not answer.
    fn shun(&mut self, key: ContentKey, peer: PeerId) {
        let link = self
            .contents
            .get_mut(&key)
            .and_then(|c| c.links.get_mut(&peer));
        if let Some(link) = link
            && link.shunned.is_over(self.now)
        {
            link.shunned.strike(self.now);
            self.paused.insert((key, peer));
        }
    }

    /// Whether an answer is expected from anybody.
    pub(crate) fn is_waiting(&self) -> bool {
        let waits = |key| {
            self.contents
                .get(key)
                .is_some_and(|c| !c.requests.is_empty())
        };
        self.fetching.iter().any(waits)
    }

    /// Gives up on requests that bring nothing, and looks for others who could
    /// bring what is late.
    pub(crate) fn look_over_requests(&mut self, out: &mut Vec<Action>) {
        let mut dead = Vec::new();
        for key in &self.fetching {
            let Some(content) = self.contents.get_mut(key) else {
                continue;
            };
            for (id, asked) in &content.requests {
                let expected = asked.due.saturating_sub(asked.mark.at);
                let patience = self.config.request_timeout.max(GIVE_UP * expected);
                if asked.progress_at + patience <= self.now {
                    dead.push((*key, *id));
                } else if asked.late_at <= self.now && content.rarity.is_empty() {
                    content.again.extend(&asked.chunks);
                }
            }
        }
        for (key, request) in dead {
            let content = self.contents.get_mut(&key).expect("seen above");
            if let Some(Asked { peer, .. }) = content.forget_request(request) {
                out.push(Action::Cancel { peer, key, request });
                self.shun(key, peer);
            }
        }
    }

    /// Lets the peers know that had given up on us, where a chunk that they have
    /// is wanted again.
    pub(crate) fn ask_again(&mut self, out: &mut Vec<Action>) {
        for key in &self.fetching {
            let Some(content) = self.contents.get_mut(key) else {
                continue;
            };
            if content.again.is_empty() || !content.role.fetches() {
                continue;
            }
            let again = std::mem::take(&mut content.again);
            content.ask_for_shards(*key, self.now, out);
            for (peer, link) in &mut content.links {
                if link.may_be_asked(self.now) && again.iter().any(|c| link.theirs.contains(*c)) {
                    link.released = false;
                    let msg = Message::Want(content.missing_bytes);
                    out.push(Action::Send {
                        peer: *peer,
                        key: *key,
                        msg,
                    });
                }
            }
        }
    }

    /// Gives those another chance whose pause is over.
    pub(crate) fn end_pauses(&mut self, out: &mut Vec<Action>) {
        let now = self.now;
        let contents = &mut self.contents;
        self.paused.retain(|(key, peer)| {
            let Some(content) = contents.get_mut(key) else {
                return false;
            };
            let link = content.links.get(peer);
            let helps = link.is_some_and(|link| content.is_helped_by(peer, link));
            let Some(link) = content.links.get_mut(peer) else {
                return false;
            };
            let fetches = content.role.fetches();
            if fetches && helps && link.may_be_asked(now) {
                link.released = false;
                let (peer, key) = (*peer, *key);
                let msg = Message::Want(content.missing_bytes);
                out.push(Action::Send { peer, key, msg });
            }
            !(link.shunned.is_over(now) && link.held_off.is_over(now))
        });
    }
}

/// The rarest chunk that `fits`; all that fit are open and the peer's.
fn rarest(
    content: &Content,
    peer: &PeerId,
    rng: &mut rand_chacha::ChaCha8Rng,
    fits: impl Fn(u32) -> bool,
) -> Option<u32> {
    let link = &content.links[peer];
    if link.offers == 0 {
        return None;
    }
    let rarity = &content.rarity;
    rarity.choose(rng, &fits).or_else(|| {
        // A peer with few of very many chunks: start from what it has.
        let theirs = || link.theirs.iter_difference(&content.have);
        rarity
            .is_long()
            .then(|| theirs().filter(|c| fits(*c)))?
            .min_by_key(|c| rarity.copies(*c))
    })
}

/// The first chunk in the content's order that `fits`.
fn earliest(content: &Content, fits: impl Fn(u32) -> bool) -> Option<u32> {
    content
        .wanted
        .iter_difference(&content.have)
        .find(|c| fits(*c))
}
