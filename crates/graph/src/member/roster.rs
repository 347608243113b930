mod joined;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use samara_wire::{PeerId, RecordId, VARINT_MAX};

use super::{
    authority::{Authority, Claim},
    control::Control,
    holding::{Holding, Leave},
    ripening::{self, Ripening},
};
use crate::{
    Charter, Former, HeaderRef, Kind, Readers, RecordHeader, Reject, Role, WallMs,
    body::{Revocation, subject},
    limits,
};

/// The grants, invites, redemptions and revocations that are held, and what follows
/// from them.
///
/// Every answer is a function of the charter and the *set* of records held, never of
/// the order in which they came. Parents are named by their hash, so that no circle
/// of grants can be made, and nobody gets anything by a chain that it is part of: else
/// its record of the same sequence could displace the one that it stands by, and
/// copies would never agree. Revocations are by owners over everybody but roots, by
/// former owners over all below them and those who ceased to be owners before them,
/// by admins over all below them, so that none
/// revokes, directly or in a circle, whoever may revoke its author.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    entries: BTreeMap<RecordId, Arc<Entry>>,
    /// Grants and redemptions by whom they are for, and who left.
    of: BTreeMap<PeerId, Holding>,
    ripening: Ripening,
    /// Redemptions of an invite, by who joined.
    joined: BTreeMap<RecordId, BTreeMap<PeerId, BTreeSet<RecordId>>>,
    /// Invites by their one-time keys.
    invites: BTreeMap<PeerId, BTreeSet<RecordId>>,
    /// By whom they revoke: an identity, or the one-time key of an invitation.
    revocations: Words,
    /// What stays of those whose role was lowered.
    seals: Words,
    times: BTreeMap<RecordId, WallMs>,
    /// Whose rights may have changed since the last [`take_changed`](Self::take_changed).
    changed: BTreeSet<PeerId>,
    /// Whose rank may have changed since the last [`take_unranked`](Self::take_unranked).
    unranked: BTreeSet<PeerId>,
}

/// Revocations by whom they are about, with their authors.
type Words = BTreeMap<PeerId, BTreeMap<RecordId, (PeerId, Revocation)>>;

/// A grant, an invite or a redemption that stands.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) author: PeerId,
    /// Who gave it: its author, of a redemption that of the invite.
    pub(crate) giver: PeerId,
    /// Who may act by it; for an invite, its one-time key.
    pub(crate) subject: PeerId,
    pub(crate) parent: Option<RecordId>,
    pub(crate) authority: Authority,
    /// The rank of the author when it wrote this.
    pub(super) issuer: u8,
    pub(super) seq: u64,
    pub(crate) created: WallMs,
    pub(super) replaces: Option<u64>,
    pub(crate) uses: u32,
    /// Of an invite: until when the role lasts of who redeems it.
    pub(super) member_until: WallMs,
    pub(crate) renewable: bool,
    pub(crate) kind: Kind,
}

impl Entry {
    /// Whether it is a redemption that ends before its invitation does.
    pub(crate) fn is_brief(&self) -> bool {
        ripening::is_brief(self)
    }
}

/// Why a record is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// For a reason that more records do not change.
    Reject(Reject),
    /// What it stands by has not arrived.
    Waits(Wait),
}

/// What a deferred record waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wait {
    /// A credential of this identity.
    Author(PeerId),
    /// This record.
    Record(RecordId),
}

impl From<Reject> for Denied {
    fn from(reject: Reject) -> Self {
        Self::Reject(reject)
    }
}

