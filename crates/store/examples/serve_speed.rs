//! What it costs to bring a file out of the page cache into encrypted datagrams: by
//! `pread` into a buffer first, as the node does it, or out of a mapping of the file.
//!
//! `cargo run --release -p samara-store --example serve_speed -- [DIR]`: a file of 256 MiB and a
//! store, made in DIR (default: the folder for temporary files) and removed at the end.
//! One thread and its processor time, so that what else the machine
//! does shows little; the ways take turns.
//!
//! What every way does with a chunk is what quinn does: a piece of 1,350 bytes is copied
//! into a packet, and encrypted there with AES-128-GCM.

#![allow(unsafe_code)]

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use memmap2::Mmap;
use rand::{Rng, SeedableRng};
use samara_store::{Content, ImportOptions, Store, StoreConfig};

const BYTES: usize = 256 << 20;
/// Stream bytes of a datagram of an Ethernet frame, about.
const PIECE: usize = 1350;
/// As many as quinn hands over at once.
const PACKETS: usize = 10;
/// Bytes that the node reads in one visit to a blocking thread (`serve.rs`).
const BATCH: usize = 512 << 10;
const ROUNDS: usize = 31;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = tempfile::tempdir_in(parent.unwrap_or_else(std::env::temp_dir))?;
    let path = dir.path().join("file");
    let mut bytes = vec![0; BYTES];
    rand_chacha::ChaCha12Rng::seed_from_u64(1).fill_bytes(&mut bytes);
    fs::write(&path, bytes)?;
    let store = Store::open(dir.path().join("store"), StoreConfig::default())?;
    let never = AtomicBool::new(false);
    let content = store.import(&path, &ImportOptions::default(), &|_| {}, &never)?;

    let mut server = Server::new(content, File::open(&path)?);
    let kept = server.map();
    type Way<'a> = (&'static str, Box<dyn Fn(&mut Server) + 'a>);
    let ways: [Way<'_>; 4] = [
        ("read_chunk: pread, stamps compared", Box::new(Server::read)),
        ("pread alone", Box::new(Server::pread)),
        ("a mapping, made anew", Box::new(|s| s.mapped(&s.map()))),
        ("a mapping, kept", Box::new(|s| s.mapped(&kept))),
    ];
    let mut took = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        for ((_, way), took) in ways.iter().zip(&mut took) {
            let before = busy()?;
            way(&mut server);
            took.push((busy()? - before).as_secs_f64());
        }
    }
    println!("| way | CPU s/GB, median | fastest | slowest |");
    println!("|---|---:|---:|---:|");
    for ((name, _), took) in ways.iter().zip(&mut took) {
        took.sort_by(f64::total_cmp);
        let at = |i: usize| took[i] * 1e9 / BYTES as f64;
        let (least, median, most) = (at(0), at(ROUNDS / 2), at(ROUNDS - 1));
        println!("| {name} | {median:.3} | {least:.3} | {most:.3} |");
    }
    Ok(())
}

struct Server {
    content: Arc<Content>,
    file: File,
    /// Offset and length of every chunk.
    chunks: Vec<(usize, usize)>,
    /// Two batches, taken in turn: one is sent while the next is read.
    pool: [Vec<Vec<u8>>; 2],
    packets: Vec<u8>,
    key: LessSafeKey,
    sent: u64,
}

impl Server {
    fn new(content: Arc<Content>, file: File) -> Self {
        let manifest = content.manifest();
        let chunks = (0..manifest.chunk_count())
            .filter_map(|chunk| manifest.chunk(chunk))
            .map(|chunk| (chunk.range().start as usize, chunk.len as usize))
            .collect();
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).expect("a key of 16 bytes");
        Self {
            content,
            file,
            chunks,
            pool: Default::default(),
            packets: vec![0; PACKETS * PIECE],
            key: LessSafeKey::new(key),
            sent: 0,
        }
    }

    fn map(&self) -> Mmap {
        // SAFETY: the file is in a folder of this process's own, and nobody changes it.
        unsafe { Mmap::map(&self.file) }.expect("a file can be mapped")
    }

    /// As the node does it.
    fn read(&mut self) {
        self.batched(|server, chunk, buffer| {
            let read = server.content.read_chunk(chunk as u32, buffer);
            read.expect("nobody changes the file");
        });
    }

    fn pread(&mut self) {
        self.batched(|server, chunk, buffer| {
            let (offset, len) = server.chunks[chunk];
            buffer.resize(len, 0);
            let read = server.file.read_exact_at(buffer, offset as u64);
            read.expect("nobody changes the file");
        });
    }

    fn batched(&mut self, read: impl Fn(&Self, usize, &mut Vec<u8>)) {
        let (mut next, mut turn) = (0, 0);
        while next < self.chunks.len() {
            let mut buffers = std::mem::take(&mut self.pool[turn]);
            let (mut filled, mut bytes) = (0, 0);
            while let Some((_, len)) = self.chunks.get(next) {
                if bytes > 0 && bytes + len > BATCH {
                    break;
                }
                if filled == buffers.len() {
                    buffers.push(Vec::new());
                }
                read(self, next, &mut buffers[filled]);
                (filled, next, bytes) = (filled + 1, next + 1, bytes + len);
            }
            for buffer in &buffers[..filled] {
                self.send(buffer);
            }
            self.pool[turn] = buffers;
            turn = 1 - turn;
        }
    }

    fn mapped(&mut self, map: &Mmap) {
        for i in 0..self.chunks.len() {
            let (offset, len) = self.chunks[i];
            self.send(&map[offset..offset + len]);
        }
    }

    fn send(&mut self, chunk: &[u8]) {
        for piece in chunk.chunks(PIECE) {
            let at = self.sent as usize % PACKETS * PIECE;
            let packet = &mut self.packets[at..at + piece.len()];
            packet.copy_from_slice(piece);
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&self.sent.to_be_bytes());
            let nonce = Nonce::assume_unique_for_key(nonce);
            let sealed = self
                .key
                .seal_in_place_separate_tag(nonce, Aad::empty(), packet);
            let _tag = std::hint::black_box(sealed.expect("a short packet"));
            self.sent += 1;
        }
    }
}

/// Processor time of this thread so far.
fn busy() -> Result<Duration, Box<dyn std::error::Error>> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = stat.split(' ').next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanos))
}
