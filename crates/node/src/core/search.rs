//! When members and peers are looked for beyond links and the overlay, and what
//! becomes of those that are found.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use samara_wire::{ChannelId, PeerId};

use super::{Channel, Core, Known, Role, known::Turn, race};
use crate::{
    addrs,
    api::Scope,
    config::Dht,
    discovery::{
        Discovered, Discovery, Setup, Source, Wanted, WantedChannel,
        gateway::needs_mapping,
        limits::{MAX_HINT_DIALS, MAX_SOUGHT_PEERS, MAX_STRANGERS, STRANGER_RETRY},
        switches::Means,
    },
    engine::Mode,
    limits,
    session::{Session, is_lan},
};

/// A channel with fewer neighbours than this looks for more.
const FEW_NEIGHBOURS: usize = 4;
/// What links, memory, the overlay and the local network know has this long to
/// answer before the DHT is asked.
const DHT_PATIENCE: Duration = Duration::from_secs(3);
/// The DHT is asked again after this when nobody is there, and when few are.
const ALONE_RETRY: Duration = Duration::from_secs(60);
const FEW_RETRY: Duration = Duration::from_secs(600);
/// Link peers of a lonely channel whose addresses are looked up.
const LOOKED_UP_PEERS: usize = 4;

/// Looking for a channel's members in the DHT.
#[derive(Debug, Default)]
pub(super) struct Lookup {
    /// Since when there are few neighbours.
    lonely: Option<Instant>,
    /// When it was last asked, and how often in all.
    asked: Option<Instant>,
    count: u32,
    /// A user wants somebody found, whatever this node is in the channel.
    asked_for: bool,
}

impl Lookup {
    /// Whether to ask now; counts it.
    fn is_due(&mut self, now: Instant, neighbours: usize) -> bool {
        if neighbours >= FEW_NEIGHBOURS {
            self.lonely = None;
            return false;
        }
        let lonely = *self.lonely.get_or_insert(now);
        let retry = if neighbours == 0 {
            ALONE_RETRY
        } else {
            FEW_RETRY
        };
        let due = now.saturating_duration_since(lonely) >= DHT_PATIENCE
            && self
                .asked
                .is_none_or(|at| now.saturating_duration_since(at) >= retry);
        if due {
            self.asked = Some(now);
            self.count += 1;
        }
        due
    }
}

/// The core's side of discovery.
#[derive(Debug, Default)]
pub(super) struct Search {
    means: Means,
    /// Where others reach this node, and what it is; `None` offline.
    bound: Option<(SocketAddr, Mode)>,
    /// Whether only the local network is searched.
    no_wan: bool,
    running: Option<Discovery>,
    /// What the gateway forwards from.
    mapped: Option<SocketAddr>,
    /// Addresses of unknown members.
    strangers: HashMap<SocketAddr, Stranger>,
    /// Peers that requests look for, whatever they carry.
    sought: BTreeMap<PeerId, Sought>,
    /// How often a link's peers were looked up for lonely channels.
    lookups: BTreeMap<PeerId, u32>,
}

/// An address that some member of a channel is said to be at.
#[derive(Debug)]
struct Stranger {
    channel: ChannelId,
    tried: Option<Instant>,
    under_way: bool,
}

/// A peer that requests look for.
#[derive(Debug)]
struct Sought {
    requests: usize,
    known: Known,
}

impl Search {
    /// Ends the search; what is returned waits for its good-byes.
    pub(super) fn stop(&mut self) -> impl Future<Output = ()> + use<> {
        let running = self.running.take();
        async move {
            if let Some(running) = running {
                running.stop().await;
            }
        }
    }

    pub(super) fn strangers_dialled(&self) -> usize {
        self.strangers.values().filter(|s| s.under_way).count()
    }

    pub(super) fn dial_failed(&mut self, peer: PeerId, why: &str) {
        if let Some(sought) = self.sought.get_mut(&peer) {
            sought.known.failed(Instant::now(), why);
        }
    }
}

