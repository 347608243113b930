//! The whole of a node at a glance, for people.

use samara_node::api::{ContentStatus, Status};

use super::standing;
use crate::{
    quantity::{rate, size, span},
    terminal::{Style, Table, line},
};

/// Identity, channels, contents, and what is not as it should be.
pub(super) fn text(status: &Status, style: Style) -> String {
    let mut text = format!("{}  {}\n", style.dim("identity "), line(&status.peer_id));
    let running = if status.listen.is_empty() {
        "no node runs".to_owned()
    } else {
        format!("{}, up {}", line(&status.listen), span(status.uptime))
    };
    text += &format!("{}  {running}\n", style.dim("listening"));
    if status.paused {
        let what = "everything; `samara resume` lets it go on";
        text += &format!("{}  {what}\n", style.dim("paused   "));
    }
    text += &format!(
        "{}  {} of {}\n",
        style.dim("store    "),
        size(status.store_bytes),
        size(status.quota_bytes)
    );
    let mut channels = Table::new(
        &[
            "CHANNEL",
            "ROLE",
            "RECORDS",
            "MEMBERS",
            "NEIGHBOURS",
            "RELEASE",
            "INTO",
        ],
        &[2, 4],
    );
    for channel in &status.channels {
        let into = channel.into.as_ref();
        channels.row([
            match (channel.forked, channel.paused) {
                (true, true) => format!("{} (forked, paused)", channel.name),
                (true, false) => format!("{} (forked)", channel.name),
                (false, true) => format!("{} (paused)", channel.name),
                (false, false) => channel.name.clone(),
            },
            channel.role.clone(),
            channel.records.to_string(),
            standing::members(&channel.standing),
            channel.neighbours.to_string(),
            channel.release.clone().unwrap_or_else(|| "-".to_owned()),
            into.map_or_else(
                || "-".to_owned(),
                |path| path.to_string_lossy().into_owned(),
            ),
        ]);
    }
    let mut contents = Table::new(
        &["CONTENT", "SIZE", "HERE", "PEERS", "DOWN", "UP", "ID"],
        &[1, 2, 3, 4, 5],
    );
    for content in &status.contents {
        let flow = |value| {
            if value == 0 {
                "-".to_owned()
            } else {
                rate(value)
            }
        };
        contents.row([
            content.name.clone(),
            size(content.bytes),
            here(content),
            content.peers.to_string(),
            flow(content.rate_down),
            flow(content.rate_up),
            content.manifest.chars().take(10).collect(),
        ]);
    }
    for table in [channels, contents] {
        if !table.is_empty() {
            text += "\n";
            text += &table.render(style);
        }
    }
    let trouble = standing::trouble(status, style);
    if !trouble.is_empty() {
        text += "\n";
        text += &trouble;
    }
    text.trim_end().to_owned()
}

/// How much of it is here, of what is to be.
fn here(content: &ContentStatus) -> String {
    let percent = |have: u64, of: u64| format!("{} %", have * 100 / of.max(1));
    let here = match content.share {
        _ if content.complete => "all".to_owned(),
        Some(share) if share.chunks == 0 => "no share".to_owned(),
        Some(share) if share.have == share.chunks => "its share".to_owned(),
        Some(share) => format!("{} of its share", percent(share.have, share.chunks)),
        None => percent(content.have, content.chunks),
    };
    match content.paused {
        true => here + ", paused",
        false => here,
    }
}

#[cfg(test)]
mod tests {
    use samara_node::api::{ChannelStatus, ShareStatus};

    use super::*;

    #[test]
    fn foreign_names_in_the_status_are_clean() {
        let status = Status {
            channels: vec![ChannelStatus {
                name: "evil\u{1b}[2J".into(),
                ..ChannelStatus::default()
            }],
            contents: vec![ContentStatus {
                name: "line\nbreak".into(),
                have: 1,
                chunks: 4,
                ..ContentStatus::default()
            }],
            ..Status::default()
        };
        let text = text(&status, Style::PLAIN);
        assert!(!text.contains('\u{1b}'));
        assert!(text.contains("evil") && text.contains("line break") && text.contains("25 %"));
        assert!(text.contains("no node runs"));
    }

    #[test]
    fn what_is_paused_is_said_to_be() {
        let status = |everything, some| Status {
            paused: everything,
            channels: vec![ChannelStatus {
                name: "news".into(),
                paused: some,
                ..ChannelStatus::default()
            }],
            contents: vec![ContentStatus {
                have: 1,
                chunks: 2,
                paused: some,
                ..ContentStatus::default()
            }],
            ..Status::default()
        };
        let told = text(&status(true, true), Style::PLAIN);
        assert!(told.contains("paused     everything"), "{told}");
        let told = text(&status(false, true), Style::PLAIN);
        assert!(told.contains("news (paused)") && told.contains("50 %, paused"));
        assert!(!told.contains("everything"), "{told}");
        assert!(!text(&status(false, false), Style::PLAIN).contains("paused"));
    }

    #[test]
    fn a_share_that_is_kept_is_no_unfinished_download() {
        let of = |complete, share: Option<(u64, u64)>| {
            here(&ContentStatus {
                have: 1,
                chunks: 2,
                complete,
                share: share.map(|(have, chunks)| ShareStatus { chunks, have }),
                ..ContentStatus::default()
            })
        };
        assert_eq!(of(false, None), "50 %");
        assert_eq!(of(false, Some((3, 3))), "its share");
        assert_eq!(of(false, Some((1, 3))), "33 % of its share");
        assert_eq!(of(false, Some((0, 0))), "no share");
        assert_eq!(of(true, Some((1, 1))), "all");
    }
}
