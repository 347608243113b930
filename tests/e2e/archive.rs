//! Parity: contents that come back though nobody has all of them.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt, path::PathBuf};

use crate::{
    running::{Running, poll},
    tree::{assert_same, noise},
    world::{Peer, World, string, text},
};

/// An owner of a private channel, and keepers that are admitted to it; all run.
struct Club {
    world: World,
    owner: Peer,
    owner_node: Running,
    keepers: Vec<(Peer, Running)>,
}

impl Club {
    fn new(world: World, keepers: usize) -> Self {
        let owner = world.peer("owner");
        owner.ask(&["channel", "create", "club", "--private"], "channel");
        let (owner_node, _) = owner.node();
        let mut club = Self {
            world,
            owner,
            owner_node,
            keepers: Vec::new(),
        };
        let uses = keepers.to_string();
        let args = ["invite", "club", "--role", "keeper", "--uses", &uses];
        let link = string(&club.owner.ask(&args, "link")["link"]);
        for i in 0..keepers {
            let keeper = club.world.peer(&format!("keeper-{i}"));
            let (node, _) = keeper.node();
            keeper.run(&["join", &link]).ok();
            club.keepers.push((keeper, node));
        }
        // Everybody knows all keepers: shares are computed from the same ones.
        for (keeper, _) in &club.keepers {
            poll("all keepers to be known", || {
                keepers_known(keeper) == keepers
            });
        }
        club
    }

    /// Publishes a file of its own; its content id.
    fn publish(&self, number: u64, bytes: usize, parity: &[&str]) -> String {
        let file = self.world.path(&format!("release-{number}.bin"));
        fs::write(&file, noise(bytes, number)).unwrap();
        let args = ["publish", "club", text(&file)];
        let args: Vec<&str> = args.into_iter().chain(parity.iter().copied()).collect();
        string(&self.owner.ask(&args, "published")["content"])
    }

    /// Every keeper mirrors the channel from now on.
    fn mirror(&self) {
        let link = self.owner.link("club");
        for (keeper, _) in &self.keepers {
            keeper.run(&["mirror", &link, "--keep", "share"]).ok();
        }
    }

    /// Waits until every keeper has all that falls to it of a content.
    fn until_held(&self, content: &str) {
        for (keeper, _) in &self.keepers {
            let stamps = folder(keeper, content).join("stamps");
            poll("a content to be held", || stamps.exists());
        }
    }

    /// A member that has nothing yet.
    fn newcomer(&self) -> Peer {
        let args = ["invite", "club", "--role", "reader"];
        let link = string(&self.owner.ask(&args, "link")["link"]);
        let peer = self.world.peer("newcomer");
        peer.run(&["join", &link]).ok();
        peer
    }
}

fn keepers_known(peer: &Peer) -> usize {
    let members = peer.run(&["members", "club"]).ok();
    let keepers = members.events.iter().filter(|m| m["role"] == "keeper");
    keepers.count()
}

fn folder(peer: &Peer, content: &str) -> PathBuf {
    peer.data_dir().join("contents").join(content)
}

/// Bytes on disk of a content's chunks and shards at a peer.
fn kept(peer: &Peer, content: &str) -> u64 {
    let folder = folder(peer, content);
    let taken = |name: &str| match fs::metadata(folder.join(name)) {
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    taken("data") + taken("parity")
}

#[test]
fn keepers_hold_shares_of_old_releases_and_any_two_of_six_bring_them_back() {
    let mut club = Club::new(World::new(), 6);
    // Four stripes of two chunks and four shards: any 2 of 6.
    let old = club.publish(1, 128 << 10, &["--parity", "4/2"]);
    club.mirror();
    club.until_held(&old);
    for (keeper, _) in &club.keepers {
        assert!(kept(keeper, &old) >= 128 << 10, "the newest is kept whole");
    }
    // The parity of the release before is the default.
    let new = club.publish(2, 128 << 10, &[]);
    club.until_held(&new);
    let mut all = 0;
    for (keeper, _) in &club.keepers {
        assert!(kept(keeper, &new) >= 128 << 10);
        poll("the old release to shrink", || {
            kept(keeper, &old) <= 80 << 10
        });
        all += kept(keeper, &old);
    }
    for (keeper, _) in &club.keepers {
        let status = keeper.ask(&["status"], "status");
        let contents = status["contents"].as_array().unwrap();
        let shown = |id: &str| contents.iter().find(|c| c["manifest"] == id).unwrap();
        assert_eq!(shown(&old)["share"]["chunks"], 4, "{status}");
        assert_eq!(shown(&old)["share"]["have"], 4, "{status}");
        assert_eq!(shown(&new)["share"], serde_json::Value::Null, "{status}");
    }
    assert!(
        (384 << 10..430 << 10).contains(&all),
        "three times its size: {all}"
    );

    let newcomer = club.newcomer();
    club.owner_node.kill();
    for (_, node) in club.keepers.drain(..4) {
        node.kill();
    }
    let link = club.keepers[0].0.link("club");
    let came = newcomer.run(&["mirror", &link, "--once"]).ok();
    let complete = |content: &str| {
        let about = |event: &&serde_json::Value| event["event"] == "complete";
        let mut events = came.events.iter().filter(about);
        events.any(|event| event["content"] == content)
    };
    assert!(complete(&old) && complete(&new), "{:?}", came.events);
    assert!(kept(&newcomer, &old) >= 128 << 10);
}

#[test]
fn a_download_is_completed_from_parts_of_two_after_the_publisher_left() {
    let world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("c"));
    let (tree, into) = (world.path("app"), c.path("apps"));
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("app.bin"), noise(700_000, 1)).unwrap();
    fs::write(tree.join("readme"), b"read me").unwrap();
    a.ask(&["channel", "create", "product"], "channel");
    let (a_node, _) = a.node();
    let args = ["publish", "product", text(&tree), "--parity", "2/4"];
    let content = string(&a.ask(&args, "published")["content"]);
    let (_b_node, _) = b.node();
    b.run(&["mirror", &a.link("product"), "--once"]).ok();
    // The publisher's disk loses a file's middle: some chunks are nowhere but with b.
    // And b's copy loses its start: some are nowhere but with a, or in the shards.
    let published = fs::read(tree.join("app.bin")).unwrap();
    let mut torn = published.clone();
    torn[200_000..260_000].fill(0);
    fs::write(tree.join("app.bin"), &torn).unwrap();
    let data = b.data_dir().join(format!("contents/{content}/data"));
    let mut sealed = fs::read(&data).unwrap();
    sealed[200_000..260_000].fill(0);
    fs::write(&data, sealed).unwrap();
    // What neither has is brought back from the publisher's shards.
    let args = [
        "subscribe",
        &b.link("product"),
        "--into",
        text(&into),
        "--once",
    ];
    c.run(&args).ok();
    fs::write(tree.join("app.bin"), published).unwrap();
    assert_same(&tree, &into.join("1/app"));
    drop(a_node);
}

