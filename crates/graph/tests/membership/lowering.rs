//! Whose role was lowered keeps what it wrote, and adds nothing to it any more.

use std::time::Duration;

use samara_graph::{
    Control, GraphError, Keep, Kind, NewGrant, NewRecord, Publishers, Record, Reject, Role, WallMs,
    body::{ContentRef, Grant, Release},
    limits,
};
use samara_wire::{ChannelId, ContentId};

use crate::{
    club::{
        DAY, about, admin, below, charter, club, commune, granted, id, ids, new_grant, note,
        nothing, offer_all, revoked, sealed,
    },
    lone::{Lone, NOW, key, new_record},
};

/// Up to which sequence, and which notes it lists.
type Seal<'a> = (u64, &'a [usize]);

fn lesser(to: u8, role: Role) -> NewGrant {
    NewGrant {
        subject: id(to),
        role,
        until: NOW.after(60 * DAY),
        kinds: [].into(),
        renewable: true,
        replaces: true,
    }
}

/// Gives a role in place of others, a second later; how many records fall.
fn lower(l: &mut Lone, by: u8, new: NewGrant) -> Result<usize, GraphError> {
    l.now = l.now.after(Duration::from_secs(1));
    l.act(|g, now, out| {
        let lowering = g.lowering(now, &id(by), &new)?;
        g.grant(now, &key(by), new, out)?;
        Ok(lowering.map_or(0, |lowering| lowering.keeping.falling))
    })
}

fn release(channel: ChannelId, by: u8, seq: u64) -> Record {
    let release = Release {
        version: "1".into(),
        content: ContentRef {
            id: ContentId([1; 32]),
            root_len: 1,
            bytes: 1,
            files: 1,
        },
        notes: String::new(),
    };
    let new = NewRecord {
        kind: Kind::RELEASE,
        key: bytes::Bytes::from_static(b"1"),
        body: release.encode().into(),
        ..new_record(channel, seq)
    };
    new.sign(&key(by)).unwrap()
}

/// What a grant or a revocation is worth that is signed now and dated back into a gap.
#[test]
fn a_lowered_admin_neither_revokes_nor_grants_of_before() {
    for lowered in [Role::Publisher, Role::Member] {
        let mut l = club();
        let c = l.channel();
        let a = admin(c, 1, 2);
        let m = granted(c, 1, 2, 3, &new_grant(Role::Member));
        let given = granted(c, 2, 100, 4, &below(&a, Role::Publisher));
        let word = revoked(c, 2, 200, 5, nothing());
        let (old, by_given) = (note(c, 2, 300), note(c, 4, 1));
        offer_all(&mut l, &[&a, &m, &given, &word, &old, &by_given]);
        assert_eq!(lower(&mut l, 1, lesser(2, lowered)), Ok(0));
        assert_eq!(l.graph.role_of(&id(2), l.now), Some(lowered));
        // Each into a gap: below all, between them, and an equivocation with one of them.
        for seq in [1, 150, 200] {
            let revocation = revoked(c, 2, seq, 3, nothing());
            let grant = granted(c, 2, seq, 6, &below(&a, Role::Publisher));
            offer_all(&mut l, &[&revocation, &grant, &release(c, 2, seq)]);
            assert!(!l.holds(&revocation) && !l.holds(&grant));
        }
        assert_eq!(l.rejected(Reject::Revoked), 9);
        assert!(!l.graph.is_revoked(&id(3)) && l.graph.is_revoked(&id(5)));
        assert_eq!(l.graph.role_of(&id(3), l.now), Some(Role::Member));
        assert_eq!(l.graph.role_of(&id(6), l.now), None);
        for r in [&a, &m, &given, &word, &old, &by_given] {
            assert!(l.holds(r));
        }
        // It is expelled from nothing, and writes on as what it is.
        assert!(!l.graph.is_revoked(&id(2)));
        let new = note(c, 2, 301);
        offer_all(&mut l, &[&new]);
        assert_eq!(l.holds(&new), lowered == Role::Publisher);
        // And is given more later on.
        lower(&mut l, 1, lesser(2, Role::Admin)).unwrap();
        let later = l.act(|g, now, out| g.revoke(now, &key(2), id(3), Keep::Known, out));
        assert!(l.holds(&later.unwrap()));
    }
}

