//! What transfers wait for, looked at ten times a second while there is something to see,
//! and remembered for a few seconds: what `explain` and the metrics are made of.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use samara_graph::WallMs;
use samara_store::Content;
use samara_wire::{ChannelId, ContentId, PeerId};

use super::{Core, Item, ShutOut, Transfer, TransferKey, wall_ms};
use crate::{
    api::{Explanation, Shares, SourceStatus, seconds},
    explain::{Explained, Limit, MOSTLY, Seen, State, explain},
    rate::Rate,
    transport,
};

/// Who sends so much of the window in one round trip is held back by it, even if it does
/// not say so: its own bounds are alike.
const FILLED: f64 = 0.8;
/// How often is looked while somebody could send something.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long is remembered.
const KEPT: Duration = Duration::from_secs(5);
/// Sources that are told one by one.
const MOST_SOURCES: usize = 32;

/// Times that something took, out of the last seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Look {
    took: Duration,
    source: Duration,
    urgent: Duration,
    credit: Duration,
    limit: Duration,
    limit_up: Duration,
    writing: Duration,
    window: Duration,
}

/// What was seen of one transfer.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    looks: VecDeque<Look>,
    /// When it was last looked at, and what the watches and counters showed then.
    at: Option<Instant>,
    limit: Duration,
    limit_up: Duration,
    writing: Duration,
    blocked: u64,
    /// Until when what a sender said of it holds: it says so once a round trip.
    blocked_until: Option<Instant>,
    /// What it last let pass.
    passed: Option<TransferKey>,
    /// What comes from whom.
    from: BTreeMap<PeerId, Rate>,
}

impl Watched {
    /// Bytes came from a peer.
    pub(super) fn arrived(&mut self, peer: PeerId, bytes: u64) {
        self.from.entry(peer).or_default().add(bytes);
    }

    /// Bytes a second that come from a peer.
    fn rate_of(&self, peer: &PeerId) -> u64 {
        self.from.get(peer).map_or(0, Rate::per_second)
    }
}

/// What is under way from a source.
#[derive(Debug, Clone, Copy)]
struct Way {
    rtt: Duration,
    bytes: f64,
    /// As much as may be.
    window: u32,
}

impl Way {
    fn is_filled(&self) -> bool {
        self.bytes >= FILLED * f64::from(self.window)
    }
}

