//! One receiver of several seeders, and one seeder of several receivers that cannot reach each other.

use serde_json::json;

use super::{KIB, MIB, Session, Transfers, bar, ratio};
use crate::{
    args::Seeders,
    content::Content,
    error::Result,
    limits,
    net::{Link, Topology},
    report::{Column, each, render, say},
    scratch::Scratch,
    summary::{Summary, summarise},
};

/// Longest run of a tool that does not hang where nothing is shaped, in seconds for each receiver.
const TIMEOUT: f64 = 120.0;
/// And where seeders are shaped, this many times what one of them needs for one copy.
const TIMEOUT_COPIES: f64 = 10.0;

impl Session<'_> {
    pub(super) fn seeders(&mut self, args: &Seeders) -> Result<()> {
        let bytes = args.size_mib * MIB;
        let several = args.seeders.iter().map(|&seeders| (seeders, 1));
        let busy = args.receivers.iter().map(|&receivers| (1, receivers));
        let shapes: Vec<(usize, usize)> = several.chain(busy).collect();
        let most = shapes.iter().map(|(s, r)| s + r).max().unwrap_or(2) as u64;
        let scratch = Scratch::create(
            &self.common.scratch,
            (most + 1) * bytes + 2 * limits::WARM_SLACK,
        )?;
        let content = Content::file(&scratch.folder("content")?, bytes)?;
        let mut runs = Vec::new();
        for &(seeders, receivers) in &shapes {
            let seeder = Link {
                up: args.rate,
                down: None,
            };
            let mut links = vec![seeder; seeders];
            links.resize(seeders + receivers, Link::default());
            let topology = Topology::star(&links, Some(seeders), args.mtu, &self.common.cc)?;
            say(shape(seeders, receivers))?;
            let copy = args
                .rate
                .map_or(0.0, |rate| bytes as f64 * 8.0 / (rate * 1e6));
            let plan = Transfers {
                topology: &topology,
                seeders,
                piece: args.piece_kib * KIB,
                keep_serving: false,
                timeout: receivers as f64 * (TIMEOUT + TIMEOUT_COPIES * copy),
            };
            runs.extend(self.transfers(&scratch, &content, &plan)?);
        }
        let rows = summarise(&self.tools, &runs, |_| None);
        let columns: [Column<'_, Summary>; 13] = [
            ("tool", &|r| r.tool.into()),
            ("seeders", &|r| r.seeders.to_string()),
            ("receivers", &|r| r.receivers.to_string()),
            ("last s", &|r| format!("{:.2}", r.seconds)),
            ("MB/s, all", &|r| format!("{:.0}", r.mb_per_second)),
            ("× best other", &|r| ratio(r.speed_over_best_other)),
            ("least share", &|r| format!("{:.2}", r.least_share)),
            ("most share", &|r| format!("{:.2}", r.most_share)),
            ("seeder 1 sent/size", &|r| format!("{:.3}", r.sender_copies)),
            ("seeder 1 CPU s/GB sent", &|r| {
                format!("{:.2}", r.per_gb(r.sender_cpu) / r.sender_copies)
            }),
            ("machine CPU s/GB", &|r| {
                format!("{:.2}", r.per_gb(r.machine_cpu) / r.receivers as f64)
            }),
            ("foreign s", &|r| format!("{:.2}", r.foreign_cpu)),
            ("each s", &|r| each(&r.each_seconds)),
        ];
        let rate = match args.rate {
            Some(rate) => format!("{rate} Mbit/s up from each seeder"),
            None => "unshaped links".into(),
        };
        let title = format!("{} MiB, {rate}", args.size_mib);
        let table = render(&columns, &rows);
        let bars: Vec<_> = rows
            .iter()
            .map(|r| {
                let label = format!("{} {} → {}", r.tool, r.seeders, r.receivers);
                let text = format!(
                    "{:.0} MB/s, {}",
                    r.mb_per_second,
                    ratio(r.speed_over_best_other)
                );
                bar(label, r.mb_per_second, text, r.kind)
            })
            .collect();
        let meaning = "seeders → receivers, all receivers together: longer is better; the factor is to the fastest swarm tool other than samara";
        let parameters = json!({
            "bytes": bytes, "seeders": args.seeders, "receivers": args.receivers, "rate_mbit": args.rate,
            "mtu": args.mtu, "piece": args.piece_kib * KIB,
        });
        self.write(
            "seeders",
            parameters,
            &runs,
            json!(rows),
            (&title, &table),
            || self.chart(&title, meaning, &bars),
        )
    }
}

fn shape(seeders: usize, receivers: usize) -> String {
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}, {}",
        plural(seeders, "seeder"),
        plural(receivers, "receiver")
    )
}
