//! Who becomes a neighbour, what goes along which link, and what a hostile one can
//! make of it.

mod lone;

use std::time::Duration;

use lone::{Lone, NOW, key, record, sent_to};
use samara_graph::{
    Action, CharterChain, CharterLimits, Event, Fault, Message, PeerAddress, Record, Reject,
    Summary, limits,
};
use samara_wire::{PeerId, RecordId};

fn lone() -> Lone {
    Lone::new(CharterLimits::default())
}

fn address(n: u8) -> PeerAddress {
    PeerAddress::sign(&key(n), &[([10, 0, 0, n], 4242).into()], NOW)
}

fn forged(n: u8) -> PeerAddress {
    let mut bytes = vec![12, 0];
    bytes.extend(address(n).encode());
    *bytes.last_mut().unwrap() ^= 1;
    match Message::decode(&bytes.into()).unwrap() {
        Message::JoinWalk { address, .. } => address,
        other => panic!("{other:?}"),
    }
}

/// A connection whose other end says who it is and where it can be reached.
fn meet(l: &mut Lone, n: u8) {
    let peer = key(n).peer_id();
    l.event(Event::NeighbourUp { peer });
    let hello = Message::Hello {
        charter: l.graph.charters().map(CharterChain::reference),
        address: Some(address(n)),
        summary: Summary::default(),
    };
    l.say(n, hello);
}

fn active(l: &Lone) -> Vec<PeerId> {
    let all = l.graph.status().neighbours;
    all.iter().filter(|n| n.active).map(|n| n.peer).collect()
}

fn is_active(l: &Lone, n: u8) -> bool {
    active(l).contains(&key(n).peer_id())
}

fn dialled(out: &[Action]) -> usize {
    let is = |a: &&Action| matches!(a, Action::Connect { .. });
    out.iter().filter(is).count()
}

fn walks(messages: &[Message]) -> usize {
    let is = |m: &&Message| matches!(m, Message::JoinWalk { .. });
    messages.iter().filter(is).count()
}

/// More connected peers than there are places: 52 and up.
fn crowded() -> Lone {
    let mut l = lone();
    (52..62).for_each(|n| meet(&mut l, n));
    l
}

#[test]
fn a_newcomer_gets_a_place_and_is_told_of() {
    let mut l = crowded();
    assert_eq!(active(&l).len(), 6);
    let idle = (52..62).find(|n| !is_active(&l, *n)).unwrap();
    l.say(idle, Message::Join);
    assert!(is_active(&l, idle));
    let peers = |m: &Message| matches!(m, Message::Peers(list) if list.len() > 5);
    assert!(sent_to(&l.out, idle).iter().any(peers));
    let walk = Message::JoinWalk {
        ttl: limits::WALK_STEPS,
        address: address(idle),
    };
    assert!(sent_to(&l.out, 50).contains(&walk));
}

#[test]
fn a_walk_goes_on_is_remembered_and_ends() {
    let mut l = lone();
    let walk = |ttl| Message::JoinWalk {
        ttl,
        address: address(90),
    };
    l.say(50, walk(6));
    assert_eq!(sent_to(&l.out, 51), [walk(5)]);
    assert_eq!(l.graph.status().known_peers, 0);
    l.say(50, walk(limits::WALK_REMEMBERED));
    assert_eq!(l.graph.status().reserved_peers, 1);
    // It may have been dialled at once, since there are too few neighbours.
    let mut l = lone();
    l.say(51, walk(0));
    assert_eq!(sent_to(&l.out, 50), []);
    assert_eq!(dialled(&l.out), 1);
}

#[test]
fn a_flood_of_newcomers_costs_the_others_a_bounded_number_of_messages() {
    let mut l = lone();
    meet(&mut l, 52);
    let mut told = 0;
    for _ in 0..limits::WALK_BURST * 3 {
        l.say(52, Message::Join);
        told += walks(&sent_to(&l.out, 51));
    }
    assert_eq!(told as u64, limits::JOIN_BURST);
    l.mono += Duration::from_secs(1);
    for _ in 0..100 {
        l.say(52, Message::Join);
        told += walks(&sent_to(&l.out, 51));
    }
    assert!(told as u64 <= limits::JOIN_BURST + limits::JOIN_RATE);
}

