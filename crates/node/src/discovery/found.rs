//! Who is on the local network, as far as it says so itself: a bounded table of
//! announcements, matched with what this node looks for.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
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

/// Announcements by the instance name that they came under: one instance cannot
/// change what another one said.
#[derive(Debug, Default)]
pub(crate) struct Found {
    instances: HashMap<String, Announcement>,
}

impl Found {
    /// Takes an announcement in. A full table lets one go that nobody looks for,
    /// and only for one that somebody does.
    pub(crate) fn hear(&mut self, instance: &str, said: Announcement, sought: &Sought) -> Heard {
        if self.instances.get(instance) == Some(&said) {
            return Heard::Known;
        }
        let why = sought.matches(&said);
        if self.instances.len() >= limits::MAX_LAN_INSTANCES
            && !self.instances.contains_key(instance)
        {
            let idle = self
                .instances
                .iter()
                .find(|(_, other)| sought.matches(other).is_none())
                .map(|(name, _)| name.clone());
            match (idle, &why) {
                (Some(idle), Some(_)) => self.instances.remove(&idle),
                _ => return Heard::Dropped,
            };
        }
        self.instances.insert(instance.to_owned(), said);
        why.map_or(Heard::Kept, Heard::Sought)
    }

    /// An instance said good-bye, or its records ran out.
    pub(crate) fn forget(&mut self, instance: &str) {
        self.instances.remove(instance);
    }

    /// What concerns anything that is looked for.
    pub(crate) fn sought<'a>(
        &'a self,
        sought: &'a Sought,
    ) -> impl Iterator<Item = (&'a Announcement, BTreeSet<ChannelId>)> {
        self.instances
            .values()
            .filter_map(|said| Some((said, sought.matches(said)?)))
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(found.sought(&sought).count(), 1);
    }

    #[test]
    fn an_instance_changes_nothing_but_its_own_words() {
        let (mut found, sought) = (Found::default(), sought());
        found.hear("honest", said(1, OURS), &sought);
        let mut forged = said(1, OURS);
        forged.addrs = vec![([10, 6, 6, 6], 1).into()];
        found.hear("liar", forged, &sought);
        let honest = said(1, OURS);
        assert!(found.sought(&sought).any(|(other, _)| *other == honest));
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
    }
}
