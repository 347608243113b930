//! Who leaves by itself: what it was given ends, what it wrote stands, and it may come
//! back.

use std::time::Duration;

use samara_graph::{
    Access, Action, Event, GraphError, Kind, LeaveReason, Message, NewGrant, NewRecord, Proof,
    Record, Refusal, Reject, Role, WallMs, body::Grant, body::Retraction, limits,
};
use samara_wire::ChannelId;

use crate::{
    club::{
        DAY, about, club, granted, id, ids, invited, new_grant, new_invite, note, nothing,
        offer_all, private, redeemed, revoked,
    },
    lone::{HOUR, Lone, NOW, key, sent_to},
};

/// A minute after the club was made, and after what is redeemed in it.
const LATER: WallMs = WallMs(NOW.0 + 120_000);

fn leave(c: ChannelId, by: u8, seq: u64, retraction: &Retraction) -> NewRecord {
    NewRecord {
        created: LATER,
        expires: WallMs(limits::MAX_TIME_MS),
        body: retraction.encode().into(),
        ..about(c, Kind::RETRACTION, seq, id(by).as_bytes())
    }
}

fn left(c: ChannelId, by: u8, seq: u64) -> Record {
    let new = leave(c, by, seq, &Retraction::leave(&id(by)));
    new.sign(&key(by)).unwrap()
}

fn publisher(c: ChannelId, seq: u64, to: u8) -> Record {
    granted(c, 1, seq, to, &new_grant(Role::Publisher))
}

fn role(l: &Lone, n: u8) -> Option<Role> {
    l.graph.role_of(&id(n), l.now)
}

fn went(l: &Lone) -> Vec<LeaveReason> {
    let went = l.out.iter().filter_map(|a| match a {
        Action::MemberLeft { reason, .. } => Some(*reason),
        _ => None,
    });
    went.collect()
}

fn proof(l: &Lone, records: &[&Record]) -> Proof {
    Proof {
        charter: l.graph.charters().unwrap().reference(),
        records: records.iter().map(|r| (*r).clone()).collect(),
    }
}

fn check(l: &mut Lone, n: u8, records: &[&Record]) -> Result<Access, Refusal> {
    let proof = proof(l, records);
    l.act(|g, now, out| g.check_proof(now, &id(n), &proof, out))
}

#[test]
fn who_leaves_is_listed_as_such_and_what_it_wrote_stands() {
    let mut l = club();
    let c = l.channel();
    l.now = LATER;
    let (grant, before) = (publisher(c, 1, 3), note(c, 3, 1));
    let (leave, after) = (left(c, 3, 2), note(c, 3, 3));
    offer_all(&mut l, &[&grant, &before]);
    assert_eq!(role(&l, 3), Some(Role::Publisher));
    offer_all(&mut l, &[&leave]);
    assert_eq!(went(&l), [LeaveReason::Left]);
    assert_eq!(role(&l, 3), None);
    offer_all(&mut l, &[&after]);
    assert_eq!(l.held(), ids(&[&grant, &before, &leave]));
    let members = l.graph.members(l.now);
    let seen = members.iter().find(|m| m.peer == id(3)).unwrap();
    assert!(seen.left && !seen.revoked);
    assert_eq!((seen.role, seen.until), (None, LATER));
    // Nobody brings it back because its time runs out.
    let due = |l: &Lone| l.graph.renewals(NOW.after(6 * DAY), &id(1)).len();
    assert_eq!(due(&l), 0);
    let mut other = club();
    offer_all(&mut other, &[&grant]);
    assert_eq!(due(&other), 1, "but for the leave it would be renewed");
}

