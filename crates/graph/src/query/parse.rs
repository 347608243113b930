use std::{iter::Peekable, vec};

use data_encoding::HEXLOWER_PERMISSIVE;

use super::{
    Condition, Expr, Field, Literal, QueryError, QueryProblem,
    condition::UNITS,
    token::{Token, tokens, unexpected},
};
use crate::{Kind, WallMs, attribute::valid_name, limits};

pub(super) fn parse(text: &str) -> Result<Expr, QueryError> {
    if text.len() > limits::MAX_QUERY_BYTES {
        let before = text
            .char_indices()
            .take_while(|(at, _)| *at < limits::MAX_QUERY_BYTES);
        let (column, problem) = (before.count() + 1, QueryProblem::TooLong);
        return Err(QueryError { column, problem });
    }
    let mut parser = Parser {
        tokens: tokens(text)?.into_iter().peekable(),
        end: text.chars().count() + 1,
        depth: 0,
    };
    let expr = parser.any()?;
    match parser.tokens.next() {
        None => Ok(expr),
        Some((column, token)) => Err(unexpected(column, "and, or, or the end", token.describe())),
    }
}

struct Parser {
    tokens: Peekable<vec::IntoIter<(usize, Token)>>,
    /// The column behind the text.
    end: usize,
    depth: usize,
}

impl Parser {
    fn any(&mut self) -> Result<Expr, QueryError> {
        let mut parts = vec![self.all()?];
        while self.word("or").is_some() {
            parts.push(self.all()?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Expr::Or(parts),
        })
    }

    fn all(&mut self) -> Result<Expr, QueryError> {
        let mut parts = vec![self.one()?];
        while self.word("and").is_some() {
            parts.push(self.one()?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Expr::And(parts),
        })
    }

    fn one(&mut self) -> Result<Expr, QueryError> {
        if let Some(column) = self.word("not") {
            self.descend(column)?;
            let inner = self.one()?;
            self.depth -= 1;
            return Ok(Expr::Not(Box::new(inner)));
        }
        let (column, token) = self.next("a field, not, or \"(\"")?;
        match token {
            Token::Open => {
                self.descend(column)?;
                let inner = self.any()?;
                let (column, token) = self.next("\")\"")?;
                if token != Token::Close {
                    return Err(unexpected(column, "and, or, or \")\"", token.describe()));
                }
                self.depth -= 1;
                Ok(inner)
            }
            Token::Word(word) => self.condition(column, word).map(Expr::Is),
            other => Err(unexpected(
                column,
                "a field, not, or \"(\"",
                other.describe(),
            )),
        }
    }

    fn condition(&mut self, column: usize, word: String) -> Result<Condition, QueryError> {
        let field = match &*word {
            "kind" => Field::Kind,
            "author" => Field::Author,
            "key" => Field::Key,
            "seq" => Field::Seq,
            "created" => Field::Created,
            "expires" => Field::Expires,
            "priority" => Field::Priority,
            _ => match word.strip_prefix("attr.") {
                Some(name) if valid_name(name) => Field::Attribute(name.to_owned()),
                _ => {
                    let problem = QueryProblem::UnknownField(word);
                    return Err(QueryError { column, problem });
                }
            },
        };
        let expected = "=, !=, <, <=, > or >=";
        let (column, operator) = match self.next(expected)? {
            (column, Token::Operator(operator)) => (column, operator),
            (column, token) => return Err(unexpected(column, expected, token.describe())),
        };
        let (at, token) = self.next("a value")?;
        let literal = literal(&field, &token).map_err(|problem| QueryError {
            column: at,
            problem,
        })?;
        if let (true, Some(what)) = (operator.orders(), unordered(&literal)) {
            let problem = QueryProblem::Unordered(what);
            return Err(QueryError { column, problem });
        }
        Ok(Condition {
            field,
            operator,
            literal,
        })
    }

    /// Takes a word if it is the next token; its column.
    fn word(&mut self, wanted: &str) -> Option<usize> {
        let is = |token: &(usize, Token)| matches!(&token.1, Token::Word(w) if w == wanted);
        self.tokens.next_if(is).map(|(column, _)| column)
    }

    fn next(&mut self, expected: &'static str) -> Result<(usize, Token), QueryError> {
        let end = || unexpected(self.end, expected, "the end".to_owned());
        self.tokens.next().ok_or_else(end)
    }

    fn descend(&mut self, column: usize) -> Result<(), QueryError> {
        self.depth += 1;
        let problem = QueryProblem::TooDeep;
        match self.depth > limits::MAX_QUERY_DEPTH {
            true => Err(QueryError { column, problem }),
            false => Ok(()),
        }
    }
}

fn unordered(literal: &Literal) -> Option<&'static str> {
    match literal {
        Literal::Peer(_) => Some("an author"),
        Literal::Bool(_) => Some("true or false"),
        _ => None,
    }
}

