//! What may reach a terminal: foreign text without its teeth, colours only where
//! they are wanted.

use std::{
    env,
    fmt::Display,
    io::{IsTerminal, stdout},
};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Widest line that prose is wrapped at, however wide the terminal is.
const WIDEST: usize = 100;
/// Longest control string that is dropped whole; a longer one is no control string
/// but an attempt to swallow the text after it.
const LONGEST_STRING: usize = 256;

/// Foreign text as one line: names, subjects, paths, messages. Escape sequences,
/// control characters and marks that turn the reading direction are gone, line
/// breaks and tabs are spaces.
pub(crate) fn line(text: &str) -> String {
    clean(text, false)
}

/// Foreign text as a body: as [`line()`], with its line breaks and tabs.
pub(crate) fn body(text: &str) -> String {
    clean(text, true)
}

fn clean(text: &str, breaks: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\u{1b}' => skip_escape(after),
            '\u{9b}' => skip_csi(after),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(after),
            '\n' | '\t' if breaks => {
                out.push(c);
                after
            }
            '\n' | '\t' | '\u{2028}' | '\u{2029}' => {
                out.push(if breaks { '\n' } else { ' ' });
                after
            }
            c => {
                if !is_unsafe(c) {
                    out.push(c);
                }
                after
            }
        };
    }
    out
}

/// Control characters (C0, DEL, C1), marks of reading direction, and tags that no
/// one sees.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// ECMA-48 section 5.3: what ESC introduces.
fn skip_escape(after: &str) -> &str {
    match after.chars().next() {
        Some('[') => skip_csi(&after[1..]),
        Some(']' | 'P' | 'X' | '^' | '_') => skip_string(&after[1..]),
        Some(c @ '\u{20}'..='\u{2f}') => {
            let rest =
                after[c.len_utf8()..].trim_start_matches(|c| ('\u{20}'..='\u{2f}').contains(&c));
            match rest.chars().next() {
                Some(last @ '\u{30}'..='\u{7e}') => &rest[last.len_utf8()..],
                _ => rest,
            }
        }
        Some('\u{30}'..='\u{7e}') => &after[1..],
        _ => after,
    }
}

/// ECMA-48 section 5.4: parameters, intermediates, one final byte.
fn skip_csi(after: &str) -> &str {
    let rest = after.trim_start_matches(|c| ('\u{20}'..='\u{3f}').contains(&c));
    match rest.chars().next() {
        Some('\u{40}'..='\u{7e}') => &rest[1..],
        _ => rest,
    }
}

/// ECMA-48 section 5.6: everything up to BEL or ST. Without an end nearby, only
/// the introducer goes.
fn skip_string(after: &str) -> &str {
    for (at, c) in after.char_indices().take(LONGEST_STRING) {
        match c {
            '\u{7}' | '\u{9c}' => return &after[at + c.len_utf8()..],
            '\u{1b}' if after[at + 1..].starts_with('\\') => return &after[at + 2..],
            '\n' => break,
            _ => {}
        }
    }
    after
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// None at all.
    #[cfg(test)]
    pub(crate) const PLAIN: Self = Self { colours: false };

    /// For standard output: on a terminal, unless `NO_COLOR` is set (no-color.org)
    /// or the terminal is a dumb one.
    pub(crate) fn of_stdout() -> Self {
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colours: stdout().is_terminal() && !no_color && !dumb,
        }
    }

    #[cfg(test)]
    pub(crate) const COLOURED: Self = Self { colours: true };

    /// Whether it paints at all.
    pub(crate) fn is_coloured(self) -> bool {
        self.colours
    }

    pub(crate) fn paint(self, codes: &str, text: impl Display) -> String {
        if self.colours && !codes.is_empty() {
            format!("\u{1b}[{codes}m{text}\u{1b}[0m")
        } else {
            text.to_string()
        }
    }

    pub(crate) fn bold(self, text: impl Display) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: impl Display) -> String {
        self.paint("2", text)
    }

    pub(crate) fn good(self, text: impl Display) -> String {
        self.paint("32", text)
    }
}

