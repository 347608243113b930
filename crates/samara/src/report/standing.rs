//! How channels' members and records stand, for people.

use samara_node::api::{ChannelStatus, OffenderStatus, Standing, Status};

use crate::terminal::{Style, Table, line};

/// Those of each channel that are shown: `--json` has more of them.
const SHOWN: usize = 5;

/// How many belong to a channel, and how many of them are there.
pub(super) fn members(standing: &Standing) -> String {
    match standing.present {
        Some(present) => format!("{} ({present} present)", standing.members),
        None => standing.members.to_string(),
    }
}

/// What is wrong, each on a line of its own: a clock that is behind, records that were
/// not taken, and whose they were. Empty if nothing is.
pub(super) fn trouble(status: &Status, style: Style) -> String {
    let mut text = String::new();
    let mut refused = Table::new(&["NOT TAKEN IN", "RECORDS", "OF", "WHY"], &[1]);
    for channel in &status.channels {
        let standing = &channel.standing;
        if let (true, Some(floor)) = (standing.clock_behind, &standing.time_floor) {
            text += &format!(
                "This machine's clock is wrong: an owner of {} signed that it was {} or later.\n",
                line(&channel.name),
                line(floor)
            );
        }
        let out = match standing.shut_out.as_deref() {
            Some("revoked") => Some("This node was revoked in"),
            Some("ended") => Some("This node's role has ended in"),
            Some("no_role") => Some("This node has no role, and never had one, in"),
            Some(_) => Some(
                "This node may have been revoked, or those who answer carry the channel no more: nobody lets it into",
            ),
            None => None,
        };
        if let Some(out) = out {
            text += &format!("{out} {}.\n", line(&channel.name));
        }
        if standing.waiting > 0 {
            refused.row([
                channel.name.clone(),
                standing.waiting.to_string(),
                "-".to_owned(),
                "wait for the right of their authors".to_owned(),
            ]);
        }
        for offender in standing.offenders.iter().take(SHOWN) {
            refused.row(row(channel, offender));
        }
        let more = standing.offenders.len().saturating_sub(SHOWN);
        if more > 0 {
            let records = standing.offenders.iter().skip(SHOWN).map(|o| o.records);
            refused.row([
                channel.name.clone(),
                records.sum::<u64>().to_string(),
                format!("{more} more"),
                "see --json".to_owned(),
            ]);
        }
    }
    if !refused.is_empty() {
        text += &refused.render(style);
    }
    text
}

fn row(channel: &ChannelStatus, offender: &OffenderStatus) -> [String; 4] {
    let mut reasons: Vec<_> = offender.reasons.iter().collect();
    reasons.sort_by_key(|(reason, n)| (std::cmp::Reverse(**n), reason.as_str()));
    let reasons = reasons
        .into_iter()
        .map(|(reason, n)| format!("{n} {}", words(reason)));
    [
        channel.name.clone(),
        offender.records.to_string(),
        offender.peer_id.chars().take(16).collect(),
        reasons.collect::<Vec<_>>().join(", "),
    ]
}

/// What a reason means.
fn words(reason: &str) -> &str {
    match reason {
        "displaced" => "gave way to others",
        "crowded_out" => "waited for a right and made room",
        "quota" => "more than the charter allows",
        "rate" => "sent faster than is taken",
        "not_publisher" => "without the right to write",
        "revoked" => "after it was revoked",
        "equivocation" => "signed twice under one number",
        "future" => "from the future",
        "bad_signature" => "forged",
        "too_large" => "too large",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_floods_is_named_with_the_reason() {
        let offender = |n: u64| OffenderStatus {
            peer_id: format!("{n:052}"),
            records: 100 - n,
            reasons: [("quota".to_owned(), 2), ("displaced".to_owned(), 98 - n)].into(),
        };
        let standing = Standing {
            waiting: 3,
            offenders: (0..7).map(offender).collect(),
            ..Standing::default()
        };
        let status = Status {
            channels: vec![ChannelStatus {
                name: "weekly".to_owned(),
                standing,
                ..ChannelStatus::default()
            }],
            ..Status::default()
        };
        let text = trouble(&status, Style::PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 1 + SHOWN + 1, "{text}");
        assert!(lines[1].contains("wait for the right"), "{text}");
        assert!(
            lines[2].contains("98 gave way to others, 2 more than the charter"),
            "{text}"
        );
        assert!(
            lines[7].contains("189") && lines[7].contains("2 more"),
            "{text}"
        );
        assert_eq!(trouble(&Status::default(), Style::PLAIN), "");
    }
}
