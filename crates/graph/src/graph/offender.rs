//! Whose records were not taken: so that a member that floods is seen by name.

use std::collections::BTreeMap;

use samara_wire::PeerId;

use super::Reject;
use crate::limits;

/// What became of somebody's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Offence {
    /// They were not taken: of [`Reject::Rate`] the neighbour that sent them is meant,
    /// else their author.
    Rejected(Reject),
    /// They were taken, and gave way to others: their author has more than it may, or
    /// the most in a channel that has no room for more.
    Displaced,
    /// They waited for a right that did not come, and made room for others: of a
    /// neighbour that brought them, for their authors may be made up.
    CrowdedOut,
}

/// Somebody whose records were not taken, or not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offender {
    /// Who.
    pub peer: PeerId,
    /// How many records.
    pub records: u64,
    /// The same by what became of them.
    pub offences: Vec<(Offence, u64)>,
}

/// Those with the most records, at most [`limits::MAX_OFFENDERS`].
#[derive(Debug, Default)]
pub(super) struct Offenders(BTreeMap<PeerId, BTreeMap<Offence, u64>>);

impl Offence {
    /// The offence as a label: lowercase, fixed for ever.
    pub fn label(self) -> &'static str {
        match self {
            Self::Rejected(reject) => reject.label(),
            Self::Displaced => "displaced",
            Self::CrowdedOut => "crowded_out",
        }
    }
}

impl Offenders {
    /// Counts one record. Who has least makes room for somebody new: whoever floods
    /// stays, however many names with one record each come after it.
    pub(super) fn note(&mut self, peer: PeerId, offence: Offence) {
        if !is_offence(offence) {
            return;
        }
        if self.0.len() >= limits::MAX_OFFENDERS && !self.0.contains_key(&peer) {
            let least = self.0.iter().min_by_key(|(_, by)| by.values().sum::<u64>());
            let least = *least.expect("full").0;
            self.0.remove(&least);
        }
        let by = self.0.entry(peer).or_default();
        *by.entry(offence).or_default() += 1;
    }

    /// The most records first.
    pub(super) fn list(&self) -> Vec<Offender> {
        let offender = |(peer, by): (&PeerId, &BTreeMap<Offence, u64>)| Offender {
            peer: *peer,
            records: by.values().sum(),
            offences: by.iter().map(|(offence, n)| (*offence, *n)).collect(),
        };
        let mut list: Vec<_> = self.0.iter().map(offender).collect();
        list.sort_by_key(|o| (std::cmp::Reverse(o.records), o.peer));
        list
    }
}

/// Another clock, another version or our own disk are nobody's doing.
fn is_offence(offence: Offence) -> bool {
    let blameless = [
        Reject::Busy,
        Reject::Expired,
        Reject::Retracted,
        Reject::UnknownFormat,
    ];
    !matches!(offence, Offence::Rejected(reject) if blameless.contains(&reject))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_floods_is_not_displaced_by_many_names() {
        let mut offenders = Offenders::default();
        let flooder = PeerId([9; 32]);
        for _ in 0..2 {
            offenders.note(flooder, Offence::Displaced);
        }
        offenders.note(flooder, Offence::Rejected(Reject::Rate));
        offenders.note(flooder, Offence::Rejected(Reject::Expired));
        for n in 0..10 * limits::MAX_OFFENDERS as u64 {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&n.to_le_bytes());
            offenders.note(PeerId(name), Offence::Rejected(Reject::NotPublisher));
        }
        let list = offenders.list();
        assert_eq!(list.len(), limits::MAX_OFFENDERS);
        let expected = Offender {
            peer: flooder,
            records: 3,
            offences: vec![
                (Offence::Rejected(Reject::Rate), 1),
                (Offence::Displaced, 2),
            ],
        };
        assert_eq!(list[0], expected);
    }
}
