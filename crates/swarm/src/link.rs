use std::{collections::BTreeSet, time::Duration};

use samara_content::ChunkSet;

use crate::{
    RequestId, SiteId, Tier, limits::MAX_SENDS_PER_CHUNK, pace::DeliveryRate, site::Pulse,
};

/// One peer in one content's swarm: what it has, what we owe it, what it owes us.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) tier: Tier,
    pub(crate) site: Option<SiteId>,
    /// Round trip, as far as it is known.
    pub(crate) rtt: Duration,
    /// What it announced.
    pub(crate) theirs: ChunkSet,
    /// It announced everything at once. Such a peer adds a copy to every chunk,
    /// so it is left out of the count of copies.
    pub(crate) whole: bool,
    /// What we sent it, or are sending.
    pub(crate) sent: ChunkSet,
    /// What we sent it twice.
    twice: BTreeSet<u32>,
    /// What we sent it once, and it says it has not got.
    lost: BTreeSet<u32>,
    /// Bytes of answers to it that began, whatever became of them.
    pub(crate) spent: u64,
    /// What came suggested with credit that it has not used yet.
    pub(crate) suggested: BTreeSet<u32>,
    /// Chunks announced or sent: what it has, as far as a liar can make us believe.
    pub(crate) known: u32,
    /// Chunks that we have and it is not known to have.
    pub(crate) useful: u32,
    /// Chunks that it has and we still want.
    pub(crate) offers: u32,

    /// Bytes that it wants; 0: it is not interested.
    pub(crate) wants: u64,
    /// It gave credit back and has not asked for more since.
    pub(crate) declined: bool,
    /// Credit granted and not used, in bytes.
    pub(crate) credit: u64,
    /// Bytes by which its last request went over: the next grant pays for them.
    pub(crate) overdrawn: u64,
    /// When it last used credit, or got some while it had none.
    pub(crate) credit_at: Duration,
    /// Bytes requested by it and not acknowledged.
    pub(crate) owed: u64,
    /// When it last took something off our hands.
    pub(crate) progress_at: Duration,
    /// When it last was about to.
    pub(crate) moved_at: Duration,
    /// Until when all that it lacks is likely to come from others.
    pub(crate) held_until: Duration,
    /// Chunks that only it got from us, and nobody from it.
    pub(crate) kept: u32,
    /// Its news, if it is near.
    pub(crate) pulse: Pulse,
    /// While it is no good at using credit.
    pub(crate) held_off: HoldOff,
    /// What it acknowledges.
    pub(crate) taken: DeliveryRate,
    pub(crate) sent_bytes: u64,

    /// Our open requests to it.
    pub(crate) requests: Vec<RequestId>,
    /// Bytes requested from it and not here.
    pub(crate) asked: u64,
    /// Bytes by which requests went over their grants: the next grant pays for them.
    pub(crate) debt: u64,
    /// We gave credit back and have not asked for more since.
    pub(crate) released: bool,
    /// That was for want of room, of which there is none yet.
    pub(crate) cramped: bool,
    /// While it is no good at answering.
    pub(crate) shunned: HoldOff,
    pub(crate) rate: DeliveryRate,
    pub(crate) received_bytes: u64,
}

impl Link {
    pub(crate) fn new(
        now: Duration,
        tier: Tier,
        site: Option<SiteId>,
        rtt: Duration,
        have: &ChunkSet,
    ) -> Self {
        Self {
            tier,
            site,
            rtt,
            held_until: Duration::ZERO,
            kept: 0,
            pulse: Pulse::new(now),
            theirs: ChunkSet::new(have.len()),
            whole: false,
            sent: ChunkSet::new(have.len()),
            twice: BTreeSet::new(),
            lost: BTreeSet::new(),
            spent: 0,
            suggested: BTreeSet::new(),
            known: 0,
            useful: have.count(),
            offers: 0,
            wants: 0,
            declined: false,
            credit: 0,
            overdrawn: 0,
            credit_at: now,
            owed: 0,
            progress_at: now,
            moved_at: now,
            held_off: HoldOff::default(),
            taken: DeliveryRate::default(),
            sent_bytes: 0,
            requests: Vec::new(),
            asked: 0,
            debt: 0,
            released: false,
            cramped: false,
            shunned: HoldOff::default(),
            rate: DeliveryRate::default(),
            received_bytes: 0,
        }
    }

