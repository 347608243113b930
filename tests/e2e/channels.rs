//! Lasting channels: releases and newsletters, followed by nodes that run.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    running::{Ended, poll},
    tree::{assert_same, noise},
    world::{Peer, World, number, string, text},
};

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

/// A release of one file.
fn write_release(dir: &Path, seed: u64) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("app.bin"), noise(300_000, seed)).unwrap();
}

/// Waits until `current` leads to a version, and sees at each look that it leads to
/// a whole one.
fn until_current(into: &Path, version: &str, name: &str) {
    poll(&format!("current to be {version}"), || {
        let Ok(at) = fs::read_link(into.join("current")) else {
            return false;
        };
        assert!(into.join(&at).join(name).join("app.bin").exists(), "{at:?}");
        at == Path::new(version)
    });
}

fn publish(peer: &Peer, path: &Path, version: Option<&str>) -> Value {
    let mut args = vec!["publish", "product", text(path)];
    if let Some(version) = version {
        args.extend(["--version", version]);
    }
    peer.ask(&args, "published")
}

#[test]
fn a_subscriber_follows_releases_as_they_come() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let (app, into) = (world.path("app"), b.path("apps"));
    write_release(&app, 1);
    let created = a.ask(&["channel", "create", "product"], "channel");
    assert_eq!(
        (&created["name"], &created["role"]),
        (&"product".into(), &"owner".into())
    );
    assert_eq!(publish(&a, &app, None)["version"], "1");

    // Both nodes run; everything else goes through their control sockets.
    let (_a_node, _) = a.node();
    let (_b_node, _) = b.node();
    let link = a.link("product");
    let subscribed = b.ask(&["subscribe", &link, "--into", text(&into)], "subscribed");
    assert_eq!(subscribed["channel"], created["id"]);
    until_current(&into, "1", "app");
    assert_same(&app, &into.join("1/app"));
    assert_same(&app, &into.join("current/app"));

    let newer = world.path("newer/app");
    write_release(&newer, 2);
    let published = publish(&a, &newer, Some("2.1.0"));
    assert_eq!(number(&published["fresh"]), 300_000);
    until_current(&into, "2.1.0", "app");
    assert_same(&newer, &into.join("2.1.0/app"));
    assert_same(&app, &into.join("1/app"));

    let listed = b.ask(&["channel", "list"], "channel");
    assert_eq!(listed["role"], "subscriber");
    assert_eq!(listed["version"], "2.1.0");
    assert_eq!(number(&listed["records"]), 2);

    // Taken back: what came before it is current again, and nothing is deleted.
    a.run(&["unpublish", "product", "2.1.0"]).ok();
    until_current(&into, "1", "app");
    assert!(into.join("2.1.0/app/app.bin").exists());

    // The same bytes once more, under another number and another name.
    let renamed = world.path("again/app");
    write_release(&renamed, 1);
    assert_eq!(publish(&a, &renamed, Some("3"))["version"], "3");
    until_current(&into, "3", "app");
    assert_same(&renamed, &into.join("3/app"));
    assert_same(&app, &into.join("1/app"));

    let gone = b.run(&["unsubscribe", "product"]).ok();
    gone.event("unsubscribed");
    assert!(b.run(&["channel", "list"]).ok().events.is_empty());
    assert!(into.join("current/app/app.bin").exists());
}

#[test]
fn a_version_is_used_once() {
    let world = World::new();
    let a = world.peer("a");
    let (app, other) = (world.path("app"), world.path("other/app"));
    write_release(&app, 1);
    write_release(&other, 2);
    a.run(&["channel", "create", "product"]).ok();
    assert_eq!(publish(&a, &app, Some("7"))["version"], "7");
    assert_eq!(publish(&a, &app, None)["version"], "8");
    let refused =
        |version: &str| a.run(&["publish", "product", text(&other), "--version", version]);
    refused("7").failed("exists", 10);
    a.run(&["unpublish", "product", "7"]).ok();
    refused("7").failed("exists", 10);
    for bad in ["current", "a/b", "..", ".", "", ".hidden"] {
        refused(bad).failed("usage", 2);
    }
    a.run(&["unpublish", "product", "7"])
        .failed("not_found", 14);
    a.run(&["publish", "nothing", text(&other)])
        .failed("not_found", 14);
    a.run(&["channel", "create", "product"])
        .failed("exists", 10);
    assert_eq!(publish(&a, &other, None)["version"], "9");
}

