//! Coming in by a link.

use samara_graph::{
    Action, Event, GraphError, Invitation, Keep, Kind, Link, NewInvite, NewRecord, Record, Reject,
    RemoveReason, Role, WallMs,
    body::{Invite, Redemption},
    limits,
};

use crate::{
    club::{
        DAY, about, admin, charter, club, commune, granted, id, ids, invited, new_grant,
        new_invite, note, nothing, offer_all, redeemed, revoked, why_removed,
    },
    lone::{HOUR, Lone, NOW, key},
};

#[test]
fn an_invitation_makes_its_bearer_a_member_until_it_ends() {
    let mut l = commune();
    let c = l.channel();
    let i = invited(c, 1, 1, 90, &new_invite(1));
    let joined = redeemed(&i, 7, 90);
    let n = note(c, 7, 5);
    // The one who joins may come before the invite does.
    offer_all(&mut l, &[&n, &joined, &i]);
    assert_eq!(l.held(), ids(&[&n, &joined, &i]));
    let end = NOW.after(DAY);
    assert_eq!(l.graph.role_of(&id(7), end), Some(Role::Member));
    assert_eq!(l.graph.role_of(&id(7), WallMs(end.0 + 1)), None);
    let view = l.graph.members(NOW).into_iter().find(|m| m.peer == id(7));
    assert_eq!(view.unwrap().until, end);
    // Who invited confirms it at once where the door is open, as it is here.
    assert_eq!(l.graph.renewals(NOW.after(HOUR), &id(1)).len(), 1);
    assert_eq!(l.graph.renewals(NOW.after(HOUR), &id(2)).len(), 0);
    // And it is renewed, for longer than the link was good for.
    let draft = l.graph.renewals(NOW.after(DAY / 4 * 3 + HOUR), &id(1));
    l.now = NOW.after(DAY / 4 * 3 + HOUR);
    let draft = draft.into_iter().next().unwrap();
    l.act(|g, now, out| g.publish(now, &key(1), draft, out))
        .unwrap();
    let renewed = l.now.after(limits::RENEWED_FOR);
    assert_eq!(l.graph.role_of(&id(7), renewed), Some(Role::Member));
}

