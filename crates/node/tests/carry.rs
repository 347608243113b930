//! A private channel in a file: for who may have it and for who may not.

mod world;

use std::{fs, path::Path};

use samara_graph::Link;
use samara_node::{
    Mode,
    api::{ErrorKind, Event, Request},
    identity::Keystore,
};
use world::{Node, link_of};

const CHANNEL: &str = "club";

fn invite(role: Option<&str>) -> Request {
    Request::Invite {
        channel: CHANNEL.into(),
        role: role.map(str::to_owned),
        expires_ms: None,
        member_ms: None,
        uses: None,
    }
}

/// A private channel with an issue and its attachment, and its file.
async fn exported() -> (Node, Link, Vec<u8>) {
    let node = Node::start(Mode::Node).await;
    node.done(Request::ChannelCreate {
        name: CHANNEL.into(),
        private: true,
    })
    .await;
    let Some(Event::Link { link, .. }) = node.done(invite(None)).await.into_iter().next() else {
        panic!("no invitation");
    };
    let attached = node.path("chart.bin");
    fs::write(&attached, vec![7; 30_000]).unwrap();
    node.done(Request::Post {
        channel: CHANNEL.into(),
        subject: Some("Inside".into()),
        body: "For us.".into(),
        attach: vec![attached],
    })
    .await;
    let file = node.path("club.samara");
    node.done(Request::Export {
        channel: CHANNEL.into(),
        file: file.clone(),
        with_content: true,
    })
    .await;
    let bytes = fs::read(file).unwrap();
    (node, link.parse().unwrap(), bytes)
}

fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret)
}

fn import(file: &Path) -> Request {
    Request::Import { file: file.into() }
}

#[tokio::test]
async fn the_file_of_a_private_channel_holds_no_key_to_it() {
    let (a, link, bytes) = exported().await;
    assert!(
        holds(&bytes, b"For us."),
        "it is not sealed, and is said so"
    );
    let (_, own) = Keystore::of(&a.path("data")).choose(None).unwrap();
    assert!(!holds(&bytes, own.as_bytes()));
    let invitation = link.invitation().expect("an invitation");
    assert!(
        holds(&bytes, &invitation.key.peer_id().0),
        "its public half"
    );
    assert!(!holds(&bytes, &invitation.key.to_bytes()));

    // Who has it reads it, and gets nothing more from those whom it names.
    let outsider = Node::start(Mode::Node).await;
    let outsider = outsider.restart_impatient(Mode::Node).await;
    let file = outsider.path("club.samara");
    fs::write(&file, &bytes).unwrap();
    outsider.done(import(&file)).await;
    let follow = Request::Subscribe {
        link: link_of(&a, CHANNEL).await,
        into: None,
        once: true,
        wait: false,
        mirror: false,
        keep_share: false,
    };
    assert_eq!(outsider.failure(follow).await, ErrorKind::NoPeer);
    // Nor can it take from the file what makes others members.
    assert_eq!(outsider.failure(invite(None)).await, ErrorKind::Denied);
}

#[tokio::test]
async fn of_a_private_channels_file_cut_anywhere_nothing_is_known() {
    let (_a, _, bytes) = exported().await;
    let outsider = Node::start(Mode::Offline).await;
    let file = outsider.path("cut.samara");
    // Through head, charters, records and chunks, and byte by byte at the end.
    let cuts = (0..bytes.len())
        .step_by(331)
        .chain(bytes.len() - 80..bytes.len());
    for end in cuts {
        fs::write(&file, &bytes[..end]).unwrap();
        let kind = outsider.failure(import(&file)).await;
        let expected = [ErrorKind::BadData, ErrorKind::Usage];
        assert!(expected.contains(&kind), "{end}: {kind:?}");
    }
    let listed = outsider.done(Request::ChannelList).await;
    assert_eq!(listed, [Event::Done]);
    fs::write(&file, &bytes).unwrap();
    outsider.done(import(&file)).await;
}

#[tokio::test]
async fn nothing_of_a_whole_file_waits() {
    let (a, _, _) = exported().await;
    let publisher = a.done(invite(Some("publisher"))).await;
    let Some(Event::Link { link, .. }) = publisher.into_iter().next() else {
        panic!("no invitation");
    };
    let b = Node::start(Mode::Node).await;
    b.done(Request::Join { link, into: None }).await;
    // Right behind what it stands by: the redemption of an invitation.
    b.done(Request::Post {
        channel: CHANNEL.into(),
        subject: Some("From the second".into()),
        body: "Text.".into(),
        attach: vec![],
    })
    .await;
    let file = b.path("club.samara");
    let exported = b
        .done(Request::Export {
            channel: CHANNEL.into(),
            file: file.clone(),
            with_content: false,
        })
        .await;
    let Some(Event::Exported { records, .. }) = exported.first() else {
        panic!("{exported:?}");
    };
    let c = Node::start(Mode::Offline).await;
    let imported = c.done(import(&file)).await;
    match imported.first() {
        Some(Event::Imported {
            new,
            known: 0,
            waiting: 0,
            refused: 0,
            ..
        }) => assert_eq!(new, records),
        other => panic!("{other:?}"),
    }
}
