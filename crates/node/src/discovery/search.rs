//! The search itself: one task over the local network, the DHT and the gateway.

use std::{
    collections::HashMap,
    net::SocketAddr,
    num::{NonZeroU16, NonZeroU32},
    time::{Duration, Instant},
};

use ed25519_dalek::SigningKey;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use samara_graph::{PeerAddress, WallMs};
use samara_wire::{ChannelId, PeerId};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time,
};

use super::{
    Discovered, Setup, Source, Wanted, WantedChannel,
    dht::Dht,
    found::{Found, Heard, Sought},
    gateway::Gateway,
    lan::{Lan, LanNews},
    limits,
    names::{Day, DiscoverySecret, InfoHash, LanName, open_lan_name},
};
use crate::core::{Input, wall_ms};

/// How often what is due is looked for.
const ROUND: Duration = Duration::from_secs(2);
/// Announcements in the DHT are said again this often: nodes forget them after
/// half an hour or more.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(15 * 60);
/// Items in the DHT likewise: they last two hours (BEP 44).
const PUBLISH_EVERY: Duration = Duration::from_secs(3600);
/// What failed in the DHT is tried again after this.
const DHT_RETRY: Duration = Duration::from_secs(60);
/// A gateway that gave nothing is asked again this often.
const GATEWAY_RETRY: Duration = Duration::from_secs(300);

/// The state of the search.
struct Search {
    setup: Setup,
    wanted: watch::Receiver<Wanted>,
    found: Found,
    sought: Sought,
    /// What passes on hints; whoever floods the network cannot make it faster.
    hints: DefaultDirectRateLimiter,
    lan: Option<Lan>,
    lan_not_before: Instant,
    lan_checked: Instant,
    /// Since when something is missing for which there was no room.
    lan_missed: Option<Instant>,
    dht: Option<Dht>,
    dht_not_before: Instant,
    /// What is at work in the DHT.
    work: JoinSet<Done>,
    /// Questions answered or under way, by how often they were asked.
    asked: HashMap<ChannelId, u32>,
    asked_peers: HashMap<PeerId, u32>,
    announced: HashMap<InfoHash, Instant>,
    published: Option<(Vec<SocketAddr>, Instant)>,
    gateway: Option<Gateway>,
    gateway_asked: Instant,
}

/// A piece of work in the DHT that ended.
enum Done {
    Joined(std::io::Result<Dht>),
    Announced(InfoHash, Result<(), String>),
    Published(Result<(), String>),
    Asked,
}

/// Searches until nobody wants anything any more.
pub(super) async fn run(setup: Setup, wanted: watch::Receiver<Wanted>) {
    let mut search = Search::new(setup, wanted);
    let mut rounds = time::interval(ROUND);
    rounds.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        let heard = tokio::select! {
            changed = search.wanted.changed() => match changed {
                Ok(()) => None,
                Err(_) => break,
            },
            _ = rounds.tick() => None,
            news = lan_news(search.lan.as_ref()) => Some(Heeded::Lan(news)),
            external = gateway_news(search.gateway.as_mut()) => Some(Heeded::Gateway(external)),
            Some(done) = search.work.join_next() => done.ok().map(Heeded::Dht),
        };
        match heard {
            // Nothing becomes due by what others say.
            Some(Heeded::Lan(news)) => {
                search.on_lan(news).await;
                continue;
            }
            Some(Heeded::Gateway(external)) => search.tell(Discovered::External(external)).await,
            Some(Heeded::Dht(done)) => search.on_dht(done),
            None => {}
        }
        search.round().await;
    }
    if let Some(gateway) = search.gateway.take() {
        gateway.stop();
        // The library gives the mapping back when it next runs.
        time::sleep(Duration::from_millis(100)).await;
    }
    if let Some(lan) = search.lan.take() {
        lan.stop().await;
    }
}

/// What the loop woke for.
enum Heeded {
    Lan(LanNews),
    Gateway(Option<SocketAddr>),
    Dht(Done),
}

async fn lan_news(lan: Option<&Lan>) -> LanNews {
    match lan {
        Some(lan) => lan.next().await,
        None => std::future::pending().await,
    }
}

