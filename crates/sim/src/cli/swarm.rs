//! `samara-sim swarm`.

use std::{path::PathBuf, process::ExitCode};

use super::plot;
use samara_sim::{
    limits::{OutOfRange, SITES, within},
    swarm::{Behaviour, Early, Group, Outcome, ScenarioFile, Sharing, SitePart},
};

/// A seeder and receivers; node 0 is the seeder. Options change what the file says,
/// and a file changes the defaults.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A scenario as TOML; `scenarios/` of this crate has some.
    #[arg(long, value_name = "FILE")]
    pub(crate) scenario: Option<PathBuf>,
    /// Receivers [default: 8].
    #[arg(long)]
    peers: Option<usize>,
    /// Chunks of the content [default: 1024].
    #[arg(long)]
    chunks: Option<u32>,
    /// KiB of a chunk [default: 64].
    #[arg(long)]
    chunk_kib: Option<u32>,
    /// Mbit/s that each node sends [default: 40].
    #[arg(long, allow_negative_numbers = true)]
    up: Option<f64>,
    /// Mbit/s that each node receives [default: 40].
    #[arg(long, allow_negative_numbers = true)]
    down: Option<f64>,
    /// Mbit/s that the seeder sends; else as the others.
    #[arg(long, allow_negative_numbers = true)]
    seeder_up: Option<f64>,
    /// Half of the receivers send at a quarter of the rate, a fifth at three times.
    #[arg(long)]
    unequal: bool,
    /// Milliseconds of a round trip [default: 2].
    #[arg(long, allow_negative_numbers = true)]
    rtt_ms: Option<f64>,
    /// Per cent of every link that headers, acknowledgements and messages take
    /// [default: 0].
    #[arg(long, allow_negative_numbers = true)]
    overhead: Option<f64>,
    /// Sites that the receivers are spread over evenly; the seeder is in none.
    #[arg(long)]
    sites: Option<usize>,
    /// Mbit/s of each site's way out, and of its way in.
    #[arg(long, default_value_t = 20.0, allow_negative_numbers = true)]
    site_way: f64,
    /// Milliseconds of a round trip within a site [default: 0.3].
    #[arg(long, allow_negative_numbers = true)]
    site_rtt_ms: Option<f64>,
    /// Neighbours that every node looks for; everybody knows all if there are no more
    /// [default: 32].
    #[arg(long)]
    neighbours: Option<usize>,
    /// Receivers come within so many milliseconds; 0: all at once.
    #[arg(long, allow_negative_numbers = true)]
    spread_ms: Option<f64>,
    /// Milliseconds until receivers that are there know each other.
    #[arg(long, allow_negative_numbers = true)]
    meet_ms: Option<f64>,
    /// Per cent of the receivers that send garbage.
    #[arg(long, allow_negative_numbers = true)]
    liars: Option<f64>,
    /// Per cent of the receivers that disappear, each at any time before the bound.
    #[arg(long, allow_negative_numbers = true)]
    churn: Option<f64>,
    /// Receivers leave as soon as they are done.
    #[arg(long)]
    selfish: bool,
    /// The seeder leaves when it has sent so many copies, parity shards included.
    #[arg(long, allow_negative_numbers = true)]
    seeder_leaves: Option<f64>,
    /// Per cent of the receivers that disappear together with the seeder.
    #[arg(long, allow_negative_numbers = true)]
    leave_with_it: Option<f64>,
    /// Parity: M shards for every K chunks.
    #[arg(long, value_name = "M/K")]
    parity: Option<String>,
    /// What is to be early [default: last].
    #[arg(long)]
    policy: Option<Early>,
    /// One chunk at a time on every pipe, for crowds, instead of fluid shares.
    #[arg(long)]
    queue: bool,
    /// Upload slots of every node.
    #[arg(long)]
    slots: Option<usize>,
    /// The same seed gives the same run [default: 1].
    #[arg(long)]
    seed: Option<u64>,
    /// Writes peers complete over time, and the fluid bound, as an SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// What a run leaves behind.
pub(crate) struct Report {
    /// For standard output.
    pub(crate) text: String,
    pub(crate) code: ExitCode,
    /// A file to be written, and what is in it.
    pub(crate) plot: Option<(PathBuf, String)>,
}

/// Tenths of the bound that are told one by one: three times the bound.
const TENTHS: usize = 30;

/// Runs it and says what came of it. `scenario` is the text of the file; an error is
/// for whoever wrote it.
pub(crate) fn run(args: &Args, scenario: Option<&str>) -> Result<Report, String> {
    let mut file: ScenarioFile = match scenario {
        Some(text) => text.parse().map_err(|e| format!("{e}"))?,
        None => ScenarioFile::default(),
    };
    change(&mut file, args).map_err(|error| error.to_string())?;
    let scenario = file.scenario().map_err(|error| error.to_string())?;
    let (outcome, took) = crate::timed(|| scenario.run());
    let mut text = format!(
        "peers {}  T* {:.3} s  {}  copies from seeder {:.3}  messages {} ({:.2} % of bytes)  events {}  CPU {:.1} s  memory {} MiB  trace {:016x}\n",
        file.peers,
        outcome.bound.as_secs_f64(),
        times(&outcome),
        outcome.copies(0),
        outcome.messages,
        100.0 * outcome.message_bytes as f64 / (outcome.bytes * file.peers as f64),
        outcome.events,
        took.as_secs_f64(),
        crate::peak().unwrap_or(0) >> 20,
        outcome.trace,
    );
    let used = used(&outcome.used());
    text += &format!("uplinks used in each tenth of T*, %: {used}\n");
    let waits = outcome.waits(0.8);
    if let Some(longest) = waits.last() {
        text += &format!(
            "wait before reading at 80 % of the rate received, % of a receiver's time: median {:.1}  longest {:.1}\n",
            100.0 * waits[waits.len() / 2],
            100.0 * longest,
        );
    }
    if !file.sites.is_empty() {
        let crossed: Vec<_> = outcome.crossed.iter().map(|b| b / outcome.bytes).collect();
        text += &format!("copies into each site {crossed:.3?}\n");
    }
    let code = match outcome.is_complete() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    let title = format!("{} peers, {} chunks", file.peers, file.content.chunks);
    let plot = args.plot.clone();
    Ok(Report {
        text,
        code,
        plot: plot.map(|file| (file, plot::svg(&outcome, &title))),
    })
}

