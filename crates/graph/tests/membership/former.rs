//! Owners and admins who are that no more: what they wrote stays as far as the charter
//! lists it, and whoever stole their keys gets nothing by it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use samara_graph::{
    Charter, Former, Kind, Listed, NewRecord, Publishers, Record, Reject, RemoveReason, Role,
    TooMany, body::id_prefix, limits,
};
use samara_wire::PeerId;

use crate::{
    club::{
        about, admin, below, charter, club, granted, id, ids, new_grant, note, nothing, offer_all,
        revoked, why_removed,
    },
    lone::{Lone, NOW, key},
    merge::{PEOPLE, deed, roles, settled, signed, take},
};

/// The charter after the one in force, of which all is kept that can be.
fn next(l: &Lone, change: impl FnOnce(&mut Charter)) -> Result<(Charter, Listed), TooMany> {
    let chain = l.graph.charters().unwrap();
    let mut new = chain.current().successor(chain.reference().hash, NOW);
    change(&mut new);
    let listed = l.graph.list_former(&mut new, &BTreeSet::new())?;
    Ok((new, listed))
}

fn put_in_force(l: &mut Lone, new: &Charter, by: &[u8]) {
    let keys: Vec<_> = by.iter().map(|n| key(*n)).collect();
    let signed = new.sign(&keys.iter().collect::<Vec<_>>()).unwrap();
    l.act(|g, now, out| g.amend(now, signed, out)).unwrap();
}

/// Key 20 takes the place of key 1.
fn replaced(c: &mut Charter) {
    c.roots = [id(20)].into();
    c.publishers = match c.publishers {
        Publishers::Members => Publishers::Members,
        Publishers::Named(_) => Publishers::Named([id(20)].into()),
    };
}

/// Two keys have to sign, of which one is the owner's.
fn raised(c: &mut Charter) {
    c.roots = [id(1), id(20)].into();
    c.threshold = 2;
    c.admins.insert(id(1));
}

fn release(l: &Lone, by: u8, seq: u64) -> Record {
    let new = NewRecord {
        expires: note(l.channel(), by, seq).expires(),
        ..about(l.channel(), Kind(70_000), seq, b"release")
    };
    new.sign(&key(by)).unwrap()
}

fn listed_of(c: &Charter, n: u8) -> &Former {
    &c.former[&id(n)]
}

#[test]
fn a_stolen_key_of_a_former_owner_writes_nothing_of_before() {
    let mut l = club();
    let c = l.channel();
    let a = admin(c, 10, 2);
    let member = granted(c, 2, 1, 3, &below(&a, Role::Publisher));
    let by_member = note(c, 3, 1);
    let old = release(&l, 1, 20);
    offer_all(&mut l, &[&a, &member, &by_member, &old]);
    let before = l.held();
    let (new, listed) = next(&l, replaced).unwrap();
    assert_eq!((listed.kept, listed.fallen), (2, 0));
    assert_eq!(listed_of(&new, 1).role(), Role::Owner);
    put_in_force(&mut l, &new, &[1, 20]);
    assert_eq!(l.held(), before);
    assert_eq!(l.graph.role_of(&id(2), NOW), Some(Role::Admin));

    // Below its last sequence, in the gaps.
    let own = admin(c, 11, 9);
    let of_admin = revoked(c, 1, 12, 2, nothing());
    let back = release(&l, 1, 13);
    offer_all(&mut l, &[&own, &of_admin, &back]);
    assert_eq!(l.held(), before);
    assert_eq!(l.rejected(Reject::NoAuthority), 1);
    assert_eq!(l.graph.role_of(&id(9), NOW), None);

    // A copy that gets all of it at once, in another order, agrees.
    let mut other = club();
    put_in_force(&mut other, &new, &[1, 20]);
    offer_all(
        &mut other,
        &[&back, &of_admin, &own, &by_member, &member, &old, &a],
    );
    assert_eq!(other.held(), before);
}

#[test]
fn so_does_that_of_a_former_admin_and_its_revocations_stay() {
    let mut l = Lone::of(&Charter {
        admins: [id(2)].into(),
        ..charter()
    });
    let c = l.channel();
    let kept = granted(c, 2, 10, 3, &new_grant(Role::Publisher));
    let gone = granted(c, 2, 11, 4, &new_grant(Role::Publisher));
    let revocation = revoked(c, 2, 12, 4, nothing());
    let (by_kept, by_gone) = (note(c, 3, 1), note(c, 4, 1));
    offer_all(&mut l, &[&kept, &gone, &by_kept, &by_gone, &revocation]);
    let before = l.held();
    assert_eq!(before, ids(&[&kept, &gone, &by_kept, &revocation]));
    let (new, _) = next(&l, |c| c.admins.clear()).unwrap();
    assert_eq!(listed_of(&new, 2).role(), Role::Admin);
    put_in_force(&mut l, &new, &[1]);
    assert_eq!(l.held(), before);
    let late = granted(c, 2, 5, 9, &new_grant(Role::Publisher));
    offer_all(&mut l, &[&late, &revoked(c, 2, 6, 3, nothing()), &by_gone]);
    assert_eq!(l.held(), before);

    // An admin again, what it writes counts as ever, and nothing is listed.
    let (new, _) = next(&l, |c| c.admins = [id(2)].into()).unwrap();
    assert_eq!(new.former, [].into());
    put_in_force(&mut l, &new, &[1]);
    offer_all(&mut l, &[&late]);
    assert!(l.holds(&late));
}

