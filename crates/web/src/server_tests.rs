//! Whole requests over a socket, answered by canned events.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Mutex};

use samara_node::api::{
    Attachment, Change, ChannelStatus, ContentStatus, ErrorKind, Event, Request, Status,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
};

use super::*;
use crate::limits::{ISSUES_PER_PAGE, MAX_EVENT_BYTES};

const TOKEN: &str = "sesame";

/// A node that says what it is told to, and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Canned {
    registry: prometheus::Registry,
    asked: Mutex<Vec<Request>>,
    /// Cancelled when the visitor goes away.
    last_cancel: Mutex<Option<CancellationToken>>,
    attachment: Option<std::path::PathBuf>,
    issues: u64,
}

fn heading(number: u64) -> Event {
    Event::Heading {
        channel: "News & more".into(),
        channel_id: "c".into(),
        issue: format!("issue-{number}"),
        number,
        subject: format!("<i>{number}</i>"),
        published: "2026-05-01T10:00:00Z".into(),
        attachments: 0,
        complete: true,
    }
}

impl Node for Canned {
    fn run(&self, request: Request, cancel: CancellationToken) -> mpsc::Receiver<Event> {
        let (tx, rx) = mpsc::channel(8);
        let events = match &request {
            Request::Status => vec![
                Event::Status(Box::new(Status {
                    peer_id: "<peer>".into(),
                    paused: true,
                    channels: vec![ChannelStatus {
                        paused: true,
                        ..ChannelStatus::default()
                    }],
                    contents: vec![ContentStatus {
                        paused: true,
                        ..ContentStatus::default()
                    }],
                    ..Status::default()
                })),
                Event::Done,
            ],
            Request::Headings { skip, limit, .. } => (0..self.issues)
                .skip(*skip as usize)
                .take(*limit as usize)
                .map(heading)
                .chain([Event::Done])
                .collect(),
            // Each with the largest text.
            Request::Read { issue: None, .. } => {
                let large = |_| match self.issue() {
                    Event::Issue {
                        channel,
                        channel_id,
                        issue,
                        number,
                        subject,
                        published,
                        attachments,
                        complete,
                        ..
                    } => Event::Issue {
                        body: "x".repeat(1 << 20),
                        channel,
                        channel_id,
                        issue,
                        number,
                        subject,
                        published,
                        attachments,
                        complete,
                    },
                    other => other,
                };
                (0..self.issues).map(large).chain([Event::Done]).collect()
            }
            Request::Read { issue: Some(_), .. } => vec![self.issue(), Event::Done],
            Request::Gc { .. } => vec![Event::Waiting { what: "it".into() }],
            Request::Watch { since, .. } => vec![
                Event::Change {
                    channel: "c".into(),
                    cursor: since.unwrap_or(7),
                    at: None,
                    change: Change::Watching,
                },
                Event::Done,
            ],
            Request::Records {
                filter: Some(text), ..
            } => vec![Event::Error {
                kind: ErrorKind::Usage,
                message: text.clone(),
            }],
            Request::Forget { .. } => vec![Event::Error {
                kind: ErrorKind::NotFound,
                message: "no such thing".into(),
            }],
            _ => vec![Event::Done],
        };
        let endless = matches!(request, Request::Gc { .. });
        self.asked.lock().unwrap().push(request);
        *self.last_cancel.lock().unwrap() = Some(cancel.clone());
        tokio::spawn(async move {
            for event in events {
                let _ = tx.send(event).await;
            }
            if endless {
                cancel.cancelled().await;
            }
        });
        rx
    }

    fn token(&self) -> &str {
        TOKEN
    }

    fn metrics(&self) -> &prometheus::Registry {
        &self.registry
    }

    fn healthy(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async { true })
    }
}

impl Canned {
    fn issue(&self) -> Event {
        Event::Issue {
            channel: "News".into(),
            channel_id: "c".into(),
            issue: "i".into(),
            number: 1,
            subject: "<script>alert(1)</script>".into(),
            published: "2026-05-01T10:00:00Z".into(),
            body: "<script>alert(2)</script>\n\n## Hello".into(),
            attachments: vec![Attachment {
                name: "a.html".into(),
                bytes: 5,
                path: self.attachment.clone(),
            }],
            complete: true,
        }
    }
}