#[test]
fn walks_of_one_neighbour_are_slowed_and_of_another_are_not() {
    let mut l = lone();
    let walk = Message::JoinWalk {
        ttl: 2,
        address: address(90),
    };
    let mut passed = 0;
    for _ in 0..limits::WALK_BURST + 20 {
        passed += walks(&sent_to(l.say(50, walk.clone()), 51));
    }
    assert_eq!(passed as u64, limits::WALK_BURST);
    assert_eq!(walks(&sent_to(l.say(51, walk), 50)), 1);
}

#[test]
fn forged_addresses_are_the_fault_of_who_vouches_for_them() {
    let mut l = lone();
    l.say(
        50,
        Message::JoinWalk {
            ttl: 0,
            address: forged(90),
        },
    );
    assert_eq!((l.fault(), dialled(&l.out)), (None, 0));
    let peers = vec![forged(90), address(91)];
    l.say(
        50,
        Message::Shuffle {
            walk: 1,
            ttl: 0,
            peers: peers.clone(),
        },
    );
    assert_eq!(l.fault(), None);
    assert_eq!(l.graph.status().known_peers, 1);
    l.say(50, Message::Peers(peers));
    assert_eq!(l.fault(), Some(Fault::ForgedAddress));
}

#[test]
fn an_exchange_goes_on_and_its_answer_comes_back() {
    let mut l = lone();
    let peers = vec![address(90), address(91)];
    let shuffle = |walk, ttl| Message::Shuffle {
        walk,
        ttl,
        peers: peers.clone(),
    };
    let sent = sent_to(l.say(50, shuffle(7, 3)), 51);
    let [
        Message::Shuffle {
            walk,
            ttl: 2,
            peers: on,
        },
    ] = &sent[..]
    else {
        panic!("{sent:?}");
    };
    assert_eq!(*on, peers);
    let answer = |walk| Message::Shuffled {
        walk,
        peers: vec![address(92)],
    };
    // Not from another, and once.
    assert_eq!(sent_to(l.say(50, answer(*walk)), 50), []);
    assert_eq!(sent_to(l.say(51, answer(*walk)), 50), [answer(7)]);
    assert_eq!(sent_to(l.say(51, answer(*walk)), 50), []);
    assert_eq!(l.graph.status().known_peers, 0, "it was not for us");
    // The end of the walk keeps what it was told, and tells something.
    let sent = sent_to(l.say(50, shuffle(8, 0)), 50);
    assert!(
        matches!(&sent[..], [Message::Shuffled { walk: 8, .. }]),
        "{sent:?}"
    );
    assert_eq!(l.graph.status().known_peers, 2);
}

#[test]
fn who_wants_more_peers_exchanges_them_at_once_and_then_ever_less_often() {
    let mut l = lone();
    let begun = |out: &[Action]| {
        let is = |a: &&Action| {
            let Action::Send { message, .. } = a else {
                return false;
            };
            matches!(message, Message::Shuffle { .. })
        };
        out.iter().filter(is).count()
    };
    let second = Duration::from_secs(1);
    assert_eq!(begun(&l.pass(limits::SHUFFLE_FIRST - second)), 0);
    l.event(Event::PeersWanted);
    assert_eq!(
        begun(&l.pass(Duration::ZERO)),
        2,
        "both neighbours are asked"
    );
    assert_eq!(begun(&l.pass(second)), 1, "the regular one");
    // Said again and again.
    let mut at = Vec::new();
    for quarter in 0..4 * 100 {
        l.event(Event::PeersWanted);
        if begun(&l.pass(second / 4)) > 0 {
            at.push(quarter / 4);
        }
    }
    assert_eq!(at, [0, 2, 6, 14, 30, 62]);
}

