//! Medians over the repeats of one tool, and how tools compare.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    measure::Run,
    report::median,
    tools::{Kind, Tool},
};

/// One row of a table: medians over the repeats.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) tool: &'static str,
    #[serde(skip)]
    pub(crate) kind: Kind,
    pub(crate) seeders: usize,
    pub(crate) receivers: usize,
    pub(crate) seconds: f64,
    pub(crate) median_receiver_seconds: f64,
    pub(crate) ready_seconds: f64,
    /// All receivers' content over the time of the last, in 10^6 bytes a second.
    pub(crate) mb_per_second: f64,
    /// How many times as fast as the fastest swarm tool that is not Samara, with as many seeders and receivers.
    pub(crate) speed_over_best_other: Option<f64>,
    /// Time of the last receiver over the fluid bound, on shaped links.
    pub(crate) over_fluid_bound: Option<f64>,
    /// Bytes of the sender's interface over the content's size.
    pub(crate) sender_copies: f64,
    /// Bytes of all interfaces over what all receivers needed.
    pub(crate) all_copies: f64,
    /// Bytes that crossed into a site over the content's size: the worst site, and the mean of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worst_site_copies: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mean_site_copies: Option<f64>,
    /// The least and the most that a seeder sent, over what all of them sent.
    pub(crate) least_share: f64,
    pub(crate) most_share: f64,
    pub(crate) sender_cpu: f64,
    pub(crate) receiver_cpu: f64,
    pub(crate) machine_cpu: f64,
    pub(crate) sender_anon_mib: f64,
    pub(crate) receiver_anon_mib: f64,
    pub(crate) foreign_cpu: f64,
    pub(crate) each_seconds: Vec<f64>,
    #[serde(skip)]
    pub(crate) bytes: u64,
}

impl Summary {
    /// CPU seconds as seconds per 10^9 bytes of content.
    pub(crate) fn per_gb(&self, cpu: f64) -> f64 {
        cpu / (self.bytes as f64 / 1e9)
    }
}

/// A row for every tool and number of seeders and receivers that has runs, in the order of `tools`.
///
/// `fluid_bound` gives the bound in seconds for a number of receivers, where links are shaped.
pub(crate) fn summarise(
    tools: &[Box<dyn Tool>],
    runs: &[Run],
    fluid_bound: impl Fn(usize) -> Option<f64>,
) -> Vec<Summary> {
    let counts: BTreeSet<_> = runs.iter().map(|r| (r.receivers, r.seeders)).collect();
    let mut rows = Vec::new();
    for (receivers, seeders) in counts {
        let bound = fluid_bound(receivers);
        for tool in tools {
            let of_tool = |r: &&Run| {
                r.tool == tool.name() && (r.receivers, r.seeders) == (receivers, seeders)
            };
            let mine: Vec<&Run> = runs.iter().filter(of_tool).collect();
            if !mine.is_empty() {
                rows.push(row(tool.kind(), &mine, bound));
            }
        }
    }
    compare(&mut rows);
    rows
}

fn row(kind: Kind, runs: &[&Run], bound: Option<f64>) -> Summary {
    let of = |field: &dyn Fn(&Run) -> f64| median(runs.iter().map(|r| field(r)));
    let bytes = runs[0].bytes;
    let seconds = of(&|r| r.seconds);
    let crossed = |measure: &dyn Fn(&[u64]) -> f64| {
        let copies = |r: &Run| measure(&r.crossed) / r.bytes as f64;
        (!runs[0].crossed.is_empty()).then(|| of(&copies))
    };
    let share = |r: &Run, sent: Option<&u64>| {
        sent.map_or(0.0, |&sent| sent as f64) / r.seeders_sent.iter().sum::<u64>().max(1) as f64
    };
    Summary {
        tool: runs[0].tool,
        kind,
        seeders: runs[0].seeders,
        receivers: runs[0].receivers,
        seconds,
        median_receiver_seconds: of(&|r| r.median_seconds),
        ready_seconds: of(&|r| r.ready_seconds),
        mb_per_second: (bytes * runs[0].receivers as u64) as f64 / seconds / 1e6,
        speed_over_best_other: None,
        over_fluid_bound: bound.map(|bound| seconds / bound),
        sender_copies: of(&|r| r.sender_sent as f64 / r.bytes as f64),
        all_copies: of(&|r| {
            (r.sender_sent + r.receivers_sent) as f64 / (r.bytes * r.receivers as u64) as f64
        }),
        worst_site_copies: crossed(&|sites| sites.iter().copied().max().unwrap_or(0) as f64),
        mean_site_copies: crossed(&|sites| sites.iter().sum::<u64>() as f64 / sites.len() as f64),
        least_share: of(&|r| share(r, r.seeders_sent.iter().min())),
        most_share: of(&|r| share(r, r.seeders_sent.iter().max())),
        sender_cpu: of(&|r| r.sender_cpu.total()),
        receiver_cpu: of(&|r| r.receiver_cpu.total()),
        machine_cpu: of(&|r| r.machine_cpu),
        sender_anon_mib: of(&|r| r.sender_anon_mib),
        receiver_anon_mib: of(&|r| r.receiver_anon_mib),
        foreign_cpu: of(&|r| r.foreign_cpu),
        each_seconds: runs.iter().map(|r| r.seconds).collect(),
        bytes,
    }
}

