//! What a channel has room for in all, and who gives way.

use samara_wire::PeerId;

use super::{Author, Records, Removed, crowd::Turn};
use crate::{
    Charter, HeaderRef, Role,
    graph::{RemoveReason, quota::Shelf},
    limits,
    member::steps::step,
};

impl Records {
    /// Who loses a record when the channel has too many; `with` counts one author
    /// as having that many.
    pub(super) fn weakest(
        &self,
        charter: &Charter,
        with: Option<(PeerId, usize)>,
    ) -> Option<PeerId> {
        let with = with.map(|(p, count)| (self.roster.rank(charter, &p), count as u64, p));
        self.ordinary_of.first(with).map(|(.., peer)| peer)
    }

    /// Removes ordinary records until the charter's total is kept.
    pub(super) fn trim_ordinary(&mut self, charter: &Charter, removed: &mut Removed) {
        while self.ordinary > charter.limits.records_total as usize {
            self.rank_again(charter);
            let weakest = self.weakest(charter, None).expect("there are records");
            let lowest = self.authors[&weakest].ordinary.first_key_value();
            let slot = *lowest.expect("the weakest has most records").1;
            self.remove(slot, RemoveReason::Quota, removed);
        }
    }

    /// Of the authors below admins, who loses a record of [`Shelf::Others`], if they
    /// have more than a channel has room for; `with` counts as having one more.
    fn weakest_of_others(&self, charter: &Charter, with: Option<PeerId>) -> Option<PeerId> {
        let most = u64::from(charter.limits.records_total).max(limits::LEAST_CONTROL_TOTAL);
        let more = u64::from(with.is_some());
        if self.others + more <= most {
            return None;
        }
        let with = with.map(|p| {
            let count = self.authors.get(&p).map_or(0, Author::others);
            (self.roster.rank(charter, &p), count + 1, p)
        });
        let lesser = |turn: &Turn| turn.0 > Role::Admin.rank();
        let sum = self.others_of.lesser() + u64::from(with.is_some_and(|with| lesser(&with)));
        let weakest = self.others_of.first(with).filter(lesser);
        weakest.filter(|_| sum > most).map(|(.., peer)| peer)
    }

    /// Looks again at the ranks that may have changed. Everything that changes records
    /// ends with it, so that who judges finds all authors in their order.
    pub(super) fn rank_again(&mut self, charter: &Charter) {
        self.unranked.append(&mut self.roster.take_unranked());
        while let Some(peer) = self.unranked.pop_first() {
            step();
            let Some(author) = self.authors.get_mut(&peer) else {
                continue;
            };
            let rank = self.roster.rank(charter, &peer);
            let before = std::mem::replace(&mut author.rank, rank);
            let [ordinary, others] = author.counts();
            let (from, to) = ((before, ordinary), (rank, ordinary));
            self.ordinary_of.change(peer, from, to);
            self.others_of
                .change(peer, (before, others), (rank, others));
        }
    }

    /// Whether a new record of [`Shelf::Others`] would be the first to give way.
    pub(super) fn is_crowded_out(&self, charter: &Charter, h: &HeaderRef<'_>) -> bool {
        let later = |author: &Author| {
            let last = author.last_on(Shelf::Others);
            last.is_some_and(|(seq, _)| seq > h.seq)
        };
        Shelf::of(h) == Shelf::Others
            && self.weakest_of_others(charter, Some(h.author)) == Some(h.author)
            && !self.authors.get(&h.author).is_some_and(later)
    }

