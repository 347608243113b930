use thiserror::Error;

use samara_wire::WireError;

/// Who has to answer for a [`ContentError`] in bytes that came from a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The peer that sent the bytes: they are not what was asked for.
    Peer,
    /// The publisher: the bytes are what their hash names, and break the format.
    /// Peers that pass them on are not to blame.
    Publisher,
    /// Nobody: the publisher's program is newer than this one.
    Incompatible,
    /// Nobody: the content is larger than our [`limits`](crate::limits) allow.
    Limit,
    /// The local caller: an argument was wrong.
    Caller,
}

/// Why a path is not one that may be written below a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PathFault {
    /// No characters.
    #[error("is empty")]
    Empty,
    /// Starts at a root.
    #[error("is absolute")]
    Absolute,
    /// Starts with a Windows drive, as in `C:` or `C:\x`.
    #[error("names a drive")]
    Drive,
    /// Has an empty or `.` component: another spelling of a shorter path.
    #[error("has an empty or `.` component")]
    NotPlain,
    /// Has a `..` component.
    #[error("has a `..` component")]
    Parent,
    /// Contains the NUL byte.
    #[error("contains NUL")]
    Nul,
    /// A component of more than 255 bytes.
    #[error("has a component of more than 255 bytes")]
    ComponentTooLong,
    /// More than 4,096 bytes.
    #[error("is longer than 4096 bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
}

/// Why a symlink's target may not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TargetFault {
    /// No characters.
    #[error("is empty")]
    Empty,
    /// Starts at a root or a drive.
    #[error("is absolute")]
    Absolute,
    /// Leads out of the tree.
    #[error("leads out of the tree")]
    Outside,
    /// A `..` after a name: where it leads depends on what the name is, so it
    /// could lead out through another link.
    #[error("has `..` after a name")]
    ParentAfterName,
    /// Contains the NUL byte.
    #[error("contains NUL")]
    Nul,
    /// A component of more than 255 bytes.
    #[error("has a component of more than 255 bytes")]
    ComponentTooLong,
    /// More than 4,096 bytes.
    #[error("is longer than 4096 bytes")]
    TooLong,
}

