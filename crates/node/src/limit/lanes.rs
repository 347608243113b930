//! Which rates something has to pass, and who pays for what the wire shows beyond it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::civil::DateTime;
use quinn::UdpStats;
use samara_wire::ChannelId;

use super::{Line, Ruling, bucket::Bucket};
use crate::stopwatch::Stopwatch;

/// Bytes of the IP and UDP headers of a datagram.
const HEADERS_V4: u64 = 20 + 8;
const HEADERS_V6: u64 = 40 + 8;

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
            let rate = |line| ruling.of_channel(id, name.as_deref(), line).rate;
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

    /// The way of a channel's bytes over a connection; `waiting` runs while the limits
    /// hold them back.
    pub(crate) fn lane(
        &mut self,
        (up, lan): (bool, bool),
        channel: ChannelId,
        meter: &Arc<Meter>,
        waiting: &Stopwatch,
    ) -> Lane {
        Lane {
            up,
            lines: lines(up, lan),
            node: self.node.clone(),
            of_channel: self.channels.entry(channel).or_default().clone(),
            channel,
            meter: meter.clone(),
            stirred: self.stirred.clone(),
            waiting: waiting.clone(),
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

    /// The lowest limit on the way of these channels' bytes, and of which line it is.
    pub(crate) fn lowest_line<'a>(
        &self,
        (up, lan): (bool, bool),
        channels: impl Iterator<Item = &'a ChannelId>,
    ) -> Option<(Line, u64)> {
        let all = channels
            .filter_map(|id| self.channels.get(id))
            .chain([&self.node]);
        let rate = |of: &Lines, line| of.get(line).rate().map(|rate| (line, rate));
        let rates = all.flat_map(|of| lines(up, lan).into_iter().filter_map(|l| rate(of, l)));
        rates.min_by_key(|(_, rate)| *rate)
    }

    /// Has those pay whose bytes passed a connection: `up` and `down` are what it counted
    /// so far.
    pub(crate) fn settle(&self, lan: bool, v4: bool, meter: &Meter, up: UdpStats, down: UdpStats) {
        let headers = if v4 { HEADERS_V4 } else { HEADERS_V6 };
        for (is_up, stats) in [(true, up), (false, down)] {
            let wire = stats.bytes + stats.datagrams * headers;
            let (more, shares) = meter.side(is_up).settle(wire);
            if more == 0 {
                continue;
            }
            for line in lines(is_up, lan) {
                self.node.get(line).owe(more);
            }
            let all: u64 = shares.values().sum();
            for (channel, paid) in shares {
                let Some(of_channel) = self.channels.get(&channel) else {
                    continue;
                };
                let share = u128::from(more) * u128::from(paid) / u128::from(all.max(1));
                for line in lines(is_up, lan) {
                    of_channel.get(line).owe(share as u64);
                }
            }
        }
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

impl Side {
    /// What passed that nobody paid for, and who paid for the rest.
    fn settle(&mut self, wire: u64) -> (u64, HashMap<ChannelId, u64>) {
        let passed = wire.saturating_sub(self.seen);
        self.seen = wire;
        let more = passed.saturating_sub(self.ahead);
        self.ahead = self.ahead.saturating_sub(passed);
        (more, std::mem::take(&mut self.paid))
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
    waiting: Stopwatch,
}

impl Lane {
    /// Bytes that are best taken at once.
    pub(crate) fn piece(&self) -> usize {
        let pieces = self.buckets().filter_map(Bucket::piece);
        pieces.min().map_or(usize::MAX, |piece| piece as usize)
    }

    /// Until so many bytes may pass.
    pub(crate) async fn take(&self, bytes: usize) {
        if self.buckets().all(|bucket| bucket.rate().is_none()) {
            return;
        }
        let bytes = bytes as u64;
        let mut inside = None;
        for bucket in self.buckets() {
            let waits = || {
                inside.get_or_insert_with(|| self.waiting.enter());
            };
            bucket.take(bytes, waits).await;
        }
        let mut side = self.meter.side(self.up);
        side.ahead += bytes;
        *side.paid.entry(self.channel).or_default() += bytes;
        self.stirred.store(true, Ordering::Relaxed);
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
            shapers.lane(a, A, &meter, &watch),
            shapers.lane(b, B, &meter, &watch),
        );
        a.take(3000).await;
        b.take(1000).await;
        assert!(shapers.take_stirred() && !shapers.is_stirred());
        // Not all of it has left yet: nothing is owed, and the rest stays paid.
        let settled = |wire| meter.side(true).settle(wire);
        assert_eq!(settled(1500).0, 0);
        let (more, shares) = settled(4500);
        assert_eq!((more, shares.len()), (500, 0));
        a.take(3000).await;
        b.take(1000).await;
        let (more, shares) = settled(9000);
        assert_eq!((more, shares[&A], shares[&B]), (500, 3000, 1000));
        assert_eq!(settled(9000).0, 0);
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
        let (meter, watch) = (Arc::new(Meter::default()), Stopwatch::default());
        let lane = shapers.lane((false, true), A, &meter, &watch);
        assert_eq!(lane.piece(), usize::MAX);
        assert!(!shapers.is_limited());
        shapers.channels[&A].get(Line::LanDown).set(Some(2 << 20));
        shapers.node.get(Line::Down).set(Some(8 << 20));
        shapers.node.get(Line::WanDown).set(Some(1 << 20));
        assert!(shapers.is_limited() && lane.piece() < 1 << 20);
        assert_eq!(shapers.lowest_down(true, [A].iter()), Some(2 << 20));
        assert_eq!(shapers.lowest_down(true, [B].iter()), Some(8 << 20));
        assert_eq!(shapers.lowest_down(false, [B].iter()), Some(1 << 20));
        lane.take(256 << 10).await;
        assert!(watch.total() > std::time::Duration::from_millis(20));
    }
}