impl Roster {
    /// Whether the record's author may have written it, by all that is held.
    pub(crate) fn admits(&self, charter: &Charter, h: &HeaderRef<'_>) -> Result<(), Denied> {
        let lifetime = h.expires.since(h.created);
        let forever = h.expires.0 == limits::MAX_TIME_MS;
        let unending = match h.control {
            // An admin's, and what takes the place of one.
            Some(Control::Grant(g)) => (g.role == Role::Admin || g.replaces.is_some()) && forever,
            Some(Control::Revocation(_)) => forever,
            _ => leaves(h),
        };
        let most = match h.kind {
            Kind::REVOCATION => charter.limits.record_bytes,
            kind if kind.is_control() => charter.limits.record_bytes.min(limits::MAX_CONTROL_BYTES),
            _ => charter.limits.record_bytes,
        };
        if h.len > most {
            return Err(Reject::TooLarge.into());
        }
        if lifetime > charter.lifetime(h.kind) && !unending {
            return Err(Reject::Lifetime.into());
        }
        if !self.lets_stand(h) {
            return Err(Reject::Revoked.into());
        }
        match h.control {
            Some(Control::Grant(_) | Control::Invite(_) | Control::Redemption { .. }) => {
                self.derive(charter, h, &BTreeMap::new()).map(drop)
            }
            Some(Control::Revocation(_)) => self.may_revoke(charter, h),
            Some(Control::Retraction(_)) if leaves(h) => self.may_leave(h),
            Some(Control::Time { .. }) if !charter.tells_time(&h.author) => {
                Err(Reject::NotPublisher.into())
            }
            _ if h.kind == Kind::PRESENCE && charter.presence_ms.is_none() => {
                Err(Reject::NotPublisher.into())
            }
            // What most records stand by, without looking further.
            _ if charter.names_publisher(&h.author) => Ok(()),
            _ if self.permits(charter, h) => Ok(()),
            _ => Err(Denied::Waits(Wait::Author(h.author))),
        }
    }

    /// Whether anything lets the author have written the record.
    fn permits(&self, charter: &Charter, h: &HeaderRef<'_>) -> bool {
        let named = charter.named_at(&h.author, &h.id);
        named.iter().any(|a| permit(a, charter, h))
            || self.held_at(h).any(|a| permit(a, charter, h))
    }

    /// The mightiest role by which the author may have written the record.
    fn best(&self, charter: &Charter, h: &HeaderRef<'_>) -> Result<Role, Denied> {
        let named = charter.named_at(&h.author, &h.id);
        let all = named.iter().chain(self.held_at(h));
        all.filter(|a| permit(a, charter, h))
            .map(|a| a.role)
            .min()
            .ok_or(Denied::Waits(Wait::Author(h.author)))
    }

    /// What the author was given that a record of that sequence and time may stand by.
    fn held_at(&self, h: &HeaderRef<'_>) -> impl Iterator<Item = &Authority> {
        let (seq, created) = (h.seq, h.created);
        let held = self.of.get(&h.author).into_iter();
        held.flat_map(move |held| held.at(seq, created))
            .map(|entry| &entry.authority)
    }

    /// Until when a record may live that `author` makes at `created`: as long as the
    /// longest of the credentials that permit it.
    pub(crate) fn lasts(
        &self,
        charter: &Charter,
        author: &PeerId,
        kind: Kind,
        created: WallMs,
    ) -> Option<WallMs> {
        let named = charter.named(author);
        let held = self.of.get(author).into_iter();
        let held = held.flat_map(|held| held.at(VARINT_MAX, created));
        let all = named.iter().chain(held.map(|entry| &entry.authority));
        let permitting = all.filter(|a| a.allows(kind, charter) && a.covers(created));
        permitting.map(|a| a.expires).max()
    }

    /// Up to which sequence records stand by a credential, if another one took its place
    /// or its holder left.
    fn cut(&self, id: &RecordId, entry: &Entry) -> Option<u64> {
        self.of.get(&entry.subject)?.cut(id, entry)
    }

    /// When the latest credential of `peer` was made.
    pub(crate) fn last_created(&self, peer: &PeerId) -> Option<WallMs> {
        self.of.get(peer)?.last_created()
    }

    /// The credential of `peer` that ends last, of those that it did not give back if
    /// there are any, and when it gave that one back.
    pub(crate) fn last_of(&self, peer: &PeerId) -> Option<(&RecordId, &Entry, Option<WallMs>)> {
        let held = self.of.get(peer)?;
        let id = held.last_to_end()?;
        let entry = self.entry(id)?;
        Some((id, entry, held.given_back(entry)))
    }

