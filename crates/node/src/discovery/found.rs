//! Who is on the local network, as far as it says so itself: a bounded table of
//! announcements, matched with what this node looks for.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    time::Instant,
};

use samara_wire::{ChannelId, PeerId};

use super::{limits, names::LanName};

/// What somebody said on the local network. Nothing of it is proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// Who it says it is.
    pub(crate) peer: PeerId,
    /// Where it says it can be reached; at most [`limits::MAX_HINTS`].
    pub(crate) addrs: Vec<SocketAddr>,
    /// The channels that it says it carries; at most [`limits::MAX_NAMES_PER_ANSWER`].
    pub(crate) names: Vec<LanName>,
}

/// What this node looks for on the local network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sought {
    /// Channels, by each name that counts today.
    pub(crate) names: HashMap<LanName, ChannelId>,
    /// Peers, whatever they carry.
    pub(crate) peers: BTreeSet<PeerId>,
}

impl Sought {
    /// Why an announcement matters: the channels that it names, and whether its
    /// peer is looked for. `None` if it does not.
    pub(crate) fn matches(&self, said: &Announcement) -> Option<BTreeSet<ChannelId>> {
        let channels: BTreeSet<_> = said
            .names
            .iter()
            .filter_map(|name| self.names.get(name).copied())
            .collect();
        (!channels.is_empty() || self.peers.contains(&said.peer)).then_some(channels)
    }
}

/// What came of an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It concerns these channels, or a peer that is looked for.
    Sought(BTreeSet<ChannelId>),
    /// Kept in case that it is looked for later.
    Kept,
    /// Known already, word for word.
    Known,
    /// No room for it.
    Dropped,
}

/// One announcement, and how often it counted.
#[derive(Debug)]
struct Instance {
    said: Announcement,
    /// In which order announcements came or changed.
    turn: u64,
    /// When it was last passed on; `None` while what it says was not.
    told: Option<Instant>,
}

impl Instance {
    fn is_due(&self, now: Instant, sought: &Sought) -> bool {
        let rested = |at: Instant| now.saturating_duration_since(at) >= limits::LAN_RETELL;
        self.told.is_none_or(rested) && sought.matches(&self.said).is_some()
    }
}

/// Announcements by the instance name that they came under: one instance cannot
/// change what another one said.
#[derive(Debug, Default)]
pub(crate) struct Found {
    instances: HashMap<String, Instance>,
    turns: u64,
}

impl Found {
    /// Takes an announcement in. A full table lets one go that nobody looks for, else
    /// one that was passed on, and only for one that somebody looks for.
    pub(crate) fn hear(&mut self, instance: &str, said: Announcement, sought: &Sought) -> Heard {
        let known = self.instances.get_mut(instance);
        if known.as_ref().is_some_and(|known| known.said == said) {
            return Heard::Known;
        }
        let why = sought.matches(&said);
        let fresh = known.is_none();
        if fresh && self.instances.len() >= limits::MAX_LAN_INSTANCES {
            let Some(place) = why.as_ref().and_then(|_| self.place(sought)) else {
                return Heard::Dropped;
            };
            self.instances.remove(&place);
        }
        let turn = self.next_turn();
        match self.instances.get_mut(instance) {
            // Who changes what it says over and over does not lose its turn by it, and
            // gains none.
            Some(known) if known.told.is_none() => known.said = said,
            _ => {
                let told = None;
                let new = Instance { said, turn, told };
                self.instances.insert(instance.to_owned(), new);
            }
        }
        why.map_or(Heard::Kept, Heard::Sought)
    }

    fn next_turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    /// Whose place in a full table can be taken.
    fn place(&self, sought: &Sought) -> Option<String> {
        let idle = |known: &Instance| sought.matches(&known.said).is_none();
        let free = self
            .instances
            .iter()
            .filter(|(_, known)| idle(known) || known.told.is_some());
        let first = free.min_by_key(|(_, known)| (!idle(known), known.told, known.turn));
        first.map(|(name, _)| name.clone())
    }

    /// An instance said good-bye, or its records ran out.
    pub(crate) fn forget(&mut self, instance: &str) {
        self.instances.remove(instance);
    }

    /// Something else is looked for: all that concerns it is to be passed on again.
    pub(crate) fn begin_anew(&mut self) {
        self.instances
            .values_mut()
            .for_each(|known| known.told = None);
    }

    /// Whether there is anything to pass on.
    pub(crate) fn is_due(&self, now: Instant, sought: &Sought) -> bool {
        self.instances
            .values()
            .any(|known| known.is_due(now, sought))
    }

