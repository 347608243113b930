use std::time::Duration;

use samara_swarm::Offence;

/// What came of a [`Scenario`](super::Scenario).
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// When each node was complete; `None`: not, or gone.
    pub finished: Vec<Option<Duration>>,
    /// When each node that reads while it receives had all chunks up to each one,
    /// parity not counted; empty for others.
    pub readable: Vec<Vec<Duration>>,
    /// When each node came.
    pub started: Vec<Duration>,
    /// Which nodes keep the rules.
    pub honest: Vec<bool>,
    /// Which nodes disappeared.
    pub gone: Vec<bool>,
    /// Bytes of chunks that each node sent.
    pub sent: Vec<f64>,
    /// Bytes of chunks that came into each site from outside.
    pub crossed: Vec<f64>,
    /// Bytes of chunks that all nodes sent in each tenth of the bound.
    pub tenths: Vec<f64>,
    /// Bytes a second that all nodes together can send.
    pub uplinks: f64,
    /// Who banned whom, and what for.
    pub bans: Vec<(usize, usize, Offence)>,
    /// The fluid bound of the scenario.
    pub bound: Duration,
    /// Bytes of the content.
    pub bytes: f64,
    /// Messages sent, and their bytes.
    pub messages: u64,
    /// Bytes of all messages.
    pub message_bytes: u64,
    /// Events handled.
    pub events: u64,
    /// Hash over every event and its time.
    pub trace: u64,
}

impl Outcome {
    /// Whether every honest node that stayed is complete, a receiver among them.
    pub fn is_complete(&self) -> bool {
        if self.times().is_empty() {
            return false;
        }
        let left_out = |i: usize| self.gone[i] || !self.honest[i];
        self.finished
            .iter()
            .enumerate()
            .all(|(i, finished)| left_out(i) || finished.is_some())
    }

    /// Receivers that are complete, of those that keep the rules and stayed, or were done
    /// before they left.
    pub fn complete(&self) -> (usize, usize) {
        let done = self.times().len();
        let left = (0..self.finished.len())
            .filter(|i| self.finished[*i].is_none() && self.honest[*i] && !self.gone[*i]);
        (done, done + left.count())
    }

    /// When the last honest receiver was done, over the fluid bound. Infinite when one is not.
    pub fn last(&self) -> f64 {
        if !self.is_complete() {
            return f64::INFINITY;
        }
        let last = self.times().last().copied().unwrap_or_default();
        last.as_secs_f64() / self.bound.as_secs_f64()
    }

    /// When the middle receiver was done, over the fluid bound.
    pub fn median(&self) -> f64 {
        let times = self.times();
        let middle = times.get(times.len() / 2).copied().unwrap_or_default();
        middle.as_secs_f64() / self.bound.as_secs_f64()
    }

    /// When receivers were done on average, over the fluid bound.
    pub fn mean(&self) -> f64 {
        let times = self.times();
        let all: Duration = times.iter().sum();
        all.as_secs_f64() / times.len().max(1) as f64 / self.bound.as_secs_f64()
    }

    /// For each receiver in order that is complete, how long it has to wait, from when it
    /// came, before it can read to the end without a stop at `part` of the mean rate at
    /// which it receives; over the time that it took. Ascending.
    pub fn waits(&self, part: f64) -> Vec<f64> {
        let mut waits: Vec<f64> = (0..self.finished.len())
            .filter(|node| self.honest[*node])
            .filter_map(|node| self.wait(node, part))
            .collect();
        waits.sort_by(f64::total_cmp);
        waits
    }

    fn wait(&self, node: usize, part: f64) -> Option<f64> {
        let readable = &self.readable[node];
        let start = self.started[node];
        let took = (self.finished[node]? - start).as_secs_f64();
        // It reads chunk `i` at `i * step` after it began.
        let step = took / part / readable.len() as f64;
        let waits = (0..).zip(readable);
        let wait = waits.map(|(i, at)| (*at - start).as_secs_f64() - f64::from(i) * step);
        (!readable.is_empty()).then(|| wait.fold(0.0, f64::max) / took)
    }

    /// Copies of the content that node `node` sent.
    pub fn copies(&self, node: usize) -> f64 {
        self.sent[node] / self.bytes
    }

    /// What part of the uplinks was used in each tenth of the bound.
    pub fn used(&self) -> Vec<f64> {
        let most = self.uplinks * self.bound.as_secs_f64() / 10.0;
        self.tenths.iter().map(|bytes| bytes / most).collect()
    }

    /// Completion times of the honest that started without everything, ascending.
    fn times(&self) -> Vec<Duration> {
        let mut times: Vec<_> = self
            .finished
            .iter()
            .zip(&self.honest)
            .filter_map(|(finished, honest)| finished.filter(|t| *honest && !t.is_zero()))
            .collect();
        times.sort();
        times
    }
}
