use samara_wire::{Reader, VARINT_MAX, Writer};

use crate::{
    ContentError, EntryPath, TargetFault,
    error::excerpt,
    limits,
    path::{climbs, has_drive, is_rooted},
};

const KIND_DIRECTORY: u8 = 0;
const KIND_FILE: u8 = 1;
const KIND_SYMLINK: u8 = 2;

/// What a symlink's mode is, on Linux; others would be lost on the way.
const SYMLINK_MODE: u16 = 0o777;

/// The permission bits; set-user-ID and its like do not travel.
pub(crate) const MAX_MODE: u16 = 0o777;

/// Bytes of the shortest entry: a directory with a name of one character.
pub(crate) const MIN_ENTRY_BYTES: usize = 4;

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
            mode: mode & MAX_MODE,
            kind: EntryKind::File { size },
        }
    }

    /// A directory; only the permission bits of `mode` are kept.
    pub fn directory(path: EntryPath, mode: u16) -> Self {
        Self {
            path,
            mode: mode & MAX_MODE,
            kind: EntryKind::Directory,
        }
    }

    /// A symlink, if its target may be made at that path.
    pub fn symlink(path: EntryPath, target: &str) -> Result<Self, ContentError> {
        let entry = Self {
            path,
            mode: SYMLINK_MODE,
            kind: EntryKind::Symlink {
                target: target.into(),
            },
        };
        entry.check()?;
        Ok(entry)
    }

    /// Bytes of the stream that belong to it: a file's size, else 0.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            _ => 0,
        }
    }

    /// What can be said against the entry without knowing the others.
    pub(crate) fn check(&self) -> Result<(), ContentError> {
        let mode_ok = match self.kind {
            EntryKind::Symlink { .. } => self.mode == SYMLINK_MODE,
            _ => self.mode <= MAX_MODE,
        };
        if !mode_ok {
            return Err(ContentError::BadMode {
                path: excerpt(self.path.as_str()),
                mode: self.mode,
            });
        }
        match &self.kind {
            EntryKind::File { size } if *size > limits::MAX_TOTAL_BYTES => {
                Err(ContentError::TooManyBytes {
                    got: *size,
                    max: limits::MAX_TOTAL_BYTES,
                })
            }
            EntryKind::Symlink { target } => {
                check_target(&self.path, target).map_err(|fault| ContentError::BadTarget {
                    path: excerpt(self.path.as_str()),
                    target: excerpt(target),
                    fault,
                })
            }
            _ => Ok(()),
        }
    }

    /// `path kind mode`, then a file's size or a symlink's target.
    pub(crate) fn write(&self, w: &mut Writer) {
        w.str(self.path.as_str());
        match &self.kind {
            EntryKind::Directory => {
                w.u8(KIND_DIRECTORY);
                w.varint(self.mode.into());
            }
            EntryKind::File { size } => {
                w.u8(KIND_FILE);
                w.varint(self.mode.into());
                w.varint(*size);
            }
            EntryKind::Symlink { target } => {
                w.u8(KIND_SYMLINK);
                w.varint(self.mode.into());
                w.str(target);
            }
        }
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, ContentError> {
        let path = EntryPath::new(r.str("path", limits::MAX_PATH_BYTES)?)?;
        let kind = r.u8("entry kind")?;
        let mode = r.varint("mode", u16::MAX.into())? as u16;
        let kind = match kind {
            KIND_DIRECTORY => EntryKind::Directory,
            KIND_FILE => EntryKind::File {
                size: r.varint("file size", VARINT_MAX)?,
            },
            KIND_SYMLINK => EntryKind::Symlink {
                target: r.str("link target", limits::MAX_PATH_BYTES)?.into(),
            },
            other => {
                return Err(ContentError::Unknown {
                    field: "entry kind",
                    got: other.into(),
                });
            }
        };
        let entry = Self { path, mode, kind };
        entry.check()?;
        Ok(entry)
    }
}

