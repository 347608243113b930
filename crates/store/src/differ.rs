//! What is different at a destination, in words for whoever has to decide about it.

use std::{collections::HashSet, fmt, path::Path};

use samara_content::{EntryKind, EntryPath};

use crate::{
    Content,
    content::{Place, SPILL, State},
    scan::Tree,
};

/// How what lies at a destination differs from what was to be put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The first by path, as in `docs/a.txt is missing`.
    pub first: String,
    /// How many more entries differ.
    pub more: u64,
}

impl Difference {
    pub(crate) fn one(first: &str) -> Self {
        Self {
            first: first.to_owned(),
            more: 0,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first)?;
        match self.more {
            0 => Ok(()),
            1 => f.write_str(", and one more entry differs"),
            more => write!(f, ", and {more} more entries differ"),
        }
    }
}

impl Content {
    /// Compares what lies at `path` with the entries of this content that are
    /// selected. Bytes are hashed only if nothing else differs.
    pub(crate) fn difference(&self, path: &Path) -> Difference {
        let root = self.manifest.root();
        let tree = match std::fs::symlink_metadata(path) {
            Ok(meta) if root.single_file() && !meta.is_dir() => {
                Tree::of_file(path, &root.name, &meta)
            }
            Ok(meta) if !root.single_file() && meta.is_dir() => Tree::of_folder(path),
            Ok(meta) => {
                let what = if meta.is_dir() { "a folder" } else { "a file" };
                let not = if root.single_file() {
                    "a file"
                } else {
                    "a folder"
                };
                return Difference::one(&format!("it is {what}, not {not}"));
            }
            Err(e) => return Difference::one(&format!("it cannot be read: {e}")),
        };
        let tree = match tree {
            Ok(tree) => tree,
            Err(e) => return Difference::one(&e.to_string()),
        };
        let entries = self.entries();
        let implied = self.folders_on_the_way();
        let mut found = Vec::new();
        let mut there = HashSet::new();
        for entry in &tree.entries {
            let index = entries.binary_search_by(|e| e.path.cmp(&entry.path));
            match index {
                Ok(i) => {
                    there.insert(i as u32);
                    if entries[i].kind != entry.kind {
                        let how = how(&entry.kind, &entries[i].kind);
                        found.push((&entry.path, how));
                    }
                }
                Err(_) if entry.kind == EntryKind::Directory && implied.contains(&entry.path) => {}
                Err(_) => found.push((&entry.path, "does not belong to it".to_owned())),
            }
        }
        for (i, entry) in self.chosen_entries(|_| true) {
            if !there.contains(&i) {
                found.push((&entry.path, "is missing".to_owned()));
            }
        }
        if found.is_empty() {
            found = self.changed(path);
        }
        found.sort();
        let more = found.len().saturating_sub(1) as u64;
        match found.into_iter().next() {
            Some((_, how)) if root.single_file() => Difference::one(&format!("it {how}")),
            Some((path, how)) => Difference {
                first: format!("{path} {how}"),
                more,
            },
            None => Difference::one("some of its files have other bytes"),
        }
    }

    /// The files whose bytes at `path` are not the content's. Of files that are packed
    /// into one chunk only that one of them has others.
    fn changed(&self, path: &Path) -> Vec<(&EntryPath, String)> {
        let place = Place {
            placement: crate::Placement::Installed(path.to_owned()),
            state: State::Finished,
        };
        let files_of = |chunk: u32| {
            let chunk = self.manifest.chunk(chunk);
            let pieces = chunk.into_iter().flat_map(|c| self.pieces(&place, &c));
            pieces.map(|piece| piece.key).collect::<Vec<u32>>()
        };
        // What shares a chunk with files that are not here cannot be told.
        let chunks = self.wanted.iter();
        let chunks = chunks.filter(|chunk| !files_of(*chunk).contains(&SPILL));
        let mut found = Vec::new();
        for chunk in self.damaged(&place, &chunks.collect::<Vec<u32>>()) {
            let files = files_of(chunk);
            let name = |i: &u32| &self.entries()[*i as usize].path;
            let (Some(first), Some(last)) = (files.first().map(name), files.last().map(name))
            else {
                continue;
            };
            let how = match files.len() {
                1 => "has other bytes".to_owned(),
                2 => format!("or {last} has other bytes"),
                _ => format!("or one of the small files up to {last} has other bytes"),
            };
            found.push((first, how));
        }
        found.dedup();
        found
    }
}

/// How one kind of entry is not the other.
fn how(there: &EntryKind, expected: &EntryKind) -> String {
    let name = |kind: &EntryKind| match kind {
        EntryKind::File { .. } => "a file",
        EntryKind::Directory => "a folder",
        EntryKind::Symlink { .. } => "a link",
    };
    match (there, expected) {
        (EntryKind::File { size }, EntryKind::File { size: expected }) => {
            format!("has {size} bytes, not {expected}")
        }
        (EntryKind::Symlink { .. }, EntryKind::Symlink { .. }) => "leads elsewhere".to_owned(),
        _ => format!("is {}, not {}", name(there), name(expected)),
    }
}
