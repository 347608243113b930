//! Private channels: who is in, who was, and what is left to whom.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    running::{Running, poll},
    tree::noise,
    world::{Peer, World, string, text},
};

fn id(peer: &Peer) -> String {
    string(&peer.ask(&["id"], "id")["peer_id"])
}

fn invite(peer: &Peer, more: &[&str]) -> String {
    let args = [&["invite", "club"], more].concat();
    string(&peer.ask(&args, "link")["link"])
}

fn post(peer: &Peer, world: &World, subject: &str, attach: Option<&PathBuf>) {
    let file = world.path(&format!("{subject}.md"));
    fs::write(&file, format!("# {subject}\n\nText.\n")).unwrap();
    let mut args = vec!["post", "club", text(&file)];
    if let Some(path) = attach {
        args.extend(["--attach", text(path)]);
    }
    peer.ask(&args, "posted");
}

/// The issues that a node has whole, by subject.
fn whole(peer: &Peer) -> Vec<Value> {
    let mut issues = peer.run(&["read", "club"]).ok().events;
    issues.retain(|issue| issue["complete"] == true);
    issues.sort_by_key(|issue| string(&issue["subject"]));
    issues
}

fn subjects(peer: &Peer) -> Vec<String> {
    whole(peer).iter().map(|i| string(&i["subject"])).collect()
}

fn until_read(peer: &Peer, wanted: &[&str]) {
    poll(&format!("{wanted:?}"), || subjects(peer) == wanted);
}

fn members(peer: &Peer) -> Vec<Value> {
    peer.run(&["members", "club"]).ok().events
}

fn gone(peer: Peer, node: Running) {
    node.kill();
    fs::remove_dir_all(peer.data_dir()).unwrap();
}

#[test]
fn a_club_of_five_outlives_its_owner_and_keeps_out_who_was_revoked() {
    let world = World::new();
    let owner = world.peer("owner");
    owner.ask(&["channel", "create", "club", "--private"], "channel");
    let (owner_node, _) = owner.node();
    let peers: Vec<_> = ["b", "c", "d", "e"].map(|n| world.peer(n)).into();
    let mut nodes: Vec<_> = peers.iter().map(|peer| peer.node().0).collect();
    let [b, c, d, e] = &peers[..] else {
        unreachable!()
    };
    b.ask(&["join", &invite(&owner, &["--role", "inviter"])], "joined");
    let three = invite(&owner, &["--uses", "3"]);
    for peer in [c, d, e] {
        assert_eq!(peer.ask(&["join", &three], "joined")["name"], "club");
    }
    let chart = world.path("chart.png");
    fs::write(&chart, noise(150_000, 7)).unwrap();
    post(&owner, &world, "first", Some(&chart));
    for peer in &peers {
        until_read(peer, &["first"]);
    }

    let fifth = id(e);
    owner.ask(&["revoke", "club", &fifth], "revoked");
    post(&owner, &world, "second", None);
    for peer in [b, c, d] {
        until_read(peer, &["first", "second"]);
    }
    // Every node that knows of it has let it go.
    poll("the fifth to be alone", || {
        let peers = e.run(&["peers"]).ok().events;
        peers
            .iter()
            .all(|peer| peer["channels"].as_array().unwrap().is_empty())
    });
    assert_eq!(subjects(e), ["first"]);

    // The owner is gone for good; the fifth starts again and knows another member.
    gone(owner, owner_node);
    nodes.pop().unwrap().interrupt();
    let (_e_node, _) = e.node();
    let again = ["subscribe", &b.link("club"), "--once", "--timeout", "3s"];
    e.run(&again).failed("no_peer", 4);
    let resolved = ["resolve", "club", "--timeout", "2s"];
    let told = e.run(&resolved).failed("no_peer", 4);
    assert!(told.contains("within 2 s"), "as asked: {told}");
    assert_eq!(subjects(e), ["first"]);

    // Who comes now is let in by a member, and gets everything from the others.
    let late = world.peer("late");
    let (_late_node, _) = late.node();
    late.ask(&["join", &invite(b, &[])], "joined");
    until_read(&late, &["first", "second"]);
    let first = whole(&late).remove(0);
    let path = string(&first["attachments"][0]["path"]);
    assert_eq!(fs::read(path).unwrap(), noise(150_000, 7));
    let revoked = members(&late).into_iter().find(|m| m["peer_id"] == fifth);
    assert_eq!(revoked.unwrap()["revoked"], true);
}

