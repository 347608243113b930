//! Charters on their way from root to root, and the edges of what they say.

use std::collections::BTreeSet;

use samara_graph::{
    Charter, CharterChain, CharterDraft, CharterError, CharterHash, Former, SignedCharter, limits,
};
use samara_wire::{PeerId, WireError};

use crate::{
    club::{charter, id},
    lone::{NOW, key},
};

fn two_of_three() -> Charter {
    Charter {
        roots: [id(1), id(2), id(3)].into(),
        threshold: 2,
        ..charter()
    }
}

fn moved(draft: &CharterDraft) -> CharterDraft {
    CharterDraft::decode(&draft.encode()).unwrap()
}

#[test]
fn roots_sign_one_after_another_on_machines_of_their_own() {
    let mut draft = CharterDraft::new(two_of_three(), None).unwrap();
    assert_eq!(draft.unsigned(), two_of_three().roots);
    draft.add_signature(&key(1)).unwrap();
    let need = |got| CharterError::TooFewSignatures {
        version: 1,
        got,
        need: 2,
    };
    assert_eq!(moved(&draft).finish(), Err(need(1)));
    let mut elsewhere = moved(&draft);
    elsewhere.add_signature(&key(3)).unwrap();
    // Signed twice is signed once.
    elsewhere.add_signature(&key(3)).unwrap();
    assert_eq!(moved(&elsewhere).unsigned(), BTreeSet::from([id(2)]));
    let chain = CharterChain::new(moved(&elsewhere).finish().unwrap()).unwrap();

    // The next version needs the old roots and the new.
    let first = chain.versions()[0].clone();
    let next = Charter {
        roots: [id(3), id(4)].into(),
        threshold: 1,
        ..first.charter().successor(first.reference().hash, NOW)
    };
    let draft = CharterDraft::new(next, Some(first)).unwrap();
    assert_eq!(draft.previous().unwrap().roots, two_of_three().roots);
    let (mut one, mut other) = (moved(&draft), moved(&draft));
    one.add_signature(&key(4)).unwrap();
    other.add_signature(&key(1)).unwrap();
    one.merge(&other).unwrap();
    assert!(one.clone().finish().is_err(), "one of the old roots");
    assert_eq!(
        one.add_signature(&key(5)),
        Err(CharterError::NotARoot(id(5)))
    );
    one.add_signature(&key(2)).unwrap();
    let mut chain = chain;
    chain.push(moved(&one).finish().unwrap()).unwrap();
    assert_eq!(chain.reference().version, 2);
}

