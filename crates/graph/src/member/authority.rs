use std::{collections::BTreeSet, time::Duration};

use samara_wire::{PeerId, RecordId};

use crate::{Charter, Former, Kind, Publishers, Reject, Role, WallMs, body::id_prefix, limits};

/// What somebody may do by one credential, or by the charter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) role: Role,
    /// Empty: all kinds that the role may write.
    pub(crate) kinds: BTreeSet<Kind>,
    pub(crate) since: WallMs,
    pub(crate) until: WallMs,
    /// Nothing that stands by it lives longer.
    pub(crate) expires: WallMs,
    /// Credentials between the charter and this one, itself included.
    pub(crate) depth: usize,
}

/// What a grant or an invite claims.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) kind: Kind,
    pub(crate) role: Role,
    pub(crate) kinds: &'a BTreeSet<Kind>,
    pub(crate) created: WallMs,
    pub(crate) until: WallMs,
    pub(crate) expires: WallMs,
}

impl Authority {
    /// By the charter's own word: without end, and without limits but the role's.
    pub(crate) fn named(role: Role) -> Self {
        Self {
            role,
            kinds: BTreeSet::new(),
            since: WallMs(0),
            until: WallMs(limits::MAX_TIME_MS),
            expires: WallMs(limits::MAX_TIME_MS),
            depth: 0,
        }
    }

    /// Whether it was valid at `at`, by a clock that may differ from its author's.
    pub(crate) fn covers(&self, at: WallMs) -> bool {
        self.since.before(limits::CLOCK_AHEAD) <= at && at <= self.until
    }

    /// Whether records of `kind` may be written by it at all.
    pub(crate) fn allows(&self, kind: Kind, charter: &Charter) -> bool {
        let in_scope =
            self.kinds.is_empty() || self.kinds.contains(&kind) || kind == Kind::RETRACTION;
        in_scope && self.role.may_write(kind, charter)
    }

    /// What follows from this one by a grant or an invite; it only narrows.
    pub(crate) fn narrow(&self, claim: Claim<'_>) -> Result<Self, Reject> {
        let may = match claim.kind {
            Kind::INVITE => self.role.may_invite(claim.role),
            _ => self.role.may_grant(claim.role),
        };
        let in_scope = self.kinds.is_empty()
            || self.kinds.contains(&claim.kind)
                && !claim.kinds.is_empty()
                && claim.kinds.is_subset(&self.kinds);
        if !may || !in_scope || claim.until > self.until || claim.expires > self.expires {
            return Err(Reject::Widens);
        }
        if !self.covers(claim.created) {
            return Err(Reject::OutOfTime);
        }
        if self.depth >= limits::MAX_CHAIN {
            return Err(Reject::ChainTooLong);
        }
        Ok(Self {
            role: claim.role,
            kinds: claim.kinds.clone(),
            since: claim.created,
            until: claim.until,
            expires: claim.expires,
            depth: self.depth + 1,
        })
    }
}

impl Charter {
    /// Everybody whom the charter names.
    pub(crate) fn everybody(&self) -> BTreeSet<PeerId> {
        let mut all = &self.roots | &self.admins;
        if let Publishers::Named(list) = &self.publishers {
            all.extend(list);
        }
        all
    }

    /// What the charter itself lets `peer` do today.
    pub(crate) fn named(&self, peer: &PeerId) -> Vec<Authority> {
        let sole = self.threshold == 1;
        let publishes = matches!(&self.publishers, Publishers::Named(list) if list.contains(peer));
        let roles = [
            (sole && self.roots.contains(peer), Role::Owner),
            (self.admins.contains(peer), Role::Admin),
            (publishes, Role::Publisher),
            // One of several roots decides nothing alone, but belongs to the channel.
            (!sole && self.roots.contains(peer), Role::Member),
        ];
        let roles = roles.into_iter().filter(|(holds, _)| *holds);
        roles.map(|(_, role)| Authority::named(role)).collect()
    }

    /// Whether the charter itself lets `peer` write records of every kind that decides
    /// nothing about others.
    pub(crate) fn names_publisher(&self, peer: &PeerId) -> bool {
        self.admins.contains(peer)
            || self.threshold == 1 && self.roots.contains(peer)
            || matches!(&self.publishers, Publishers::Named(list) if list.contains(peer))
    }

    /// The same for its record `id`, the mightiest first: what it was before counts too
    /// if the record is listed.
    pub(crate) fn named_at(&self, peer: &PeerId, id: &RecordId) -> Vec<Authority> {
        let lists = self.former.get(peer).into_iter().flat_map(Former::lists);
        let listed = lists.filter(|(_, kept)| kept.contains(&id_prefix(id)));
        // Nobody is listed as what it still is.
        let former = listed.map(|(role, _)| Authority::named(role));
        former.chain(self.named(peer)).collect()
    }

    /// Whether `peer` is a root that decides alone.
    pub(crate) fn is_owner(&self, peer: &PeerId) -> bool {
        self.threshold == 1 && self.roots.contains(peer)
    }

    /// Whether `peer` was one, and what it wrote then is listed.
    pub(crate) fn was_owner(&self, peer: &PeerId) -> bool {
        let former = self.former.get(peer);
        former.is_some_and(|former| !former.as_owner.is_empty())
    }

    /// Whether `peer` is an owner or an admin by the charter's own word.
    pub(crate) fn decides(&self, peer: &PeerId) -> Option<Role> {
        if self.is_owner(peer) {
            return Some(Role::Owner);
        }
        self.admins.contains(peer).then_some(Role::Admin)
    }

    /// Whether `peer`'s word on the time counts: an owner's, and where no root
    /// decides alone, that of the admins whom the charter names.
    pub(crate) fn tells_time(&self, peer: &PeerId) -> bool {
        match self.threshold {
            1 => self.roots.contains(peer),
            _ => self.admins.contains(peer),
        }
    }

    /// How long a record of `kind` may live.
    pub(crate) fn lifetime(&self, kind: Kind) -> Duration {
        match kind {
            Kind::GRANT | Kind::INVITE | Kind::REDEMPTION => limits::MAX_LIFETIME,
            Kind::REVOCATION => Duration::MAX,
            Kind::PRESENCE => {
                let lease = self.presence_ms.unwrap_or(self.limits.lifetime_ms);
                Duration::from_millis(lease.min(self.limits.lifetime_ms))
            }
            _ => Duration::from_millis(self.limits.lifetime_ms),
        }
    }
}
