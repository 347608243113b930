//! What a hostile neighbour can say, and what it costs.

mod lone;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use lone::{HOUR, Lone, NOW, key, new_record, record, sent_to};
use proptest::prelude::*;
use samara_graph::{
    Action, Charter, CharterLimits, Config, Event, Fault, Graph, Message, NewRecord, PeerAddress,
    Record, Reject, Summary, limits,
};
use samara_wire::{ChannelId, PeerId, RecordId};

fn lone() -> Lone {
    Lone::new(CharterLimits::default())
}

fn other_summary() -> Summary {
    Summary {
        count: 1000,
        fingerprint: [1; 16],
    }
}

fn id(n: u64) -> RecordId {
    let mut bytes = [0xee; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    RecordId(bytes)
}

#[test]
fn damaged_and_forged_records_cost_their_sender_the_neighbourhood() {
    let good = record(lone().channel(), 1, 1);
    for at in 0..good.bytes().len() {
        let mut bytes = good.bytes().to_vec();
        bytes[at] ^= 1;
        let mut l = lone();
        l.say(50, Message::Record(bytes.into()));
        assert_eq!(l.held(), [], "byte {at}");
        // A changed format byte may be a newer Samara's.
        assert_eq!(l.fault().is_some(), at > 0, "byte {at}");
    }
    for cut in 0..good.bytes().len() {
        let mut l = lone();
        l.say(50, Message::Record(good.bytes().slice(..cut)));
        assert_eq!(l.held(), []);
    }
}

#[test]
fn a_forger_is_let_go_and_an_honest_neighbour_is_not_confused_with_it() {
    let mut l = lone();
    let good = record(l.channel(), 1, 1);
    let mut forged = good.bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    l.say(50, Message::Record(forged.clone().into()));
    assert_eq!(l.fault(), Some(Fault::ForgedRecord));
    assert_eq!(
        l.graph.neighbours().collect::<Vec<_>>(),
        [key(51).peer_id()]
    );
    assert!(l.offer(&good).is_empty(), "it is a neighbour no more");
    // The same bytes from another are known for what they are.
    l.say(51, Message::Record(forged.into()));
    assert_eq!(l.fault(), Some(Fault::ForgedRecord));
    assert_eq!(l.rejected(Reject::BadSignature), 2);
}

#[test]
fn records_of_other_channels_stay_out() {
    let mut l = lone();
    let foreign = record(ChannelId([3; 32]), 1, 1);
    l.offer(&foreign);
    assert_eq!(l.fault(), Some(Fault::MalformedRecord));
    assert_eq!(l.rejected(Reject::ForeignChannel), 1);
}

#[test]
fn a_flood_of_unasked_records_is_cut_off_before_signatures_are_paid_for() {
    let mut l = lone();
    let c = l.channel();
    let burst = limits::UNASKED_BURST;
    for seq in 1..=burst + 10 {
        // Replays of one record are found by their hash and cost nothing.
        l.offer(&record(c, 1, 1));
        l.offer(&record(c, 1, seq));
    }
    assert_eq!(l.held().len() as u64, burst);
    assert_eq!(l.rejected(Reject::Rate), 10);
    assert_eq!(l.fault(), None);
    // A second later there is room for some, and the other neighbour had room anyway.
    l.say(
        51,
        Message::Record(record(c, 1, burst + 20).bytes().clone()),
    );
    assert_eq!(l.held().len() as u64, burst + 1);
    l.mono += Duration::from_secs(1);
    l.offer(&record(c, 1, burst + 30));
    assert_eq!(l.held().len() as u64, burst + 2);
}

#[test]
fn an_author_who_floods_is_flooded_by_id() {
    let mut l = lone();
    let c = l.channel();
    let (mut whole, mut by_id) = (0, 0);
    for seq in 1..=limits::EAGER_BURST + 50 {
        for message in sent_to(l.offer(&record(c, 1, seq)), 51) {
            whole += u64::from(matches!(message, Message::Record(_)));
        }
    }
    for message in sent_to(&l.pass(limits::ANNOUNCE_DELAY), 51) {
        if let Message::Have(ids) = message {
            by_id += ids.len();
        }
    }
    assert_eq!((whole, by_id), (limits::EAGER_BURST, 50));
    assert_eq!(sent_to(&l.out, 50), [], "never back to the sender");
}

#[test]
fn large_records_are_announced_and_small_ones_sent() {
    let mut l = lone();
    let c = l.channel();
    let sized = |seq, body: usize| {
        let new = NewRecord {
            body: vec![0; body].into(),
            ..new_record(c, seq)
        };
        new.sign(&key(1)).unwrap()
    };
    let overhead = sized(1, 7000).bytes().len() - 7000;
    let (small, large) = (
        sized(2, limits::EAGER_BYTES - overhead),
        sized(3, limits::EAGER_BYTES - overhead + 1),
    );
    let sent = sent_to(l.offer(&small), 51);
    assert_eq!(sent, [Message::Record(small.bytes().clone())]);
    assert_eq!(sent_to(l.offer(&large), 51), []);
    let later = sent_to(&l.pass(limits::ANNOUNCE_DELAY), 51);
    assert_eq!(later, [Message::Have(vec![large.id()])]);
}

#[test]
fn asking_for_too_much_at_once_is_a_fault_and_asking_over_and_over_is_slowed() {
    let mut l = lone();
    let c = l.channel();
    let big = |seq| {
        let new = NewRecord {
            body: vec![0; 60_000].into(),
            ..new_record(c, seq)
        };
        new.sign(&key(1)).unwrap()
    };
    let r = big(1);
    l.offer(&r);
    let ask = Message::Request(vec![r.id(); limits::MAX_SERVING / 2]);
    let sends = |actions: &[Action]| {
        let of = |a: &&Action| matches!(a, Action::SendRecord { .. });
        actions.iter().filter(of).count() as u64
    };
    let mut sent = sends(l.say(51, ask.clone()));
    assert!(sent * 60_000 <= limits::SERVE_BURST + 60_000, "{sent}");
    sent += sends(&l.pass(Duration::from_secs(2)));
    assert!(sent * 60_000 <= limits::SERVE_BURST + 2 * limits::SERVE_RATE + 120_000);
    let more = (0..4).find_map(|_| {
        l.say(51, ask.clone());
        l.fault()
    });
    assert_eq!(more, Some(Fault::RequestFlood));
}

#[test]
fn who_names_what_it_does_not_send_is_let_go() {
    // In silence.
    let mut l = lone();
    l.say(50, Message::Have((0..1000).map(id).collect()));
    l.say(50, Message::Have((1000..2000).map(id).collect()));
    let asked = l
        .graph
        .status()
        .neighbours
        .iter()
        .map(|n| n.requested)
        .sum::<usize>();
    assert_eq!(asked, limits::MAX_REQUESTED);
    let all = l.pass(Duration::from_secs(300));
    assert!(all.contains(&Action::Fault {
        peer: key(50).peer_id(),
        fault: Fault::EmptyPromise
    }));

    // Or by saying that they are gone, each time.
    let mut l = lone();
    let mut named = 0;
    while l.fault().is_none() {
        let ids: Vec<_> = (named..named + 100).map(id).collect();
        named += 100;
        assert!(named < 2000, "no end");
        l.say(50, Message::Have(ids.clone()));
        l.say(50, Message::Gone(ids));
    }
    assert_eq!(l.fault(), Some(Fault::EmptyPromise));
}

#[test]
fn what_one_does_not_deliver_is_asked_of_another() {
    let mut l = lone();
    let r = record(l.channel(), 1, 1);
    let have = Message::Have(vec![r.id()]);
    let request = Message::Request(vec![r.id()]);
    assert_eq!(
        sent_to(l.say(50, have.clone()), 50),
        std::slice::from_ref(&request)
    );
    assert_eq!(sent_to(l.say(51, have), 51), [], "one at a time");
    let later = l.pass(limits::REQUEST_TIMEOUT + limits::WANTED_RETRY);
    assert!(sent_to(&later, 51).contains(&request));
    l.say(51, Message::Record(r.bytes().clone()));
    assert!(l.holds(&r));

    // Or at once, when the first is gone.
    let mut l = lone();
    let have = Message::Have(vec![r.id()]);
    l.say(50, have.clone());
    l.say(51, have);
    let peer = key(50).peer_id();
    l.event(Event::NeighbourDown { peer });
    let later = l.pass(limits::WANTED_RETRY);
    assert!(sent_to(&later, 51).contains(&request));
}

#[test]
fn wanted_ids_are_bounded() {
    let mut l = lone();
    for n in 0..20 {
        let ids = (n * 1000..(n + 1) * 1000).map(id).collect();
        l.say(50, Message::Have(ids));
    }
    // All that is ever asked for before the fault: the window and what waits.
    let mut asked = 0;
    for message in sent_to(&l.pass(HOUR), 50) {
        if let Message::Request(ids) = message {
            asked += ids.len();
        }
    }
    assert!(asked <= limits::MAX_WANTED + limits::MAX_REQUESTED);
}

/// Plays the answering side of a reconciliation.
fn session(l: &Lone, n: u8) -> Option<(u32, Bytes)> {
    sent_to(&l.out, n).into_iter().find_map(|m| match m {
        Message::Reconcile { session, bytes } => Some((session, bytes)),
        _ => None,
    })
}

#[test]
fn an_endless_reconciliation_is_ended() {
    let mut l = lone();
    for seq in 1..=200 {
        l.offer(&record(l.channel(), 1, seq));
    }
    l.say(50, Message::Summary(other_summary()));
    let mut rounds = 0;
    while let Some((session, _)) = session(&l, 50) {
        rounds += 1;
        assert!(rounds < 1000, "no end");
        // "All of it differs": one fingerprint over everything that is never right.
        let bytes = [&[0x61, 0, 0, 1][..], &[rounds as u8; 16]].concat();
        let bytes = bytes.into();
        l.say(50, Message::Reconciled { session, bytes });
    }
    assert_eq!(l.fault(), Some(Fault::Reconciliation));
    assert!(rounds <= limits::MAX_BARREN_ROUNDS + 200 / limits::BARREN_IDS + 1);
}

#[test]
fn a_reconciliation_that_names_ever_new_ids_waits_for_them() {
    let mut l = lone();
    l.say(50, Message::Summary(other_summary()));
    let (session_id, _) = session(&l, 50).unwrap();
    let mut ids = vec![0x61, 0, 0, 2];
    ids.extend([0x87, 0x68]); // 1,000 as the protocol writes it
    (0..1000).for_each(|n| ids.extend(id(n).0));
    // A list, and then a fingerprint that asks for another round.
    let bytes = Bytes::from(ids);
    l.say(
        50,
        Message::Reconciled {
            session: session_id,
            bytes,
        },
    );
    assert_eq!(session(&l, 50), None);
    let asked = l
        .graph
        .status()
        .neighbours
        .iter()
        .map(|n| n.requested)
        .sum::<usize>();
    assert_eq!(asked, limits::MAX_REQUESTED);
    assert!(
        !l.out
            .iter()
            .any(|a| matches!(a, Action::Synchronized { .. }))
    );
}

#[test]
fn noise_in_place_of_reconciliation_is_a_fault() {
    let mut l = lone();
    l.say(
        50,
        Message::Reconcile {
            session: 1,
            bytes: Bytes::from_static(b"\x00noise"),
        },
    );
    assert_eq!(l.fault(), Some(Fault::Reconciliation));
    l.say(51, Message::Summary(other_summary()));
    let (session, _) = session(&l, 51).unwrap();
    l.say(
        51,
        Message::Reconciled {
            session,
            bytes: Bytes::from_static(b"\x61\x00\x01\xff\x07"),
        },
    );
    assert_eq!(l.fault(), Some(Fault::Reconciliation));
}

#[test]
fn reconciliation_over_and_over_is_slowed() {
    let mut l = lone();
    let question = Bytes::from_static(&[0x61, 0, 0, 2, 0]);
    let answers = |out: &[Action]| {
        let sent = sent_to(out, 50);
        sent.iter()
            .filter(|m| matches!(m, Message::Reconciled { .. }))
            .count() as u64
    };
    let mut answered = 0;
    for session in 0..1000 {
        let bytes = question.clone();
        answered += answers(l.say(50, Message::Reconcile { session, bytes }));
    }
    assert_eq!(answered, limits::RECONCILE_BURST);
    answered = answers(&l.pass(Duration::from_secs(1)));
    assert_eq!(answered, 1, "the last question waits for its turn");
    // And ours are not started faster for being provoked.
    let mut started = 0;
    for n in 0..100 {
        let summary = Summary {
            count: n + 1,
            ..other_summary()
        };
        started += usize::from({
            l.say(50, Message::Summary(summary));
            session(&l, 50).is_some()
        });
    }
    assert_eq!(started, 1);
}

#[test]
fn addresses_must_be_signed_by_their_peer() {
    let at: SocketAddr = "10.1.2.3:4".parse().unwrap();
    let good = PeerAddress::sign(&key(60), &[at], NOW);
    let mut bytes = good.encode();
    let port = bytes.len() - 64 - 8 - 1;
    bytes[port] ^= 1;
    // Decoding alone refuses it; inside a message it is the graph that does.
    assert!(PeerAddress::decode(&bytes).is_err());
    let mut message = vec![10, 1];
    message.extend(&bytes);
    let message = Message::decode(&message.into()).unwrap();
    let mut l = lone();
    l.say(50, message);
    assert_eq!(l.fault(), Some(Fault::ForgedAddress));
    assert_eq!(l.graph.known_peers().count(), 0);

    l.say(51, Message::Peers(vec![good.clone()]));
    assert_eq!(l.graph.known_peers().collect::<Vec<_>>(), [&good]);
    // Nobody speaks for another in its greeting.
    let hello = Message::Hello {
        charter: None,
        address: Some(good),
        summary: Summary::default(),
    };
    l.say(51, hello);
    assert_eq!(l.fault(), Some(Fault::ForgedAddress));
}

#[test]
fn peers_told_are_bounded_in_rate_number_and_age() {
    let mut l = lone();
    let at: SocketAddr = "10.1.2.3:4".parse().unwrap();
    let batch = |from: u16, issued| -> Vec<PeerAddress> {
        let seed = |n: u16| {
            let mut seed = [7; 32];
            seed[..2].copy_from_slice(&n.to_le_bytes());
            samara_graph::SecretKey::from_bytes(&seed)
        };
        (from..from + 16)
            .map(|n| PeerAddress::sign(&seed(n), &[at], issued))
            .collect()
    };
    for n in 0..limits::PEERS_BURST as u16 + 2 {
        l.say(50, Message::Peers(batch(n * 16, NOW)));
    }
    let taken = limits::PEERS_BURST as usize * 16;
    assert_eq!(l.graph.known_peers().count(), taken);
    for n in 100..200 {
        l.mono += Duration::from_secs(1);
        l.say(51, Message::Peers(batch(n * 16, NOW)));
    }
    assert_eq!(l.graph.known_peers().count(), limits::MAX_KNOWN_PEERS);

    let mut l = lone();
    let old = NOW.before(limits::ADDRESS_LIFETIME + Duration::from_millis(1));
    let ahead = NOW.after(limits::CLOCK_AHEAD + Duration::from_millis(1));
    l.say(50, Message::Peers(batch(0, old)));
    l.say(50, Message::Peers(batch(0, ahead)));
    assert_eq!(l.graph.known_peers().count(), 0);
}

#[test]
fn attempts_to_connect_are_few_and_back_off() {
    let mut l = lone();
    let at: SocketAddr = "10.1.2.3:4".parse().unwrap();
    for n in 60..80 {
        l.event(Event::PeerKnown(PeerAddress::sign(&key(n), &[at], NOW)));
    }
    let count = |actions: &[Action]| {
        let connects = actions
            .iter()
            .filter(|a| matches!(a, Action::Connect { .. }));
        connects.count()
    };
    let mut l2 = lone();
    l2.event(Event::PeerKnown(PeerAddress::sign(&key(60), &[at], NOW)));
    assert_eq!(count(&l2.out), 1);
    // It never answers: 10 s each, then 15, 30, 60 ... 600 s of pause.
    let hourly = count(&l2.pass(HOUR));
    assert!((6..=14).contains(&hourly), "{hourly}");
}

#[test]
fn a_joiner_believes_only_the_links_channel_and_charter() {
    let good = Charter::open("c", key(1).peer_id(), NOW, [1; 16]);
    let evil = Charter::open("c", key(2).peer_id(), NOW, [1; 16]);
    let good = good.sign(&[&key(1)]).unwrap();
    let evil = evil.sign(&[&key(2)]).unwrap();
    let channel = ChannelId(good.reference().hash.0);
    let config = || Config::new(key(100).peer_id(), 1);
    let mut l = lone();
    l.graph = Graph::join(channel, good.reference(), config());
    let greet = |l: &mut Lone, n: u8, charter| {
        let peer: PeerId = key(n).peer_id();
        l.event(Event::NeighbourUp { peer });
        l.say(
            n,
            Message::Hello {
                charter: Some(charter),
                address: None,
                summary: Summary::default(),
            },
        );
        sent_to(&l.out, n)
    };
    let asked = Message::CharterRequest { after: 0 };
    assert!(greet(&mut l, 50, evil.reference()).contains(&asked));
    l.say(50, Message::Charters(vec![evil.bytes().clone()]));
    assert_eq!(l.fault(), Some(Fault::BadCharter));
    assert!(greet(&mut l, 51, good.reference()).contains(&asked));
    l.say(51, Message::Charters(vec![good.bytes().clone()]));
    assert!(
        l.out
            .iter()
            .any(|a| matches!(a, Action::StoreCharters { .. }))
    );
    assert!(l.graph.charters().is_some());

    // Unasked charters are not even read.
    l.graph = Graph::join(channel, good.reference(), config());
    l.event(Event::NeighbourUp {
        peer: key(50).peer_id(),
    });
    l.say(50, Message::Charters(vec![evil.bytes().clone()]));
    assert_eq!(l.fault(), None);
    assert!(l.graph.charters().is_none());
}

fn second(first: &samara_graph::SignedCharter, name: &str) -> samara_graph::SignedCharter {
    let next = Charter {
        version: 2,
        previous: Some(first.reference().hash),
        name: name.into(),
        ..first.charter().clone()
    };
    next.sign(&[&key(1)]).unwrap()
}

#[test]
fn a_new_charter_spreads_and_a_fork_raises_the_alarm() {
    let mut l = lone();
    let first = l.graph.charters().unwrap().versions()[0].clone();
    l.offer(&record(l.channel(), 2, 1));
    l.offer(&record(l.channel(), 1, 1));
    let narrower = Charter {
        publishers: samara_graph::Publishers::Named([key(1).peer_id()].into()),
        ..second(&first, "renamed").charter().clone()
    };
    let newer = narrower.sign(&[&key(1)]).unwrap();
    let hello = |charter| Message::Hello {
        charter: Some(charter),
        address: None,
        summary: Summary::default(),
    };
    l.say(50, hello(newer.reference()));
    assert!(sent_to(&l.out, 50).contains(&Message::CharterRequest { after: 1 }));
    l.say(50, Message::Charters(vec![newer.bytes().clone()]));
    assert_eq!(l.graph.charters().unwrap().current().name, "renamed");
    // Who publishes no more is gone; the other neighbour hears of it.
    assert_eq!(l.held(), [record(l.channel(), 1, 1).id()]);
    assert!(
        sent_to(&l.out, 51)
            .iter()
            .any(|m| matches!(m, Message::Hello { .. }))
    );

    // The same roots signed another second version.
    let fork = second(&first, "stolen");
    l.say(51, hello(fork.reference()));
    assert!(sent_to(&l.out, 51).contains(&Message::CharterRequest { after: 0 }));
    l.say(
        51,
        Message::Charters(vec![first.bytes().clone(), fork.bytes().clone()]),
    );
    let alarm = |a: &Action| matches!(a, Action::CharterFork { ours, theirs } if *ours == newer.reference() && *theirs == fork.reference());
    assert!(l.out.iter().any(alarm));
    assert!(l.graph.status().forked);
    assert_eq!(l.graph.charters().unwrap().current().name, "renamed");
    // No newer one is asked for until somebody has chosen.
    let third = samara_graph::CharterRef {
        version: 3,
        hash: fork.reference().hash,
    };
    l.pass(HOUR);
    l.say(50, hello(third));
    assert!(
        !sent_to(&l.out, 50)
            .iter()
            .any(|m| matches!(m, Message::CharterRequest { .. }))
    );
}

#[test]
fn a_claimed_fork_without_signatures_is_the_claimants_fault() {
    let mut l = lone();
    let first = l.graph.charters().unwrap().versions()[0].clone();
    let newer = second(&first, "renamed");
    let hello = |charter| Message::Hello {
        charter: Some(charter),
        address: None,
        summary: Summary::default(),
    };
    l.say(50, hello(newer.reference()));
    l.say(50, Message::Charters(vec![newer.bytes().clone()]));
    let unsigned = newer.charter().clone();
    let fork = Charter {
        name: "stolen".into(),
        ..unsigned
    }
    .sign(&[&key(9)])
    .unwrap();
    l.say(51, hello(fork.reference()));
    l.say(51, Message::Charters(vec![fork.bytes().clone()]));
    assert_eq!(l.fault(), Some(Fault::BadCharter));
    assert!(!l.graph.status().forked);
}

#[test]
fn a_stranger_to_a_private_channel_hears_not_even_a_hello() {
    let charter = Charter::private("secret", key(1).peer_id(), NOW, [1; 16]);
    let chain = samara_graph::CharterChain::new(charter.sign(&[&key(1)]).unwrap()).unwrap();
    let mut graph = Graph::restore(chain, [], Config::new(key(1).peer_id(), 1));
    let (peer, mut out) = (key(9).peer_id(), Vec::new());
    let up = Event::NeighbourUp { peer };
    graph.handle(NOW, std::time::Duration::ZERO, up, &mut out);
    let reason = samara_graph::LeaveReason::Lapsed;
    // Beside it only this node's own application is told something.
    out.retain(|action| !matches!(action, Action::MembersFound { .. }));
    assert_eq!(out, [Action::Expel { peer, reason }]);
}

#[test]
fn a_record_that_the_disk_refuses_or_loses_comes_again() {
    let mut l = lone();
    let r = record(l.channel(), 1, 1);
    let peer = key(50).peer_id();
    let event = Event::Message {
        peer,
        message: Message::Record(r.bytes().clone()),
    };
    let mut out = Vec::new();
    l.graph.handle(NOW, l.mono, event, &mut out);
    assert!(!l.holds(&r) && l.graph.status().pending == 1);
    l.event(Event::StoreFailed { id: r.id() });
    assert_eq!(l.graph.status().pending, 0);
    l.offer(&r);
    assert!(l.holds(&r));
    l.event(Event::Lost { id: r.id() });
    assert!(!l.holds(&r));
    l.offer(&r);
    assert!(l.holds(&r));
}

#[test]
fn what_waits_for_a_slow_disk_is_bounded() {
    let mut l = lone();
    let c = l.channel();
    let mut out = Vec::new();
    let big: Vec<Record> = (1..=400)
        .map(|seq| NewRecord {
            body: vec![0; 60_000].into(),
            ..new_record(c, seq)
        })
        .map(|new| new.sign(&key(1)).unwrap())
        .collect();
    for r in &big {
        let peer = key(50).peer_id();
        let event = Event::Message {
            peer,
            message: Message::Record(r.bytes().clone()),
        };
        l.graph.handle(NOW, l.mono, event, &mut out);
    }
    let pending = l.graph.status().pending;
    assert_eq!(pending, limits::MAX_PENDING_BYTES / big[0].bytes().len());
    assert_eq!(l.rejected(Reject::Busy) as usize, 400 - pending);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever bytes stand where reconciliation's should: no panic, a bounded answer.
    #[test]
    fn reconciliation_noise_never_panics(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        modes in prop::collection::vec((0u8..4, 0u8..3, 0u8..4), 0..20),
    ) {
        let mut l = lone();
        for seq in 1..=40 {
            l.offer(&record(l.channel(), 1, seq));
        }
        // Half noise, half nearly right.
        let mut bytes = vec![0x61];
        for (timestamp, id_len, mode) in &modes {
            bytes.extend([*timestamp, *id_len]);
            bytes.extend(vec![7; (*id_len).into()]);
            bytes.push(*mode);
            match mode {
                1 => bytes.extend([9; 16]),
                2 => bytes.extend([1u8].into_iter().chain([8; 32])),
                _ => {}
            }
        }
        bytes.extend(&noise);
        let bytes = Bytes::from(bytes);
        for out in [
            l.say(50, Message::Reconcile { session: 1, bytes: bytes.clone() }).to_vec(),
            {
                l.say(51, Message::Summary(other_summary()));
                let (session, _) = session(&l, 51).unwrap();
                l.say(51, Message::Reconciled { session, bytes }).to_vec()
            },
        ] {
            for action in out {
                if let Action::Send { message, .. } = action {
                    prop_assert!(message.encode().len() <= limits::MAX_RECONCILE_BYTES + 5);
                }
            }
        }
    }
}
