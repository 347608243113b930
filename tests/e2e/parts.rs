//! Parts of a content, copies that are not whole, and whether the bytes of `complete`
//! add up.

use std::{fs, os::unix::fs::FileExt};

use serde_json::Value;

use crate::{
    disk::sealed_data,
    running::Ended,
    tree::{self, MADE_BYTES, assert_same, noise},
    wire::{Wire, first_addr},
    world::{Peer, World, number, sources, text},
};

const LARGE: usize = 8_000_000;

fn only(peer: &Peer, link: &str, glob: &str) -> Ended {
    let out = peer.path("out");
    peer.run(&["get", link, "-o", text(&out), "--only", glob])
}

/// What was downloaded and what was reused is all that was asked for, `bytes` of it.
fn assert_adds_up(complete: &Value, bytes: u64) -> (u64, u64, u64) {
    let (origin, peers, reused) = sources(complete);
    assert_eq!(number(&complete["bytes"]), bytes, "{complete}");
    assert_eq!(origin + peers + reused, bytes, "{complete}");
    (origin, peers, reused)
}

#[test]
fn a_part_after_an_interrupted_whole_brings_only_the_part() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let tree = world.path("tree");
    fs::create_dir(&tree).unwrap();
    for (seed, name) in (0..).zip(["a", "b", "c"]) {
        fs::write(tree.join(name), noise(LARGE, seed)).unwrap();
    }
    for name in ["d", "e"] {
        fs::write(tree.join(name), name).unwrap();
    }
    let (_share, link) = a.share(&tree);
    let wire = Wire::to(first_addr(&link), LARGE as i64);
    let out = b.path("out");
    let mut get = b.start(&["get", "-v", &wire.link(&link), "-o", text(&out)]);
    get.until("the middle", |event| {
        event["event"] == "progress" && number(&event["have"]) > 0
    });
    assert_eq!(get.interrupt().status, Some(130));

    let part = only(&b, &link, "b").ok();
    let complete = part.event("complete");
    assert_eq!(number(&complete["files"]), 1);
    assert_adds_up(complete, LARGE as u64);
    let names: Vec<_> = fs::read_dir(out.join("tree"))
        .unwrap()
        .map(|item| item.unwrap().file_name())
        .collect();
    assert_eq!(names, ["b"]);
    assert_same(&tree.join("b"), &out.join("tree/b"));

    // Small files share a chunk; each is counted for itself.
    let part = only(&b, &link, "d").ok();
    assert_adds_up(part.event("complete"), 1);
    let rest = b.get(&link).ok();
    let (_, _, reused) = assert_adds_up(rest.event("complete"), 3 * LARGE as u64 + 2);
    assert!(reused > LARGE as u64);
    assert_same(&tree, &out.join("tree"));
}

#[test]
fn a_part_of_what_is_here_counts_as_that_part() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let tree = world.path("tree");
    tree::make(&tree);
    let (_share, link) = a.share(&tree);
    b.get(&link).ok();
    let part = only(&b, &link, "run").ok();
    assert_eq!(assert_adds_up(part.event("complete"), 1_000), (0, 0, 1_000));

    // Also where a node answers that has fetched it before, and still serves it.
    let (_node, _) = b.node();
    let second = b.path("second");
    for _ in 0..2 {
        let got = b.run(&["get", &link, "-o", text(&second)]).ok();
        assert_adds_up(got.event("complete"), MADE_BYTES);
    }
}

#[test]
fn a_damaged_copy_counts_as_far_as_it_is_right() {
    let damages: [fn(&fs::File); 2] = [
        |file| file.write_all_at(b"flipped!", 1_000_000).unwrap(),
        |file| file.set_len(1_000_000).unwrap(),
    ];
    for damage in damages {
        let world = World::new();
        let (a, b) = (world.peer("a"), world.peer("b"));
        let file = world.path("file.bin");
        fs::write(&file, noise(2_000_000, 1)).unwrap();
        a.run(&["channel", "create", "product"]).ok();
        a.run(&["publish", "product", text(&file)]).ok();
        let (_node, _) = a.node();
        let link = a.link("product");
        let mirror = || b.run(&["mirror", &link, "--once"]).ok();
        assert_eq!(
            assert_adds_up(mirror().event("complete"), 2_000_000),
            (2_000_000, 0, 0)
        );
        let data = sealed_data(&b.data_dir());
        damage(&fs::OpenOptions::new().write(true).open(data).unwrap());
        let (origin, peers, reused) = assert_adds_up(mirror().event("complete"), 2_000_000);
        assert!(origin > 0 && peers == 0 && reused > 0, "{origin} {reused}");
    }
}

#[test]
fn what_differs_at_the_destination_is_named_and_put_right_by_force() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let tree = world.path("tree");
    tree::make(&tree);
    let (_share, link) = a.share(&tree);
    b.get(&link).ok();
    let there = b.path("out/tree");
    fs::remove_file(there.join("run")).unwrap();
    let refused = |how: &str| {
        let message = b.get(&link).failed("exists", 10);
        assert!(message.contains("out/tree"), "{message}");
        assert!(message.contains(how), "{how}: {message}");
        assert!(message.contains("--force"), "{message}");
    };
    refused(": run is missing;");
    fs::write(there.join("a note"), "mine").unwrap();
    refused(": a note does not belong to it, and one more entry differs;");
    fs::remove_file(there.join("a note")).unwrap();
    fs::write(there.join("run"), [0; 1_000]).unwrap();
    refused("run has other bytes;");
    fs::write(there.join("run"), "short").unwrap();
    refused(": run has 5 bytes, not 1000;");

    let out = b.path("out");
    let forced = ["get", &link, "-o", text(&out), "--force"];
    let complete = b.run(&forced).ok().event("complete").clone();
    let (origin, _, reused) = assert_adds_up(&complete, MADE_BYTES);
    assert!(origin <= 1_005 && reused > 2_900_000, "{complete}");
    assert_same(&tree, &there);
}
