//! Who knows whom.

use std::collections::BTreeSet;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::NodeSpec;

/// Of the neighbours that a node of a site looks for, one in so many is anybody:
/// or a site would be an island.
const EXTERNAL: usize = 4;

/// Everybody, or a random graph in which everybody looks for half of their
/// neighbours, most of them in their own site, and is found by about as many.
pub(crate) fn choose(
    nodes: &[NodeSpec],
    wanted: usize,
    rng: &mut ChaCha8Rng,
) -> Vec<BTreeSet<u32>> {
    let n = nodes.len();
    let mut sets = vec![BTreeSet::new(); n];
    if n <= wanted + 1 {
        for (i, set) in sets.iter_mut().enumerate() {
            *set = (0..n as u32).filter(|j| *j != i as u32).collect();
        }
        return sets;
    }
    let sites = nodes.iter().filter_map(|node| node.site).max();
    let mut members = vec![Vec::new(); sites.map_or(0, |last| last + 1)];
    for (i, node) in nodes.iter().enumerate() {
        if let Some(site) = node.site {
            members[site].push(i);
        }
    }
    let everybody: Vec<usize> = (0..n).collect();
    for i in 0..n {
        let half = (wanted / 2).max(1);
        let near = nodes[i].site.map(|site| &members[site]);
        // Not more than there are.
        let local = near.map_or(0, |near| (half - half / EXTERNAL).min((near.len() - 1) / 2));
        for (count, among) in [(local, near), (half - local, Some(&everybody))] {
            if count == 0 {
                continue;
            }
            let among = among.expect("looked for only where there are some");
            // Whom others found it may be all there are.
            let known = match among.len() == n {
                true => sets[i].len(),
                false => (among.iter().filter(|j| sets[i].contains(&(**j as u32)))).count(),
            };
            let count = count.min(among.len() - 1 - known);
            let mut found = 0;
            while found < count {
                let j = among[(rng.next_u64() % among.len() as u64) as usize];
                if j != i && sets[i].insert(j as u32) {
                    sets[j].insert(i as u32);
                    found += 1;
                }
            }
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::swarm::Scenario;

    #[test]
    fn a_crowd_little_larger_than_a_neighbourhood_is_chosen_to_an_end() {
        let scenario = Scenario::equal(40, 1, 1, 1.0, 1.0);
        for seed in 0..200 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let sets = choose(&scenario.nodes, 32, &mut rng);
            for (i, set) in sets.iter().enumerate() {
                assert!(set.len() >= 16 && !set.contains(&(i as u32)), "seed {seed}");
                assert!(set.iter().all(|j| sets[*j as usize].contains(&(i as u32))));
            }
        }
    }
}
