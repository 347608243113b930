//! Runs the state machines in a made-up world, from the command line.

mod cli;

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
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
    Swarm(Box<cli::swarm::Args>),
    /// What is left of contents that members keep in shares, while some are away.
    Archive(cli::archive::Args),
}

fn main() -> ExitCode {
    match carry_out(Cli::parse().command, &mut io::stdout().lock()) {
        Ok(code) => code,
        Err(error) => match unread(error) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("cannot write to standard output: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// An error is of `out`, and breaks off what would be told there.
fn carry_out(command: Command, out: &mut impl Write) -> io::Result<ExitCode> {
    let checked = match &command {
        Command::Graph(args) => args.check(),
        Command::GraphCost(args) => args.check(),
        Command::Archive(args) => args.check(),
        // Together with what the file says.
        Command::Swarm(_) => Ok(()),
    };
    if let Err(error) = checked {
        return Ok(misused(&error));
    }
    match command {
        Command::Graph(args) => cli::graph::run(&args, out),
        Command::GraphCost(args) => cli::cost::run(&args, out),
        Command::Archive(args) => cli::archive::run(&args, out),
        Command::Swarm(args) => swarm(&args, out),
    }
}

fn swarm(args: &cli::swarm::Args, out: &mut impl Write) -> io::Result<ExitCode> {
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file);
        text.map_err(|error| format!("{}: {error}", file.display()))
    };
    let text = args.scenario.as_ref().map(read).transpose();
    let report = match text.and_then(|text| cli::swarm::run(args, text.as_deref())) {
        Ok(report) => report,
        Err(why) => return Ok(misused(&why)),
    };
    // The run is done: nothing is saved by not drawing it.
    out.write_all(report.text.as_bytes()).or_else(unread)?;
    if let Some((file, svg)) = report.plot
        && let Err(error) = std::fs::write(&file, svg)
    {
        eprintln!("{}: {error}", file.display());
        return Ok(ExitCode::FAILURE);
    }
    Ok(report.code)
}

/// Whoever wrote the command has to write another one.
fn misused(why: &impl Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::from(2)
}

/// Who reads with `head` has had enough, which is no failure.
fn unread(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
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

/// Most memory that this process was ever resident with, in bytes, where Linux says it.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