async fn gateway_news(gateway: Option<&mut Gateway>) -> Option<SocketAddr> {
    match gateway {
        Some(gateway) => gateway.changed().await,
        None => std::future::pending().await,
    }
}

impl Search {
    fn new(setup: Setup, wanted: watch::Receiver<Wanted>) -> Self {
        let now = Instant::now();
        let per_second = NonZeroU32::new(limits::HINTS_PER_SECOND).expect("not zero");
        let burst = NonZeroU32::new(limits::HINT_BURST).expect("not zero");
        Self {
            setup,
            wanted,
            found: Found::default(),
            sought: Sought::default(),
            hints: RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)),
            lan: None,
            lan_not_before: now,
            lan_checked: now,
            lan_missed: None,
            dht: None,
            dht_not_before: now,
            work: JoinSet::new(),
            asked: HashMap::new(),
            asked_peers: HashMap::new(),
            announced: HashMap::new(),
            published: None,
            gateway: None,
            gateway_asked: now,
        }
    }

    async fn tell(&self, found: Discovered) {
        let _ = self.setup.inputs.send(Input::Discovered(found)).await;
    }

    /// Starts what is due.
    async fn round(&mut self) {
        let wanted = self.wanted.borrow_and_update().clone();
        let now = wall_ms();
        if self.setup.means.lan {
            self.round_lan(&wanted, now).await;
        }
        if self.setup.means.dht {
            self.round_dht(&wanted, now);
        }
        self.round_gateway(&wanted);
    }

    async fn round_lan(&mut self, wanted: &Wanted, now: u64) {
        let sought = sought(wanted, now);
        if sought != self.sought {
            self.sought = sought;
            self.found.begin_anew();
        }
        while self.found.is_due(Instant::now(), &self.sought) && self.pass_on().await {}
        if let Some(lan) = &mut self.lan
            && self.lan_checked.elapsed() >= limits::LAN_CHECK
        {
            self.lan_checked = Instant::now();
            let rested = |at: Instant| at.elapsed() >= limits::LAN_RETELL;
            let again = self.lan_missed.take_if(|at| rested(*at)).is_some();
            if !lan.check().await || (again && lan.repeat().is_err()) {
                self.end_lan().await;
            }
        }
        let idle = wanted.channels.is_empty() && wanted.peers.is_empty();
        if self.lan.is_none() && !idle && Instant::now() >= self.lan_not_before {
            match Lan::start(self.setup.key.peer_id(), self.setup.bound) {
                Ok(lan) => self.lan = Some(lan),
                Err(error) => self.lan_failed(&error),
            }
        }
        let names = own_names(wanted, now);
        if let Some(lan) = &mut self.lan
            && let Err(error) = lan.announce(&names)
        {
            self.lan_failed(&error);
            self.end_lan().await;
        }
    }

    fn lan_failed(&mut self, error: &mdns_sd::Error) {
        tracing::warn!(%error, "mDNS does not work here for now");
        self.lan_not_before = Instant::now() + limits::LAN_PAUSE;
    }

    /// The library holds too much, or gave up: all of it is dropped for a while.
    async fn end_lan(&mut self) {
        if let Some(lan) = self.lan.take() {
            tracing::warn!("too many answers on the local network: mDNS pauses");
            self.setup.metrics.hint_dropped(Source::Mdns);
            self.lan_not_before = Instant::now() + limits::LAN_PAUSE;
            lan.stop().await;
        }
    }

    async fn on_lan(&mut self, news: LanNews) {
        match news {
            LanNews::Said(instance, said) => match self.found.hear(&instance, said, &self.sought) {
                Heard::Sought(_) => drop(self.pass_on().await),
                Heard::Dropped => {
                    self.setup.metrics.hint_dropped(Source::Mdns);
                    self.lan_missed.get_or_insert_with(Instant::now);
                }
                Heard::Kept | Heard::Known => {}
            },
            LanNews::Gone(instance) => self.found.forget(&instance),
            LanNews::Ended => self.end_lan().await,
        }
    }

    /// Passes on one thing that the local network says, unless there were too many;
    /// then it waits.
    async fn pass_on(&mut self) -> bool {
        if self.hints.check().is_err() {
            return false;
        }
        let Some((said, channels)) = self.found.next_due(Instant::now(), &self.sought) else {
            return false;
        };
        self.tell(Discovered::Peer {
            peer: said.peer,
            addrs: said.addrs,
            channels: channels.into_iter().collect(),
            source: Source::Mdns,
        })
        .await;
        true
    }

    fn round_dht(&mut self, wanted: &Wanted, now: u64) {
        let used = |c: &WantedChannel| c.announced || (c.asked && c.lookups > 0);
        let used = wanted.channels.values().any(used) || !wanted.peers.is_empty();
        let Some(dht) = self.dht.clone() else {
            if used && Instant::now() >= self.dht_not_before {
                self.dht_not_before = Instant::now() + DHT_RETRY;
                let bootstrap = self.setup.bootstrap.clone();
                self.work.spawn(async move {
                    let joined = tokio::task::spawn_blocking(move || Dht::start(&bootstrap));
                    Done::Joined(
                        joined
                            .await
                            .unwrap_or_else(|e| Err(std::io::Error::other(e))),
                    )
                });
            }
            return;
        };
        self.ask(&dht, wanted, now);
        self.announce(&dht, wanted, now);
        self.publish(&dht, wanted, now);
    }

    /// Asks for members and peers that were not asked for yet.
    fn ask(&mut self, dht: &Dht, wanted: &Wanted, now: u64) {
        self.asked.retain(|id, _| wanted.channels.contains_key(id));
        self.asked_peers
            .retain(|id, _| wanted.peers.contains_key(id));
        for (id, channel) in wanted.channels.iter().filter(|(_, c)| c.asked) {
            if self.work.len() >= limits::MAX_LOOKUPS {
                return;
            }
            let asked = self.asked.entry(*id).or_default();
            if *asked >= channel.lookups {
                continue;
            }
            *asked = channel.lookups;
            self.setup.metrics.discovery_lookups.inc();
            let (dht, inputs, channel) = (dht.clone(), self.setup.inputs.clone(), *id);
            let secret = DiscoverySecret::of(id);
            self.work.spawn(async move {
                for day in Day::announced(now) {
                    let (send, mut told) = mpsc::channel(limits::MAX_DHT_ADDRS);
                    let tell = async {
                        while let Some(addr) = told.recv().await {
                            let found = Discovered::Member { channel, addr };
                            let _ = inputs.send(Input::Discovered(found)).await;
                        }
                    };
                    tokio::join!(dht.members(secret.info_hash(day), send), tell);
                }
                Done::Asked
            });
        }
        for (peer, count) in &wanted.peers {
            if self.work.len() >= limits::MAX_LOOKUPS {
                return;
            }
            let asked = self.asked_peers.entry(*peer).or_default();
            if *asked >= *count {
                continue;
            }
            *asked = *count;
            self.setup.metrics.discovery_lookups.inc();
            let (dht, inputs, peer) = (dht.clone(), self.setup.inputs.clone(), *peer);
            self.work.spawn(async move {
                let addrs = dht.addresses(peer, WallMs(now)).await;
                if !addrs.is_empty() {
                    let found = Discovered::Peer {
                        peer,
                        addrs,
                        channels: Vec::new(),
                        source: Source::Dht,
                    };
                    let _ = inputs.send(Input::Discovered(found)).await;
                }
                Done::Asked
            });
        }
    }

    /// Announces this node as a member where that is due.
    fn announce(&mut self, dht: &Dht, wanted: &Wanted, now: u64) {
        let Some(port) = announced_port(wanted) else {
            return;
        };
        let today = Day::of(now);
        let due: HashMap<InfoHash, ()> = wanted
            .channels
            .iter()
            .filter(|(_, channel)| channel.announced)
            .map(|(id, _)| (DiscoverySecret::of(id).info_hash(today), ()))
            .collect();
        self.announced.retain(|hash, _| due.contains_key(hash));
        for hash in due.into_keys() {
            if self.work.len() >= limits::MAX_LOOKUPS {
                return;
            }
            if self
                .announced
                .get(&hash)
                .is_some_and(|at| *at > Instant::now())
            {
                continue;
            }
            self.announced.insert(hash, Instant::now() + ANNOUNCE_EVERY);
            let dht = dht.clone();
            self.work
                .spawn(async move { Done::Announced(hash, dht.announce(hash, port).await) });
        }
    }

    /// Leaves this node's addresses under its key, when they changed or it is time.
    fn publish(&mut self, dht: &Dht, wanted: &Wanted, now: u64) {
        let announced = wanted.channels.values().any(|c| c.announced);
        let due = match &self.published {
            Some((addrs, at)) => *addrs != wanted.own || *at <= Instant::now(),
            None => true,
        };
        if !announced || !due || wanted.own.is_empty() || self.work.len() >= limits::MAX_LOOKUPS {
            return;
        }
        self.published = Some((wanted.own.clone(), Instant::now() + PUBLISH_EVERY));
        let address = PeerAddress::sign(&self.setup.key, &wanted.own, WallMs(now));
        let key = SigningKey::from_bytes(&self.setup.key.to_bytes());
        let dht = dht.clone();
        self.work
            .spawn(async move { Done::Published(dht.publish(&key, &address).await) });
    }

    fn on_dht(&mut self, done: Done) {
        let retry = Instant::now() + DHT_RETRY;
        match done {
            Done::Joined(Ok(dht)) => self.dht = Some(dht),
            Done::Joined(Err(error)) => tracing::warn!(%error, "the DHT cannot be joined"),
            Done::Announced(hash, Err(error)) => {
                tracing::debug!(error, "announcing in the DHT");
                self.announced.insert(hash, retry);
            }
            Done::Published(Err(error)) => {
                tracing::debug!(error, "leaving our addresses in the DHT");
                if let Some((_, at)) = &mut self.published {
                    *at = retry;
                }
            }
            Done::Announced(_, Ok(())) | Done::Published(Ok(())) | Done::Asked => {}
        }
    }

    fn round_gateway(&mut self, wanted: &Wanted) {
        if !self.setup.means.gateway || !wanted.mapping {
            return;
        }
        match &self.gateway {
            Some(gateway) => {
                if self.gateway_asked.elapsed() >= GATEWAY_RETRY {
                    self.gateway_asked = Instant::now();
                    gateway.retry();
                }
            }
            None => {
                if let Some(port) = NonZeroU16::new(self.setup.bound.port()) {
                    self.gateway_asked = Instant::now();
                    self.gateway = Some(Gateway::start(port));
                }
            }
        }
    }
}

