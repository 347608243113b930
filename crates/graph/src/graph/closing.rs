//! What was written by roles that are over is closed: else who gets the key of
//! somebody that was an admin once makes up what it never wrote, and dates it back.

use samara_wire::PeerId;

use super::{Action, Graph, GraphError, NewGrant};
use crate::{CharterChain, Kind, Role, SecretKey, WallMs, limits};

/// What closes it.
#[derive(Debug)]
enum Closing {
    /// A list of what stays of all up to this sequence.
    Seal { up_to: u64 },
    /// A grant in place of what ended, and the seal that comes with it.
    Grant { new: NewGrant, created: WallMs },
}

impl Graph {
    /// Whose roles above a member's are over, by time or because they left, and what
    /// they wrote by those is not closed yet, though `who` should [`close`](Self::close)
    /// it now: [`limits::CLOSED_AFTER`] after the end if `who` gave the role, so that
    /// what was written in time can arrive; after twice that if another one did. At most
    /// [`limits::MAX_RENEWALS`] at once.
    pub fn to_close(&self, now: WallMs, who: &PeerId) -> Vec<PeerId> {
        let charter = self.chain.as_ref().map(CharterChain::current);
        let Some(charter) = charter.filter(|_| self.can(who, Kind::REVOCATION, now)) else {
            return Vec::new();
        };
        let roster = self.records.roster();
        let is_due = |peer: &PeerId| {
            let Some(loose) = roster.loose(charter, peer, now) else {
                return false;
            };
            let after = match loose.giver == *who {
                true => limits::CLOSED_AFTER,
                false => 2 * limits::CLOSED_AFTER,
            };
            loose.since <= now.before(after)
                && roster.rank(charter, who) < roster.command(charter, peer)
                && self.closing(now, who, peer).is_some()
        };
        let over = roster.over(now.before(limits::CLOSED_AFTER)).into_iter();
        let due = over.filter(|peer| peer != who && !self.is_revoked(peer) && is_due(peer));
        due.take(limits::MAX_RENEWALS).collect()
    }

    /// Publishes which records stay of those that `subject` wrote by roles that are
    /// over, as [`publish`](Self::publish) does. What it still is it keeps.
    ///
    /// # Errors
    /// [`GraphError::TooManyToKeep`] if a record cannot list all those that decide about
    /// others; those of [`grant`](Self::grant).
    pub fn close(
        &mut self,
        now: WallMs,
        author: &SecretKey,
        subject: PeerId,
        out: &mut Vec<Action>,
    ) -> Result<(), GraphError> {
        match self.closing(now, &author.peer_id(), &subject) {
            None => Ok(()),
            Some(Closing::Seal { up_to }) => {
                let mut known = self.known_of(&subject);
                known.retain(|(_, seq, _)| *seq <= up_to);
                let keeping = self.listed(known, |kind| !kind.is_control());
                if keeping.has_gaps {
                    return Err(GraphError::TooManyToKeep(subject));
                }
                self.seal(now, author, subject, keeping.up_to(up_to), out)
            }
            Some(Closing::Grant { new, created }) => {
                let granted = self.grant_at(now, created, author, new, out);
                granted.map(drop)
            }
        }
    }

    /// Nothing if there is nothing to close, or `who` cannot.
    fn closing(&self, now: WallMs, who: &PeerId, subject: &PeerId) -> Option<Closing> {
        let charter = self.chain.as_ref()?.current();
        let roster = self.records.roster();
        let loose = roster.loose(charter, subject, now)?;
        let Some((ended, issuer)) = loose.ended else {
            return Some(Closing::Seal { up_to: loose.up_to });
        };
        let best = roster.in_force(subject, now).next();
        let role = best.map_or(Role::Reader, |(_, e)| e.authority.role);
        let may = |own: Role| own.may_grant(role);
        let any = WallMs(limits::MAX_TIME_MS);
        let (parent, _) = self.right(now, who, Kind::GRANT, any, may).ok()?;
        if self.issuing(who, parent, may).rank() > issuer {
            return None;
        }
        let new = NewGrant {
            subject: *subject,
            role,
            until: any,
            kinds: [].into(),
            renewable: false,
            replaces: true,
        };
        Some(match best {
            Some((_, e)) => Closing::Grant {
                new: NewGrant {
                    until: e.authority.until,
                    kinds: e.authority.kinds.clone(),
                    renewable: e.renewable,
                    ..new
                },
                created: self.given_at(now, subject, true),
            },
            // Who is nobody now was a reader for one instant, which ends what it was.
            None => {
                let parent = parent.and_then(|id| roster.entry(&id));
                let since = parent.map_or(WallMs(0), |e| e.authority.since);
                let created = WallMs(ended.0 + 1).max(since);
                Closing::Grant {
                    new: NewGrant {
                        until: WallMs(created.0 + 1),
                        ..new
                    },
                    created,
                }
            }
        })
    }
}
