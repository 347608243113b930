//! Which record stands: sequence, equivocation, retraction, expiry, quota.

mod lone;

use std::time::Duration;

use bytes::Bytes;
use lone::{HOUR, Lone, NOW, key, new_record, record, sent_to};
use proptest::prelude::*;
use samara_graph::{
    Action, Attributes, CharterLimits, Draft, Event, GraphError, Kind, Message, NewRecord, Offence,
    Offender, Record, Reject, RemoveReason, WallMs, body::Retraction, limits,
};
use samara_wire::{ChannelId, RecordId, VARINT_MAX};

fn lone() -> Lone {
    Lone::new(CharterLimits::default())
}

fn retraction(channel: ChannelId, seq: u64, up_to: u64, expires: WallMs) -> NewRecord {
    let retraction = Retraction {
        kind: Kind(70_000),
        key: (*b"k").into(),
        up_to,
    };
    NewRecord {
        kind: Kind::RETRACTION,
        expires,
        body: retraction.encode().into(),
        ..new_record(channel, seq)
    }
}

fn removed(l: &Lone) -> Vec<(RecordId, RemoveReason)> {
    let removed = l.out.iter().filter_map(|a| match a {
        Action::Remove { id, reason } => Some((*id, *reason)),
        _ => None,
    });
    removed.collect()
}

fn two_of_one_sequence(channel: ChannelId) -> (Record, Record) {
    let a = record(channel, 1, 5);
    let b = NewRecord {
        body: Bytes::from_static(b"other"),
        ..new_record(channel, 5)
    };
    let b = b.sign(&key(1)).unwrap();
    match a.id() < b.id() {
        true => (a, b),
        false => (b, a),
    }
}

#[test]
fn of_two_records_with_one_sequence_the_lower_id_stands_in_any_order() {
    let mut first = lone();
    let (low, high) = two_of_one_sequence(first.channel());
    first.offer(&low);
    first.offer(&high);
    assert_eq!(first.held(), [low.id()]);
    assert_eq!(first.rejected(Reject::Equivocation), 1);

    let mut second = lone();
    second.offer(&high);
    second.offer(&low);
    assert_eq!(removed(&second), [(high.id(), RemoveReason::Equivocation)]);
    assert_eq!(second.held(), [low.id()]);
    for l in [first, second] {
        assert_eq!(l.graph.status().equivocators, [key(1).peer_id()]);
        assert_eq!(l.fault(), None, "who passes it on is not to blame");
    }
}

#[test]
fn a_retraction_covers_its_key_up_to_its_sequence_in_any_order() {
    let c = lone().channel();
    let old = record(c, 1, 1);
    let extension = record(c, 1, 2);
    let again = record(c, 1, 9);
    let others = record(c, 2, 1);
    let other_key = NewRecord {
        key: Bytes::from_static(b"another"),
        ..new_record(c, 3)
    };
    let other_key = other_key.sign(&key(1)).unwrap();
    let gone = retraction(c, 8, 2, NOW.after(HOUR)).sign(&key(1)).unwrap();
    let mut all = [&old, &extension, &again, &others, &other_key, &gone];
    for _ in 0..all.len() {
        all.rotate_left(1);
        let mut l = lone();
        all.iter().for_each(|r| {
            l.offer(r);
        });
        assert!(!l.holds(&old) && !l.holds(&extension));
        assert!(l.holds(&again) && l.holds(&others) && l.holds(&other_key) && l.holds(&gone));
    }
}

#[test]
fn a_retraction_outlives_what_it_retracts_or_does_not_retract_it() {
    let mut l = lone();
    let long = record(l.channel(), 1, 1);
    let early = NOW.after(HOUR - Duration::from_millis(1));
    let brief = retraction(l.channel(), 2, 1, early).sign(&key(1)).unwrap();
    l.offer(&long);
    l.offer(&brief);
    assert!(l.holds(&long) && l.holds(&brief));
}

#[test]
fn a_retraction_of_its_own_future_is_invalid() {
    let mut l = lone();
    let up_to_itself = retraction(l.channel(), 5, 5, NOW.after(HOUR));
    l.offer(&up_to_itself.sign(&key(1)).unwrap());
    assert_eq!(l.rejected(Reject::BadBody), 1);
    assert_eq!(l.held(), []);
}

