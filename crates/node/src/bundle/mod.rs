//! A channel as one file, for a journey without a network: charters, records and,
//! if wanted, contents, signed by whoever wrote it. docs/protocol.md has the format.

mod read;
mod write;

use std::io;

use samara_wire::{ChannelId, PeerId};
use thiserror::Error;

pub(crate) use read::{BundleReader, Item};
pub(crate) use write::BundleWriter;

/// What a bundle begins with.
const MAGIC: &[u8] = b"samara bundle v1\0";
const SIGNATURE_BYTES: usize = 64;

/// Kinds of frames.
const HEAD: u64 = 1;
const RECORD: u64 = 2;
const CONTENT: u64 = 3;
const PAGE: u64 = 4;
const CHUNK: u64 = 5;
const END: u64 = 6;

/// Whose it is and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) channel: ChannelId,
    pub(crate) exporter: PeerId,
    /// Milliseconds since 1970.
    pub(crate) created: u64,
    /// Signed charters, the first first.
    pub(crate) charters: Vec<bytes::Bytes>,
}

/// How much there was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    pub(crate) contents: u64,
}

/// Why a file is no bundle to be believed.
#[derive(Debug, Error)]
pub(crate) enum BundleError {
    /// The file cannot be read.
    #[error("{0}")]
    Io(io::Error),
    /// It begins with something else.
    #[error("this is no file that `samara export` wrote")]
    NotABundle,
    /// It ends before its end.
    #[error("the file is cut short")]
    Truncated,
    /// A length above its bound.
    #[error("the file is damaged: {what} of {got} bytes, more than {max}")]
    TooLarge {
        what: &'static str,
        got: u64,
        max: u64,
    },
    /// What stands there cannot stand there.
    #[error("the file is damaged: {0}")]
    Damaged(&'static str),
    /// Not what its exporter wrote.
    #[error("the file's signature does not match: it was damaged or changed")]
    BadSignature,
    /// They are no chain, or another channel's.
    #[error("its charters are none of one channel")]
    BadCharters,
}

impl BundleError {
    /// All names in metrics.
    pub(crate) const LABELS: [&str; 5] = [
        "unreadable",
        "not_a_bundle",
        "truncated",
        "damaged",
        "bad_charters",
    ];

    /// Its name in metrics.
    pub(crate) fn label(&self) -> &'static str {
        let [unreadable, not_a_bundle, truncated, damaged, bad_charters] = Self::LABELS;
        match self {
            Self::Io(_) => unreadable,
            Self::NotABundle => not_a_bundle,
            Self::Truncated => truncated,
            Self::TooLarge { .. } | Self::Damaged(_) | Self::BadSignature => damaged,
            Self::BadCharters => bad_charters,
        }
    }
}

#[cfg(test)]
mod tests;
