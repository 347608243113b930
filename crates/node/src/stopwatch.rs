//! How long something went on, whoever was at it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Runs while at least one is inside. Clones are the same watch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopwatch(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    inside: u32,
    since: Option<Instant>,
    total: Duration,
}

impl Stopwatch {
    /// Inside until what is returned is dropped.
    pub(crate) fn enter(&self) -> Inside {
        let mut state = self.state();
        state.inside += 1;
        state.since.get_or_insert_with(Instant::now);
        Inside(self.clone())
    }

    /// The time that somebody was inside, up to now.
    pub(crate) fn total(&self) -> Duration {
        let state = self.state();
        state.total + state.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Stopwatch::enter`].
#[derive(Debug)]
pub(crate) struct Inside(Stopwatch);

impl Drop for Inside {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.inside -= 1;
        if state.inside == 0
            && let Some(since) = state.since.take()
        {
            state.total += since.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_while_anybody_is_inside() {
        let watch = Stopwatch::default();
        assert_eq!(watch.total(), Duration::ZERO);
        let (a, b) = (watch.enter(), watch.clone().enter());
        std::thread::sleep(Duration::from_millis(2));
        drop(a);
        let first = watch.total();
        assert!(first >= Duration::from_millis(2));
        std::thread::sleep(Duration::from_millis(2));
        drop(b);
        let whole = watch.total();
        assert!(whole >= first + Duration::from_millis(2));
        assert_eq!(watch.total(), whole, "nobody is inside");
    }
}
