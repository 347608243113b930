//! How a channel stands: who is there, who floods, and what time it is by its owners.

use std::time::Duration;

use samara_graph::{CharterLimits, Kind, Publishers, WallMs, body::TimeFloor};
use serde_json::Value;

use crate::{
    liar::{Liar, now},
    pages::ask,
    running::{Running, poll},
    world::{Peer, World, number, string},
};

const NOTE: Kind = Kind(70_000);

/// How the node's only channel stands.
fn standing(peer: &Peer) -> Value {
    peer.ask(&["status"], "status")["channels"][0]["standing"].clone()
}

/// The next change of that name.
fn change(watch: &mut Running, name: &str) -> Value {
    watch.until(name, |e| e["change"] == name)
}

#[test]
fn a_member_that_floods_costs_little_and_is_named() {
    const ALLOWED: u64 = 20;
    const WRITTEN: u64 = 200;
    let world = World::new();
    let b = world.peer("b");
    let liar = Liar::start();
    let channel = liar.channel_of("club", |charter| {
        charter.limits = CharterLimits {
            records_per_author: ALLOWED as u32,
            ..CharterLimits::default()
        };
    });
    let mut node = b.start(&["node", "--metrics", "127.0.0.1:0"]);
    let metrics = string(&node.event("listening")["metrics"]);
    b.run(&["subscribe", &liar.link(channel, &[])]).ok();
    poll("the first synchronization", || {
        standing(&b)["synchronized"] == true
    });
    for n in 0..WRITTEN {
        liar.publish(channel, NOTE, &n.to_le_bytes(), vec![7; 1000]);
    }
    poll("the last record", || {
        number(&standing(&b)["displaced"]) == WRITTEN - ALLOWED
    });
    let status = b.ask(&["status"], "status");
    assert_eq!(number(&status["channels"][0]["records"]), ALLOWED);
    let standing = &status["channels"][0]["standing"];
    assert!(
        number(&standing["record_bytes"]) < ALLOWED * 1400,
        "{standing}"
    );
    let offender = &standing["offenders"][0];
    assert_eq!(offender["peer_id"], liar.key.peer_id().to_string());
    assert_eq!(number(&offender["records"]), WRITTEN - ALLOWED);
    assert_eq!(number(&offender["reasons"]["displaced"]), WRITTEN - ALLOWED);
    poll("the metrics", || {
        let (_, text) = ask(&metrics, "/metrics", &[]);
        text.contains(&format!(
            "samara_records_displaced_total {}",
            WRITTEN - ALLOWED
        ))
    });
    node.interrupt().ok();
}

#[test]
fn who_is_present_is_told_and_listed() {
    let world = World::new();
    let b = world.peer("b");
    let me = string(&b.ask(&["id"], "id")["peer_id"]);
    let liar = Liar::start();
    let channel = liar.channel_of("club", |charter| {
        charter.presence_ms = Some(60_000);
        let named = [me.parse().unwrap(), liar.key.peer_id()];
        charter.publishers = Publishers::Named(named.into());
    });
    let (node, _) = b.node();
    b.run(&["subscribe", &liar.link(channel, &[])]).ok();
    // By its id: the name comes with the charter.
    let id = channel.to_string();
    let mut watch = b.start(&["watch", &id]);
    // The node signs its own lease as soon as it knows that it may.
    let present = |who: &str| {
        let rows = b.run(&["members", &id]).ok();
        let row = rows.events.iter().find(|e| e["peer_id"] == who).cloned();
        row.filter(|row| row["present_until"].is_string())
    };
    poll("its own lease", || present(&me).is_some());
    assert!(present(&me).unwrap()["present_since"].is_string());
    assert_eq!(number(&standing(&b)["present"]), 1);
    // Another one comes, and goes without a word.
    let other = liar.key.peer_id().to_string();
    liar.publish_for(channel, Kind::PRESENCE, b"", vec![], Duration::from_secs(2));
    let came = watch.until("present", |e| {
        e["change"] == "present" && e["peer"] == other.as_str()
    });
    assert_eq!(came["peer"], other.as_str());
    assert_eq!(change(&mut watch, "absent")["peer"], other.as_str());
    assert!(present(&other).is_none());
    watch.interrupt().ok();
    // A lease is nothing of the channel's history.
    liar.publish(channel, NOTE, b"note", vec![]);
    let mut again = b.start(&["watch", &id, "--since", "0"]);
    assert_eq!(
        number(&change(&mut again, "arrived")["kind"]),
        u64::from(NOTE.0)
    );
    node.interrupt().ok();
}

#[test]
fn an_owners_word_on_the_time_outlives_a_restart() {
    let world = World::new();
    let b = world.peer("b");
    let liar = Liar::start();
    let channel = liar.channel_of("club", |charter| {
        charter.created = WallMs(charter.created.0 - 86_400_000);
    });
    let (node, _) = b.node();
    b.run(&["subscribe", &liar.link(channel, &[])]).ok();
    poll("the charter", || standing(&b)["synchronized"] == true);
    let at = WallMs(now().0 / 1000 * 1000);
    let word = TimeFloor { at }.encode();
    liar.publish_for(channel, Kind::TIME, b"", word, Duration::from_secs(3600));
    poll("the word", || floor(&b) == Some(at));
    assert_eq!(standing(&b)["clock_behind"], false);
    node.kill();
    let (node, _) = b.node();
    assert_eq!(floor(&b), Some(at));
    node.interrupt().ok();
}

fn floor(peer: &Peer) -> Option<WallMs> {
    WallMs::from_rfc3339(standing(peer)["time_floor"].as_str()?)
}
