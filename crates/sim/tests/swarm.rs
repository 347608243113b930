//! What a swarm achieves, in virtual time.

use std::time::Duration;

use samara_sim::swarm::{
    Behaviour, Fault, Outcome, Scenario, ScenarioFile, Sharing, SitePipes, When,
};
use samara_swarm::{Offence, Order};

/// 40 Mbit/s in bytes a second.
const SLOW: f64 = 40e6 / 8.0;
/// 10 Gbit/s in bytes a second.
const FAST: f64 = 10e9 / 8.0;

fn equal(peers: usize, chunks: u32) -> Scenario {
    Scenario::equal(peers, chunks, 64 * 1024, SLOW, SLOW)
}

fn assert_near_bound(outcome: &Outcome, last: f64, copies: f64) {
    assert!(outcome.is_complete());
    assert!(
        outcome.last() >= 1.0,
        "faster than fluid: {}",
        outcome.last()
    );
    assert!(outcome.last() <= last, "last after {} T*", outcome.last());
    assert!(
        outcome.copies(0) <= copies,
        "seeder sent {} copies",
        outcome.copies(0)
    );
}

#[test]
fn three_receivers_are_done_near_the_fluid_bound() {
    assert_near_bound(&equal(3, 1024).run(), 1.01, 1.01);
}

#[test]
fn eight_receivers_are_done_near_the_fluid_bound() {
    assert_near_bound(&equal(8, 1024).run(), 1.02, 1.01);
}

#[test]
fn sixteen_receivers_are_done_near_the_fluid_bound() {
    assert_near_bound(&equal(16, 1024).run(), 1.04, 1.01);
}

#[test]
fn few_chunks_for_many_cost_little() {
    assert_near_bound(&equal(16, 256).run(), 1.12, 1.02);
}

/// All use the content while it arrives.
fn streamed(peers: usize) -> Scenario {
    let mut scenario = equal(peers, 1024);
    for node in &mut scenario.nodes {
        node.order = Order::Stream;
    }
    scenario
}

#[test]
fn receivers_in_order_share_what_they_have() {
    for (peers, last, copies, longest) in [
        (1, 1.01, 1.01, 0.005),
        (3, 1.01, 1.01, 0.02),
        (16, 1.06, 1.05, 0.08),
    ] {
        let outcome = streamed(peers).run();
        assert_near_bound(&outcome, last, copies);
        let waits = outcome.waits(0.8);
        println!("{peers}: {waits:.3?}");
        assert_eq!(waits.len(), peers);
        assert!(waits[peers - 1] <= longest, "{peers}: {waits:?}");
    }
}

#[test]
fn receivers_in_order_that_come_one_after_the_other_share_as_well() {
    let mut scenario = streamed(16);
    for (node, place) in scenario.nodes[1..].iter_mut().zip(0..) {
        node.start = Duration::from_millis(800) * place;
    }
    let outcome = scenario.run();
    assert_near_bound(&outcome, 1.03, 1.95);
    let waits = outcome.waits(0.8);
    assert!(waits[15] <= 0.1, "{waits:?}");
}

#[test]
fn hardly_a_chunk_is_sent_for_nothing() {
    let outcome = equal(16, 256).run();
    let sent: f64 = outcome.sent.iter().sum();
    let copies = sent / outcome.bytes / 16.0;
    assert!(copies <= 1.01, "{copies} copies for each");
}

#[test]
fn distance_costs_little() {
    let scenario = Scenario {
        rtt: Duration::from_millis(40),
        ..equal(8, 1024)
    };
    assert_near_bound(&scenario.run(), 1.05, 1.05);
}

#[test]
fn one_receiver_on_a_fast_link_never_lets_it_run_dry() {
    let scenario = Scenario {
        rtt: Duration::from_micros(100),
        ..Scenario::equal(1, 4096, 64 * 1024, FAST, FAST)
    };
    assert_near_bound(&scenario.run(), 1.0 / 0.95, 1.0);
}