#[test]
fn what_says_that_somebody_left_stands_in_any_order_as_long_as_what_it_gives_back() {
    let mut l = club();
    let c = l.channel();
    l.now = LATER;
    let (grant, after) = (publisher(c, 1, 3), note(c, 3, 3));
    let leave = left(c, 3, 2);
    offer_all(&mut l, &[&after, &leave]);
    assert_eq!((l.held(), l.graph.status().waiting), (vec![], 2));
    offer_all(&mut l, &[&grant]);
    assert_eq!(l.held(), ids(&[&grant, &leave]));
    assert_eq!(role(&l, 3), None);
    // A renewal by somebody who did not know of it, with a longer life.
    let renewed = Grant {
        until: NOW.after(20 * DAY),
        ..new_grant(Role::Publisher)
    };
    offer_all(&mut l, &[&granted(c, 1, 2, 3, &renewed)]);
    assert_eq!(role(&l, 3), None);
    l.pass(25 * DAY);
    assert!(l.holds(&leave));
    assert_eq!(role(&l, 3), None);
    l.pass(6 * DAY);
    assert_eq!(
        l.held(),
        [],
        "nothing of it is left when the grants are gone"
    );
}

#[test]
fn what_waits_since_its_author_left_comes_in_when_the_leave_does_not_stand() {
    // Of two records of one sequence the lower id stands.
    let c = club().channel();
    let leave = left(c, 3, 5);
    let mut l = club();
    l.now = LATER;
    let grant = granted(c, 1, 1, 3, &new_grant(Role::Admin));
    let below = samara_graph::body::Invite {
        parent: Some(grant.id()),
        ..new_invite(1)
    };
    let rival = (100..=255u8).map(|n| invited(c, 3, 5, n, &below));
    let rival = rival.into_iter().find(|r| r.id() < leave.id());
    let rival = rival.expect("one in many is lower");
    let after = note(c, 3, 6);
    offer_all(&mut l, &[&grant, &leave, &after]);
    assert_eq!(l.held(), ids(&[&grant, &leave]));
    offer_all(&mut l, &[&rival]);
    assert_eq!(l.held(), ids(&[&grant, &rival, &after]));
}

#[test]
fn nobody_leaves_for_another_nor_for_a_while_nor_who_does_not_belong() {
    let mut l = club();
    let c = l.channel();
    l.now = LATER;
    let grant = publisher(c, 1, 3);
    offer_all(&mut l, &[&grant, &publisher(c, 2, 4)]);
    let signed = |new: NewRecord| new.sign(&key(3)).unwrap();
    let own = Retraction::leave(&id(3));
    let bad = [
        signed(leave(c, 3, 10, &Retraction::leave(&id(4)))),
        signed(NewRecord {
            expires: NOW.after(30 * DAY),
            ..leave(c, 3, 11, &own)
        }),
        signed(leave(
            c,
            3,
            12,
            &Retraction {
                up_to: 1,
                ..own.clone()
            },
        )),
        signed(leave(
            c,
            3,
            13,
            &Retraction {
                kind: Kind::REDEMPTION,
                ..own
            },
        )),
    ];
    for (n, record) in bad.iter().enumerate() {
        // What cannot be said is no offence of who carries it.
        l.event(Event::NeighbourUp { peer: id(60) });
        l.say(60, Message::Record(record.bytes().clone()));
        assert!(!l.holds(record), "{n}");
        assert_eq!(l.rejected(Reject::BadBody), n as u64 + 1);
    }
    let stranger = left(c, 9, 1);
    offer_all(&mut l, &[&stranger]);
    assert!(!l.holds(&stranger));
    assert_eq!(l.graph.status().waiting, 1);
    assert_eq!(role(&l, 3), Some(Role::Publisher));
    assert_eq!(role(&l, 4), Some(Role::Publisher));
}

