//! Limits and pauses: what holds is what was said last, without a restart.

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
};

use rustix::process::{Signal, kill_process};
use samara_graph::{Link, LinkPeer};
use serde_json::Value;

use crate::{
    found::inside,
    netns::Cable,
    running::{Running, poll},
    tree::{assert_same, noise},
    world::{Peer, World, number, string, text},
};

/// So slow that none of these tests lives to see a content arrive.
const CRAWL: &str = "1 KiB/s";

fn rate(limits: &Value, line: &str) -> (Option<u64>, String) {
    let rates = limits["rates"].as_array().unwrap();
    let of_node = |r: &&Value| r["line"] == line && r["channel"].is_null();
    let found = rates.iter().find(of_node).unwrap();
    (found["rate"].as_u64(), string(&found["why"]))
}

/// Until some of it has arrived.
fn under_way(get: &mut Running) {
    get.until("something to arrive", |event| {
        event["event"] == "progress" && number(&event["have"]) > 0
    });
}

#[test]
fn a_lifted_limit_of_the_sender_counts_at_once() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(6_000_000, 1)).unwrap();
    let mut share = a.start(&["share", text(&file), "--up", CRAWL]);
    let link = string(&share.event("sharing")["link"]);
    let out = b.path("out");
    let mut get = b.start(&["get", "-v", &link, "-o", text(&out)]);
    get.event("progress");
    let before = a.ask(&["limit"], "limits");
    assert_eq!(rate(&before, "up"), (Some(1024), "configuration".into()));
    let after = a.ask(&["limit", "--up", "off"], "limits");
    assert_eq!(rate(&after, "up"), (None, "command".into()));
    get.end().ok().event("complete");
    assert_same(&file, &out.join("file.bin"));
}

#[test]
fn a_lifted_limit_of_the_receiver_counts_at_once() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(6_000_000, 2)).unwrap();
    let (_share, link) = a.share(&file);
    let out = b.path("out");
    // What was ordered holds for the next process as well, and goes before its options.
    b.ask(&["limit", "--lan-down", CRAWL], "limits");
    let mut get = b.start(&["get", "-v", &link, "-o", text(&out), "--down", "1 GB/s"]);
    get.event("progress");
    let held = b.ask(&["limit"], "limits");
    assert_eq!(rate(&held, "lan_down"), (Some(1024), "command".into()));
    assert_eq!(rate(&held, "down").0, Some(1_000_000_000));
    b.ask(&["limit", "--lan-down", "default"], "limits");
    get.end().ok().event("complete");
    assert_same(&file, &out.join("file.bin"));
}

#[test]
fn a_leech_serves_again_when_it_is_told_to() {
    let world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("c"));
    let file = world.path("file.bin");
    fs::write(&file, noise(400_000, 3)).unwrap();
    let (share, link) = a.share(&file);
    let mut leech = b.start(&[
        "get",
        &link,
        "-o",
        text(&b.path("out")),
        "--seed",
        "--leech",
    ]);
    let content = string(&leech.event("complete")["content"]);
    share.interrupt().ok();
    let advice = string(&explained(&b, &content, "leech")["advice"]);
    assert!(advice.contains("--leech off"), "{advice}");
    // Only b is left, under the address that it listens on.
    let addr = string(&b.ask(&["status"], "status")["listen"]);
    let peer = string(&b.ask(&["id"], "id")["peer_id"]);
    let way = LinkPeer {
        peer: peer.parse().unwrap(),
        addrs: vec![addr.parse().unwrap()],
    };
    let link: Link = link.parse().unwrap();
    let link = Link::new(link.channel(), link.charter(), &[way]).to_string();
    let out = c.path("out");
    let get = ["get", &link, "-o", text(&out)];
    let hasty: Vec<_> = get.into_iter().chain(["--timeout", "2s"]).collect();
    c.run(&hasty).failed("no_peer", 4);
    let told = b.ask(&["limit", "--leech", "off"], "limits");
    assert_eq!(told["leech"], false);
    c.run(&get).ok();
    assert_same(&file, &out.join("file.bin"));
}

fn publish(peer: &Peer, channel: &str, path: &std::path::Path, more: &[&str]) -> Value {
    let mut args = vec!["publish", channel, text(path)];
    args.extend(more);
    peer.ask(&args, "published")
}

fn have(peer: &Peer, content: &str) -> u64 {
    let status = peer.ask(&["status"], "status");
    let contents = status["contents"].as_array().unwrap();
    let found = contents.iter().find(|c| c["manifest"] == content);
    found.map_or(0, |c| number(&c["have"]))
}