#[test]
fn a_lowered_publisher_publishes_no_release_of_before() {
    // By an admin as by an owner; and back to a role of the same rank.
    for (by, role) in [(1, Role::Member), (2, Role::Member), (2, Role::Inviter)] {
        let mut l = club();
        let c = l.channel();
        let a = admin(c, 1, 2);
        let p = granted(c, 2, 1, 3, &below(&a, Role::Publisher));
        let old = note(c, 3, 9);
        offer_all(&mut l, &[&a, &p, &old]);
        lower(&mut l, by, lesser(3, role)).unwrap();
        let forged = release(c, 3, 5);
        offer_all(&mut l, &[&forged, &release(c, 3, 10)]);
        assert!(!l.holds(&forged) && l.holds(&old));
        assert_eq!(l.rejected(Reject::Revoked), 1);
        assert_eq!(l.graph.role_of(&id(3), l.now), Some(role));
    }
}

#[test]
fn what_stays_of_the_lowered_is_what_every_seal_lists_in_any_order() {
    let c = commune().channel();
    let m = granted(c, 1, 1, 6, &new_grant(Role::Member));
    let notes = [2, 4, 6, 8].map(|seq| note(c, 6, seq));
    let n = |which: &[usize]| which.iter().map(|n| &notes[*n]).collect::<Vec<_>>();
    let seals: [(&[Seal], &[usize]); 5] = [
        (&[(5, &[0])], &[0, 2, 3]),
        (&[(4, &[0, 1])], &[0, 1, 2, 3]),
        (&[(4, &[0]), (6, &[0, 1, 2])], &[0, 2, 3]),
        (&[(4, &[1]), (6, &[0, 2])], &[2, 3]),
        (&[(9, &[]), (1, &[])], &[]),
    ];
    for (seals, stand) in seals {
        let seals: Vec<_> = (10..)
            .zip(seals)
            .map(|(seq, (up_to, keep))| revoked(c, 1, seq, 6, sealed(*up_to, &n(keep))))
            .collect();
        let mut all: Vec<&Record> = [&m].into_iter().chain(&notes).chain(&seals).collect();
        let expected: Vec<_> = [&m].into_iter().chain(n(stand)).chain(&seals).collect();
        for _ in 0..all.len() {
            all.rotate_left(1);
            for reversed in [false, true] {
                let mut l = commune();
                let mut order = all.clone();
                if reversed {
                    order.reverse();
                }
                offer_all(&mut l, &order);
                assert_eq!(l.held(), ids(&expected));
                assert_eq!(l.graph.role_of(&id(6), NOW), Some(Role::Member));
            }
        }
    }
}

#[test]
fn a_seal_is_made_by_who_may_revoke() {
    let mut l = club();
    let c = l.channel();
    let (a, b) = (admin(c, 1, 2), admin(c, 2, 3));
    let i = granted(c, 1, 3, 4, &new_grant(Role::Inviter));
    offer_all(&mut l, &[&a, &b, &i]);
    for whom in [1, 3, 2] {
        offer_all(
            &mut l,
            &[&revoked(c, 2, 5 + u64::from(whom), whom, sealed(9, &[]))],
        );
    }
    assert_eq!(l.rejected(Reject::Outranked), 3);
    let by_inviter = revoked(c, 4, 1, 5, sealed(9, &[]));
    offer_all(&mut l, &[&by_inviter]);
    assert!(!l.holds(&by_inviter));
    // An owner's grant voids what an admin says of whom it makes an admin.
    let s = revoked(c, 2, 20, 5, sealed(9, &[]));
    offer_all(&mut l, &[&s]);
    assert!(l.holds(&s));
    offer_all(&mut l, &[&admin(c, 9, 5)]);
    assert!(!l.holds(&s));

    // An inviter gives what it may, and takes nothing.
    let m = granted(c, 4, 2, 6, &below(&i, Role::Member));
    offer_all(&mut l, &[&m]);
    let less = lower(&mut l, 4, lesser(6, Role::Reader));
    assert_eq!(less, Err(GraphError::MayNotLower(id(6))));
    assert_eq!(l.graph.role_of(&id(6), l.now), Some(Role::Member));
}

