//! How long a node takes to start, and how much memory it takes, with many records in
//! its store.
//!
//! `cargo run --release -p samara-node --example start_up -- SAMARA [RECORDS] [DIR]`:
//! fills a data directory in DIR (default: the temporary one) with a channel of RECORDS
//! (default: a million) signed records of some 400 bytes by eight authors, and starts
//! the binary SAMARA on it three times. The directory is removed at the end.

use std::{
    error::Error,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use samara_graph::{
    Attributes, Charter, CharterChain, Kind, NewRecord, Publishers, SecretKey, WallMs, limits,
};
use samara_store::{Batch, Store, StoreConfig};

const AUTHORS: u64 = 8;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Records of one commit.
const COMMIT: u64 = 20_000;
/// What the node keeps of a channel that it mirrors.
const MIRRORED: &str = r#"{"role":"mirror","into":null,"link":null,"chunk_avg":null}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let usage = "usage: start_up SAMARA [RECORDS] [DIR]";
    let binary = args.next().map(PathBuf::from).ok_or(usage)?;
    let records = match args.next() {
        Some(text) => text.to_str().ok_or(usage)?.parse()?,
        None => 1_000_000,
    };
    let dir = match args.next() {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let started = Instant::now();
    fill(dir.path(), records)?;
    println!("{records} records written in {:.0?}", started.elapsed());
    for _ in 0..3 {
        start(&binary, dir.path())?;
    }
    Ok(())
}

fn key(author: u64) -> SecretKey {
    SecretKey::from_bytes(&[author as u8 + 1; 32])
}

fn fill(dir: &Path, records: u64) -> Result<(), Box<dyn Error>> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let now = WallMs(since.as_millis() as u64);
    let mut charter = Charter::open("many", key(0).peer_id(), now.before(900 * DAY), [1; 16]);
    let authors = (0..AUTHORS).map(|a| key(a).peer_id());
    charter.publishers = Publishers::Named(authors.collect());
    charter.limits.records_per_author = limits::MAX_CHANNEL_RECORDS;
    charter.limits.records_total = limits::MAX_CHANNEL_RECORDS;
    let chain = CharterChain::new(charter.sign(&[&key(0)])?)?;
    let channel = chain.channel();
    let store = Store::open(dir, StoreConfig::default())?;
    let mut batch = Batch::new();
    batch.put_charter(&channel, &chain.encode());
    batch.put_setting("channel", channel.as_bytes(), MIRRORED.as_bytes());
    for n in 0..records {
        // Anywhere in the last two years, in no order.
        let hash = blake3::hash(&n.to_le_bytes());
        let random = u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("32 bytes"));
        let age = Duration::from_millis(random % (730 * DAY).as_millis() as u64);
        let created = now.before(age);
        let new = NewRecord {
            channel,
            kind: Kind(70_000),
            seq: n + 1,
            created,
            expires: created.after(3000 * DAY),
            priority: 0,
            key: Bytes::from(format!("{n:012}")),
            attributes: Attributes::default(),
            body: Bytes::from_static(&[b'x'; 200]),
        };
        let record = new.sign(&key(n % AUTHORS))?;
        let head = record.header()?.encode();
        batch.put_record(&channel, &record.id(), &head, record.bytes());
        if (n + 1) % COMMIT == 0 {
            store.write(std::mem::replace(&mut batch, Batch::new()))?;
        }
    }
    store.write(batch)?;
    Ok(())
}

/// From the start of the process until the node says that it listens, which is when
/// all records are known; then what it has resident.
fn start(binary: &Path, dir: &Path) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let mut child = Command::new(binary)
        .arg("--data-dir")
        .arg(dir)
        .args(["--listen", "127.0.0.1:0", "--json", "node", "--http", "off"])
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().ok_or("no standard output")?;
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line)?;
    let took = began.elapsed();
    // Everything of the start is over: the first look at all channels too.
    std::thread::sleep(Duration::from_secs(3));
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.map(|line| line[name.len()..].trim().to_owned())
            .unwrap_or_default()
    };
    println!(
        "listens after {:.2} s; resident {}, at most {}",
        took.as_secs_f64(),
        of("VmRSS:"),
        of("VmHWM:")
    );
    child.kill()?;
    child.wait()?;
    if !line.contains("\"listening\"") {
        return Err(format!("it said: {line}").into());
    }
    Ok(())
}