#[test]
fn a_draft_that_does_not_belong_is_told() {
    let draft = CharterDraft::new(two_of_three(), None).unwrap();
    let renamed = Charter {
        name: "other".into(),
        ..two_of_three()
    };
    let mut other = CharterDraft::new(renamed.clone(), None).unwrap();
    assert_eq!(other.merge(&draft), Err(CharterError::OtherDraft));
    let first = renamed.sign(&[&key(1)]).unwrap();
    let skips = Charter {
        version: 3,
        ..renamed.successor(first.reference().hash, NOW)
    };
    let refused = CharterDraft::new(skips, Some(first.clone()));
    assert_eq!(refused, Err(CharterError::Fork { version: 3 }));
    let of_another = Charter {
        previous: Some(draft.reference().hash),
        ..renamed.successor(first.reference().hash, NOW)
    };
    let refused = CharterDraft::new(of_another, Some(first));
    assert_eq!(refused, Err(CharterError::Fork { version: 2 }));

    let bytes = draft.encode();
    for cut in 0..bytes.len() {
        assert!(CharterDraft::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let signed = draft.charter().sign(&[&key(1)]).unwrap();
    assert!(CharterDraft::decode(signed.bytes()).is_err(), "not a draft");
}

fn listing(owner: usize, admin: usize) -> Former {
    let prefixes = |n: usize| (0..n).map(|n| (n as u128).to_be_bytes()).collect();
    Former {
        since: 2,
        as_owner: prefixes(owner),
        as_admin: prefixes(admin),
    }
}

/// The second version, with that list.
fn later(c: &mut Charter, former: impl Iterator<Item = (PeerId, Former)>) {
    (c.version, c.previous) = (2, Some(CharterHash([5; 32])));
    c.former = former.collect();
}

#[test]
fn the_records_that_stay_are_listed_in_ascending_order_and_once() {
    let mut charter = charter();
    later(&mut charter, [(id(9), listing(0, 2))].into_iter());
    let bytes = charter.encode().unwrap();
    let (first, second) = (0u128.to_be_bytes(), 1u128.to_be_bytes());
    let lists = [first, second].concat();
    let at = bytes.windows(32).position(|w| *w == lists).unwrap();
    for wrong in [[second, first], [first, first]] {
        let mut bytes = bytes.clone();
        bytes[at..at + 32].copy_from_slice(&wrong.concat());
        let refused = Charter::decode(&bytes);
        assert!(matches!(
            refused,
            Err(CharterError::Wire(WireError::NonCanonical { .. }))
        ));
    }
    assert_eq!(Charter::decode(&bytes), Ok(charter));
}

fn many(n: usize) -> impl Iterator<Item = PeerId> {
    (0..n).map(|n| {
        let mut bytes = [9; 32];
        bytes[..2].copy_from_slice(&(n as u16).to_be_bytes());
        PeerId(bytes)
    })
}

#[test]
fn what_a_charter_says_has_edges() {
    let with = |change: &dyn Fn(&mut Charter)| {
        let mut new = charter();
        change(&mut new);
        let decoded = Charter::decode(&new.encode()?)?;
        assert_eq!(decoded, new);
        Ok::<_, CharterError>(())
    };
    let former = |n: usize, owner: usize, admin: usize| {
        move |c: &mut Charter| later(c, many(n).map(|p| (p, listing(owner, admin))))
    };
    let since = |since| {
        let former = Former {
            since,
            ..listing(1, 0)
        };
        move |c: &mut Charter| later(c, [(id(9), former.clone())].into_iter())
    };
    let most = limits::MAX_FORMER_KEPT;
    let good: [&dyn Fn(&mut Charter); 11] = [
        &|c| c.admins = many(limits::MAX_ADMINS).collect(),
        &former(limits::MAX_FORMER, 1, 0),
        &former(1, most, 0),
        &former(1, 0, most),
        &former(2, 1, most / 2 - 1),
        &|c| {
            later(c, [(id(1), listing(1, 0))].into_iter());
            (c.roots, c.threshold) = ([id(1), id(2)].into(), 2);
            c.admins.insert(id(1));
        },
        &|c| {
            later(c, [(id(2), listing(1, 1))].into_iter());
            (c.roots, c.threshold) = ([id(1), id(2)].into(), 2);
        },
        &since(2),
        &|c| c.presence_ms = Some(*limits::PRESENCE_LEASE.start()),
        &|c| c.presence_ms = Some(*limits::PRESENCE_LEASE.end()),
        &|c| (c.deferred_expiry, c.announced) = (true, false),
    ];
    for (n, change) in good.into_iter().enumerate() {
        assert_eq!(with(change), Ok(()), "good {n}");
    }
    let bad: [&dyn Fn(&mut Charter); 12] = [
        &|c| c.admins = many(limits::MAX_ADMINS + 1).collect(),
        &former(limits::MAX_FORMER + 1, 1, 0),
        &former(1, 0, 0),
        &former(1, most + 1, 0),
        &former(1, 1, most),
        &former(2, most, 1),
        // Still an owner, or still an admin.
        &|c| later(c, [(id(1), listing(1, 0))].into_iter()),
        &|c| {
            later(c, [(id(2), listing(1, 1))].into_iter());
            c.admins.insert(id(2));
        },
        &since(1),
        &since(3),
        &|c| c.presence_ms = Some(*limits::PRESENCE_LEASE.start() - 1),
        &|c| c.presence_ms = Some(*limits::PRESENCE_LEASE.end() + 1),
    ];
    for (n, change) in bad.into_iter().enumerate() {
        assert!(with(change).is_err(), "bad {n}");
    }
}

#[test]
fn the_largest_charter_fits_its_bound() {
    let roots: Vec<_> = (1..=limits::MAX_ROOTS as u8).map(key).collect();
    let each = limits::MAX_FORMER_KEPT / limits::MAX_FORMER;
    let largest = Charter {
        version: 2,
        previous: Some(CharterHash([5; 32])),
        name: "n".repeat(limits::MAX_NAME_BYTES),
        roots: roots.iter().map(|k| k.peer_id()).collect(),
        threshold: limits::MAX_ROOTS as u8,
        admins: many(limits::MAX_ADMINS).collect(),
        former: many(limits::MAX_ADMINS + limits::MAX_FORMER)
            .skip(limits::MAX_ADMINS)
            .map(|p| (p, listing(each - 1, 1)))
            .collect(),
        publishers: samara_graph::Publishers::Named(many(limits::MAX_PUBLISHERS).collect()),
        presence_ms: Some(*limits::PRESENCE_LEASE.end()),
        ..charter()
    };
    let old: Vec<_> = (60..60 + limits::MAX_ROOTS as u8).map(key).collect();
    let keys: Vec<_> = roots.iter().chain(&old).collect();
    let signed = largest.sign(&keys).unwrap();
    assert!(signed.bytes().len() <= limits::MAX_CHARTER_BYTES);
    assert_eq!(SignedCharter::decode(signed.bytes()), Ok(signed));
}
