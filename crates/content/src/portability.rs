use std::fmt;

use crate::{Entry, EntryPath};

/// Something that a file system of another system cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortabilityIssue {
    /// The entry, or the directory above entries, that is meant.
    pub path: EntryPath,
    /// What is the matter with it.
    pub kind: PortabilityKind,
}

/// What a file system of another system has against a path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PortabilityKind {
    /// Equal to another path where case is folded (macOS, Windows).
    CaseCollision {
        /// The other path.
        other: EntryPath,
    },
    /// A device name on Windows, as in `NUL` or `com1.txt`.
    ReservedName,
    /// A character that Windows does not allow in a name.
    ReservedCharacter(char),
    /// Windows drops a dot or space at the end of a name.
    TrailingDotOrSpace,
}

impl PortabilityKind {
    /// Whether it matters to every file system that folds case; the other kinds
    /// matter to Windows alone.
    pub fn is_case_collision(&self) -> bool {
        matches!(self, Self::CaseCollision { .. })
    }
}

impl fmt::Display for PortabilityIssue {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// What file systems of other systems could not hold of a tree, in path order;
/// empty when it can go anywhere. `entries` are a valid tree's, in order.
pub fn portability(entries: &[Entry]) -> Vec<PortabilityIssue> {
    let _ = entries;
    todo!()
}
