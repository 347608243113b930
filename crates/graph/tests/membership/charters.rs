//! Charters on their way from root to root, and the edges of what they say.

use std::collections::BTreeSet;

use samara_graph::{
    Charter, CharterChain, CharterDraft, CharterError, Former, Role, SignedCharter, limits,
};
use samara_wire::{PeerId, VARINT_MAX};

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
    let former = |n: usize, role, up_to| {
        move |c: &mut Charter| c.former = many(n).map(|p| (p, Former { role, up_to })).collect()
    };
    let good: [&dyn Fn(&mut Charter); 6] = [
        &|c| c.admins = many(limits::MAX_ADMINS).collect(),
        &former(limits::MAX_FORMER, Role::Owner, VARINT_MAX),
        &former(1, Role::Admin, 0),
        &|c| c.presence_ms = Some(*limits::PRESENCE_LEASE.start()),
        &|c| c.presence_ms = Some(*limits::PRESENCE_LEASE.end()),
        &|c| (c.deferred_expiry, c.announced) = (true, false),
    ];
    for (n, change) in good.into_iter().enumerate() {
        assert_eq!(with(change), Ok(()), "good {n}");
    }
    let bad: [&dyn Fn(&mut Charter); 7] = [
        &|c| c.admins = many(limits::MAX_ADMINS + 1).collect(),
        &former(limits::MAX_FORMER + 1, Role::Owner, 1),
        &former(1, Role::Publisher, 1),
        &former(1, Role::Owner, VARINT_MAX + 1),
        &|c| {
            let role = Role::Admin;
            c.former = [(id(1), Former { role, up_to: 1 })].into();
        },
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
    let largest = Charter {
        name: "n".repeat(limits::MAX_NAME_BYTES),
        roots: roots.iter().map(|k| k.peer_id()).collect(),
        threshold: limits::MAX_ROOTS as u8,
        admins: many(limits::MAX_ADMINS).collect(),
        former: many(limits::MAX_ADMINS + limits::MAX_FORMER)
            .skip(limits::MAX_ADMINS)
            .map(|p| {
                (
                    p,
                    Former {
                        role: Role::Admin,
                        up_to: VARINT_MAX,
                    },
                )
            })
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
