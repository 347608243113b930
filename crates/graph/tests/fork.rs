//! Two charters of one version: what a node does until its operator has chosen.

// It uses some of it.
#[allow(dead_code)]
mod lone;

use samara_graph::{
    Action, Charter, Config, Graph, GraphError, Kind, Message, NewRecord, Record, Reject,
    SignedCharter, Summary, body,
};
use samara_wire::ContentId;

use lone::{Lone, NOW, key, new_record, sent_to};

fn second(first: &SignedCharter, name: &str) -> SignedCharter {
    let next = Charter {
        name: name.into(),
        ..first.charter().successor(first.reference().hash, NOW)
    };
    next.sign(&[&key(1)]).unwrap()
}

/// A node with a second charter, and a neighbour that shows it another second one.
fn forked() -> (Lone, [SignedCharter; 3]) {
    let mut l = Lone::new(Default::default());
    let first = l.graph.charters().unwrap().versions()[0].clone();
    let (ours, theirs) = (second(&first, "ours"), second(&first, "theirs"));
    take(&mut l, 50, &[&ours]);
    take(&mut l, 51, &[&first, &theirs]);
    (l, [first, ours, theirs])
}

/// A neighbour says that it has the last of these charters, and sends them.
fn take(l: &mut Lone, n: u8, charters: &[&SignedCharter]) {
    let hello = Message::Hello {
        charter: charters.last().map(|c| c.reference()),
        address: None,
        summary: Summary::default(),
    };
    l.say(n, hello);
    let list = charters.iter().map(|c| c.bytes().clone()).collect();
    l.say(n, Message::Charters(list));
}

fn release(l: &Lone, version: &str) -> Record {
    let content = body::ContentRef {
        id: ContentId([5; 32]),
        root_len: 100,
        bytes: 1,
        files: 1,
    };
    let notes = String::new();
    let release = body::Release {
        version: version.into(),
        content,
        notes,
    };
    let record = NewRecord {
        kind: Kind::RELEASE,
        key: version.to_owned().into(),
        body: release.encode().into(),
        ..new_record(l.channel(), 7)
    };
    record.sign(&key(1)).unwrap()
}

#[test]
fn the_evidence_is_kept_and_shown_to_whoever_has_our_charter() {
    let (mut l, [_, ours, theirs]) = forked();
    let fork = l.graph.fork().unwrap();
    assert_eq!((fork.ours, &fork.theirs), (ours.reference(), &theirs));
    // The one that has our charter was told at once, and is told once.
    let evidence = Message::Charters(vec![theirs.bytes().clone()]);
    assert!(sent_to(&l.out, 50).contains(&evidence));
    assert!(!sent_to(&l.out, 51).contains(&evidence));
    l.up(50);
    let told = sent_to(&l.out, 50);
    assert_eq!(told.iter().filter(|m| **m == evidence).count(), 1);

    // It survives a restart.
    let kept = l.graph.forks().unwrap();
    let chain = l.graph.charters().unwrap().clone();
    let mut again = Graph::restore(chain, [], Config::new(key(100).peer_id(), 1));
    assert!(!again.status().forked);
    again.restore_forks(&kept).unwrap();
    assert_eq!(again.fork(), l.graph.fork());
    assert_eq!(again.forks(), Some(kept.clone()));
    for cut in 0..kept.len() {
        assert!(again.restore_forks(&kept[..cut]).is_err(), "cut at {cut}");
    }
    assert!(again.status().forked);
}

#[test]
fn evidence_counts_unasked_and_once_a_neighbour() {
    let mut l = Lone::new(Default::default());
    let first = l.graph.charters().unwrap().versions()[0].clone();
    let (ours, theirs) = (second(&first, "ours"), second(&first, "theirs"));
    take(&mut l, 50, &[&ours]);
    let lie = Charter {
        name: "unsigned".into(),
        ..theirs.charter().clone()
    };
    let lie = lie.sign(&[&key(9)]).unwrap();
    l.say(51, Message::Charters(vec![theirs.bytes().clone()]));
    assert!(l.graph.status().forked);
    l.say(51, Message::Charters(vec![lie.bytes().clone()]));
    assert_eq!(l.fault(), None, "not looked at");
    l.up(52);
    l.say(52, Message::Charters(vec![lie.bytes().clone()]));
    assert!(l.fault().is_some(), "a lie is a fault");
}

#[test]
fn no_release_is_taken_until_somebody_has_chosen() {
    let (mut l, [_, ours, theirs]) = forked();
    let release = release(&l, "1");
    l.offer(&release);
    assert!(!l.holds(&release));
    assert_eq!(l.rejected(Reject::Forked), 1);
    let other = new_record(l.channel(), 8).sign(&key(1)).unwrap();
    l.offer(&other);
    assert!(l.holds(&other));

    let (now, mut out) = (l.now, Vec::new());
    let unknown = l
        .graph
        .choose(now, samara_graph::CharterHash([0; 32]), &mut out);
    assert_eq!(unknown, Err(GraphError::NoFork));
    l.graph
        .choose(now, ours.reference().hash, &mut out)
        .unwrap();
    assert!(!l.graph.status().forked);
    l.offer(&release);
    assert!(l.holds(&release));
    // The other side is not listened to again, also after a restart.
    let kept = l.graph.forks().unwrap();
    l.graph.restore_forks(&kept).unwrap();
    l.up(53);
    take(&mut l, 53, &[&theirs]);
    assert!(!l.graph.status().forked);
    assert_eq!(l.graph.charters().unwrap().current().name, "ours");
    assert!(
        l.graph
            .choose(now, theirs.reference().hash, &mut out)
            .is_err()
    );
}

#[test]
fn the_other_side_may_be_the_right_one() {
    let (mut l, [first, ours, theirs]) = forked();
    let third = Charter {
        name: "ours, third".into(),
        ..ours.charter().successor(ours.reference().hash, NOW)
    };
    let third = third.sign(&[&key(1)]).unwrap();
    let (now, mut out) = (l.now, Vec::new());
    l.graph
        .choose(now, theirs.reference().hash, &mut out)
        .unwrap();
    let chain = l.graph.charters().unwrap();
    assert_eq!(chain.versions(), [first, theirs.clone()]);
    let stored = |a: &Action| matches!(a, Action::StoreCharters { chain } if chain.reference() == theirs.reference());
    assert!(out.iter().any(stored), "{out:?}");
    // What followed on the side that was ours is nothing any more.
    l.up(53);
    take(&mut l, 53, &[&ours, &third]);
    assert!(!l.graph.status().forked);
    assert_eq!(l.graph.charters().unwrap().current().name, "theirs");
}
