//! Private channels among whole engines in one process.

mod world;

use samara_node::{
    Mode,
    api::{ErrorKind, Event, Request},
};
use world::{Node, link_of};

const CHANNEL: &str = "club";

async fn owner() -> Node {
    let node = Node::start(Mode::Node).await;
    let request = Request::ChannelCreate {
        name: CHANNEL.into(),
        private: true,
    };
    done(&node, request).await;
    node
}

async fn done(node: &Node, request: Request) -> Vec<Event> {
    let events = node.ask(request).await;
    assert_eq!(events.last(), Some(&Event::Done), "{events:?}");
    events
}

async fn failure(node: &Node, request: Request) -> ErrorKind {
    match node.ask(request).await.last() {
        Some(Event::Error { kind, .. }) => *kind,
        other => panic!("no error but {other:?}"),
    }
}

async fn invite(node: &Node) -> String {
    invite_to(node, "member", None).await
}

async fn invite_to(node: &Node, role: &str, expires_ms: Option<u64>) -> String {
    let request = Request::Invite {
        channel: CHANNEL.into(),
        role: Some(role.into()),
        expires_ms,
        member_ms: None,
        uses: None,
    };
    match done(node, request).await.first() {
        Some(Event::Link { link, .. }) => link.clone(),
        other => panic!("{other:?}"),
    }
}

fn join(link: String) -> Request {
    Request::Join { link, into: None }
}

async fn post(node: &Node, subject: &str) {
    let request = Request::Post {
        channel: CHANNEL.into(),
        subject: Some(subject.into()),
        body: "Text.".into(),
        attach: vec![],
    };
    done(node, request).await;
}

fn once(link: String) -> Request {
    Request::Subscribe {
        link,
        into: None,
        once: true,
        wait: false,
        mirror: false,
        keep_share: false,
    }
}

async fn subjects(node: &Node) -> Vec<String> {
    let request = Request::Read {
        channel: Some(CHANNEL.into()),
        issue: None,
    };
    let issues = node.ask(request).await.into_iter();
    let mut subjects: Vec<_> = issues
        .filter_map(|event| match event {
            Event::Issue { subject, .. } => Some(subject),
            _ => None,
        })
        .collect();
    subjects.sort();
    subjects
}

