//! Records as programs see them.

use std::collections::BTreeMap;

use data_encoding::{BASE64, HEXLOWER};
use samara_graph::{Attributes, RecordHeader, Value, WallMs};
use samara_wire::{ChannelId, RecordId};
use serde::{Deserialize, Serialize};

use super::ErrorKind;
use crate::{EngineError, rfc3339};

/// A record, with or without its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordView {
    /// Channel id.
    pub channel: String,
    /// Which, and what it is about.
    #[serde(flatten)]
    pub about: RecordAbout,
    /// Its place in its author's sequence.
    pub seq: u64,
    /// When it was made, RFC 3339, UTC.
    pub created: String,
    /// When it ends, RFC 3339, UTC.
    pub expires: String,
    /// Higher ones are wanted first.
    pub priority: u8,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
    /// Bytes of the whole record.
    pub bytes: u64,
    /// Base64 (RFC 4648 section 4), if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// Which record, and what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordAbout {
    /// Record id.
    pub record: String,
    /// Public key of its author, base32.
    pub author: String,
    /// Number of its kind.
    pub kind: u32,
    /// Name of its kind, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind_name: Option<String>,
    /// Its key, if that is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its key in hexadecimal, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_hex: Option<String>,
}

/// The value of an attribute: `{"type":"int","value":3}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "snake_case")]
pub enum Attribute {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A point in time, RFC 3339.
    Time(String),
    /// A text of at most 256 bytes.
    Text(String),
    /// At most 256 bytes, in hexadecimal.
    Bytes(String),
}

/// What happened in a channel: [`Event::Change`](super::Event::Change).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// From here on nothing is missed.
    Watching,
    /// A record arrived, or was published here.
    Arrived(RecordAbout),
    /// A record arrived, with the author, kind and key of an earlier one that is
    /// there.
    Replaced {
        /// The new one.
        #[serde(flatten)]
        about: RecordAbout,
        /// The earlier one. It may stay until it expires; the new one stands first.
        previous: String,
    },
    /// A record's author took it back.
    Retracted(RecordAbout),
    /// A record's time is over.
    Expired(RecordAbout),
    /// A record is gone for another reason.
    Removed {
        /// Which.
        #[serde(flatten)]
        about: RecordAbout,
        /// `equivocation`, `quota`, `not_publisher`, `revoked`, `invite_used_up`, `lost`
        /// or `other`.
        reason: String,
    },
    /// Somebody got a role that had none.
    MemberJoined {
        /// Public key, base32.
        peer: String,
        /// The mightiest that it has.
        role: String,
    },
    /// A member's mightiest role is another one.
    RoleChanged {
        /// Public key, base32.
        peer: String,
        /// Which it is now.
        role: String,
    },
    /// A member is none any more.
    MemberLeft {
        /// Public key, base32.
        peer: String,
        /// `revoked`, `lapsed`, `left` or `other`.
        reason: String,
    },
    /// Changes after the cursor that was asked for are not kept any more, or the
    /// cursor is not of this log: list the records again.
    Gap {
        /// The cursor up to which nothing was missed.
        after: u64,
    },
    /// A connected peer is in the channel too. Told only while it is watched.
    NeighbourUp {
        /// Public key, base32.
        peer: String,
    },
    /// It is not any more. Told only while it is watched.
    NeighbourDown {
        /// Public key, base32.
        peer: String,
    },
    /// Everything that the neighbour holds is here. Told only while it is watched.
    Synchronized {
        /// Public key, base32.
        peer: String,
    },
    /// A member is there, by its lease of presence. Told only while it is watched.
    Present {
        /// Public key, base32.
        peer: String,
    },
    /// Its lease has ended, or it is no member any more. Told only while it is watched.
    Absent {
        /// Public key, base32.
        peer: String,
    },
    /// A member told this node something, and nobody else. Told only while one watches.
    Words {
        /// Who; the connection proves it.
        peer: String,
        /// What, base64.
        body: String,
    },
    /// Some of those were missed, since the watcher was slow.
    WordsMissed,
    /// Changes of neighbours were missed, since the watcher was slow; nothing else.
    NeighboursMissed,
}

impl RecordView {
    pub(crate) fn of(channel: &ChannelId, header: &RecordHeader, body: Option<&[u8]>) -> Self {
        let attributes = header.attributes.iter();
        Self {
            channel: channel.to_string(),
            about: RecordAbout::new(
                &header.id,
                header.author.to_string(),
                header.kind,
                &header.key,
            ),
            seq: header.seq,
            created: rfc3339::format_ms(header.created.0),
            expires: rfc3339::format_ms(header.expires.0),
            priority: header.priority,
            attributes: attributes
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect(),
            bytes: header.len.into(),
            body: body.map(|bytes| BASE64.encode(bytes)),
        }
    }
}