#[test]
fn expiry_ends_after_the_grace_and_sending_at_the_moment() {
    let mut l = lone();
    let r = record(l.channel(), 1, 1);
    l.offer(&r);
    let request = samara_graph::Message::Request(vec![r.id()]);
    let send = Action::SendRecord {
        peer: key(51).peer_id(),
        id: r.id(),
    };
    l.now = WallMs(NOW.after(HOUR).0 - 1);
    assert!(l.say(51, request.clone()).contains(&send));
    l.now = NOW.after(HOUR);
    assert!(!l.say(51, request.clone()).contains(&send));
    assert_eq!(
        lone::sent_to(&l.out, 51),
        [samara_graph::Message::Gone(vec![r.id()])]
    );
    // A clock that was set back: it lives again.
    l.now = WallMs(NOW.after(HOUR).0 - 1);
    assert!(l.say(51, request).contains(&send));

    let end = NOW.after(HOUR).after(limits::EXPIRY_GRACE);
    l.now = WallMs(end.0 - 1);
    l.event(Event::Tick);
    assert!(l.holds(&r));
    l.now = end;
    l.event(Event::Tick);
    assert_eq!(removed(&l), [(r.id(), RemoveReason::Expired)]);
    // And it does not rise again.
    l.offer(&r);
    assert_eq!(l.rejected(Reject::Expired), 1);
    assert_eq!(l.held(), []);
}

#[test]
fn the_tick_at_the_timeout_removes_what_expired() {
    let mut l = lone();
    l.offer(&record(l.channel(), 1, 1));
    // Timers are finer than the wall clock's milliseconds, never earlier.
    l.pass(HOUR + limits::EXPIRY_GRACE + Duration::from_millis(1));
    assert_eq!(l.held(), []);
}

#[test]
fn creation_may_lie_ten_minutes_ahead_and_no_more() {
    let mut l = lone();
    let ahead = |ms| NewRecord {
        created: WallMs(NOW.after(limits::CLOCK_AHEAD).0 + ms),
        ..new_record(l.channel(), 1 + ms)
    };
    let (edge, beyond) = (
        ahead(0).sign(&key(1)).unwrap(),
        ahead(1).sign(&key(1)).unwrap(),
    );
    l.offer(&edge);
    l.offer(&beyond);
    assert_eq!(l.held(), [edge.id()]);
    assert_eq!(l.rejected(Reject::Future), 1);
    // It is not refused for ever.
    l.now = WallMs(NOW.0 + 1);
    l.offer(&beyond);
    assert!(l.holds(&beyond));
}

#[test]
fn a_lifetime_is_as_long_as_the_charter_allows_and_no_longer() {
    let limit = CharterLimits {
        lifetime_ms: HOUR.as_millis() as u64,
        ..Default::default()
    };
    let mut l = Lone::new(limit);
    l.offer(&record(l.channel(), 1, 1));
    assert_eq!(l.held().len(), 1);
    let longer = NewRecord {
        expires: WallMs(NOW.after(HOUR).0 + 1),
        ..new_record(l.channel(), 2)
    };
    l.offer(&longer.sign(&key(1)).unwrap());
    assert_eq!(l.rejected(Reject::Lifetime), 1);
}

#[test]
fn a_record_is_as_large_as_the_charter_allows_and_no_larger() {
    let limit = CharterLimits {
        record_bytes: 1024,
        ..Default::default()
    };
    let mut l = Lone::new(limit);
    let of_size = |body: usize| {
        let new = NewRecord {
            body: vec![0; body].into(),
            ..new_record(l.channel(), body as u64)
        };
        new.sign(&key(1)).unwrap()
    };
    let room = 1024 - (of_size(1000).bytes().len() - 1000);
    let (fits, too_large) = (of_size(room), of_size(room + 1));
    assert_eq!(fits.bytes().len(), 1024);
    l.offer(&fits);
    l.offer(&too_large);
    assert_eq!(l.held(), [fits.id()]);
    assert_eq!(l.rejected(Reject::TooLarge), 1);
}

#[test]
fn strangers_do_not_publish() {
    let mut l = lone();
    l.offer(&record(l.channel(), 4, 1));
    assert_eq!(l.held(), []);
    // A grant may be on its way.
    assert_eq!(l.graph.status().waiting, 1);
    assert_eq!(l.fault(), None);
}

