//! Parity shards: made at import, kept beside the content, and what they bring back.

use std::sync::Arc;

use samara_content::{ChunkSet, Stripes};
use samara_store::{
    CodingError, Content, Destination, ImportOptions, ReadError, Store, StoreConfig, StoreError,
    WriteError,
};

use crate::world::{World, begin, flip, import_with, noise, transfer};

/// 1/2: two chunks and a shard in a stripe; chunks of 16 KiB or a little less.
fn options() -> ImportOptions {
    ImportOptions {
        parity: Some("1/2".parse().unwrap()),
        ..ImportOptions::default()
    }
}

fn stripes(content: &Content) -> Stripes {
    *content.manifest().stripes().unwrap()
}

fn bytes(content: &Content, number: u32) -> Vec<u8> {
    let mut buffer = Vec::new();
    content.read_chunk(number, &mut buffer).unwrap();
    buffer
}

/// A tree published with parity in one store, and another store.
struct Published {
    world: World,
    ours: Store,
    content: Arc<Content>,
    theirs: Store,
}

impl Published {
    fn new() -> Self {
        let world = World::new();
        let tree = world.tree("tree");
        let (ours, theirs) = (world.store("ours"), world.store("theirs"));
        let content = import_with(&ours, &tree, &options()).unwrap();
        Self {
            world,
            ours,
            content,
            theirs,
        }
    }
}

#[test]
fn an_import_makes_shards_that_bring_back_any_chunk() {
    let p = Published::new();
    let s = stripes(&p.content);
    assert!(s.count() > 10, "{}", s.count());
    assert_eq!(p.content.shards_held(), s.shards());
    assert_eq!(p.content.held(), ChunkSet::full(s.all()));
    assert_eq!(p.content.synced(), p.content.held());
    assert_eq!(p.ours.used(), s.shard_bytes());
    // Of each stripe the shard and one chunk, in turns.
    let copy = begin(&p.theirs, p.content.manifest(), &p.world.install("tree"));
    for stripe in 0..s.count() {
        let kept = s.chunks_of(stripe).nth(stripe as usize % 2);
        transfer(
            &p.content,
            &copy,
            kept.into_iter().chain(s.shards_of(stripe)),
        );
        let back = copy.decode(stripe).unwrap();
        assert!(back.iter().all(|chunk| copy.has(*chunk)));
        assert!(
            copy.decode(stripe).unwrap().is_empty(),
            "nothing is missing"
        );
    }
    assert!(copy.has_wanted());
    copy.sync().unwrap();
    copy.finish().unwrap();
    assert!(copy.verify().unwrap().is_empty());
    let read = |path: &str| std::fs::read(p.world.path(path)).unwrap();
    assert_eq!(read("out/tree/big.bin"), read("tree/big.bin"));
    // What a user's file loses is not put back.
    flip(&p.world.path("out/tree/big.bin"), 5);
    assert!(copy.read_chunk(0, &mut Vec::new()).is_err() && !copy.has(0));
    let refused = copy.decode(0);
    assert!(matches!(
        refused,
        Err(CodingError::Write(WriteError::NotWritable))
    ));
    // The shards stay, for others; the content does not lie here twice.
    assert_eq!(copy.shards_held(), s.shards());
    assert!(
        !p.theirs
            .dir()
            .join(format!("contents/{}/data", copy.id()))
            .exists()
    );
}

#[test]
fn too_little_of_a_stripe_is_told() {
    let p = Published::new();
    let s = stripes(&p.content);
    let copy = begin(&p.theirs, p.content.manifest(), &Destination::Sealed);
    transfer(&p.content, &copy, s.shards_of(0));
    let error = copy.decode(0).unwrap_err();
    assert!(matches!(error, CodingError::TooLittle { stripe: 0, lost } if lost.is_empty()));
    assert!(
        matches!(copy.verify_and_write(s.chunks(), &[1, 2, 3]), Ok(()),),
        "it is there already"
    );
    assert!(matches!(
        copy.verify_and_write(s.chunks() + 1, &[1, 2, 3]),
        Err(WriteError::Mismatch { .. })
    ));
}

