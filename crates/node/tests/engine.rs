//! Whole engines in one process, over real sockets on loopback.

mod world;

use std::{fs, path::Path, time::Duration};

use samara_node::{
    Engine, Mode, NodeConfig,
    api::{ErrorKind, Event, LimitOrder, Request},
    limit::{Cap, Line},
};
use world::{Node, link_of};

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

fn tree(root: &Path) {
    fs::create_dir_all(root.join("deep/er")).unwrap();
    fs::create_dir_all(root.join("empty dir")).unwrap();
    fs::write(root.join("big.bin"), noise(3_000_000, 1)).unwrap();
    fs::write(root.join("deep/er/small.txt"), b"small").unwrap();
    fs::write(root.join("deep/none"), b"").unwrap();
    std::os::unix::fs::symlink("deep/er/small.txt", root.join("link")).unwrap();
}

fn assert_same(a: &Path, b: &Path) {
    let status = std::process::Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([a, b])
        .status()
        .unwrap();
    assert!(
        status.success(),
        "{} and {} differ",
        a.display(),
        b.display()
    );
}

fn complete(events: &[Event]) -> (u64, u64, u64) {
    events
        .iter()
        .find_map(|event| match event {
            Event::Complete {
                downloaded, reused, ..
            } => Some((downloaded.origin, downloaded.peers, *reused)),
            _ => None,
        })
        .unwrap_or_else(|| panic!("not complete: {events:?}"))
}

fn failure(events: &[Event]) -> ErrorKind {
    match events.last() {
        Some(Event::Error { kind, .. }) => *kind,
        other => panic!("no error but {other:?}"),
    }
}

#[tokio::test]
async fn a_shared_folder_arrives_whole_and_again_for_nothing() {
    let (a, b) = (
        Node::start(Mode::Online).await,
        Node::start(Mode::Online).await,
    );
    let source = a.path("tree");
    tree(&source);
    let (link, _events, cancel) = a.share(&source).await;
    let events = b.get(&link, &b.path("out")).await;
    let (origin, peers, reused) = complete(&events);
    assert_eq!((origin, peers, reused), (3_000_005, 0, 0));
    assert_eq!(events.last(), Some(&Event::Done));
    assert_same(&source, &b.path("out/tree"));

    let again = b.get(&link, &b.path("out")).await;
    assert_eq!(complete(&again), (0, 0, 3_000_005));
    cancel.cancel();
}

#[tokio::test]
async fn a_share_keeps_its_link_and_a_changed_one_its_channel() {
    let a = Node::start(Mode::Online).await;
    let file = a.path("file.bin");
    fs::write(&file, noise(100_000, 2)).unwrap();
    let (first, mut events, cancel) = a.share(&file).await;
    cancel.cancel();
    while events.recv().await.is_some() {}
    let (second, mut events, cancel) = a.share(&file).await;
    assert_eq!(first, second);
    cancel.cancel();
    while events.recv().await.is_some() {}
    fs::write(&file, noise(120_000, 3)).unwrap();
    let (third, _events, cancel) = a.share(&file).await;
    assert_eq!(first, third);
    let b = Node::start(Mode::Online).await;
    complete(&b.get(&third, &b.path("out")).await);
    assert_eq!(fs::read(b.path("out/file.bin")).unwrap(), noise(120_000, 3));
    cancel.cancel();
}