impl Core {
    /// Starts whatever the configuration allows a node that listens on `bound`.
    pub(super) fn start_search(&mut self, bound: SocketAddr, mode: Mode) {
        self.search.bound = Some((bound, mode));
        self.search.no_wan = self.ruling().no_wan();
        let mut config = self.config.discovery.clone();
        if self.search.no_wan {
            (config.dht, config.port_mapping) = (Dht::Off, false);
        }
        self.search.means = Means::of(&config, bound, mode);
        if !self.search.means.any() {
            return;
        }
        let setup = Setup {
            means: self.search.means,
            bootstrap: self.config.discovery.dht_bootstrap.clone(),
            key: self.key.clone(),
            bound,
            metrics: self.metrics.clone(),
            inputs: self.inputs.clone(),
        };
        match Discovery::start(setup) {
            Ok(running) => self.search.running = Some(running),
            Err(error) => self.warn(format!("others are not looked for: {error}")),
        }
    }

    /// Looks for others on the local network only, or again everywhere.
    pub(super) fn search_within(&mut self, no_wan: bool) {
        let Some((bound, mode)) = self.search.bound else {
            return;
        };
        if self.search.no_wan != no_wan {
            tokio::spawn(self.search.stop());
            self.search.mapped = None;
            self.start_search(bound, mode);
        }
    }

    /// Addresses from outside: configured, and the gateway's.
    pub(super) fn external_addrs(&self) -> Vec<SocketAddr> {
        let configured = self.config.external.iter().copied();
        configured.chain(self.search.mapped).collect()
    }

    /// Looks whom to look for, and says so.
    pub(super) fn search_round(&mut self) {
        if self.search.running.is_none() {
            return;
        }
        let now = Instant::now();
        let mut channels = BTreeMap::new();
        let mut lookups = std::mem::take(&mut self.search.lookups);
        let mut kept = BTreeMap::new();
        for (id, channel) in self.channels.iter_mut().filter(|(_, c)| c.active) {
            let wanted = wanted_channel(channel, self.search.means);
            if wanted.asked && channel.lookup.is_due(now, channel.members.len()) {
                for peer in lost_peers(channel) {
                    *lookups.entry(peer).or_default() += 1;
                }
            }
            if wanted.asked && channel.members.is_empty() {
                for peer in lost_peers(channel) {
                    if let Some(count) = lookups.get(&peer)
                        && kept.len() < MAX_SOUGHT_PEERS
                    {
                        kept.insert(peer, *count);
                    }
                }
            }
            let lookups = channel.lookup.count;
            channels.insert(*id, WantedChannel { lookups, ..wanted });
        }
        self.search.lookups = kept.clone();
        let mut peers = kept;
        peers.extend(self.search.sought.keys().map(|peer| (*peer, 1)));
        let own = self.own_addrs();
        let mapping = self.search.means.gateway
            && self.config.external.is_empty()
            && needs_mapping(&self.inside_addrs());
        if let Some(running) = &self.search.running {
            running.want(Wanted {
                channels,
                peers,
                own,
                mapping,
            });
        }
    }

    /// Addresses of this machine's interfaces alone.
    fn inside_addrs(&self) -> Vec<SocketAddr> {
        let bound = self.transport.as_ref().map(|t| t.addr);
        bound.map(addrs::reachable).unwrap_or_default()
    }

    pub(super) fn on_discovered(&mut self, found: Discovered) {
        match found {
            Discovered::Peer {
                peer,
                addrs,
                channels,
                source,
            } => {
                for channel in self.concerned(peer, channels) {
                    self.learn_peer(channel, peer, &addrs, source);
                }
                if let Some(sought) = self.search.sought.get_mut(&peer) {
                    self.metrics.hint_found(source);
                    if sought.known.learn(&addrs, source) {
                        sought.known.try_by(Instant::now());
                        self.next_dial = Instant::now();
                    }
                }
            }
            Discovered::Member { channel, addr } => self.on_stranger(channel, addr),
            Discovered::External(addr) => {
                tracing::info!(?addr, "the gateway's mapping");
                self.search.mapped = addr;
                // Whoever is connected is to hear of it now.
                for channel in self.channels.values_mut() {
                    channel.last_round = None;
                }
            }
        }
        self.notify();
    }

