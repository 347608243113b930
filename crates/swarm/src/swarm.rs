use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use samara_content::{ChunkSet, Stripes};
use samara_wire::PeerId;

use crate::{
    Action, Config, ContentKey, Event, Message, Offence, SiteId, Tier,
    announce::Heralds,
    content::Content,
    limits::{LOOK_BURST, LOOK_RATE, MAX_BANNED, MAX_LINKS, MAX_OFFENDERS, MESSAGE_LOOKS},
    pace::PathDelay,
    site::Near,
    upload::Uplink,
};

/// How often open requests and unused credit are looked over, while there are any.
const LOOK_OVER: Duration = Duration::from_millis(100);

/// All swarms that a node takes part in.
#[derive(Debug)]
pub struct Swarm {
    pub(crate) config: Config,
    pub(crate) our_id: PeerId,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) now: Duration,
    /// Boxed, or the gaps in the tree's nodes would be as large as contents.
    pub(crate) contents: BTreeMap<ContentKey, Box<Content>>,
    pub(crate) peers: BTreeMap<PeerId, Peer>,
    /// Who was punished, the last one at the end.
    banned: VecDeque<(PeerId, Offence)>,
    /// Who is gone and did something before, the last one at the end.
    offenders: VecDeque<(PeerId, Conduct)>,
    pub(crate) uplink: Uplink,
    /// Contents of which something may be missing.
    pub(crate) fetching: BTreeSet<ContentKey>,
    pub(crate) next_request: u64,
    pub(crate) news: Heralds,
    look_over_at: Option<Duration>,
    /// When a link that is held back may be served.
    pub(crate) held_at: Option<Duration>,
    /// Links that are held off or shunned.
    pub(crate) paused: BTreeSet<(ContentKey, PeerId)>,
    /// Links that wait for room.
    pub(crate) cramped: BTreeSet<(ContentKey, PeerId)>,
}

/// What concerns a peer whatever the content.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) delay: PathDelay,
    /// Requests of it that are being answered.
    pub(crate) serves: usize,
    pub(crate) conduct: Conduct,
}

/// What a peer did that is not as it should be. It holds over its connections.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Conduct {
    pub(crate) bad_chunks: u32,
    pub(crate) refusals: u32,
    /// Looks that its messages cost, less what the time since has paid for.
    looks: u64,
    looked_at: Duration,
}

impl Conduct {
    /// Counts so many looks; whether that is too many.
    fn floods(&mut self, now: Duration, looks: u64) -> bool {
        let since = now.saturating_sub(self.looked_at);
        let paid = (since.as_secs_f64() * LOOK_RATE as f64) as u64;
        self.looked_at = now;
        self.looks = self.looks.saturating_sub(paid) + looks;
        self.looks > LOOK_BURST
    }

