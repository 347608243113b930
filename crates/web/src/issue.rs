//! The newsletter reader.

use std::{fmt::Write, path::Path};

use axum::{
    body::Body,
    extract::{Path as UrlPath, Query, State},
    http::{
        StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use samara_node::api::{Attachment, ErrorKind, Event, Request};
use serde::Deserialize;

use crate::{
    body::FileBody,
    html::{Text, page, segment, size, time},
    limits::{ISSUES_PER_PAGE, MAX_RENDERED_BODY},
    markdown,
    node::{Failure, Node, collect},
    pages::failed,
    server,
};

/// One issue, as [`Event::Issue`] tells it.
struct Issue {
    channel: String,
    channel_id: String,
    slug: String,
    subject: String,
    published: String,
    body: String,
    attachments: Vec<Attachment>,
    complete: bool,
}

impl Issue {
    fn address(&self) -> String {
        address(&self.channel_id, &self.slug)
    }
}

fn address(channel_id: &str, slug: &str) -> String {
    format!("/read/{}/{}", segment(channel_id), segment(slug))
}

async fn read(node: &dyn Node, channel: String, issue: String) -> Result<Vec<Issue>, Failure> {
    let request = Request::Read {
        channel: Some(channel),
        issue: Some(issue),
    };
    let events = collect(node, request).await?;
    Ok(events
        .into_iter()
        .filter_map(|event| match event {
            Event::Issue {
                channel,
                channel_id,
                issue,
                subject,
                published,
                body,
                attachments,
                complete,
                ..
            } => Some(Issue {
                channel,
                channel_id,
                slug: issue,
                subject,
                published,
                body,
                attachments,
                complete,
            }),
            _ => None,
        })
        .collect())
}

/// Which page of a listing, from 1.
#[derive(Deserialize)]
pub(crate) struct Paging {
    #[serde(default)]
    page: Option<u64>,
}

pub(crate) async fn all(State(node): server::State, Query(paging): Query<Paging>) -> Response {
    listing(&*node, None, paging).await
}

pub(crate) async fn of_channel(
    State(node): server::State,
    UrlPath(channel): UrlPath<String>,
    Query(paging): Query<Paging>,
) -> Response {
    listing(&*node, Some(channel), paging).await
}

async fn listing(node: &dyn Node, channel: Option<String>, paging: Paging) -> Response {
    let number = paging.page.unwrap_or(1).max(1);
    let request = Request::Headings {
        channel: channel.clone(),
        skip: (number - 1).saturating_mul(ISSUES_PER_PAGE),
        // One more tells whether there is another page.
        limit: ISSUES_PER_PAGE + 1,
    };
    let mut issues = match collect(node, request).await {
        Ok(issues) => issues,
        Err(error) => return failed(&error),
    };
    let more = issues.len() as u64 > ISSUES_PER_PAGE;
    issues.truncate(ISSUES_PER_PAGE as usize);
    let title = match (&channel, issues.first()) {
        (Some(_), Some(Event::Heading { channel, .. })) => channel.clone(),
        _ => "Newsletters".to_owned(),
    };
    let mut body = format!("<h1><bdi>{}</bdi></h1>\n", Text(&title));
    if issues.is_empty() {
        body.push_str("<p class=\"nothing\">No issue has arrived yet.</p>");
    } else {
        body.push_str("<ol class=\"issues\">\n");
        issues
            .iter()
            .for_each(|issue| write_heading(&mut body, issue));
        body.push_str("</ol>");
    }
    let here = match &channel {
        Some(channel) => format!("/read/{}", segment(channel)),
        None => "/read".to_owned(),
    };
    let mut link = |there: bool, number: u64, text: &str| {
        if there {
            let _ = writeln!(body, "<p><a href=\"{here}?page={number}\">{text}</a></p>");
        }
    };
    link(number > 1, number - 1, "Newer issues");
    link(more, number.saturating_add(1), "Older issues");
    page(StatusCode::OK, &title, None, &body)
}

fn write_heading(out: &mut String, event: &Event) {
    let Event::Heading {
        channel,
        channel_id,
        issue,
        subject,
        published,
        attachments,
        complete,
        ..
    } = event
    else {
        return;
    };
    let _ = writeln!(
        out,
        "<li><a href=\"{}\"><bdi>{}</bdi></a><p><bdi>{}</bdi> · {}{}{}</p></li>",
        address(channel_id, issue),
        Text(subject),
        Text(channel),
        time(published),
        match attachments {
            0 => String::new(),
            1 => " · 1 attachment".to_owned(),
            n => format!(" · {n} attachments"),
        },
        if *complete { "" } else { " · arriving" },
    );
}

pub(crate) async fn show(
    State(node): server::State,
    UrlPath((channel, slug)): UrlPath<(String, String)>,
) -> Response {
    let issue = match find(&*node, channel, slug).await {
        Ok(issue) => issue,
        Err(error) => return failed(&error),
    };
    // Markdown of a megabyte takes its time: not on the async worker.
    let page = tokio::task::spawn_blocking(move || render(&issue)).await;
    page.unwrap_or_else(|_| {
        failed(&Failure::new(
            ErrorKind::Internal,
            "this issue cannot be rendered",
        ))
    })
}

async fn find(node: &dyn Node, channel: String, slug: String) -> Result<Issue, Failure> {
    let mut issues = read(node, channel, slug).await?;
    if issues.is_empty() {
        return Err(Failure::new(ErrorKind::NotFound, "there is no such issue"));
    }
    Ok(issues.swap_remove(0))
}

fn render(issue: &Issue) -> Response {
    let names: Vec<&str> = issue.attachments.iter().map(|a| &*a.name).collect();
    let cut = issue.body.floor_char_boundary(MAX_RENDERED_BODY);
    let text = markdown::to_html(&issue.body[..cut], &issue.address(), &names);
    // Most issues bring their title along.
    let title = if text.trim_start().starts_with("<h1>") {
        String::new()
    } else {
        format!("<h1><bdi>{}</bdi></h1>\n", Text(&issue.subject))
    };
    let mut body = format!(
        "<article>\n<p class=\"over\"><a href=\"/read/{}\"><bdi>{}</bdi></a> · {}</p>\n{title}{text}\n",
        segment(&issue.channel_id),
        Text(&issue.channel),
        time(&issue.published),
    );
    if cut < issue.body.len() {
        let _ = writeln!(
            body,
            "<p class=\"note\">The rest of this issue is too long for a page; \
             <code>samara read</code> shows all of it.</p>"
        );
    }
    if !issue.complete {
        body.push_str("<p class=\"note\">Parts of this issue are still on their way.</p>\n");
    }
    if !issue.attachments.is_empty() {
        body.push_str("<section class=\"attachments\"><h2>Attachments</h2><ul>\n");
        for (n, attachment) in issue.attachments.iter().enumerate() {
            let name = Text(&attachment.name);
            let _ = match attachment.path {
                Some(_) => write!(
                    body,
                    "<li><a href=\"{}/attachment/{}\" download><bdi>{name}</bdi></a>",
                    issue.address(),
                    n + 1
                ),
                None => write!(body, "<li><bdi>{name}</bdi>, arriving"),
            };
            let _ = writeln!(body, " <small>{}</small></li>", size(attachment.bytes));
        }
        body.push_str("</ul></section>\n");
    }
    body.push_str("</article>");
    page(StatusCode::OK, &issue.subject, None, &body)
}

/// The n-th attachment, counted from 1, as a download and never as a page.
pub(crate) async fn attachment(
    State(node): server::State,
    UrlPath((channel, slug, number)): UrlPath<(String, String, usize)>,
) -> Response {
    let issue = match find(&*node, channel, slug).await {
        Ok(issue) => issue,
        Err(error) => return failed(&error),
    };
    let found = number
        .checked_sub(1)
        .and_then(|index| issue.attachments.into_iter().nth(index));
    let missing = |what| failed(&Failure::new(ErrorKind::NotFound, what));
    let Some(attachment) = found else {
        return missing("this issue has no such attachment");
    };
    let Some(path) = attachment.path else {
        return missing("this attachment has not arrived yet");
    };
    let opened = async {
        let file = tokio::fs::File::open(&path).await?;
        let length = file.metadata().await?.len();
        std::io::Result::Ok((file, length))
    };
    let Ok((file, length)) = opened.await else {
        return missing("this attachment cannot be read from the disk");
    };
    (
        [
            (CONTENT_TYPE, media_type(&attachment.name).to_owned()),
            (CONTENT_LENGTH, length.to_string()),
            (CONTENT_DISPOSITION, disposition(&attachment.name)),
            (
                CONTENT_SECURITY_POLICY,
                "default-src 'none'; sandbox".to_owned(),
            ),
        ],
        Body::new(FileBody::new(file, length)),
    )
        .into_response()
}

/// Pictures that cannot hold a script may be shown within the issue; everything
/// else is bytes.
fn media_type(name: &str) -> &'static str {
    let extension = Path::new(name)
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    match &*extension.to_ascii_lowercase() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        _ => "application/octet-stream",
    }
}

/// RFC 6266 section 4.3: a plain name for old clients, the true one encoded.
fn disposition(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = name
        .chars()
        .map(|c| match c {
            '"' | '%' => '_',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '_',
        })
        .collect();
    format!(
        "attachment; filename=\"{plain}\"; filename*=UTF-8''{}",
        segment(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_keeps_its_name_and_nothing_else() {
        assert_eq!(
            disposition("a\"b\r\nSet-Cookie: ü.pdf"),
            "attachment; filename=\"a_b__Set-Cookie: _.pdf\"; \
             filename*=UTF-8''a%22b%0D%0ASet-Cookie%3A%20%C3%BC.pdf"
        );
        assert!(disposition("../../etc/passwd").contains("filename=\"passwd\""));
    }

    #[test]
    fn pages_and_vector_pictures_are_only_bytes() {
        assert_eq!(media_type("x.PNG"), "image/png");
        for name in ["x.svg", "x.html", "x.xml", "x", "png"] {
            assert_eq!(media_type(name), "application/octet-stream", "{name}");
        }
    }
}