    /// When `peer` left the channel last.
    pub(crate) fn left_at(&self, peer: &PeerId) -> Option<WallMs> {
        self.of.get(peer)?.left()
    }

    /// The revocations and seals that are about somebody, with their authors.
    fn about(&self, who: &PeerId) -> impl Iterator<Item = &(PeerId, Revocation)> {
        let all = [self.revocations.get(who), self.seals.get(who)];
        all.into_iter().flatten().flat_map(BTreeMap::values)
    }

    /// What `subject` was given by issuers above that rank and nothing took the place of.
    pub(crate) fn given_above(&self, subject: &PeerId, rank: u8) -> impl Iterator<Item = &Entry> {
        let held = self.of.get(subject).into_iter();
        let all = held.flat_map(|held| held.all().map(move |(id, e)| (held.cut(id, e), e)));
        all.filter(move |(cut, e)| cut.is_none() && e.issuer < rank)
            .map(|(_, e)| e)
    }

    /// Up to which sequence what `whom` wrote is sealed by such authors; 0 if it is not.
    pub(crate) fn sealed_up_to(&self, whom: &PeerId, by: impl Fn(&PeerId) -> bool) -> u64 {
        let seals = self.seals.get(whom).into_iter().flat_map(BTreeMap::values);
        let seals = seals.filter(|(author, _)| by(author));
        seals.map(|(_, seal)| seal.up_to).max().unwrap_or(0)
    }

    /// Whom a revocation by `peer` is about, and whether no other one is.
    pub(crate) fn revoked_by(&self, peer: &PeerId) -> BTreeMap<PeerId, bool> {
        let about = self.revocations.iter().filter_map(|(whom, of)| {
            let by_it = of.values().filter(|(by, _)| by == peer).count();
            (by_it > 0 && !self.is_one_time(whom)).then_some((*whom, by_it == of.len()))
        });
        about.collect()
    }

    /// What `subject` has by credentials that one would replace which an issuer of that
    /// rank makes at `created`.
    pub(crate) fn replaced(&self, subject: &PeerId, issuer: u8, created: WallMs) -> Vec<Authority> {
        let held = self.of.get(subject);
        let replaced = held.map(|held| held.unreplaced(issuer, created));
        let replaced = replaced.into_iter().flatten();
        replaced.map(|entry| entry.authority.clone()).collect()
    }

    /// Whether the revocations of its author let a record stand, and a redemption those
    /// of the one-time key that it was made with: of a revoked invitation stand the
    /// redemptions that the revocation lists.
    fn lets_stand(&self, h: &HeaderRef<'_>) -> bool {
        let one_time = match h.control {
            Some(Control::Redemption { .. }) => subject(h.key),
            _ => None,
        };
        let of_invitation = one_time.and_then(|key| self.revocations.get(&key));
        self.about(&h.author)
            .all(|(_, r)| r.lets_stand(h.seq, &h.id))
            && of_invitation
                .into_iter()
                .flat_map(BTreeMap::values)
                .all(|(_, r)| r.lets_stand(VARINT_MAX, &h.id))
    }

    /// What a chain of records comes to that is shown and not held, the leaf first:
    /// the leaf's entry. What is held here decides over what is shown.
    ///
    /// A redemption that is not held comes too late after the invitation's time,
    /// whenever it says that it was made: else who has the link could date it back.
    pub(crate) fn weigh(
        &self,
        charter: &Charter,
        shown: &[RecordHeader],
        now: WallMs,
        unsettled: impl Fn(&RecordId) -> BTreeSet<PeerId>,
    ) -> Result<Entry, Denied> {
        let mut entries = BTreeMap::new();
        let mut leaf = Err(Denied::Reject(Reject::NoAuthority));
        for h in shown.iter().rev().map(RecordHeader::view) {
            let h = &h;
            if !self.lets_stand(h) {
                return Err(Reject::Revoked.into());
            }
            self.has_room(h, &entries, &unsettled)?;
            if let Some(Control::Redemption { invite }) = h.control
                && !self.entries.contains_key(&h.id)
                && let Some(invite) = self.entry(invite).or_else(|| entries.get(invite))
                && invite.authority.until < now
            {
                return Err(Reject::InviteExpired.into());
            }
            let entry = self.derive(charter, h, &entries)?;
            entries.insert(h.id, entry);
            leaf = Ok(h.id);
        }
        let leaf = leaf?;
        let entry = entries.remove(&leaf);
        let entry = entry.ok_or(Denied::Reject(Reject::NoAuthority))?;
        // Of the others only what was written before stands by them, as `derive` sees to.
        match self.cut(&leaf, &entry) {
            Some(_) => Err(Reject::OutOfTime.into()),
            None => Ok(entry),
        }
    }