fn compare(rows: &mut [Summary]) {
    for i in 0..rows.len() {
        let best = rows
            .iter()
            .filter(|r| r.kind == Kind::Swarm)
            .filter(|r| (r.receivers, r.seeders) == (rows[i].receivers, rows[i].seeders))
            .map(|r| r.seconds)
            .min_by(f64::total_cmp);
        rows[i].speed_over_best_other = best.map(|best| best / rows[i].seconds);
    }
}

/// The least time in which `bytes` reach all receivers from one sender when all links are fluid, in seconds; rates in
/// Mbit/s, of each receiver up and of the slowest down (Kumar and Ross 2006, "Peer-assisted file distribution: the
/// minimum distribution time").
pub(crate) fn fluid_bound(bytes: u64, sender: f64, uplinks: &[f64], slowest_down: f64) -> f64 {
    let (bits, n) = (bytes as f64 * 8.0 / 1e6, uplinks.len() as f64);
    (bits / sender)
        .max(bits / slowest_down)
        .max(n * bits / (sender + uplinks.iter().sum::<f64>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Cpu;

    fn run(tool: &'static str, seconds: f64) -> Run {
        Run {
            tool,
            seeders: 1,
            receivers: 1,
            bytes: 100_000_000,
            ready_seconds: 0.1,
            seconds,
            median_seconds: seconds,
            each_seconds: vec![seconds],
            sender_cpu: Cpu {
                user: 1.0,
                system: 0.5,
            },
            receiver_cpu: Cpu::default(),
            machine_cpu: 2.0,
            foreign_cpu: 0.0,
            stolen_cpu: 0.0,
            sender_anon_mib: 1.0,
            receiver_anon_mib: 2.0,
            sender_sent: 110_000_000,
            sender_shaped: 0,
            seeders_sent: vec![110_000_000],
            crossed: Vec::new(),
            crossed_shaped: Vec::new(),
            receivers_sent: 10_000_000,
            reports: Vec::new(),
        }
    }

    #[test]
    fn the_ratio_is_to_the_fastest_swarm_tool_that_is_not_ours() {
        let row_of = |kind, tool, seconds: [f64; 3]| {
            let runs = seconds.map(|s| run(tool, s));
            row(kind, &runs.iter().collect::<Vec<_>>(), None)
        };
        let mut rows = [
            row_of(Kind::Samara, "samara", [2.0, 1.0, 9.0]),
            row_of(Kind::Swarm, "rqbit", [3.0, 3.0, 3.0]),
            row_of(Kind::Swarm, "aria2", [4.0, 4.0, 4.0]),
            row_of(Kind::Ceiling, "http", [1.0, 1.0, 1.0]),
        ];
        compare(&mut rows);
        let ratios = rows.each_ref().map(|r| r.speed_over_best_other.unwrap());
        assert_eq!(ratios, [1.5, 1.0, 0.75, 3.0]);
        assert_eq!(
            (
                rows[0].mb_per_second,
                rows[0].sender_copies,
                rows[0].all_copies
            ),
            (50.0, 1.1, 1.2)
        );
        assert_eq!(rows[0].per_gb(rows[0].sender_cpu), 15.0);
    }

    #[test]
    fn the_fluid_bound_takes_the_narrowest() {
        let bytes = 5_000_000; // 40 Mbit
        let bound =
            |n: usize, sender: f64, node: f64| fluid_bound(bytes, sender, &vec![node; n], node);
        assert_eq!(bound(8, 40.0, 40.0), 1.0);
        assert_eq!(bound(3, 400.0, 40.0), 1.0);
        assert_eq!(bound(8, 10.0, 40.0), 4.0);
        assert_eq!(bound(3, 60.0, 20.0), 2.0);
        // All uplinks together.
        assert_eq!(fluid_bound(bytes, 40.0, &[10.0; 8], 40.0), 320.0 / 120.0);
    }

    #[test]
    fn runs_are_told_apart_by_their_seeders_and_copies_by_their_sites() {
        let sites = |crossed: [u64; 2]| Run {
            crossed: crossed.to_vec(),
            seeders_sent: vec![30, 10],
            ..run("samara", 2.0)
        };
        let runs = [
            sites([100_000_000, 300_000_000]),
            sites([200_000_000, 100_000_000]),
        ];
        let row = row(Kind::Samara, &runs.iter().collect::<Vec<_>>(), None);
        assert_eq!(row.worst_site_copies, Some(2.5));
        assert_eq!(row.mean_site_copies, Some(1.75));
        assert_eq!((row.least_share, row.most_share), (0.25, 0.75));
    }
}
