//! What cannot be done is refused in one clear line, with an exit status of its own
//! kind, and nothing half-written is left.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Signal, kill_process};

use crate::{
    running::Running,
    tree::{assert_nothing_in, noise},
    world::{Peer, World, number, string, text},
};

/// Larger than any machine hashes before a test can stop the process.
const HUGE: u64 = 8 << 30;

fn small_share(world: &World) -> (Peer, Running, String) {
    let a = world.peer("a");
    let file = world.path("file.bin");
    fs::write(&file, noise(100_000, 1)).unwrap();
    let (share, link) = a.share(&file);
    (a, share, link)
}

#[test]
fn what_is_no_link() {
    let world = World::new();
    let (_a, _share, link) = small_share(&world);
    let b = world.peer("b");
    let token = link.strip_prefix("samara:").unwrap();
    let at = (40..token.len() - 1)
        .find(|&at| token[at..=at] != token[at + 1..=at + 1])
        .unwrap();
    let (before, after) = (&token[..at], &token[at + 2..]);
    let (one, other) = (&token[at..=at], &token[at + 1..=at + 1]);
    let swapped = format!("{before}{other}{one}{after}");
    let damaged = [
        format!("samara:{swapped}"),
        link[..link.len() - 1].to_owned(),
        format!("{link}a"),
        format!("samara:{}", &token[1..]),
    ];
    for bad in &damaged {
        let message = b.get(bad).failed("link", 3);
        assert!(message.contains("damaged"), "{bad}: {message}");
    }
    for foreign in [
        "",
        "samara:",
        "http://example.org/x",
        "magnet:?xt=urn:btih:00",
        token,
    ] {
        for command in [&["ls"][..], &["get"], &["subscribe"], &["mirror", "--once"]] {
            let args = [command, &[foreign]].concat();
            b.run(&args).failed("link", 3);
        }
    }
    // A mail client's line break at the end is no damage.
    b.run(&["ls", &format!(" {link}\n")]).ok();
    assert_nothing_in(&b.path("out"));
}

#[test]
fn nobody_is_there() {
    let world = World::new();
    let (_a, share, link) = small_share(&world);
    share.kill();
    let b = world.peer("b");
    let out = b.path("out");
    let addr = crate::wire::first_addr(&link).to_string();
    for command in [
        &["get", &link, "-o", text(&out)][..],
        &["ls", &link],
        &["subscribe", "--once", &link],
    ] {
        let message = b
            .run(&[command, &["--timeout", "1s"]].concat())
            .failed("no_peer", 4);
        assert!(message.contains(&addr), "{message}");
    }
    assert!(!out.exists());
}

#[test]
fn a_port_that_is_taken() {
    let world = World::new();
    let a = world.peer("a");
    fs::write(a.path("x"), b"x").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = udp.local_addr().unwrap().to_string();
    for command in [&["share", "x"][..], &["node"]] {
        let message = a
            .run(&[command, &["--listen", &taken]].concat())
            .failed("address_in_use", 12);
        assert!(message.contains(&taken), "{message}");
    }
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = tcp.local_addr().unwrap().to_string();
    for option in ["--http", "--metrics"] {
        let message = a
            .run(&["node", option, &taken])
            .failed("address_in_use", 12);
        assert!(
            message.contains(&taken) && message.contains(option),
            "{message}"
        );
    }
    // Without a wish, the usual port or a free one.
    let mut command = a.command(["share", "x"]);
    command.env_remove("SAMARA_LISTEN");
    let mut share = Running::start(command);
    share.event("sharing");
}

#[test]
fn a_directory_that_another_node_has() {
    let world = World::new();
    let a = world.peer("a");
    let (_node, _) = a.node();
    let message = a.run(&["node"]).failed("locked", 11);
    assert!(message.contains(text(&a.data_dir())), "{message}");
    let who = format!("a node runs on {}", a.data_dir().display());
    assert!(message.starts_with(&who), "{message}");
    // Nor can anything else take it when the socket is lost.
    fs::remove_file(a.data_dir().join("control.sock")).unwrap();
    a.run(&["status", "--timeout", "1s"]).failed("locked", 11);
}

#[test]
fn a_directory_of_a_newer_format() {
    let world = World::new();
    let a = world.peer("a");
    a.run(&["id"]).ok();
    let version = a.data_dir().join("VERSION");
    let ours = fs::read_to_string(&version).unwrap();
    fs::write(&version, "4711\n").unwrap();
    for command in [&["status"][..], &["node"], &["channel", "list"]] {
        let message = a.run(command).failed("newer_format", 13);
        assert!(
            message.contains("4711") && message.contains(ours.trim()),
            "{message}"
        );
    }
    fs::write(&version, &ours).unwrap();
    a.run(&["id"]).ok();
    fs::write(&version, "what is this").unwrap();
    assert_ne!(a.run(&["id"]).status, Some(0));
}

