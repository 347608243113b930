//! What a scenario may say, whether a file or options said it.

use samara_content::{ChunkParams, Parity, Stripes};

use super::{Behaviour, Group, ScenarioError, ScenarioFile};
use crate::limits::{
    ARRIVALS, CHUNK_KIB, CHUNKS, COPIES, MBIT, NODES, OVERHEAD, OutOfRange, PER_CENT, RTT_MS,
    SITES, SLOTS, WAIT_MS, within,
};

impl ScenarioFile {
    /// The parity, if chunks of this size can have it.
    pub(super) fn fits(&self, parity: Parity) -> Result<Parity, ScenarioError> {
        let chunk_kib = self.content.chunk_kib;
        let size = chunk_kib * 1024;
        let bytes = u64::from(self.content.chunks) * u64::from(size);
        let stripes = ChunkParams::fixed(size, parity).and_then(|p| Stripes::of(p, bytes));
        let stripe = |why| ScenarioError::Stripe {
            chunk_kib,
            parity,
            why,
        };
        stripes.map(|_| parity).map_err(stripe)
    }

    /// Whether every value is within its bounds: those of a file and of options alike.
    pub(super) fn check(&self) -> Result<(), ScenarioError> {
        let slots = self.slots.map(|slots| slots as f64);
        let chunks = f64::from(self.content.chunks);
        for (what, value, range) in [
            ("peers", Some(self.peers as f64), NODES),
            ("neighbours", Some(self.neighbours as f64), NODES),
            ("slots", slots, SLOTS),
            ("chunks", Some(chunks), CHUNKS),
            (
                "peers times chunks",
                Some(self.peers as f64 * chunks),
                ARRIVALS,
            ),
            ("chunk_kib", Some(self.content.chunk_kib.into()), CHUNK_KIB),
            ("up", Some(self.link.up), MBIT),
            ("down", Some(self.link.down), MBIT),
            ("rtt_ms", Some(self.link.rtt_ms), RTT_MS),
            ("site_rtt_ms", Some(self.site_rtt_ms), RTT_MS),
            ("overhead", Some(self.link.overhead), OVERHEAD),
            ("meet_ms", Some(self.meet_ms), WAIT_MS),
            ("spread_ms", Some(self.spread_ms), WAIT_MS),
            ("churn", Some(self.churn), PER_CENT),
            ("the seeder's up", self.seeder.up, MBIT),
            ("copies until the seeder leaves", self.seeder.leaves, COPIES),
            (
                "per cent that leave with the seeder",
                Some(self.seeder.takes_along),
                PER_CENT,
            ),
            ("the number of sites", Some(self.sites.len() as f64), SITES),
        ] {
            value.map_or(Ok(()), |value| within(what, value, range))?;
        }
        for site in &self.sites {
            within("a site's way out", site.out, MBIT)?;
            within("a site's way back", site.back, MBIT)?;
        }
        self.receivers.iter().try_for_each(Group::check)?;
        let all: f64 = self.receivers.iter().map(|group| group.per_cent).sum();
        if all > 100.0 + 1e-9 {
            return Err(ScenarioError::TooMany(all));
        }
        let honest = |group: &Option<usize>| {
            group.is_none_or(|group| self.receivers[group].behaviour == Behaviour::Honest)
        };
        match self.groups().iter().any(honest) {
            true => Ok(()),
            false => Err(ScenarioError::NobodyHonest),
        }
    }
}

impl Group {
    fn check(&self) -> Result<(), OutOfRange> {
        for (what, value, range) in [
            ("a group's per_cent", Some(self.per_cent), PER_CENT),
            ("a group's up", self.up, MBIT),
            ("a group's down", self.down, MBIT),
            ("a group's start_ms", Some(self.start_ms), WAIT_MS),
            ("a group's spread_ms", Some(self.spread_ms), WAIT_MS),
            ("a group's vanish_ms", self.vanish_ms, WAIT_MS),
        ] {
            value.map_or(Ok(()), |value| within(what, value, range))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_beyond_its_bounds_is_told_with_them() {
        for (text, told) in [
            ("peers = 0", "peers is 0: from 1 to 1000000"),
            ("peers = 5000000000", "peers is 5000000000: from 1"),
            ("neighbours = 0", "neighbours is 0: from 1"),
            ("slots = 0", "slots is 0: from 1 to 512"),
            ("churn = 101", "churn is 101: from 0 to 100"),
            ("spread_ms = -1", "spread_ms is -1: from 0"),
            ("meet_ms = inf", "meet_ms is inf"),
            ("site_rtt_ms = nan", "site_rtt_ms is NaN"),
            ("[link]\nup = 0", "up is 0"),
            ("[link]\nup = inf", "up is inf"),
            ("[link]\ndown = nan", "down is NaN"),
            ("[link]\nrtt_ms = -1", "rtt_ms is -1"),
            ("[link]\noverhead = 100", "overhead is 100: from 0 to 99"),
            ("[content]\nchunks = 0", "chunks is 0"),
            ("[content]\nchunks = 4000000000", "chunks is 4000000000"),
            (
                "peers = 100000\n[content]\nchunks = 1001",
                "peers times chunks",
            ),
            (
                "[content]\nchunk_kib = 4097",
                "chunk_kib is 4097: from 1 to 4096",
            ),
            ("[seeder]\nup = -1", "the seeder's up is -1"),
            ("[seeder]\nleaves = -1", "until the seeder leaves is -1"),
            (
                "[seeder]\ntakes_along = 101",
                "leave with the seeder is 101",
            ),
            ("[[receivers]]\nper_cent = -1", "a group's per_cent is -1"),
            (
                "[[receivers]]\nvanish_ms = nan",
                "a group's vanish_ms is NaN",
            ),
            ("[[sites]]\nout = 0\nback = 1", "a site's way out is 0"),
        ] {
            let file: ScenarioFile = text.parse().unwrap();
            let error = file.scenario().unwrap_err();
            assert!(matches!(error, ScenarioError::OutOfRange(_)), "{text}");
            assert!(error.to_string().contains(told), "{text}: {error}");
        }
    }
}
