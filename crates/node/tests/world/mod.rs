//! Engines for tests, each in a directory of its own.

// Each test file uses some of it.
#![allow(dead_code)]

use std::{path::Path, time::Duration};

use samara_node::{
    Engine, Mode, NodeConfig,
    api::{ErrorKind, Event, Request},
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// An engine with a directory of its own.
pub(crate) struct Node {
    pub(crate) dir: TempDir,
    pub(crate) engine: Engine,
}

/// What is left of a node that does not run.
pub(crate) struct Stopped {
    dir: TempDir,
}

impl Stopped {
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Starts it again; what it waits for in vain it gives up soon.
    pub(crate) async fn start(self, mode: Mode) -> Node {
        let engine = Node::open_for(self.dir.path(), mode, Duration::from_secs(2)).await;
        Node {
            dir: self.dir,
            engine,
        }
    }
}

impl Node {
    pub(crate) async fn start(mode: Mode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Self::open(dir.path(), mode).await;
        Self { dir, engine }
    }

    pub(crate) async fn open(dir: &Path, mode: Mode) -> Engine {
        Self::open_for(dir, mode, Duration::from_secs(20)).await
    }

    /// One that gives up after so long.
    pub(crate) async fn open_for(dir: &Path, mode: Mode, timeout: Duration) -> Engine {
        let mut config = NodeConfig::new(dir.join("data"));
        config.listen = Some("127.0.0.1:0".parse().unwrap());
        config.timeout = timeout;
        Engine::open(config, mode).await.unwrap()
    }

    pub(crate) async fn stop(self) -> Stopped {
        self.engine.shutdown().await;
        Stopped { dir: self.dir }
    }

    /// The same again, after a stop; what it waits for in vain it gives up soon.
    pub(crate) async fn restart_impatient(self, mode: Mode) -> Self {
        self.stop().await.start(mode).await
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// All events of a request that ends by itself.
    pub(crate) async fn ask(&self, request: Request) -> Vec<Event> {
        let mut events = self.engine.run(request, CancellationToken::new());
        let mut all = Vec::new();
        while let Some(event) = events.recv().await {
            all.push(event);
        }
        all
    }

    /// All events of a request that must succeed.
    pub(crate) async fn done(&self, request: Request) -> Vec<Event> {
        let events = self.ask(request).await;
        assert_eq!(events.last(), Some(&Event::Done), "{events:?}");
        events
    }

    /// How a request fails.
    pub(crate) async fn failure(&self, request: Request) -> ErrorKind {
        match self.ask(request).await.last() {
            Some(Event::Error { kind, .. }) => *kind,
            other => panic!("no error but {other:?}"),
        }
    }

    /// Starts a request that goes on, and waits for its first event of a kind.
    pub(crate) async fn begin(
        &self,
        request: Request,
        is_it: impl Fn(&Event) -> bool,
    ) -> (Event, mpsc::Receiver<Event>, CancellationToken) {
        let cancel = CancellationToken::new();
        let mut events = self.engine.run(request, cancel.clone());
        loop {
            let event = events.recv().await.expect("the request ended early");
            assert!(!matches!(event, Event::Error { .. }), "{event:?}");
            if is_it(&event) {
                return (event, events, cancel);
            }
        }
    }

    pub(crate) async fn share(
        &self,
        path: &Path,
    ) -> (String, mpsc::Receiver<Event>, CancellationToken) {
        let request = Request::Share {
            path: path.to_owned(),
            portable: false,
        };
        let (event, events, cancel) = self
            .begin(request, |e| matches!(e, Event::Sharing { .. }))
            .await;
        let Event::Sharing { link, .. } = event else {
            unreachable!()
        };
        (link, events, cancel)
    }

    pub(crate) async fn get(&self, link: &str, into: &Path) -> Vec<Event> {
        self.ask(Request::Get {
            link: link.to_owned(),
            into: into.to_owned(),
            only: vec![],
            seed: false,
            force: false,
            in_order: false,
            file_only: false,
        })
        .await
    }
}

/// A channel's link.
pub(crate) async fn link_of(node: &Node, channel: &str) -> String {
    let request = Request::Link {
        channel: channel.into(),
    };
    match node.ask(request).await.first() {
        Some(Event::Link { link, .. }) => link.clone(),
        other => panic!("{other:?}"),
    }
}
