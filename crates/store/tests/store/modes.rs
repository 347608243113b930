//! Modes that lock out their owner, and an owner who is not root.

use std::{
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use samara_store::{Content, Destination, Selection, Store};

use crate::world::{World, begin, heed_modes, import, listing, missing, names, set_mode, transfer};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o777
}

/// A tree that nobody may write to, with an empty file and a link where the store
/// has to make them.
fn sealed_tree(world: &World, name: &str, root_mode: u32) -> PathBuf {
    let tree = world.tree(name);
    std::fs::write(tree.join("docs/deep/empty"), "").unwrap();
    symlink("0.txt", tree.join("docs/deep/first")).unwrap();
    for file in ["big.bin", "docs/deep/empty", "docs/deep/0.txt"] {
        set_mode(&tree.join(file), 0o444);
    }
    for folder in ["docs/deep", "docs"] {
        set_mode(&tree.join(folder), 0o555);
    }
    set_mode(&tree, root_mode);
    tree
}

fn install(store: &Store, from: &Content, world: &World, force: bool) -> Arc<Content> {
    let to = Destination::Install {
        parent: world.path("out"),
        name: "tree".into(),
        force,
    };
    let copy = store
        .begin(from.manifest().clone(), &to, Selection::All)
        .unwrap();
    copy.reuse(&|_| {}).unwrap();
    transfer(from, &copy, missing(&copy));
    copy.finish().unwrap();
    copy
}

#[test]
fn a_folder_arrives_with_its_own_mode() {
    let world = World::new();
    for mode in [0o700, 0o500, 0o555, 0o775] {
        let tree = sealed_tree(&world, &format!("{mode:o}"), mode);
        let content = import(&world.store("ours"), &tree).unwrap();
        let copy = begin(
            &world.store("theirs"),
            content.manifest(),
            &world.install(&format!("{mode:o}")),
        );
        transfer(&content, &copy, missing(&copy));
        copy.finish().unwrap();
        let out = world.path(&format!("out/{mode:o}"));
        assert_eq!(listing(&out), listing(&tree), "{mode:o}");
    }
}

#[test]
fn a_folder_of_another_mode_is_another_content() {
    let world = World::new();
    let tree = world.tree("tree");
    let store = world.store("ours");
    let before = *import(&store, &tree).unwrap().id();
    set_mode(&tree, 0o700);
    assert_ne!(*import(&store, &tree).unwrap().id(), before);
}

#[test]
fn whoever_is_not_root_gets_replaces_and_reuses_a_locked_tree() {
    heed_modes();
    let world = World::new();
    let tree = sealed_tree(&world, "tree", 0o500);
    let (ours, theirs) = (world.store("ours"), world.store("theirs"));
    let first = import(&ours, &tree).unwrap();
    let copy = install(&theirs, &first, &world, false);
    let out = world.path("out/tree");
    assert_eq!(listing(&out), listing(&tree));
    assert!(Arc::ptr_eq(&install(&theirs, &first, &world, false), &copy));

    // The next version takes its chunks from the first and replaces it.
    set_mode(&tree, 0o700);
    std::fs::write(tree.join("tool"), "new").unwrap();
    set_mode(&tree, 0o500);
    let second = import(&ours, &tree).unwrap();
    let to = Destination::Install {
        parent: world.path("out"),
        name: "tree".into(),
        force: true,
    };
    let copy = begin(&theirs, second.manifest(), &to);
    assert!(copy.reuse(&|_| {}).unwrap() > 1_500_000);
    install(&theirs, &second, &world, true);
    assert_eq!(listing(&out), listing(&tree));
    assert_eq!(names(&world.path("out")), ["tree"]);
}

#[test]
fn a_finish_that_was_interrupted_among_locked_folders_comes_to_its_end() {
    heed_modes();
    let world = World::new();
    let tree = sealed_tree(&world, "tree", 0o500);
    let content = import(&world.store("ours"), &tree).unwrap();
    let theirs = world.store("theirs");
    let copy = begin(&theirs, content.manifest(), &world.install("tree"));
    transfer(&content, &copy, missing(&copy));
    // It fails at the rename, after all modes are set.
    std::fs::create_dir(world.path("out/tree")).unwrap();
    copy.finish().unwrap_err();
    std::fs::remove_dir(world.path("out/tree")).unwrap();
    let staging = world.path("out").join(&names(&world.path("out"))[0]);
    assert_eq!(mode(&staging.join("tree/docs")), 0o555);
    let id = *content.id();
    drop((copy, theirs));

    let theirs = world.store("theirs");
    // A chunk is lost on top, in a file that may not be written to any more.
    let big = staging.join("tree/big.bin");
    set_mode(&big, 0o600);
    crate::world::flip(&big, 10);
    set_mode(&big, 0o444);
    let copy = begin(&theirs, content.manifest(), &world.install("tree"));
    assert_eq!(copy.id(), &id);
    assert_eq!(missing(&copy).len(), 1);
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    assert_eq!(listing(&world.path("out/tree")), listing(&tree));
}

#[test]
fn a_tree_that_is_there_already_gets_the_folders_mode() {
    heed_modes();
    let world = World::new();
    let tree = sealed_tree(&world, "tree", 0o500);
    let content = import(&world.store("ours"), &tree).unwrap();
    let theirs = world.store("theirs");
    let copy = install(&theirs, &content, &world, false);
    theirs.forget(copy.id()).unwrap();
    set_mode(&world.path("out/tree"), 0o700);
    let adopted = begin(&theirs, content.manifest(), &world.install("tree"));
    assert!(adopted.is_finished());
    assert_eq!(listing(&world.path("out/tree")), listing(&tree));
}

#[test]
fn a_mode_that_locks_out_its_owner_is_kept() {
    let world = World::new();
    let tree = world.tree("tree");
    for (path, mode) in [("tool", 0o000), ("docs/deep", 0o300), ("", 0o600)] {
        set_mode(&tree.join(path), mode);
    }
    if std::fs::File::open(tree.join("tool")).is_err() {
        // Only root can share such a tree; everybody can get it.
        return;
    }
    let content = import(&world.store("ours"), &tree).unwrap();
    let mut chunks = vec![Vec::new(); content.manifest().chunk_count() as usize];
    for (chunk, bytes) in (0..).zip(&mut chunks) {
        content.read_chunk(chunk, bytes).unwrap();
    }
    heed_modes();
    let theirs = world.store("theirs");
    let copy = begin(&theirs, content.manifest(), &world.install("tree"));
    for (chunk, bytes) in (0..).zip(&chunks) {
        copy.verify_and_write(chunk, bytes).unwrap();
    }
    copy.finish().unwrap();
    assert_eq!(mode(&world.path("out/tree")), 0o600);
}
