//! Sizes, rates and times as people write and read them.

use std::time::Duration;

const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("b", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
];

/// Bits a second, as networks are sold.
const BIT_UNITS: &[(&str, u64)] = &[
    ("bit", 1),
    ("kbit", 1_000),
    ("mbit", 1_000_000),
    ("gbit", 1_000_000_000),
];

/// "20 GiB", "1.5GB", "4096": bytes.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    scale(number, &unit, UNITS)
        .ok_or_else(|| format!("`{text}` is not a size; write for example 500 MB or 20 GiB"))
}

/// "2.5 MB/s", "20 Mbit/s", "300000": bytes a second.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text)?;
    let unit = unit.strip_suffix("/s").unwrap_or(&unit);
    scale(number, unit, UNITS)
        .or_else(|| scale(number / 8.0, unit, BIT_UNITS))
        .ok_or_else(|| format!("`{text}` is not a rate; write for example 2.5 MB/s or 20 Mbit/s"))
}

/// "12 h", "30 d", "8 w", "2 y": how long a right lasts; up to a hundred years.
pub(crate) fn parse_lifetime(text: &str) -> Result<Duration, String> {
    const DAY: f64 = 86_400.0;
    let (number, unit) = split(text)?;
    let seconds = match &*unit {
        "s" | "sec" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3_600.0,
        "d" => number * DAY,
        "w" => number * 7.0 * DAY,
        "y" => number * 365.0 * DAY,
        _ => f64::NAN,
    };
    if seconds > 0.0 && seconds <= 36_500.0 * DAY {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!(
            "`{text}` is not a time of up to 100 years; write for example 12h, 30d or 2y"
        ))
    }
}

/// "30", "30 s", "500 ms", "2 min", "1 h"; more than nothing, at most a day.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text)?;
    let seconds = match &*unit {
        "ms" => number / 1_000.0,
        "" | "s" | "sec" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3_600.0,
        _ => f64::NAN,
    };
    if seconds > 0.0 && seconds <= 86_400.0 {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(format!(
            "`{text}` is not a time of up to a day; write for example 30, 500ms or 2min"
        ))
    }
}

fn split(text: &str) -> Result<(f64, String), String> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number
        .parse()
        .map_err(|_| format!("`{text}` does not begin with a number"))?;
    Ok((number, unit.trim().to_ascii_lowercase()))
}

fn scale(number: f64, unit: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let value = number * *factor as f64;
    (value < u64::MAX as f64).then_some(value as u64)
}

/// Bytes in binary units, at most seven characters wide up to petabytes.
pub(crate) fn size(bytes: u64) -> String {
    const NAMES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < NAMES.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", NAMES[unit]),
    }
}

/// Bytes a second in decimal units, as links are sold.
pub(crate) fn rate(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B/s"),
        1_000..1_000_000 => format!("{:.0} kB/s", bytes as f64 / 1e3),
        1_000_000..100_000_000 => format!("{:.1} MB/s", bytes as f64 / 1e6),
        _ => format!("{:.0} MB/s", bytes as f64 / 1e6),
    }
}

/// "12 s", "3 min 4 s", "2 h 5 min", "3 d 1 h".
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// "1 file", "3 files".
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Where a stream of events goes on.
pub(crate) fn parse_cursor(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "a cursor is a whole number: that of the last event seen, or 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_last_for_days_and_years() {
        let days = |text| parse_lifetime(text).map(|time| time.as_secs() as f64 / 86_400.0);
        assert_eq!(days("12h"), Ok(0.5));
        assert_eq!(days("30 d"), Ok(30.0));
        assert_eq!(days("2w"), Ok(14.0));
        assert_eq!(days("100y"), Ok(36_500.0));
        for bad in ["", "0d", "30", "101y", "-1d", "soon"] {
            assert!(parse_lifetime(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("4096", 4096),
            ("20 GiB", 20 << 30),
            ("20gib", 20 << 30),
            ("1.5 GB", 1_500_000_000),
            (" 0 ", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "GiB",
            "-1",
            "1 GiBs",
            "1.2.3",
            "1e999 B",
            "99999999999 TiB",
            "1 MB/s",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates_are_read_in_bytes_and_in_bits() {
        for (text, bytes) in [
            ("2.5 MB/s", 2_500_000),
            ("20 Mbit/s", 2_500_000),
            ("300000", 300_000),
            ("1GiB/s", 1 << 30),
        ] {
            assert_eq!(parse_rate(text), Ok(bytes), "{text}");
        }
        assert!(parse_rate("2.5 MB/h").is_err());
    }

    #[test]
    fn durations_are_read_within_a_day() {
        assert_eq!(parse_duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("24 h"), Ok(Duration::from_secs(86_400)));
        for text in ["0", "25h", "1 week", "s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(20 << 30), "20.0 GiB");
        assert_eq!(rate(999), "999 B/s");
        assert_eq!(rate(1_000), "1 kB/s");
        assert_eq!(rate(2_500_000), "2.5 MB/s");
        assert_eq!(span(125), "2 min 5 s");
        assert_eq!(count(1, "file", "files"), "1 file");
    }
}
