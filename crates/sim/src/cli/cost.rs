//! `samara-sim graph-cost`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use samara_sim::{
    graph::{held, made_up, reconcile},
    limits::{OutOfRange, RECORDS, within},
};

/// Bytes to compare copies, time and memory to hold one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Records of the copies.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000])]
    records: Vec<u64>,
}

impl Args {
    /// Whether every value is within its bounds.
    pub(crate) fn check(&self) -> Result<(), OutOfRange> {
        let mut records = self.records.iter();
        records.try_for_each(|n| within("records", *n as f64, RECORDS))
    }
}

pub(crate) fn run(args: &Args, out: &mut impl Write) -> io::Result<ExitCode> {
    for n in &args.records {
        let before = crate::resident();
        let (graph, took) = crate::timed(|| held(*n));
        let memory = crate::resident().zip(before).map(|(now, then)| now - then);
        let memory = memory.unwrap_or(0) as f64;
        let (_, making) = crate::timed(|| std::hint::black_box(made_up(*n)));
        writeln!(
            out,
            "{n} records restored in {:.3} s, {:.0} MB, {:.0} bytes each",
            took.saturating_sub(making).as_secs_f64(),
            memory / 1e6,
            memory / *n as f64,
        )?;
        drop(graph);
    }
    for n in &args.records {
        for more in [0, 1, 100, 10_000] {
            for scattered in [false, true] {
                let common = n.saturating_sub(more);
                let (cost, took) = crate::timed(|| reconcile(common, more, scattered));
                writeln!(
                    out,
                    "{more} of {n} lacking, {}: {} bytes, {} of them to reconcile in {} rounds; {} records; {:.3} s",
                    if scattered { "scattered" } else { "recent" },
                    cost.bytes,
                    cost.reconciling,
                    cost.rounds,
                    cost.records,
                    took.as_secs_f64(),
                )?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