    /// Bytes that it may still take off our hands.
    pub(crate) fn outstanding(&self) -> u64 {
        self.credit + self.owed
    }

    /// Whether credit would do it good.
    pub(crate) fn is_interested(&self, now: Duration) -> bool {
        self.wants > 0 && !self.declined && self.useful > 0 && self.held_off.is_over(now)
    }

    /// Whether it is to be told that something is wanted of it again.
    pub(crate) fn may_be_asked(&self, now: Duration) -> bool {
        self.released && !self.cramped && self.shunned.is_over(now)
    }

    /// Whether it waits for something, has got all that we have, and does not say so.
    pub(crate) fn misses_what_was_sent(&self) -> bool {
        self.wants > 0
            && !self.declined
            && self.useful == 0
            && self.outstanding() == 0
            && self
                .sent
                .iter_difference(&self.theirs)
                .any(|c| !self.twice.contains(&c))
    }

    /// Whether it counts as a holder of `chunk`. A seeder reckons with what it
    /// handed out as well, or it would hand it out again.
    pub(crate) fn counts(&self, chunk: u32, seeding: bool) -> bool {
        !self.whole
            && (self.theirs.contains(chunk)
                || seeding && (self.sent.contains(chunk) || self.suggested.contains(&chunk)))
    }

    /// Adds one for each chunk that it [counts](Self::counts) as a holder of.
    pub(crate) fn add_copies(&self, seeding: bool, copies: &mut [u16]) {
        if self.whole {
            return;
        }
        let mut add = |chunk: u32| copies[chunk as usize] += 1;
        self.theirs.iter().for_each(&mut add);
        if seeding {
            self.sent.iter_difference(&self.theirs).for_each(&mut add);
            let suggested = self.suggested.iter().copied();
            suggested
                .filter(|c| !self.theirs.contains(*c) && !self.sent.contains(*c))
                .for_each(add);
        }
    }

    /// Whether `chunk` was sent to it so often that it does not get it again.
    pub(crate) fn is_served_out(&self, chunk: u32) -> bool {
        const { assert!(MAX_SENDS_PER_CHUNK == 2) };
        self.twice.contains(&chunk)
    }

    /// Notes that `chunk` is being sent; whether it was not believed to have been.
    pub(crate) fn send(&mut self, chunk: u32) -> bool {
        let news = self.sent.insert(chunk);
        if !news || self.lost.remove(&chunk) {
            self.twice.insert(chunk);
        }
        news
    }

    /// The transport did not take all of `chunk`; whether it was believed to be sent.
    pub(crate) fn unsend(&mut self, chunk: u32) -> bool {
        if self.twice.remove(&chunk) {
            self.lost.insert(chunk);
        }
        self.sent.remove(chunk)
    }

    /// It says that it has not got what was sent; whether it may have it again.
    pub(crate) fn resend(&mut self, chunk: u32) -> bool {
        if self.twice.contains(&chunk) || !self.sent.remove(chunk) {
            return false;
        }
        self.lost.insert(chunk);
        true
    }
}

/// A pause that doubles with every repetition and ends its history with a success.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct HoldOff {
    pub(crate) until: Duration,
    strikes: u32,
}

impl HoldOff {
    const FIRST: Duration = Duration::from_millis(500);
    /// The longest pause is 64 times the first: 32 s.
    const MAX_DOUBLINGS: u32 = 6;

    pub(crate) fn strike(&mut self, now: Duration) {
        self.until = now + Self::FIRST * (1 << self.strikes.min(Self::MAX_DOUBLINGS));
        self.strikes += 1;
    }

    pub(crate) fn forgive(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn is_over(&self, now: Duration) -> bool {
        self.until <= now
    }
}
