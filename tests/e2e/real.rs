//! Real trees to three receivers at once: the toolchain's libraries (few and large
//! files) and a part of cargo's registry (thousands of small ones). Whoever builds this
//! has both.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    tree::assert_same,
    world::{World, number, sources, text},
};

/// Files of the registry that are distributed, at least.
const REGISTRY_FILES: u64 = 3_000;
/// Bytes of them, at most.
const REGISTRY_BYTES: u64 = 40_000_000;

#[test]
fn the_toolchain_reaches_three_receivers_who_help_each_other() {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let sysroot = String::from_utf8(output.stdout).unwrap();
    let lib = Path::new(sysroot.trim()).join("lib");
    distribute(&World::new(), &lib, 50_000_000, 10);
}

#[test]
fn a_tree_of_small_files_reaches_three_receivers_who_help_each_other() {
    let world = World::in_memory();
    let tree = world.path("registry");
    copy_crates(&tree);
    distribute(&world, &tree, 1_000_000, REGISTRY_FILES);
}

/// Shares a tree of at least so many bytes and files with three that fetch it at once.
fn distribute(world: &World, tree: &Path, least: u64, files: u64) {
    let origin = world.peer("origin");
    let mut share = origin.start(&["share", text(tree)]);
    let sharing = share.event("sharing");
    let (link, bytes) = (sharing["link"].as_str().unwrap(), number(&sharing["bytes"]));
    assert!(bytes >= least, "{sharing}");
    assert!(number(&sharing["files"]) >= files, "{sharing}");
    let receivers = ["anna", "bert", "cleo"].map(|name| world.peer(name));
    let mut gets = receivers
        .each_ref()
        .map(|peer| peer.start(&["get", "--seed", link, "-o", text(&peer.path("out"))]));
    let completes = gets.each_mut().map(|get| get.event("complete"));
    let mut from_peers = 0;
    for complete in &completes {
        assert_eq!(complete["files"], sharing["files"]);
        assert_eq!(number(&complete["bytes"]), bytes);
        let (origin, peers, reused) = sources(complete);
        assert_eq!(reused + origin + peers, bytes, "{complete}");
        from_peers += peers;
    }
    assert!(from_peers > 0, "{completes:#?}");
    for (get, peer) in gets.into_iter().zip(&receivers) {
        assert_eq!(get.interrupt().status, Some(0));
        assert_same(tree, &peer.path("out").join(tree.file_name().unwrap()));
    }
}

/// Copies crates of cargo's registry, in the order of their paths, until there are
/// [`REGISTRY_FILES`]; those that would make it too large are left out.
fn copy_crates(tree: &Path) {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").expect("a home")).join(".cargo"),
        PathBuf::from,
    );
    let registries = home.join("registry/src");
    let crates = folders(&registries).into_iter().flat_map(|r| folders(&r));
    let mut crates: Vec<_> = crates.collect();
    crates.sort();
    let (mut files, mut bytes) = (0, 0);
    for path in crates {
        let (more_files, more_bytes) = measure(&path);
        if bytes + more_bytes <= REGISTRY_BYTES {
            copy(&path, &tree.join(path.file_name().unwrap()));
            (files, bytes) = (files + more_files, bytes + more_bytes);
        }
        if files >= REGISTRY_FILES {
            return;
        }
    }
    panic!("{files} files of crates in {}", registries.display());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect()
}

/// Files and bytes below a folder.
fn measure(dir: &Path) -> (u64, u64) {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            let (more_files, more_bytes) = measure(&entry.path());
            (files, bytes) = (files + more_files, bytes + more_bytes);
        } else if kind.is_file() {
            (files, bytes) = (files + 1, bytes + entry.metadata().unwrap().len());
        }
    }
    (files, bytes)
}
