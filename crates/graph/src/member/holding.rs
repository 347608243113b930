use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use samara_wire::RecordId;

use super::{least_after::LeastAfter, roster::Entry, steps::step};
use crate::{HeaderRef, Kind, Role, WallMs, limits};

/// The place of a credential among those of one identity: by time, then by id.
pub(super) type Place = (WallMs, RecordId);

const FIRST: RecordId = RecordId([0; 32]);
const LAST: RecordId = RecordId([0xff; 32]);

/// The credentials of one identity, and when it left.
///
/// Whoever grants can make these many, so nothing that is asked for each event walks
/// them all. A credential is replaced by a later one whose issuer is no lower: so of
/// those by issuers of one rank all before some place are replaced, and none after it.
/// Of grants a leave gives back all up to some time, of redemptions up to some
/// sequence. What moves such a border looks at those alone that it passes.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// By the rank of the issuer.
    tiers: BTreeMap<u8, Tier>,
    redemptions: BTreeMap<Place, Arc<Entry>>,
    /// The sequences of leaves by their times, for grants.
    left_at: LeastAfter<Place, u64>,
    /// The times of leaves by their sequences, for redemptions.
    left_by: LeastAfter<(u64, RecordId), WallMs>,
    /// Neither replaced nor given back: the mightiest first, and of one role those
    /// that last longest.
    standing: BTreeMap<(Role, Reverse<WallMs>, RecordId), Arc<Entry>>,
    /// Not given back, by when they end.
    kept: BTreeSet<(WallMs, RecordId)>,
    /// All of them, by when they end.
    ends: BTreeSet<(WallMs, RecordId)>,
    /// How many there are of each role.
    roles: BTreeMap<Role, usize>,
    /// When one of them begins or is over, and of how many that is true.
    edges: BTreeMap<WallMs, usize>,
}

#[derive(Debug, Default)]
struct Tier {
    held: BTreeMap<Place, Arc<Entry>>,
    /// Those that replace earlier ones, and up to which sequence their word stays.
    replace: LeastAfter<Place, u64>,
}

/// That somebody left the channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leave {
    id: RecordId,
    seq: u64,
    created: WallMs,
}

impl Leave {
    pub(super) fn of(h: &HeaderRef<'_>) -> Self {
        Self {
            id: h.id,
            seq: h.seq,
            created: h.created,
        }
    }
}

impl Holding {
    pub(super) fn insert(&mut self, id: RecordId, entry: &Arc<Entry>) {
        let place = (entry.created, id);
        let passed = match entry.replaces {
            Some(_) => self.replaced_before(entry.issuer, &place),
            None => Vec::new(),
        };
        let tier = self.tiers.entry(entry.issuer).or_default();
        tier.held.insert(place, Arc::clone(entry));
        if let Some(up_to) = entry.replaces {
            tier.replace.insert(place, up_to);
        }
        if entry.kind == Kind::REDEMPTION {
            self.redemptions.insert(place, Arc::clone(entry));
        }
        self.ends.insert((entry.authority.until, id));
        *self.roles.entry(entry.authority.role).or_default() += 1;
        for edge in edges(entry) {
            *self.edges.entry(edge).or_default() += 1;
        }
        self.place(&place, entry);
        self.place_all(&passed);
    }

    pub(super) fn remove(&mut self, id: RecordId, entry: &Entry) {
        let place = (entry.created, id);
        if let Some(tier) = self.tiers.get_mut(&entry.issuer) {
            tier.held.remove(&place);
            tier.replace.remove(&place);
            if tier.held.is_empty() {
                self.tiers.remove(&entry.issuer);
            }
        }
        self.redemptions.remove(&place);
        let (role, until) = (entry.authority.role, entry.authority.until);
        self.standing.remove(&(role, Reverse(until), id));
        self.kept.remove(&(until, id));
        self.ends.remove(&(until, id));
        take_one(&mut self.roles, &role);
        for edge in edges(entry) {
            take_one(&mut self.edges, &edge);
        }
        if entry.replaces.is_some() {
            let passed = self.replaced_before(entry.issuer, &place);
            self.place_all(&passed);
        }
    }

    pub(super) fn leave(&mut self, leave: Leave) {
        let passed = self.given_back_by(leave.created);
        self.left_at.insert((leave.created, leave.id), leave.seq);
        self.left_by.insert((leave.seq, leave.id), leave.created);
        self.place_all(&passed);
    }

