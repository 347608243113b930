//! Which records somebody wants to see, as text: `kind = release and created > -7d`.
//!
//! ```text
//! query    = term { "or" term }
//! term     = factor { "and" factor }
//! factor   = "not" factor | "(" query ")" | field operator literal
//! field    = kind author key seq created expires priority attr.NAME
//! operator = "=" "!=" "<" "<=" ">" ">="
//! literal  = number | text | bytes | time | duration | "now" | "true" | "false" | name
//! ```

mod condition;
mod parse;
mod token;

use std::fmt;

use thiserror::Error;

use crate::{RecordHeader, WallMs, limits};
pub(crate) use condition::{Condition, Field, Literal, Operator};

/// A question to a record, read from text.
///
/// A comparison with an attribute that a record does not have, or that is of
/// another type there, does not hold, whatever the operator; `not` turns it round.
/// Text and keys are ordered by their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query(Expr);

/// Conditions put together; at most [`limits::MAX_QUERY_DEPTH`] deep.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expr {
    /// Of two or more one holds.
    Or(Vec<Expr>),
    /// Two or more, and all hold.
    And(Vec<Expr>),
    Not(Box<Expr>),
    Is(Condition),
}

impl Query {
    /// Reads a query of at most [`limits::MAX_QUERY_BYTES`].
    ///
    /// # Errors
    /// [`QueryError`], which says where.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        parse::parse(text).map(Self)
    }

    /// Whether the record is one of those; durations count from `now`.
    ///
    /// The header must have its attributes: one from the store, not one that a
    /// [`Graph`](crate::Graph) holds.
    pub fn matches(&self, header: &RecordHeader, now: WallMs) -> bool {
        self.0.holds(header, now)
    }
}

impl Expr {
    fn holds(&self, h: &RecordHeader, now: WallMs) -> bool {
        match self {
            Self::Or(parts) => parts.iter().any(|p| p.holds(h, now)),
            Self::And(parts) => parts.iter().all(|p| p.holds(h, now)),
            Self::Not(inner) => !inner.holds(h, now),
            Self::Is(condition) => condition.holds(h, now),
        }
    }
}

/// As [`Query::parse`] reads it.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str| {
            for (i, part) in parts.iter().enumerate() {
                if i > 0 {
                    f.write_str(word)?;
                }
                part.within(f, word == " and ")?;
            }
            Ok(())
        };
        match self {
            Self::Or(parts) => joined(f, parts, " or "),
            Self::And(parts) => joined(f, parts, " and "),
            Self::Not(inner) => {
                f.write_str("not ")?;
                inner.within(f, true)
            }
            Self::Is(condition) => condition.fmt(f),
        }
    }
}

impl Expr {
    /// As a part of another, in parentheses where it would be read otherwise.
    fn within(&self, f: &mut fmt::Formatter<'_>, tight: bool) -> fmt::Result {
        match self {
            Self::Or(_) => write!(f, "({self})"),
            Self::And(_) if tight => write!(f, "({self})"),
            _ => fmt::Display::fmt(self, f),
        }
    }
}

/// Why a text is no query, and where: columns count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("column {column}: {problem}")]
pub struct QueryError {
    /// The character that it is about, or one behind the last.
    pub column: usize,
    /// What is wrong with it.
    pub problem: QueryProblem,
}

/// What is wrong with a query.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QueryProblem {
    /// More than [`limits::MAX_QUERY_BYTES`].
    #[error("the query is longer than {max} bytes", max = limits::MAX_QUERY_BYTES)]
    TooLong,
    /// More than [`limits::MAX_QUERY_DEPTH`].
    #[error("more than {max} parentheses and nots within each other", max = limits::MAX_QUERY_DEPTH)]
    TooDeep,
    /// Something else should be here.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What could stand here.
        expected: &'static str,
        /// What does.
        found: String,
    },
    /// A text without its closing quote.
    #[error("the text has no closing quote")]
    OpenText,
    /// No such field.
    #[error(
        "there is no field {0:?}; fields are kind, author, key, seq, created, expires, priority and attr.NAME"
    )]
    UnknownField(String),
    /// The operator says nothing of such values.
    #[error("{0} can only be compared with = and !=")]
    Unordered(&'static str),
    /// The literal is of another type than the field.
    #[error("{field} is compared with {expected}, not with {found}")]
    WrongType {
        /// The field.
        field: &'static str,
        /// What it is compared with.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A number, time or duration outside what can be signed.
    #[error("{0} is out of range")]
    OutOfRange(String),
}

#[cfg(test)]
mod tests;
