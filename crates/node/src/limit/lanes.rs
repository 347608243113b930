//! Which rates something has to pass, and who pays for what the wire shows beyond it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::civil::DateTime;
use quinn::UdpStats;
use samara_wire::ChannelId;

use super::{Line, Ruling, bucket::Bucket};
use crate::stopwatch::Stopwatch;

/// Bytes of the IP and UDP headers of a datagram.
const HEADERS_V4: u64 = 20 + 8;
const HEADERS_V6: u64 = 40 + 8;

/// What may be paid for and not have come, as a time at the rate that holds; and the least
/// of it.
const AHEAD: Duration = Duration::from_millis(50);
const LEAST_AHEAD: u64 = 16 << 10;

/// One bucket for each line: the node's, or a channel's.
#[derive(Debug, Default)]
pub(crate) struct Lines([Bucket; Line::ALL.len()]);

impl Lines {
    pub(crate) fn get(&self, line: Line) -> &Bucket {
        &self.0[line as usize]
    }

    fn is_limited(&self) -> bool {
        self.0.iter().any(|bucket| bucket.rate().is_some())
    }

    /// The lowest rate of two lines.
    fn lowest(&self, lines: [Line; 2]) -> Option<u64> {
        let rates = lines.into_iter().filter_map(|line| self.get(line).rate());
        rates.min()
    }
}

/// The lines that bytes in one direction pass.
fn lines(up: bool, lan: bool) -> [Line; 2] {
    match (up, lan) {
        (true, true) => [Line::Up, Line::LanUp],
        (true, false) => [Line::Up, Line::WanUp],
        (false, true) => [Line::Down, Line::LanDown],
        (false, false) => [Line::Down, Line::WanDown],
    }
}

/// All buckets of a node.
#[derive(Debug, Default)]
pub(crate) struct Shapers {
    pub(crate) node: Arc<Lines>,
    channels: HashMap<ChannelId, Arc<Lines>>,
    /// Bytes were paid for since the meters were read.
    stirred: Arc<AtomicBool>,
}

impl Shapers {
    /// Sets every rate to what holds at a local time, for the node and `channels`; others
    /// are forgotten.
    pub(crate) fn apply<'a>(
        &mut self,
        ruling: &Ruling<'_>,
        at: DateTime,
        channels: impl Iterator<Item = (&'a ChannelId, Option<String>)>,
    ) {
        for line in Line::ALL {
            self.node.get(line).set(ruling.of_node(line, at).rate);
        }
        let mut before = std::mem::take(&mut self.channels);
        for (id, name) in channels {
            let rate = |line| ruling.of_channel(id, name.as_deref(), line, at).rate;
            let limited = Line::ALL.iter().any(|line| rate(*line).is_some());
            let lines = match before.remove(id) {
                Some(lines) => lines,
                None if limited => Arc::default(),
                None => continue,
            };
            for line in Line::ALL {
                lines.get(line).set(rate(line));
            }
            self.channels.insert(*id, lines);
        }
        for lines in before.into_values() {
            for line in Line::ALL {
                lines.get(line).set(None);
            }
        }
    }

