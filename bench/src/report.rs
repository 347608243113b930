//! What is printed and written: tables of medians, JSON with every single run.

use std::{
    collections::HashMap,
    fmt, fs,
    io::{self, Write},
    path::Path,
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    error::{Context, Error, Result},
    machine::Machine,
};

/// A tool that failed, with why.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) tool: &'static str,
    pub(crate) receivers: usize,
    pub(crate) message: String,
}

/// The JSON file.
#[derive(Serialize)]
pub(crate) struct Document<'a, R: Serialize> {
    pub(crate) bench: &'a str,
    /// Seconds since 1970.
    pub(crate) at: u64,
    pub(crate) machine: &'a Machine,
    pub(crate) parameters: Value,
    pub(crate) versions: HashMap<&'static str, String>,
    pub(crate) runs: &'a [R],
    /// One object per row of the table.
    pub(crate) medians: Value,
    pub(crate) failures: &'a [Failure],
}

impl<R: Serialize> Document<'_, R> {
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text =
            serde_json::to_string_pretty(self).map_err(|e| Error::Setup(format!("JSON: {e}")))?;
        fs::write(path, text + "\n").on("writing", path)
    }
}

/// Makes sure that a file can be written, before hours were spent on what goes into it.
/// What it holds stays.
pub(crate) fn probe(path: &Path) -> Result<()> {
    let there = path.exists();
    fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .on("opening", path)?;
    match there {
        true => Ok(()),
        false => fs::remove_file(path).on("removing", path),
    }
}

/// A line for standard output, and whether anybody is there to read it.
pub(crate) fn say(line: impl fmt::Display) -> Result<()> {
    writeln!(io::stdout(), "{line}").map_err(|source| match source.kind() {
        io::ErrorKind::BrokenPipe => Error::Unread,
        _ => Error::Io {
            what: "writing to standard output".into(),
            source,
        },
    })
}

/// The middle value; of an even number the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => f64::NAN,
        _ if n % 2 == 1 => values[n / 2],
        _ => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// A column: its head, and the cell of a row.
pub(crate) type Column<'a, R> = (&'static str, &'a dyn Fn(&R) -> String);

/// The rows as a table.
pub(crate) fn render<R>(columns: &[Column<'_, R>], rows: &[R]) -> String {
    let head: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|(_, cell)| cell(row)).collect())
        .collect();
    table(&head, &rows)
}

/// A Markdown table with padded columns.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width: Vec<usize> = (0..head.len())
        .map(|i| {
            let cells = rows.iter().map(|row| row[i].chars().count());
            // A rule of a right-aligned column is at least "--:".
            cells.chain([head[i].chars().count(), 3]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&width)
            .enumerate()
            .map(|(i, (cell, &w))| {
                if i == 0 {
                    format!("{cell:<w$}")
                } else {
                    format!("{cell:>w$}")
                }
            })
            .collect();
        format!("| {} |\n", padded.join(" | "))
    };
    let rule: Vec<String> = width
        .iter()
        .enumerate()
        .map(|(i, &w)| {
            if i == 0 {
                "-".repeat(w)
            } else {
                "-".repeat(w - 1) + ":"
            }
        })
        .collect();
    let mut out = line(head.to_vec());
    out += &line(rule.iter().map(String::as_str).collect());
    for row in rows {
        out += &line(row.iter().map(String::as_str).collect());
    }
    out
}

/// Single values of the repeats, for the last column.
pub(crate) fn each(values: &[f64]) -> String {
    values
        .iter()
        .map(|v| format!("{v:.2}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_numbers() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_noticed_and_one_that_can_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.json");
        probe(&path).unwrap();
        assert!(!path.exists());
        fs::write(&path, "before").unwrap();
        probe(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        for bad in [dir.path().join("none/runs.json"), dir.path().to_owned()] {
            let error = probe(&bad).unwrap_err().to_string();
            assert!(error.contains(bad.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn columns_line_up() {
        let text = table(&["tool", "s"], &[vec!["x×".into(), "12.5".into()]]);
        assert_eq!(text, "| tool |    s |\n| ---- | ---: |\n| x×   | 12.5 |\n");
    }
}
