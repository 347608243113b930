//! Samara side by side with other tools, in network namespaces of this machine. See README.md.

mod args;
mod bench;
mod content;
mod error;
mod interrupt;
mod limits;
mod machine;
mod measure;
mod metainfo;
mod net;
mod process;
mod relay;
mod report;
mod scratch;
mod summary;
mod svg;
mod tools;
mod tracker;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::Parser;

use crate::{
    args::{Bench, Common},
    error::{Context, Error, Result},
};

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().collect();
    let outcome = match args.get(1).and_then(|first| first.to_str()) {
        Some(process::ENTER) => Err(process::enter(&args[2..])),
        Some(tracker::TRACKER) => tracker::serve(),
        Some(relay::RELAY) => relay::serve(&args[2..]),
        _ => run(&Bench::parse()),
    };
    match outcome {
        // Who closed standard output knows all that was to be known.
        Ok(()) | Err(Error::Unread) => ExitCode::SUCCESS,
        Err(Error::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("samara-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(bench: &Bench) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::Setup(
            "making network namespaces needs root: run this command again with sudo".into(),
        ));
    }
    process::cgroup_root()?;
    for tool in ["ip", "tc"] {
        process::helper(&[tool, "-V"])
            .map_err(|_| Error::Setup(format!("`{tool}` is missing: install iproute2")))?;
    }
    let common = bench.common();
    for path in [&common.json, &common.svg].into_iter().flatten() {
        report::probe(path)?;
    }
    interrupt::install()?;
    net::sweep();
    if let Some(dir) = &common.logs {
        std::fs::create_dir_all(dir).on("creating", dir)?;
    }
    bench::run(bench, samara_binary)
}

/// The binary to measure: the one that was given, or a fresh release build.
fn samara_binary(common: &Common) -> Result<PathBuf> {
    if let Some(binary) = &common.samara {
        return binary.canonicalize().on("finding", binary);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo)
        .args(["build", "--release", "-p", "samara"])
        .current_dir(&root)
        .spawn()
        .context("running cargo")?;
    let status = process::wait(build)?;
    if !status.success() {
        return Err(Error::Setup("building samara failed".into()));
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let binary = target.join("release/samara");
    binary.canonicalize().on("finding", &binary)
}
