//! What a running node makes of a channel that it follows, when that changes.

use std::fs;

use serde_json::Value;

use crate::{
    running::poll,
    tree::{assert_same, noise},
    world::{Peer, World, string, text},
};

/// Publishes a version of one file; the content.
fn publish(world: &World, peer: &Peer, version: &str, bytes: usize) -> String {
    let app = world.path(version).join("app");
    fs::create_dir_all(&app).unwrap();
    let seed = version.bytes().map(u64::from).sum();
    fs::write(app.join("app.bin"), noise(bytes, seed)).unwrap();
    let publish = ["publish", "product", text(&app), "--version", version];
    string(&peer.ask(&publish, "published")["content"])
}

/// Whether all of a content is here.
fn is_here(peer: &Peer, content: &str) -> bool {
    let status = peer.ask(&["status"], "status");
    let contents = status["contents"].as_array().unwrap();
    let whole = |c: &Value| c["manifest"] == content && c["complete"] == true;
    contents.iter().any(whole)
}

fn knows(peer: &Peer, version: &str) -> bool {
    let listed = peer.run(&["channel", "list"]).ok();
    listed.events.iter().any(|e| e["version"] == version)
}

#[test]
fn who_follows_already_may_mirror_or_install_from_then_on() {
    let world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("c"));
    a.ask(&["channel", "create", "product"], "channel");
    let content = publish(&world, &a, "1", 300_000);
    let (_a_node, _) = a.node();
    let link = a.link("product");
    let (_b_node, _) = b.node();
    let (_c_node, _) = c.node();
    // Followed, and nothing of it wanted here.
    for peer in [&b, &c] {
        peer.ask(&["subscribe", &link], "subscribed");
        poll("the release to be known", || knows(peer, "1"));
        assert!(!is_here(peer, &content));
    }
    b.ask(&["mirror", &link], "subscribed");
    poll("the release on the mirror", || is_here(&b, &content));
    // By the name that `status` shows.
    let explained = b.ask(&["explain", "app"], "explained");
    assert_eq!(explained["content"], content);
    let into = c.path("apps");
    c.ask(&["subscribe", &link, "--into", text(&into)], "subscribed");
    poll("the release in its place", || into.join("current").exists());
    assert_same(&world.path("1/app"), &into.join("current/app"));
}

#[test]
fn a_newer_release_overtakes_what_is_under_way() {
    let world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("c"));
    a.ask(&["channel", "create", "product"], "channel");
    let first = publish(&world, &a, "1.0", 6_000_000);
    let (_a_node, _) = a.node();
    a.ask(&["limit", "--up", "1 KiB/s"], "limits");
    let link = a.link("product");
    // So patient that nothing is given up here.
    let mut nodes = [&b, &c].map(|peer| peer.start(&["node", "--timeout", "10m"]));
    nodes.iter_mut().for_each(|node| {
        node.event("listening");
    });
    let into = b.path("apps");
    b.ask(&["subscribe", &link, "--into", text(&into)], "subscribed");
    c.ask(&["mirror", &link], "subscribed");
    let begun = |peer: &Peer, content: &str| {
        let status = peer.ask(&["status"], "status");
        let contents = status["contents"].as_array().unwrap();
        contents.iter().any(|c| c["manifest"] == content)
    };
    for peer in [&b, &c] {
        poll("the first to be under way", || begun(peer, &first));
    }
    let second = publish(&world, &a, "2.0", 300_000);
    let third = publish(&world, &a, "3.0", 200_000);
    for peer in [&b, &c] {
        poll("the newest to be under way", || begun(peer, &third));
        let explained = peer.ask(&["explain", "product"], "explained");
        assert_eq!(explained["content"], third);
        assert_ne!(explained["verdict"], "partial", "{explained}");
    }
    a.ask(&["limit", "--up", "off"], "limits");
    poll("the newest in its place", || into.join("current").exists());
    assert_same(&world.path("3.0/app"), &into.join("current/app"));
    // Whoever mirrors goes on where it was, and who installs the newest does not.
    for content in [&first, &second, &third] {
        poll("all of them on the mirror", || is_here(&c, content));
    }
    assert!(!is_here(&b, &first));
}
