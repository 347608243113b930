//! Who belongs to the channel now, and what changes about it.

use std::collections::{BTreeMap, BTreeSet};

use samara_wire::{PeerId, RecordId};

use super::{Action, Graph, LeaveReason};
use crate::{
    Charter, CharterChain, Kind, Readers, Role, WallMs, limits,
    member::{Entry, Wait},
};

/// Somebody who has a role, had one, or was revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// Who.
    pub peer: PeerId,
    /// The mightiest role now; none if it was revoked or its time is over.
    pub role: Option<Role>,
    /// Until when, unless it is renewed; of a role that is over, when it ended; of who
    /// left, when.
    pub until: WallMs,
    /// Who granted it or wrote the invite; none: the charter names it.
    pub by: Option<PeerId>,
    /// The invite by which it came in, if it did by one.
    pub invite: Option<RecordId>,
    /// Since when.
    pub since: WallMs,
    /// Whether it was revoked, for as long as the channel lives.
    pub revoked: bool,
    /// Whether it left by itself, and was given no role since.
    pub left: bool,
}

/// What is known of who belongs here, between events.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// What applications were told.
    roles: BTreeMap<PeerId, Role>,
    /// When somebody's role changes by time alone.
    due: BTreeSet<(WallMs, PeerId)>,
    due_of: BTreeMap<PeerId, WallMs>,
    /// Whether what was held from the start is looked through.
    introduced: bool,
}

impl Members {
    /// Nobody is known from before, so that everybody is news.
    pub(super) fn introduced() -> Self {
        Self {
            introduced: true,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.roles.len()
    }

    pub(super) fn next_due(&self) -> Option<WallMs> {
        self.due.first().map(|(at, _)| *at)
    }

    fn take_due(&mut self, now: WallMs) -> Vec<PeerId> {
        let mut peers = Vec::new();
        while let Some((at, peer)) = self.due.first().copied()
            && at <= now
        {
            self.due.pop_first();
            self.due_of.remove(&peer);
            peers.push(peer);
        }
        peers
    }

    fn set_due(&mut self, peer: PeerId, at: Option<WallMs>) {
        if let Some(before) = self.due_of.remove(&peer) {
            self.due.remove(&(before, peer));
        }
        if let Some(at) = at {
            self.due.insert((at, peer));
            self.due_of.insert(peer, at);
        }
    }
}

/// A role that somebody has, by the charter or by one record.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) role: Role,
    pub(super) until: WallMs,
    pub(super) by: Option<PeerId>,
    pub(super) since: WallMs,
    /// The grant or redemption; none: the charter.
    pub(super) record: Option<RecordId>,
}

impl Standing {
    fn by(id: &RecordId, credential: &Entry) -> Self {
        Self {
            role: credential.authority.role,
            until: credential.authority.until,
            by: Some(credential.giver),
            since: credential.authority.since,
            record: Some(*id),
        }
    }
}

impl Graph {
    /// Whoever has a role, had one that is still on record, or was revoked, in order
    /// of their identities.
    pub fn members(&self, now: WallMs) -> Vec<MemberView> {
        let Some(charter) = self.chain.as_ref().map(CharterChain::current) else {
            return Vec::new();
        };
        let mut peers = self.records.roster().peers();
        peers.retain(|peer| !self.records.roster().is_one_time(peer));
        peers.extend(charter.everybody());
        let view = |peer: PeerId| {
            let revoked = self.records.roster().is_revoked(&peer);
            let standing = self.standing(&peer, now);
            let role = standing.as_ref().map(|s| s.role);
            let last = standing.or_else(|| self.last_standing(&peer));
            let ended = last.as_ref().map_or(WallMs(0), |s| s.until);
            let left = role.is_none().then(|| self.left(&peer)).flatten();
            MemberView {
                peer,
                role,
                until: left.map_or(ended, |at| at.min(ended)),
                left: left.is_some() && !revoked,
                by: last.as_ref().and_then(|s| s.by),
                invite: self.records.roster().invitation_of(&peer),
                since: last.as_ref().map_or(WallMs(0), |s| s.since),
                revoked,
            }
        };
        peers.into_iter().map(view).collect()
    }

    /// Which roles applications were told of before the start, for a graph that was
    /// restored: what changed since is told first. None: who belongs to the channel is
    /// no news, and [`Action::MembersFound`] says it.
    pub fn recall_members(&mut self, told: BTreeMap<PeerId, Role>) {
        self.members.roles = told;
    }

