//! Deferred expiry, as who reads the records sees it.

mod world;

use std::time::Instant;

use samara_node::{
    Mode,
    api::{CharterEdit, Event, Request},
};
use world::{Node, link_of};

const CHANNEL: &str = "jobs";

/// How many records of applications are listed.
async fn listed(node: &Node) -> usize {
    let request = Request::Records {
        channel: CHANNEL.into(),
        filter: Some("kind >= 65536".into()),
        bodies: false,
    };
    let events = node.done(request).await;
    let records = events.iter().filter(|e| matches!(e, Event::Record(_)));
    records.count()
}

#[tokio::test]
async fn what_has_ended_is_listed_off_the_network_and_not_among_neighbours() {
    let a = Node::start(Mode::Node).await;
    a.done(Request::ChannelCreate {
        name: CHANNEL.into(),
        private: false,
    })
    .await;
    let change = CharterEdit {
        deferred_expiry: Some(true),
        ..CharterEdit::default()
    };
    a.done(Request::CharterEdit {
        channel: CHANNEL.into(),
        change: Box::new(change),
        file: a.path("draft"),
        only_draft: false,
    })
    .await;
    let made = Instant::now();
    a.done(Request::RecordPut {
        channel: CHANNEL.into(),
        kind: 70_000,
        key: "job".into(),
        attributes: Default::default(),
        lifetime_ms: Some(1),
        priority: 0,
        body: String::new(),
    })
    .await;
    while made.elapsed().as_millis() < 10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(listed(&a).await, 1, "nobody else is there");
    let b = Node::start(Mode::Node).await;
    b.done(Request::Subscribe {
        link: link_of(&a, CHANNEL).await,
        into: None,
        once: true,
        wait: false,
        mirror: false,
        keep_share: false,
    })
    .await;
    // As soon as it is synchronized with somebody.
    while listed(&a).await > 0 {
        tokio::task::yield_now().await;
    }
    b.stop().await;
    while listed(&a).await == 0 {
        tokio::task::yield_now().await;
    }
}
