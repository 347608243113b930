use crate::{Control, HeaderRef, limits};

/// What counts together, of one author's control records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    const ALL: [Self; Self::COUNT] = [
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

    /// Whether its author's records of lower sequences, `below`, leave no room for
    /// `h`; `taken` is how much all of them take.
    pub(super) fn is_full<'a>(
        taken: &[u64; Self::COUNT],
        below: impl Iterator<Item = HeaderRef<'a>>,
        h: &HeaderRef<'_>,
    ) -> bool {
        let shelf = Self::of(h);
        let room = shelf.room() - Self::weight(h).min(shelf.room());
        if taken[shelf.index()] <= room {
            return false;
        }
        let below = below.filter(|b| Self::of(b) == shelf);
        below.map(|b| Self::weight(&b)).sum::<u64>() > room
    }

    /// Of one author's control records, in the order of their sequences, those for
    /// which the lower ones leave no room.
    pub(super) fn overflow<'a, T>(
        taken: &[u64; Self::COUNT],
        control: impl Iterator<Item = (T, HeaderRef<'a>)> + Clone,
    ) -> Vec<T> {
        let mut beyond = Vec::new();
        let full = |shelf: &Self| taken[shelf.index()] > shelf.room();
        for shelf in Self::ALL.into_iter().filter(full) {
            let mut sum = 0;
            for (of, h) in control.clone().filter(|(_, h)| Self::of(h) == shelf) {
                match sum + Self::weight(&h) <= shelf.room() {
                    true => sum += Self::weight(&h),
                    false => beyond.push(of),
                }
            }
        }
        beyond
    }
}
