//! Charters and records that a file brings instead of a neighbour.

#[expect(dead_code, reason = "other tests need the rest of it")]
mod lone;

use bytes::Bytes;
use lone::{HOUR, Lone, key, new_record, record};
use samara_graph::{Action, Fault, NewRecord, Offered, Record, Reject, SignedCharter, limits};
use samara_wire::ChannelId;

fn lone() -> Lone {
    Lone::new(samara_graph::CharterLimits::default())
}

/// Offers bytes; what came of it, and whether they go to the disk.
fn offer(l: &mut Lone, bytes: Bytes) -> (Result<Offered, Reject>, bool) {
    let mut out = Vec::new();
    let outcome = l.graph.offer(l.now, l.mono, bytes, &mut out);
    let stores = out.iter().any(|a| matches!(a, Action::Store { .. }));
    (outcome, stores)
}

#[test]
fn a_record_from_a_file_is_judged_like_any_other() {
    let mut l = lone();
    let c = l.channel();
    let good = record(c, 1, 1);
    let offered = |l: &mut Lone, record: &Record| offer(l, record.bytes().clone());
    assert_eq!(offered(&mut l, &good), (Ok(Offered::New), true));
    // On its way to the disk, and there.
    assert_eq!(offered(&mut l, &good), (Ok(Offered::Known), false));
    l.event(samara_graph::Event::Stored { id: good.id() });
    assert!(l.holds(&good));
    assert_eq!(offered(&mut l, &good), (Ok(Offered::Known), false));

    // Its author may have a grant that has not come.
    assert_eq!(
        offered(&mut l, &record(c, 9, 1)),
        (Ok(Offered::Waits), false)
    );
    let long_over = NewRecord {
        created: l.now.before(3 * HOUR),
        expires: l.now.before(HOUR),
        ..new_record(c, 2)
    };
    let mut forged = record(c, 1, 3).bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for (bytes, reject) in [
        (
            record(ChannelId([9; 32]), 1, 2).bytes().clone(),
            Reject::ForeignChannel,
        ),
        (
            long_over.sign(&key(1)).unwrap().bytes().clone(),
            Reject::Expired,
        ),
        (forged.into(), Reject::BadSignature),
        (Bytes::from_static(b"\x01"), Reject::Malformed),
        (
            vec![1; limits::MAX_RECORD_BYTES + 1].into(),
            Reject::TooLarge,
        ),
    ] {
        assert_eq!(offer(&mut l, bytes), (Err(reject), false));
        assert_eq!(l.rejected(reject), 1, "counted: {reject:?}");
    }
}

#[test]
fn a_file_cannot_fill_what_waits_for_the_disk() {
    let mut l = lone();
    let c = l.channel();
    for seq in 1..=limits::MAX_PENDING as u64 {
        let bytes = record(c, 1, seq).bytes().clone();
        assert_eq!(offer(&mut l, bytes).0, Ok(Offered::New), "{seq}");
    }
    let next = record(c, 1, limits::MAX_PENDING as u64 + 1);
    let (outcome, _) = offer(&mut l, next.bytes().clone());
    assert_eq!(outcome, Err(Reject::Busy));
    l.event(samara_graph::Event::Stored {
        id: record(c, 1, 1).id(),
    });
    assert_eq!(offer(&mut l, next.bytes().clone()).0, Ok(Offered::New));
}

#[test]
fn charters_from_a_file_are_put_in_force_or_blamed() {
    let mut l = lone();
    let chain = l.graph.charters().unwrap().clone();
    let first = chain.versions()[0].bytes().clone();
    let mut second = chain.current().clone();
    second.version = 2;
    second.previous = Some(chain.reference().hash);
    second.name = "renamed".into();
    let second: SignedCharter = second.sign(&[&key(1)]).unwrap();
    let mut offer = |list: &[Bytes]| {
        let mut out = Vec::new();
        let outcome = l.graph.offer_charters(l.now, l.mono, list, &mut out);
        let stored = out
            .iter()
            .any(|a| matches!(a, Action::StoreCharters { .. }));
        (outcome, stored)
    };
    let both = [first.clone(), second.bytes().clone()];
    assert_eq!(offer(&both[..1]), (Ok(()), false));
    assert_eq!(offer(&both), (Ok(()), true));
    assert_eq!(offer(&both), (Ok(()), false));
    let bad = (Err(Fault::BadCharter), false);
    assert_eq!(offer(&[Bytes::from_static(b"no charter")]), bad);
    let other = Lone::new(samara_graph::CharterLimits {
        records_total: 7,
        ..Default::default()
    });
    let foreign = other.graph.charters().unwrap().versions()[0]
        .bytes()
        .clone();
    // Another first charter is another channel's.
    assert_eq!(offer(&[foreign]), bad);
    assert_eq!(l.graph.charters().unwrap().current().name, "renamed");
}
