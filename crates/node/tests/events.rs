//! What applications are told of a channel, over restarts and absences.

mod world;

use std::{fs, path::Path};

use samara_graph::{Attributes, Kind, NewRecord, SecretKey, WallMs};
use samara_node::{
    Mode,
    api::{Change, ErrorKind, Event, Request},
    identity::Keystore,
};
use samara_store::{Batch, Store};
use samara_wire::ChannelId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use world::{Node, link_of};

const CHANNEL: &str = "jobs";
const MINUTE: u64 = 60_000;

fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since.as_millis().try_into().unwrap()
}

async fn owner() -> (Node, ChannelId) {
    let node = Node::start(Mode::Node).await;
    let request = Request::ChannelCreate {
        name: CHANNEL.into(),
        private: false,
    };
    let Some(Event::Channel { id, .. }) = node.done(request).await.into_iter().next() else {
        panic!("no channel");
    };
    (node, id.parse().unwrap())
}

fn put(key: &str) -> Request {
    Request::RecordPut {
        channel: CHANNEL.into(),
        kind: 70_000,
        key: key.into(),
        attributes: Default::default(),
        lifetime_ms: None,
        priority: 0,
        body: String::new(),
    }
}

/// A watch of the channel's kept events.
struct Watch {
    events: mpsc::Receiver<Event>,
    cancel: CancellationToken,
}

impl Watch {
    async fn since(node: &Node, cursor: u64) -> Self {
        let request = Request::Watch {
            channel: CHANNEL.into(),
            since: Some(cursor),
        };
        let watching =
            |e: &Event| matches!(e, Event::Change { change, .. } if *change == Change::Watching);
        let (_, events, cancel) = node.begin(request, watching).await;
        Self { events, cancel }
    }

    /// The next kept event about a record, what it is called, and its cursor.
    async fn next(&mut self) -> (String, &'static str, u64) {
        loop {
            let event = self.events.recv().await.expect("the watch goes on");
            let Event::Change { cursor, change, .. } = event else {
                continue;
            };
            let (about, name) = match change {
                Change::Arrived(about) | Change::Replaced { about, .. } => (about, "arrived"),
                Change::Retracted(about) => (about, "retracted"),
                Change::Expired(about) => (about, "expired"),
                Change::Removed { about, .. } => (about, "removed"),
                _ => continue,
            };
            return (about.key.unwrap_or_default(), name, cursor);
        }
    }

    async fn end(mut self) {
        self.cancel.cancel();
        while self.events.recv().await.is_some() {}
    }
}