    /// Those of whose roles applications were told, in order of their identities.
    pub fn members_told(&self) -> impl Iterator<Item = PeerId> {
        self.members.roles.keys().copied()
    }

    /// The mightiest role of `peer` at `now`.
    pub fn role_of(&self, peer: &PeerId, now: WallMs) -> Option<Role> {
        self.standing(peer, now).map(|s| s.role)
    }

    /// Whether `peer` may write a record of `kind` at `now`.
    pub fn can(&self, peer: &PeerId, kind: Kind, now: WallMs) -> bool {
        let Some(charter) = self.chain.as_ref().map(CharterChain::current) else {
            return false;
        };
        let roster = self.records.roster();
        let mut named = charter.named(peer).into_iter();
        let mut held = roster.in_force(peer, now).map(|(_, e)| &e.authority);
        !roster.is_revoked(peer)
            && (kind != Kind::TIME || charter.tells_time(peer))
            && (named.any(|a| a.allows(kind, charter)) || held.any(|a| a.allows(kind, charter)))
    }

    /// Whether `peer` may read the channel at `now`, as far as is known here; in an
    /// open channel everybody who was not revoked.
    pub fn may_read(&self, peer: &PeerId, now: WallMs) -> bool {
        let open = self.chain.as_ref().map(|c| c.current().readers) == Some(Readers::Everyone);
        !self.is_revoked(peer) && (open || self.standing(peer, now).is_some())
    }

    /// Whether a revocation of `peer` is held.
    pub fn is_revoked(&self, peer: &PeerId) -> bool {
        self.records.roster().is_revoked(peer)
    }

    /// Whether a charter of that threshold that makes `peer` an owner or an admin would
    /// take their word from those who sealed what `peer` wrote, with nobody left who did.
    pub fn would_shed_seal(&self, peer: &PeerId, role: Role, threshold: u8) -> bool {
        let Some(charter) = self.chain.as_ref().map(CharterChain::current) else {
            return false;
        };
        let roster = self.records.roster();
        let stays = |by: &PeerId| {
            role == Role::Admin && (threshold == 1 && charter.is_owner(by) || charter.was_owner(by))
        };
        let falls = roster.sealed_up_to(peer, |by| !stays(by));
        falls > roster.sealed_up_to(peer, stays)
    }

    /// Whether only members may read the channel; unknown before its charter is here.
    pub fn is_private(&self) -> Option<bool> {
        let charter = self.chain.as_ref()?.current();
        Some(charter.readers == Readers::Members)
    }

    /// The latest time that an owner vouched for: a clock before it is wrong. For
    /// checks against old states passed off as new, never for expiry.
    pub fn time_floor(&self) -> Option<WallMs> {
        self.records.roster().time_floor()
    }

    /// How long members' leases of presence are: none where the charter has none, and
    /// where there are more than [`limits::MAX_PRESENT`] members.
    pub fn presence_lease(&self) -> Option<std::time::Duration> {
        let lease = self.chain.as_ref()?.current().presence_ms?;
        let few = self.members.len() <= limits::MAX_PRESENT;
        few.then(|| std::time::Duration::from_millis(lease))
    }

    /// By which records `peer` has its role, each before the one that it stands by:
    /// what it shows in a [`Proof`](crate::Proof). Empty if the charter names it, none
    /// if it has no role.
    pub fn credentials(&self, peer: &PeerId, now: WallMs) -> Option<Vec<RecordId>> {
        let mut next = self.standing(peer, now)?.record;
        let mut ids = Vec::new();
        while let Some(id) = next
            && ids.len() < limits::MAX_PROOF_RECORDS
        {
            ids.push(id);
            next = self.records.roster().entry(&id).and_then(|e| e.parent);
        }
        Some(ids)
    }

    pub(super) fn standing(&self, peer: &PeerId, now: WallMs) -> Option<Standing> {
        let charter = self.chain.as_ref()?.current();
        if self.is_revoked(peer) {
            return None;
        }
        let named = by_charter(charter, peer);
        let held = self.records.roster().in_force(peer, now);
        // The best of them comes first.
        let held = held.take(1).map(|(id, e)| Standing::by(id, e));
        let best = |s: &Standing| (s.role, std::cmp::Reverse(s.until), s.record);
        named.into_iter().chain(held).min_by_key(best)
    }