#[test]
fn once_fetches_what_is_current_and_ends() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let (app, into) = (world.path("app"), b.path("apps"));
    write_release(&app, 1);
    a.run(&["channel", "create", "product"]).ok();
    publish(&a, &app, None);
    let (_node, _) = a.node();
    let once = |link: &str| b.run(&["subscribe", link, "--into", text(&into), "--once"]);
    let link = a.link("product");
    let first = once(&link).ok();
    let installed = first.event("installed");
    assert_eq!(
        (&installed["version"], &installed["current"]),
        (&"1".into(), &true.into())
    );
    assert_same(&app, &into.join("current/app"));

    // Again: nothing to do. After a new release: that one.
    let again = once(&link).ok();
    assert!(
        again.events.iter().all(|e| e["event"] != "complete"),
        "{again:?}"
    );
    write_release(&world.path("b/app"), 2);
    publish(&a, &world.path("b/app"), None);
    assert_eq!(once(&link).ok().event("installed")["version"], "2");
    assert_same(&world.path("b/app"), &into.join("current/app"));

    // `get` on a lasting channel: its newest release.
    let c = world.peer("c");
    c.get(&link).ok();
    assert_same(&world.path("b/app"), &c.path("out/app"));
}

#[test]
fn waiting_tells_what_arrives() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let (app, into) = (world.path("app"), b.path("apps"));
    write_release(&app, 1);
    a.run(&["channel", "create", "product"]).ok();
    let (_node, _) = a.node();
    let link = a.link("product");
    let mut wait = b.start(&["subscribe", &link, "--into", text(&into), "--wait"]);
    wait.event("subscribed");
    publish(&a, &app, None);
    let installed = wait.event("installed");
    assert_eq!(installed["version"], "1");
    assert_same(&app, &into.join("1/app"));
    assert_eq!(wait.interrupt().status, Some(0));
}

/// Posts an issue with two attachments; the files.
fn post(a: &Peer, world: &World) -> (Vec<u8>, Vec<u8>) {
    let files = (noise(150_000, 11), noise(10, 12));
    fs::write(world.path("chart.png"), &files.0).unwrap();
    fs::write(world.path("data.csv"), &files.1).unwrap();
    fs::write(world.path("issue.md"), "# Spring\n\nIt *rains*.\n").unwrap();
    let posted = a.ask(
        &[
            "post",
            "weekly",
            text(&world.path("issue.md")),
            "--attach",
            text(&world.path("chart.png")),
            "--attach",
            text(&world.path("data.csv")),
        ],
        "posted",
    );
    assert_eq!(
        (&posted["subject"], &posted["attachments"]),
        (&"Spring".into(), &2.into())
    );
    files
}

fn issues(peer: &Peer, args: &[&str]) -> Vec<Value> {
    let ended = peer.run(&[&["read"], args].concat()).ok();
    assert!(
        ended.events.iter().all(|e| e["event"] == "issue"),
        "{ended:?}"
    );
    ended.events
}

/// Waits until a node has `count` issues with all that belongs to them.
fn until_read(peer: &Peer, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    poll("the issues", || {
        found = issues(peer, &[]);
        found.len() == count && found.iter().all(|issue| issue["complete"] == true)
    });
    found
}

fn assert_attached(issue: &Value, name: &str, bytes: &[u8]) {
    let attachments = issue["attachments"].as_array().unwrap();
    let found = attachments.iter().find(|a| a["name"] == name).unwrap();
    assert_eq!(keys(found), ["bytes", "name", "path"]);
    assert_eq!(number(&found["bytes"]), bytes.len() as u64);
    assert_eq!(fs::read(string(&found["path"])).unwrap(), bytes);
}

