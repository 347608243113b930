use std::{fs::Metadata, os::fd::AsFd, os::unix::fs::MetadataExt};

use rustix::fs::{Stat, fstat};
use samara_wire::{Reader, WireError, Writer};

/// What a file looked like when its bytes were known to be the content's.
///
/// The change time cannot be set by a program, so whoever changes the bytes
/// changes the stamp, short of the clock's granularity.
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
