//! The demonstration, and the identity's ways in and out.

use std::fs;

use rustix::process::{Signal, kill_process};

use crate::{
    netns::skipped,
    running::Running,
    tree::{self, assert_nothing_in},
    world::{World, string, text},
};

#[test]
fn the_demo_shows_itself_and_leaves_nothing_behind() {
    let world = World::new();
    let a = world.peer("a");
    let (source, temporary) = (a.path("tree"), a.path("temporary"));
    tree::make(&source);
    fs::create_dir(&temporary).unwrap();
    let mut command = a.command(["demo", text(&source)]);
    command.env("TMPDIR", &temporary);
    let ended = Running::start(command).end().ok();
    let demo = ended.event("demo");
    assert_eq!(demo["bytes"], tree::MADE_BYTES);
    assert_eq!(demo["members"].as_array().unwrap().len(), 4, "{demo}");
    assert_nothing_in(&temporary);
    assert!(!a.data_dir().exists());
}

#[test]
fn the_demo_cleans_up_when_it_is_broken_off() {
    breaks_off_cleanly(&[Signal::INT]);
}

#[test]
fn the_demo_cleans_up_when_its_terminal_is_closed() {
    // As under `nohup`: then it is to go on.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.unwrap().trim(), 16).unwrap();
    if ignored & 1 == 1 {
        skipped("SIGHUP is ignored here");
        return;
    }
    breaks_off_cleanly(&[Signal::HUP]);
}

#[test]
fn the_demo_cleans_up_also_when_it_is_not_waited_for() {
    breaks_off_cleanly(&[Signal::INT, Signal::TERM, Signal::INT]);
}

fn breaks_off_cleanly(signals: &[Signal]) {
    let world = World::new();
    let a = world.peer("a");
    let (source, temporary) = (a.path("tree"), a.path("temporary"));
    fs::create_dir_all(&source).unwrap();
    // Long enough to be broken off in its middle.
    let file = fs::File::create(source.join("holes")).unwrap();
    file.set_len(4 << 30).unwrap();
    fs::create_dir(&temporary).unwrap();
    let mut command = a.command(["demo", text(&source)]);
    command.env("TMPDIR", &temporary);
    let demo = Running::start(command);
    crate::running::poll("its folder", || {
        fs::read_dir(&temporary).unwrap().next().is_some()
    });
    for signal in signals {
        // It may have ended meanwhile.
        let _ = kill_process(demo.pid(), *signal);
    }
    let ended = demo.end();
    assert_eq!(ended.status, Some(130), "{ended:?}");
    assert_nothing_in(&temporary);
}

#[test]
fn an_identity_moves_with_its_password() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let id = string(&a.ask(&["id"], "id")["peer_id"]);
    assert_eq!(id.len(), 52);
    let (file, password, wrong) = (
        world.path("id"),
        world.path("password"),
        world.path("wrong"),
    );
    fs::write(&password, "correct horse\n").unwrap();
    fs::write(&wrong, "correct hose\n").unwrap();
    let export = [
        "id",
        "export",
        text(&file),
        "--password-file",
        text(&password),
    ];
    a.run(&export).ok();
    a.run(&export).failed("exists", 10);
    assert_ne!(b.ask(&["id"], "id")["peer_id"], id);
    b.run(&["id", "import", text(&file), "--password-file", text(&wrong)])
        .failed("denied", 16);
    assert_ne!(b.ask(&["id"], "id")["peer_id"], id);
    let import = [
        "id",
        "import",
        text(&file),
        "--password-file",
        text(&password),
    ];
    // The identity that is there is replaced only by order.
    b.run(&import).failed("exists", 10);
    let imported = b.run(&[&import[..], &["--force"]].concat()).ok();
    assert_eq!(imported.event("imported")["peer_id"], id);
    assert_eq!(b.ask(&["id"], "id")["peer_id"], id);
    fs::write(&file, "something else").unwrap();
    b.run(&[
        "id",
        "import",
        text(&file),
        "--password-file",
        text(&password),
    ])
    .failed("usage", 2);
}