    /// The channels that a found peer concerns: those named, or those that know it.
    fn concerned(&self, peer: PeerId, named: Vec<ChannelId>) -> Vec<ChannelId> {
        if !named.is_empty() {
            return named;
        }
        let knowing = self
            .channels
            .iter()
            .filter(|(_, c)| c.known.contains_key(&peer));
        knowing.map(|(id, _)| *id).collect()
    }

    /// Somebody in a channel is said to be at an address.
    fn on_stranger(&mut self, channel: ChannelId, addr: SocketAddr) {
        self.metrics.hint_found(Source::Dht);
        if self.search.strangers.contains_key(&addr) || self.own_addrs().contains(&addr) {
            return;
        }
        if self.search.strangers.len() >= MAX_STRANGERS {
            let oldest = self
                .search
                .strangers
                .iter()
                .filter(|(_, s)| !s.under_way && s.tried.is_some())
                .min_by_key(|(addr, s)| (s.tried, **addr))
                .map(|(addr, _)| *addr);
            let Some(oldest) = oldest else {
                self.metrics.hint_dropped(Source::Dht);
                return;
            };
            self.search.strangers.remove(&oldest);
        }
        let stranger = Stranger {
            channel,
            tried: None,
            under_way: false,
        };
        self.search.strangers.insert(addr, stranger);
        self.next_dial = self.next_dial.min(Instant::now());
    }

    /// Dials unknown members, as far as that is due.
    pub(super) fn dial_strangers(&mut self, now: Instant) {
        self.search.strangers.retain(|_, s| {
            let rested = s.tried.is_some_and(|at| now >= at + STRANGER_RETRY);
            s.under_way || !rested
        });
        let Some(transport) = &self.transport else {
            return;
        };
        let mut room = MAX_HINT_DIALS.saturating_sub(self.hearsay_dials());
        let connected = self.sessions.len() + self.dialling.len();
        room = room.min(self.max_connections().saturating_sub(connected));
        if room == 0 || self.search.strangers.is_empty() {
            return;
        }
        let no_wan = self.ruling().no_wan();
        let refused: HashSet<PeerId> = self
            .sessions
            .keys()
            .chain(self.dialling.keys())
            .chain(self.banned.keys())
            .chain([&self.me])
            .copied()
            .collect();
        let channels = &self.channels;
        let needy = |id: &ChannelId| {
            let channel = channels.get(id).filter(|c| c.active);
            channel.is_some_and(|c| c.members.len() < limits::WANTED_NEIGHBOURS)
        };
        for (addr, stranger) in &mut self.search.strangers {
            let reachable = !no_wan || is_lan(addr.ip());
            if room == 0 || !reachable || stranger.tried.is_some() || !needy(&stranger.channel) {
                continue;
            }
            let Ok(config) = transport.wary(refused.clone()) else {
                return;
            };
            room -= 1;
            stranger.tried = Some(now);
            stranger.under_way = true;
            self.metrics.hint_dialled(Source::Dht);
            tokio::spawn(race::dial_stranger(
                transport.endpoint.clone(),
                transport.addr,
                config,
                stranger.channel,
                *addr,
                self.inputs.clone(),
            ));
        }
    }

    /// An unknown member's address was tried; if somebody answered, it is asked
    /// about the channel like everyone else.
    pub(super) fn on_stranger_tried(
        &mut self,
        channel: ChannelId,
        addr: SocketAddr,
        peer: Option<PeerId>,
    ) {
        if let Some(stranger) = self.search.strangers.get_mut(&addr) {
            stranger.under_way = false;
        }
        if let Some(peer) = peer.filter(|peer| *peer != self.me) {
            if !self.sessions.contains_key(&peer) {
                self.metrics.hint_proved(Source::Dht);
            }
            self.learn_peer(channel, peer, &[addr], Source::Dht);
        }
        self.notify();
    }

