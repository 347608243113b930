//! The graph in a small world; docs/performance.md has the large ones. Each run is done
//! twice.

use samara_sim::graph::{Outcome, Scenario};

fn run(scenario: Scenario, members: usize) -> Outcome {
    let seed = 3;
    let outcome = scenario.run(members, seed);
    println!("seed {seed}: {:?}", outcome.figures);
    assert_eq!(outcome.failures, [""; 0]);
    assert_eq!(scenario.run(members, seed), outcome, "seed {seed}");
    outcome
}

#[test]
fn records_reach_everybody_once_and_the_living_when_a_third_dies() {
    let outcome = run(Scenario::Spread, 200);
    assert!(outcome.figures["reached, mended"] >= 0.999);
    let other = |seed| Scenario::Creator.run(20, seed).trace;
    assert_ne!(other(4), other(5));
}

#[test]
fn two_halves_are_one_within_a_period() {
    run(Scenario::Partition { records: 30 }, 40);
}

#[test]
fn clocks_that_differ_lose_nothing_and_raise_nothing() {
    run(Scenario::Clocks, 24);
}

#[test]
fn everybody_restarts_at_once() {
    run(Scenario::Restart, 80);
}

#[test]
fn the_creator_leaves_and_newcomers_join_through_anyone() {
    run(Scenario::Creator, 80);
}

#[test]
fn idle_members_cost_each_other_little() {
    let outcome = run(Scenario::Idle, 60);
    assert!(outcome.figures["bit/s a member"] < 1500.0);
}
