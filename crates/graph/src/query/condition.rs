use std::{cmp::Ordering, fmt, time::Duration};

use data_encoding::HEXLOWER;
use samara_wire::PeerId;

use crate::{Kind, RecordHeader, Value, WallMs};

/// A field and what it is compared with; of types that fit each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) field: Field,
    pub(crate) operator: Operator,
    pub(crate) literal: Literal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Kind,
    Author,
    Key,
    Seq,
    Created,
    Expires,
    Priority,
    Attribute(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Literal {
    Kind(Kind),
    Peer(PeerId),
    Bool(bool),
    Int(i64),
    Time(WallMs),
    /// Milliseconds from now.
    Ago(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Condition {
    pub(super) fn holds(&self, h: &RecordHeader, now: WallMs) -> bool {
        let order = match (&self.field, &self.literal) {
            (Field::Kind, Literal::Kind(kind)) => Some(h.kind.cmp(kind)),
            (Field::Author, Literal::Peer(peer)) => Some(h.author.cmp(peer)),
            (Field::Key, Literal::Text(text)) => Some((*h.key).cmp(text.as_bytes())),
            (Field::Key, Literal::Bytes(bytes)) => Some((*h.key).cmp(bytes)),
            (Field::Seq, Literal::Int(n)) => Some(i128::from(h.seq).cmp(&i128::from(*n))),
            (Field::Priority, Literal::Int(n)) => Some(i64::from(h.priority).cmp(n)),
            (Field::Created, time) => time.at(now).map(|t| h.created.cmp(&t)),
            (Field::Expires, time) => time.at(now).map(|t| h.expires.cmp(&t)),
            (Field::Attribute(name), literal) => {
                h.attributes.get(name).and_then(|v| literal.order(v, now))
            }
            _ => None,
        };
        order.is_some_and(|order| self.operator.allows(order))
    }
}

impl Operator {
    fn allows(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }

    /// Whether it asks which of two comes first.
    pub(super) fn orders(self) -> bool {
        !matches!(self, Self::Equal | Self::NotEqual)
    }
}

impl Literal {
    /// How the attribute's value stands to this; none if the types differ.
    fn order(&self, value: &Value, now: WallMs) -> Option<Ordering> {
        match (value, self) {
            (Value::Bool(v), Self::Bool(b)) => Some(v.cmp(b)),
            (Value::Int(v), Self::Int(n)) => Some(v.cmp(n)),
            (Value::Time(v), time) => time.at(now).map(|t| v.cmp(&t)),
            (Value::Text(v), Self::Text(text)) => Some((**v).cmp(text.as_str())),
            (Value::Bytes(v), Self::Bytes(bytes)) => Some((**v).cmp(bytes.as_slice())),
            _ => None,
        }
    }

    fn at(&self, now: WallMs) -> Option<WallMs> {
        match self {
            Self::Time(time) => Some(*time),
            Self::Ago(ms) => {
                let by = Duration::from_millis(ms.unsigned_abs());
                Some(match *ms < 0 {
                    true => now.before(by),
                    false => now.after(by),
                })
            }
            _ => None,
        }
    }
}

/// Units of durations, the longest first.
pub(super) const UNITS: [(&str, i64); 6] = [
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.field, self.operator, self.literal)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "kind",
            Self::Author => "author",
            Self::Key => "key",
            Self::Seq => "seq",
            Self::Created => "created",
            Self::Expires => "expires",
            Self::Priority => "priority",
            Self::Attribute(name) => return write!(f, "attr.{name}"),
        })
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        })
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => match kind.name() {
                Some(name) => f.write_str(name),
                None => kind.0.fmt(f),
            },
            Self::Peer(peer) => peer.fmt(f),
            Self::Bool(b) => b.fmt(f),
            Self::Int(n) => n.fmt(f),
            // Only what RFC 3339 can say is ever read into one.
            Self::Time(time) => match jiff::Timestamp::from_millisecond(time.0 as i64) {
                Ok(stamp) => stamp.fmt(f),
                Err(_) => Err(fmt::Error),
            },
            Self::Ago(0) => f.write_str("now"),
            Self::Ago(ms) => {
                let (unit, one) = UNITS.iter().find(|(_, one)| ms % one == 0).expect("1 ms");
                write!(f, "{:+}{unit}", ms / one)
            }
            Self::Text(text) => {
                f.write_str("\"")?;
                for c in text.chars() {
                    if matches!(c, '"' | '\\') {
                        f.write_str("\\")?;
                    }
                    write!(f, "{c}")?;
                }
                f.write_str("\"")
            }
            Self::Bytes(bytes) => write!(f, "x\"{}\"", HEXLOWER.encode(bytes)),
        }
    }
}
