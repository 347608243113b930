//! What is known of the peers of a channel: where they are, who says so, and how
//! often they did not answer.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use samara_wire::{ChannelId, PeerId};

use super::{Channel, Core};
use crate::{
    discovery::{self, Source},
    limits,
    session::{canonical, is_lan},
};

/// Wait after a peer's first failed dial; doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// Longest wait between two dials of one peer.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// Wait before a peer is asked again that answered and did not talk of the channel;
/// doubles with each further time, since nobody says to this node whether it was revoked.
const FIRST_REFUSED: Duration = Duration::from_secs(60);
/// Longest of these waits.
const MAX_REFUSED: Duration = Duration::from_secs(30 * 60);
/// Of two that learn of each other at once, the one with the higher id waits this
/// long for the other's dial.
const POLITE_DELAY: Duration = Duration::from_millis(300);

/// Peers that one round of dialling learns of for a swarm's sake.
const COMPANY_AT_ONCE: usize = 4;
/// When nothing came for so long, and everybody that was heard of is known, members are
/// asked for others.
const STARVING: Duration = Duration::from_secs(1);

/// See [`Known::turn`].
pub(super) type Turn = (Source, u32, Instant);

/// What is known of a peer that may be dialled for a channel.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Where a link, or the peer itself, says that it is.
    addrs: Vec<SocketAddr>,
    /// Where anybody says that it is, the newest first.
    hints: Vec<SocketAddr>,
    /// The most trustworthy of those who named it.
    pub(super) source: Source,
    failures: u32,
    /// When it was first heard of.
    since: Instant,
    not_before: Instant,
    /// How the last dial ended, for people.
    pub(crate) last_error: Option<String>,
    /// It answered, and has not the channel or does not let us in.
    pub(crate) said_no: bool,
    /// How often in a row it was asked and did not talk of the channel.
    refusals: u32,
    /// It let this node in once and does so no more.
    shut: bool,
    /// There is something new to show since it was asked.
    anew: bool,
}

impl Known {
    pub(super) fn new(source: Source, not_before: Instant) -> Self {
        Self {
            addrs: Vec::new(),
            hints: Vec::new(),
            source,
            failures: 0,
            since: Instant::now(),
            not_before,
            last_error: None,
            said_no: false,
            refusals: 0,
            shut: false,
            anew: false,
        }
    }

    /// All addresses, in the order in which they are tried: hearsay takes turns
    /// with the rest, so that neither waits for all of the other.
    pub(crate) fn ways(&self) -> Vec<SocketAddr> {
        let mut ways = Vec::with_capacity(self.addrs.len() + self.hints.len());
        let (mut addrs, mut hints) = (self.addrs.iter(), self.hints.iter());
        loop {
            let pair = [addrs.next(), hints.next()];
            if pair == [None, None] {
                return ways;
            }
            for addr in pair.into_iter().flatten() {
                if !ways.contains(addr) {
                    ways.push(*addr);
                }
            }
        }
    }

    /// The most trustworthy of those who named it.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// In which order peers are dialled, if not all can be at once: the most trustworthy
    /// ways first; among the same, who failed less, and then who was known first. So
    /// nobody can get ahead of a neighbour for ever by the choice of keys.
    pub(super) fn turn(&self) -> Turn {
        (self.source, self.failures, self.since)
    }

    /// Takes what `source` says in; hearsay replaces nothing but older hearsay.
    /// Whether any of it is news.
    pub(super) fn learn(&mut self, addrs: &[SocketAddr], source: Source) -> bool {
        self.source = self.source.min(source);
        if !source.is_hearsay() {
            let mut fresh = addrs.to_vec();
            fresh.truncate(samara_graph::limits::MAX_ADDRESSES);
            let news = self.addrs != fresh && !fresh.is_empty();
            if news {
                self.addrs = fresh;
            }
            return news;
        }
        let mut news = false;
        for addr in addrs.iter().rev() {
            if !self.addrs.contains(addr) && !self.hints.contains(addr) {
                self.hints.insert(0, *addr);
                news = true;
            }
        }
        self.hints.truncate(discovery::limits::MAX_HINTS);
        news
    }

