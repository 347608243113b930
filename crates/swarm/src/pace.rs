use std::{collections::VecDeque, time::Duration};

/// How long a measured extreme counts.
const WINDOW: Duration = Duration::from_secs(10);
/// How long the smallest round trip counts: longer than our own queues stand.
const RTT_WINDOW: Duration = Duration::from_secs(60);
/// Samples kept of one measure: there are three of them for each link.
const MOST_SAMPLES: usize = 8;
/// Round trip of a path that was not measured yet: a continent's.
const UNKNOWN_RTT: Duration = Duration::from_millis(50);

/// The extreme of the samples of the last while, in amortised O(1): a queue of
/// samples of which each is more extreme than those after it.
#[derive(Debug, Default)]
struct Extreme {
    /// When, in nanoseconds: there are many of these.
    queue: Vec<(u64, u64)>,
}

impl Extreme {
    fn push(&mut self, now: Duration, window: Duration, value: u64, beats: fn(u64, u64) -> bool) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (now, window) = (nanos(now), nanos(window));
        while self
            .queue
            .last()
            .is_some_and(|(_, old)| !beats(*old, value))
        {
            self.queue.pop();
        }
        self.queue.reserve_exact(1);
        self.queue.push((now, value));
        let past = |(at, _): &(u64, u64)| at.saturating_add(window) < now;
        let past = self.queue.iter().take_while(|sample| past(sample)).count();
        self.queue.drain(..past.min(self.queue.len() - 1));
        // Ever weaker samples would queue up; half of them tell the same story.
        if self.queue.len() == MOST_SAMPLES {
            let mut keep = false;
            self.queue.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    fn get(&self) -> Option<u64> {
        self.queue.first().map(|(_, value)| *value)
    }
}

/// The smallest round trip of the last minute.
#[derive(Debug, Default)]
pub(crate) struct PathDelay {
    nanos: Extreme,
}

impl PathDelay {
    pub(crate) fn sample(&mut self, now: Duration, rtt: Duration) {
        let nanos = u64::try_from(rtt.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.push(now, RTT_WINDOW, nanos, |a, b| a < b);
    }

    pub(crate) fn measured(&self) -> Option<Duration> {
        self.nanos.get().map(Duration::from_nanos)
    }

    pub(crate) fn get(&self) -> Duration {
        self.measured().unwrap_or(UNKNOWN_RTT)
    }
}

/// How long answers take, smoothed as TCP smooths round trips (RFC 6298).
#[derive(Debug, Default)]
pub(crate) struct AnswerTime {
    mean: Duration,
    deviation: Duration,
}

impl AnswerTime {
    pub(crate) fn sample(&mut self, took: Duration) {
        if self.mean.is_zero() {
            (self.mean, self.deviation) = (took, took / 2);
            return;
        }
        let off = self.mean.abs_diff(took);
        self.deviation = (self.deviation * 3 + off) / 4;
        self.mean = (self.mean * 7 + took) / 8;
    }

    /// Most take less; 0: not known.
    pub(crate) fn usual(&self) -> Duration {
        self.mean + 2 * self.deviation
    }
}

/// What a sender delivers, in bytes a second: the most over the last ten seconds.
///
/// A sample is what was delivered between the start and the end of one answer,
/// over that time (as BBR samples: draft-ietf-ccwg-bbr section 4.1), so it is right also while
/// several answers share the way.
#[derive(Debug, Default)]
pub(crate) struct DeliveryRate {
    delivered: u64,
    rate: Extreme,
}

/// When an answer started, and what had been delivered by then.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) at: Duration,
    delivered: u64,
}

impl DeliveryRate {
    pub(crate) fn mark(&self, now: Duration) -> Mark {
        Mark {
            at: now,
            delivered: self.delivered,
        }
    }

    pub(crate) fn deliver(&mut self, now: Duration, since: Mark, bytes: u64) {
        self.delivered += bytes;
        let nanos = now.saturating_sub(since.at).as_nanos();
        if nanos > 0 && bytes > 0 {
            let bytes = u128::from(self.delivered - since.delivered);
            let rate = (bytes * 1_000_000_000 / nanos).min(u128::from(u64::MAX)) as u64;
            self.rate.push(now, WINDOW, rate, |a, b| a > b);
        }
    }

