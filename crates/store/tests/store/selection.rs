use std::sync::Arc;

use samara_content::{Entry, Manifest, chunk_hash};
use samara_store::{
    Content, Destination, Placement, Selection, Store, StoreConfig, StoreError, WriteError,
};

use crate::world::{
    World, begin, flip, import, listing, missing, names, noise, set_mode, transfer,
};

fn under(prefix: &'static str) -> impl Fn(&Entry) -> bool {
    move |entry| entry.path.as_str().starts_with(prefix)
}

#[test]
fn a_part_brings_its_files_and_serves_its_chunks() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    // Only the pages that the part needs.
    let mut manifest = Manifest::from_root(content.id(), &content.root_bytes()).unwrap();
    for page in manifest.entry_page_range() {
        manifest
            .add_page(page, content.page(page).unwrap())
            .unwrap();
    }
    let theirs = world.store("theirs");
    let (filter, to) = (under("docs/deep/1"), world.install("tree"));
    let refused = theirs.begin(manifest.clone(), &to, Selection::Only(&filter));
    let Err(StoreError::PageMissing { page }) = refused else {
        panic!()
    };
    manifest
        .add_page(page, content.page(page).unwrap())
        .unwrap();
    let copy = theirs
        .begin(manifest, &to, Selection::Only(&filter))
        .unwrap();
    assert!(copy.wanted().count() < content.manifest().chunk_count());
    transfer(&content, &copy, missing(&copy));
    assert!(copy.has_wanted() && !copy.is_complete());
    copy.finish().unwrap();
    let expected: Vec<String> = (0..40)
        .map(|i| format!("{i}.txt"))
        .filter(|n| n.starts_with('1'))
        .collect();
    let mut found = names(&world.path("out/tree/docs/deep"));
    found.sort_by_key(|name| name.trim_end_matches(".txt").parse::<u32>().unwrap());
    assert_eq!(found, expected);
    assert_eq!(names(&world.path("out/tree")), ["docs"]);
    // A chunk of packed files has parts of files that nobody selected.
    drop((copy, theirs));
    let copy = world.store("theirs").content(content.id()).unwrap();
    assert!(copy.is_finished() && copy.has_wanted());
    let mut buffer = Vec::new();
    for chunk in copy.wanted() {
        copy.read_chunk(chunk, &mut buffer).unwrap();
        assert_eq!(
            chunk_hash(&buffer),
            content.manifest().chunk(chunk).unwrap().hash
        );
    }
}

#[test]
fn a_part_can_be_widened_where_it_lies() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let theirs = world.store("theirs");
    let to = world.install("tree");
    let only = |prefix| {
        let filter = under(prefix);
        theirs.begin(content.manifest().clone(), &to, Selection::Only(&filter))
    };
    let first = only("tool").unwrap();
    transfer(&content, &first, missing(&first));
    first.finish().unwrap();
    assert!(only("tool").unwrap().is_finished());

    let second = only("docs/medium").unwrap();
    assert!(second.reuse(&|_| {}).unwrap() > 0);
    transfer(&content, &second, missing(&second));
    second.finish().unwrap();
    assert_eq!(names(&world.path("out/tree")), ["docs", "tool"]);
    let all = begin(&theirs, content.manifest(), &to);
    transfer(&content, &all, missing(&all));
    all.finish().unwrap();
    assert_eq!(listing(&world.path("out/tree")), listing(&tree));
}

fn begin_part(store: &Store, of: &Content, to: &Destination, prefix: &'static str) -> Arc<Content> {
    let filter = under(prefix);
    let begun = store.begin(of.manifest().clone(), to, Selection::Only(&filter));
    begun.unwrap()
}

fn staging(content: &Content) -> std::path::PathBuf {
    let Placement::Staging { staging, .. } = content.placement() else {
        panic!("{:?}", content.placement())
    };
    staging
}

/// What of a listing lies below `prefix`, and the folders on the way.
fn part(mut all: Vec<(String, u32, Vec<u8>)>, prefix: &str) -> Vec<(String, u32, Vec<u8>)> {
    all.retain(|(path, ..)| {
        path.starts_with(prefix) || path.is_empty() || prefix.starts_with(&format!("{path}/"))
    });
    all
}

