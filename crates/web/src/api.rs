//! Metrics, health and the local API.

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{self, FromRequest, State},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, HeaderValue},
    },
    response::{IntoResponse, Response},
};
use prometheus::{Encoder, TextEncoder};
use samara_node::api::{ErrorKind, Event, Request};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    body::{EventBody, Form},
    limits::BODY_TIMEOUT,
    node::{Failure, collect},
    server,
};

pub(crate) async fn metrics(State(node): server::State) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&node.metrics().gather(), &mut text) {
        Ok(()) => ([(CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("metrics cannot be written: {error}\n"),
        )
            .into_response(),
    }
}

pub(crate) async fn healthz(State(node): server::State) -> Response {
    if node.healthy().await {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not healthy\n").into_response()
    }
}

/// Any request of the engine, answered by its events, one JSON object a line.
pub(crate) async fn run(
    State(node): server::State,
    headers: HeaderMap,
    request: extract::Request,
) -> Response {
    // A type that a foreign page cannot send without asking first (Fetch, CORS preflight).
    let json = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
    if !json {
        let mut response = failure(Failure::new(
            ErrorKind::Usage,
            "the request must have Content-Type: application/json",
        ));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let body = match timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(refused)) => return refused.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let request = match serde_json::from_slice::<Request>(&body) {
        Ok(request) => request,
        Err(error) => {
            return failure(Failure::new(
                ErrorKind::Usage,
                format!("not a request: {error}"),
            ));
        }
    };
    let cancel = CancellationToken::new();
    let events = node.run(request, cancel.clone());
    let body = EventBody::new(None, events, Form::Lines, cancel.drop_guard());
    let kind = HeaderValue::from_static(Form::Lines.media_type());
    ([(CONTENT_TYPE, kind)], Body::new(body)).into_response()
}

pub(crate) async fn status(State(node): server::State) -> Response {
    match collect(&*node, Request::Status).await {
        Ok(events) => {
            let status = events.into_iter().find_map(|event| match event {
                Event::Status(status) => Some(status),
                _ => None,
            });
            match status {
                Some(status) => Json(status).into_response(),
                None => failure(Failure::new(ErrorKind::Internal, "the node gave no status")),
            }
        }
        Err(error) => failure(error),
    }
}

pub(crate) async fn peers(state: server::State) -> Response {
    list(state, Request::Peers).await
}

pub(crate) async fn channels(state: server::State) -> Response {
    list(state, Request::ChannelList).await
}

pub(crate) async fn issues(state: server::State) -> Response {
    let request = Request::Read {
        channel: None,
        issue: None,
    };
    list(state, request).await
}

async fn list(State(node): server::State, request: Request) -> Response {
    match collect(&*node, request).await {
        Ok(events) => Json(events).into_response(),
        Err(error) => failure(error),
    }
}

/// An error event as the whole answer.
pub(crate) fn failure(failure: Failure) -> Response {
    let Failure { kind, message } = failure;
    (status_of(kind), Json(Event::Error { kind, message })).into_response()
}

pub(crate) fn status_of(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Usage | ErrorKind::Link => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::Exists | ErrorKind::Changed => StatusCode::CONFLICT,
        ErrorKind::NoPeer => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