#[test]
fn a_later_grant_or_invitation_brings_back_who_left() {
    let mut l = club();
    let c = l.channel();
    let one = invited(c, 1, 1, 80, &new_invite(1));
    let joined = redeemed(&one, 3, 80);
    offer_all(&mut l, &[&one]);
    l.now = LATER;
    offer_all(&mut l, &[&joined, &left(c, 3, 2)]);
    assert_eq!(role(&l, 3), None);
    assert!(l.graph.is_used_up(&one.id()), "the place stays taken");
    // Its own sequences tell what came after, whatever the clock says.
    let two = invited(c, 1, 2, 81, &new_invite(1));
    let again = NewRecord {
        seq: 3,
        ..rejoin(&two, 3, 81)
    };
    offer_all(&mut l, &[&two, &again.sign(&key(3)).unwrap()]);
    assert_eq!(role(&l, 3), Some(Role::Member));
    let members = l.graph.members(l.now);
    assert!(!members.iter().any(|m| m.left));
    // And again, by a grant.
    offer_all(&mut l, &[&left(c, 3, 4)]);
    assert_eq!(role(&l, 3), None);
    let grant = NewRecord {
        created: WallMs(LATER.0 + 1),
        body: new_grant(Role::Keeper).encode().into(),
        ..about(c, Kind::GRANT, 3, id(3).as_bytes())
    };
    offer_all(&mut l, &[&grant.sign(&key(1)).unwrap()]);
    assert_eq!(role(&l, 3), Some(Role::Keeper));
}

/// A redemption, to be signed.
fn rejoin(invite: &Record, joiner: u8, one_time: u8) -> NewRecord {
    let made = redeemed(invite, joiner, one_time);
    NewRecord {
        created: made.created(),
        expires: made.expires(),
        body: made.body().clone(),
        ..about(invite.channel(), Kind::REDEMPTION, 1, made.key())
    }
}

#[test]
fn who_joins_an_open_channel_is_told_that_it_is_known_unless_another_came_first() {
    let mut l = club();
    let one = invited(l.channel(), 1, 1, 80, &new_invite(1));
    offer_all(&mut l, &[&one]);
    l.now = LATER;
    let mut joined = [3, 4].map(|n| redeemed(&one, n, 80));
    joined.sort_by_key(Record::id);
    for joined in &joined {
        let n = [3, 4]
            .into_iter()
            .find(|n| id(*n) == joined.author())
            .unwrap();
        l.up(n);
        let out = l.say(n, Message::Record(joined.bytes().clone())).to_vec();
        let told = sent_to(&out, n).contains(&Message::Have(vec![joined.id()]));
        assert_eq!(told, l.holds(joined));
    }
    assert!(l.holds(&joined[0]) && !l.holds(&joined[1]));
}

#[test]
fn a_member_that_lost_its_disk_comes_back_by_the_link_that_it_used() {
    let mut l = Lone::of(&private());
    let c = l.channel();
    let one = invited(c, 1, 1, 80, &new_invite(1));
    let joined = redeemed(&one, 3, 80);
    offer_all(&mut l, &[&one]);
    l.now = LATER;
    check(&mut l, 3, &[&joined, &one]).unwrap();
    assert!(l.holds(&joined));
    l.act(|g, now, out| g.end_invitation(now, &key(1), one.id(), out))
        .unwrap();
    let again = NewRecord {
        seq: 3,
        ..rejoin(&one, 3, 80)
    };
    let again = again.sign(&key(3)).unwrap();
    assert_ne!(again.id(), joined.id());
    check(&mut l, 3, &[&again, &one]).unwrap();
    assert!(l.holds(&joined) && !l.holds(&again));
    let other = redeemed(&one, 4, 80);
    assert!(check(&mut l, 4, &[&other, &one]).is_err());
}

#[test]
fn who_left_a_private_channel_is_told_that_it_is_known_and_let_in_no_more() {
    let mut l = Lone::of(&private());
    let c = l.channel();
    l.event(Event::NeighbourUp { peer: id(1) });
    let one = invited(c, 1, 1, 80, &new_invite(1));
    l.say(1, Message::Record(one.bytes().clone()));
    let joined = redeemed(&one, 3, 80);
    l.now = LATER;
    check(&mut l, 3, &[&joined, &one]).unwrap();
    l.event(Event::NeighbourUp { peer: id(3) });
    let leave = left(c, 3, 2);
    let out = l.say(3, Message::Record(leave.bytes().clone())).to_vec();
    // First that it is known, then the end.
    assert!(sent_to(&out, 3).contains(&Message::Have(vec![leave.id()])));
    let at = |wanted: &dyn Fn(&Action) -> bool| out.iter().position(wanted).unwrap();
    let told = at(&|a| {
        matches!(
            a,
            Action::Send {
                message: Message::Have(_),
                ..
            }
        )
    });
    let gone = Action::Expel {
        peer: id(3),
        reason: LeaveReason::Left,
    };
    assert!(told < at(&|a| *a == gone));
    assert_eq!(
        check(&mut l, 3, &[&joined, &one]),
        Err(Refusal::Record(Reject::OutOfTime))
    );
    assert_eq!(check(&mut l, 3, &[]), Err(Refusal::NotMember));
    // Until it was invited again.
    let two = invited(c, 1, 2, 81, &new_invite(1));
    let again = NewRecord {
        seq: 3,
        ..rejoin(&two, 3, 81)
    };
    let again = again.sign(&key(3)).unwrap();
    assert!(check(&mut l, 3, &[&again, &two]).is_ok());
    assert_eq!(role(&l, 3), Some(Role::Member));
}

