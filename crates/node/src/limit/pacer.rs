//! One rate, enforced by `governor`: who sends pays first, and what the wire showed
//! beyond that is paid for afterwards. Time is an argument.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};

/// What is paid with: so large that a nanosecond more or less for each does not show
/// below 10 GB/s, so small that it does not show beside a packet.
const UNIT: u64 = 1024;
/// What may pass at once, as a time: 25 ms. It has to bridge what a timer is late by, and
/// counts against the rate once.
const BURST: Duration = Duration::from_millis(25);
/// Least burst: some packets.
const LEAST_BURST: u64 = 16 * UNIT;
/// Parts in which a burst is paid for. What is saved up is lost beyond a burst: who had to
/// wait for a whole one would lose all that a timer is late by.
const PARTS: u32 = 4;
/// What may be owed, as a time: what cannot be held back (acknowledgements, records, what
/// was asked for before the rate was lowered) is forgiven beyond it, or it would keep back
/// for minutes what can.
const MOST_OWED: Duration = Duration::from_secs(1);

type Limiter = RateLimiter<NotKeyed, InMemoryState, Now, NoOpMiddleware<Nanos>>;

/// The time that was told last.
#[derive(Debug, Clone, Default)]
struct Now(Arc<AtomicU64>);

impl Clock for Now {
    type Instant = Nanos;
    fn now(&self) -> Nanos {
        self.0.load(Ordering::Relaxed).into()
    }
}

/// A rate, and what was paid of it. `now` is the time since any fixed instant.
#[derive(Debug)]
pub(super) struct Pacer {
    rate: u64,
    limiter: Limiter,
    now: Now,
    /// Units that may pass at once.
    burst: u32,
    /// Bytes that passed and are not paid for.
    owed: u64,
    /// Bytes that are paid for and did not pass.
    prepaid: u64,
    /// Bytes that passed, were forgiven, and are paid for when they are read.
    forgiven: u64,
}

impl Pacer {
    /// So many bytes a second, at least 1.
    pub(super) fn new(rate: u64) -> Self {
        let rate = rate.max(1);
        let at_once = (rate as f64 * BURST.as_secs_f64()) as u64;
        let burst = (at_once.max(LEAST_BURST) / UNIT).min(u32::MAX.into()) as u32;
        let burst = NonZeroU32::new(burst).expect("at least some packets");
        let nanos = (UNIT as f64 * 1e9 / rate as f64).max(1.0) as u64;
        let quota = Quota::with_period(Duration::from_nanos(nanos))
            .expect("more than nothing")
            .allow_burst(burst);
        let now = Now::default();
        Self {
            rate,
            limiter: RateLimiter::direct_with_clock(quota, now.clone()),
            now,
            burst: burst.get(),
            owed: 0,
            prepaid: 0,
            forgiven: 0,
        }
    }

    /// The same at another rate: what is owed, prepaid and forgiven stays so.
    pub(super) fn at_rate(self, rate: u64, now: Duration, unread: u64) -> Self {
        let mut next = Self::new(rate);
        next.prepaid = self.prepaid.min(next.most_owed());
        next.forgiven = self.forgiven;
        next.owe(now, self.owed, unread);
        next
    }

    pub(super) fn rate(&self) -> u64 {
        self.rate
    }

    /// Bytes that are best paid for at once: at low rates so few that something comes
    /// every quarter of a second, or the peer would take it for silence.
    pub(super) fn piece(&self) -> u64 {
        (u64::from(self.burst) * UNIT).min(self.rate / 4).max(UNIT)
    }

    /// Pays for what is owed and then for `left`, as far as the rate allows; `left` is
    /// what remains. How long until more can be paid; `None`: all is.
    pub(super) fn pay(&mut self, now: Duration, left: &mut u64) -> Option<Duration> {
        self.set(now);
        let mut due = self.owed + *left;
        let free = self.prepaid.min(due);
        (due, self.prepaid) = (due - free, self.prepaid - free);
        let mut wait = None;
        while due >= UNIT && wait.is_none() {
            let units = (due / UNIT).min((self.burst / PARTS).into()) as u32;
            let units = NonZeroU32::new(units).expect("at least one");
            match self.limiter.check_n(units) {
                Ok(Ok(())) => due -= u64::from(units.get()) * UNIT,
                Ok(Err(too_soon)) => wait = Some(too_soon.wait_time_from(self.now.now())),
                // Never more than the burst.
                Err(_) => break,
            }
        }
        if wait.is_none() {
            // Less than a unit: with the next.
            (self.owed, *left) = (due, 0);
        } else {
            *left = due.min(*left);
            self.owed = due - *left;
        }
        wait
    }

