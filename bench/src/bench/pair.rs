//! One sender and one receiver on an unshaped veth: a large file, or many small ones.

use serde_json::json;

use super::{KIB, MIB, Session, bar, ratio};
use crate::{
    args::{Pair, Small},
    content::Content,
    error::Result,
    limits,
    net::Topology,
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
        };
        self.one_to_one(&scratch, &content, &plan)
    }

    fn one_to_one(&mut self, scratch: &Scratch, content: &Content, plan: &Plan) -> Result<()> {
        let topology = Topology::pair(plan.mtu, &self.common.cc)?;
        let timeout = self.timeout(TIMEOUT);
        let runs = self.transfers(scratch, content, &topology, plan.piece, false, timeout)?;
        let rows = summarise(&self.tools, &runs, |_| None);
        let files = content.files.len();
        let rate = |r: &Summary| {
            if content.is_tree {
                (files as f64 / r.seconds, "files/s")
            } else {
                (r.mb_per_second, "MB/s")
            }
        };
        let columns: [Column<'_, Summary>; 13] = [
            ("tool", &|r| r.tool.into()),
            ("s", &|r| format!("{:.2}", r.seconds)),
            (if content.is_tree { "files/s" } else { "MB/s" }, &|r| {
                format!("{:.0}", rate(r).0)
            }),
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
        println!(
            "\n{}, MTU {}, median of {}",
            plan.title, plan.mtu, self.common.repeat
        );
        print!("{}", render(&columns, &rows));
        let bars: Vec<_> = rows
            .iter()
            .map(|r| {
                let (value, unit) = rate(r);
                let text = format!("{value:.0} {unit}, {}", ratio(r.speed_over_best_other));
                bar(r.tool.to_owned(), value, text, r.kind)
            })
            .collect();
        let unit = "longer is better; the factor is to the fastest swarm tool other than samara";
        let parameters =
            json!({"bytes": content.bytes, "files": files, "mtu": plan.mtu, "piece": plan.piece});
        self.write(plan.bench, parameters, &runs, json!(rows), || {
            self.chart(&plan.title, unit, &bars)
        })
    }
}
