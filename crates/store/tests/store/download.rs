use std::os::unix::fs::FileExt;

use samara_store::{Destination, Placement, Selection, StoreError, WriteError};

use crate::world::{World, begin, flip, import, listing, missing, names, noise, transfer};

#[test]
fn only_the_right_bytes_are_written() {
    let world = World::new();
    let content = import(&world.store("ours"), &world.tree("tree")).unwrap();
    let copy = begin(
        &world.store("theirs"),
        content.manifest(),
        &world.install("tree"),
    );
    let mut bytes = Vec::new();
    content.read_chunk(3, &mut bytes).unwrap();
    assert!(matches!(
        copy.verify_and_write(2, &bytes),
        Err(WriteError::Mismatch { chunk: 2 })
    ));
    bytes[0] ^= 1;
    assert!(matches!(
        copy.verify_and_write(3, &bytes),
        Err(WriteError::Mismatch { chunk: 3 })
    ));
    let past = content.manifest().chunk_count();
    assert!(matches!(
        copy.verify_and_write(past, &bytes),
        Err(WriteError::NotWanted { .. })
    ));
    assert_eq!(copy.have_count(), 0);
    assert!(matches!(copy.finish(), Err(StoreError::Incomplete { missing }) if missing == past));
    assert!(
        !world.path("out/tree").exists(),
        "nothing is shown before it is whole"
    );
}

#[test]
fn a_kill_loses_nothing_that_was_written() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let half = content.manifest().chunk_count() / 2;
    let theirs = world.store("theirs");
    let copy = begin(&theirs, content.manifest(), &world.install("tree"));
    transfer(&content, &copy, 0..half);
    copy.sync().unwrap();
    assert_eq!(copy.synced().count(), half);
    transfer(&content, &copy, half..half + 3);
    assert_eq!(copy.synced().count(), half, "not synced is not claimed");
    // No sync, no finish: as after kill -9, but for the page cache.
    drop((copy, theirs));

    let theirs = world.store("theirs");
    assert!(theirs.contents().is_empty());
    let manifest = theirs.load_manifest(content.id()).unwrap();
    let copy = begin(&theirs, &manifest, &world.install("tree"));
    // What was written after the claim is found by its hash, also when the file
    // system's clock does not tell it from what was written before.
    assert!((0..half + 3).all(|chunk| copy.has(chunk)));
    assert_eq!(copy.have_count(), half + 3);
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    assert_eq!(listing(&world.path("out/tree")), listing(&tree));
    assert_eq!(names(&world.path("out")), ["tree"]);
}

/// Starts a download of half the chunks, syncs, closes everything, lets `damage`
/// loose on the staging folder; returns how many chunks came back.
fn after_damage(damage: impl FnOnce(&std::path::Path)) -> (u32, u32) {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let half = content.manifest().chunk_count() / 2;
    let theirs = world.store("theirs");
    let copy = begin(&theirs, content.manifest(), &world.install("tree"));
    transfer(&content, &copy, 0..half);
    copy.sync().unwrap();
    let Placement::Staging { staging, .. } = copy.placement() else {
        panic!()
    };
    drop((copy, theirs));
    damage(&staging);

    let theirs = world.store("theirs");
    let copy = begin(&theirs, content.manifest(), &world.install("tree"));
    let resumed = copy.have_count();
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    assert_eq!(listing(&world.path("out/tree")), listing(&tree));
    (half, resumed)
}

#[test]
fn a_resumed_download_trusts_nothing_that_changed() {
    let (half, resumed) = after_damage(|_| {});
    assert_eq!(resumed, half);
    // A bitfield that does not read back: rebuilt from hashes.
    let (half, resumed) = after_damage(|staging| {
        let have = std::fs::OpenOptions::new()
            .write(true)
            .open(staging.join("have"))
            .unwrap();
        have.write_all_at(&noise(9, 8192), 0).unwrap();
    });
    assert_eq!(resumed, half);
    let (half, resumed) =
        after_damage(|staging| std::fs::remove_file(staging.join("have")).unwrap());
    assert_eq!(resumed, half);
    // A flipped bit costs its chunk, a file that is gone costs its chunks.
    let (half, resumed) = after_damage(|staging| {
        let path = staging.join("tree/docs/deep/7.txt");
        flip(&path, 5);
    });
    assert_eq!(resumed, half - 1);
    let (_, resumed) =
        after_damage(|staging| std::fs::remove_dir_all(staging.join("tree")).unwrap());
    assert_eq!(resumed, 0);
}

