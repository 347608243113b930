//! Links as fluid: transfers share uplinks and downlinks max-min fairly.

use std::collections::{BTreeMap, BTreeSet};

/// One direction of data between two nodes.
pub(crate) type Pair = (usize, usize);

#[derive(Debug)]
struct Flow {
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
pub(crate) struct Links {
    up: Vec<f64>,
    down: Vec<f64>,
    flows: BTreeMap<Pair, Flow>,
    /// Peers that a node sends to, and receives from.
    sends: Vec<BTreeSet<usize>>,
    receives: Vec<BTreeSet<usize>>,
    version: u64,
}

/// When a transfer will be over, unless its version is outdated by then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) pair: Pair,
    pub(crate) version: u64,
    /// Second.
    pub(crate) at: f64,
}

impl Links {
    pub(crate) fn new(rates: impl Iterator<Item = (f64, f64)>) -> Self {
        let (up, down): (Vec<_>, Vec<_>) = rates.unzip();
        Self {
            flows: BTreeMap::new(),
            sends: vec![BTreeSet::new(); up.len()],
            receives: vec![BTreeSet::new(); up.len()],
            version: 0,
            up,
            down,
        }
    }

    /// Starts a transfer; the ends that change with it.
    pub(crate) fn start(&mut self, now: f64, pair: Pair, bytes: f64) -> Vec<End> {
        let flow = Flow {
            left: bytes,
            rate: 0.0,
            since: now,
            version: 0,
        };
        self.flows.insert(pair, flow);
        self.sends[pair.0].insert(pair.1);
        self.receives[pair.1].insert(pair.0);
        self.share(now, pair)
    }

    /// The pair goes straight on to its next transfer: nobody's share changes.
    pub(crate) fn go_on(&mut self, now: f64, pair: Pair, bytes: f64) -> End {
        self.version += 1;
        let flow = self.flows.get_mut(&pair).expect("the pair is busy");
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
    pub(crate) fn stop(&mut self, now: f64, pair: Pair) -> Vec<End> {
        if self.flows.remove(&pair).is_none() {
            return Vec::new();
        }
        self.sends[pair.0].remove(&pair.1);
        self.receives[pair.1].remove(&pair.0);
        self.share(now, pair)
    }

    pub(crate) fn is_current(&self, end: &End) -> bool {
        self.flows
            .get(&end.pair)
            .is_some_and(|flow| flow.version == end.version)
    }

    /// Shares the links anew among the flows that `pair` has to do with, by
    /// filling all of them evenly until a link is full, and so on with the rest.
    fn share(&mut self, now: f64, pair: Pair) -> Vec<End> {
        let (mut ups, mut downs) = (BTreeMap::new(), BTreeMap::new());
        let mut open = self.component(pair, &mut ups, &mut downs);
        let mut rates = Vec::with_capacity(open.len());
        while !open.is_empty() {
            let fill = |(left, n): &(f64, usize)| {
                if *n > 0 {
                    left / *n as f64
                } else {
                    f64::INFINITY
                }
            };
            let level = ups
                .values()
                .chain(downs.values())
                .map(fill)
                .fold(f64::INFINITY, f64::min);
            let full = |link: &(f64, usize)| fill(link) <= level * (1.0 + 1e-9);
            let (done, rest): (Vec<Pair>, Vec<Pair>) = open
                .iter()
                .partition(|(from, to)| full(&ups[from]) || full(&downs[to]));
            for pair in done {
                for link in [ups.get_mut(&pair.0), downs.get_mut(&pair.1)] {
                    let (left, n) = link.expect("a flow's links are in its component");
                    *left = (*left - level).max(0.0);
                    *n -= 1;
                }
                rates.push((pair, level));
            }
            open = rest;
        }
        rates
            .into_iter()
            .filter_map(|(pair, rate)| self.set_rate(now, pair, rate))
            .collect()
    }

    /// The flows that share a link with `pair`, or with one that does, and so on;
    /// with what each link has and how many share it.
    fn component(
        &self,
        pair: Pair,
        ups: &mut BTreeMap<usize, (f64, usize)>,
        downs: &mut BTreeMap<usize, (f64, usize)>,
    ) -> Vec<Pair> {
        let mut flows = Vec::new();
        let (mut next_ups, mut next_downs) = (vec![pair.0], vec![pair.1]);
        loop {
            if let Some(from) = next_ups.pop() {
                let to = &self.sends[from];
                if ups.insert(from, (self.up[from], to.len())).is_none() {
                    flows.extend(to.iter().map(|to| (from, *to)));
                    next_downs.extend(to);
                }
            } else if let Some(to) = next_downs.pop() {
                let from = &self.receives[to];
                if downs.insert(to, (self.down[to], from.len())).is_none() {
                    next_ups.extend(from);
                }
            } else {
                return flows;
            }
        }
    }

    fn set_rate(&mut self, now: f64, pair: Pair, rate: f64) -> Option<End> {
        let flow = self.flows.get_mut(&pair)?;
        if flow.rate == rate {
            return None;
        }
        flow.left = (flow.left - flow.rate * (now - flow.since)).max(0.0);
        flow.since = now;
        flow.rate = rate;
        self.version += 1;
        flow.version = self.version;
        Some(End {
            pair,
            version: flow.version,
            at: now + flow.left / rate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(links: &Links, pair: Pair) -> f64 {
        links.flows[&pair].rate
    }

    #[test]
    fn what_one_flow_cannot_use_goes_to_the_others() {
        // 0 sends to 1 (which takes little) and to 2; 3 sends to 2 as well.
        let rates = [(10.0, 10.0), (10.0, 2.0), (10.0, 10.0), (10.0, 10.0)];
        let mut links = Links::new(rates.into_iter());
        links.start(0.0, (0, 1), 100.0);
        assert_eq!(rate(&links, (0, 1)), 2.0);
        links.start(0.0, (0, 2), 100.0);
        assert_eq!(rate(&links, (0, 2)), 8.0);
        links.start(0.0, (3, 2), 100.0);
        assert_eq!([rate(&links, (0, 2)), rate(&links, (3, 2))], [5.0, 5.0]);
        let ends = links.stop(1.0, (0, 2));
        assert_eq!(rate(&links, (3, 2)), 10.0);
        let end = ends.iter().find(|e| e.pair == (3, 2)).unwrap();
        assert!(
            (end.at - 10.5).abs() < 1e-9,
            "5 bytes went before: {}",
            end.at
        );
    }
}
