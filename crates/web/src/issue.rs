//! The newsletter reader.

use std::{fmt::Write, path::Path};

use axum::{
    body::Body,
    extract::{Path as UrlPath, State},
    http::{
        StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use samara_node::api::{Attachment, ErrorKind, Event, Request};

use crate::{
    body::FileBody,
    html::{Text, page, segment, size, time},
    limits::MAX_RENDERED_BODY,
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
        format!(
            "/read/{}/{}",
            segment(&self.channel_id),
            segment(&self.slug)
        )
    }
}

async fn read(
    node: &dyn Node,
    channel: Option<String>,
    issue: Option<String>,
) -> Result<Vec<Issue>, Failure> {
    let events = collect(node, Request::Read { channel, issue }).await?;
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

pub(crate) async fn all(State(node): server::State) -> Response {
    match read(&*node, None, None).await {
        Ok(issues) => listing("Newsletters", issues),
        Err(error) => failed(&error),
    }
}

pub(crate) async fn of_channel(
    State(node): server::State,
    UrlPath(channel): UrlPath<String>,
) -> Response {
    match read(&*node, Some(channel), None).await {
        Ok(issues) => {
            let name = issues.first().map(|issue| issue.channel.clone());
            listing(name.as_deref().unwrap_or("Newsletters"), issues)
        }
        Err(error) => failed(&error),
    }
}

fn listing(title: &str, mut issues: Vec<Issue>) -> Response {
    // RFC 3339 in UTC sorts as text.
    issues.sort_by(|a, b| b.published.cmp(&a.published));
    let mut body = format!("<h1><bdi>{}</bdi></h1>\n", Text(title));
    if issues.is_empty() {
        body.push_str("<p class=\"nothing\">No issue has arrived yet.</p>");
    } else {
        body.push_str("<ol class=\"issues\">\n");
        for issue in &issues {
            let _ = writeln!(
                body,
                "<li><a href=\"{}\"><bdi>{}</bdi></a><p><bdi>{}</bdi> · {}{}{}</p></li>",
                issue.address(),
                Text(&issue.subject),
                Text(&issue.channel),
                time(&issue.published),
                match issue.attachments.len() {
                    0 => String::new(),
                    1 => " · 1 attachment".to_owned(),
                    n => format!(" · {n} attachments"),
                },
                if issue.complete { "" } else { " · arriving" },
            );
        }
        body.push_str("</ol>");
    }
    page(StatusCode::OK, title, None, &body)
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
    let mut issues = read(node, Some(channel), Some(slug)).await?;
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
