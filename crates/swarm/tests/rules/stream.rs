use samara_content::ChunkSet;
use samara_swarm::{Action, Event, Message, Order, Role};
use samara_wire::PeerId;

use crate::node::*;

/// More than two windows.
const CHUNKS: u32 = 100;

/// Uses what it receives at once; A has everything.
fn reader() -> Node {
    let mut node = Node::receiver(CHUNKS);
    node.tell(Event::TermsChanged {
        key: KEY,
        role: Role::Member,
        priority: 0,
        order: Order::Stream,
    });
    node.join_with(A, ChunkSet::full(CHUNKS));
    node
}

/// The same beside B, which fetches as well and has some.
fn reader_beside(theirs: &[u32]) -> Node {
    let mut node = reader();
    node.join_with(B, set(CHUNKS, theirs.iter().copied()));
    node.hear(B, Message::Want(u64::from(CHUNKS * CHUNK)));
    node
}

/// What is asked of the peer for credit of `chunks`.
fn asked(node: &mut Node, peer: PeerId, chunks: u32, suggested: &[u32]) -> Vec<u32> {
    let out = node.hear(
        peer,
        Message::Grant {
            bytes: u64::from(chunks * CHUNK),
            suggested: suggested.to_vec(),
        },
    );
    requests(&out).iter().map(|r| r.2).collect()
}

#[test]
fn alone_all_is_asked_for_in_order() {
    let mut node = reader();
    assert_eq!(asked(&mut node, A, 3, &[5, 1]), [0, 1, 2]);
    node.join_with(B, set(CHUNKS, [7, 8]));
    assert_eq!(asked(&mut node, B, 1, &[8]), [7], "B wants nothing");
    assert_eq!(asked(&mut node, A, 2, &[]), [3, 4]);
}

#[test]
fn what_is_suggested_comes_first_within_two_windows() {
    let mut node = reader_beside(&[]);
    assert_eq!(asked(&mut node, A, 2, &[32, 31, 3]), [31, 3]);
    // What is here moves the window, what is on its way does not.
    for chunk in [0, 1] {
        node.store(chunk);
    }
    assert_eq!(asked(&mut node, A, 2, &[34, 33, 32]), [33, 32]);
}

#[test]
fn else_the_rarest_of_the_window_is_asked_for() {
    let mut node = reader_beside(&[0, 2, 9, 50]);
    let one = asked(&mut node, A, 1, &[])[0];
    assert!(one < 16 && ![0, 2, 9].contains(&one), "{one}");
    // A copy more of the first; and what B has beyond the window when there is no other.
    node.join_with(C, set(CHUNKS, [0]));
    assert_eq!(asked(&mut node, B, 1, &[]), [2]);
    assert_eq!(asked(&mut node, B, 3, &[]), [9, 0, 50]);
}

#[test]
fn the_earliest_is_late_when_most_of_the_window_was_asked_for() {
    let eight: Vec<u32> = (1..9).collect();
    let mut node = reader_beside(&[0]);
    assert_eq!(asked(&mut node, A, 8, &eight), eight);
    assert!(asked(&mut node, A, 1, &[])[0] > 8, "half of it is left");
    assert_eq!(asked(&mut node, A, 1, &[20]), [0]);
    assert_eq!(asked(&mut node, A, 1, &[20]), [20], "it is on its way");
}

#[test]
fn neighbours_take_different_chunks_of_a_seeder() {
    let first = |us: PeerId| {
        let mut node = Node::named(us, Default::default());
        node.add(Given::new(CHUNKS, ChunkSet::new(CHUNKS)));
        node.tell(Event::TermsChanged {
            key: KEY,
            role: Role::Member,
            priority: 0,
            order: Order::Stream,
        });
        node.join_with(A, ChunkSet::full(CHUNKS));
        node.join(B);
        node.hear(B, Message::Want(1));
        asked(&mut node, A, 1, &[])[0]
    };
    let chunks: Vec<u32> = (20..36).map(|n| first(PeerId([n; 32]))).collect();
    let different: std::collections::BTreeSet<_> = chunks.iter().collect();
    assert!(different.len() > 8, "{chunks:?}");
    assert!(chunks.iter().all(|chunk| *chunk < 16), "{chunks:?}");
}

#[test]
fn a_seeder_hands_out_in_order() {
    let mut node = Node::seeder(CHUNKS);
    let mut handed_out = Vec::new();
    for peer in [A, B, C] {
        node.join(peer);
        let out: Vec<Action> = node.hear(peer, Message::Want(u64::from(CHUNKS * CHUNK)));
        for (to, msg) in messages(&out) {
            if let Message::Grant { suggested, .. } = msg {
                assert_eq!(to, peer);
                handed_out.extend(suggested);
            }
        }
    }
    assert!(handed_out.len() >= 6);
    assert!(
        handed_out.iter().copied().eq(0..handed_out.len() as u32),
        "{handed_out:?}"
    );
}
