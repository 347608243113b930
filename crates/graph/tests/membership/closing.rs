//! Whose role is over adds nothing any more to what it wrote by it.

use std::time::Duration;

use samara_graph::{Action, Kind, NewGrant, Record, Role, WallMs, body::Grant};
use samara_wire::PeerId;

use crate::{
    club::{
        DAY, admin, below, club, granted, id, new_grant, note, nothing, offer_all, revoked, sealed,
    },
    lone::{HOUR, Lone, NOW, key},
};

/// Of a day; after that nobody renews it.
fn brief(role: Role) -> Grant {
    Grant {
        until: NOW.after(DAY),
        renewable: false,
        ..new_grant(role)
    }
}

fn due(l: &Lone, by: u8) -> Vec<PeerId> {
    l.graph.to_close(l.now, &id(by))
}

fn close(l: &mut Lone, by: u8, whom: u8) {
    assert_eq!(due(l, by), [id(whom)]);
    l.act(|g, now, out| g.close(now, &key(by), id(whom), out))
        .unwrap();
    assert!(due(l, by).is_empty());
}

/// Whether a revocation of 5 is taken that 2 signs now and dates back.
fn is_taken(l: &mut Lone, seq: u64) -> bool {
    let forged = revoked(l.channel(), 2, seq, 5, nothing());
    offer_all(l, &[&forged]);
    l.holds(&forged)
}

fn told(l: &Lone) -> usize {
    let roles = l.out.iter().filter(|a| {
        matches!(
            a,
            Action::MemberJoined { .. } | Action::RoleChanged { .. } | Action::MemberLeft { .. }
        )
    });
    roles.count()
}

#[test]
fn an_admin_of_before_neither_revokes_nor_grants() {
    for still in [None, Some(Role::Member), Some(Role::Publisher)] {
        let mut l = club();
        let c = l.channel();
        let a = granted(c, 1, 1, 2, &brief(Role::Admin));
        let given = granted(
            c,
            2,
            100,
            4,
            &Grant {
                until: NOW.after(DAY),
                ..below(&a, Role::Publisher)
            },
        );
        let word = revoked(c, 2, 200, 3, nothing());
        offer_all(&mut l, &[&a, &given, &word]);
        if let Some(role) = still {
            offer_all(&mut l, &[&granted(c, 1, 2, 2, &new_grant(role))]);
        }
        l.pass(DAY + DAY - HOUR);
        assert_eq!(l.graph.role_of(&id(2), l.now), still);
        assert!(due(&l, 1).is_empty());
        l.pass(2 * HOUR);
        assert!(due(&l, 2).is_empty());
        close(&mut l, 1, 2);
        assert_eq!(told(&l), 0);
        l.pass(HOUR);
        assert_eq!(told(&l), 0);
        assert_eq!(l.graph.role_of(&id(2), l.now), still);
        assert!(l.holds(&word) && l.holds(&given) && l.holds(&a));
        for seq in [1, 150, 200, 201, 100_000] {
            assert!(!is_taken(&mut l, seq), "{seq}");
        }
        assert!(!l.graph.is_revoked(&id(2)) && l.graph.is_revoked(&id(3)));
    }
}

/// What it is good for.
#[test]
fn before_that_it_does() {
    let mut l = club();
    let a = granted(l.channel(), 1, 1, 2, &brief(Role::Admin));
    offer_all(&mut l, &[&a]);
    l.pass(2 * DAY);
    assert!(is_taken(&mut l, 9));
}

#[test]
fn who_is_given_a_role_again_uses_it() {
    let mut l = club();
    let c = l.channel();
    let a = granted(c, 1, 1, 2, &brief(Role::Admin));
    offer_all(&mut l, &[&a, &note(c, 2, 7)]);
    l.pass(2 * DAY + HOUR);
    close(&mut l, 1, 2);
    assert!(!is_taken(&mut l, 8));
    let again = NewGrant {
        subject: id(2),
        role: Role::Admin,
        until: l.now.after(DAY),
        kinds: [].into(),
        renewable: false,
        replaces: true,
    };
    l.act(|g, now, out| g.grant(now, &key(1), again, out))
        .unwrap();
    assert!(due(&l, 1).is_empty() && !is_taken(&mut l, 8));
    let word = l.act(|g, now, out| g.revoke(now, &key(2), id(5), samara_graph::Keep::Known, out));
    assert!(l.holds(&word.unwrap()));
    // And is closed again.
    l.pass(2 * DAY + HOUR);
    close(&mut l, 1, 2);
    assert!(!is_taken(&mut l, 9));
}

#[test]
fn who_left_is_closed_by_who_gave_it_the_role_and_later_by_others() {
    for (by, wait) in [(2, DAY), (1, 2 * DAY)] {
        let mut l = club();
        let c = l.channel();
        let a = admin(c, 1, 2);
        let p = granted(c, 2, 1, 3, &below(&a, Role::Publisher));
        let own = note(c, 3, 4);
        offer_all(&mut l, &[&a, &p, &own]);
        l.act(|g, now, out| g.leave(now, &key(3), out)).unwrap();
        l.pass(wait - Duration::from_secs(1));
        assert!(due(&l, by).is_empty());
        l.pass(Duration::from_secs(2));
        close(&mut l, by, 3);
        let forged = note(c, 3, 3);
        offer_all(&mut l, &[&forged]);
        assert!(!l.holds(&forged), "by {by}");
    }
}

#[test]
fn nobody_closes_what_a_mightier_one_gave_and_nothing_is_closed_of_members() {
    let mut l = club();
    let c = l.channel();
    let brief = |seq, to, role| granted(c, 1, seq, to, &brief(role));
    let all = [
        admin(c, 1, 2),
        brief(2, 3, Role::Publisher),
        brief(3, 4, Role::Member),
        granted(c, 1, 4, 6, &new_grant(Role::Inviter)),
    ];
    offer_all(&mut l, &all.each_ref());
    l.pass(3 * DAY + HOUR);
    assert!(due(&l, 2).is_empty() && due(&l, 6).is_empty());
    close(&mut l, 1, 3);
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
        until: WallMs(NOW.after(DAY).0),
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
    assert!(!is_taken(&mut l, 9) && is_taken(&mut l, 10));
    let seals = l.graph.records().filter(|h| h.kind == Kind::REVOCATION);
    assert_eq!(seals.count(), 2);
}
