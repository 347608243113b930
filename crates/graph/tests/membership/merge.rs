//! Copies that exchange what they hold end up alike, whatever they hold and in
//! whatever order it came; and no chain of grants is wider than its beginning.

use proptest::prelude::*;
use samara_graph::{
    Control, HeaderRef, Kind, NewRecord, Record, Role, WallMs,
    body::{Grant, Invite, Retraction, Revocation, id_prefix},
    limits,
};
use samara_wire::RecordId;

use crate::{
    club::{
        DAY, about, commune, granted, id, invited, new_grant, new_invite, note, redeemed, revoked,
    },
    lone::{Lone, NOW, key},
};

/// One thing that somebody signs, told by small numbers; `of` chooses among what was
/// signed before.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Grant {
        by: u8,
        to: u8,
        role: usize,
        days: u32,
        of: usize,
        replaces: Option<u64>,
    },
    /// Many grants to one identity, of several roles, some in place of the others.
    Shower {
        by: u8,
        to: u8,
        count: u64,
        of: usize,
    },
    Invite {
        by: u8,
        uses: u32,
        of: usize,
    },
    Redeem {
        joiner: u8,
        of: usize,
    },
    /// Or a seal, of somebody whose role is lowered.
    Revoke {
        by: u8,
        whom: u8,
        seal: bool,
        up_to: u64,
        keep: usize,
    },
    Leave {
        by: u8,
    },
    Note {
        by: u8,
    },
}

pub(crate) const PEOPLE: u8 = 7;

pub(crate) fn deed() -> impl Strategy<Value = (Deed, u64)> {
    let who = 1..=PEOPLE;
    let grant = (
        who.clone(),
        who.clone(),
        1usize..7,
        1u32..9,
        0usize..64,
        0u8..5,
        0u64..9,
    );
    let grant = grant.prop_map(|(by, to, role, days, of, r, seq)| Deed::Grant {
        by,
        to,
        role,
        days,
        of,
        replaces: (r == 0).then_some(seq),
    });
    let shower = (who.clone(), who.clone(), 8u64..24, 0usize..64);
    let shower = shower.prop_map(|(by, to, count, of)| Deed::Shower { by, to, count, of });
    let invite = (who.clone(), 1u32..3, 0usize..64);
    let invite = invite.prop_map(|(by, uses, of)| Deed::Invite { by, uses, of });
    let redeem = (who.clone(), 0usize..64).prop_map(|(joiner, of)| Deed::Redeem { joiner, of });
    let seal = any::<bool>();
    let revoke = (who.clone(), who.clone(), seal, 0u64..12, 0usize..64);
    let revoke = revoke.prop_map(|(by, whom, seal, up_to, keep)| Deed::Revoke {
        by,
        whom,
        seal,
        up_to: up_to.saturating_sub(4),
        keep,
    });
    let leave = who.clone().prop_map(|by| Deed::Leave { by });
    let note = who.prop_map(|by| Deed::Note { by });
    let any = prop_oneof![
        5 => grant, 1 => shower, 2 => invite, 3 => redeem, 3 => revoke, 2 => leave, 4 => note
    ];
    // Small sequences, so that some are signed twice.
    (any, 1u64..10)
}