    /// Removes records of [`Shelf::Others`] until the channel has room for them: always
    /// the one of the highest sequence, so that nothing later displaces a retraction
    /// of the same author's.
    pub(super) fn trim_others(&mut self, charter: &Charter, removed: &mut Removed) {
        self.rank_again(charter);
        while let Some(weakest) = self.weakest_of_others(charter, None) {
            let last = self.authors[&weakest].last_on(Shelf::Others);
            let (_, last) = last.expect("it has some");
            self.remove(last, RemoveReason::Quota, removed);
            self.rank_again(charter);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use proptest::prelude::*;
    use samara_wire::RecordId;

    use super::*;
    use crate::{
        Attributes, Control, Kind, Publishers, RecordHeader, Reject, WallMs,
        body::{Grant, Retraction, Revocation},
        member::Denied,
    };

    const NOW: WallMs = WallMs(1_735_689_600_000);
    const DAY: Duration = Duration::from_secs(86_400);
    const OWNER: u8 = 0;
    const AUTHORS: u8 = 9;
    const ROOM: u64 = limits::LEAST_CONTROL_TOTAL;

    fn id(n: u8) -> PeerId {
        PeerId([n + 1; 32])
    }

    /// The owner, an admin and a publisher are named; the rest comes by grants.
    fn charter() -> Charter {
        let mut charter = Charter::open("x", id(OWNER), NOW, [0; 16]);
        charter.admins = [id(1)].into();
        charter.publishers = Publishers::Named([id(2)].into());
        charter.limits.records_total = 8;
        charter
    }

    fn header(by: u8, seq: u64, kind: Kind, key: &[u8], control: Option<Control>) -> RecordHeader {
        let name = format!("{by} {seq} {kind} {key:?} {control:?}");
        RecordHeader {
            id: RecordId(blake3::hash(name.as_bytes()).into()),
            author: id(by),
            kind,
            seq,
            created: NOW,
            expires: NOW.after(DAY),
            priority: 0,
            len: 300,
            key: key.into(),
            attributes: Attributes::default(),
            control: control.map(Box::new),
        }
    }

    fn retraction(by: u8, seq: u64) -> RecordHeader {
        let retraction = Retraction {
            kind: Kind(70_000),
            key: [].into(),
            up_to: seq - 1,
        };
        let control = Some(Control::Retraction(retraction));
        header(by, seq, Kind::RETRACTION, &[], control)
    }

    fn grant(seq: u64, to: u8, role: Role) -> RecordHeader {
        let grant = Grant {
            role,
            parent: None,
            until: NOW.after(DAY),
            kinds: [].into(),
            renewable: true,
            replaces: None,
        };
        let control = Some(Control::Grant(grant));
        let granted = header(OWNER, seq, Kind::GRANT, id(to).as_bytes(), control);
        match role {
            Role::Admin => RecordHeader {
                expires: WallMs(limits::MAX_TIME_MS),
                ..granted
            },
            _ => granted,
        }
    }

    /// As many as that to one identity; some replace those before them.
    fn shower(by: u8, to: u8, from: u64, count: u64) -> impl Iterator<Item = RecordHeader> {
        (from..from + count).map(move |seq| {
            let grant = Grant {
                role: [Role::Member, Role::Reader][(seq % 2) as usize],
                parent: None,
                until: NOW.after(DAY * (seq % 9 + 1) as u32),
                kinds: [].into(),
                renewable: true,
                replaces: (seq % 11 == 0).then_some(seq % 300),
            };
            let control = Some(Control::Grant(grant));
            RecordHeader {
                expires: NOW.after(20 * DAY),
                created: WallMs(NOW.0 + seq % 60_000),
                ..header(by, seq, Kind::GRANT, id(to).as_bytes(), control)
            }
        })
    }

    fn granted(records: &Records, by: u8, to: u8) -> Vec<u64> {
        let author = records.authors.get(&id(by));
        author.map_or(vec![], |a| a.granted.to(id(to)))
    }

    #[test]
    fn of_ones_grants_to_one_the_first_stand_and_cost_nobody_elses() {
        const MOST: u64 = limits::MAX_GRANTS_TO_ONE as u64;
        let mut all: Vec<_> = shower(1, 5, 1000, MOST + 50).collect();
        let others = [
            grant(9000, 5, Role::Admin),
            demotion(9001, 5),
            grant(9002, 6, Role::Member),
        ];
        all.extend(others.iter().cloned());
        all.extend(shower(1, 6, 5000, 3));
        for salt in 0..3 {
            let mut records = settled(&all, salt);
            assert_eq!(
                granted(&records, 1, 5),
                (1000..1000 + MOST).collect::<Vec<_>>()
            );
            assert_eq!(granted(&records, 1, 6), [5000, 5001, 5002]);
            assert!(others.iter().all(|h| records.get(&h.id).is_some()));
            let late: Vec<_> = shower(1, 5, 8000, 1).collect();
            let quota = Err(Denied::Reject(Reject::Quota));
            assert_eq!(records.judge(&charter(), &late[0].view()), quota);
            // An earlier one takes the place of the last.
            offer(&mut records, &shower(1, 5, 7, 1).collect::<Vec<_>>(), salt);
            let expected: Vec<_> = [7].into_iter().chain(1000..999 + MOST).collect();
            assert_eq!(granted(&records, 1, 5), expected);
        }
    }

    /// It takes the rank, and not what was written.
    fn demotion(seq: u64, whom: u8) -> RecordHeader {
        let revocation = Revocation {
            seal: false,
            up_to: samara_wire::VARINT_MAX,
            keep: [].into(),
        };
        let control = Some(Control::Revocation(revocation));
        RecordHeader {
            expires: WallMs(limits::MAX_TIME_MS),
            ..header(OWNER, seq, Kind::REVOCATION, id(whom).as_bytes(), control)
        }
    }

    fn members() -> Vec<RecordHeader> {
        let members = 3..AUTHORS;
        members.map(|n| grant(n.into(), n, Role::Member)).collect()
    }

    fn held(records: &Records) -> BTreeSet<RecordId> {
        records.iter().map(|h| h.id).collect()
    }

    fn count(records: &Records, by: u8) -> u64 {
        records.authors.get(&id(by)).map_or(0, Author::others)
    }

    /// Offers all of them until nothing changes, as neighbours do that hold them.
    fn offer(records: &mut Records, all: &[RecordHeader], salt: u64) {
        let charter = charter();
        let place = |h: &RecordHeader| {
            let salted = [&salt.to_le_bytes()[..], &h.id.0].concat();
            *blake3::hash(&salted).as_bytes()
        };
        let mut turned: Vec<_> = all.iter().collect();
        turned.sort_by_cached_key(|h| place(h));
        for round in 0.. {
            let before = held(records);
            for h in &turned {
                let _ = records.place(&charter, NOW, (*h).clone());
            }
            if held(records) == before {
                return;
            }
            assert!(round < 16, "it never ends");
        }
    }

    fn settled(all: &[RecordHeader], salt: u64) -> Records {
        let mut records = Records::new(1);
        offer(&mut records, all, salt);
        records
    }

    #[test]
    fn who_floods_gives_way_and_the_others_keep_what_they_have() {
        let most = limits::MAX_CONTROL_PER_AUTHOR as u64;
        let mut all = members();
        for seq in 1..=most {
            // What the owner and the admin write is not counted.
            all.extend([OWNER, 1, 3, 4].map(|by| retraction(by, 100 + seq)));
        }
        all.extend((101..=110).map(|seq| retraction(5, seq)));
        assert!(ROOM > 3 * most);
        let whole = settled(&all, 1);
        let counts = [OWNER, 1, 3, 4, 5].map(|n| count(&whole, n));
        assert_eq!(counts, [most, most, most, most, 10]);

        // As many as there are places for, by members of whom one floods less.
        let crowd: Vec<_> = (10..20).map(|n| grant(n.into(), n, Role::Member)).collect();
        all.extend(crowd);
        for n in 10..20 {
            all.extend((1..=most).map(|seq| retraction(n, 100 + seq)));
        }
        for salt in 0..3 {
            let records = settled(&all, salt);
            assert_eq!([OWNER, 1, 5].map(|n| count(&records, n)), [most, most, 10]);
            let flooders: Vec<_> = [3, 4].into_iter().chain(10..20).collect();
            let shares: Vec<_> = flooders.iter().map(|n| count(&records, *n)).collect();
            assert_eq!(shares.iter().sum::<u64>(), ROOM - 10);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{shares:?}");
            // Of each the first ones.
            for (n, share) in flooders.into_iter().zip(&shares) {
                let kept = (1..=*share).all(|s| records.get(&retraction(n, 100 + s).id).is_some());
                assert!(kept, "{n}");
            }
        }
    }

    #[test]
    fn who_is_an_admin_no_more_gives_way_like_everybody() {
        let most = limits::MAX_CONTROL_PER_AUTHOR as u64;
        let mut all = members();
        all.extend((2..=5).flat_map(|n| (1..=most).map(move |seq| retraction(n, 100 + seq))));
        all.push(grant(50, 5, Role::Admin));
        let mut records = settled(&all, 1);
        assert_eq!([2, 3, 4, 5].map(|n| count(&records, n)), [most; 4]);
        let more: Vec<_> = (1..=most).map(|s| retraction(1, 100 + s)).collect();
        offer(&mut records, &more, 1);
        offer(&mut records, &[retraction(6, 101)], 1);
        assert_eq!(count(&records, 6), 1);
        // It loses its rank, and at once as much as is too much.
        offer(&mut records, &[demotion(60, 5)], 1);
        assert_eq!(
            [2, 3, 4, 5].map(|n| count(&records, n)),
            [most, most, most, most - 1]
        );
        assert_eq!([1, 6].map(|n| count(&records, n)), [most, 1]);
    }

    /// What somebody wrote.
    #[derive(Debug, Clone)]
    enum Deed {
        /// Retractions, and notes between them, from a sequence on.
        Flood {
            by: u8,
            from: u64,
            count: u64,
        },
        Grant {
            to: u8,
            admin: bool,
        },
        /// Grants to one identity.
        Shower {
            by: u8,
            to: u8,
            from: u64,
            count: u64,
        },
        Demote {
            whom: u8,
        },
    }

    fn deed() -> impl Strategy<Value = Deed> {
        let flood = (0..AUTHORS, 0u64..400, 200u64..1300);
        let flood = flood.prop_map(|(by, from, count)| Deed::Flood { by, from, count });
        let grant = (2..AUTHORS, any::<bool>());
        let grant = grant.prop_map(|(to, admin)| Deed::Grant { to, admin });
        let demote = (2..AUTHORS).prop_map(|whom| Deed::Demote { whom });
        let shower = (0..2u8, 3..6u8, 0u64..900, 300u64..900);
        let shower = shower.prop_map(|(by, to, from, count)| Deed::Shower {
            by,
            to,
            from: 5000 + from,
            count,
        });
        prop_oneof![8 => flood, 1 => grant, 2 => shower, 1 => demote]
    }

    fn written(deeds: &[Deed]) -> Vec<RecordHeader> {
        let mut all = members();
        for (n, deed) in (50..).zip(deeds) {
            match *deed {
                Deed::Flood { by, from, count } => {
                    let seqs = 100 + from..100 + from + count;
                    all.extend(seqs.map(|seq| match seq % 50 {
                        0 => header(by, seq, Kind(70_000), &[], None),
                        _ => retraction(by, seq),
                    }));
                }
                Deed::Grant { to, admin: true } => all.push(grant(n, to, Role::Admin)),
                Deed::Grant { to, .. } => all.push(grant(n, to, Role::Member)),
                Deed::Shower {
                    by,
                    to,
                    from,
                    count,
                } => all.extend(shower(by, to, from, count)),
                Deed::Demote { whom } => all.push(demotion(n, whom)),
            }
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Whatever order they come in, and whichever half two copies begin with: they
        /// end alike, and within the bounds.
        #[test]
        fn floods_of_retractions_leave_copies_alike(
            deeds in prop::collection::vec(deed(), 0..18),
            salts in any::<[u64; 2]>(),
        ) {
            let all = written(&deeds);
            let one = settled(&all, salts[0]);
            let two = settled(&all, salts[1]);
            prop_assert_eq!(held(&one), held(&two), "in any order");
            let half = |bit: u8| -> Vec<_> {
                all.iter().filter(|h| h.id.0[0] & bit != 0).cloned().collect()
            };
            let (mut a, mut b) = (settled(&half(1), salts[0]), settled(&half(2), salts[1]));
            offer(&mut a, &all, salts[0]);
            offer(&mut b, &all, salts[1]);
            prop_assert_eq!(held(&a), held(&one), "from a half");
            prop_assert_eq!(held(&b), held(&one), "from another");
            let lesser = (0..AUTHORS).filter(|n| one.roster.rank(&charter(), &id(*n)) > 1);
            let sum: u64 = lesser.map(|n| count(&one, n)).sum();
            prop_assert!(sum <= ROOM, "{sum}");
            for (by, to) in (0..2).flat_map(|by| (3..6).map(move |to| (by, to))) {
                prop_assert!(granted(&one, by, to).len() <= limits::MAX_GRANTS_TO_ONE);
            }
            // A restart changes nothing.
            let mut restored = Records::new(2);
            restored.begin_restoring(one.len());
            let mut removed = Vec::new();
            one.iter().for_each(|h| restored.restore(&charter(), h.to_header(), &mut removed));
            removed.extend(restored.finish_restoring(&charter()));
            prop_assert_eq!(removed, []);
        }
    }
}
