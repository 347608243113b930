//! Records and what happens to them, for people.

use data_encoding::BASE64;
use samara_node::api::{Attribute, Change, Event, RecordAbout, RecordView};

use crate::{
    quantity::{count, size},
    terminal::line,
};

pub(super) const HEAD: &[&str] = &[
    "CREATED",
    "KIND",
    "KEY",
    "AUTHOR",
    "BYTES",
    "ATTRIBUTES",
    "ID",
];
pub(super) const RIGHT: &[usize] = &[4];

/// A record as a row of a table.
pub(super) fn row(record: &RecordView) -> [String; 7] {
    let attributes = record.attributes.iter();
    let attributes: Vec<_> = attributes
        .map(|(name, value)| format!("{name}={}", value_text(value)))
        .collect();
    [
        record
            .created
            .get(..16)
            .unwrap_or(&record.created)
            .replace('T', " "),
        kind(&record.about),
        key(&record.about),
        short(&record.about.author),
        record.bytes.to_string(),
        attributes.join(" "),
        record.about.record.clone(),
    ]
}

/// The body that came with a record.
pub(super) fn body(record: &RecordView) -> Option<Vec<u8>> {
    BASE64.decode(record.body.as_ref()?.as_bytes()).ok()
}

/// What happened, as a line.
pub(super) fn change(cursor: u64, at: Option<&str>, change: &Change) -> String {
    let about = |about: &RecordAbout| {
        let quoted = match (&about.key, &about.key_hex) {
            (Some(key), _) if !key.is_empty() => format!(" \"{}\"", line(key)),
            (None, Some(hex)) => format!(" x\"{}\u{2026}\"", short(hex)),
            _ => String::new(),
        };
        let author = short(&about.author);
        format!("{}{quoted} by {author}: {}", kind(about), about.record)
    };
    let what = match change {
        Change::Watching => "watching from here".to_owned(),
        Change::Arrived(record) => format!("arrived: {}", about(record)),
        Change::Replaced {
            about: record,
            previous,
        } => format!("replaced: {} instead of {}", about(record), short(previous)),
        Change::Retracted(record) => format!("retracted: {}", about(record)),
        Change::Expired(record) => format!("expired: {}", about(record)),
        Change::Removed {
            about: record,
            reason,
        } => format!("removed ({reason}): {}", about(record)),
        Change::Gap { after } => {
            format!("changes after {after} are not kept any more; list the records again")
        }
        Change::MemberJoined { peer, role } => format!("member joined: {} as {role}", short(peer)),
        Change::RoleChanged { peer, role } => format!("{} is now {role}", short(peer)),
        Change::MemberLeft { peer, reason } => format!("member left ({reason}): {}", short(peer)),
        Change::NeighbourUp { peer } => format!("neighbour up: {}", short(peer)),
        Change::NeighbourDown { peer } => format!("neighbour down: {}", short(peer)),
        Change::Synchronized { peer } => format!("synchronized with {}", short(peer)),
        Change::Present { peer } => format!("present: {}", short(peer)),
        Change::Absent { peer } => format!("absent: {}", short(peer)),
        Change::Words { peer, body } => {
            let bytes = BASE64.decode(body.as_bytes()).unwrap_or_default();
            match String::from_utf8(bytes) {
                Ok(text) => format!("{} says: {}", short(peer), text.trim_end()),
                Err(_) => format!("{} says (base64): {body}", short(peer)),
            }
        }
        Change::WordsMissed => "words were missed".to_owned(),
        Change::NeighboursMissed => "changes of neighbours were missed".to_owned(),
        other => format!("{other:?}"),
    };
    let at = at.map(|at| format!("  {at}")).unwrap_or_default();
    line(&format!("{cursor}{at}  {what}"))
}

/// A channel that went into a file, or came out of one.
pub(super) fn carried(event: &Event) -> String {
    match event {
        Event::Exported {
            file,
            records,
            contents,
            bytes,
            ..
        } => format!(
            "Exported {} and {}, {}: {}",
            count(*records, "record", "records"),
            count(*contents, "content", "contents"),
            size(*bytes),
            line(&file.to_string_lossy())
        ),
        Event::Imported {
            channel,
            exporter,
            joined,
            new,
            known,
            waiting,
            refused,
            contents,
            contents_left_out,
            ..
        } => {
            let mut text = format!(
                "Imported {} and {} of channel {}, exported by {}",
                count(*new, "new record", "new records"),
                count(*contents, "content", "contents"),
                line(channel),
                line(exporter)
            );
            for (number, what) in [
                (known, "records were here"),
                (waiting, "records wait for others"),
                (refused, "records were refused"),
                (contents_left_out, "contents were left out"),
            ] {
                if *number > 0 {
                    text += &format!("\n  {number} {what}");
                }
            }
            if *joined {
                text += "\n  the channel is new on this node";
            }
            text
        }
        _ => String::new(),
    }
}

fn kind(about: &RecordAbout) -> String {
    let number = || about.kind.to_string();
    about.kind_name.clone().unwrap_or_else(number)
}

fn key(about: &RecordAbout) -> String {
    let hex = || about.key_hex.as_ref().map(|hex| format!("x\"{hex}\""));
    about.key.clone().or_else(hex).unwrap_or_default()
}

fn short(id: &str) -> String {
    id.chars().take(10).collect()
}

fn value_text(value: &Attribute) -> String {
    match value {
        Attribute::Bool(b) => b.to_string(),
        Attribute::Int(n) => n.to_string(),
        Attribute::Time(text) | Attribute::Text(text) => text.clone(),
        Attribute::Bytes(hex) => format!("x\"{hex}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_clean_line() {
        let about = RecordAbout {
            record: "r".repeat(52),
            author: "a".repeat(52),
            kind: 70_000,
            kind_name: None,
            key: Some("x\u{1b}[2J\ny".into()),
            key_hex: None,
        };
        let text = change(3, Some("2026-01-31T12:00:00Z"), &Change::Expired(about));
        assert!(
            text.starts_with("3  2026-01-31T12:00:00Z  expired: 70000 \"x"),
            "{text}"
        );
        assert!(text.contains("by aaaaaaaaaa: rrrr"), "{text}");
        assert!(!text.chars().any(char::is_control), "{text}");
    }
}