#[test]
fn an_author_keeps_its_highest_sequences() {
    let limit = CharterLimits {
        records_per_author: 3,
        ..Default::default()
    };
    let mut l = Lone::new(limit);
    let c = l.channel();
    for seq in [5, 1, 4, 3] {
        l.offer(&record(c, 1, seq));
    }
    assert_eq!(removed(&l), [(record(c, 1, 1).id(), RemoveReason::Quota)]);
    l.offer(&record(c, 1, 2));
    assert_eq!(l.rejected(Reject::Quota), 1);
    l.offer(&record(c, 2, 1));
    assert_eq!(l.held().len(), 4);
    // The largest sequence there is displaces one record of its author, not more.
    l.offer(&record(c, 1, VARINT_MAX));
    assert_eq!(l.held().len(), 4);
}

#[test]
fn the_channels_total_is_shared_alike_and_roots_come_first() {
    let limit = CharterLimits {
        records_total: 6,
        ..Default::default()
    };
    let mut l = Lone::new(limit);
    let c = l.channel();
    for seq in 1..=6 {
        l.offer(&record(c, 2, seq));
    }
    for seq in 1..=3 {
        l.offer(&record(c, 3, seq));
    }
    let count = |l: &Lone, n: u8| {
        let of = l.graph.records().filter(|h| h.author == key(n).peer_id());
        of.count()
    };
    assert_eq!((count(&l, 2), count(&l, 3)), (3, 3));
    // A flood of one author takes nothing from another that has less.
    for seq in 100..200 {
        l.offer(&record(c, 2, seq));
    }
    assert_eq!((count(&l, 2), count(&l, 3)), (3, 3));
    // Key 1 is the root.
    for seq in 1..=5 {
        l.offer(&record(c, 1, seq));
    }
    assert_eq!((count(&l, 1), count(&l, 2) + count(&l, 3)), (5, 1));
}

#[test]
fn whose_records_were_not_taken_is_known_by_name() {
    let mut l = Lone::new(CharterLimits {
        records_per_author: 4,
        ..CharterLimits::default()
    });
    let c = l.channel();
    for seq in 10..20 {
        l.offer(&record(c, 2, seq));
    }
    l.offer(&record(c, 2, 1));
    l.offer(&record(c, 3, 1));
    // A stranger's wait for a right, and its name may be made up.
    for seq in 0..limits::MAX_DEFERRED_PER_NEIGHBOUR as u64 + 7 {
        l.offer(&record(c, 9, seq + 1));
    }
    let status = l.graph.status();
    assert_eq!((status.displaced, status.deferred_dropped), (6, 7));
    let offender = |n: u8, offences: &[(Offence, u64)]| Offender {
        peer: key(n).peer_id(),
        records: 7,
        offences: offences.to_vec(),
    };
    let mut expected = vec![
        offender(50, &[(Offence::CrowdedOut, 7)]),
        offender(
            2,
            &[
                (Offence::Rejected(Reject::Quota), 1),
                (Offence::Displaced, 6),
            ],
        ),
    ];
    expected.sort_by_key(|o| o.peer);
    assert_eq!(status.offenders, expected);
}

#[test]
fn of_an_author_that_floods_the_neighbours_are_told_a_bounded_number() {
    let mut l = Lone::new(CharterLimits::default());
    let c = l.channel();
    let told = |actions: &[Action]| -> usize {
        let messages = sent_to(actions, 51);
        let ids = messages.iter().map(|m| match m {
            Message::Record(_) => 1,
            Message::Have(ids) | Message::IHave(ids) => ids.len(),
            _ => 0,
        });
        ids.sum()
    };
    let (mut count, mut seq) = (0, 0);
    // Each brings as many as it may unasked, all at once.
    for n in 60..65 {
        l.up(n);
        for _ in 0..limits::UNASKED_BURST {
            seq += 1;
            let flooded = record(c, 2, seq);
            count += told(l.say(n, Message::Record(flooded.bytes().clone())));
        }
    }
    let flooded = seq as usize;
    assert!(flooded > limits::AUTHOR_BURST as usize + 1000);
    count += told(&l.pass(Duration::from_secs(1)));
    assert_eq!(l.held().len(), flooded);
    assert_eq!(count, limits::AUTHOR_BURST as usize);
    // Another author's goes on at once.
    count = told(l.say(60, Message::Record(record(c, 3, 1).bytes().clone())));
    count += told(&l.pass(Duration::from_secs(1)));
    assert_eq!(count, 1);
}

