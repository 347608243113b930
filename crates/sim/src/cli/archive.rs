//! `samara-sim archive`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use samara_content::Parity;
use samara_sim::{
    archive::Archive,
    limits::{CONTENTS, KEEPERS, OutOfRange, PER_CENT, ROUNDS, within},
};

/// What is left of archived contents that members keep in shares, over how many of
/// the members are there and how the contents are divided.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Members that keep shares.
    #[arg(long, default_value_t = 30)]
    members: usize,
    /// Archived contents.
    #[arg(long, default_value_t = 50)]
    contents: usize,
    /// Divisions to compare, as M/K; 2/1 is three full copies.
    #[arg(
        long,
        value_name = "M/K",
        value_delimiter = ',',
        default_value = "2/1,10/5,20/10,15/15,10/20,4/26"
    )]
    parity: Vec<Parity>,
    /// Per cent of the members that are there.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "90,80,70,60,50,40,30",
        allow_negative_numbers = true
    )]
    there: Vec<f64>,
    /// How often it is drawn who is there.
    #[arg(long, default_value_t = 1000)]
    rounds: usize,
    /// The same seed gives the same table.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Args {
    /// Whether every value is within its bounds.
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        within("members", self.members as f64, KEEPERS)?;
        within("contents", self.contents as f64, CONTENTS)?;
        within("rounds", self.rounds as f64, ROUNDS)?;
        let mut there = self.there.iter();
        there.try_for_each(|there| within("there", *there, PER_CENT))
    }
}

/// Prints a table in Markdown: contents recovered on average, and in the worst round.
pub(crate) fn run(args: &Args, out: &mut impl Write) -> io::Result<ExitCode> {
    write!(out, "| parity | any | storage |")?;
    for there in &args.there {
        write!(out, " {there} % there |")?;
    }
    writeln!(out, "\n|---|---|---|{}", "---|".repeat(args.there.len()))?;
    for parity in &args.parity {
        let archive = Archive {
            members: args.members,
            contents: args.contents,
            parity: *parity,
            rounds: args.rounds,
            seed: args.seed,
        };
        let (any, of) = (parity.chunks(), parity.width());
        let storage = archive.storage();
        write!(out, "| {parity} | {any} of {of} | {storage:.2} |")?;
        for there in &args.there {
            let recovered = archive.run(there / 100.0);
            write!(out, " {:.1} ({}) |", recovered.mean, recovered.worst)?;
        }
        writeln!(out)?;
    }
    Ok(ExitCode::SUCCESS)
}