/// What is wrong with a manifest, or with what should become one.
///
/// [`fault`](Self::fault) says who has to answer for it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The bytes are not those that the hash names.
    #[error("the {part} does not match its hash")]
    HashMismatch {
        /// Root or page.
        part: &'static str,
    },
    /// More bytes than any honest node would store.
    #[error("the {part} has {got} bytes, more than {max}")]
    Overlong {
        /// Root or page.
        part: &'static str,
        /// How many came.
        got: usize,
        /// The bound.
        max: usize,
    },
    /// A page that the manifest does not have.
    #[error("the manifest has {count} pages, none has the number {index}")]
    NoSuchPage {
        /// The number asked for.
        index: u32,
        /// How many pages there are.
        count: u32,
    },
    /// The bytes are not an encoding of this version.
    #[error("the manifest is malformed: {0}")]
    Malformed(#[from] WireError),
    /// A layout, parity or version tag that this program does not know.
    #[error("the manifest uses {field} {got}, which this version does not know")]
    Unknown {
        /// Which tag.
        field: &'static str,
        /// Its value.
        got: u64,
    },
    /// A path that may not be written below a destination.
    #[error("the path {path:?} {fault}")]
    BadPath {
        /// The path, cut after 200 characters.
        path: String,
        /// What is wrong with it.
        fault: PathFault,
    },
    /// A symlink that leads out, or might.
    #[error("the target {target:?} of the link {path:?} {fault}")]
    BadTarget {
        /// The link.
        path: String,
        /// Where it points, cut after 200 characters.
        target: String,
        /// What is wrong with it.
        fault: TargetFault,
    },
    /// A file mode with other bits than the permissions.
    #[error("the mode {mode:o} of {path:?} is not a plain permission mode")]
    BadMode {
        /// The entry.
        path: String,
        /// Its mode.
        mode: u16,
    },
    /// Two entries have the same path.
    #[error("the path {path:?} stands twice in the tree")]
    DuplicatePath {
        /// The path.
        path: String,
    },
    /// Two different spellings of one Unicode text (equal after NFC).
    #[error("{path:?} and {other:?} are the same text in different Unicode forms")]
    EquivalentPaths {
        /// The one.
        path: String,
        /// The other.
        other: String,
    },
    /// Something lies below a file or a symlink.
    #[error("{path:?} lies under {parent:?}, which is not a directory")]
    UnderNonDirectory {
        /// What lies there.
        path: String,
        /// The file or symlink.
        parent: String,
    },
    /// Entries are not in order of their paths' bytes.
    #[error("the entry {path:?} is out of order")]
    OutOfOrder {
        /// The first entry that is too late.
        path: String,
    },
    /// The flag says single file, the entries say otherwise.
    #[error("a single-file content has exactly one entry, a file of the content's name")]
    NotSingleFile,
    /// More entries than [`MAX_ENTRIES`](crate::limits::MAX_ENTRIES).
    #[error("{got} entries, more than the limit of {max}")]
    TooManyEntries {
        /// How many are claimed.
        got: u64,
        /// The bound.
        max: u32,
    },
    /// More chunks than [`MAX_CHUNKS`](crate::limits::MAX_CHUNKS).
    #[error("{got} chunks, more than the limit of {max}")]
    TooManyChunks {
        /// How many are claimed.
        got: u64,
        /// The bound.
        max: u32,
    },
    /// More bytes than [`MAX_TOTAL_BYTES`](crate::limits::MAX_TOTAL_BYTES).
    #[error("{got} bytes of content, more than the limit of {max}")]
    TooManyBytes {
        /// How many are claimed.
        got: u64,
        /// The bound.
        max: u64,
    },
    /// The root would pass [`MAX_ROOT_BYTES`](crate::limits::MAX_ROOT_BYTES):
    /// too many entries with long paths.
    #[error(
        "the paths are too long for so many entries: the manifest's root would have {got} bytes, more than {max}"
    )]
    RootTooLarge {
        /// Its size.
        got: usize,
        /// The bound.
        max: usize,
    },
    /// Two numbers that must be equal are not.
    #[error("{what} do not add up: {left} and {right}")]
    Sums {
        /// Which numbers.
        what: &'static str,
        /// The one.
        left: u64,
        /// The other.
        right: u64,
    },
    /// A chunk is too short, too long, or crosses a forced cut.
    #[error("chunk {chunk} of {len} bytes at {offset} is not one that the layout can have")]
    BadChunk {
        /// Its number.
        chunk: u32,
        /// Its claimed length in bytes.
        len: u32,
        /// Its place in the stream.
        offset: u64,
    },
    /// An average chunk size that is not a power of two from 16 KiB to 1 MiB.
    #[error("{0} is not a chunk size: a power of two from 16 KiB to 1 MiB is expected")]
    BadChunkSize(u64),
    /// Parity of no shards, of too many, or of too many for its chunks.
    #[error(
        "{shards}/{chunks} is no parity: shards/chunks with at least 1 of each, 256 together and 8 shards for one chunk at most"
    )]
    BadParity {
        /// Parity shards of a stripe.
        shards: u32,
        /// Chunks of a stripe.
        chunks: u32,
    },
    /// Text that is not of the form `M/K`.
    #[error("{0:?} is no parity: `4/32` adds 4 parity shards to every 32 chunks")]
    NotParity(String),
    /// A fixed chunk size out of bounds, for itself or for the stripe.
    #[error(
        "chunks of {size} bytes with parity {parity}: from 4 KiB to 4 MiB are expected, and at most 64 MiB in a stripe"
    )]
    BadFixedSize {
        /// Bytes of a chunk.
        size: u32,
        /// The parity.
        parity: crate::Parity,
    },
    /// Chunks and shards that a stripe cannot be coded from.
    #[error("these are not enough chunks of stripe {stripe}, or not its own")]
    NotAStripe {
        /// Its number.
        stripe: u32,
    },
    /// Parity shards that the publisher did not make from the chunks.
    #[error("the parity of stripe {stripe} does not bring back the chunks that the manifest names")]
    FalseParity {
        /// Its number.
        stripe: u32,
    },
}

impl ContentError {
    /// Who has to answer for it, when the bytes came from a peer.
    pub fn fault(&self) -> Fault {
        match self {
            Self::HashMismatch { .. } | Self::Overlong { .. } => Fault::Peer,
            Self::Unknown { .. } => Fault::Incompatible,
            Self::TooManyEntries { .. }
            | Self::TooManyChunks { .. }
            | Self::TooManyBytes { .. }
            | Self::RootTooLarge { .. } => Fault::Limit,
            Self::NoSuchPage { .. }
            | Self::BadChunkSize(_)
            | Self::NotParity(_)
            | Self::NotAStripe { .. } => Fault::Caller,
            Self::Malformed(_)
            | Self::BadPath { .. }
            | Self::BadTarget { .. }
            | Self::BadMode { .. }
            | Self::DuplicatePath { .. }
            | Self::EquivalentPaths { .. }
            | Self::UnderNonDirectory { .. }
            | Self::OutOfOrder { .. }
            | Self::NotSingleFile
            | Self::Sums { .. }
            | Self::BadParity { .. }
            | Self::BadFixedSize { .. }
            | Self::FalseParity { .. }
            | Self::BadChunk { .. } => Fault::Publisher,
        }
    }
}

/// The start of a stranger's text, short enough for a message.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(200).collect()
}
