//! Giving rights and taking them, by this node's own hand.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use samara_wire::{PeerId, RecordId};

use super::{Action, Draft, Graph, GraphError, Reject};
use crate::{
    Attributes, CharterChain, Invitation, Kind, NewRecord, Record, Role, SecretKey, SignedCharter,
    WallMs,
    body::{Grant, Invite, Redemption, Retraction},
    limits,
    member::{Denied, Wait},
};

/// A role to give to an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGrant {
    /// To whom.
    pub subject: PeerId,
    /// Which; below the own one.
    pub role: Role,
    /// Until when; cut to one's own right.
    pub until: WallMs,
    /// The only kinds that may be written by it; empty for all that the role may.
    pub kinds: BTreeSet<Kind>,
    /// Whether it is renewed before it ends.
    pub renewable: bool,
    /// Whether it takes the place of what the subject was granted before, so that a
    /// role can be lowered.
    pub replaces: bool,
}

/// An invitation to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvite {
    /// What the bearer becomes; below the own role, and no admin.
    pub role: Role,
    /// For how many, 1 to [`limits::MAX_INVITE_USES`].
    pub uses: u32,
    /// Until when it may be redeemed; cut to one's own right.
    pub until: WallMs,
    /// Until when a role lasts that was got by it, unless it is renewed; not before
    /// `until`, and cut to one's own right.
    pub member_until: WallMs,
    /// As in a [`NewGrant`].
    pub kinds: BTreeSet<Kind>,
    /// Whether what was redeemed is renewed before it ends.
    pub renewable: bool,
}

impl Graph {
    /// Publishes a grant, as [`publish`](Self::publish) does; if it takes away anything
    /// that the subject has, also a seal that lists what stays of the subject's records.
    ///
    /// # Errors
    /// [`GraphError::MayNotGive`] if `author` may not give that role away, those of
    /// [`lowering`](Self::lowering) and of `publish`.
    pub fn grant(
        &mut self,
        now: WallMs,
        author: &SecretKey,
        new: NewGrant,
        out: &mut Vec<Action>,
    ) -> Result<Record, GraphError> {
        let may = |own: Role| own.may_grant(new.role);
        let who = author.peer_id();
        let (parent, until) = self.right(now, &who, Kind::GRANT, new.until, may)?;
        let lowering = self.lowering(now, &who, &new)?;
        let subject = new.subject;
        let grant = Grant {
            role: new.role,
            parent,
            until,
            kinds: new.kinds,
            renewable: new.renewable,
            replaces: new.replaces.then(|| self.highest_of(&subject)),
        };
        let mut draft = self.grant_draft(now, &subject, &grant);
        let created = self.given_at(now, &subject, new.replaces);
        if let Some(lowering) = lowering {
            draft.lifetime = draft.lifetime.max(lowering.lifetime(created));
            self.seal(now, author, subject, lowering.keeping, out)?;
        }
        self.publish_at(now, created, author, draft, out)
    }

    /// Publishes that `author` leaves the channel, as [`publish`](Self::publish) does: it
    /// gives back every role that records gave it, and nobody renews them. It may be given
    /// another one later.
    ///
    /// # Errors
    /// [`GraphError::NothingToLeave`] if no record gives it a role now, also if the
    /// charter names it; those of `publish`.
    pub fn leave(
        &mut self,
        now: WallMs,
        author: &SecretKey,
        out: &mut Vec<Action>,
    ) -> Result<Record, GraphError> {
        let peer = author.peer_id();
        let roster = self.records.roster();
        if roster.in_force(&peer, now).next().is_none() {
            return Err(GraphError::NothingToLeave(peer));
        }
        // Also what came from a clock that is ahead.
        let given = roster.last_created(&peer);
        let created = given.map_or(now, |given| given.max(now));
        let draft = Draft {
            kind: Kind::RETRACTION,
            key: Bytes::copy_from_slice(peer.as_bytes()),
            attributes: Attributes::default(),
            body: Retraction::leave(&peer).encode().into(),
            lifetime: Duration::MAX,
            priority: 0,
        };
        self.publish_at(now, created, author, draft, out)
    }