#[test]
fn an_exchange_of_our_own_is_begun_and_taken_in() {
    let mut l = lone();
    let out = l.pass(limits::SHUFFLE_FIRST);
    let begun = [50, 51].into_iter().find_map(|n| {
        sent_to(&out, n).into_iter().find_map(|m| match m {
            Message::Shuffle { walk, ttl, .. } => Some((n, walk, ttl)),
            _ => None,
        })
    });
    let (n, walk, ttl) = begun.expect("an exchange");
    assert_eq!(ttl, limits::SHUFFLE_STEPS);
    l.say(
        n,
        Message::Shuffled {
            walk,
            peers: vec![address(90)],
        },
    );
    assert_eq!(l.graph.status().known_peers, 1);
    let again = l.pass(limits::SHUFFLE_EVERY * 2);
    let is = |a: &Action| {
        matches!(
            a,
            Action::Send {
                message: Message::Shuffle { .. },
                ..
            }
        )
    };
    assert!(again.iter().any(is));
}

#[test]
fn many_names_of_one_attacker_do_not_take_the_places_of_those_that_we_dialled() {
    let mut l = lone();
    l.event(Event::NeighbourDown {
        peer: key(51).peer_id(),
    });
    // Two whom we know, and dial.
    for n in [70, 71] {
        l.event(Event::PeerKnown(address(n)));
    }
    l.pass(Duration::from_secs(1));
    for n in [70, 71] {
        meet(&mut l, n);
    }
    let mut answers = 0;
    for n in 100..180 {
        meet(&mut l, n);
        l.say(n, Message::Neighbour { urgent: true });
        answers += usize::from(sent_to(&l.out, n).contains(&Message::Disconnect));
    }
    assert!(is_active(&l, 70) && is_active(&l, 71));
    assert_eq!(active(&l).len(), 9);
    assert!(answers >= 50, "{answers}");
    // Time brings one place a second, whoever asks; none of them is one of ours.
    for n in 100..180 {
        l.mono += limits::PLACE_PAUSE;
        l.say(n, Message::Neighbour { urgent: true });
    }
    assert!(is_active(&l, 70) && is_active(&l, 71));
    // Without urgency nobody gives way.
    let before = active(&l);
    l.mono += Duration::from_secs(60);
    for n in 100..180 {
        l.say(n, Message::Neighbour { urgent: false });
    }
    assert_eq!(active(&l), before);
}

#[test]
fn asking_for_a_place_over_and_over_is_not_answered() {
    let mut l = crowded();
    (100..104).for_each(|n| {
        meet(&mut l, n);
        l.say(n, Message::Neighbour { urgent: true });
    });
    let idle = (52..62).find(|n| !is_active(&l, *n)).unwrap();
    let mut answers = 0;
    for _ in 0..20 {
        l.say(idle, Message::Neighbour { urgent: false });
        answers += sent_to(&l.out, idle).len() as u64;
    }
    assert_eq!(answers, limits::PLACE_BURST);
}

#[test]
fn a_lost_neighbour_is_replaced_from_the_reserve() {
    let mut l = crowded();
    l.say(
        50,
        Message::Shuffle {
            walk: 1,
            ttl: 0,
            peers: vec![address(90)],
        },
    );
    let first = active(&l);
    for peer in &first {
        l.event(Event::NeighbourDown { peer: *peer });
    }
    // Those that are connected are asked, and the one in reserve is dialled.
    assert!(active(&l).len() >= 6);
    let connects =
        |a: &Action| matches!(a, Action::Connect { peer, .. } if *peer == key(90).peer_id());
    l.pass(Duration::from_secs(1));
    let mut l = lone();
    let mut out = l
        .say(
            50,
            Message::Shuffle {
                walk: 1,
                ttl: 0,
                peers: vec![address(90)],
            },
        )
        .to_vec();
    out.extend(
        l.event(Event::NeighbourDown {
            peer: key(50).peer_id(),
        })
        .to_vec(),
    );
    assert!(out.iter().any(connects));
}

