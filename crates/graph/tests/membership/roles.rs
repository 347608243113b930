//! Who may do what: chains of grants that only narrow, their time, what follows when
//! one goes, and what the node is told of it.

use crate::club::{
    DAY, about, admin, below, charter, club, commune, granted, id, ids, invited, new_grant,
    new_invite, note, nothing, offer_all, private, redeemed, revoked, why_removed,
};
use crate::lone::{HOUR, Lone, NOW, key, new_record};
use samara_graph::{
    Action, Charter, Event, GraphError, Keep, Kind, LeaveReason, NewGrant, NewRecord, Publishers,
    Record, Reject, RemoveReason, Role, WallMs, body::Grant, body::TimeFloor, limits,
};

fn joined(l: &Lone) -> Vec<(u8, Role)> {
    let named = |peer| (1..=120).find(|n| id(*n) == peer).unwrap();
    let joined = l.out.iter().filter_map(|a| match a {
        Action::MemberJoined { peer, role } => Some((named(*peer), *role)),
        _ => None,
    });
    joined.collect()
}

#[test]
fn a_chain_of_grants_lets_its_end_publish() {
    let mut l = club();
    let c = l.channel();
    let a = admin(c, 1, 2);
    let p = granted(c, 2, 1, 3, &below(&a, Role::Publisher));
    let n = note(c, 3, 1);
    offer_all(&mut l, &[&a]);
    assert_eq!(joined(&l), [(2, Role::Admin)]);
    offer_all(&mut l, &[&p, &n]);
    assert_eq!(l.held(), ids(&[&a, &p, &n]));
    assert_eq!(l.graph.role_of(&id(3), NOW), Some(Role::Publisher));
    assert!(l.graph.can(&id(3), Kind::RELEASE, NOW));
    assert!(!l.graph.can(&id(3), Kind::GRANT, NOW));
    let shown = l.graph.credentials(&id(3), NOW);
    assert_eq!(shown, Some(vec![p.id(), a.id()]));
    assert_eq!(l.graph.credentials(&id(1), NOW), Some(vec![]));
    assert_eq!(l.graph.credentials(&id(9), NOW), None);
}

#[test]
fn what_comes_before_its_grant_waits_for_it() {
    let mut l = club();
    let c = l.channel();
    let a = admin(c, 1, 2);
    let p = granted(c, 2, 1, 3, &below(&a, Role::Publisher));
    let n = note(c, 3, 1);
    offer_all(&mut l, &[&n, &p]);
    assert_eq!((l.held(), l.graph.status().waiting), (vec![], 2));
    offer_all(&mut l, &[&a]);
    assert_eq!(l.held(), ids(&[&a, &p, &n]));
    assert_eq!(l.graph.status().waiting, 0);
}

#[test]
fn nobody_gives_what_it_has_not() {
    let mut l = club();
    let c = l.channel();
    let a = admin(c, 1, 2);
    let until = Grant {
        until: NOW.after(3 * DAY),
        kinds: [Kind::RELEASE, Kind::GRANT, Kind::INVITE].into(),
        ..new_grant(Role::Inviter)
    };
    let i = granted(c, 1, 2, 3, &until);
    offer_all(&mut l, &[&a, &i]);
    let narrow = Grant {
        until: NOW.after(DAY),
        kinds: [Kind::RELEASE].into(),
        ..below(&i, Role::Member)
    };
    let wide = |change: fn(&mut Grant)| {
        let mut grant = narrow.clone();
        change(&mut grant);
        grant
    };
    let cases = [
        (2, below(&a, Role::Admin), "an equal"),
        (3, wide(|g| g.role = Role::Publisher), "a higher role"),
        (3, wide(|g| g.until = NOW.after(4 * DAY)), "more time"),
        (3, wide(|g| g.kinds.clear()), "all kinds"),
        (3, wide(|g| _ = g.kinds.insert(Kind::ISSUE)), "another kind"),
    ];
    for (seq, (by, grant, why)) in cases.into_iter().enumerate() {
        let before = l.rejected(Reject::Widens);
        offer_all(&mut l, &[&granted(c, by, 10 + seq as u64, 7, &grant)]);
        assert_eq!(l.rejected(Reject::Widens), before + 1, "{why}");
    }
    let longer = NewRecord {
        expires: NOW.after(31 * DAY),
        body: narrow.encode().into(),
        ..about(c, Kind::GRANT, 20, id(7).as_bytes())
    };
    offer_all(&mut l, &[&longer.sign(&key(3)).unwrap()]);
    assert_eq!(
        l.rejected(Reject::Widens),
        6,
        "a record that outlives its parent"
    );
    let fits = granted(c, 3, 30, 7, &narrow);
    offer_all(&mut l, &[&fits]);
    assert!(l.holds(&fits));
}

