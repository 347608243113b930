use std::{future::Future, pin::Pin};

use samara_node::{
    Engine,
    api::{ErrorKind, Event, Request},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::limits::{MAX_EVENT_BYTES, MAX_EVENTS, REQUEST_TIMEOUT};

/// What the pages need of an engine, so that tests can answer in its place.
pub(crate) trait Node: Send + Sync + 'static {
    fn run(&self, request: Request, cancel: CancellationToken) -> mpsc::Receiver<Event>;
    fn token(&self) -> &str;
    fn metrics(&self) -> &prometheus::Registry;
    fn healthy(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

impl Node for Engine {
    fn run(&self, request: Request, cancel: CancellationToken) -> mpsc::Receiver<Event> {
        Engine::run(self, request, cancel)
    }

    fn token(&self) -> &str {
        self.api_token()
    }

    fn metrics(&self) -> &prometheus::Registry {
        Engine::metrics(self)
    }

    fn healthy(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(Engine::healthy(self))
    }
}

/// Why a request brought nothing.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// All events of a request that ends by itself, without the closing one.
pub(crate) async fn collect(node: &dyn Node, request: Request) -> Result<Vec<Event>, Failure> {
    let cancel = CancellationToken::new();
    let _ends_with_us = cancel.clone().drop_guard();
    let mut events = node.run(request, cancel);
    let (mut found, mut bytes) = (Vec::new(), 0);
    let deadline = tokio::time::Instant::now() + REQUEST_TIMEOUT;
    loop {
        match tokio::time::timeout_at(deadline, events.recv()).await {
            Err(_) => {
                return Err(Failure::new(
                    ErrorKind::Internal,
                    "the node takes too long to answer",
                ));
            }
            Ok(None) => return Err(Failure::new(ErrorKind::Internal, "the node is stopping")),
            Ok(Some(Event::Done)) => return Ok(found),
            Ok(Some(Event::Error { kind, message })) => return Err(Failure { kind, message }),
            Ok(Some(event)) => {
                bytes += text_bytes(&event);
                found.push(event);
                if found.len() == MAX_EVENTS || bytes >= MAX_EVENT_BYTES {
                    return Ok(found);
                }
            }
        }
    }
}

/// What of an event can be large.
fn text_bytes(event: &Event) -> usize {
    match event {
        Event::Issue {
            body, attachments, ..
        } => {
            let names = attachments.iter().map(|attachment| attachment.name.len());
            body.len() + names.sum::<usize>()
        }
        _ => 0,
    }
}
