use std::{collections::HashMap, fmt};

use unicode_normalization::UnicodeNormalization;

use crate::{Entry, EntryPath, tree};

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
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.as_str();
        match &self.kind {
            PortabilityKind::CaseCollision { other } => {
                write!(f, "{path:?} and {:?} differ in case only", other.as_str())
            }
            PortabilityKind::ReservedName => {
                write!(f, "the name of {path:?} is a device's on Windows")
            }
            PortabilityKind::ReservedCharacter(c) => {
                write!(
                    f,
                    "the name of {path:?} has {c:?}, which Windows does not allow"
                )
            }
            PortabilityKind::TrailingDotOrSpace => {
                write!(
                    f,
                    "the name of {path:?} ends in a dot or space, which Windows drops"
                )
            }
        }
    }
}

/// What file systems of other systems could not hold of a tree, in path order;
/// empty when it can go anywhere. `entries` are a valid tree's, in order.
///
/// Every name is judged once, also that of a directory without an entry. Case is
/// folded by Unicode's full mappings, which is a little stricter than NTFS.
pub fn portability(entries: &[Entry]) -> Vec<PortabilityIssue> {
    let mut issues = Vec::new();
    let mut folded: HashMap<(u32, String), &str> = HashMap::new();
    let walked = tree::walk(entries, |node| {
        // A directory's own entry comes before what opens it.
        if node.below.is_some() && node.entry.is_some() {
            return Ok(());
        }
        let mut report = |kind| -> Result<(), crate::ContentError> {
            let path = EntryPath::new(node.path)?;
            issues.push(PortabilityIssue { path, kind });
            Ok(())
        };
        if let Some(other) = folded.insert((node.parent, fold(node.name)), node.path) {
            let other = EntryPath::new(other)?;
            report(PortabilityKind::CaseCollision { other })?;
        }
        if is_device(node.name) {
            report(PortabilityKind::ReservedName)?;
        }
        if let Some(c) = node.name.chars().find(|c| is_reserved(*c)) {
            report(PortabilityKind::ReservedCharacter(c))?;
        }
        if node.name.ends_with(['.', ' ']) {
            report(PortabilityKind::TrailingDotOrSpace)?;
        }
        Ok(())
    });
    debug_assert!(walked.is_ok(), "the start of a valid path is a valid path");
    issues
}

fn fold(name: &str) -> String {
    name.to_uppercase().to_lowercase().nfc().collect()
}

/// Whether Windows takes a name for a device's. Its "Naming Files, Paths, and
/// Namespaces": with any extension, and with spaces before it.
pub fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or(name).trim_end_matches(' ');
    let stem = stem.to_ascii_uppercase();
    match stem.as_str() {
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" => true,
        port => {
            let number = port.strip_prefix("COM").or(port.strip_prefix("LPT"));
            let mut digits = number.unwrap_or_default().chars();
            matches!(
                (digits.next(), digits.next()),
                (Some('0'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}'), None)
            )
        }
    }
}

fn is_reserved(c: char) -> bool {
    c < ' ' || matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issues(paths: &[&str]) -> Vec<(String, PortabilityKind)> {
        let mut entries: Vec<Entry> = paths
            .iter()
            .map(|p| match p.strip_suffix('/') {
                Some(directory) => Entry::directory(EntryPath::new(directory).unwrap(), 0o755),
                None => Entry::file(EntryPath::new(p).unwrap(), 0o644, 0),
            })
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        portability(&entries)
            .into_iter()
            .map(|i| (i.path.to_string(), i.kind))
            .collect()
    }

    #[test]
    fn an_ordinary_tree_can_go_anywhere() {
        let tree = [
            "src/",
            "src/main.rs",
            "src/lib.rs",
            "LICENSE",
            "common/COMX",
            "console",
            ".x",
        ];
        assert_eq!(issues(&tree), []);
    }

    #[test]
    fn names_that_differ_in_case_collide_in_one_directory_only() {
        let collides = |a: &str, b: &str| {
            let found = issues(&[a, b]);
            matches!(&found[..], [(_, PortabilityKind::CaseCollision { .. })])
        };
        assert!(collides("README", "readme"));
        assert!(collides("a/X", "a/x"));
        assert!(collides("A/same", "a/other"));
        assert!(collides("A/", "a/x"));
        assert!(collides("\u{c9}", "\u{e9}"));
        assert!(collides("stra\u{df}e", "STRASSE"));
        assert_eq!(issues(&["a/X", "b/x"]), []);
    }

    #[test]
    fn what_windows_cannot_name_is_told_once() {
        for name in [
            "nul",
            "Con.txt",
            "COM1",
            "lpt9.tar.gz",
            "AUX .c",
            "COM\u{b9}",
        ] {
            assert_eq!(
                issues(&[name]),
                [(name.into(), PortabilityKind::ReservedName)]
            );
        }
        assert_eq!(
            issues(&["B::x"]),
            [("B::x".into(), PortabilityKind::ReservedCharacter(':'))]
        );
        assert_eq!(
            issues(&["a\\b"]),
            [("a\\b".into(), PortabilityKind::ReservedCharacter('\\'))]
        );
        for tree in [&["d./", "d./a", "d./b"][..], &["d./a", "d./b"]] {
            let expected = ("d.".into(), PortabilityKind::TrailingDotOrSpace);
            assert_eq!(issues(tree), [expected]);
        }
    }
}
