use std::collections::{BTreeMap, BTreeSet};

use samara_wire::{PeerId, RecordId};

use super::{roster::Entry, steps::step};
use crate::{Kind, WallMs};

/// Which credentials may be due for renewal, without a look at the others.
///
/// One is due in the last quarter of its time at the earliest. Of those of about one
/// length, to a factor of two, the ones that end soon enough are found by their ends:
/// what is found is due, or will be when half as much time again as it has left is over.
#[derive(Debug, Default)]
pub(super) struct Ripening {
    /// Renewable ones: of a length below this power of two in milliseconds, by when
    /// they end.
    by_length: BTreeMap<u32, BTreeSet<(WallMs, RecordId)>>,
    /// Redemptions that end before their invitation does, by who gave that.
    brief: BTreeMap<PeerId, BTreeSet<(WallMs, RecordId)>>,
}

impl Ripening {
    pub(super) fn insert(&mut self, id: RecordId, entry: &Entry) {
        let end = (entry.authority.until, id);
        if entry.renewable {
            self.by_length.entry(length(entry)).or_default().insert(end);
        }
        if is_brief(entry) {
            self.brief.entry(entry.giver).or_default().insert(end);
        }
    }

    pub(super) fn remove(&mut self, id: RecordId, entry: &Entry) {
        let end = (entry.authority.until, id);
        take(&mut self.by_length, &length(entry), &end);
        take(&mut self.brief, &entry.giver, &end);
    }

    /// What `who` should look at, at `now`: all that may be due by then, and the
    /// redemptions of its own invitations that end before those do.
    pub(super) fn at(&self, now: WallMs, who: &PeerId) -> impl Iterator<Item = &RecordId> {
        let from = (now, RecordId([0; 32]));
        let renewable = self.by_length.iter().flat_map(move |(length, ends)| {
            let quarter = 1u64.checked_shl(*length).unwrap_or(u64::MAX) / 4;
            let to = WallMs(now.0.saturating_add(quarter));
            ends.range(from..=(to, RecordId([0xff; 32])))
        });
        let brief = self.brief.get(who).into_iter();
        let brief = brief.flat_map(move |ends| ends.range(from..));
        let all = renewable.chain(brief).map(|(_, id)| id);
        all.inspect(|_| step())
    }
}

/// Whether it is a redemption that ends before its invitation does.
pub(super) fn is_brief(entry: &Entry) -> bool {
    entry.kind == Kind::REDEMPTION && entry.authority.expires > entry.authority.until
}

fn length(entry: &Entry) -> u32 {
    let whole = entry.authority.until.since(entry.authority.since);
    u64::BITS - (whole.as_millis() as u64).leading_zeros()
}

fn take<K: Ord>(
    lists: &mut BTreeMap<K, BTreeSet<(WallMs, RecordId)>>,
    of: &K,
    end: &(WallMs, RecordId),
) {
    if let Some(list) = lists.get_mut(of) {
        list.remove(end);
        if list.is_empty() {
            lists.remove(of);
        }
    }
}