#[test]
fn a_narrower_selection_installs_nothing_of_a_wider_one_that_was_interrupted() {
    for (restarts, stops_at) in [(true, "half"), (true, "all"), (false, "half")] {
        let world = World::new();
        let tree = world.tree("tree");
        set_mode(&tree.join("docs"), 0o500);
        let content = import(&world.store("ours"), &tree).unwrap();
        let (to, theirs) = (world.install("tree"), world.store("theirs"));
        let wide = begin(&theirs, content.manifest(), &to);
        let count = content.manifest().chunk_count();
        let end = if stops_at == "half" { count / 2 } else { count };
        transfer(&content, &wide, 0..end);
        wide.sync().unwrap();
        let theirs = if restarts {
            drop((wide, theirs));
            world.store("theirs")
        } else {
            theirs
        };
        let copy = begin_part(&theirs, &content, &to, "docs/medium");
        assert!(copy.wanted().count() < count);
        transfer(&content, &copy, missing(&copy));
        copy.finish().unwrap();
        assert_eq!(
            names(&world.path("out/tree")),
            ["docs"],
            "{restarts} {stops_at}"
        );
        assert_eq!(names(&world.path("out/tree/docs")), ["medium"]);
        assert!(listing(&world.path("out/tree")) == part(listing(&tree), "docs/medium"));
        assert_eq!(names(&world.path("out")), ["tree"]);
        assert!(copy.verify().unwrap().is_empty());
    }
}

#[test]
fn a_selection_in_another_ones_place_keeps_what_is_right() {
    let world = World::new();
    let content = import(&world.store("ours"), &world.tree("tree")).unwrap();
    let (to, theirs) = (world.install("tree"), world.store("theirs"));
    let wide = begin(&theirs, content.manifest(), &to);
    let big: Vec<u32> = begin_part(&theirs, &content, &to, "big")
        .wanted()
        .iter()
        .collect();
    let again = begin(&theirs, content.manifest(), &to);
    let mut bytes = Vec::new();
    content.read_chunk(0, &mut bytes).unwrap();
    let late = wide.verify_and_write(0, &bytes);
    assert!(matches!(late, Err(WriteError::NotWritable)), "{late:?}");
    transfer(&content, &again, big.iter().copied());
    // Narrower, and wider again: nothing of it has to come twice.
    let part = begin_part(&theirs, &content, &to, "big");
    assert!(part.has_wanted());
    begin_part(&theirs, &content, &to, "tool");
    let again = begin(&theirs, content.manifest(), &to);
    assert!(big.iter().all(|chunk| again.has(*chunk)));
    assert!(again.verify().unwrap().is_empty());
}

/// A chunk of packed files has parts in the tree and parts in the spill: where they
/// belong changes with the selection, and so does whether they were written there.
#[test]
fn a_claim_says_nothing_of_another_selection() {
    let world = World::new();
    let tree = world.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for i in 0..300 {
        std::fs::write(tree.join(format!("{i:03}")), noise(i, 2_000)).unwrap();
    }
    let content = import(&world.store("ours"), &tree).unwrap();
    let to = world.install("tree");
    let interrupted = |prefix: &'static str| {
        let theirs = world.store("theirs");
        let copy = begin_part(&theirs, &content, &to, prefix);
        assert_eq!(copy.verify().unwrap(), [0; 0], "{prefix}");
        transfer(&content, &copy, missing(&copy));
        copy.sync().unwrap();
    };
    // The spill gets the first file's neighbours, the tree all files, and then the
    // last file's neighbours should be in the spill.
    for prefix in ["000", "", "0", "299", "1", "2"] {
        interrupted(prefix);
        // The claim is written anew when the file system's clock has moved on: so the
        // files are not hashed for having been written at the moment of the claim.
        std::thread::sleep(std::time::Duration::from_millis(40));
        let theirs = world.store("theirs");
        begin_part(&theirs, &content, &to, prefix).sync().unwrap();
    }
    let theirs = world.store("theirs");
    let copy = begin_part(&theirs, &content, &to, "29");
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    assert_eq!(names(&world.path("out/tree")).len(), 10);
    assert!(listing(&world.path("out/tree")) == part(listing(&tree), "29"));
    assert!(copy.verify().unwrap().is_empty());
}

