//! `samara-sim graph`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use samara_sim::{
    graph::Scenario,
    limits::{MEMBERS, OutOfRange, RECORDS, within},
};

/// A channel's members in virtual time, each run done twice and compared.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Members of the channel.
    #[arg(long, default_value_t = 1000)]
    members: usize,
    /// What happens to them; all that can, if it is left out.
    #[arg(long)]
    scenario: Option<Name>,
    /// Records of each half of a partition.
    #[arg(long, default_value_t = 1000)]
    records: usize,
    /// The same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run only once.
    #[arg(long)]
    once: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Name {
    /// Records in a warm overlay, then 30 % fail at once.
    Spread,
    /// Two halves for an hour.
    Partition,
    /// Clocks differ by up to five minutes either way.
    Clocks,
    /// All start again at once.
    Restart,
    /// The creator leaves, newcomers join.
    Creator,
    /// Nothing happens.
    Idle,
}

impl Args {
    /// Whether every value is within its bounds.
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        within("members", self.members as f64, MEMBERS)?;
        within("records", self.records as f64, RECORDS)
    }
}

pub(crate) fn run(args: &Args, out: &mut impl Write) -> io::Result<ExitCode> {
    let records = args.records;
    let scenario = |name| match name {
        Name::Spread => Scenario::Spread,
        Name::Partition => Scenario::Partition { records },
        Name::Clocks => Scenario::Clocks,
        Name::Restart => Scenario::Restart,
        Name::Creator => Scenario::Creator,
        Name::Idle => Scenario::Idle,
    };
    let all = <Name as clap::ValueEnum>::value_variants();
    let chosen = args.scenario.map_or(all.to_vec(), |one| vec![one]);
    let mut code = ExitCode::SUCCESS;
    for name in chosen {
        let (outcome, took) = crate::timed(|| scenario(name).run(args.members, args.seed));
        writeln!(
            out,
            "{name:?}: {} members, seed {}, {} events, trace {:016x}, {:.0} s",
            args.members,
            args.seed,
            outcome.events,
            outcome.trace,
            took.as_secs_f64(),
        )?;
        for (figure, value) in &outcome.figures {
            writeln!(out, "  {figure}: {value:.5}")?;
        }
        for failure in &outcome.failures {
            writeln!(out, "  FAILED: {failure}")?;
            code = ExitCode::FAILURE;
        }
        if !args.once && scenario(name).run(args.members, args.seed) != outcome {
            writeln!(
                out,
                "  FAILED: the second run with this seed was another one"
            )?;
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}
