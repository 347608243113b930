//! Hours of the day, by the wall clock of this machine.

use std::str::FromStr;

use super::Rates;
use jiff::civil::{DateTime, Weekday};

/// Minutes of a day.
const DAY: u16 = 24 * 60;
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Rates that hold on some days from one time to another.
///
/// What counts is what a clock on the wall shows: an hour that a change of the clocks
/// leaves out never holds, one that comes twice holds twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours {
    /// On which days it begins.
    pub days: Days,
    /// From when.
    pub from: TimeOfDay,
    /// Until when, exclusively; on the next day if that is not later than `from`.
    pub to: TimeOfDay,
    /// The rates then.
    pub rates: Rates,
}

impl Hours {
    /// Whether it holds at a time.
    pub fn holds(&self, at: DateTime) -> bool {
        let minute = at.hour() as u16 * 60 + at.minute() as u16;
        let (from, to) = (self.from.0, self.to.0);
        let today = self.days.has(at.weekday());
        if from < to {
            return today && (from..to).contains(&minute);
        }
        today && minute >= from || self.days.has(at.weekday().previous()) && minute < to
    }
}

/// Minutes since midnight, up to 24:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOfDay(u16);

impl FromStr for TimeOfDay {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| part.parse::<u16>().ok()).flatten()
        };
        let parts = text.split_once(':').map(|(h, m)| (number(h), number(m)));
        match parts {
            Some((Some(h), Some(m))) if m < 60 && h * 60 + m <= DAY => Ok(Self(h * 60 + m)),
            _ => Err(format!(
                "`{text}` is no time of the day, 00:00 to 24:00; write for example 08:30"
            )),
        }
    }
}

impl std::fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    /// Every day.
    pub const ALL: Self = Self(0x7f);

    fn has(self, day: Weekday) -> bool {
        self.0 >> day.to_monday_zero_offset() & 1 == 1
    }
}

impl FromStr for Days {
    type Err = String;
    /// "mon-fri", "sat,sun", "fri-mon".
    fn from_str(text: &str) -> Result<Self, String> {
        let day = |name: &str| {
            let name = name.trim().to_ascii_lowercase();
            NAMES.iter().position(|n| *n == name).ok_or_else(|| {
                format!("`{text}` names no days; write for example mon-fri or sat,sun")
            })
        };
        let mut days = 0;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (mut at, last) = (day(first)?, day(last)?);
            days |= 1 << at;
            while at != last {
                at = (at + 1) % 7;
                days |= 1 << at;
            }
        }
        Ok(Self(days))
    }
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};

    use super::*;

    fn hours(days: &str, from: &str, to: &str) -> Hours {
        Hours {
            days: days.parse().unwrap(),
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            rates: Rates::default(),
        }
    }

    /// 2026-11-16 is a Monday.
    fn at(text: &str) -> DateTime {
        text.parse().unwrap()
    }

    #[test]
    fn business_hours_are_the_working_days_from_eight_to_six() {
        let business = hours("mon-fri", "08:00", "18:00");
        for (time, holds) in [
            ("2026-11-16T07:59:59", false),
            ("2026-11-16T08:00:00", true),
            ("2026-11-20T17:59:59", true),
            ("2026-11-20T18:00:00", false),
            ("2026-11-21T12:00:00", false),
        ] {
            assert_eq!(business.holds(at(time)), holds, "{time}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_that_it_begins_on() {
        let friday = hours("fri", "22:00", "06:00");
        for (time, holds) in [
            ("2026-11-20T05:00:00", false),
            ("2026-11-20T22:00:00", true),
            ("2026-11-21T05:59:59", true),
            ("2026-11-21T06:00:00", false),
            ("2026-11-21T22:00:00", false),
        ] {
            assert_eq!(friday.holds(at(time)), holds, "{time}");
        }
        // Sunday's night ends on Monday.
        assert!(hours("sun", "20:00", "08:00").holds(at("2026-11-16T07:00:00")));
        let whole = hours("mon", "00:00", "24:00");
        assert!(whole.holds(at("2026-11-16T00:00:00")) && whole.holds(at("2026-11-16T23:59:59")));
        assert!(!whole.holds(at("2026-11-17T00:00:00")));
    }

    #[test]
    fn clocks_that_change_skip_an_hour_or_show_it_twice() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let held = |from: &str, to: &str, day: &str| {
            let window = hours("sun", from, to);
            let midnight: Timestamp = format!("{day}T00:00:00Z").parse().unwrap();
            let minutes = (-120..24 * 60).filter(|m| {
                let at = midnight + jiff::SignedDuration::from_mins(*m);
                window.holds(zone.to_datetime(at))
            });
            minutes.count()
        };
        assert_eq!(held("02:00", "03:00", "2026-10-18"), 60);
        assert_eq!(
            held("02:00", "03:00", "2026-10-25"),
            120,
            "the hour comes twice"
        );
        assert_eq!(
            held("02:00", "03:00", "2026-03-29"),
            0,
            "there is no such hour"
        );
        assert_eq!(held("01:00", "04:00", "2026-03-29"), 120);
    }

    #[test]
    fn days_and_times_are_read_as_people_write_them() {
        for (text, days) in [
            ("mon-fri", 0b001_1111),
            ("sat,sun", 0b110_0000),
            ("Fri-Mon", 0b111_0001),
            ("wed", 0b000_0100),
            ("mon, wed-thu", 0b000_1101),
        ] {
            assert_eq!(text.parse(), Ok(Days(days)), "{text}");
        }
        for bad in ["", "weekdays", "mon-", "mon..fri"] {
            assert!(bad.parse::<Days>().is_err(), "{bad}");
        }
        for bad in ["8:00", "24:01", "12:60", "noon", "12", "+1:00"] {
            assert!(bad.parse::<TimeOfDay>().is_err(), "{bad}");
        }
        assert_eq!("24:00".parse::<TimeOfDay>().unwrap().to_string(), "24:00");
    }
}