struct Site {
    addr: SocketAddr,
    node: Arc<Canned>,
    shutdown: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Site {
    async fn new(kind: Kind, node: Canned) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (node, shutdown) = (Arc::new(node), CancellationToken::new());
        let task = tokio::spawn(serve(
            node.clone(),
            listener,
            kind,
            WebOptions::default(),
            shutdown.clone(),
        ));
        Self {
            addr,
            node,
            shutdown,
            task,
        }
    }

    /// Sends a whole request and returns the whole answer.
    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            self.addr,
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn get(&self, path: &str) -> String {
        let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
        self.send("GET", path, &bearer, "").await
    }
}

fn code(answer: &str) -> u16 {
    answer[9..12].parse().unwrap()
}

#[tokio::test]
async fn metrics_and_health_are_open_and_the_rest_is_not() {
    let site = Site::new(Kind::Full, Canned::default()).await;
    for (path, expected) in [
        ("/metrics", 200),
        ("/healthz", 200),
        ("/style.css", 200),
        ("/", 401),
        ("/read", 401),
        ("/read/c/i/attachment/1", 401),
        ("/api/v1/status", 401),
        ("/no/such/page", 401),
        ("/?token=wrong", 401),
    ] {
        assert_eq!(
            code(&site.send("GET", path, "", "").await),
            expected,
            "{path}"
        );
    }
    for headers in [
        "Authorization: Bearer sesam\r\n",
        "Authorization: sesame\r\n",
    ] {
        let answer = site.send("GET", "/api/v1/status", headers, "").await;
        assert_eq!(code(&answer), 401, "{headers}");
    }
    assert!(
        site.get("/api/v1/status")
            .await
            .contains("\"peer_id\":\"<peer>\"")
    );
}

#[tokio::test]
async fn a_foreign_host_is_refused_on_every_path() {
    let site = Site::new(Kind::Full, Canned::default()).await;
    for path in ["/metrics", "/healthz", "/", "/?token=sesame"] {
        let mut stream = TcpStream::connect(site.addr).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(code(&answer), 421, "{path}");
        assert!(!answer.to_lowercase().contains("set-cookie"), "{path}");
    }
}

#[tokio::test]
async fn the_link_gives_a_cookie_that_reads_and_changes_nothing() {
    let site = Site::new(Kind::Full, Canned::default()).await;
    let answer = site.send("GET", "/?token=sesame", "", "").await;
    assert_eq!(code(&answer), 303);
    let line = answer
        .lines()
        .find_map(|l| l.strip_prefix("set-cookie: "))
        .unwrap();
    assert!(line.contains("HttpOnly") && line.contains("SameSite=Strict"));
    let cookie = line.split(';').next().unwrap();
    assert!(
        !cookie.contains(TOKEN),
        "the token itself is not handed out"
    );
    let cookie = format!("Cookie: other=1; {cookie}\r\n");
    assert_eq!(code(&site.send("GET", "/", &cookie, "").await), 200);
    let forged = format!("Cookie: samara-{}={TOKEN}\r\n", site.addr.port());
    assert_eq!(code(&site.send("GET", "/", &forged, "").await), 401);
    let headers = format!("{cookie}Content-Type: application/json\r\n");
    let answer = site
        .send("POST", "/api/v1/run", &headers, "{\"command\":\"id\"}")
        .await;
    assert_eq!(code(&answer), 401);
}

