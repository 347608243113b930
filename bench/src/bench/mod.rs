//! The benches: what they share is here, topology, content and columns of each in its own file.

mod import;
mod limits;
mod pair;
mod seeders;
mod shaped;
mod sites;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    args::{Bench, Common, Uplinks},
    content::Content,
    error::{Context, Error, Result},
    interrupt, limits as bounds,
    machine::{Machine, wait_quiet},
    measure::{self, Run, Setting},
    net::Topology,
    report::{Document, Failure, say},
    scratch::Scratch,
    svg::{self, Bar},
    tools::{self, Job, Kind, Tool},
};

const KIB: usize = 1 << 10;
const MIB: u64 = 1 << 20;

/// What one invocation shares between its runs.
struct Session<'a> {
    common: &'a Common,
    tools: Vec<Box<dyn Tool>>,
    machine: Machine,
    failures: Vec<Failure>,
}

/// What is transferred where.
struct Transfers<'a> {
    topology: &'a Topology,
    /// The first so many places have the content before the clock starts.
    seeders: usize,
    /// Piece length of the BitTorrent tools, in bytes.
    piece: usize,
    /// Receivers stay when they are done.
    keep_serving: bool,
    /// Longest run of a tool that does not hang, in seconds, unless the command line says otherwise.
    timeout: f64,
}

/// Runs a bench to its end. The error of a measured tool is in the table; Samara's own is returned at the end.
pub(crate) fn run(bench: &Bench, samara: impl FnOnce(&Common) -> Result<PathBuf>) -> Result<()> {
    let common = bench.common();
    let machine = Machine::describe(&common.cc);
    say(&machine)?;
    let mut session = Session {
        tools: tools::find(&common.tools(bench.default_tools()), || samara(common))?,
        common,
        machine,
        failures: Vec::new(),
    };
    match bench {
        Bench::Pair(args) => session.pair(args)?,
        Bench::Small(args) => session.small(args)?,
        Bench::Import(args) => session.import(args)?,
        Bench::Origin(args) => {
            session.shaped("origin", &args.links, Uplinks::Equal, &[args.receivers])?;
        }
        Bench::Swarm(args) => session.shaped("swarm", &args.links, args.uplinks, &args.n)?,
        Bench::Sites(args) => session.sites(args)?,
        Bench::Seeders(args) => session.seeders(args)?,
        Bench::Limits(args) => session.limits(args)?,
    }
    match session
        .failures
        .iter()
        .find(|failure| failure.tool == "samara")
    {
        Some(failure) => Err(Error::Tool(format!("samara: {}", failure.message))),
        None => Ok(()),
    }
}

impl Session<'_> {
    /// Every tool in turn, `repeat` times over, the order rotated so that none is always the first.
    /// A tool that fails is not tried again.
    fn interleave<R>(
        &mut self,
        receivers: usize,
        mut attempt: impl FnMut(&dyn Tool) -> Result<Option<R>>,
        line: impl Fn(&R) -> String,
    ) -> Result<Vec<R>> {
        let (mut results, count) = (Vec::new(), self.tools.len());
        let mut failed = vec![false; count];
        for repeat in 0..self.common.repeat {
            for turn in 0..count {
                let i = (turn + repeat) % count;
                let tool = self.tools[i].name();
                if failed[i] {
                    continue;
                }
                interrupt::check()?;
                let quiet = wait_quiet(Duration::from_secs(self.common.quiet))?;
                let note = if quiet { "" } else { "  (the machine is busy)" };
                match attempt(self.tools[i].as_ref()) {
                    Ok(Some(result)) => {
                        say(format_args!(
                            "  {tool:<13} #{} {}{note}",
                            repeat + 1,
                            line(&result)
                        ))?;
                        results.push(result);
                    }
                    Ok(None) => failed[i] = true,
                    Err(Error::Tool(message)) => {
                        say(format_args!(
                            "  {tool:<13} #{} failed: {message}",
                            repeat + 1
                        ))?;
                        failed[i] = true;
                        self.failures.push(Failure {
                            tool,
                            receivers,
                            message,
                        });
                    }
                    Err(other) => return Err(other),
                }
            }
        }
        Ok(results)
    }

    fn timeout(&self, default: f64) -> Duration {
        Duration::from_secs_f64(self.common.timeout.unwrap_or(default))
    }

    /// Every tool in turn over `plan`'s topology.
    fn transfers(
        &mut self,
        scratch: &Scratch,
        content: &Content,
        plan: &Transfers<'_>,
    ) -> Result<Vec<Run>> {
        let (topology, seeders) = (plan.topology, plan.seeders);
        let shared = scratch.folder("shared")?;
        let logs = self.common.logs.clone();
        let job = Job {
            content,
            shared: &shared,
            tracker: format!(
                "http://{}:{}/announce",
                topology.tracker.address,
                bounds::TRACKER_PORT
            ),
            keep_serving: plan.keep_serving,
            piece: plan.piece,
        };
        let setting = Setting {
            topology,
            seeders,
            scratch,
            logs: logs.as_deref(),
            timeout: self.timeout(plan.timeout),
        };
        let attempt = |tool: &dyn Tool| {
            if seeders > 1 && !tool.is_swarm() {
                return Ok(None);
            }
            content.warm()?;
            measure::transfer(tool, &job, &setting).map(Some)
        };
        let line = |run: &Run| {
            let copies = |sent: u64| format!("{:.3}", sent as f64 / run.bytes as f64);
            let crossed: Vec<String> = run.crossed.iter().map(|&sent| copies(sent)).collect();
            let crossed = match crossed.is_empty() {
                true => String::new(),
                false => format!("  into sites {}", crossed.join(" ")),
            };
            format!(
                "{:>6.2} s  {:>5.0} MB/s  sent {}{crossed}  foreign {:.2} s",
                run.seconds,
                (run.bytes * run.receivers as u64) as f64 / run.seconds / 1e6,
                copies(run.sender_sent),
                run.foreign_cpu
            )
        };
        self.interleave(topology.places.len() - seeders, attempt, line)
    }

    fn chart(&self, title: &str, unit: &str, bars: &[Bar]) -> String {
        let subtitle = format!("{}; median of {}", self.machine, self.common.repeat);
        svg::chart(title, &subtitle, unit, bars)
    }

    /// Files first: they stay when nobody reads the table to its end.
    fn write<R: Serialize>(
        &self,
        bench: &str,
        parameters: Value,
        runs: &[R],
        medians: Value,
        (title, table): (&str, &str),
        chart: impl FnOnce() -> String,
    ) -> Result<()> {
        if let Some(path) = &self.common.json {
            Document {
                bench,
                at: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |d| d.as_secs()),
                machine: &self.machine,
                parameters,
                versions: tools::versions(&self.tools),
                runs,
                medians,
                failures: &self.failures,
            }
            .write(path)?;
        }
        if let Some(path) = &self.common.svg {
            fs::write(path, chart()).on("writing", path)?;
        }
        say(format_args!("\n{title}, median of {}", self.common.repeat))?;
        say(table.trim_end())?;
        for failure in &self.failures {
            say(format_args!("{} failed: {}", failure.tool, failure.message))?;
        }
        Ok(())
    }
}

fn bar(label: String, value: f64, text: String, kind: Kind) -> Bar {
    Bar {
        label,
        value,
        text,
        accent: kind == Kind::Samara,
    }
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |v| format!("{v:.2}×"))
}
