use std::{fmt, str::FromStr};

use crate::{ContentError, PathFault};

/// A path that is safe to append to a destination directory.
///
/// Relative, `/`-separated UTF-8 with no empty, `.` or `..` component, no NUL, no
/// drive, components of at most 255 bytes, at most 4,096 bytes in all. Ordered by
/// its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(Box<str>);

impl EntryPath {
    /// Checks `path`.
    pub fn new(path: &str) -> Result<Self, ContentError> {
        let _ = (path, PathFault::Empty);
        todo!()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        todo!()
    }

    /// The directory that it lies in; `None` at the top of the tree.
    pub fn parent(&self) -> Option<EntryPath> {
        todo!()
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl AsRef<std::path::Path> for EntryPath {
    fn as_ref(&self) -> &std::path::Path {
        std::path::Path::new(&*self.0)
    }
}

impl AsRef<str> for EntryPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for EntryPath {
    type Err = ContentError;
    fn from_str(path: &str) -> Result<Self, ContentError> {
        Self::new(path)
    }
}
