//! Real trees to three receivers at once: the toolchain's libraries (few and large
//! files) and the crate with the most files of cargo's registry (thousands of small
//! ones). Whoever builds this has both.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    tree::assert_same,
    world::{World, number, sources, text},
};

#[test]
fn the_toolchain_reaches_three_receivers_who_help_each_other() {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .unwrap();
    assert!(output.status.success());
    let sysroot = String::from_utf8(output.stdout).unwrap();
    distribute(&Path::new(sysroot.trim()).join("lib"), 50_000_000);
}

#[test]
fn a_tree_of_small_files_reaches_three_receivers_who_help_each_other() {
    distribute(&richest_crate(), 1_000_000);
}

/// Shares a tree of at least so many bytes with three that fetch it at once.
fn distribute(tree: &Path, least: u64) {
    let world = World::new();
    let origin = world.peer("origin");
    let mut share = origin.start(&["share", text(tree)]);
    let sharing = share.event("sharing");
    let (link, bytes) = (sharing["link"].as_str().unwrap(), number(&sharing["bytes"]));
    assert!(bytes >= least, "{sharing}");
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
        // A content may hold one chunk several times; it comes once.
        assert!(reused + origin + peers <= bytes + bytes / 10, "{complete}");
        from_peers += peers;
    }
    assert!(from_peers > 0, "{completes:#?}");
    for (get, peer) in gets.into_iter().zip(&receivers) {
        assert_eq!(get.interrupt().status, Some(0));
        assert_same(tree, &peer.path("out").join(tree.file_name().unwrap()));
    }
}

/// The crate with the most files in cargo's registry; of several, the first by name.
fn richest_crate() -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || Path::new(&std::env::var_os("HOME").expect("a home")).join(".cargo"),
        PathBuf::from,
    );
    let registries = home.join("registry/src");
    let crates = folders(&registries).into_iter().flat_map(|r| folders(&r));
    let mut counted: Vec<_> = crates.map(|path| (count_files(&path), path)).collect();
    counted.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.cmp(y)));
    let (files, richest) = counted
        .into_iter()
        .next()
        .unwrap_or_else(|| panic!("no crate in {}", registries.display()));
    assert!(files >= 500, "{files} files in {}", richest.display());
    richest
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect()
}

fn count_files(dir: &Path) -> usize {
    let inner: usize = folders(dir).iter().map(|d| count_files(d)).sum();
    let all = fs::read_dir(dir).unwrap().count();
    inner + all - folders(dir).len()
}
