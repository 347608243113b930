//! What must hold between the entries of a tree.

use std::collections::HashMap;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::{ContentError, Entry, EntryKind, error::excerpt};

/// A component met on the way through a tree: an entry itself, or a directory
/// that entries lie in.
pub(crate) struct Node<'a> {
    /// The directory it lies in. Numbers are given in the order of opening; the
    /// top of the tree is 0.
    pub(crate) parent: u32,
    /// The path up to it.
    pub(crate) path: &'a str,
    /// The component.
    pub(crate) name: &'a str,
    /// The entry of that path; none for a directory that is only implied.
    pub(crate) entry: Option<&'a Entry>,
    /// The entry whose path goes through it, when that is not its own.
    pub(crate) below: Option<&'a Entry>,
}

/// Visits every entry, and before the first that lies in a directory, the
/// directory. `entries` are in order of their paths' bytes.
///
/// All paths below one directory stand together in that order, so a stack of open
/// directories visits each once, at a cost of the paths' lengths and one search
/// for each directory.
pub(crate) fn walk<'a>(
    entries: &'a [Entry],
    mut visit: impl FnMut(Node<'a>) -> Result<(), ContentError>,
) -> Result<(), ContentError> {
    // Number and path length of each open directory, outermost first.
    let mut open: Vec<(u32, usize)> = Vec::new();
    let mut opened = 0;
    let mut previous = "";
    for entry in entries {
        let path = entry.path.as_str();
        let common = common_prefix(previous, path);
        // Still open is what is followed by its slash in both paths.
        while open.last().is_some_and(|(_, len)| *len >= common) {
            open.pop();
        }
        loop {
            let (parent, start) = open.last().map_or((0, 0), |(id, len)| (*id, len + 1));
            let Some(slash) = path[start..].find('/') else {
                visit(Node {
                    parent,
                    path,
                    name: &path[start..],
                    entry: Some(entry),
                    below: None,
                })?;
                break;
            };
            let end = start + slash;
            visit(Node {
                parent,
                path: &path[..end],
                name: &path[start..end],
                entry: find(entries, &path[..end]),
                below: Some(entry),
            })?;
            opened += 1;
            open.push((opened, end));
        }
        previous = path;
    }
    Ok(())
}

/// Checks the entries of a tree against each other: strictly increasing, nothing
/// under a file or a symlink, no two spellings of one name.
pub(crate) fn check(entries: &[Entry]) -> Result<(), ContentError> {
    for pair in entries.windows(2) {
        check_order(&pair[0], &pair[1])?;
    }
    // Names that are not in NFC, by directory and NFC form. Names in NFC need not
    // be kept: there is one such sibling at most, and a search finds it.
    let mut unusual: HashMap<(u32, String), &str> = HashMap::new();
    walk(entries, |node| {
        if let (Some(entry), Some(below)) = (node.entry, node.below)
            && entry.kind != EntryKind::Directory
        {
            return Err(ContentError::UnderNonDirectory {
                path: excerpt(below.path.as_str()),
                parent: excerpt(node.path),
            });
        }
        if is_nfc(node.name) {
            return Ok(());
        }
        let normal: String = node.name.nfc().collect();
        let twin = format!(
            "{}{normal}",
            &node.path[..node.path.len() - node.name.len()]
        );
        let other = match unusual.insert((node.parent, normal), node.path) {
            Some(other) if other != node.path => other,
            _ if is_occupied(entries, &twin) => &twin,
            _ => return Ok(()),
        };
        Err(ContentError::EquivalentPaths {
            path: excerpt(node.path),
            other: excerpt(other),
        })
    })
}

/// Checks that the one entry is a file with the content's name.
pub(crate) fn check_single_file(name: &str, entries: &[Entry]) -> Result<(), ContentError> {
    match entries {
        [entry] if matches!(entry.kind, EntryKind::File { .. }) && entry.path.as_str() == name => {
            Ok(())
        }
        _ => Err(ContentError::NotSingleFile),
    }
}

/// Checks that `after` may follow `before`.
pub(crate) fn check_order(before: &Entry, after: &Entry) -> Result<(), ContentError> {
    let path = || excerpt(after.path.as_str());
    match before.path.cmp(&after.path) {
        std::cmp::Ordering::Less => Ok(()),
        std::cmp::Ordering::Equal => Err(ContentError::DuplicatePath { path: path() }),
        std::cmp::Ordering::Greater => Err(ContentError::OutOfOrder { path: path() }),
    }
}

fn find<'a>(entries: &'a [Entry], path: &str) -> Option<&'a Entry> {
    let at = entries
        .binary_search_by(|e| e.path.as_str().cmp(path))
        .ok()?;
    Some(&entries[at])
}

