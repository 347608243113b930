//! One sender and one receiver on an unshaped veth: a large file, or many small ones.

use std::time::Duration;

use serde_json::json;

use super::{KIB, MIB, Session, Transfers, bar, ratio};
use crate::{
    args::{Pair, Small},
    content::Content,
    error::Result,
    limits,
    net::Topology,
    relay::Path,
    report::{Column, each, render},
    scratch::Scratch,
    summary::{Summary, summarise},
};

/// What differs between the two.
struct Plan {
    bench: &'static str,
    title: String,
    mtu: u32,
    piece: usize,
    /// The relay's; without it, a veth.
    path: Option<Path>,
}

/// Piece length that the BitTorrent tools get for many small files.
const SMALL_PIECE: usize = 256 * KIB;
/// Longest run of a tool that does not hang, in seconds.
const TIMEOUT: f64 = 120.0;

impl Session<'_> {
    pub(super) fn pair(&mut self, args: &Pair) -> Result<()> {
        let bytes = args.size_mib * MIB;
        let scratch = Scratch::create(&self.common.scratch, 2 * bytes + 2 * limits::WARM_SLACK)?;
        let content = Content::file(&scratch.folder("content")?, bytes)?;
        let plan = Plan {
            bench: "pair",
            title: format!("{} MiB to one receiver", args.size_mib),
            mtu: args.mtu,
            piece: args.piece_kib * KIB,
            path: args.relay.then(|| Path {
                rate: args.relay_rate,
                delay: Duration::from_millis(args.relay_delay_ms),
            }),
        };
        self.one_to_one(&scratch, &content, &plan)
    }

    pub(super) fn small(&mut self, args: &Small) -> Result<()> {
        let bytes = (args.files * args.file_bytes) as u64;
        let scratch = Scratch::create(&self.common.scratch, 4 * bytes + 2 * limits::WARM_SLACK)?;
        let content = Content::tree(&scratch.folder("content")?, args.files, args.file_bytes)?;
        let plan = Plan {
            bench: "small",
            title: format!(
                "{} files of {} bytes to one receiver",
                args.files, args.file_bytes
            ),
            mtu: args.mtu,
            piece: SMALL_PIECE,
            path: None,
        };
        self.one_to_one(&scratch, &content, &plan)
    }

    fn one_to_one(&mut self, scratch: &Scratch, content: &Content, plan: &Plan) -> Result<()> {
        let cc = &self.common.cc;
        let topology = match &plan.path {
            Some(path) => Topology::relayed(path, plan.mtu, cc, scratch)?,
            None => Topology::pair(plan.mtu, cc)?,
        };
        let transfers = Transfers {
            topology: &topology,
            seeders: 1,
            piece: plan.piece,
            keep_serving: false,
            timeout: TIMEOUT,
        };
        let runs = self.transfers(scratch, content, &transfers)?;
        let rows = summarise(&self.tools, &runs, |_| None);
        let files = content.files.len();
        let (unit, per_second) = match (content.is_tree, &plan.path) {
            (true, _) => ("files/s", files as f64),
            (false, Some(_)) => ("Mbit/s", content.bytes as f64 * 8.0 / 1e6),
            (false, None) => ("MB/s", content.bytes as f64 / 1e6),
        };
        let rate = |r: &Summary| per_second / r.seconds;
        let columns: [Column<'_, Summary>; 13] = [
            ("tool", &|r| r.tool.into()),
            ("s", &|r| format!("{:.2}", r.seconds)),
            (unit, &|r| format!("{:.0}", rate(r))),
            ("× best other", &|r| ratio(r.speed_over_best_other)),
            ("ready s", &|r| format!("{:.2}", r.ready_seconds)),
            ("send CPU s/GB", &|r| {
                format!("{:.2}", r.per_gb(r.sender_cpu))
            }),
            ("recv CPU s/GB", &|r| {
                format!("{:.2}", r.per_gb(r.receiver_cpu))
            }),
            ("machine CPU s/GB", &|r| {
                format!("{:.2}", r.per_gb(r.machine_cpu))
            }),
            ("send anon MiB", &|r| format!("{:.0}", r.sender_anon_mib)),
            ("recv anon MiB", &|r| format!("{:.0}", r.receiver_anon_mib)),
            ("sent/size", &|r| format!("{:.3}", r.sender_copies)),
            ("foreign s", &|r| format!("{:.2}", r.foreign_cpu)),
            ("each s", &|r| each(&r.each_seconds)),
        ];
        let path = plan.path.map(|path| format!(", {path}"));
        let title = format!(
            "{}, MTU {}{}",
            plan.title,
            plan.mtu,
            path.unwrap_or_default()
        );
        let table = render(&columns, &rows);
        let bars: Vec<_> = rows
            .iter()
            .map(|r| {
                let text = format!("{:.0} {unit}, {}", rate(r), ratio(r.speed_over_best_other));
                bar(r.tool.to_owned(), rate(r), text, r.kind)
            })
            .collect();
        let meaning = "longer is better; the factor is to the fastest swarm tool other than samara";
        let parameters = json!({
            "bytes": content.bytes, "files": files, "mtu": plan.mtu, "piece": plan.piece,
            "relay": plan.path.map(|path| json!({
                "rate_mbit": path.rate, "delay_ms": path.delay.as_millis() as u64, "queue_ms": path.queue().as_millis() as u64,
            })),
        });
        self.write(
            plan.bench,
            parameters,
            &runs,
            json!(rows),
            (&title, &table),
            || self.chart(&title, meaning, &bars),
        )
    }
}
