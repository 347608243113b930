//! Where contents, records and the node's own small things are kept, so that a
//! kill at any moment loses nothing that was claimed.
//!
//! Bytes live once: what a user shares is served from where it lies, what is
//! downloaded is written into a staging tree beside its destination and renamed
//! into place. Every call blocks and every handle may be used from several
//! threads at once; the caller keeps them off its async workers.
//! docs/storage.md has the layout and argues every failure case.

mod adopt;
mod begin;
mod bitfield;
mod case;
mod chunks;
mod coding;
mod content;
mod differ;
mod error;
mod files;
mod finish;
mod import;
mod index;
mod install;
pub mod limits;
mod log;
mod options;
mod parallel;
mod prune;
mod read;
mod reserve;
mod resume;
mod reuse;
mod scan;
mod shards;
mod share;
mod stamp;
mod state;
mod store;
mod sync;
mod verify;
mod write;

pub use coding::CodingError;
pub use content::Content;
pub use differ::Difference;
pub use error::{ReadError, StoreError, SyncError, WriteError};
pub use index::{Batch, Settings};
pub use log::{About, LogEntry, LogPage, Logged};
pub use options::{
    Destination, GcReport, ImportOptions, ImportProgress, Placement, Selection, StoreConfig,
};
pub use store::Store;
