//! Requests that get in each other's way, and publishers who announce what nobody
//! has: on whole engines, over real sockets on loopback.

use std::{fs, path::Path, time::Duration};

use samara_node::{
    Engine, Mode, NodeConfig,
    api::{Event, Request, Status},
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(2);

struct Node {
    dir: TempDir,
    engine: Engine,
}

impl Node {
    async fn start(mode: Mode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = NodeConfig::new(dir.path().join("data"));
        config.listen = Some("127.0.0.1:0".parse().unwrap());
        config.timeout = PATIENCE;
        let engine = Engine::open(config, mode).await.unwrap();
        Self { dir, engine }
    }

    /// All events of a request that ends by itself.
    async fn ask(&self, request: Request) -> Vec<Event> {
        let mut events = self.engine.run(request, CancellationToken::new());
        let mut all = Vec::new();
        while let Some(event) = events.recv().await {
            all.push(event);
        }
        all
    }

    async fn done(&self, request: Request) -> Vec<Event> {
        let events = self.ask(request).await;
        assert_eq!(events.last(), Some(&Event::Done), "{events:?}");
        events
    }

    /// Starts a request that goes on; it has what it wants when this returns.
    async fn begin(&self, request: Request) -> (Event, Running) {
        let cancel = CancellationToken::new();
        let mut events = self.engine.run(request, cancel.clone());
        loop {
            let event = events.recv().await.expect("the request ended early");
            assert!(!matches!(event, Event::Error { .. }), "{event:?}");
            if matches!(event, Event::Sharing { .. } | Event::Complete { .. }) {
                return (event, Running { events, cancel });
            }
        }
    }

    async fn share(&self, bytes: &[u8]) -> (String, Running) {
        let path = self.dir.path().join("file");
        fs::write(&path, bytes).unwrap();
        let portable = false;
        let (event, running) = self.begin(Request::Share { path, portable }).await;
        let Event::Sharing { link, .. } = event else {
            unreachable!()
        };
        (link, running)
    }

    fn seed(&self, link: &str) -> Request {
        Request::Get {
            link: link.into(),
            into: self.dir.path().join("out"),
            only: vec![],
            seed: true,
            force: false,
            in_order: false,
            file_only: false,
        }
    }

    fn subscribe(&self, link: &str, into: Option<&str>) -> Request {
        Request::Subscribe {
            link: link.into(),
            into: into.map(|name| self.dir.path().join(name)),
            once: false,
            wait: false,
            mirror: false,
            keep_share: false,
        }
    }

    async fn status(&self) -> Status {
        let events = self.done(Request::Status).await;
        events
            .into_iter()
            .find_map(|event| match event {
                Event::Status(status) => Some(*status),
                _ => None,
            })
            .unwrap()
    }

    async fn roles(&self) -> Vec<String> {
        let channels = self.status().await.channels;
        channels.into_iter().map(|c| c.role).collect()
    }

    /// A channel of this node's, and its link.
    async fn channel(&self, name: &str) -> String {
        self.done(Request::ChannelCreate {
            name: name.into(),
            private: false,
        })
        .await;
        let channel = name.into();
        let events = self.done(Request::Link { channel }).await;
        events
            .into_iter()
            .find_map(|event| match event {
                Event::Link { link, .. } => Some(link),
                _ => None,
            })
            .unwrap()
    }
}

/// A request that goes on.
struct Running {
    events: tokio::sync::mpsc::Receiver<Event>,
    cancel: CancellationToken,
}

impl Running {
    async fn end(mut self) {
        self.cancel.cancel();
        while self.events.recv().await.is_some() {}
    }
}

async fn within<T>(what: &str, limit: Duration, f: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(limit, f).await;
    result.unwrap_or_else(|_| panic!("{what}: not within {limit:?}"))
}

async fn appears(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn one_visit_does_not_end_another() {
    let a = Node::start(Mode::Online).await;
    let (link, _share) = a.share(b"shared").await;
    let b = Node::start(Mode::Online).await;
    let (_, first) = b.begin(b.seed(&link)).await;
    let (_, second) = b.begin(b.seed(&link)).await;
    b.done(Request::Ls { link }).await;
    first.end().await;
    assert_eq!(b.roles().await, ["guest"], "the other is still seeding");
    second.end().await;
    assert_eq!(b.roles().await, [""; 0]);
}

#[tokio::test]
async fn one_share_of_a_path_does_not_end_another() {
    let a = Node::start(Mode::Online).await;
    let (link, first) = a.share(b"shared").await;
    let (again, _second) = a.share(b"shared").await;
    assert_eq!(link, again);
    first.end().await;
    let b = Node::start(Mode::Online).await;
    b.begin(b.seed(&link)).await;
}

#[tokio::test]
async fn a_visit_that_ends_takes_no_subscription_with_it() {
    let a = Node::start(Mode::Online).await;
    let (link, _share) = a.share(b"shared").await;
    let b = Node::start(Mode::Node).await;
    let (_, seeding) = b.begin(b.seed(&link)).await;
    b.done(b.subscribe(&link, None)).await;
    seeding.end().await;
    assert_eq!(b.roles().await, ["subscriber"]);
}

#[tokio::test]
async fn a_channel_can_be_followed_again() {
    let a = Node::start(Mode::Node).await;
    let link = a.channel("product").await;
    let file = a.dir.path().join("app");
    fs::write(&file, b"one").unwrap();
    a.done(Request::Publish {
        channel: "product".into(),
        path: file,
        version: Some("1".into()),
        notes: None,
        portable: false,
        priority: Default::default(),
        parity: None,
    })
    .await;
    let b = Node::start(Mode::Node).await;
    for into in ["first", "second"] {
        b.done(b.subscribe(&link, Some(into))).await;
        let installed = b.dir.path().join(into).join("current/app");
        within(into, Duration::from_secs(20), appears(&installed)).await;
        let channel = "product".into();
        b.done(Request::Unsubscribe { channel }).await;
    }
}

#[tokio::test]
async fn what_nobody_has_does_not_keep_back_the_rest() {
    let a = Node::start(Mode::Node).await;
    let link = a.channel("news").await;
    for n in 1..=2u8 {
        let file = a.dir.path().join(format!("picture{n}"));
        fs::write(&file, vec![n; usize::from(n) * 1000]).unwrap();
        a.done(Request::Post {
            channel: "news".into(),
            subject: Some(format!("Issue {n}")),
            body: "text".into(),
            attach: vec![file],
        })
        .await;
    }
    // The newer one is announced, and gone.
    let contents = a.status().await.contents;
    let newer = contents.iter().find(|c| c.bytes == 2000).unwrap();
    let what = newer.manifest.clone();
    a.done(Request::Forget { what }).await;

    let b = Node::start(Mode::Node).await;
    b.done(b.subscribe(&link, None)).await;
    let older = async {
        loop {
            let contents = b.status().await.contents;
            if contents.iter().any(|c| c.bytes == 1000 && c.complete) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("the older issue", PATIENCE * 8, older).await;
}