#[test]
fn a_damaged_source_is_found_and_not_the_publishers_fault() {
    let p = Published::new();
    let s = stripes(&p.content);
    let copy = begin(&p.theirs, p.content.manifest(), &Destination::Sealed);
    transfer(&p.content, &copy, [0]);
    transfer(&p.content, &copy, s.shards_of(0));
    let data = p.theirs.dir().join(format!("contents/{}/data", copy.id()));
    flip(&data, 5);
    let error = copy.decode(0).unwrap_err();
    assert!(matches!(error, CodingError::TooLittle { lost, .. } if lost == [0]));
    assert!(!copy.has(0));
    // The shard is hashed whenever it is read.
    flip(&parity(&p.theirs, &copy), 5);
    let mut buffer = Vec::new();
    let read = copy.read_chunk(s.chunks(), &mut buffer);
    assert!(matches!(read, Err(ReadError::Changed { lost, .. }) if lost == [s.chunks()]));
    assert!(!copy.has(s.chunks()));
}

fn parity(store: &Store, content: &Content) -> std::path::PathBuf {
    store
        .dir()
        .join(format!("contents/{}/parity", content.id()))
}

#[test]
fn shards_outlive_the_process_and_are_hashed_if_written_to_since() {
    let p = Published::new();
    let s = stripes(&p.content);
    let copy = begin(&p.theirs, p.content.manifest(), &Destination::Sealed);
    let (first, second) = (s.chunks(), s.chunks() + 1);
    transfer(&p.content, &copy, [first, second]);
    assert_eq!(copy.synced().count(), 0);
    copy.sync().unwrap();
    assert_eq!(copy.synced(), copy.held());
    let (path, manifest) = (parity(&p.theirs, &copy), copy.manifest().clone());
    drop((copy, p.theirs));
    flip(&path, u64::from(s.len(first)) + 3);
    let theirs = p.world.store("theirs");
    let copy = begin(&theirs, &manifest, &Destination::Sealed);
    assert!(copy.has(first) && !copy.has(second));
}