    /// Bytes that nobody paid for have passed. `unread`: how many at most were asked for
    /// and are paid for when they are read.
    pub(super) fn owe(&mut self, now: Duration, bytes: u64, unread: u64) {
        self.owed = self.owed.saturating_add(bytes);
        self.pay(now, &mut 0);
        let beyond = self.owed.saturating_sub(self.most_owed());
        self.owed -= beyond;
        self.forgive(beyond, unread);
    }

    /// Bytes that nobody paid for have passed, and nothing is owed for them.
    pub(super) fn forgive(&mut self, bytes: u64, unread: u64) {
        let forgiven = self.forgiven.saturating_add(bytes).min(unread);
        self.forgiven = self.forgiven.max(forgiven);
    }

    /// Bytes were paid for twice, when they passed and when they were read; but those that
    /// were forgiven, once. `unread` as for [`Pacer::owe`], without these.
    pub(super) fn refund(&mut self, bytes: u64, unread: u64) {
        let of_forgiven = self.forgiven.min(bytes);
        // What is not asked for any more is never read.
        self.forgiven = (self.forgiven - of_forgiven).min(unread);
        let bytes = bytes - of_forgiven;
        let of_owed = self.owed.min(bytes);
        self.owed -= of_owed;
        let prepaid = self.prepaid.saturating_add(bytes - of_owed);
        self.prepaid = prepaid.min(self.most_owed());
    }

    fn most_owed(&self) -> u64 {
        let most = (self.rate as f64 * MOST_OWED.as_secs_f64()) as u64;
        most.max(UNIT)
    }

