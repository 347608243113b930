//! What is asked for next of a content that is used while it arrives.
//!
//! Strictly in order all receivers want the same chunk of whoever has everything, and
//! have nothing for each other. So the next few chunks are taken as they can be had, what
//! a seeder hands out before all else (as BiToS does for BitTorrent: Vlavianos, Iliofotou
//! and Faloutsos, "BiToS: enhancing BitTorrent for supporting streaming applications",
//! 2006).

use std::time::Duration;

use samara_wire::PeerId;

use crate::{Order, content::Content, site::pull};

/// Chunks of the window at least, and for each neighbour that fetches as well: about what
/// is on its way between them before it is announced.
const LEAST: u32 = 16;
const PER_NEIGHBOUR: u32 = 4;
/// And what comes in within this time.
const SPAN: Duration = Duration::from_millis(500);
/// And at most, for looking at them takes time.
const MOST: u32 = 4096;

/// Suggestions are taken from so many windows: who suggests sees to it that others get
/// something else, and is ahead of all.
const AHEAD: usize = 2;

/// Where little is wanted, the window is filled from so many times its chunks.
const SPARSE: usize = 16;

/// The next chunks in a content's order.
#[derive(Debug)]
pub(crate) struct Window {
    /// Chunks wanted that it spans, those here included.
    width: usize,
    /// Those that are not here, ascending. Never empty.
    missing: Vec<u32>,
    /// The last chunk that is taken where it is suggested.
    reach: u32,
}

impl Window {
    /// `None`: order does not matter, or there is nobody to share with, so that chunks are
    /// asked for one after the other.
    pub(crate) fn of(content: &Content) -> Option<Self> {
        let others = content.links.values().filter(|link| link.wants > 0).count();
        if content.order != Order::Stream || others == 0 {
            return None;
        }
        let comes = content.rate.get() as f64 * SPAN.as_secs_f64() / content.average() as f64;
        let shared = PER_NEIGHBOUR.saturating_mul(others as u32);
        let width = LEAST.max(shared).max(comes as u32).min(MOST) as usize;
        let first = content.wanted.iter_difference(&content.have).next()?;
        let all = (first..content.wanted.len()).take(SPARSE * width);
        let wanted = all.filter(|chunk| content.wanted.contains(*chunk));
        let mut missing: Vec<u32> = wanted.take(AHEAD * width).collect();
        let reach = *missing.last()?;
        missing.truncate(width);
        missing.retain(|chunk| !content.have.contains(*chunk));
        Some(Self {
            width,
            missing,
            reach,
        })
    }

    /// What to ask `peer` for, of what is `free` to be taken where it is suggested and what
    /// is `ours`: the earliest chunk if it is late, that is, if less than half of the window
    /// is still to be asked for; else what is suggested, or the rarest. Of several as rare
    /// the earliest; of those that a seeder has each receiver another one, by rendezvous
    /// hashing, so that they have something for each other.
    pub(crate) fn choose(
        &self,
        content: &Content,
        (us, peer): (&PeerId, &PeerId),
        suggested: &[u32],
        free: impl Fn(u32) -> bool,
        ours: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let rarity = &content.rarity;
        let first = self.missing[0];
        let open = self.missing.iter().filter(|c| rarity.contains(**c)).count();
        if open < self.width / 2 && ours(first) {
            return Some(first);
        }
        let near = |chunk: &u32| (first..=self.reach).contains(chunk) && free(*chunk);
        let seeds = content.links[peer].theirs.is_full();
        let place = |chunk: u32| match seeds {
            true => pull(us, chunk),
            false => u64::from(chunk),
        };
        let rarest = || {
            let fits = self.missing.iter().copied().filter(|c| ours(*c));
            fits.min_by_key(|c| (rarity.copies(*c), place(*c)))
        };
        suggested.iter().copied().find(near).or_else(rarest)
    }
}
