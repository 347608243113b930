//! Who came by which invitation, and whether it has a place for another.

use std::collections::{BTreeMap, BTreeSet};

use samara_wire::{PeerId, RecordId};

use super::{Entry, Roster};
use crate::{
    HeaderRef, Reject,
    member::{control::Control, holding::Holding, steps::step},
};

impl Roster {
    /// Who redeemed an invitation, and by which records.
    pub(crate) fn joined_by(
        &self,
        invite: &RecordId,
    ) -> impl Iterator<Item = (&PeerId, &BTreeSet<RecordId>)> {
        self.joined.get(invite).into_iter().flatten()
    }

    /// The invites of `who` that as many have redeemed as may, and that nothing ended.
    pub(crate) fn used_up(&self, who: &PeerId) -> impl Iterator<Item = RecordId> {
        let used = self.joined.iter().filter(move |(invite, joined)| {
            let entry = self.entries.get(*invite).filter(|e| e.author == *who);
            entry.is_some_and(|e| {
                joined.len() >= e.uses as usize && !self.revocations.contains_key(&e.subject)
            })
        });
        used.map(|(invite, _)| *invite)
    }

    /// The invitation by which somebody came in, whatever became of it.
    pub(crate) fn invitation_of(&self, peer: &PeerId) -> Option<RecordId> {
        let last = self.of.get(peer)?.last_redemption();
        last.and_then(|entry| entry.parent)
    }

    /// Whether it is the one-time key of an invitation, and nobody.
    pub(crate) fn is_one_time(&self, key: &PeerId) -> bool {
        self.invites.contains_key(key) && !self.of.get(key).is_some_and(Holding::has_any)
    }

    /// Whether a redemption would have its place. Of more than an invitation has stand
    /// those that a revocation of their author lets stand, and then those with the
    /// lowest ids: else a bearer, revoked, would make room for itself under another
    /// name.
    pub(crate) fn has_place(&self, h: &HeaderRef<'_>) -> Result<(), Reject> {
        let Some(Control::Redemption { invite }) = h.control else {
            return Ok(());
        };
        let Some(entry) = self.entries.get(invite) else {
            return Ok(());
        };
        let none = BTreeMap::new();
        let joined = self.joined.get(invite).unwrap_or(&none);
        if joined.contains_key(&h.author) || joined.len() < entry.uses as usize {
            return Ok(());
        }
        let ours = (!self.is_revoked(&h.author), h.id);
        let last = self.places(joined).max_by_key(|(place, _)| *place);
        match last.is_some_and(|(last, _)| ours < last) {
            true => Ok(()),
            false => Err(Reject::InviteUsedUp),
        }
    }

    /// Whether a redemption that somebody shows at the gate has its place without taking
    /// another's: whichever ids are lower, who comes second finds the invitation used.
    /// Only copies that were apart settle it by their ids.
    ///
    /// `shown` are credentials that came with it, `unsettled` those who were let in by
    /// the invitation and whose redemptions are not held yet.
    pub(crate) fn has_room(
        &self,
        h: &HeaderRef<'_>,
        shown: &BTreeMap<RecordId, Entry>,
        unsettled: impl Fn(&RecordId) -> BTreeSet<PeerId>,
    ) -> Result<(), Reject> {
        let Some(Control::Redemption { invite }) = h.control else {
            return Ok(());
        };
        let Some(entry) = self.entry(invite).or_else(|| shown.get(invite)) else {
            return Ok(());
        };
        let held = self.joined.get(invite).into_iter().flatten();
        let mut all: BTreeSet<PeerId> = held.map(|(peer, _)| *peer).collect();
        if all.len() < entry.uses as usize {
            all.extend(unsettled(invite));
        }
        match all.contains(&h.author) || all.len() < entry.uses as usize {
            true => Ok(()),
            false => Err(Reject::InviteUsedUp),
        }
    }

    /// The redemptions that lost their place to another one.
    pub(crate) fn displaced(&self, invite: &RecordId) -> Vec<RecordId> {
        let (Some(entry), Some(joined)) = (self.entries.get(invite), self.joined.get(invite))
        else {
            return Vec::new();
        };
        if joined.len() <= entry.uses as usize {
            return Vec::new();
        }
        let mut places: Vec<_> = self.places(joined).collect();
        places.sort_unstable();
        let beyond = places.into_iter().skip(entry.uses as usize);
        beyond
            .flat_map(|(_, peer)| joined[&peer].iter().copied())
            .collect()
    }

    /// The same of all invitations.
    pub(crate) fn all_displaced(&self) -> Vec<RecordId> {
        self.joined
            .keys()
            .flat_map(|invite| self.displaced(invite))
            .collect()
    }

    /// How each of those who joined is ordered, by the lowest of its redemptions.
    fn places<'a>(
        &'a self,
        joined: &'a BTreeMap<PeerId, BTreeSet<RecordId>>,
    ) -> impl Iterator<Item = ((bool, RecordId), PeerId)> + 'a {
        joined.iter().filter_map(|(peer, ids)| {
            step();
            let lowest = ids.first()?;
            Some(((!self.is_revoked(peer), *lowest), *peer))
        })
    }
}