impl Core {
    /// When the next look is due, if anything moved at the last one.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.moves.then_some(self.last_look + LOOK_EVERY)
    }

    /// Looks, if it is time; called at least once a second.
    pub(super) fn look_round(&mut self) {
        let now = Instant::now();
        if now < self.last_look + LOOK_EVERY {
            return;
        }
        self.last_look = now;
        self.look_at_threads(now);
        self.moves = false;
        let keys: Vec<_> = self.transfers.keys().copied().collect();
        for key in keys {
            self.look_at(key, now);
        }
    }

    fn look_at(&mut self, key: TransferKey, now: Instant) {
        let Some(progress) = self.swarm.progress(key) else {
            return;
        };
        let (blocked, way) = match self.transfers.get(&key) {
            Some(transfer) if transfer.is_moving() => (self.blocked(key), self.longest_way(key)),
            Some(_) if progress.peers > 0 => (0, None),
            // Nothing to see: what was seen before is no longer true.
            Some(_) | None => {
                if let Some(transfer) = self.transfers.get_mut(&key) {
                    transfer.watched.looks.clear();
                    transfer.watched.from.clear();
                    transfer.watched.at = None;
                }
                return;
            }
        };
        let transfer = self.transfers.get_mut(&key).expect("seen above");
        let moving = transfer.is_moving();
        self.moves |= moving && progress.sources > 0;
        let totals = [
            transfer.held_down.total(),
            transfer.held_up.total(),
            transfer.unwritten.total(),
        ];
        let watched = &mut transfer.watched;
        watched.passed = progress.yields_to.or(watched.passed);
        watched
            .from
            .retain(|peer, _| self.sessions.contains_key(peer));
        let Some(at) = watched.at.replace(now) else {
            [watched.limit, watched.limit_up, watched.writing] = totals;
            watched.blocked = blocked;
            return;
        };
        let took = now - at;
        let if_so = |so: bool| if so { took } else { Duration::ZERO };
        let missing = moving && progress.have_bytes < progress.wanted_bytes;
        if blocked > watched.blocked {
            watched.blocked_until = Some(now + way.map_or(Duration::ZERO, |way| way.rtt));
        }
        let held = way.is_some_and(|way| way.is_filled()) || watched.blocked_until >= Some(now);
        let look = Look {
            took,
            source: if_so(missing && progress.sources == 0),
            urgent: if_so(missing && progress.yields_to.is_some()),
            credit: if_so(
                missing
                    && progress.sources > 0
                    && progress.in_flight_bytes == 0
                    && progress.yields_to.is_none(),
            ),
            limit: totals[0].saturating_sub(watched.limit).min(took),
            limit_up: totals[1].saturating_sub(watched.limit_up).min(took),
            writing: totals[2].saturating_sub(watched.writing).min(took),
            window: if_so(held),
        };
        [watched.limit, watched.limit_up, watched.writing] = totals;
        watched.blocked = blocked;
        for (reason, time) in [
            ("source", look.source),
            ("urgent", look.urgent),
            ("credit", look.credit),
            ("limit", look.limit),
            ("limit_up", look.limit_up),
            ("writing", look.writing),
            ("window", look.window),
        ] {
            self.metrics.waited(reason, time);
        }
        remember(&mut watched.looks, look, |look| look.took);
    }

    /// How often senders of a content said that flow control holds them back.
    fn blocked(&self, key: TransferKey) -> u64 {
        let links = self.swarm.links(key).into_iter();
        links
            .filter_map(|link| self.sessions.get(&link.peer))
            .map(|link| {
                let frames = link.session.connection.stats().frame_rx;
                frames.data_blocked + frames.stream_data_blocked
            })
            .sum()
    }

    /// The way on which the most is under way: at the rate of a source, for as long as its
    /// round trip is without queues, which fill whatever the window is.
    fn longest_way(&self, key: TransferKey) -> Option<Way> {
        let watched = &self.transfers.get(&key)?.watched;
        let links = self.swarm.links(key).into_iter();
        let ways = links.filter_map(|link| {
            let rtt = link.rtt?;
            let bytes = watched.rate_of(&link.peer) as f64 * rtt.as_secs_f64();
            Some((link.peer, rtt, bytes))
        });
        let (peer, rtt, bytes) = ways.max_by(|a, b| a.2.total_cmp(&b.2))?;
        // Who sends reads no more ahead than this node would.
        let ahead = u32::try_from(transport::unsent(rtt)).unwrap_or(u32::MAX);
        Some(Way {
            rtt,
            bytes,
            window: self.receive_window(self.sessions.get(&peer)?).min(ahead),
        })
    }

    fn shares(&self, watched: Option<&Watched>) -> (Duration, Shares) {
        let looks = || watched.into_iter().flat_map(|w| &w.looks);
        let over: Duration = looks().map(|look| look.took).sum();
        let of = |part: fn(&Look) -> Duration| share(looks().map(part).sum(), over);
        let mut shares = Shares {
            source: of(|l| l.source),
            urgent: of(|l| l.urgent),
            credit: of(|l| l.credit),
            limit: of(|l| l.limit),
            limit_up: of(|l| l.limit_up),
            writing: of(|l| l.writing),
            window: of(|l| l.window),
            ..Shares::default()
        };
        self.load.add_to(&mut shares);
        (over, shares)
    }

    /// Why a content is not fetched or served faster. `obtained`: whether a request is at
    /// it. `None`: nothing is known of it here.
    pub(crate) fn explain(&self, id: &ContentId, obtained: bool) -> Option<Explanation> {
        let transfer = self.transfer_of(id);
        let held = self.store.content(id);
        let naming: Vec<_> = self
            .channels
            .iter()
            .filter(|(_, channel)| channel.named(id).is_some())
            .map(|(id, _)| id)
            .collect();
        let paused = self.is_paused(id);
        // Until the manifest is here, its author's word.
        let said = || {
            let channels = naming.iter().filter_map(|id| self.channels.get(*id));
            let items = channels.flat_map(|channel| channel.items.values());
            let mut contents = items.flat_map(Item::contents);
            contents.find(|c| c.id == *id).map_or(0, |c| c.bytes)
        };
        let view = transfer.and_then(|(key, _)| self.view(key));
        let links = transfer.map(|(key, _)| self.swarm.links(key));
        let way = transfer.and_then(|(key, _)| self.longest_way(key));
        let progress = transfer.and_then(|(key, _)| self.swarm.progress(key));
        let watched = transfer.map(|(_, transfer)| &transfer.watched);
        let (over, mut shares) = self.shares(watched);
        let yields_to = progress
            .and_then(|progress| progress.yields_to)
            .or_else(|| {
                // Between two requests of the other as well.
                watched?.passed.filter(|_| shares.urgent >= MOSTLY)
            });
        let rate_up = transfer.map_or(0, |(_, transfer)| transfer.up.per_second());
        let peers = view.as_ref().map_or(0, |view| view.peers);
        let state = match (&view, &held) {
            (Some(view), _) if view.failure.is_some() => {
                let why = view
                    .failure
                    .as_ref()
                    .map(|failure| failure.0.message.clone());
                State::Failed(why.unwrap_or_default())
            }
            _ if paused => State::Paused,
            (view, Some(content))
                if is_share(content) && view.as_ref().is_none_or(|view| view.finished) =>
            {
                State::Share
            }
            (Some(view), _) if view.finished && (peers > 0 || rate_up > 0) => State::Complete,
            (Some(view), _) if view.finished => State::AtRest,
            (Some(_), _) => State::Moving,
            (None, Some(content)) if content.is_complete() => State::AtRest,
            // It has no manifest yet.
            (None, _) if obtained => {
                shares.source = 1.0;
                State::Moving
            }
            (None, Some(_)) => State::Partial,
            (None, None) if naming.is_empty() => return None,
            (None, None) => State::Partial,
        };
        let links = links.into_iter().flatten().map(|link| {
            let rate = watched.map_or(0, |watched| watched.rate_of(&link.peer));
            (link, rate)
        });
        let mut from: Vec<_> = links
            .filter(|(link, rate)| link.offers > 0 || *rate > 0)
            .collect();
        from.sort_by_key(|(_, rate)| std::cmp::Reverse(*rate));
        from.truncate(MOST_SOURCES);
        let from: Vec<_> = from
            .iter()
            .filter_map(|(link, rate)| {
                let session = &self.sessions.get(&link.peer)?.session;
                Some(SourceStatus {
                    peer_id: link.peer.to_string(),
                    addr: session.addr().to_string(),
                    rate: *rate,
                    rtt_ms: session.rtt_ms(),
                })
            })
            .collect();
        let channels: Vec<_> = transfer.iter().flat_map(|(_, t)| &t.channels).collect();
        let lan = |peers_near: fn(&super::Session) -> bool| {
            self.sessions.values().any(|link| peers_near(&link.session))
        };
        let (near, far) = (lan(|s| s.is_lan()), lan(|s| !s.is_lan()));
        let limit = |up: bool| {
            let scopes = [(true, near), (false, far)]
                .into_iter()
                .filter(|(_, any)| *any);
            let lowest = scopes.filter_map(|(lan, _)| {
                self.shapers
                    .lowest_line((up, lan), channels.iter().copied())
            });
            let (whose, line, rate) = lowest.min_by_key(|(.., rate)| *rate)?;
            let name = |id: &ChannelId| self.channels.get(id).and_then(|c| c.name());
            let channel = whose.map(|id| name(&id).unwrap_or_else(|| id.to_string()));
            Some(Limit {
                channel,
                line,
                rate,
            })
        };
        let manifest = held.as_ref().map(|content| content.manifest().root());
        let have = match (&view, &held) {
            (Some(view), _) => view.have,
            (None, Some(content)) => bytes_of(content),
            (None, None) => 0,
        };
        let seen = Seen {
            state,
            serves: !self.ruling().leech(),
            have,
            shut_out: self.shut_out_of(&naming),
            over,
            shares,
            rate: view.as_ref().map_or(0, |view| view.rate),
            rate_up,
            peers,
            sources: view.as_ref().map_or(0, |view| view.sources),
            yields_to: yields_to.and_then(|key| {
                let content = &self.transfers.get(&key)?.content;
                let name = &content.manifest().root().name;
                Some(format!("{name} ({})", content.id().short()))
            }),
            limit_down: limit(false),
            limit_up: limit(true),
            rtt_ms: way.map_or(0.0, |way| way.rtt.as_secs_f64() * 1e3),
            window: way.map_or(0, |way| way.window.into()),
        };
        let Explained {
            verdict,
            what,
            advice,
        } = explain(&seen);
        Some(Explanation {
            content: id.to_string(),
            name: manifest.map(|root| root.name.clone()).unwrap_or_default(),
            verdict: verdict.name().to_owned(),
            what,
            advice,
            have,
            total: match &view {
                Some(view) => view.total,
                None => manifest.map_or_else(said, |root| root.total_bytes),
            },
            rate_down: seen.rate,
            rate_up,
            peers,
            sources: seen.sources,
            seconds: seconds(over),
            shares: seen.shares,
            from,
        })
    }
}