pub(crate) fn signed(deeds: &[(Deed, u64)]) -> Vec<Record> {
    let c = commune().channel();
    let mut all: Vec<Record> = Vec::new();
    let one_time = |invite: &Record| {
        let found = (80..100).find(|n| *id(*n).as_bytes() == invite.key()[..]);
        found.unwrap()
    };
    for (n, (deed, seq)) in deeds.iter().enumerate() {
        let seq = *seq;
        let choose = |of: usize, fits: &dyn Fn(&Record) -> bool| {
            let fitting: Vec<_> = all.iter().filter(|r| fits(r)).collect();
            (!fitting.is_empty()).then(|| fitting[of % fitting.len()].clone())
        };
        // Mostly one's own, sometimes another's.
        let parent = |by: u8, of: usize| {
            let own = |r: &Record| {
                of % 8 == 7 || *r.key() == id(by).as_bytes()[..] || r.author() == id(by)
            };
            let credential = |r: &Record| {
                matches!(r.kind(), Kind::GRANT | Kind::REDEMPTION | Kind::INVITE) && own(r)
            };
            let parent = (by != 1).then(|| choose(of, &credential)).flatten();
            parent.map(|r| r.id())
        };
        let record = match deed {
            Deed::Grant {
                by,
                to,
                role,
                days,
                of,
                replaces,
            } => {
                let grant = Grant {
                    parent: parent(*by, *of),
                    until: NOW.after(DAY * *days),
                    replaces: *replaces,
                    ..new_grant(Role::ALL[*role])
                };
                granted(c, *by, seq, *to, &grant)
            }
            Deed::Shower { by, to, count, of } => {
                let parent = parent(*by, *of);
                for k in 0..*count {
                    let grant = Grant {
                        parent,
                        until: NOW.after(DAY * (k % 8 + 1) as u32),
                        replaces: (k % 5 == 4).then_some(k % 9),
                        ..new_grant(Role::ALL[1 + (k as usize + of) % 6])
                    };
                    all.push(granted(c, *by, seq + 10 + k, *to, &grant));
                }
                continue;
            }
            Deed::Invite { by, uses, of } => {
                let invite = Invite {
                    parent: parent(*by, *of),
                    ..new_invite(*uses)
                };
                invited(c, *by, seq, 80 + (n % 20) as u8, &invite)
            }
            Deed::Redeem { joiner, of } => match choose(*of, &|r| r.kind() == Kind::INVITE) {
                Some(invite) => redeemed(&invite, *joiner, one_time(&invite)),
                None => note(c, *joiner, seq),
            },
            Deed::Revoke {
                by,
                whom,
                seal,
                up_to,
                keep,
            } => {
                let kept = choose(*keep, &|r| r.author() == id(*whom));
                let revocation = Revocation {
                    seal: *seal,
                    up_to: *up_to,
                    keep: kept.iter().map(|r| id_prefix(&r.id())).collect(),
                };
                revoked(c, *by, seq, *whom, revocation)
            }
            Deed::Leave { by } => {
                let new = NewRecord {
                    // Before the grants, with them, after them.
                    created: WallMs(NOW.0 - 60_000 + 60_000 * (n as u64 % 3)),
                    expires: WallMs(limits::MAX_TIME_MS),
                    body: Retraction::leave(&id(*by)).encode().into(),
                    ..about(c, Kind::RETRACTION, seq, id(*by).as_bytes())
                };
                new.sign(&key(*by)).unwrap()
            }
            Deed::Note { by } => {
                let new = NewRecord {
                    expires: NOW.after(2 * DAY),
                    ..about(c, Kind(70_000), seq, &[n as u8])
                };
                new.sign(&key(*by)).unwrap()
            }
        };
        all.push(record);
    }
    all.sort_by_key(Record::id);
    all.dedup_by_key(|r| r.id());
    all
}

pub(crate) fn take(l: &mut Lone, records: &[Record], order: &[usize]) {
    let mut turned: Vec<_> = records.iter().zip(order.iter().cycle()).collect();
    turned.sort_by_key(|(_, place)| **place);
    for (r, _) in turned {
        l.mono += std::time::Duration::from_millis(20);
        l.offer(r);
    }
}

/// Offers everything until nothing changes, as neighbours do that hold it.
pub(crate) fn settled(records: &[Record], order: &[usize]) -> Lone {
    let mut l = commune();
    for round in 0.. {
        let before = l.held();
        take(&mut l, records, order);
        if l.held() == before {
            break;
        }
        assert!(round < 32, "it never ends");
    }
    l
}

fn of<'a>(l: &Lone, records: &'a [Record]) -> Vec<Record> {
    let held = |r: &&'a Record| l.holds(r);
    records.iter().filter(held).cloned().collect()
}

/// Both tell each other what they hold, until that changes nothing.
fn merge(a: &mut Lone, b: &mut Lone, records: &[Record]) {
    for round in 0.. {
        let before = (a.held(), b.held());
        let (from_a, from_b) = (of(a, records), of(b, records));
        take(b, &from_a, &[0]);
        take(a, &from_b, &[0]);
        if (a.held(), b.held()) == before {
            break;
        }
        assert!(round < 32, "it never ends");
    }
}

pub(crate) fn roles(l: &Lone) -> Vec<Option<Role>> {
    (1..=PEOPLE)
        .map(|n| l.graph.role_of(&id(n), NOW.after(DAY / 2)))
        .collect()
}