#[test]
fn at_a_higher_threshold_all_that_the_owner_decided_stays() {
    let mut l = club();
    let c = l.channel();
    let (good, bad) = (admin(c, 1, 2), admin(c, 2, 3));
    let member = granted(c, 2, 1, 4, &below(&good, Role::Publisher));
    let by_admin = revoked(c, 2, 2, 5, nothing());
    let by_owner = revoked(c, 1, 3, 3, nothing());
    let (ours, theirs) = (note(c, 1, 4), note(c, 4, 1));
    let all = [&good, &bad, &member, &by_admin, &by_owner, &ours, &theirs];
    offer_all(&mut l, &all);
    assert_eq!(l.held(), ids(&all));
    let (new, _) = next(&l, raised).unwrap();
    assert_eq!(listed_of(&new, 1).kept(), 3, "notes stand by its new role");
    put_in_force(&mut l, &new, &[1, 20]);
    assert_eq!(l.held(), ids(&all));
    let role = |n| l.graph.role_of(&id(n), NOW);
    let roles = [1, 2, 3, 4].map(role);
    let (admin_role, publisher) = (Some(Role::Admin), Some(Role::Publisher));
    assert_eq!(roles, [admin_role, admin_role, None, publisher]);

    // What it writes from now on is an admin's word.
    let late = admin(c, 9, 8);
    let over = revoked(c, 1, 10, 2, nothing());
    let below_it = granted(c, 1, 11, 8, &new_grant(Role::Publisher));
    offer_all(&mut l, &[&late, &over, &below_it]);
    assert!(!l.holds(&late) && !l.holds(&over) && l.holds(&below_it));

    // No admin any more either, both lists stay apart.
    let (new, _) = next(&l, |c| {
        c.roots = [id(20)].into();
        c.threshold = 1;
        c.admins.clear();
        c.publishers = Publishers::Named(BTreeSet::new());
    })
    .unwrap();
    let former = listed_of(&new, 1);
    assert_eq!((former.as_owner.len(), former.as_admin.len()), (3, 2));
    assert_eq!(former.since, 2, "when it ceased to be an owner");
    let before = l.held();
    put_in_force(&mut l, &new, &[1, 20]);
    assert_eq!(l.held(), before);
}

#[test]
fn an_owners_word_on_a_former_one_stays_when_the_owner_goes() {
    let mut l = Lone::of(&Charter {
        roots: [id(1), id(2)].into(),
        ..charter()
    });
    let c = l.channel();
    let by_first = granted(c, 1, 1, 4, &new_grant(Role::Publisher));
    // What the stolen key was given besides.
    let to_first = granted(c, 2, 1, 1, &new_grant(Role::Publisher));
    offer_all(&mut l, &[&by_first, &to_first]);
    let (new, _) = next(&l, |c| c.roots = [id(2)].into()).unwrap();
    put_in_force(&mut l, &new, &[2]);
    let theirs = revoked(c, 1, 9, 2, nothing());
    let revocation = revoked(c, 2, 2, 1, crate::club::keeping(&[&by_first]));
    offer_all(&mut l, &[&theirs, &revocation]);
    let all = ids(&[&by_first, &to_first, &revocation]);
    assert_eq!(l.held(), all);
    for by in [&[2u8, 20][..], &[20, 21]] {
        let roots: BTreeSet<PeerId> = by.iter().map(|n| id(*n)).collect();
        let (new, _) = next(&l, |c| {
            c.threshold = 2;
            c.admins = [id(2)].into();
            c.roots = roots;
        })
        .unwrap();
        put_in_force(&mut l, &new, &[2, 20, 21]);
        assert_eq!(l.held(), all);
        assert_eq!(l.graph.role_of(&id(1), NOW), None);
    }
}