    /// What a grant, an invite or a redemption comes to, by what is held and `shown`.
    fn derive(
        &self,
        charter: &Charter,
        h: &HeaderRef<'_>,
        shown: &BTreeMap<RecordId, Entry>,
    ) -> Result<Entry, Denied> {
        let find = |id: &RecordId| self.entry(id).or_else(|| shown.get(id));
        let (role, parent, until, kinds) = match h.control {
            Some(Control::Grant(g)) => (g.role, g.parent, g.until, &g.kinds),
            Some(Control::Invite(i)) => (i.role, i.parent, i.until, &i.kinds),
            Some(Control::Redemption { invite }) => {
                return match find(invite) {
                    Some(_) if gave(find, Some(*invite), &h.author) => Err(Reject::Circular.into()),
                    Some(entry) => redeem(h, *invite, entry),
                    None => Err(Denied::Waits(Wait::Record(*invite))),
                };
            }
            _ => return Err(Reject::BadBody.into()),
        };
        let claim = || Claim {
            kind: h.kind,
            role,
            kinds,
            created: h.created,
            until,
            expires: h.expires,
        };
        let (authority, issuer, most) = match parent {
            None => {
                let named = charter.named_at(&h.author, &h.id).into_iter();
                named
                    .map(|a| {
                        let child = a.narrow(claim())?;
                        Ok((child, a.role.rank(), a.until))
                    })
                    .reduce(Result::or)
                    .unwrap_or(Err(Reject::NoAuthority))?
            }
            Some(parent) => {
                let Some(entry) = find(&parent) else {
                    return Err(Denied::Waits(Wait::Record(parent)));
                };
                if entry.subject != h.author || entry.kind == Kind::INVITE {
                    return Err(Reject::NoAuthority.into());
                }
                if self.cut(&parent, entry).is_some_and(|up_to| h.seq > up_to) {
                    return Err(Reject::NoAuthority.into());
                }
                let child = entry.authority.narrow(claim())?;
                (child, entry.authority.role.rank(), entry.authority.until)
            }
        };
        let (replaces, uses, renewable) = match h.control {
            Some(Control::Grant(g)) => (g.replaces, 0, g.renewable),
            Some(Control::Invite(i)) => (None, i.uses, i.renewable),
            _ => (None, 0, false),
        };
        let whom = subject(h.key).ok_or(Reject::BadBody)?;
        if whom == h.author || gave(find, parent, &whom) {
            return Err(Reject::Circular.into());
        }
        // In an open channel nobody is there at the door to tell a redemption of today
        // from one that is dated back.
        let member_until = match charter.readers {
            Readers::Members => h.expires.min(most),
            Readers::Everyone => until,
        };
        Ok(Entry {
            author: h.author,
            giver: h.author,
            subject: whom,
            parent,
            member_until,
            authority,
            issuer,
            seq: h.seq,
            created: h.created,
            replaces,
            uses,
            renewable,
            kind: h.kind,
        })
    }

    /// Whoever was given anything may give it back. Neither rank nor other leaves matter:
    /// so this hangs on nothing but what others wrote, and on redemptions with lower
    /// sequences, which it cannot displace.
    fn may_leave(&self, h: &HeaderRef<'_>) -> Result<(), Denied> {
        let held = self.of.get(&h.author);
        match held.is_some_and(|held| held.is_left_by(&Leave::of(h))) {
            true => Ok(()),
            false => Err(Denied::Waits(Wait::Author(h.author))),
        }
    }