#[test]
fn a_file_cut_in_staging_is_fetched_again() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let theirs = world.store("theirs");
    let copy = begin(&theirs, content.manifest(), &world.install("tree"));
    transfer(&content, &copy, missing(&copy));
    let Placement::Staging { staging, .. } = copy.placement() else {
        panic!()
    };
    let big = std::fs::OpenOptions::new()
        .write(true)
        .open(staging.join("tree/big.bin"))
        .unwrap();
    big.set_len(1_000_000).unwrap();
    assert!(matches!(copy.finish(), Err(StoreError::Incomplete { .. })));
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    assert_eq!(listing(&world.path("out/tree")), listing(&tree));
}

#[test]
fn what_lies_at_the_destination_is_the_users() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let theirs = world.store("theirs");
    let there = world.path("out/tree");
    std::fs::create_dir_all(&there).unwrap();
    std::fs::write(there.join("diary"), "mine").unwrap();
    let to = world.install("tree");
    let refused = theirs.begin(content.manifest().clone(), &to, Selection::All);
    assert!(matches!(refused, Err(StoreError::DestinationDiffers { path, .. }) if path == there));
    assert_eq!(names(&world.path("out")), ["tree"]);

    let Destination::Install { parent, name, .. } = to else {
        panic!()
    };
    let forced = Destination::Install {
        parent,
        name,
        force: true,
    };
    let copy = begin(&theirs, content.manifest(), &forced);
    transfer(&content, &copy, missing(&copy));
    assert_eq!(
        std::fs::read(there.join("diary")).unwrap(),
        b"mine",
        "until the new one is whole"
    );
    copy.finish().unwrap();
    assert_eq!(listing(&there), listing(&tree));
    assert_eq!(names(&world.path("out")), ["tree"]);
}

#[test]
fn something_that_appears_meanwhile_is_not_overwritten() {
    let world = World::new();
    let content = import(&world.store("ours"), &world.tree("tree")).unwrap();
    let copy = begin(
        &world.store("theirs"),
        content.manifest(),
        &world.install("tree"),
    );
    transfer(&content, &copy, missing(&copy));
    std::fs::write(world.path("out/tree"), "mine").unwrap();
    assert!(matches!(
        copy.finish(),
        Err(StoreError::DestinationDiffers { .. })
    ));
    assert_eq!(std::fs::read(world.path("out/tree")).unwrap(), b"mine");
    std::fs::remove_file(world.path("out/tree")).unwrap();
    copy.finish().unwrap();
}

#[test]
fn identical_content_at_the_destination_is_all_reused() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let first = world.store("theirs");
    let copy = begin(&first, content.manifest(), &world.install("tree"));
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    // The same store knows it, another has to look.
    let elsewhere = world.store("elsewhere");
    crate::world::set_mode(&world.path("out/tree/tool"), 0o600);
    for store in [&first, &elsewhere] {
        let again = begin(store, content.manifest(), &world.install("tree"));
        assert!(again.is_finished() && again.is_complete());
    }
    assert_eq!(
        listing(&world.path("out/tree")),
        listing(&tree),
        "with the modes"
    );
    // One byte, and it is something else.
    flip(&world.path("out/tree/docs/medium"), 149_999);
    for store in [&first, &elsewhere] {
        let refused = store.begin(
            content.manifest().clone(),
            &world.install("tree"),
            Selection::All,
        );
        assert!(matches!(
            refused,
            Err(StoreError::DestinationDiffers { .. })
        ));
    }
}

#[test]
fn a_crash_after_the_rename_leaves_a_finished_download() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let theirs = world.store("theirs");
    let copy = begin(&theirs, content.manifest(), &world.install("tree"));
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    drop((copy, theirs));
    // Back to the row that says staging, as if the index had not been written.
    let theirs = world.store("theirs");
    let other = begin(&theirs, content.manifest(), &world.install("other"));
    let Placement::Staging { staging, .. } = other.placement() else {
        panic!()
    };
    drop((other, theirs));
    std::fs::remove_dir_all(staging.join("tree")).unwrap();
    std::fs::remove_dir_all(world.path("out/tree/empty")).unwrap();
    std::fs::create_dir(world.path("out/tree/empty")).unwrap();

    let theirs = world.store("theirs");
    let found = begin(&theirs, content.manifest(), &world.install("tree"));
    assert!(found.is_finished() && found.is_complete());
    assert_eq!(
        names(&world.path("out")),
        ["tree"],
        "and the staging folder is gone"
    );
    assert_eq!(listing(&world.path("out/tree")), listing(&tree));
}