#[test]
fn what_is_paused_rests_over_a_restart_and_goes_on_when_resumed() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let mut contents = Vec::new();
    for (i, name) in ["resting", "going"].into_iter().enumerate() {
        let app = world.path(name);
        fs::create_dir_all(&app).unwrap();
        fs::write(app.join("app.bin"), noise(300_000, 4 + i as u64)).unwrap();
        a.ask(&["channel", "create", name], "channel");
        contents.push(string(&publish(&a, name, &app, &[])["content"]));
    }
    let (_a_node, _) = a.node();
    let (node, _) = b.node();
    let into = |name: &str| b.path(&format!("apps-{name}"));
    b.ask(&["pause"], "limits");
    for name in ["resting", "going"] {
        let link = a.link(name);
        b.ask(
            &["subscribe", &link, "--into", text(&into(name))],
            "subscribed",
        );
    }
    poll("both channels to be known", || {
        let listed = b.run(&["channel", "list"]).ok();
        let known = listed.events.iter().filter(|e| e["version"] == "1");
        known.count() == 2
    });
    let status = b.ask(&["status"], "status");
    assert_eq!(
        (&status["paused"], &status["channels"][0]["paused"]),
        (&true.into(), &true.into())
    );
    let message = b.run(&["resume", "going"]).failed("usage", 2);
    assert!(message.contains("everything is paused"), "{message}");
    node.interrupt().ok();

    let (_node, _) = b.node();
    assert_eq!(b.ask(&["limit"], "limits")["paused"], true);
    for content in &contents {
        assert_eq!(have(&b, content), 0);
    }
    b.ask(&["resume"], "limits");
    let there = |name: &str, version: &str| into(name).join(version).join(name);
    for name in ["resting", "going"] {
        poll("what was resumed", || there(name, "1").exists());
    }

    // One channel alone.
    let paused = b.ask(&["pause", "resting"], "limits");
    assert_eq!(
        (&paused["paused"], &paused["paused_channels"][0]),
        (&false.into(), &"resting".into())
    );
    let status = b.ask(&["status"], "status");
    assert!(status["paused"].is_null(), "{status}");
    let marks = |of: &str| {
        let listed = status[of].as_array().unwrap().iter();
        let mut marks: Vec<_> = listed
            .map(|item| (string(&item["name"]), item["paused"] == true))
            .collect();
        marks.sort();
        marks
    };
    let one = [("going".to_owned(), false), ("resting".to_owned(), true)];
    assert_eq!(
        (&*marks("channels"), &*marks("contents")),
        (&one[..], &one[..])
    );
    for name in ["resting", "going"] {
        let newer = world.path("newer").join(name);
        fs::create_dir_all(&newer).unwrap();
        fs::write(newer.join("app.bin"), noise(300_000, 14)).unwrap();
        publish(&a, name, &newer, &[]);
    }
    poll("what is not paused", || there("going", "2").exists());
    poll("the other to be known", || {
        let listed = b.run(&["channel", "list"]).ok();
        listed.events.iter().all(|e| e["version"] == "2")
    });
    assert!(!there("resting", "2").exists());
    let message = b.run(&["resume", "going"]).failed("not_found", 14);
    assert!(message.contains("samara limit"), "{message}");
    b.ask(&["resume", "resting"], "limits");
    poll("what was resumed", || there("resting", "2").exists());
    assert_same(&world.path("newer/resting"), &there("resting", "2"));
}

#[test]
fn a_pause_in_the_middle_stops_both_ends() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(20_000_000, 6)).unwrap();
    let mut share = a.start(&["share", text(&file), "--up", "1 MB/s"]);
    let sharing = share.event("sharing");
    let (link, content) = (string(&sharing["link"]), string(&sharing["content"]));
    let out = b.path("out");
    let mut get = b.start(&["get", "-v", &link, "-o", text(&out)]);
    under_way(&mut get);
    // Here the sender pauses, and the receiver waits; then the other way round.
    for (peer, other) in [(&a, &b), (&b, &a)] {
        let paused = peer.ask(&["pause", &content[..12]], "limits");
        assert_eq!(paused["paused_contents"][0], content);
        other.ask(&["limit", "--up", "off"], "limits");
        a.ask(&["limit", "--up", "off"], "limits");
        // What is on its way comes in; after that nothing does.
        let mut last = u64::MAX;
        poll("everything to rest", || {
            let now = have(&b, &content);
            std::mem::replace(&mut last, now) == now
        });
        a.ask(&["limit", "--up", "1 MB/s"], "limits");
        peer.ask(&["resume", &content[..12]], "limits");
        under_way(&mut get);
    }
    a.ask(&["limit", "--up", "off"], "limits");
    get.end().ok().event("complete");
    assert_same(&file, &out.join("file.bin"));
}

