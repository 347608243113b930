//! What the binary makes of whoever reads what it prints.

use std::{
    fs,
    io::pipe,
    path::Path,
    process::{Command, Output, Stdio},
};

/// Runs it with nobody at the other end of its standard output.
fn unread(args: &[&str]) -> Output {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_samara-sim"));
    command.args(args).stdout(writer).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let archive = ["archive", "--members", "3", "--parity", "2/1", "--rounds"];
    for args in [
        &["swarm", "--peers", "2", "--chunks", "4"][..],
        &[&archive[..], &["1"]].concat(),
        &["graph", "--members", "3", "--scenario", "idle", "--once"],
        &["graph-cost", "--records", "10"],
    ] {
        let output = unread(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {stderr}");
        assert!(stderr.is_empty(), "{args:?}: {stderr}");
    }
}

#[test]
fn what_was_run_is_drawn_though_nobody_reads_its_figures() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unread.svg");
    let _ = fs::remove_file(&file);
    let plot = file.to_str().unwrap();
    let args = ["swarm", "--peers", "2", "--chunks", "4", "--plot", plot];
    assert!(unread(&args).status.success());
    let svg = fs::read_to_string(&file).unwrap();
    assert!(svg.starts_with("<svg"));
}

#[test]
fn what_means_nothing_is_refused_with_what_is_allowed() {
    for (args, allowed) in [
        ("swarm --rtt-ms nan", "rtt_ms is NaN: from 0.001 to 10000"),
        ("swarm --rtt-ms -1", "rtt_ms is -1: from"),
        ("swarm --up inf", "up is inf: from"),
        ("swarm --peers 0", "peers is 0: from 1 to 1000000"),
        ("swarm --peers 5000000000", "peers is 5000000000: from 1"),
        ("swarm --chunks 4000000000", "chunks is 4000000000: from 1"),
        ("swarm --slots 0", "slots is 0: from 1"),
        ("swarm --neighbours 0", "neighbours is 0: from 1"),
        ("swarm --seeder-leaves -1", "seeder leaves is -1: from 0"),
        ("swarm --sites 5000000000", "sites is 5000000000: from 0"),
        ("swarm --site-way -1 --sites 2", "way out is -1: from"),
        ("swarm --liars 100", "no receiver keeps the rules"),
        ("archive --there 101", "there is 101: from 0 to 100"),
        ("archive --there -1", "there is -1: from 0 to 100"),
        ("archive --rounds 0", "rounds is 0: from 1"),
        ("archive --members 0", "members is 0: from 1"),
        (
            "graph --members 5000000000",
            "members is 5000000000: from 2",
        ),
        ("graph-cost --records 0", "records is 0: from 1"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_samara-sim"));
        let output = command.args(args.split(' ')).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args}: {stderr}");
        assert!(stderr.contains(allowed), "{args}: {stderr}");
        assert!(output.stdout.is_empty(), "{args}");
    }
}
