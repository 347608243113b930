//! What one member can make all the others hold.

use samara_graph::{
    CharterLimits, Kind, NewRecord, Offence, Record, Reject,
    body::{Redemption, Retraction, Revocation},
    limits,
};
use samara_wire::ChannelId;

use crate::{
    club::{about, club, commune, id, invited, new_invite, note, offer_all, revoked},
    lone::{Lone, key, new_record},
};

/// Of a control kind of tomorrow, that long.
fn sized(channel: ChannelId, bytes: usize) -> Record {
    let with = |body: usize| {
        let new = NewRecord {
            kind: Kind(200),
            body: vec![0; body].into(),
            ..new_record(channel, 1)
        };
        new.sign(&key(1)).unwrap()
    };
    let over = with(500).bytes().len() - 500;
    let record = with(bytes - over);
    assert_eq!(record.bytes().len(), bytes);
    record
}

#[test]
fn a_control_record_is_small_unless_it_lists_others() {
    let most = limits::MAX_CONTROL_BYTES as usize;
    let mut l = club();
    let c = l.channel();
    let more = sized(c, most + 1);
    offer_all(&mut l, &[&more]);
    assert_eq!(l.rejected(Reject::TooLarge), 1);
    let fits = sized(c, most);
    let kept = (0..100u128).map(|n| n.to_be_bytes()).collect();
    let list = revoked(
        c,
        1,
        2,
        7,
        Revocation {
            seal: false,
            up_to: 0,
            keep: kept,
        },
    );
    assert!(list.bytes().len() > most);
    offer_all(&mut l, &[&fits, &list]);
    assert!(l.holds(&fits) && l.holds(&list) && !l.holds(&more));
}

#[test]
fn a_bearer_redeems_so_often_and_no_retractions_cost_it_its_place() {
    let mut l = commune();
    let c = l.channel();
    let invite = invited(c, 1, 1, 90, &new_invite(2));
    offer_all(&mut l, &[&invite]);
    let redeemed = |seq: u64| {
        let body = Redemption::sign(c, invite.id(), &id(9), &key(90));
        let new = NewRecord {
            expires: invite.expires(),
            body: body.encode().into(),
            ..about(c, Kind::REDEMPTION, seq, id(90).as_bytes())
        };
        new.sign(&key(9)).unwrap()
    };
    let first = 5000;
    let most = limits::MAX_REDEMPTIONS_PER_AUTHOR;
    for n in 0..most {
        offer_all(&mut l, &[&redeemed(first + n)]);
    }
    assert_eq!(l.rejected(Reject::Quota), 0);
    let beyond = redeemed(first + most);
    offer_all(&mut l, &[&beyond]);
    assert_eq!(l.rejected(Reject::Quota), 1);
    // More than it may, and all of lower sequences than its redemptions.
    for n in 0..limits::MAX_CONTROL_PER_AUTHOR as u64 + 3 {
        let retraction = Retraction {
            kind: Kind(70_000),
            key: [].into(),
            up_to: n,
        };
        let new = NewRecord {
            kind: Kind::RETRACTION,
            expires: invite.expires(),
            body: retraction.encode().into(),
            ..about(c, Kind::RETRACTION, n + 1, &[])
        };
        offer_all(&mut l, &[&new.sign(&key(9)).unwrap()]);
    }
    assert_eq!(l.rejected(Reject::Quota), 4);
    assert!(l.holds(&redeemed(first)) && !l.holds(&beyond));
    let held = 1 + most as usize + limits::MAX_CONTROL_PER_AUTHOR;
    assert_eq!(l.held().len(), held);
}

#[test]
fn who_gives_way_is_named_and_not_who_comes_last() {
    let mut l = Lone::new(CharterLimits {
        records_per_author: 8,
        records_total: 9,
        ..Default::default()
    });
    let c = l.channel();
    for seq in 1..=8 {
        offer_all(&mut l, &[&note(c, 2, seq)]);
    }
    for seq in 1..=4 {
        offer_all(&mut l, &[&note(c, 3, seq)]);
    }
    let status = l.graph.status();
    assert_eq!((status.records, status.displaced), (9, 3));
    let named: Vec<_> = status
        .offenders
        .iter()
        .map(|o| (o.peer, &o.offences[..]))
        .collect();
    assert_eq!(named, [(id(2), &[(Offence::Displaced, 3)][..])]);
}