    fn may_revoke(&self, charter: &Charter, h: &HeaderRef<'_>) -> Result<(), Denied> {
        let by = self.best(charter, h)?;
        let whom = subject(h.key).ok_or(Reject::BadBody)?;
        let owner = charter.threshold == 1 && charter.roots.contains(&h.author);
        let outranks = match owner {
            true => !charter.roots.contains(&whom),
            false => {
                by.rank() < self.command(charter, &whom)
                    || by == Role::Owner && was_owner_after(charter, &h.author, &whom)
            }
        };
        match outranks {
            true => Ok(()),
            false => Err(Reject::Outranked.into()),
        }
    }

    /// The rank of who can revoke, whether or not its time is over; of all others the
    /// one below. What stands by a role of before counts for it: else whom it revoked
    /// could revoke it.
    fn command(&self, charter: &Charter, peer: &PeerId) -> u8 {
        let named = charter.named(peer).into_iter().map(|a| a.role);
        let former = charter.former.get(peer).map(Former::role);
        let held = self.of.get(peer).and_then(Holding::best);
        let best = named.chain(former).chain(held).min();
        let root = charter.roots.contains(peer).then_some(Role::Owner);
        let best = root.or(best).unwrap_or(Role::Reader);
        best.rank().min(Role::Admin.rank() + 1)
    }

    /// The rank by which an author's records give way when there are too many.
    pub(crate) fn rank(&self, charter: &Charter, peer: &PeerId) -> u8 {
        if self.is_revoked(peer) {
            return Role::Reader.rank() + 1;
        }
        let named = charter.named(peer).into_iter().map(|a| a.role);
        let former = charter.former.get(peer).map(Former::role);
        let held = self.of.get(peer).and_then(Holding::best);
        let best = named.chain(former).chain(held).min();
        best.unwrap_or(Role::Reader).rank()
    }

    /// Takes an admitted record in; says whose records have to be looked at again.
    pub(crate) fn insert(&mut self, charter: &Charter, h: &HeaderRef<'_>) -> Vec<PeerId> {
        let Some(control) = h.control else {
            return Vec::new();
        };
        let mut shaken = Vec::new();
        match control {
            Control::Revocation(revocation) => {
                let Some(whom) = subject(h.key) else {
                    return shaken;
                };
                let of = self.words(revocation).entry(whom).or_default();
                of.insert(h.id, (h.author, revocation.clone()));
                self.change(whom);
                shaken.push(whom);
                let invites = self.invites.get(&whom).into_iter().flatten();
                let joined = invites.filter_map(|invite| self.joined.get(invite));
                shaken.extend(joined.flat_map(|joined| joined.keys().copied()));
            }
            Control::Time { at } => {
                self.times.insert(h.id, *at);
            }
            Control::Grant(_) | Control::Invite(_) | Control::Redemption { .. } => {
                let Ok(entry) = self.derive(charter, h, &BTreeMap::new()) else {
                    return shaken;
                };
                let held = self.of.get(&entry.subject);
                if held.is_some_and(|held| held.lowers(&h.id, &entry)) {
                    shaken.push(entry.subject);
                }
                if entry.authority.role == Role::Admin {
                    // Who revoked it may not have outranked it.
                    shaken.extend(self.about(&entry.subject).map(|(author, _)| *author));
                }
                self.link(h, entry);
            }
            Control::Retraction(_) => {
                if leaves(h) {
                    let held = self.of.entry(h.author).or_default();
                    let leave = Leave::of(h);
                    if held.loses_by(&leave) {
                        shaken.push(h.author);
                    }
                    held.leave(leave);
                    self.changed.insert(h.author);
                }
            }
        }
        shaken
    }

    fn words(&mut self, r: &Revocation) -> &mut Words {
        match r.seal {
            true => &mut self.seals,
            false => &mut self.revocations,
        }
    }

