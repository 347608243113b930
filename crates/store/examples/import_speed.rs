//! How fast a path is imported, read and installed on this machine.
//!
//! `cargo run --release -p samara-store --example import_speed -- PATH [DIR]`:
//! DIR (default: the folder of PATH) gets a store and an installed copy, both
//! removed at the end.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Instant,
};

use samara_store::{Destination, ImportOptions, Selection, Store, StoreConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let path = args
        .next()
        .ok_or("usage: import_speed PATH [DIR]")?
        .canonicalize()?;
    let dir = args
        .next()
        .or_else(|| path.parent().map(Into::into))
        .ok_or("no folder")?;
    let dir = tempfile::tempdir_in(dir)?;
    let open = |name: &str| Store::open(dir.path().join(name), StoreConfig::default());
    let (ours, mut theirs) = (open("ours")?, open("theirs")?);

    let start = Instant::now();
    let never = AtomicBool::new(false);
    let content = ours.import(&path, &ImportOptions::default(), &|_| {}, &never)?;
    let bytes = content.wanted_bytes();
    report("import", bytes, start);
    let start = Instant::now();
    ours.import(&path, &ImportOptions::default(), &|_| {}, &never)?;
    report("import again", bytes, start);

    let start = Instant::now();
    let destination = Destination::Install {
        parent: dir.path().join("out"),
        name: content.manifest().root().name.clone(),
        force: false,
    };
    let mut copy = theirs.begin(content.manifest().clone(), &destination, Selection::All)?;
    report("begin", bytes, start);
    let next = AtomicU32::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                loop {
                    let chunk = next.fetch_add(1, Ordering::Relaxed);
                    if chunk >= content.manifest().chunk_count() {
                        return;
                    }
                    content
                        .read_chunk(chunk, &mut buffer)
                        .expect("nobody changes the path");
                    copy.verify_and_write(chunk, &buffer)
                        .expect("there is room");
                }
            });
        }
    });
    report("read, verify and write", bytes, begun);
    // As after a kill: nothing was synced, so everything is hashed.
    drop((copy, theirs));
    theirs = open("theirs")?;
    let start = Instant::now();
    copy = theirs.begin(content.manifest().clone(), &destination, Selection::All)?;
    report("resume", bytes, start);
    assert!(copy.has_wanted());
    let finishing = Instant::now();
    copy.finish()?;
    report("finish", bytes, finishing);
    let start = Instant::now();
    assert!(copy.verify()?.is_empty());
    report("verify", bytes, start);
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = |name: &str| {
        status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or("")
            .to_owned()
    };
    println!("{}, now {}", line("VmHWM"), line("RssAnon"));
    Ok(())
}

fn report(what: &str, bytes: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{what}: {:.1} ms, {:.2} GB/s",
        seconds * 1e3,
        bytes as f64 / seconds / 1e9
    );
}