#[test]
fn a_grant_is_by_who_has_the_parent_and_names_it() {
    let mut l = club();
    let c = l.channel();
    let a = admin(c, 1, 2);
    offer_all(&mut l, &[&a]);
    // Another's parent; none at all; an invite's place.
    offer_all(&mut l, &[&granted(c, 4, 1, 7, &below(&a, Role::Member))]);
    offer_all(&mut l, &[&granted(c, 2, 2, 7, &new_grant(Role::Member))]);
    assert_eq!(l.rejected(Reject::NoAuthority), 2);
    // Its own id cannot be its parent, since the id is its hash: it waits for ever.
    let unknown = Grant {
        parent: Some(note(c, 9, 9).id()),
        ..new_grant(Role::Member)
    };
    offer_all(&mut l, &[&granted(c, 2, 3, 7, &unknown)]);
    assert_eq!(l.graph.status().waiting, 1);
    assert_eq!(l.held(), [a.id()]);
}

#[test]
fn nobody_gets_anything_by_a_chain_that_it_is_part_of() {
    let mut l = club();
    let c = l.channel();
    let a = admin(c, 1, 2);
    offer_all(&mut l, &[&a]);
    let to_itself = granted(c, 2, 5, 2, &below(&a, Role::Inviter));
    let to_its_giver = granted(c, 2, 6, 1, &below(&a, Role::Inviter));
    let by_owner = granted(c, 1, 5, 1, &new_grant(Role::Inviter));
    offer_all(&mut l, &[&to_itself, &to_its_giver, &by_owner]);
    assert_eq!(l.rejected(Reject::Circular), 3);
    let invite = samara_graph::body::Invite {
        parent: Some(a.id()),
        ..new_invite(1)
    };
    let i = invited(c, 2, 7, 90, &invite);
    offer_all(&mut l, &[&i, &redeemed(&i, 1, 90), &redeemed(&i, 2, 90)]);
    assert_eq!(l.rejected(Reject::Circular), 5);
    assert_eq!(l.held(), ids(&[&a, &i]));
}

#[test]
fn a_grant_ends_and_what_was_written_in_its_time_stays() {
    let mut l = club();
    let c = l.channel();
    let p = granted(c, 1, 1, 3, &new_grant(Role::Publisher));
    let in_time = NewRecord {
        created: NOW.after(7 * DAY),
        expires: NOW.after(20 * DAY),
        ..new_record(c, 5)
    };
    let late = NewRecord {
        created: WallMs(NOW.after(7 * DAY).0 + 1),
        ..in_time.clone()
    };
    let too_long = NewRecord {
        expires: WallMs(NOW.after(30 * DAY).0 + 1),
        ..in_time.clone()
    };
    let [in_time, late, too_long] = [in_time, late, too_long].map(|n| n.sign(&key(3)).unwrap());
    offer_all(&mut l, &[&p]);
    let end = NOW.after(7 * DAY);
    assert_eq!(l.graph.role_of(&id(3), end), Some(Role::Publisher));
    assert_eq!(l.graph.role_of(&id(3), WallMs(end.0 + 1)), None);
    let left = Action::MemberLeft {
        peer: id(3),
        reason: LeaveReason::Lapsed,
    };
    let all = l.pass(7 * DAY + std::time::Duration::from_millis(2));
    assert_eq!(all.iter().filter(|a| **a == left).count(), 1);
    offer_all(&mut l, &[&in_time, &late, &too_long]);
    assert!(l.holds(&in_time) && !l.holds(&late) && !l.holds(&too_long));
    let past = l.graph.members(l.now).into_iter().find(|m| m.peer == id(3));
    let past = past.unwrap();
    assert_eq!((past.role, past.until, past.by), (None, end, Some(id(1))));
}