/// Leaves records in a stopped node's index as if they had come long ago: each with its
/// key and how many minutes ago it ended.
fn backdate(data: &Path, channel: ChannelId, records: &[(&'static str, u64)]) {
    let (_, key) = Keystore::of(data).choose(None).unwrap();
    let key = SecretKey::from_bytes(key.as_bytes());
    let store = Store::open(data, Default::default()).unwrap();
    let mut batch = Batch::new();
    for (seq, (name, minutes)) in (1_000..).zip(records) {
        let new = NewRecord {
            channel,
            kind: Kind(70_000),
            seq,
            created: WallMs(now() - 60 * MINUTE),
            expires: WallMs(now() - minutes * MINUTE),
            priority: 0,
            key: name.as_bytes().into(),
            attributes: Attributes::default(),
            body: Default::default(),
        };
        let record = new.sign(&key).unwrap();
        let head = record.header().unwrap().encode();
        let at = WallMs(now() - 60 * MINUTE);
        batch.put_record_logged(&channel, &record.id(), &head, record.bytes(), at);
    }
    store.write(batch).unwrap();
}

#[tokio::test]
async fn what_ended_while_a_node_was_away_is_told_once() {
    let (a, channel) = owner().await;
    a.done(put("kept")).await;
    let mut watch = Watch::since(&a, 0).await;
    let (key, name, seen) = watch.next().await;
    assert_eq!((key.as_str(), name), ("kept", "arrived"));
    watch.end().await;

    let stopped = a.stop().await;
    // One is over, and one only for a clock that is right to the minute.
    backdate(
        &stopped.path("data"),
        channel,
        &[("over", 20), ("lingers", 5)],
    );
    let a = stopped.start(Mode::Node).await;
    let mut watch = Watch::since(&a, seen).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        let (key, name, cursor) = watch.next().await;
        told.push((key, name, cursor - seen));
    }
    let told: Vec<_> = told.iter().map(|(k, n, c)| (k.as_str(), *n, *c)).collect();
    assert_eq!(
        told,
        [
            ("over", "arrived", 1),
            ("lingers", "arrived", 2),
            ("over", "expired", 3)
        ]
    );
    watch.end().await;

    // Again away: nothing is told a second time.
    let a = a.stop().await.start(Mode::Node).await;
    a.done(put("next")).await;
    let mut watch = Watch::since(&a, seen + 3).await;
    let (key, name, cursor) = watch.next().await;
    assert_eq!((key.as_str(), name, cursor), ("next", "arrived", seen + 4));
    watch.end().await;
}

#[tokio::test]
async fn what_was_taken_back_while_a_reader_was_away_is_told_it() {
    let (a, _) = owner().await;
    let file = a.path("app");
    fs::write(&file, b"one").unwrap();
    let publish = Request::Publish {
        channel: CHANNEL.into(),
        path: file,
        version: Some("1".into()),
        notes: None,
        portable: false,
        priority: Default::default(),
        parity: None,
    };
    a.done(publish).await;
    let b = Node::start(Mode::Node).await;
    let link = link_of(&a, CHANNEL).await;
    let follow = Request::Subscribe {
        link,
        into: Some(b.path("apps")),
        once: true,
        wait: false,
        mirror: false,
        keep_share: false,
    };
    b.done(follow).await;
    let mut watch = Watch::since(&b, 0).await;
    let (key, name, seen) = watch.next().await;
    assert_eq!((key.as_str(), name), ("1", "arrived"));
    watch.end().await;

    let b = b.stop().await;
    a.done(Request::Unpublish {
        channel: CHANNEL.into(),
        version: "1".into(),
    })
    .await;
    let b = b.start(Mode::Node).await;
    let mut watch = Watch::since(&b, seen).await;
    let told = loop {
        // The record that takes it back arrives as well.
        let told = watch.next().await;
        if told.1 != "arrived" {
            break told;
        }
    };
    assert_eq!((told.0.as_str(), told.1), ("1", "retracted"));
    watch.end().await;
    let b = b.stop().await.start(Mode::Node).await;
    a.done(put("next")).await;
    let mut watch = Watch::since(&b, told.2).await;
    let (key, name, _) = watch.next().await;
    assert_eq!((key.as_str(), name), ("next", "arrived"));
    watch.end().await;
}

#[tokio::test]
async fn an_application_takes_back_what_it_put() {
    let (a, _) = owner().await;
    let retract = |kind| Request::RecordRetract {
        channel: CHANNEL.into(),
        kind,
        key: "job".into(),
    };
    a.done(put("job")).await;
    a.done(put("job")).await;
    a.done(put("other")).await;
    a.done(retract(70_000)).await;
    let mut watch = Watch::since(&a, 0).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        let (about, name, _) = watch.next().await;
        told.extend((name == "retracted").then_some(about));
    }
    assert_eq!(told, ["job", "job"]);
    watch.end().await;
    for (kind, wanted) in [(70_000, ErrorKind::NotFound), (257, ErrorKind::Usage)] {
        let refused = a.ask(retract(kind)).await;
        assert!(
            matches!(refused.last(), Some(Event::Error { kind, .. }) if *kind == wanted),
            "{refused:?}"
        );
    }
}