    /// Publishes an invite whose one-time key is `one_time`, which must be fresh from a
    /// cryptographic random source; the invitation belongs into a link.
    ///
    /// # Errors
    /// [`GraphError::MayNotGive`] if `author` may not invite to that role, and those of
    /// [`publish`](Self::publish).
    pub fn invite(
        &mut self,
        now: WallMs,
        author: &SecretKey,
        new: NewInvite,
        one_time: &SecretKey,
        out: &mut Vec<Action>,
    ) -> Result<Invitation, GraphError> {
        let may = |own: Role| own.may_invite(new.role);
        let longest = new.member_until.max(new.until);
        let (parent, longest) = self.right(now, &author.peer_id(), Kind::INVITE, longest, may)?;
        let until = new.until.min(longest);
        let invite = Invite {
            role: new.role,
            parent,
            uses: new.uses,
            until,
            kinds: new.kinds,
            renewable: new.renewable,
        };
        let draft = Draft {
            kind: Kind::INVITE,
            key: Bytes::copy_from_slice(one_time.peer_id().as_bytes()),
            attributes: Attributes::default(),
            body: invite.encode().into(),
            lifetime: longest.since(now),
            priority: 0,
        };
        let record = self.publish(now, author, draft, out)?;
        Ok(Invitation {
            key: one_time.clone(),
            invite: record.id(),
            until,
            expires: record.expires(),
        })
    }

    /// Redeems an invitation: signs the record that makes `joiner` a member once the
    /// invite is here, and keeps it until then. It is what a joiner shows in its
    /// [`Proof`](crate::Proof). Works before the charter is here.
    ///
    /// # Errors
    /// [`GraphError::Refused`] with what is wrong with the invitation, as far as is
    /// known here.
    pub fn redeem(
        &mut self,
        now: WallMs,
        joiner: &SecretKey,
        invitation: &Invitation,
        out: &mut Vec<Action>,
    ) -> Result<Record, GraphError> {
        let peer = joiner.peer_id();
        let redemption = Redemption::sign(self.channel, invitation.invite, &peer, &invitation.key);
        if invitation.until < now {
            return Err(GraphError::Refused(Reject::InviteExpired));
        }
        let record = NewRecord {
            channel: self.channel,
            kind: Kind::REDEMPTION,
            seq: self.next_seq(&peer, now),
            created: now,
            expires: invitation.expires,
            priority: 0,
            key: Bytes::copy_from_slice(invitation.key.peer_id().as_bytes()),
            attributes: Attributes::default(),
            body: redemption.encode().into(),
        }
        .sign(joiner)?;
        self.last_seq.insert(peer, record.seq());
        self.keep_trying(now, &record, out)
            .map_err(GraphError::Refused)?;
        Ok(record)
    }

    /// Takes in a redemption of this node's own, made earlier: at once if the invite is
    /// here, when it arrives if not. Nothing if it is held, or waits already.
    ///
    /// # Errors
    /// What is wrong with it, by what is here now.
    pub fn keep_trying(
        &mut self,
        now: WallMs,
        redemption: &Record,
        out: &mut Vec<Action>,
    ) -> Result<(), Reject> {
        let id = redemption.id();
        let known = self.records.get(&id).is_some() || self.pending.contains_key(&id);
        if known || self.deferred.contains(&id) {
            return Ok(());
        }
        self.clock.0 = now;
        if let Some(objection) = self.objection(now, redemption) {
            return Err(objection);
        }
        // Who comes second takes nobody's place, whichever id is lower.
        if let Ok(header) = redemption.header() {
            let unsettled = |invite: &RecordId| self.unsettled(invite);
            let roster = self.records.roster();
            roster.has_room(&header.view(), &BTreeMap::new(), unsettled)?;
        }
        if self.chain.is_some() {
            return self.admit(redemption.clone(), None, false, out);
        }
        // Nothing can be judged before the charter is here.
        let wait = Wait::Author(redemption.author());
        self.deferred.insert(redemption.clone(), None, false, wait);
        Ok(())
    }

    /// Whether as many have redeemed an invitation that is here as may.
    pub fn is_used_up(&self, invite: &RecordId) -> bool {
        let roster = self.records.roster();
        let uses = roster.entry(invite).map(|entry| entry.uses as usize);
        uses.is_some_and(|uses| roster.joined_by(invite).count() >= uses)
    }

    /// What is wrong with a record of this node's own that is not held, by what is here
    /// now; none as long as it may still be taken.
    pub fn objection(&self, now: WallMs, record: &Record) -> Option<Reject> {
        if self.records.get(&record.id()).is_some() {
            return None;
        }
        match self.examine(now, record) {
            Err(Denied::Reject(reject)) => Some(reject),
            _ => None,
        }
    }

