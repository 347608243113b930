//! What a seeder hands out, and what it holds back.

use std::{collections::BTreeMap, time::Duration};

use samara_content::ChunkSet;
use samara_swarm::{Action, Config, Message};
use samara_wire::PeerId;

use crate::node::*;

const MS: Duration = Duration::from_millis(1);

/// What is suggested to whom.
fn suggestions(out: &[Action]) -> Vec<(PeerId, Vec<u32>)> {
    let suggested = |(peer, msg)| match msg {
        Message::Grant { suggested, .. } => Some((peer, suggested)),
        _ => None,
    };
    messages(out).into_iter().filter_map(suggested).collect()
}

/// Whoever gets a suggestion takes it at once, until there are no more; how many
/// chunks were handed out.
fn run(node: &mut Node, mut out: Vec<Action>) -> usize {
    let mut handed_out = 0;
    loop {
        let granted: Vec<_> = suggestions(&out)
            .into_iter()
            .filter(|(_, chunks)| !chunks.is_empty())
            .collect();
        if granted.is_empty() {
            return handed_out;
        }
        out = Vec::new();
        for (peer, chunks) in granted {
            handed_out += chunks.len();
            assert!(is_served(&node.ask(peer, &chunks)));
            out.extend(node.deliver(peer, &chunks, MS));
        }
    }
}

/// A and B got eight chunks between them, and want the rest.
fn all_handed_out() -> Node {
    let mut node = Node::seeder(8);
    node.join(A);
    node.join(B);
    let mut out = node.hear(A, Message::Want(8000));
    out.extend(node.hear(B, Message::Want(8000)));
    assert_eq!(run(&mut node, out), 8, "each chunk once");
    node
}

#[test]
fn a_second_copy_waits_for_the_first_to_spread_and_not_longer() {
    let mut node = all_handed_out();
    assert!(suggestions(&node.wait(80 * MS)).is_empty());
    let then = node.wait(40 * MS);
    assert_eq!(run(&mut node, then), 8, "they do not know each other");
}

#[test]
fn nothing_is_held_back_that_no_other_holder_can_pass_on() {
    let mut node = Node::seeder(8);
    node.join(A);
    let out = node.hear(A, Message::Want(8000));
    assert_eq!(run(&mut node, out), 8);
    assert!(node.now < 10 * MS, "{:?}", node.now);
    // What a holder takes with it is handed out anew.
    let mut node = all_handed_out();
    node.join(C);
    let out = node.hear(C, Message::Want(8000));
    assert_eq!(run(&mut node, out), 0);
    let out = node.leave(A);
    assert!(run(&mut node, out) > 0);
}

#[test]
fn who_passes_nothing_on_comes_last() {
    let mut node = Node::new(Config {
        upload_slots: 1,
        ..Config::default()
    });
    node.add(Given::new(64, ChunkSet::full(64)));
    node.join(A);
    node.join(B);
    let mut out = node.hear(A, Message::Want(64_000));
    out.extend(node.hear(B, Message::Want(64_000)));
    let (mut to_a, mut to_b) = (0, 0);
    for _ in 0..24 {
        let granted = suggestions(&out);
        out = Vec::new();
        for (peer, chunks) in granted {
            node.ask(peer, &chunks);
            out.extend(node.deliver(peer, &chunks, 200 * MS));
            // What B gets, A has from it; what A gets stays there.
            if peer == B {
                to_b += chunks.len();
                out.extend(node.hear(A, Message::HaveMore(chunks)));
            } else {
                to_a += chunks.len();
            }
        }
    }
    assert!(to_a < to_b / 2, "A got {to_a}, B {to_b}");
}

#[test]
fn who_keeps_more_than_the_others_waits_until_it_passes_on() {
    let mut node = Node::seeder(256);
    let peers: Vec<_> = (1..=6).map(|n| PeerId([n; 32])).collect();
    let mut out = Vec::new();
    for other in &peers {
        node.join(*other);
        out.extend(node.hear(*other, Message::Want(256_000)));
    }
    // The first is alone at first, and gets more at once.
    let (fast, slow) = (peers[0], peers[1]);
    let mut got: BTreeMap<PeerId, Vec<u32>> = BTreeMap::new();
    while got.values().map(Vec::len).sum::<usize>() < 120 {
        let granted = suggestions(&out);
        assert!(!granted.is_empty(), "the seeder idles at {got:?}");
        out = Vec::new();
        for (to, chunks) in granted {
            assert!(is_served(&node.ask(to, &chunks)));
            out.extend(node.deliver(to, &chunks, 20 * MS));
            got.entry(to).or_default().extend(&chunks);
            // What one gets stays there, what the others get goes round.
            if to != slow {
                let hears = if to == fast { peers[2] } else { fast };
                out.extend(node.hear(hears, Message::HaveMore(chunks)));
            }
        }
    }
    assert!(got[&slow].len() <= 6, "{got:?}");
}

#[test]
fn the_next_grant_pays_for_what_a_request_went_over() {
    let mut node = Node::receiver(8);
    node.join_with(A, ChunkSet::full(8));
    let grant = |bytes| Message::Grant {
        bytes,
        suggested: vec![],
    };
    assert_eq!(requests(&node.hear(A, grant(1500))).len(), 2);
    assert!(node.hear(A, grant(500)).is_empty(), "paid for already");
    assert_eq!(requests(&node.hear(A, grant(1))).len(), 1);

    let mut node = Node::seeder(8);
    node.join(A);
    let granted = |out: &[Action]| grants(out).iter().map(|(_, bytes)| bytes).sum::<u64>();
    // All but half a chunk is given back.
    assert_eq!(granted(&node.hear(A, Message::Want(8000))), 2000);
    node.hear(A, Message::Release(1500));
    assert!(is_served(&node.ask(A, &[0])));
    // Room for one chunk beside the one on its way, and the half.
    assert_eq!(granted(&node.hear(A, Message::Want(7000))), 1500);
}

#[test]
fn a_grant_names_what_was_not_announced_yet() {
    let mut node = Node::receiver(8);
    node.join_with(A, ChunkSet::full(8));
    node.join(B);
    node.hear(B, Message::Want(8000));
    let request = requests(&node.hear(A, grant(1)))[0].2;
    node.arrive(A, request);
    let out = node.store(request);
    assert_eq!(suggestions(&out)[0], (B, vec![request]));
    // And whoever hears of it that way may ask for it.
    let mut node = Node::receiver(8);
    node.join(A);
    let out = node.hear(
        A,
        Message::Grant {
            bytes: 1,
            suggested: vec![3],
        },
    );
    assert_eq!(requests(&out)[0].2, 3);
}

#[test]
fn news_of_no_use_ask_for_no_credit() {
    let mut node = Node::receiver(8);
    node.join_with(A, ChunkSet::full(8));
    node.join_with(B, set(8, [0]));
    assert_eq!(requests(&node.hear(A, grant(8))).len(), 8);
    assert_eq!(
        messages(&node.hear(B, grant(1))),
        [(B, Message::Release(1000))]
    );
    assert!(messages(&node.hear(B, Message::HaveMore(vec![1]))).is_empty());
}
