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
    let (charter, invitation) = (link.charter(), link.invitation().cloned());
    Link::with(link.channel(), charter, link.is_private(), invitation, &[]).to_string()
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
fn a_private_channel_is_found_on_the_local_network_by_who_knows_it() {
    let Some(cable) = Cable::lay() else { return };
    let world = World::new();
    let (a, b, stranger) = (world.peer("a"), world.peer("b"), world.peer("stranger"));
    a.ask(&["channel", "create", "club", "--private"], "channel");
    let text_of = world.path("first.md");
    fs::write(&text_of, "# First\n\nFor us.\n").unwrap();
    a.ask(&["post", "club", text(&text_of)], "posted");
    let link = string(&a.ask(&["invite", "club"], "link")["link"]);
    let mut node = Running::start(inside(cable.end(0), &a, &["node"]));
    let peer = string(&node.event("listening")["peer_id"]);

    // No address in the link: it is found by the name that only members can tell.
    let joined = run_inside(cable.end(1), &b, &["join", &bare(&link)], "joined");
    assert_eq!(
        (&joined["name"], &joined["role"]),
        (&"club".into(), &"member".into())
    );
    let follow = ["subscribe", &bare(&a.link("club")), "--once"];
    run_inside(cable.end(1), &b, &follow, "subscribed");
    let read = Running::start(inside(cable.end(1), &b, &["read", "club"]))
        .end()
        .ok();
    assert_eq!(read.event("issue")["subject"], "First");
    let found = run_inside(
        cable.end(1),
        &b,
        &["resolve", "club", "--scope", "lan"],
        "resolved",
    );
    assert_eq!(found["peer_id"], peer);

    // One use, one member.
    let late = ["join", &bare(&link), "--timeout", "5s"];
    let late = Running::start(inside(cable.end(1), &stranger, &late)).end();
    assert_ne!(late.status, Some(0), "{late:?}");
    assert!(stranger.run(&["channel", "list"]).ok().events.is_empty());
}

/// Labels as DNS has them on the wire, without compression (RFC 1035 section 3.1).
fn dns_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').map(|label| {
        let length = u8::try_from(label.len()).expect("a short label");
        [&[length], label.as_bytes()].concat()
    });
    [labels.collect::<Vec<_>>().concat(), vec![0]].concat()
}

/// An mDNS answer that announces `peer` as a member of `channel` (docs/protocol.md).
fn announcement(instance: &str, peer: &[u8], channel: &[u8], ip: [u8; 4], port: u16) -> Vec<u8> {
    const SERVICE: &str = "_samara._udp.local";
    let (full, host) = (
        dns_name(&format!("{instance}.{SERVICE}")),
        dns_name(&format!("{instance}.local")),
    );
    let record = |name: &[u8], kind: u16, class: u16, data: &[u8]| {
        let length = u16::try_from(data.len()).expect("a short record");
        let head = [kind.to_be_bytes(), class.to_be_bytes()].concat();
        let seconds = 120_u32.to_be_bytes();
        [name, &head, &seconds, &length.to_be_bytes(), data].concat()
    };
    let string = |key: &str, value: &[u8]| {
        let text = [key.as_bytes(), value].concat();
        [
            &[u8::try_from(text.len()).expect("a short string")],
            &text[..],
        ]
        .concat()
    };
    let txt = [
        string("v=", b"1"),
        string("p=", peer),
        string("c0=", channel),
    ]
    .concat();
    let target = [&[0, 0, 0, 0], &port.to_be_bytes()[..], &host].concat();
    // A response with authority, four answers.
    let header = [0, 0, 0x84, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    [
        header.to_vec(),
        record(&dns_name(SERVICE), 12, 1, &full),
        record(&full, 33, 0x8001, &target),
        record(&full, 16, 0x8001, &txt),
        record(&host, 1, 0x8001, &ip),
    ]
    .concat()
}

/// Says the same over and over to the local network until it is dropped.
struct Loudmouth(std::process::Child);

impl Loudmouth {
    fn start(netns: &str, packets: &std::path::Path) -> Self {
        let script =
            "while sleep 0.2; do for p in *; do cat $p > /dev/udp/224.0.0.251/5353; done; done";
        let mut command = Command::new("ip");
        command.args(["netns", "exec", netns, "bash", "-c", script]);
        Self(command.current_dir(packets).spawn().expect("bash"))
    }
}

impl Drop for Loudmouth {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn noise_and_lies_on_the_local_network_hide_no_neighbour() {
    let Some(cable) = Cable::lay() else { return };
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let created = a.ask(&["channel", "create", "product"], "channel");
    let id: samara_wire::ChannelId = string(&created["id"]).parse().unwrap();
    let peer = string(&a.ask(&["id"], "id")["peer_id"]);
    let honest: samara_wire::PeerId = peer.parse().unwrap();
    let name = blake3::derive_key("samara open channel name v1", &id.0);
    let name = &name[..16];
    let here = address(0).octets();

    let packets = world.path("packets");
    fs::create_dir_all(&packets).unwrap();
    let mut lies = vec![noise(1, 1), noise(700, 2), noise(8_900, 3)];
    let good = announcement("x", &honest.0, name, here, 1);
    lies.push(good[..good.len() / 2].to_vec());
    lies.push(announcement("short", &honest.0[1..], name, here, 1));
    lies.push(announcement("ragged", &honest.0, &name[1..], here, 1));
    lies.push(announcement(
        "far",
        &noise(32, 9),
        name,
        [192, 0, 2, 1],
        7421,
    ));
    // The honest one's key where it is not, and keys of nobody's that are tried first.
    lies.push(announcement("replay", &honest.0, name, here, 1));
    for i in 0..12 {
        let key = [&[0; 4], &noise(28, 100 + i)[..]].concat();
        lies.push(announcement(&format!("liar{i}"), &key, name, here, 1));
    }
    for (i, lie) in lies.iter().enumerate() {
        fs::write(packets.join(format!("{i:03}")), lie).unwrap();
    }
    let _loud = Loudmouth::start(cable.end(0), &packets);
    let mut node = Running::start(inside(cable.end(0), &a, &["node"]));
    node.event("listening");
    let link = bare(&a.link("product"));
    let follow = ["subscribe", &link, "--once", "--timeout", "60s"];
    run_inside(cable.end(1), &b, &follow, "subscribed");
    let id = string(&created["id"]);
    let found = ["resolve", &id, "--timeout", "60s"];
    let found = run_inside(cable.end(1), &b, &found, "resolved");
    assert_eq!(found["peer_id"], peer);
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
