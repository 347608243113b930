//! Several commands at once on one data directory, with no node on it: one of them
//! has the directory, the others are carried out by it, and go on when it ends.

use std::fs;

use crate::{
    running::{Running, poll},
    tree::{assert_same, noise},
    wire::{Wire, first_addr},
    world::{Peer, World, number, sources, string, text},
};

/// What passes the wire before it is clamped, of contents of 24 MB.
const SOME: i64 = 8_000_000;
const MIDDLING: usize = 24_000_000;

#[test]
fn all_of_many_commands_at_once_succeed() {
    let world = World::new();
    let a = world.peer("a");
    a.run(&["channel", "create", "weekly"]).ok();
    fs::write(a.path("issue.md"), "# Hello\n\nthere").unwrap();
    fs::write(a.path("file"), noise(300_000, 1)).unwrap();
    let mut running = Vec::new();
    for i in 0..6 {
        let subject = format!("Number {i}");
        running.push(a.start(&["post", "weekly", "issue.md", "--subject", &subject]));
        running.push(a.start(&["publish", "weekly", "file", "--version", &format!("v{i}")]));
        running.push(a.start(&["status"]));
    }
    for command in running {
        command.end().ok();
    }
    let read = a.run(&["read"]).ok();
    let subjects = read.events.iter().filter(|e| e["event"] == "issue");
    assert_eq!(subjects.count(), 6, "{read:?}");
    let list = a.run(&["channel", "list"]).ok();
    assert_eq!(number(&list.event("channel")["records"]), 12);
}

/// A clamped download on `b` that has its directory, and something else to share.
fn holder(world: &World, b: &Peer) -> (Running, Running, Wire) {
    let a = world.peer("a");
    let file = world.path("file.bin");
    fs::write(&file, noise(MIDDLING, 1)).unwrap();
    let (share, link) = a.share(&file);
    let wire = Wire::to(first_addr(&link), SOME);
    let out = b.path("first");
    let mut holder = b.start(&["get", "-v", &wire.link(&link), "-o", text(&out)]);
    holder.until("the middle", |event| {
        event["event"] == "progress" && number(&event["have"]) > 0
    });
    (share, holder, wire)
}

#[test]
fn a_share_outlives_the_command_that_carried_it_out() {
    for kill in [false, true] {
        let world = World::new();
        let (b, c) = (world.peer("b"), world.peer("c"));
        let (_share, holder, _wire) = holder(&world, &b);
        let other = world.path("other.bin");
        fs::write(&other, noise(200_000, 2)).unwrap();
        let (guest, link) = b.share(&other);
        match kill {
            true => holder.kill(),
            false => assert_eq!(holder.interrupt().status, Some(130)),
        }
        // The same port, and so the same link.
        c.get(&link).ok();
        assert_same(&other, &c.path("out/other.bin"));
        let ended = guest.interrupt().ok();
        let shared = ended.events.iter().filter(|e| e["event"] == "sharing");
        assert_eq!(shared.count(), 1, "{ended:?}");
        assert_eq!(ended.stderr, "");
    }
}

#[test]
fn a_download_goes_on_where_it_was_when_its_carrier_ends() {
    for kill in [false, true] {
        let world = World::new();
        let (b, d) = (world.peer("b"), world.peer("d"));
        let (_share, holder, _first) = holder(&world, &b);
        let file = world.path("second.bin");
        fs::write(&file, noise(MIDDLING, 3)).unwrap();
        let (_source, link) = d.share(&file);
        let wire = Wire::to(first_addr(&link), SOME);
        let out = b.path("second");
        let mut guest = b.start(&["get", "-v", &wire.link(&link), "-o", text(&out)]);
        guest.until("the middle", |event| {
            event["event"] == "progress"
                && event["name"] == "second.bin"
                && number(&event["have"]) > 0
        });
        guest.event("progress");
        guest.event("progress");
        match kill {
            true => holder.kill(),
            false => assert_eq!(holder.interrupt().status, Some(130)),
        }
        wire.open();
        let ended = guest.end().ok();
        let complete = ended.event("complete");
        assert!(sources(complete).2 > 0, "{complete}");
        assert_same(&file, &out.join("second.bin"));
    }
}

