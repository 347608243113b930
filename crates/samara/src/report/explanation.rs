use samara_node::api::Explanation;

use crate::{
    quantity::{count, rate, size},
    terminal::{Style, line},
};

/// Why a transfer is not faster, for people.
pub(super) fn text(found: &Explanation, style: Style) -> String {
    let name = match found.name.is_empty() {
        true => found.content.get(..16).unwrap_or(&found.content),
        false => &found.name,
    };
    let mut head = format!(
        "{}: {} of {}",
        style.bold(line(name)),
        size(found.have),
        size(found.total)
    );
    if found.rate_down > 0 {
        head += &format!(", {} in", rate(found.rate_down));
    }
    if found.rate_up > 0 {
        head += &format!(", {} out", rate(found.rate_up));
    }
    head += &format!(
        ", {}, {} of them with what is missing",
        count(found.peers.into(), "peer", "peers"),
        found.sources
    );
    let mut text = vec![head, line(&found.what)];
    if !found.advice.is_empty() {
        text.push(line(&found.advice));
    }
    let waits = [
        ("a source", found.shares.source),
        ("something more urgent", found.shares.urgent),
        ("a turn at a source", found.shares.credit),
        ("this node's limit", found.shares.limit),
        ("this node's limit on sending", found.shares.limit_up),
        ("the disk", found.shares.writing),
        ("flow control", found.shares.window),
    ];
    let waits: Vec<_> = waits
        .into_iter()
        .filter(|(_, share)| *share >= 0.01)
        .map(|(what, share)| format!("{what} {:.0} %", share * 100.0))
        .collect();
    if !waits.is_empty() {
        let over = format!("Waited in the last {:.0} s for: ", found.seconds.max(1.0));
        text.push(style.dim(over + &waits.join(", ")));
    }
    for source in &found.from {
        text.push(style.dim(format!(
            "  from {} at {}: {}, {:.1} ms",
            line(source.peer_id.get(..12).unwrap_or(&source.peer_id)),
            line(&source.addr),
            match source.rate {
                0 => "nothing at the moment".to_owned(),
                rate_now => rate(rate_now),
            },
            source.rtt_ms
        )));
    }
    text.join("\n")
}

#[cfg(test)]
mod tests {
    use samara_node::api::{Shares, SourceStatus};

    use super::*;

    #[test]
    fn it_says_what_the_matter_is_and_what_helps() {
        let found = Explanation {
            content: "abcdefgh".into(),
            name: "dist".into(),
            verdict: "one_source".into(),
            what: "There is one source.".into(),
            advice: "A second one helps.".into(),
            have: 1 << 20,
            total: 4 << 20,
            rate_down: 2_000_000,
            peers: 1,
            sources: 1,
            seconds: 5.0,
            shares: Shares {
                credit: 0.25,
                ..Shares::default()
            },
            from: vec![
                SourceStatus {
                    peer_id: "q".repeat(52),
                    addr: "10.0.0.1:7421".into(),
                    rate: 2_000_000,
                    rtt_ms: 3.0,
                },
                SourceStatus {
                    peer_id: "r".repeat(52),
                    addr: "10.0.0.2:7421".into(),
                    ..SourceStatus::default()
                },
            ],
            ..Explanation::default()
        };
        let text = text(&found, Style::PLAIN);
        for part in [
            "dist: 1.0 MiB of 4.0 MiB, 2.0 MB/s in, 1 peer, 1 of them",
            "There is one source.",
            "A second one helps.",
            "last 5 s for: a turn at a source 25 %",
            "from qqqqqqqqqqqq at 10.0.0.1:7421: 2.0 MB/s, 3.0 ms",
            "from rrrrrrrrrrrr at 10.0.0.2:7421: nothing at the moment",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
        assert!(!text.contains("the disk"));
    }
}
