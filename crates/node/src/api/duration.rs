//! Durations that are measured, as they are told: without digits that mean nothing.

use std::time::Duration;

/// In seconds, to the millisecond.
pub(crate) fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1e3
}

/// In milliseconds, to the microsecond.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_digits_are_told_than_mean_anything() {
        let time = Duration::from_nanos(8_720_253);
        assert_eq!(milliseconds(time).to_string(), "8.72");
        assert_eq!(seconds(time).to_string(), "0.008");
        let time = Duration::from_nanos(1_003_001_999);
        assert_eq!(milliseconds(time).to_string(), "1003.001");
        assert_eq!(seconds(time).to_string(), "1.003");
    }
}