#[test]
fn importing_again_reads_nothing_and_forgetting_removes_the_shards() {
    let p = Published::new();
    let tree = p.world.path("tree");
    let again = import_with(&p.ours, &tree, &options()).unwrap();
    assert!(Arc::ptr_eq(&again, &p.content));
    let plain = import_with(&p.ours, &tree, &ImportOptions::default()).unwrap();
    assert_ne!(plain.id(), p.content.id());
    let path = parity(&p.ours, &p.content);
    assert!(path.exists());
    p.ours.forget(p.content.id()).unwrap();
    assert!(!path.exists() && !p.content.has(stripes(&p.content).chunks()));
    assert_eq!(p.ours.used(), 0);
    // And published anew.
    let fresh = import_with(&p.ours, &tree, &options()).unwrap();
    assert!(fresh.has_all_shards());
    assert!(
        p.ours
            .dir()
            .join("making")
            .read_dir()
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn the_quota_counts_shards() {
    let world = World::new();
    let config = StoreConfig {
        quota_bytes: Some(100_000),
        ..StoreConfig::default()
    };
    let store = Store::open(world.path("small"), config).unwrap();
    let error = import_with(&store, &world.tree("tree"), &options()).unwrap_err();
    assert!(
        matches!(error, StoreError::OverQuota { used: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_share_is_kept_and_the_rest_given_back() {
    let p = Published::new();
    let s = stripes(&p.content);
    let copy = begin(&p.theirs, p.content.manifest(), &Destination::Sealed);
    transfer(&p.content, &copy, 0..s.chunks());
    copy.sync().unwrap();
    copy.finish().unwrap();
    // Place 1 of every stripe, and the shards.
    let mut share = ChunkSet::new(s.all());
    for number in (0..s.all()).filter(|n| s.position(*n) >= 1) {
        share.insert(number);
    }
    copy.make_shards(&share).unwrap();
    let shard = bytes(&copy, s.chunks());
    assert_eq!(shard, bytes(&p.content, s.chunks()));
    let before = p.theirs.used();
    let freed = p.theirs.narrow(copy.id(), &share).unwrap();
    assert!(freed > 500_000, "{freed}");
    assert!(p.theirs.used() < before - 500_000);
    assert!(
        !copy.has(1) || bytes_fail(&copy, 1),
        "the old handle is of no use"
    );
    let check = |store: &Store| {
        let kept = store.content(p.content.id()).unwrap();
        assert_eq!(kept.held(), share);
        assert_eq!(kept.share(), Some(&share));
        assert!(kept.is_finished() && kept.has_wanted() && !kept.is_complete());
        for number in &share {
            assert_eq!(bytes(&kept, number), bytes(&p.content, number));
        }
        kept
    };
    drop(check(&p.theirs));
    // Widened to another share, what was kept stays.
    drop((copy, p.theirs));
    let theirs = p.world.store("theirs");
    let kept = check(&theirs);
    let mut more = ChunkSet::new(s.all());
    more.insert(0);
    let wider = theirs.begin_share(kept.manifest().clone(), &more).unwrap();
    assert!(!wider.has_wanted() && wider.has(s.chunks() - 1));
    transfer(&p.content, &wider, [0]);
    assert!(wider.has_wanted());
    wider.finish().unwrap();
    assert_eq!(wider.held().count(), share.count() + 1);
}

fn bytes_fail(content: &Content, number: u32) -> bool {
    content.read_chunk(number, &mut Vec::new()).is_err()
}

#[test]
fn only_what_lies_whole_in_the_store_is_narrowed() {
    let p = Published::new();
    let share = ChunkSet::new(stripes(&p.content).all());
    let refused = p.ours.narrow(p.content.id(), &share);
    assert!(matches!(refused, Err(StoreError::NotSealed(_))));
    let copy = begin(&p.theirs, p.content.manifest(), &Destination::Sealed);
    let refused = p.theirs.narrow(copy.id(), &share);
    assert!(matches!(refused, Err(StoreError::NotSealed(_))));
}

#[test]
fn a_share_alone_is_fetched_and_takes_only_its_room() {
    let p = Published::new();
    let s = stripes(&p.content);
    let mut share = ChunkSet::new(s.all());
    for number in (0..s.all()).filter(|n| s.position(*n) == 2) {
        share.insert(number);
    }
    let manifest = p.content.manifest().clone();
    let copy = p.theirs.begin_share(manifest, &share).unwrap();
    assert_eq!(copy.targets(), share);
    transfer(&p.content, &copy, share.iter());
    assert!(copy.has_wanted());
    copy.sync().unwrap();
    copy.finish().unwrap();
    assert_eq!(p.theirs.used(), s.shard_bytes());
    // With the others' shares whoever wants it has it all.
    let whole = begin(&p.theirs, p.content.manifest(), &p.world.install("tree"));
    transfer(&p.content, &whole, s.chunks_of(0).take(1));
    assert_eq!(whole.decode(0).unwrap().len(), 1);
}

#[test]
fn an_empty_tree_has_no_shards() {
    let world = World::new();
    std::fs::write(world.path("nothing"), b"").unwrap();
    let store = world.store("ours");
    let content = import_with(&store, &world.path("nothing"), &options()).unwrap();
    assert_eq!(stripes(&content).all(), 0);
    assert!(content.has_all_shards() && content.is_complete());
    std::fs::write(world.path("little"), noise(7, 100)).unwrap();
    let content = import_with(&store, &world.path("little"), &options()).unwrap();
    assert_eq!(bytes(&content, 1), bytes(&content, 0));
}
