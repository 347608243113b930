use std::{io, path::Path};

use samara_store::{CodingError, StoreError, WriteError};

use crate::api::{ErrorKind, Event};

/// What went wrong, for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// Which kind.
    pub kind: ErrorKind,
    /// What happened, to what, and what to do.
    pub message: String,
}

impl EngineError {
    /// An error of a kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// An operating system's error on a path.
    pub fn disk(path: &Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Disk,
        };
        Self::new(kind, format!("{}: {error}", path.display()))
    }
}

impl From<EngineError> for Event {
    fn from(error: EngineError) -> Self {
        Self::Error {
            kind: error.kind,
            message: error.message,
        }
    }
}

impl From<CodingError> for EngineError {
    fn from(error: CodingError) -> Self {
        let kind = match &error {
            CodingError::False { .. } => ErrorKind::Manifest,
            CodingError::Write(WriteError::NoSpace { .. }) => ErrorKind::NoSpace,
            CodingError::Read(_) | CodingError::Write(_) => ErrorKind::Disk,
            _ => ErrorKind::Changed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::NewerFormat { .. } => ErrorKind::NewerFormat,
            StoreError::Locked { .. } => ErrorKind::Locked,
            StoreError::NoSpace { .. } | StoreError::OverQuota { .. } => ErrorKind::NoSpace,
            StoreError::DestinationDiffers { .. } => ErrorKind::Exists,
            StoreError::ChangedDuringImport { .. } => ErrorKind::Changed,
            StoreError::Manifest(_) | StoreError::Unportable { .. } => ErrorKind::Manifest,
            StoreError::NothingSelected
            | StoreError::BadDestination { .. }
            | StoreError::SpecialFile { .. }
            | StoreError::NotUtf8 { .. } => ErrorKind::Usage,
            StoreError::UnknownContent(_) => ErrorKind::NotFound,
            StoreError::Cancelled => ErrorKind::Interrupted,
            StoreError::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::StorageFull => ErrorKind::NoSpace,
                _ => ErrorKind::Disk,
            },
            StoreError::Index { .. } | StoreError::Sync(_) => ErrorKind::Disk,
            _ => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}
