use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use samara_store::{ImportOptions, Placement, StoreError};

use crate::world::{World, begin, import, listing, missing, noise, set_mode, transfer};

#[test]
fn a_tree_arrives_as_it_was() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    assert!(content.is_complete() && content.is_finished());
    assert_eq!(content.placement(), Placement::InPlace(tree.clone()));

    let copy = begin(
        &world.store("theirs"),
        content.manifest(),
        &world.install("tree"),
    );
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    assert_eq!(listing(&world.path("out/tree")), listing(&tree));
    assert_eq!(crate::world::names(&world.path("out")), ["tree"]);
    assert_eq!(copy.synced(), copy.have());
    // And is served from there.
    let mut buffer = Vec::new();
    for chunk in &copy.have() {
        copy.read_chunk(chunk, &mut buffer).unwrap();
        let expected = copy.manifest().chunk(chunk).unwrap();
        assert_eq!(samara_content::chunk_hash(&buffer), expected.hash);
    }
}

#[test]
fn a_single_file_arrives_under_its_name() {
    let world = World::new();
    let path = world.path("movie.mkv");
    std::fs::write(&path, noise(1, 300_000)).unwrap();
    set_mode(&path, 0o440);
    let content = import(&world.store("ours"), &path).unwrap();
    assert!(content.manifest().root().single_file());
    let theirs = world.store("theirs");
    let copy = begin(&theirs, content.manifest(), &world.install("movie.mkv"));
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    assert_eq!(
        std::fs::read(world.path("out/movie.mkv")).unwrap(),
        noise(1, 300_000)
    );
    assert_eq!(listing(&world.path("out/movie.mkv")), listing(&path));
    // The renaming changed the inode's ctime; that is no reason to doubt it.
    let mut buffer = Vec::new();
    copy.read_chunk(0, &mut buffer).unwrap();
}

#[test]
fn an_empty_folder_and_an_empty_file_are_contents() {
    let world = World::new();
    std::fs::create_dir(world.path("folder")).unwrap();
    std::fs::write(world.path("file"), "").unwrap();
    let (ours, theirs) = (world.store("ours"), world.store("theirs"));
    for name in ["folder", "file"] {
        let content = import(&ours, &world.path(name)).unwrap();
        let copy = begin(&theirs, content.manifest(), &world.install(name));
        assert!(copy.has_wanted());
        copy.finish().unwrap();
        assert_eq!(
            listing(&world.path(name)),
            listing(&world.path(&format!("out/{name}")))
        );
    }
}