#[test]
fn the_file_is_read_again_on_a_hangup() {
    let world = World::new();
    let a = world.peer("a");
    let file = world.path("samara.toml");
    fs::write(&file, "[limits]\nup = \"2 MB/s\"\n").unwrap();
    let mut node = a.start(&["node", "--config", text(&file)]);
    node.event("listening");
    let held = || rate(&a.ask(&["limit"], "limits"), "up");
    assert_eq!(held(), (Some(2_000_000), "configuration".into()));
    fs::write(&file, "[limits]\nup = \"3 MB/s\"\n").unwrap();
    kill_process(node.pid(), Signal::HUP).unwrap();
    poll("the new limit", || held().0 == Some(3_000_000));
    // A mistake leaves all as it was.
    fs::write(&file, "[limits]\nup = \"fast\"\n").unwrap();
    kill_process(node.pid(), Signal::HUP).unwrap();
    poll("the mistake to be told", || node.told("stay as they were"));
    assert_eq!(held().0, Some(3_000_000));
}

#[test]
fn whom_to_serve_first_is_changed_without_a_restart_and_kept() {
    let world = World::new();
    let a = world.peer("a");
    let file = world.path("samara.toml");
    fs::write(&file, "[limits]\nupload_policy = \"average\"\n").unwrap();
    let node = ["node", "--config", text(&file)];
    let mut running = a.start(&node);
    running.event("listening");
    let policy = |more: &[&str]| {
        let command = [&["limit"], more].concat();
        string(&a.ask(&command, "limits")["upload_policy"])
    };
    assert_eq!(policy(&[]), "average");
    assert_eq!(policy(&["--upload-policy", "last"]), "last");
    running.interrupt().ok();
    let mut running = a.start(&node);
    running.event("listening");
    assert_eq!(policy(&[]), "last", "what was ordered goes before the file");
    assert_eq!(policy(&["--reset"]), "average");
    running.interrupt().ok();
    let mut running = a.start(&["node", "--upload-policy", "average"]);
    running.event("listening");
    assert_eq!(policy(&[]), "average");
}

#[test]
fn nothing_passes_beyond_the_local_network_if_it_must_not() {
    let Some(cable) = Cable::lay() else { return };
    for (i, end) in [0, 1].into_iter().enumerate() {
        let addr = format!("198.51.100.{}/24", 1 + i);
        let mut add = Command::new("ip");
        add.args(["-n", cable.end(end), "addr", "add", &addr, "dev", "eth0"]);
        assert!(add.status().unwrap().success());
    }
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(300_000, 7)).unwrap();
    let share = ["share", text(&file), "--no-mdns"];
    let mut share = Running::start(inside(cable.end(0), &a, &share));
    let link: Link = string(&share.event("sharing")["link"]).parse().unwrap();
    let way = LinkPeer {
        peer: link.peers()[0].peer,
        addrs: vec!["198.51.100.1:7421".parse().unwrap()],
    };
    let link = Link::new(link.channel(), link.charter(), &[way]).to_string();
    let out = b.path("out");
    let get = |more: &[&str]| {
        let mut args = vec!["get", &link, "-o", text(&out), "--no-mdns"];
        args.extend(more);
        Running::start(inside(cable.end(1), &b, &args)).end()
    };
    let message = get(&["--no-wan", "--timeout", "2s"]).failed("no_peer", 4);
    assert!(message.contains("no-wan"), "{message}");
    a.ask(&["limit", "--no-wan", "on"], "limits");
    get(&["--timeout", "2s"]).failed("no_peer", 4);
    a.ask(&["limit", "--no-wan", "off"], "limits");
    get(&[]).ok();
    assert_same(&file, &out.join("file.bin"));
}

#[test]
fn a_file_is_read_from_its_beginning_while_it_arrives() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let (file, whole) = (world.path("file.bin"), noise(6_000_000, 12));
    fs::write(&file, &whole).unwrap();
    let mut share = a.start(&["share", text(&file), "--up", "100 kB/s"]);
    let link = string(&share.event("sharing")["link"]);
    let out = b.path("out");
    let mut get = b
        .command(["get", &link, "-o", text(&out), "--stdout"])
        .env_remove("SAMARA_JSON")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stream = get.stdout.take().unwrap();
    let mut first = vec![0; 100_000];
    stream.read_exact(&mut first).unwrap();
    assert!(first == whole[..100_000]);
    // At this rate the rest takes a minute.
    assert!(!out.join("file.bin").exists());
    a.ask(&["limit", "--up", "off"], "limits");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(get.wait().unwrap().success());
    assert!(rest == whole[100_000..]);
    assert_same(&file, &out.join("file.bin"));
}

