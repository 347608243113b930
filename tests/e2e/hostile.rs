//! Peers that lie: wrong bytes, forged manifests and records, floods. What is honest
//! goes on beside them, and what they send never reaches a file.

use std::{fs, net::SocketAddr, time::Duration};

use quinn::{ApplicationClose, Connection, ConnectionError};
use samara_content::Root;
use samara_graph::{Attributes, Kind, LinkPeer, NewRecord, Record, WallMs, body};
use samara_wire::{ChannelId, ContentId, Writer, encode_frame};

use crate::{
    liar::{
        Liar,
        content::{Content, file, link},
        forged, now,
    },
    running::poll,
    tree::{assert_nothing_in, noise},
    wire::{Wire, first_addr},
    world::{World, number, sources, string, text},
};

#[test]
fn wrong_bytes_alone_are_an_error_that_says_so() {
    let world = World::new();
    let b = world.peer("b");
    let liar = Liar::start();
    let link = liar.share(Content::file("file.bin", &noise(3_000_000, 1)));
    liar.lie();
    let message = b.get(&link).failed("bad_data", 5);
    assert!(message.contains("wrong"), "{message}");
    assert!(liar.lies() > 0);
    assert!(!b.path("out/file.bin").exists());
    // It is the liar that was bad, and not the content.
    let honest = Liar::start();
    let other = honest.share(Content::file("file.bin", &noise(3_000_000, 1)));
    b.get(&other).ok();
    assert!(fs::read(b.path("out/file.bin")).unwrap() == noise(3_000_000, 1));
}

#[test]
fn beside_an_honest_source_the_download_completes() {
    let world = World::new();
    let (b, c) = (world.peer("b"), world.peer("c"));
    let bytes = noise(6_000_000, 1);
    let liar = Liar::start();
    let content = Content::file("file.bin", &bytes);
    let first = liar.share(content);
    // One fetches while the liar is still honest, and seeds.
    let mut seed = b.start(&["get", "--seed", &first, "-o", text(&b.path("out"))]);
    seed.event("complete");
    let status = b.ask(&["status"], "status");
    let channel: ChannelId = string(&status["channels"][0]["id"]).parse().unwrap();
    let honest = b.link(&channel.to_string());
    liar.lie();

    // The honest one is slow to answer: the liar is heard for sure.
    let wire = Wire::to(first_addr(&honest), 150_000);
    let slow = LinkPeer {
        peer: string(&status["peer_id"]).parse().unwrap(),
        addrs: vec![first_addr(&wire.link(&honest))],
    };
    let both = liar.link(channel, &[slow]);
    let mut get = c.start(&["get", "-v", &both, "-o", text(&c.path("out"))]);
    poll("the first lie", || liar.lies() > 0);
    wire.open();
    let complete = get.event("complete");
    assert_eq!(number(&complete["bytes"]), 6_000_000);
    // What was wrong is no part of what was downloaded.
    let (origin, others, reused) = sources(&complete);
    assert_eq!(origin + others + reused, 6_000_000, "{complete}");
    assert!(number(&complete["wasted"]) > 0, "{complete}");
    get.end().ok();
    assert!(fs::read(c.path("out/file.bin")).unwrap() == bytes);
}

#[test]
fn forged_manifests_are_refused_before_anything_is_written() {
    let world = World::new();
    let liar = Liar::start();
    let same = |_: &mut Root| {};
    let lies: [(&str, Content); 10] = [
        ("..", Content::forged(&[file("../escape", 4)], same)),
        ("..", Content::forged(&[file("a/../../escape", 4)], same)),
        ("/escape", Content::forged(&[file("/escape", 4)], same)),
        (
            "twice",
            Content::forged(&[file("twice", 2), file("twice", 2)], same),
        ),
        (
            "/etc",
            Content::forged(&[file("a", 4), link("l", "/etc")], same),
        ),
        (
            "../..",
            Content::forged(&[file("a", 4), link("l", "../..")], same),
        ),
        (
            "l",
            Content::forged(&[link("l", "m"), file("l/x", 4)], same),
        ),
        (
            "10000000",
            Content::forged(&[file("a", 4)], |root| {
                root.entry_count = 10_000_000;
                root.entry_pages[0].count = 10_000_000;
            }),
        ),
        ("", Content::forged(&[file("a", 5)], same)),
        (
            "",
            Content::forged(&[file("a", 4)], |root| {
                root.name = "../escape".into();
            }),
        ),
    ];
    let b = world.peer("b");
    let out = b.path("deep/out");
    for (part, content) in lies {
        let link = liar.share(content.clone());
        let message = b
            .run(&["get", &link, "-o", text(&out)])
            .failed("manifest", 6);
        assert!(message.contains(part), "{part}: {message}");
        assert_nothing_in(&out);
        b.run(&["ls", &link]).failed("manifest", 6);
    }
    let deep = b.path("deep");
    assert!(
        !deep.exists()
            || fs::read_dir(&deep)
                .unwrap()
                .all(|e| e.unwrap().path() == out)
    );
}

