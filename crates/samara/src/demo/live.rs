//! Who gets what from whom, while it happens and afterwards.

use std::io::{IsTerminal, stderr};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    LATE, Received,
    member::{Member, Sight},
};
use crate::{
    quantity::size,
    terminal::{Style, Table},
};

/// A line for each receiver; nothing when standard error is no terminal.
pub(super) struct Live {
    bars: Vec<ProgressBar>,
}

impl Live {
    pub(super) fn new(shown: bool, members: &[&Member]) -> Self {
        if !shown || !stderr().is_terminal() {
            return Self { bars: Vec::new() };
        }
        let all = MultiProgress::new();
        let style =
            ProgressStyle::with_template("  {prefix:10} {bar:20} {percent:>3} %  {wide_msg}")
                .expect("the template is sound")
                .progress_chars("━╸ ");
        let bars = members.iter().map(|member| {
            all.add(
                ProgressBar::new(1)
                    .with_style(style.clone())
                    .with_prefix(member.name),
            )
        });
        Self {
            bars: bars.collect(),
        }
    }

    pub(super) fn show(&mut self, member: usize, sight: &Sight) {
        let Some(bar) = self.bars.get(member) else {
            return;
        };
        bar.set_length(sight.chunks.max(1));
        bar.set_position(sight.have);
        let sources: Vec<_> = sight
            .received
            .iter()
            .filter(|(_, bytes)| *bytes > 0)
            .map(|(from, bytes)| format!("{from} {}", size(*bytes)))
            .collect();
        bar.set_message(sources.join("  "));
    }

    /// The lines stay as they are.
    pub(super) fn end(self) {
        for bar in self.bars {
            bar.abandon();
        }
    }
}

/// Rows receive, columns send.
pub(super) fn matrix(received: &[(String, Received)], late: &Received, style: Style) -> String {
    let mut senders = vec!["publisher".to_owned()];
    senders.extend(received.iter().map(|(name, _)| name.clone()));
    let mut head = vec!["RECEIVED BY".to_owned()];
    head.extend(senders.iter().map(|name| format!("from {name}")));
    let head: Vec<_> = head.iter().map(String::as_str).collect();
    let mut table = Table::new(&head, &[1, 2, 3, 4]);
    let rows = received.iter().map(|(name, from)| (name.as_str(), from));
    for (name, from) in rows.chain([(LATE, late)]) {
        let cells = senders.iter().map(|sender| {
            let bytes = from.iter().find(|(name, _)| name == sender);
            bytes.map_or_else(|| "-".to_owned(), |(_, bytes)| size(*bytes))
        });
        table.row(std::iter::once(name.to_owned()).chain(cells));
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_has_a_row_for_each_receiver() {
        let from = |pairs: &[(&str, u64)]| -> Received {
            pairs
                .iter()
                .map(|&(name, bytes)| (name.to_owned(), bytes))
                .collect()
        };
        let received = vec![
            (
                "anna".to_owned(),
                from(&[("publisher", 1 << 20), ("bert", 0)]),
            ),
            (
                "bert".to_owned(),
                from(&[("publisher", 0), ("anna", 2 << 20)]),
            ),
        ];
        let text = matrix(&received, &from(&[("anna", 5), ("bert", 6)]), Style::PLAIN);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|l| {
                l.split("  ")
                    .map(str::trim)
                    .filter(|c| !c.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(
            rows[0],
            ["RECEIVED BY", "from publisher", "from anna", "from bert"]
        );
        assert_eq!(rows[1], ["anna", "1.0 MiB", "-", "0 B"]);
        assert_eq!(rows[3], ["dora", "-", "5 B", "6 B"]);
    }
}
