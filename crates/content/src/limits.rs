//! Every bound on what a manifest or a chunk set may claim, with its reason.

/// Entries of one content. A million paths of ordinary length decode into about
/// 100 MB, the most that a node should spend on one tree.
pub const MAX_ENTRIES: u32 = 1_000_000;

/// Chunks of one content: 4 TiB at the largest average size, and a chunk set of
/// at most 512 KiB.
pub const MAX_CHUNKS: u32 = 4_194_304;

/// Bytes of one content's stream: as many as [`MAX_CHUNKS`] of the largest size
/// could carry (16 TiB), so that no sum of offsets overflows.
pub const MAX_TOTAL_BYTES: u64 = MAX_CHUNKS as u64 * MAX_CHUNK_BYTES as u64;

/// Bytes of one chunk, whatever the parameters.
pub const MAX_CHUNK_BYTES: u32 = MAX_AVG_BYTES * 4;

/// Smallest average chunk size.
pub const MIN_AVG_BYTES: u32 = 16 * 1024;

/// Largest average chunk size.
pub const MAX_AVG_BYTES: u32 = 1024 * 1024;

/// Bytes of a manifest's root: page references for a full content (4,096 chunk
/// pages) and about 25,000 entry pages.
pub const MAX_ROOT_BYTES: usize = 1024 * 1024;

/// Bytes of any manifest page, refused before they are hashed.
pub const MAX_PAGE_BYTES: usize = 128 * 1024;

/// An entry page is filled until the next entry would pass this size.
pub const ENTRY_PAGE_BYTES: usize = 64 * 1024;

/// Chunks in every chunk page but the last.
pub const CHUNKS_PER_PAGE: u32 = 1024;

/// A cut is forced at every multiple of this from the start of a region, so that
/// segments are chunked and hashed in parallel; an insertion into a file costs
/// at most two extra chunks a segment.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of one path component: what Linux file systems hold (NAME_MAX).
pub const MAX_COMPONENT_BYTES: usize = 255;

/// Bytes of a path or a symlink's target (PATH_MAX on Linux).
pub const MAX_PATH_BYTES: usize = 4096;

/// Shards of one stripe, data and parity together: as many as GF(2^8) has elements.
pub const MAX_STRIPE_SHARDS: u32 = 256;

/// Bytes of one stripe, parity included: what coding one takes of memory. 36 shards
/// may have 1.7 MiB each, 256 may have 256 KiB.
pub const MAX_STRIPE_BYTES: u64 = 64 * 1024 * 1024;

/// Parity shards for each data chunk of a stripe, at most: nine times the storage
/// is a mistake, or malice.
pub const MAX_PARITY_FACTOR: u32 = 8;

/// Members that share one content: as many as a stripe can have places. Of more, those
/// with the lowest hashes for the content; the shares of others are empty.
pub const MAX_SHARERS: usize = MAX_STRIPE_SHARDS as usize;

/// Smallest chunk of a content with parity, as small as the smallest of the others.
pub const MIN_FIXED_BYTES: u32 = MIN_AVG_BYTES / 4;
