use std::time::Duration;

use crate::pace::{DeliveryRate, Mark};

/// How long a first chunk is waited for, at most, before more is granted.
const PATIENCE: Duration = Duration::from_millis(100);
/// On a way longer than this all is granted that fills it, whatever the rate.
const LONG_WAY: Duration = Duration::from_millis(10);
/// It is not worth a timer.
const SHORTEST: Duration = Duration::from_micros(100);

/// What this node has promised to send and has not sent, over all contents, if nothing
/// but its own link holds it up.
///
/// In a crowd somebody always wants something, so that credit is granted only shortly
/// before it is needed: what waits in a queue is on its way to nobody, and whoever
/// was promised it asks nobody else for it. Where the receivers' links are what is full,
/// more leaves at the same time than this knows of.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// Bytes granted and not asked for.
    pub(crate) credit: u64,
    /// When what was asked for has left, at the rate that was possible of late.
    busy_until: Duration,
    /// Bytes asked for that the transport did not take.
    unsent: u64,
    /// When the transport last took a chunk, or got one while it had none.
    since: Duration,
    /// What the transport takes.
    rate: DeliveryRate,
}

impl Backlog {
    /// An answer of so many bytes begins; to be handed back with what is taken of it.
    pub(crate) fn begin(&mut self, now: Duration, bytes: u64) -> Mark {
        if self.unsent == 0 {
            self.since = now;
        }
        self.unsent += bytes;
        let time = self.rate.time_for(bytes).unwrap_or_default();
        self.busy_until = self.busy_until.max(now) + time;
        self.rate.mark(self.since)
    }

    /// The transport took a chunk of the answer that began at `mark`.
    pub(crate) fn take(&mut self, now: Duration, mark: Mark, bytes: u64) {
        self.unsent = self.unsent.saturating_sub(bytes);
        self.rate.deliver(now, mark, bytes);
        self.since = now;
    }

    /// So much of an answer will not be sent.
    pub(crate) fn strike(&mut self, bytes: u64) {
        self.unsent = self.unsent.saturating_sub(bytes);
        let time = self.rate.time_for(bytes).unwrap_or_default();
        self.busy_until = self.busy_until.saturating_sub(time);
    }

    /// When more is to be granted; `None`: now, as always where the way is longer than a
    /// chunk. Two round trips before it is needed, and one chunk (of so many bytes)
    /// before that: what is given back must not leave the uplink idle.
    pub(crate) fn grant_at(&self, now: Duration, rtt: Duration, chunk: u64) -> Option<Duration> {
        if rtt > LONG_WAY {
            return None;
        }
        let (Some(chunk_time), Some(credit)) =
            (self.rate.time_for(chunk), self.rate.time_for(self.credit))
        else {
            // The rate is known as soon as the first one has left.
            let enough = self.credit + self.unsent > chunk;
            return enough.then(|| now + PATIENCE);
        };
        if chunk_time < rtt {
            return None;
        }
        let all = self.busy_until.saturating_sub(now) + credit;
        let early = all.saturating_sub(chunk_time + 2 * rtt);
        (early > SHORTEST).then(|| now + early)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn credit_waits_until_one_chunk_and_two_round_trips_are_left() {
        let mut backlog = Backlog::default();
        assert_eq!(backlog.grant_at(MS, MS, 100), None, "nothing to send");
        backlog.credit = 100;
        assert_eq!(backlog.grant_at(MS, MS, 100), None);
        backlog.credit = 200;
        let unknown = backlog.grant_at(MS, MS, 100);
        assert_eq!(unknown, Some(MS + PATIENCE), "the rate is not known");

        backlog.credit = 0;
        let mark = backlog.begin(Duration::ZERO, 100);
        backlog.take(10 * MS, mark, 100);
        // 10 ms a chunk from now on.
        let mark = backlog.begin(20 * MS, 100);
        backlog.credit = 200;
        assert_eq!(backlog.grant_at(20 * MS, MS, 100), Some(38 * MS));
        assert_eq!(backlog.grant_at(26 * MS, MS, 100), Some(38 * MS));
        backlog.take(30 * MS, mark, 100);
        assert_eq!(backlog.grant_at(30 * MS, MS, 100), Some(38 * MS));
        backlog.credit = 100;
        assert_eq!(backlog.grant_at(30 * MS, MS, 100), None);
    }

    #[test]
    fn slow_receivers_do_not_keep_others_waiting() {
        let mut backlog = Backlog::default();
        let mark = backlog.begin(Duration::ZERO, 100);
        backlog.take(10 * MS, mark, 100);
        backlog.begin(10 * MS, 400);
        assert_eq!(backlog.grant_at(10 * MS, MS, 100), Some(38 * MS));
        assert_eq!(
            backlog.grant_at(38 * MS, MS, 100),
            None,
            "nothing was taken"
        );
    }

    #[test]
    fn what_is_not_sent_is_not_waited_for() {
        let mut backlog = Backlog::default();
        let mark = backlog.begin(Duration::ZERO, 100);
        backlog.take(10 * MS, mark, 100);
        backlog.begin(10 * MS, 400);
        assert_eq!(backlog.grant_at(10 * MS, MS, 100), Some(38 * MS));
        backlog.strike(300);
        assert_eq!(backlog.grant_at(10 * MS, MS, 100), None);
    }
}
