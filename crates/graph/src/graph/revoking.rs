//! Taking rights back, by this node's own hand: wholly, or down to a lesser role.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use samara_wire::{PeerId, RecordId};

use super::{Action, Draft, Graph, GraphError, NewGrant, Reject};
use crate::{
    Attributes, CharterChain, HeaderRef, Kind, Record, Role, SecretKey, WallMs,
    body::{IdPrefix, Revocation, id_prefix},
    limits,
};

/// What stays of a revoked identity's records. Its redemptions always do: else the
/// places that they took would be free for the same bearer under another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: also whom it revoked belongs to the channel again, and what stayed of
    /// those whose role it lowered is as before.
    Nothing,
    /// Its revocations, and the seals of roles that it lowered.
    Revocations,
    /// What is held here now, by name: nothing that the revoked makes up later. Of more
    /// records than [`limits::MAX_KEPT`], or than fit into a record, first what decides
    /// about others, its revocations before all, then what was written last. If the
    /// revocations alone do not fit, none may fall: all up to the highest sequence is
    /// kept, and [`Keeping::has_gaps`].
    Known,
    /// Those up to this sequence.
    UpTo(u64),
}

/// What stays of somebody's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeping {
    up_to: u64,
    keep: BTreeSet<IdPrefix>,
    /// How many fall, since a record cannot list all: of those that decide nothing about
    /// others the ones with the lowest sequences.
    pub falling: usize,
    /// Whether who has the key can still fill the gaps between the sequences of what
    /// stays, since it revoked more than a record can list.
    pub has_gaps: bool,
}

/// What comes of giving somebody less than it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lowering {
    /// The records that stay.
    pub keeping: Keeping,
    /// Until when the credentials are held that are replaced.
    until: WallMs,
}

/// A record: its kind, its sequence and its id.
type Known = (Kind, u64, RecordId);

impl Lowering {
    /// How long the grant has to be held: as long as what it replaces, which would
    /// stand again without it.
    pub(super) fn lifetime(&self, created: WallMs) -> Duration {
        match self.until.0 == limits::MAX_TIME_MS {
            true => Duration::MAX,
            false => self.until.since(created),
        }
    }
}

impl Graph {
    /// What a grant takes away that [replaces](NewGrant::replaces) others, and what
    /// stays; none if its subject has nothing by those others that it does not get again.
    ///
    /// Who becomes an admin is lowered in one thing, if its role was lowered before: what
    /// is known of it by now is sealed again by who makes it one. The seals of other
    /// admins do not outrank it any more.
    ///
    /// # Errors
    /// [`GraphError::MayNotGive`] if `author` may not give that role away,
    /// [`GraphError::MayNotLower`] if it may not take any, [`GraphError::TooManyToKeep`]
    /// if a record cannot list all the subject's records that decide about others.
    pub fn lowering(
        &self,
        now: WallMs,
        author: &PeerId,
        new: &NewGrant,
    ) -> Result<Option<Lowering>, GraphError> {
        if !new.replaces {
            return Ok(None);
        }
        let may = |own: Role| own.may_grant(new.role);
        let (parent, until) = self.right(now, author, Kind::GRANT, new.until, may)?;
        let issuer = self.issuing(author, parent, may).rank();
        let created = self.given_at(now, &new.subject, true);
        let replaced = self
            .records
            .roster()
            .replaced(&new.subject, issuer, created);
        let (mut lowers, mut held_until) = (false, WallMs(0));
        for credential in replaced {
            let scope = &credential.kinds;
            let within = credential.until <= until
                && new.role.includes(credential.role)
                && (new.kinds.is_empty() || !scope.is_empty() && scope.is_subset(&new.kinds));
            lowers |= !within;
            held_until = held_until.max(credential.expires);
        }
        let charter = self.chain.as_ref().map(CharterChain::current);
        let outranks = |by: &PeerId| charter.is_some_and(|c| c.is_owner(by) || c.was_owner(by));
        let roster = self.records.roster();
        let by_others = match new.role {
            Role::Admin => roster.sealed_up_to(&new.subject, |by| !outranks(by)),
            _ => 0,
        };
        if !lowers && by_others == 0 {
            return Ok(None);
        }
        if !self.can(author, Kind::REVOCATION, now) {
            return Err(GraphError::MayNotLower(new.subject));
        }
        let known = self.known_of(&new.subject);
        let mut keeping = self.listed(known, |kind| !kind.is_control());
        if keeping.has_gaps {
            return Err(GraphError::TooManyToKeep(new.subject));
        }
        // Sequences are times as a rule. No other's word shuts what comes after today.
        keeping.up_to = keeping.up_to.max(by_others.min(now.0));
        Ok(Some(Lowering {
            keeping,
            until: held_until,
        }))
    }