    /// The role that somebody had last, whatever became of it.
    fn last_standing(&self, peer: &PeerId) -> Option<Standing> {
        let charter = self.chain.as_ref()?.current();
        let last = self.records.roster().last_of(peer);
        by_charter(charter, peer).or_else(|| last.map(|(id, e, _)| Standing::by(id, e)))
    }

    /// When `peer` gave the role back that it had last, if it did.
    fn left(&self, peer: &PeerId) -> Option<WallMs> {
        let charter = self.chain.as_ref()?.current();
        let (.., given_back) = self.records.roster().last_of(peer)?;
        given_back.filter(|_| by_charter(charter, peer).is_none())
    }

    /// Whether only members may read the channel, and `peer` is none since it left.
    pub(super) fn is_out(&self, peer: &PeerId) -> bool {
        self.left(peer).is_some() && !self.may_read(peer, self.clock.0)
    }

    /// Says whose roles changed, by records or by time, and lets those go who have
    /// none any more.
    pub(super) fn review(&mut self, out: &mut Vec<Action>) {
        let now = self.clock.0;
        let Some(charter) = self.chain.as_ref().map(CharterChain::current) else {
            return;
        };
        let mut touched = self.records.roster_mut().take_changed();
        touched.extend(self.members.take_due(now));
        let silent = !self.members.introduced && self.members.roles.is_empty();
        if !self.members.introduced {
            touched.extend(charter.everybody());
            touched.extend(self.members.roles.keys());
        }
        if touched.is_empty() {
            return;
        }
        self.members.introduced = true;
        for peer in &touched {
            if self.is_revoked(peer) || self.is_out(peer) {
                self.overlay.forget(peer);
            }
            let role = self.role_of(peer, now);
            let due = self.records.roster().next_change(peer, now);
            self.members.set_due(*peer, due);
            let before = match role {
                Some(role) => self.members.roles.insert(*peer, role),
                None => self.members.roles.remove(peer),
            };
            let peer = *peer;
            let action = match (before, role) {
                _ if silent => continue,
                (None, Some(role)) => Action::MemberJoined { peer, role },
                (Some(before), Some(role)) if before != role => Action::RoleChanged { peer, role },
                (Some(_), None) => {
                    let reason = self.why(&peer);
                    Action::MemberLeft { peer, reason }
                }
                _ => continue,
            };
            out.push(action);
        }
        if silent {
            let roles = self.members.roles.iter();
            let roles = roles.map(|(peer, role)| (*peer, *role)).collect();
            out.push(Action::MembersFound { roles });
        }
        // What took a right away may itself have gone: no grant comes that would tell.
        let waits: Vec<_> = touched.into_iter().map(Wait::Author).collect();
        self.wake(Some(&waits), out);
        self.expel(out);
    }

    /// Lets those neighbours go who may not be here.
    fn expel(&mut self, out: &mut Vec<Action>) {
        let now = self.clock.0;
        let neighbours = self.neighbours.keys();
        let proved = self.proved.keys();
        let all: BTreeSet<PeerId> = neighbours.chain(proved).copied().collect();
        for peer in all {
            if self.may_be_here(&peer, now) {
                continue;
            }
            self.proved.remove(&peer);
            self.forget(&peer);
            self.restless = true;
            let reason = self.why(&peer);
            out.push(Action::Expel { peer, reason });
        }
    }

    pub(super) fn why(&self, peer: &PeerId) -> LeaveReason {
        match self.is_revoked(peer) {
            true => LeaveReason::Revoked,
            false if self.left(peer).is_some() => LeaveReason::Left,
            false => LeaveReason::Lapsed,
        }
    }

    /// Everybody's rights are to be looked at again, since the charter changed.
    pub(super) fn touch_everybody(&mut self) {
        let told: Vec<_> = self.members.roles.keys().copied().collect();
        let named = self.chain.as_ref().map(|c| c.current().everybody());
        let roster = self.records.roster_mut();
        let all = told.into_iter().chain(named.into_iter().flatten());
        all.for_each(|peer| roster.touch(peer));
    }
}

fn by_charter(charter: &Charter, peer: &PeerId) -> Option<Standing> {
    let best = charter.named(peer).into_iter().map(|a| a.role).min();
    best.map(|role| Standing {
        role,
        until: WallMs(limits::MAX_TIME_MS),
        by: None,
        since: charter.created,
        record: None,
    })
}
