//! Copies of a channel that were apart become alike, whatever happened meanwhile.

mod first_sync;
#[path = "../world/mod.rs"]
mod world;

use std::time::Duration;

use bytes::Bytes;
use samara_graph::{Charter, Link, LinkPeer, body};
use world::{World, addr, chain, charter, draft, id};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn link_to(charter: &Charter, nodes: &[usize]) -> Link {
    let peers: Vec<_> = nodes
        .iter()
        .map(|n| LinkPeer {
            peer: id(*n),
            addrs: vec![addr(*n)],
        })
        .collect();
    let chain = chain(charter);
    Link::new(chain.channel(), chain.reference(), &peers)
}

/// Random trees, records from three authors at random nodes, links that come and go.
fn stormy(seed: u64) -> World {
    let charter = charter(3);
    let mut w = World::new(seed, 10, 3, &charter);
    for n in 1..10 {
        let to = w.pick(n);
        w.connect(n, to);
    }
    for round in 0..60 {
        let author = w.pick(3);
        w.publish(author, draft(&format!("r{round}"), DAY));
        if round % 10 == 9 {
            w.retract(author, &format!("r{round}"));
        }
        let (a, b) = (w.pick(10), w.pick(10));
        match w.pick(2) {
            0 if a != b => w.connect(a, b),
            _ => w.cut(a, b),
        }
        let pause = Duration::from_millis(w.pick(3000) as u64);
        w.run(pause);
    }
    for n in 1..10 {
        w.connect(n - 1, n);
    }
    w.run(secs(120));
    // Every retraction stands in the place of the record that it took back.
    w.assert_alike(60);
    w
}