    /// A role that the subject has beside a grant that replaces what it can, and that the
    /// grant does not include or outlast, and who gave it; nobody, if the charter names it. It may
    /// be over: records of its time stand by it all the same.
    pub fn beside(
        &self,
        now: WallMs,
        author: &PeerId,
        new: &NewGrant,
    ) -> Option<(Role, Option<PeerId>)> {
        let may = |own: Role| own.may_grant(new.role);
        let (parent, until) = self.right(now, author, Kind::GRANT, new.until, may).ok()?;
        let issuer = self.issuing(author, parent, may).rank();
        let charter = self.chain.as_ref()?.current();
        let named = charter.named(&new.subject).into_iter();
        let named = named.map(|a| (a.role, a.until, None));
        let above = self.records.roster().given_above(&new.subject, issuer);
        let given = above.map(|e| (e.authority.role, e.authority.until, Some(e.giver)));
        let stays = named
            .chain(given)
            .filter(|(role, end, _)| !new.role.includes(*role) || *end > until);
        stays.map(|(role, _, by)| (role, by)).min()
    }

    /// The role by which `author` gives something away, as [`right`](Self::right) chose
    /// its record.
    fn issuing(
        &self,
        author: &PeerId,
        parent: Option<RecordId>,
        may: impl Fn(Role) -> bool,
    ) -> Role {
        let entry = parent.and_then(|id| self.records.roster().entry(&id));
        let named = self.chain.iter().flat_map(|c| c.current().named(author));
        let mut named = named.map(|a| a.role).filter(|role| may(*role));
        let role = entry.map(|e| e.authority.role).or_else(|| named.next());
        role.unwrap_or(Role::Reader)
    }

    /// When a grant is made: also what came from a clock that is ahead, a leave or what
    /// it is to replace, comes before it.
    pub(super) fn given_at(&self, now: WallMs, subject: &PeerId, replaces: bool) -> WallMs {
        let roster = self.records.roster();
        let given = roster.last_created(subject).filter(|_| replaces);
        let last = roster.left_at(subject).max(given);
        last.map_or(now, |at| now.max(WallMs(at.0 + 1)))
    }