#[test]
fn for_people_it_is_one_line_on_standard_error() {
    let world = World::new();
    let a = world.peer("a");
    let mut command = a.command(["get", "samara:nonsense"]);
    command.env_remove("SAMARA_JSON");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.starts_with("samara: ") && text.lines().count() == 1,
        "{text:?}"
    );
}

#[test]
fn what_cannot_be_shared() {
    let world = World::new();
    let a = world.peer("a");
    let message = a.run(&["share", "nowhere"]).failed("not_found", 14);
    assert!(message.contains("nowhere"), "{message}");
    let tree = a.path("tree");
    fs::create_dir(&tree).unwrap();
    let _listener = UnixListener::bind(tree.join("socket")).unwrap();
    let message = a.run(&["share", "tree"]).failed("usage", 2);
    assert!(message.contains("tree/socket"), "{message}");
    fs::remove_file(tree.join("socket")).unwrap();

    for (a_name, b_name) in [("README", "readme"), ("con", "x"), ("x.", "y")] {
        let pair = a.path("pair");
        fs::create_dir(&pair).unwrap();
        fs::write(pair.join(a_name), b"a").unwrap();
        fs::write(pair.join(b_name), b"b").unwrap();
        let message = a
            .run(&["share", "--portable", "pair"])
            .failed("manifest", 6);
        assert!(message.contains(a_name), "{message}");
        fs::remove_dir_all(&pair).unwrap();
    }
}

#[test]
fn links_that_lead_out_are_not_shared() {
    let world = World::new();
    let a = world.peer("a");
    for target in ["/etc/passwd", "../outside"] {
        let tree = a.path("tree");
        fs::create_dir(&tree).unwrap();
        std::os::unix::fs::symlink(target, tree.join("link")).unwrap();
        let message = a.run(&["share", "tree"]).failed("manifest", 6);
        assert!(message.contains("link"), "{message}");
        fs::remove_dir_all(&tree).unwrap();
    }
}

#[test]
fn a_destination_that_cannot_be() {
    let world = World::new();
    let (_a, _share, link) = small_share(&world);
    let b = world.peer("b");
    fs::write(b.path("file"), b"mine").unwrap();
    let under = b.path("file/sub");
    let ended = b.run(&["get", &link, "-o", text(&under)]);
    assert!(matches!(ended.status, Some(2 | 8)), "{ended:?}");
    assert_eq!(fs::read(b.path("file")).unwrap(), b"mine");
    b.run(&["get", &link, "--only", "[", "-o", "out"])
        .failed("usage", 2);
    assert_nothing_in(&b.path("out"));
}

/// Starts to share a folder that takes long to hash, and halts in the middle of it.
fn halt_in_import(world: &World) -> (Running, std::path::PathBuf) {
    let a = world.peer("a");
    let tree = world.path("tree");
    fs::create_dir(&tree).unwrap();
    // Holes cost no disk, and are hashed like everything else.
    for name in ["1", "2"] {
        let file = fs::File::create(tree.join(name)).unwrap();
        file.set_len(HUGE).unwrap();
    }
    let mut share = a.start(&["share", "-v", text(&tree)]);
    share.until("the middle", |event| {
        event["event"] == "importing" && number(&event["bytes"]) > 0
    });
    kill_process(share.pid(), Signal::STOP).unwrap();
    (share, tree)
}

#[test]
fn a_file_that_changes_while_it_is_read() {
    let world = World::new();
    let (share, tree) = halt_in_import(&world);
    for name in ["1", "2"] {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(tree.join(name))
            .unwrap();
        // What is read after this is not worth reading, and takes no time.
        file.set_len(HUGE / 64).unwrap();
        file.set_modified(std::time::SystemTime::now() + Duration::from_secs(5))
            .unwrap();
    }
    kill_process(share.pid(), Signal::CONT).unwrap();
    let message = share.end().failed("changed", 15);
    assert!(message.contains("tree/"), "{message}");
}

#[test]
fn a_file_that_vanishes_while_it_is_read() {
    let world = World::new();
    let (share, tree) = halt_in_import(&world);
    for name in ["1", "2"] {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(tree.join(name))
            .unwrap();
        fs::remove_file(tree.join(name)).unwrap();
        file.set_len(HUGE / 64).unwrap();
    }
    kill_process(share.pid(), Signal::CONT).unwrap();
    let message = share.end().failed("changed", 15);
    assert!(message.contains("tree/"), "{message}");
}