#[test]
fn two_issues_with_the_same_attachments_are_fetched_once() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    a.run(&["channel", "create", "weekly"]).ok();
    let files = post(&a, &world);
    post(&a, &world);
    let (_node, _) = a.node();
    let link = a.link("weekly");
    let once = || b.run(&["subscribe", &link, "--once"]).ok();
    let said = |ended: &Ended, name: &str| {
        let events = ended.events.iter();
        events.filter(|event| event["event"] == name).count()
    };
    let first = once();
    assert_eq!(said(&first, "complete"), 2, "{first:?}");
    // The second place takes its bytes from the first.
    let fetched = first.events.iter().filter(|e| e["event"] == "complete");
    let fetched: u64 = fetched.map(|e| number(&e["downloaded"]["origin"])).sum();
    assert_eq!(fetched, 150_010);
    for _ in 0..2 {
        let again = once();
        assert_eq!(said(&again, "complete"), 0, "{again:?}");
        let read = issues(&b, &[]);
        assert_eq!(read.len(), 2);
        for issue in &read {
            assert_eq!(issue["complete"], true, "{issue}");
            assert_attached(issue, "chart.png", &files.0);
            assert_attached(issue, "data.csv", &files.1);
        }
    }
    // What is missing in one of the places is put there again.
    let path = string(&issues(&b, &[])[0]["attachments"][0]["path"]);
    let dir = Path::new(&path).parent().unwrap();
    fs::remove_dir_all(dir).unwrap();
    assert_eq!(said(&once(), "complete"), 1);
    assert_eq!(said(&once(), "complete"), 0);
    assert_attached(&issues(&b, &[])[0], "chart.png", &files.0);
    assert_attached(&issues(&b, &[])[1], "chart.png", &files.0);
}

#[test]
fn a_late_subscriber_reads_what_a_publisher_left_behind() {
    let world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("c"));
    a.run(&["channel", "create", "weekly"]).ok();
    let files = post(&a, &world);
    let long = "A long text. ".repeat(3_000);
    fs::write(world.path("long.md"), &long).unwrap();
    a.run(&[
        "post",
        "weekly",
        text(&world.path("long.md")),
        "--subject",
        "Long",
    ])
    .ok();
    let app = world.path("app");
    write_release(&app, 1);
    a.run(&["publish", "weekly", text(&app)]).ok();

    let (a_node, _) = a.node();
    let (_b_node, _) = b.node();
    b.ask(&["mirror", &a.link("weekly")], "subscribed");
    until_read(&b, 2);
    poll("the release on the mirror", || {
        let status = b.ask(&["status"], "status");
        let contents = status["contents"].as_array().unwrap();
        contents.len() == 3 && contents.iter().all(|content| content["complete"] == true)
    });
    a_node.kill();
    fs::remove_dir_all(a.data_dir()).unwrap();
    fs::remove_dir_all(&app).unwrap();

    let (_c_node, _) = c.node();
    let into = c.path("apps");
    c.run(&["subscribe", &b.link("weekly"), "--into", text(&into)])
        .ok();
    let read = until_read(&c, 2);
    assert_eq!(read[0]["subject"], "Long");
    assert!(read[0]["body"] == long);
    assert_eq!(read[0]["attachments"], Value::Array(vec![]));
    let spring = &read[1];
    assert_eq!(
        (&spring["subject"], &spring["channel"]),
        (&"Spring".into(), &"weekly".into())
    );
    assert_eq!(spring["body"], "# Spring\n\nIt *rains*.\n");
    let published = string(&spring["published"]);
    assert!(
        published.len() >= 20 && published.ends_with('Z'),
        "{published}"
    );
    assert_attached(spring, "chart.png", &files.0);
    assert_attached(spring, "data.csv", &files.1);
    until_current(&into, "1", "app");
    assert_eq!(
        fs::read(into.join("1/app/app.bin")).unwrap(),
        noise(300_000, 1)
    );

    // One of them, by its number, by its slug, and one that is not there.
    // "2" also begins every slug of this century.
    assert!(issues(&c, &["weekly", "2"]) == std::slice::from_ref(spring));
    let slug = string(&spring["issue"]);
    assert_eq!(issues(&c, &["weekly", &slug]), std::slice::from_ref(spring));
    c.run(&["read", "weekly", "9"]).failed("not_found", 14);
    c.run(&["read", "daily"]).failed("not_found", 14);
}

#[test]
fn a_stopped_node_answers_the_same() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    a.run(&["channel", "create", "weekly"]).ok();
    post(&a, &world);
    let (a_node, _) = a.node();
    let (b_node, _) = b.node();
    b.run(&["subscribe", &a.link("weekly")]).ok();
    let running = until_read(&b, 1);
    assert_eq!(b_node.interrupt().status, Some(0));
    assert_eq!(a_node.interrupt().status, Some(0));
    assert!(!b.data_dir().join("control.sock").exists());
    assert_eq!(issues(&b, &[]), running);
    let link = a.link("weekly");
    let (_a_node, addr) = a.node();
    assert_eq!(a.link("weekly"), link, "the port is kept: {addr}");
}

