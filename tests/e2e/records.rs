//! Records of applications: published, searched, read, watched.

use std::fs;

use serde_json::Value;

use crate::{
    running::{Running, poll},
    world::{Peer, World, number, string, text},
};

/// Publishes a record; its id.
fn put(peer: &Peer, key: &str, body: &[u8], more: &[&str]) -> String {
    let file = peer.path("body");
    fs::write(&file, body).unwrap();
    let args = [
        "record",
        "put",
        "jobs",
        "--kind",
        "70000",
        "--key",
        key,
        text(&file),
    ];
    string(&peer.ask(&[&args[..], more].concat(), "record")["record"])
}

/// Ids of the records that a query finds.
fn found(peer: &Peer, query: &str) -> Vec<String> {
    let ended = peer.run(&["records", "jobs", "--where", query]).ok();
    let ids = ended.events.iter().map(|event| string(&event["record"]));
    ids.collect()
}

/// The next change of a kind.
fn change(watch: &mut Running, name: &str) -> Value {
    watch.until(name, |event| event["change"] == name)
}

#[test]
fn applications_keep_records_and_find_them_again() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    a.run(&["channel", "create", "jobs"]).ok();
    let attributes = ["--attr", "state=text:open", "--attr", "retries=int:-2"];
    let one = put(
        &a,
        "one",
        b"\x00first\xff",
        &[&attributes[..], &["--priority", "3"]].concat(),
    );
    let two = put(
        &a,
        "two",
        b"",
        &["--attr", "state=text:done", "--expires", "2d"],
    );

    let all = a.run(&["records", "jobs"]).ok().events;
    assert_eq!(all.len(), 2);
    let first = &all[0];
    assert_eq!(first["record"], one.as_str());
    assert_eq!(
        (&first["key"], number(&first["kind"])),
        (&"one".into(), 70_000)
    );
    assert_eq!(number(&first["priority"]), 3);
    let attributes = serde_json::json!({
        "retries": {"type": "int", "value": -2},
        "state": {"type": "text", "value": "open"},
    });
    assert_eq!(first["attributes"], attributes);
    assert!(first.get("body").is_none());
    let bodies = a.run(&["records", "jobs", "--bodies"]).ok().events;
    assert_eq!(bodies[0]["body"], "AGZpcnN0/w==");

    // On another node the same, over a running daemon.
    let (_a_node, _) = a.node();
    let (_b_node, _) = b.node();
    b.run(&["subscribe", &a.link("jobs")]).ok();
    poll("the records", || {
        let listed = b.run(&["channel", "list"]).ok();
        listed.events[0]["name"] == "jobs" && number(&listed.events[0]["records"]) == 2
    });
    for (query, expected) in [
        ("kind = 70000", vec![&one, &two]),
        ("attr.state = \"open\" and priority >= 3", vec![&one]),
        ("not attr.state = 'open'", vec![&two]),
        ("expires < 3d", vec![&two]),
        (
            "created > -1h and (key = \"one\" or key = \"three\")",
            vec![&one],
        ),
        ("kind = release", vec![]),
    ] {
        assert_eq!(
            found(&b, query).iter().collect::<Vec<_>>(),
            expected,
            "{query}"
        );
    }
    let refused = b.run(&["records", "jobs", "--where", "size > 3"]);
    assert!(refused.failed("usage", 2).contains("column 1"));

    let out = b.path("out.bin");
    let read = b.ask(
        &["record", "get", "jobs", &one[..12], "-o", text(&out)],
        "record",
    );
    assert_eq!(read["record"], one.as_str());
    assert_eq!(fs::read(&out).unwrap(), b"\x00first\xff");
    let mut plain = b.command(["record", "get", "jobs", &one]);
    let plain = plain.env_remove("SAMARA_JSON").output().unwrap();
    assert_eq!(plain.stdout, b"\x00first\xff");
    b.run(&["record", "get", "jobs", "aaaaaaaa"])
        .failed("not_found", 14);

    let denied = ["record", "put", "jobs", "--kind", "70000", text(&out)];
    b.run(&denied).failed("denied", 16);
    let own = ["record", "put", "jobs", "--kind", "257", text(&out)];
    a.run(&own).failed("usage", 2);
    fs::write(&out, vec![0; 64 << 10]).unwrap();
    let large = ["record", "put", "jobs", "--kind", "70000", text(&out)];
    a.run(&large).failed("record", 7);
    fs::write(&out, vec![0; (64 << 10) + 1]).unwrap();
    a.run(&large).failed("usage", 2);
}

#[test]
fn a_watcher_that_was_away_misses_nothing() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let made = a.ask(&["channel", "create", "jobs"], "channel");
    let id = string(&made["id"]);
    let (_a_node, _) = a.node();
    let (b_node, _) = b.node();
    b.run(&["subscribe", &a.link("jobs")]).ok();
    // By its id: the name comes with the charter.
    let mut watch = b.start(&["watch", &id, "--since", "0"]);
    change(&mut watch, "watching");
    let one = put(&a, "k", b"1", &[]);
    let arrived = change(&mut watch, "arrived");
    assert_eq!(arrived["record"], one.as_str());
    let seen = number(&arrived["cursor"]);
    assert_eq!(seen, 1);
    watch.interrupt().ok();

    // Away, and the node killed: what happens meanwhile is told in order, once.
    let two = put(&a, "k", b"2", &[]);
    poll("the second record", || found(&b, "key = \"k\"").len() == 2);
    b_node.kill();
    let (_b_node, _) = b.node();
    let three = put(&a, "other", b"3", &["--expires", "1h"]);
    let mut watch = b.start(&["watch", "jobs", "--since", &seen.to_string()]);
    let replaced = change(&mut watch, "replaced");
    assert_eq!(number(&replaced["cursor"]), 2);
    assert_eq!(
        (&replaced["record"], &replaced["previous"]),
        (&two.into(), &one.into())
    );
    let arrived = change(&mut watch, "arrived");
    assert_eq!(
        (number(&arrived["cursor"]), &arrived["record"]),
        (3, &three.into())
    );
    watch.interrupt().ok();

    // A cursor of another log is told from one of this.
    let mut watch = b.start(&["watch", "jobs", "--since", "99"]);
    let gap = change(&mut watch, "gap");
    assert_eq!((number(&gap["after"]), number(&gap["cursor"])), (99, 0));
    change(&mut watch, "replaced");
}

#[test]
fn a_watcher_hears_of_neighbours() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let made = a.ask(&["channel", "create", "jobs"], "channel");
    let channel = string(&made["id"]);
    let (a_node, _) = a.node();
    let (_b_node, _) = b.node();
    let id = a.ask(&["id"], "id");
    let link = a.link("jobs");
    let mut watch = a.start(&["watch", "jobs"]);
    change(&mut watch, "watching");
    b.run(&["subscribe", &link]).ok();
    let up = change(&mut watch, "neighbour_up");
    assert_eq!(up["peer"], b.ask(&["id"], "id")["peer_id"]);
    let mut other = b.start(&["watch", &channel]);
    change(&mut other, "watching");
    a_node.interrupt().ok();
    let down = change(&mut other, "neighbour_down");
    assert_eq!(down["peer"], id["peer_id"]);
}
