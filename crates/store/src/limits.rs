//! Every bound of the store, with its reason.

/// Format of the data directory, in its `VERSION` file.
pub const FORMAT: u32 = 1;

/// Files that the store keeps open at once, over all contents: well below the
/// usual limit of 1,024 descriptors a process, which the sockets share.
pub const MAX_OPEN_FILES: usize = 256;

/// Up to so many files are synced one by one; above, one syncfs is cheaper than
/// as many flushes.
pub const MAX_SINGLE_SYNCS: usize = 32;

/// Memory of redb's page cache in bytes (its default is 1 GiB).
pub const INDEX_CACHE_BYTES: usize = 16 << 20;

/// Write batches that wait for the index at once; what peers send beyond them is
/// refused.
pub const MAX_QUEUED_BATCHES: usize = 1024;

/// Batches in one commit, so that the first is not kept waiting by the last.
pub const MAX_BATCHES_PER_COMMIT: usize = 512;

/// Bytes of a settings value.
pub const MAX_SETTING_BYTES: usize = 1 << 20;

/// Entries of one channel's event log; the oldest goes. At some 120 bytes each
/// they are 8 MB.
pub const MAX_LOG_EVENTS: u64 = 65_536;

/// Bytes of a note in an event log.
pub const MAX_LOG_NOTE_BYTES: usize = 1024;

/// Bytes of the buffer that each import thread reads into, if chunks are not
/// larger: small enough to stay in the processor's cache between read, cut and
/// hash.
pub const IMPORT_BUFFER_BYTES: usize = 1 << 20;

/// Threads of one import, verification or installation: past this the disk or
/// the memory bus is the limit, and each costs a buffer.
pub const MAX_THREADS: usize = 8;

/// Levels of directories below an imported folder; a path of the most bytes
/// that a manifest allows has not more.
pub const MAX_DEPTH: usize = 2048;

/// Files from this size on are preallocated one by one; smaller ones are covered
/// by one reservation file, since a call for each costs more than it gains.
pub const PREALLOCATE_BYTES: u64 = 1 << 20;

/// Times that a changed file is hashed again while it keeps changing, before
/// all of its chunks are given up.
pub const MAX_RECHECKS: usize = 3;

/// Nanoseconds that a file system's clock may show the same: two ticks of the
/// slowest kernel clock, 100 Hz.
pub const KERNEL_TICK_NS: i64 = 20_000_000;

/// The same where times are whole seconds: VFAT's even ones.
pub const SECONDS_TICK_NS: i64 = 2_000_000_000;
