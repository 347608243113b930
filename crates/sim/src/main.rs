//! Runs the state machines in a made-up world, from the command line.

mod cli;

use std::process::ExitCode;

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
    /// Who sends a content's chunks to whom: a seeder and many receivers.
    Swarm(cli::swarm::Args),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Swarm(args) => cli::swarm::run(&args).1,
    }
}
