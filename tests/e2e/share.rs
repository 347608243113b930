//! `share`, `ls` and `get`: a file or a folder from one machine to another.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    process::Stdio,
};

use crate::{
    tree::{self, MADE_BYTES, MADE_FILES, assert_same, noise},
    wire::{Wire, first_addr},
    world::{World, number, sources, string, text},
};

/// What passes the wire before it is clamped, of contents of 24 MB.
const SOME: i64 = 8_000_000;
const MIDDLING: usize = 24_000_000;

#[test]
fn a_folder_arrives_as_it_was() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let tree = world.path("tree");
    tree::make(&tree);
    let (share, link) = a.share(&tree);
    let got = b.get(&link).ok();
    let complete = got.event("complete");
    assert_eq!(sources(complete), (MADE_BYTES, 0, 0));
    assert_eq!(number(&complete["files"]), MADE_FILES);
    assert_eq!(number(&complete["bytes"]), MADE_BYTES);
    assert_eq!(got.events.len(), 1, "{got:?}");
    assert_same(&tree, &b.path("out/tree"));
    assert_eq!(share.interrupt().status, Some(0));
}

#[test]
fn a_single_file_arrives_under_its_name() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("report 2.pdf");
    fs::write(&file, noise(200_000, 1)).unwrap();
    let (_share, link) = a.share(&file);
    b.get(&link).ok();
    assert_same(&file, &b.path("out/report 2.pdf"));
}

#[test]
fn what_has_no_bytes_is_shared_all_the_same() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let (folder, file) = (world.path("folder"), world.path("empty.txt"));
    fs::create_dir_all(folder.join("in/side")).unwrap();
    fs::write(&file, b"").unwrap();
    for path in [folder, file] {
        let (_share, link) = a.share(&path);
        b.get(&link).ok();
        assert_same(&path, &b.path("out").join(path.file_name().unwrap()));
    }
}

#[test]
fn a_path_keeps_its_link_and_an_unchanged_one_is_not_read_again() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(9_000_000, 1)).unwrap();
    let (share, first) = a.share(&file);
    share.interrupt().ok();

    let mut share = a.start(&["share", "-v", text(&file)]);
    let sharing = share.event("sharing");
    assert_eq!(string(&sharing["link"]), first);
    // Progress is told of bytes that are hashed: there are none this time.
    let ended = share.interrupt().ok();
    let hashed = ended
        .events
        .iter()
        .filter(|event| event["event"] == "importing")
        .filter_map(|event| event["bytes"].as_u64())
        .max();
    assert!(hashed.unwrap_or(0) == 0, "{ended:?}");

    // Killed, changed, by another name of the same path: the link leads to what is
    // there now.
    let (share, again) = a.share(&world.path("./file.bin"));
    assert_eq!(again, first);
    share.kill();
    fs::write(&file, noise(100_000, 2)).unwrap();
    let (_share, third) = a.share(&file);
    assert_eq!(third, first);
    b.get(&first).ok();
    assert_same(&file, &b.path("out/file.bin"));
}

#[test]
fn a_listing_says_what_is_here_before_and_after() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let tree = world.path("tree");
    tree::make(&tree);
    let (_share, link) = a.share(&tree);

    let before = b.run(&["ls", &link]).ok();
    let entry = |listing: &crate::running::Ended, path: &str| {
        listing
            .events
            .iter()
            .find(|event| event["event"] == "entry" && event["path"] == path)
            .unwrap_or_else(|| panic!("no {path} in {listing:?}"))
            .clone()
    };
    let big = entry(&before, "big.bin");
    assert_eq!(
        (number(&big["bytes"]), number(&big["have"])),
        (2_999_000, 0)
    );
    assert_eq!(entry(&before, "run")["mode"], "750");
    assert_eq!(entry(&before, "link")["target"], "deep/er/straße.txt");
    assert_eq!(entry(&before, "empty dir")["kind"], "directory");
    let listing = before.event("listing");
    assert_eq!(number(&listing["files"]), MADE_FILES);
    assert_eq!(number(&listing["bytes"]), MADE_BYTES);
    assert_eq!(number(&listing["have"]), 0);
    assert!(!b.path("out").exists());

    let out = b.path("out");
    b.run(&["get", &link, "-o", text(&out), "--only", "big.bin"])
        .ok();
    let after = b.run(&["ls", &link]).ok();
    assert_eq!(number(&entry(&after, "big.bin")["have"]), 2_999_000);
    assert_eq!(number(&entry(&after, "run")["have"]), 0);
    assert_eq!(number(&after.event("listing")["have"]), 2_999_000);
    let here = |listing: &crate::running::Ended, path| entry(listing, path)["here"] == true;
    assert!(here(&after, "big.bin") && !here(&before, "big.bin"));
    assert!(!here(&after, "run") && !here(&after, "deep/none"));
    b.run(&["get", &link, "-o", text(&out)]).ok();
    let all = b.run(&["ls", &link]).ok();
    assert!(here(&all, "run") && here(&all, "deep/none") && here(&all, "empty dir"));
}

