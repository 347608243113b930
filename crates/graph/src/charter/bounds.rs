//! Within which bounds the fields of a charter lie.

use std::fmt;

use samara_wire::PeerId;

use super::{Charter, CharterError, Former, Publishers};
use crate::{Role, limits};

/// What a field of a charter may be; shown as people read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CharterBounds {
    /// Both ends included.
    Number(u64, u64),
    /// The same, in bytes.
    Bytes(u64, u64),
    /// The same, in milliseconds.
    Time(u64, u64),
    /// From 1 to the number of roots.
    Roots(u64),
    /// In words.
    Rule(&'static str),
}

impl fmt::Display for CharterBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(least, most) => write!(f, "{least} to {most}"),
            Self::Bytes(least, most) => write!(f, "{least} to {most} bytes"),
            Self::Time(least, most) => write!(f, "{} to {}", Span(*least), Span(*most)),
            Self::Roots(1) => f.write_str("1, as there is one root"),
            Self::Roots(roots) => write!(f, "1 to {roots}, the number of roots"),
            Self::Rule(rule) => f.write_str(rule),
        }
    }
}

/// Milliseconds, in the largest unit that gives a whole number.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [
            (86_400_000, "days"),
            (3_600_000, "h"),
            (60_000, "min"),
            (1_000, "s"),
        ];
        let unit = UNITS
            .iter()
            .find(|(ms, _)| self.0.is_multiple_of(*ms) && self.0 > *ms);
        match unit {
            Some((ms, name)) => write!(f, "{} {name}", self.0 / ms),
            None => write!(f, "{} ms", self.0),
        }
    }
}

impl Charter {
    /// Whether somebody is less than it was, and something of it is listed.
    fn is_former(&self, peer: &PeerId, former: &Former) -> bool {
        let lost = match self.decides(peer) {
            None => true,
            Some(Role::Admin) => former.as_admin.is_empty(),
            Some(_) => false,
        };
        lost && former.kept() > 0 && (2..=self.version).contains(&former.since)
    }

    /// # Errors
    /// [`CharterError::Invalid`] with the first field that is outside its bounds.
    pub(super) fn check(&self) -> Result<(), CharterError> {
        let first = self.version == 1;
        let named = match &self.publishers {
            Publishers::Named(list) => list.len(),
            Publishers::Members => 0,
        };
        let name =
            self.name.len() <= limits::MAX_NAME_BYTES && !self.name.chars().any(char::is_control);
        let kept: usize = self.former.values().map(Former::kept).sum();
        let former = self.former.len() <= limits::MAX_FORMER
            && self.former.iter().all(|(peer, f)| self.is_former(peer, f));
        let l = &self.limits;
        let number = |what, n: usize, least: usize, most: usize| {
            let within = (least..=most).contains(&n);
            (
                within,
                what,
                CharterBounds::Number(least as u64, most as u64),
            )
        };
        let records =
            |what, n: u32| number(what, n as usize, 1, limits::MAX_CHANNEL_RECORDS as usize);
        let bytes = (1024, limits::MAX_RECORD_BYTES as u64);
        let lifetime = (1, limits::MAX_LIFETIME.as_millis() as u64);
        let lease = limits::PRESENCE_LEASE;
        let rules = [
            number(
                "the version",
                self.version as usize,
                1,
                limits::MAX_CHARTER_VERSIONS,
            ),
            (
                first == self.previous.is_none(),
                "the previous version",
                CharterBounds::Rule("none of the first, else that of the version before"),
            ),
            (
                name,
                "the name",
                CharterBounds::Rule("at most 128 bytes, without control characters"),
            ),
            number(
                "the number of roots",
                self.roots.len(),
                1,
                limits::MAX_ROOTS,
            ),
            (
                (1..=self.roots.len()).contains(&self.threshold.into()),
                "the threshold",
                CharterBounds::Roots(self.roots.len() as u64),
            ),
            number(
                "the number of admins",
                self.admins.len(),
                0,
                limits::MAX_ADMINS,
            ),
            (
                former,
                "the list of former owners and admins",
                CharterBounds::Rule("at most 32, and nobody who still is what it was"),
            ),
            number(
                "the number of records of former owners and admins",
                kept,
                0,
                limits::MAX_FORMER_KEPT,
            ),
            number("the number of publishers", named, 0, limits::MAX_PUBLISHERS),
            (
                (bytes.0..=bytes.1).contains(&l.record_bytes.into()),
                "the record size",
                CharterBounds::Bytes(bytes.0, bytes.1),
            ),
            records("the records per author", l.records_per_author),
            records("the records in total", l.records_total),
            (
                (lifetime.0..=lifetime.1).contains(&l.lifetime_ms),
                "the lifetime",
                CharterBounds::Time(lifetime.0, lifetime.1),
            ),
            (
                self.chunk_bits.is_none_or(|b| (14..=20).contains(&b)),
                "the chunk size",
                CharterBounds::Bytes(1 << 14, 1 << 20),
            ),
            (
                self.presence_ms.is_none_or(|ms| lease.contains(&ms)),
                "the presence lease",
                CharterBounds::Time(*lease.start(), *lease.end()),
            ),
            (
                self.created.0 <= limits::MAX_TIME_MS,
                "the time of creation",
                CharterBounds::Rule("before the year 10889"),
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, what, bounds)) => Err(CharterError::Invalid { what, bounds }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WallMs;

    fn charter() -> Charter {
        Charter::open("x", PeerId([1; 32]), WallMs(1), [0; 16])
    }

    fn told(change: impl FnOnce(&mut Charter)) -> String {
        let mut charter = charter();
        change(&mut charter);
        match charter.encode() {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_is_outside_its_bounds_is_told_with_them() {
        let told_of = |what: &str, bounds: &str| {
            format!("{what} of the charter is outside its bounds: {bounds}")
        };
        let one_root = told_of("the threshold", "1, as there is one root");
        assert_eq!(told(|c| c.threshold = 2), one_root);
        let two_roots = told_of("the threshold", "1 to 2, the number of roots");
        let three_of_two = |c: &mut Charter| {
            c.roots.insert(PeerId([2; 32]));
            c.threshold = 3;
        };
        assert_eq!(told(three_of_two), two_roots);
        let size = told_of("the record size", "1024 to 65536 bytes");
        assert_eq!(told(|c| c.limits.record_bytes = 1023), size);
        assert_eq!(told(|c| c.limits.record_bytes = 65_537), size);
        assert_eq!(told(|c| c.limits.record_bytes = 1024), "");
        let lease = told_of("the presence lease", "10 s to 24 h");
        assert_eq!(told(|c| c.presence_ms = Some(9_999)), lease);
        assert_eq!(told(|c| c.presence_ms = Some(86_400_001)), lease);
        assert_eq!(told(|c| c.presence_ms = Some(10_000)), "");
        let lifetime = told_of("the lifetime", "1 ms to 36600 days");
        assert_eq!(told(|c| c.limits.lifetime_ms = 0), lifetime);
        let records = told_of("the records in total", "1 to 4194304");
        assert_eq!(told(|c| c.limits.records_total = 0), records);
    }

    #[test]
    fn what_the_rules_say_in_words_is_what_holds() {
        assert_eq!(limits::MAX_NAME_BYTES, 128);
        assert_eq!(limits::MAX_FORMER, 32);
    }
}
