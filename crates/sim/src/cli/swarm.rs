//! `samara-sim swarm`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use super::plot;
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use samara_content::Parity;
use samara_sim::swarm::{Behaviour, Fault, Scenario, Sharing, SitePipes, When};

/// A seeder and receivers; node 0 is the seeder.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Receivers.
    #[arg(long, default_value_t = 8)]
    peers: usize,
    /// Chunks of the content.
    #[arg(long, default_value_t = 1024)]
    chunks: u32,
    /// KiB of a chunk.
    #[arg(long, default_value_t = 64)]
    chunk_kib: u32,
    /// Mbit/s that each node sends.
    #[arg(long, default_value_t = 40.0)]
    up: f64,
    /// Mbit/s that each node receives.
    #[arg(long, default_value_t = 40.0)]
    down: f64,
    /// Mbit/s that the seeder sends; else as the others.
    #[arg(long)]
    seeder_up: Option<f64>,
    /// Half of the receivers send at a quarter of the rate, a fifth at three times.
    #[arg(long)]
    unequal: bool,
    /// Milliseconds of a round trip.
    #[arg(long, default_value_t = 2.0)]
    rtt_ms: f64,
    /// Sites that the receivers are spread over evenly; the seeder is in none.
    #[arg(long, default_value_t = 0)]
    sites: usize,
    /// Mbit/s of each site's way out, and of its way in.
    #[arg(long, default_value_t = 20.0)]
    site_way: f64,
    /// Milliseconds of a round trip within a site.
    #[arg(long, default_value_t = 0.3)]
    site_rtt_ms: f64,
    /// Neighbours that every node looks for; everybody knows all if there are no more.
    #[arg(long, default_value_t = 32)]
    neighbours: usize,
    /// Receivers come within so many milliseconds; 0: all at once.
    #[arg(long, default_value_t = 0.0)]
    spread_ms: f64,
    /// Milliseconds until receivers that are there know each other.
    #[arg(long, default_value_t = 0.0)]
    meet_ms: f64,
    /// Per cent of the receivers that send garbage.
    #[arg(long, default_value_t = 0.0)]
    liars: f64,
    /// Per cent of the receivers that disappear, each at any time before the bound.
    #[arg(long, default_value_t = 0.0)]
    churn: f64,
    /// Receivers leave as soon as they are done.
    #[arg(long)]
    selfish: bool,
    /// The seeder leaves when it has sent so many copies, parity shards included.
    #[arg(long)]
    seeder_leaves: Option<f64>,
    /// Per cent of the receivers that disappear together with the seeder.
    #[arg(long, default_value_t = 0.0)]
    leave_with_it: f64,
    /// Parity: M shards for every K chunks.
    #[arg(long, value_name = "M/K")]
    parity: Option<Parity>,
    /// One chunk at a time on every pipe, for crowds, instead of fluid shares.
    #[arg(long)]
    queue: bool,
    /// Upload slots of every node.
    #[arg(long)]
    slots: Option<usize>,
    /// The same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes peers complete over time, and the fluid bound, as an SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// What a run leaves behind.
pub(crate) struct Report {
    pub(crate) code: ExitCode,
    /// A file to be written, and what is in it.
    pub(crate) plot: Option<(PathBuf, String)>,
}

/// Runs it and prints what came of it.
pub(crate) fn run(args: &Args) -> Report {
    let outcome = scenario(args).run();
    println!(
        "peers {}  T* {:.3} s  last {:.3} T*  median {:.3} T*  copies from seeder {:.3}  messages {} ({:.2} % of bytes)  events {}  trace {:016x}",
        args.peers,
        outcome.bound.as_secs_f64(),
        outcome.last(),
        outcome.median(),
        outcome.copies(0),
        outcome.messages,
        100.0 * outcome.message_bytes as f64 / (outcome.bytes * args.peers as f64),
        outcome.events,
        outcome.trace,
    );
    if args.sites > 0 {
        let crossed: Vec<_> = outcome.crossed.iter().map(|b| b / outcome.bytes).collect();
        println!("copies into each site {crossed:.3?}");
    }
    let code = match outcome.is_complete() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    let title = format!("{} peers, {} chunks", args.peers, args.chunks);
    let plot = args.plot.clone();
    Report {
        code,
        plot: plot.map(|file| (file, plot::svg(&outcome, &title))),
    }
}

fn scenario(args: &Args) -> Scenario {
    let rate = |mbit: f64| mbit * 1e6 / 8.0;
    let millis = |ms: f64| Duration::from_secs_f64(ms / 1e3);
    let mut scenario = Scenario {
        rtt: millis(args.rtt_ms),
        site_rtt: millis(args.site_rtt_ms),
        meet: millis(args.meet_ms),
        neighbours: args.neighbours,
        parity: args.parity,
        seed: args.seed,
        sharing: match args.queue {
            true => Sharing::Queue,
            false => Sharing::Fluid,
        },
        ..Scenario::equal(
            args.peers,
            args.chunks,
            args.chunk_kib * 1024,
            rate(args.up),
            rate(args.down),
        )
    };
    if let Some(slots) = args.slots {
        scenario.config.upload_slots = slots;
    }
    scenario.nodes[0].up = rate(args.seeder_up.unwrap_or(args.up));
    let way = SitePipes {
        out: rate(args.site_way),
        back: rate(args.site_way),
    };
    scenario.sites = vec![way; args.sites];
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let share = |per_cent: f64, i: usize| {
        // Spread evenly, so that a small share of few peers is not nobody.
        let upto = |i: usize| (i as f64 * per_cent / 100.0).floor();
        upto(i) > upto(i - 1)
    };
    for i in 1..=args.peers {
        let node = &mut scenario.nodes[i];
        if args.sites > 0 {
            node.site = Some((i - 1) % args.sites);
        }
        if args.unequal {
            node.up *= match i % 10 {
                0 | 5 => 3.0,
                1 | 3 | 6 | 7 | 9 => 0.25,
                _ => 1.0,
            };
        }
        node.start = millis(args.spread_ms * (i - 1) as f64 / args.peers as f64);
        if share(args.liars, i) {
            node.behaviour = Behaviour::Garbage;
        }
    }
    let bound = scenario.fluid_bound();
    for node in 1..=args.peers {
        if rng.random::<f64>() * 100.0 < args.churn {
            let when = When::At(bound.mul_f64(rng.random()));
            scenario.faults.push(Fault { node, when });
        }
        if args.selfish {
            let when = When::Complete;
            scenario.faults.push(Fault { node, when });
        }
    }
    if let Some(copies) = args.seeder_leaves {
        let all = scenario.stripes().map_or(args.chunks, |s| s.all());
        let when = When::Sent((copies * f64::from(all)) as u64);
        scenario.faults.push(Fault { node: 0, when });
        let mut receivers: Vec<usize> = (1..=args.peers).collect();
        let gone = (args.leave_with_it / 100.0 * args.peers as f64).round() as usize;
        let (with_it, _) = receivers.partial_shuffle(&mut rng, gone);
        let when = When::Gone(0);
        let faults = with_it.iter().map(|node| Fault { node: *node, when });
        scenario.faults.extend(faults);
    }
    scenario
}
