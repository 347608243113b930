//! One origin and many receivers that start at once, every link shaped.

use serde_json::json;

use super::{KIB, MIB, Session, Transfers, bar, ratio};
use crate::{
    args::{Links, Uplinks},
    content::Content,
    error::Result,
    limits,
    net::{Link, Topology},
    report::{Column, each, render, say},
    scratch::Scratch,
    summary::{Summary, fluid_bound, summarise},
};

/// A tool that takes longer than this many times the fluid bound, plus a start, hangs: the slowest
/// that does not, rqbit with 16 receivers, takes 7.
pub(super) const TIMEOUT_BOUNDS: f64 = 10.0;
pub(super) const TIMEOUT_START: f64 = 30.0;

impl Uplinks {
    /// The uplinks of `n` receivers whose links have `rate`.
    fn of(self, n: usize, rate: f64) -> Vec<f64> {
        let (slow, fast) = match self {
            Self::Equal => (0, 0),
            Self::Mixed => (n / 2, n.div_ceil(5)),
        };
        let factor = |i: usize| match i {
            _ if i < slow => 0.25,
            _ if i < slow + fast => 3.0,
            _ => 1.0,
        };
        (0..n).map(|i| rate * factor(i)).collect()
    }
}

impl Session<'_> {
    pub(super) fn shaped(
        &mut self,
        bench: &str,
        links: &Links,
        uplinks: Uplinks,
        counts: &[usize],
    ) -> Result<()> {
        let bytes = links.size_mib * MIB;
        let origin_rate = links.origin_rate.unwrap_or(links.rate);
        let most = counts.iter().copied().max().unwrap_or(1) as u64;
        let scratch = Scratch::create(
            &self.common.scratch,
            (most + 1) * bytes + 2 * limits::WARM_SLACK,
        )?;
        let content = Content::file(&scratch.folder("content")?, bytes)?;
        let bound = |n: usize| {
            let up = uplinks.of(n, links.rate);
            fluid_bound(bytes, origin_rate, &up, links.rate)
        };
        let piece = links.piece_kib * KIB;
        let mut runs = Vec::new();
        for &n in counts {
            let ups = [origin_rate].into_iter().chain(uplinks.of(n, links.rate));
            let nodes: Vec<Link> = ups
                .map(|up| Link {
                    up: Some(up),
                    down: Some(links.rate),
                })
                .collect();
            let topology = Topology::star(&nodes, None, links.mtu, &self.common.cc)?;
            say(format_args!("{n} receivers, T* = {:.2} s", bound(n)))?;
            let plan = Transfers {
                topology: &topology,
                seeders: 1,
                piece,
                keep_serving: true,
                timeout: TIMEOUT_BOUNDS * bound(n) + TIMEOUT_START,
            };
            runs.extend(self.transfers(&scratch, &content, &plan)?);
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
        let title = format!(
            "{} MiB over links of {} Mbit/s, {}origin {origin_rate} Mbit/s",
            links.size_mib,
            links.rate,
            match uplinks {
                Uplinks::Equal => "",
                Uplinks::Mixed => "mixed uplinks, ",
            }
        );
        let table = render(&columns, &rows);
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
            "bytes": bytes, "receivers": counts, "rate_mbit": links.rate, "origin_rate_mbit": origin_rate,
            "uplinks_mbit": counts.iter().map(|&n| uplinks.of(n, links.rate)).collect::<Vec<_>>(),
            "mtu": links.mtu, "piece": piece,
            "fluid_bound_seconds": counts.iter().map(|&n| bound(n)).collect::<Vec<_>>(),
        });
        self.write(
            bench,
            parameters,
            &runs,
            json!(rows),
            (&title, &table),
            || self.chart(&title, unit, &bars),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_uplinks_are_half_slow_and_a_fifth_fast() {
        assert_eq!(Uplinks::Equal.of(2, 40.0), [40.0, 40.0]);
        let mixed = Uplinks::Mixed.of(10, 40.0);
        let count = |rate: f64| mixed.iter().filter(|up| **up == rate).count();
        assert_eq!([count(10.0), count(120.0), count(40.0)], [5, 2, 3]);
        assert_eq!(Uplinks::Mixed.of(1, 40.0), [120.0]);
    }
}