#[test]
fn whom_somebody_invited_that_left_later_belongs_and_comes_in() {
    let mut l = Lone::of(&private());
    let c = l.channel();
    l.event(Event::NeighbourUp { peer: id(1) });
    let inviter = granted(c, 1, 1, 2, &new_grant(Role::Inviter));
    let below = samara_graph::body::Invite {
        parent: Some(inviter.id()),
        ..new_invite(2)
    };
    let link = invited(c, 2, 1, 80, &below);
    let (early, late) = (redeemed(&link, 3, 80), redeemed(&link, 4, 80));
    l.now = LATER;
    for record in [&inviter, &link, &early, &left(c, 2, 2)] {
        l.say(1, Message::Record(record.bytes().clone()));
    }
    assert_eq!((role(&l, 2), role(&l, 3)), (None, Some(Role::Member)));
    assert!(check(&mut l, 4, &[&late, &link, &inviter]).is_ok());
    assert_eq!(role(&l, 4), Some(Role::Member));
    // What is made after that stands by nothing.
    let more = invited(c, 2, 3, 81, &below);
    let refused = check(&mut l, 5, &[&redeemed(&more, 5, 81), &more, &inviter]);
    assert_eq!(refused, Err(Refusal::Record(Reject::NoAuthority)));
}

#[test]
fn a_node_leaves_and_is_given_a_role_again_by_clocks_that_differ() {
    let mut l = club();
    let c = l.channel();
    let give = |l: &mut Lone, ahead: i64| {
        let at = l.now;
        l.now = WallMs(at.0.wrapping_add_signed(ahead));
        let new = NewGrant {
            subject: id(3),
            role: Role::Member,
            until: l.now.after(7 * DAY),
            kinds: [].into(),
            renewable: true,
            replaces: true,
        };
        l.act(|g, now, out| g.grant(now, &key(1), new, out))
            .unwrap();
        l.now = at;
    };
    for nobody in [1, 3] {
        let done = l.act(|g, now, out| g.leave(now, &key(nobody), out));
        assert_eq!(done, Err(GraphError::NothingToLeave(id(nobody))));
    }
    // By a clock five minutes ahead, then by one five minutes behind.
    for ahead in [300_000, -300_000] {
        give(&mut l, ahead);
        assert_eq!(role(&l, 3), Some(Role::Member), "{ahead}");
        l.now = l.now.after(Duration::from_secs(60));
        let gone = l.act(|g, now, out| g.leave(now, &key(3), out)).unwrap();
        assert!(l.holds(&gone));
        assert_eq!(role(&l, 3), None, "{ahead}");
    }
    give(&mut l, 0);
    assert_eq!(role(&l, 3), Some(Role::Member));
    // Revoked is more than left.
    offer_all(&mut l, &[&revoked(c, 1, u64::from(u32::MAX), 3, nothing())]);
    let revoked = l.graph.members(l.now.after(HOUR));
    let seen = revoked.iter().find(|m| m.peer == id(3)).unwrap();
    assert!(seen.revoked && !seen.left);
    let done = l.act(|g, now, out| g.leave(now, &key(3), out));
    assert_eq!(done, Err(GraphError::NothingToLeave(id(3))));
}