    /// Whether it may be dialled, or greeted, now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.not_before <= now && !(self.addrs.is_empty() && self.hints.is_empty())
    }

    /// Whether it would be of use to know where else it is.
    pub(super) fn is_lost(&self) -> bool {
        self.failures > 0 || (self.addrs.is_empty() && self.hints.is_empty())
    }

    /// The peer answered and has not what we are after: try again later, and later each
    /// time.
    pub(super) fn refused(&mut self, now: Instant, why: &str) {
        self.not_before = now + refused_wait(self.refusals);
        self.refusals = self.refusals.saturating_add(1);
        self.last_error = Some(why.to_owned());
        self.said_no = true;
    }

    /// The peer talks of the channel no more, after it did: likewise, but it is no refusal.
    pub(super) fn parted(&mut self, now: Instant, why: &str) {
        self.not_before = now + FIRST_REFUSED;
        self.last_error = Some(why.to_owned());
    }

    /// The peer lets this node in no more.
    pub(super) fn shut_out(&mut self, now: Instant, why: &str) {
        self.refused(now, why);
        self.shut = true;
    }

    /// There is reason to believe that it lets this node in.
    pub(super) fn reopen(&mut self, now: Instant) {
        if std::mem::take(&mut self.refusals) > 0 {
            self.not_before = now;
        }
        self.said_no = false;
        self.shut = false;
    }

    /// It is asked again: what it said before holds no more, but is not forgotten.
    pub(super) fn asked(&mut self) {
        self.said_no = false;
    }

    /// After a refusal: whether what was refused is not what there is to show now.
    pub(super) fn asks_anew(&mut self, now: Instant) -> bool {
        let anew = std::mem::take(&mut self.anew);
        if anew {
            self.reopen(now);
        }
        anew
    }

    /// Whether it lets this node in no more, as far as is known.
    pub(super) fn was_shut(&self) -> bool {
        self.shut
    }

    /// Whether it is not to be asked yet, since it let this node in no more.
    pub(super) fn is_shut(&self, now: Instant) -> bool {
        self.shut && self.not_before > now
    }

    /// No address answered.
    pub(super) fn failed(&mut self, now: Instant, why: &str) {
        let wait = (FIRST_BACKOFF * 2u32.saturating_pow(self.failures)).min(MAX_BACKOFF);
        self.failures = self.failures.saturating_add(1).min(16);
        self.not_before = now + wait;
        self.last_error = Some(why.to_owned());
    }

    /// The peer is connected.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
        self.last_error = None;
    }

    /// The connection ended. One that refused stays refused.
    pub(super) fn lost(&mut self, now: Instant, why: &str) {
        self.not_before = self.not_before.max(now + FIRST_BACKOFF);
        self.last_error = Some(why.to_owned());
    }

    /// There is news: it may be worth a try sooner.
    pub(super) fn try_by(&mut self, at: Instant) {
        // Another address lets nobody in.
        if !self.shut {
            self.not_before = self.not_before.min(at);
        }
    }
}

/// The wait after so many refusals in a row.
fn refused_wait(before: u32) -> Duration {
    (FIRST_REFUSED * 2u32.saturating_pow(before.min(16))).min(MAX_REFUSED)
}

impl Channel {
    /// Makes room for one more peer, named by `source`, by forgetting whoever
    /// answered worst; if all answer, there is no need. Hearsay has a small share
    /// of the table, and only room that hearsay had.
    fn make_room(&mut self, source: Source) -> bool {
        let hearsay = source.is_hearsay();
        let full = if hearsay {
            let hinted = self.known.values().filter(|k| k.source.is_hearsay());
            hinted.count() >= discovery::limits::MAX_HINTED_PEERS
        } else {
            false
        };
        if !full && self.known.len() < limits::MAX_KNOWN_PEERS {
            return true;
        }
        let worst = self
            .known
            .iter()
            .filter(|(peer, k)| !self.members.contains(*peer) && k.source.is_hearsay() >= hearsay)
            .max_by_key(|(peer, k)| (k.failures, **peer))
            .map(|(peer, k)| (*peer, k.failures));
        match worst {
            Some((worst, failures)) if failures > 0 || source == Source::Link => {
                self.known.remove(&worst).is_some()
            }
            _ => false,
        }
    }
}

