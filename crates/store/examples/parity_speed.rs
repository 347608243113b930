//! How fast parity shards are made, and chunks brought back, on one thread.

use std::time::Instant;

use samara_content::{ChunkParams, Coder, Parity, Stripes, chunk_hash};

const TOTAL: u64 = 64 << 20;

fn main() {
    println!("| parity | chunk | encode MB/s of content | decode MB/s, all shards used |");
    println!("|---|---|---:|---:|");
    for text in ["4/32", "20/10", "10/20", "64/64"] {
        let parity: Parity = text.parse().expect("a parity");
        let params = ChunkParams::with_parity(TOTAL, parity);
        let stripes = Stripes::of(params, TOTAL).ok().flatten().expect("stripes");
        let coder = Coder::new(stripes);
        let chunk = |number: u32| -> Vec<u8> {
            let len = stripes.len(number) as usize;
            (0..len)
                .map(|i| (i as u32 * 31 + number * 7) as u8)
                .collect()
        };
        let (mut encoding, mut decoding) = (0.0, 0.0);
        for stripe in 0..stripes.count() {
            let chunks: Vec<_> = stripes.chunks_of(stripe).map(chunk).collect();
            let hashes: Vec<_> = chunks.iter().map(|c| chunk_hash(c)).collect();
            let started = Instant::now();
            let shards = coder.encode(stripe, chunks.clone()).expect("a stripe");
            encoding += started.elapsed().as_secs_f64();
            // The shards first, chunks for the rest.
            let needs = stripes.needs(stripe) as usize;
            let shards = stripes.shards_of(stripe).zip(shards).take(needs);
            let mut given: Vec<_> = shards.collect();
            let rest = stripes
                .chunks_of(stripe)
                .zip(chunks)
                .take(needs - given.len());
            given.extend(rest);
            let hash = |number| hashes.get(stripes.position(number) as usize).copied();
            let started = Instant::now();
            let found = coder.decode(stripe, given, hash).expect("enough");
            decoding += started.elapsed().as_secs_f64();
            assert!(!found.is_empty());
        }
        let mb = TOTAL as f64 / 1e6;
        let (encoding, decoding) = (mb / encoding, mb / decoding);
        println!(
            "| {text} | {} | {encoding:.0} | {decoding:.0} |",
            params.max()
        );
    }
}
