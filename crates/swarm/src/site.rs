//! One copy per site.
//!
//! For a chunk that nobody near has, rendezvous hashing over the site's members
//! names the one that fetches it from elsewhere (Thaler and Ravishankar, "Using
//! name-based mappings to increase hit rates", 1998). All compute the same, and
//! when a member comes or goes only its chunks change hands.

use std::time::Duration;

use samara_wire::PeerId;

use crate::{Tier, content::Content, link::Link};

/// The pause between two pieces of news from a member that is not known yet. Long
/// enough for the slowest way that is worth waiting for.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(5);

/// A pause that is nothing unusual: what was asked for arrives in bursts.
const LEAST_PAUSE: Duration = Duration::from_secs(2);

/// Others' chunks are left to them until twice the time that our own took, and this
/// much longer.
const GRACE: Duration = Duration::from_secs(1);

/// How much longer a byte from further away may take and still be as good: nearer
/// peers are preferred, because what they send costs no shared way out.
pub(crate) fn weight(tier: Tier) -> f64 {
    match tier {
        Tier::Subnet => 1.0,
        Tier::Site => 1.5,
        Tier::Elsewhere => 4.0,
    }
}

/// How strongly a member is drawn to a chunk; the strongest fetches it.
pub(crate) fn pull(peer: &PeerId, chunk: u32) -> u64 {
    let (words, _) = peer.0.as_chunks::<8>();
    let mut state = u64::from(chunk);
    for word in words {
        // The finaliser of SplitMix64, a word at a time.
        state = (state ^ u64::from_le_bytes(*word)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    state
}

/// News from a member of the site: how often they come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pulse {
    last: Duration,
    /// The longest pause of late, fading with every shorter one.
    pause: Duration,
}

impl Pulse {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            last: now,
            pause: UNKNOWN_PAUSE,
        }
    }

    pub(crate) fn beat(&mut self, now: Duration) {
        let pause = now.saturating_sub(self.last);
        self.pause = pause.max(self.pause * 31 / 32);
        self.last = now;
    }

    /// Whether news are overdue by twice what they take.
    fn is_silent(&self, now: Duration) -> bool {
        self.last + 2 * self.pause.max(LEAST_PAUSE) < now
    }
}

/// How this node shares the way out of its site with the others.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// When it first wanted something.
    pub(crate) since: Option<Duration>,
    /// When nothing was left to it but the others' chunks.
    pub(crate) done: Option<Duration>,
    /// When it asks elsewhere again for what was left to others.
    pub(crate) retry_at: Option<Duration>,
}

impl Share {
    /// Whether the others had their time.
    fn is_over(&self, now: Duration) -> bool {
        match (self.since, self.done) {
            (Some(since), Some(done)) => now >= done + (done - since) + GRACE,
            _ => false,
        }
    }
}

/// Those near us, whom a chunk from elsewhere is rather had from.
pub(crate) struct Near<'a> {
    now: Duration,
    ours: &'a PeerId,
    links: Vec<(&'a PeerId, &'a Link)>,
    over: bool,
}

impl<'a> Near<'a> {
    /// `None`: the peer is near itself, or nobody else is.
    pub(crate) fn of(
        content: &'a Content,
        ours: &'a PeerId,
        source: &PeerId,
        now: Duration,
    ) -> Option<Self> {
        let link = content.links.get(source)?;
        if link.tier != Tier::Elsewhere || content.near == 0 {
            return None;
        }
        let links = content.links.iter().map(|(peer, link)| (peer, &**link));
        let near = |(_, link): &(&PeerId, &Link)| link.tier != Tier::Elsewhere;
        Some(Self {
            now,
            ours,
            links: links.filter(near).collect(),
            over: content.share.is_over(now),
        })
    }

    /// Whether somebody near has the chunk who is good at answering.
    pub(crate) fn has(&self, chunk: u32) -> bool {
        self.links
            .iter()
            .any(|(_, link)| link.theirs.contains(chunk) && link.shunned.is_over(self.now))
    }

    /// Whether the chunk is ours to fetch from there.
    pub(crate) fn leaves_us(&self, chunk: u32) -> bool {
        !self.has(chunk) && self.elects_us(chunk)
    }

    /// Whether the chunk is ours to fetch, should nobody near have it.
    pub(crate) fn elects_us(&self, chunk: u32) -> bool {
        let ours = pull(self.ours, chunk);
        self.over
            || !self.links.iter().any(|(peer, link)| {
                link.wants > 0 && !link.pulse.is_silent(self.now) && pull(peer, chunk) > ours
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_has_its_share_and_only_that_changes_hands() {
        let peers: Vec<PeerId> = (0..8).map(|n| PeerId([n; 32])).collect();
        let winner = |peers: &[PeerId], chunk| {
            let mut all = peers.iter().copied();
            let first = all.next().unwrap();
            all.fold(first, |a, b| {
                if pull(&b, chunk) > pull(&a, chunk) {
                    b
                } else {
                    a
                }
            })
        };
        let mut shares = [0; 8];
        for chunk in 0..8000 {
            let all = winner(&peers, chunk);
            shares[usize::from(all.0[0])] += 1;
            let fewer = winner(&peers[..7], chunk);
            assert!(all == fewer || all == peers[7]);
        }
        assert!(shares.iter().all(|n| (850..1150).contains(n)), "{shares:?}");
    }

    #[test]
    fn news_that_fail_to_come_for_twice_their_time_are_silence() {
        let ms = Duration::from_millis;
        let mut pulse = Pulse::new(ms(0));
        assert!(!pulse.is_silent(ms(10_000)));
        assert!(pulse.is_silent(ms(10_001)));
        for beat in 1..=40 {
            pulse.beat(ms(1000 * beat));
        }
        assert!(!pulse.is_silent(ms(44_000)));
        assert!(pulse.is_silent(ms(44_001)));
    }

    #[test]
    fn others_have_twice_the_time_that_ours_took() {
        let second = Duration::from_secs;
        let mut share = Share::default();
        assert!(!share.is_over(second(100)));
        share.since = Some(second(10));
        share.done = Some(second(14));
        assert!(!share.is_over(second(18)));
        assert!(share.is_over(second(19)));
    }
}