    /// Whether there is any limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.node.is_limited() || self.channels.values().any(|lines| lines.is_limited())
    }

    /// Whether anything was paid since the last time that this was asked.
    pub(crate) fn take_stirred(&self) -> bool {
        self.stirred.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn is_stirred(&self) -> bool {
        self.stirred.load(Ordering::Relaxed)
    }

    /// The way of a channel's bytes over a connection; the watches run while the limits
    /// hold them back.
    pub(crate) fn lane(
        &mut self,
        (up, lan): (bool, bool),
        channel: ChannelId,
        meter: &Arc<Meter>,
        waiting: [&Stopwatch; 2],
    ) -> Lane {
        Lane {
            up,
            lines: lines(up, lan),
            node: self.node.clone(),
            of_channel: self.channels.entry(channel).or_default().clone(),
            channel,
            meter: meter.clone(),
            stirred: self.stirred.clone(),
            waiting: waiting.map(Stopwatch::clone),
        }
    }

    /// The lowest rate at which bytes of these channels may come in.
    pub(crate) fn lowest_down<'a>(
        &self,
        lan: bool,
        channels: impl Iterator<Item = &'a ChannelId>,
    ) -> Option<u64> {
        let lines = lines(false, lan);
        let of_channels = channels.filter_map(|id| self.channels.get(id)?.lowest(lines));
        of_channels.chain(self.node.lowest(lines)).min()
    }

    /// The lowest limit on the way of these channels' bytes, and whose and of which line
    /// it is; of several that are equal the node's.
    pub(crate) fn lowest_line<'a>(
        &self,
        (up, lan): (bool, bool),
        channels: impl Iterator<Item = &'a ChannelId>,
    ) -> Option<(Option<ChannelId>, Line, u64)> {
        let of_channels = channels.filter_map(|id| Some((Some(*id), self.channels.get(id)?)));
        let all = [(None, &self.node)].into_iter().chain(of_channels);
        let rates = all.flat_map(|(whose, of)| {
            let rate = move |line| Some((whose, line, of.get(line).rate()?));
            lines(up, lan).into_iter().filter_map(rate)
        });
        rates.min_by_key(|(.., rate)| *rate)
    }

    /// Bytes of a channel that may be asked for, see [`Bucket::room`].
    pub(crate) fn room(&self, lan: bool, channel: &ChannelId, time: Duration) -> Option<u64> {
        let all = self.channels.get(channel).into_iter().chain([&self.node]);
        let buckets = all.flat_map(|of| lines(false, lan).map(|line| of.get(line)));
        buckets.filter_map(|bucket| bucket.room(time)).min()
    }

    /// Has those pay whose bytes passed a connection: `up` and `down` are what it counted
    /// so far.
    pub(crate) fn settle(&self, lan: bool, v4: bool, meter: &Meter, up: UdpStats, down: UdpStats) {
        let headers = if v4 { HEADERS_V4 } else { HEADERS_V6 };
        let is_limited = self.is_limited();
        for (is_up, stats) in [(true, up), (false, down)] {
            let wire = stats.bytes + stats.datagrams * headers;
            let mut side = meter.side(is_up);
            if !is_limited {
                *side = Side::since(wire);
                continue;
            }
            // What is sent waits for its turn in the transport; what is read has come.
            let most_ahead = match is_up {
                true => u64::MAX,
                false => self.most_ahead(lan, side.paid.keys()),
            };
            let Settled {
                owed,
                refund,
                shares,
            } = side.settle(wire, most_ahead);
            drop(side);
            if (owed, refund) == (0, 0) {
                continue;
            }
            let tell = |of: &Lines, part: f64| {
                for bucket in lines(is_up, lan).map(|line| of.get(line)) {
                    bucket.owe((owed as f64 * part) as u64);
                    bucket.refund((refund as f64 * part) as u64);
                }
            };
            tell(&self.node, 1.0);
            if shares.is_empty() {
                // Whoever reads them pays for them then, and gets nothing back.
                for of_channel in self.channels.values() {
                    for bucket in lines(is_up, lan).map(|line| of_channel.get(line)) {
                        bucket.forgive(owed);
                    }
                }
            }
            let all: u64 = shares.values().sum();
            for (channel, paid) in shares {
                if let Some(of_channel) = self.channels.get(&channel) {
                    tell(of_channel, paid as f64 / all.max(1) as f64);
                }
            }
        }
    }

    /// Bytes that may have been paid for and not have come.
    fn most_ahead<'a>(&self, lan: bool, channels: impl Iterator<Item = &'a ChannelId>) -> u64 {
        let rate = self.lowest_down(lan, channels);
        rate.map_or(u64::MAX, |rate| {
            let most = (rate as f64 * AHEAD.as_secs_f64()) as u64;
            most.max(LEAST_AHEAD)
        })
    }
}

/// What passed a connection, and what of it is paid for.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    up: Mutex<Side>,
    down: Mutex<Side>,
}

#[derive(Debug, Default)]
struct Side {
    /// What the connection had counted last time.
    seen: u64,
    /// Bytes paid for that it has not counted yet.
    ahead: u64,
    /// Who paid how much since.
    paid: HashMap<ChannelId, u64>,
}

/// What a look at a connection's counters led to.
#[derive(Debug)]
struct Settled {
    /// Bytes that passed and nobody paid for.
    owed: u64,
    /// Bytes that were paid for when they came, as owed, and again when they were read.
    refund: u64,
    /// Who paid how much since the last look.
    shares: HashMap<ChannelId, u64>,
}

impl Side {
    /// All that passed until now is nobody's.
    fn since(wire: u64) -> Self {
        Self {
            seen: wire,
            ..Self::default()
        }
    }

    /// Compares what passed with what was paid for. More than `most_ahead` bytes cannot be
    /// paid for and yet to come.
    fn settle(&mut self, wire: u64, most_ahead: u64) -> Settled {
        let passed = wire.saturating_sub(self.seen);
        self.seen = wire;
        let owed = passed.saturating_sub(self.ahead);
        self.ahead = self.ahead.saturating_sub(passed);
        let refund = self.ahead.saturating_sub(most_ahead);
        self.ahead -= refund;
        Settled {
            owed,
            refund,
            shares: std::mem::take(&mut self.paid),
        }
    }
}

