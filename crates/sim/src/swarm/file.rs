//! Scenarios as people write them: TOML, with Mbit/s, milliseconds and per cent.

use std::time::Duration;

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use samara_content::{ContentError, Parity};
use samara_swarm::{Order, Policy};
use serde::Deserialize;

use super::{Behaviour, Fault, Scenario, Sharing, SitePipes, When};
use crate::limits::OutOfRange;

/// One seeder and receivers. What a file leaves out is as in `default()`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScenarioFile {
    /// Receivers.
    pub peers: usize,
    /// Neighbours that every node looks for; everybody knows all if there are no more.
    pub neighbours: usize,
    /// Upload slots of every node; else as many as a node has.
    pub slots: Option<usize>,
    /// What is to be early.
    pub policy: Early,
    /// How transfers share the pipes.
    pub sharing: Sharing,
    /// Milliseconds until receivers that are there know each other.
    pub meet_ms: f64,
    /// Receivers come within so many milliseconds; 0: all at once.
    pub spread_ms: f64,
    /// Per cent of the receivers that disappear, each at any time before the bound.
    pub churn: f64,
    /// Receivers leave as soon as they are done.
    pub selfish: bool,
    /// The same seed gives the same run.
    pub seed: u64,
    /// What is moved.
    pub content: ContentPart,
    /// Everybody's link, unless said otherwise.
    pub link: LinkPart,
    /// The one that has everything.
    pub seeder: SeederPart,
    /// Receivers that differ; all others are ordinary.
    pub receivers: Vec<Group>,
    /// Sites, each with one way out. Receivers that no group puts into one are spread
    /// over all of them evenly; the seeder is in none.
    pub sites: Vec<SitePart>,
    /// Milliseconds of a round trip within a site.
    pub site_rtt_ms: f64,
}

/// What is to be early, by the choice of every node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Early {
    /// The last receiver: whoever has least is served first.
    #[default]
    Last,
    /// Receivers on average: whoever has most is served first.
    Average,
    /// The first bytes at each receiver: chunks are asked for in their order.
    Stream,
}

/// What is moved.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContentPart {
    /// Chunks, parity not counted.
    pub chunks: u32,
    /// KiB of a chunk.
    pub chunk_kib: u32,
    /// `M/K`: M shards for every K chunks.
    pub parity: Option<String>,
}

/// A link, in Mbit/s each way.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkPart {
    /// Mbit/s that a node sends.
    pub up: f64,
    /// Mbit/s that it receives.
    pub down: f64,
    /// Milliseconds of a round trip.
    pub rtt_ms: f64,
    /// Per cent of every link that headers, acknowledgements and messages take.
    pub overhead: f64,
}

/// The one that has everything.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeederPart {
    /// Mbit/s that it sends; else as the others.
    pub up: Option<f64>,
    /// It leaves when it has sent so many copies, parity shards included.
    pub leaves: Option<f64>,
    /// Per cent of the receivers that disappear together with it.
    pub takes_along: f64,
}

/// Some of the receivers, evenly among the others.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Per cent of the receivers.
    pub per_cent: f64,
    /// Mbit/s that each sends.
    pub up: Option<f64>,
    /// Mbit/s that each receives.
    pub down: Option<f64>,
    /// How they behave.
    pub behaviour: Behaviour,
    /// Name of the site that they are in.
    pub site: Option<String>,
    /// Milliseconds until the first of them comes.
    pub start_ms: f64,
    /// Milliseconds within which all of them come.
    pub spread_ms: f64,
    /// They leave as soon as they are done.
    pub selfish: bool,
    /// Milliseconds until all of them disappear.
    pub vanish_ms: Option<f64>,
}

/// A site's way out and in, in Mbit/s.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitePart {
    /// What groups call it.
    #[serde(default)]
    pub name: String,
    /// Mbit/s out of it.
    pub out: f64,
    /// Mbit/s into it.
    pub back: f64,
}

/// What is wrong with a scenario file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// It is not TOML, or says what no scenario has.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// The groups are more than all receivers.
    #[error("the groups of receivers add up to {0} per cent")]
    TooMany(f64),
    /// A group is in a site that there is none of.
    #[error("no site is named \"{0}\"")]
    NoSite(String),
    /// Not `M/K`, or not within the limits of a stripe.
    #[error("\"{0}\" is no parity: M/K is expected, as 4/32")]
    Parity(String),
    /// A value is beyond its bounds.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The chunks are too large, or too many, for the parity.
    #[error("chunks of {chunk_kib} KiB cannot have parity {parity}: {why}")]
    Stripe {
        /// KiB of a chunk.
        chunk_kib: u32,
        /// What was wanted.
        parity: Parity,
        /// What stands against it.
        why: ContentError,
    },
    /// All receivers are in groups that break the rules.
    #[error("no receiver keeps the rules, so there is none to wait for")]
    NobodyHonest,
}