#[test]
fn a_folder_is_not_begun_where_one_file_is_to_be_written() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let folder = world.path("folder");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("file.bin"), noise(300_000, 21)).unwrap();
    let (_share, link) = a.share(&folder);
    let out = b.path("out");
    let get = b
        .command(["get", &link, "-o", text(&out), "--stdout"])
        .env_remove("SAMARA_JSON")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&get.stderr);
    assert_eq!(get.status.code(), Some(2), "{said}");
    assert!(said.contains("folder is a folder"), "{said}");
    assert!(get.stdout.is_empty() && !out.join("folder").exists());
    let held = b.ask(&["status"], "status");
    assert_eq!(held["contents"].as_array().map(Vec::len), Some(0), "{held}");
}

#[test]
fn an_urgent_release_overtakes_an_old_bulky_one() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    for (name, bytes, seed) in [("bulk", 16_000_000, 8), ("urgent", 4_000_000, 9)] {
        let app = world.path(name).join("app");
        fs::create_dir_all(&app).unwrap();
        fs::write(app.join("app.bin"), noise(bytes, seed)).unwrap();
    }
    a.ask(&["channel", "create", "product"], "channel");
    let bulk = world.path("bulk/app");
    let published = publish(
        &a,
        "product",
        &bulk,
        &["--version", "1", "--priority", "bulk"],
    );
    let (_a_node, _) = a.node();
    let (_b_node, _) = b.node();
    a.ask(&["limit", "--up", "500 kB/s"], "limits");
    let (link, into) = (a.link("product"), b.path("apps"));
    b.ask(&["subscribe", &link, "--into", text(&into)], "subscribed");
    let content = string(&published["content"]);
    poll("the bulky one to be on its way", || have(&b, &content) > 0);
    // Until it was seen what goes on.
    a.ask(&["limit", "--up", "100 kB/s"], "limits");
    let urgent = world.path("urgent/app");
    publish(
        &a,
        "product",
        &urgent,
        &["--version", "2", "--priority", "urgent"],
    );
    let yields = explained(&b, &content, "yields");
    assert!(
        string(&yields["what"]).contains("waits for app ("),
        "{yields}"
    );
    a.ask(&["limit", "--up", "1 MB/s"], "limits");
    let current = || fs::read_link(into.join("current")).ok();
    poll("the urgent one", || {
        current().is_some_and(|at| at.ends_with("2"))
    });
    assert_same(&urgent, &into.join("current/app"));
    assert!(
        !into.join("1/app").exists(),
        "the bulky one was not overtaken"
    );

    a.ask(&["limit", "--up", "off"], "limits");
    poll("the bulky one", || into.join("1/app").exists());
    assert!(
        current().unwrap().ends_with("2"),
        "an old one became current again"
    );
}

/// What is said of a content, once it is of a verdict.
fn explained(peer: &Peer, what: &str, verdict: &str) -> Value {
    let mut last = Value::Null;
    poll(&format!("the verdict {verdict}"), || {
        last = peer.ask(&["explain", what], "explained");
        last["verdict"] == verdict
    });
    last
}

#[test]
fn a_slow_transfer_is_explained() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(40_000_000, 10)).unwrap();
    let mut share = a.start(&["share", text(&file), "--up", "500 kB/s"]);
    let sharing = share.event("sharing");
    let (link, content) = (string(&sharing["link"]), string(&sharing["content"]));
    let at_rest = a.ask(&["explain", &content[..12]], "explained");
    assert_eq!(
        (&at_rest["verdict"], &at_rest["name"]),
        (&"at_rest".into(), &"file.bin".into())
    );

    // One source, and its limit is none of ours.
    let out = b.path("out");
    let mut get = b.start(&["get", "-v", &link, "-o", text(&out), "--timeout", "10min"]);
    under_way(&mut get);
    let one = explained(&b, &content, "one_source");
    assert_eq!((number(&one["sources"]), number(&one["peers"])), (1, 1));
    assert!(number(&one["have"]) > 0 && number(&one["total"]) == 40_000_000);
    assert_eq!(one["from"].as_array().unwrap().len(), 1);
    let held = explained(&a, &content, "complete");
    assert!(string(&held["what"]).contains("up 500 kB/s"), "{held}");

    // Then our own.
    b.ask(&["limit", "--down", "100 kB/s"], "limits");
    a.ask(&["limit", "--up", "off"], "limits");
    let own = explained(&b, &content, "own_limit");
    assert!(string(&own["what"]).contains("down 100 kB/s"), "{own}");
    assert!(string(&own["advice"]).contains("samara limit"), "{own}");
    assert_eq!(b.ask(&["pause"], "limits")["paused"], true);
    explained(&b, &content, "paused");
    b.ask(&["resume"], "limits");

    // Then nobody.
    share.interrupt().ok();
    b.ask(&["limit", "--down", "off"], "limits");
    let nobody = explained(&b, &content, "no_source");
    assert_eq!(number(&nobody["peers"]), 0);
    drop(get);
    b.run(&["explain", "nothing"]).failed("not_found", 14);
}
