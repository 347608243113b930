//! The five benches: which topology, which content, which tools, which columns.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    args::{Bench, Common},
    content::Content,
    error::{Error, Result},
    interrupt, limits,
    machine::{Machine, wait_quiet},
    measure::{self, Import, Run, Setting},
    net::{Rates, Topology},
    report::{Document, Failure, each, median, table},
    scratch::Scratch,
    summary::{Summary, fluid_bound, summarise},
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

/// Runs a bench to its end. The error of a measured tool is in the table; Samara's own is returned at the end.
pub(crate) fn run(bench: &Bench, samara: impl FnOnce(&Common) -> Result<PathBuf>) -> Result<()> {
    let common = bench.common();
    let machine = Machine::describe(&common.cc);
    println!("{machine}");
    let mut session = Session {
        tools: tools::find(&common.tools(bench.default_tools()), || samara(common))?,
        common,
        machine,
        failures: Vec::new(),
    };
    match bench {
        Bench::Pair(args) => {
            let scratch = Scratch::create(
                &common.scratch,
                2 * args.size_mib * MIB + 2 * limits::WARM_SLACK,
            )?;
            let content = Content::file(&scratch.folder("content")?, args.size_mib * MIB)?;
            let title = format!("{} MiB to one receiver", args.size_mib);
            session.pair(
                &scratch,
                &content,
                args.mtu,
                args.piece_kib * KIB,
                &title,
                "pair",
            )?;
        }
        Bench::Small(args) => {
            let bytes = (args.files * args.file_bytes) as u64;
            let scratch = Scratch::create(&common.scratch, 4 * bytes + 2 * limits::WARM_SLACK)?;
            let content = Content::tree(&scratch.folder("content")?, args.files, args.file_bytes)?;
            let title = format!(
                "{} files of {} bytes to one receiver",
                args.files, args.file_bytes
            );
            session.pair(&scratch, &content, args.mtu, 256 * KIB, &title, "small")?;
        }
        Bench::Import(args) => session.import(args.size_mib * MIB)?,
        Bench::Origin(args) => session.shaped("origin", &args.links, &[args.receivers])?,
        Bench::Swarm(args) => session.shaped("swarm", &args.links, &args.n)?,
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
                        println!("  {tool:<13} #{} {}{note}", repeat + 1, line(&result));
                        results.push(result);
                    }
                    Ok(None) => failed[i] = true,
                    Err(Error::Tool(message)) => {
                        println!("  {tool:<13} #{} failed: {message}", repeat + 1);
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

    fn pair(
        &mut self,
        scratch: &Scratch,
        content: &Content,
        mtu: u32,
        piece: usize,
        title: &str,
        name: &str,
    ) -> Result<()> {
        let topology = Topology::pair(mtu, &self.common.cc)?;
        let runs = self.transfers(
            scratch,
            content,
            &topology,
            piece,
            false,
            self.timeout(120.0),
        )?;
        let rows = summarise(&self.tools, &runs, |_| None);
        let head = [
            "tool",
            "s",
            "MB/s",
            "files/s",
            "× best other",
            "ready s",
            "send CPU s/GB",
            "recv CPU s/GB",
            "machine CPU s/GB",
            "send anon MiB",
            "recv anon MiB",
            "sent/size",
            "foreign s",
            "each s",
        ];
        let cells = |r: &Summary| {
            vec![
                r.tool.to_owned(),
                format!("{:.2}", r.seconds),
                format!("{:.0}", r.mb_per_second),
                format!("{:.0}", content.files.len() as f64 / r.seconds),
                ratio(r.speed_over_best_other),
                format!("{:.2}", r.ready_seconds),
                format!("{:.2}", r.per_gb(r.sender_cpu)),
                format!("{:.2}", r.per_gb(r.receiver_cpu)),
                format!("{:.2}", r.per_gb(r.machine_cpu)),
                format!("{:.0}", r.sender_anon_mib),
                format!("{:.0}", r.receiver_anon_mib),
                format!("{:.3}", r.sender_copies),
                format!("{:.2}", r.foreign_cpu),
                each(r.each_seconds.iter().copied()),
            ]
        };
        println!("\n{title}, MTU {mtu}, median of {}", self.common.repeat);
        print!(
            "{}",
            table(&head, &rows.iter().map(cells).collect::<Vec<_>>())
        );
        let bars = rows.iter().map(|r| {
            let files = content.files.len() as f64 / r.seconds;
            let (value, unit) = if content.is_tree {
                (files, "files/s")
            } else {
                (r.mb_per_second, "MB/s")
            };
            bar(
                r.tool.to_owned(),
                value,
                format!("{value:.0} {unit}, {}", ratio(r.speed_over_best_other)),
                r.kind,
            )
        });
        let unit = "longer is better; the factor is to the fastest swarm tool other than samara";
        let bars: Vec<Bar> = bars.collect();
        let parameters = json!({"bytes": content.bytes, "files": content.files.len(), "mtu": mtu, "piece": piece});
        self.write(name, parameters, &runs, json!(rows), || {
            self.chart(title, unit, &bars)
        })
    }

    fn shaped(&mut self, name: &str, links: &crate::args::Links, counts: &[usize]) -> Result<()> {
        let bytes = links.size_mib * MIB;
        let rates = Rates {
            sender: links.origin_rate.unwrap_or(links.rate),
            node: links.rate,
        };
        let most = counts.iter().copied().max().unwrap_or(1) as u64;
        let scratch = Scratch::create(
            &self.common.scratch,
            (2 * most + 1) * bytes + 2 * limits::WARM_SLACK,
        )?;
        let content = Content::file(&scratch.folder("content")?, bytes)?;
        let bound = |n: usize| fluid_bound(bytes, n, rates.sender, rates.node);
        let mut runs = Vec::new();
        for &n in counts {
            let topology = Topology::star(n, rates, links.mtu, &self.common.cc)?;
            println!("{n} receivers, T* = {:.2} s", bound(n));
            let timeout = self.timeout(10.0 * bound(n) + 30.0);
            runs.extend(self.transfers(
                &scratch,
                &content,
                &topology,
                links.piece_kib * KIB,
                true,
                timeout,
            )?);
        }
        let rows = summarise(&self.tools, &runs, |n| Some(bound(n)));
        let head = [
            "tool",
            "N",
            "last s",
            "last/T*",
            "median/T*",
            "× best other",
            "origin sent/size",
            "all sent/(N size)",
            "machine CPU s",
            "send anon MiB",
            "recv anon MiB",
            "foreign s",
            "last s of each",
        ];
        let cells = |r: &Summary| {
            vec![
                r.tool.to_owned(),
                r.receivers.to_string(),
                format!("{:.1}", r.seconds),
                format!("{:.2}", r.over_fluid_bound.unwrap_or(f64::NAN)),
                format!("{:.2}", r.median_receiver_seconds / bound(r.receivers)),
                ratio(r.speed_over_best_other),
                format!("{:.2}", r.sender_copies),
                format!("{:.2}", r.all_copies),
                format!("{:.1}", r.machine_cpu),
                format!("{:.0}", r.sender_anon_mib),
                format!("{:.0}", r.receiver_anon_mib),
                format!("{:.1}", r.foreign_cpu),
                each(r.each_seconds.iter().copied()),
            ]
        };
        let title = format!("{} MiB over links of {} Mbit/s", links.size_mib, links.rate);
        println!(
            "\n{title}, origin {} Mbit/s, median of {}",
            rates.sender, self.common.repeat
        );
        print!(
            "{}",
            table(&head, &rows.iter().map(cells).collect::<Vec<_>>())
        );
        let bars = rows.iter().map(|r| {
            let value = r.over_fluid_bound.unwrap_or(0.0);
            let label = format!("{}, {} receivers", r.tool, r.receivers);
            bar(
                label,
                value,
                format!("{value:.2} T*, {:.2} copies", r.sender_copies),
                r.kind,
            )
        });
        let bars: Vec<Bar> = bars.collect();
        let unit = "last receiver over the fluid bound T*: shorter is better, 1 is the limit; copies sent by the origin";
        let parameters = json!({
            "bytes": bytes, "receivers": counts, "rate_mbit": rates.node, "origin_rate_mbit": rates.sender,
            "mtu": links.mtu, "piece": links.piece_kib * KIB,
            "fluid_bound_seconds": counts.iter().map(|&n| bound(n)).collect::<Vec<_>>(),
        });
        self.write(name, parameters, &runs, json!(rows), || {
            self.chart(&title, unit, &bars)
        })
    }

    fn transfers(
        &mut self,
        scratch: &Scratch,
        content: &Content,
        topology: &Topology,
        piece: usize,
        keep_serving: bool,
        timeout: Duration,
    ) -> Result<Vec<Run>> {
        let shared = scratch.folder("shared")?;
        let logs = self.common.logs.clone();
        let job = Job {
            content,
            shared: &shared,
            tracker: format!(
                "http://{}:{}/announce",
                topology.tracker.address,
                limits::TRACKER_PORT
            ),
            keep_serving,
            piece,
        };
        let setting = Setting {
            topology,
            scratch,
            logs: logs.as_deref(),
            timeout,
        };
        let attempt = |tool: &dyn Tool| {
            content.warm()?;
            measure::transfer(tool, &job, &setting).map(Some)
        };
        let line = |run: &Run| {
            format!(
                "{:>6.2} s  {:>5.0} MB/s  sent {:.3}  foreign {:.2} s",
                run.seconds,
                run.bytes as f64 / run.seconds / 1e6,
                run.sender_sent as f64 / run.bytes as f64,
                run.foreign_cpu
            )
        };
        self.interleave(topology.places.len() - 1, attempt, line)
    }

    fn import(&mut self, bytes: u64) -> Result<()> {
        let scratch = Scratch::create(&self.common.scratch, bytes + 2 * limits::WARM_SLACK)?;
        let content = Content::file(&scratch.folder("content")?, bytes)?;
        let shared = scratch.folder("shared")?;
        // A pair that nobody is at the other end of: senders listen, and nothing leaves.
        let topology = Topology::pair(1_500, &self.common.cc)?;
        let (timeout, logs) = (self.timeout(120.0), self.common.logs.clone());
        let job = Job {
            content: &content,
            shared: &shared,
            tracker: String::new(),
            keep_serving: false,
            piece: MIB as usize,
        };
        let setting = Setting {
            topology: &topology,
            scratch: &scratch,
            logs: logs.as_deref(),
            timeout,
        };
        let attempt = |tool: &dyn Tool| {
            content.warm()?;
            measure::import(tool, &job, &setting)
        };
        let gb = bytes as f64 / 1e9;
        let line = |i: &Import| {
            format!(
                "{:>6.2} s  {:>5.2} GB/s  foreign {:.2} s",
                i.seconds,
                gb / i.seconds,
                i.foreign_cpu
            )
        };
        let runs = self.interleave(0, attempt, line)?;
        let (mut rows, mut bars, mut medians) = (Vec::new(), Vec::new(), Vec::new());
        for tool in &self.tools {
            let mine: Vec<&Import> = runs.iter().filter(|i| i.tool == tool.name()).collect();
            if mine.is_empty() {
                continue;
            }
            let of = |field: fn(&Import) -> f64| median(mine.iter().map(|i| field(i)));
            let (rate, cpu, anon) = (
                gb / of(|i| i.seconds),
                of(|i| i.cpu.total()) / gb,
                of(|i| i.anon_mib),
            );
            rows.push(vec![
                tool.name().to_owned(),
                format!("{:.2}", of(|i| i.seconds)),
                format!("{rate:.2}"),
                format!("{cpu:.2}"),
                format!("{anon:.0}"),
                format!("{:.2}", of(|i| i.foreign_cpu)),
                each(mine.iter().map(|i| i.seconds)),
            ]);
            bars.push(bar(
                tool.name().to_owned(),
                rate,
                format!("{rate:.2} GB/s"),
                tool.kind(),
            ));
            medians.push(json!({
                "tool": tool.name(), "seconds": of(|i| i.seconds), "gb_per_second": rate,
                "cpu_seconds_per_gb": cpu, "anon_mib": anon,
            }));
        }
        let title = format!("Import of {} MiB from a warm cache", bytes / MIB);
        println!("\n{title}, median of {}", self.common.repeat);
        print!(
            "{}",
            table(
                &[
                    "tool",
                    "s",
                    "GB/s",
                    "CPU s/GB",
                    "anon MiB",
                    "foreign s",
                    "each s"
                ],
                &rows
            )
        );
        self.write(
            "import",
            json!({"bytes": bytes}),
            &runs,
            json!(medians),
            || self.chart(&title, "longer is better", &bars),
        )
    }

    fn chart(&self, title: &str, unit: &str, bars: &[Bar]) -> String {
        let subtitle = format!("{}; median of {}", self.machine, self.common.repeat);
        svg::chart(title, &subtitle, unit, bars)
    }

    fn write<R: Serialize>(
        &self,
        bench: &str,
        parameters: Value,
        runs: &[R],
        medians: Value,
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
            write_text(path, &chart())?;
        }
        Ok(())
    }
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    use crate::error::Context;
    std::fs::write(path, text).on("writing", path)
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
