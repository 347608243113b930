//! What the links and connections of a swarm did, for whoever looks for what limits it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    member::{Shared, World},
    probe::{Flow, Flows},
};

/// How often it looks.
const STEP: Duration = Duration::from_millis(10);

/// Sums over all looks at all nodes.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Totals {
    looks: u64,
    /// Looks at uplinks with nothing queued, and those of them with a shut flow.
    idle: u64,
    idle_and_shut: u64,
    /// Connections with bytes in flight, those that their window keeps from more,
    /// and the bytes of both.
    flows: u64,
    shut: u64,
    in_flight: u64,
    window: u64,
    /// Bytes asked of a node and not acknowledged.
    owed: u64,
    /// Nanoseconds of queues.
    up: u64,
    down: u64,
    /// Windows that losses made smaller, and those that they closed.
    cuts: u64,
    collapses: u64,
}

/// Looks until nobody asks any more.
pub(super) async fn watch(
    world: Arc<World>,
    members: Vec<Shared>,
    flows: Vec<Flows>,
    totals: Arc<Mutex<Totals>>,
) {
    let mut at = Duration::ZERO;
    loop {
        at += STEP;
        world.clock.sleep_until(at).await;
        let now = world.clock.nanos();
        let mut sum = totals.lock().expect("no panic");
        (sum.cuts, sum.collapses) = (0, 0);
        for (node, member) in members.iter().enumerate() {
            let (up, down) = world.wire.pipes(node);
            sum.looks += 1;
            sum.up += up.backlog(now);
            sum.down += down.backlog(now);
            sum.owed += member.lock().expect("no panic").owed;
            let mut shut = 0;
            for flow in flows[node].lock().expect("no panic").iter() {
                let flow: Flow = *flow.lock().expect("no panic");
                sum.cuts += flow.losses;
                sum.collapses += flow.collapses;
                if flow.in_flight > 0 {
                    sum.flows += 1;
                    sum.in_flight += flow.in_flight;
                    sum.window += flow.window;
                    shut += u64::from(flow.is_shut());
                }
            }
            sum.shut += shut;
            if up.backlog(now) == 0 {
                sum.idle += 1;
                sum.idle_and_shut += u64::from(shut > 0);
            }
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mean = |sum: u64, of: u64| sum as f64 / of.max(1) as f64;
        write!(
            f,
            "uplinks with nothing queued {:.0} %, of them with a connection that its window stops {:.0} %; \
             a node's connections with bytes in flight {:.1}, stopped {:.1}; in flight {:.0} kB of {:.0} kB; \
             asked of a node {:.0} kB; queues {:.0} ms up, {:.0} ms down; {} windows cut, {} closed",
            100.0 * mean(self.idle, self.looks),
            100.0 * mean(self.idle_and_shut, self.idle),
            mean(self.flows, self.looks),
            mean(self.shut, self.looks),
            mean(self.in_flight, self.flows) / 1e3,
            mean(self.window, self.flows) / 1e3,
            mean(self.owed, self.looks) / 1e3,
            mean(self.up, self.looks) / 1e6,
            mean(self.down, self.looks) / 1e6,
            self.cuts,
            self.collapses,
        )
    }
}
