use std::time::Duration;

const SCALE: u64 = 1_000_000_000;

/// A token bucket: at most `burst` at once, `rate` a second after that.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Tokens times [`SCALE`], so that refilling by nanoseconds loses nothing.
    level: u64,
    burst: u64,
    rate: u64,
    filled: Duration,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(burst: u64, rate: u64, mono: Duration) -> Self {
        Self {
            level: burst * SCALE,
            burst,
            rate,
            filled: mono,
        }
    }

    /// Takes `n` tokens if there is any at all: what is larger than the rest is let
    /// through and paid for by those after it, or a large thing would never pass.
    pub(super) fn take(&mut self, n: u64, mono: Duration) -> bool {
        self.fill(mono);
        if self.level < SCALE {
            return false;
        }
        let price = n.saturating_mul(SCALE);
        match self.level.checked_sub(price) {
            Some(left) => self.level = left,
            None => {
                // Debt is time: the bucket counts as filled only later.
                let debt = (price - self.level) / self.rate;
                self.level = 0;
                self.filled = mono + Duration::from_nanos(debt);
            }
        }
        true
    }

    /// Takes `n` tokens if there are that many.
    pub(super) fn take_whole(&mut self, n: u64, mono: Duration) -> bool {
        self.fill(mono);
        let left = self.level.checked_sub(n.saturating_mul(SCALE));
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }

    /// When [`take`](Self::take) succeeds again.
    pub(super) fn ready_at(&self) -> Duration {
        let missing = SCALE.saturating_sub(self.level);
        self.filled + Duration::from_nanos(missing.div_ceil(self.rate))
    }

    fn fill(&mut self, mono: Duration) {
        let Some(elapsed) = mono.checked_sub(self.filled) else {
            return;
        };
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.level = nanos
            .saturating_mul(self.rate)
            .saturating_add(self.level)
            .min(self.burst * SCALE);
        self.filled = mono;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn burst_then_rate() {
        let mut b = Bucket::new(3, 2, S);
        assert_eq!((0..5).filter(|_| b.take(1, S)).count(), 3);
        assert_eq!(b.ready_at(), S + S / 2);
        assert!(!b.take(1, S + S / 2 - Duration::from_nanos(1)));
        assert!(b.take(1, S + S / 2));
        assert_eq!((0..9).filter(|_| b.take(1, 100 * S)).count(), 3);
    }

    #[test]
    fn whole_prices_are_paid_or_nothing() {
        let mut b = Bucket::new(20, 1, S);
        assert_eq!((0..3).filter(|_| b.take_whole(10, S)).count(), 2);
        assert!(!b.take_whole(10, 10 * S));
        assert!(b.take_whole(10, 11 * S));
    }

    #[test]
    fn what_exceeds_the_rest_passes_once_and_is_paid_for() {
        let mut b = Bucket::new(10, 10, S);
        assert!(b.take(30, S));
        assert!(!b.take(1, 3 * S));
        assert_eq!(b.ready_at(), 3 * S + S / 10);
        assert!(b.take(1, b.ready_at()));
    }
}
