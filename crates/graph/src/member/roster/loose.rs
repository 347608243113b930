//! Whose roles are over, and may still be misused.

use std::collections::BTreeSet;

use samara_wire::PeerId;

use super::{Entry, Roster};
use crate::{Charter, Role, WallMs, member::authority::Authority};

/// What somebody's roles that are over leave open: records dated back.
#[derive(Debug)]
pub(crate) struct Loose {
    /// When the last of the roles was over.
    pub(crate) since: WallMs,
    /// Who gave that one.
    pub(crate) giver: PeerId,
    /// Of those that nothing took the place of: when the last ends, and the rank of the
    /// mightiest issuer.
    pub(crate) ended: Option<(WallMs, u8)>,
    /// Of the others: up to which sequence records stand by them.
    pub(crate) up_to: u64,
}

impl Roster {
    /// Who had a role above a member's that was over by `at`, or ever left.
    pub(crate) fn over(&self, at: WallMs) -> BTreeSet<PeerId> {
        let ended = self.ripening.ended(at).filter_map(|id| self.entry(id));
        let ended = ended.map(|entry| entry.subject);
        ended.chain(self.departed.iter().copied()).collect()
    }

    /// What the roles above a member's leave open that `peer` has no more: what no seal
    /// closes.
    pub(crate) fn loose(&self, charter: &Charter, peer: &PeerId, now: WallMs) -> Option<Loose> {
        let held = self.of.get(peer)?;
        let sealed = self.sealed_up_to(peer, |_| true);
        let named = charter.named(peer);
        let has = |entry: &Entry| {
            let now = held.in_force(now).map(|(_, e)| &e.authority);
            named
                .iter()
                .chain(now)
                .any(|a| is_within(&entry.authority, a))
        };
        let mut found: Option<Loose> = None;
        for (id, entry) in held.all().filter(|(_, e)| e.authority.role < Role::Member) {
            let until = entry.authority.until;
            let over = held.given_back(entry).or((until < now).then_some(until));
            let cut = held.cut(id, entry);
            let Some(since) = over.filter(|_| cut.is_none_or(|up_to| up_to > sealed)) else {
                continue;
            };
            if has(entry) {
                continue;
            }
            let loose = found.get_or_insert(Loose {
                since,
                giver: entry.giver,
                ended: None,
                up_to: 0,
            });
            if since > loose.since {
                (loose.since, loose.giver) = (since, entry.giver);
            }
            match (cut, &mut loose.ended) {
                (Some(up_to), _) => loose.up_to = loose.up_to.max(up_to),
                (None, Some((last, issuer))) => {
                    (*last, *issuer) = (until.max(*last), entry.issuer.min(*issuer));
                }
                (None, ended) => *ended = Some((until, entry.issuer)),
            }
        }
        found
    }
}

/// Whether nothing may be done by one that the other does not allow today.
fn is_within(one: &Authority, other: &Authority) -> bool {
    let scope = &one.kinds;
    other.role.includes(one.role)
        && (other.kinds.is_empty() || !scope.is_empty() && scope.is_subset(&other.kinds))
}
