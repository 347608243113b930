//! Chunking and hashing from a warm cache, before anything is sent.

use serde::Serialize;
use serde_json::json;

use super::{MIB, Session, bar};
use crate::{
    args,
    content::Content,
    error::Result,
    limits, measure,
    measure::{Import, Setting},
    net::Topology,
    report::{Column, each, median, render},
    scratch::Scratch,
    tools::{Job, Kind, Tool},
};

/// Longest import that does not hang, in seconds.
const TIMEOUT: f64 = 120.0;

/// Medians over the repeats of one tool.
#[derive(Serialize)]
struct Row {
    tool: &'static str,
    #[serde(skip)]
    kind: Kind,
    seconds: f64,
    gb_per_second: f64,
    cpu_seconds_per_gb: f64,
    anon_mib: f64,
    foreign_cpu: f64,
    each_seconds: Vec<f64>,
}

impl Session<'_> {
    pub(super) fn import(&mut self, args: &args::Import) -> Result<()> {
        let bytes = args.size_mib * MIB;
        let scratch = Scratch::create(&self.common.scratch, bytes + 2 * limits::WARM_SLACK)?;
        let content = Content::file(&scratch.folder("content")?, bytes)?;
        let shared = scratch.folder("shared")?;
        // A pair that nobody is at the other end of: senders listen, and nothing leaves.
        let topology = Topology::pair(1_500, &self.common.cc)?;
        let (timeout, logs) = (self.timeout(TIMEOUT), self.common.logs.clone());
        let job = Job {
            content: &content,
            shared: &shared,
            tracker: String::new(),
            keep_serving: false,
            piece: MIB as usize,
        };
        let setting = Setting {
            topology: &topology,
            seeders: 1,
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
        let rows: Vec<Row> = self
            .tools
            .iter()
            .filter_map(|tool| row(tool.as_ref(), &runs, gb))
            .collect();
        let columns: [Column<'_, Row>; 7] = [
            ("tool", &|r| r.tool.into()),
            ("s", &|r| format!("{:.2}", r.seconds)),
            ("GB/s", &|r| format!("{:.2}", r.gb_per_second)),
            ("CPU s/GB", &|r| format!("{:.2}", r.cpu_seconds_per_gb)),
            ("anon MiB", &|r| format!("{:.0}", r.anon_mib)),
            ("foreign s", &|r| format!("{:.2}", r.foreign_cpu)),
            ("each s", &|r| each(&r.each_seconds)),
        ];
        let title = format!("Import of {} MiB from a warm cache", args.size_mib);
        let table = render(&columns, &rows);
        let bars: Vec<_> = rows
            .iter()
            .map(|r| {
                bar(
                    r.tool.into(),
                    r.gb_per_second,
                    format!("{:.2} GB/s", r.gb_per_second),
                    r.kind,
                )
            })
            .collect();
        self.write(
            "import",
            json!({"bytes": bytes}),
            &runs,
            json!(rows),
            (&title, &table),
            || self.chart(&title, "longer is better", &bars),
        )
    }
}

fn row(tool: &dyn Tool, runs: &[Import], gb: f64) -> Option<Row> {
    let mine: Vec<&Import> = runs.iter().filter(|i| i.tool == tool.name()).collect();
    let of = |field: fn(&Import) -> f64| median(mine.iter().map(|i| field(i)));
    (!mine.is_empty()).then(|| Row {
        tool: tool.name(),
        kind: tool.kind(),
        seconds: of(|i| i.seconds),
        gb_per_second: gb / of(|i| i.seconds),
        cpu_seconds_per_gb: of(|i| i.cpu.total()) / gb,
        anon_mib: of(|i| i.anon_mib),
        foreign_cpu: of(|i| i.foreign_cpu),
        each_seconds: mine.iter().map(|i| i.seconds).collect(),
    })
}