#[test]
fn a_role_that_takes_nothing_away_seals_nothing() {
    let mut l = club();
    let c = l.channel();
    let m = granted(c, 1, 1, 3, &new_grant(Role::Member));
    offer_all(
        &mut l,
        &[&m, &granted(c, 1, 2, 4, &new_grant(Role::Publisher))],
    );
    offer_all(&mut l, &[&note(c, 4, 1)]);
    for (to, role) in [(3, Role::Publisher), (4, Role::Publisher), (4, Role::Admin)] {
        assert_eq!(lower(&mut l, 1, lesser(to, role)), Ok(0));
    }
    assert!(l.graph.records().all(|h| h.kind != Kind::REVOCATION));
    // Less time or fewer kinds are less, too.
    let brief = NewGrant {
        until: NOW.after(DAY),
        ..lesser(4, Role::Admin)
    };
    lower(&mut l, 1, brief).unwrap();
    assert!(l.graph.records().any(|h| h.kind == Kind::REVOCATION));
}

/// Without the grant that took its place the earlier one would stand again.
#[test]
fn who_is_lowered_for_a_while_is_no_admin_afterwards() {
    let mut l = club();
    let c = l.channel();
    let a = Grant {
        until: NOW.after(400 * DAY),
        ..new_grant(Role::Admin)
    };
    let p = Grant {
        until: NOW.after(29 * DAY),
        ..new_grant(Role::Publisher)
    };
    let records = [granted(c, 1, 1, 2, &a), granted(c, 1, 2, 3, &p)];
    offer_all(&mut l, &[&records[0], &records[1]]);
    for to in [2, 3] {
        let brief = NewGrant {
            until: NOW.after(DAY),
            renewable: false,
            ..lesser(to, Role::Member)
        };
        lower(&mut l, 1, brief).unwrap();
    }
    let of = |n: u8| {
        let mut records = l.graph.records();
        let low = records.find(|h| matches!(h.control, Some(Control::Grant(g)) if g.replaces.is_some() && *h.key == *id(n).as_bytes()));
        low.unwrap().expires
    };
    assert_eq!(of(2), WallMs(limits::MAX_TIME_MS));
    assert!(of(3) >= NOW.after(30 * DAY));
    l.now = NOW.after(200 * DAY);
    l.event(samara_graph::Event::Tick);
    for n in [2, 3] {
        assert_eq!(l.graph.role_of(&id(n), l.now), None);
    }
}

#[test]
fn of_more_records_than_can_be_listed_the_newest_stay_and_what_decides_always() {
    let mut charter = charter();
    charter.limits.record_bytes = 1024;
    charter.publishers = Publishers::Members;
    let fits = 1024 / 2 / limits::ID_PREFIX_BYTES as u64;
    for controls in [3, fits, fits + 1] {
        let mut l = Lone::of(&charter);
        let c = l.channel();
        let i = granted(c, 1, 1, 2, &new_grant(Role::Inviter));
        offer_all(&mut l, &[&i]);
        let given: Vec<_> = (1..=controls)
            .map(|seq| granted(c, 2, seq, 10 + seq as u8, &below(&i, Role::Member)))
            .collect();
        let notes: Vec<_> = (1..=fits).map(|n| note(c, 2, 100 + n)).collect();
        given
            .iter()
            .chain(&notes)
            .for_each(|r| offer_all(&mut l, &[r]));
        let before = l.held();
        let lowered = lower(&mut l, 1, lesser(2, Role::Member));
        if controls > fits {
            assert_eq!(lowered, Err(GraphError::TooManyToKeep(id(2))));
            assert_eq!(l.held(), before);
            assert_eq!(l.graph.role_of(&id(2), l.now), Some(Role::Inviter));
            continue;
        }
        assert_eq!(lowered, Ok(controls as usize));
        assert!(given.iter().all(|r| l.holds(r)));
        let (fell, stay) = notes.split_at(controls as usize);
        assert!(fell.iter().all(|r| !l.holds(r)) && stay.iter().all(|r| l.holds(r)));
    }
}