impl Core {
    /// Asks those again that did not let this node into a channel, since it has something
    /// new to show.
    pub(crate) fn knock_again(&mut self, id: ChannelId) {
        let now = Instant::now();
        if let Some(channel) = self.channels.get_mut(&id) {
            for (peer, known) in &mut channel.known {
                known.reopen(now);
                // Its answer may be on its way.
                known.anew = channel.greeted.contains(peer);
            }
            self.next_dial = now;
        }
    }

    /// Somebody has a role that it had not: who said that it does not have the channel is
    /// asked again, and everybody is if it is this node.
    pub(super) fn on_role(&mut self, id: ChannelId, peer: PeerId) {
        if peer == self.me {
            return self.knock_again(id);
        }
        let now = Instant::now();
        let channel = self.channels.get_mut(&id);
        if let Some(known) = channel.and_then(|c| c.known.get_mut(&peer))
            && known.refusals > 0
        {
            known.reopen(now);
            self.next_dial = now;
        }
    }

    /// Remembers addresses of a peer of a channel. Those of a link are dialled at
    /// once; a link may also name a peer without any.
    pub(crate) fn learn_peer(
        &mut self,
        channel: ChannelId,
        peer: PeerId,
        addrs: &[SocketAddr],
        source: Source,
    ) {
        let linked = source == Source::Link;
        if peer == self.me || (addrs.is_empty() && !linked) {
            return;
        }
        let me = self.me;
        let Some(channel) = self.channels.get_mut(&channel) else {
            return;
        };
        self.metrics.hint_found(source);
        if !channel.known.contains_key(&peer) && !channel.make_room(source) {
            if source.is_hearsay() {
                self.metrics.hint_dropped(source);
            }
            return;
        }
        let wait = if linked || me < peer {
            Duration::ZERO
        } else {
            POLITE_DELAY
        };
        let at = Instant::now() + wait;
        let known = channel
            .known
            .entry(peer)
            .or_insert_with(|| Known::new(source, at));
        if known.learn(addrs, source) {
            // A new address deserves a new try; but hearsay is patient, or whoever
            // keeps inventing addresses would keep us dialling.
            if !source.is_hearsay() {
                known.failures = 0;
            }
            known.try_by(at);
        }
        self.next_dial = self.next_dial.min(at);
    }

    /// Learns of more peers where something is fetched and there are fewer than the swarm
    /// wants to choose from: those that the overlay has heard of, the nearest first, for
    /// whoever is not connected to all at its site fetches what another one there does.
    pub(super) fn seek_company(&mut self) {
        // For each channel, whether something of it does not get on.
        let mut wanted = BTreeMap::<ChannelId, bool>::new();
        for transfer in self.transfers.values().filter(|t| t.is_moving()) {
            let starves = transfer.last_progress.elapsed() >= STARVING;
            for id in &transfer.channels {
                *wanted.entry(*id).or_default() |= starves;
            }
        }
        for (id, starves) in wanted {
            let company = self.company(id);
            let few = |c: &Channel| c.active && c.members.len() < limits::WANTED_NEIGHBOURS;
            if starves && company.is_empty() && self.channels.get(&id).is_some_and(few) {
                self.graph_event(id, samara_graph::Event::PeersWanted);
            }
            for (peer, addrs) in company {
                self.learn_peer(id, peer, &addrs, Source::Overlay);
            }
        }
    }

