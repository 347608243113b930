use std::{collections::VecDeque, time::Duration};

use samara_content::ChunkSet;
use samara_swarm::{
    Action, Config, ContentKey, Event, Message, Offence, Policy, Role, ServeId, Tier,
    limits::{MAX_REFUSALS, MAX_REQUEST_CHUNKS},
};

use samara_wire::PeerId;

use crate::node::*;

const MS: Duration = Duration::from_millis(1);

/// Serves one peer at a time.
fn one_slot() -> Node {
    Node::new(Config {
        upload_slots: 1,
        ..Config::default()
    })
}

#[test]
fn requests_need_credit_and_answers_renew_it() {
    let mut node = Node::seeder(8);
    node.join(A);
    assert!(is_refused(&node.ask(A, &[0])));
    let out = node.hear(A, Message::Want(8000));
    assert_eq!(grants(&out).iter().map(|(_, b)| b).sum::<u64>(), 2000);
    assert!(is_refused(&node.ask(A, &[0, 1, 2])), "which forfeits it");
    node.hear(A, Message::Want(8000));
    assert!(is_served(&node.ask(A, &[0, 1])));
    assert!(!grants(&node.deliver(A, &[0, 1], MS)).is_empty());
}

#[test]
fn a_large_chunk_on_its_way_leaves_room_for_the_next() {
    let granted = |out: &[Action]| grants(out).iter().map(|(_, bytes)| bytes).sum::<u64>();
    // Contents of many chunks have one more of them under way.
    for (chunks, pipe, beside) in [(8, 2000, 600), (510, 2000, 600), (512, 3000, 1000)] {
        let mut given = Given::new(chunks, ChunkSet::full(chunks));
        for pair in given.sizes.chunks_mut(2) {
            pair.copy_from_slice(&[1400, 600]);
        }
        let mut node = Node::with(given);
        node.join(A);
        assert_eq!(granted(&node.hear(A, Message::Want(8000))), pipe);
        node.hear(A, Message::Release(pipe - 1400));
        assert!(is_served(&node.ask(A, &[0])));
        // Less than an average chunk is worth a grant.
        assert_eq!(granted(&node.hear(A, Message::Want(6600))), beside);
    }
}

#[test]
fn a_request_names_a_bounded_number_of_chunks() {
    let most = MAX_REQUEST_CHUNKS as u32;
    for (asked, served) in [(most, true), (most + 1, false)] {
        // Many chunks of a byte, so that the credit for two average ones covers them.
        let mut given = Given::new(200, ChunkSet::full(200));
        given.sizes[..100].fill(1);
        let mut node = Node::with(given);
        node.join(A);
        node.hear(A, Message::Want(8000));
        let chunks: Vec<u32> = (0..asked).collect();
        assert_eq!(is_served(&node.ask(A, &chunks)), served);
    }
}

#[test]
fn a_chunk_is_sent_twice_to_one_peer_and_not_again() {
    let mut node = Node::seeder(64);
    node.join(A);
    node.hear(A, Message::Want(64_000));
    for served in [true, true, false] {
        assert_eq!(is_served(&node.ask(A, &[5])), served);
        if served {
            node.deliver(A, &[5], MS);
        }
    }
}

#[test]
fn what_the_transport_took_and_the_peer_threw_away_is_sent_again() {
    let mut node = Node::seeder(2);
    node.join(A);
    node.hear(A, Message::Want(2000));
    assert!(is_served(&node.ask(A, &[0, 1])));
    let out = node.stop(A, &[0, 1]);
    assert!(!grants(&out).is_empty(), "it still wants both");
    assert!(is_served(&node.ask(A, &[0, 1])));
    assert!(grants(&node.deliver(A, &[0, 1], MS)).is_empty());
}

#[test]
fn who_waits_on_and_announces_nothing_is_believed_to_have_lost_it() {
    for announces in [false, true] {
        let mut node = Node::seeder(2);
        node.join(A);
        node.hear(A, Message::Want(2000));
        assert!(is_served(&node.ask(A, &[0, 1])));
        assert!(grants(&node.deliver(A, &[0, 1], MS)).is_empty());
        if announces {
            node.hear(A, Message::HaveMore(vec![0, 1]));
        }
        assert!(grants(&node.wait(Duration::from_secs(2))).is_empty());
        let granted = (0..20).any(|_| !grants(&node.wait(100 * MS)).is_empty());
        assert_eq!(granted, !announces);
        assert_eq!(is_served(&node.ask(A, &[0, 1])), !announces);
        if !announces {
            // Not a third time, and nothing is looked for any more.
            node.deliver(A, &[0, 1], MS);
            assert!(grants(&node.wait(Duration::from_secs(9))).is_empty());
            assert_eq!(node.swarm.next_timeout(), None);
        }
    }
}