#[test]
fn a_grant_holds_from_ten_minutes_before_it_was_made() {
    let mut l = club();
    let c = l.channel();
    offer_all(&mut l, &[&granted(c, 1, 1, 3, &new_grant(Role::Publisher))]);
    let at = |seq, created| {
        let new = NewRecord {
            created,
            ..new_record(c, seq)
        };
        new.sign(&key(3)).unwrap()
    };
    let edge = NOW.before(limits::CLOCK_AHEAD);
    let (early, just) = (at(1, WallMs(edge.0 - 1)), at(2, edge));
    offer_all(&mut l, &[&early, &just]);
    assert!(!l.holds(&early) && l.holds(&just));
}

#[test]
fn who_may_write_what() {
    let mut l = commune();
    let c = l.channel();
    let roles = [
        (2, Role::Admin),
        (3, Role::Publisher),
        (4, Role::Inviter),
        (5, Role::Keeper),
        (6, Role::Member),
        (7, Role::Reader),
    ];
    for (n, role) in roles {
        offer_all(&mut l, &[&granted(c, 1, n.into(), n, &new_grant(role))]);
    }
    let kinds = [
        Kind::GRANT,
        Kind::REVOCATION,
        Kind::INVITE,
        Kind::TIME,
        Kind::RETRACTION,
        Kind::PRESENCE,
        Kind::ISSUE,
    ];
    let may = |n: u8| kinds.map(|kind| u8::from(l.graph.can(&id(n), kind, NOW)));
    let table = [1, 2, 3, 4, 5, 6, 7, 8].map(may);
    // grant, revocation, invite, time, retraction, presence, issue
    let expected = [
        [1, 1, 1, 1, 1, 0, 1],
        [1, 1, 1, 0, 1, 0, 1],
        [0, 0, 0, 0, 1, 0, 1],
        [1, 0, 1, 0, 1, 0, 1],
        [0, 0, 0, 0, 1, 0, 1],
        [0, 0, 0, 0, 1, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(table, expected);
}

#[test]
fn a_grant_limited_to_kinds_lets_no_other_pass() {
    let mut l = club();
    let c = l.channel();
    let limited = Grant {
        kinds: [Kind(70_000)].into(),
        ..new_grant(Role::Publisher)
    };
    let other = NewRecord {
        kind: Kind(70_001),
        ..new_record(c, 2)
    };
    let (fits, other) = (note(c, 3, 1), other.sign(&key(3)).unwrap());
    offer_all(&mut l, &[&granted(c, 1, 1, 3, &limited), &fits, &other]);
    assert!(l.holds(&fits) && !l.holds(&other));
}

#[test]
fn a_role_is_lowered_by_a_grant_that_replaces_the_others() {
    let mut l = club();
    let c = l.channel();
    let high = granted(c, 1, 1, 3, &new_grant(Role::Publisher));
    let (before, between) = (note(c, 3, 5), note(c, 3, 6));
    offer_all(&mut l, &[&high, &before, &between]);
    let low = Grant {
        replaces: Some(5),
        ..new_grant(Role::Member)
    };
    let low = NewRecord {
        created: WallMs(NOW.0 + 1),
        body: low.encode().into(),
        ..about(c, Kind::GRANT, 2, id(3).as_bytes())
    };
    let low = low.sign(&key(1)).unwrap();
    offer_all(&mut l, &[&low]);
    let change = Action::RoleChanged {
        peer: id(3),
        role: Role::Member,
    };
    assert!(l.out.contains(&change));
    assert_eq!(why_removed(&l, &between), Some(RemoveReason::NotPublisher));
    assert!(l.holds(&before) && l.holds(&high));
    // And in the other order.
    let mut l = club();
    offer_all(&mut l, &[&low, &between, &before, &high]);
    assert_eq!(l.held(), ids(&[&low, &before, &high]));
}

#[test]
fn a_subordinate_replaces_nothing_that_its_betters_gave() {
    let mut l = club();
    let c = l.channel();
    let high = granted(c, 1, 1, 3, &new_grant(Role::Publisher));
    let inviter = granted(c, 1, 2, 4, &new_grant(Role::Inviter));
    let low = Grant {
        replaces: Some(0),
        ..below(&inviter, Role::Member)
    };
    let low = granted(c, 4, 9, 3, &low);
    let n = note(c, 3, 1);
    offer_all(&mut l, &[&high, &inviter, &low, &n]);
    assert!(l.holds(&low) && l.holds(&n));
    assert_eq!(l.graph.role_of(&id(3), NOW), Some(Role::Publisher));
}

#[test]
fn with_several_roots_none_decides_alone_and_the_charters_admins_do() {
    let mut charter = Charter {
        admins: [id(2)].into(),
        roots: [id(1), id(5)].into(),
        threshold: 2,
        publishers: Publishers::Members,
        ..charter()
    };
    charter.readers = samara_graph::Readers::Everyone;
    let signed = charter.sign(&[&key(1), &key(5)]).unwrap();
    let chain = samara_graph::CharterChain::new(signed).unwrap();
    let config = samara_graph::Config::new(id(100), 1);
    let mut l = club();
    l.graph = samara_graph::Graph::restore(chain, [], config);
    l.up(50);
    let c = l.channel();
    let alone = granted(c, 1, 1, 7, &new_grant(Role::Member));
    let by_admin = granted(c, 2, 1, 7, &new_grant(Role::Member));
    offer_all(&mut l, &[&alone, &by_admin]);
    assert_eq!(l.rejected(Reject::Widens), 1);
    assert_eq!(l.held(), [by_admin.id()]);
    assert_eq!(l.graph.role_of(&id(1), NOW), Some(Role::Member));
    let by_root = revoked(c, 1, 2, 7, nothing());
    let of_root = revoked(c, 2, 2, 1, nothing());
    offer_all(&mut l, &[&by_root, &of_root]);
    assert_eq!(l.rejected(Reject::Outranked), 1);
    assert_eq!(l.held(), [by_admin.id()]);
}

#[test]
fn an_amendment_needs_the_roots_before_it() {
    let mut l = club();
    let first = l.graph.charters().unwrap().versions()[0].clone();
    let next = first.charter().successor(first.reference().hash, NOW);
    let refused = l.act(|g, now, out| g.amend(now, next.sign(&[&key(2)]).unwrap(), out));
    assert!(matches!(refused, Err(GraphError::Charter(_))));
}

#[test]
fn this_node_grants_revokes_and_is_told_what_it_may_not() {
    let mut l = club();
    let new = |subject, role| NewGrant {
        subject: id(subject),
        role,
        until: NOW.after(7 * DAY),
        kinds: [].into(),
        renewable: true,
        replaces: false,
    };
    let admin = l.act(|g, now, out| g.grant(now, &key(1), new(2, Role::Admin), out));
    assert_eq!(admin.unwrap().expires(), WallMs(limits::MAX_TIME_MS));
    let longer = NewGrant {
        until: NOW.after(99 * DAY),
        ..new(3, Role::Publisher)
    };
    l.act(|g, now, out| g.grant(now, &key(2), longer, out))
        .unwrap();
    let until = l.graph.members(NOW).into_iter().find(|m| m.peer == id(3));
    assert_eq!(until.unwrap().until, NOW.after(7 * DAY), "cut to its own");
    for (by, own, role) in [
        (2, Role::Admin, Role::Admin),
        (3, Role::Publisher, Role::Member),
    ] {
        let refused = l.act(|g, now, out| g.grant(now, &key(by), new(4, role), out));
        assert_eq!(refused, Err(GraphError::MayNotGive(own)));
    }
    let refused = l.act(|g, now, out| g.grant(now, &key(9), new(4, Role::Reader), out));
    assert_eq!(refused, Err(GraphError::NotPublisher(id(9))));

    let refused = l.act(|g, now, out| g.revoke(now, &key(2), id(1), Keep::Known, out));
    assert_eq!(refused, Err(GraphError::Outranked(id(1))));
    l.act(|g, now, out| g.revoke(now, &key(2), id(3), Keep::Known, out))
        .unwrap();
    let refused = l.act(|g, now, out| g.publish(now, &key(3), draft(), out));
    assert_eq!(refused, Err(GraphError::NotPublisher(id(3))));
}

fn draft() -> samara_graph::Draft {
    samara_graph::Draft {
        kind: Kind(70_000),
        key: Default::default(),
        attributes: Default::default(),
        body: Default::default(),
        lifetime: 99 * DAY,
        priority: 0,
    }
}

#[test]
fn what_a_node_publishes_ends_with_the_grant_it_stands_by() {
    let mut l = club();
    let c = l.channel();
    offer_all(&mut l, &[&granted(c, 1, 1, 3, &new_grant(Role::Publisher))]);
    let r = l.act(|g, now, out| g.publish(now, &key(3), draft(), out));
    assert_eq!(r.unwrap().expires(), NOW.after(30 * DAY));
}

#[test]
fn grants_are_renewed_in_their_last_quarter_by_who_gave_them() {
    let mut l = club();
    let c = l.channel();
    let a = admin(c, 1, 2);
    let fixed = Grant {
        renewable: false,
        until: NOW.after(4 * DAY),
        ..below(&a, Role::Member)
    };
    let short = Grant {
        renewable: true,
        ..fixed.clone()
    };
    let (short, fixed) = (granted(c, 2, 1, 3, &short), granted(c, 2, 2, 4, &fixed));
    offer_all(&mut l, &[&a, &short, &fixed]);
    let due = |l: &Lone, at: WallMs, who| l.graph.renewals(at, &id(who)).len();
    let quarter = NOW.after(3 * DAY);
    assert_eq!(due(&l, WallMs(quarter.0 - 1), 2), 0);
    assert_eq!(due(&l, quarter, 2), 1);
    // The owner comes in when the admin has not.
    assert_eq!(due(&l, quarter, 1), 0);
    assert_eq!(due(&l, NOW.after(3 * DAY + 12 * HOUR), 1), 1);
    assert_eq!(due(&l, quarter, 4), 0, "who gives nothing renews nothing");
    assert_eq!(due(&l, NOW.after(5 * DAY), 2), 0, "what is over is over");

    l.now = quarter;
    let draft = l.graph.renewals(quarter, &id(2)).remove(0);
    l.act(|g, now, out| g.publish(now, &key(2), draft, out))
        .unwrap();
    assert_eq!(due(&l, quarter, 2), 0, "once");
    // Not beyond the admin's own seven days.
    let member = l
        .graph
        .members(quarter)
        .into_iter()
        .find(|m| m.peer == id(3));
    assert_eq!(member.unwrap().until, NOW.after(7 * DAY));
}

#[test]
fn what_is_given_by_the_lesser_of_two_roles_ends_with_it() {
    let mut l = club();
    let c = l.channel();
    let lesser = Grant {
        until: NOW.after(29 * DAY),
        ..new_grant(Role::Inviter)
    };
    // It lasts longer than the admin's role, and its record less long.
    offer_all(&mut l, &[&granted(c, 1, 1, 2, &lesser), &admin(c, 2, 2)]);
    let new = NewGrant {
        subject: id(3),
        role: Role::Member,
        until: NOW.after(DAY),
        kinds: [].into(),
        renewable: false,
        replaces: false,
    };
    let made = l
        .act(|g, now, out| g.grant(now, &key(2), new, out))
        .unwrap();
    assert_eq!(made.expires(), NOW.after(30 * DAY));
    assert_eq!(l.graph.role_of(&id(3), NOW), Some(Role::Member));
}

#[test]
fn an_owners_time_raises_a_floor_and_nobody_elses_does() {
    let mut l = club();
    let c = l.channel();
    let time = |by, seq, at| {
        let new = NewRecord {
            body: TimeFloor { at }.encode().into(),
            ..about(c, Kind::TIME, seq, b"")
        };
        new.sign(&key(by)).unwrap()
    };
    offer_all(&mut l, &[&admin(c, 1, 2), &time(2, 1, NOW)]);
    assert_eq!(l.rejected(Reject::NotPublisher), 1);
    assert_eq!(l.graph.time_floor(), None);
    let early = time(1, 3, NOW.before(HOUR));
    offer_all(&mut l, &[&time(1, 2, NOW), &early]);
    assert_eq!(l.graph.time_floor(), Some(NOW));
    // Nor does it vouch for a time after its own.
    offer_all(&mut l, &[&time(1, 4, WallMs(NOW.0 + 1))]);
    assert_eq!(l.rejected(Reject::BadBody), 1);
}

#[test]
fn presence_is_a_lease_where_the_charter_has_it() {
    let leased = Charter {
        presence_ms: Some(60_000),
        ..charter()
    };
    let mut l = Lone::of(&leased);
    let c = l.channel();
    let lease = |seq, ms| {
        let new = NewRecord {
            kind: Kind::PRESENCE,
            expires: WallMs(NOW.0 + ms),
            ..new_record(c, seq)
        };
        new.sign(&key(6)).unwrap()
    };
    let (fits, long) = (lease(1, 60_000), lease(2, 60_001));
    offer_all(
        &mut l,
        &[&granted(c, 1, 1, 6, &new_grant(Role::Member)), &fits, &long],
    );
    assert!(l.holds(&fits));
    assert_eq!(l.rejected(Reject::Lifetime), 1);
    assert_eq!(
        l.graph.presence_lease(),
        Some(std::time::Duration::from_secs(60))
    );
    assert_eq!(club().graph.presence_lease(), None);

    // With the owner they are as many as may be, then one more.
    let many = limits::MAX_PRESENT as u64;
    for n in 0..many {
        let to = samara_wire::PeerId([n as u8; 32]);
        let new = NewRecord {
            body: new_grant(Role::Member).encode().into(),
            ..about(c, Kind::GRANT, 10 + n, to.as_bytes())
        };
        if n == many - 2 {
            assert!(l.graph.presence_lease().is_some());
        }
        offer_all(&mut l, &[&new.sign(&key(1)).unwrap()]);
    }
    assert_eq!(l.graph.presence_lease(), None);
}

#[test]
fn offline_nothing_ends_under_its_reader_but_releases() {
    let deferring = Charter {
        deferred_expiry: true,
        ..charter()
    };
    for (charter, keeps) in [(deferring, true), (charter(), false)] {
        let mut l = Lone::of(&charter);
        let c = l.channel();
        let n = note(c, 1, 1);
        let release = samara_graph::body::Release {
            version: "1".into(),
            content: samara_graph::body::ContentRef {
                id: samara_wire::ContentId([1; 32]),
                root_len: 1,
                bytes: 1,
                files: 1,
            },
            notes: String::new(),
        };
        let release = NewRecord {
            kind: Kind::RELEASE,
            key: bytes::Bytes::from_static(b"1"),
            body: release.encode().into(),
            ..new_record(c, 2)
        };
        let release = release.sign(&key(1)).unwrap();
        offer_all(&mut l, &[&n, &release]);
        for n in [50, 51] {
            l.event(Event::NeighbourDown { peer: id(n) });
        }
        l.pass(5 * HOUR);
        l.event(Event::Tick);
        assert!(!l.holds(&release));
        assert_eq!(l.holds(&n), keeps);
        // A connection alone is nobody met.
        l.event(Event::NeighbourUp { peer: id(60) });
        l.pass(HOUR);
        assert_eq!(l.holds(&n), keeps, "not before it has met somebody");
        l.up(60);
        l.event(Event::Tick);
        assert!(!l.holds(&n));
    }
}

/// A restart is no way around it, and who meets somebody is off again when that one
/// goes.
#[test]
fn what_ends_is_kept_from_the_start_until_somebody_is_met() {
    let mut l = Lone::of(&Charter {
        deferred_expiry: true,
        ..charter()
    });
    let c = l.channel();
    let n = note(c, 1, 1);
    offer_all(&mut l, &[&n]);
    let chain = l.graph.charters().unwrap().clone();
    let headers: Vec<_> = l.graph.records().map(|h| h.to_header()).collect();
    l.graph = samara_graph::Graph::restore(chain, headers, samara_graph::Config::new(id(100), 1));
    l.pass(5 * HOUR);
    assert!(l.holds(&n));
    l.up(50);
    l.event(Event::Tick);
    assert!(!l.holds(&n));
    let fresh = NewRecord {
        created: l.now,
        expires: l.now.after(HOUR),
        ..new_record(c, 2)
    };
    let fresh = fresh.sign(&key(1)).unwrap();
    l.offer(&fresh);
    l.event(Event::NeighbourDown { peer: id(50) });
    l.pass(2 * HOUR);
    assert!(l.holds(&fresh));
}

#[test]
fn a_restart_says_nothing_of_who_was_there_before_and_forgets_nobody() {
    let mut l = Lone::of(&private());
    let c = l.channel();
    l.event(Event::NeighbourUp { peer: id(1) });
    l.graph.forget_proof(&id(1));
    let a = admin(c, 1, 2);
    let p = granted(c, 2, 1, 3, &below(&a, Role::Publisher));
    let n = note(c, 3, 1);
    let offered = |l: &mut Lone, r: &samara_graph::Record| {
        let bytes = r.bytes().clone();
        l.say(1, samara_graph::Message::Record(bytes));
    };
    [&a, &p, &n].into_iter().for_each(|r| offered(&mut l, r));
    let mut headers: Vec<_> = l.graph.records().map(|h| h.to_header()).collect();
    // In the worst order: each before what it stands by.
    headers.sort_by_key(|h| (h.kind.is_control(), h.author == id(1)));
    let chain = l.graph.charters().unwrap().clone();
    let config = samara_graph::Config::new(id(100), 1);
    l.graph = samara_graph::Graph::restore(chain.clone(), headers.clone(), config.clone());
    l.event(Event::Tick);
    let mut roles = vec![
        (id(1), Role::Owner),
        (id(2), Role::Admin),
        (id(3), Role::Publisher),
    ];
    roles.sort();
    let found = Action::MembersFound {
        roles: roles.clone(),
    };
    assert_eq!(l.out, [found]);
    assert_eq!(l.held(), ids(&[&a, &p, &n]));
    assert_eq!(l.graph.role_of(&id(3), NOW), Some(Role::Publisher));
    // With what was told recalled, nothing is found; and what changed is told.
    l.graph = samara_graph::Graph::restore(chain.clone(), headers.clone(), config.clone());
    l.graph.recall_members(roles.into_iter().collect());
    l.event(Event::Tick);
    assert_eq!(l.out, []);
    l.graph = samara_graph::Graph::restore(chain, headers, config);
    let told = [(1, Role::Owner), (3, Role::Reader), (9, Role::Member)];
    let told = told.map(|(n, role)| (id(n), role));
    l.graph.recall_members(told.into());
    l.event(Event::Tick);
    let mut out = std::mem::take(&mut l.out);
    out.sort_by_key(|action| format!("{action:?}"));
    let (peer, role) = (id(2), Role::Admin);
    let joined = Action::MemberJoined { peer, role };
    let (peer, reason) = (id(9), LeaveReason::Lapsed);
    let left = Action::MemberLeft { peer, reason };
    let (peer, role) = (id(3), Role::Publisher);
    assert_eq!(out, [joined, left, Action::RoleChanged { peer, role }]);
    l.event(Event::Tick);
    assert_eq!(l.out, [], "and only once");
}

#[test]
fn being_there_displaces_nothing_and_is_no_offence() {
    let mut charter = Charter {
        presence_ms: Some(60_000),
        publishers: Publishers::Members,
        ..charter()
    };
    charter.limits.records_per_author = 2;
    charter.limits.records_total = 2;
    let c = Lone::of(&charter).channel();
    let member = granted(c, 1, 1, 7, &new_grant(Role::Member));
    let lease = |seq: u64| {
        let new = NewRecord {
            kind: Kind::PRESENCE,
            expires: WallMs(NOW.0 + 60_000),
            ..new_record(c, seq)
        };
        new.sign(&key(7)).unwrap()
    };
    let (one, two) = (note(c, 7, 2), note(c, 7, 3));
    let leases: Vec<_> = (4..9).map(lease).collect();
    let mut all: Vec<&Record> = leases.iter().chain([&one, &two]).collect();
    for turn in 0..all.len() {
        all.rotate_left(1);
        let mut l = Lone::of(&charter);
        offer_all(&mut l, &[&member]);
        offer_all(&mut l, &all);
        let stand = ids(&[&member, &one, &two, &leases[3], &leases[4]]);
        assert_eq!(l.held(), stand, "turned by {turn}");
        assert_eq!(l.graph.status().offenders, []);
    }
    // Of one sequence the record stands, not the lease.
    let mut l = Lone::of(&charter);
    offer_all(&mut l, &[&member, &lease(3), &two]);
    assert_eq!(l.held(), ids(&[&member, &two]));
}