impl Default for ScenarioFile {
    fn default() -> Self {
        Self {
            peers: 8,
            neighbours: 32,
            slots: None,
            policy: Early::Last,
            sharing: Sharing::Fluid,
            meet_ms: 0.0,
            spread_ms: 0.0,
            churn: 0.0,
            selfish: false,
            seed: 1,
            content: ContentPart::default(),
            link: LinkPart::default(),
            seeder: SeederPart::default(),
            receivers: Vec::new(),
            sites: Vec::new(),
            site_rtt_ms: 0.3,
        }
    }
}

impl Default for ContentPart {
    fn default() -> Self {
        Self {
            chunks: 1024,
            chunk_kib: 64,
            parity: None,
        }
    }
}

impl Default for LinkPart {
    fn default() -> Self {
        Self {
            up: 40.0,
            down: 40.0,
            rtt_ms: 2.0,
            overhead: 0.0,
        }
    }
}

impl std::str::FromStr for ScenarioFile {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        Ok(toml::from_str(text)?)
    }
}

impl ScenarioFile {
    /// The scenario, node 0 being the seeder.
    ///
    /// # Errors
    /// [`ScenarioError`], where a value is beyond its bounds or the parts do not fit.
    pub fn scenario(&self) -> Result<Scenario, ScenarioError> {
        self.check()?;
        let (up, down) = (rate(self.link.up), rate(self.link.down));
        let mut scenario = Scenario {
            rtt: millis(self.link.rtt_ms),
            site_rtt: millis(self.site_rtt_ms),
            meet: millis(self.meet_ms),
            neighbours: self.neighbours,
            overhead: self.link.overhead / 100.0,
            seed: self.seed,
            sharing: self.sharing,
            parity: match &self.content.parity {
                Some(text) => {
                    let bad = |_| ScenarioError::Parity(text.clone());
                    Some(self.fits(text.parse().map_err(bad)?)?)
                }
                None => None,
            },
            ..Scenario::equal(
                self.peers,
                self.content.chunks,
                self.content.chunk_kib * 1024,
                up,
                down,
            )
        };
        if let Some(slots) = self.slots {
            scenario.config.upload_slots = slots;
        }
        for node in &mut scenario.nodes {
            match self.policy {
                Early::Last => {}
                Early::Average => node.policy = Policy::Average,
                Early::Stream => node.order = Order::Stream,
            }
        }
        scenario.nodes[0].up = self.seeder.up.map_or(up, rate);
        let pipes = |site: &SitePart| SitePipes {
            out: rate(site.out),
            back: rate(site.back),
        };
        scenario.sites = self.sites.iter().map(pipes).collect();
        self.place(&mut scenario)?;
        self.plan_faults(&mut scenario);
        Ok(scenario)
    }

    /// Which group each receiver belongs to: evenly spread, so that a small share of
    /// few receivers is not nobody.
    pub(super) fn groups(&self) -> Vec<Option<usize>> {
        let mut members = vec![None; self.peers];
        let mut counts = vec![0; self.receivers.len()];
        let due = |group: usize, upto: usize| {
            let share = self.receivers[group].per_cent / 100.0;
            (share * upto as f64 + 1e-9).floor() as usize
        };
        for (i, member) in members.iter_mut().enumerate() {
            let late = (0..counts.len()).find(|group| counts[*group] < due(*group, i + 1));
            if let Some(group) = late {
                counts[group] += 1;
                *member = Some(group);
            }
        }
        // Those whose turn was taken by another group.
        for (group, count) in counts.iter_mut().enumerate() {
            while *count < due(group, self.peers) {
                let Some(place) = members.iter().rposition(Option::is_none) else {
                    break;
                };
                members[place] = Some(group);
                *count += 1;
            }
        }
        members
    }