#[test]
fn no_flood_displaces_a_retraction() {
    let limit = CharterLimits {
        records_per_author: 2,
        records_total: 2,
        ..Default::default()
    };
    let mut l = Lone::new(limit);
    let c = l.channel();
    let gone = retraction(c, 2, 1, NOW.after(HOUR)).sign(&key(1)).unwrap();
    l.offer(&gone);
    for seq in 10..50 {
        l.offer(&record(c, 1, seq));
    }
    // Nor does its own author's other word of the same sequence.
    l.offer(&record(c, 1, 2));
    for r in 0..limits::MAX_CONTROL_PER_AUTHOR as u64 + 5 {
        // Slowly enough for what a neighbour may send unasked.
        l.mono += Duration::from_millis(20);
        let later = retraction(c, 1000 + r, 1, NOW.after(HOUR));
        l.offer(&later.sign(&key(1)).unwrap());
    }
    assert!(l.holds(&gone));
    let control = l.graph.records().filter(|h| h.kind.is_control()).count();
    assert_eq!(control, limits::MAX_CONTROL_PER_AUTHOR);
    l.offer(&record(c, 1, 1));
    assert!(!l.holds(&record(c, 1, 1)));
}

#[test]
fn the_head_is_the_extension_and_an_earlier_expiry_takes_nothing_away() {
    let mut l = lone();
    let c = l.channel();
    let with = |seq, minutes: u32| {
        let new = NewRecord {
            expires: NOW.after(HOUR / 60 * minutes),
            ..new_record(c, seq)
        };
        new.sign(&key(1)).unwrap()
    };
    let (first, extension, shorter) = (with(1, 30), with(2, 60), with(3, 10));
    for r in [&shorter, &extension, &first] {
        l.offer(r);
    }
    let head = l.graph.head(&key(1).peer_id(), Kind(70_000), b"k");
    assert_eq!(head.map(|h| h.id), Some(extension.id()));
    assert!(
        l.graph
            .head(&key(2).peer_id(), Kind(70_000), b"k")
            .is_none()
    );
}

fn draft(name: &'static str) -> Draft {
    Draft {
        kind: Kind(70_000),
        key: Bytes::from_static(name.as_bytes()),
        attributes: Attributes::default(),
        body: Bytes::new(),
        lifetime: HOUR,
        priority: 0,
    }
}

#[test]
fn publishing_goes_on_in_sequence_and_never_twice() {
    let mut l = lone();
    let mut out = Vec::new();
    let a = l.graph.publish(NOW, &key(1), draft("a"), &mut out).unwrap();
    // Not on disk yet, and already counted.
    let b = l.graph.publish(NOW, &key(1), draft("b"), &mut out).unwrap();
    assert!(b.seq() > a.seq());
    // A node that lost everything but its key, a moment later.
    let mut fresh = lone();
    let c = fresh
        .graph
        .publish(WallMs(NOW.0 + 2), &key(1), draft("c"), &mut out)
        .unwrap();
    assert!(c.seq() > b.seq());
    // A clock that was set back.
    let early = NOW.before(HOUR);
    let d = l
        .graph
        .publish(early, &key(1), draft("d"), &mut out)
        .unwrap();
    assert!(d.seq() > b.seq());

    let refused = l.graph.publish(NOW, &key(9), draft("x"), &mut out);
    assert_eq!(refused, Err(GraphError::NotPublisher(key(9).peer_id())));
}

#[test]
fn retracting_takes_back_what_is_there_extensions_included() {
    let mut l = lone();
    let mut out = Vec::new();
    let refused = l.graph.retract(NOW, &key(1), Kind(70_000), b"a", &mut out);
    assert!(matches!(refused, Err(GraphError::NothingToRetract { .. })));
    let longer = Draft {
        lifetime: 3 * HOUR,
        ..draft("a")
    };
    l.graph.publish(NOW, &key(1), draft("a"), &mut out).unwrap();
    l.graph.publish(NOW, &key(1), longer, &mut out).unwrap();
    let keep = l.graph.publish(NOW, &key(1), draft("b"), &mut out).unwrap();
    let later = NOW.after(HOUR / 2);
    let gone = l
        .graph
        .retract(later, &key(1), Kind(70_000), b"a", &mut out)
        .unwrap();
    assert_eq!(gone.expires(), NOW.after(3 * HOUR));
    for action in std::mem::take(&mut out) {
        if let Action::Store { header, .. } = action {
            let stored = Event::Stored { id: header.id };
            l.graph.handle(later, l.mono, stored, &mut out);
        }
    }
    let mut left = [keep.id(), gone.id()];
    left.sort();
    assert_eq!(l.held(), left);
}

