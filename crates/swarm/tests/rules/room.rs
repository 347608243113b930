use std::time::Duration;

use samara_content::ChunkSet;
use samara_swarm::{Action, Event, Message};
use samara_wire::PeerId;

use crate::node::*;

const MS: Duration = Duration::from_millis(1);

fn hear_within(node: &mut Node, peer: PeerId, chunks: u32, room: u64) -> Vec<Action> {
    node.tell(Event::Message {
        peer,
        key: KEY,
        msg: grant(chunks),
        room: Some(room),
    })
}

fn roomier(node: &mut Node, peer: PeerId) -> Vec<Action> {
    node.tell(Event::Roomier { key: KEY, peer })
}

fn cramped(node: &Node) -> Vec<PeerId> {
    let links = node.swarm.cramped().iter();
    links.map(|(_, peer)| *peer).collect()
}

#[test]
fn no_more_is_asked_for_than_there_is_room_and_the_rest_once_there_is() {
    let mut node = Node::receiver(8);
    node.join_with(A, ChunkSet::full(8));
    let chunk = u64::from(CHUNK);
    // Overdrawn by less than a chunk.
    let out = hear_within(&mut node, A, 4, chunk + 1);
    assert_eq!(requests(&out).len(), 2);
    assert_eq!(messages(&out), [(A, Message::Release(2 * chunk))]);
    assert_eq!(cramped(&node), [A]);
    // News and what becomes free make nothing of it before there is room.
    assert!(messages(&node.hear(A, Message::HaveMore(vec![7]))).is_empty());
    let key = KEY;
    let (peer, request, _) = requests(&out)[0];
    node.tell(Event::RequestFailed { key, peer, request });
    assert!(!messages(&node.wait(400 * MS)).iter().any(|m| m.0 == A));
    node.wait(200 * MS);
    assert_eq!(
        messages(&roomier(&mut node, A)),
        [(A, Message::Want(8 * chunk))]
    );
    assert!(cramped(&node).is_empty());
    assert!(messages(&roomier(&mut node, A)).is_empty(), "it was told");
    // None at all.
    let out = hear_within(&mut node, A, 2, 0);
    assert!(requests(&out).is_empty());
    assert_eq!(messages(&out), [(A, Message::Release(2 * chunk))]);
    assert_eq!(cramped(&node), [A]);
    // The limit is off.
    roomier(&mut node, A);
    assert!(!requests(&node.hear(A, grant(2))).is_empty());
    assert!(cramped(&node).is_empty());
}

#[test]
fn who_has_no_more_to_give_does_not_wait_for_room() {
    let mut node = Node::receiver(8);
    node.join_with(A, set(8, [3]));
    let out = hear_within(&mut node, A, 4, 2 * u64::from(CHUNK));
    assert_eq!(requests(&out).len(), 1);
    assert!(cramped(&node).is_empty());
    node.join_with(B, ChunkSet::full(8));
    hear_within(&mut node, B, 4, 0);
    assert_eq!(cramped(&node), [B]);
    node.leave(B);
    assert!(cramped(&node).is_empty());
    roomier(&mut node, B);
}

#[test]
fn nobody_is_late_for_what_our_own_limits_hold_back() {
    let mut node = Node::receiver(2);
    node.join_with(A, ChunkSet::full(2));
    node.join_with(B, ChunkSet::full(2));
    assert_eq!(requests(&node.hear(A, grant(2))).len(), 2);
    assert!(requests(&node.hear(B, grant(2))).is_empty());
    let quiet = |out: &[Action]| {
        let cancels = out.iter().any(|a| matches!(a, Action::Cancel { .. }));
        !cancels && messages(out).is_empty()
    };
    for _ in 0..600 {
        let out = node.wait(100 * MS);
        assert!(quiet(&out), "at {:?}: {out:?}", node.now);
        let (peer, wait) = (A, 100 * MS);
        node.tell(Event::HeldBack { peer, wait });
    }
    assert!(requests(&node.hear(B, grant(2))).is_empty());
    assert!(!quiet(&node.wait(30_000 * MS)), "now it is the peer");
}
