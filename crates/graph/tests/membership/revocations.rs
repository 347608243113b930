//! Taking rights back: for as long as the channel lives, whatever anybody does.

use std::time::Duration;

use samara_graph::{
    Action, CharterLimits, Kind, LeaveReason, Message, NewRecord, Record, Reject, RemoveReason,
    Role, WallMs, body::Revocation, limits,
};
use samara_wire::VARINT_MAX;

use crate::{
    club::{
        about, admin, below, club, commune, granted, id, ids, invited, keeping, new_grant,
        new_invite, note, nothing, offer_all, redeemed, revoked, up_to, why_removed,
    },
    lone::{HOUR, Lone, NOW, key, new_record, sent_to},
};

#[test]
fn a_revoked_neighbour_is_expelled_and_believed_nothing() {
    let mut l = club();
    let c = l.channel();
    let p = granted(c, 1, 1, 50, &new_grant(Role::Publisher));
    let old = note(c, 50, 1);
    l.say(51, Message::Record(p.bytes().clone()));
    l.say(50, Message::Record(old.bytes().clone()));
    assert!(l.holds(&old));
    let r = revoked(c, 1, 2, 50, nothing());
    l.say(51, Message::Record(r.bytes().clone()));
    let (peer, reason) = (id(50), LeaveReason::Revoked);
    assert!(l.out.contains(&Action::Expel { peer, reason }));
    assert!(l.out.contains(&Action::MemberLeft { peer, reason }));
    assert_eq!(why_removed(&l, &old), Some(RemoveReason::Revoked));
    // It is no neighbour any more, and does not become one.
    let new = note(c, 50, 2);
    assert_eq!(l.say(50, Message::Record(new.bytes().clone())), []);
    assert_eq!(
        l.event(samara_graph::Event::NeighbourUp { peer }),
        [Action::Expel { peer, reason }]
    );
    assert_eq!(sent_to(&l.out, 50), []);
    // Nor through others.
    l.say(51, Message::Record(new.bytes().clone()));
    assert_eq!(l.rejected(Reject::Revoked), 1);
    assert_eq!(l.fault(), None, "who passes it on is not to blame");
    let view = l.graph.members(NOW).into_iter().find(|m| m.peer == peer);
    let view = view.unwrap();
    assert!(view.revoked && view.role.is_none());
}

#[test]
fn what_stands_of_the_revoked_is_what_the_revocation_says_in_any_order() {
    let c = commune().channel();
    let m = granted(c, 1, 1, 6, &new_grant(Role::Member));
    let notes = [1, 2, 3].map(|seq| note(c, 6, seq));
    let cases: [(Vec<Revocation>, &[usize]); 5] = [
        (vec![nothing()], &[]),
        (vec![up_to(2)], &[0, 1]),
        (vec![keeping(&[&notes[0], &notes[2]])], &[0, 2]),
        (vec![up_to(1), keeping(&[&notes[1]])], &[]),
        (vec![up_to(VARINT_MAX), up_to(2)], &[0, 1]),
    ];
    for (revocations, stand) in cases {
        let revocations: Vec<Record> = (2..)
            .zip(revocations)
            .map(|(seq, r)| revoked(c, 1, seq, 6, r))
            .collect();
        let mut all: Vec<&Record> = [&m].into_iter().chain(&notes).chain(&revocations).collect();
        for _ in 0..all.len() {
            all.rotate_left(1);
            let mut l = commune();
            offer_all(&mut l, &all);
            let standing = stand.iter().map(|n| &notes[*n]);
            let expected: Vec<_> = [&m]
                .into_iter()
                .chain(&revocations)
                .chain(standing)
                .collect();
            assert_eq!(l.held(), ids(&expected), "{revocations:?}");
        }
    }
}

#[test]
fn a_listed_revocation_leaves_no_gap_to_fill() {
    let mut l = commune();
    let c = l.channel();
    let m = granted(c, 1, 1, 6, &new_grant(Role::Member));
    let known = note(c, 6, 100);
    let r = revoked(c, 1, 2, 6, keeping(&[&known]));
    offer_all(&mut l, &[&m, &known, &r]);
    // An earlier sequence, and an earlier time, that it never used.
    let forged = NewRecord {
        created: NOW.before(Duration::from_secs(60)),
        ..new_record(c, 50)
    };
    offer_all(&mut l, &[&forged.sign(&key(6)).unwrap()]);
    assert_eq!(l.rejected(Reject::Revoked), 1);
    assert!(l.holds(&known));
}