    /// Whom [`seek_company`](Self::seek_company) learns of this time.
    fn company(&self, id: ChannelId) -> Vec<(PeerId, Vec<SocketAddr>)> {
        let Some(channel) = self.channels.get(&id).filter(|c| c.active) else {
            return Vec::new();
        };
        let distance = |addr: &SocketAddr| match canonical(*addr).ip() {
            ip if self.on_own_subnet(ip) => 0,
            ip if is_lan(ip) => 1,
            _ => 2,
        };
        let heard_of = channel.graph.known_peers();
        let mut strangers: Vec<_> = heard_of
            .filter(|p| !channel.known.contains_key(&p.peer()))
            .map(|p| (p.addrs().iter().map(distance).min(), p))
            .collect();
        strangers.sort_by_key(|(nearest, p)| (*nearest, p.peer()));
        let room = limits::WANTED_NEIGHBOURS.saturating_sub(channel.members.len());
        strangers.truncate(room.min(COMPANY_AT_ONCE));
        let strangers = strangers.into_iter();
        strangers
            .map(|(_, p)| (p.peer(), p.addrs().to_vec()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use samara_graph::{CharterHash, CharterRef, Graph, PeerAddress, SecretKey, WallMs};

    use super::*;
    use crate::core::{ChannelMeta, Role, dial::tests::core, graph_config, wall_ms};

    const MOMENT: Duration = Duration::from_millis(1);

    fn addr(last: u8) -> SocketAddr {
        ([10, 0, 0, last], 7421).into()
    }

    fn peer(i: usize) -> PeerId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(i as u64 + 1).to_be_bytes());
        PeerId(id)
    }

    #[test]
    fn hearsay_replaces_only_hearsay_and_waits_for_nobody() {
        let mut known = Known::new(Source::Link, Instant::now());
        assert!(known.is_lost());
        known.learn(&[addr(1), addr(2)], Source::Link);
        assert!(known.learn(&[addr(3), addr(1)], Source::Mdns));
        assert!(!known.learn(&[addr(3)], Source::Dht));
        assert_eq!(known.ways(), [addr(1), addr(3), addr(2)]);
        assert_eq!(known.source, Source::Link);
        let flood: Vec<_> = (10..100).map(addr).collect();
        for one in &flood {
            known.learn(std::slice::from_ref(one), Source::Mdns);
        }
        let ways = known.ways();
        assert_eq!(ways.len(), 2 + discovery::limits::MAX_HINTS);
        assert!(ways.contains(&addr(1)) && ways.contains(&addr(2)));
        assert!(ways.contains(&addr(99)) && !ways.contains(&addr(10)));
    }

    #[tokio::test]
    async fn company_is_sought_near_first_and_no_more_than_there_is_room_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut core = core(dir.path());
        let id = ChannelId([1; 32]);
        let hash = CharterHash(id.0);
        let charter = CharterRef { version: 1, hash };
        let mut graph = Graph::join(id, charter, graph_config(core.me).unwrap());
        let now = WallMs(wall_ms());
        // Six far away, then three in a private network.
        let mut near = BTreeSet::new();
        for i in 0..9 {
            let key = SecretKey::from_bytes(&[i + 10; 32]);
            let far = SocketAddr::from(([203, 0, 113, i], 7421));
            let at = if i < 6 { far } else { addr(i) };
            let address = PeerAddress::sign(&key, &[at], now);
            if i >= 6 {
                near.insert(key.peer_id());
            }
            let event = samara_graph::Event::PeerKnown(address);
            graph.handle(now, Duration::ZERO, event, &mut Vec::new());
        }
        let meta = ChannelMeta::new(Role::Guest);
        let channel = Channel::new(graph, meta, Default::default());
        core.add_channel(id, channel, true);
        let peers = |core: &Core| core.company(id).into_iter().map(|(peer, _)| peer);
        assert_eq!(peers(&core).count(), COMPANY_AT_ONCE);
        assert_eq!(
            peers(&core).take(near.len()).collect::<BTreeSet<_>>(),
            near,
            "the nearest first"
        );
        // Nothing is fetched: nobody is sought.
        core.seek_company();
        assert!(core.channels[&id].known.is_empty());
        // Who is known already is tried by other rules.
        for (peer, addrs) in core.company(id) {
            core.learn_peer(id, peer, &addrs, Source::Overlay);
        }
        assert!(peers(&core).all(|peer| !near.contains(&peer)));
        let channel = core.channels.get_mut(&id).unwrap();
        channel.members = (1..limits::WANTED_NEIGHBOURS).map(peer).collect();
        assert_eq!(peers(&core).count(), 1);
        let channel = core.channels.get_mut(&id).unwrap();
        channel.members.insert(peer(0));
        assert_eq!(peers(&core).count(), 0);
    }