/// Whether the link at `path` stays inside the tree.
///
/// `..` may stand only at the front. The directories above a link are real ones,
/// since nothing lies under a symlink, so these climb exactly where the text says;
/// what follows only descends, and where it meets another link, the same holds
/// for that one. With `name/..` allowed, `name` could be a link that leads up,
/// and the text alone would not tell.
fn check_target(path: &EntryPath, target: &str) -> Result<(), TargetFault> {
    if target.is_empty() {
        return Err(TargetFault::Empty);
    }
    if target.len() > limits::MAX_PATH_BYTES {
        return Err(TargetFault::TooLong);
    }
    if target.contains('\0') {
        return Err(TargetFault::Nul);
    }
    if is_rooted(target) || has_drive(target) {
        return Err(TargetFault::Absolute);
    }
    let mut above = path.components().count() - 1;
    let mut named = false;
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." if named => return Err(TargetFault::ParentAfterName),
            ".." => above = above.checked_sub(1).ok_or(TargetFault::Outside)?,
            _ if climbs(name) => return Err(TargetFault::ParentAfterName),
            _ if name.len() > limits::MAX_COMPONENT_BYTES => {
                return Err(TargetFault::ComponentTooLong);
            }
            _ => named = true,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::new(text).unwrap()
    }

    fn target_fault(at: &str, target: &str) -> Option<TargetFault> {
        match Entry::symlink(path(at), target) {
            Ok(_) => None,
            Err(ContentError::BadTarget { fault, .. }) => Some(fault),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn links_that_lead_out_are_refused() {
        for (at, target, expected) in [
            ("l", "", TargetFault::Empty),
            ("l", "/etc", TargetFault::Absolute),
            ("l", "C:\\x", TargetFault::Absolute),
            ("l", "\\x", TargetFault::Absolute),
            ("l", "..", TargetFault::Outside),
            ("l", "./../x", TargetFault::Outside),
            ("a/b/l", "../../../x", TargetFault::Outside),
            ("a/l", "b/../c", TargetFault::ParentAfterName),
            ("a/l", "b\\..\\c", TargetFault::ParentAfterName),
            ("l", "a\0", TargetFault::Nul),
        ] {
            assert_eq!(
                target_fault(at, target),
                Some(expected),
                "{at} -> {target:?}"
            );
        }
    }

    #[test]
    fn links_inside_the_tree_are_kept() {
        for (at, target) in [
            ("l", "a"),
            ("l", "."),
            ("a/l", ".."),
            ("a/b/l", "../../c/d"),
            ("l", "./a//b/"),
            ("l", "dangling/anywhere"),
            ("l", "l"),
        ] {
            assert_eq!(target_fault(at, target), None, "{at} -> {target:?}");
        }
    }

    #[test]
    fn targets_have_the_lengths_of_paths() {
        let long = vec!["abc"; 1024].join("/");
        assert_eq!(target_fault("l", &format!("{long}d")), None);
        assert_eq!(
            target_fault("l", &format!("{long}de")),
            Some(TargetFault::TooLong)
        );
        let name = "n".repeat(255);
        assert_eq!(target_fault("l", &name), None);
        let longer = format!("{name}n");
        assert_eq!(
            target_fault("l", &longer),
            Some(TargetFault::ComponentTooLong)
        );
    }

    #[test]
    fn only_permission_bits_are_a_mode() {
        assert_eq!(Entry::file(path("a"), 0o104755, 1).mode, 0o755);
        let mut entry = Entry::file(path("a"), 0o777, 1);
        assert!(entry.check().is_ok());
        entry.mode = 0o1000;
        assert!(matches!(entry.check(), Err(ContentError::BadMode { .. })));
        let mut link = Entry::symlink(path("l"), "a").unwrap();
        link.mode = 0o755;
        assert!(matches!(link.check(), Err(ContentError::BadMode { .. })));
    }

    #[test]
    fn a_file_cannot_be_larger_than_a_content() {
        let at = |size| Entry::file(path("a"), 0, size).check();
        assert!(at(limits::MAX_TOTAL_BYTES).is_ok());
        assert!(matches!(
            at(limits::MAX_TOTAL_BYTES + 1),
            Err(ContentError::TooManyBytes { .. })
        ));
    }

    #[test]
    fn no_entry_is_shorter_than_the_least() {
        let mut w = Writer::new();
        Entry::directory(path("d"), 0).write(&mut w);
        assert_eq!(w.len(), MIN_ENTRY_BYTES);
    }
}