impl Core {
    /// The first of some channels and why nobody talks with this node of it, if that is so
    /// of all of them.
    fn shut_out_of(&self, ids: &[&ChannelId]) -> Option<(String, ShutOut)> {
        let now = WallMs(wall_ms());
        let mut first = None;
        for id in ids {
            let channel = self.channels.get(*id)?;
            let why = channel.shut_out(&self.me, now)?;
            first.get_or_insert((channel.name().unwrap_or_default(), why));
        }
        first
    }
}

impl Transfer {
    /// Whether it is being fetched.
    pub(super) fn is_moving(&self) -> bool {
        !self.finished && self.failure.is_none() && self.terms.role.fetches()
    }
}

/// Whether no more than a share of it is kept, and that is here.
fn is_share(content: &Content) -> bool {
    content.share().is_some() && content.has_wanted() && !content.is_complete()
}

/// Bytes of a content that were verified and written.
fn bytes_of(content: &Content) -> u64 {
    let manifest = content.manifest();
    if content.is_complete() {
        return manifest.root().total_bytes;
    }
    let have = content.have();
    let chunks = have.iter().filter_map(|chunk| manifest.chunk(chunk));
    chunks.map(|chunk| u64::from(chunk.len)).sum()
}

/// Adds a look and drops those that are too old.
pub(super) fn remember<T>(looks: &mut VecDeque<T>, look: T, took: impl Fn(&T) -> Duration) {
    looks.push_back(look);
    let mut over: Duration = looks.iter().map(&took).sum();
    while over > KEPT && looks.len() > 1 {
        over -= looks.pop_front().map_or(Duration::ZERO, |old| took(&old));
    }
}

pub(super) fn share(part: Duration, of: Duration) -> f64 {
    match of.is_zero() {
        true => 0.0,
        false => (part.as_secs_f64() / of.as_secs_f64()).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_seconds_are_remembered() {
        let mut looks = VecDeque::new();
        for _ in 0..1000 {
            remember(&mut looks, LOOK_EVERY, |took| *took);
        }
        assert_eq!(looks.iter().sum::<Duration>(), KEPT);
        remember(&mut looks, Duration::from_secs(60), |took| *took);
        assert_eq!(looks.len(), 1);
        assert_eq!(share(Duration::ZERO, Duration::ZERO), 0.0);
        assert_eq!(share(KEPT, KEPT * 2), 0.5);
    }

    #[test]
    fn a_way_is_filled_by_most_of_its_window() {
        let way = |bytes| Way {
            rtt: Duration::from_millis(200),
            bytes,
            window: 1000,
        };
        assert!(way(800.0).is_filled());
        assert!(!way(799.0).is_filled());
    }
}