    fn link(&mut self, h: &HeaderRef<'_>, entry: Entry) {
        if let Some(Control::Redemption { invite }) = h.control {
            let joined = self.joined.entry(*invite).or_default();
            joined.entry(h.author).or_default().insert(h.id);
        }
        let entry = Arc::new(entry);
        if entry.kind == Kind::INVITE {
            self.invites.entry(entry.subject).or_default().insert(h.id);
        } else {
            let held = self.of.entry(entry.subject).or_default();
            held.insert(h.id, &entry);
            self.ripening.insert(h.id, &entry);
            self.change(entry.subject);
        }
        self.entries.insert(h.id, entry);
    }

    /// Forgets a record; says whose records have to be looked at again.
    pub(crate) fn remove(&mut self, h: &HeaderRef<'_>) -> Vec<PeerId> {
        self.times.remove(&h.id);
        if let (Some(Control::Revocation(r)), Some(whom)) = (h.control, subject(h.key)) {
            let words = self.words(r);
            if let Some(of) = words.get_mut(&whom) {
                of.remove(&h.id);
                if of.is_empty() {
                    words.remove(&whom);
                }
            }
            self.change(whom);
        }
        if leaves(h) {
            if let Some(held) = self.of.get_mut(&h.author) {
                held.forget_leave(Leave::of(h));
                if held.is_empty() {
                    self.of.remove(&h.author);
                }
            }
            self.changed.insert(h.author);
        }
        let Some(entry) = self.entries.remove(&h.id) else {
            return Vec::new();
        };
        if let Some(Control::Redemption { invite }) = h.control
            && let Some(joined) = self.joined.get_mut(invite)
        {
            if let Some(ids) = joined.get_mut(&h.author) {
                ids.remove(&h.id);
                if ids.is_empty() {
                    joined.remove(&h.author);
                }
            }
            if joined.is_empty() {
                self.joined.remove(invite);
            }
        }
        if entry.kind == Kind::INVITE {
            if let Some(ids) = self.invites.get_mut(&entry.subject) {
                ids.remove(&h.id);
                if ids.is_empty() {
                    self.invites.remove(&entry.subject);
                }
            }
            let joined = self.joined.get(&h.id).into_iter();
            return joined.flat_map(|j| j.keys().copied()).collect();
        }
        self.ripening.remove(h.id, &entry);
        if let Some(held) = self.of.get_mut(&entry.subject) {
            held.remove(h.id, &entry);
            if held.is_empty() {
                self.of.remove(&entry.subject);
            }
        }
        self.change(entry.subject);
        vec![entry.subject]
    }

    /// Whether a revocation of `peer` is held.
    pub(crate) fn is_revoked(&self, peer: &PeerId) -> bool {
        self.revocations.contains_key(peer)
    }

    /// The credentials by which `peer` acts at `now`: the mightiest first, of one role
    /// what lasts longest, of those the lowest id.
    pub(crate) fn in_force(
        &self,
        peer: &PeerId,
        now: WallMs,
    ) -> impl Iterator<Item = (&RecordId, &Entry)> {
        let held = self.unless_revoked(peer).into_iter();
        held.flat_map(move |held| held.in_force(now))
    }

    /// Those of one role.
    pub(crate) fn in_force_as(
        &self,
        peer: &PeerId,
        role: Role,
        now: WallMs,
    ) -> impl Iterator<Item = (&RecordId, &Entry)> {
        let held = self.unless_revoked(peer).into_iter();
        held.flat_map(move |held| held.in_force_as(role, now))
    }

    fn unless_revoked(&self, peer: &PeerId) -> Option<&Holding> {
        self.of.get(peer).filter(|_| !self.is_revoked(peer))
    }

    /// Credentials in force at `now` of which nobody has one of the same role that lasts
    /// longer: of all that may be due for renewal, and of redemptions of invitations by
    /// `who` that end before those do.
    pub(crate) fn ripe(
        &self,
        now: WallMs,
        who: &PeerId,
    ) -> impl Iterator<Item = (&RecordId, &Entry)> {
        let found = self.ripening.at(now, who);
        let found = found.filter_map(|id| Some((id, self.entry(id)?)));
        found.filter(move |(id, entry)| {
            let (until, role) = (entry.authority.until, entry.authority.role);
            let held = self.unless_revoked(&entry.subject);
            held.is_some_and(|held| {
                let longest = held.in_force_as(role, now).next();
                entry.authority.covers(now)
                    && held.cut(id, entry).is_none()
                    && longest.is_some_and(|(_, e)| e.authority.until <= until)
            })
        })
    }