#[test]
fn a_file_that_changes_or_vanishes_while_it_is_served() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let tree = world.path("tree");
    fs::create_dir(&tree).unwrap();
    for (name, seed) in [("changed", 1), ("good", 2), ("vanished", 3)] {
        fs::write(tree.join(name), noise(700_000, seed)).unwrap();
    }
    let (mut share, link) = a.share(&tree);
    fs::write(tree.join("changed"), noise(700_000, 9)).unwrap();
    fs::remove_file(tree.join("vanished")).unwrap();

    let out = b.path("out");
    let all = b.run(&["get", &link, "-o", text(&out), "--timeout", "2s"]);
    all.failed("no_peer", 4);
    assert!(!out.join("tree").exists());
    let mut missing = vec!["changed", "vanished"];
    while !missing.is_empty() {
        let warning = string(&share.event("warning")["message"]);
        missing.retain(|name| !warning.contains(name));
    }
    // The rest goes on: to who asks for no more, and to who has the rest already.
    let good = b.run(&["get", &link, "-o", text(&b.path("good")), "--only", "good"]);
    good.ok();
    assert_eq!(
        fs::read(b.path("good/tree/good")).unwrap(),
        noise(700_000, 2)
    );

    // The bytes are there again: so is the content.
    fs::write(tree.join("changed"), noise(700_000, 1)).unwrap();
    fs::write(tree.join("vanished"), noise(700_000, 3)).unwrap();
    share.interrupt().ok();
    let (_share, again) = a.share(&tree);
    assert_eq!(again, link);
    b.get(&link).ok();
    crate::tree::assert_same(&tree, &out.join("tree"));
}

#[test]
fn a_node_stops_cleanly() {
    let world = World::new();
    let a = world.peer("a");
    for signal in [Signal::INT, Signal::TERM] {
        let (node, _) = a.node();
        let socket = a.data_dir().join("control.sock");
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        kill_process(node.pid(), signal).unwrap();
        node.end().ok();
        assert!(!socket.exists());
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let world = World::new();
    let a = world.peer("a");
    a.run(&["channel", "create", "product"]).ok();
    for json in ["0", "1"] {
        for command in ["status", "channel list", "link product"] {
            let mut command = a.command(command.split(' '));
            command.env("SAMARA_JSON", json);
            command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
            let output = command.stdin(Stdio::null()).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            let last = said.lines().last().unwrap_or_default();
            assert_eq!(output.status.code(), Some(8), "{command:?}: {said}");
            assert!(last.contains("standard output"), "{command:?}: {said}");
        }
    }
    let mut shell = a.command([] as [&str; 0]);
    let binary = shell.get_program().to_owned();
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" status >&-"]).arg(binary);
    closed.env("SAMARA_DATA_DIR", a.data_dir());
    let output = closed.output().unwrap();
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert_eq!(output.stderr.iter().filter(|b| **b == b'\n').count(), 1);
    // Who wants no output still says so.
    shell.arg("status").stdout(Stdio::null());
    assert!(shell.status().unwrap().success());
}

#[test]
fn arguments_that_cannot_be_meant() {
    let world = World::new();
    let (a, b) = (world.peer("c"), world.peer("b"));
    let message = a.run(&["share", "/"]).failed("usage", 2);
    assert!(message.contains("no name"), "{message}");
    fs::write(b.path("file"), "x").unwrap();
    let (_, share, link) = small_share(&world);
    for command in [
        &["get", &link, "-o", "file"][..],
        &["subscribe", &link, "--into", "file"],
    ] {
        let message = b.run(command).failed("usage", 2);
        assert!(message.contains("file is not a folder"), "{message}");
    }
    drop(share);
    a.run(&["channel", "create", "c"]).ok();
    fs::write(a.path("file"), "x").unwrap();
    for version in ["CON", "com1.txt", "current", "a/b", ".x", ""] {
        a.run(&["publish", "c", "file", "--version", version])
            .failed("usage", 2);
    }
    a.run(&["post", "c", "file", "--subject", "a\u{1}b"])
        .failed("usage", 2);
    let posted = a.ask(&["post", "c", "file", "--subject", " a\n b "], "posted");
    assert_eq!(posted["subject"], "a b");
    fs::write(a.path("file"), "# Hello *you*\n").unwrap();
    let posted = a.ask(&["post", "c", "file"], "posted");
    assert_eq!(posted["subject"], "Hello you");
    let long = "x".repeat(65);
    a.run(&["status", "--site", &long]).failed_as("usage", 2);
    a.run(&["status", "--site", &long[1..]]).ok();
}

#[test]
fn a_good_option_goes_before_a_bad_variable() {
    let world = World::new();
    let a = world.peer("a");
    for args in [
        ["--listen", "127.0.0.1:0", "id"],
        ["id", "--listen", "127.0.0.1:0"],
    ] {
        let mut command = a.command(args);
        command.env("SAMARA_LISTEN", "xx");
        Running::start(command).end().ok();
    }
    let mut command = a.command(["id"]);
    command.env("SAMARA_LISTEN", "xx");
    let message = Running::start(command).end().failed("usage", 2);
    assert!(message.contains("SAMARA_LISTEN"), "{message}");
    let message = a.run(&["get"]).failed_as("usage", 2);
    assert!(message.contains("<LINK>"), "{message}");
}
