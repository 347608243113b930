//! Runs the state machines in a made-up world, from the command line.

mod cli;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Parser, Subcommand};

/// The engine's state machines in virtual time.
#[derive(Debug, Parser)]
#[command(name = "samara-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// How records reach a channel's members, whatever happens to them.
    Graph(cli::graph::Args),
    /// What it costs to hold records and to compare them.
    GraphCost(cli::cost::Args),
    /// Who sends a content's chunks to whom: a seeder and many receivers.
    Swarm(cli::swarm::Args),
    /// What is left of contents that members keep in shares, while some are away.
    Archive(cli::archive::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Graph(args) => cli::graph::run(&args),
        Command::GraphCost(args) => cli::cost::run(&args),
        Command::Archive(args) => cli::archive::run(&args),
        Command::Swarm(args) => {
            let report = cli::swarm::run(&args);
            if let Some((file, svg)) = report.plot
                && let Err(error) = std::fs::write(&file, svg)
            {
                eprintln!("{}: {error}", file.display());
                return ExitCode::FAILURE;
            }
            report.code
        }
    }
}

/// Does something and says how much processor time it took, so that what else the
/// machine does shows less; the time that passed where Linux does not say it.
fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let (began, busy) = (Instant::now(), busy());
    let result = f();
    let took = busy.zip(self::busy()).map(|(then, now)| now - then);
    (result, took.unwrap_or_else(|| began.elapsed()))
}

/// Processor time of this thread so far.
fn busy() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = stat.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// Resident memory of this process in bytes, where Linux says it.
fn resident() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let resident: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    Some(resident * 4096)
}