/// One bearer can make up as many members as there are uses: what helps is to see who
/// came by which invitation, and to take it back with all of them.
#[test]
fn a_revoked_invitation_takes_everybody_who_came_by_it() {
    let mut l = commune();
    let c = l.channel();
    let i = invited(c, 1, 1, 90, &new_invite(4));
    let came = [7, 8].map(|n| redeemed(&i, n, 90));
    let others = invited(c, 1, 2, 91, &new_invite(1));
    let other = redeemed(&others, 6, 91);
    let n = note(c, 7, 5);
    offer_all(&mut l, &[&i, &others, &came[0], &came[1], &other, &n]);
    let view = |l: &Lone, n| l.graph.members(NOW).into_iter().find(|m| m.peer == id(n));
    let seven = view(&l, 7).unwrap();
    assert_eq!((seven.invite, seven.by), (Some(i.id()), Some(id(1))));
    assert_eq!(view(&l, 1).unwrap().invite, None);
    // A member may not.
    let by_member =
        l.act(|g, now, out| g.revoke_invitation(now, &key(6), i.id(), Keep::Known, out));
    assert!(by_member.is_err());
    let done = l.act(|g, now, out| g.revoke_invitation(now, &key(1), i.id(), Keep::Known, out));
    let mut both = vec![id(7), id(8)];
    both.sort_unstable();
    assert_eq!(done, Ok((both, vec![])));
    let revocations: Vec<Record> = l
        .out
        .iter()
        .filter_map(|a| match a {
            Action::Deliver { record } => Some(record.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(revocations.len(), 3);
    for gone in [7, 8] {
        assert_eq!(l.graph.role_of(&id(gone), NOW), None);
        assert!(view(&l, gone).unwrap().revoked);
    }
    assert_eq!(l.graph.role_of(&id(6), NOW), Some(Role::Member));
    assert!(l.holds(&n), "what it wrote before stays");
    assert_eq!(view(&l, 90), None, "a one-time key is nobody");
    // Nobody else comes in, also not by what was signed before.
    let late = redeemed(&i, 9, 90);
    offer_all(&mut l, &[&late]);
    assert!(!l.holds(&late));
    assert_eq!(l.rejected(Reject::Revoked), 1);

    // In any order the same stands.
    let mut all: Vec<&Record> = vec![&late, &came[0], &came[1], &n, &i, &others, &other];
    all.extend(&revocations);
    for turn in 0..all.len() {
        all.rotate_left(1);
        let mut other = commune();
        offer_all(&mut other, &all);
        assert_eq!(other.held(), l.held(), "turned by {turn}");
    }
    let unknown = l.act(|g, now, out| g.revoke_invitation(now, &key(1), n.id(), Keep::Known, out));
    assert_eq!(unknown, Err(GraphError::NoInvitation(n.id())));
}

/// Redemptions by different joiners, the lowest id first.
fn by_id(invite: &Record, joiners: std::ops::Range<u8>) -> Vec<(u8, Record)> {
    let mut all: Vec<_> = joiners.map(|n| (n, redeemed(invite, n, 90))).collect();
    all.sort_by_key(|(_, r)| r.id());
    all
}

#[test]
fn used_more_often_than_it_may_the_lowest_ids_stand_in_any_order() {
    let c = commune().channel();
    let i = invited(c, 1, 1, 90, &new_invite(2));
    let all = by_id(&i, 7..11);
    for turn in 0..all.len() {
        let mut turned: Vec<_> = all.iter().map(|(_, r)| r).collect();
        turned.rotate_left(turn);
        let mut l = commune();
        offer_all(&mut l, &[&i]);
        offer_all(&mut l, &turned);
        assert_eq!(l.held(), ids(&[&i, &all[0].1, &all[1].1]));
        let refused = l.rejected(Reject::InviteUsedUp);
        let left = l.graph.members(NOW).len();
        assert!(refused <= 2 && left == 3, "the owner and two");
    }
}

#[test]
fn used_on_both_sides_of_a_partition_one_stands_and_the_other_falls() {
    let c = commune().channel();
    let i = invited(c, 1, 1, 90, &new_invite(1));
    let both = by_id(&i, 7..9);
    let [(low, first), (high, second)] = &both[..] else {
        unreachable!()
    };
    let n = note(c, *high, 5);
    let mut l = commune();
    offer_all(&mut l, &[&i, second, &n]);
    assert!(l.holds(&n));
    offer_all(&mut l, &[first]);
    assert_eq!(why_removed(&l, second), Some(RemoveReason::InviteUsedUp));
    assert_eq!(why_removed(&l, &n), Some(RemoveReason::NotPublisher));
    assert_eq!(
        l.graph.role_of(&id(*low), NOW.after(HOUR)),
        Some(Role::Member)
    );
    assert_eq!(l.graph.role_of(&id(*high), NOW.after(HOUR)), None);
    // On the other side it is told so.
    offer_all(&mut l, &[second]);
    assert_eq!(l.rejected(Reject::InviteUsedUp), 1);
}

#[test]
fn one_joiner_takes_one_place_however_often_it_redeems() {
    let mut l = commune();
    let c = l.channel();
    let i = invited(c, 1, 1, 90, &new_invite(2));
    let again = NewRecord {
        expires: i.expires(),
        body: Redemption::sign(c, i.id(), &id(7), &key(90))
            .encode()
            .into(),
        ..about(c, Kind::REDEMPTION, 9, id(90).as_bytes())
    };
    let again = again.sign(&key(7)).unwrap();
    let (one, two) = (redeemed(&i, 7, 90), redeemed(&i, 8, 90));
    offer_all(&mut l, &[&i, &one, &again, &two]);
    assert_eq!(l.held(), ids(&[&i, &one, &again, &two]));
}

#[test]
fn a_revoked_bearer_does_not_come_back_under_another_name() {
    let c = commune().channel();
    let i = invited(c, 1, 1, 90, &new_invite(1));
    let both = by_id(&i, 7..9);
    // The one with the higher id was in, and was revoked; its key is still there.
    let (high, joined) = &both[1];
    let mut l = commune();
    offer_all(&mut l, &[&i, joined]);
    let revoke = |g: &mut samara_graph::Graph, now, out: &mut Vec<_>| {
        g.revoke(now, &key(1), id(*high), Keep::Nothing, out)
    };
    let r = l.act(revoke).unwrap();
    offer_all(&mut l, &[&both[0].1]);
    assert_eq!(l.held(), ids(&[&i, joined, &r]));
    assert_eq!(l.rejected(Reject::InviteUsedUp), 1);
    assert_eq!(l.graph.role_of(&id(*high), NOW), None);
    // Nor does one who was revoked before it redeemed anything take another's place.
    let mut l = commune();
    let (low, other) = &both[0];
    offer_all(
        &mut l,
        &[&i, joined, &revoked(c, 1, 2, *low, nothing()), other],
    );
    assert_eq!(l.rejected(Reject::Revoked), 1);
    assert!(l.holds(joined));
}

#[test]
fn an_invitation_is_redeemed_with_its_key_in_its_channel_in_its_time() {
    let mut l = commune();
    let c = l.channel();
    let i = invited(c, 1, 1, 90, &new_invite(9));
    offer_all(&mut l, &[&i]);
    let with = |joiner: u8, body: Redemption, change: fn(&mut NewRecord)| {
        let mut new = NewRecord {
            expires: i.expires(),
            body: body.encode().into(),
            ..about(c, Kind::REDEMPTION, 1, id(90).as_bytes())
        };
        change(&mut new);
        new.sign(&key(joiner)).unwrap()
    };
    let own = |joiner: u8| Redemption::sign(c, i.id(), &id(joiner), &key(90));
    let elsewhere = samara_wire::ChannelId([9; 32]);
    let bad = [
        (
            with(7, Redemption::sign(c, i.id(), &id(7), &key(91)), |_| ()),
            "another key",
        ),
        (with(7, own(8), |_| ()), "signed for another joiner"),
        (
            with(
                7,
                Redemption::sign(elsewhere, i.id(), &id(7), &key(90)),
                |_| (),
            ),
            "another channel's",
        ),
        (
            with(7, own(7), |n| n.expires.0 -= 1),
            "a place that would come free",
        ),
        (
            with(7, own(7), |n| n.key = id(91).as_bytes().to_vec().into()),
            "another invite's key",
        ),
    ];
    for (n, (record, why)) in bad.iter().enumerate() {
        offer_all(&mut l, &[record]);
        assert_eq!(l.rejected(Reject::BadInvitation), n as u64 + 1, "{why}");
    }
    let late = with(7, own(7), |n| n.created = WallMs(NOW.after(DAY).0 + 1));
    l.now = NOW.after(DAY);
    offer_all(&mut l, &[&late]);
    assert_eq!(l.rejected(Reject::InviteExpired), 1);
    let foreign = with(7, own(7), |n| n.channel = samara_wire::ChannelId([9; 32]));
    offer_all(&mut l, &[&foreign]);
    assert_eq!(l.rejected(Reject::ForeignChannel), 1);
    assert_eq!(l.held(), [i.id()]);
}

#[test]
fn who_may_invite_to_what() {
    let mut l = club();
    let c = l.channel();
    let a = admin(c, 1, 2);
    let i = granted(c, 1, 2, 3, &new_grant(Role::Inviter));
    let m = granted(c, 1, 3, 4, &new_grant(Role::Member));
    offer_all(&mut l, &[&a, &i, &m]);
    let to = |by: u8, parent: &Record, role| {
        let invite = Invite {
            role,
            parent: Some(parent.id()),
            ..new_invite(1)
        };
        invited(c, by, 50 + role as u64, 90, &invite)
    };
    for role in [
        Role::Publisher,
        Role::Inviter,
        Role::Keeper,
        Role::Member,
        Role::Reader,
    ] {
        let by_admin = to(2, &a, role);
        let by_inviter = to(3, &i, role);
        let by_member = to(4, &m, role);
        offer_all(&mut l, &[&by_admin, &by_inviter, &by_member]);
        let low = role >= Role::Member;
        assert_eq!(
            (l.holds(&by_admin), l.holds(&by_inviter)),
            (true, low),
            "{role}"
        );
        assert!(!l.holds(&by_member));
    }
    // No link makes an owner or an admin.
    for role in [Role::Owner, Role::Admin] {
        let invite = Invite {
            role,
            ..new_invite(1)
        };
        assert!(invited(c, 1, 9, 90, &invite).header().is_err());
    }
}

#[test]
fn uses_have_edges() {
    let c = club().channel();
    let with = |uses| invited(c, 1, 1, 90, &new_invite(uses)).header();
    assert!(with(1).is_ok() && with(limits::MAX_INVITE_USES).is_ok());
    assert!(with(0).is_err() && with(limits::MAX_INVITE_USES + 1).is_err());
}

#[test]
fn kinds_of_a_scope_have_edges() {
    let c = club().channel();
    let with = |n: usize| {
        let grant = samara_graph::body::Grant {
            kinds: (0..n as u32).map(Kind).collect(),
            ..new_grant(Role::Publisher)
        };
        granted(c, 1, 1, 7, &grant).header()
    };
    assert!(with(limits::MAX_SCOPE_KINDS).is_ok());
    assert!(with(limits::MAX_SCOPE_KINDS + 1).is_err());
}

#[test]
fn a_grant_is_to_a_peer_and_lasts() {
    let c = club().channel();
    let with = |change: fn(&mut NewRecord)| {
        let mut new = NewRecord {
            body: new_grant(Role::Member).encode().into(),
            ..about(c, Kind::GRANT, 1, id(7).as_bytes())
        };
        change(&mut new);
        new.sign(&key(1)).unwrap().header()
    };
    assert!(with(|_| ()).is_ok());
    assert!(with(|n| n.key.truncate(31)).is_err(), "to nobody");
    assert!(
        with(|n| n.created = NOW.after(7 * DAY)).is_err(),
        "for no time"
    );
    assert!(
        with(|n| n.expires = NOW.after(6 * DAY)).is_err(),
        "gone before it ends"
    );
    let brief = samara_graph::body::Grant {
        until: NOW.after(DAY),
        ..new_grant(Role::Admin)
    };
    let brief = NewRecord {
        body: brief.encode().into(),
        ..about(c, Kind::GRANT, 1, id(7).as_bytes())
    };
    assert!(
        brief.sign(&key(1)).unwrap().header().is_err(),
        "an admin's ends"
    );
}

/// What two nodes do with a link between them.
#[test]
fn a_node_invites_and_another_joins_by_the_link() {
    let mut l = commune();
    let new = NewInvite {
        role: Role::Member,
        uses: 1,
        until: NOW.after(DAY),
        member_until: NOW.after(30 * DAY),
        kinds: [].into(),
        renewable: true,
    };
    let invitation = l.act(|g, now, out| g.invite(now, &key(1), new.clone(), &key(90), out));
    let reference = l.graph.charters().unwrap().reference();
    let link = Link::with(
        l.channel(),
        reference,
        false,
        Some(invitation.unwrap()),
        &[],
    );
    let link: Link = link.to_string().parse().unwrap();
    assert!(!format!("{link:?}").contains(&format!("{:?}", [90u8; 32])));

    let mut joiner = club();
    let config = samara_graph::Config::new(id(7), 1);
    joiner.graph = samara_graph::Graph::join(link.channel(), link.charter(), config);
    let redemption = joiner
        .act(|g, now, out| g.redeem(now, &key(7), link.invitation().unwrap(), out))
        .unwrap();
    assert_eq!(joiner.held(), [], "it waits for the charter and the invite");
    // The other way round: the charter comes, then the invite.
    joiner.event(Event::NeighbourUp { peer: id(50) });
    let hello = samara_graph::Message::Hello {
        charter: Some(reference),
        address: None,
        summary: Default::default(),
    };
    joiner.say(50, hello);
    let charters = l.graph.charters().unwrap().versions();
    let charters = charters.iter().map(|v| v.bytes().clone()).collect();
    joiner.say(50, samara_graph::Message::Charters(charters));
    assert_eq!(joiner.held(), []);
    let invite = link.invitation().unwrap().invite;
    let bytes = l.out.iter().find_map(|a| match a {
        Action::Store { header, bytes } if header.id == invite => Some(bytes.clone()),
        _ => None,
    });
    joiner.say(50, samara_graph::Message::Record(bytes.unwrap()));
    let news = Action::MemberJoined {
        peer: id(7),
        role: Role::Member,
    };
    assert!(joiner.out.contains(&news));
    offer_all(&mut l, &[&redemption]);
    assert_eq!(l.held(), joiner.held());
    // By who has no right to, or for more than a link may be good for.
    let refused = l.act(|g, now, out| g.invite(now, &key(7), new.clone(), &key(91), out));
    assert_eq!(refused, Err(GraphError::MayNotGive(Role::Member)));
    let many = NewInvite {
        uses: limits::MAX_INVITE_USES + 1,
        ..new
    };
    let refused = l.act(|g, now, out| g.invite(now, &key(1), many, &key(91), out));
    assert_eq!(refused, Err(GraphError::Refused(Reject::BadBody)));
}

#[test]
fn an_expired_link_is_not_even_tried() {
    let mut l = Lone::of(&charter());
    let invitation = Invitation {
        key: key(90),
        invite: note(l.channel(), 1, 1).id(),
        until: WallMs(NOW.0 - 1),
        expires: NOW.after(DAY),
    };
    let refused = l.act(|g, now, out| g.redeem(now, &key(7), &invitation, out));
    assert_eq!(refused, Err(GraphError::Refused(Reject::InviteExpired)));
}

#[test]
fn of_an_invitation_that_is_used_up_and_ended_no_lower_id_takes_a_place() {
    for ended in [false, true] {
        let mut l = club();
        let i = invited(l.channel(), 1, 1, 80, &new_invite(1));
        let mut both = [3, 4].map(|n| redeemed(&i, n, 80));
        both.sort_by_key(Record::id);
        let [low, high] = both;
        offer_all(&mut l, &[&i]);
        assert!(l.graph.used_up(l.now, &id(1)).is_empty());
        offer_all(&mut l, &[&high]);
        assert!(l.graph.used_up(l.now, &id(2)).is_empty());
        assert_eq!(l.graph.used_up(l.now, &id(1)), [i.id()]);
        if ended {
            l.act(|g, now, out| g.end_invitation(now, &key(1), i.id(), out))
                .unwrap();
            assert!(l.graph.used_up(l.now, &id(1)).is_empty());
        }
        offer_all(&mut l, &[&low]);
        assert_eq!((l.holds(&high), l.holds(&low)), (ended, !ended));
        let member = l.graph.role_of(&high.author(), l.now);
        assert_eq!(member, ended.then_some(Role::Member));
    }
}

#[test]
fn an_invitation_whose_redemptions_cannot_be_listed_is_not_ended() {
    for (uses, ended) in [(32, true), (33, false)] {
        let mut charter = charter();
        charter.limits.record_bytes = 1024;
        let mut l = Lone::of(&charter);
        let i = invited(l.channel(), 1, 1, 80, &new_invite(uses));
        offer_all(&mut l, &[&i]);
        for n in 3..3 + uses as u8 {
            offer_all(&mut l, &[&redeemed(&i, n, 80)]);
        }
        let used = l.graph.used_up(l.now, &id(1));
        assert_eq!(used.contains(&i.id()), ended, "{uses}");
    }
}