#[tokio::test]
async fn the_metrics_listener_has_nothing_else() {
    let site = Site::new(Kind::MetricsOnly, Canned::default()).await;
    assert_eq!(code(&site.get("/metrics").await), 200);
    for path in ["/", "/read", "/api/v1/status"] {
        assert_eq!(code(&site.get(path).await), 404, "{path}");
    }
    assert!(site.node.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_request_runs_and_streams_its_events() {
    let site = Site::new(Kind::Full, Canned::default()).await;
    let headers = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let body = "{\"command\":\"forget\",\"what\":\"x\"}";
    let answer = site.send("POST", "/api/v1/run", &headers, body).await;
    assert_eq!(code(&answer), 200);
    assert!(answer.contains("{\"event\":\"error\",\"kind\":\"not_found\""));
    let answer = site
        .send("POST", "/api/v1/run", &headers, "{\"command\":\"fly\"}")
        .await;
    assert_eq!(code(&answer), 400);
    let plain = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: text/plain\r\n");
    assert_eq!(
        code(&site.send("POST", "/api/v1/run", &plain, body).await),
        415
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_one_at_it_is_read() {
    let site = Site::new(Kind::Full, Canned::default()).await;
    let headers = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n");
    let mut body = "{\"command\":\"id\"}".to_owned();
    body.push_str(&" ".repeat(MAX_REQUEST_BYTES - body.len()));
    assert_eq!(
        code(&site.send("POST", "/api/v1/run", &headers, &body).await),
        200
    );
    // Only the announcement: the answer comes before the body is sent.
    let mut stream = TcpStream::connect(site.addr).await.unwrap();
    let head = format!(
        "POST /api/v1/run HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        MAX_REQUEST_BYTES + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[tokio::test]
async fn going_away_cancels_the_request() {
    let site = Site::new(Kind::Full, Canned::default()).await;
    let mut stream = TcpStream::connect(site.addr).await.unwrap();
    let body = "{\"command\":\"gc\"}";
    let request = format!(
        "POST /api/v1/run HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("waiting") {
        assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
    }
    let cancel = site.node.last_cancel.lock().unwrap().clone().unwrap();
    assert!(!cancel.is_cancelled());
    drop(stream);
    cancel.cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn a_visitor_that_reads_nothing_or_sends_half_gives_its_place_back() {
    let address = "127.0.0.1:1".parse().unwrap();
    let post = format!(
        "POST /api/v1/run HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"
    );
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (sent, room, expected) in [
        (get, 16, WRITE_TIMEOUT),
        ("GET /heal", 1 << 16, HEADER_TIMEOUT),
        (get, 1 << 16, HEADER_TIMEOUT),
        (
            &*post,
            1 << 16,
            crate::limits::BODY_TIMEOUT + HEADER_TIMEOUT,
        ),
    ] {
        let node: Arc<dyn Node> = Arc::new(Canned::default());
        let guard = Guard::new(node.clone(), address, &WebOptions::default());
        let service = TowerToHyperService::new(router(node, Kind::Full, guard));
        let (ours, mut theirs) = tokio::io::duplex(room);
        let start = tokio::time::Instant::now();
        let visit = tokio::spawn(visit(ours, service, CancellationToken::new()));
        theirs.write_all(sent.as_bytes()).await.unwrap();
        visit.await.unwrap();
        let took = start.elapsed();
        assert!(
            took <= expected + Duration::from_millis(10),
            "{sent}: {took:?}"
        );
    }
}

#[tokio::test]
async fn a_channel_is_watched_from_where_the_visitor_left_off() {
    let site = Site::new(Kind::Full, Canned::default()).await;
    let answer = site.get("/api/v1/watch/c").await;
    assert_eq!(code(&answer), 200);
    assert!(
        answer.contains("content-type: text/event-stream"),
        "{answer}"
    );
    let told = "id: 7\ndata: {\"event\":\"change\",\"channel\":\"c\",\"cursor\":7,\"change\":\"watching\"}\n\n";
    assert!(answer.contains(told), "{answer}");
    let answer = site.get("/api/v1/watch/c?since=3").await;
    assert!(answer.contains("id: 3\n"), "{answer}");
    // What a browser says when it comes back counts more than its first address.
    let again = |id| format!("Authorization: Bearer {TOKEN}\r\nLast-Event-ID: {id}\r\n");
    let path = "/api/v1/watch/c?since=3";
    let answer = site.send("GET", path, &again("5"), "").await;
    assert!(answer.contains("id: 5\n"), "{answer}");
    assert_eq!(code(&site.send("GET", path, &again("x"), "").await), 400);
    for wrong in ["watch/c?sinse=3", "watch/c?since=abc", "records/c?bodies=7"] {
        let answer = site.get(&format!("/api/v1/{wrong}")).await;
        assert_eq!(code(&answer), 400);
        let told = answer.contains("{\"event\":\"error\",\"kind\":\"usage\"");
        assert!(told, "{wrong}: {answer}");
    }
}

#[tokio::test]
async fn records_are_asked_for_by_their_addresses() {
    let site = Site::new(Kind::Full, Canned::default()).await;
    let answer = site.get("/api/v1/records/jobs?bodies=true").await;
    assert_eq!(code(&answer), 200);
    assert!(answer.contains("{\"event\":\"done\"}"), "{answer}");
    // An error is told by the status while nothing was sent.
    let answer = site
        .get("/api/v1/records/jobs?where=kind%20%3D%20release")
        .await;
    assert_eq!(code(&answer), 400);
    assert!(answer.contains("kind = release"), "{answer}");
    assert_eq!(code(&site.get("/api/v1/records/jobs/abcd").await), 500);
    let asked = std::mem::take(&mut *site.node.asked.lock().unwrap());
    let (channel, filter) = ("jobs".to_owned(), None);
    assert_eq!(
        asked[0],
        Request::Records {
            channel: channel.clone(),
            filter,
            bodies: true
        }
    );
    assert_eq!(
        asked[2],
        Request::RecordGet {
            channel,
            record: "abcd".into(),
            output: None
        }
    );
}

#[tokio::test]
async fn an_issue_is_shown_harmless_with_its_headers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.html");
    std::fs::write(&path, "12345").unwrap();
    let node = Canned {
        attachment: Some(path),
        ..Canned::default()
    };
    let site = Site::new(Kind::Full, node).await;
    let answer = site.get("/read/c/i").await;
    assert_eq!(code(&answer), 200);
    assert!(!answer.contains("<script"), "{answer}");
    assert!(answer.contains("<h2>Hello</h2>"));
    assert!(answer.contains("<h1><bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi></h1>"));
    assert!(answer.contains("content-security-policy: default-src 'none'"));
    assert!(answer.contains("/read/c/i/attachment/1"));

    let answer = site.get("/read/c/i/attachment/1").await;
    assert!(answer.contains("content-disposition: attachment"));
    assert!(answer.contains("content-type: application/octet-stream"));
    assert!(answer.contains("x-content-type-options: nosniff"));
    assert!(answer.contains("sandbox"));
    assert!(answer.ends_with("\r\n\r\n12345"));
    for n in ["0", "2"] {
        let path = format!("/read/c/i/attachment/{n}");
        assert_eq!(code(&site.get(&path).await), 404);
    }
}

#[tokio::test]
async fn a_listing_has_pages_and_asks_for_no_texts() {
    let node = Canned {
        issues: 2 * ISSUES_PER_PAGE,
        ..Canned::default()
    };
    let site = Site::new(Kind::Full, node).await;
    let shown = |answer: &str| answer.matches("<li>").count() as u64;
    let first = site.get("/read/c").await;
    assert_eq!(shown(&first), ISSUES_PER_PAGE);
    assert!(first.contains("&lt;i&gt;0&lt;/i&gt;") && first.contains("News &amp; more"));
    assert!(first.contains("/read/c?page=2") && !first.contains("Newer"));
    let second = site.get("/read/c?page=2").await;
    assert_eq!(shown(&second), ISSUES_PER_PAGE);
    assert!(second.contains("/read/c?page=1") && !second.contains("Older"));
    for path in [
        "/read?page=3",
        "/read?page=18446744073709551615",
        "/read?page=0",
    ] {
        assert_eq!(code(&site.get(path).await), 200, "{path}");
    }
    assert_eq!(code(&site.get("/read?page=x").await), 400);
    let asked = site.node.asked.lock().unwrap();
    assert!(asked.iter().all(|r| matches!(r, Request::Headings { .. })));
}

#[tokio::test]
async fn texts_that_are_collected_are_bounded() {
    let collected = async |issues: u64| {
        let node = Canned {
            issues,
            ..Canned::default()
        };
        let read = Request::Read {
            channel: None,
            issue: None,
        };
        crate::node::collect(&node, read).await.unwrap().len()
    };
    let most = MAX_EVENT_BYTES as u64 / (1 << 20);
    assert_eq!(collected(most - 1).await as u64, most - 1);
    assert_eq!(collected(most + 3).await as u64, most);
}

#[tokio::test]
async fn foreign_text_on_the_status_page_is_escaped() {
    let site = Site::new(Kind::Full, Canned::default()).await;
    let answer = site.get("/").await;
    assert!(answer.contains("&lt;peer&gt;") && !answer.contains("<peer>"));
}

#[tokio::test]
async fn the_status_page_says_what_is_paused() {
    let site = Site::new(Kind::Full, Canned::default()).await;
    let answer = site.get("/").await;
    assert!(answer.contains("Everything is paused."));
    assert_eq!(answer.matches("<small>paused</small>").count(), 2);
}

#[tokio::test]
async fn shutdown_ends_the_server_also_with_a_visitor_in_it() {
    let site = Site::new(Kind::Full, Canned::default()).await;
    let mut idle = TcpStream::connect(site.addr).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 16];
    idle.read_exact(&mut first).await.unwrap();
    site.shutdown.cancel();
    site.task.await.unwrap().unwrap();
}
