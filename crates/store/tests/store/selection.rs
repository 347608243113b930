use samara_content::{Entry, Manifest, chunk_hash};
use samara_store::{Destination, Selection, Store, StoreConfig, StoreError};

use crate::world::{World, begin, flip, import, listing, missing, names, transfer};

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
    second.reuse(&|_| {}).unwrap();
    assert!(second.reused_bytes() > 0);
    transfer(&content, &second, missing(&second));
    second.finish().unwrap();
    assert_eq!(names(&world.path("out/tree")), ["docs", "tool"]);
    let all = begin(&theirs, content.manifest(), &to);
    transfer(&content, &all, missing(&all));
    all.finish().unwrap();
    assert_eq!(listing(&world.path("out/tree")), listing(&tree));
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
