//! The listeners over TCP: metrics, health, the local API, and who may ask.

use std::{
    collections::HashSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::{
    tree::noise,
    world::{World, number, string, text},
};

/// An answer over HTTP/1.1: status and body.
pub(crate) fn ask(addr: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n");
    let host = headers.iter().any(|(name, _)| *name == "Host");
    if !host {
        request += &format!("Host: {addr}\r\n");
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all((request + "\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Checks the text exposition format (version 0.0.4) line by line; the names of all
/// series.
fn series(text: &str) -> HashSet<String> {
    let mut typed = HashSet::new();
    let mut names = HashSet::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(typed.insert(name.to_owned()), "twice: {line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let bare = name.split('{').next().unwrap();
        assert!(
            bare.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
            "{line}"
        );
        if let Some(labels) = name.strip_prefix(bare).filter(|l| !l.is_empty()) {
            let labels = labels
                .strip_prefix('{')
                .and_then(|l| l.strip_suffix('}'))
                .unwrap();
            for label in labels.split(',') {
                let (key, value) = label.split_once('=').unwrap();
                assert!(
                    key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
                    "{line}"
                );
                assert!(value.starts_with('"') && value.ends_with('"'), "{line}");
            }
        }
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| bare.strip_suffix(end).filter(|f| typed.contains(*f)))
            .unwrap_or(bare);
        assert!(typed.contains(family), "no type before {line}");
        assert!(names.insert(name.to_owned()), "twice: {line}");
    }
    names
}

fn value(text: &str, series: &str) -> f64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no {series} in\n{text}"));
    line.parse().unwrap()
}

#[test]
fn metrics_count_what_moved() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(1_000_000, 1)).unwrap();
    a.run(&["channel", "create", "product"]).ok();
    a.run(&["publish", "product", text(&file)]).ok();
    let mut node = a.start(&["node", "--metrics", "127.0.0.1:0"]);
    let listening = node.event("listening");
    let metrics = string(&listening["metrics"]);
    b.get(&a.link("product")).ok();

    let (status, text) = ask(&metrics, "/metrics", &[]);
    assert_eq!(status, 200);
    let names = series(&text);
    for direction in ["received", "sent"] {
        for source in ["origin", "peer"] {
            for scope in ["lan", "wan"] {
                let name = format!(
                    "samara_chunk_bytes_total{{direction=\"{direction}\",scope=\"{scope}\",source=\"{source}\"}}"
                );
                assert!(names.contains(&name), "{name} is not in\n{text}");
            }
        }
    }
    for name in [
        "samara_chunks_verified_total",
        "samara_chunks_rejected_total",
        "samara_peers",
        "samara_records",
        "samara_open_requests",
        "samara_store_bytes",
        "samara_chunk_fetch_seconds_sum",
        "samara_chunk_fetch_seconds_count",
        "samara_chunk_fetch_seconds_bucket{le=\"+Inf\"}",
    ] {
        assert!(names.contains(name), "{name} is not in\n{text}");
    }
    let sent = "samara_chunk_bytes_total{direction=\"sent\",scope=\"lan\",source=\"origin\"}";
    assert_eq!(value(&text, sent), 1_000_000.0);
    assert_eq!(value(&text, "samara_chunks_rejected_total"), 0.0);
    assert_eq!(ask(&metrics, "/healthz", &[]).0, 200);
    // That listener has nothing else, also for who has the token.
    let token = fs::read_to_string(a.data_dir().join("token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());
    let auth = [("Authorization", bearer.as_str())];
    assert_ne!(ask(&metrics, "/api/v1/status", &auth).0, 200);
    assert_ne!(ask(&metrics, "/", &auth).0, 200);
}

#[test]
fn the_pages_ask_for_the_token_and_the_right_host() {
    let world = World::new();
    let a = world.peer("a");
    a.run(&["channel", "create", "weekly"]).ok();
    let mut node = a.start(&["node", "--http", "127.0.0.1:0"]);
    let http = string(&node.event("listening")["http"]);
    let token = fs::read_to_string(a.data_dir().join("token")).unwrap();
    let bearer = format!("Bearer {}", token.trim());

    for path in ["/", "/read", "/api/v1/status", "/api/v1/peers"] {
        let (status, body) = ask(&http, path, &[]);
        assert_eq!(status, 401, "{path}");
        assert!(!body.contains("weekly"), "{path}: {body}");
        assert_eq!(ask(&http, path, &[("Authorization", "Bearer x")]).0, 401);
        assert_eq!(
            ask(&http, path, &[("Authorization", &bearer)]).0,
            200,
            "{path}"
        );
    }
    let (_, status) = ask(&http, "/api/v1/status", &[("Authorization", &bearer)]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["peer_id"], a.ask(&["id"], "id")["peer_id"]);
    assert_eq!(number(&status["channels"][0]["records"]), 0);
    assert_eq!(ask(&http, "/healthz", &[]).0, 200);
    assert_eq!(ask(&http, "/metrics", &[]).0, 200);

    // DNS rebinding: the attacker's page has the attacker's name as its host.
    let port = http.rsplit_once(':').unwrap().1;
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "127.0.0.1.evil.example",
        "",
    ] {
        for path in ["/", "/api/v1/status", "/metrics", "/healthz"] {
            let headers = [("Host", host), ("Authorization", bearer.as_str())];
            let (status, body) = ask(&http, path, &headers);
            assert!((400..500).contains(&status), "{host} {path}: {status}");
            assert!(!body.contains("weekly"), "{host} {path}: {body}");
        }
    }
    let local = format!("localhost:{port}");
    assert_eq!(
        ask(&http, "/", &[("Host", &local), ("Authorization", &bearer)]).0,
        200
    );
    assert_eq!(node.interrupt().status, Some(0));
}
