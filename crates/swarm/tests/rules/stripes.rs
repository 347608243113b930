//! Parity shards in place of chunks.

use std::time::Duration;

use samara_content::{ChunkParams, ChunkSet, Stripes};
use samara_swarm::{Action, Event, Message};
use samara_wire::PeerId;

use crate::node::*;

/// Four chunks, 0 to 3, in two stripes of two; shards 4 and 5, one of each.
const ALL: u32 = 6;

fn given(have: ChunkSet) -> Given {
    let params = ChunkParams::fixed(4096, "1/2".parse().unwrap()).unwrap();
    Given {
        stripes: Stripes::of(params, 4 * 4096).unwrap(),
        ..Given::new(ALL, have)
    }
}

fn receiver() -> Node {
    Node::with(given(ChunkSet::new(ALL)))
}

fn asked(out: &[Action]) -> Vec<(PeerId, u32)> {
    let mut asked: Vec<_> = requests(out).iter().map(|(p, _, c)| (*p, *c)).collect();
    asked.sort_unstable();
    asked
}

fn decodes(out: &[Action]) -> Vec<u32> {
    let stripe = |action: &Action| match action {
        Action::Decode { stripe, .. } => Some(*stripe),
        _ => None,
    };
    out.iter().filter_map(stripe).collect()
}

fn is_complete(out: &[Action]) -> bool {
    out.iter().any(|a| matches!(a, Action::Complete { .. }))
}

fn wants(out: &[Action]) -> Vec<PeerId> {
    let messages = messages(out).into_iter();
    let asking = messages.filter(|(_, msg)| matches!(msg, Message::Want(bytes) if *bytes > 0));
    asking.map(|(peer, _)| peer).collect()
}

fn fetch(node: &mut Node, peer: PeerId, chunk: u32) -> Vec<Action> {
    node.arrive(peer, chunk);
    node.store(chunk)
}

#[test]
fn no_shard_is_asked_for_where_somebody_has_the_chunks() {
    let mut node = receiver();
    node.join_with(A, set(ALL, [0, 1, 2]));
    node.join_with(B, set(ALL, [3, 4, 5]));
    assert_eq!(asked(&node.hear(B, grant(9))), [(B, 3)]);
    assert_eq!(asked(&node.hear(A, grant(9))), [(A, 0), (A, 1), (A, 2)]);
    // Also where a seeder has them.
    let mut node = receiver();
    node.join_with(A, ChunkSet::full(ALL));
    node.join_with(B, set(ALL, [4, 5]));
    assert!(asked(&node.hear(B, grant(9))).is_empty());
}

#[test]
fn a_shard_takes_the_place_of_a_chunk_that_nobody_has() {
    let mut node = receiver();
    node.join_with(A, set(ALL, [0, 1, 3]));
    node.join_with(B, set(ALL, [4, 5]));
    // Nobody has 2, of the stripe of 0.
    assert_eq!(asked(&node.hear(B, grant(9))), [(B, 4)]);
    assert_eq!(asked(&node.hear(A, grant(9))), [(A, 0), (A, 1), (A, 3)]);
    assert!(decodes(&fetch(&mut node, B, 4)).is_empty());
    assert_eq!(decodes(&fetch(&mut node, A, 0)), [0]);
    fetch(&mut node, A, 1);
    assert!(!is_complete(&fetch(&mut node, A, 3)));
    assert!(is_complete(&node.store(2)));
}

#[test]
fn a_settled_stripe_asks_for_nothing_more_until_something_fails() {
    let mut node = receiver();
    node.join_with(A, set(ALL, [0, 4]));
    assert_eq!(asked(&node.hear(A, grant(9))), [(A, 0), (A, 4)]);
    // Chunk 2 turns up while enough of its stripe is on its way.
    node.join_with(B, set(ALL, [2]));
    assert!(asked(&node.hear(B, grant(9))).is_empty());
    node.arrive(A, 4);
    let out = node.reject(A, 4);
    assert_eq!(wants(&out), [B], "now it is needed");
    assert_eq!(asked(&node.hear(B, grant(9))), [(B, 2)]);
}

