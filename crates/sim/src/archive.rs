//! Archives that members hold together: what is left of them while some are away.

use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use samara_content::{ChunkParams, Parity, Stripes, share_of};
use samara_wire::{ContentId, PeerId};

/// Contents that members keep in shares.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Who keeps shares.
    pub members: usize,
    /// How many contents there are.
    pub contents: usize,
    /// Parity of each.
    pub parity: Parity,
    /// Who is there is drawn anew so many times.
    pub rounds: usize,
    /// Where all randomness comes from.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recovered {
    /// Contents that could be brought back, on average over the rounds.
    pub mean: f64,
    /// The same in the worst round.
    pub worst: usize,
}

impl Archive {
    /// Bytes kept by all together, over those of the contents.
    pub fn storage(&self) -> f64 {
        f64::from(self.parity.width()) / f64::from(self.parity.chunks())
    }

    /// Counts contents of which enough is there, while every member is there with the
    /// chance `there`, by itself.
    ///
    /// Shares are those of [`share_of`]; a member that is away takes the same place of
    /// every stripe along, so a content of one stripe stands for one of many.
    pub fn run(&self, there: f64) -> Recovered {
        let keepers: Vec<Vec<Option<usize>>> = (0..self.contents)
            .map(|content| self.keepers(content))
            .collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let (mut sum, mut worst) = (0, self.contents);
        for _ in 0..self.rounds {
            let present: Vec<bool> = (0..self.members)
                .map(|_| rng.random::<f64>() < there)
                .collect();
            let is_there = |keeper: &&Option<usize>| keeper.is_some_and(|k| present[k]);
            let enough = |places: &&Vec<Option<usize>>| {
                places.iter().filter(is_there).count() as u32 >= self.parity.chunks()
            };
            let recovered = keepers.iter().filter(enough).count();
            sum += recovered;
            worst = worst.min(recovered);
        }
        Recovered {
            mean: sum as f64 / self.rounds.max(1) as f64,
            worst,
        }
    }

    /// Who keeps each place of a content's stripe.
    fn keepers(&self, content: usize) -> Vec<Option<usize>> {
        let chunk = samara_content::limits::MIN_FIXED_BYTES;
        let params = ChunkParams::fixed(chunk, self.parity).expect("of the smallest chunks");
        let bytes = u64::from(chunk) * u64::from(self.parity.chunks());
        let stripes = Stripes::of(params, bytes).ok().flatten();
        let stripes = stripes.expect("one stripe");
        let id = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
            bytes
        };
        let peers: BTreeSet<PeerId> = (0..self.members).map(|m| PeerId(id(m))).collect();
        let content = ContentId(id(content));
        let mut keepers = vec![None; stripes.all() as usize];
        for (member, peer) in peers.iter().enumerate() {
            for number in &share_of(&stripes, &content, &peers, peer) {
                keepers[stripes.position(number) as usize] = Some(member);
            }
        }
        keepers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(parity: &str) -> Archive {
        Archive {
            members: 30,
            contents: 50,
            parity: parity.parse().unwrap(),
            rounds: 200,
            seed: 1,
        }
    }

    #[test]
    fn shares_of_ten_of_thirty_outlive_what_three_copies_do_not() {
        let (shares, copies) = (archive("20/10"), archive("2/1"));
        assert_eq!((shares.storage(), copies.storage()), (3.0, 3.0));
        let recovered = shares.run(0.6);
        assert!(recovered.mean >= 49.0, "{recovered:?}");
        let lost = 50.0 - copies.run(0.6).mean;
        assert!((2.0..4.5).contains(&lost), "{lost}");
    }

    #[test]
    fn nobody_there_nothing_there() {
        assert_eq!(archive("20/10").run(0.0).mean, 0.0);
        assert_eq!(archive("20/10").run(1.0).worst, 50);
    }
}