#[test]
fn the_same_path_is_not_read_again_until_it_changes() {
    let world = World::new();
    let tree = world.tree("tree");
    let store = world.store("ours");
    let content = import(&store, &tree).unwrap();
    let reads = AtomicU64::new(0);
    let again = |store: &samara_store::Store| {
        let count = |_| {
            reads.fetch_add(1, Ordering::Relaxed);
        };
        let never = AtomicBool::new(false);
        store
            .import(&tree, &ImportOptions::default(), &count, &never)
            .unwrap()
    };
    assert!(Arc::ptr_eq(&again(&store), &content));
    let id = *content.id();
    drop((content, store));
    let store = world.store("ours");
    assert_eq!(*again(&store).id(), id);
    assert_eq!(reads.load(Ordering::Relaxed), 0);
    std::fs::write(tree.join("tool"), "new").unwrap();
    assert_ne!(*again(&store).id(), id);
    assert!(reads.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_file_is_not_read_in_the_clock_tick_in_which_it_was_written() {
    let world = World::new();
    let path = world.path("file");
    std::fs::write(&path, noise(1, 1000)).unwrap();
    let first_read = std::sync::Mutex::new(None);
    let never = AtomicBool::new(false);
    let store = world.store("ours");
    let options = ImportOptions::default();
    let progress = |_| {
        let mut first_read = first_read.lock().unwrap();
        first_read.get_or_insert_with(std::time::SystemTime::now);
    };
    store.import(&path, &options, &progress, &never).unwrap();
    // Whoever writes from now on leaves another time, however coarse the clock.
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    let first_read = first_read.into_inner().unwrap().unwrap();
    let tick = std::time::Duration::from_nanos(samara_store::limits::KERNEL_TICK_NS as u64);
    assert!(first_read.duration_since(written).unwrap() >= tick);
}

#[test]
fn what_cannot_travel_is_named() {
    let world = World::new();
    let tree = world.tree("tree");
    let store = world.store("ours");
    let socket = std::os::unix::net::UnixListener::bind(tree.join("docs/socket")).unwrap();
    let error = import(&store, &tree).unwrap_err();
    assert!(
        matches!(&error, StoreError::SpecialFile { path } if *path == tree.join("docs/socket"))
    );
    assert!(error.to_string().contains("docs/socket"));
    drop(socket);
    std::fs::remove_file(tree.join("docs/socket")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tree.join("out")).unwrap();
    let error = import(&store, &tree).unwrap_err();
    assert!(matches!(error, StoreError::Manifest(_)), "{error}");
    std::fs::remove_file(tree.join("out")).unwrap();
    let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"bad\xffname");
    std::fs::write(tree.join::<&std::ffi::OsStr>(odd), "x").unwrap();
    assert!(matches!(
        import(&store, &tree),
        Err(StoreError::NotUtf8 { .. })
    ));
    assert!(matches!(
        import(&store, &world.path("none")),
        Err(StoreError::Io { .. })
    ));
    assert!(store.contents().is_empty());
}

#[test]
fn portable_means_everywhere() {
    let world = World::new();
    let tree = world.tree("tree");
    std::fs::write(tree.join("TOOL"), "x").unwrap();
    let options = ImportOptions {
        portable: true,
        ..Default::default()
    };
    let store = world.store("ours");
    let never = AtomicBool::new(false);
    let error = store.import(&tree, &options, &|_| {}, &never).unwrap_err();
    assert!(matches!(error, StoreError::Unportable { .. }), "{error}");
    import(&store, &tree).unwrap();
}

#[test]
fn a_file_that_changes_or_vanishes_meanwhile_is_named() {
    let world = World::new();
    let store = world.store("ours");
    let never = AtomicBool::new(false);
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change); 4] = [
        ("big.bin", |path| std::fs::write(path, "shorter").unwrap()),
        ("docs/medium", |path| {
            // Same size, and the old mtime set back: the ctime tells.
            let before = std::fs::metadata(path).unwrap().modified().unwrap();
            std::fs::write(path, noise(77, 150_000)).unwrap();
            std::fs::File::open(path)
                .unwrap()
                .set_modified(before)
                .unwrap();
        }),
        ("tool", |path| std::fs::remove_file(path).unwrap()),
        ("zz new", |path| std::fs::write(path, "x").unwrap()),
    ];
    for (i, (name, change)) in changes.into_iter().enumerate() {
        let tree = world.tree(&format!("tree{i}"));
        // The first call comes before anything is read.
        let done = AtomicBool::new(false);
        let progress = |_| {
            if !done.swap(true, Ordering::Relaxed) {
                change(&tree.join(name));
            }
        };
        let error = store
            .import(&tree, &ImportOptions::default(), &progress, &never)
            .unwrap_err();
        let StoreError::ChangedDuringImport { path } = error else {
            panic!("{error}")
        };
        assert_eq!(path, tree.join(name));
    }
    assert!(store.contents().is_empty());
}

#[test]
fn an_import_can_be_cancelled() {
    let world = World::new();
    let tree = world.tree("tree");
    let cancelled = AtomicBool::new(true);
    let result = world
        .store("ours")
        .import(&tree, &ImportOptions::default(), &|_| {}, &cancelled);
    assert!(matches!(result, Err(StoreError::Cancelled)));
}

#[test]
fn threads_and_buffers_do_not_change_the_result() {
    let world = World::new();
    let path = world.path("file");
    // Two segments, so that several threads have work.
    std::fs::write(&path, noise(5, 65 << 20)).unwrap();
    let ids = [1, 4].map(|threads| {
        let config = samara_store::StoreConfig {
            threads,
            ..Default::default()
        };
        let store = samara_store::Store::open(world.path(&format!("s{threads}")), config).unwrap();
        *import(&store, &path).unwrap().id()
    });
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn one_path_imported_by_many_at_once_is_one_content() {
    let world = World::new();
    let path = world.path("file");
    std::fs::write(&path, noise(7, 3_000_000)).unwrap();
    let store = world.store("ours");
    let contents: Vec<_> = std::thread::scope(|scope| {
        let one = || import(&store, &path).unwrap();
        let all: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut chunk = Vec::new();
    for content in &contents {
        assert!(content.is_complete());
        content.read_chunk(0, &mut chunk).unwrap();
    }
}
