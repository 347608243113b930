//! How many bytes a second, over the last few seconds.

use std::time::{Duration, Instant};

/// Length of one measuring slot.
const SLOT: Duration = Duration::from_millis(250);
/// Slots that the average spans: two seconds.
const SLOTS: usize = 8;

/// A moving average.
#[derive(Debug)]
pub(crate) struct Rate {
    slots: [u64; SLOTS],
    current: usize,
    since: Instant,
    started: Instant,
}

impl Default for Rate {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            slots: [0; SLOTS],
            current: 0,
            since: now,
            started: now,
        }
    }
}

impl Rate {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.turn();
        self.slots[self.current] += bytes;
    }

    pub(crate) fn per_second(&self) -> u64 {
        let stale = (self.since.elapsed().as_millis() / SLOT.as_millis()) as usize;
        if stale >= SLOTS {
            return 0;
        }
        let sum: u64 = self.slots.iter().sum();
        let span = self.started.elapsed().min(SLOT * SLOTS as u32);
        (sum as f64 / span.as_secs_f64().max(0.1)) as u64
    }

    fn turn(&mut self) {
        let passed = (self.since.elapsed().as_millis() / SLOT.as_millis()) as usize;
        for _ in 0..passed.min(SLOTS) {
            self.current = (self.current + 1) % SLOTS;
            self.slots[self.current] = 0;
        }
        if passed > 0 {
            self.since += SLOT * passed as u32;
        }
    }
}