    /// When the credentials of `peer` that are in force change by time alone.
    pub(crate) fn next_change(&self, peer: &PeerId, now: WallMs) -> Option<WallMs> {
        self.of.get(peer)?.next_edge(now)
    }

    /// Everybody with a credential or a revocation.
    pub(crate) fn peers(&self) -> BTreeSet<PeerId> {
        let held = self.of.iter().filter(|(_, held)| held.has_any());
        held.map(|(peer, _)| peer)
            .chain(self.revocations.keys())
            .copied()
            .collect()
    }

    /// A grant, an invite or a redemption.
    pub(crate) fn entry(&self, id: &RecordId) -> Option<&Entry> {
        self.entries.get(id).map(Arc::as_ref)
    }

    /// The latest time that an owner vouched for.
    pub(crate) fn time_floor(&self) -> Option<WallMs> {
        self.times.values().max().copied()
    }

    /// The rights of `peer` may have changed, and its rank.
    fn change(&mut self, peer: PeerId) {
        self.changed.insert(peer);
        self.unranked.insert(peer);
    }

    /// Whose rank may have changed since the last call.
    pub(crate) fn take_unranked(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.unranked)
    }

    /// Notes that the rights of `peer` may have changed.
    pub(crate) fn touch(&mut self, peer: PeerId) {
        self.changed.insert(peer);
    }

    /// Whose rights may have changed since the last call.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.changed)
    }
}

/// Whether `by` was still an owner when `whom` was one no more: an owner's word on a
/// former one stays. It leads from the later to the earlier, and so in no circle.
fn was_owner_after(charter: &Charter, by: &PeerId, whom: &PeerId) -> bool {
    let ceased = |peer| charter.former.get(peer).map(|f| f.since);
    !charter.roots.contains(whom) && ceased(whom) < ceased(by)
}

/// Whether a record says that its author leaves the channel.
fn leaves(h: &HeaderRef<'_>) -> bool {
    matches!(h.control, Some(Control::Retraction(r)) if r.leaves(&h.author))
}

/// Whether somebody may have written the record by what it was given.
fn permit(by: &Authority, charter: &Charter, h: &HeaderRef<'_>) -> bool {
    by.allows(h.kind, charter) && by.covers(h.created) && h.expires <= by.expires
}

/// Whether `peer` wrote something in the chain that ends with `last`.
fn gave<'a>(
    find: impl Fn(&RecordId) -> Option<&'a Entry>,
    mut last: Option<RecordId>,
    peer: &PeerId,
) -> bool {
    // As deep as a chain can be, and every record of it is held.
    while let Some(entry) = last.and_then(|id| find(&id)) {
        if entry.author == *peer {
            return true;
        }
        last = entry.parent;
    }
    false
}

/// The role of an invite, for who redeems it.
fn redeem(h: &HeaderRef<'_>, invite: RecordId, entry: &Entry) -> Result<Entry, Denied> {
    let of_it = entry.kind == Kind::INVITE
        && *h.key == *entry.subject.as_bytes()
        // Places that came free with time would be a second use.
        && h.expires == entry.authority.expires;
    if !of_it {
        return Err(Reject::BadInvitation.into());
    }
    if !entry.authority.covers(h.created) {
        return Err(Reject::InviteExpired.into());
    }
    let authority = Authority {
        since: h.created,
        until: entry.member_until,
        depth: entry.authority.depth + 1,
        ..entry.authority.clone()
    };
    Ok(Entry {
        author: h.author,
        giver: entry.author,
        subject: h.author,
        parent: Some(invite),
        authority,
        issuer: entry.issuer,
        seq: h.seq,
        created: h.created,
        replaces: None,
        uses: 0,
        member_until: entry.member_until,
        renewable: entry.renewable,
        kind: h.kind,
    })
}
