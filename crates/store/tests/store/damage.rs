use samara_store::{Destination, ReadError, WriteError};

use crate::world::{World, begin, flip, import, missing, transfer};

/// The chunk that a file's byte belongs to.
fn chunk_at(content: &samara_store::Content, path: &str, offset: u64) -> u32 {
    let manifest = content.manifest();
    let entry = manifest
        .entries()
        .unwrap()
        .iter()
        .position(|e| e.path.as_str() == path)
        .unwrap();
    let start = manifest
        .layout()
        .unwrap()
        .file_range(entry as u32)
        .unwrap()
        .start
        + offset;
    manifest.chunks_of_range(start..start + 1).unwrap().start
}

#[test]
fn a_changed_byte_of_a_served_file_costs_its_chunk() {
    let world = World::new();
    let tree = world.tree("tree");
    let store = world.store("ours");
    let content = import(&store, &tree).unwrap();
    let bad = chunk_at(&content, "big.bin", 900_000);
    let other = chunk_at(&content, "big.bin", 0);
    let mut buffer = Vec::new();
    content.read_chunk(other, &mut buffer).unwrap();
    flip(&tree.join("big.bin"), 900_000);
    // Whichever chunk of the file is asked for first, the damage is told.
    match content.read_chunk(other, &mut buffer) {
        Err(ReadError::Changed { path, lost }) => {
            assert_eq!(path, tree.join("big.bin"));
            assert_eq!(lost, [bad]);
        }
        result => panic!("{result:?}"),
    }
    content.read_chunk(other, &mut buffer).unwrap();
    assert!(matches!(
        content.read_chunk(bad, &mut buffer),
        Err(ReadError::NotHere { .. })
    ));
    assert!(!content.is_complete() && !content.synced().contains(bad));
    assert!(matches!(
        content.verify_and_write(bad, &[]),
        Err(WriteError::Mismatch { .. })
    ));
    // The next start knows.
    drop((content, store));
    let store = world.store("ours");
    let content = store.contents().pop().unwrap();
    assert_eq!(missing(&content), [bad]);
    // The user's file is not repaired behind the user's back.
    flip(&tree.join("big.bin"), 900_000);
    let again = import(&store, &tree).unwrap();
    assert!(again.is_complete());
}

#[test]
fn a_touched_file_is_looked_at_and_served_on() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    std::fs::File::open(tree.join("big.bin"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    let mut buffer = Vec::new();
    for chunk in &content.have() {
        content.read_chunk(chunk, &mut buffer).unwrap();
    }
    assert!(content.is_complete());
}

#[test]
fn a_replaced_or_removed_file_is_noticed_though_it_was_open() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let mut buffer = Vec::new();
    transfer_all(&content, &mut buffer);
    std::fs::write(tree.join("new"), vec![0; 1_500_000]).unwrap();
    std::fs::rename(tree.join("new"), tree.join("big.bin")).unwrap();
    let chunk = chunk_at(&content, "big.bin", 0);
    let Err(ReadError::Changed { lost, .. }) = content.read_chunk(chunk, &mut buffer) else {
        panic!()
    };
    assert!(lost.contains(&chunk));
    std::fs::remove_file(tree.join("docs/medium")).unwrap();
    let chunk = chunk_at(&content, "docs/medium", 0);
    let Err(ReadError::Changed { .. }) = content.read_chunk(chunk, &mut buffer) else {
        panic!()
    };
    std::fs::remove_file(tree.join("tool")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tree.join("tool")).unwrap();
    let chunk = chunk_at(&content, "tool", 0);
    let Err(ReadError::Changed { .. }) = content.read_chunk(chunk, &mut buffer) else {
        panic!()
    };
    // All else goes on.
    transfer_all(&content, &mut buffer);
}

fn transfer_all(content: &samara_store::Content, buffer: &mut Vec<u8>) {
    for chunk in &content.have() {
        content.read_chunk(chunk, buffer).unwrap();
    }
}