/// Columns that text may use: of the terminal, else 80; at most [`WIDEST`].
pub(crate) fn columns() -> usize {
    rustix::termios::tcgetwinsize(stdout())
        .map_or(80, |size| usize::from(size.ws_col))
        .clamp(20, WIDEST)
}

/// Columns of the terminal that standard output is, if it is one.
pub(crate) fn terminal_columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Columns that `text` takes; it holds no escape sequences.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Columns that one character takes.
pub(crate) fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Letters and digits in a row that are an id, or a key in hexadecimal.
const LONG_ID: usize = 40;
/// What is left of one in a narrow terminal.
const SHORT_ID: usize = 12;
/// No column is cut below it.
const NARROWEST: usize = 8;

/// Rows with aligned columns, two spaces between them; the first row is the head.
/// Cells are cleaned here, so callers need not.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: &'static [usize],
}

impl Table {
    /// `right`: the columns whose numbers stand at their right edge.
    pub(crate) fn new(head: &[&str], right: &'static [usize]) -> Self {
        Self {
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
            right,
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| line(&cell)).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// Makes rows fit a terminal, where they are read and not searched: ids and the like
    /// are cut to a beginning that commands take as well, then the widest columns.
    pub(crate) fn fit(&mut self, columns: usize) {
        let gaps = 2 * (self.rows[0].len() - 1);
        let room = columns.saturating_sub(gaps);
        if self.widths().iter().sum::<usize>() <= room {
            return;
        }
        for cell in self.rows.iter_mut().skip(1).flatten() {
            *cell = shorten_ids(cell);
        }
        loop {
            let widths = self.widths();
            let over = widths.iter().sum::<usize>().saturating_sub(room);
            let widest = (0..widths.len()).max_by_key(|n| widths[*n]);
            let Some(n) = widest.filter(|n| over > 0 && widths[*n] > NARROWEST) else {
                return;
            };
            // Not below the next widest, which takes its part of it.
            let next = widths.iter().filter(|w| **w < widths[n]).max();
            let most = next.map_or(widths[n] - 1, |next| (widths[n] - next).max(1));
            let to = (widths[n] - over.min(most)).max(NARROWEST);
            for row in &mut self.rows {
                if let Some(cell) = row.get_mut(n) {
                    *cell = cut(cell, to);
                }
            }
        }
    }

    fn widths(&self) -> Vec<usize> {
        let of = |n: usize| {
            let cells = self.rows.iter().filter_map(move |row| row.get(n));
            cells.map(|cell| width(cell)).max().unwrap_or(0)
        };
        (0..self.rows[0].len()).map(of).collect()
    }

    /// All rows, each ended by a line break.
    pub(crate) fn render(&self, style: Style) -> String {
        let widths = self.widths();
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut text = String::new();
            for (n, cell) in row.iter().enumerate() {
                let gap = " ".repeat(widths[n] - width(cell));
                if self.right.contains(&n) {
                    text.push_str(&gap);
                    text.push_str(cell);
                } else {
                    text.push_str(cell);
                    text.push_str(&gap);
                }
                text.push_str("  ");
            }
            let text = text.trim_end();
            out.push_str(&if number == 0 {
                style.dim(text)
            } else {
                text.to_owned()
            });
            out.push('\n');
        }
        out
    }
}

/// Cuts what is as long as an id to its beginning.
fn shorten_ids(cell: &str) -> String {
    let mut out = String::new();
    let mut rest = cell;
    while !rest.is_empty() {
        let word = |c: char| c.is_ascii_alphanumeric();
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        match run.len() >= LONG_ID {
            true => out.push_str(&format!("{}\u{2026}", &run[..SHORT_ID])),
            false => out.push_str(run),
        }
        let next = after.find(word).unwrap_or(after.len());
        out.push_str(&after[..next]);
        rest = &after[next..];
    }
    out
}