#[test]
fn what_others_had_by_the_revoked_goes_with_it() {
    let c = commune().channel();
    let a = admin(c, 1, 2);
    let i = granted(c, 2, 1, 3, &below(&a, Role::Inviter));
    let invite = samara_graph::body::Invite {
        parent: Some(i.id()),
        ..new_invite(2)
    };
    let invite = invited(c, 3, 1, 90, &invite);
    let joined = redeemed(&invite, 7, 90);
    let n = note(c, 7, 5);
    let r = revoked(c, 1, 2, 2, nothing());
    let mut all = [&a, &i, &invite, &joined, &n, &r];
    for _ in 0..all.len() {
        let mut l = commune();
        offer_all(&mut l, &all);
        assert_eq!(l.held(), ids(&[&a, &r]));
        all.rotate_left(1);
    }
    // Kept by name, all that hangs on it stays.
    let r = revoked(c, 1, 2, 2, keeping(&[&i]));
    let mut l = commune();
    offer_all(&mut l, &[&a, &i, &invite, &joined, &n, &r]);
    assert_eq!(l.held(), ids(&[&a, &i, &invite, &joined, &n, &r]));
}

#[test]
fn admins_revoke_whom_they_outrank_and_nobody_revokes_a_root() {
    let mut l = club();
    let c = l.channel();
    let (a, b) = (admin(c, 1, 2), admin(c, 2, 3));
    let m = granted(c, 1, 3, 6, &new_grant(Role::Member));
    offer_all(&mut l, &[&a, &b, &m]);
    // Each other, the owner, themselves; a member revokes nobody.
    offer_all(
        &mut l,
        &[
            &revoked(c, 2, 1, 3, nothing()),
            &revoked(c, 3, 1, 2, nothing()),
            &revoked(c, 2, 2, 1, nothing()),
            &revoked(c, 1, 9, 1, nothing()),
            &revoked(c, 2, 3, 2, nothing()),
        ],
    );
    assert_eq!(l.rejected(Reject::Outranked), 5);
    offer_all(&mut l, &[&revoked(c, 6, 1, 7, nothing())]);
    assert_eq!(l.graph.status().waiting, 1);
    let r = revoked(c, 2, 4, 6, nothing());
    let s = revoked(c, 1, 10, 3, nothing());
    offer_all(&mut l, &[&r, &s]);
    assert_eq!(l.held(), ids(&[&a, &b, &m, &r, &s]));
}

#[test]
fn an_admins_word_gives_way_to_the_owner_who_makes_an_admin_of_whom_it_revoked() {
    let c = club().channel();
    let a = admin(c, 1, 2);
    let r = revoked(c, 2, 1, 3, nothing());
    let b = admin(c, 2, 3);
    let mut all = [&a, &r, &b];
    for _ in 0..3 {
        let mut l = club();
        offer_all(&mut l, &all);
        assert_eq!(l.held(), ids(&[&a, &b]));
        assert_eq!(l.graph.role_of(&id(3), NOW), Some(Role::Admin));
        all.rotate_left(1);
    }
}

#[test]
fn the_word_of_a_revoked_admin_stands_as_far_as_its_revocation_says() {
    let c = commune().channel();
    let a = admin(c, 1, 2);
    let m = granted(c, 1, 2, 6, &new_grant(Role::Member));
    let n = granted(c, 1, 3, 7, &new_grant(Role::Member));
    let (r, s) = (
        revoked(c, 2, 5, 6, nothing()),
        revoked(c, 2, 6, 7, nothing()),
    );
    let t = revoked(c, 1, 4, 2, up_to(5));
    let mut all = [&a, &m, &n, &r, &s, &t];
    for _ in 0..all.len() {
        let mut l = commune();
        offer_all(&mut l, &all);
        assert_eq!(l.held(), ids(&[&a, &m, &n, &r, &t]));
        assert_eq!(l.graph.role_of(&id(6), NOW), None);
        assert_eq!(l.graph.role_of(&id(7), NOW), Some(Role::Member));
        all.rotate_left(1);
    }
}