    /// What `who` should publish now so that nobody's role ends who is to keep it: the
    /// grants and redemptions below it that are in the last quarter of their time. Who
    /// gave them renews them then; anybody else who may, in the last eighth. At most
    /// [`limits::MAX_RENEWALS`] at once.
    pub fn renewals(&self, now: WallMs, who: &PeerId) -> Vec<Draft> {
        let rights = self.gives(now, who);
        let mut drafts = Vec::new();
        if rights.is_empty() {
            return drafts;
        }
        let mut renewed = BTreeSet::new();
        for (_, entry) in self.records.roster().ripe(now, who) {
            if drafts.len() == limits::MAX_RENEWALS {
                break;
            }
            let (role, until) = (entry.authority.role, entry.authority.until);
            let Some((parent, longest)) = rights.get(&role).copied() else {
                continue;
            };
            if entry.subject == *who || renewed.contains(&(entry.subject, role)) {
                continue;
            }
            let whole = until.since(entry.authority.since);
            let share = if entry.giver == *who { 4 } else { 8 };
            // One that ends with its invitation is confirmed at once: who gave it may be
            // gone by then.
            let confirmed = entry.is_brief() && entry.giver == *who;
            let due = entry.renewable && until.since(now) <= whole / share;
            if !due && !confirmed {
                continue;
            }
            let rest = entry.authority.expires.since(now);
            let length = match entry.kind {
                Kind::REDEMPTION if !entry.renewable => rest,
                Kind::REDEMPTION => whole.max(limits::RENEWED_FOR).max(rest),
                _ => whole,
            };
            // No longer than what is there: that would be the same again next time.
            let longer = now.after(length).min(longest);
            if longer <= until {
                continue;
            }
            let grant = Grant {
                role,
                parent,
                until: longer,
                kinds: entry.authority.kinds.clone(),
                renewable: entry.renewable,
                replaces: None,
            };
            drafts.push(self.grant_draft(now, &entry.subject, &grant));
            renewed.insert((entry.subject, role));
        }
        drafts
    }

    /// What `who` may grant now: by which record, and until when at most.
    fn gives(&self, now: WallMs, who: &PeerId) -> BTreeMap<Role, (Option<RecordId>, WallMs)> {
        let longest = WallMs(limits::MAX_TIME_MS);
        let right = |role: Role| {
            let may = |own: Role| own.may_grant(role);
            let right = self.right(now, who, Kind::GRANT, longest, may).ok()?;
            Some((role, right))
        };
        Role::ALL.into_iter().filter_map(right).collect()
    }

    /// Puts the next version of the charter in force that enough roots have signed.
    ///
    /// # Errors
    /// [`GraphError::Charter`] if it does not follow or too few have signed it.
    pub fn amend(
        &mut self,
        now: WallMs,
        next: SignedCharter,
        out: &mut Vec<Action>,
    ) -> Result<(), GraphError> {
        let mut chain = self.chain.clone().ok_or(GraphError::NoCharter)?;
        chain.push(next)?;
        self.clock.0 = now;
        self.put_in_force(chain, out);
        Ok(())
    }

    /// By which record `who` may give something, and until when at most.
    pub(super) fn right(
        &self,
        now: WallMs,
        who: &PeerId,
        kind: Kind,
        until: WallMs,
        may: impl Fn(Role) -> bool,
    ) -> Result<(Option<RecordId>, WallMs), GraphError> {
        let charter = self.chain.as_ref().map(CharterChain::current);
        let charter = charter.ok_or(GraphError::NoCharter)?;
        if self.is_revoked(who) {
            return Err(GraphError::NotPublisher(*who));
        }
        if charter.named(who).iter().any(|a| may(a.role)) {
            return Ok((None, WallMs(until.0.min(limits::MAX_TIME_MS))));
        }
        let longest = |role| {
            let mut held = self.records.roster().in_force_as(who, role, now);
            held.find(|(_, e)| e.authority.allows(kind, charter))
        };
        let able = Role::ALL.into_iter().filter(|role| may(*role));
        let best = able
            .filter_map(longest)
            .max_by_key(|(id, e)| (e.authority.until, *id));
        match best {
            Some((id, e)) => Ok((Some(*id), until.min(e.authority.until))),
            None => Err(match self.role_of(who, now) {
                Some(own) => GraphError::MayNotGive(own),
                None => GraphError::NotPublisher(*who),
            }),
        }
    }

    /// A grant to publish. It outlives its validity by what a record may live, so that
    /// none that is made by it has to end early; but not what it stands by.
    fn grant_draft(&self, now: WallMs, subject: &PeerId, grant: &Grant) -> Draft {
        let parent = grant.parent.and_then(|id| self.records.roster().entry(&id));
        let longest = parent.map_or(Duration::MAX, |e| e.authority.expires.since(now));
        let lifetime = match grant.role {
            Role::Admin => Duration::MAX,
            _ => self.lifetime_until(now, grant.until).min(longest),
        };
        Draft {
            kind: Kind::GRANT,
            key: Bytes::copy_from_slice(subject.as_bytes()),
            attributes: Attributes::default(),
            body: grant.encode().into(),
            lifetime,
            priority: 0,
        }
    }

    fn lifetime_until(&self, now: WallMs, until: WallMs) -> Duration {
        let charter = self.chain.as_ref().map(CharterChain::current);
        let records = charter.map_or(0, |c| c.limits.lifetime_ms);
        until
            .since(now)
            .saturating_add(Duration::from_millis(records))
    }
}