impl Meter {
    fn side(&self, up: bool) -> MutexGuard<'_, Side> {
        let side = if up { &self.up } else { &self.down };
        side.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Shapers::lane`].
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    up: bool,
    lines: [Line; 2],
    node: Arc<Lines>,
    of_channel: Arc<Lines>,
    channel: ChannelId,
    meter: Arc<Meter>,
    stirred: Arc<AtomicBool>,
    waiting: [Stopwatch; 2],
}

impl Lane {
    /// Bytes that are best taken at once.
    pub(crate) fn piece(&self) -> usize {
        let pieces = self.buckets().filter_map(Bucket::piece);
        pieces.min().map_or(usize::MAX, |piece| piece as usize)
    }

    /// Until so many bytes may pass.
    pub(crate) async fn take(&self, bytes: usize) {
        let bytes = bytes as u64;
        if self.buckets().all(|bucket| bucket.rate().is_none()) {
            // Or others on the connection that have a limit would pay for it.
            self.paid(bytes);
            return;
        }
        let mut inside = None;
        for bucket in self.buckets() {
            let waits = || {
                inside.get_or_insert_with(|| self.waiting.each_ref().map(Stopwatch::enter));
            };
            bucket.take(bytes, waits).await;
        }
        self.paid(bytes);
        self.stirred.store(true, Ordering::Relaxed);
    }

    fn paid(&self, bytes: u64) {
        let mut side = self.meter.side(self.up);
        side.ahead += bytes;
        *side.paid.entry(self.channel).or_default() += bytes;
    }

    /// So many bytes are asked for.
    pub(crate) fn ask(&self, bytes: u64) -> Asking {
        self.buckets().for_each(|bucket| bucket.ask(bytes));
        Asking {
            lane: self.clone(),
            left: bytes,
        }
    }

    /// The channel's own, then the node's: whoever waits for its channel takes nothing
    /// from others meanwhile.
    fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        let lines = [&self.of_channel, &self.node];
        lines
            .into_iter()
            .flat_map(|lines| self.lines.map(|line| lines.get(line)))
    }
}

/// Bytes that were asked for and are not here yet; none any more when it is dropped.
#[derive(Debug)]
pub(crate) struct Asking {
    lane: Lane,
    left: u64,
}

impl Asking {
    /// So many of them came in, or will not.
    pub(crate) fn settle(&mut self, bytes: usize) {
        let bytes = (bytes as u64).min(self.left);
        self.left -= bytes;
        self.lane.buckets().for_each(|bucket| bucket.settle(bytes));
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.settle(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ChannelId = ChannelId([1; 32]);
    const B: ChannelId = ChannelId([2; 32]);

    fn counted(bytes: u64, datagrams: u64) -> UdpStats {
        let mut stats = UdpStats::default();
        (stats.bytes, stats.datagrams) = (bytes, datagrams);
        stats
    }

    #[tokio::test]
    async fn what_the_wire_shows_beyond_what_was_paid_is_owed_by_whom_it_concerns() {
        let mut shapers = Shapers::default();
        let (meter, watch) = (Arc::new(Meter::default()), Stopwatch::default());
        shapers.node.get(Line::Up).set(Some(1 << 40));
        let (a, b) = ((true, false), (true, false));
        let (a, b) = (
            shapers.lane(a, A, &meter, [&watch; 2]),
            shapers.lane(b, B, &meter, [&watch; 2]),
        );
        a.take(3000).await;
        b.take(1000).await;
        assert!(shapers.take_stirred() && !shapers.is_stirred());
        // Not all of it has left yet: nothing is owed, and the rest stays paid.
        let settled = |wire| meter.side(true).settle(wire, u64::MAX);
        assert_eq!(settled(1500).owed, 0);
        let Settled { owed, shares, .. } = settled(4500);
        assert_eq!((owed, shares.len()), (500, 0));
        a.take(3000).await;
        b.take(1000).await;
        let Settled { owed, shares, .. } = settled(9000);
        assert_eq!((owed, shares[&A], shares[&B]), (500, 3000, 1000));
        assert_eq!(settled(9000).owed, 0);
    }

    #[tokio::test]
    async fn who_has_a_limit_does_not_pay_for_who_has_none() {
        let mut shapers = Shapers::default();
        let (meter, watch) = (Arc::new(Meter::default()), Stopwatch::default());
        let [a, b] = [A, B].map(|id| shapers.lane((false, true), id, &meter, [&watch; 2]));
        // Before there is a limit, all of it is forgotten.
        b.take(5000).await;
        shapers.settle(true, true, &meter, counted(0, 0), counted(4000, 0));
        assert_eq!(meter.side(false).ahead, 0);
        assert_eq!(meter.side(false).seen, 4000);
        shapers.channels[&A].get(Line::Down).set(Some(1 << 40));
        a.take(1000).await;
        b.take(99_000).await;
        let Settled { owed, shares, .. } = meter.side(false).settle(114_000, u64::MAX);
        assert_eq!((owed, shares[&A], shares[&B]), (10_000, 1000, 99_000));
    }

    #[test]
    fn what_was_owed_when_it_came_is_not_paid_for_again_when_it_is_read() {
        let mut side = Side::default();
        // It came unasked for: more than was let in.
        assert_eq!(side.settle(8000, 1000).owed, 8000);
        side.ahead += 5000;
        let Settled { owed, refund, .. } = side.settle(8000, 1000);
        assert_eq!((owed, refund, side.ahead), (0, 4000, 1000));
        let Settled { owed, refund, .. } = side.settle(9500, 1000);
        assert_eq!((owed, refund, side.ahead), (500, 0, 0));
    }

    #[tokio::test]
    async fn headers_count_and_each_direction_pays_for_itself() {
        let shapers = Shapers::default();
        let meter = Meter::default();
        for line in Line::ALL {
            shapers.node.get(line).set(Some(1 << 20));
        }
        // 100 packets of 1,000 bytes out, nothing in, over IPv6 and beyond the LAN.
        shapers.settle(false, false, &meter, counted(100_000, 100), counted(0, 0));
        let owes = async |line| {
            let mut waited = false;
            shapers.node.get(line).take(2048, || waited = true).await;
            waited
        };
        assert!(owes(Line::Up).await && owes(Line::WanUp).await);
        assert!(!owes(Line::LanUp).await && !owes(Line::Down).await && !owes(Line::WanDown).await);
        let side = meter.side(true);
        assert_eq!(side.seen, 104_800);
    }

    #[tokio::test]
    async fn a_channel_s_limit_is_within_the_node_s() {
        let mut shapers = Shapers::default();
        let meter = Arc::new(Meter::default());
        let watches = [Stopwatch::default(), Stopwatch::default()];
        let lane = shapers.lane((false, true), A, &meter, watches.each_ref());
        assert_eq!(lane.piece(), usize::MAX);
        assert!(!shapers.is_limited());
        shapers.channels[&A].get(Line::LanDown).set(Some(2 << 20));
        shapers.node.get(Line::Down).set(Some(8 << 20));
        shapers.node.get(Line::WanDown).set(Some(1 << 20));
        assert!(shapers.is_limited() && lane.piece() < 1 << 20);
        assert_eq!(shapers.lowest_down(true, [A].iter()), Some(2 << 20));
        assert_eq!(shapers.lowest_down(true, [B].iter()), Some(8 << 20));
        assert_eq!(shapers.lowest_down(false, [B].iter()), Some(1 << 20));
        let lowest = |lan, of: ChannelId| shapers.lowest_line((false, lan), [of].iter());
        assert_eq!(lowest(true, A), Some((Some(A), Line::LanDown, 2 << 20)));
        assert_eq!(lowest(true, B), Some((None, Line::Down, 8 << 20)));
        assert_eq!(lowest(false, A), Some((None, Line::WanDown, 1 << 20)));
        lane.take(256 << 10).await;
        let least = Duration::from_millis(20);
        assert!(watches.iter().all(|watch| watch.total() > least));
    }

    #[test]
    fn no_more_is_asked_for_than_comes_in_soon() {
        let mut shapers = Shapers::default();
        let (meter, watch) = (Arc::new(Meter::default()), Stopwatch::default());
        let way = |lan| (false, lan);
        let near = shapers.lane(way(true), A, &meter, [&watch; 2]);
        let far = shapers.lane(way(false), B, &meter, [&watch; 2]);
        let second = Duration::from_secs(1);
        let before = near.ask(3000);
        assert_eq!(shapers.room(true, &A, second), None);
        shapers.node.get(Line::Down).set(Some(10_000));
        shapers.channels[&A].get(Line::LanDown).set(Some(2000));
        // What was asked for before counts.
        assert_eq!(shapers.room(true, &A, second), Some(0));
        assert_eq!(shapers.room(true, &A, 3 * second), Some(3000));
        assert_eq!(shapers.room(false, &A, second), Some(7000));
        let mut asking = far.ask(7000);
        assert_eq!(shapers.room(false, &B, second), Some(0));
        asking.settle(5000);
        assert_eq!(shapers.room(true, &B, second), Some(5000));
        drop(before);
        assert_eq!(shapers.room(true, &A, second), Some(2000));
        drop(asking);
        assert_eq!(shapers.room(false, &B, second), Some(10_000));
        // However large a chunk is, one comes.
        assert_eq!(shapers.room(false, &B, Duration::ZERO), Some(1));
    }
}
