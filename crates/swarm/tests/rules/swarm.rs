use std::time::Duration;

use samara_content::ChunkSet;
use samara_swarm::{
    Action, Event, Message, Offence,
    limits::{LOOK_BURST, LOOK_RATE, MAX_LINKS, MESSAGE_LOOKS},
};
use samara_wire::PeerId;

use crate::node::*;

#[test]
fn who_joins_hears_what_we_have_and_want() {
    let mut node = Node::with(Given::new(4, set(4, [2])));
    let have = Message::Have(set(4, [2]));
    let want = Message::Want(3 * u64::from(CHUNK));
    assert_eq!(messages(&node.join(A)), [(A, have), (A, want)]);
    assert_eq!(node.join(US), [], "we are not our own neighbour");
}

#[test]
fn announcements_are_collected() {
    let mut node = Node::receiver(4);
    node.join(A);
    assert_eq!(messages(&node.store(3)), []);
    assert_eq!(messages(&node.store(1)), []);
    let out = node.wait(Duration::from_millis(20));
    assert_eq!(messages(&out), [(A, Message::HaveMore(vec![1, 3]))]);
}

#[test]
fn news_follow_news_after_a_while_unless_they_are_worth_a_message() {
    let ms = Duration::from_millis;
    let mut node = Node::receiver(64);
    node.join(A);
    let told = |node: &mut Node, time| messages(&node.wait(time));
    let more = |chunks: Vec<u32>| vec![(A, Message::HaveMore(chunks))];
    node.store(0);
    assert_eq!(told(&mut node, ms(2)), more(vec![0]));
    node.store(1);
    assert_eq!(told(&mut node, ms(3)), []);
    node.store(2);
    assert_eq!(told(&mut node, ms(3)), more(vec![1, 2]));
    // An announcement and its acknowledgement are a fiftieth of ten chunks.
    for chunk in 3..13 {
        assert_eq!(node.store(chunk), []);
    }
    assert_eq!(told(&mut node, ms(2)), more((3..13).collect()));
}

#[test]
fn snapshots_are_as_many_as_their_chunks_allow() {
    const CHUNKS: u32 = 1 << 20;
    let mut node = Node::receiver(CHUNKS);
    node.join(A);
    let banned = |node: &mut Node, have: ChunkSet| {
        let offence = Offence::Flood;
        let out = node.hear(A, Message::Have(have));
        out.contains(&Action::Punish { peer: A, offence })
    };
    let (all, none) = (ChunkSet::full(CHUNKS), ChunkSet::new(CHUNKS));
    for _ in 0..LOOK_BURST / (u64::from(CHUNKS) + MESSAGE_LOOKS) {
        assert!(!banned(&mut node, none.clone()));
    }
    let second = Duration::from_secs(1);
    node.wait(second * (u64::from(CHUNKS) / LOOK_RATE) as u32);
    assert!(!banned(&mut node, all.clone()), "time pays for them");
    assert!(banned(&mut node, all));
}

#[test]
fn messages_of_any_kind_are_bounded_and_honest_ones_never_reach_the_bound() {
    let flood = Action::Punish {
        peer: A,
        offence: Offence::Flood,
    };
    let want = Message::Want(4000);
    let mut node = Node::seeder(4);
    node.join(A);
    let most = LOOK_BURST / (MESSAGE_LOOKS + 1);
    for _ in 0..most {
        assert!(!node.hear(A, want.clone()).contains(&flood));
    }
    assert!(node.hear(A, want.clone()).contains(&flood));

    let mut node = Node::seeder(4);
    node.join(A);
    for _ in 0..2 * most {
        node.wait(Duration::from_millis(1));
        assert!(!node.hear(A, want.clone()).contains(&flood));
    }
}

#[test]
fn bad_chunks_are_remembered_over_connections() {
    let mut node = Node::receiver(8);
    let mut punished = Vec::new();
    for _ in 0..4 {
        let mut out = node.join(A);
        out.extend(node.hear(A, Message::Have(ChunkSet::full(8))));
        out.extend(node.hear(A, grant(1)));
        if let Some((_, _, chunk)) = requests(&out).first() {
            node.arrive(A, *chunk);
            out.extend(node.reject(A, *chunk));
        }
        punished.push(out.iter().any(|a| matches!(a, Action::Punish { .. })));
        node.tell(Event::Disconnected { peer: A });
    }
    assert_eq!(punished, [false, true, true, true]);
}