/// Whether `path` is an entry or a directory above one.
fn is_occupied(entries: &[Entry], path: &str) -> bool {
    let inside = format!("{path}/");
    let next = entries.partition_point(|e| e.path.as_str() < inside.as_str());
    find(entries, path).is_some()
        || entries
            .get(next)
            .is_some_and(|e| e.path.as_str().starts_with(&inside))
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntryPath;
    use proptest::prelude::*;

    fn file(path: &str) -> Entry {
        Entry::file(EntryPath::new(path).unwrap(), 0o644, 1)
    }

    fn directory(path: &str) -> Entry {
        Entry::directory(EntryPath::new(path).unwrap(), 0o755)
    }

    fn link(path: &str) -> Entry {
        Entry::symlink(EntryPath::new(path).unwrap(), "x").unwrap()
    }

    fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries
    }

    #[test]
    fn order_is_of_bytes_and_strict() {
        assert!(check(&[directory("a"), file("a-b"), file("a/b"), file("b")]).is_ok());
        assert!(matches!(
            check(&[file("b"), file("a")]),
            Err(ContentError::OutOfOrder { .. })
        ));
        assert!(matches!(
            check(&[file("a"), file("a")]),
            Err(ContentError::DuplicatePath { .. })
        ));
    }

    #[test]
    fn nothing_lies_under_a_file_or_a_link() {
        // "a-" sorts between "a" and "a/b": the two need not be neighbours.
        for top in [file("a"), link("a")] {
            let entries = sorted(vec![top, file("a-"), file("a/b/c")]);
            assert_eq!(
                check(&entries),
                Err(ContentError::UnderNonDirectory {
                    path: "a/b/c".into(),
                    parent: "a".into()
                })
            );
        }
        let deep = sorted(vec![directory("d"), link("d/l"), file("d/l/x")]);
        assert!(check(&deep).is_err());
        assert!(check(&sorted(vec![directory("a"), file("a-"), file("a/b/c")])).is_ok());
    }

    #[test]
    fn two_spellings_of_a_name_are_refused() {
        let (composed, apart) = ("\u{e9}", "e\u{301}");
        for (one, two) in [
            (composed.to_string(), apart.to_string()),
            (format!("d/{composed}"), format!("d/{apart}")),
            (format!("{composed}/a"), format!("{apart}/b")),
            (format!("{composed}/a"), apart.to_string()),
            // Neither is in NFC: Angstrom, and A with a ring apart.
            ("\u{212b}".into(), "A\u{30a}".into()),
            // The Kelvin sign is a K.
            ("\u{212a}".into(), "K".into()),
            ("\u{212a}".into(), "K/x".into()),
        ] {
            let entries = sorted(vec![file(&one), file(&two)]);
            assert!(
                matches!(check(&entries), Err(ContentError::EquivalentPaths { .. })),
                "{one:?} {two:?}"
            );
        }
    }

    #[test]
    fn a_spelling_of_its_own_may_stand() {
        let apart = "e\u{301}";
        let tree = sorted(vec![
            directory(apart),
            file(&format!("{apart}/a")),
            file(&format!("{apart}/b")),
            file("\u{e8}"),
            directory("x"),
            file("x/\u{e9}"),
        ]);
        assert_eq!(check(&tree), Ok(()));
    }

    #[test]
    fn every_directory_is_opened_once() {
        let tree = [
            file("a-"),
            file("a/b/c"),
            file("a/b/d"),
            file("a/e"),
            file("ab/b/c"),
        ];
        let mut seen = Vec::new();
        walk(&tree, |n| {
            seen.push((n.parent, n.path, n.name, n.below.is_some()));
            Ok(())
        })
        .unwrap();
        assert_eq!(
            seen,
            [
                (0, "a-", "a-", false),
                (0, "a", "a", true),
                (1, "a/b", "b", true),
                (2, "a/b/c", "c", false),
                (2, "a/b/d", "d", false),
                (1, "a/e", "e", false),
                (0, "ab", "ab", true),
                (3, "ab/b", "b", true),
                (4, "ab/b/c", "c", false),
            ]
        );
    }

    proptest! {
        /// Against the rule as one would say it: no proper prefix of a path is a
        /// file, no two prefixes are equal after NFC but not before.
        #[test]
        fn the_walk_agrees_with_the_plain_rule(
            paths in proptest::collection::btree_set(
                proptest::collection::vec(
                    prop_oneof!["[ab-]", Just("\u{e9}".to_string()), Just("e\u{301}".to_string())],
                    1..4,
                ).prop_map(|c| c.join("/")),
                0..8,
            ),
            directories in any::<u8>(),
        ) {
            let entries: Vec<Entry> = paths
                .iter()
                .enumerate()
                .map(|(i, p)| if directories >> i & 1 == 1 { directory(p) } else { file(p) })
                .collect();
            let mut bad = false;
            let mut forms: HashMap<String, String> = HashMap::new();
            for entry in &entries {
                let mut prefix = String::new();
                for name in entry.path.components() {
                    if !prefix.is_empty() {
                        bad |= entries
                            .iter()
                            .any(|e| e.path.as_str() == prefix && e.kind != EntryKind::Directory);
                        prefix.push('/');
                    }
                    prefix.push_str(name);
                    let form = prefix.nfc().collect();
                    let seen = forms.entry(form).or_insert_with(|| prefix.clone());
                    bad |= *seen != prefix;
                }
            }
            prop_assert_eq!(check(&entries).is_err(), bad);
        }
    }
}