#[test]
fn what_a_leaving_holder_takes_along_is_replaced() {
    let mut node = receiver();
    node.join_with(A, set(ALL, [0, 2]));
    node.join_with(B, set(ALL, [4]));
    assert!(
        asked(&node.hear(B, grant(9))).is_empty(),
        "credit goes back"
    );
    assert_eq!(asked(&node.hear(A, grant(1))).len(), 1);
    let out = node.leave(A);
    assert_eq!(wants(&out), [B]);
    assert_eq!(asked(&node.hear(B, grant(9))), [(B, 4)]);
}

#[test]
fn a_seeder_hands_out_the_chunks_first_and_then_the_shards_and_its_suggestion_is_taken() {
    let mut node = Node::with(given(ChunkSet::full(ALL)));
    node.join(A);
    node.join(B);
    let mut out = node.hear(A, Message::Want(4000));
    out.extend(node.hear(B, Message::Want(4000)));
    let mut order: Vec<u32> = Vec::new();
    while order.len() < ALL as usize {
        let suggested: Vec<(PeerId, Vec<u32>)> = messages(&out)
            .into_iter()
            .filter_map(|(peer, msg)| match msg {
                Message::Grant { suggested, .. } if !suggested.is_empty() => {
                    Some((peer, suggested))
                }
                _ => None,
            })
            .collect();
        assert!(!suggested.is_empty(), "{order:?}");
        out = Vec::new();
        for (peer, chunks) in suggested {
            order.extend(chunks.iter().copied());
            assert!(is_served(&node.ask(peer, &chunks)));
            out.extend(node.deliver(peer, &chunks, Duration::from_millis(1)));
        }
    }
    order[..4].sort_unstable();
    order[4..].sort_unstable();
    assert_eq!(order, [0, 1, 2, 3, 4, 5]);

    let mut node = receiver();
    node.join_with(A, ChunkSet::full(ALL));
    let suggested = vec![4];
    let bytes = 9 * u64::from(CHUNK);
    let out = node.hear(A, Message::Grant { bytes, suggested });
    let asked = asked(&out);
    assert!(asked.contains(&(A, 4)), "{asked:?}");
    assert_eq!(asked.len(), 4, "as many as it takes: {asked:?}");
}

#[test]
fn what_an_earlier_run_left_is_decoded_at_once() {
    let mut node = Node::new(samara_swarm::Config::default());
    let out = node.add(given(set(ALL, [0, 4, 5])));
    assert_eq!(decodes(&out), [0]);
}

#[test]
fn false_shards_are_left_aside_and_damaged_sources_fetched_again() {
    let (key, stripe) = (KEY, 0);
    let mut node = receiver();
    node.join_with(A, set(ALL, [0, 4]));
    node.hear(A, grant(9));
    fetch(&mut node, A, 0);
    assert_eq!(decodes(&fetch(&mut node, A, 4)), [0]);
    // The disk lost the chunk: then it is fetched, and decoded, once more.
    node.tell(Event::ChunkLost { key, chunk: 0 });
    node.tell(Event::DecodeFailed {
        key,
        stripe,
        broken: false,
    });
    assert_eq!(asked(&node.hear(A, grant(9))), [(A, 0)]);
    assert_eq!(decodes(&fetch(&mut node, A, 0)), [0]);
    // And then it turns out that the publisher's shard is none.
    node.tell(Event::DecodeFailed {
        key,
        stripe,
        broken: true,
    });
    node.join_with(B, set(ALL, [2]));
    assert_eq!(asked(&node.hear(B, grant(9))), [(B, 2)]);
    assert!(decodes(&fetch(&mut node, B, 2)).is_empty());
}

#[test]
fn who_wants_a_part_takes_no_substitutes() {
    let mut some = given(ChunkSet::new(ALL));
    some.wanted = Some(set(ALL, [0, 2, 5]));
    let mut node = Node::with(some);
    node.join_with(A, set(ALL, [0, 4]));
    assert_eq!(asked(&node.hear(A, grant(9))), [(A, 0)]);
    // A share is chunks and shards, wanted for themselves.
    node.join_with(B, set(ALL, [2, 4, 5]));
    assert_eq!(asked(&node.hear(B, grant(9))), [(B, 2), (B, 5)]);
    fetch(&mut node, A, 0);
    fetch(&mut node, B, 2);
    assert!(is_complete(&fetch(&mut node, B, 5)));
}