    /// What is here of an author's records, also what is on its way to the disk.
    fn known_of(&self, author: &PeerId) -> Vec<Known> {
        let pending = self.pending.values().map(|p| p.header.view());
        let pending = pending.filter(|h| h.author == *author);
        let all = self.records.of_author(author).chain(pending);
        all.map(|h: HeaderRef<'_>| (h.kind, h.seq, h.id)).collect()
    }

    /// The highest sequence of them; 0 if there are none.
    pub(super) fn highest_of(&self, author: &PeerId) -> u64 {
        highest(&self.known_of(author))
    }

    /// As many of them as fit into a record: of those that `may_fall` what was written
    /// last. It has gaps if what may not fall does not fit.
    fn listed(&self, mut known: Vec<Known>, may_fall: impl Fn(Kind) -> bool) -> Keeping {
        let (up_to, fits) = (highest(&known), self.prefixes_that_fit());
        known.sort_unstable_by_key(|(kind, seq, _)| (may_fall(*kind), !kind.is_control(), !*seq));
        let has_gaps = known.get(fits).is_some_and(|(kind, ..)| !may_fall(*kind));
        let falling = known.len().saturating_sub(fits);
        Keeping {
            up_to,
            keep: prefixes(known.into_iter().take(fits)),
            falling,
            has_gaps,
        }
    }

    /// Publishes that of what `subject` wrote until now no more stays than is listed.
    pub(super) fn seal(
        &mut self,
        now: WallMs,
        author: &SecretKey,
        subject: PeerId,
        keeping: Keeping,
        out: &mut Vec<Action>,
    ) -> Result<(), GraphError> {
        if keeping.up_to == 0 {
            // By what is replaced nothing stands at all.
            return Ok(());
        }
        let revocation = Revocation {
            seal: true,
            up_to: keeping.up_to,
            keep: keeping.keep,
        };
        let sealed = self.put_revocation(now, author, subject, revocation, out);
        sealed.map(drop)
    }

    /// Publishes a revocation, as [`publish`](Self::publish) does.
    ///
    /// # Errors
    /// [`GraphError::Outranked`]; [`GraphError::TooManyToKeep`] if a record cannot list
    /// all the subject's revocations, which are to be kept; and those of `publish`.
    pub fn revoke(
        &mut self,
        now: WallMs,
        author: &SecretKey,
        subject: PeerId,
        keep: Keep,
        out: &mut Vec<Action>,
    ) -> Result<Record, GraphError> {
        let Keeping { up_to, keep, .. } = self.keeping(&subject, keep)?;
        let revocation = Revocation {
            seal: false,
            up_to,
            keep,
        };
        self.put_revocation(now, author, subject, revocation, out)
    }

    /// What stays of the records of `subject` if it is revoked now.
    ///
    /// # Errors
    /// [`GraphError::TooManyToKeep`] as [`revoke`](Self::revoke).
    pub fn keeping(&self, subject: &PeerId, keep: Keep) -> Result<Keeping, GraphError> {
        let mut known = self.known_of(subject);
        let redemption = |kind| kind == Kind::REDEMPTION;
        let up_to = match keep {
            Keep::Known => {
                let listed = self.listed(known.clone(), |kind| !stays_first(kind));
                if !listed.has_gaps {
                    // What is not listed does not stay, whatever its sequence.
                    return Ok(Keeping { up_to: 0, ..listed });
                }
                known.retain(|(kind, ..)| redemption(*kind));
                listed.up_to
            }
            Keep::Revocations => {
                known.retain(|(kind, ..)| stays_first(*kind));
                0
            }
            Keep::Nothing | Keep::UpTo(_) => {
                known.retain(|(kind, ..)| redemption(*kind));
                match keep {
                    Keep::UpTo(up_to) => up_to,
                    _ => 0,
                }
            }
        };
        if known.len() > self.prefixes_that_fit() {
            return Err(GraphError::TooManyToKeep(*subject));
        }
        Ok(Keeping {
            up_to,
            keep: prefixes(known.into_iter()),
            falling: 0,
            has_gaps: keep == Keep::Known,
        })
    }

    /// Whom `peer` revoked, by what is held here, and whether nobody else did: who
    /// belongs to the channel again if what `peer` wrote is taken back.
    pub fn revoked_by(&self, peer: &PeerId) -> BTreeMap<PeerId, bool> {
        self.records.roster().revoked_by(peer)
    }

    /// How many records a revocation can list in this channel.
    fn prefixes_that_fit(&self) -> usize {
        let charter = self.chain.as_ref().map(CharterChain::current);
        let room = charter.map_or(0, |c| c.limits.record_bytes as usize) / 2;
        (room / limits::ID_PREFIX_BYTES).min(limits::MAX_KEPT)
    }

    fn put_revocation(
        &mut self,
        now: WallMs,
        author: &SecretKey,
        subject: PeerId,
        revocation: Revocation,
        out: &mut Vec<Action>,
    ) -> Result<Record, GraphError> {
        let draft = Draft {
            kind: Kind::REVOCATION,
            key: Bytes::copy_from_slice(subject.as_bytes()),
            attributes: Attributes::default(),
            body: revocation.encode().into(),
            lifetime: Duration::MAX,
            // Before everything else that somebody asks for.
            priority: u8::MAX,
        };
        let published = self.publish(now, author, draft, out);
        published.map_err(|e| match e {
            GraphError::Refused(Reject::Outranked) => GraphError::Outranked(subject),
            other => other,
        })
    }

    /// The invitations of `who` that as many have redeemed as may, and that can still be
    /// redeemed under a lower id by who knows their one-time keys: `who` should
    /// [end](Self::end_invitation) them. At most [`limits::MAX_RENEWALS`] at once, and
    /// none once half of the revocations are written that one author may. None either
    /// whose redemptions a record cannot list: some who came by it would have to go.
    pub fn used_up(&self, now: WallMs, who: &PeerId) -> Vec<RecordId> {
        let few = self.records.revocations_of(who) < limits::MAX_REVOCATIONS_PER_AUTHOR / 2;
        if !few || !self.can(who, Kind::REVOCATION, now) {
            return Vec::new();
        }
        let (roster, fits) = (self.records.roster(), self.prefixes_that_fit());
        let listed = |invite: &RecordId| roster.joined_by(invite).map(|(_, ids)| ids.len()).sum();
        let used = roster.used_up(who).filter(|i| fits >= listed(i));
        used.take(limits::MAX_RENEWALS).collect()
    }

    /// Publishes that of an invitation's redemptions those stand that are held here, as
    /// many as fit into a record, and no others. Who came by it stays.
    ///
    /// # Errors
    /// [`GraphError::NoInvitation`] if it is none that is held here; those of
    /// [`publish`](Self::publish).
    pub fn end_invitation(
        &mut self,
        now: WallMs,
        author: &SecretKey,
        invite: RecordId,
        out: &mut Vec<Action>,
    ) -> Result<Record, GraphError> {
        let roster = self.records.roster();
        let entry = roster.entry(&invite).filter(|e| e.kind == Kind::INVITE);
        let one_time = entry.ok_or(GraphError::NoInvitation(invite))?.subject;
        let redemptions = roster.joined_by(&invite).flat_map(|(_, ids)| ids);
        let fits = self.prefixes_that_fit();
        let listed = Revocation {
            seal: false,
            up_to: 0,
            keep: redemptions.take(fits).map(id_prefix).collect(),
        };
        self.put_revocation(now, author, one_time, listed, out)
    }

    /// Takes an invitation back, and with it the rights of everybody who came by it: as
    /// [`revoke`](Self::revoke) for each, and a revocation of the one-time key that lists
    /// the redemptions that are held, as many as fit into a record. Those that come to
    /// light later fall, also such as were made before: who has the key can make up as
    /// many identities as there are uses, and date them.
    ///
    /// Says who was revoked, and who was not since `author` does not outrank it.
    ///
    /// # Errors
    /// [`GraphError::NoInvitation`] if it is none that is held here; those of `revoke`
    /// for the invitation itself.
    pub fn revoke_invitation(
        &mut self,
        now: WallMs,
        author: &SecretKey,
        invite: RecordId,
        keep: Keep,
        out: &mut Vec<Action>,
    ) -> Result<(Vec<PeerId>, Vec<PeerId>), GraphError> {
        self.end_invitation(now, author, invite, out)?;
        let roster = self.records.roster();
        let joined: Vec<PeerId> = roster.joined_by(&invite).map(|(peer, _)| *peer).collect();
        let mut refused = Vec::new();
        let standing = joined.into_iter().filter(|peer| !self.is_revoked(peer));
        let mut revoked: Vec<_> = standing.collect();
        revoked.retain(|peer| {
            let done = self.revoke(now, author, *peer, keep, out).is_ok();
            if !done {
                refused.push(*peer);
            }
            done
        });
        Ok((revoked, refused))
    }
}

/// What others lose by who is revoked, or gain, if it falls.
fn stays_first(kind: Kind) -> bool {
    kind == Kind::REVOCATION || kind == Kind::REDEMPTION
}

fn highest(known: &[Known]) -> u64 {
    known.iter().map(|(_, seq, _)| *seq).max().unwrap_or(0)
}

fn prefixes(known: impl Iterator<Item = Known>) -> BTreeSet<IdPrefix> {
    known.map(|(.., id)| id_prefix(&id)).collect()
}