    fn place(&self, scenario: &mut Scenario) -> Result<(), ScenarioError> {
        let groups = self.groups();
        let mut seen = vec![0; self.receivers.len()];
        let mut ordinary = 0;
        for (i, group) in groups.iter().enumerate() {
            let node = &mut scenario.nodes[i + 1];
            node.start = millis(self.spread_ms * i as f64 / self.peers as f64);
            let named = group.and_then(|group| self.receivers[group].site.as_ref());
            node.site = match named {
                Some(name) => {
                    let site = self.sites.iter().position(|site| site.name == *name);
                    Some(site.ok_or_else(|| ScenarioError::NoSite(name.clone()))?)
                }
                None if self.sites.is_empty() => None,
                None => {
                    ordinary += 1;
                    Some((ordinary - 1) % self.sites.len())
                }
            };
            let Some(group) = *group else {
                continue;
            };
            let of = groups.iter().filter(|other| **other == Some(group)).count();
            let part = &self.receivers[group];
            node.up = part.up.map_or(node.up, rate);
            node.down = part.down.map_or(node.down, rate);
            node.behaviour = part.behaviour;
            node.start +=
                millis(part.start_ms + part.spread_ms * f64::from(seen[group]) / of as f64);
            seen[group] += 1;
            let fault = |when| Fault { node: i + 1, when };
            if part.selfish {
                scenario.faults.push(fault(When::Complete));
            }
            if let Some(ms) = part.vanish_ms {
                scenario.faults.push(fault(When::At(millis(ms))));
            }
        }
        Ok(())
    }

    fn plan_faults(&self, scenario: &mut Scenario) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let bound = scenario.fluid_bound();
        for node in 1..=self.peers {
            if rng.random::<f64>() * 100.0 < self.churn {
                let when = When::At(bound.mul_f64(rng.random()));
                scenario.faults.push(Fault { node, when });
            }
            if self.selfish {
                let when = When::Complete;
                scenario.faults.push(Fault { node, when });
            }
        }
        let Some(copies) = self.seeder.leaves else {
            return;
        };
        let all = scenario
            .stripes()
            .map_or(scenario.chunks, |stripes| stripes.all());
        let when = When::Sent((copies * f64::from(all)) as u64);
        scenario.faults.push(Fault { node: 0, when });
        let mut receivers: Vec<usize> = (1..=self.peers).collect();
        let gone = (self.seeder.takes_along / 100.0 * self.peers as f64).round() as usize;
        let (with_it, _) = receivers.partial_shuffle(&mut rng, gone);
        let when = When::Gone(0);
        let faults = with_it.iter().map(|node| Fault { node: *node, when });
        scenario.faults.extend(faults);
    }
}

fn rate(mbit: f64) -> f64 {
    mbit * 1e6 / 8.0
}

fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(ms.max(0.0) / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(per_cent: f64) -> Group {
        Group {
            per_cent,
            ..Group::default()
        }
    }

    #[test]
    fn shares_of_few_are_not_nobody_and_come_out_even() {
        let file = |peers, shares: &[f64]| ScenarioFile {
            peers,
            receivers: shares.iter().map(|share| group(*share)).collect(),
            ..ScenarioFile::default()
        };
        let count = |file: &ScenarioFile, group| {
            let members = file.groups();
            members.iter().filter(|g| **g == Some(group)).count()
        };
        assert_eq!(count(&file(6, &[17.0]), 0), 1);
        let half = file(16, &[50.0, 20.0]);
        assert_eq!([count(&half, 0), count(&half, 1)], [8, 3]);
        let all = file(10, &[50.0, 50.0]);
        assert_eq!([count(&all, 0), count(&all, 1)], [5, 5]);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let parse = |text: &str| text.parse::<ScenarioFile>();
        assert!(matches!(parse("peeers = 3"), Err(ScenarioError::Toml(_))));
        let wrong = |text: &str| parse(text).unwrap().scenario().unwrap_err();
        assert!(matches!(
            wrong("[[receivers]]\nper_cent = 60\n[[receivers]]\nper_cent = 41"),
            ScenarioError::TooMany(_)
        ));
        assert!(matches!(
            wrong("[[receivers]]\nper_cent = 50\nsite = \"moon\""),
            ScenarioError::NoSite(_)
        ));
        assert!(matches!(
            wrong("[content]\nparity = \"4\""),
            ScenarioError::Parity(_)
        ));
        assert!(matches!(
            wrong("[content]\nchunk_kib = 4096\nparity = \"4/250\""),
            ScenarioError::Stripe { .. }
        ));
        let liars = "[[receivers]]\nper_cent = 100\nbehaviour = \"garbage\"";
        assert!(matches!(wrong(liars), ScenarioError::NobodyHonest));
    }
}