    /// The next announcement to pass on, which then counts as passed on: the first that
    /// was not yet, else the one that was the longest ago and at least
    /// [`limits::LAN_RETELL`].
    pub(crate) fn next_due(
        &mut self,
        now: Instant,
        sought: &Sought,
    ) -> Option<(Announcement, BTreeSet<ChannelId>)> {
        let waiting = self
            .instances
            .values_mut()
            .filter(|known| known.is_due(now, sought));
        let next = waiting.min_by_key(|known| (known.told, known.turn))?;
        next.told = Some(now);
        Some((next.said.clone(), sought.matches(&next.said)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const OURS: LanName = LanName([1; 16]);
    const OTHER: LanName = LanName([2; 16]);
    const CHANNEL: ChannelId = ChannelId([9; 32]);

    fn sought() -> Sought {
        Sought {
            names: [(OURS, CHANNEL)].into(),
            peers: [PeerId([200; 32])].into(),
        }
    }

    fn said(peer: u8, name: LanName) -> Announcement {
        Announcement {
            peer: PeerId([peer; 32]),
            addrs: vec![([10, 0, 0, peer], 7421).into()],
            names: vec![name],
        }
    }

    #[test]
    fn what_is_looked_for_is_told_once_for_each_change() {
        let (mut found, sought) = (Found::default(), sought());
        let channels = BTreeSet::from([CHANNEL]);
        assert_eq!(
            found.hear("a", said(1, OURS), &sought),
            Heard::Sought(channels)
        );
        assert_eq!(found.hear("a", said(1, OURS), &sought), Heard::Known);
        assert_eq!(found.hear("b", said(2, OTHER), &sought), Heard::Kept);
        let peer = found.hear("c", said(200, OTHER), &sought);
        assert_eq!(peer, Heard::Sought(BTreeSet::new()));
        found.forget("a");
        assert_eq!(told(&mut found, Instant::now()), [200]);
    }

    /// Who is passed on at a moment, in order.
    fn told(found: &mut Found, now: Instant) -> Vec<u8> {
        let sought = sought();
        std::iter::from_fn(|| found.next_due(now, &sought))
            .map(|(said, _)| said.peer.0[0])
            .collect()
    }

    #[test]
    fn each_has_its_turn_and_is_told_again_when_it_has_rested() {
        let (mut found, sought, now) = (Found::default(), sought(), Instant::now());
        for peer in 1..=3 {
            found.hear(&peer.to_string(), said(peer, OURS), &sought);
        }
        // One that keeps changing keeps its place among the others.
        let mut other = said(1, OURS);
        other.addrs.push(([10, 0, 0, 99], 7421).into());
        found.hear("1", other, &sought);
        assert_eq!(told(&mut found, now), [1, 2, 3]);
        assert_eq!(told(&mut found, now), [0; 0]);
        let soon = now + limits::LAN_RETELL - Duration::from_millis(1);
        found.hear("2", said(2, OURS), &sought);
        assert_eq!(told(&mut found, soon), [0; 0]);
        found.hear("2", said(22, OURS), &sought);
        assert_eq!(told(&mut found, soon), [22]);
        assert_eq!(told(&mut found, now + limits::LAN_RETELL), [1, 3]);
        found.begin_anew();
        assert_eq!(told(&mut found, now + limits::LAN_RETELL).len(), 3);
    }

    #[test]
    fn an_instance_changes_nothing_but_its_own_words() {
        let (mut found, sought) = (Found::default(), sought());
        found.hear("honest", said(1, OURS), &sought);
        let mut forged = said(1, OURS);
        forged.addrs = vec![([10, 6, 6, 6], 1).into()];
        found.hear("liar", forged, &sought);
        let first = found.next_due(Instant::now(), &sought);
        assert_eq!(first.unwrap().0, said(1, OURS));
    }

    #[test]
    fn a_flood_fills_the_table_and_no_more() {
        let (mut found, sought) = (Found::default(), sought());
        for i in 0..limits::MAX_LAN_INSTANCES {
            let heard = found.hear(&i.to_string(), said(1, OTHER), &sought);
            assert_eq!(heard, Heard::Kept);
        }
        assert_eq!(found.hear("x", said(2, OTHER), &sought), Heard::Dropped);
        // What is looked for still finds room, as long as something else has it.
        for i in 0..limits::MAX_LAN_INSTANCES {
            let heard = found.hear(&format!("o{i}"), said(3, OURS), &sought);
            assert!(matches!(heard, Heard::Sought(_)));
        }
        assert_eq!(found.hear("y", said(4, OURS), &sought), Heard::Dropped);
        assert_eq!(found.instances.len(), limits::MAX_LAN_INSTANCES);
        // Or one was passed on: it gives its place to one that was not.
        found.next_due(Instant::now(), &sought).unwrap();
        assert!(matches!(
            found.hear("y", said(4, OURS), &sought),
            Heard::Sought(_)
        ));
        assert_eq!(found.hear("z", said(5, OURS), &sought), Heard::Dropped);
        assert_eq!(found.instances.len(), limits::MAX_LAN_INSTANCES);
    }
}
