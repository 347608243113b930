use crate::{ContentError, EntryPath};

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A directory; one that is only implied by what lies in it needs no entry.
    Directory,
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// The link's text: relative, `..` only at its front, inside the tree.
        target: Box<str>,
    },
}

/// One node of a content's tree.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Where it lies, from the content's root.
    pub path: EntryPath,
    /// Permission bits, at most 0o777. Always 0o777 for a symlink.
    pub mode: u16,
    /// What it is.
    pub kind: EntryKind,
}

impl Entry {
    /// A regular file; only the permission bits of `mode` are kept.
    pub fn file(path: EntryPath, mode: u16, size: u64) -> Self {
        Self {
            path,
            mode: mode & 0o777,
            kind: EntryKind::File { size },
        }
    }

    /// A directory; only the permission bits of `mode` are kept.
    pub fn directory(path: EntryPath, mode: u16) -> Self {
        Self {
            path,
            mode: mode & 0o777,
            kind: EntryKind::Directory,
        }
    }

    /// A symlink, if its target may be made at that path.
    pub fn symlink(path: EntryPath, target: &str) -> Result<Self, ContentError> {
        let _ = (path, target);
        todo!()
    }

    /// Bytes of the stream that belong to it: a file's size, else 0.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            _ => 0,
        }
    }
}