/// When receivers were done; where not all were, of those who were.
fn times(outcome: &Outcome) -> String {
    let (done, all) = outcome.complete();
    let of_most = || {
        let (median, mean) = (outcome.median(), outcome.mean());
        format!("median {median:.3} T*  mean {mean:.3} T*")
    };
    match done {
        _ if outcome.is_complete() => format!("last {:.3} T*  {}", outcome.last(), of_most()),
        0 => format!("0 of {all} complete"),
        _ => format!("{done} of {all} complete, of these: {}", of_most()),
    }
}

/// Per cent of each of the first tenths, and of the others together.
fn used(tenths: &[f64]) -> String {
    let per_cent = |part: f64| format!("{:.0}", 100.0 * part);
    let (first, others) = tenths.split_at(tenths.len().min(TENTHS));
    let first: Vec<_> = first.iter().copied().map(per_cent).collect();
    let mut text = first.join(" ");
    if !others.is_empty() {
        let mean = others.iter().sum::<f64>() / others.len() as f64;
        text += &format!(" … {} on average in {} more", per_cent(mean), others.len());
    }
    text
}

/// Changes what the options name.
fn change(file: &mut ScenarioFile, args: &Args) -> Result<(), OutOfRange> {
    fn set<T: Clone>(part: &mut T, option: &Option<T>) {
        if let Some(value) = option {
            *part = value.clone();
        }
    }
    set(&mut file.peers, &args.peers);
    set(&mut file.neighbours, &args.neighbours);
    set(&mut file.meet_ms, &args.meet_ms);
    set(&mut file.spread_ms, &args.spread_ms);
    set(&mut file.churn, &args.churn);
    set(&mut file.seed, &args.seed);
    set(&mut file.policy, &args.policy);
    set(&mut file.site_rtt_ms, &args.site_rtt_ms);
    set(&mut file.content.chunks, &args.chunks);
    set(&mut file.content.chunk_kib, &args.chunk_kib);
    set(&mut file.link.up, &args.up);
    set(&mut file.link.down, &args.down);
    set(&mut file.link.rtt_ms, &args.rtt_ms);
    set(&mut file.link.overhead, &args.overhead);
    set(&mut file.seeder.takes_along, &args.leave_with_it);
    file.slots = args.slots.or(file.slots);
    file.seeder.up = args.seeder_up.or(file.seeder.up);
    file.seeder.leaves = args.seeder_leaves.or(file.seeder.leaves);
    if args.parity.is_some() {
        file.content.parity.clone_from(&args.parity);
    }
    file.selfish |= args.selfish;
    if args.queue {
        file.sharing = Sharing::Queue;
    }
    if let Some(sites) = args.sites {
        // Before there are so many of them.
        within("the number of sites", sites as f64, SITES)?;
        let site = SitePart {
            name: String::new(),
            out: args.site_way,
            back: args.site_way,
        };
        file.sites = vec![site; sites];
    }
    if args.unequal {
        for (per_cent, times) in [(50.0, 0.25), (20.0, 3.0)] {
            file.receivers.push(Group {
                per_cent,
                up: Some(file.link.up * times),
                ..Group::default()
            });
        }
    }
    if let Some(per_cent) = args.liars {
        file.receivers.push(Group {
            per_cent,
            behaviour: Behaviour::Garbage,
            ..Group::default()
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_is_not_done_is_counted() {
        let mut file = ScenarioFile {
            peers: 4,
            ..ScenarioFile::default()
        };
        file.content.chunks = 8;
        let mut outcome = file.scenario().unwrap().run();
        assert!(times(&outcome).starts_with("last "), "{}", times(&outcome));
        let bound = outcome.bound;
        outcome.finished = vec![Some(Duration::ZERO), Some(bound), None, None, None];
        let told = "1 of 4 complete, of these: median 1.000 T*  mean 1.000 T*";
        assert_eq!(times(&outcome), told);
        // Who disappeared is not waited for.
        outcome.gone[2] = true;
        outcome.finished[1] = None;
        assert_eq!(times(&outcome), "0 of 3 complete");
    }

    #[test]
    fn a_long_run_is_told_in_one_line() {
        assert_eq!(used(&[0.5, 1.0]), "50 100");
        let long = used(&[0.25; 1000]);
        assert!(
            long.ends_with("25 25 … 25 on average in 970 more"),
            "{long}"
        );
        assert_eq!(long.split(' ').filter(|word| *word == "25").count(), 31);
    }
}