#[test]
fn what_is_published_through_a_command_that_is_killed_is_published_once() {
    let world = World::new();
    let b = world.peer("b");
    b.run(&["channel", "create", "product"]).ok();
    let (_share, holder, _wire) = holder(&world, &b);
    let big = world.path("big.bin");
    fs::write(&big, noise(300_000_000, 4)).unwrap();
    let mut guest = b.start(&["publish", "-v", "product", text(&big), "--version", "1.0"]);
    guest.event("importing");
    holder.kill();
    let ended = guest.end().ok();
    assert_eq!(ended.event("published")["version"], "1.0");
    let list = b.run(&["channel", "list"]).ok();
    let product = list.events.iter().find(|e| e["name"] == "product");
    assert_eq!(number(&product.unwrap()["records"]), 1, "{list:?}");
}

#[test]
fn a_command_does_not_wait_for_those_that_it_carries_out() {
    let world = World::new();
    let b = world.peer("b");
    let (_share, holder, wire) = holder(&world, &b);
    let other = world.path("other.bin");
    fs::write(&other, noise(200_000, 2)).unwrap();
    let (guest, _) = b.share(&other);
    wire.open();
    holder.end().ok();
    // The share has the directory now.
    poll("the share to answer", || {
        let status = b.ask(&["status"], "status");
        status["listen"] != ""
    });
    guest.interrupt().ok();
}

/// Publishes a record in "jobs"; its id.
fn put(peer: &Peer, key: &str) -> String {
    fs::write(peer.path("body"), key).unwrap();
    let args = ["record", "put", "jobs", "--kind", "70000", "--key", key];
    let record = peer.ask(&[&args[..], &["body"]].concat(), "record");
    string(&record["record"])
}

/// The record that a watcher hears of next, and the event's cursor.
fn next_arrived(watch: &mut Running) -> (String, u64) {
    let event = watch.until("a record", |event| event["change"] == "arrived");
    (string(&event["record"]), number(&event["cursor"]))
}

#[test]
fn a_watcher_makes_room_for_a_node_and_misses_nothing() {
    for kill in [false, true] {
        let world = World::new();
        let a = world.peer("a");
        a.run(&["channel", "create", "jobs"]).ok();
        let (mut node, _) = a.node();
        let mut watch = a.start(&["watch", "jobs"]);
        let event = watch.until("the start", |event| event["change"] == "watching");
        let mut seen = number(&event["cursor"]);
        let mut published = Vec::new();
        for round in 0..2 {
            published.push(put(&a, &format!("through the node {round}")));
            match kill {
                true => node.kill(),
                false => drop(node.interrupt().ok()),
            }
            // By whoever has the directory: the command itself, or the watcher.
            published.push(put(&a, &format!("while there is none {round}")));
            poll("the watcher to have the directory", || {
                a.ask(&["status"], "status")["listen"] != ""
            });
            published.push(put(&a, &format!("through the watcher {round}")));
            (node, _) = a.node();
            published.push(put(&a, &format!("through the next node {round}")));
        }
        for record in &published {
            let next = (record.clone(), seen + 1);
            assert_eq!(next_arrived(&mut watch), next);
            seen += 1;
        }
        let ended = watch.interrupt().ok();
        assert_eq!(ended.stderr, "");
        node.interrupt().ok();
    }
}

#[test]
fn a_share_goes_on_through_a_node_that_is_started() {
    let world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("c"));
    let file = world.path("file.bin");
    fs::write(&file, noise(200_000, 1)).unwrap();
    let (share, link) = a.share(&file);
    let (a_node, _) = a.node();
    // The node has the port of the share, which goes on: the link leads there.
    // For a moment nobody has it.
    let got = |peer: &Peer| peer.get(&link).status == Some(0);
    poll("the share to go on through the node", || got(&b));
    assert_same(&file, &b.path("out/file.bin"));
    a_node.interrupt().ok();
    poll("the share to have the directory", || {
        a.ask(&["status"], "status")["listen"] != ""
    });
    poll("the share to go on by itself", || got(&c));
    let ended = share.interrupt().ok();
    let shared = ended.events.iter().filter(|e| e["event"] == "sharing");
    assert_eq!((shared.count(), ended.stderr.as_str()), (1, ""));
}

#[test]
fn a_download_goes_on_through_a_node_that_is_started() {
    let world = World::new();
    let b = world.peer("b");
    let (_share, holder, wire) = holder(&world, &b);
    let (_b_node, _) = b.node();
    wire.open();
    let ended = holder.end().ok();
    let complete = ended.event("complete");
    assert!(sources(complete).2 > 0, "{complete}");
    assert_same(&world.path("file.bin"), &b.path("first/file.bin"));
}
