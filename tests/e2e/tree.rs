//! Trees of files: made, listed, compared.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

/// Bytes of [`make`]'s tree.
pub(crate) const MADE_BYTES: u64 = 3_000_005;
/// Files of [`make`]'s tree.
pub(crate) const MADE_FILES: u64 = 4;

/// Bytes that no compression and no chance makes equal to others.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// A tree with one of everything: a large and a small and an empty file, a program,
/// an empty folder, a link, names with spaces and letters beyond ASCII.
pub(crate) fn make(root: &Path) {
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::create_dir_all(root.join("empty dir")).unwrap();
    fs::write(root.join("big.bin"), noise(2_999_000, 1)).unwrap();
    fs::write(root.join("deep/er/straße.txt"), b"small").unwrap();
    fs::write(root.join("deep/none"), b"").unwrap();
    fs::write(root.join("run"), noise(1_000, 2)).unwrap();
    fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o750)).unwrap();
    symlink("deep/er/straße.txt", root.join("link")).unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o700)).unwrap();
}

/// What stands at a path of a tree.
#[derive(Debug, PartialEq, Eq)]
enum Thing {
    Folder { mode: u32 },
    File { mode: u32, hash: blake3::Hash },
    Link { target: PathBuf },
}

/// Ends the test unless both are the same: contents, modes, links.
pub(crate) fn assert_same(ours: &Path, theirs: &Path) {
    let (a, b) = (things(ours), things(theirs));
    for (path, thing) in &a {
        assert_eq!(
            Some(thing),
            b.get(path),
            "{} in {}",
            path.display(),
            theirs.display()
        );
    }
    for path in b.keys() {
        assert!(
            a.contains_key(path),
            "{} is too much in {}",
            path.display(),
            theirs.display()
        );
    }
}

/// Ends the test if there is anything in a directory. That it is not there is fine.
pub(crate) fn assert_nothing_in(dir: &Path) {
    let found: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(found.is_empty(), "{}: {found:?}", dir.display());
}

fn things(root: &Path) -> BTreeMap<PathBuf, Thing> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mode = meta.permissions().mode() & 0o777;
        let thing = if meta.is_symlink() {
            Thing::Link {
                target: fs::read_link(&path).unwrap(),
            }
        } else if meta.is_dir() {
            for entry in fs::read_dir(&path).unwrap() {
                todo.push(entry.unwrap().path());
            }
            Thing::Folder { mode }
        } else {
            Thing::File {
                mode,
                hash: hash(&path),
            }
        };
        found.insert(path.strip_prefix(root).unwrap().to_owned(), thing);
    }
    found
}

fn hash(path: &Path) -> blake3::Hash {
    let mut file = File::open(path).unwrap();
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return hasher.finalize(),
            n => hasher.update(&buffer[..n]),
        };
    }
}
