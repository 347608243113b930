//! One origin and many receivers that start at once, every link shaped.

use serde_json::json;

use super::{KIB, MIB, Session, bar, ratio};
use crate::{
    args::Links,
    content::Content,
    error::Result,
    limits,
    net::{Rates, Topology},
    report::{Column, each, render},
    scratch::Scratch,
    summary::{Summary, fluid_bound, summarise},
};

/// A tool that takes longer than this many times the fluid bound, plus a start, hangs: the slowest
/// that does not, rqbit with 16 receivers, takes 7.
const TIMEOUT_BOUNDS: f64 = 10.0;
const TIMEOUT_START: f64 = 30.0;

impl Session<'_> {
    pub(super) fn shaped(&mut self, bench: &str, links: &Links, counts: &[usize]) -> Result<()> {
        let bytes = links.size_mib * MIB;
        let rates = Rates {
            sender: links.origin_rate.unwrap_or(links.rate),
            node: links.rate,
        };
        let most = counts.iter().copied().max().unwrap_or(1) as u64;
        let scratch = Scratch::create(
            &self.common.scratch,
            (most + 1) * bytes + 2 * limits::WARM_SLACK,
        )?;
        let content = Content::file(&scratch.folder("content")?, bytes)?;
        let bound = |n: usize| fluid_bound(bytes, n, rates.sender, rates.node);
        let piece = links.piece_kib * KIB;
        let mut runs = Vec::new();
        for &n in counts {
            let topology = Topology::star(n, rates, links.mtu, &self.common.cc)?;
            println!("{n} receivers, T* = {:.2} s", bound(n));
            let timeout = self.timeout(TIMEOUT_BOUNDS * bound(n) + TIMEOUT_START);
            runs.extend(self.transfers(&scratch, &content, &topology, piece, true, timeout)?);
        }
        let rows = summarise(&self.tools, &runs, |n| Some(bound(n)));
        let columns: [Column<'_, Summary>; 13] = [
            ("tool", &|r| r.tool.into()),
            ("N", &|r| r.receivers.to_string()),
            ("last s", &|r| format!("{:.1}", r.seconds)),
            ("last/T*", &|r| {
                format!("{:.2}", r.seconds / bound(r.receivers))
            }),
            ("median/T*", &|r| {
                format!("{:.2}", r.median_receiver_seconds / bound(r.receivers))
            }),
            ("× best other", &|r| ratio(r.speed_over_best_other)),
            ("origin sent/size", &|r| format!("{:.2}", r.sender_copies)),
            ("all sent/(N size)", &|r| format!("{:.2}", r.all_copies)),
            ("machine CPU s", &|r| format!("{:.1}", r.machine_cpu)),
            ("send anon MiB", &|r| format!("{:.0}", r.sender_anon_mib)),
            ("recv anon MiB", &|r| format!("{:.0}", r.receiver_anon_mib)),
            ("foreign s", &|r| format!("{:.1}", r.foreign_cpu)),
            ("last s of each", &|r| each(&r.each_seconds)),
        ];
        let title = format!("{} MiB over links of {} Mbit/s", links.size_mib, links.rate);
        println!(
            "\n{title}, origin {} Mbit/s, median of {}",
            rates.sender, self.common.repeat
        );
        print!("{}", render(&columns, &rows));
        let bars: Vec<_> = rows
            .iter()
            .map(|r| {
                let (value, label) = (
                    r.seconds / bound(r.receivers),
                    format!("{}, N = {}", r.tool, r.receivers),
                );
                bar(
                    label,
                    value,
                    format!("{value:.2} T*, {:.2} copies", r.sender_copies),
                    r.kind,
                )
            })
            .collect();
        let unit = "last receiver over the fluid bound T*: shorter is better, 1 is the limit; copies that the origin sent";
        let parameters = json!({
            "bytes": bytes, "receivers": counts, "rate_mbit": rates.node, "origin_rate_mbit": rates.sender,
            "mtu": links.mtu, "piece": piece,
            "fluid_bound_seconds": counts.iter().map(|&n| bound(n)).collect::<Vec<_>>(),
        });
        self.write(bench, parameters, &runs, json!(rows), || {
            self.chart(&title, unit, &bars)
        })
    }
}