/// Checks a held record against the one that it stands by, told apart from the code.
fn narrows(l: &Lone, h: &HeaderRef<'_>) -> usize {
    let found = |id: &RecordId| {
        l.graph
            .records()
            .find(|p| p.id == *id)
            .expect("a parent is held")
    };
    let owner = id(1);
    let (role, parent, until) = match h.control {
        Some(Control::Grant(g)) => (g.role, g.parent, g.until),
        Some(Control::Invite(i)) => (i.role, i.parent, i.until),
        Some(Control::Redemption { invite }) => {
            let by = found(invite);
            assert!(matches!(by.control, Some(Control::Invite(_))));
            assert_eq!((by.key, by.expires), (h.key, h.expires));
            return narrows(l, &by) + 1;
        }
        _ => return 0,
    };
    let Some(parent) = parent else {
        assert_eq!(
            h.author, owner,
            "who names no parent is named by the charter"
        );
        return 1;
    };
    let by = found(&parent);
    let (above, end) = match by.control {
        Some(Control::Grant(g)) => {
            assert_eq!(by.key, h.author.as_bytes());
            (g.role, g.until)
        }
        Some(Control::Redemption { invite }) => {
            assert_eq!(by.author, h.author);
            match found(invite).control {
                Some(Control::Invite(i)) => (i.role, i.until),
                other => panic!("redeems {other:?}"),
            }
        }
        other => panic!("stands by {other:?}"),
    };
    assert!(above.rank() < role.rank(), "{above} gave {role}");
    assert!(until <= end && h.expires <= by.expires && h.created <= end);
    narrows(l, &by) + 1
}

fn some(records: &[Record], mask: u64) -> Vec<Record> {
    let part = records.iter().enumerate();
    let part = part.filter(|(n, _)| mask >> (n % 64) & 1 == 1);
    part.map(|(_, r)| r.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What stands is a function of the set of records, not of their order.
    #[test]
    fn any_order_of_arrival_ends_alike(
        deeds in prop::collection::vec(deed(), 0..40),
        one in prop::collection::vec(0usize..1000, 1..40),
        two in prop::collection::vec(0usize..1000, 1..40),
    ) {
        let records = signed(&deeds);
        let (a, b) = (settled(&records, &one), settled(&records, &two));
        prop_assert_eq!(a.held(), b.held());
        prop_assert_eq!(roles(&a), roles(&b));
        // And one that reads it from a disk agrees.
        let headers: Vec<_> = b.graph.records().map(|h| h.to_header()).collect();
        let chain = b.graph.charters().unwrap().clone();
        let mut c = commune();
        c.graph = samara_graph::Graph::restore(chain, headers, samara_graph::Config::new(id(100), 1));
        prop_assert_eq!(roles(&a), roles(&c));
        prop_assert_eq!(a.held(), c.held());
    }

    /// Which copy speaks first, and how often, makes no difference; nor does which two
    /// of three meet first, once each has met the others.
    #[test]
    fn merging_is_commutative_and_idempotent_and_three_copies_end_alike(
        deeds in prop::collection::vec(deed(), 0..40),
        masks in any::<[u64; 3]>(),
    ) {
        let records = signed(&deeds);
        let copy = |n: usize| settled(&some(&records, masks[n]), &[0]);
        let (mut a, mut b) = (copy(0), copy(1));
        merge(&mut a, &mut b, &records);
        prop_assert_eq!(a.held(), b.held(), "alike after merging");
        let (mut a2, mut b2) = (copy(0), copy(1));
        merge(&mut b2, &mut a2, &records);
        prop_assert_eq!(a.held(), a2.held(), "commutative");
        let before = a.held();
        merge(&mut a, &mut b, &records);
        prop_assert_eq!(&a.held(), &before, "idempotent");
        let mut c = copy(2);
        for _ in 0..3 {
            merge(&mut b, &mut c, &records);
            merge(&mut c, &mut a, &records);
            merge(&mut a, &mut b, &records);
        }
        prop_assert_eq!(a.held(), b.held());
        prop_assert_eq!(b.held(), c.held());
        prop_assert_eq!(roles(&a), roles(&c));
        // Associative as long as somebody holds what fell on the way: from whatever a
        // copy has been through, all records together lead to the same.
        let all = settled(&records, &[0]);
        for mut copy in [a2, b, c] {
            for round in 0.. {
                let before = copy.held();
                take(&mut copy, &records, &[0]);
                if copy.held() == before { break; }
                assert!(round < 32, "it never ends");
            }
            prop_assert_eq!(copy.held(), all.held(), "associative");
        }
    }

    #[test]
    fn no_chain_ever_widens(
        deeds in prop::collection::vec(deed(), 0..60),
        order in prop::collection::vec(0usize..1000, 1..40),
    ) {
        let l = settled(&signed(&deeds), &order);
        for h in l.graph.records() {
            prop_assert!(narrows(&l, &h) <= limits::MAX_CHAIN);
            prop_assert!(h.author == id(1) || h.expires <= WallMs(limits::MAX_TIME_MS));
        }
    }
}