#[test]
fn status_and_peers_say_what_a_script_needs() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    a.run(&["channel", "create", "product"]).ok();
    write_release(&world.path("app"), 1);
    publish(&a, &world.path("app"), None);
    let (_a_node, addr) = a.node();
    let (_b_node, _) = b.node();
    b.run(&[
        "subscribe",
        &a.link("product"),
        "--into",
        text(&b.path("apps")),
    ])
    .ok();
    until_current(&b.path("apps"), "1", "app");

    let status = b.ask(&["status"], "status");
    for key in [
        "peer_id",
        "listen",
        "version",
        "uptime",
        "store_bytes",
        "quota_bytes",
    ] {
        assert!(!status[key].is_null(), "{key} in {status}");
    }
    let channel = &status["channels"][0];
    for (key, value) in [
        ("name", Value::from("product")),
        ("records", 1.into()),
        ("neighbours", 1.into()),
        ("role", "subscriber".into()),
        ("release", "1".into()),
    ] {
        assert_eq!(channel[key], value, "{key} in {channel}");
    }
    let content = &status["contents"][0];
    assert_eq!(content["complete"], true);
    assert_eq!(content["have"], content["chunks"]);
    assert_eq!(string(&content["manifest"]).len(), 52);

    let peers = b.run(&["peers"]).ok();
    let peer = peers.event("peer");
    assert_eq!(string(&peer["addr"]), addr);
    assert_eq!(peer["peer_id"], a.ask(&["id"], "id")["peer_id"]);
    assert_eq!(peer["scope"], "lan");
    assert_eq!(number(&peer["received"]), 300_000);
    assert_eq!(peer["channels"], Value::from(vec!["product"]));
}

#[test]
fn space_is_given_back_and_what_is_needed_is_kept() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    a.run(&["channel", "create", "product"]).ok();
    write_release(&world.path("app"), 1);
    publish(&a, &world.path("app"), None);
    let (_a_node, _) = a.node();
    b.run(&["mirror", &a.link("product"), "--once"]).ok();
    let used = |peer: &Peer| number(&peer.ask(&["status"], "status")["store_bytes"]);
    assert!(used(&b) >= 300_000);

    let freed = |ended: Ended| number(&ended.ok().event("freed")["bytes"]);
    assert_eq!(freed(b.run(&["gc"])), 0);
    assert!(freed(b.run(&["forget", "product"])) >= 300_000);
    assert!(used(&b) < 300_000);
    b.run(&["forget", "product"]).failed("not_found", 14);
    assert!(b.run(&["channel", "list"]).ok().events.is_empty());

    // What nothing names any more goes with gc; the user's own files never do.
    b.run(&["mirror", &a.link("product"), "--once"]).ok();
    a.run(&["unpublish", "product", "1"]).ok();
    b.run(&["mirror", &a.link("product"), "--once"]).ok();
    let rehearsal = b.run(&["gc", "--dry-run"]).ok();
    assert_eq!(rehearsal.event("freed")["dry_run"], true);
    let announced = number(&rehearsal.event("freed")["bytes"]);
    assert!(announced >= 300_000);
    assert!(used(&b) >= 300_000);
    assert_eq!(freed(b.run(&["gc"])), announced);
    a.run(&["gc"]).ok();
    assert!(world.path("app/app.bin").exists());
}

