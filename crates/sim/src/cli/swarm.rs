//! `samara-sim swarm`.

use std::{process::ExitCode, time::Duration};

use samara_sim::swarm::Scenario;

/// One seeder and receivers with equal links.
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
    /// Milliseconds of a round trip.
    #[arg(long, default_value_t = 2.0)]
    rtt_ms: f64,
    /// The same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let bytes_per_second = |mbit: f64| mbit * 1e6 / 8.0;
    let scenario = Scenario {
        rtt: Duration::from_secs_f64(args.rtt_ms / 1e3),
        seed: args.seed,
        ..Scenario::equal(
            args.peers,
            args.chunks,
            args.chunk_kib * 1024,
            bytes_per_second(args.up),
            bytes_per_second(args.down),
        )
    };
    let outcome = scenario.run();
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
    match outcome.is_complete() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