/// Reads a token as what the field is compared with.
fn literal(field: &Field, token: &Token) -> Result<Literal, QueryProblem> {
    let wrong = |field, expected| QueryProblem::WrongType {
        field,
        expected,
        found: token.describe(),
    };
    match field {
        Field::Kind => kind(token)?.ok_or_else(|| wrong("kind", "a number or a name like release")),
        Field::Author => match token {
            Token::Word(word) | Token::Text(word) => word.parse().ok().map(Literal::Peer),
            _ => None,
        }
        .ok_or_else(|| wrong("author", "a peer's id of 52 characters")),
        Field::Key => match token {
            Token::Text(text) => Some(Literal::Text(text.clone())),
            other => bytes(other),
        }
        .ok_or_else(|| wrong("key", "a text in quotes or bytes like x\"00ff\"")),
        Field::Seq | Field::Priority => {
            let name = match field {
                Field::Seq => "seq",
                _ => "priority",
            };
            number(token)?.ok_or_else(|| wrong(name, "a number"))
        }
        Field::Created | Field::Expires => {
            let name = match field {
                Field::Created => "created",
                _ => "expires",
            };
            let expected = "a time like 2026-01-31T12:00:00Z, now, or a duration like -7d";
            time(token)?.ok_or_else(|| wrong(name, expected))
        }
        Field::Attribute(_) => {
            let found = match token {
                Token::Text(text) => Some(Literal::Text(text.clone())),
                Token::Word(word) if word == "true" => Some(Literal::Bool(true)),
                Token::Word(word) if word == "false" => Some(Literal::Bool(false)),
                other => match (bytes(other), number(other)?) {
                    (None, None) => time(other)?,
                    (bytes, number) => bytes.or(number),
                },
            };
            let expected = "a number, a text in quotes, bytes, a time, a duration, true or false";
            found.ok_or_else(|| wrong("an attribute", expected))
        }
    }
}

fn kind(token: &Token) -> Result<Option<Literal>, QueryProblem> {
    let Token::Word(word) = token else {
        return Ok(None);
    };
    if let Some(kind) = Kind::named(word) {
        return Ok(Some(Literal::Kind(kind)));
    }
    match number(token)? {
        Some(Literal::Int(n)) => match u32::try_from(n) {
            Ok(n) => Ok(Some(Literal::Kind(Kind(n)))),
            Err(_) => Err(QueryProblem::OutOfRange(word.clone())),
        },
        _ => Ok(None),
    }
}

fn number(token: &Token) -> Result<Option<Literal>, QueryProblem> {
    let Token::Word(word) = token else {
        return Ok(None);
    };
    let digits = word.strip_prefix(['-', '+']).unwrap_or(word);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match word.parse() {
        Ok(n) => Ok(Some(Literal::Int(n))),
        Err(_) => Err(QueryProblem::OutOfRange(word.clone())),
    }
}

fn bytes(token: &Token) -> Option<Literal> {
    match token {
        Token::Hex(hex) => HEXLOWER_PERMISSIVE
            .decode(hex.as_bytes())
            .ok()
            .map(Literal::Bytes),
        _ => None,
    }
}

fn time(token: &Token) -> Result<Option<Literal>, QueryProblem> {
    let Token::Word(word) = token else {
        return Ok(None);
    };
    if word == "now" {
        return Ok(Some(Literal::Ago(0)));
    }
    if let Some(ago) = duration(word)? {
        return Ok(Some(Literal::Ago(ago)));
    }
    let Ok(stamp) = word.parse::<jiff::Timestamp>() else {
        return Ok(None);
    };
    let ms = u64::try_from(stamp.as_millisecond()).ok();
    match ms.filter(|ms| *ms <= limits::MAX_TIME_MS) {
        Some(ms) => Ok(Some(Literal::Time(WallMs(ms)))),
        None => Err(QueryProblem::OutOfRange(word.clone())),
    }
}

/// `-7d`, `+90m`, `500ms`: milliseconds.
fn duration(word: &str) -> Result<Option<i64>, QueryProblem> {
    let start = usize::from(word.starts_with(['-', '+']));
    let end = word[start..].find(|c: char| !c.is_ascii_digit());
    let Some(end) = end.map(|end| start + end).filter(|end| *end > start) else {
        return Ok(None);
    };
    let Some((_, one)) = UNITS.iter().find(|(name, _)| *name == &word[end..]) else {
        return Ok(None);
    };
    let number = word[..end].parse::<i64>().ok();
    let ms = number.and_then(|n| n.checked_mul(*one));
    match ms.filter(|ms| ms.unsigned_abs() <= limits::MAX_TIME_MS) {
        Some(ms) => Ok(Some(ms)),
        None => Err(QueryProblem::OutOfRange(word.to_owned())),
    }
}