#[test]
fn only_the_newest_releases_are_kept_if_that_is_wanted() {
    let world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("c"));
    a.run(&["channel", "create", "product"]).ok();
    let (_node, _) = a.node();
    let link = a.link("product");
    let into = c.path("into");
    let subscribe = ["subscribe", &link, "--into", text(&into), "--once"];
    for version in ["1", "2", "3"] {
        let app = world.path(version).join("app");
        write_release(&app, version.parse().unwrap());
        publish(&a, &app, Some(version));
        b.run(&["mirror", &link, "--once"]).ok();
        c.run(&subscribe).ok();
    }
    let used = |peer: &Peer| number(&peer.ask(&["status"], "status")["store_bytes"]);
    // What is fetched to another place is no release that is kept or not.
    let elsewhere = world.peer("d");
    elsewhere.run(&["subscribe", &link]).ok();
    elsewhere.get(&link).ok();
    // Unasked, a mirror keeps all and a subscriber what it installed.
    assert!(used(&b) >= 900_000);
    let installed = || {
        let versions = ["1", "2", "3"];
        versions.map(|version| into.join(version).join("app/app.bin").exists())
    };
    assert_eq!(installed(), [true, true, true]);

    let gc = |peer: &Peer, more: &[&str]| {
        let ended = peer
            .run(&[&["gc", "--keep-releases", "2"], more].concat())
            .ok();
        let freed = ended.event("freed");
        (number(&freed["bytes"]), freed["contents"].clone())
    };
    for peer in [&b, &c] {
        let announced = gc(peer, &["--dry-run"]);
        assert!(announced.0 >= 300_000, "{announced:?}");
        assert_eq!(gc(peer, &[]), announced);
        assert_eq!(gc(peer, &[]).0, 0);
    }
    assert!((600_000..900_000).contains(&used(&b)));
    assert_eq!(installed(), [false, true, true]);
    assert!(!into.join("1").exists(), "with its folder");

    // The follower does it by itself, but not to what somebody changed.
    fs::write(into.join("2/app/app.bin"), b"mine").unwrap();
    let app = world.path("4/app");
    write_release(&app, 4);
    publish(&a, &app, Some("4"));
    let one = ["--keep-releases", "1"];
    b.run(&[&["mirror", &link, "--once"], &one[..]].concat())
        .ok();
    c.run(&[&subscribe, &one[..]].concat()).ok();
    assert!((300_000..600_000).contains(&used(&b)));
    assert_eq!(installed(), [false, true, false]);
    assert_same(&app, &into.join("current/app"));
    elsewhere
        .run(&[
            "subscribe",
            &link,
            "--into",
            text(&world.path("d/into")),
            "--once",
        ])
        .ok();
    elsewhere.run(&["gc", "--keep-releases", "1"]).ok();
    assert_same(&world.path("3/app"), &elsewhere.path("out/app"));
}

#[test]
fn only_the_owner_publishes() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    a.run(&["channel", "create", "product"]).ok();
    write_release(&world.path("app"), 1);
    let (_node, _) = a.node();
    b.run(&["subscribe", &a.link("product"), "--once"]).ok();
    let app = world.path("app");
    b.run(&["publish", "product", text(&app)])
        .failed("denied", 16);
    fs::write(world.path("i.md"), "# Hi").unwrap();
    b.run(&["post", "product", text(&world.path("i.md"))])
        .failed("denied", 16);
    a.run(&["post", "product", text(&world.path("none.md"))])
        .failed("usage", 2);
}

#[test]
fn the_next_version_follows_the_highest() {
    let world = World::new();
    let a = world.peer("a");
    let app = world.path("app");
    write_release(&app, 1);
    a.run(&["channel", "create", "product"]).ok();
    for (given, version) in [
        (Some("1.0"), "1.0"),
        (None, "1.1"),
        (Some("spring"), "spring"),
        (None, "1.2"),
        (Some("7"), "7"),
        (None, "8"),
    ] {
        assert_eq!(publish(&a, &app, given)["version"], version);
    }
}

#[test]
fn forgetting_names_what_was_here() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let app = world.path("app");
    write_release(&app, 1);
    a.run(&["channel", "create", "product"]).ok();
    publish(&a, &app, None);
    let (_node, _) = a.node();
    // Without --into nothing is fetched: only the records are here.
    b.run(&["subscribe", "--once", &a.link("product")]).ok();
    let freed = b.ask(&["forget", "product"], "freed");
    assert_eq!(freed["contents"], serde_json::json!([]), "{freed}");
    let freed = a.ask(&["forget", "product"], "freed");
    assert_eq!(freed["contents"].as_array().unwrap().len(), 1, "{freed}");
}

#[test]
fn lists_agree_on_what_is_shared() {
    let world = World::new();
    let a = world.peer("a");
    fs::write(a.path("file"), "x").unwrap();
    a.run(&["channel", "create", "product"]).ok();
    let (_share, _) = a.share(&a.path("file"));
    let status = a.ask(&["status"], "status");
    let shown = status["channels"].as_array().unwrap();
    let list = a.run(&["channel", "list"]).ok();
    let listed: Vec<_> = list
        .events
        .iter()
        .filter(|e| e["event"] == "channel")
        .collect();
    assert_eq!(listed.len(), 2, "{list:?}");
    for (one, other) in shown.iter().zip(listed) {
        for key in ["id", "name", "role", "records"] {
            assert_eq!(one[key], other[key], "{key}");
        }
    }
}
