//! How near the rate on the wire is to a limit that was asked for.

use serde::Serialize;
use serde_json::json;

use super::{MIB, Session, bar};
use crate::{
    args,
    content::Content,
    error::Result,
    limits,
    measure::{self, Setting, Window},
    net::{Link, Topology},
    report::{Column, each, median, render},
    scratch::Scratch,
    tools::{Job, Kind, Tool},
};

/// Longest wait for a start, in seconds.
const TIMEOUT: f64 = 60.0;

/// One limit in one direction, one run.
#[derive(Clone, Debug, Serialize)]
struct Held {
    direction: &'static str,
    limit_mbit: f64,
    /// By the shaper's counter: whole frames.
    wire_mbit: f64,
}

/// The median over the repeats.
#[derive(Serialize)]
struct Row {
    direction: &'static str,
    limit_mbit: f64,
    wire_mbit: f64,
    of_limit: f64,
    each_of_limit: Vec<f64>,
}

impl Session<'_> {
    pub(super) fn limits(&mut self, args: &args::Limits) -> Result<()> {
        let fastest = args.rates.iter().copied().fold(0.0, f64::max);
        let window = Window {
            start: args.start,
            seconds: args.seconds,
        };
        // More than can pass while it is measured.
        let bytes = (fastest / 8.0 * 1e6 * (window.start + window.seconds) * 1.5) as u64;
        let bytes = bytes.div_ceil(MIB) * MIB;
        let scratch = Scratch::create(&self.common.scratch, 2 * bytes + 2 * limits::WARM_SLACK)?;
        let content = Content::file(&scratch.folder("content")?, bytes)?;
        let shared = scratch.folder("shared")?;
        // Shaped far above the limits, for the shaper counts the headers of offloaded segments.
        let open = Link {
            up: Some(fastest * 5.0),
            down: Some(fastest * 5.0),
        };
        let topology = Topology::star(&[open, open], None, args.mtu, &self.common.cc)?;
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
        let mut runs: Vec<Held> = Vec::new();
        for (direction, at_sender) in [("up", true), ("down", false)] {
            for &limit_mbit in &args.rates {
                let option = [format!("--{direction}"), format!("{limit_mbit} Mbit/s")];
                let (mine, theirs): (&[String], &[String]) = match at_sender {
                    true => (&option, &[]),
                    false => (&[], &option),
                };
                let attempt = |tool: &dyn Tool| {
                    content.warm()?;
                    let rate = measure::wire_rate(tool, &job, &setting, [mine, theirs], window)?;
                    Ok(Some(Held {
                        direction,
                        limit_mbit,
                        wire_mbit: rate * 8.0 / 1e6,
                    }))
                };
                let line = |held: &Held| {
                    format!(
                        "{} {} Mbit/s: {:.2} on the wire, {:.3} of it",
                        held.direction,
                        held.limit_mbit,
                        held.wire_mbit,
                        held.wire_mbit / held.limit_mbit
                    )
                };
                runs.extend(self.interleave(1, attempt, line)?);
            }
        }
        let rows = rows(&runs);
        let columns: [Column<'_, Row>; 5] = [
            ("direction", &|r| r.direction.into()),
            ("limit Mbit/s", &|r| r.limit_mbit.to_string()),
            ("wire Mbit/s", &|r| format!("{:.2}", r.wire_mbit)),
            ("of the limit", &|r| format!("{:.3}", r.of_limit)),
            ("each", &|r| each(&r.each_of_limit)),
        ];
        let title = format!(
            "Frames over {} s, {} s after the receiver's start",
            window.seconds, window.start
        );
        let table = render(&columns, &rows);
        let bars: Vec<_> = rows
            .iter()
            .map(|r| {
                let label = format!("{} {} Mbit/s", r.direction, r.limit_mbit);
                let text = format!("{:.3}", r.of_limit);
                bar(label, r.of_limit, text, Kind::Samara)
            })
            .collect();
        let parameters = json!({
            "bytes": bytes, "rates_mbit": args.rates, "mtu": args.mtu,
            "start_seconds": window.start, "seconds": window.seconds,
        });
        self.write(
            "limits",
            parameters,
            &runs,
            json!(rows),
            (&title, &table),
            || self.chart(&title, "rate on the wire over the limit", &bars),
        )
    }
}

fn rows(runs: &[Held]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for held in runs {
        let same = |r: &Row| r.direction == held.direction && r.limit_mbit == held.limit_mbit;
        if rows.iter().any(same) {
            continue;
        }
        let mine = runs
            .iter()
            .filter(|h| h.direction == held.direction && h.limit_mbit == held.limit_mbit);
        let wire_mbit = median(mine.clone().map(|h| h.wire_mbit));
        rows.push(Row {
            direction: held.direction,
            limit_mbit: held.limit_mbit,
            wire_mbit,
            of_limit: wire_mbit / held.limit_mbit,
            each_of_limit: mine.map(|h| h.wire_mbit / h.limit_mbit).collect(),
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_median_of_its_limit_and_direction() {
        let held = |direction, limit_mbit, wire_mbit| Held {
            direction,
            limit_mbit,
            wire_mbit,
        };
        let runs = [
            held("up", 10.0, 10.1),
            held("up", 10.0, 9.0),
            held("up", 10.0, 10.0),
            held("down", 10.0, 20.0),
        ];
        let rows = rows(&runs);
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].wire_mbit, rows[0].of_limit), (10.0, 1.0));
        assert_eq!(rows[0].each_of_limit.len(), 3);
        assert_eq!((rows[1].direction, rows[1].of_limit), ("down", 2.0));
    }
}
