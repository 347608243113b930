//! Links as fluid: transfers share every pipe on their way max-min fairly.

use std::collections::{HashMap, HashSet};

use super::pipes::{Pair, Pipes, Way};

#[derive(Debug)]
struct Flow {
    pair: Pair,
    way: Way,
    /// Bytes left of the transfer at the head.
    left: f64,
    /// Bytes a second.
    rate: f64,
    /// Second of the last change of `left`.
    since: f64,
    /// Grows with every change, so that outdated ends are known.
    version: u64,
}

/// Transfers between nodes. A pair of nodes carries one at a time.
#[derive(Debug)]
pub(crate) struct Fluid {
    /// Places of ended flows are used again.
    flows: Vec<Flow>,
    free: Vec<usize>,
    by_pair: HashMap<Pair, usize>,
    /// Flows through each pipe.
    users: Vec<Vec<usize>>,
    version: u64,
    /// Which pipes and flows the current round has seen.
    round: u64,
    seen_pipes: Vec<u64>,
    seen_flows: Vec<u64>,
    /// What a pipe has left, and how many flows want of it.
    room: Vec<(f64, usize)>,
}

/// When a transfer will be over, unless its version is outdated by then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) pair: Pair,
    pub(crate) version: u64,
    /// Second.
    pub(crate) at: f64,
}

impl Fluid {
    pub(crate) fn new(pipes: &Pipes) -> Self {
        Self {
            flows: Vec::new(),
            free: Vec::new(),
            by_pair: HashMap::new(),
            users: vec![Vec::new(); pipes.len()],
            version: 0,
            round: 0,
            seen_pipes: vec![0; pipes.len()],
            seen_flows: Vec::new(),
            room: vec![(0.0, 0); pipes.len()],
        }
    }