#[test]
fn a_keeper_alone_makes_the_shards_that_fall_to_it() {
    let world = World::new();
    let (owner, keeper) = (world.peer("owner"), world.peer("keeper"));
    owner.ask(&["channel", "create", "club", "--private"], "channel");
    let (_node, _) = owner.node();
    let args = ["invite", "club", "--role", "keeper"];
    let link = string(&owner.ask(&args, "link")["link"]);
    keeper.run(&["join", &link]).ok();
    let contents = [("old", 1), ("new", 2)].map(|(name, seed)| {
        let file = world.path(name);
        fs::write(&file, noise(10 * (16 << 10), seed)).unwrap();
        let args = ["publish", "club", text(&file), "--parity", "20/10"];
        string(&owner.ask(&args, "published")["content"])
    });
    let link = owner.link("club");
    keeper
        .run(&["mirror", &link, "--keep", "share", "--once"])
        .ok();
    let status = keeper.ask(&["status"], "status");
    let held = status["contents"].as_array().unwrap();
    let old = held.iter().find(|c| c["manifest"] == *contents[0]);
    let share = &old.expect("it is held")["share"];
    assert_eq!((&share["chunks"], &share["have"]), (&30.into(), &30.into()));
}

#[test]
fn who_keeps_all_in_the_place_of_shares_is_told_why() {
    let club = Club::new(World::new(), 1);
    club.publish(1, 64 << 10, &[]);
    let (keeper, reader) = (&club.keepers[0].0, club.newcomer());
    let link = club.owner.link("club");
    for (peer, why, what) in [
        (&reader, "not one of its keepers", "samara role"),
        (keeper, "without parity", "--parity"),
    ] {
        let args = ["mirror", &link, "--keep", "share", "--once"];
        let done = peer.run(&args).ok();
        let told = string(&done.event("warning")["message"]);
        assert!(told.contains(why) && told.contains(what), "{told}");
        // Who does not wait for anything hears of it too.
        let done = peer.run(&args[..4]).ok();
        assert_eq!(done.event("warning")["message"], *told);
    }
    let whole = keeper.run(&["mirror", &link, "--once"]).ok();
    assert!(whole.events.iter().all(|e| e["event"] != "warning"));
    let (node, _) = reader.node();
    poll("the log to say so", || node.told("not one of its keepers"));
}

/// One row of the table in docs/performance.md with real processes: 30 keepers, of
/// which 12 are away, shares of 10 of 30, 50 archived releases.
#[test]
fn fifty_releases_outlive_two_fifths_of_thirty_keepers() {
    const RELEASES: u64 = 50;
    const BYTES: usize = 10 * (16 << 10);
    let mut club = Club::new(World::in_memory(), 30);
    let old: Vec<String> = (0..RELEASES)
        .map(|number| club.publish(number, BYTES, &["--parity", "20/10"]))
        .collect();
    let new = club.publish(RELEASES, BYTES, &[]);
    club.mirror();
    // The newest are fetched first.
    club.until_held(&new);
    old.iter()
        .rev()
        .for_each(|content| club.until_held(content));
    // Who heard of the newest late keeps an older one whole until then.
    let times = || {
        let of_one = |(keeper, _): &(Peer, Running)| -> u64 {
            old.iter().map(|content| kept(keeper, content)).sum()
        };
        let stored: u64 = club.keepers.iter().map(of_one).sum();
        stored as f64 / (RELEASES as usize * BYTES) as f64
    };
    poll("the old releases to shrink", || times() < 3.2);
    let times = times();

    let newcomer = club.newcomer();
    club.owner_node.kill();
    // Whichever they are: each of 30 keepers holds one place of 30.
    for (_, node) in club.keepers.drain(..12) {
        node.kill();
    }
    let link = club.keepers[0].0.link("club");
    let mut coming = newcomer.start(&["mirror", &link, "--once"]);
    let complete: BTreeSet<String> = (0..=RELEASES)
        .map(|_| string(&coming.event("complete")["content"]))
        .collect();
    coming.end().ok();
    let recovered = old.iter().filter(|content| complete.contains(*content));
    let recovered = recovered.count();
    println!("{recovered} of {RELEASES} recovered at {times:.2} times the storage");
    assert_eq!(recovered, RELEASES as usize);
}