#[test]
fn a_page_that_is_not_the_one_asked_for_is_its_senders_fault() {
    let world = World::new();
    let b = world.peer("b");
    let liar = Liar::start();
    let content = Content::file("file.bin", &noise(100_000, 1));
    let link = liar.share(content.with_page(0, b"something else"));
    let out = b.path("out");
    b.run(&["get", &link, "-o", text(&out), "--timeout", "2s"])
        .failed("bad_data", 5);
    assert_nothing_in(&out);
}

/// A record of an issue that its author's own key signed.
fn issue(
    liar: &Liar,
    channel: ChannelId,
    subject: &str,
    change: impl Fn(&mut NewRecord),
) -> Record {
    let body = body::Issue {
        subject: subject.into(),
        text: body::IssueText::Inline(format!("# {subject}")),
        attachments: None,
    };
    let mut record = NewRecord {
        channel,
        kind: Kind::ISSUE,
        seq: now().0 + 1_000,
        created: now(),
        expires: WallMs(now().0 + 3_600_000),
        priority: 0,
        key: subject.as_bytes().to_vec().into(),
        attributes: Attributes::default(),
        body: body.encode().into(),
    };
    change(&mut record);
    record.sign(&liar.key).unwrap()
}

/// A subscriber gets a bad record pushed beside a good issue: it has the good one
/// alone, and counts the other.
fn refuses(bad: impl Fn(&Liar, ChannelId) -> bytes::Bytes, counter: &str) {
    let world = World::new();
    let b = world.peer("b");
    let liar = Liar::start();
    let channel = liar.channel("weekly");
    let good = body::Issue {
        subject: "good".into(),
        text: body::IssueText::Inline("# good".into()),
        attachments: None,
    };
    liar.publish(channel, Kind::ISSUE, b"good", good.encode());
    liar.push(channel, bad(&liar, channel));
    let mut node = b.start(&["node", "--metrics", "127.0.0.1:0"]);
    let metrics = string(&node.event("listening")["metrics"]);
    b.run(&["subscribe", &liar.link(channel, &[])]).ok();
    poll("the bad record to be counted", || {
        let (_, text) = crate::pages::ask(&metrics, "/metrics", &[]);
        text.lines()
            .filter(|line| line.starts_with(counter))
            .any(|line| !line.ends_with(" 0"))
    });
    let read = b.run(&["read"]).ok();
    assert!(
        read.events.iter().all(|issue| issue["subject"] == "good"),
        "{read:?}"
    );
}

#[test]
fn a_forged_record_costs_its_sender_the_connection() {
    refuses(
        |liar, channel| forged(&issue(liar, channel, "forged", |_| {})),
        r#"samara_peer_misbehaviour_total{kind="forged_record"}"#,
    );
}

#[test]
fn a_record_that_is_too_large_costs_its_sender_the_connection() {
    refuses(
        |_, _| vec![1; 65_537].into(),
        "samara_peer_misbehaviour_total",
    );
}

#[test]
fn a_record_from_the_future_is_refused() {
    refuses(
        |liar, channel| {
            let late = |record: &mut NewRecord| {
                record.created = WallMs(now().0 + 11 * 60_000);
                record.expires = WallMs(now().0 + 60 * 60_000);
            };
            issue(liar, channel, "future", late).bytes().clone()
        },
        "samara_records_rejected_total",
    );
}