#[tokio::test]
async fn receivers_carry_it_on_when_the_origin_has_left() {
    let a = Node::start(Mode::Online).await;
    let source = a.path("tree");
    tree(&source);
    let (link, mut events, cancel) = a.share(&source).await;
    let b = Node::start(Mode::Online).await;
    let request = Request::Get {
        link: link.clone(),
        into: b.path("out"),
        only: vec![],
        seed: true,
        force: false,
        in_order: false,
        file_only: false,
    };
    let (_, _b_events, b_cancel) = b
        .begin(request, |e| matches!(e, Event::Complete { .. }))
        .await;
    // A third that knows the origin only learns of the second from it.
    let c = Node::start(Mode::Online).await;
    let request = Request::Get {
        link: link.clone(),
        into: c.path("out"),
        only: vec!["deep/**".into()],
        seed: true,
        force: false,
        in_order: false,
        file_only: false,
    };
    let (_, _c_events, c_cancel) = c
        .begin(request, |e| matches!(e, Event::Complete { .. }))
        .await;
    assert!(!c.path("out/tree/big.bin").exists());
    assert_eq!(
        fs::read(c.path("out/tree/deep/er/small.txt")).unwrap(),
        b"small"
    );
    cancel.cancel();
    while events.recv().await.is_some() {}
    a.engine.shutdown().await;
    // And a fourth gets everything from the second, by a link from there.
    let link = match b.ask(Request::Status).await.first() {
        Some(Event::Status(status)) => {
            let id = status.channels[0].id.clone();
            let events = b.ask(Request::Link { channel: id }).await;
            match events.first() {
                Some(Event::Link { link, .. }) => link.clone(),
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    };
    let d = Node::start(Mode::Online).await;
    let events = d.get(&link, &d.path("out")).await;
    let (origin, peers, _) = complete(&events);
    // More where the last chunks were asked of two.
    assert_eq!(origin, 0);
    assert!(peers >= 3_000_005, "{peers}");
    assert_same(&source, &d.path("out/tree"));
    b_cancel.cancel();
    c_cancel.cancel();
}

/// A node whose contents rest as soon as nobody wants anything of them.
async fn restful() -> Node {
    let dir = tempfile::tempdir().unwrap();
    let mut config = NodeConfig::new(dir.path().join("data"));
    config.listen = Some("127.0.0.1:0".parse().unwrap());
    config.rest_after = Duration::ZERO;
    let engine = Engine::open(config, Mode::Online).await.unwrap();
    Node { dir, engine }
}

/// Waits until a content is at rest at a node.
async fn rests(node: &Node, content: &str) {
    let what = content.to_owned();
    loop {
        let events = node.done(Request::Explain { what: what.clone() }).await;
        match &events[..] {
            [Event::Explained(said), Event::Done] if said.verdict == "at_rest" => return,
            [Event::Explained(_), Event::Done] => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_nobody_wants_rests_and_is_open_again_for_who_wants_something() {
    let (a, b) = (restful().await, restful().await);
    let source = a.path("tree");
    tree(&source);
    let (link, _events, _cancel) = a.share(&source).await;
    let get = |node: &Node, only: &[&str]| Request::Get {
        link: link.clone(),
        into: node.path("out"),
        only: only.iter().map(|only| (*only).into()).collect(),
        seed: true,
        force: false,
        in_order: false,
        file_only: false,
    };
    let is_complete = |e: &Event| matches!(e, Event::Complete { .. });
    let (complete, _part, _cancel_part) = b.begin(get(&b, &["deep/**"]), is_complete).await;
    let Event::Complete { content, .. } = complete else {
        unreachable!("asked for")
    };
    rests(&a, &content).await;
    rests(&b, &content).await;
    let (_, _all, _cancel_all) = b.begin(get(&b, &[]), is_complete).await;
    assert_same(&source, &b.path("out/tree"));
    rests(&a, &content).await;
    rests(&b, &content).await;
    let c = restful().await;
    let (_, _c_events, _c_cancel) = c.begin(get(&c, &[]), is_complete).await;
    assert_same(&source, &c.path("out/tree"));
}

#[tokio::test]
async fn what_rested_during_a_pause_is_fetched_after_it() {
    let (a, b) = (restful().await, restful().await);
    let source = a.path("file.bin");
    fs::write(&source, noise(3_000_000, 7)).unwrap();
    let (link, _events, cancel) = a.share(&source).await;
    // So slow that it is under way when it is paused.
    let slow = LimitOrder {
        rates: [(Line::Up, Some(Cap::At(10_000)))].into(),
        ..LimitOrder::default()
    };
    a.done(Request::Limit(slow)).await;
    let request = Request::Get {
        link,
        into: b.path("out"),
        only: vec![],
        seed: true,
        force: false,
        in_order: false,
        file_only: false,
    };
    let is_progress = |e: &Event| matches!(e, Event::Progress { peers: 1, .. });
    let (progress, mut events, _cancel) = b.begin(request, is_progress).await;
    let Event::Progress { content, .. } = progress else {
        unreachable!("asked for")
    };
    b.done(Request::Pause { what: None }).await;
    rests(&a, &content).await;
    let fast = LimitOrder {
        reset: true,
        ..LimitOrder::default()
    };
    a.done(Request::Limit(fast)).await;
    b.done(Request::Resume { what: None }).await;
    while let Some(event) = events.recv().await {
        assert!(!matches!(event, Event::Error { .. }), "{event:?}");
        if matches!(event, Event::Complete { .. }) {
            break;
        }
    }
    assert_same(&source, &b.path("out/file.bin"));
    cancel.cancel();
}

#[tokio::test]
async fn damaged_links_and_absent_peers_are_told_apart() {
    let a = Node::start(Mode::Online).await;
    let file = a.path("file.bin");
    fs::write(&file, noise(1000, 4)).unwrap();
    let (link, mut events, cancel) = a.share(&file).await;
    cancel.cancel();
    while events.recv().await.is_some() {}
    let dir = tempfile::tempdir().unwrap();
    let mut config = NodeConfig::new(dir.path().join("data"));
    config.listen = Some("127.0.0.1:0".parse().unwrap());
    config.timeout = Duration::from_millis(400);
    let b = Node {
        engine: Engine::open(config, Mode::Online).await.unwrap(),
        dir,
    };
    // The node is there, and does not have the channel any more.
    let refused = b.get(&link, &b.path("out")).await;
    assert!(
        matches!(
            refused.last(),
            Some(Event::Error { kind: ErrorKind::NoPeer, message })
                if message.contains("it does not have the channel")
        ),
        "{refused:?}"
    );
    a.engine.shutdown().await;
    assert_eq!(
        failure(&b.get(&link, &b.path("out")).await),
        ErrorKind::NoPeer
    );
    let damaged = link.replacen(&link[20..22], "zz", 1);
    assert_eq!(
        failure(&b.get(&damaged, &b.path("out")).await),
        ErrorKind::Link
    );
    assert_eq!(
        failure(&b.get("http://example", &b.path("out")).await),
        ErrorKind::Link
    );
    assert!(!b.path("out/file.bin").exists());
}

#[tokio::test]
async fn a_newsletter_is_read_after_its_publisher_has_gone() {
    let a = Node::start(Mode::Node).await;
    a.ask(Request::ChannelCreate {
        name: "news".into(),
        private: false,
    })
    .await;
    let picture = a.path("picture.png");
    fs::write(&picture, noise(50_000, 5)).unwrap();
    let posted = a
        .ask(Request::Post {
            channel: "news".into(),
            subject: None,
            body: "# First issue\n\nHello.".into(),
            attach: vec![picture],
        })
        .await;
    assert_eq!(posted.last(), Some(&Event::Done), "{posted:?}");
    let release = a.path("app");
    tree(&release);
    let published = a
        .ask(Request::Publish {
            channel: "news".into(),
            path: release.clone(),
            version: None,
            notes: None,
            portable: false,
            priority: Default::default(),
            parity: None,
        })
        .await;
    assert_eq!(published.last(), Some(&Event::Done), "{published:?}");
    let link = link_of(&a, "news").await;

    let b = Node::start(Mode::Node).await;
    let into = b.path("apps");
    let done = b
        .ask(Request::Subscribe {
            link,
            into: Some(into.clone()),
            once: true,
            wait: false,
            mirror: false,
            keep_share: false,
        })
        .await;
    assert_eq!(done.last(), Some(&Event::Done), "{done:?}");
    assert_same(&release, &into.join("1/app"));
    assert_same(&release, &into.join("current/app"));
    a.engine.shutdown().await;
    drop(a);

    let link = link_of(&b, "news").await;
    let c = Node::start(Mode::Node).await;
    let done = c
        .ask(Request::Subscribe {
            link,
            into: None,
            once: true,
            wait: false,
            mirror: false,
            keep_share: false,
        })
        .await;
    assert_eq!(done.last(), Some(&Event::Done), "{done:?}");
    let issues = c
        .ask(Request::Read {
            channel: None,
            issue: None,
        })
        .await;
    let Event::Issue {
        subject,
        body,
        attachments,
        complete,
        ..
    } = &issues[0]
    else {
        panic!("{issues:?}")
    };
    assert!(complete);
    assert_eq!(subject, "First issue");
    assert!(body.contains("Hello."));
    let path = attachments[0].path.as_ref().unwrap();
    assert_eq!(fs::read(path).unwrap(), noise(50_000, 5));
}

#[tokio::test]
async fn what_a_broken_off_issue_leaves_is_removed() {
    let a = Node::start(Mode::Offline).await;
    let created = a
        .ask(Request::ChannelCreate {
            name: "news".into(),
            private: false,
        })
        .await;
    let Some(Event::Channel { id: channel, .. }) = created.first() else {
        panic!("{created:?}")
    };
    let issues = a.dir.path().join("data/issues").join(channel);
    let picture = a.path("picture.png");
    fs::write(&picture, noise(50_000, 5)).unwrap();
    let post = |attach| Request::Post {
        channel: "news".into(),
        subject: None,
        body: "# First issue".into(),
        attach,
    };
    let refused = a.ask(post(vec![picture.clone(), a.path("missing")])).await;
    assert_eq!(failure(&refused), ErrorKind::NotFound);
    assert!(fs::read_dir(&issues).map_or(0, Iterator::count) == 0);
    let posted = a.ask(post(vec![picture])).await;
    assert_eq!(posted.last(), Some(&Event::Done), "{posted:?}");
    assert_eq!(fs::read_dir(&issues).unwrap().count(), 1);

    // As one that was killed leaves it.
    let killed = issues.join("2026-01-01-killed/attachments");
    fs::create_dir_all(&killed).unwrap();
    fs::write(killed.join("a"), noise(1000, 6)).unwrap();
    for dry_run in [true, false] {
        let freed = a.ask(Request::Gc { dry_run }).await;
        assert!(
            matches!(freed.first(), Some(Event::Freed { bytes: 1000, .. })),
            "{freed:?}"
        );
        assert_eq!(killed.exists(), dry_run);
    }
    let [Event::Issue { complete, .. }, ..] = &a
        .ask(Request::Read {
            channel: None,
            issue: None,
        })
        .await[..]
    else {
        panic!("no issue")
    };
    assert!(complete);
}

fn publish(path: &Path, version: Option<&str>) -> Request {
    Request::Publish {
        channel: "apps".into(),
        path: path.to_owned(),
        version: version.map(str::to_owned),
        notes: None,
        portable: false,
        priority: Default::default(),
        parity: None,
    }
}

#[tokio::test]
async fn what_is_published_at_once_gets_different_versions_and_names() {
    let a = Node::start(Mode::Offline).await;
    let create = || Request::ChannelCreate {
        name: "apps".into(),
        private: false,
    };
    let (one, other) = tokio::join!(a.ask(create()), a.ask(create()));
    let done = |events: &[Event]| events.last() == Some(&Event::Done);
    assert!(done(&one) != done(&other), "{one:?} {other:?}");
    for (name, seed) in [("a", 1), ("b", 2)] {
        fs::write(a.path(name), noise(10_000, seed)).unwrap();
    }
    let (one, other) = (publish(&a.path("a"), None), publish(&a.path("b"), None));
    let (one, other) = tokio::join!(a.ask(one), a.ask(other));
    let version = |events: &[Event]| match &events[events.len() - 2] {
        Event::Published { version, .. } => version.clone(),
        other => panic!("{other:?}"),
    };
    let mut versions = [version(&one), version(&other)];
    versions.sort();
    assert_eq!(versions, ["1", "2"]);
    let (one, other) = (
        publish(&a.path("a"), Some("7")),
        publish(&a.path("b"), Some("7")),
    );
    let (one, other) = tokio::join!(a.ask(one), a.ask(other));
    let refused = if done(&one) { other } else { one };
    assert_eq!(failure(&refused), ErrorKind::Exists);
}

#[tokio::test]
async fn what_the_user_has_at_a_subscription_s_folder_is_left_alone() {
    let a = Node::start(Mode::Node).await;
    a.ask(Request::ChannelCreate {
        name: "apps".into(),
        private: false,
    })
    .await;
    let app = a.path("app");
    tree(&app);
    let published = a.ask(publish(&app, None)).await;
    assert_eq!(published.last(), Some(&Event::Done), "{published:?}");
    let link = link_of(&a, "apps").await;

    let b = Node::start(Mode::Online).await;
    let subscribe = |into: &Path| Request::Subscribe {
        link: link.clone(),
        into: Some(into.to_owned()),
        once: true,
        wait: false,
        mirror: false,
        keep_share: false,
    };
    let (file, folder, link_out) = (b.path("file"), b.path("folder"), b.path("link"));
    for into in [&file, &folder, &link_out] {
        fs::create_dir(into).unwrap();
    }
    fs::write(file.join("current"), b"precious").unwrap();
    fs::create_dir(folder.join("current")).unwrap();
    std::os::unix::fs::symlink("/tmp", link_out.join("current")).unwrap();
    for into in [&file, &folder, &link_out] {
        let refused = b.ask(subscribe(into)).await;
        assert_eq!(failure(&refused), ErrorKind::Exists);
        assert_eq!(fs::read_dir(into).unwrap().count(), 1, "nothing beside it");
    }
    assert_eq!(fs::read(file.join("current")).unwrap(), b"precious");

    // Another thing where the version belongs: it must not become current.
    let taken = b.path("taken");
    fs::create_dir_all(taken.join("1/app")).unwrap();
    fs::write(taken.join("1/app/mine"), b"mine").unwrap();
    let refused = b.ask(subscribe(&taken)).await;
    assert_eq!(failure(&refused), ErrorKind::Exists);
    assert!(!taken.join("current").exists());
    fs::remove_dir_all(taken.join("1")).unwrap();
    let done = b.ask(subscribe(&taken)).await;
    assert_eq!(done.last(), Some(&Event::Done), "{done:?}");
    assert_same(&app, &taken.join("current/app"));
}

#[tokio::test]
async fn a_record_reaches_those_who_wait_for_it_at_once() {
    let a = Node::start(Mode::Node).await;
    a.ask(Request::ChannelCreate {
        name: "news".into(),
        private: false,
    })
    .await;
    let link = link_of(&a, "news").await;
    let b = Node::start(Mode::Node).await;
    let request = Request::Subscribe {
        link,
        into: None,
        once: true,
        wait: false,
        mirror: false,
        keep_share: false,
    };
    let done = b.ask(request).await;
    assert_eq!(done.last(), Some(&Event::Done), "{done:?}");
    a.ask(Request::Post {
        channel: "news".into(),
        subject: Some("now".into()),
        body: "text".into(),
        attach: vec![],
    })
    .await;
    // Well below the 45 s after which reconciliation would bring it.
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let request = Request::Read {
                channel: None,
                issue: None,
            };
            if matches!(b.ask(request).await.first(), Some(Event::Issue { .. })) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the issue did not arrive");
}

#[tokio::test]
async fn a_link_to_a_path_is_shared_under_its_own_name() {
    let (a, b) = (
        Node::start(Mode::Online).await,
        Node::start(Mode::Online).await,
    );
    let source = a.path("app-2.1");
    tree(&source);
    let file = a.path("file-2.1");
    fs::write(&file, b"file").unwrap();
    for (target, link) in [(&source, "latest"), (&file, "latest-file")] {
        let link = a.path(link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        let (text, _events, cancel) = a.share(&link).await;
        complete(&b.get(&text, &b.path("out")).await);
        assert_same(target, &b.path("out").join(link.file_name().unwrap()));
        cancel.cancel();
    }
}

#[tokio::test]
async fn names_are_bounded_and_long_file_names_are_shared_all_the_same() {
    let a = Node::start(Mode::Online).await;
    for bad in ["", "  ", "a\nb", &"x".repeat(65)] {
        let request = Request::ChannelCreate {
            name: bad.into(),
            private: false,
        };
        assert_eq!(failure(&a.ask(request).await), ErrorKind::Usage, "{bad:?}");
    }
    let request = Request::ChannelCreate {
        name: "x".repeat(64),
        private: false,
    };
    assert_eq!(a.ask(request).await.last(), Some(&Event::Done));
    let file = a.path(&"ä".repeat(120));
    fs::write(&file, b"long").unwrap();
    let (link, _events, cancel) = a.share(&file).await;
    let b = Node::start(Mode::Online).await;
    complete(&b.get(&link, &b.path("out")).await);
    let there = b.path("out").join(file.file_name().unwrap());
    assert_eq!(fs::read(there).unwrap(), b"long");
    cancel.cancel();
}