#[test]
fn what_is_not_listed_falls() {
    let mut l = club();
    let c = l.channel();
    let grants: Vec<_> = [3u8, 4]
        .map(|n| granted(c, 1, u64::from(n), n, &new_grant(Role::Publisher)))
        .into();
    let notes = [3u8, 4].map(|n| note(c, n, 1));
    offer_all(&mut l, &[&grants[0], &grants[1], &notes[0], &notes[1]]);
    let (mut new, _) = next(&l, replaced).unwrap();
    let former = new.former.get_mut(&id(1)).unwrap();
    former.as_owner = [id_prefix(&grants[0].id())].into();
    put_in_force(&mut l, &new, &[1, 20]);
    assert_eq!(l.held(), ids(&[&grants[0], &notes[0]]));
    let why = why_removed(&l, &grants[1]);
    assert_eq!(why, Some(RemoveReason::NotPublisher));
    assert_eq!(l.graph.role_of(&id(1), NOW), None);

    let mut disowned = next(&l, |_| {}).unwrap().0;
    let everybody = disowned.former.keys().copied().collect();
    let listed = l.graph.list_former(&mut disowned, &everybody);
    assert_eq!(listed, Ok(Listed::default()));
    put_in_force(&mut l, &disowned, &[20]);
    assert_eq!(l.held(), []);
}

#[test]
fn the_lists_have_room_for_control_records_first_and_for_no_more() {
    let room = limits::MAX_FORMER_KEPT;
    let mut l = Lone::of(&Charter {
        publishers: Publishers::Members,
        ..charter()
    });
    let c = l.channel();
    let grant = |n: usize| {
        let whom = PeerId(*blake3::hash(&n.to_be_bytes()).as_bytes());
        let new = NewRecord {
            body: new_grant(Role::Publisher).encode().into(),
            ..about(c, Kind::GRANT, n as u64 + 1, whom.as_bytes())
        };
        new.sign(&key(1)).unwrap()
    };
    let grants: Vec<_> = (0..room - 1).map(grant).collect();
    offer_all(&mut l, &grants.iter().collect::<Vec<_>>());
    let notes: Vec<_> = (0..3).map(|n| note(c, 1, 90_000 + n)).collect();
    offer_all(&mut l, &notes.iter().collect::<Vec<_>>());
    let (new, listed) = next(&l, replaced).unwrap();
    assert_eq!((listed.kept, listed.fallen), (room, 2));
    assert!(new.encode().unwrap().len() < limits::MAX_CHARTER_BYTES);

    let more: Vec<_> = (room..room + 2).map(grant).collect();
    offer_all(&mut l, &more.iter().collect::<Vec<_>>());
    assert_eq!(next(&l, replaced).unwrap_err(), TooMany(room + 1));
    // As an admin it may have given all of them.
    let (new, listed) = next(&l, raised).unwrap();
    assert_eq!((listed.kept, listed.fallen), (room, 0));
    let before = l.held();
    put_in_force(&mut l, &new, &[1, 20]);
    assert_eq!(l.held(), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever an owner did in a channel stays when it goes or decides nothing alone
    /// any more; a copy that hears of everything later agrees; and what its key signs
    /// besides lets nobody in.
    #[test]
    fn a_new_charter_changes_nothing_else(
        deeds in prop::collection::vec(deed(), 1..40),
        later in prop::collection::vec(deed(), 0..12),
        order in prop::collection::vec(any::<usize>(), 1..50),
        goes in any::<bool>(),
    ) {
        let (mut records, later) = (signed(&deeds), signed(&later));
        let mut l = settled(&records, &order);
        let (held, before) = (l.held(), roles(&l));
        let change = if goes { replaced } else { raised };
        let (new, _) = next(&l, change).unwrap();
        put_in_force(&mut l, &new, &[1, 20]);
        prop_assert_eq!(l.held(), held.clone());
        let after = roles(&l);
        prop_assert_eq!(&after[1..], &before[1..]);
        prop_assert_eq!(after.len(), usize::from(PEOPLE));

        // Only what was held before: what was beaten might stand by the new charter.
        records.retain(|r| held.contains(&r.id()));
        let mut other = crate::club::commune();
        put_in_force(&mut other, &new, &[1, 20]);
        for round in 0.. {
            let before = other.held();
            take(&mut other, &records, &order);
            if other.held() == before {
                break;
            }
            prop_assert!(round < 32, "it never ends");
        }
        prop_assert_eq!(other.held(), held.clone());

        let stolen = |r: &&Record| {
            let parentless = |h: samara_graph::HeaderRef<'_>| match h.control {
                Some(samara_graph::Control::Grant(g)) => g.parent.is_none() && g.role == Role::Admin,
                _ => false,
            };
            let new = !held.contains(&r.id()) && r.author() == id(1);
            new && r.header().is_ok_and(|h| parentless(h.view()))
        };
        let stolen: Vec<_> = later.iter().filter(stolen).cloned().collect();
        take(&mut l, &stolen, &order);
        prop_assert!(stolen.iter().all(|r| !l.holds(r)));
        prop_assert_eq!(l.held(), held);
    }
}