    fn set(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.now.0.store(nanos, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 125_000;

    /// Bytes that pass in ten seconds, in pieces, with timers that are up to 2 ms late;
    /// of each of them a part more passes than was paid for.
    fn passed(pacer: &mut Pacer, start: Duration, piece: u64, overhead: f64) -> u64 {
        let (mut now, end) = (start, start + Duration::from_secs(10));
        let mut passed = 0;
        while now < end {
            let mut left = piece;
            while let Some(wait) = pacer.pay(now, &mut left) {
                now += wait + Duration::from_micros(passed % 2000);
            }
            let more = (piece as f64 * overhead) as u64;
            passed += piece + more;
            pacer.owe(now, more, 0);
        }
        passed
    }

    #[test]
    fn something_passes_often_at_the_lowest_rate() {
        for rate in [1024, 20_000, 100_000] {
            let mut pacer = Pacer::new(rate);
            // Past the burst that is there at the start.
            let (mut now, mut last) = (Duration::from_secs(1), Duration::ZERO);
            for _ in 0..40 {
                let mut left = pacer.piece();
                last = Duration::ZERO;
                while let Some(wait) = pacer.pay(now, &mut left) {
                    (now, last) = (now + wait, last + wait);
                }
            }
            assert!(last <= Duration::from_secs(1), "{rate}: {last:?}");
        }
    }

    #[test]
    fn what_passes_is_the_rate_whatever_it_consists_of() {
        for rate in [100_000, 10 * MBIT, 40 * MBIT, 200 * MBIT, 8000 * MBIT] {
            for (piece, overhead) in [(1000, 0.0), (16 << 10, 0.04), (64 << 10, 0.5)] {
                let mut pacer = Pacer::new(rate);
                let ten = passed(&mut pacer, Duration::ZERO, piece, overhead) as f64;
                let share = ten / (10.0 * rate as f64);
                // A burst at the start, and a last piece that is larger than what is left.
                let more = pacer.piece() as f64 + piece as f64 * (1.0 + overhead);
                let slack = 0.002 + more / (10.0 * rate as f64);
                assert!(
                    (share - 1.0).abs() < slack,
                    "{rate} {piece} {overhead}: {share}"
                );
            }
        }
    }

    #[test]
    fn a_rest_saves_up_no_more_than_a_burst() {
        let mut pacer = Pacer::new(10 * MBIT);
        let hour = Duration::from_secs(3600);
        let share = passed(&mut pacer, hour, 4096, 0.0) as f64 / (100.0 * MBIT as f64);
        assert!((share - 1.0).abs() < 0.01, "{share}");
    }

    #[test]
    fn what_cannot_be_held_back_is_owed_for_a_second_at_most() {
        let mut pacer = Pacer::new(MBIT);
        pacer.owe(Duration::ZERO, 3600 * MBIT, 0);
        let mut now = Duration::ZERO;
        let mut left = UNIT;
        while let Some(wait) = pacer.pay(now, &mut left) {
            now += wait;
        }
        assert!((900..1100).contains(&now.as_millis()), "{now:?}");
        // What an idle second brings pays for it without a wait.
        now += Duration::from_secs(2);
        pacer.owe(now, MBIT / 100, 0);
        assert_eq!(pacer.pay(now, &mut { UNIT }), None);
    }

    #[test]
    fn what_was_paid_for_twice_is_free_the_next_time() {
        const RATE: u64 = 10 * MBIT;
        let second = Duration::from_secs(1);
        let wait = |owes: u64, refund: u64| {
            let mut now = second;
            let mut pacer = Pacer::new(RATE);
            let at_once = pacer.piece();
            pacer.owe(now, at_once + owes, u64::MAX);
            pacer.refund(refund, u64::MAX);
            let mut left = RATE / 4;
            while let Some(wait) = pacer.pay(now, &mut left) {
                now += wait;
            }
            (now - second).as_millis() as i64
        };
        for (owes, refund, takes) in [
            (0, 0, 250),
            (RATE / 2, 0, 750),
            (RATE / 2, RATE / 4, 500),
            (RATE / 2, RATE / 2, 250),
            (RATE / 2, 3 * RATE / 4, 0),
        ] {
            let took = wait(owes, refund);
            assert!((took - takes).abs() <= 30, "{owes} {refund}: {took} ms");
        }
    }

    /// How long it takes to read `chunks` chunks, each of which comes at once when it is
    /// asked for, and is read in pieces.
    fn reads_bursts(mut pacer: Pacer, chunks: u64, chunk: u64) -> Duration {
        const PIECE: u64 = 16 << 10;
        let mut now = Duration::ZERO;
        for _ in 0..chunks {
            pacer.owe(now, chunk, chunk);
            for read in (PIECE..=chunk).step_by(PIECE as usize) {
                let mut left = PIECE;
                while let Some(wait) = pacer.pay(now, &mut left) {
                    now += wait;
                }
                pacer.refund(PIECE, chunk - read);
            }
        }
        now
    }

    #[test]
    fn what_was_forgiven_is_not_given_back_when_it_is_read() {
        const CHUNK: u64 = 256 << 10;
        for rate in [CHUNK / 20, CHUNK / 5, CHUNK / 2, CHUNK, 4 * CHUNK] {
            let took = reads_bursts(Pacer::new(rate), 40, CHUNK).as_secs_f64();
            let share = (40 * CHUNK) as f64 / rate as f64 / took;
            // Of a refund what is beyond a second is lost.
            assert!((0.98..1.002).contains(&share), "{rate}: {share}");
        }
    }

    #[test]
    fn what_was_forgiven_stays_so_when_the_rate_changes() {
        const CHUNK: u64 = 1 << 20;
        let mut pacer = Pacer::new(10 * MBIT);
        // Eight chunks came at once: a second's worth is owed, and then less.
        pacer.owe(Duration::ZERO, 8 * CHUNK, 8 * CHUNK);
        let most = pacer.most_owed();
        assert_eq!(pacer.owed, most);
        let mut pacer = pacer.at_rate(MBIT, Duration::ZERO, 8 * CHUNK);
        assert_eq!(pacer.owed, pacer.most_owed());
        let forgiven = pacer.forgiven;
        assert!(forgiven > 8 * CHUNK - MBIT - 4 * pacer.piece());
        pacer.refund(forgiven, 8 * CHUNK - forgiven);
        assert_eq!((pacer.forgiven, pacer.prepaid), (0, 0));
        assert_eq!(pacer.owed, pacer.most_owed());
    }

    #[test]
    fn what_is_never_read_holds_back_no_refund() {
        let mut pacer = Pacer::new(MBIT);
        // Records: nothing was asked for.
        pacer.owe(Duration::ZERO, 10 * MBIT, 0);
        assert_eq!(pacer.forgiven, 0);
        // Chunks that were given up before they were read.
        pacer.owe(Duration::ZERO, 10 * MBIT, 4 * MBIT);
        assert_eq!(pacer.forgiven, 4 * MBIT);
        pacer.refund(0, 1000);
        assert_eq!(pacer.forgiven, 1000);
    }

    #[test]
    fn a_large_piece_is_paid_for_bit_by_bit() {
        let mut pacer = Pacer::new(10 * MBIT);
        let mut left = 10 * MBIT;
        let mut now = Duration::ZERO;
        let mut steps = 0;
        while let Some(wait) = pacer.pay(now, &mut left) {
            assert!(wait <= Duration::from_millis(30), "{wait:?}");
            (now, steps) = (now + wait, steps + 1);
        }
        assert!(
            steps > 10 && now > Duration::from_millis(900),
            "{steps} {now:?}"
        );
    }
}
