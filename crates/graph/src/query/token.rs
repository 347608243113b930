use super::{Operator, QueryError, QueryProblem};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Open,
    Close,
    Operator(Operator),
    /// Without quotes: a field, a name, a number, a time.
    Word(String),
    Text(String),
    /// `x"..."`, as it was written.
    Hex(String),
}

impl Token {
    /// As a message names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Open => "\"(\"".to_owned(),
            Self::Close => "\")\"".to_owned(),
            Self::Operator(operator) => format!("\"{operator}\""),
            Self::Word(word) => format!("{word:?}"),
            Self::Text(_) => "a text".to_owned(),
            Self::Hex(_) => "bytes".to_owned(),
        }
    }
}

/// Cuts a text into tokens, each with its column.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, QueryError> {
    let mut chars = text.chars().enumerate().map(|(i, c)| (i + 1, c)).peekable();
    let mut found = Vec::new();
    while let Some((column, c)) = chars.next() {
        let token = match c {
            c if c.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            '=' => Token::Operator(Operator::Equal),
            '!' | '<' | '>' => {
                let equal = chars.next_if(|(_, next)| *next == '=').is_some();
                Token::Operator(match (c, equal) {
                    ('!', true) => Operator::NotEqual,
                    ('<', true) => Operator::LessOrEqual,
                    ('<', false) => Operator::Less,
                    ('>', true) => Operator::GreaterOrEqual,
                    ('>', false) => Operator::Greater,
                    _ => {
                        return Err(unexpected(column, "!=", "\"!\"".to_owned()));
                    }
                })
            }
            '"' | '\'' => Token::Text(quoted(column, c, &mut chars)?),
            'x' if chars.next_if(|(_, next)| *next == '"').is_some() => {
                Token::Hex(quoted(column, '"', &mut chars)?)
            }
            c if is_word(c) => {
                let mut word = String::from(c);
                while let Some((_, next)) = chars.next_if(|(_, next)| is_word(*next)) {
                    word.push(next);
                }
                Token::Word(word)
            }
            other => {
                let found = format!("{other:?}");
                return Err(unexpected(column, "a field or a value", found));
            }
        };
        found.push((column, token));
    }
    Ok(found)
}

/// A quoted text; a backslash takes the meaning from the character after it.
fn quoted(
    column: usize,
    quote: char,
    chars: &mut impl Iterator<Item = (usize, char)>,
) -> Result<String, QueryError> {
    let mut text = String::new();
    while let Some((_, c)) = chars.next() {
        match c {
            c if c == quote => return Ok(text),
            '\\' => match chars.next() {
                Some((_, escaped)) => text.push(escaped),
                None => break,
            },
            other => text.push(other),
        }
    }
    let problem = QueryProblem::OpenText;
    Err(QueryError { column, problem })
}

/// Names, numbers, identifiers, times: `attr.lang`, `-7d`, `2025-01-01T00:00:00.5+01:00`.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '.' | ':')
}

pub(super) fn unexpected(column: usize, expected: &'static str, found: String) -> QueryError {
    QueryError {
        column,
        problem: QueryProblem::Unexpected { expected, found },
    }
}
