use std::{collections::HashMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use samara_node::api::Event;

use crate::{
    quantity::{rate, size, span},
    terminal::line,
};

/// Longest name shown beside a bar.
const NAME_CHARS: usize = 24;

/// Bars on standard error while something is under way; nothing at all when that
/// is no terminal.
pub(crate) struct Bars {
    all: MultiProgress,
    transfers: HashMap<String, ProgressBar>,
    import: Option<ProgressBar>,
    waiting: Option<ProgressBar>,
}

impl Bars {
    pub(crate) fn new() -> Self {
        Self {
            // Hides itself when standard error is no terminal.
            all: MultiProgress::new(),
            transfers: HashMap::new(),
            import: None,
            waiting: None,
        }
    }

    /// Writes while the bars are out of the way.
    pub(crate) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.all.suspend(write)
    }

    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Importing { bytes, total } => {
                let all = &self.all;
                let bar = self
                    .import
                    .get_or_insert_with(|| all.add(bar().with_prefix("reading")));
                bar.set_length(*total);
                bar.set_position(*bytes);
                bar.set_message(format!("{} of {}", size(*bytes), size(*total)));
            }
            Event::Waiting { what } => {
                let all = &self.all;
                let spinner = self.waiting.get_or_insert_with(|| {
                    let spinner = all.add(ProgressBar::new_spinner());
                    spinner.enable_steady_tick(Duration::from_millis(120));
                    spinner
                });
                spinner.set_message(line(what));
            }
            Event::Progress {
                content,
                name,
                have,
                total,
                ..
            } => {
                self.settle();
                let all = &self.all;
                let bar = self
                    .transfers
                    .entry(content.clone())
                    .or_insert_with(|| all.add(bar().with_prefix(short(name))));
                bar.set_length(*total);
                bar.set_position(*have);
                bar.set_message(progress_text(event));
            }
            Event::Complete { content, .. } => {
                self.settle();
                if let Some(bar) = self.transfers.remove(content) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
    }

    /// What came before the transfer is over.
    pub(crate) fn settle(&mut self) {
        for bar in [self.import.take(), self.waiting.take()]
            .into_iter()
            .flatten()
        {
            bar.finish_and_clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.settle();
        for (_, bar) in self.transfers.drain() {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    // Two lines: 80 columns have no room for everything in one.
    let style = ProgressStyle::with_template("{prefix} {bar:24} {percent:>3} %  {msg}")
        .expect("the template is sound")
        .progress_chars("━╸ ");
    ProgressBar::new(0).with_style(style)
}

/// "1.0 GiB of 2.0 GiB", and below "80.0 MB/s, 13 s left, 3 peers, 40 % not from the
/// origin".
fn progress_text(event: &Event) -> String {
    let Event::Progress {
        have,
        total,
        rate: speed,
        peers,
        origin,
        others,
        ..
    } = event
    else {
        return String::new();
    };
    let mut text = format!("{} of {}\n  {}", size(*have), size(*total), rate(*speed));
    if let Some(left) = total.saturating_sub(*have).checked_div(*speed) {
        text += &format!(", {} left", span(left));
    }
    text += &format!(", {peers} {}", if *peers == 1 { "peer" } else { "peers" });
    if let Some(share) = (u128::from(*others) * 100).checked_div(u128::from(origin + others)) {
        text += &format!(", {share} % not from the origin");
    }
    text
}

fn short(name: &str) -> String {
    let name = line(name);
    if name.chars().count() <= NAME_CHARS {
        return name;
    }
    let mut cut: String = name.chars().take(NAME_CHARS - 1).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_rate_rest_peers_and_sources() {
        let event = Event::Progress {
            content: String::new(),
            name: String::new(),
            have: 1 << 30,
            total: 2 << 30,
            rate: 100_000_000,
            peers: 3,
            origin: 300,
            others: 100,
            path: None,
            ready: None,
        };
        assert_eq!(
            progress_text(&event),
            "1.0 GiB of 2.0 GiB\n  100 MB/s, 10 s left, 3 peers, 25 % not from the origin"
        );
    }

    #[test]
    fn a_name_is_clean_and_short() {
        assert_eq!(short("a\u{1b}[31mb"), "ab");
        assert_eq!(short(&"x".repeat(99)).chars().count(), NAME_CHARS);
    }
}
