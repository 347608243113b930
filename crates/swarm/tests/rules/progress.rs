//! Senders that are slow, which is no fault, and those that are too slow.

use std::time::Duration;

use samara_content::ChunkSet;
use samara_swarm::{Action, Config, Event, Message, ServeId, limits::SLOWEST_SENDER};
use samara_wire::PeerId;

use crate::node::*;

const HALF: Duration = Duration::from_millis(500);
const LARGE: u32 = 1 << 20;

fn large(chunks: u32) -> Given {
    let mut given = Given::new(chunks, ChunkSet::new(chunks));
    given.sizes = vec![LARGE; chunks as usize];
    given
}

fn progress(node: &mut Node, peer: PeerId, chunk: u32, bytes: u32) {
    let event = Event::Progress {
        key: KEY,
        chunk,
        peer,
        bytes,
    };
    assert!(node.tell(event).is_empty());
}

fn cancels(out: &[Action]) -> bool {
    out.iter().any(|a| matches!(a, Action::Cancel { .. }))
}

#[test]
fn who_sends_slowly_is_waited_for_and_who_trickles_is_not() {
    let half_a_second = SLOWEST_SENDER as u32 / 2;
    for (bytes, stays) in [(half_a_second + 2, true), (half_a_second / 2, false)] {
        let mut node = Node::with(large(2));
        node.join_with(A, ChunkSet::full(2));
        // All that it was asked for comes over the same way.
        let grant = Message::Grant {
            bytes: 2 * u64::from(LARGE),
            suggested: vec![],
        };
        let asked = requests(&node.hear(A, grant));
        assert_eq!(asked.len(), 2);
        let mut given_up = false;
        for half in 1..=240 {
            given_up |= cancels(&node.wait(HALF));
            progress(&mut node, A, asked[0].2, half * bytes);
        }
        assert_eq!(given_up, !stays, "{bytes} bytes in half a second");
    }
}

#[test]
fn bytes_of_a_chunk_tell_the_rate_before_it_is_whole() {
    let mut node = Node::with(large(1));
    node.join_with(A, ChunkSet::full(1));
    let chunk = requests(&node.hear(A, grant(1)))[0].2;
    for half in 1..=8 {
        node.now += HALF;
        progress(&mut node, A, chunk, half * 10_000);
        // What is told late counts once.
        progress(&mut node, A, chunk, (half - 1) * 10_000);
    }
    assert_eq!(node.swarm.links(KEY)[0].rate, 20_000);
    // Nobody asked for it.
    progress(&mut node, B, chunk, 500_000);
    progress(&mut node, A, 99, 500_000);
    assert_eq!(node.swarm.links(KEY)[0].rate, 20_000);
}

#[test]
fn what_comes_slowly_is_asked_of_another_holder_as_well() {
    let mut node = Node::with(large(1));
    node.join_with(A, ChunkSet::full(1));
    node.join_with(B, ChunkSet::full(1));
    let (peer, request, chunk) = requests(&node.hear(A, grant(1)))[0];
    assert!(requests(&node.hear(B, grant(1))).is_empty());
    let mut told = false;
    for half in 1..=8 {
        let out = messages(&node.wait(HALF));
        told |= out.contains(&(B, Message::Want(u64::from(LARGE))));
        progress(&mut node, A, chunk, half * 2000);
    }
    assert!(told);
    assert_eq!(requests(&node.hear(B, grant(1))).len(), 1);
    let (key, bytes) = (KEY, LARGE);
    let out = node.tell(Event::ChunkArrived {
        key,
        chunk,
        peer: B,
        bytes,
    });
    assert_eq!(out, [Action::Cancel { peer, key, request }]);
}

#[test]
fn who_takes_slowly_keeps_its_place_but_not_for_ever() {
    let serve = |moves: bool| {
        let mut node = Node::new(Config {
            upload_slots: 1,
            ..Config::default()
        });
        let mut given = large(8);
        given.have = ChunkSet::full(8);
        node.add(given);
        node.join(A);
        node.hear(A, Message::Want(8 * u64::from(LARGE)));
        assert!(is_served(&node.ask(A, &[0])));
        node.join(B);
        let mut out = node.hear(B, Message::Want(8 * u64::from(LARGE)));
        while grants(&out).iter().all(|(peer, _)| *peer != B) {
            assert!(node.now < Duration::from_secs(60));
            out = node.wait(HALF);
            if moves {
                let (key, peer) = (KEY, A);
                out.extend(node.tell(Event::Sending { key, peer }));
            }
        }
        node.now.as_secs()
    };
    assert_eq!(serve(false), 3);
    assert_eq!(serve(true), 30);
}

#[test]
fn who_does_not_know_how_long_a_large_chunk_takes_sends_a_few_one_each() {
    let mut node = Node::new(Config::default());
    let mut given = large(64);
    given.have = ChunkSet::full(64);
    node.add(given);
    let peers: Vec<_> = (1..=8).map(|n| PeerId([n; 32])).collect();
    peers.iter().for_each(|peer| drop(node.join(*peer)));
    let chunk = u64::from(LARGE);
    // Who is alone delays nobody.
    let out = node.hear(peers[0], Message::Want(64 * chunk));
    let alone: u64 = grants(&out).iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(alone, 2 * chunk);
    let mut granted = Vec::new();
    for peer in &peers[1..] {
        granted.extend(grants(&node.hear(*peer, Message::Want(64 * chunk))));
    }
    let one = |peer: &PeerId| (*peer, chunk);
    let few: Vec<_> = peers[1..4].iter().map(one).collect();
    assert_eq!(granted, few);
    // A chunk takes a tenth of a second: now it may serve everybody.
    let (key, peer, serve, taken) = (KEY, peers[1], ServeId(1), true);
    assert!(is_served(&node.ask(peer, &[1])));
    node.now += Duration::from_millis(100);
    node.tell(Event::Served {
        key,
        peer,
        serve,
        chunk: 1,
        bytes: LARGE,
    });
    let out = grants(&node.tell(Event::ServeEnded {
        key,
        peer,
        serve,
        taken,
    }));
    assert!(
        peers[4..]
            .iter()
            .all(|peer| out.iter().any(|g| g.0 == *peer))
    );
}