#[test]
fn random_topologies_with_links_lost_end_alike() {
    for seed in 0..6 {
        stormy(seed);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(stormy(3).trace.finalize(), stormy(3).trace.finalize());
    assert_ne!(stormy(3).trace.finalize(), stormy(4).trace.finalize());
}

#[test]
fn a_share_of_one_record_reaches_who_has_but_the_link() {
    let charter = charter(1);
    let mut w = World::new(1, 1, 1, &charter);
    let content = body::ContentRef {
        id: samara_wire::ContentId([5; 32]),
        root_len: 100,
        bytes: 1000,
        files: 1,
    };
    let mut share = draft("", DAY);
    share.kind = samara_graph::Kind::SHARE;
    share.key = Bytes::new();
    share.body = body::Share { content }.encode().into();
    let record = w.publish(0, share);
    w.run(secs(1));
    let late = w.add(&link_to(&charter, &[0]));
    w.run(secs(1));
    assert_eq!(w.nodes[late].delivered, [record.id()]);
    assert_eq!(w.nodes[late].synchronized, 1);
    assert!(w.nodes[late].charters.is_some());
    w.assert_alike(1);
}

#[test]
fn an_empty_channel_is_synchronized_too() {
    let charter = charter(1);
    let mut w = World::new(1, 1, 1, &charter);
    let late = w.add(&link_to(&charter, &[0]));
    w.run(secs(1));
    assert_eq!(w.nodes[late].synchronized, 1);
}

#[test]
fn two_halves_go_on_and_are_one_again_within_a_second_of_healing() {
    let charter = charter(2);
    let mut w = World::new(7, 12, 2, &charter);
    for n in 2..12 {
        w.connect(n, n % 2);
        w.connect(n, (n + 2) % 12);
    }
    // Odd and even never meet.
    w.reachable = |a, b| a % 2 == b % 2;
    w.run(secs(2));
    for i in 0..300 {
        w.publish(i % 2, draft(&i.to_string(), DAY));
        w.run(Duration::from_millis(50));
    }
    w.run(secs(100));
    assert_eq!(w.held(0).intersection(&w.held(1)).count(), 0);
    w.reachable = |_, _| true;
    w.connect(4, 7);
    w.run(secs(1));
    w.assert_alike(300);
}

#[test]
fn peers_find_each_other_and_do_without_the_creator() {
    let charter = charter(1);
    let mut w = World::new(2, 1, 1, &charter);
    w.publish(0, draft("first", DAY));
    for _ in 0..15 {
        w.add(&link_to(&charter, &[0]));
        w.run(Duration::from_millis(200));
    }
    w.run(secs(5));
    for n in 0..16 {
        let neighbours = w.nodes[n].graph.neighbours().count();
        assert!(neighbours >= 6, "node {n} has {neighbours} neighbours");
    }
    w.assert_alike(1);

    w.kill(0);
    w.run(secs(5));
    let late = w.add(&link_to(&charter, &[9]));
    w.run(secs(5));
    w.assert_alike(1);
    assert!(w.nodes[late].graph.neighbours().count() >= 6);
}

#[test]
fn clocks_that_differ_lose_nothing_and_raise_nothing() {
    let charter = charter(4);
    let mut w = World::new(5, 8, 4, &charter);
    for n in 0..8 {
        w.nodes[n].skew_ms = [-300_000, 300_000, 0, 120_000][n % 4];
    }
    for n in 1..8 {
        w.connect(n, n - 1);
    }
    for author in 0..4 {
        w.publish(author, draft("short", secs(1800)));
        w.publish(author, draft("long", DAY));
    }
    w.run(secs(60));
    w.assert_alike(8);
    // The short ones end at 1,800 s by their authors' clocks, plus 15 minutes by the
    // clock of whoever holds them, which may be 10 minutes from the author's.
    w.run(secs(1800 + 15 * 60 + 600));
    w.assert_alike(4);
    w.run(secs(3600));
    w.assert_alike(4);
    for n in 0..8 {
        assert_eq!(
            w.nodes[n].delivered.len(),
            8,
            "node {n} saw each record once"
        );
    }
}

#[test]
fn everybody_restarts_at_once() {
    let charter = charter(2);
    let mut w = World::new(11, 6, 2, &charter);
    for n in 1..6 {
        w.connect(n, n - 1);
    }
    w.run(secs(1));
    for i in 0..40 {
        w.publish(i % 2, draft(&i.to_string(), DAY));
        // The last ones are under way when the power goes.
        w.run(Duration::from_millis(20));
    }
    (0..6).for_each(|n| w.kill(n));
    w.run(secs(10));
    (0..6).for_each(|n| w.restart(n));
    for n in 1..6 {
        w.connect(n, n - 1);
    }
    w.run(secs(60));
    w.assert_alike(40);
    // The sequence goes on.
    w.publish(0, draft("after", DAY));
    w.run(secs(2));
    w.assert_alike(41);
}

#[test]
fn a_full_node_tells_newcomers_of_others() {
    let charter = charter(1);
    let mut w = World::new(3, 1, 1, &charter);
    let mut config = w.config(0);
    config.max_neighbours = 3;
    w.nodes[0].graph = samara_graph::Graph::restore(chain(&charter), [], config);
    w.publish(0, draft("x", DAY));
    for _ in 0..10 {
        w.add(&link_to(&charter, &[0]));
        w.run(secs(1));
    }
    w.run(secs(60));
    w.assert_alike(1);
    assert_eq!(w.nodes[0].graph.neighbours().count(), 3);
}

#[test]
fn thousands_of_records_are_pulled_in_bounded_steps() {
    let charter = charter(1);
    let mut w = World::new(4, 1, 1, &charter);
    for i in 0..3000 {
        w.publish(0, draft(&i.to_string(), DAY));
        w.run(Duration::from_millis(6));
    }
    let late = w.add(&link_to(&charter, &[0]));
    let mut peak = 0;
    for _ in 0..600 {
        w.run(Duration::from_millis(50));
        let status = w.nodes[late].graph.status();
        peak =
            peak.max(status.pending + status.neighbours.iter().map(|n| n.requested).sum::<usize>());
    }
    w.assert_alike(3000);
    assert!(peak <= samara_graph::limits::MAX_PENDING, "{peak}");
    assert!(w.nodes[late].synchronized >= 1);
}

#[test]
fn identical_copies_cost_a_few_bytes() {
    let charter = charter(1);
    let mut w = World::new(6, 2, 1, &charter);
    for i in 0..500 {
        w.publish(0, draft(&i.to_string(), DAY));
        w.run(Duration::from_millis(6));
    }
    w.connect(0, 1);
    w.run(secs(60));
    w.assert_alike(500);
    let before = w.bytes_sent;
    w.run(secs(3600));
    let hourly = w.bytes_sent - before;
    // 80 summaries of 21 bytes each way, 30 exchanges of an address each way.
    assert!(hourly < 20_000, "{hourly} bytes in an idle hour");
}

#[test]
fn a_record_of_the_moment_in_which_somebody_joins_reaches_them_at_once() {
    let charter = charter(1);
    for moment in 0..100 {
        let mut w = World::new(moment, 2, 1, &charter);
        w.connect(1, 0);
        w.run(Duration::from_millis(moment * 2));
        w.publish(0, draft("now", DAY));
        // Long before the summaries of every 45 s would show it.
        w.run(secs(10));
        w.assert_alike(1);
    }
}