#[test]
fn an_expired_record_is_refused() {
    refuses(
        |liar, channel| {
            let over = |record: &mut NewRecord| {
                record.created = WallMs(now().0 - 60 * 60_000);
                record.expires = WallMs(now().0 - 16 * 60_000);
            };
            issue(liar, channel, "expired", over).bytes().clone()
        },
        "samara_records_rejected_total",
    );
}

#[test]
fn a_record_of_somebody_else_waits_for_a_right_that_never_comes() {
    refuses(
        |_, channel| {
            let stranger = Liar::start();
            issue(&stranger, channel, "stranger", |_| {})
                .bytes()
                .clone()
        },
        "samara_records_waiting",
    );
}

/// The code with which the node closed the connection.
async fn closed(connection: &Connection) -> u64 {
    let patience = Duration::from_secs(20);
    match tokio::time::timeout(patience, connection.closed()).await {
        Ok(ConnectionError::ApplicationClosed(ApplicationClose { error_code, .. })) => {
            error_code.into_inner()
        }
        other => panic!("not closed by the node: {other:?}"),
    }
}

/// A request for chunks.
fn chunks(channel: ChannelId, content: ContentId, items: &[u32]) -> bytes::Bytes {
    let mut w = Writer::new();
    channel.write(&mut w);
    content.write(&mut w);
    w.varint(items.len() as u64);
    items.iter().for_each(|item| w.varint((*item).into()));
    encode_frame(2, &w.finish())
}

#[test]
fn strangers_without_manners_do_not_keep_a_sharer_from_its_work() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let path = world.path("file.bin");
    fs::write(&path, noise(3_000_000, 1)).unwrap();
    let mut share = a.start(&["share", text(&path)]);
    let sharing = share.event("sharing");
    let link = string(&sharing["link"]);
    let node: SocketAddr = first_addr(&link);
    let content: ContentId = string(&sharing["content"]).parse().unwrap();
    let channel: ChannelId = string(&sharing["channel"]).parse().unwrap();

    // A frame that says it is larger than any, and one that is none.
    let mut oversized = Writer::new();
    oversized.varint(1);
    oversized.varint((1 << 20) + 1);
    let mut endless = vec![0xff; 64];
    endless.extend(noise(100_000, 2));
    let mut trailing = Writer::new();
    channel.write(&mut trailing);
    trailing.u8(0);
    for control in [
        oversized.finish(),
        endless,
        encode_frame(2, &trailing.finish()).to_vec(),
    ] {
        let code = Liar::start().visit(node, async |connection| {
            let mut stream = connection.open_uni().await.unwrap();
            let _ = stream.write_all(&control).await;
            closed(&connection).await
        });
        assert_eq!(code, 1);
    }
    // The same in a request.
    let long: Vec<u32> = (0..65).collect();
    for request in [
        encode_frame(9, b"x"),
        chunks(channel, content, &[]),
        chunks(channel, content, &long),
    ] {
        let code = Liar::start().visit(node, async |connection| {
            let (mut send, _recv) = connection.open_bi().await.unwrap();
            let _ = send.write_all(&request).await;
            closed(&connection).await
        });
        assert_eq!(code, 1);
    }
    // A flood of requests from who has proved no channel: as many as the connection
    // takes, none answered with a byte.
    let flood = Liar::start();
    flood.visit(node, async |connection| {
        let mut answers = Vec::new();
        for _ in 0..1_000 {
            let open = tokio::time::timeout(Duration::from_secs(20), connection.open_bi());
            let Ok(Ok((mut send, recv))) = open.await else {
                break;
            };
            let _ = send
                .write_all(&chunks(channel, content, &[0, 0, 0, 0]))
                .await;
            let _ = send.finish();
            answers.push(tokio::spawn(async move {
                let mut recv = recv;
                recv.read_to_end(1 << 20).await.unwrap_or_default()
            }));
        }
        assert!(answers.len() >= 64, "{}", answers.len());
        for answer in answers {
            assert!(answer.await.unwrap().is_empty());
        }
    });
    b.get(&link).ok();
    assert!(fs::read(b.path("out/file.bin")).unwrap() == noise(3_000_000, 1));
    share.interrupt().ok();
}