    /// Starts a transfer; the ends that change with it.
    pub(crate) fn start(&mut self, pipes: &Pipes, now: f64, pair: Pair, bytes: f64) -> Vec<End> {
        let way = pipes.way(pair);
        let flow = Flow {
            pair,
            way,
            left: bytes,
            rate: 0.0,
            since: now,
            version: 0,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.flows[place] = flow;
                place
            }
            None => {
                self.flows.push(flow);
                self.seen_flows.push(0);
                self.flows.len() - 1
            }
        };
        self.by_pair.insert(pair, place);
        for pipe in way.pipes() {
            self.users[pipe].push(place);
        }
        self.share(pipes, now, way)
    }

    /// The pair goes straight on to its next transfer: nobody's share changes.
    pub(crate) fn go_on(&mut self, now: f64, pair: Pair, bytes: f64) -> End {
        self.version += 1;
        let flow = &mut self.flows[self.by_pair[&pair]];
        flow.left = bytes;
        flow.since = now;
        flow.version = self.version;
        End {
            pair,
            version: flow.version,
            at: now + bytes / flow.rate,
        }
    }

    /// The pair has nothing more to carry; the ends that change with it.
    pub(crate) fn stop(&mut self, pipes: &Pipes, now: f64, pair: Pair) -> Vec<End> {
        let Some(place) = self.by_pair.remove(&pair) else {
            return Vec::new();
        };
        let way = self.flows[place].way;
        for pipe in way.pipes() {
            self.users[pipe].retain(|user| *user != place);
        }
        self.free.push(place);
        self.share(pipes, now, way)
    }

    /// Who sends something to whom, and how many bytes of it are left.
    pub(crate) fn under_way(&self, now: f64) -> Vec<(Pair, f64)> {
        let free: HashSet<usize> = self.free.iter().copied().collect();
        let flows = self.flows.iter().enumerate();
        flows
            .filter(|(place, _)| !free.contains(place))
            .map(|(_, flow)| (flow.pair, flow.left - flow.rate * (now - flow.since)))
            .collect()
    }

    pub(crate) fn is_current(&self, end: &End) -> bool {
        self.by_pair
            .get(&end.pair)
            .is_some_and(|place| self.flows[*place].version == end.version)
    }

    /// Shares the pipes anew among the flows that `way` has to do with, by
    /// filling all of them evenly until a pipe is full, and so on with the rest.
    fn share(&mut self, pipes: &Pipes, now: f64, way: Way) -> Vec<End> {
        let (mut affected, mut open) = self.component(way);
        for pipe in &affected {
            self.room[*pipe] = (pipes.rate(*pipe), self.users[*pipe].len());
        }
        let mut ends = Vec::new();
        while open > 0 {
            let fill = |pipe: &usize| {
                let (left, n) = self.room[*pipe];
                left / n as f64
            };
            affected.retain(|pipe| self.room[*pipe].1 > 0);
            let level = affected.iter().map(fill).fold(f64::INFINITY, f64::min);
            let full: Vec<usize> = affected
                .iter()
                .copied()
                .filter(|pipe| fill(pipe) <= level * (1.0 + 1e-9))
                .collect();
            for pipe in full {
                for i in 0..self.users[pipe].len() {
                    let place = self.users[pipe][i];
                    // Settled flows are marked with the round after this one.
                    if self.seen_flows[place] > self.round {
                        continue;
                    }
                    self.seen_flows[place] = self.round + 1;
                    open -= 1;
                    for pipe in self.flows[place].way.pipes() {
                        let (left, n) = &mut self.room[pipe];
                        *left = (*left - level).max(0.0);
                        *n -= 1;
                    }
                    ends.extend(self.set_rate(now, place, level));
                }
            }
        }
        self.round += 1;
        ends
    }

    /// The pipes that share a flow with those of `way`, or with one that does, and
    /// so on; and the number of flows through them.
    fn component(&mut self, way: Way) -> (Vec<usize>, usize) {
        self.round += 1;
        let mut found = Vec::new();
        for pipe in way.pipes() {
            self.seen_pipes[pipe] = self.round;
            found.push(pipe);
        }
        let (mut next, mut flows) = (0, 0);
        while next < found.len() {
            for place in &self.users[found[next]] {
                if self.seen_flows[*place] == self.round {
                    continue;
                }
                self.seen_flows[*place] = self.round;
                flows += 1;
                for pipe in self.flows[*place].way.pipes() {
                    if self.seen_pipes[pipe] != self.round {
                        self.seen_pipes[pipe] = self.round;
                        found.push(pipe);
                    }
                }
            }
            next += 1;
        }
        (found, flows)
    }

    fn set_rate(&mut self, now: f64, place: usize, rate: f64) -> Option<End> {
        let flow = &mut self.flows[place];
        if flow.rate == rate {
            return None;
        }
        flow.left = (flow.left - flow.rate * (now - flow.since)).max(0.0);
        flow.since = now;
        flow.rate = rate;
        self.version += 1;
        flow.version = self.version;
        Some(End {
            pair: flow.pair,
            version: flow.version,
            at: now + flow.left / rate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::pipes::SitePipes;

    fn rate(fluid: &Fluid, pair: Pair) -> f64 {
        fluid.flows[fluid.by_pair[&pair]].rate
    }

    #[test]
    fn what_one_flow_cannot_use_goes_to_the_others() {
        // 0 sends to 1 (which takes little) and to 2; 3 sends to 2 as well.
        let rates = [(10.0, 10.0), (10.0, 2.0), (10.0, 10.0), (10.0, 10.0)];
        let pipes = Pipes::new(rates.map(|(up, down)| (up, down, None)), &[]);
        let mut fluid = Fluid::new(&pipes);
        fluid.start(&pipes, 0.0, (0, 1), 100.0);
        assert_eq!(rate(&fluid, (0, 1)), 2.0);
        fluid.start(&pipes, 0.0, (0, 2), 100.0);
        assert_eq!(rate(&fluid, (0, 2)), 8.0);
        fluid.start(&pipes, 0.0, (3, 2), 100.0);
        assert_eq!([rate(&fluid, (0, 2)), rate(&fluid, (3, 2))], [5.0, 5.0]);
        let ends = fluid.stop(&pipes, 1.0, (0, 2));
        assert_eq!(rate(&fluid, (3, 2)), 10.0);
        let end = ends.iter().find(|e| e.pair == (3, 2)).unwrap();
        assert!(
            (end.at - 10.5).abs() < 1e-9,
            "5 bytes went before: {}",
            end.at
        );
    }

    #[test]
    fn a_site_s_way_out_is_shared_by_its_members_and_free_among_them() {
        let node = |site| (10.0, 10.0, Some(site));
        let site = SitePipes {
            out: 4.0,
            back: 4.0,
        };
        let pipes = Pipes::new([node(0), node(0), node(1), node(1)], &[site, site]);
        let mut fluid = Fluid::new(&pipes);
        fluid.start(&pipes, 0.0, (0, 2), 100.0);
        fluid.start(&pipes, 0.0, (1, 3), 100.0);
        assert_eq!([rate(&fluid, (0, 2)), rate(&fluid, (1, 3))], [2.0, 2.0]);
        fluid.start(&pipes, 0.0, (0, 1), 100.0);
        assert_eq!(rate(&fluid, (0, 1)), 8.0);
    }
}