/// What an announcement of the local network has to name. A channel is known under
/// both of its names: who has only its link does not know yet whether it is private.
fn sought(wanted: &Wanted, now: u64) -> Sought {
    let mut names = HashMap::new();
    for id in wanted.channels.keys() {
        names.insert(open_lan_name(id), *id);
        let secret = DiscoverySecret::of(id);
        for day in Day::around(now) {
            names.insert(secret.lan_name(day), *id);
        }
    }
    Sought {
        names,
        peers: wanted.peers.keys().copied().collect(),
    }
}

/// What this node says on the local network that it carries.
fn own_names(wanted: &Wanted, now: u64) -> Vec<LanName> {
    wanted
        .channels
        .iter()
        .filter(|(_, channel)| channel.carried)
        .map(|(id, channel)| {
            if channel.private {
                DiscoverySecret::of(id).lan_name(Day::of(now))
            } else {
                open_lan_name(id)
            }
        })
        .collect()
}

/// The port that others reach this node at: of its last address, which is the one
/// outside of a gateway if there is one.
fn announced_port(wanted: &Wanted) -> Option<u16> {
    let v4 = wanted.own.iter().rev().find(|addr| addr.is_ipv4());
    v4.map(SocketAddr::port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::found::Announcement;

    const DAY: u64 = 24 * 3600 * 1000;
    const ID: ChannelId = ChannelId([5; 32]);

    fn wanted(private: bool, carried: bool) -> Wanted {
        let channel = WantedChannel {
            private,
            carried,
            announced: false,
            asked: false,
            lookups: 0,
        };
        Wanted {
            channels: [(ID, channel)].into(),
            ..Wanted::default()
        }
    }

    #[test]
    fn a_private_channels_name_is_understood_across_midnight() {
        let midnight = 20_000 * DAY;
        let clock_off = 10 * 60 * 1000;
        let wanted = wanted(true, true);
        let before = own_names(&wanted, midnight - clock_off);
        let after = own_names(&wanted, midnight + clock_off);
        assert_ne!(before, after);
        for (said, heard_at) in [
            (&before, midnight - clock_off),
            (&before, midnight + clock_off),
            (&after, midnight + clock_off),
            (&after, midnight - clock_off),
        ] {
            assert_eq!(sought(&wanted, heard_at).names.get(&said[0]), Some(&ID));
        }
        let later = sought(&wanted, midnight + DAY / 2);
        assert_eq!(later.names.get(&before[0]), None);
    }

    fn said(i: u32) -> LanNews {
        let mut peer = [0; 32];
        peer[..4].copy_from_slice(&i.to_be_bytes());
        let said = Announcement {
            peer: PeerId(peer),
            addrs: vec!["10.0.0.9:7421".parse().unwrap()],
            names: vec![open_lan_name(&ID)],
        };
        LanNews::Said(i.to_string(), said)
    }

    #[tokio::test]
    async fn a_flood_on_the_local_network_passes_slowly_and_hides_nobody() {
        let (inputs, mut told) = mpsc::channel(10_000);
        let (_wanted, wants) = watch::channel(wanted(false, false));
        let setup = Setup {
            means: Default::default(),
            bootstrap: Vec::new(),
            key: samara_graph::SecretKey::from_bytes(&[1; 32]),
            bound: "127.0.0.1:1".parse().unwrap(),
            metrics: crate::metrics::Metrics::new().unwrap(),
            inputs,
        };
        let mut search = Search::new(setup, wants);
        search.sought = sought(&wanted(false, false), DAY);
        let start = Instant::now();
        // Foreign, replayed, and more than the table holds.
        for i in 0..4 * limits::MAX_LAN_INSTANCES as u32 {
            let news = said(i);
            search.on_lan(news).await;
            search.on_lan(said(i)).await;
        }
        let mut passed = 0;
        while told.try_recv().is_ok() {
            passed += 1;
        }
        let seconds = u32::try_from(start.elapsed().as_secs()).unwrap() + 1;
        assert!(passed <= limits::HINT_BURST + limits::HINTS_PER_SECOND * seconds);
        assert!(search.lan_missed.is_some());
        // What was heard waits for its turn; it is not lost.
        let mut waiting = std::collections::HashSet::new();
        while let Some((next, _)) = search.found.next_due(start, &search.sought) {
            assert!(waiting.insert(next.peer));
        }
        assert_eq!(waiting.len(), limits::MAX_LAN_INSTANCES);
        // And there is room for another one again.
        let LanNews::Said(instance, late) = said(u32::MAX) else {
            unreachable!()
        };
        let heard = search.found.hear(&instance, late, &search.sought);
        assert_eq!(heard, Heard::Sought([ID].into()));
    }

    #[test]
    fn only_what_is_carried_is_announced_and_only_open_channels_by_their_lasting_name() {
        assert_eq!(own_names(&wanted(false, false), DAY), []);
        assert_eq!(own_names(&wanted(false, true), DAY), [open_lan_name(&ID)]);
        assert_ne!(own_names(&wanted(true, true), DAY), [open_lan_name(&ID)]);
    }

    #[test]
    fn the_port_outside_of_the_gateway_is_announced() {
        let mut wanted = wanted(false, true);
        assert_eq!(announced_port(&wanted), None);
        wanted.own = vec!["10.0.0.1:7421".parse().unwrap()];
        assert_eq!(announced_port(&wanted), Some(7421));
        wanted.own.push("192.0.2.1:4242".parse().unwrap());
        wanted.own.push("[2001:db8::1]:1".parse().unwrap());
        assert_eq!(announced_port(&wanted), Some(4242));
    }
}
