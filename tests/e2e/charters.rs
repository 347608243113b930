//! Charters whose keys never saw a node, and two of them that contradict each other.

use std::fs;

use serde_json::Value;

use crate::{
    running::poll,
    world::{Peer, World, number, string, text},
};

/// A machine with a key on it where no node ever runs.
struct Vault {
    peer: Peer,
    id: String,
}

impl Vault {
    fn new(world: &World, name: &str) -> Self {
        let peer = world.peer(name);
        let made = peer.ask(&["id", "create", "root"], "id");
        let id = string(&made["peer_id"]);
        Self { peer, id }
    }

    fn sign(&self, draft: &str) -> Value {
        let args = ["--identity", "root", "channel", "sign", draft];
        self.peer.ask(&args, "charter_draft")
    }
}

fn shown(peer: &Peer) -> Value {
    peer.ask(&["channel", "show", "product"], "charter")
}

fn edit(peer: &Peer, draft: &str, change: &[&str]) -> Value {
    let args = [&["channel", "edit", "product", "--draft", draft], change].concat();
    peer.ask(&args, "charter_draft")
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(string).collect()
}

#[test]
fn two_of_three_keys_change_the_charter_and_a_fork_is_for_the_operator() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let vaults = [Vault::new(&world, "v2"), Vault::new(&world, "v3")];
    a.ask(&["channel", "create", "product"], "channel");
    let own = string(&a.ask(&["id"], "id")["peer_id"]);
    let (_a_node, _) = a.node();
    let (b_node, _) = b.node();
    b.ask(&["subscribe", &a.link("product")], "subscribed");
    poll("the first charter", || {
        let listed = b.run(&["channel", "list"]).ok();
        listed.event("channel")["name"] == "product"
    });
    b_node.interrupt();

    // This node's key is enough for the old charter, and not for the new one.
    let (one, other) = (&vaults[0].id, &vaults[1].id);
    let add = ["--add-root", one, "--add-root", other, "--threshold", "2"];
    let draft = a.run(&[&["channel", "edit", "product"][..], &add].concat());
    let draft = draft.ok().event("charter_draft").clone();
    let file = string(&draft["file"]);
    assert_eq!(
        (number(&draft["version"]), number(&draft["missing"])),
        (2, 1)
    );
    assert_eq!(strings(&draft["signers"]), std::slice::from_ref(&own));
    a.run(&["channel", "apply", &file]).failed("denied", 16);
    let stranger = Vault::new(&world, "stranger");
    let refused = stranger
        .peer
        .run(&["--identity", "root", "channel", "sign", &file]);
    refused.failed("denied", 16);
    let signed = vaults[0].sign(&file);
    assert_eq!(number(&signed["missing"]), 0);
    let terms: Vec<_> = signed["changes"].as_array().unwrap().iter().collect();
    assert!(
        terms
            .iter()
            .any(|c| c["term"] == "threshold" && c["to"] == "2")
    );
    let in_force = a.ask(&["channel", "apply", &file], "charter");
    assert_eq!(number(&in_force["version"]), 2);
    // Whoever owned alone goes on inviting and revoking.
    assert_eq!(strings(&in_force["admins"]), [own]);

    // Any two will do; no node ran where the keys are.
    let third = text(&a.path("third")).to_owned();
    edit(&a, &third, &["--lifetime", "365d"]);
    vaults[1].sign(&third);
    a.ask(&["channel", "apply", &third], "charter");
    for vault in &vaults {
        assert!(!vault.peer.data_dir().join("index.redb").exists());
    }

    // Who was off walks every version.
    let (b_node, _) = b.node();
    poll("the third charter", || number(&shown(&b)["version"]) == 3);
    let versions = shown(&b)["versions"].clone();
    assert_eq!(versions, shown(&a)["versions"]);
    assert_eq!(versions.as_array().unwrap().len(), 3);
    b_node.interrupt();

    // The same keys sign two fourth charters.
    let (x, y) = (a.path("x"), a.path("y"));
    let (x, y) = (text(&x), text(&y));
    for (file, name) in [(x, "product"), (y, "product")] {
        let life = if file == x { "100d" } else { "200d" };
        edit(&a, file, &["--name", name, "--lifetime", life]);
        vaults[0].sign(file);
    }
    let ours = a.ask(&["channel", "apply", x], "charter");
    a.run(&["channel", "apply", y]).failed("exists", 10);
    let theirs = b.ask(&["channel", "apply", y], "charter");
    assert_eq!(
        (number(&ours["version"]), number(&theirs["version"])),
        (4, 4)
    );
    assert_ne!(ours["hash"], theirs["hash"]);

    let (b_node, _) = b.node();
    for (peer, held, other) in [(&a, &ours, &theirs), (&b, &theirs, &ours)] {
        poll("the alarm", || !shown(peer)["fork"].is_null());
        let shown = shown(peer);
        assert_eq!(shown["hash"], held["hash"]);
        assert_eq!(shown["fork"]["theirs"]["hash"], other["hash"]);
        let status = peer.ask(&["status"], "status");
        assert_eq!(status["channels"][0]["forked"], true);
    }
    let app = world.path("app");
    fs::write(&app, b"app").unwrap();
    let refused = a.run(&["publish", "product", text(&app)]);
    refused.failed("record", 7);
    // It is as loud after a restart, and ends by a word.
    b_node.interrupt();
    assert!(!shown(&b)["fork"].is_null());
    let right = string(&ours["hash"]);
    b.run(&["channel", "choose", "product", "nonsense"])
        .failed("usage", 2);
    for peer in [&b, &a] {
        let chosen = peer.ask(&["channel", "choose", "product", &right], "charter");
        assert_eq!(chosen["hash"], ours["hash"]);
        assert!(chosen["fork"].is_null());
    }
    let (_b_node, _) = b.node();
    a.ask(&["publish", "product", text(&app)], "published");
    poll("the release", || {
        let listed = b.run(&["channel", "list"]).ok();
        listed.event("channel")["version"] == "1"
    });
    assert!(shown(&b)["fork"].is_null());
}
