use std::{
    fmt,
    path::{Component, Path},
    str::FromStr,
};

use crate::{ContentError, PathFault, error::excerpt, limits};

/// A path that is safe to append to a destination directory.
///
/// Relative, `/`-separated UTF-8 with no empty, `.` or `..` component, no NUL, no
/// drive, components of at most 255 bytes, at most 4,096 bytes in all. Ordered by
/// its bytes.
///
/// A backslash is a character like others, since Linux names have it; but a path
/// that would be absolute or climb where it separates components is refused too.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(Box<str>);

impl EntryPath {
    /// Checks `path`.
    pub fn new(path: &str) -> Result<Self, ContentError> {
        check(path).map_err(|fault| ContentError::BadPath {
            path: excerpt(path),
            fault,
        })?;
        Ok(Self(path.into()))
    }

    /// The same for a relative path of this system.
    pub fn from_path(path: &Path) -> Result<Self, ContentError> {
        let fail = |fault| ContentError::BadPath {
            path: excerpt(&path.to_string_lossy()),
            fault,
        };
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => {
                    names.push(name.to_str().ok_or_else(|| fail(PathFault::NotUtf8))?);
                }
                Component::Prefix(_) => return Err(fail(PathFault::Drive)),
                Component::RootDir => return Err(fail(PathFault::Absolute)),
                Component::CurDir => return Err(fail(PathFault::NotPlain)),
                Component::ParentDir => return Err(fail(PathFault::Parent)),
            }
        }
        Self::new(&names.join("/"))
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
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The directory that it lies in; `None` at the top of the tree.
    pub fn parent(&self) -> Option<EntryPath> {
        let (parent, _) = self.0.rsplit_once('/')?;
        Some(Self(parent.into()))
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

impl AsRef<Path> for EntryPath {
    fn as_ref(&self) -> &Path {
        Path::new(&*self.0)
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

fn check(path: &str) -> Result<(), PathFault> {
    if path.is_empty() {
        return Err(PathFault::Empty);
    }
    if path.len() > limits::MAX_PATH_BYTES {
        return Err(PathFault::TooLong);
    }
    if path.contains('\0') {
        return Err(PathFault::Nul);
    }
    if is_rooted(path) {
        return Err(PathFault::Absolute);
    }
    if has_drive(path) {
        return Err(PathFault::Drive);
    }
    for name in path.split('/') {
        if name.is_empty() || name == "." {
            return Err(PathFault::NotPlain);
        }
        if climbs(name) {
            return Err(PathFault::Parent);
        }
        if name.len() > limits::MAX_COMPONENT_BYTES {
            return Err(PathFault::ComponentTooLong);
        }
    }
    Ok(())
}

/// Whether a path starts at a root, on Windows too.
pub(crate) fn is_rooted(path: &str) -> bool {
    path.starts_with(['/', '\\'])
}

/// Whether a path starts with `C:` alone or before a separator. `B::Deparse`, a
/// manual page, does not: only Windows minds it, and `portability` says so.
pub(crate) fn has_drive(path: &str) -> bool {
    match path.as_bytes() {
        [letter, b':'] | [letter, b':', b'/' | b'\\', ..] => letter.is_ascii_alphabetic(),
        _ => false,
    }
}

/// Whether a component is `..`, or has one where a backslash separates.
pub(crate) fn climbs(name: &str) -> bool {
    name.split('\\').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(path: &str) -> PathFault {
        match EntryPath::new(path) {
            Err(ContentError::BadPath { fault, .. }) => fault,
            other => panic!("{path:?} gave {other:?}"),
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for (path, expected) in [
            ("", PathFault::Empty),
            ("/etc/passwd", PathFault::Absolute),
            ("\\\\server\\share", PathFault::Absolute),
            ("\\x", PathFault::Absolute),
            ("C:", PathFault::Drive),
            ("c:/x", PathFault::Drive),
            ("C:\\x", PathFault::Drive),
            ("..", PathFault::Parent),
            ("../x", PathFault::Parent),
            ("a/../b", PathFault::Parent),
            ("a/..", PathFault::Parent),
            ("a\\..\\b", PathFault::Parent),
            ("..\\b", PathFault::Parent),
            (".", PathFault::NotPlain),
            ("./a", PathFault::NotPlain),
            ("a/./b", PathFault::NotPlain),
            ("a//b", PathFault::NotPlain),
            ("a/", PathFault::NotPlain),
            ("a\0b", PathFault::Nul),
        ] {
            assert_eq!(fault(path), expected, "{path:?}");
        }
    }

    #[test]
    fn unusual_names_of_linux_are_kept() {
        for path in [
            "...",
            "a..b",
            "..a/b..",
            "B::Deparse.3perl",
            "dev-disk-by\\x2dlabel.swap",
            "sp ace",
            "new\nline",
            "\u{e9}t\u{e9}",
        ] {
            assert_eq!(EntryPath::new(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn lengths_hold_on_both_sides() {
        let name = "n".repeat(limits::MAX_COMPONENT_BYTES);
        assert!(EntryPath::new(&name).is_ok());
        assert_eq!(fault(&format!("{name}n")), PathFault::ComponentTooLong);
        let path = vec!["abc"; 1024].join("/");
        assert_eq!(path.len(), limits::MAX_PATH_BYTES - 1);
        assert!(EntryPath::new(&format!("{path}d")).is_ok());
        assert_eq!(fault(&format!("{path}de")), PathFault::TooLong);
    }

    #[test]
    fn parents_and_names() {
        let path = EntryPath::new("a/b/c").unwrap();
        assert_eq!(path.file_name(), "c");
        assert_eq!(path.parent().unwrap().as_str(), "a/b");
        assert_eq!(EntryPath::new("a").unwrap().parent(), None);
    }

    #[test]
    #[cfg(unix)]
    fn a_name_that_is_not_utf8_is_refused() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let path = Path::new(OsStr::from_bytes(b"a/\xff"));
        assert!(matches!(
            EntryPath::from_path(path),
            Err(ContentError::BadPath {
                fault: PathFault::NotUtf8,
                ..
            })
        ));
        assert_eq!(
            EntryPath::from_path(Path::new("a/b")).unwrap().as_str(),
            "a/b"
        );
    }

    proptest! {
        #[test]
        fn what_is_accepted_stays_below_the_destination(path in "[a./\\\\C:\0]{0,12}") {
            if let Ok(path) = EntryPath::new(&path) {
                let path: &Path = path.as_ref();
                prop_assert!(path.components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert_eq!(EntryPath::from_path(path).map(|p| p.to_string()), Ok(path.display().to_string()));
            }
        }
    }
}