#[test]
fn a_destination_is_one_plain_name() {
    let world = World::new();
    let content = import(&world.store("ours"), &world.tree("tree")).unwrap();
    let theirs = world.store("theirs");
    for name in ["..", "a/b", "", "/etc"] {
        let refused = theirs.begin(
            content.manifest().clone(),
            &world.install(name),
            Selection::All,
        );
        assert!(
            matches!(refused, Err(StoreError::BadDestination { .. })),
            "{name}"
        );
    }
}

#[test]
fn two_nodes_do_not_write_to_one_place() {
    let world = World::new();
    let content = import(&world.store("ours"), &world.tree("tree")).unwrap();
    let (a, b) = (world.store("a"), world.store("b"));
    let copy = begin(&a, content.manifest(), &world.install("tree"));
    let again = begin(&a, content.manifest(), &world.install("tree"));
    assert!(
        std::sync::Arc::ptr_eq(&copy, &again),
        "one download, asked for twice"
    );
    let refused = b.begin(
        content.manifest().clone(),
        &world.install("tree"),
        Selection::All,
    );
    assert!(matches!(refused, Err(StoreError::BadDestination { .. })));
}

#[test]
fn a_new_version_fetches_only_what_changed() {
    let world = World::new();
    let tree = world.tree("v1");
    let ours = world.store("ours");
    let v1 = import(&ours, &tree).unwrap();
    let theirs = world.store("theirs");
    let copy = begin(&theirs, v1.manifest(), &world.install("v1"));
    transfer(&v1, &copy, missing(&copy));
    copy.finish().unwrap();

    let mut big = noise(1, 1_500_000);
    big.splice(700_000..700_000, *b"an insertion moves all that follows");
    std::fs::write(tree.join("big.bin"), big).unwrap();
    let v2 = import(&ours, &tree).unwrap();
    let copy = begin(&theirs, v2.manifest(), &world.install("v2"));
    let reused = copy.reuse(&|_| {}).unwrap();
    let left: u64 = missing(&copy)
        .iter()
        .map(|c| u64::from(v2.manifest().chunk(*c).unwrap().len))
        .sum();
    assert_eq!(reused + left, v2.wanted_bytes());
    assert!(left < 200_000, "{left} bytes are left to fetch");
    transfer(&v2, &copy, missing(&copy));
    copy.finish().unwrap();
    assert_eq!(listing(&world.path("out/v2")), listing(&tree));
}

#[test]
fn the_same_content_in_a_second_place_needs_no_network() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let theirs = world.store("theirs");
    let first = begin(&theirs, content.manifest(), &world.install("a"));
    transfer(&content, &first, missing(&first));
    first.finish().unwrap();
    let second = begin(&theirs, content.manifest(), &world.install("b"));
    assert_eq!(second.reuse(&|_| {}).unwrap(), content.wanted_bytes());
    second.finish().unwrap();
    assert_eq!(listing(&world.path("out/b")), listing(&tree));
    assert_eq!(listing(&world.path("out/a")), listing(&tree));
    let mut buffer = Vec::new();
    first.read_chunk(0, &mut buffer).unwrap();
    drop((first, second, theirs));
    let found = world.store("theirs").content(content.id()).unwrap();
    assert_eq!(found.placement(), Placement::Installed(world.path("out/b")));
}

#[test]
fn ten_thousand_small_files_arrive() {
    let world = World::in_memory();
    let tree = world.path("many");
    for i in 0..10_000u64 {
        let folder = tree.join(format!("{}", i % 100));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{i}")), noise(i, 64 + i as usize % 100)).unwrap();
    }
    let content = import(&world.store("ours"), &tree).unwrap();
    let copy = begin(
        &world.store("theirs"),
        content.manifest(),
        &world.install("many"),
    );
    let chunks = missing(&copy);
    std::thread::scope(|scope| {
        for part in chunks.chunks(chunks.len().div_ceil(3)) {
            let (content, copy) = (&content, &copy);
            scope.spawn(move || transfer(content, copy, part.iter().copied()));
        }
        for _ in 0..3 {
            copy.sync().unwrap();
        }
    });
    copy.finish().unwrap();
    assert_eq!(listing(&world.path("out/many")), listing(&tree));
}
