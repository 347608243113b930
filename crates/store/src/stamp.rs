use std::{fs::Metadata, os::fd::AsFd, os::unix::fs::MetadataExt, time::Duration};

use rustix::fs::{Stat, fstat};
use samara_wire::{Reader, WireError, Writer};

use crate::limits::{KERNEL_TICK_NS, SECONDS_TICK_NS};

/// What a file looked like when its bytes were known to be the content's.
///
/// The change time cannot be set by a program, so whoever changes the bytes
/// changes the stamp, if the file system's clock has moved on since the last change
/// (see [`settles_in`](Self::settles_in)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    dev: u64,
    ino: u64,
    pub(crate) size: u64,
    mtime_ns: i64,
    pub(crate) ctime_ns: i64,
}

impl Stamp {
    /// Bytes of the encoding.
    pub(crate) const LEN: usize = 40;

    pub(crate) fn of(file: impl AsFd) -> std::io::Result<Self> {
        Ok(Self::from_stat(&fstat(file)?))
    }

    pub(crate) fn from_stat(stat: &Stat) -> Self {
        // The field types differ between architectures.
        #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            size: stat.st_size as u64,
            mtime_ns: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime_ns: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    pub(crate) fn from_metadata(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime_ns: nanoseconds(meta.mtime(), meta.mtime_nsec()),
            ctime_ns: nanoseconds(meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// How long after `now` (of [`wall_ns`]) a write may leave the stamp as it is,
    /// because the clock of the file system shows the same as at the last one. As
    /// git has it, such a stamp is racy: what is hashed before then is not known to
    /// be what the stamp stands for. `None`: whoever writes now is noticed.
    ///
    /// A change of the mode alone or a renaming does not make it racy, since a
    /// write changes both times.
    pub(crate) fn settles_in(&self, now: i64) -> Option<Duration> {
        let tick = tick_ns(self.ctime_ns);
        let last = self.mtime_ns.min(self.ctime_ns);
        let left = last.saturating_add(tick).saturating_sub(now);
        // A clock that is ahead of ours proves nothing by our waiting.
        (1..=tick)
            .contains(&left)
            .then(|| Duration::from_nanos(left.unsigned_abs()))
    }

    /// Whether bytes may have been written after `moment`.
    pub(crate) fn may_be_later(&self, moment: i64) -> bool {
        self.ctime_ns.saturating_add(tick_ns(self.ctime_ns)) > moment
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.u64(self.dev);
        w.u64(self.ino);
        w.u64(self.size);
        w.u64(self.mtime_ns as u64);
        w.u64(self.ctime_ns as u64);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            dev: r.u64("device")?,
            ino: r.u64("inode")?,
            size: r.u64("size")?,
            mtime_ns: r.u64("mtime")? as i64,
            ctime_ns: r.u64("ctime")? as i64,
        })
    }
}

/// Waits until whoever writes to a file of these stamps changes its stamp: a few
/// milliseconds after the last write, seconds on file systems of old.
pub(crate) fn settle<'a>(stamps: impl IntoIterator<Item = &'a Stamp>) {
    let now = wall_ns();
    if let Some(wait) = stamps.into_iter().filter_map(|s| s.settles_in(now)).max() {
        std::thread::sleep(wait);
    }
}

/// How long a file system's clock may show the same, as one of its times tells.
fn tick_ns(time_ns: i64) -> i64 {
    if time_ns % 1_000_000_000 == 0 {
        SECONDS_TICK_NS
    } else {
        KERNEL_TICK_NS
    }
}

/// Nanoseconds since 1970; dates beyond 2262 are all the same.
fn nanoseconds(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// The wall clock in nanoseconds since 1970, to compare with a file's ctime.
pub(crate) fn wall_ns() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(mtime_ns: i64, ctime_ns: i64) -> Stamp {
        Stamp {
            mtime_ns,
            ctime_ns,
            ..Stamp::default()
        }
    }

    #[test]
    fn a_stamp_settles_one_tick_after_the_last_write() {
        const T: i64 = 1_700_000_000_123_456_789;
        let fresh = stamp(T, T);
        let left = |now| fresh.settles_in(now).map(|d| d.as_nanos() as i64);
        assert_eq!(left(T), Some(KERNEL_TICK_NS));
        assert_eq!(left(T + KERNEL_TICK_NS - 1), Some(1));
        assert_eq!(left(T + KERNEL_TICK_NS), None);
        assert_eq!(left(T - 1), None, "that clock is not ours");
        // Written long ago, renamed or made executable just now.
        assert_eq!(stamp(T - KERNEL_TICK_NS, T).settles_in(T), None);
        // Times of whole seconds.
        let old = stamp(
            T / 1_000_000_000 * 1_000_000_000,
            T / 1_000_000_000 * 1_000_000_000,
        );
        assert!(
            old.settles_in(T)
                .is_some_and(|d| d > Duration::from_secs(1))
        );
        assert_eq!(old.settles_in(T + SECONDS_TICK_NS), None);
    }

    #[test]
    fn what_was_written_in_the_tick_of_a_moment_may_be_later() {
        const T: i64 = 1_700_000_000_123_456_789;
        for (ctime, later) in [
            (T + 1, true),
            (T, true),
            (T - KERNEL_TICK_NS + 1, true),
            (T - KERNEL_TICK_NS, false),
        ] {
            assert_eq!(stamp(0, ctime).may_be_later(T), later, "{ctime}");
        }
        assert!(stamp(0, 0).may_be_later(i64::MIN));
    }
}
