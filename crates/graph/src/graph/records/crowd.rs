use std::collections::BTreeSet;

use samara_wire::PeerId;

use crate::{Role, member::steps::step};

/// The authors who have records of some sort, in the order in which they give way: the
/// lower rank first, then who has most, of equals the higher identity.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    order: BTreeSet<Turn>,
    /// How many those below admins have together.
    lesser: u64,
}

/// An author's rank, how many it has, and who it is.
pub(super) type Turn = (u8, u64, PeerId);

impl Crowd {
    /// Notes that an author's rank or count is another one than before.
    pub(super) fn change(&mut self, peer: PeerId, before: (u8, u64), now: (u8, u64)) {
        if before == now {
            return;
        }
        step();
        if before.1 > 0 {
            self.order.remove(&(before.0, before.1, peer));
            self.lesser -= lesser(before);
        }
        if now.1 > 0 {
            self.order.insert((now.0, now.1, peer));
            self.lesser += lesser(now);
        }
    }

    /// Who gives way first, one of them taken as having other records than it has.
    pub(super) fn first(&self, with: Option<Turn>) -> Option<Turn> {
        let last = self.order.iter().rev().copied();
        let mut last = last.inspect(|_| step());
        let held = last.find(|(.., peer)| with.is_none_or(|with| with.2 != *peer));
        held.max(with.filter(|(_, count, _)| *count > 0))
    }

    /// How many those below admins have together.
    pub(super) fn lesser(&self) -> u64 {
        self.lesser
    }
}

fn lesser((rank, count): (u8, u64)) -> u64 {
    match rank > Role::Admin.rank() {
        true => count,
        false => 0,
    }
}
