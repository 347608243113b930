//! Records of applications: published, searched, read, watched.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    running::{Running, poll},
    tree::{assert_same, noise},
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
    // Whom the charter names.
    let joined = change(&mut watch, "member_joined");
    assert_eq!(joined["peer"], a.ask(&["id"], "id")["peer_id"]);
    assert_eq!(joined["role"], "owner");
    let one = put(&a, "k", b"1", &[]);
    let arrived = change(&mut watch, "arrived");
    assert_eq!(arrived["record"], one.as_str());
    let seen = number(&arrived["cursor"]);
    assert_eq!(seen, number(&joined["cursor"]) + 1);
    watch.interrupt().ok();

    // Away, and the node killed: what happens meanwhile is told in order, once.
    let two = put(&a, "k", b"2", &[]);
    poll("the second record", || found(&b, "key = \"k\"").len() == 2);
    b_node.kill();
    let (_b_node, _) = b.node();
    let three = put(&a, "other", b"3", &["--expires", "1h"]);
    let mut watch = b.start(&["watch", "jobs", "--since", &seen.to_string()]);
    let replaced = change(&mut watch, "replaced");
    assert_eq!(number(&replaced["cursor"]), seen + 1);
    assert_eq!(
        (&replaced["record"], &replaced["previous"]),
        (&two.into(), &one.into())
    );
    let arrived = change(&mut watch, "arrived");
    assert_eq!(
        (number(&arrived["cursor"]), &arrived["record"]),
        (seen + 2, &three.into())
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

#[test]
fn one_member_is_told_what_the_others_never_hear() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    a.run(&["channel", "create", "jobs"]).ok();
    let (_a_node, _) = a.node();
    let (_b_node, _) = b.node();
    b.ask(&["subscribe", &a.link("jobs"), "--once"], "subscribed");
    let (from, to) = (a.ask(&["id"], "id"), b.ask(&["id"], "id"));
    let to = string(&to["peer_id"]);
    let file = a.path("words");
    fs::write(&file, "ping\n").unwrap();
    let tell = ["tell", "jobs", &to, text(&file)];
    // Nobody listens yet.
    a.run(&tell).failed("denied", 16);
    let mut watch = b.start(&["watch", "jobs"]);
    change(&mut watch, "watching");
    let told = a.ask(&tell, "told");
    assert_eq!(told["peer_id"], to.as_str());
    assert_eq!(number(&told["bytes"]), 5);
    let words = change(&mut watch, "words");
    assert_eq!(words["peer"], from["peer_id"]);
    assert_eq!(words["body"], "cGluZwo=");
    // It is no record.
    assert!(a.run(&["records", "jobs"]).ok().events.is_empty());
    watch.interrupt().ok();
    fs::write(&file, vec![b'x'; 4_001]).unwrap();
    a.run(&tell).failed("usage", 2);
}

/// Exports a channel of `a` with everything, so many records and contents; the file.
fn exported(world: &World, a: &Peer, cargo: (u64, u64)) -> PathBuf {
    let file = world.path("weekly.samara");
    let args = ["export", "weekly", text(&file), "--with-content"];
    let told = a.ask(&args, "exported");
    assert_eq!((number(&told["records"]), number(&told["contents"])), cargo);
    assert_eq!(number(&told["bytes"]), fs::metadata(&file).unwrap().len());
    file
}