#[test]
fn whom_an_erased_admin_revoked_stays_revoked_unless_it_is_pardoned() {
    for (keep, stays) in [(Keep::Revocations, true), (Keep::Nothing, false)] {
        let mut l = club();
        let c = l.channel();
        let a = admin(c, 1, 2);
        let m = [3, 4, 5].map(|n| granted(c, 1, n, n as u8, &new_grant(Role::Member)));
        let given = granted(c, 2, 1, 6, &below(&a, Role::Publisher));
        let own = note(c, 2, 2);
        offer_all(&mut l, &[&a, &m[0], &m[1], &m[2], &given, &own]);
        let one = revoked(c, 2, 3, 3, nothing());
        let both = [
            revoked(c, 2, 4, 4, nothing()),
            revoked(c, 1, 9, 4, nothing()),
        ];
        let seal = revoked(c, 2, 5, 5, sealed(7, &[]));
        offer_all(&mut l, &[&one, &both[0], &both[1], &seal]);
        let theirs = l.graph.revoked_by(&id(2));
        assert_eq!(theirs, [(id(3), true), (id(4), false)].into());
        l.act(|g, now, out| g.revoke(now, &key(1), id(2), keep, out))
            .unwrap();
        assert!(!l.holds(&given) && !l.holds(&own));
        assert_eq!(l.holds(&seal), stays);
        assert_eq!(l.graph.is_revoked(&id(3)), stays);
        assert_eq!(l.graph.role_of(&id(3), l.now).is_some(), !stays);
        assert!(l.graph.is_revoked(&id(4)));
        // What it signs now takes nobody out.
        let late = revoked(c, 2, 1, 5, nothing());
        offer_all(&mut l, &[&late]);
        assert!(!l.graph.is_revoked(&id(5)));
    }
}

#[test]
fn more_revocations_than_can_be_listed_are_not_dropped_in_silence() {
    let mut charter = charter();
    charter.limits.record_bytes = 1024;
    let mut l = Lone::of(&charter);
    let c = l.channel();
    offer_all(&mut l, &[&admin(c, 1, 2)]);
    for n in 1..=33 {
        offer_all(&mut l, &[&revoked(c, 2, n, 10 + n as u8, nothing())]);
    }
    let mut revoke = |keep| l.act(|g, now, out| g.revoke(now, &key(1), id(2), keep, out).map(drop));
    assert_eq!(
        revoke(Keep::Revocations),
        Err(GraphError::TooManyToKeep(id(2)))
    );
    assert!(revoke(Keep::Known).is_ok());
    assert!(l.graph.keeping(&id(2), Keep::Known).unwrap().has_gaps);
    assert!((11..=43).all(|n| l.graph.is_revoked(&id(n))));
}

#[test]
fn of_more_than_can_be_listed_no_revocation_falls_and_none_is_added() {
    let mut charter = charter();
    charter.limits.record_bytes = 1024;
    let mut l = Lone::of(&charter);
    let c = l.channel();
    let out_of_it = revoked(c, 2, 5, 10, nothing());
    let notes: Vec<_> = (0..40).map(|n| note(c, 2, 100 + 2 * n)).collect();
    offer_all(&mut l, &[&admin(c, 1, 2), &out_of_it]);
    notes.iter().for_each(|n| offer_all(&mut l, &[n]));
    let keeping = l.graph.keeping(&id(2), Keep::Known).unwrap();
    assert_eq!((keeping.falling, keeping.has_gaps), (41 - 32, false));
    l.act(|g, now, out| g.revoke(now, &key(1), id(2), Keep::Known, out))
        .unwrap();
    assert!(l.holds(&out_of_it) && l.graph.is_revoked(&id(10)));
    let held: Vec<_> = notes.iter().map(|n| l.holds(n)).collect();
    assert_eq!(held, [[false; 9].to_vec(), [true; 31].to_vec()].concat());
    // Its key fills no gap.
    for seq in [3, 101, 179] {
        offer_all(&mut l, &[&revoked(c, 2, seq, 11, nothing())]);
        assert!(!l.graph.is_revoked(&id(11)), "{seq}");
    }
}

/// As a stranger's clock or an author's may be ahead.
#[test]
fn a_lesser_role_takes_the_place_of_one_from_a_clock_that_is_ahead() {
    let mut l = club();
    let c = l.channel();
    let ahead = NewRecord {
        created: NOW.after(Duration::from_secs(300)),
        expires: NOW.after(30 * DAY),
        body: new_grant(Role::Publisher).encode().into(),
        ..about(c, Kind::GRANT, 1, id(3).as_bytes())
    };
    offer_all(&mut l, &[&ahead.sign(&key(1)).unwrap(), &note(c, 3, 5)]);
    lower(&mut l, 1, lesser(3, Role::Reader)).unwrap();
    assert_eq!(l.graph.role_of(&id(3), l.now), Some(Role::Reader));
}