#[test]
fn a_restart_keeps_what_stood_and_removes_what_ended() {
    let mut l = lone();
    let c = l.channel();
    for seq in 1..=3 {
        l.offer(&record(c, 1, seq));
    }
    let headers: Vec<_> = l.graph.records().map(|h| h.to_header()).collect();
    let chain = l.graph.charters().unwrap().clone();
    let config = samara_graph::Config::new(key(100).peer_id(), 1);
    l.graph = samara_graph::Graph::restore(chain, headers, config);
    assert_eq!(l.held().len(), 3);
    l.now = NOW.after(2 * HOUR);
    l.event(Event::Tick);
    assert_eq!(removed(&l).len(), 3);
}

fn any_record() -> impl Strategy<Value = (u8, NewRecord)> {
    let channel = lone().channel();
    let fields = (
        1u8..=3,
        1u64..12,
        0u8..3,
        1u32..4,
        prop::bool::weighted(0.3),
    );
    fields.prop_map(move |(n, seq, body, hours, retracts)| {
        let expires = NOW.after(HOUR * hours);
        let new = match retracts && seq > 1 {
            true => retraction(channel, seq, seq - 1 - u64::from(body) % (seq - 1), expires),
            false => NewRecord {
                expires,
                body: vec![body].into(),
                ..new_record(channel, seq)
            },
        };
        (n, new)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Two copies that saw different parts in different orders, under equivocation,
    /// retractions and tight quotas, are alike after telling each other what they hold.
    #[test]
    fn copies_that_exchange_what_they_hold_end_up_alike(
        records in prop::collection::vec((any_record(), any::<(bool, bool)>()), 0..60),
        turn in 0usize..60,
    ) {
        let limit = CharterLimits {
            records_per_author: 4,
            records_total: 9,
            ..Default::default()
        };
        // The limits are in the charter, and the charter's hash in the records.
        let (mut a, mut b) = (Lone::new(limit), Lone::new(limit));
        let channel = a.channel();
        let signed: Vec<_> = records
            .into_iter()
            .map(|((n, new), seen)| (NewRecord { channel, ..new }.sign(&key(n)).unwrap(), seen))
            .collect();
        for (r, (by_a, _)) in &signed {
            if *by_a { a.offer(r); }
        }
        let mut turned: Vec<_> = signed.iter().rev().collect();
        if !turned.is_empty() { let t = turn % turned.len(); turned.rotate_left(t); }
        for (r, (_, by_b)) in turned {
            if *by_b { b.offer(r); }
        }
        let of = |l: &Lone| -> Vec<Record> {
            let held = l.held();
            signed.iter().map(|(r, _)| r.clone()).filter(|r| held.contains(&r.id())).collect()
        };
        for _ in 0..12 {
            let (from_a, from_b) = (of(&a), of(&b));
            from_a.iter().for_each(|r| { b.offer(r); });
            from_b.iter().for_each(|r| { a.offer(r); });
        }
        prop_assert_eq!(a.held(), b.held());
        prop_assert!(a.held().len() <= 9 + 3 * limits::MAX_CONTROL_PER_AUTHOR);
    }
}

#[test]
fn attributes_go_to_the_disk_and_not_to_memory() {
    let mut l = lone();
    let value = samara_graph::Value::Text("x".into());
    let attributes = Attributes::new([("a".to_owned(), value)]).unwrap();
    let new = NewRecord {
        attributes: attributes.clone(),
        ..new_record(l.channel(), 1)
    };
    let record = new.sign(&key(1)).unwrap();
    let stored = l.offer(&record).iter().find_map(|a| match a {
        Action::Store { header, .. } => Some(header.attributes.clone()),
        _ => None,
    });
    assert_eq!(stored, Some(attributes));
    let held: Vec<_> = l
        .graph
        .records()
        .map(|h| h.to_header().attributes)
        .collect();
    assert_eq!(held, [Attributes::default()]);
}