#[test]
fn the_revoked_is_never_admitted_again() {
    let mut l = commune();
    let c = l.channel();
    let r = revoked(c, 1, 1, 6, nothing());
    let again = granted(c, 1, 2, 6, &new_grant(Role::Publisher));
    offer_all(&mut l, &[&r, &again, &note(c, 6, 1)]);
    assert_eq!(l.graph.role_of(&id(6), NOW), None);
    assert!(!l.graph.can(&id(6), Kind(70_000), NOW));
    assert!(!l.graph.may_read(&id(6), NOW));
    assert_eq!(l.rejected(Reject::Revoked), 1);
}

#[test]
fn a_revocation_lasts_for_ever_or_is_none() {
    let mut l = club();
    let c = l.channel();
    let brief = NewRecord {
        expires: WallMs(limits::MAX_TIME_MS - 1),
        body: nothing().encode().into(),
        ..about(c, Kind::REVOCATION, 1, id(6).as_bytes())
    };
    offer_all(&mut l, &[&brief.sign(&key(1)).unwrap()]);
    assert_eq!(l.rejected(Reject::BadBody), 1);
    let r = revoked(c, 1, 2, 6, nothing());
    offer_all(&mut l, &[&r]);
    l.pass(Duration::from_secs(1));
    l.now = NOW.after(limits::MAX_LIFETIME);
    l.event(samara_graph::Event::Tick);
    assert!(l.holds(&r));
}

#[test]
fn no_flood_displaces_a_revocation() {
    let limit = CharterLimits {
        records_per_author: 2,
        records_total: 2,
        ..Default::default()
    };
    let mut l = Lone::new(limit);
    let c = l.channel();
    let r = revoked(c, 1, 1000, 2, nothing());
    offer_all(&mut l, &[&r]);
    // The revoked itself, with the largest sequence there is, and the smallest.
    offer_all(&mut l, &[&note(c, 2, VARINT_MAX), &note(c, 2, 1)]);
    let of_itself = revoked(c, 2, VARINT_MAX, 1, nothing());
    offer_all(&mut l, &[&of_itself]);
    assert_eq!(l.rejected(Reject::Revoked), 3);
    // Others' records, and its author's own of other kinds.
    for seq in 1..50 {
        offer_all(&mut l, &[&note(c, 3, seq)]);
    }
    for seq in 1..=limits::MAX_CONTROL_PER_AUTHOR as u64 + 3 {
        let retraction = samara_graph::body::Retraction {
            kind: Kind(70_000),
            key: [].into(),
            up_to: 0,
        };
        let new = NewRecord {
            kind: Kind::RETRACTION,
            body: retraction.encode().into(),
            // Below the revocation's sequence and above it.
            ..new_record(c, if seq < 900 { seq } else { seq + 900 })
        };
        offer_all(&mut l, &[&new.sign(&key(1)).unwrap()]);
    }
    assert!(l.rejected(Reject::Quota) > 0);
    assert!(l.holds(&r));
    assert!(l.graph.is_revoked(&id(2)));
}

#[test]
fn an_author_lets_in_as_many_as_it_may_and_the_lowest_sequences_stand() {
    let c = club().channel();
    let invite = |seq: u64| {
        let new = new_invite(limits::MAX_INVITE_USES);
        invited(c, 1, seq, (seq % 200) as u8, &new)
    };
    let most = limits::MAX_PLACES / u64::from(limits::MAX_INVITE_USES);
    let mut l = club();
    for seq in 10..10 + most {
        offer_all(&mut l, &[&invite(seq)]);
    }
    assert_eq!(l.held().len() as u64, most);
    offer_all(&mut l, &[&invite(10 + most)]);
    assert_eq!(l.rejected(Reject::Quota), 1);
    // One of a lower sequence takes the place of the highest.
    let g = granted(c, 1, 1, 7, &new_grant(Role::Member));
    offer_all(&mut l, &[&g]);
    let last = invite(9 + most);
    assert_eq!(why_removed(&l, &last), Some(RemoveReason::Quota));
    assert_eq!(l.held().len() as u64, most);
    // Revocations are not among them.
    let r = revoked(c, 1, VARINT_MAX, 8, nothing());
    offer_all(&mut l, &[&r]);
    assert!(l.holds(&r) && l.holds(&g));
}

