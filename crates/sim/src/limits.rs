//! What values may be: beyond these a run means nothing, or does not end in this life.

use std::ops::RangeInclusive;

/// A value is not within its bounds.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{what} is {value}: from {least} to {most} is allowed")]
pub struct OutOfRange {
    what: &'static str,
    value: f64,
    least: f64,
    most: f64,
}

/// Checks a value; what is no number is in no range.
///
/// # Errors
/// [`OutOfRange`], which names what is allowed.
pub fn within(
    what: &'static str,
    value: f64,
    range: RangeInclusive<f64>,
) -> Result<(), OutOfRange> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(OutOfRange {
            what,
            value,
            least: *range.start(),
            most: *range.end(),
        }),
    }
}

/// Nodes, or members: a million would take a day, and more memory than machines have.
pub const NODES: RangeInclusive<f64> = 1.0..=1e6;
/// Members of a channel: fewer than two have nothing to tell.
pub const MEMBERS: RangeInclusive<f64> = 2.0..=1e6;
/// Records. The graph's own bound is lower; copies are compared beyond it.
pub const RECORDS: RangeInclusive<f64> = 1.0..=1e8;
/// Chunks of a content: as many as one can have.
pub const CHUNKS: RangeInclusive<f64> = 1.0..=samara_content::limits::MAX_CHUNKS as f64;
/// KiB of a chunk: as large as one can be.
pub const CHUNK_KIB: RangeInclusive<f64> =
    1.0..=(samara_content::limits::MAX_CHUNK_BYTES / 1024) as f64;
/// Chunks that arrive somewhere: four times what 100,000 receivers of 256 take, which
/// are hours.
pub const ARRIVALS: RangeInclusive<f64> = 1.0..=1e8;
/// Upload slots: as many as a swarm has neighbours at most.
pub const SLOTS: RangeInclusive<f64> = 1.0..=samara_swarm::limits::MAX_LINKS as f64;
/// Sites.
pub const SITES: RangeInclusive<f64> = 0.0..=1e4;
/// Mbit/s. Less moves nothing within the hour after which a run is given up.
pub const MBIT: RangeInclusive<f64> = 1e-3..=1e6;
/// Milliseconds of a round trip; light takes less than the most to the Moon and back.
pub const RTT_MS: RangeInclusive<f64> = 1e-3..=10_000.0;
/// Milliseconds until something happens: an hour, after which a run is given up.
pub const WAIT_MS: RangeInclusive<f64> = 0.0..=3.6e6;
/// A part of a whole.
pub const PER_CENT: RangeInclusive<f64> = 0.0..=100.0;
/// Per cent of a link that are not for chunks: something has to be left.
pub const OVERHEAD: RangeInclusive<f64> = 0.0..=99.0;
/// Copies that a seeder sends.
pub const COPIES: RangeInclusive<f64> = 0.0..=1e6;
/// Members that keep shares: for each content all of them are compared with each other.
pub const KEEPERS: RangeInclusive<f64> = 1.0..=1000.0;
/// Contents of an archive.
pub const CONTENTS: RangeInclusive<f64> = 1.0..=1e4;
/// Draws of who is there.
pub const ROUNDS: RangeInclusive<f64> = 1.0..=1e6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_within_and_nothing_beyond_is() {
        for value in [0.0, 50.0, 100.0] {
            assert_eq!(within("a share", value, PER_CENT), Ok(()));
        }
        for value in [-1e-9, 100.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(within("a share", value, PER_CENT).is_err(), "{value}");
        }
        let error = within("peers", 5e9, NODES).unwrap_err().to_string();
        assert_eq!(error, "peers is 5000000000: from 1 to 1000000 is allowed");
    }
}
