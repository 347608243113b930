//! What a node says of how it stands in its channels.

mod world;

use std::fs;

use samara_node::{
    Mode,
    api::{Event, Explanation, InvitationView, Request},
};
use world::{Node, link_of};

const CHANNEL: &str = "news";

async fn owner(private: bool) -> Node {
    let node = Node::start(Mode::Node).await;
    let name = CHANNEL.into();
    node.done(Request::ChannelCreate { name, private }).await;
    node
}

async fn id(node: &Node) -> String {
    match node.done(Request::Id).await.first() {
        Some(Event::Id { peer_id }) => peer_id.clone(),
        other => panic!("{other:?}"),
    }
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

async fn shut_out(node: &Node) -> Option<String> {
    let events = node.done(Request::Status).await;
    let mut status = events.into_iter().filter_map(|event| match event {
        Event::Status(status) => Some(status),
        _ => None,
    });
    let status = status.next().expect("a status");
    status.channels[0].standing.shut_out.clone()
}

async fn explain(node: &Node) -> Explanation {
    let what = CHANNEL.into();
    match node.done(Request::Explain { what }).await.first() {
        Some(Event::Explained(found)) => (**found).clone(),
        other => panic!("{other:?}"),
    }
}

async fn invite(node: &Node) -> (String, InvitationView) {
    let invite = Request::Invite {
        channel: CHANNEL.into(),
        role: Some("publisher".into()),
        expires_ms: None,
        member_ms: None,
        uses: Some(2),
    };
    match node.done(invite).await.into_iter().next() {
        Some(Event::Link {
            link,
            invitation: Some(invitation),
        }) => (link, invitation),
        other => panic!("{other:?}"),
    }
}

fn revoke(peer: String, invitation: bool) -> Request {
    Request::Revoke {
        channel: CHANNEL.into(),
        peer,
        erase: false,
        pardon: false,
        invitation,
    }
}

/// Who is listed, and whether the list is that of somebody who has met another member.
async fn members(node: &Node) -> Vec<(String, bool)> {
    let channel = CHANNEL.into();
    let events = node.done(Request::Members { channel }).await;
    let members = events.into_iter().filter_map(|event| match event {
        Event::Member {
            peer_id,
            synchronized,
            ..
        } => Some((peer_id, synchronized)),
        _ => None,
    });
    members.collect()
}

#[tokio::test]
async fn who_is_revoked_in_an_open_channel_sees_that_nobody_talks_with_it() {
    let a = owner(false).await;
    let release = a.path("app");
    fs::write(&release, vec![7; 30_000]).unwrap();
    a.done(Request::Publish {
        channel: CHANNEL.into(),
        path: release,
        version: None,
        notes: None,
        portable: false,
        priority: Default::default(),
        parity: None,
    })
    .await;
    let (b, c) = (Node::start(Mode::Node).await, Node::start(Mode::Node).await);
    for node in [&b, &c] {
        // What is followed without a folder is not fetched.
        node.done(once(link_of(&a, CHANNEL).await)).await;
        assert_eq!(shut_out(node).await, None);
        let found = explain(node).await;
        assert_eq!((found.verdict.as_str(), found.have), ("partial", 0));
        assert_eq!(found.total, 30_000);
        assert!(found.what.starts_with("Nothing of it is here"), "{found:?}");
    }
    a.done(revoke(id(&c).await, false)).await;
    // It is told so by nobody.
    loop {
        match shut_out(&c).await.as_deref() {
            None => tokio::task::yield_now().await,
            Some(why) => break assert_eq!(why, "refused"),
        }
    }
    loop {
        let found = explain(&c).await;
        if found.verdict == "shut_out" {
            break assert!(found.what.contains("may have been revoked"), "{found:?}");
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(shut_out(&a).await, None);
    assert_eq!(shut_out(&b).await, None);
}

#[tokio::test]
async fn who_has_a_private_channel_from_a_file_never_had_a_role_and_may_know_too_few() {
    let a = owner(true).await;
    let own = id(&a).await;
    // Nobody knows more of a channel than who has just made it.
    assert_eq!(members(&a).await, [(own.clone(), true)]);
    let file = a.path("news.samara");
    a.done(Request::Export {
        channel: CHANNEL.into(),
        file: file.clone(),
        with_content: false,
    })
    .await;
    let b = Node::start(Mode::Offline).await;
    b.done(Request::Import { file }).await;
    assert_eq!(shut_out(&b).await.as_deref(), Some("no_role"));
    assert_eq!(members(&b).await, [(own, false)]);
}

#[tokio::test]
async fn a_list_of_members_is_said_to_be_whole_once_a_member_was_heard() {
    let a = owner(false).await;
    let b = Node::start(Mode::Node).await;
    b.done(once(link_of(&a, CHANNEL).await)).await;
    // `once` is done when all that a member has is here.
    let listed = members(&b).await;
    assert_eq!(listed, [(id(&a).await, true)]);
    // It is remembered.
    let b = b.stop().await.start(Mode::Offline).await;
    assert_eq!(members(&b).await, listed);
}

#[tokio::test]
async fn an_invitation_is_taken_back_by_the_name_that_comes_with_its_link() {
    let a = owner(true).await;
    let (link, about) = invite(&a).await;
    let parsed: samara_graph::Link = link.parse().unwrap();
    let inside = parsed.invitation().expect("it invites");
    assert_eq!(about.invitation, inside.invite.to_string());
    assert_eq!((about.role.as_str(), about.uses), ("publisher", 2));
    let b = Node::start(Mode::Node).await;
    b.done(Request::Join { link, into: None }).await;
    let events = a.done(revoke(about.invitation.clone(), true)).await;
    let [
        Event::InvitationRevoked {
            invitation,
            revoked,
            ..
        },
        Event::Done,
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(*invitation, about.invitation);
    assert_eq!(*revoked, [id(&b).await]);
}