#[test]
fn nor_does_it_get_it_again_by_saying_that_it_is_lost_or_bad() {
    let recheck = Action::Recheck { key: KEY, chunk: 5 };
    for (word, rechecks) in [(Message::Withdraw(vec![5]), 0), (Message::BadChunk(5), 1)] {
        let mut node = Node::seeder(64);
        node.join(A);
        let (mut served, mut rechecked) = (0, 0);
        for _ in 0..50 {
            node.hear(A, Message::Want(64_000));
            if is_served(&node.ask(A, &[5])) {
                served += 1;
                node.deliver(A, &[5], MS);
            }
            rechecked += usize::from(node.hear(A, word.clone()).contains(&recheck));
        }
        assert_eq!((served, rechecked), (2, rechecks), "{word:?}");
    }
}

/// A and seven others are served by an uplink that sends a chunk a millisecond, so many
/// in all; what A got, and whoever of the others got most.
/// `lies` is whether A left and came back.
fn shares(chunks: u32, lies: impl Fn(&mut Node, u32) -> bool) -> (u32, u32) {
    let mut node = one_slot();
    node.add(Given::new(4096, ChunkSet::full(4096)));
    let peers: Vec<PeerId> = (1..=8).map(|i| PeerId([i; 32])).collect();
    let mut out = Vec::new();
    for peer in &peers {
        node.join(*peer);
        out.extend(node.hear(*peer, Message::Want(4_096_000)));
    }
    // Each begins elsewhere, so that nobody alone is first with all of them.
    let mut next: [u32; 9] = std::array::from_fn(|who| 400 * who as u32);
    let (mut line, mut got) = (VecDeque::new(), [0; 9]);
    let mut serves = 0;
    while got.iter().sum::<u32>() < chunks {
        let mut granted = grants(&out);
        while let Some((peer, bytes)) = granted.pop() {
            let who = usize::from(peer.0[0]);
            for _ in 0..bytes / u64::from(CHUNK) {
                let chunk = next[who];
                next[who] = (chunk + 1) % 4096;
                serves += 1;
                let (key, serve, chunks) = (KEY, ServeId(serves), vec![chunk]);
                let event = Event::Incoming {
                    key,
                    peer,
                    serve,
                    chunks,
                };
                let out = node.tell(event);
                if is_served(&out) {
                    line.push_back((peer, serve, chunk));
                }
                granted.extend(grants(&out));
            }
        }
        node.now += MS;
        let Some((peer, serve, chunk)) = line.pop_front() else {
            out = node.wait(100 * MS);
            continue;
        };
        got[usize::from(peer.0[0])] += 1;
        let (key, bytes) = (KEY, CHUNK);
        node.tell(Event::Served {
            key,
            peer,
            serve,
            chunk,
            bytes,
        });
        let taken = true;
        out = node.tell(Event::ServeEnded {
            key,
            peer,
            serve,
            taken,
        });
        if peer == A {
            if lies(&mut node, chunk) {
                line.retain(|(peer, ..)| *peer != A);
            }
            out.extend(node.hear(A, Message::Want(4_096_000)));
        }
    }
    (got[1], got[2..].iter().copied().max().expect("seven"))
}

#[test]
fn who_withdraws_what_it_got_or_comes_back_anew_gets_no_more_than_the_others() {
    let withdraws = shares(2000, |node, chunk| {
        node.hear(A, Message::Withdraw(vec![chunk]));
        false
    });
    let returns = shares(2000, |node, _| {
        node.tell(Event::Disconnected { peer: A });
        node.join(A);
        true
    });
    for (a, most) in [withdraws, returns] {
        assert!(a <= most + most / 10, "{a}, of the others {most} at most");
    }
}

#[test]
fn who_keeps_asking_without_credit_is_banned() {
    let mut node = Node::seeder(8);
    node.join(A);
    for _ in 0..MAX_REFUSALS {
        let out = node.ask(A, &[0]);
        assert!(is_refused(&out) && out.len() == 1);
    }
    assert!(node.ask(A, &[0]).contains(&Action::Punish {
        peer: A,
        offence: Offence::Flood,
    }));
}

#[test]
fn a_peer_that_got_a_bad_chunk_has_ours_checked_once() {
    let mut node = Node::seeder(4);
    node.join(A);
    node.hear(A, Message::Want(4000));
    let recheck = Action::Recheck { key: KEY, chunk: 2 };
    let told = |node: &mut Node| node.hear(A, Message::BadChunk(2)).contains(&recheck);
    assert!(!told(&mut node), "it never got it");
    node.ask(A, &[2]);
    assert!(told(&mut node));
    assert!(!told(&mut node));
}

#[test]
fn unused_credit_is_taken_back_and_granted_ever_more_rarely() {
    let mut node = Node::seeder(8);
    node.join(A);
    assert!(!grants(&node.hear(A, Message::Want(8000))).is_empty());
    node.wait(700 * MS);
    assert!(is_refused(&node.ask(A, &[0])), "too late");
    let later = grants(&node.wait(Duration::from_secs(120))).len();
    assert!((2..=20).contains(&later), "{later} grants in two minutes");
}

#[test]
fn a_place_goes_to_somebody_else_when_its_peer_takes_nothing() {
    let mut node = one_slot();
    node.add(Given::new(8, ChunkSet::full(8)));
    node.join(A);
    node.join(B);
    node.hear(A, Message::Want(8000));
    node.ask(A, &[0, 1]);
    assert!(grants(&node.hear(B, Message::Want(8000))).is_empty());
    let out = node.wait(Duration::from_secs(4));
    assert!(grants(&out).iter().all(|(peer, _)| *peer == B));
    assert!(!grants(&out).is_empty());
}

