//! What is moved: a content is a named tree of entries and one byte stream, cut
//! into chunks whose BLAKE3 hashes stand in a paged manifest.
//!
//! Everything here is a pure function of bytes. What a stranger's manifest may
//! claim is bounded in [`limits`], and a [`Manifest`] that handed out an entry or
//! a chunk has checked it first: no path leaves the tree, no link leads out of
//! it, sizes add up, chunks stand where the [`Layout`] puts them.

mod builder;
mod chunk_page;
mod chunk_set;
mod chunker;
mod coder;
mod entry;
mod entry_page;
mod error;
mod layout;
pub mod limits;
mod manifest;
mod parity;
mod path;
mod portability;
mod root;
mod share;
mod tree;

pub use builder::{Encoded, ManifestBuilder};
pub use chunk_page::ChunkRef;
pub use chunk_set::{ChunkSet, ChunkSetIter};
pub use chunker::{ChunkParams, Cutter, chunk_hash};
pub use coder::Coder;
pub use entry::{Entry, EntryKind};
pub use error::{ContentError, Fault, PathFault, TargetFault};
pub use layout::{Extent, Layout};
pub use manifest::Manifest;
pub use parity::{Parity, Stripes};
pub use path::EntryPath;
pub use portability::{PortabilityIssue, PortabilityKind, is_device, portability};
pub use root::{ChunkPageRef, EntryPageRef, Root};
pub use share::share_of;
