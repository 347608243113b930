use samara_wire::{Reader, WireError, Writer};
use thiserror::Error;

use crate::{WallMs, limits};

/// What an application says of a record for others to search by, outside its body
/// and under its signature: at most [`limits::MAX_ATTRIBUTES`] names with a value
/// each, in order of the names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Box<[(Box<str>, Value)]>);

/// The value of an attribute. Values of different types are never equal, and not
/// ordered by each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A point in time, at most [`limits::MAX_TIME_MS`].
    Time(WallMs),
    /// At most [`limits::MAX_ATTRIBUTE_BYTES`] of UTF-8.
    Text(Box<str>),
    /// At most [`limits::MAX_ATTRIBUTE_BYTES`].
    Bytes(Box<[u8]>),
}

impl Attributes {
    /// Puts them in order.
    ///
    /// # Errors
    /// [`AttributeError`].
    pub fn new(all: impl IntoIterator<Item = (String, Value)>) -> Result<Self, AttributeError> {
        let mut list: Vec<(Box<str>, Value)> = Vec::new();
        for (name, value) in all {
            if list.len() == limits::MAX_ATTRIBUTES {
                return Err(AttributeError::TooMany);
            }
            if !valid_name(&name) {
                return Err(AttributeError::Name(name));
            }
            if !value.fits() {
                return Err(AttributeError::Value(name));
            }
            list.push((name.into(), value));
        }
        list.sort_by(|a, b| a.0.cmp(&b.0));
        match list.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => Err(AttributeError::Twice(pair[0].0.to_string())),
            None => Ok(Self(list.into())),
        }
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// All of them, in order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.varint(self.0.len() as u64);
        for (name, value) in &self.0 {
            w.str(name);
            match value {
                Value::Bool(b) => {
                    w.u8(0);
                    w.bool(*b);
                }
                Value::Int(n) => {
                    w.u8(1);
                    w.u64(n.cast_unsigned());
                }
                Value::Time(t) => {
                    w.u8(2);
                    w.varint(t.0);
                }
                Value::Text(text) => {
                    w.u8(3);
                    w.str(text);
                }
                Value::Bytes(bytes) => {
                    w.u8(4);
                    w.bytes(bytes);
                }
            }
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let n = r.count("attributes", limits::MAX_ATTRIBUTES, 4)?;
        let mut list: Vec<(Box<str>, Value)> = Vec::with_capacity(n);
        for _ in 0..n {
            let field = "attribute name";
            let name = r.str(field, limits::MAX_ATTRIBUTE_NAME)?;
            if !valid_name(name) {
                return Err(WireError::Invalid { field });
            }
            if list.last().is_some_and(|(last, _)| **last >= *name) {
                return Err(WireError::NonCanonical { field });
            }
            let field = "attribute value";
            let value = match r.u8("attribute type")? {
                0 => Value::Bool(r.bool(field)?),
                1 => Value::Int(r.u64(field)?.cast_signed()),
                2 => Value::Time(WallMs(r.varint(field, limits::MAX_TIME_MS)?)),
                3 => Value::Text(r.str(field, limits::MAX_ATTRIBUTE_BYTES)?.into()),
                4 => Value::Bytes(r.bytes(field, limits::MAX_ATTRIBUTE_BYTES)?.into()),
                _ => {
                    let field = "attribute type";
                    return Err(WireError::Invalid { field });
                }
            };
            list.push((name.into(), value));
        }
        Ok(Self(list.into()))
    }
}

impl Value {
    fn fits(&self) -> bool {
        match self {
            Self::Bool(_) | Self::Int(_) => true,
            Self::Time(t) => t.0 <= limits::MAX_TIME_MS,
            Self::Text(text) => text.len() <= limits::MAX_ATTRIBUTE_BYTES,
            Self::Bytes(bytes) => bytes.len() <= limits::MAX_ATTRIBUTE_BYTES,
        }
    }

    /// `bool`, `int`, `time`, `text` or `bytes`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Time(_) => "time",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
        }
    }
}

/// Whether it can name an attribute: 1 to [`limits::MAX_ATTRIBUTE_NAME`] of
/// `a`–`z`, `0`–`9`, `_`, `-` and `.`, starting with a letter.
pub(crate) fn valid_name(name: &str) -> bool {
    name.len() <= limits::MAX_ATTRIBUTE_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'))
}

/// Why values cannot be a record's attributes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// More than [`limits::MAX_ATTRIBUTES`].
    #[error("a record has at most {max} attributes", max = limits::MAX_ATTRIBUTES)]
    TooMany,
    /// Not 1 to [`limits::MAX_ATTRIBUTE_NAME`] of the letters that a name may have.
    #[error(
        "{0:?} is no name for an attribute: 1 to {max} of a-z, 0-9, '_', '-' and '.', starting with a letter",
        max = limits::MAX_ATTRIBUTE_NAME
    )]
    Name(String),
    /// The value is outside its bounds.
    #[error("the value of the attribute {0} is too large")]
    Value(String),
    /// One name, two values.
    #[error("the attribute {0} is given twice")]
    Twice(String),
}