#[test]
fn who_disconnects_is_told_nothing_more_until_it_asks() {
    let mut l = lone();
    l.say(50, Message::Disconnect);
    assert!(!is_active(&l, 50));
    let r = record(l.channel(), 1, 1);
    l.say(51, Message::Record(r.bytes().clone()));
    assert_eq!(sent_to(&l.out, 50), []);
    let later = l.pass(limits::PLACE_PAUSE);
    assert!(sent_to(&later, 50).contains(&Message::Neighbour { urgent: false }));
    // What it missed it learns from the summary.
    assert!(
        sent_to(&later, 50)
            .iter()
            .any(|m| matches!(m, Message::Summary(_)))
    );
}

#[test]
fn a_duplicate_prunes_its_link_and_the_pruned_are_sent_ids() {
    let mut l = lone();
    l.up(52);
    let (a, b, c) = (
        record(l.channel(), 1, 1),
        record(l.channel(), 1, 2),
        record(l.channel(), 1, 3),
    );
    l.offer(&a);
    assert_eq!(sent_to(&l.out, 51), [Message::Record(a.bytes().clone())]);
    // 51 had it already, and sends it while ours is on its way; 52 prunes us.
    let out = l.say(51, Message::Record(a.bytes().clone())).to_vec();
    assert_eq!(sent_to(&out, 51), [Message::Prune]);
    l.say(52, Message::Prune);
    l.offer(&b);
    assert_eq!(sent_to(&l.out, 51), []);
    let later = l.pass(limits::ANNOUNCE_DELAY);
    for n in [51, 52] {
        assert_eq!(sent_to(&later, n), [Message::IHave(vec![b.id()])]);
    }
    // Whoever lacks it grafts, and is sent the next one whole.
    let out = l.say(52, Message::Graft(vec![b.id()])).to_vec();
    let served = |a: &Action| matches!(a, Action::SendRecord { id, .. } if *id == b.id());
    assert!(out.iter().any(served));
    l.offer(&c);
    assert_eq!(sent_to(&l.out, 52), [Message::Record(c.bytes().clone())]);
    assert_eq!(sent_to(&l.out, 51), []);
    assert_eq!(l.rejected(Reject::Rate), 0);
}

#[test]
fn what_does_not_come_is_grafted_from_whoever_named_it_first() {
    let mut l = lone();
    let (a, b) = (record(l.channel(), 1, 1), record(l.channel(), 1, 2));
    for n in [51, 50] {
        l.say(n, Message::IHave(vec![a.id(), b.id()]));
        assert_eq!(sent_to(&l.out, n), [], "it may come by itself");
    }
    l.mono += limits::GRAFT_AFTER / 2;
    l.say(50, Message::Record(a.bytes().clone()));
    let all = l.pass(limits::GRAFT_AFTER / 2);
    assert_eq!(sent_to(&all, 51), [Message::Graft(vec![b.id()])]);
    let grafts = |m: &Message| matches!(m, Message::Graft(_));
    assert!(!sent_to(&all, 50).iter().any(grafts));
    // It goes on along the tree, but not to who has it.
    l.up(52);
    l.say(51, Message::Record(b.bytes().clone()));
    assert_eq!(sent_to(&l.out, 52), [Message::Record(b.bytes().clone())]);
    assert_eq!(sent_to(&l.out, 50), []);
}

