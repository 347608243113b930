//! What bytes flow through: every node's link, and the way out of every site.

/// One direction of data between two nodes.
pub(crate) type Pair = (usize, usize);

/// The way out of a site and back in, in bytes a second, shared by its members.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SitePipes {
    /// Out of the site.
    pub out: f64,
    /// Into the site.
    pub back: f64,
}

/// Rates of all pipes: those of nodes first, then those of sites.
#[derive(Debug)]
pub(crate) struct Pipes {
    rates: Vec<f64>,
    sites: Vec<Option<usize>>,
}

/// The pipes between two nodes, in the order that a byte passes them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pipes: [usize; 4],
    count: usize,
}

impl Way {
    pub(crate) fn pipes(self) -> impl Iterator<Item = usize> {
        self.pipes.into_iter().take(self.count)
    }
}

impl Pipes {
    /// `nodes`: up, down and site of each.
    pub(crate) fn new(
        nodes: impl IntoIterator<Item = (f64, f64, Option<usize>)>,
        sites: &[SitePipes],
    ) -> Self {
        let (mut rates, mut of_node) = (Vec::new(), Vec::new());
        for (up, down, site) in nodes {
            rates.extend([up, down]);
            of_node.push(site);
        }
        rates.extend(sites.iter().flat_map(|site| [site.out, site.back]));
        Self {
            rates,
            sites: of_node,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rates.len()
    }

    /// Bytes a second.
    pub(crate) fn rate(&self, pipe: usize) -> f64 {
        self.rates[pipe]
    }

    /// Whether the way between two nodes leaves a site.
    pub(crate) fn crosses(&self, (from, to): Pair) -> bool {
        self.sites[from].is_none() || self.sites[from] != self.sites[to]
    }

    pub(crate) fn way(&self, (from, to): Pair) -> Way {
        let (up, down) = (2 * from, 2 * to + 1);
        let mut way = Way {
            pipes: [up; 4],
            count: 1,
        };
        let mut then = |pipe| {
            way.pipes[way.count] = pipe;
            way.count += 1;
        };
        if self.crosses((from, to)) {
            let first = 2 * self.sites.len();
            if let Some(site) = self.sites[from] {
                then(first + 2 * site);
            }
            if let Some(site) = self.sites[to] {
                then(first + 2 * site + 1);
            }
        }
        then(down);
        way
    }
}
