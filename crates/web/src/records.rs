//! Records and what happens to them, for programs on this machine.

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use samara_node::api::{ErrorKind, Event, Request};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::{
    api::failure,
    body::{EventBody, Form},
    node::{Failure, Node, collect},
    server,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    #[serde(rename = "where")]
    filter: Option<String>,
    #[serde(default)]
    bodies: bool,
    /// The guard's.
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// Records, one JSON object a line.
pub(crate) async fn list(
    State(node): server::State,
    Path(channel): Path<String>,
    which: Result<Query<Which>, QueryRejection>,
) -> Response {
    let which = match which {
        Ok(Query(which)) => which,
        Err(why) => return misread(&why),
    };
    let request = Request::Records {
        channel,
        filter: which.filter,
        bodies: which.bodies,
    };
    stream(&*node, request, Form::Lines).await
}

/// One record with its body.
pub(crate) async fn show(
    State(node): server::State,
    Path((channel, record)): Path<(String, String)>,
) -> Response {
    let request = Request::RecordGet {
        channel,
        record,
        output: None,
    };
    match collect(&*node, request).await {
        Ok(events) => match events.into_iter().next() {
            Some(event) => Json(event).into_response(),
            None => failure(Failure::new(ErrorKind::Internal, "the node gave no record")),
        },
        Err(error) => failure(error),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Since {
    since: Option<u64>,
    /// The guard's.
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// Server-sent events (HTML Standard section 9.2). A browser that lost the
/// connection says itself where to go on.
pub(crate) async fn watch(
    State(node): server::State,
    Path(channel): Path<String>,
    asked: Result<Query<Since>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(why) => return misread(&why),
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let since = match last.map(str::parse).transpose() {
        Ok(last) => last.or(asked.since),
        Err(_) => {
            let why = "Last-Event-ID is not a cursor";
            return failure(Failure::new(ErrorKind::Usage, why));
        }
    };
    stream(&*node, Request::Watch { channel, since }, Form::Sse).await
}

/// What stands after the question mark of an address cannot be read.
fn misread(why: &QueryRejection) -> Response {
    failure(Failure::new(ErrorKind::Usage, why.body_text()))
}

/// Events as they come; an error before the first of them is the whole answer.
async fn stream(node: &dyn Node, request: Request, form: Form) -> Response {
    let cancel = CancellationToken::new();
    let guard = cancel.clone().drop_guard();
    let mut events = node.run(request, cancel);
    let first = match events.recv().await {
        Some(Event::Error { kind, message }) => return failure(Failure { kind, message }),
        Some(first) => first,
        None => return failure(Failure::new(ErrorKind::Internal, "the node is stopping")),
    };
    let kind = HeaderValue::from_static(form.media_type());
    let body = EventBody::new(Some(first), events, form, guard);
    ([(CONTENT_TYPE, kind)], Body::new(body)).into_response()
}
