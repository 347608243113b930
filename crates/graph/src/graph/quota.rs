use crate::{Control, HeaderRef, limits, member::steps::step};

/// What counts together, of one author's control records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shelf {
    /// Grants and invites, by how many identities they let in.
    Places,
    /// Revocations: nothing else can fill their shelf.
    Revocations,
    /// Redemptions: what else their author writes cannot cost it its membership.
    Redemptions,
    /// Retractions, words on what time it is, and control kinds of tomorrow.
    Others,
}

impl Shelf {
    pub(super) const COUNT: usize = 4;
    pub(super) const ALL: [Self; Self::COUNT] = [
        Self::Places,
        Self::Revocations,
        Self::Redemptions,
        Self::Others,
    ];

    pub(super) fn of(h: &HeaderRef<'_>) -> Self {
        match h.control {
            Some(Control::Grant(_) | Control::Invite(_)) => Self::Places,
            Some(Control::Revocation(_)) => Self::Revocations,
            Some(Control::Redemption { .. }) => Self::Redemptions,
            _ => Self::Others,
        }
    }

    /// Its place in an author's count of what is taken.
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// How much room a record takes.
    pub(super) fn weight(h: &HeaderRef<'_>) -> u64 {
        match h.control {
            Some(Control::Invite(invite)) => invite.uses.into(),
            _ => 1,
        }
    }

    fn room(self) -> u64 {
        match self {
            Self::Places => limits::MAX_PLACES,
            Self::Revocations => limits::MAX_REVOCATIONS_PER_AUTHOR,
            Self::Redemptions => limits::MAX_REDEMPTIONS_PER_AUTHOR,
            Self::Others => limits::MAX_CONTROL_PER_AUTHOR as u64,
        }
    }

    /// Whether its author's records of lower sequences leave no room for `h`; `taken` is
    /// how much all of them take, `later` those that are not lower, the highest first.
    /// No more of these are looked at than `h` takes room.
    pub(super) fn is_full<'a>(
        self,
        taken: u64,
        later: impl Iterator<Item = HeaderRef<'a>>,
        h: &HeaderRef<'_>,
    ) -> bool {
        let room = self.room() - Self::weight(h).min(self.room());
        let mut below = taken;
        if below <= room {
            return false;
        }
        for later in later {
            step();
            below -= Self::weight(&later);
            if below <= room {
                return false;
            }
        }
        true
    }

    /// Of one author's records on a shelf, the highest sequence first, those for which
    /// the lower ones leave no room; `taken` is how much all of them take. Only what
    /// is on top of the room is looked at.
    pub(super) fn overflow<'a, T>(
        self,
        taken: u64,
        highest_first: impl Iterator<Item = (T, HeaderRef<'a>)>,
    ) -> Vec<T> {
        let room = self.room();
        let mut sum = taken;
        let mut top = Vec::new();
        let mut highest_first = highest_first;
        while sum > room
            && let Some((of, h)) = highest_first.next()
        {
            step();
            sum -= Self::weight(&h);
            top.push((of, Self::weight(&h)));
        }
        // What takes less may stand where one below it does not.
        let mut beyond = Vec::new();
        for (of, weight) in top.into_iter().rev() {
            match sum + weight <= room {
                true => sum += weight,
                false => beyond.push(of),
            }
        }
        beyond
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use samara_wire::{PeerId, RecordId};

    use super::*;
    use crate::{
        Attributes, Kind, RecordHeader, Role, WallMs, body::Invite, member::steps::counted,
    };

    fn invite(seq: u64, uses: u32) -> RecordHeader {
        let invite = Invite {
            role: Role::Member,
            parent: None,
            uses,
            until: WallMs(2),
            kinds: [].into(),
            renewable: false,
        };
        RecordHeader {
            id: RecordId([0; 32]),
            author: PeerId([1; 32]),
            kind: Kind::INVITE,
            seq,
            created: WallMs(1),
            expires: WallMs(2),
            priority: 0,
            len: 1,
            key: [].into(),
            attributes: Attributes::default(),
            control: Some(Box::new(Control::Invite(invite))),
        }
    }

    /// What stands of records in the order of their sequences, one at a time.
    fn plain(all: &[RecordHeader]) -> BTreeSet<u64> {
        let mut sum = 0;
        let mut fits = |h: &&RecordHeader| {
            let more = sum + Shelf::weight(&h.view());
            let fits = more <= limits::MAX_PLACES;
            sum = if fits { more } else { sum };
            fits
        };
        all.iter().filter(|h| fits(h)).map(|h| h.seq).collect()
    }

    fn uses() -> impl Strategy<Value = u32> {
        prop_oneof![2 => 1u32..50, 5 => 900..=limits::MAX_INVITE_USES]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_beyond_is_found_from_the_end_as_from_the_beginning(
            uses in prop::collection::vec(uses(), 60..130),
            at in 0usize..130,
            new in uses(),
        ) {
            let all: Vec<_> = uses.iter().enumerate().map(|(n, uses)| invite(2 * n as u64 + 1, *uses)).collect();
            let taken = uses.iter().map(|n| u64::from(*n)).sum();
            let highest_first = all.iter().rev().map(|h| (h.seq, h.view()));
            let beyond = Shelf::Places.overflow(taken, highest_first);
            prop_assert!(beyond.is_sorted());
            let stand = plain(&all);
            let fell: Vec<_> = all.iter().map(|h| h.seq).filter(|seq| !stand.contains(seq)).collect();
            prop_assert_eq!(beyond, fell);

            let held: Vec<_> = all.iter().filter(|h| stand.contains(&h.seq)).collect();
            let taken = |from: u64| -> u64 {
                let lower = held.iter().filter(|h| h.seq < from);
                lower.map(|h| Shelf::weight(&h.view())).sum()
            };
            let new = invite(2 * at as u64, new);
            let weight = Shelf::weight(&new.view());
            let later = held.iter().rev().filter(|h| h.seq > new.seq).map(|h| h.view());
            let (steps, full) = counted(|| Shelf::Places.is_full(taken(u64::MAX), later, &new.view()));
            prop_assert_eq!(full, taken(new.seq) + weight > limits::MAX_PLACES);
            prop_assert!(steps <= weight);
        }
    }
}