async fn id(node: &Node) -> String {
    match node.ask(Request::Id).await.first() {
        Some(Event::Id { peer_id }) => peer_id.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_was_invited_reads_and_who_was_not_finds_nothing() {
    let (a, b) = (owner().await, Node::start(Mode::Node).await);
    post(&a, "first").await;
    let invitation = invite(&a).await;
    done(&b, join(invitation.clone())).await;
    done(&b, once(link_of(&a, CHANNEL).await)).await;
    assert_eq!(subjects(&b).await, ["first"]);

    // Neither the plain link nor a used invitation opens it.
    for link in [link_of(&a, CHANNEL).await, invitation] {
        let c = Node::start(Mode::Node).await;
        let c = c.restart_impatient(Mode::Node).await;
        assert_eq!(failure(&c, once(link)).await, ErrorKind::NoPeer);
        assert_eq!(subjects(&c).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_revoked_member_gets_nothing_more_from_anybody() {
    let (a, b, c) = (
        owner().await,
        Node::start(Mode::Node).await,
        Node::start(Mode::Node).await,
    );
    post(&a, "first").await;
    for node in [&b, &c] {
        done(node, join(invite(&a).await)).await;
        done(node, once(link_of(&a, CHANNEL).await)).await;
    }
    let request = Request::Revoke {
        channel: CHANNEL.into(),
        peer: id(&c).await,
        erase: false,
        pardon: false,
        invitation: false,
    };
    done(&a, request).await;
    // Nobody who comes now is sent to it.
    let link: samara_graph::Link = invite(&a).await.parse().unwrap();
    let gone = id(&c).await;
    assert!(link.peers().iter().all(|p| p.peer.to_string() != gone));
    post(&a, "second").await;
    // With nobody else to hear from, it is synchronized with who has everything.
    let mut c = c.stop().await;
    let b = b.restart_impatient(Mode::Node).await;
    done(&b, once(link_of(&a, CHANNEL).await)).await;
    assert_eq!(subjects(&b).await, ["first", "second"]);
    // Neither from the one that revoked it nor from another member.
    for link in [link_of(&a, CHANNEL).await, link_of(&b, CHANNEL).await] {
        let node = c.start(Mode::Node).await;
        let events = node.ask(once(link)).await;
        assert!(
            matches!(events.last(), Some(Event::Error { .. })),
            "{events:?}"
        );
        assert_eq!(subjects(&node).await, ["first"]);
        c = node.stop().await;
    }
}

/// Why a node takes no part in its channel.
async fn shut_out(node: &Node) -> Option<String> {
    let events = node.ask(Request::Status).await;
    let mut status = events.into_iter().filter_map(|event| match event {
        Event::Status(status) => Some(status),
        _ => None,
    });
    let status = status.next().expect("a status");
    status.channels[0].standing.shut_out.clone()
}

#[tokio::test]
async fn who_was_revoked_sees_that_nobody_lets_it_in_and_who_was_not_does_not() {
    let (a, b, c) = (
        owner().await,
        Node::start(Mode::Node).await,
        Node::start(Mode::Node).await,
    );
    for node in [&b, &c] {
        done(node, join(invite(&a).await)).await;
        assert_eq!(shut_out(node).await, None);
    }
    let request = Request::Revoke {
        channel: CHANNEL.into(),
        peer: id(&c).await,
        erase: false,
        pardon: false,
        invitation: false,
    };
    done(&a, request).await;
    // It is told so by nobody.
    loop {
        match shut_out(&c).await.as_deref() {
            None => tokio::task::yield_now().await,
            Some(why) => break assert_eq!(why, "refused"),
        }
    }
    assert_eq!(shut_out(&a).await, None);
    assert_eq!(shut_out(&b).await, None);
}

async fn role_of(node: &Node, peer: &str) -> Option<String> {
    let request = Request::Members {
        channel: CHANNEL.into(),
    };
    let events = node.ask(request).await.into_iter();
    let mut roles = events.filter_map(|event| match event {
        Event::Member { peer_id, role, .. } if peer_id == peer => role,
        _ => None,
    });
    roles.next()
}

/// Whether somebody is listed as one who left by itself.
async fn is_left(node: &Node, peer: &str) -> bool {
    let request = Request::Members {
        channel: CHANNEL.into(),
    };
    let events = node.ask(request).await;
    let seen = events.iter().find_map(|event| match event {
        Event::Member {
            peer_id,
            role,
            left,
            revoked: false,
            ..
        } if peer_id == peer => Some((role.is_none(), *left)),
        _ => None,
    });
    let (none, left) = seen.expect("it is listed for ever");
    assert_eq!(none, left, "who has a role has not left");
    left
}

async fn until_left(node: &Node, peer: &str) {
    while !is_left(node, peer).await {
        tokio::task::yield_now().await;
    }
}

/// Whether somebody was told; nothing if there was nothing to tell.
async fn leave(node: &Node, channel: &str) -> Option<bool> {
    let request = Request::Leave {
        channel: channel.into(),
    };
    let events = done(node, request).await;
    let left = events.iter().find_map(|event| match event {
        Event::Left { told, .. } => Some(*told),
        _ => None,
    });
    left.expect("it has left")
}

#[tokio::test]
async fn who_leaves_is_known_to_have_left_and_comes_back_by_a_new_invitation() {
    let open = Node::start(Mode::Node).await;
    let request = Request::ChannelCreate {
        name: CHANNEL.into(),
        private: false,
    };
    done(&open, request).await;
    for a in [owner().await, open] {
        let (b, c) = (Node::start(Mode::Node).await, Node::start(Mode::Node).await);
        for node in [&b, &c] {
            done(node, join(invite(&a).await)).await;
        }
        let gone = id(&b).await;
        assert_eq!(leave(&b, CHANNEL).await, Some(true));
        assert_eq!(channels(&b).await, 0);
        // Whoever was not told by it hears of it from who was.
        until_left(&a, &gone).await;
        until_left(&c, &gone).await;
        done(&b, join(invite(&a).await)).await;
        while is_left(&a, &gone).await || is_left(&c, &gone).await {
            tokio::task::yield_now().await;
        }
        assert_eq!(role_of(&b, &gone).await.as_deref(), Some("member"));
        post(&a, "for all").await;
        while subjects(&b).await != ["for all"] {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn who_finds_nobody_to_tell_leaves_all_the_same() {
    let (a, b) = (owner().await, Node::start(Mode::Node).await);
    done(&b, join(invite(&a).await)).await;
    let b = b.stop().await;
    let a = a.stop().await;
    let b = b.start(Mode::Node).await;
    assert_eq!(leave(&b, CHANNEL).await, Some(false));
    assert_eq!(channels(&b).await, 0);
    // Nor does who has no role in it.
    let a = a.start(Mode::Node).await;
    let request = Request::ChannelCreate {
        name: "open".into(),
        private: false,
    };
    done(&a, request).await;
    done(&b, once(link_of(&a, "open").await)).await;
    assert_eq!(leave(&b, "open").await, None);
}

async fn channels(node: &Node) -> usize {
    let events = node.ask(Request::ChannelList).await;
    let listed = |event: &&Event| matches!(event, Event::Channel { .. });
    events.iter().filter(listed).count()
}

async fn refusal(node: &Node, link: String) -> (ErrorKind, String) {
    match node.ask(join(link)).await.pop() {
        Some(Event::Error { kind, message }) => (kind, message),
        other => panic!("no error but {other:?}"),
    }
}

#[tokio::test]
async fn an_open_channels_invitation_makes_a_publisher_once() {
    let a = Node::start(Mode::Node).await;
    let request = Request::ChannelCreate {
        name: CHANNEL.into(),
        private: false,
    };
    done(&a, request).await;
    let link = invite_to(&a, "publisher", None).await;
    let b = Node::start(Mode::Node).await;
    let joined = done(&b, join(link.clone())).await;
    assert!(
        matches!(&joined[0], Event::Joined { role, .. } if role == "publisher"),
        "{joined:?}"
    );
    // Whoever is told so is known elsewhere.
    let role = role_of(&a, &id(&b).await).await;
    assert_eq!(role.as_deref(), Some("publisher"));
    post(&b, "by a publisher").await;
    // Again is no harm, for another it is used up, and what fails leaves nothing.
    done(&b, join(link.clone())).await;
    let c = Node::start(Mode::Node).await;
    let (kind, message) = refusal(&c, link).await;
    assert_eq!(kind, ErrorKind::Denied);
    assert!(message.contains("used up"), "{message}");
    assert_eq!(channels(&c).await, 0);
}

#[tokio::test]
async fn an_invitation_that_does_not_admit_says_so_in_few_words() {
    let (a, b) = (owner().await, Node::start(Mode::Node).await);
    let used = invite(&a).await;
    done(&b, join(used.clone())).await;
    let c = Node::start(Mode::Node).await;
    let c = c.restart_impatient(Mode::Node).await;
    let (kind, message) = refusal(&c, used).await;
    assert_eq!(kind, ErrorKind::Denied);
    assert!(
        message.contains("used up") && message.len() < 200,
        "{message}"
    );
    assert_eq!(channels(&c).await, 0);
    // An expired one is not tried at all.
    let made = std::time::Instant::now();
    let expired = invite_to(&a, "member", Some(1)).await;
    while made.elapsed().as_millis() < 10 {
        tokio::task::yield_now().await;
    }
    let (kind, message) = refusal(&c, expired).await;
    assert_eq!(kind, ErrorKind::Denied);
    assert!(message.contains("expired on"), "{message}");
}

/// A role in place of the one that somebody has; nothing is warned of.
async fn give(node: &Node, peer: &str, role: &str) {
    let request = Request::Role {
        channel: CHANNEL.into(),
        peer: peer.into(),
        role: role.into(),
        expires_ms: None,
    };
    let events = done(node, request).await;
    assert!(
        matches!(&events[..], [Event::RoleGiven { role: given, .. }, Event::Done] if given == role),
        "{events:?}"
    );
}

async fn until_role(node: &Node, peer: &str, role: &str) {
    while role_of(node, peer).await.as_deref() != Some(role) {
        tokio::task::yield_now().await;
    }
}

async fn count(node: &Node, kind: &str) -> usize {
    let request = Request::Records {
        channel: CHANNEL.into(),
        filter: Some(format!("kind = {kind}")),
        bodies: false,
    };
    let events = node.ask(request).await;
    let records = events.iter().filter(|e| matches!(e, Event::Record(_)));
    records.count()
}

/// Who stays revoked of those whom it had revoked, and who does not.
async fn revoke(node: &Node, peer: &str, erase: bool, pardon: bool) -> [Vec<String>; 2] {
    let request = Request::Revoke {
        channel: CHANNEL.into(),
        peer: peer.into(),
        erase,
        pardon,
        invitation: false,
    };
    match done(node, request).await.swap_remove(0) {
        Event::Revoked {
            still_revoked,
            pardoned,
            ..
        } => [still_revoked, pardoned],
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_lowered_admins_word_is_sealed_and_an_erased_ones_revocations_stay() {
    let (a, b, c) = (
        owner().await,
        Node::start(Mode::Node).await,
        Node::start(Mode::Node).await,
    );
    for node in [&b, &c] {
        done(node, join(invite(&a).await)).await;
    }
    let (admin, gone) = (id(&b).await, id(&c).await);
    give(&a, &admin, "admin").await;
    until_role(&b, &admin, "admin").await;
    until_role(&b, &gone, "member").await;
    post(&b, "by an admin").await;
    assert_eq!(revoke(&b, &gone, false, false).await.concat(), [""; 0]);
    while count(&a, "revocation").await != 1 || subjects(&a).await != ["by an admin"] {
        tokio::task::yield_now().await;
    }
    // Its revocation, and the seal.
    give(&a, &admin, "reader").await;
    while count(&b, "revocation").await != 2 {
        tokio::task::yield_now().await;
    }
    until_role(&b, &admin, "reader").await;
    let request = Request::Post {
        channel: CHANNEL.into(),
        subject: Some("by a reader".into()),
        body: "Text.".into(),
        attach: vec![],
    };
    assert_eq!(failure(&b, request).await, ErrorKind::Denied);
    assert_eq!(subjects(&a).await, ["by an admin"]);
    assert_eq!(role_of(&a, &gone).await, None);

    // What it published goes, and whom it revoked does not come back but by pardon.
    let named = vec![gone.clone()];
    let still = revoke(&a, &admin, true, false).await;
    assert_eq!(still, [named.clone(), vec![]]);
    while !subjects(&a).await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(role_of(&a, &gone).await, None);
    let pardoned = revoke(&a, &admin, true, true).await;
    assert_eq!(pardoned, [vec![], named]);
    until_role(&a, &gone, "member").await;
}