#[test]
fn only_what_is_asked_for_comes_and_the_rest_can_follow() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let tree = world.path("tree");
    tree::make(&tree);
    let (_share, link) = a.share(&tree);
    let out = b.path("out");
    let only = [
        "get",
        &link,
        "-o",
        text(&out),
        "--only",
        "deep/**",
        "--only",
        "r?n",
    ];
    let first = b.run(&only).ok();
    let complete = first.event("complete");
    assert_eq!(number(&complete["files"]), 3);
    assert_eq!(number(&complete["bytes"]), 1_005);
    assert!(sources(complete).0 < 100_000, "{complete}");
    assert_same(&tree.join("deep"), &out.join("tree/deep"));
    assert_same(&tree.join("run"), &out.join("tree/run"));
    assert!(!out.join("tree/big.bin").exists());

    let rest = b.get(&link).ok();
    assert_same(&tree, &out.join("tree"));
    assert!(sources(rest.event("complete")).0 < MADE_BYTES);

    let nothing = b.run(&["get", &link, "-o", text(&out), "--only", "no such"]);
    nothing.failed("usage", 2);
}

#[test]
fn identical_content_is_reused_whole() {
    let world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("c"));
    let tree = world.path("tree");
    tree::make(&tree);
    let (_share, link) = a.share(&tree);
    b.get(&link).ok();
    let inode = |path: &str| fs::metadata(b.path(path)).unwrap().ino();
    let before = inode("out/tree/big.bin");
    let again = b.get(&link).ok();
    assert_eq!(sources(again.event("complete")), (0, 0, MADE_BYTES));
    assert_eq!(inode("out/tree/big.bin"), before);

    // Also where Samara has not put it, and in a second place of one that it did.
    tree::make(&c.path("out/tree"));
    let found = c.get(&link).ok();
    assert_eq!(sources(found.event("complete")), (0, 0, MADE_BYTES));
    let second = b.path("second");
    let copied = b.run(&["get", &link, "-o", text(&second)]).ok();
    assert_eq!(sources(copied.event("complete")), (0, 0, MADE_BYTES));
    assert_same(&tree, &second.join("tree"));
    assert_same(&tree, &b.path("out/tree"));
}

#[test]
fn what_is_here_needs_nobody_to_be_there() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let tree = world.path("tree");
    tree::make(&tree);
    let (share, link) = a.share(&tree);
    let complete = b.get(&link).ok().event("complete").clone();
    assert_eq!(complete["confirmed"], true);
    assert_eq!(
        b.run(&["ls", &link]).ok().event("listing")["confirmed"],
        true
    );
    share.kill();

    let again = b.get(&link).ok();
    assert_eq!(again.event("complete")["confirmed"], false);
    assert_eq!(sources(again.event("complete")), (0, 0, MADE_BYTES));
    assert!(string(&again.event("warning")["message"]).contains("newer"));
    let out = b.path("out");
    let part = ["get", &link, "-o", text(&out), "--only", "deep/**"];
    b.run(&part).ok();
    let listing = b.run(&["ls", &link]).ok().event("listing").clone();
    assert_eq!(listing["confirmed"], false);
    assert_eq!(number(&listing["have"]), MADE_BYTES);

    // What is no longer here does.
    fs::write(out.join("tree/big.bin"), "changed").unwrap();
    let lost = ["get", &link, "-o", text(&out), "--timeout", "2s"];
    assert_ne!(b.run(&lost).status, Some(0));
}

