use std::path::PathBuf;

use samara_content::{ChunkParams, Entry, Parity};
use samara_wire::ContentId;

/// How a store is run.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Bytes that sealed contents (those without a destination) may take
    /// together. Default: no limit. What is exceeded is refused, never evicted
    /// silently.
    pub quota_bytes: Option<u64>,
    /// Threads of one import, verification or installation, from 1 to
    /// [`MAX_THREADS`](crate::limits::MAX_THREADS). Default: as many as there are
    /// cores.
    pub threads: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self {
            quota_bytes: None,
            threads: cores.min(crate::limits::MAX_THREADS),
        }
    }
}

/// How a path becomes a content.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// How to cut; default by the content's size ([`ChunkParams::for_size`]).
    /// Versions share chunks only if cut alike.
    pub params: Option<ChunkParams>,
    /// Make parity shards; chunks then have one fixed size, and `params` is not looked
    /// at. Default: none.
    pub parity: Option<Parity>,
    /// Refuse what other systems' file systems could not hold. Default: no.
    pub portable: bool,
    /// The content's name; default: the last component of the path.
    pub name: Option<String>,
}

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportProgress {
    /// Files found.
    pub files: u64,
    /// Bytes to read in all; 0 while the tree is being scanned.
    pub total_bytes: u64,
    /// Bytes chunked and hashed.
    pub done_bytes: u64,
}

/// Where a download goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// As `parent/name`, by way of a staging tree in `parent`.
    Install {
        /// An existing directory, or one that can be made.
        parent: PathBuf,
        /// One path component; usually the content's name.
        name: String,
        /// Replace something else that lies there.
        force: bool,
    },
    /// Into the store's own folder: one file, never shown.
    Sealed,
}

/// Which entries of a content a download wants.
///
/// Implied directories come by themselves.
#[derive(Clone, Copy)]
pub enum Selection<'a> {
    /// Every entry.
    All,
    /// The entries for which this holds.
    Only(&'a dyn Fn(&Entry) -> bool),
}

impl std::fmt::Debug for Selection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::All => "All",
            Self::Only(_) => "Only",
        })
    }
}

/// Where a content's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// The user's own file or folder, as it was imported.
    InPlace(PathBuf),
    /// On its way to `destination`.
    Staging {
        /// The staging folder on the destination's file system.
        staging: PathBuf,
        /// Where [`finish`](crate::Content::finish) puts it.
        destination: PathBuf,
    },
    /// Downloaded, and lying where the user wanted it.
    Installed(PathBuf),
    /// In the store, in one file.
    Sealed,
}

/// What a collection or a [`forget`](crate::Store::forget) gave back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Bytes of disk space given back.
    pub freed: u64,
    /// Contents that are not in the store any more.
    pub removed: Vec<ContentId>,
}