/// An admin's seal is no word on another admin: whoever makes one says it again.
#[test]
fn who_becomes_an_admin_does_not_shake_off_its_seal() {
    let mut l = club();
    let c = l.channel();
    let (a, p) = (
        admin(c, 1, 3),
        granted(c, 1, 2, 2, &new_grant(Role::Publisher)),
    );
    let own: [Record; 2] = [note(c, 2, 4), note(c, 2, 6)];
    offer_all(&mut l, &[&a, &p, &own[0], &own[1]]);
    let seal = revoked(c, 3, 1, 2, sealed(9, &[&own[0]]));
    offer_all(&mut l, &[&seal]);
    assert!(l.holds(&own[0]) && !l.holds(&own[1]));
    let admin = NewGrant {
        subject: id(2),
        role: Role::Admin,
        until: NOW.after(DAY),
        kinds: [].into(),
        renewable: false,
        replaces: true,
    };
    l.now = l.now.after(Duration::from_secs(1));
    l.act(|g, now, out| g.grant(now, &key(1), admin, out))
        .unwrap();
    assert!(!l.holds(&seal) && l.holds(&own[0]));
    offer_all(&mut l, &[&own[1]]);
    assert!(!l.holds(&own[1]));
    for (seq, taken) in [(9, false), (10, true)] {
        let dated_back = revoked(c, 2, seq, 5, nothing());
        offer_all(&mut l, &[&dated_back]);
        assert_eq!(l.holds(&dated_back), taken);
    }
    let seals = l.graph.records().filter(|h| h.kind == Kind::REVOCATION);
    assert_eq!(seals.count(), 2);
}

#[test]
fn an_owners_seal_is_not_made_again() {
    let mut charter = charter();
    charter.roots.insert(id(9));
    let mut l = Lone::of(&charter);
    let c = l.channel();
    let seal = revoked(c, 9, 1, 2, sealed(9, &[]));
    offer_all(
        &mut l,
        &[&granted(c, 1, 2, 2, &new_grant(Role::Publisher)), &seal],
    );
    lower(&mut l, 1, lesser(2, Role::Admin)).unwrap();
    assert!(l.holds(&seal));
    let seals = l.graph.records().filter(|h| h.kind == Kind::REVOCATION);
    assert_eq!(seals.count(), 1);
    // It would fall if a charter made a root of it, or if nobody decided alone any more.
    let sheds = |role, threshold| l.graph.would_shed_seal(&id(2), role, threshold);
    assert!(!sheds(Role::Admin, 1) && sheds(Role::Owner, 1) && sheds(Role::Admin, 2));
}

/// A stolen key's word about what is to come ends with the word.
#[test]
fn who_becomes_an_admin_is_not_shut_up_by_the_seal_of_another() {
    let mut l = club();
    let c = l.channel();
    let seal = revoked(c, 3, 1, 2, sealed(samara_wire::VARINT_MAX, &[]));
    offer_all(
        &mut l,
        &[
            &admin(c, 1, 3),
            &granted(c, 1, 2, 2, &new_grant(Role::Publisher)),
            &seal,
        ],
    );
    lower(&mut l, 1, lesser(2, Role::Admin)).unwrap();
    l.now = l.now.after(Duration::from_secs(1));
    let word = l.act(|g, now, out| g.revoke(now, &key(2), id(5), Keep::Known, out));
    assert!(l.holds(&word.unwrap()));
}

#[test]
fn what_stays_beside_a_role_is_named() {
    let mut l = club();
    let c = l.channel();
    let over = Grant {
        until: NOW.after(DAY),
        renewable: false,
        ..new_grant(Role::Admin)
    };
    offer_all(
        &mut l,
        &[
            &admin(c, 1, 2),
            &granted(c, 1, 2, 3, &new_grant(Role::Inviter)),
            &granted(c, 1, 3, 4, &over),
        ],
    );
    l.pass(2 * DAY);
    let beside = |l: &Lone, by: u8, to, role| l.graph.beside(l.now, &id(by), &lesser(to, role));
    let owner = Some(id(1));
    assert_eq!(
        beside(&l, 2, 3, Role::Publisher),
        Some((Role::Inviter, owner))
    );
    assert_eq!(beside(&l, 2, 3, Role::Inviter), None);
    assert_eq!(beside(&l, 2, 4, Role::Member), Some((Role::Admin, owner)));
    assert_eq!(beside(&l, 1, 4, Role::Member), None);
    // What lasts longer stays as well, and what the charter says.
    let day = NewGrant {
        until: l.now.after(DAY),
        ..lesser(3, Role::Inviter)
    };
    assert_eq!(
        l.graph.beside(l.now, &id(2), &day),
        Some((Role::Inviter, owner))
    );
    assert_eq!(beside(&l, 2, 1, Role::Member), Some((Role::Owner, None)));
}
