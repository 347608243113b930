use std::{io, path::PathBuf};

use samara_content::{ContentError, PortabilityIssue};
use samara_wire::ContentId;
use thiserror::Error;

use crate::Difference;

/// Why the store could not do what it was asked for.
///
/// None of it is a peer's fault but [`StoreError::Manifest`], which carries its
/// own blame ([`ContentError::fault`]).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The data directory was written by a newer version.
    #[error(
        "{} has format {found}, this version of samara knows up to {supported}: use a newer one",
        dir.display()
    )]
    NewerFormat {
        /// The data directory.
        dir: PathBuf,
        /// The format that it has.
        found: u32,
        /// The newest that this program knows.
        supported: u32,
    },
    /// Another process has the data directory open.
    #[error("{} is in use by process {pid}", dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// Who holds it; 0 when that could not be read.
        pid: u32,
    },
    /// The file system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The index failed; what was to be written was not.
    #[error("the index {} failed: {message}", path.display())]
    Index {
        /// Its file.
        path: PathBuf,
        /// What redb said.
        message: String,
    },
    /// The destination's file system is full.
    #[error("no space at {}: {need} bytes are needed, {free} are free", path.display())]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// Bytes needed.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// The store's quota would be passed.
    #[error("the quota of {quota} bytes is not enough: {used} are used, {need} more are needed")]
    OverQuota {
        /// The quota in bytes.
        quota: u64,
        /// Bytes that the store uses.
        used: u64,
        /// Bytes that were asked for.
        need: u64,
    },
    /// Something else lies at the destination.
    #[error(
        "{} exists and is not the same: {difference}; --force replaces it and fetches only what is missing",
        path.display()
    )]
    DestinationDiffers {
        /// The destination.
        path: PathBuf,
        /// What is not the same.
        difference: Difference,
    },
    /// The destination is not usable as a directory or a name.
    #[error("{} cannot be a destination: {reason}", path.display())]
    BadDestination {
        /// The destination.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The destination cannot hold two of the tree's paths at once.
    #[error("{}: {issue}", path.display())]
    Unportable {
        /// The destination, or what was to be published.
        path: PathBuf,
        /// What it cannot hold.
        issue: PortabilityIssue,
    },
    /// A file changed or vanished while it was imported.
    #[error("{} changed while it was read; try again when it is at rest", path.display())]
    ChangedDuringImport {
        /// The file.
        path: PathBuf,
    },
    /// A socket, a device, a pipe.
    #[error("{} is neither a file, a directory nor a symlink", path.display())]
    SpecialFile {
        /// What it is about.
        path: PathBuf,
    },
    /// A name that is not UTF-8 cannot travel.
    #[error("the name of {} is not UTF-8", path.display())]
    NotUtf8 {
        /// What it is about.
        path: PathBuf,
    },
    /// The tree or the manifest breaks a rule of contents.
    #[error(transparent)]
    Manifest(#[from] ContentError),
    /// Pages are missing that the selected entries need.
    #[error("the manifest misses the page {page}, which the selection needs")]
    PageMissing {
        /// The first that is missing.
        page: u32,
    },
    /// The selection leaves nothing.
    #[error("nothing in the content matches the selection")]
    NothingSelected,
    /// [`finish`](crate::Content::finish) before all wanted chunks are there.
    #[error("missing: {}", chunks(*missing as usize))]
    Incomplete {
        /// How many.
        missing: u32,
    },
    /// The caller's flag was raised.
    #[error("cancelled")]
    Cancelled,
    /// The store does not have it.
    #[error("the store does not have the content {0}")]
    UnknownContent(ContentId),
    /// Only a part of what lies whole in the store can be given up.
    #[error(
        "the content {0} does not lie whole in the store, or has no parity: no share of it can be kept"
    )]
    NotSealed(ContentId),
    /// Data could not be made durable.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// Too much waits for the index.
    #[error("the index has too much to write at the moment")]
    Busy,
}

/// Why a chunk could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The chunk is not there (or not any more).
    #[error("chunk {chunk} is not here")]
    NotHere {
        /// Its number.
        chunk: u32,
    },
    /// A file was changed behind our back. It was hashed again; `lost` is not
    /// served any more and has to be withdrawn. A chunk that is not among them
    /// can be read again at once.
    #[error("{} was changed; withdrawn: {}", path.display(), chunks(lost.len()))]
    Changed {
        /// The file.
        path: PathBuf,
        /// Chunks that are not in `have` any more, ascending.
        lost: Vec<u32>,
    },
    /// The file system failed.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why a chunk could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The bytes are not those that the manifest names: the sender's fault.
    #[error("the bytes are not those of chunk {chunk}")]
    Mismatch {
        /// Its number.
        chunk: u32,
    },
    /// The disk is full. Nothing is lost; the download resumes when there is room.
    #[error("no space left at {}", path.display())]
    NoSpace {
        /// Where.
        path: PathBuf,
    },
    /// The content is not being written: it is served from files that are not
    /// the store's, or was forgotten.
    #[error("the content is not open for writing")]
    NotWritable,
    /// The manifest has no such chunk, its page is missing, or it was not selected.
    #[error("chunk {chunk} is not wanted")]
    NotWanted {
        /// Its number.
        chunk: u32,
    },
    /// The file system failed.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why written chunks could not be made durable.
///
/// After a failed fsync the kernel may have thrown the pages away, so what was
/// not synced before is taken out of `have`, the rest is hashed again.
#[derive(Debug, Error)]
#[error(
    "cannot make {} durable: {source}; to be fetched again: {}",
    path.display(),
    chunks(lost.len())
)]
pub struct SyncError {
    /// The file or directory.
    pub path: PathBuf,
    /// Chunks that are not in `have` any more, ascending.
    pub lost: Vec<u32>,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

fn chunks(count: usize) -> String {
    match count {
        1 => "1 chunk".to_owned(),
        _ => format!("{count} chunks"),
    }
}

impl StoreError {
    /// Shorthand for a failed file system call, with the full disk told apart.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source: source.into(),
        }
    }
}