    /// A request looks for members of a channel, and not only for what they have.
    pub(crate) fn seek_members(&mut self, id: ChannelId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.lookup.asked_for = true;
        }
    }

    /// Members that have spoken of a channel whose charter is here, with their
    /// sessions.
    pub(crate) fn proved_members(&self, id: ChannelId) -> Vec<&Session> {
        let here = |c: &&Channel| c.graph.charters().is_some();
        let Some(channel) = self.channels.get(&id).filter(here) else {
            return Vec::new();
        };
        let linked = channel
            .members
            .iter()
            .filter_map(|peer| self.sessions.get(peer));
        linked
            .filter(|link| link.channels.contains(&id))
            .map(|link| &link.session)
            .collect()
    }

    /// How far away a connected peer is.
    pub(crate) fn scope_of(&self, session: &Session) -> Scope {
        let ip = session.addr().ip();
        let near = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let link = self.sessions.get(&session.peer);
        let theirs = link.and_then(|link| link.site.as_ref());
        if near || ip.is_loopback() || self.on_own_subnet(ip) {
            Scope::Lan
        } else if session.is_lan() || (theirs.is_some() && theirs == self.config.site.as_ref()) {
            Scope::Site
        } else {
            Scope::Global
        }
    }

    /// A request begins to look for a peer. Whether there is room for one more.
    pub(crate) fn seek(&mut self, peer: PeerId) -> bool {
        let full = self.search.sought.len() >= MAX_SOUGHT_PEERS;
        if full && !self.search.sought.contains_key(&peer) {
            return false;
        }
        let now = Instant::now();
        let sought = self.search.sought.entry(peer).or_insert_with(|| Sought {
            requests: 0,
            known: Known::new(Source::Dht, now),
        });
        sought.requests += 1;
        for channel in self.channels.values() {
            if let Some(known) = channel.known.get(&peer) {
                sought
                    .known
                    .learn(&known.ways(), known.source.min(Source::Overlay));
            }
        }
        self.next_dial = now;
        true
    }

    /// A request looks no longer for a peer.
    pub(crate) fn unseek(&mut self, peer: PeerId) {
        if let Some(sought) = self.search.sought.get_mut(&peer) {
            sought.requests -= 1;
            if sought.requests == 0 {
                self.search.sought.remove(&peer);
            }
        }
    }

    /// What is known of where a peer is, in a channel or since a request looks for it.
    pub(crate) fn known_in(&self, id: ChannelId, peer: &PeerId) -> Option<&Known> {
        let sought = || self.search.sought.get(peer).map(|sought| &sought.known);
        let channel = self.channels.get(&id);
        channel.and_then(|c| c.known.get(peer)).or_else(sought)
    }

    /// Peers that requests look for and that may be dialled now.
    pub(super) fn sought_due(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (PeerId, (Turn, Vec<SocketAddr>))> {
        self.search
            .sought
            .iter()
            .filter(move |(peer, sought)| {
                sought.known.is_due(now)
                    && !self.sessions.contains_key(*peer)
                    && !self.dialling.contains_key(*peer)
                    && !self.banned.contains_key(*peer)
            })
            .map(|(peer, sought)| (*peer, (sought.known.turn(), sought.known.ways())))
    }
}

/// What is said of a channel, and asked about it.
fn wanted_channel(channel: &Channel, means: Means) -> WantedChannel {
    let once = matches!(channel.meta.role, Role::Share | Role::Guest);
    let lasting = !once || means.dht_for_all;
    let private = channel.is_private();
    // A private channel's own word is not enough: its member has to want it too.
    let dht = means.dht && channel.may_be_announced() && (!private || means.dht_for_all);
    let carried = channel.graph.charters().is_some();
    WantedChannel {
        private,
        carried,
        announced: carried && dht && lasting,
        asked: dht && (lasting || channel.lookup.asked_for),
        lookups: 0,
    }
}

/// Peers of a link that do not answer where it says.
fn lost_peers(channel: &Channel) -> Vec<PeerId> {
    let mut lost: Vec<_> = channel
        .known
        .iter()
        .filter(|(_, known)| known.source == Source::Link && known.is_lost())
        .map(|(peer, _)| *peer)
        .collect();
    lost.sort();
    lost.truncate(LOOKED_UP_PEERS);
    lost
}

