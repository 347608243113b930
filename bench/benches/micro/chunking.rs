//! Finding the cuts of a file, without hashing the chunks.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use samara_content::{ChunkParams, Cutter};

const FILE: usize = 16 << 20;

pub(crate) fn bench(c: &mut Criterion) {
    let file = crate::random(FILE);
    let mut group = c.benchmark_group("cut a file");
    group.throughput(Throughput::Bytes(FILE as u64));
    for kib in [64, 1024] {
        let params = ChunkParams::new(kib << 10).expect("a size in use");
        let cutter = Cutter::new(params);
        group.bench_function(format!("chunks of {kib} KiB"), |b| {
            b.iter(|| {
                let (mut rest, mut chunks) = (black_box(&file[..]), 0);
                while let Some(len) = cutter.cut(rest, true) {
                    rest = &rest[len..];
                    chunks += 1;
                }
                chunks
            });
        });
    }
}
