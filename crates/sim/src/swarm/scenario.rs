use std::time::Duration;

use samara_content::{ChunkParams, Parity, Stripes};
use samara_swarm::{Config, Order, Policy, Role};
use serde::Deserialize;

use super::{Outcome, SitePipes, world::World};

/// One node's links and manners.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Bytes a second that it sends at most.
    pub up: f64,
    /// Bytes a second that it receives at most.
    pub down: f64,
    /// Has everything from the start.
    pub seeder: bool,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// Whether it serves.
    pub role: Role,
    /// Whom it serves first.
    pub policy: Policy,
    /// In which order it asks for chunks.
    pub order: Order,
    /// Which of the scenario's sites it is in, if any.
    pub site: Option<usize>,
    /// When it comes.
    pub start: Duration,
}

/// How a node behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behaviour {
    /// By the rules.
    #[default]
    Honest,
    /// Every chunk that it sends is wrong.
    Garbage,
    /// Says that it wants everything and never uses its credit.
    Idler,
    /// Takes requests and never answers.
    Mute,
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy)]
pub enum When {
    /// At this time.
    At(Duration),
    /// When the node has sent, and others acknowledged, this many chunks.
    Sent(u64),
    /// When the node has stored this many chunks.
    Stored(u32),
    /// When the node has all that it wants.
    Complete,
    /// When this other node is gone.
    Gone(usize),
}

/// How transfers share the pipes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Max-min fairly at every moment. Exact, and costs as much as there are
    /// transfers at each change of one.
    Fluid,
    /// Every pipe carries one chunk at a time: for crowds.
    Queue,
}

/// A node disappears without a word; its connections are seen to end one
/// round trip later.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Which node.
    pub node: usize,
    /// When.
    pub when: When,
}

/// A content and the nodes that hold or want it.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Chunks of the content, parity not counted.
    pub chunks: u32,
    /// Parity shards that seeders have as well.
    pub parity: Option<Parity>,
    /// Bytes of every chunk.
    pub chunk_bytes: u32,
    /// Round trip between two nodes that are not in one site.
    pub rtt: Duration,
    /// Round trip within a site.
    pub site_rtt: Duration,
    /// The sites' ways out.
    pub sites: Vec<SitePipes>,
    /// What headers, acknowledgements and messages take of every pipe, of 1. T* knows
    /// nothing of it.
    pub overhead: f64,
    /// How long receivers need to find each other. Seeders are known at once.
    pub meet: Duration,
    /// How transfers share the pipes.
    pub sharing: Sharing,
    /// How the nodes behave in their swarms.
    pub config: Config,
    /// From a chunk's last byte to its being stored.
    pub store_delay: Duration,
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Neighbours that every node looks for; all know all when there are no more nodes.
    pub neighbours: usize,
    /// When to stop, done or not.
    pub give_up: Duration,
    /// Where all randomness comes from.
    pub seed: u64,
}

impl Scenario {
    /// One seeder and `peers` receivers with links of `up` and `down` bytes a
    /// second, all honest. Node 0 is the seeder.
    pub fn equal(peers: usize, chunks: u32, chunk_bytes: u32, up: f64, down: f64) -> Self {
        let node = |seeder| NodeSpec {
            up,
            down,
            seeder,
            behaviour: Behaviour::Honest,
            role: Role::Member,
            policy: Policy::LastPeer,
            order: Order::Rarest,
            site: None,
            start: Duration::ZERO,
        };
        Self {
            chunks,
            parity: None,
            chunk_bytes,
            rtt: Duration::from_millis(2),
            site_rtt: Duration::from_micros(300),
            sites: Vec::new(),
            overhead: 0.0,
            meet: Duration::ZERO,
            sharing: Sharing::Fluid,
            config: Config::default(),
            store_delay: Duration::from_micros(500),
            nodes: (0..=peers).map(|i| node(i == 0)).collect(),
            faults: Vec::new(),
            neighbours: 32,
            give_up: Duration::from_secs(3600),
            seed: 1,
        }
    }

    /// Bytes of the content.
    pub fn bytes(&self) -> f64 {
        f64::from(self.chunks) * f64::from(self.chunk_bytes)
    }

    /// How the parity shards belong to the chunks.
    ///
    /// # Panics
    /// If chunks of that size cannot have that parity.
    pub fn stripes(&self) -> Option<Stripes> {
        let params = ChunkParams::fixed(self.chunk_bytes, self.parity?);
        let bytes = u64::from(self.chunks) * u64::from(self.chunk_bytes);
        let stripes = params.and_then(|params| Stripes::of(params, bytes));
        stripes.expect("a stripe within its limits")
    }

    /// T*: the least time in which fluid could reach every receiver, counted from
    /// the start of the first. The largest
    /// of what the seeders need to send one copy, what the slowest receiver needs
    /// to take one, what all uplinks together need to send one to each (Kumar
    /// and Ross, "Peer-assisted file distribution: the minimum distribution time",
    /// 2006), and what the narrowest way into a site without a seeder needs; and
    /// what the last to come needs after that.
    pub fn fluid_bound(&self) -> Duration {
        let seeders = || self.nodes.iter().filter(|n| n.seeder);
        let receivers = || self.nodes.iter().filter(|n| !n.seeder);
        let injected: f64 = seeders().map(|n| n.up).sum();
        let slowest = receivers().map(|n| n.down).fold(f64::INFINITY, f64::min);
        let all: f64 = self.nodes.iter().map(|n| n.up).sum();
        let bytes = self.bytes();
        let copies = receivers().count() as f64;
        let seeded = |site: usize| seeders().any(|n| n.site == Some(site));
        let ways_in = self.sites.iter().enumerate();
        let narrowest = ways_in
            .filter(|(i, _)| !seeded(*i))
            .map(|(_, site)| site.back)
            .fold(f64::INFINITY, f64::min);
        let late = receivers()
            .map(|n| n.start.as_secs_f64() + bytes / n.down)
            .fold(0.0, f64::max);
        let first = receivers().map(|n| n.start).min().unwrap_or_default();
        let bound = (bytes / injected)
            .max(bytes / slowest)
            .max(copies * bytes / all)
            .max(bytes / narrowest);
        Duration::from_secs_f64((first.as_secs_f64() + bound).max(late))
    }

    /// Runs it until every receiver that stays is done, or until `give_up`.
    pub fn run(&self) -> Outcome {
        World::new(self).run()
    }
}