#[cfg(test)]
mod tests {
    use samara_graph::{Charter, CharterChain, CharterHash, CharterRef, Graph, Link as WayIn};

    use super::*;
    use crate::core::{ChannelMeta, dial::tests::core, graph_config, wall_ms};

    const ID: ChannelId = ChannelId([1; 32]);

    fn addr(i: usize) -> SocketAddr {
        ([192, 0, (i >> 8) as u8, i as u8], 7421).into()
    }

    fn peer(i: usize) -> PeerId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(i as u64 + 1).to_be_bytes());
        PeerId(id)
    }

    fn guest(core: &mut Core) {
        let charter = CharterRef {
            version: 1,
            hash: CharterHash([0; 32]),
        };
        let graph = Graph::join(ID, charter, graph_config(core.me).unwrap());
        let channel = Channel::new(graph, ChannelMeta::new(Role::Guest), Default::default());
        core.add_channel(ID, channel, true);
    }

    #[test]
    fn the_dht_is_asked_when_the_rest_had_its_time_and_not_too_often() {
        let (mut lookup, start) = (Lookup::default(), Instant::now());
        assert!(!lookup.is_due(start, 0));
        let late = start + DHT_PATIENCE;
        assert!(!lookup.is_due(late - Duration::from_millis(1), 0));
        assert!(lookup.is_due(late, 0));
        assert!(!lookup.is_due(late + ALONE_RETRY - Duration::from_millis(1), 0));
        assert!(!lookup.is_due(late + ALONE_RETRY, 1));
        assert!(lookup.is_due(late + ALONE_RETRY, 0));
        assert_eq!(lookup.count, 2);
        // Enough neighbours end it; to be few again starts the patience anew.
        let much_later = late + 2 * FEW_RETRY;
        assert!(!lookup.is_due(much_later, FEW_NEIGHBOURS));
        assert!(!lookup.is_due(much_later, FEW_NEIGHBOURS - 1));
        assert!(lookup.is_due(much_later + DHT_PATIENCE, FEW_NEIGHBOURS - 1));
    }

    #[tokio::test]
    async fn addresses_without_a_name_are_bounded_and_dialled_a_few_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut core = core(dir.path());
        guest(&mut core);
        let member = |i| Discovered::Member {
            channel: ID,
            addr: addr(i),
        };
        for i in 0..2 * MAX_STRANGERS {
            core.on_discovered(member(i));
        }
        assert_eq!(core.search.strangers.len(), MAX_STRANGERS);
        // Nobody answers at a closed port of this machine's.
        let own = crate::transport::tests::endpoint(1);
        core.search.strangers.clear();
        for port in 1..=2 * MAX_HINT_DIALS as u16 {
            core.on_discovered(Discovered::Member {
                channel: ID,
                addr: ([127, 0, 0, 1], port).into(),
            });
        }
        core.transport = Some(own);
        core.dial_strangers(Instant::now());
        assert_eq!(core.search.strangers_dialled(), MAX_HINT_DIALS);
        core.dial_strangers(Instant::now());
        assert_eq!(core.search.strangers_dialled(), MAX_HINT_DIALS);
        // One that was tried gives its place to the next, and is left alone itself.
        let under_way = |core: &Core| -> Vec<SocketAddr> {
            let under_way = core.search.strangers.iter().filter(|(_, s)| s.under_way);
            under_way.map(|(addr, _)| *addr).collect()
        };
        let tried = under_way(&core)[0];
        core.on_stranger_tried(ID, tried, None);
        core.dial_strangers(Instant::now());
        assert!(!under_way(&core).contains(&tried));
        assert_eq!(core.search.strangers_dialled(), MAX_HINT_DIALS);
        let later = Instant::now() + STRANGER_RETRY;
        core.dial_strangers(later);
        assert!(!core.search.strangers.contains_key(&tried));
    }

    #[tokio::test]
    async fn few_peers_are_sought_at_once_and_what_is_found_reaches_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut core = core(dir.path());
        for i in 0..MAX_SOUGHT_PEERS {
            assert!(core.seek(peer(i)));
        }
        assert!(!core.seek(peer(MAX_SOUGHT_PEERS)));
        assert!(core.seek(peer(0)));
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(core.sought_due(now).count(), 0);
        core.on_discovered(Discovered::Peer {
            peer: peer(0),
            addrs: vec![addr(1)],
            channels: vec![],
            source: Source::Dht,
        });
        let due: Vec<_> = core
            .sought_due(now)
            .map(|(peer, ((source, ..), ways))| (peer, source, ways))
            .collect();
        assert_eq!(due, [(peer(0), Source::Dht, vec![addr(1)])]);
        core.unseek(peer(0));
        assert_eq!(core.sought_due(now).count(), 1);
        core.unseek(peer(0));
        assert_eq!(core.sought_due(now).count(), 0);
        assert!(core.seek(peer(MAX_SOUGHT_PEERS)));
    }

    #[tokio::test]
    async fn what_the_gateway_maps_is_one_of_our_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let mut core = core(dir.path());
        core.transport = Some(crate::transport::tests::endpoint(1));
        let inside = core.own_addrs();
        core.on_discovered(Discovered::External(Some(addr(1))));
        assert_eq!(core.own_addrs(), [inside.clone(), vec![addr(1)]].concat());
        core.config.external = vec![addr(2)];
        let both = [inside.clone(), vec![addr(2), addr(1)]].concat();
        assert_eq!(core.own_addrs(), both);
        core.on_discovered(Discovered::External(None));
        assert_eq!(core.own_addrs(), [inside, vec![addr(2)]].concat());
    }

    /// A channel made by its owner, as one that is followed.
    fn channel(core: &Core, charter: Charter, role: Role) -> Channel {
        let chain = CharterChain::new(charter.sign(&[&core.key]).unwrap()).unwrap();
        let graph = Graph::restore(chain, [], graph_config(core.me).unwrap());
        Channel::new(graph, ChannelMeta::new(role), Default::default())
    }

    #[tokio::test]
    async fn private_channels_and_passing_visits_are_not_told_to_the_world() {
        let dir = tempfile::tempdir().unwrap();
        let core = core(dir.path());
        let now = samara_graph::WallMs(wall_ms());
        let open = || Charter::open("open", core.me, now, [0; 16]);
        let lasting = Means {
            dht: true,
            ..Means::default()
        };
        let all = Means {
            dht_for_all: true,
            ..lasting
        };
        let told = |charter, role, means| {
            let wanted = wanted_channel(&channel(&core, charter, role), means);
            (wanted.announced, wanted.asked)
        };
        assert_eq!(told(open(), Role::Owner, lasting), (true, true));
        assert_eq!(told(open(), Role::Owner, Means::default()), (false, false));
        for once in [Role::Share, Role::Guest] {
            assert_eq!(told(open(), once, lasting), (false, false));
            assert_eq!(told(open(), once, all), (true, true));
        }
        let mut hidden = open();
        hidden.announced = false;
        assert_eq!(told(hidden, Role::Owner, all), (false, false));
        let private = || Charter::private("private", core.me, now, [0; 16]);
        assert_eq!(told(private(), Role::Owner, all), (false, false));
        let mut allowed = private();
        allowed.announced = true;
        assert_eq!(told(allowed.clone(), Role::Owner, lasting), (false, false));
        assert_eq!(told(allowed, Role::Owner, all), (true, true));
        // Of a link alone: what it says.
        let charter = CharterRef {
            version: 1,
            hash: CharterHash([0; 32]),
        };
        let link = WayIn::new(ID, charter, &[]);
        let mut meta = ChannelMeta::new(Role::Subscriber);
        meta.link = Some(link.to_string());
        let joined = crate::core::join(&link, core.me, meta).unwrap();
        let wanted = wanted_channel(&joined, lasting);
        assert!(wanted.asked && !wanted.announced && !wanted.carried);
    }
}
