//! Found without an address: on the local network, and through a DHT.

use std::{fs, process::Command};

use samara_graph::Link;
use serde_json::Value;

use crate::{
    netns::{Cable, address},
    running::Running,
    tree::{assert_same, noise},
    world::{Peer, World, string, text},
};

/// The same link without any way in.
fn bare(link: &str) -> String {
    let link: Link = link.parse().unwrap();
    Link::new(link.channel(), link.charter(), &[]).to_string()
}

/// A command in a namespace, listening everywhere.
pub(crate) fn inside(netns: &str, peer: &Peer, args: &[&str]) -> Command {
    let plain = peer.command(args);
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", netns])
        .arg(plain.get_program())
        .args(plain.get_args());
    for (key, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    if let Some(dir) = plain.get_current_dir() {
        command.current_dir(dir);
    }
    command.env_remove("SAMARA_LISTEN");
    command
}

fn run_inside(netns: &str, peer: &Peer, args: &[&str], event: &str) -> Value {
    let ended = Running::start(inside(netns, peer, args)).end().ok();
    ended.event(event).clone()
}

#[test]
fn a_neighbour_is_found_on_the_local_network_alone() {
    let Some(cable) = Cable::lay() else { return };
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let app = world.path("app");
    fs::create_dir_all(&app).unwrap();
    fs::write(app.join("app.bin"), noise(300_000, 1)).unwrap();
    let created = a.ask(&["channel", "create", "product"], "channel");
    a.ask(&["publish", "product", text(&app)], "published");
    let link = bare(&a.link("product"));
    let mut node = Running::start(inside(cable.end(0), &a, &["node"]));
    let peer = string(&node.event("listening")["peer_id"]);

    let id = string(&created["id"]);
    let at = |args: &[&str]| run_inside(cable.end(1), &b, args, "resolved");
    let by_id = at(&["resolve", &id, "--scope", "lan"]);
    assert_eq!(
        (&by_id["peer_id"], &by_id["channel"]),
        (&peer.as_str().into(), &id.into())
    );
    assert_eq!(by_id["scope"], "lan");
    assert_eq!(at(&["resolve", &link])["peer_id"], peer);
    let by_peer = at(&["resolve", &peer]);
    assert_eq!(by_peer["peer_id"], peer);
    assert!(by_peer["channel"].is_null());

    let silent = ["resolve", &peer, "--no-mdns", "--timeout", "1s"];
    let silent = Running::start(inside(cable.end(1), &b, &silent)).end();
    silent.failed("no_peer", 4);

    let into = b.path("apps");
    let follow = ["subscribe", &link, "--into", text(&into), "--once"];
    run_inside(cable.end(1), &b, &follow, "installed");
    assert_same(&app, &into.join("current/app"));
    let addr = string(&by_id["addr"]);
    let expected = format!("{}:7421", address(0));
    assert!(addr == expected || addr.starts_with("[fe80:"), "{addr}");
}

#[test]
fn a_member_is_found_through_a_dht() {
    let net = mainline::Testnet::new(5).expect("a DHT on loopback");
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    for peer in [&a, &b] {
        fs::create_dir_all(peer.data_dir()).unwrap();
        let config = format!(
            "[discovery]\ndht = true\ndht_bootstrap = {:?}\n",
            net.bootstrap
        );
        fs::write(peer.data_dir().join("config.toml"), config).unwrap();
    }
    let created = a.ask(&["channel", "create", "product"], "channel");
    let app = world.path("app");
    fs::create_dir_all(&app).unwrap();
    fs::write(app.join("app.bin"), noise(300_000, 2)).unwrap();
    a.ask(&["publish", "product", text(&app)], "published");
    let link = bare(&a.link("product"));
    let (_node, addr) = a.node();
    let into = b.path("apps");
    let follow = ["subscribe", &link, "--into", text(&into), "--once"];
    b.ask(&follow, "installed");
    assert_same(&app, &into.join("current/app"));
    let found = b.ask(&["resolve", &string(&created["id"])], "resolved");
    assert_eq!(found["addr"], addr);
    let peer = string(&a.ask(&["id"], "id")["peer_id"]);
    assert_eq!(b.ask(&["resolve", &peer], "resolved")["peer_id"], peer);
}