impl RecordAbout {
    pub(crate) fn new(
        record: &RecordId,
        author: String,
        kind: samara_graph::Kind,
        key: &[u8],
    ) -> Self {
        let text = str::from_utf8(key).ok();
        Self {
            record: record.to_string(),
            author,
            kind: kind.0,
            kind_name: kind.name().map(str::to_owned),
            key: text.map(str::to_owned),
            key_hex: text.is_none().then(|| HEXLOWER.encode(key)),
        }
    }
}

impl From<&Value> for Attribute {
    fn from(value: &Value) -> Self {
        match value {
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(n) => Self::Int(*n),
            Value::Time(t) => Self::Time(rfc3339::format_ms(t.0)),
            Value::Text(text) => Self::Text(text.to_string()),
            Value::Bytes(bytes) => Self::Bytes(HEXLOWER.encode(bytes)),
        }
    }
}

impl Attribute {
    /// Reads `type:value`, as the command line takes it.
    ///
    /// # Errors
    /// For people: why it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, value) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` is not TYPE:VALUE; types are {TYPES}"))?;
        let bad = |what: &str| format!("`{value}` is not {what}");
        Ok(match kind {
            "bool" => Self::Bool(value.parse().map_err(|_| bad("true or false"))?),
            "int" => Self::Int(value.parse().map_err(|_| bad("a whole number"))?),
            "time" => Self::Time(value.to_owned()),
            "text" => Self::Text(value.to_owned()),
            "bytes" => Self::Bytes(value.to_owned()),
            _ => return Err(format!("`{kind}` is no type; types are {TYPES}")),
        })
    }

    fn value(&self) -> Result<Value, String> {
        Ok(match self {
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => Value::Int(*n),
            Self::Time(text) => {
                let time = WallMs::from_rfc3339(text);
                let bad = || format!("`{text}` is not a time like 2026-01-31T12:00:00Z");
                Value::Time(time.ok_or_else(bad)?)
            }
            Self::Text(text) => Value::Text(text.as_str().into()),
            Self::Bytes(hex) => {
                let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(hex.as_bytes());
                let bad = |_| format!("`{hex}` is not bytes in hexadecimal");
                Value::Bytes(bytes.map_err(bad)?.into())
            }
        })
    }
}

const TYPES: &str = "bool, int, time, text and bytes";

/// Attributes as they are signed.
pub(crate) fn attributes(all: BTreeMap<String, Attribute>) -> Result<Attributes, EngineError> {
    let usage = |message: String| EngineError::new(ErrorKind::Usage, message);
    let mut values = Vec::new();
    for (name, attribute) in all {
        let value = attribute
            .value()
            .map_err(|why| usage(format!("attribute {name}: {why}")))?;
        values.push((name, value));
    }
    Attributes::new(values).map_err(|e| usage(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Event;

    #[test]
    fn attributes_go_there_and_back() {
        for (text, json) in [
            ("bool:true", r#"{"type":"bool","value":true}"#),
            (
                "int:-9223372036854775808",
                r#"{"type":"int","value":-9223372036854775808}"#,
            ),
            ("text:a:b", r#"{"type":"text","value":"a:b"}"#),
            ("bytes:00ff", r#"{"type":"bytes","value":"00ff"}"#),
            (
                "time:2026-01-31T12:00:00.250Z",
                r#"{"type":"time","value":"2026-01-31T12:00:00.250Z"}"#,
            ),
        ] {
            let attribute = Attribute::parse(text).unwrap();
            assert_eq!(serde_json::to_string(&attribute).unwrap(), json);
            assert_eq!(Attribute::from(&attribute.value().unwrap()), attribute);
        }
        for bad in ["text", "float:1", "int:1.5", "bool:yes"] {
            assert!(Attribute::parse(bad).is_err(), "{bad}");
        }
        for bad in ["time:yesterday", "bytes:0", "time:1969-12-31T00:00:00Z"] {
            assert!(Attribute::parse(bad).unwrap().value().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_change_is_one_flat_object() {
        let about = RecordAbout::new(
            &RecordId([1; 32]),
            "a".to_owned(),
            samara_graph::Kind::ISSUE,
            b"\xff",
        );
        let event = Event::Change {
            channel: "c".to_owned(),
            cursor: 7,
            at: None,
            change: Change::Replaced {
                about,
                previous: "p".to_owned(),
            },
        };
        let json = serde_json::to_string(&event).unwrap();
        let record = RecordId([1; 32]);
        assert_eq!(
            json,
            format!(
                r#"{{"event":"change","channel":"c","cursor":7,"change":"replaced","record":"{record}","author":"a","kind":257,"kind_name":"issue","key_hex":"ff","previous":"p"}}"#
            )
        );
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }
}