#[test]
fn what_is_not_of_the_selection_is_not_installed_whoever_put_it_there() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let theirs = world.store("theirs");
    let copy = begin(&theirs, content.manifest(), &world.install("tree"));
    transfer(&content, &copy, missing(&copy));
    let staged = staging(&copy).join("tree");
    std::fs::create_dir_all(staged.join("docs/foreign/deep")).unwrap();
    std::fs::write(staged.join("docs/foreign/deep/file"), "foreign").unwrap();
    std::os::unix::fs::symlink("/etc", staged.join("etc")).unwrap();
    set_mode(&staged.join("docs/foreign"), 0);
    // Of the right size, and not the file that was verified.
    let target = world.path("elsewhere");
    std::fs::write(&target, noise(7, 9_000)).unwrap();
    std::fs::remove_file(staged.join("tool")).unwrap();
    std::os::unix::fs::symlink(&target, staged.join("tool")).unwrap();
    assert!(matches!(copy.finish(), Err(StoreError::Incomplete { .. })));
    assert!(!world.path("out/tree").exists());
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    assert!(listing(&world.path("out/tree")) == listing(&tree));
    assert!(std::fs::read(&target).unwrap() == noise(7, 9_000));
}

#[test]
fn a_part_that_the_user_changed_is_not_replaced() {
    let world = World::new();
    let content = import(&world.store("ours"), &world.tree("tree")).unwrap();
    let theirs = world.store("theirs");
    let to = world.install("tree");
    let filter = under("tool");
    let part = theirs
        .begin(content.manifest().clone(), &to, Selection::Only(&filter))
        .unwrap();
    transfer(&content, &part, missing(&part));
    part.finish().unwrap();
    flip(&world.path("out/tree/tool"), 0);
    let refused = theirs.begin(content.manifest().clone(), &to, Selection::All);
    assert!(matches!(
        refused,
        Err(StoreError::DestinationDiffers { .. })
    ));
}

#[test]
fn a_selection_of_nothing_is_an_error() {
    let world = World::new();
    let content = import(&world.store("ours"), &world.tree("tree")).unwrap();
    let filter = under("no such");
    let refused = world.store("theirs").begin(
        content.manifest().clone(),
        &world.install("tree"),
        Selection::Only(&filter),
    );
    assert!(matches!(refused, Err(StoreError::NothingSelected)));
}

#[test]
fn a_sealed_content_is_one_file_within_the_quota() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let bytes = content.wanted_bytes();
    let open = |quota| {
        let config = StoreConfig {
            quota_bytes: Some(quota),
            ..Default::default()
        };
        Store::open(world.path("theirs"), config).unwrap()
    };
    let theirs = open(bytes - 1);
    let refused = theirs.begin(
        content.manifest().clone(),
        &Destination::Sealed,
        Selection::All,
    );
    assert!(matches!(refused, Err(StoreError::OverQuota { need, .. }) if need == bytes));
    drop(theirs);
    let theirs = open(bytes);
    let copy = begin(&theirs, content.manifest(), &Destination::Sealed);
    assert_eq!(theirs.used(), bytes);
    transfer(&content, &copy, 0..5);
    copy.sync().unwrap();
    drop((copy, theirs));
    let theirs = open(bytes);
    assert_eq!(theirs.used(), bytes, "an interrupted one counts");
    let copy = begin(&theirs, content.manifest(), &Destination::Sealed);
    assert_eq!(copy.have_count(), 5);
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    drop((copy, theirs));

    let theirs = open(bytes);
    let sealed = theirs.content(content.id()).unwrap();
    assert!(sealed.is_complete() && sealed.is_finished());
    // Bytes live once: installing it moves them out of the store.
    let copy = begin(&theirs, content.manifest(), &world.install("tree"));
    assert_eq!(copy.reuse(&|_| {}).unwrap(), bytes);
    copy.finish().unwrap();
    assert_eq!(theirs.used(), 0);
    assert_eq!(listing(&world.path("out/tree")), listing(&tree));
    let again = begin(&theirs, content.manifest(), &Destination::Sealed);
    assert!(again.is_complete(), "it lies somewhere already");
}
