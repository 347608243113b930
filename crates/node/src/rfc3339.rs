//! Instants as people and scripts read them.

/// Milliseconds since 1970 as `2026-11-21T04:57:00Z` (RFC 3339 section 5.6), UTC.
pub(crate) fn format(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

/// Like [`format()`], with the milliseconds if there are any.
pub(crate) fn format_ms(ms: u64) -> String {
    let mut text = format(ms);
    if !ms.is_multiple_of(1000) {
        text.pop();
        text += &format!(".{:03}Z", ms % 1000);
    }
    text
}

/// Day of the proleptic Gregorian calendar from days since 1970 (Hinnant,
/// "chrono-compatible low-level date algorithms", civil_from_days).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::{format, format_ms};

    #[test]
    fn milliseconds_are_told_if_there_are_any() {
        assert_eq!(format_ms(1_000), "1970-01-01T00:00:01Z");
        assert_eq!(format_ms(1_007), "1970-01-01T00:00:01.007Z");
    }

    #[test]
    fn days_at_the_edges_of_months_and_leap_years() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_000, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (951_868_800_000, "2000-03-01T00:00:00Z"),
            (1_795_237_020_999, "2026-11-21T04:57:00Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(format(ms), text);
        }
    }
}