#[test]
fn one_receiver_far_away_never_lets_the_link_run_dry() {
    let scenario = Scenario {
        rtt: Duration::from_millis(100),
        ..Scenario::equal(1, 2048, 64 * 1024, SLOW, SLOW)
    };
    assert_near_bound(&scenario.run(), 1.05, 1.0);
}

#[test]
fn who_sends_garbage_is_banned_and_everyone_else_completes() {
    let mut scenario = equal(6, 256);
    scenario.nodes[3].behaviour = Behaviour::Garbage;
    let outcome = scenario.run();
    assert!(outcome.is_complete());
    let victims = outcome.bans.len();
    assert!(victims > 0);
    for (_, banned, offence) in &outcome.bans {
        assert_eq!((*banned, *offence), (3, Offence::BadChunks));
    }
    // The seeder asks nobody for anything, so it bans nobody: the liar is served last there.
    let cost = outcome.last() / equal(6, 256).run().last();
    assert!(cost <= 1.12, "the honest are {cost} times as late");
}

#[test]
fn a_seeder_far_faster_than_the_news_sends_few_copies() {
    for chunks in [80, 640] {
        let scenario = Scenario {
            rtt: Duration::from_micros(200),
            ..Scenario::equal(3, chunks, 64 * 1024, FAST, FAST)
        };
        let outcome = scenario.run();
        assert!(outcome.is_complete() && outcome.copies(0) <= 1.05);
    }
}

#[test]
fn those_that_come_a_little_later_get_it_from_the_first() {
    let mut scenario = Scenario {
        rtt: Duration::from_micros(200),
        meet: Duration::from_millis(10),
        ..Scenario::equal(3, 80, 64 * 1024, FAST, FAST)
    };
    for (i, node) in scenario.nodes.iter_mut().enumerate() {
        node.start = Duration::from_millis(10 * i as u64);
    }
    let outcome = scenario.run();
    assert!(outcome.is_complete());
    assert!(outcome.copies(0) <= 1.2, "{} copies", outcome.copies(0));
    let last = outcome.finished.iter().flatten().max().unwrap();
    assert!(*last <= Duration::from_millis(150), "after {last:?}");
}

#[test]
fn one_copy_crosses_into_each_site() {
    let mut scenario = Scenario::equal(18, 256, 64 * 1024, 5.0 * SLOW, 5.0 * SLOW);
    let way = SitePipes {
        out: SLOW / 2.0,
        back: SLOW / 2.0,
    };
    scenario.sites = vec![way; 3];
    for (i, node) in scenario.nodes.iter_mut().enumerate().skip(1) {
        node.site = Some(i % 3);
    }
    let outcome = scenario.run();
    assert_near_bound(&outcome, 1.05, 1.05);
    for site in 0..3 {
        let copies = outcome.crossed[site] / outcome.bytes;
        assert!(copies <= 1.02, "{copies} copies into site {site}");
    }
}

#[test]
fn links_as_queues_give_about_what_fluid_gives() {
    let last = |sharing| {
        Scenario {
            sharing,
            ..equal(16, 256)
        }
        .run()
        .last()
    };
    let ratio = last(Sharing::Queue) / last(Sharing::Fluid);
    assert!((0.95..1.05).contains(&ratio), "{ratio}");
}

#[test]
fn a_chunk_whose_only_holder_vanishes_is_injected_again() {
    let mut scenario = equal(4, 128);
    // Its first chunks came from the seeder, and nobody else has had time to take them.
    scenario.faults.push(Fault {
        node: 2,
        when: When::Stored(2),
    });
    let outcome = scenario.run();
    assert!(outcome.gone[2] && outcome.is_complete());
    assert!(outcome.copies(0) >= 1.0 + 1.0 / 128.0);
}

#[test]
fn everybody_completes_after_the_seeder_left_with_exactly_one_copy_sent() {
    for seed in 1..=4 {
        let mut scenario = equal(8, 256);
        scenario.seed = seed;
        scenario.faults.push(Fault {
            node: 0,
            when: When::Sent(256),
        });
        let outcome = scenario.run();
        assert!(outcome.gone[0] && outcome.is_complete(), "seed {seed}");
    }
}

