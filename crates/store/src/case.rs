//! Trees with two names for one, where the file system folds case.

use std::{fs::File, path::Path};

use samara_content::{ChunkSet, Entry, Manifest, portability};

use crate::StoreError;

/// Says whether a folder takes two names that differ in case for one.
pub(crate) type Probe = fn(&Path) -> bool;

/// Refuses a selection of which `parent` can hold only a part. The probe, which writes
/// to the folder, is asked only if the names collide.
pub(crate) fn check(
    manifest: &Manifest,
    chosen: Option<&ChunkSet>,
    parent: &Path,
    folds: Probe,
) -> Result<(), StoreError> {
    let entries = manifest.entries().unwrap_or_default();
    let chosen: Vec<Entry> = (0..)
        .zip(entries)
        .filter(|(i, _)| chosen.is_none_or(|chosen| chosen.contains(*i)))
        .map(|(_, entry)| entry.clone())
        .collect();
    let issue = portability(&chosen)
        .into_iter()
        .find(|issue| issue.kind.is_case_collision());
    match issue {
        Some(issue) if folds(parent) => Err(StoreError::Unportable {
            path: parent.to_owned(),
            issue,
        }),
        _ => Ok(()),
    }
}

/// Tries it.
pub(crate) fn folds(folder: &Path) -> bool {
    let name = |case: &str| folder.join(format!(".samara-{case}-{}", std::process::id()));
    let made = File::create(name("case"));
    let folds = made.is_ok() && std::fs::symlink_metadata(name("CASE")).is_ok();
    let _ = std::fs::remove_file(name("case"));
    folds
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicBool};

    use super::*;
    use crate::{Content, Destination, ImportOptions, Selection, Store, StoreConfig};

    fn names(folder: &Path) -> Vec<String> {
        let items = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = items
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A tree that has `README` and `readme`, on a file system that tells them apart.
    fn colliding(dir: &Path) -> Arc<Content> {
        let tree = dir.join("tree");
        std::fs::create_dir_all(tree.join("docs")).unwrap();
        for name in ["README", "readme", "docs/one"] {
            std::fs::write(tree.join(name), name).unwrap();
        }
        let ours = Store::open(dir.join("ours"), StoreConfig::default()).unwrap();
        let never = AtomicBool::new(false);
        let imported = ours.import(&tree, &ImportOptions::default(), &|_| {}, &never);
        imported.unwrap()
    }

    fn into(parent: &Path) -> Destination {
        Destination::Install {
            parent: parent.to_owned(),
            name: "tree".into(),
            force: false,
        }
    }

    #[test]
    fn a_destination_that_folds_case_refuses_names_that_collide_and_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let content = colliding(dir.path());
        let theirs = dir.path().join("theirs");
        let open = |probe| Store::open_with(&theirs, StoreConfig::default(), probe).unwrap();
        let begin = |store: &Store, parent: &Path, selection: Selection<'_>| {
            store.begin(content.manifest().clone(), &into(parent), selection)
        };
        let there = dir.path().join("there");
        std::fs::create_dir(&there).unwrap();
        let store = open(|_| true);
        // Also in a folder that had to be made for it.
        for parent in [there.clone(), dir.path().join("new/deep")] {
            let refused = begin(&store, &parent, Selection::All);
            let Err(StoreError::Unportable { path, issue }) = refused else {
                panic!("{refused:?}")
            };
            let said = format!("{}: {issue}", path.display());
            assert!(said.contains("README") && said.contains("readme"), "{said}");
        }
        assert!(names(&there).is_empty());
        assert!(!dir.path().join("new").exists());
        assert!(store.contents().is_empty());
        assert!(names(&theirs.join("contents")).is_empty());
        // What does not collide can be had.
        let one = |entry: &Entry| entry.path.as_str() != "readme";
        begin(&store, &there, Selection::Only(&one)).unwrap();
        drop(store);
        begin(&open(|_| false), &there, Selection::All).unwrap();
    }

    #[test]
    fn the_probe_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("name"), "").unwrap();
        let expected = dir.path().join("NAME").exists();
        assert_eq!(folds(dir.path()), expected);
        assert_eq!(names(dir.path()), ["name"]);
        assert!(!folds(&dir.path().join("absent")));
    }
}
