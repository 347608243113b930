//! What a new charter lists of those who are owners and admins no more.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use samara_wire::PeerId;

use super::Graph;
use crate::{
    Charter, CharterChain, Control, Former, HeaderRef, Kind, Publishers, Role, WallMs,
    body::{IdPrefix, id_prefix},
    limits,
};

/// What became of the lists of a charter: [`Graph::list_former`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Listed {
    /// Records that are listed.
    pub kept: usize,
    /// Ordinary records that had no room, and fall with the new charter.
    pub fallen: usize,
    /// Records that the charter before listed, that are not held here and had no room.
    pub forgotten: usize,
}

/// More grants, invites, revocations and retractions hang on the former owners and
/// admins than a charter can list: this many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany(pub usize);

/// In which order records get their place; whatever does not fit falls from the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// Others lose what they have without it.
    Control,
    /// Stands in any case, but by a lesser role.
    Rank,
    /// The latest first.
    Ordinary(Reverse<WallMs>),
    /// Listed before and not held here: it has mostly expired.
    Unknown,
}

#[derive(Debug)]
struct Item {
    need: Need,
    peer: PeerId,
    role: Role,
    prefix: IdPrefix,
}

impl Graph {
    /// Who is less by the charter `next` than by the one in force: an owner or an admin
    /// no more, or an admin instead of an owner. Likewise a root that is a named
    /// publisher, if it is neither any more: by its own word as a root it was that.
    pub fn losers(&self, next: &Charter) -> BTreeMap<PeerId, Role> {
        let Some(old) = self.chain.as_ref().map(CharterChain::current) else {
            return BTreeMap::new();
        };
        let published = |c: &Charter, p: &PeerId| matches!(&c.publishers, Publishers::Named(list) if list.contains(p));
        let lost = |peer: &PeerId| {
            let gone = !next.roots.contains(peer) && !next.admins.contains(peer);
            match (old.decides(peer), next.decides(peer)) {
                (Some(was), None) => Some(was),
                (Some(was), Some(is)) if was < is => Some(was),
                (None, None) if gone && published(old, peer) && !published(next, peer) => {
                    Some(Role::Admin)
                }
                _ => None,
            }
        };
        let all = &old.roots | &old.admins;
        all.into_iter()
            .filter_map(|peer| Some((peer, lost(&peer)?)))
            .collect()
    }

    /// Makes the list of former owners and admins of `next`, which follows the charter
    /// in force and is complete but for that: of those who are less by it, and of those
    /// who were listed before, what is held here and would fall without; `disowned`
    /// leave nothing.
    ///
    /// # Errors
    /// [`TooMany`] if the control records do not fit; `next` is of no use then.
    pub fn list_former(
        &self,
        next: &mut Charter,
        disowned: &BTreeSet<PeerId>,
    ) -> Result<Listed, TooMany> {
        let Some(old) = self.chain.as_ref().map(CharterChain::current) else {
            return Ok(Listed::default());
        };
        let mut losers = self.losers(next);
        losers.retain(|peer, _| !disowned.contains(peer));
        next.former.clone_from(&old.former);
        next.former.retain(|peer, _| !disowned.contains(peer));
        let decides: Vec<_> = next.former.keys().map(|p| (*p, next.decides(p))).collect();
        for (peer, role) in decides {
            match (role, next.former.get_mut(&peer)) {
                (Some(Role::Admin), Some(former)) => former.as_admin.clear(),
                (Some(_), _) => drop(next.former.remove(&peer)),
                _ => {}
            }
        }
        let mut items: Vec<Item> = (next.former.iter())
            .flat_map(|(peer, former)| self.listed_before(*peer, former))
            .collect();
        items.extend(self.losing(next, &losers));
        items.sort_by_key(|item| (item.need, item.peer, item.prefix));

        let room = limits::MAX_FORMER_KEPT;
        let control = items.iter().filter(|i| i.need == Need::Control).count();
        if control > room {
            return Err(TooMany(control));
        }
        let beyond = items.split_off(items.len().min(room));
        let without = |unknown| {
            let of_it = beyond.iter().filter(|i| match i.need {
                Need::Unknown => unknown,
                Need::Ordinary(_) => !unknown,
                Need::Control | Need::Rank => false,
            });
            of_it.count()
        };
        let kept = items.len();
        next.former = lists(next, &losers, items);
        Ok(Listed {
            kept,
            fallen: without(false),
            forgotten: without(true),
        })
    }

