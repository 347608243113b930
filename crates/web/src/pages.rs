//! The status page, and the pages that say no.

use std::fmt::Write;

use axum::{
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use samara_node::api::{ChannelStatus, ContentStatus, Event, PeerStatus, Request, Status};

use crate::{
    api::status_of,
    html::{Text, page, rate, segment, size, span},
    node::{Failure, collect},
    server,
};

/// Seconds between two loads of the status page.
const REFRESH: u32 = 5;

pub(crate) async fn style() -> Response {
    (
        [(CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("style.css"),
    )
        .into_response()
}

pub(crate) async fn overview(State(node): server::State) -> Response {
    let status = match collect(&*node, Request::Status).await {
        Ok(events) => events.into_iter().find_map(|event| match event {
            Event::Status(status) => Some(*status),
            _ => None,
        }),
        Err(error) => return failed(&error),
    };
    let peers: Vec<PeerStatus> = match collect(&*node, Request::Peers).await {
        Ok(events) => events
            .into_iter()
            .filter_map(|event| match event {
                Event::Peer(peer) => Some(peer),
                _ => None,
            })
            .collect(),
        Err(error) => return failed(&error),
    };
    let mut body = String::new();
    write_overview(&mut body, &status.unwrap_or_default(), &peers);
    page(StatusCode::OK, "Status", Some(REFRESH), &body)
}

fn write_overview(out: &mut String, status: &Status, peers: &[PeerStatus]) {
    let down: u64 = status.contents.iter().map(|c| c.rate_down).sum();
    let up: u64 = status.contents.iter().map(|c| c.rate_up).sum();
    let flow = |value| match rate(value) {
        text if text.is_empty() => "idle".to_owned(),
        text => text,
    };
    let _ = write!(
        out,
        "<h1>This node</h1>\n<dl class=\"facts\">\
         <div><dt>Receiving</dt><dd>{}</dd></div>\
         <div><dt>Sending</dt><dd>{}</dd></div>\
         <div><dt>Peers</dt><dd>{}</dd></div>\
         <div><dt>Store</dt><dd>{} <small>of {}</small></dd></div>\
         <div><dt>Up for</dt><dd>{}</dd></div></dl>\n\
         <p class=\"id\">Identity <code>{}</code>, listening on <code>{}</code>, version {}</p>\n",
        flow(down),
        flow(up),
        peers.len(),
        size(status.store_bytes),
        size(status.quota_bytes),
        span(status.uptime),
        Text(&status.peer_id),
        Text(&status.listen),
        Text(&status.version),
    );
    if status.paused {
        out.push_str(
            "<p class=\"note\">Everything is paused. <code>samara resume</code> lets it go \
             on.</p>\n",
        );
    }
    section(
        out,
        "Contents",
        "Nothing is shared, followed or fetched yet.",
        &["Name", "Size", "Here", "Peers", "Down", "Up"],
        &status.contents,
        content_row,
    );
    section(
        out,
        "Channels",
        "No channel yet. <code>samara subscribe LINK</code> follows one.",
        &["Name", "Role", "Release", "Records", "Neighbours"],
        &status.channels,
        channel_row,
    );
    section(
        out,
        "Peers",
        "Connected with nobody at the moment.",
        &[
            "Peer",
            "Address",
            "Received",
            "Sent",
            "Round trip",
            "Channels",
        ],
        peers,
        peer_row,
    );
}

fn section<T>(
    out: &mut String,
    title: &str,
    nothing: &str,
    columns: &[&str],
    rows: &[T],
    row: fn(&mut String, &T),
) {
    let _ = writeln!(out, "<section><h2>{title}</h2>");
    if rows.is_empty() {
        let _ = writeln!(out, "<p class=\"nothing\">{nothing}</p></section>");
        return;
    }
    out.push_str("<div class=\"wide\"><table><thead><tr>");
    for column in columns {
        let _ = write!(out, "<th scope=\"col\">{column}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for item in rows {
        out.push_str("<tr>");
        row(out, item);
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div></section>\n");
}

fn paused(is: bool) -> &'static str {
    if is { " <small>paused</small>" } else { "" }
}

fn content_row(out: &mut String, content: &ContentStatus) {
    let progress = |have: u64, of: u64| {
        let (of, percent) = (of.max(1), have * 100 / of.max(1));
        format!("<progress value=\"{have}\" max=\"{of}\"></progress> {percent} %")
    };
    let good = |what: &str| format!("<span class=\"good\">{what}</span>");
    let here = match content.share {
        _ if content.complete => good("complete"),
        Some(share) if share.chunks == 0 => "no share".to_owned(),
        Some(share) if share.have == share.chunks => good("its share"),
        Some(share) => progress(share.have, share.chunks) + " of its share",
        None => progress(content.have, content.chunks),
    } + paused(content.paused);
    let _ = write!(
        out,
        "<td><bdi title=\"{}\">{}</bdi></td><td>{}</td><td>{here}</td><td>{}</td><td>{}</td><td>{}</td>",
        Text(&content.manifest),
        Text(&content.name),
        size(content.bytes),
        content.peers,
        rate(content.rate_down),
        rate(content.rate_up),
    );
}

fn channel_row(out: &mut String, channel: &ChannelStatus) {
    let _ = write!(
        out,
        "<td><a href=\"/read/{}\" title=\"{}\"><bdi>{}</bdi></a>{}</td><td>{}</td>\
         <td><bdi>{}</bdi></td><td>{}</td><td>{}</td>",
        segment(&channel.id),
        Text(&channel.id),
        Text(&channel.name),
        paused(channel.paused),
        Text(&channel.role),
        Text(channel.release.as_deref().unwrap_or("–")),
        channel.records,
        channel.neighbours,
    );
}

fn peer_row(out: &mut String, peer: &PeerStatus) {
    let short: String = peer.peer_id.chars().take(10).collect();
    let _ = write!(
        out,
        "<td><code title=\"{}\">{}</code></td><td>{} <small>{}</small></td><td>{}</td><td>{}</td>\
         <td>{:.1} ms</td><td><bdi>{}</bdi></td>",
        Text(&peer.peer_id),
        Text(&short),
        Text(&peer.addr),
        Text(&peer.scope),
        size(peer.received),
        size(peer.sent),
        peer.rtt_ms,
        Text(&peer.channels.join(", ")),
    );
}

/// The answer to whoever comes without the token.
pub(crate) fn locked() -> Response {
    page(
        StatusCode::UNAUTHORIZED,
        "Locked",
        None,
        "<h1>This page is locked</h1>\n<p>It belongs to whoever runs this node. Open the link \
         that <code>samara node</code> prints when it starts in a terminal, or add \
         <code>/?token=…</code> with what stands in the file <code>token</code> of its data \
         directory.</p>",
    )
}

pub(crate) async fn nothing_here() -> Response {
    page(
        StatusCode::NOT_FOUND,
        "Not found",
        None,
        "<h1>Nothing here</h1>\n<p><a href=\"/\">Back to the status page</a></p>",
    )
}

/// A failed request as a page.
pub(crate) fn failed(failure: &Failure) -> Response {
    page(
        status_of(failure.kind),
        "Failed",
        None,
        &format!(
            "<h1>That did not work</h1>\n<p>{}</p>",
            Text(&failure.message)
        ),
    )
}
