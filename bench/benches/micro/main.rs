//! What the pure rooms cost by themselves: `cargo bench -p samara-bench`.

mod chunking;
mod frames;
mod hashing;
mod reconciliation;
mod scheduler;

use criterion::{criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

criterion_group!(
    benches,
    hashing::bench,
    chunking::bench,
    frames::bench,
    scheduler::bench,
    reconciliation::bench
);
criterion_main!(benches);

/// The same incompressible bytes every time.
fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(1).fill(&mut bytes[..]);
    bytes
}