#[test]
fn nothing_is_due_at_rest() {
    let mut node = Node::seeder(4);
    node.join(A);
    assert_eq!(node.swarm.next_timeout(), None);
}

#[test]
fn completion_is_reported_at_once_and_again_after_more() {
    let complete = Action::Complete { key: KEY };
    let mut node = Node::receiver(1);
    let some = Given {
        wanted: Some(set(2, [1])),
        ..Given::new(2, set(2, [1]))
    };
    assert_eq!(node.add(some), std::slice::from_ref(&complete));
    let wanted = set(2, [0]);
    let out = node.tell(Event::WantMore { key: KEY, wanted });
    assert_eq!(out, [Action::NoSource { key: KEY }]);
    assert!(node.store(0).contains(&complete));
    assert!(!node.store(0).contains(&complete));
}

#[test]
fn a_missing_source_is_reported_once_until_there_is_one() {
    let no_source = Action::NoSource { key: KEY };
    let mut node = Node::receiver(2);
    node.join_with(A, ChunkSet::full(2));
    node.join_with(B, ChunkSet::full(2));
    assert!(!node.leave(A).contains(&no_source));
    assert!(node.leave(B).contains(&no_source));
    node.join(A);
    assert!(!node.leave(A).contains(&no_source), "nothing has changed");
    node.join_with(A, ChunkSet::full(2));
    assert!(node.leave(A).contains(&no_source));
}

#[test]
fn a_lost_chunk_is_withdrawn_and_fetched_again() {
    let mut node = Node::seeder(4);
    node.join_with(A, ChunkSet::full(4));
    let out = node.tell(Event::ChunkLost { key: KEY, chunk: 2 });
    let want = Message::Want(u64::from(CHUNK));
    assert_eq!(messages(&out), [(A, Message::Withdraw(vec![2])), (A, want)]);
    assert_eq!(requests(&node.hear(A, grant(1)))[0].2, 2);
    node.arrive(A, 2);
    assert!(node.store(2).contains(&Action::Complete { key: KEY }));
}

#[test]
fn a_removed_content_is_gone_with_its_requests() {
    let mut node = Node::receiver(1);
    node.join_with(A, ChunkSet::full(1));
    let (peer, request, _) = requests(&node.hear(A, grant(1)))[0];
    let key = KEY;
    let out = node.tell(Event::ContentRemoved { key });
    assert_eq!(out, [Action::Cancel { peer, key, request }]);
    assert_eq!(node.swarm.progress(KEY), None);
    node.wait(Duration::from_secs(60));
    assert_eq!(node.swarm.next_timeout(), None);
}

#[test]
fn a_swarm_has_a_bounded_number_of_peers() {
    let mut node = Node::seeder(1);
    let peer = |i: usize| {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&(i as u64).to_be_bytes());
        PeerId(id)
    };
    for i in 0..MAX_LINKS {
        assert!(!node.join(peer(i)).is_empty());
    }
    assert!(node.join(peer(MAX_LINKS)).is_empty());
    node.tell(Event::Disconnected { peer: peer(0) });
    assert!(!node.join(peer(MAX_LINKS)).is_empty());
}

#[test]
fn strangers_and_nonsense_are_ignored_or_refused() {
    let mut node = Node::receiver(2);
    assert!(is_refused(&node.ask(A, &[0])));
    assert!(node.hear(A, grant(1)).is_empty());
    assert!(node.arrive(A, 7).is_empty());
    assert!(node.store(7).is_empty());
    assert!(node.reject(A, 7).is_empty());
    node.join(A);
    node.hear(A, Message::HaveMore(vec![1, 9]));
    node.hear(A, Message::Have(ChunkSet::full(9)));
    let link = node.swarm.links(KEY)[0];
    assert_eq!((link.has_chunks, link.offers), (1, 1));
}