#[test]
fn who_leaves_tells_a_member() {
    let world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("c"));
    a.ask(&["channel", "create", "club", "--private"], "channel");
    let (_a_node, _) = a.node();
    let (_b_node, _) = b.node();
    let (c_node, _) = c.node();
    for peer in [&b, &c] {
        peer.ask(&["join", &invite(&a, &[])], "joined");
    }
    let listed = |peer: &Peer, who: &str| {
        let found = members(peer).into_iter().find(|m| m["peer_id"] == who);
        let found = found.expect("it is listed for ever");
        (found["role"].clone(), found["left"] == true)
    };
    // One by its node, one without.
    c_node.interrupt();
    assert_eq!(b.ask(&["leave", "club"], "left")["told"], true);
    assert_eq!(c.ask(&["leave", "club"], "left")["told"], true);
    for peer in [&b, &c] {
        let who = id(peer);
        poll("it to be listed as gone", || {
            listed(&a, &who) == (Value::Null, true)
        });
        peer.run(&["members", "club"]).failed("not_found", 14);
    }
}

#[test]
fn who_left_comes_back_by_a_new_invitation() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    a.ask(&["channel", "create", "club", "--private"], "channel");
    let (_a_node, _) = a.node();
    let (b_node, _) = b.node();
    b.ask(&["join", &invite(&a, &[])], "joined");
    assert_eq!(b.ask(&["leave", "club"], "left")["told"], true);
    // It does not come in by what it had; a new invitation lets it in.
    b_node.interrupt();
    let plain = ["subscribe", &a.link("club"), "--once", "--timeout", "3s"];
    b.run(&plain).failed("no_peer", 4);
    let (_b_node, _) = b.node();
    assert_eq!(
        b.ask(&["join", &invite(&a, &[])], "joined")["role"],
        "member"
    );
    post(&a, &world, "again", None);
    until_read(&b, &["again"]);
}

#[test]
fn a_club_travels_in_a_file_and_opens_no_door() {
    let world = World::new();
    let (a, b, stranger) = (world.peer("a"), world.peer("b"), world.peer("stranger"));
    a.ask(&["channel", "create", "club", "--private"], "channel");
    let (_a_node, _) = a.node();
    let (b_node, _) = b.node();
    b.ask(&["join", &invite(&a, &[])], "joined");
    post(&a, &world, "first", None);
    until_read(&b, &["first"]);
    b_node.interrupt();
    post(&a, &world, "second", None);
    let file = world.path("club.samara");
    a.ask(
        &["export", "club", text(&file), "--with-content"],
        "exported",
    );

    // A member that has no network reads what the file brings.
    let imported = b.ask(&["import", text(&file)], "imported");
    assert_eq!(imported["joined"], false);
    assert_eq!(subjects(&b), ["first", "second"]);
    // A member may carry it on; what comes of it is the same.
    let again = world.path("again.samara");
    b.ask(&["export", "club", text(&again)], "exported");

    // Who is none reads what it was given, and is let in nowhere for it.
    let imported = stranger.ask(&["import", text(&again)], "imported");
    assert_eq!(imported["joined"], true);
    assert_eq!(subjects(&stranger), ["first", "second"]);
    let (_stranger_node, _) = stranger.node();
    post(&a, &world, "third", None);
    let again = ["subscribe", &a.link("club"), "--once", "--timeout", "3s"];
    stranger.run(&again).failed("no_peer", 4);
    assert_eq!(subjects(&stranger), ["first", "second"]);
    stranger.run(&["invite", "club"]).failed("denied", 16);
}

#[test]
fn a_lost_key_is_replaced_by_a_grant_and_not_by_a_new_channel() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    a.ask(&["channel", "create", "club", "--private"], "channel");
    let (_a_node, _) = a.node();
    let (b_node, _) = b.node();
    b.ask(&["join", &invite(&a, &["--role", "publisher"])], "joined");
    post(&b, &world, "before", None);
    until_read(&a, &["before"]);
    let lost = id(&b);
    gone(b, b_node);

    let fresh = world.peer("fresh");
    let new = string(&fresh.ask(&["id", "create", "new"], "id")["peer_id"]);
    a.ask(&["revoke", "club", &lost], "revoked");
    a.ask(&["role", "club", &new, "publisher"], "role_given");
    fresh.ask(&["id", "default", "new"], "id");
    assert_eq!(id(&fresh), new);
    let (_fresh_node, _) = fresh.node();
    // No invitation: the grant is enough.
    fresh.ask(&["subscribe", &a.link("club"), "--once"], "subscribed");
    until_read(&fresh, &["before"]);
    post(&fresh, &world, "and after", None);
    until_read(&a, &["and after", "before"]);
    let roles: Vec<_> = members(&a)
        .into_iter()
        .filter(|m| m["peer_id"] == new || m["peer_id"] == lost)
        .map(|m| (m["role"].clone(), m["revoked"].clone()))
        .collect();
    assert!(
        roles.contains(&("publisher".into(), false.into())),
        "{roles:?}"
    );
    assert!(roles.contains(&(Value::Null, true.into())), "{roles:?}");
}
