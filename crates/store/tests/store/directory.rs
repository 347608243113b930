use std::{sync::Barrier, thread};

use samara_store::{Destination, Store, StoreConfig, StoreError};

use crate::world::{World, begin, import, missing, names, transfer};

#[test]
fn a_data_directory_has_one_owner() {
    let world = World::new();
    let store = world.store("data");
    let second = Store::open(world.path("data"), StoreConfig::default());
    let Err(StoreError::Locked { pid, dir }) = second else {
        panic!()
    };
    assert_eq!((pid, dir), (std::process::id(), world.path("data")));
    drop(store);
    world.store("data");
}

#[test]
fn a_newer_format_is_left_alone() {
    let world = World::new();
    drop(world.store("data"));
    std::fs::write(world.path("data/VERSION"), "7\n").unwrap();
    let refused = Store::open(world.path("data"), StoreConfig::default());
    let Err(
        error @ StoreError::NewerFormat {
            found: 7,
            supported: 1,
            ..
        },
    ) = refused
    else {
        panic!()
    };
    assert!(error.to_string().contains("format 7"));
    std::fs::write(world.path("data/VERSION"), "seven").unwrap();
    assert!(matches!(
        Store::open(world.path("data"), StoreConfig::default()),
        Err(StoreError::Io { .. })
    ));
}

#[test]
fn forgetting_gives_back_the_stores_bytes_and_no_others() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let id = *content.id();
    let theirs = world.store("theirs");

    let sealed = begin(&theirs, content.manifest(), &Destination::Sealed);
    transfer(&content, &sealed, missing(&sealed));
    sealed.finish().unwrap();
    assert_eq!(theirs.used(), content.wanted_bytes());
    assert!(theirs.forget(&id).unwrap() >= content.wanted_bytes());
    assert!(!sealed.has(0) || sealed.read_chunk(0, &mut Vec::new()).is_err());
    assert!(matches!(
        theirs.forget(&id),
        Err(StoreError::UnknownContent(_))
    ));
    assert_eq!(theirs.used(), 0);

    let staged = begin(&theirs, content.manifest(), &world.install("tree"));
    transfer(&content, &staged, 0..5);
    theirs.forget(&id).unwrap();
    assert!(matches!(
        staged.verify_and_write(6, &[]),
        Err(samara_store::WriteError::NotWritable | samara_store::WriteError::Mismatch { .. })
    ));
    assert!(names(&world.path("out")).is_empty());

    let installed = begin(&theirs, content.manifest(), &world.install("tree"));
    transfer(&content, &installed, missing(&installed));
    installed.finish().unwrap();
    theirs.forget(&id).unwrap();
    assert!(world.path("out/tree/tool").exists());
    assert!(theirs.contents().is_empty());
    drop((sealed, staged, installed, theirs));
    assert!(world.store("theirs").contents().is_empty());
}

#[test]
fn collection_takes_interrupted_and_stray_things_too() {
    let world = World::new();
    let (a, b) = (world.path("a"), world.path("b"));
    std::fs::write(&a, crate::world::noise(1, 400_000)).unwrap();
    std::fs::write(&b, crate::world::noise(2, 400_000)).unwrap();
    let ours = world.store("ours");
    let (a, b) = (import(&ours, &a).unwrap(), import(&ours, &b).unwrap());
    let theirs = world.store("theirs");
    let copy = begin(&theirs, a.manifest(), &world.install("a"));
    transfer(&a, &copy, 0..2);
    copy.sync().unwrap();
    drop((copy, theirs));
    let theirs = world.store("theirs");
    theirs.save_manifest(b.manifest()).unwrap();
    assert!(theirs.load_manifest(b.id()).unwrap().is_complete());
    let never = |_: &_| false;
    let (keep, all) = (*b.id(), theirs.gc(&|_| true, &never).unwrap());
    assert_eq!((all.freed, all.removed.len()), (0, 0));
    let preview = theirs.gc_preview(&|id| *id == keep, &never).unwrap();
    assert!(preview.freed >= 400_000, "{preview:?}");
    let report = theirs.gc(&|id| *id == keep, &never).unwrap();
    assert_eq!(report, preview);
    assert_eq!(report.removed, [*a.id()]);
    assert!(report.freed > 0 && names(&world.path("out")).is_empty());
    assert_eq!(theirs.gc(&|_| false, &never).unwrap().removed, [keep]);
    assert!(theirs.load_manifest(&keep).is_none());
    assert!(names(&theirs.dir().join("contents")).is_empty());
}

#[test]
fn a_manifest_can_be_saved_twice_at_once() {
    let world = World::new();
    let content = import(&world.store("ours"), &world.tree("tree")).unwrap();
    let theirs = world.store("theirs");
    for _ in 0..100 {
        let both = Barrier::new(2);
        let save = || {
            both.wait();
            theirs.save_manifest(content.manifest())
        };
        thread::scope(|scope| {
            let saves = [scope.spawn(save), scope.spawn(save)];
            for saved in saves {
                saved.join().unwrap().unwrap();
            }
        });
        assert!(theirs.load_manifest(content.id()).unwrap().is_complete());
        theirs.gc(&|_| false, &|_| false).unwrap();
    }
}

#[test]
fn what_was_installed_goes_only_when_asked_for_and_untouched() {
    let world = World::new();
    let content = import(&world.store("ours"), &world.tree("tree")).unwrap();
    let theirs = world.store("theirs");
    let out = world.path("out/tree");
    let install = || {
        let copy = begin(&theirs, content.manifest(), &world.install("tree"));
        transfer(&content, &copy, missing(&copy));
        copy.finish().unwrap();
    };
    let (none, all) = (|_: &_| false, |_: &_| true);
    install();
    theirs.gc(&none, &none).unwrap();
    assert!(out.join("tool").exists() && theirs.contents().is_empty());

    // A file of the user's beside it, then a changed one.
    for (name, path) in [("diary", out.join("diary")), ("tool", out.join("tool"))] {
        install();
        let before = std::fs::read(&path).ok();
        std::fs::write(&path, "mine").unwrap();
        let preview = theirs.gc_preview(&none, &all).unwrap();
        assert_eq!(theirs.gc(&none, &all).unwrap(), preview);
        assert_eq!(std::fs::read(&path).unwrap(), b"mine", "{name}");
        match before {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
    }
    install();
    let preview = theirs.gc_preview(&none, &all).unwrap();
    assert!(out.exists() && preview.freed > 1_700_000);
    assert_eq!(theirs.gc(&none, &all).unwrap(), preview);
    assert!(!out.exists() && world.path("out").exists());
}