    fn listed_before(&self, peer: PeerId, former: &Former) -> Vec<Item> {
        let held = self.records.of_author(&peer);
        let held: BTreeMap<_, _> = held.map(|h| (id_prefix(&h.id), need(&h))).collect();
        let of_list = |(role, kept): (Role, &BTreeSet<IdPrefix>)| {
            let item = |prefix: &IdPrefix| Item {
                need: held.get(prefix).copied().unwrap_or(Need::Unknown),
                peer,
                role,
                prefix: *prefix,
            };
            kept.iter().map(item).collect::<Vec<_>>()
        };
        former.lists().into_iter().flat_map(of_list).collect()
    }

    /// What those wrote who are less now, as far as it hangs on what they were.
    fn losing(&self, next: &Charter, losers: &BTreeMap<PeerId, Role>) -> Vec<Item> {
        let roster = self.records.roster();
        let mut with_all = next.clone();
        for (peer, role) in losers {
            let all = self.records.of_author(peer).map(|h| id_prefix(&h.id));
            let former = with_all.former.entry(*peer).or_default();
            if former.kept() == 0 {
                former.since = next.version;
            }
            list_of(former, *role).extend(all);
        }
        let mut items = Vec::new();
        for (peer, role) in losers {
            let before = next.former.get(peer);
            for h in self.records.of_author(peer) {
                let listed = before.is_some_and(|f| f.keeps(&id_prefix(&h.id)));
                if listed || h.kind == Kind::PRESENCE || roster.admits(&with_all, &h).is_err() {
                    continue;
                }
                let need = match roster.admits(next, &h).is_ok() {
                    false => need(&h),
                    true if by_charter(&h) => Need::Rank,
                    true => continue,
                };
                items.push(Item {
                    need,
                    peer: *peer,
                    role: *role,
                    prefix: id_prefix(&h.id),
                });
            }
        }
        items
    }
}

fn need(h: &HeaderRef<'_>) -> Need {
    match h.kind.is_control() {
        true => Need::Control,
        false => Need::Ordinary(Reverse(h.created)),
    }
}

/// Whether the rank counts of whom the charter lets write it.
fn by_charter(h: &HeaderRef<'_>) -> bool {
    match h.control {
        Some(Control::Grant(grant)) => grant.parent.is_none(),
        Some(Control::Invite(invite)) => invite.parent.is_none(),
        Some(Control::Revocation(_)) => true,
        _ => false,
    }
}

fn list_of(former: &mut Former, role: Role) -> &mut BTreeSet<IdPrefix> {
    match role {
        Role::Owner => &mut former.as_owner,
        _ => &mut former.as_admin,
    }
}

fn lists(
    next: &Charter,
    losers: &BTreeMap<PeerId, Role>,
    items: Vec<Item>,
) -> BTreeMap<PeerId, Former> {
    let mut all: BTreeMap<PeerId, Former> = BTreeMap::new();
    for item in items {
        let former = all.entry(item.peer).or_default();
        list_of(former, item.role).insert(item.prefix);
    }
    for (peer, former) in &mut all {
        let before = next.former.get(peer).filter(|f| !f.as_owner.is_empty());
        former.since = match (before, losers.contains_key(peer)) {
            // It ceased to be an owner then, whatever it was afterwards.
            (Some(before), _) => before.since,
            (None, true) => next.version,
            (None, false) => next.former.get(peer).map_or(next.version, |f| f.since),
        };
    }
    all
}