    /// A peer that is due, and the time.
    fn known_now() -> (Known, Instant) {
        let now = Instant::now();
        let mut known = Known::new(Source::Link, now);
        known.learn(&[addr(1)], Source::Link);
        (known, now)
    }

    #[test]
    fn who_is_refused_asks_ever_less_often_until_something_changes() {
        for refuse in [Known::refused, Known::shut_out] {
            let (mut known, mut now) = known_now();
            for minutes in [1, 2, 4, 8, 16, 30, 30, 30] {
                refuse(&mut known, now, "no");
                let wait = Duration::from_secs(minutes * 60);
                assert!(known.said_no && !known.is_due(now + wait - MOMENT));
                now += wait;
                assert!(known.is_due(now));
            }
            known.refusals = u32::MAX;
            refuse(&mut known, now, "no");
            assert!(known.is_due(now + MAX_REFUSED));
            known.reopen(now);
            assert!(known.is_due(now) && !known.is_shut(now) && !known.said_no);
            // It begins anew.
            refuse(&mut known, now, "no");
            assert!(known.is_due(now + FIRST_REFUSED) && !known.is_due(now));
        }
    }

    #[test]
    fn who_takes_leave_of_a_channel_refuses_nobody() {
        let (mut known, mut now) = known_now();
        for _ in 0..4 {
            known.parted(now, "bye");
            assert!(!known.said_no && !known.is_due(now));
            now += FIRST_REFUSED;
            assert!(known.is_due(now));
        }
    }

    #[test]
    fn another_address_is_a_reason_to_ask_but_for_who_is_let_in_no_more() {
        let (mut known, now) = known_now();
        for times in 1..4 {
            known.shut_out(now, "no");
            assert!(known.is_shut(now));
            // Nor is a lost connection.
            known.lost(now, "closed");
            known.learn(&[addr(times)], Source::Link);
            known.try_by(now);
            assert!(!known.is_due(now + FIRST_REFUSED - MOMENT));
        }
        known.reopen(now);
        known.refused(now, "no");
        known.refused(now, "no");
        known.try_by(now);
        assert!(!known.is_shut(now) && known.is_due(now));
        // What it said before is not forgotten for it.
        known.refused(now, "no");
        assert!(!known.is_due(now + 4 * FIRST_REFUSED - MOMENT));
    }

    #[tokio::test]
    async fn a_flood_of_hints_leaves_the_peers_that_a_link_names() {
        let dir = tempfile::tempdir().unwrap();
        let mut core = core(dir.path());
        let id = ChannelId([1; 32]);
        let charter = CharterRef {
            version: 1,
            hash: CharterHash([0; 32]),
        };
        let graph = Graph::join(id, charter, graph_config(core.me).unwrap());
        let channel = Channel::new(graph, ChannelMeta::new(Role::Guest), Default::default());
        core.add_channel(id, channel, true);
        let linked: Vec<_> = (0..4).map(peer).collect();
        for (i, one) in linked.iter().enumerate() {
            core.learn_peer(id, *one, &[addr(i as u8)], Source::Link);
            core.channels
                .get_mut(&id)
                .unwrap()
                .known
                .get_mut(one)
                .unwrap()
                .failed(Instant::now(), "x");
        }
        for i in 100..100 + 2 * discovery::limits::MAX_HINTED_PEERS {
            core.learn_peer(id, peer(i), &[addr(200)], Source::Mdns);
        }
        let known = &core.channels[&id].known;
        assert_eq!(known.len(), 4 + discovery::limits::MAX_HINTED_PEERS);
        assert!(linked.iter().all(|one| known.contains_key(one)));
        // One that does not answer makes room for the next.
        let first = peer(100);
        core.channels
            .get_mut(&id)
            .unwrap()
            .known
            .get_mut(&first)
            .unwrap()
            .failed(Instant::now(), "x");
        core.learn_peer(id, peer(9999), &[addr(201)], Source::Dht);
        let known = &core.channels[&id].known;
        assert!(known.contains_key(&peer(9999)) && !known.contains_key(&first));
    }
}