#[test]
fn credit_of_those_who_do_not_use_it_is_taken_back() {
    // More idlers than the seeder has places.
    let mut scenario = equal(20, 64);
    for node in &mut scenario.nodes[1..=18] {
        node.behaviour = Behaviour::Idler;
    }
    scenario.give_up = Duration::from_secs(60);
    let outcome = scenario.run();
    assert!(outcome.finished[19].is_some() && outcome.finished[20].is_some());
}

#[test]
fn who_never_answers_delays_nobody_for_long() {
    let mut scenario = equal(5, 256);
    scenario.nodes[2].behaviour = Behaviour::Mute;
    let outcome = scenario.run();
    assert!(outcome.is_complete());
    assert!(outcome.last() <= 2.5, "last after {} T*", outcome.last());
    // Of 40 two each send garbage and never answer.
    let text = include_str!("../scenarios/liars.toml");
    let file: ScenarioFile = text.parse().unwrap();
    for seed in 1..=4 {
        let mut scenario = file.scenario().unwrap();
        scenario.seed = seed;
        let outcome = scenario.run();
        assert!(outcome.last() <= 1.8, "seed {seed}: {} T*", outcome.last());
    }
}

#[test]
fn a_slow_sender_delivers_all_the_same() {
    // A chunk takes from an eighth of a second to half a minute.
    for (chunk_kib, mbit) in [(64, 0.5), (64, 4.0), (256, 0.25), (1024, 0.25), (1024, 8.0)] {
        for (peers, copies) in [(1, 1.0), (8, 1.3), (16, 1.3)] {
            let mut scenario = Scenario::equal(peers, 64, chunk_kib * 1024, SLOW, SLOW);
            scenario.nodes[0].up = mbit * 1e6 / 8.0;
            let outcome = scenario.run();
            let who = format!("{chunk_kib} KiB at {mbit} Mbit/s to {peers}");
            assert!(outcome.is_complete(), "{who}");
            assert!(outcome.last() <= 1.3, "{who}: {} T*", outcome.last());
            let sent = outcome.copies(0);
            assert!(sent <= copies, "{who}: {sent} copies");
        }
    }
    // All as slow as the seeder, and with downlinks as slow.
    for down in [100e6 / 8.0, 1e6] {
        let slow = Scenario::equal(8, 64, 1 << 20, 1e6, down).run();
        assert!(
            slow.is_complete() && slow.last() <= 1.7,
            "{} T*",
            slow.last()
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_another() {
    let run = |seed| {
        Scenario {
            seed,
            ..equal(8, 128)
        }
        .run()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).trace, run(8).trace);
}

/// The seeder leaves when it has sent `copies` copies, and six of 20 receivers with it.
fn seeder_leaves_with_others(parity: Option<&str>, copies: f64, seed: u64) -> Outcome {
    let vanish = [1, 4, 8, 11, 15, 20];
    let mut scenario = Scenario {
        parity: parity.map(|parity| parity.parse().unwrap()),
        seed,
        ..equal(20, 256)
    };
    let when = When::Sent((copies * 256.0) as u64);
    scenario.faults.push(Fault { node: 0, when });
    let when = When::Gone(0);
    let gone = vanish.iter().map(|node| Fault { node: *node, when });
    scenario.faults.extend(gone);
    scenario.give_up = Duration::from_secs(600);
    scenario.run()
}

#[test]
fn with_an_eighth_of_parity_three_tenths_of_the_holders_may_leave_with_the_seeder() {
    for seed in 1..=3 {
        let outcome = seeder_leaves_with_others(Some("4/32"), 1.08, seed);
        assert!(outcome.gone[0], "{seed}: it is needed to the end");
        assert!(outcome.is_complete(), "{seed}");
    }
    // A chunk that only those had who left is gone.
    assert!(!seeder_leaves_with_others(None, 1.0, 1).is_complete());
}
