//! Whole swarms over quinn in one thread: a network in memory, a clock that jumps, and
//! the node's own endpoint, sessions and frames around the swarm's state machine. The
//! same seed gives the same packets at the same times. What a node has besides (store,
//! channels, limits) is not in it; processor time costs nothing.

mod clock;
mod member;
mod probe;
mod report;
mod wire;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use samara_sim::swarm::Sharing;
use samara_swarm::{Config, Tier};
use tokio::sync::mpsc;

use clock::Clock;
use member::{Shared, World};
use probe::Flows;
use report::Totals;
use wire::{LinkSpec, Wire};

const MBIT: f64 = 1e6 / 8.0;
/// The simulator's exact shares cost too much for more.
const FEW: usize = 32;

/// A seeder and receivers on equal links.
#[derive(Debug, Clone)]
struct Scenario {
    receivers: usize,
    chunks: u32,
    /// Of every chunk, or about the average.
    chunk_bytes: u32,
    /// Sizes as content-defined chunking draws them.
    drawn: bool,
    link: LinkSpec,
    /// Half of the uplinks at a quarter of the rate, a fifth at three times.
    mixed: bool,
    /// Neighbours that everybody looks for.
    neighbours: usize,
    config: Config,
    tier: Tier,
    seed: u64,
}

#[derive(Debug)]
struct Outcome {
    finished: Vec<Duration>,
    /// T* of `samara_sim`, which knows no headers.
    bound: Duration,
    trace: u64,
    copies: f64,
    /// Of all bytes on uplinks, what is no chunk.
    overhead: f64,
    dropped: (u64, u64),
    packets: u64,
    totals: Totals,
}

impl Outcome {
    fn last(&self) -> f64 {
        let last = self.finished.iter().max().expect("somebody");
        last.as_secs_f64() / self.bound.as_secs_f64()
    }

    fn median(&self) -> f64 {
        let mut all = self.finished.clone();
        all.sort();
        all[all.len() / 2].as_secs_f64() / self.bound.as_secs_f64()
    }
}

impl Scenario {
    fn equal(receivers: usize, chunks: u32) -> Self {
        Self {
            receivers,
            chunks,
            chunk_bytes: 64 << 10,
            drawn: false,
            link: LinkSpec {
                rate: 40.0 * MBIT,
                burst: 32 << 10,
                queue: 50_000_000,
                delay: 1_000_000,
            },
            mixed: false,
            neighbours: 32,
            config: Config::default(),
            tier: Tier::Elsewhere,
            seed: 1,
        }
    }

    /// Runs it here and in the simulator; how many times as late the last receiver is
    /// here.
    fn compare(&self) -> f64 {
        let outcome = self.run();
        let simulated = self.simulated().run();
        let ratio = outcome.last() / simulated.last();
        println!(
            "seed {}: {} receivers, {} chunks: last {:.3} T*, median {:.3}; simulated {:.3}, {:.3}; ratio {ratio:.3}; \
             copies from the seeder {:.3}; no chunk bytes {:.1} %; {:?} of {} packets dropped; {}",
            self.seed,
            self.receivers,
            self.chunks,
            outcome.last(),
            outcome.median(),
            simulated.last(),
            simulated.median(),
            outcome.copies,
            100.0 * outcome.overhead,
            outcome.dropped,
            outcome.packets,
            outcome.totals,
        );
        ratio
    }

    /// The same for the simulator.
    fn simulated(&self) -> samara_sim::swarm::Scenario {
        let rate = self.link.rate;
        let mut equal = samara_sim::swarm::Scenario::equal(
            self.receivers,
            self.chunks,
            self.chunk_bytes,
            rate,
            rate,
        );
        for (node, times) in equal.nodes.iter_mut().zip(self.uplinks()) {
            node.up *= times;
        }
        samara_sim::swarm::Scenario {
            seed: self.seed,
            config: self.config.clone(),
            neighbours: self.neighbours,
            rtt: Duration::from_nanos(2 * self.link.delay),
            overhead: OVERHEAD,
            sharing: match self.receivers {
                ..=FEW => Sharing::Fluid,
                _ => Sharing::Queue,
            },
            ..equal
        }
    }

    /// How fast each node sends, over the rate of the links.
    fn uplinks(&self) -> Vec<f64> {
        let (slow, fast) = match self.mixed {
            true => (self.receivers / 2, self.receivers.div_ceil(5)),
            false => (0, 0),
        };
        let times = |node: usize| match node {
            0 => 1.0,
            _ if node <= slow => 0.25,
            _ if node <= slow + fast => 3.0,
            _ => 1.0,
        };
        (0..=self.receivers).map(times).collect()
    }

    fn run(&self) -> Outcome {
        let clock = Clock::new();
        clock.runtime().block_on(self.play(&clock))
    }

    async fn play(&self, clock: &Clock) -> Outcome {
        let nodes = self.receivers + 1;
        let world = Arc::new(World {
            clock: clock.clone(),
            wire: Wire::new(clock, self.link, self.uplinks()),
            chunk_sizes: self.sizes(),
            store_delay: Duration::from_micros(500),
            config: self.config.clone(),
            tier: self.tier,
            seed: self.seed,
        });
        let (done, mut finished) = mpsc::channel(nodes);
        let flows: Vec<Flows> = (0..nodes).map(|_| Flows::default()).collect();
        let neighbours = self.acquaintances();
        let members: Vec<Shared> = (0..nodes)
            .map(|node| {
                let dials = neighbours[node].iter().copied().collect();
                let (flows, done) = (&flows[node], done.clone());
                member::start(&world, node, node == 0, dials, flows, done)
            })
            .collect();
        let totals = Arc::default();
        let (watched, seen) = (members.clone(), Arc::clone(&totals));
        tokio::spawn(report::watch(Arc::clone(&world), watched, flows, seen));
        for _ in 0..nodes {
            finished.recv().await;
        }
        let totals = *totals.lock().expect("no panic");
        self.outcome(&world, &members, totals)
    }

