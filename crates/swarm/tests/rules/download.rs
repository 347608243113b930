use std::time::Duration;

use samara_content::ChunkSet;
use samara_swarm::{Action, Config, Event, Message, Offence};

use crate::node::*;

#[test]
fn credit_is_spent_at_once_and_the_rest_given_back() {
    let mut node = Node::receiver(8);
    node.join_with(A, set(8, [3, 5]));
    let out = node.hear(A, grant(3));
    let mut chunks: Vec<u32> = requests(&out).iter().map(|r| r.2).collect();
    chunks.sort();
    assert_eq!(chunks, [3, 5]);
    let rest = Message::Release(u64::from(CHUNK));
    assert_eq!(messages(&out), [(A, rest)]);
}

#[test]
fn suggestions_come_first_unless_they_are_of_no_use() {
    let mut node = Node::with(Given {
        wanted: Some(set(8, [1, 2, 6, 7])),
        ..Given::new(8, set(8, [1]))
    });
    node.join_with(A, ChunkSet::full(8));
    let msg = Message::Grant {
        bytes: 2 * u64::from(CHUNK),
        // Here already; not wanted; no such chunk; wanted.
        suggested: vec![1, 3, 99, 7],
    };
    let chunks: Vec<u32> = requests(&node.hear(A, msg)).iter().map(|r| r.2).collect();
    assert_eq!(chunks[0], 7);
    assert!(chunks.len() == 2 && [2, 6].contains(&chunks[1]));
}

#[test]
fn the_rarest_chunk_is_asked_for_first() {
    let mut node = Node::receiver(4);
    node.join_with(A, ChunkSet::full(4));
    node.join_with(B, set(4, [0, 2]));
    node.join_with(C, set(4, [0]));
    node.hear(C, Message::HaveMore(vec![3]));
    node.hear(B, Message::HaveMore(vec![3]));
    node.hear(B, Message::Withdraw(vec![3]));
    let order: Vec<u32> = (0..4)
        .map(|_| requests(&node.hear(A, grant(1)))[0].2)
        .collect();
    assert_eq!((order[0], order[3]), (1, 0), "{order:?}");
}

#[test]
fn a_bad_chunk_is_told_and_a_second_one_bans() {
    let mut node = Node::receiver(4);
    node.join_with(A, ChunkSet::full(4));
    node.join_with(B, ChunkSet::full(4));
    let asked = requests(&node.hear(A, grant(2)));
    let (first, second) = (asked[0].2, asked[1].2);
    node.arrive(A, first);
    let out = node.reject(A, first);
    assert_eq!(messages(&out)[0], (A, Message::BadChunk(first)));

    let from_a = requests(&node.hear(A, grant(4)));
    assert!(from_a.iter().all(|r| r.2 != first), "not from there again");
    assert_eq!(requests(&node.hear(B, grant(1)))[0].2, first);

    node.arrive(A, second);
    let punish = Action::Punish {
        peer: A,
        offence: Offence::BadChunks,
    };
    assert!(node.reject(A, second).contains(&punish));
    let mut again: Vec<u32> = requests(&node.hear(B, grant(4)))
        .iter()
        .map(|r| r.2)
        .collect();
    again.push(first);
    again.sort();
    assert_eq!(
        again,
        [0, 1, 2, 3],
        "all that it was asked for comes from B"
    );
    assert_eq!(node.join(A), [punish], "it is not let in again");
}

#[test]
fn a_chunk_that_we_could_not_keep_is_nobodys_fault() {
    let mut node = Node::receiver(1);
    node.join_with(A, ChunkSet::full(1));
    for _ in 0..5 {
        assert_eq!(requests(&node.hear(A, grant(1))).len(), 1);
        node.arrive(A, 0);
        node.tell(Event::ChunkDropped { key: KEY, chunk: 0 });
    }
}

#[test]
fn a_failed_request_is_made_elsewhere() {
    let mut node = Node::receiver(1);
    node.join_with(A, ChunkSet::full(1));
    node.join_with(B, ChunkSet::full(1));
    let (peer, request, _) = requests(&node.hear(A, grant(1)))[0];
    assert!(
        requests(&node.hear(B, grant(1))).is_empty(),
        "it is on its way"
    );
    let key = KEY;
    let out = node.tell(Event::RequestFailed { key, peer, request });
    let want = Message::Want(u64::from(CHUNK));
    assert_eq!(messages(&out), [(B, want)], "whom we had turned away");
    assert!(
        requests(&node.hear(A, grant(1))).is_empty(),
        "it just failed"
    );
    assert_eq!(requests(&node.hear(B, grant(1)))[0].2, 0);
}

#[test]
fn what_is_late_at_the_end_is_asked_for_twice_and_cancelled() {
    let mut node = Node::receiver(1);
    node.join_with(A, ChunkSet::full(1));
    node.join_with(B, ChunkSet::full(1));
    let (peer, request, _) = requests(&node.hear(A, grant(1)))[0];
    assert!(requests(&node.hear(B, grant(1))).is_empty());
    let out = node.wait(Duration::from_millis(1500));
    let want = Message::Want(u64::from(CHUNK));
    assert_eq!(messages(&out), [(B, want)]);
    assert_eq!(requests(&node.hear(B, grant(1)))[0].2, 0);
    let key = KEY;
    let cancel = Action::Cancel { peer, key, request };
    assert_eq!(node.arrive(B, 0), [cancel]);
    assert_eq!(node.arrive(A, 0), [], "a late answer is no offence");
    assert_eq!(node.swarm.progress(KEY).unwrap().in_flight_bytes, 0);
}

#[test]
fn what_two_silent_peers_were_asked_for_is_asked_of_a_third() {
    let mut node = Node::receiver(1);
    for peer in [A, B, C] {
        node.join_with(peer, ChunkSet::full(1));
    }
    assert_eq!(requests(&node.hear(A, grant(1))).len(), 1);
    for peer in [B, C] {
        assert!(
            requests(&node.hear(peer, grant(1))).is_empty(),
            "not late yet"
        );
        let want = (peer, Message::Want(u64::from(CHUNK)));
        assert!(messages(&node.wait(Duration::from_millis(1500))).contains(&want));
        assert_eq!(requests(&node.hear(peer, grant(1)))[0].2, 0);
    }
    assert!(node.now < Config::default().request_timeout * 2);
}

#[test]
fn a_silent_peer_is_given_up_and_asked_for_nothing_for_a_while() {
    let mut node = Node::receiver(2);
    node.join_with(A, ChunkSet::full(2));
    let (peer, request, _) = requests(&node.hear(A, grant(1)))[0];
    let key = KEY;
    let cancel = Action::Cancel { peer, key, request };
    let mut given_up = false;
    while !given_up {
        given_up = node.wait(Duration::from_millis(100)).contains(&cancel);
        assert!(node.now < Duration::from_secs(20));
    }
    assert!(requests(&node.hear(A, grant(1))).is_empty());
    let out = node.wait(Duration::from_secs(1));
    assert!(!messages(&out).is_empty(), "it gets another chance");
    assert_eq!(requests(&node.hear(A, grant(1))).len(), 1);
}
