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
