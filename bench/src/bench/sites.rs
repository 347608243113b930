//! Sites behind narrow ways out, the publisher in none of them.

use serde_json::json;

use super::{
    KIB, MIB, Session, Transfers, bar, ratio,
    shaped::{TIMEOUT_BOUNDS, TIMEOUT_START},
};
use crate::{
    args::Sites,
    content::Content,
    error::Result,
    limits,
    net::{SiteLinks, Topology},
    report::{Column, each, render, say},
    scratch::Scratch,
    summary::{Summary, fluid_bound, summarise},
};

impl Session<'_> {
    pub(super) fn sites(&mut self, args: &Sites) -> Result<()> {
        let bytes = args.size_mib * MIB;
        let links = SiteLinks {
            sites: args.sites,
            nodes_per_site: args.per_site,
            lan: args.lan,
            way_out: args.way_out,
            publisher: args.publisher,
        };
        let receivers = args.sites * args.per_site;
        let scratch = Scratch::create(
            &self.common.scratch,
            (receivers as u64 + 1) * bytes + 2 * limits::WARM_SLACK,
        )?;
        let content = Content::file(&scratch.folder("content")?, bytes)?;
        // Sites are the receivers of the bound: one copy into each, and none needs more.
        let way_outs = vec![args.way_out; args.sites];
        let slowest = args.way_out.min(args.lan);
        let bound = fluid_bound(bytes, args.publisher, &way_outs, slowest);
        let topology = Topology::sites(&links, args.mtu, &self.common.cc)?;
        say(format_args!(
            "{} sites of {} receivers, T* = {bound:.2} s",
            args.sites, args.per_site
        ))?;
        let plan = Transfers {
            topology: &topology,
            seeders: 1,
            piece: args.piece_kib * KIB,
            keep_serving: true,
            timeout: TIMEOUT_BOUNDS * bound + TIMEOUT_START,
        };
        let runs = self.transfers(&scratch, &content, &plan)?;
        let rows = summarise(&self.tools, &runs, |_| Some(bound));
        let copies = |copies: Option<f64>| copies.unwrap_or(f64::NAN);
        let columns: [Column<'_, Summary>; 13] = [
            ("tool", &|r| r.tool.into()),
            ("last s", &|r| format!("{:.1}", r.seconds)),
            ("last/T*", &|r| format!("{:.2}", r.seconds / bound)),
            ("median/T*", &|r| {
                format!("{:.2}", r.median_receiver_seconds / bound)
            }),
            ("× best other", &|r| ratio(r.speed_over_best_other)),
            ("copies into the worst site", &|r| {
                format!("{:.2}", copies(r.worst_site_copies))
            }),
            ("mean", &|r| format!("{:.2}", copies(r.mean_site_copies))),
            ("publisher sent/size", &|r| {
                format!("{:.2}", r.sender_copies)
            }),
            ("machine CPU s", &|r| format!("{:.1}", r.machine_cpu)),
            ("send anon MiB", &|r| format!("{:.0}", r.sender_anon_mib)),
            ("recv anon MiB", &|r| format!("{:.0}", r.receiver_anon_mib)),
            ("foreign s", &|r| format!("{:.1}", r.foreign_cpu)),
            ("last s of each", &|r| each(&r.each_seconds)),
        ];
        let title = format!(
            "{} MiB to {} sites of {}, {} Mbit/s inside, {} Mbit/s out",
            args.size_mib, args.sites, args.per_site, args.lan, args.way_out
        );
        let table = render(&columns, &rows);
        let bars: Vec<_> = rows
            .iter()
            .map(|r| {
                let (value, crossed) = (r.seconds / bound, copies(r.worst_site_copies));
                let text = format!("{value:.2} T*, {crossed:.2} copies");
                bar(r.tool.to_owned(), value, text, r.kind)
            })
            .collect();
        let meaning = "last receiver over the fluid bound T*: shorter is better, 1 is the limit; copies into the worst site";
        let parameters = json!({
            "bytes": bytes, "sites": args.sites, "per_site": args.per_site, "lan_mbit": args.lan,
            "way_out_mbit": args.way_out, "publisher_mbit": args.publisher, "mtu": args.mtu,
            "piece": args.piece_kib * KIB, "fluid_bound_seconds": bound,
        });
        self.write(
            "sites",
            parameters,
            &runs,
            json!(rows),
            (&title, &table),
            || self.chart(&title, meaning, &bars),
        )
    }
}
