//! Charters changed on whole engines: what is in force at once, what waits for others,
//! and what nobody loses by it.

mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use samara_node::{
    Mode,
    api::{CharterEdit, CharterView, DraftView, ErrorKind, Event, Request},
    charter::sign_draft,
    identity::{Keystore, MAIN},
};
use world::Node;

const CHANNEL: &str = "club";

async fn owner() -> Node {
    let node = Node::start(Mode::Offline).await;
    let request = Request::ChannelCreate {
        name: CHANNEL.into(),
        private: true,
    };
    assert_eq!(node.ask(request).await.last(), Some(&Event::Done));
    node
}

fn edit(node: &Node, change: CharterEdit, only_draft: bool) -> Request {
    Request::CharterEdit {
        channel: CHANNEL.into(),
        change: Box::new(change),
        file: node.path("draft"),
        only_draft,
    }
}

fn apply(file: &Path) -> Request {
    Request::CharterApply { file: file.into() }
}

async fn charter(node: &Node, request: Request) -> CharterView {
    let events = node.ask(request).await;
    let found = events.iter().find_map(|event| match event {
        Event::Charter(view) => Some((**view).clone()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{events:?}"))
}

async fn draft(node: &Node, request: Request) -> DraftView {
    let events = node.ask(request).await;
    let found = events.iter().find_map(|event| match event {
        Event::CharterDraft(view) => Some((**view).clone()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{events:?}"))
}

async fn failure(node: &Node, request: Request) -> ErrorKind {
    match node.ask(request).await.last() {
        Some(Event::Error { kind, .. }) => *kind,
        other => panic!("no error but {other:?}"),
    }
}

async fn shown(node: &Node) -> CharterView {
    let channel = CHANNEL.into();
    charter(node, Request::Charter { channel }).await
}

/// Another identity in the node's keystore.
fn root(node: &Node, name: &str) -> String {
    let keys = Keystore::of(&node.path("data"));
    keys.create(name).unwrap().to_string()
}

fn key(node: &Node, name: &str) -> ed25519_dalek::SigningKey {
    Keystore::of(&node.path("data")).load(name).unwrap()
}

fn own(node: &Node) -> String {
    let key = key(node, MAIN);
    samara_node::identity::peer_id(&key).to_string()
}

#[tokio::test]
async fn one_owner_changes_what_it_likes_at_once() {
    let node = owner().await;
    let first = shown(&node).await;
    assert_eq!((first.terms.version, first.terms.threshold), (1, 1));
    assert_eq!(first.terms.readers, "members");
    assert_eq!(first.terms.roots, [own(&node)]);
    let publisher = root(&node, "somebody");
    let change = CharterEdit {
        name: Some("choir".into()),
        readers: Some("everyone".into()),
        add_publishers: vec![publisher.clone()],
        record_bytes: Some(2048),
        records_per_author: Some(3),
        records_total: Some(4),
        lifetime_ms: Some(1000),
        presence_ms: Some(60_000),
        deferred_expiry: Some(true),
        announced: Some(true),
        ..CharterEdit::default()
    };
    let next = charter(&node, edit(&node, change, false)).await;
    let terms = &next.terms;
    assert_eq!((terms.version, terms.name.as_str()), (2, "choir"));
    assert!(terms.named_publishers.contains(&publisher));
    let numbers = (
        terms.record_bytes,
        terms.records_per_author,
        terms.records_total,
    );
    assert_eq!(numbers, (2048, 3, 4));
    assert_eq!((terms.lifetime, terms.presence), (1, Some(60)));
    assert!(terms.deferred_expiry && terms.announced);
    assert_eq!(next.versions.len(), 2);
    assert_eq!(next.versions[1].signers, [own(&node)]);
    assert!(!node.path("draft").exists());

    // What is closed is announced no more, unless that is said.
    let close = CharterEdit {
        readers: Some("members".into()),
        ..CharterEdit::default()
    };
    let close = Request::CharterEdit {
        channel: "choir".into(),
        change: Box::new(close),
        file: node.path("draft"),
        only_draft: false,
    };
    let next = charter(&node, close).await;
    assert!(!next.terms.announced);

    // It is there after a restart, and `off` takes away.
    let node = node.restart_impatient(Mode::Offline).await;
    let channel = "choir".to_owned();
    let again = charter(&node, Request::Charter { channel }).await;
    assert_eq!(again, next);
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let node = owner().await;
    let before = shown(&node).await;
    let none = CharterEdit::default;
    let wrong = [
        none(),
        CharterEdit {
            threshold: Some(2),
            ..none()
        },
        CharterEdit {
            threshold: Some(0),
            ..none()
        },
        CharterEdit {
            remove_roots: vec![own(&node)],
            ..none()
        },
        CharterEdit {
            add_roots: vec!["nobody".into()],
            ..none()
        },
        CharterEdit {
            record_bytes: Some(1),
            ..none()
        },
        CharterEdit {
            readers: Some("some".into()),
            ..none()
        },
        CharterEdit {
            publishers: Some("some".into()),
            ..none()
        },
        CharterEdit {
            lifetime_ms: Some(u64::MAX),
            ..none()
        },
        CharterEdit {
            presence_ms: Some(1),
            ..none()
        },
        CharterEdit {
            name: Some("a\nb".into()),
            ..none()
        },
    ];
    for change in wrong {
        let what = format!("{change:?}");
        let kind = failure(&node, edit(&node, change, false)).await;
        assert_eq!(kind, ErrorKind::Usage, "{what}");
    }
    let gone = CharterEdit {
        remove_admins: vec!["abcd".into()],
        ..none()
    };
    let kind = failure(&node, edit(&node, gone, false)).await;
    assert_eq!(kind, ErrorKind::NotFound);
    assert_eq!(shown(&node).await, before);
}

#[tokio::test]
async fn the_keys_of_one_keystore_sign_together_and_others_by_a_draft() {
    let node = owner().await;
    let other = owner().await;
    let (here, there) = (root(&node, "second"), root(&other, "third"));
    let change = CharterEdit {
        add_roots: vec![here, there],
        threshold: Some(2),
        ..CharterEdit::default()
    };
    // Two of the three are here.
    let shared = charter(&node, edit(&node, change, false)).await;
    assert_eq!((shared.terms.version, shared.terms.threshold), (2, 2));
    // Who owned the channel goes on as an admin.
    assert_eq!(shared.terms.admins, [own(&node)]);

    let change = CharterEdit {
        threshold: Some(3),
        ..CharterEdit::default()
    };
    let two = draft(&node, edit(&node, change.clone(), false)).await;
    assert_eq!(
        (two.terms.version, two.missing, two.signers.len()),
        (3, 1, 2)
    );
    let file = node.path("draft");
    assert_eq!(failure(&node, apply(&file)).await, ErrorKind::Denied);
    assert_eq!(
        failure(&node, edit(&node, change, false)).await,
        ErrorKind::Exists
    );
    sign_draft(&file, &key(&other, "third")).unwrap();
    // A node that has another channel takes none of it.
    assert_eq!(failure(&other, apply(&file)).await, ErrorKind::NotFound);
    assert_eq!(charter(&node, apply(&file)).await.terms.threshold, 3);
    // Twice is once.
    assert_eq!(charter(&node, apply(&file)).await.terms.version, 3);
}

#[tokio::test]
async fn a_draft_that_was_overtaken_is_refused_and_makes_no_fork() {
    let node = owner().await;
    let lifetime = |ms| CharterEdit {
        lifetime_ms: Some(ms),
        ..CharterEdit::default()
    };
    let late = draft(&node, edit(&node, lifetime(5000), true)).await;
    assert_eq!(late.missing, 0);
    let first = shown(&node).await;
    assert_eq!(first.terms.version, 1, "a draft is no charter");
    charter(&node, edit(&node, lifetime(6000), false)).await;
    let kind = failure(&node, apply(&node.path("draft"))).await;
    assert_eq!(kind, ErrorKind::Exists);
    let after = shown(&node).await;
    assert_eq!((after.terms.lifetime, after.fork), (6, None));
}

#[tokio::test]
async fn who_is_removed_keeps_its_word_unless_it_is_disowned() {
    let node = owner().await;
    let new_root = root(&node, "second");
    let admin = root(&node, "admin");
    let change = CharterEdit {
        add_roots: vec![new_root],
        add_admins: vec![admin.clone()],
        ..CharterEdit::default()
    };
    charter(&node, edit(&node, change, false)).await;
    let request = Request::Role {
        channel: CHANNEL.into(),
        peer: root(&node, "member"),
        role: "member".into(),
        expires_ms: None,
    };
    assert_eq!(node.ask(request).await.last(), Some(&Event::Done));
    let members = async || {
        let channel = CHANNEL.into();
        let events = node.ask(Request::Members { channel }).await;
        let has_role =
            |e: &&Event| matches!(e, Event::Member { role: Some(r), .. } if r == "member");
        events.iter().filter(has_role).count()
    };
    assert_eq!(members().await, 1);
    let change = CharterEdit {
        remove_roots: vec![own(&node)],
        remove_admins: vec![admin[..8].to_owned()],
        ..CharterEdit::default()
    };
    let next = charter(&node, edit(&node, change, false)).await;
    let former = &next.terms.former;
    let of = |peer: &str| former.iter().find(|f| f.peer_id == peer);
    let of_own = of(&own(&node)).map(|f| (&*f.role, f.kept));
    assert_eq!((of_own, of(&admin)), (Some(("owner", 1)), None));
    // Who signs charters no more publishes no more.
    assert_eq!(next.terms.named_publishers, [""; 0]);
    assert_eq!(members().await, 1);
    let change = CharterEdit {
        disown: vec![own(&node)],
        ..CharterEdit::default()
    };
    charter(&node, edit(&node, change, false)).await;
    assert_eq!(members().await, 0);
}

async fn role_to(node: &Node, peer: &str, role: &str) {
    let request = Request::Role {
        channel: CHANNEL.into(),
        peer: peer.into(),
        role: role.into(),
        expires_ms: None,
    };
    node.done(request).await;
}

async fn put(node: &Node, key: &str) {
    let request = Request::RecordPut {
        channel: CHANNEL.into(),
        kind: 70_000,
        key: key.into(),
        attributes: BTreeMap::new(),
        lifetime_ms: None,
        priority: 0,
        body: String::new(),
    };
    node.done(request).await;
}

async fn records(node: &Node) -> BTreeSet<String> {
    let request = Request::Records {
        channel: CHANNEL.into(),
        filter: None,
        bodies: false,
    };
    let events = node.done(request).await.into_iter();
    let ids = events.filter_map(|event| match event {
        Event::Record(view) => Some(view.about.record),
        _ => None,
    });
    ids.collect()
}

/// Role, and whether it was revoked.
async fn members(node: &Node) -> BTreeMap<String, (Option<String>, bool)> {
    let channel = CHANNEL.into();
    let events = node.done(Request::Members { channel }).await.into_iter();
    let members = events.filter_map(|event| match event {
        Event::Member {
            peer_id,
            role,
            revoked,
            ..
        } => Some((peer_id, (role, revoked))),
        _ => None,
    });
    members.collect()
}

#[tokio::test]
async fn a_higher_threshold_takes_nothing_away() {
    let a = Node::start(Mode::Node).await;
    let (name, private) = (CHANNEL.into(), true);
    a.done(Request::ChannelCreate { name, private }).await;
    let b = Node::start(Mode::Node).await;
    let invite = Request::Invite {
        channel: CHANNEL.into(),
        role: None,
        expires_ms: None,
        member_ms: None,
        uses: None,
    };
    let link = match a.done(invite).await.first() {
        Some(Event::Link { link, .. }) => link.clone(),
        other => panic!("{other:?}"),
    };
    b.done(Request::Join { link, into: None }).await;
    let admin = own(&b);
    role_to(&a, &admin, "admin").await;
    while members(&b).await[&admin].0.as_deref() != Some("admin") {
        tokio::task::yield_now().await;
    }
    // What an owner and an admin decide, and what others write by it.
    let (other, publisher, gone) = (root(&a, "other"), root(&a, "p"), root(&a, "gone"));
    role_to(&a, &other, "admin").await;
    role_to(&b, &publisher, "publisher").await;
    role_to(&b, &gone, "member").await;
    let revoke = |peer: &str| Request::Revoke {
        channel: CHANNEL.into(),
        peer: peer.into(),
        erase: false,
        pardon: false,
        invitation: false,
    };
    b.done(revoke(&gone)).await;
    a.done(revoke(&other)).await;
    put(&a, "ours").await;
    put(&b, "theirs").await;
    while records(&a).await != records(&b).await {
        tokio::task::yield_now().await;
    }
    let (mut before, held) = (members(&a).await, records(&a).await);
    assert!(before[&gone].1 && before[&other].1);
    assert_eq!(before[&publisher].0.as_deref(), Some("publisher"));

    let change = CharterEdit {
        add_roots: vec![root(&a, "second")],
        threshold: Some(2),
        ..CharterEdit::default()
    };
    charter(&a, edit(&a, change, false)).await;
    while shown(&b).await.terms.version < 2 {
        tokio::task::yield_now().await;
    }
    before.remove(&own(&a));
    for node in [&a, &b] {
        assert!(records(node).await.is_superset(&held));
        let mut after = members(node).await;
        let owner = after.remove(&own(&a)).unwrap();
        assert_eq!(owner.0.as_deref(), Some("admin"));
        after.retain(|peer, _| before.contains_key(peer));
        assert_eq!(after, before);
    }
}

#[tokio::test]
async fn no_charter_trusts_the_revoked_again() {
    let a = owner().await;
    let gone = root(&a, "gone");
    let admin = |peer: &str| CharterEdit {
        add_admins: vec![peer.to_owned()],
        ..CharterEdit::default()
    };
    let drafted = draft(&a, edit(&a, admin(&gone), true)).await;
    let revoke = Request::Revoke {
        channel: CHANNEL.into(),
        peer: gone.clone(),
        erase: false,
        pardon: false,
        invitation: false,
    };
    a.done(revoke).await;
    // Whether the draft was made before or after.
    assert_eq!(failure(&a, apply(&drafted.file)).await, ErrorKind::Denied);
    let publisher = CharterEdit {
        add_publishers: vec![gone.clone()],
        ..CharterEdit::default()
    };
    for change in [admin(&gone), publisher] {
        let refused = failure(&a, edit(&a, change, false)).await;
        assert_eq!(refused, ErrorKind::Denied);
    }
    assert_eq!(shown(&a).await.terms.version, 1);
    assert!(members(&a).await[&gone].1);
}
