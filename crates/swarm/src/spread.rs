//! What became of the chunks that a seeder handed out.

use std::{collections::BTreeMap, time::Duration};

use samara_wire::PeerId;

/// A chunk that was handed out is expected to be passed on for this long at least:
/// a few times what announcing and asking take between machines that are near.
const MIN_SPREAD: Duration = Duration::from_millis(100);
/// And not longer than this, however long handing out all of them took.
const MAX_SPREAD: Duration = Duration::from_secs(1);
/// Nothing was handed out for the first time for so long: what comes now is another crowd.
const LULL: Duration = Duration::from_secs(2);

/// Chunks that a peer may keep to itself before it is compared with the others.
const KEPT_AT_LEAST: u32 = 4;

/// First copies, and when and to whom they went.
///
/// A second copy of a chunk is held back while the first is likely to be on its way
/// from peer to peer. That is about as long as handing out first copies has taken:
/// receivers whose links keep up with the seeder's are through by then, and for
/// those whose links do not there are always older chunks, so that the seeder
/// never idles when it is needed.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    /// When a chunk was last handed out while nobody had it. Empty until the first.
    at: Vec<Option<Duration>>,
    first: Duration,
    last: Duration,
    /// Whom a chunk went to that nobody else got from there yet.
    kept: BTreeMap<u32, PeerId>,
}

impl Spread {
    /// The first copy of a chunk is handed out.
    pub(crate) fn hand_out(&mut self, now: Duration, chunk: u32, chunks: usize) {
        if self.at.is_empty() || self.last + LULL < now {
            self.at = vec![None; chunks];
            self.first = now;
        }
        self.last = now;
        self.at[chunk as usize] = Some(now);
    }

    /// Until when a further copy of a chunk is held back, if it is.
    pub(crate) fn young_until(&self, now: Duration, chunk: u32) -> Option<Duration> {
        let at = (*self.at.get(chunk as usize)?)?;
        let patience = (self.last - self.first).clamp(MIN_SPREAD, MAX_SPREAD);
        Some(at + patience).filter(|until| *until > now)
    }

    /// The first copy of a chunk is being sent; whether that is news.
    pub(crate) fn keep(&mut self, chunk: u32, peer: PeerId) -> bool {
        match self.kept.entry(chunk) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(peer);
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }

    /// Somebody got the chunk from elsewhere than from us: who had passed it on.
    pub(crate) fn pass_on(&mut self, chunk: u32) -> Option<PeerId> {
        self.kept.remove(&chunk)
    }

    /// The peer is gone.
    pub(crate) fn forget(&mut self, peer: &PeerId) {
        self.kept.retain(|_, keeper| keeper != peer);
    }
}

/// Whether a peer should pass on what it has before it gets more that nobody else has: it
/// keeps more to itself than half of what the others do, whose `total` over `others` peers
/// this is, and than those `on_the_way` to be passed on wherever that is fast. What waits at
/// those who send slowly is what the fast ones, who would bring it to everybody sooner, lack.
pub(crate) fn lags(kept: u32, on_the_way: u32, total: u32, others: u32) -> bool {
    // What is on the way comes of measured rates: however large, it is no overflow.
    others > 0 && kept.saturating_sub(1 + total / (2 * others)) > on_the_way
}

/// Whether a peer keeps what it gets to itself: far more of its chunks did not get
/// any further than of the others' (whose `total` over `others` peers this is). It
/// cannot be reached, does not serve, or sends garbage that nobody takes.
pub(crate) fn hoards(kept: u32, total: u32, others: u32) -> bool {
    others > 0 && kept.saturating_sub(KEPT_AT_LEAST) > 2 * total / others
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_chunk_is_young_as_long_as_handing_out_took_within_bounds() {
        let mut spread = Spread::default();
        assert_eq!(spread.young_until(5 * MS, 0), None);
        spread.hand_out(10 * MS, 0, 3);
        assert_eq!(spread.young_until(10 * MS, 0), Some(110 * MS));
        assert_eq!(spread.young_until(10 * MS, 1), None, "never handed out");
        assert_eq!(spread.young_until(110 * MS, 0), None);
        spread.hand_out(310 * MS, 1, 3);
        assert_eq!(spread.young_until(400 * MS, 1), Some(610 * MS));
        spread.hand_out(2010 * MS, 2, 3);
        assert_eq!(spread.young_until(2500 * MS, 2), Some(3010 * MS));
        spread.hand_out(10_000 * MS, 0, 3);
        assert_eq!(spread.young_until(10_000 * MS, 0), Some(10_100 * MS));
    }

    #[test]
    fn who_keeps_more_than_half_of_what_the_others_keep_lags() {
        assert!(!lags(100, 0, 0, 0), "there is nobody to compare with");
        assert!(!lags(1, 0, 0, 3));
        assert!(lags(2, 0, 0, 3));
        assert!(!lags(6, 0, 30, 3));
        assert!(lags(7, 0, 30, 3));
        assert!(!lags(10, 4, 30, 3));
        assert!(lags(11, 4, 30, 3));
        assert!(!lags(u32::MAX, u32::MAX, 0, 3));
    }

    #[test]
    fn who_keeps_far_more_than_the_others_hoards() {
        assert!(!hoards(100, 0, 0), "there is nobody to compare with");
        assert!(!hoards(4, 0, 3));
        assert!(hoards(5, 0, 3));
        assert!(!hoards(24, 30, 3));
        assert!(hoards(25, 30, 3));
    }
}