#[test]
fn a_store_file_cut_or_flipped_is_fetched_again() {
    let world = World::new();
    let content = import(&world.store("ours"), &world.tree("tree")).unwrap();
    let theirs = world.store("theirs");
    let copy = begin(&theirs, content.manifest(), &Destination::Sealed);
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    let data = theirs
        .dir()
        .join("contents")
        .join(copy.id().to_string())
        .join("data");
    let mut buffer = Vec::new();

    flip(&data, 123_456);
    let flipped = content
        .manifest()
        .chunks_of_range(123_456..123_457)
        .unwrap()
        .start;
    let Err(ReadError::Changed { lost, .. }) = copy.read_chunk(0, &mut buffer) else {
        panic!()
    };
    assert_eq!(lost, [flipped]);
    assert!(!copy.is_finished());
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    transfer_all(&copy, &mut buffer);

    let file = std::fs::OpenOptions::new().write(true).open(&data).unwrap();
    file.set_len(1_000_000).unwrap();
    let last = content.manifest().chunk_count() - 1;
    let Err(ReadError::Changed { lost, .. }) = copy.read_chunk(last, &mut buffer) else {
        panic!()
    };
    assert!(lost.contains(&last) && !lost.contains(&0));
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    assert!(copy.verify().unwrap().is_empty() && copy.is_complete());

    // While nobody looked: found at the next start.
    drop((copy, theirs));
    flip(&data, 5);
    let theirs = world.store("theirs");
    let copy = theirs.content(content.id()).unwrap();
    assert_eq!(missing(&copy), [0]);
}

#[test]
fn a_complaint_is_looked_into() {
    let world = World::new();
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let bad = chunk_at(&content, "docs/medium", 100);
    assert!(content.recheck(bad).unwrap());
    flip(&tree.join("docs/medium"), 100);
    assert!(!content.recheck(bad).unwrap());
    assert!(!content.has(bad));
    assert_eq!(content.have_count(), content.manifest().chunk_count() - 1);
}

#[test]
fn verification_finds_what_no_stamp_tells() {
    let world = World::new();
    let content = import(&world.store("ours"), &world.tree("tree")).unwrap();
    let theirs = world.store("theirs");
    let copy = begin(&theirs, content.manifest(), &world.install("tree"));
    transfer(&content, &copy, missing(&copy));
    // In staging the files change all the time: there is no stamp to compare.
    let samara_store::Placement::Staging { staging, .. } = copy.placement() else {
        panic!()
    };
    flip(&staging.join("tree/big.bin"), 0);
    flip(&staging.join("tree/docs/medium"), 149_999);
    let mut expected = vec![
        chunk_at(&copy, "big.bin", 0),
        chunk_at(&copy, "docs/medium", 149_999),
    ];
    expected.sort_unstable();
    assert_eq!(copy.verify().unwrap(), expected);
    assert_eq!(missing(&copy), expected);
}

#[test]
fn lost_papers_are_made_again_from_the_bytes() {
    let world = World::new();
    let tree = world.tree("tree");
    let store = world.store("ours");
    let content = import(&store, &tree).unwrap();
    let papers = store.dir().join("contents").join(content.id().to_string());
    drop((content, store));
    for name in ["stamps", "have"] {
        std::fs::write(papers.join(name), "garbage").unwrap();
        let content = world.store("ours").contents().pop().unwrap();
        assert!(content.is_complete(), "without {name}");
        drop(content);
    }
    flip(&tree.join("tool"), 0);
    std::fs::remove_file(papers.join("have")).unwrap();
    let content = world.store("ours").contents().pop().unwrap();
    assert_eq!(missing(&content), [chunk_at(&content, "tool", 0)]);
}

#[test]
fn readers_at_the_moment_of_a_change_get_right_bytes_or_none() {
    for round in 0..10 {
        let world = World::new();
        let tree = world.tree("tree");
        let store = world.store("ours");
        let content = import(&store, &tree).unwrap();
        let manifest = content.manifest();
        let other = vec![round; std::fs::metadata(tree.join("big.bin")).unwrap().len() as usize];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut buffer = Vec::new();
                    for _ in 0..3 {
                        for (i, chunk) in (0..).map_while(|i| Some((i, manifest.chunk(i)?))) {
                            if content.read_chunk(i, &mut buffer).is_ok() {
                                assert_eq!(samara_content::chunk_hash(&buffer), chunk.hash);
                            }
                        }
                    }
                });
            }
            // Whole at once: of a file that is being written nobody can say what it is.
            std::fs::write(world.path("other"), &other).unwrap();
            std::fs::rename(world.path("other"), tree.join("big.bin")).unwrap();
        });
    }
}