    /// Bytes a second since then, all answers counted; `None` at that moment.
    pub(crate) fn since(&self, now: Duration, mark: Mark) -> Option<u64> {
        let time = now.saturating_sub(mark.at).as_secs_f64();
        (time > 0.0).then(|| ((self.delivered - mark.delivered) as f64 / time) as u64)
    }

    /// Bytes, from the beginning.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Bytes a second; 0: not known.
    pub(crate) fn get(&self) -> u64 {
        self.rate.get().unwrap_or(0)
    }

    /// How long `bytes` take; `None` while the rate is not known.
    pub(crate) fn time_for(&self, bytes: u64) -> Option<Duration> {
        let rate = self.get();
        (rate > 0).then(|| Duration::from_secs_f64(bytes as f64 / rate as f64))
    }
}

/// How much was heard of, in bytes a second: the most of any second of the last ten.
/// For what comes in pieces that say nothing of when it was under way.
#[derive(Debug, Default)]
pub(crate) struct Throughput {
    /// Which second, and its bytes.
    current: (u64, u64),
    past: VecDeque<(u64, u64)>,
}

impl Throughput {
    pub(crate) fn add(&mut self, now: Duration, bytes: u64) {
        let second = now.as_secs();
        if second != self.current.0 {
            let oldest = now.saturating_sub(WINDOW).as_secs();
            self.past.retain(|(at, _)| *at >= oldest);
            let before = std::mem::replace(&mut self.current, (second, 0));
            self.past.push_back(before);
        }
        self.current.1 += bytes;
    }

    /// 0: not known.
    pub(crate) fn get(&self, now: Duration) -> u64 {
        let (second, oldest) = (now.as_secs(), now.saturating_sub(WINDOW).as_secs());
        let all = self.past.iter().chain([&self.current]);
        let whole = all.filter(|(at, _)| (oldest..second).contains(at));
        whole.map(|(_, bytes)| *bytes).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn our_own_queue_does_not_look_like_distance() {
        let mut delay = PathDelay::default();
        assert_eq!(delay.get(), UNKNOWN_RTT);
        delay.sample(Duration::ZERO, 10 * MS);
        delay.sample(1000 * MS, 300 * MS);
        assert_eq!(delay.get(), 10 * MS);
        delay.sample(RTT_WINDOW + 2 * MS, 200 * MS);
        assert_eq!(
            delay.get(),
            200 * MS,
            "a longer path is believed after the window"
        );
    }

    #[test]
    fn the_best_whole_second_of_the_last_ten_counts() {
        let mut heard = Throughput::default();
        heard.add(500 * MS, 7);
        heard.add(900 * MS, 3);
        assert_eq!(heard.get(999 * MS), 0, "it is not over");
        heard.add(1100 * MS, 4);
        assert_eq!(heard.get(1999 * MS), 10);
        assert_eq!(heard.get(10_999 * MS), 10);
        assert_eq!(heard.get(11_000 * MS), 4);
        assert_eq!(heard.get(12_000 * MS), 0);
    }

    #[test]
    fn answers_are_usual_up_to_two_deviations_above_their_mean() {
        let mut answers = AnswerTime::default();
        assert_eq!(answers.usual(), Duration::ZERO);
        answers.sample(200 * MS);
        assert_eq!(answers.usual(), 400 * MS);
        for _ in 0..100 {
            answers.sample(100 * MS);
        }
        assert!((100 * MS..102 * MS).contains(&answers.usual()));
    }

    #[test]
    fn answers_that_share_the_way_give_its_whole_rate() {
        let mut rate = DeliveryRate::default();
        let (a, b) = (rate.mark(Duration::ZERO), rate.mark(Duration::ZERO));
        rate.deliver(10 * MS, a, 1000);
        rate.deliver(10 * MS, b, 1000);
        assert_eq!(rate.get(), 200_000);
        assert_eq!(rate.time_for(2000), Some(10 * MS));
        assert_eq!(rate.since(20 * MS, a), Some(100_000));
        assert_eq!(rate.since(Duration::ZERO, a), None);
    }
}