    pub(super) fn forget_leave(&mut self, leave: Leave) {
        self.left_at.remove(&(leave.created, leave.id));
        self.left_by.remove(&(leave.seq, leave.id));
        let passed = self.given_back_by(leave.created);
        self.place_all(&passed);
    }

    /// Those that nothing else replaces than a credential at `by` from an issuer of
    /// that rank.
    fn replaced_before(&self, issuer: u8, by: &Place) -> Vec<(Place, Arc<Entry>)> {
        let mut passed = Vec::new();
        for (rank, tier) in self.tiers.range(issuer..) {
            let from = self.border(*rank).unwrap_or((WallMs(0), FIRST));
            if from < *by {
                let between = tier.held.range(from..*by);
                passed.extend(between.map(|(place, entry)| (*place, Arc::clone(entry))));
            }
        }
        passed
    }

    /// Those that a credential would replace that an issuer of that rank gives at
    /// `created`, and none does yet.
    pub(super) fn unreplaced(&self, issuer: u8, created: WallMs) -> Vec<Arc<Entry>> {
        let replaced = self.replaced_before(issuer, &(created, FIRST));
        replaced.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Those that no other leave gives back than one of that time.
    fn given_back_by(&self, created: WallMs) -> Vec<(Place, Arc<Entry>)> {
        let mut passed: Vec<_> = self
            .redemptions
            .iter()
            .map(|(place, entry)| (*place, Arc::clone(entry)))
            .collect();
        let from = self.left().map_or((WallMs(0), FIRST), |at| (at, LAST));
        let to = (created, LAST);
        for tier in self.tiers.values().filter(|_| from <= to) {
            let between = tier.held.range(from..=to);
            passed.extend(between.map(|(place, entry)| (*place, Arc::clone(entry))));
        }
        passed
    }

    /// The last credential that replaces those before it whose issuers have that rank.
    fn border(&self, rank: u8) -> Option<Place> {
        let replacing = self.tiers.range(..=rank);
        replacing
            .filter_map(|(_, tier)| tier.replace.last_key())
            .max()
            .copied()
    }

    fn place_all(&mut self, passed: &[(Place, Arc<Entry>)]) {
        for (place, entry) in passed {
            self.place(place, entry);
        }
    }

    /// Puts a credential on the lists that it belongs on.
    fn place(&mut self, place: &Place, entry: &Arc<Entry>) {
        step();
        let (id, role, until) = (place.1, entry.authority.role, entry.authority.until);
        match self.cut(&id, entry) {
            Some(_) => self.standing.remove(&(role, Reverse(until), id)),
            None => {
                let key = (role, Reverse(until), id);
                self.standing.insert(key, Arc::clone(entry))
            }
        };
        match self.given_back(entry) {
            Some(_) => self.kept.remove(&(until, id)),
            None => self.kept.insert((until, id)),
        };
    }

    /// Up to which sequence records stand by a credential, if another one took its
    /// place or its holder left.
    pub(super) fn cut(&self, id: &RecordId, entry: &Entry) -> Option<u64> {
        let replaced = self.replaced(entry.issuer, &(entry.created, *id));
        replaced.into_iter().chain(self.left_before(entry)).min()
    }

    fn replaced(&self, issuer: u8, place: &Place) -> Option<u64> {
        let by = self.tiers.range(..=issuer);
        by.filter_map(|(_, tier)| tier.replace.after(place)).min()
    }

    /// Whether a credential that replaces earlier ones takes anything away that stood
    /// until now.
    pub(super) fn lowers(&self, id: &RecordId, by: &Entry) -> bool {
        let (place, up_to) = ((by.created, *id), by.replaces);
        let Some(up_to) = up_to else { return false };
        // What comes last is replaced by fewest.
        self.tiers.range(by.issuer..).any(|(rank, tier)| {
            let last = tier.held.range(..place).next_back();
            let stood = |(at, _)| self.replaced(*rank, at).is_none_or(|s| s > up_to);
            last.is_some_and(stood)
        })
    }

    /// The lowest sequence of a leave that gives a credential back. Redemptions are its
    /// holder's own, and the sequences need no clock; of what others gave it only the
    /// times tell what came first.
    fn left_before(&self, entry: &Entry) -> Option<u64> {
        match entry.kind {
            Kind::REDEMPTION => {
                let first = self.left_by.key_from(&(entry.seq.saturating_add(1), FIRST));
                first.map(|(seq, _)| *seq)
            }
            _ => self.left_at.from(&(entry.created, FIRST)),
        }
    }

    /// When its holder gave a credential back, if it did.
    pub(super) fn given_back(&self, entry: &Entry) -> Option<WallMs> {
        match entry.kind {
            Kind::REDEMPTION => self.left_by.from(&(entry.seq.saturating_add(1), FIRST)),
            _ => {
                let first = self.left_at.key_from(&(entry.created, FIRST));
                first.map(|(at, _)| *at)
            }
        }
    }

    /// Whether a leave would give anything back.
    pub(super) fn is_left_by(&self, leave: &Leave) -> bool {
        let first = |tier: &Tier| {
            let first = tier.held.iter().find(|(_, e)| e.kind != Kind::REDEMPTION);
            first.is_some_and(|((created, _), _)| *created <= leave.created)
        };
        let redeemed = |entry: &Arc<Entry>| entry.seq < leave.seq;
        self.redemptions.values().any(redeemed) || self.tiers.values().any(first)
    }

    /// Whether a leave takes anything away that stood until now.
    pub(super) fn loses_by(&self, leave: &Leave) -> bool {
        let more = |entry: &Entry| self.left_before(entry).is_none_or(|seq| seq > leave.seq);
        // Of grants what comes last is given back by fewest.
        let granted = |tier: &Tier| {
            let before = tier.held.range(..=(leave.created, LAST)).rev();
            let mut granted = before.filter(|(_, e)| e.kind != Kind::REDEMPTION);
            granted.next().is_some_and(|(_, e)| more(e))
        };
        let redeemed = |entry: &Arc<Entry>| entry.seq < leave.seq && more(entry);
        self.redemptions.values().any(redeemed) || self.tiers.values().any(granted)
    }

    /// When the last leave was.
    pub(super) fn left(&self) -> Option<WallMs> {
        self.left_at.last_key().map(|(at, _)| *at)
    }

    /// By what a record of that sequence and time may stand, the latest first.
    pub(super) fn at(&self, seq: u64, created: WallMs) -> impl Iterator<Item = &Entry> {
        let last = (created.after(limits::CLOCK_AHEAD), LAST);
        self.tiers.iter().flat_map(move |(rank, tier)| {
            let begun = tier.held.range(..=last).rev();
            // What comes earlier is replaced from the same sequence on or a lower one.
            let whole = begun.take_while(move |(place, _)| {
                step();
                self.replaced(*rank, place).is_none_or(|up_to| seq <= up_to)
            });
            whole
                .map(|(_, entry)| &**entry)
                .filter(move |e| e.authority.covers(created))
                .filter(move |e| self.left_before(e).is_none_or(|up_to| seq <= up_to))
        })
    }

    /// What lets its holder act at `now`, the mightiest first and of one role what lasts
    /// longest.
    pub(super) fn in_force(&self, now: WallMs) -> impl Iterator<Item = (&RecordId, &Entry)> {
        let roles = Role::ALL.into_iter();
        roles.flat_map(move |role| self.in_force_as(role, now))
    }

    /// The same of one role.
    pub(super) fn in_force_as(
        &self,
        role: Role,
        now: WallMs,
    ) -> impl Iterator<Item = (&RecordId, &Entry)> {
        let longest = (role, Reverse(WallMs(u64::MAX)), FIRST);
        let of_it = self.standing.range(longest..=(role, Reverse(now), LAST));
        let entries = of_it.map(|((.., id), entry)| (id, &**entry));
        entries
            .inspect(|_| step())
            .filter(move |(_, entry)| entry.authority.covers(now))
    }

    /// The one that ends last, of those not given back if there are any.
    pub(super) fn last_to_end(&self) -> Option<&RecordId> {
        let last = self.kept.last().or_else(|| self.ends.last());
        last.map(|(_, id)| id)
    }

    /// The latest redemption.
    pub(super) fn last_redemption(&self) -> Option<&Entry> {
        self.redemptions.last_key_value().map(|(_, entry)| &**entry)
    }

    /// When the latest of them was made.
    pub(super) fn last_created(&self) -> Option<WallMs> {
        let last = |tier: &Tier| tier.held.last_key_value().map(|((at, _), _)| *at);
        self.tiers.values().filter_map(last).max()
    }

    /// The mightiest role of all of them, whatever became of them.
    pub(super) fn best(&self) -> Option<Role> {
        self.roles.keys().next().copied()
    }

    /// When one of them begins or is over next.
    pub(super) fn next_edge(&self, now: WallMs) -> Option<WallMs> {
        let next = self.edges.range(WallMs(now.0.saturating_add(1))..).next();
        let next = next.map(|(at, _)| *at);
        next.filter(|at| at.0 <= limits::MAX_TIME_MS)
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (&RecordId, &Entry)> {
        let tiers = self.tiers.values().flat_map(|tier| &tier.held);
        tiers.map(|((_, id), entry)| (id, &**entry))
    }

    /// Whether there are credentials.
    pub(super) fn has_any(&self) -> bool {
        !self.tiers.is_empty()
    }

    /// Whether there are neither credentials nor leaves.
    pub(super) fn is_empty(&self) -> bool {
        self.tiers.is_empty() && self.left_at.is_empty()
    }
}

/// When a credential begins and when it is over, by a clock that may differ from its
/// author's.
fn edges(entry: &Entry) -> [WallMs; 2] {
    let begins = entry.authority.since.before(limits::CLOCK_AHEAD);
    [begins, WallMs(entry.authority.until.0 + 1)]
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use samara_wire::PeerId;

    use super::*;
    use crate::member::authority::Authority;

    #[derive(Debug, Clone)]
    enum Deed {
        Give(Box<Entry>),
        Take(usize),
        Leave(u64, u64),
        Return(usize),
    }

    /// Small numbers, so that many of them meet; times far enough from 1970 for a clock
    /// that is ahead.
    fn at(n: u64) -> WallMs {
        WallMs(limits::CLOCK_AHEAD.as_millis() as u64 + n)
    }

    fn name(n: usize, created: u64) -> RecordId {
        RecordId(*blake3::hash(&[n as u8, created as u8]).as_bytes())
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let times = (0u64..12, 0u64..16, 0u64..16);
        let replaces = prop::option::weighted(0.4, 0u64..12);
        let parts = (0u8..3, 0usize..7, 0u64..12, times, replaces, any::<bool>());
        parts.prop_map(
            |(issuer, role, seq, (created, lasts, more), replaces, redeemed)| {
                let until = at(created + lasts);
                Entry {
                    author: PeerId([issuer; 32]),
                    giver: PeerId([issuer; 32]),
                    subject: PeerId([9; 32]),
                    parent: None,
                    authority: Authority {
                        since: at(created),
                        until,
                        expires: WallMs(until.0 + more),
                        ..Authority::named(Role::ALL[role])
                    },
                    issuer,
                    seq,
                    created: at(created),
                    replaces: replaces.filter(|_| !redeemed),
                    uses: 0,
                    member_until: until,
                    renewable: true,
                    kind: if redeemed {
                        Kind::REDEMPTION
                    } else {
                        Kind::GRANT
                    },
                }
            },
        )
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            6 => entry().prop_map(|e| Deed::Give(Box::new(e))),
            3 => (0usize..64).prop_map(Deed::Take),
            2 => (0u64..12, 0u64..12).prop_map(|(seq, created)| Deed::Leave(seq, created)),
            1 => (0usize..64).prop_map(Deed::Return),
        ]
    }

    /// The rules as they are told, one credential at a time.
    #[derive(Default)]
    struct Plain {
        held: Vec<(RecordId, Arc<Entry>)>,
        leaves: Vec<Leave>,
    }

    impl Plain {
        fn leaves_of(&self, entry: &Entry) -> impl Iterator<Item = &Leave> {
            let redeemed = entry.kind == Kind::REDEMPTION;
            let (seq, created) = (entry.seq, entry.created);
            self.leaves.iter().filter(move |leave| match redeemed {
                true => seq < leave.seq,
                false => created <= leave.created,
            })
        }

        fn cut(&self, id: &RecordId, entry: &Entry) -> Option<u64> {
            let later = self.held.iter().filter(|(other, by)| {
                by.issuer <= entry.issuer && (by.created, *other) > (entry.created, *id)
            });
            let left = self.leaves_of(entry).map(|leave| leave.seq);
            later.filter_map(|(_, by)| by.replaces).chain(left).min()
        }

        fn given_back(&self, entry: &Entry) -> Option<WallMs> {
            self.leaves_of(entry).map(|leave| leave.created).min()
        }

        fn cuts(&self) -> Vec<Option<u64>> {
            self.held.iter().map(|(id, e)| self.cut(id, e)).collect()
        }

        fn check(&self, holding: &Holding) {
            for (id, entry) in &self.held {
                assert_eq!(holding.cut(id, entry), self.cut(id, entry));
                assert_eq!(holding.given_back(entry), self.given_back(entry));
            }
            for now in (0..30).step_by(3).map(at) {
                let mut force: Vec<_> = self
                    .held
                    .iter()
                    .filter(|(id, e)| e.authority.covers(now) && self.cut(id, e).is_none())
                    .map(|(id, e)| (e.authority.role, Reverse(e.authority.until), *id))
                    .collect();
                force.sort();
                let found = holding.in_force(now);
                let found =
                    found.map(|(id, e)| (e.authority.role, Reverse(e.authority.until), *id));
                assert_eq!(found.collect::<Vec<_>>(), force);
                let held = self.held.iter().map(|(_, e)| e);
                let next = held.flat_map(|e| edges(e)).filter(|at| *at > now).min();
                assert_eq!(holding.next_edge(now), next);
                for seq in 0..13 {
                    let by = self.held.iter().filter(|(id, e)| {
                        let whole = self.cut(id, e).is_none_or(|up_to| seq <= up_to);
                        whole && e.authority.covers(now)
                    });
                    let by: BTreeSet<_> = by.map(|(_, e)| Arc::as_ptr(e)).collect();
                    let found: Vec<_> = holding.at(seq, now).map(std::ptr::from_ref).collect();
                    assert_eq!(found.len(), by.len());
                    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), by);
                }
            }
            let held = self.held.iter();
            let last =
                held.max_by_key(|(id, e)| (self.given_back(e).is_none(), e.authority.until, *id));
            assert_eq!(holding.last_to_end(), last.map(|(id, _)| id));
            let roles = self.held.iter().map(|(_, e)| e.authority.role);
            assert_eq!(holding.best(), roles.min());
            assert_eq!(holding.left(), self.leaves.iter().map(|l| l.created).max());
            assert_eq!(holding.has_any(), !self.held.is_empty());
            assert_eq!(
                holding.is_empty(),
                self.held.is_empty() && self.leaves.is_empty()
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_answer_is_what_a_walk_over_all_credentials_gives(
            deeds in prop::collection::vec(deed(), 0..40),
        ) {
            let (mut holding, mut plain) = (Holding::default(), Plain::default());
            for (n, deed) in deeds.into_iter().enumerate() {
                let before = plain.cuts();
                match deed {
                    Deed::Give(entry) => {
                        let (id, entry) = (name(n, entry.created.0), Arc::new(*entry));
                        let lowers = holding.lowers(&id, &entry);
                        holding.insert(id, &entry);
                        plain.held.push((id, entry));
                        let cuts = plain.cuts();
                        prop_assert!(lowers || cuts[..before.len()] == before[..]);
                    }
                    Deed::Take(which) if !plain.held.is_empty() => {
                        let (id, entry) = plain.held.remove(which % plain.held.len());
                        holding.remove(id, &entry);
                    }
                    Deed::Leave(seq, created) => {
                        let leave = Leave { id: name(n, created), seq, created: at(created) };
                        let gives = plain.held.iter().any(|(_, e)| match e.kind {
                            Kind::REDEMPTION => e.seq < seq,
                            _ => e.created <= leave.created,
                        });
                        prop_assert_eq!(holding.is_left_by(&leave), gives);
                        let loses = holding.loses_by(&leave);
                        holding.leave(leave);
                        plain.leaves.push(leave);
                        prop_assert!(loses || plain.cuts() == before);
                    }
                    Deed::Return(which) if !plain.leaves.is_empty() => {
                        holding.forget_leave(plain.leaves.remove(which % plain.leaves.len()));
                    }
                    _ => {}
                }
                plain.check(&holding);
            }
        }
    }
}