    /// Chunks of one size, or as a content's bytes cut them: at level 2 of FastCDC's
    /// normalization a cut is 16 times as likely past the average as before it.
    fn sizes(&self) -> Arc<[u32]> {
        if !self.drawn {
            return vec![self.chunk_bytes; self.chunks as usize].into();
        }
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut left = u64::from(self.chunks) * u64::from(self.chunk_bytes);
        let average = f64::from(self.chunk_bytes);
        let mut sizes = Vec::new();
        while left > 0 {
            let mut uniform = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            let mut exponential = |mean: f64| -f64::ln(1.0 - uniform()) * mean;
            let early = average / 4.0 + exponential(4.0 * average);
            let late = average + exponential(average / 4.0);
            let size = if early < average { early } else { late };
            let size = (size.min(4.0 * average) as u64).min(left);
            sizes.push(size as u32);
            left -= size;
        }
        sizes.into()
    }

    /// Whom each node dials: those of lower number among its neighbours.
    fn acquaintances(&self) -> Vec<BTreeSet<usize>> {
        let nodes = self.receivers + 1;
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut dials = vec![BTreeSet::new(); nodes];
        for node in 0..nodes {
            if nodes <= self.neighbours + 1 {
                dials[node].extend(0..node);
                continue;
            }
            let mut found = 0;
            while found < self.neighbours / 2 {
                let other = (rng.next_u64() % nodes as u64) as usize;
                let (low, high) = (node.min(other), node.max(other));
                if low != high && dials[high].insert(low) {
                    found += 1;
                }
            }
        }
        dials
    }

    fn outcome(&self, world: &World, members: &[Shared], totals: Totals) -> Outcome {
        let pipes: Vec<_> = (0..members.len()).map(|n| world.wire.pipes(n)).collect();
        let finished = members[1..].iter().map(|member| {
            let glimpse = member.lock().expect("no panic");
            glimpse.finished.expect("all are complete")
        });
        let content = f64::from(self.chunks) * f64::from(self.chunk_bytes);
        let sent: u64 = pipes.iter().map(|(up, _)| up.bytes).sum();
        Outcome {
            finished: finished.collect(),
            bound: self.simulated().fluid_bound(),
            trace: world.wire.trace(),
            copies: pipes[0].0.bytes as f64 / content,
            overhead: 1.0 - content * self.receivers as f64 / sent as f64,
            dropped: (
                pipes.iter().map(|(up, _)| up.dropped).sum(),
                pipes.iter().map(|(_, down)| down.dropped).sum(),
            ),
            packets: pipes.iter().map(|(up, _)| up.packets).sum(),
            totals,
        }
    }
}

/// Headers 5.5 %, acknowledgements and messages: what the simulator knows nothing of.
const OVERHEAD: f64 = 0.08;

#[test]
fn the_same_seed_gives_the_same_packets() {
    let run = |seed| {
        let scenario = Scenario {
            seed,
            ..Scenario::equal(5, 48)
        };
        let outcome = scenario.run();
        (outcome.trace, outcome.finished)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).0, run(8).0);
}

#[test]
fn sixteen_receivers_take_as_long_as_simulated() {
    let ratio = Scenario::equal(16, 128).compare();
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}

#[test]
#[ignore = "takes a minute"]
fn two_hundred_receivers_take_as_long_as_simulated() {
    let ratio = Scenario::equal(200, 64).compare();
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}

#[test]
#[ignore = "takes a minute"]
fn mixed() {
    for (seed, drawn) in [(1, false), (1, true)] {
        let scenario = Scenario {
            seed,
            drawn,
            chunk_bytes: 32 << 10,
            mixed: true,
            ..Scenario::equal(16, 1024)
        };
        scenario.compare();
    }
}

/// The table in docs/performance.md: `-- --ignored --nocapture memnet`.
#[test]
#[ignore = "takes minutes, and is for people to read"]
fn table() {
    for (receivers, chunks) in [(8, 1024), (16, 256), (16, 1024), (200, 64)] {
        for seed in 1..=2 {
            let scenario = Scenario {
                seed,
                ..Scenario::equal(receivers, chunks)
            };
            scenario.compare();
        }
    }
    for (seed, drawn) in [(1, false), (2, false), (1, true), (2, true)] {
        println!("mixed uplinks, drawn: {drawn}");
        let scenario = Scenario {
            seed,
            drawn,
            chunk_bytes: 32 << 10,
            mixed: true,
            ..Scenario::equal(16, 2048)
        };
        scenario.compare();
    }
    for (receivers, kib, mib) in [
        (8, 64, 64),
        (8, 32, 64),
        (16, 64, 64),
        (16, 32, 64),
        (32, 64, 32),
    ] {
        for seed in 1..=2 {
            println!("sizes drawn, {kib} KiB on average:");
            let scenario = Scenario {
                seed,
                chunk_bytes: kib << 10,
                drawn: true,
                ..Scenario::equal(receivers, (mib << 10) / kib)
            };
            scenario.compare();
        }
    }
}