#[test]
fn other_content_at_the_destination_stays_unless_forced() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let tree = world.path("tree");
    tree::make(&tree);
    let (_share, link) = a.share(&tree);
    let out = b.path("out");
    fs::create_dir_all(out.join("tree")).unwrap();
    fs::write(out.join("tree/big.bin"), b"mine").unwrap();
    fs::write(out.join("tree/precious"), b"mine too").unwrap();

    let message = b.get(&link).failed("exists", 10);
    assert!(message.contains("out/tree"), "{message}");
    assert_eq!(fs::read(out.join("tree/big.bin")).unwrap(), b"mine");
    assert_eq!(fs::read(out.join("tree/precious")).unwrap(), b"mine too");
    assert_eq!(fs::read_dir(out.join("tree")).unwrap().count(), 2);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);

    b.run(&["get", &link, "-o", text(&out), "--force"]).ok();
    assert_same(&tree, &out.join("tree"));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}

#[test]
fn a_receiver_that_is_killed_goes_on_where_it_was() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(MIDDLING, 1)).unwrap();
    let (_share, link) = a.share(&file);
    let wire = Wire::to(first_addr(&link), SOME);
    let out = b.path("out");
    let mut get = b.start(&["get", "-v", &wire.link(&link), "-o", text(&out)]);
    get.until("the middle", in_the_middle);
    // What is told was written, whether it is synced yet or not.
    get.event("progress");
    let written = number(&get.event("progress")["have"]);
    get.kill();
    assert!(!out.join("file.bin").exists());

    let complete = b.get(&link).ok().event("complete").clone();
    let (origin, peers, reused) = sources(&complete);
    assert!(reused >= written && written > 0, "{written}: {complete}");
    assert_eq!(origin + peers + reused, MIDDLING as u64);
    assert_same(&file, &out.join("file.bin"));
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}

#[test]
fn a_sharer_that_is_killed_is_taken_up_again() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(MIDDLING, 1)).unwrap();
    let (share, link) = a.share(&file);
    let wire = Wire::to(first_addr(&link), SOME);
    let mut get = b.start(&["get", "-v", &wire.link(&link), "-o", text(&b.path("out"))]);
    get.until("the middle", in_the_middle);
    share.kill();

    // The same data directory: the same port, the same link.
    let (_share, again) = a.share(&file);
    assert_eq!(again, link);
    wire.open();
    let complete = get.event("complete");
    assert_eq!(sources(&complete), (MIDDLING as u64, 0, 0));
    assert_eq!(get.end().status, Some(0));
    assert_same(&file, &b.path("out/file.bin"));
}

#[test]
fn a_receiver_that_is_interrupted_says_so() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(MIDDLING, 1)).unwrap();
    let (_share, link) = a.share(&file);
    let wire = Wire::to(first_addr(&link), SOME);
    let mut get = b.start(&["get", "-v", &wire.link(&link), "-o", text(&b.path("out"))]);
    get.until("the middle", in_the_middle);
    let ended = get.interrupt();
    assert_eq!(ended.status, Some(130), "{ended:?}");
    assert_eq!(ended.event("error")["kind"], "interrupted");
    assert!(!b.path("out/file.bin").exists());
    let complete = b.get(&link).ok().event("complete").clone();
    assert!(sources(&complete).2 > 0, "{complete}");
}

#[test]
fn a_seeding_receiver_serves_when_the_origin_has_left() {
    let world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("c"));
    let tree = world.path("tree");
    tree::make(&tree);
    let (share, link) = a.share(&tree);
    let mut seed = b.start(&["get", "--seed", &link, "-o", text(&b.path("out"))]);
    seed.event("complete");
    share.kill();
    fs::remove_dir_all(a.data_dir()).unwrap();
    fs::remove_dir_all(&tree).unwrap();

    // The seeder answers on its data directory, and knows the way to itself.
    let status = b.ask(&["status"], "status");
    let channel = string(&status["channels"][0]["id"]);
    let complete = c.get(&b.link(&channel)).ok().event("complete").clone();
    assert_eq!(sources(&complete), (0, MADE_BYTES, 0));
    assert_same(&b.path("out/tree"), &c.path("out/tree"));
    assert_eq!(seed.interrupt().status, Some(0));
}

fn in_the_middle(event: &serde_json::Value) -> bool {
    event["event"] == "progress" && number(&event["have"]) > 0 && event["have"] != event["total"]
}

#[test]
fn a_share_that_nobody_reads_any_more_ends() {
    let world = World::new();
    let a = world.peer("a");
    fs::write(a.path("file"), b"content").unwrap();
    let mut command = a.command(["share", text(&a.path("file"))]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("sharing"), "{line}");
    drop(stdout);
    let mut status = None;
    crate::running::poll("its end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());
}