/// The beginning of a cell in at most that many columns, and a mark if it is not all.
fn cut(cell: &str, columns: usize) -> String {
    if width(cell) <= columns {
        return cell.to_owned();
    }
    let mut out = String::new();
    for c in cell.chars() {
        if width(&out) + char_width(c) + 1 > columns {
            break;
        }
        out.push(c);
    }
    out.push('\u{2026}');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_go_whole() {
        for (hostile, clean) in [
            ("a\u{1b}[31;1mb\u{1b}[0m", "ab"),
            ("a\u{1b}]0;owned\u{7}b", "ab"),
            ("a\u{1b}]8;;http://evil\u{1b}\\b", "ab"),
            ("a\u{9b}2Jb", "ab"),
            ("a\u{9d}52;c;ZXZpbA==\u{9c}b", "ab"),
            ("a\u{1b}Pq#0\u{1b}\\b", "ab"),
            ("a\u{1b}(0b", "ab"),
            ("a\u{1b}cb", "ab"),
            ("a\u{1b}", "a"),
            ("a\u{1b}[", "a"),
            ("a\r\u{8}\u{7f}b", "ab"),
            ("invoice\u{202e}fdp.exe", "invoicefdp.exe"),
            ("a\nb\tc", "a b c"),
        ] {
            assert_eq!(line(hostile), clean, "{hostile:?}");
        }
    }

    #[test]
    fn a_string_without_end_swallows_nothing() {
        assert_eq!(line("a\u{1b}]0;the rest is seen"), "a0;the rest is seen");
        let long = format!("\u{1b}]{}\u{7}", "x".repeat(LONGEST_STRING));
        assert_eq!(line(&long).len(), LONGEST_STRING);
        assert_eq!(body("\u{1b}]0;x\ny\u{7}z"), "0;x\nyz");
    }

    #[test]
    fn a_body_keeps_its_lines() {
        assert_eq!(body("a\r\n\tb\u{2028}c"), "a\n\tb\nc");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left(text in "(\\PC|[\u{0}-\u{a0}]|\u{1b}[\\[\\]P_]){0,60}") {
            prop_assert!(!line(&text).chars().any(is_unsafe));
            prop_assert!(!body(&text).chars().any(|c| is_unsafe(c) && c != '\n' && c != '\t'));
        }

        #[test]
        fn harmless_text_stays(text in "[a-zA-Zäß漢字 .,/_-]{0,60}") {
            prop_assert_eq!(line(&text), text);
        }
    }

    #[test]
    fn columns_align_also_with_wide_characters() {
        let mut table = Table::new(&["NAME", "SIZE"], &[1]);
        table.row(["漢字".to_owned(), "7 B".to_owned()]);
        table.row(["\u{1b}[31mx".to_owned(), "10 B".to_owned()]);
        assert_eq!(
            table.render(Style::PLAIN),
            "NAME  SIZE\n漢字   7 B\nx     10 B\n"
        );
    }

    #[test]
    fn a_table_fits_the_terminal_by_its_ids_first() {
        let id = "abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrst";
        let words = "so ".repeat(20);
        let table = || {
            let mut table = Table::new(&["WHO", "N", "SUBJECT"], &[1]);
            table.row([
                format!("{id} (this node)"),
                "7".into(),
                words.trim().to_owned(),
            ]);
            table.row(["x".into(), "12".into(), "short".into()]);
            table
        };
        let mut wide = table();
        wide.fit(200);
        assert_eq!(wide.render(Style::PLAIN), table().render(Style::PLAIN));
        let mut fitted = table();
        fitted.fit(96);
        let text = fitted.render(Style::PLAIN);
        assert!(text.contains("abcdefghijkl\u{2026} (this node)"), "{text}");
        assert!(text.contains(words.trim()), "{text}");
        for columns in [40, 60, 80] {
            let mut fitted = table();
            fitted.fit(columns);
            let text = fitted.render(Style::PLAIN);
            assert!(
                text.lines().all(|l| width(l) <= columns),
                "{columns}: {text}"
            );
        }
    }
}
