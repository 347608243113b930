//! BLAKE3 of one chunk, from one buffer as received chunks are.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use samara_content::chunk_hash;

pub(crate) fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("hash a chunk");
    for kib in [16, 64, 1024] {
        let chunk = crate::random(kib << 10);
        group.throughput(Throughput::Bytes(chunk.len() as u64));
        group.bench_function(format!("{kib} KiB"), |b| {
            b.iter(|| chunk_hash(black_box(&chunk)));
        });
    }
}