#[test]
fn a_revocation_names_as_many_as_it_may_and_no_more() {
    let of = |n: usize| {
        let prefixes = (0..n as u128).map(|n| n.to_be_bytes());
        Revocation {
            seal: false,
            up_to: 0,
            keep: prefixes.collect(),
        }
    };
    let c = club().channel();
    let most = revoked(c, 1, 1, 6, of(limits::MAX_KEPT));
    assert!(most.header().is_ok());
    assert!(
        revoked(c, 1, 1, 6, of(limits::MAX_KEPT + 1))
            .header()
            .is_err()
    );
    let mut l = club();
    offer_all(&mut l, &[&most]);
    assert!(l.holds(&most));
}

#[test]
fn what_waits_is_bounded_for_each_neighbour_and_for_all() {
    let mut l = club();
    let c = l.channel();
    let share = limits::MAX_DEFERRED_PER_NEIGHBOUR;
    let from = |l: &mut Lone, n: u8, r: &Record| {
        l.mono += Duration::from_millis(20);
        l.say(n, Message::Record(r.bytes().clone()));
    };
    let stranger = |n: u8, seq: usize| note(c, n, seq as u64 + 1);
    for seq in 0..share {
        from(&mut l, 50, &stranger(9, seq));
    }
    let waiting = |l: &Lone| (l.graph.status().waiting, l.graph.status().deferred_dropped);
    assert_eq!(waiting(&l), (share, 0));
    from(&mut l, 51, &stranger(8, 0));
    assert_eq!(waiting(&l), (share + 1, 0));
    // One more takes the place of its own oldest, and of nobody else's.
    from(&mut l, 50, &stranger(9, share));
    assert_eq!(waiting(&l), (share + 1, 1));
    // The same once more costs nothing.
    from(&mut l, 50, &stranger(9, share));
    assert_eq!(waiting(&l), (share + 1, 1));
    let g = granted(c, 1, 1, 9, &new_grant(Role::Publisher));
    from(&mut l, 51, &g);
    assert_eq!(waiting(&l), (1, 1));
    assert!(!l.holds(&stranger(9, 0)) && l.holds(&stranger(9, 1)));

    let mut l = club();
    for n in 60..66 {
        l.up(n);
        for seq in 0..share {
            let (waits, dropped) = waiting(&l);
            assert!(dropped == 0 || waits == limits::MAX_DEFERRED);
            from(&mut l, n, &stranger(n, seq));
        }
    }
    let all = 6 * share;
    let left = limits::MAX_DEFERRED;
    assert_eq!(waiting(&l), (left, (all - left) as u64));
}

#[test]
fn the_bytes_that_wait_are_bounded() {
    let mut l = club();
    let c = l.channel();
    let large = |seq| {
        let new = NewRecord {
            body: vec![0; 60_000].into(),
            ..new_record(c, seq)
        };
        new.sign(&key(9)).unwrap()
    };
    let each = large(1).bytes().len();
    let most = limits::MAX_DEFERRED_BYTES / each;
    for seq in 1..=most as u64 {
        offer_all(&mut l, &[&large(seq)]);
    }
    assert_eq!(l.graph.status().deferred_dropped, 0);
    offer_all(&mut l, &[&large(most as u64 + 1)]);
    assert_eq!(l.graph.status().deferred_dropped, 1);
    assert_eq!(l.graph.status().waiting, most);
}

#[test]
fn what_waited_too_long_has_ended() {
    let mut l = club();
    let c = l.channel();
    offer_all(&mut l, &[&note(c, 9, 1)]);
    l.now = NOW.after(2 * HOUR);
    offer_all(&mut l, &[&granted(c, 1, 1, 9, &new_grant(Role::Publisher))]);
    assert_eq!(l.rejected(Reject::Expired), 1);
    assert_eq!(l.graph.status().waiting, 0);
}