    fn is_blameless(&self) -> bool {
        (self.bad_chunks, self.refusals) == (0, 0) && self.looks < LOOK_BURST / 16
    }
}

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
    /// Peers that want something.
    pub takers: usize,
    /// The more urgent content that it lets pass: it is asked for nothing meanwhile.
    pub yields_to: Option<ContentKey>,
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
    /// Those of them that are missing here.
    pub offers: u32,
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
    pub fn new(config: Config, our_id: PeerId, seed: u64) -> Self {
        Self {
            config,
            our_id,
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: Duration::ZERO,
            contents: BTreeMap::new(),
            peers: BTreeMap::new(),
            banned: VecDeque::new(),
            offenders: VecDeque::new(),
            uplink: Uplink::default(),
            fetching: BTreeSet::new(),
            next_request: 0,
            news: Heralds::default(),
            look_over_at: None,
            held_at: None,
            paused: BTreeSet::new(),
            cramped: BTreeSet::new(),
        }
    }

    /// Takes in what happened at `now` and appends what is to be done.
    ///
    /// `now` is the time since any fixed instant and does not run backwards.
    /// Events about contents or peers that are not known (any longer) are ignored,
    /// except that an [`Incoming`](Event::Incoming) is then refused.
    pub fn handle(&mut self, now: Duration, event: Event, out: &mut Vec<Action>) {
        self.now = now.max(self.now);
        let frees = may_free_credit(&event);
        match event {
            Event::ContentAdded {
                key,
                stripes,
                chunk_sizes,
                have,
                wanted,
                role,
                priority,
                order,
            } => {
                let chunks = |stripes: &Stripes| {
                    let mut set = ChunkSet::new(have.len());
                    set.insert_range(0..stripes.chunks());
                    set
                };
                let wanted = wanted.or_else(|| stripes.as_ref().map(chunks));
                let mut content = Content::new(chunk_sizes, have, wanted, role, priority, order);
                if let Some(stripes) = stripes {
                    content.stripe(stripes);
                }
                self.contents.insert(key, Box::new(content));
                self.fetching.insert(key);
                self.check_stripes(key, out);
                self.check_complete(key, out);
            }
            Event::WantMore { key, wanted } => self.want_more(key, &wanted, out),
            Event::TermsChanged {
                key,
                role,
                priority,
                order,
            } => self.change_terms(key, role, priority, order, out),
            Event::ContentRemoved { key } => self.remove_content(key, out),
            Event::PeerJoined {
                key,
                peer,
                tier,
                site,
            } => self.join(key, peer, tier, site, out),
            Event::PeerLeft { key, peer } => self.leave(key, peer, out),
            Event::Disconnected { peer } => self.disconnect(peer, out),
            Event::PathSample { peer, rtt } => {
                if let Some(state) = self.peers.get_mut(&peer) {
                    state.delay.sample(self.now, rtt);
                    let rtt = state.delay.get();
                    let contents = self.contents.values_mut();
                    for link in contents.filter_map(|c| c.links.get_mut(&peer)) {
                        link.rtt = rtt;
                    }
                }
            }
            Event::Message {
                peer,
                key,
                msg,
                room,
            } => self.hear(key, peer, msg, room.unwrap_or(u64::MAX), out),
            Event::Roomier { key, peer } => self.roomier(key, peer, out),
            Event::HeldBack { peer, wait } => self.held_back(peer, wait),
            Event::Progress {
                key,
                chunk,
                peer,
                bytes,
            } => self.progressed(key, chunk, peer, bytes),
            Event::ChunkArrived {
                key,
                chunk,
                peer,
                bytes,
            } => self.chunk_arrived(key, chunk, peer, bytes, out),
            Event::ChunkVerified { key, peer, .. } => self.chunk_verified(key, peer),
            Event::ChunkRejected { key, chunk, peer } => {
                self.chunk_rejected(key, chunk, peer, out);
            }
            Event::ChunkStored { key, chunk } => self.chunk_stored(key, chunk, out),
            Event::ChunkDropped { key, chunk } => self.chunk_dropped(key, chunk),
            Event::ChunkLost { key, chunk } => self.chunk_lost(key, chunk, out),
            Event::DecodeFailed {
                key,
                stripe,
                broken,
            } => self.decode_failed(key, stripe, broken, out),
            Event::RequestFailed { key, peer, request } => {
                self.request_failed(key, peer, request);
            }
            Event::Incoming {
                key,
                peer,
                serve,
                chunks,
            } => self.incoming(key, peer, serve, chunks, out),
            Event::Sending { key, peer } => self.sending(key, peer),
            Event::Served {
                key,
                peer,
                serve,
                chunk,
                bytes,
            } => self.served(key, peer, serve, chunk, bytes),
            Event::ServeEnded {
                key,
                peer,
                serve,
                taken,
            } => self.serve_ended(key, peer, serve, taken),
            Event::Tick => {}
        }
        self.settle(frees, out);
    }

    /// When [`Event::Tick`] is due at the latest; `None`: nothing is pending.
    pub fn next_timeout(&self) -> Option<Duration> {
        let due = [self.news.due(), self.look_over_at, self.held_at];
        due.into_iter().flatten().min()
    }

    /// Number of chunks of a content: what [`Message::decode`] needs.
    pub fn chunk_count(&self, key: ContentKey) -> Option<u32> {
        self.contents.get(&key).map(|content| content.have.len())
    }

    /// What is stored of a content.
    pub fn have(&self, key: ContentKey) -> Option<&ChunkSet> {
        self.contents.get(&key).map(|content| &content.have)
    }

    /// How far a content is.
    pub fn progress(&self, key: ContentKey) -> Option<Progress> {
        let content = self.contents.get(&key)?;
        Some(Progress {
            have_bytes: content.wanted_bytes - content.missing_bytes,
            wanted_bytes: content.wanted_bytes,
            have_chunks: content.have.count(),
            in_flight_bytes: content.asked,
            peers: content.links.len(),
            sources: content
                .links
                .iter()
                .filter(|(peer, link)| content.is_helped_by(peer, link))
                .count(),
            takers: content.links.values().filter(|link| link.wants > 0).count(),
            yields_to: self.yields_to(key, content),
        })
    }

    /// The peers in a content's swarm, by identity.
    pub fn links(&self, key: ContentKey) -> Vec<LinkStatus> {
        let links = self.contents.get(&key).map(|content| &content.links);
        links
            .into_iter()
            .flatten()
            .map(|(peer, link)| LinkStatus {
                peer: *peer,
                tier: link.tier,
                has_chunks: link.theirs.count(),
                offers: link.offers,
                sent_bytes: link.sent_bytes,
                received_bytes: link.received_bytes,
                rate: link.rate.get(),
                rtt: self.peers.get(peer).and_then(|p| p.delay.measured()),
            })
            .collect()
    }

    /// Does what is due, now that the event is taken in.
    fn settle(&mut self, mut frees: bool, out: &mut Vec<Action>) {
        if self.look_over_at.is_some_and(|at| at <= self.now) {
            self.look_over_at = None;
            self.look_over_requests(out);
            self.look_over_credit();
            self.look_over_losses();
            self.look_for_shards(out);
            self.end_pauses(out);
            self.look_elsewhere(out);
            frees = true;
        }
        if self.held_at.is_some_and(|at| at <= self.now) {
            self.held_at = None;
            frees = true;
        }
        self.ask_again(out);
        if frees {
            self.grant(out);
        }
        self.announce(out);
        let pending = || {
            self.uplink.is_busy()
                || !self.paused.is_empty()
                || self.is_waiting()
                || self.lacks_shards()
                || self.is_sharing()
                || self.may_have_lost()
        };
        if self.look_over_at.is_none() && pending() {
            self.look_over_at = Some(self.now + LOOK_OVER);
        }
    }

    fn join(
        &mut self,
        key: ContentKey,
        peer: PeerId,
        tier: Tier,
        site: Option<SiteId>,
        out: &mut Vec<Action>,
    ) {
        if let Some((_, offence)) = self.banned.iter().find(|(banned, _)| *banned == peer) {
            let offence = *offence;
            out.push(Action::Punish { peer, offence });
            return;
        }
        self.announce(out);
        let Some(content) = self.contents.get(&key) else {
            return;
        };
        if peer == self.our_id
            || content.links.contains_key(&peer)
            || content.links.len() == MAX_LINKS
        {
            return;
        }
        let rtt = self.peer(peer).delay.get();
        let content = self.contents.get_mut(&key).expect("looked up above");
        content.join(self.now, peer, tier, site, rtt);
        if content.missing > 0 {
            content.share.since.get_or_insert(self.now);
        }
        if !content.have.is_empty() && content.role.serves() {
            let msg = Message::Have(content.have.clone());
            out.push(Action::Send { peer, key, msg });
        }
        if content.to_fetch() > 0 {
            let msg = Message::Want(content.to_fetch());
            out.push(Action::Send { peer, key, msg });
        }
    }

    fn leave(&mut self, key: ContentKey, peer: PeerId, out: &mut Vec<Action>) {
        self.paused.remove(&(key, peer));
        self.cramped.remove(&(key, peer));
        self.uplink.forget(key, peer);
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        if let Some(link) = content.leave(&peer) {
            out.extend(link.requests.iter().map(|request| Action::Cancel {
                peer,
                key,
                request: *request,
            }));
            content.ask_for_shards(key, self.now, out);
            self.check_source(key, out);
        }
    }

    fn disconnect(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let keys: Vec<_> = self.contents.keys().copied().collect();
        for key in keys {
            self.leave(key, peer, out);
        }
        self.uplink.forget_peer(peer);
        let conduct = self.peers.remove(&peer).map(|state| state.conduct);
        if let Some(conduct) = conduct.filter(|conduct| !conduct.is_blameless()) {
            if self.offenders.len() == MAX_OFFENDERS {
                self.offenders.pop_front();
            }
            self.offenders.push_back((peer, conduct));
        }
    }

    /// What is known of a peer; of one that comes back, what it did before.
    pub(crate) fn peer(&mut self, peer: PeerId) -> &mut Peer {
        self.peers.entry(peer).or_insert_with(|| {
            let place = self.offenders.iter().position(|(gone, _)| *gone == peer);
            let before = place.and_then(|place| self.offenders.remove(place));
            Peer {
                conduct: before.map(|(_, conduct)| conduct).unwrap_or_default(),
                ..Peer::default()
            }
        })
    }

    /// Bans a peer: as if it had never been here.
    pub(crate) fn punish(&mut self, peer: PeerId, offence: Offence, out: &mut Vec<Action>) {
        if self.banned.len() == MAX_BANNED {
            self.banned.pop_front();
        }
        self.banned.push_back((peer, offence));
        self.disconnect(peer, out);
        out.push(Action::Punish { peer, offence });
    }

    fn remove_content(&mut self, key: ContentKey, out: &mut Vec<Action>) {
        let peers: Vec<_> = match self.contents.get(&key) {
            Some(content) => content.links.keys().copied().collect(),
            None => return,
        };
        for peer in peers {
            // Nobody is left to tell that a source is missing.
            if let Some(content) = self.contents.get_mut(&key) {
                content.told_no_source = true;
            }
            self.leave(key, peer, out);
        }
        self.contents.remove(&key);
        self.fetching.remove(&key);
        self.news.forget(key);
    }

    fn want_more(&mut self, key: ContentKey, wanted: &ChunkSet, out: &mut Vec<Action>) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        if wanted.len() != content.wanted.len() {
            return;
        }
        content.want(wanted);
        self.fetching.insert(key);
        content.told_complete = false;
        let fetches = content.role.fetches();
        for (peer, link) in &mut content.links {
            link.released = false;
            let msg = Message::Want(if fetches { content.missing_bytes } else { 0 });
            out.push(Action::Send {
                peer: *peer,
                key,
                msg,
            });
        }
        self.check_complete(key, out);
        self.check_source(key, out);
    }

    fn hear(
        &mut self,
        key: ContentKey,
        peer: PeerId,
        msg: Message,
        room: u64,
        out: &mut Vec<Action>,
    ) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let count = content.have.len();
        let Some(link) = content.links.get_mut(&peer) else {
            return;
        };
        let looks = MESSAGE_LOOKS + msg.chunks(count);
        let floods = |state: &mut Peer| state.conduct.floods(self.now, looks);
        if self.peers.get_mut(&peer).is_some_and(floods) {
            self.punish(peer, Offence::Flood, out);
            return;
        }
        match msg {
            Message::Have(set) => {
                if set.len() == count {
                    content.peer_has_only(&peer, set);
                    self.check_source(key, out);
                }
            }
            Message::HaveMore(chunks) => {
                let chunks: Vec<u32> = chunks.into_iter().filter(|c| *c < count).collect();
                let brought = content.brings(&peer, &chunks);
                for chunk in &chunks {
                    let link = content.links.get(&peer);
                    if link.is_some_and(|link| !link.theirs.contains(*chunk)) {
                        content.heard.add(self.now, content.size(*chunk));
                    }
                    content.peer_has(&peer, *chunk);
                }
                if brought && let Some(link) = content.links.get_mut(&peer) {
                    link.pulse.beat(self.now);
                }
                if content.released(&peer) {
                    let near = Near::of(content, &self.our_id, &peer, self.now);
                    let ours = |c: u32| near.as_ref().is_none_or(|n| n.leaves_us(c));
                    let shards = chunks.iter().any(|c| content.is_shard(*c));
                    if chunks.iter().any(|c| content.is_open(*c) && ours(*c))
                        || shards && content.substitute(&peer, ours).is_some()
                    {
                        content.ask_credit(&peer, key, self.now, out);
                    }
                }
                self.check_source(key, out);
            }
            Message::Withdraw(chunks) => {
                for chunk in chunks.into_iter().filter(|c| *c < count) {
                    content.resend(&peer, chunk);
                    content.peer_lacks(&peer, chunk);
                }
                // With parity that is a look at many shards for every peer: not for
                // every message.
                match content.striped {
                    Some(_) => content.look_for_shards = true,
                    None => self.check_source(key, out),
                }
            }
            Message::Want(bytes) => {
                link.wants = bytes;
                link.declined = false;
                self.uplink.demand(key);
            }
            Message::Grant { bytes, suggested } => {
                self.spend(key, peer, (bytes, room), &suggested, out);
            }
            Message::Release(bytes) => self.take_back(key, peer, bytes),
            Message::BadChunk(chunk) => {
                // Only what was sent can have been bad, and only once each.
                if chunk < count && content.resend(&peer, chunk) {
                    out.push(Action::Recheck { key, chunk });
                }
            }
        }
    }

    /// Reports a content whose last wanted chunk is stored, and tells the others
    /// that nothing more is wanted.
    pub(crate) fn check_complete(&mut self, key: ContentKey, out: &mut Vec<Action>) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        if content.is_complete() && !content.told_complete {
            content.told_complete = true;
            self.fetching.remove(&key);
            for peer in content.links.keys() {
                let msg = Message::Want(0);
                out.push(Action::Send {
                    peer: *peer,
                    key,
                    msg,
                });
            }
            out.push(Action::Complete { key });
        }
    }

    /// Has shards asked for in place of what was withdrawn.
    fn look_for_shards(&mut self, out: &mut Vec<Action>) {
        for key in self.fetching.clone() {
            let Some(content) = self.contents.get_mut(&key) else {
                continue;
            };
            if std::mem::take(&mut content.look_for_shards) {
                content.ask_for_shards(key, self.now, out);
                self.check_source(key, out);
            }
        }
    }

    fn lacks_shards(&self) -> bool {
        let mut fetching = self
            .fetching
            .iter()
            .filter_map(|key| self.contents.get(key));
        fetching.any(|content| content.look_for_shards)
    }

    /// Reports a content that nobody here can help with, once.
    pub(crate) fn check_source(&mut self, key: ContentKey, out: &mut Vec<Action>) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        let helped = content.links.values().any(|link| link.offers > 0)
            || content
                .links
                .iter()
                .any(|(p, l)| content.is_helped_by(p, l));
        if helped || content.is_complete() {
            content.told_no_source = false;
        } else if !content.told_no_source && content.arrived.is_empty() {
            content.told_no_source = true;
            out.push(Action::NoSource { key });
        }
    }
}

/// Whether credit can be granted after the event that could not before it.
fn may_free_credit(event: &Event) -> bool {
    !matches!(
        event,
        Event::Progress { .. }
            | Event::ChunkArrived { .. }
            | Event::ChunkVerified { .. }
            | Event::ChunkDropped { .. }
            | Event::RequestFailed { .. }
            | Event::PathSample { .. }
            | Event::Roomier { .. }
            | Event::HeldBack { .. }
            | Event::Sending { .. }
            | Event::Served { .. }
            | Event::Message {
                msg: Message::HaveMore(_) | Message::Grant { .. } | Message::BadChunk(_),
                ..
            }
    )
}