#[test]
fn a_channel_crosses_an_air_gap_in_one_file() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let made = a.ask(&["channel", "create", "weekly"], "channel");
    let (issue, chart) = (world.path("issue.md"), world.path("chart.bin"));
    fs::write(&issue, "# Spring\n").unwrap();
    fs::write(&chart, noise(300_000, 3)).unwrap();
    a.run(&["post", "weekly", text(&issue), "--attach", text(&chart)])
        .ok();
    fs::write(&issue, "# Summer\n").unwrap();
    a.run(&["post", "weekly", text(&issue)]).ok();
    let app = world.path("app");
    fs::create_dir(&app).unwrap();
    fs::write(app.join("app.bin"), noise(200_000, 4)).unwrap();
    a.run(&["publish", "weekly", text(&app)]).ok();
    let file = exported(&world, &a, (3, 2));
    let link = a.link("weekly");

    // No network: neither node is ever there for the other.
    let told = b.ask(&["import", text(&file)], "imported");
    assert_eq!(told["channel"], made["id"]);
    assert_eq!(told["exporter"], a.ask(&["id"], "id")["peer_id"]);
    assert_eq!(told["joined"], true);
    assert_eq!((number(&told["new"]), number(&told["refused"])), (3, 0));
    let contents = |told: &Value| {
        (
            number(&told["contents"]),
            number(&told["contents_left_out"]),
        )
    };
    assert_eq!(contents(&told), (2, 0));
    let read = b.run(&["read", "weekly"]).ok().events;
    let subjects: Vec<_> = read.iter().map(|issue| string(&issue["subject"])).collect();
    assert_eq!(subjects, ["Summer", "Spring"]);
    assert!(
        read.iter().all(|issue| issue["complete"] == true),
        "{read:?}"
    );
    let chart = string(&read[1]["attachments"][0]["path"]);
    assert_eq!(fs::read(chart).unwrap(), noise(300_000, 3));
    let again = b.ask(&["import", text(&file)], "imported");
    assert_eq!((number(&again["new"]), number(&again["known"])), (0, 3));
    assert_eq!(again["joined"], false);

    // The release is installed by who says where, and with the same word as by `get`.
    let into = b.path("inst");
    let follow = ["subscribe", &link, "--into", text(&into), "--once"];
    for installed in [1, 0] {
        let ended = b.run(&follow).ok();
        let warning = string(&ended.event("warning")["message"]);
        assert!(warning.contains("nobody could be asked"), "{warning}");
        let events = ended.events.iter().filter(|e| e["event"] == "installed");
        assert_eq!(events.count(), installed, "{ended:?}");
    }
    assert_same(&app, &into.join("current/app"));

    // From then on by the import; and what is not in the file is not installed.
    let next = world.path("next/app");
    fs::create_dir_all(&next).unwrap();
    fs::write(next.join("app.bin"), noise(200_000, 5)).unwrap();
    a.run(&["publish", "weekly", text(&next)]).ok();
    let bare = world.path("bare.samara");
    a.run(&["export", "weekly", text(&bare)]).ok();
    b.ask(&["import", text(&bare)], "imported");
    let short = [&follow[..], &["--timeout", "1s"]].concat();
    b.run(&short).failed("no_peer", 4);
    assert!(into.join("1/app").exists() && !into.join("2").exists());
    let all = world.path("all.samara");
    let export = ["export", "weekly", text(&all), "--with-content"];
    a.run(&export).ok();
    let ended = b.run(&["import", text(&all)]).ok();
    assert_eq!(ended.event("installed")["current"], true);
    assert_same(&next, &into.join("current/app"));
}

#[test]
fn nothing_of_a_damaged_file_is_used() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    a.run(&["channel", "create", "weekly"]).ok();
    let (issue, chart) = (world.path("issue.md"), world.path("chart.bin"));
    fs::write(&issue, "# Spring\n").unwrap();
    fs::write(&chart, noise(30_000, 3)).unwrap();
    a.run(&["post", "weekly", text(&issue), "--attach", text(&chart)])
        .ok();
    a.run(&["post", "weekly", text(&issue)]).ok();
    let whole = fs::read(exported(&world, &a, (2, 1))).unwrap();

    let bad = world.path("bad.samara");
    let refused = |bytes: &[u8], kind: &str, status: i32| {
        fs::write(&bad, bytes).unwrap();
        let ended = b.run(&["import", text(&bad)]);
        ended.failed(kind, status);
        assert!(b.run(&["channel", "list"]).ok().events.is_empty());
        let status = b.ask(&["status"], "status");
        assert_eq!(status["contents"], Value::Array(vec![]));
    };
    // Cut in the last byte and in the chunks, flipped in the chunks, and no bundle.
    refused(&whole[..whole.len() - 1], "bad_data", 5);
    refused(&whole[..whole.len() - 1_000], "bad_data", 5);
    let mut flipped = whole.clone();
    flipped[whole.len() - 1_000] ^= 1;
    refused(&flipped, "bad_data", 5);
    refused(b"hello", "usage", 2);
    // A node counts them.
    let mut node = b.start(&["node", "--metrics", "127.0.0.1:0"]);
    let listening = node.event("listening");
    let metrics = listening["metrics"].as_str().unwrap().to_owned();
    refused(&whole[..whole.len() - 1], "bad_data", 5);
    refused(b"hello", "usage", 2);
    let (_, text_of) = crate::pages::ask(&metrics, "/metrics", &[]);
    for reason in ["truncated", "not_a_bundle"] {
        let line = format!("samara_imports_refused_total{{reason=\"{reason}\"}} 1");
        assert!(text_of.lines().any(|l| l == line), "{line}\n{text_of}");
    }
    drop(node);
    b.run(&["import", text(&world.path("none"))])
        .failed("not_found", 14);
    let folder = world.path("folder");
    fs::create_dir(&folder).unwrap();
    let message = b.run(&["import", text(&folder)]).failed("usage", 2);
    assert!(message.contains(text(&folder)), "{message}");
    // What stood there stays when a new file cannot be written.
    let kept = a.path("kept.samara");
    fs::write(&kept, "kept").unwrap();
    a.run(&["export", "nothing", text(&kept)])
        .failed("not_found", 14);
    assert_eq!(fs::read(&kept).unwrap(), b"kept");
    let nowhere = folder.join("none/x");
    for bad in [&nowhere, &folder] {
        let message = a.run(&["export", "weekly", text(bad)]).failed("usage", 2);
        assert!(
            message.starts_with(text(bad)) && !message.contains(".samara-"),
            "{message}"
        );
    }
}
