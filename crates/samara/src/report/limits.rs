use samara_node::{
    api::{LimitStatus, Limits},
    limit::UploadPolicy,
};

use crate::{
    quantity::{count, rate},
    terminal::{Style, Table, line},
};

/// What holds, for people.
pub(super) fn text(limits: &Limits, style: Style) -> String {
    let mut table = Table::new(&["LIMIT", "RATE", "WHY"], &[]);
    for status in &limits.rates {
        let what = status.line.name().replace('_', "-");
        let what = match &status.channel {
            Some(channel) => format!("{what} of {channel}"),
            None => what,
        };
        table.row([
            what,
            status.rate.map_or("off".to_owned(), rate),
            why(status),
        ]);
    }
    let mut text = table.render(style);
    let mut also = vec![format!(
        "At most {}, {} served at once.",
        count(limits.max_connections, "connection", "connections"),
        count(limits.upload_slots, "peer", "peers")
    )];
    also.push(match limits.upload_policy {
        UploadPolicy::Last => "Served first: who has least (upload policy `last`).".to_owned(),
        UploadPolicy::Average => "Served first: who has most (upload policy `average`).".to_owned(),
    });
    if limits.leech {
        also.push("Serves nobody (leech).".to_owned());
    }
    if limits.no_wan {
        also.push("Nothing passes beyond the local network (no-wan).".to_owned());
    }
    if limits.paused {
        also.push("Everything is paused; `samara resume` lets it go on.".to_owned());
    }
    for (kind, names) in [
        ("channel", &limits.paused_channels),
        ("content", &limits.paused_contents),
    ] {
        for name in names {
            also.push(format!("Paused: {kind} {}", line(name)));
        }
    }
    text.push_str(&also.join("\n"));
    text
}

fn why(status: &LimitStatus) -> String {
    match (&*status.why, &status.until) {
        ("command", _) => "set by `samara limit`".to_owned(),
        ("hours", Some(until)) => format!("hours of the configuration, until {until}"),
        ("default", _) if status.rate.is_none() => "nobody set one".to_owned(),
        (why, _) => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use samara_node::limit::Line;

    use super::*;

    #[test]
    fn it_says_what_holds_and_who_set_it() {
        let status =
            |channel: Option<&str>, line, rate, why: &str, until: Option<&str>| LimitStatus {
                channel: channel.map(str::to_owned),
                line,
                rate,
                why: why.to_owned(),
                until: until.map(str::to_owned),
            };
        let limits = Limits {
            rates: vec![
                status(None, Line::Up, None, "default", None),
                status(None, Line::WanUp, Some(500_000), "hours", Some("18:00")),
                status(Some("news"), Line::Down, Some(1_000_000), "command", None),
            ],
            leech: true,
            max_connections: 1,
            upload_slots: 2,
            upload_policy: UploadPolicy::Average,
            paused_channels: vec!["bulky".to_owned()],
            ..Limits::default()
        };
        let text = text(&limits, Style::PLAIN);
        for part in [
            "up            off",
            "nobody set one",
            "wan-up        500 kB/s",
            "until 18:00",
            "down of news  1.0 MB/s",
            "set by `samara limit`",
            "At most 1 connection, 2 peers served at once.",
            "Served first: who has most",
            "Serves nobody",
            "Paused: channel bulky",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