#[test]
fn who_has_least_is_served_first_and_a_liar_gains_nothing() {
    let mut node = one_slot();
    node.add(Given::new(64, ChunkSet::full(64)));
    // A announces four chunks; B announces nothing, ever, but was sent eight.
    node.join_with(A, set(64, 0..4));
    node.join(B);
    node.hear(B, Message::Want(64_000));
    for chunk in 0..8 {
        assert!(is_served(&node.ask(B, &[chunk])));
        node.deliver(B, &[chunk], 200 * MS);
    }
    node.join(C);
    node.hear(A, Message::Want(60_000));
    let out = node.hear(B, Message::Release(2000));
    assert_eq!(grants(&out)[0].0, A);
    node.hear(B, Message::Want(56_000));
    // C has nothing, and comes first when the place is free again.
    node.hear(C, Message::Want(64_000));
    let out = node.hear(A, Message::Release(2000));
    assert_eq!(grants(&out)[0].0, C);
}

#[test]
fn who_has_most_is_served_first_for_the_average() {
    let mut node = one_slot();
    node.add(Given::new(64, ChunkSet::full(64)));
    node.join_with(A, set(64, 0..4));
    node.join_with(B, set(64, 0..8));
    node.join_with(C, set(64, 0..50));
    node.hear(C, Message::Want(14_000));
    // Both wait for C's place; whom it goes to is decided when it is free.
    node.hear(A, Message::Want(60_000));
    node.hear(B, Message::Want(56_000));
    node.swarm.set_policy(Policy::Average);
    let out = node.hear(C, Message::Release(64_000));
    assert_eq!(grants(&out)[0].0, B);
    node.swarm.set_policy(Policy::LastPeer);
    node.hear(B, Message::Want(56_000));
    let out = node.hear(B, Message::Release(64_000));
    assert_eq!(grants(&out)[0].0, A);
}

#[test]
fn a_fifth_of_the_grants_goes_by_turns() {
    let mut node = one_slot();
    node.add(Given::new(64, ChunkSet::full(64)));
    node.join_with(A, set(64, 0..60));
    node.join(B);
    node.hear(B, Message::Want(64_000));
    node.hear(A, Message::Want(4000));
    let mut last = B;
    for _ in 0..20 {
        let out = node.hear(last, Message::Release(2000));
        node.hear(last, Message::Want(4000));
        last = grants(&out).first().map_or(last, |(peer, _)| *peer);
        if last == A {
            return;
        }
    }
    panic!("A, which has nearly everything, was never served");
}

#[test]
fn a_seeder_suggests_what_it_has_not_handed_out() {
    let suggested = |out: &[Action]| -> Vec<u32> {
        let chunks = |(_, msg)| match msg {
            Message::Grant { suggested, .. } => suggested,
            _ => vec![],
        };
        messages(out).into_iter().flat_map(chunks).collect()
    };
    let mut node = Node::seeder(4);
    node.join(A);
    node.join(B);
    let to_a = suggested(&node.hear(A, Message::Want(4000)));
    let to_b = suggested(&node.hear(B, Message::Want(4000)));
    let mut all = [to_a.clone(), to_b].concat();
    all.sort();
    assert_eq!(all, [0, 1, 2, 3], "to each something else");
    // A goes with what only it had: that is the first that is handed out again.
    node.ask(A, &to_a);
    node.deliver(A, &to_a, MS);
    node.tell(Event::Disconnected { peer: A });
    node.join(C);
    let mut again = suggested(&node.hear(C, Message::Want(4000)));
    again.sort();
    let mut lost = to_a;
    lost.sort();
    assert_eq!(again, lost);
}

#[test]
fn the_more_important_content_is_served_first() {
    let urgent = ContentKey(2);
    let mut node = one_slot();
    node.add(Given::new(8, ChunkSet::full(8)));
    node.add(Given {
        key: urgent,
        priority: 9,
        ..Given::new(8, ChunkSet::full(8))
    });
    for (key, peer) in [(KEY, A), (KEY, B), (urgent, C)] {
        let (tier, site) = (Tier::Site, None);
        node.tell(Event::PeerJoined {
            key,
            peer,
            tier,
            site,
        });
    }
    assert_eq!(grants(&node.hear(A, Message::Want(8000)))[0].0, A);
    node.hear(B, Message::Want(8000));
    node.tell(Event::Message {
        peer: C,
        key: urgent,
        msg: Message::Want(8000),
        room: None,
    });
    let out = node.hear(A, Message::Release(2000));
    assert_eq!(grants(&out)[0].0, C);
}

#[test]
fn a_leech_serves_nobody() {
    let mut node = Node::with(Given {
        role: Role::Leech,
        ..Given::new(4, ChunkSet::full(4))
    });
    node.join(A);
    assert!(grants(&node.hear(A, Message::Want(4000))).is_empty());
    assert!(is_refused(&node.ask(A, &[0])));
}
