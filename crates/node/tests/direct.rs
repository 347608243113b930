//! Words between two members that the others do not hear.

mod world;

use data_encoding::BASE64;
use samara_node::{
    Mode,
    api::{Change, ErrorKind, Event, Request},
    limits::MAX_WORDS,
};
use tokio::sync::mpsc;
use world::{Node, link_of};

const CHANNEL: &str = "product";

async fn id(node: &Node) -> String {
    match node.ask(Request::Id).await.first() {
        Some(Event::Id { peer_id }) => peer_id.clone(),
        other => panic!("{other:?}"),
    }
}

async fn owner(private: bool) -> Node {
    let node = Node::start(Mode::Node).await;
    let name = CHANNEL.into();
    node.done(Request::ChannelCreate { name, private }).await;
    node
}

async fn follower(of: &Node) -> Node {
    let node = Node::start(Mode::Node).await;
    let request = Request::Subscribe {
        link: link_of(of, CHANNEL).await,
        into: None,
        once: true,
        wait: false,
        mirror: false,
        keep_share: false,
    };
    node.done(request).await;
    node
}

fn tell(peer: &str, body: &[u8]) -> Request {
    Request::Tell {
        channel: CHANNEL.into(),
        peer: peer.into(),
        body: BASE64.encode(body),
    }
}

async fn watch(node: &Node) -> (mpsc::Receiver<Event>, tokio_util::sync::CancellationToken) {
    let request = Request::Watch {
        channel: CHANNEL.into(),
        since: None,
    };
    let watching =
        |e: &Event| matches!(e, Event::Change { change, .. } if *change == Change::Watching);
    let (_, events, cancel) = node.begin(request, watching).await;
    (events, cancel)
}

/// The next words that a watcher hears: from whom, and what.
async fn heard(events: &mut mpsc::Receiver<Event>) -> (String, Vec<u8>) {
    loop {
        let event = events.recv().await.expect("the watch goes on");
        if let Event::Change {
            change: Change::Words { peer, body },
            ..
        } = event
        {
            return (peer, BASE64.decode(body.as_bytes()).unwrap());
        }
    }
}

#[tokio::test]
async fn one_is_told_and_the_others_hear_nothing() {
    let a = owner(false).await;
    let (b, c) = (follower(&a).await, follower(&a).await);
    let (a_id, b_id, c_id) = (id(&a).await, id(&b).await, id(&c).await);
    // Nobody listens yet.
    assert_eq!(a.failure(tell(&b_id, b"hello")).await, ErrorKind::Denied);
    let (mut at_b, _b) = watch(&b).await;
    let (mut at_c, _c) = watch(&c).await;
    let events = a.done(tell(&b_id, b"hello")).await;
    assert!(
        matches!(&events[0], Event::Told { bytes: 5, .. }),
        "{events:?}"
    );
    assert_eq!(heard(&mut at_b).await, (a_id.clone(), b"hello".to_vec()));
    // What comes to the other is the first that it hears.
    let most = vec![7; MAX_WORDS];
    a.done(tell(&c_id, &most)).await;
    assert_eq!(heard(&mut at_c).await, (a_id.clone(), most));
    // Followers talk to each other as well, once they know of each other.
    b.done(tell(&c_id, b"you too")).await;
    assert_eq!(heard(&mut at_c).await, (b_id.clone(), b"you too".to_vec()));

    let too_long = vec![7; MAX_WORDS + 1];
    for body in [&too_long[..], b""] {
        assert_eq!(a.failure(tell(&b_id, body)).await, ErrorKind::Usage);
    }
    assert_eq!(a.failure(tell(&a_id, b"me")).await, ErrorKind::Usage);
}

#[tokio::test]
async fn who_cannot_be_told_is_named_with_where_it_was_looked_for() {
    let a = owner(false).await.restart_impatient(Mode::Node).await;
    let b = follower(&a).await;
    let b_id = id(&b).await;
    b.stop().await;
    match a.ask(tell(&b_id, b"hello")).await.last() {
        Some(Event::Error { kind, message }) => {
            assert_eq!(*kind, ErrorKind::NoPeer);
            let named = format!("{b_id} could not be reached");
            assert!(message.starts_with(&named), "{message}");
            // Nothing is fetched.
            assert!(!message.contains("has it"), "{message}");
        }
        other => panic!("no error but {other:?}"),
    }
}
