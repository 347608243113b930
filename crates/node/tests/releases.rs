//! What links to channels lead to: no release, one, one that was taken back.

mod world;

use std::{fs, time::Duration};

use samara_node::{
    Mode,
    api::{ErrorKind, Event, Request},
};
use world::{Node, link_of};

const CHANNEL: &str = "product";

async fn owner() -> Node {
    let node = Node::start(Mode::Node).await;
    let name = CHANNEL.into();
    let private = false;
    node.done(Request::ChannelCreate { name, private }).await;
    node
}

async fn publish(node: &Node, notes: Option<&str>) {
    let path = node.path("app");
    fs::write(&path, b"one").unwrap();
    node.done(Request::Publish {
        channel: CHANNEL.into(),
        path,
        version: Some("1".into()),
        notes: notes.map(Into::into),
        portable: false,
        priority: Default::default(),
        parity: None,
    })
    .await;
}

/// One that would wait for an hour.
async fn patient() -> Node {
    let dir = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3600);
    let engine = Node::open_for(dir.path(), Mode::Online, hour).await;
    Node { dir, engine }
}

fn get(node: &Node, link: &str) -> Request {
    Request::Get {
        link: link.into(),
        into: node.path("out"),
        only: vec![],
        seed: false,
        force: false,
        in_order: false,
        file_only: false,
    }
}

#[tokio::test]
async fn that_there_is_no_release_is_said_without_waiting_for_one() {
    let a = owner().await;
    let link = link_of(&a, CHANNEL).await;
    let b = patient().await;
    let ls = Request::Ls { link: link.clone() };
    assert_eq!(b.failure(ls).await, ErrorKind::NotFound);
    assert_eq!(b.failure(get(&b, &link)).await, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_release_is_told_with_its_notes() {
    let a = owner().await;
    publish(&a, Some("Faster.")).await;
    let link = link_of(&a, CHANNEL).await;
    let b = patient().await;
    let follow = Request::Subscribe {
        link: link.clone(),
        into: None,
        once: true,
        wait: false,
        mirror: false,
        keep_share: false,
    };
    let by_name = CHANNEL.to_owned();
    for request in [
        Request::Ls { link: link.clone() },
        get(&b, &link),
        follow,
        Request::Ls { link: by_name },
    ] {
        let followed = matches!(request, Request::Subscribe { .. });
        let events = b.done(request).await;
        if followed {
            // It is installed nowhere.
            continue;
        }
        let told = events.iter().find_map(|event| match event {
            Event::Release { version, notes, .. } => Some((version.as_str(), notes.as_str())),
            _ => None,
        });
        assert_eq!(told, Some(("1", "Faster.")), "{events:?}");
    }
    let link = "produce".to_owned();
    assert_eq!(b.failure(Request::Ls { link }).await, ErrorKind::Link);
}

#[tokio::test]
async fn what_was_taken_back_is_still_here_and_that_is_said() {
    let a = owner().await;
    publish(&a, None).await;
    let link = link_of(&a, CHANNEL).await;
    let (b, late) = (patient().await, patient().await);
    b.done(get(&b, &link)).await;
    let version = "1".into();
    let channel = CHANNEL.into();
    a.done(Request::Unpublish { channel, version }).await;
    let events = b.done(Request::Ls { link: link.clone() }).await;
    let warned =
        |e: &Event| matches!(e, Event::Warning { message } if message.contains("any more"));
    assert!(events.iter().any(warned), "{events:?}");
    let listed = |e: &Event| {
        matches!(
            e,
            Event::Listing {
                files: 1,
                have: 3,
                ..
            }
        )
    };
    assert!(events.iter().any(listed), "{events:?}");
    // Who has nothing gets nothing.
    assert_eq!(late.failure(get(&late, &link)).await, ErrorKind::NotFound);
}