#[test]
fn a_graft_in_vain_is_tried_with_the_next_and_counts_against_the_first() {
    let mut l = lone();
    let r = record(l.channel(), 1, 1);
    for n in [51, 50] {
        l.say(n, Message::IHave(vec![r.id()]));
    }
    let all = l.pass(limits::GRAFT_AFTER + limits::REQUEST_TIMEOUT + limits::WANTED_RETRY);
    assert!(sent_to(&all, 51).contains(&Message::Graft(vec![r.id()])));
    assert!(sent_to(&all, 50).contains(&Message::Request(vec![r.id()])));
    l.say(50, Message::Record(r.bytes().clone()));
    assert_eq!(l.held(), [r.id()]);
    assert!(l.holds(&r));
}

#[test]
fn ids_of_one_liar_leave_room_for_those_of_others() {
    let mut l = lone();
    let mut n = 0u32;
    let mut lie = || {
        n += 1;
        no_id(n)
    };
    for _ in 0..limits::MAX_AWAITED / limits::MAX_IDS + 2 {
        let ids = (0..limits::MAX_IDS).map(|_| lie()).collect();
        l.say(50, Message::IHave(ids));
    }
    let r = record(l.channel(), 1, 1);
    l.say(51, Message::IHave(vec![r.id()]));
    let all = l.pass(limits::GRAFT_AFTER);
    assert!(sent_to(&all, 51).contains(&Message::Graft(vec![r.id()])));
    // What it named and does not send costs it the neighbourhood.
    l.pass(limits::GRAFT_AFTER);
    l.say(50, Message::IHave((0..10).map(|_| lie()).collect()));
    let all = l.pass(Duration::from_secs(600));
    let fault = Action::Fault {
        peer: key(50).peer_id(),
        fault: Fault::EmptyPromise,
    };
    assert!(all.contains(&fault));
}

/// An id that no record has.
fn no_id(n: u32) -> RecordId {
    let mut bytes = [0xee; 32];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    RecordId(bytes)
}

#[test]
fn a_slow_neighbour_is_sent_ids_later_and_slows_no_other() {
    let mut l = lone();
    l.up(52);
    let slow = |slow| Event::Slow {
        peer: key(51).peer_id(),
        slow,
    };
    l.event(slow(true));
    let all: Vec<Record> = (1..=40).map(|seq| record(l.channel(), 1, seq)).collect();
    for r in &all {
        l.offer(r);
        assert_eq!(sent_to(&l.out, 52), [Message::Record(r.bytes().clone())]);
        assert_eq!(sent_to(&l.out, 51), []);
    }
    // It may ask, and is answered once it reads.
    let out = l.say(51, Message::Request(vec![all[0].id()])).to_vec();
    let served = |a: &Action| matches!(a, Action::SendRecord { .. });
    assert!(!out.iter().any(served));
    assert_eq!(sent_to(&l.pass(Duration::from_secs(1)), 51), []);
    let out = l.event(slow(false)).to_vec();
    let ids = all.iter().map(Record::id).collect();
    assert_eq!(sent_to(&out, 51), [Message::IHave(ids)]);
    assert!(out.iter().any(served));
}

#[test]
fn what_a_slow_neighbour_must_be_told_of_is_bounded() {
    let mut l = lone();
    let slow = |slow| Event::Slow {
        peer: key(51).peer_id(),
        slow,
    };
    l.event(slow(true));
    for seq in 1..=limits::MAX_IDS as u64 + 300 {
        // More than one author floods; whole or by id.
        let r = record(l.channel(), 1 + (seq % 3) as u8, seq);
        l.mono += Duration::from_millis(20);
        l.offer(&r);
    }
    let out = l.event(slow(false)).to_vec();
    let sent = sent_to(&out, 51);
    let ids = |m: &Message| match m {
        Message::Have(ids) | Message::IHave(ids) => ids.len(),
        _ => 0,
    };
    assert!(sent.iter().all(|m| ids(m) <= limits::MAX_IDS));
    let told: usize = sent.iter().map(ids).sum();
    assert!(told >= limits::MAX_IDS, "{told}");
    // The rest shows in the summary.
    if told < limits::MAX_IDS + 300 {
        assert!(sent.iter().any(|m| matches!(m, Message::Summary(_))));
    }
}
