//! Messages to bytes and back: the small ones of a busy swarm, and a snapshot.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use samara_content::ChunkSet;
use samara_swarm::Message;
use samara_wire::{FrameDecoder, encode_frame};

const CHUNKS: u32 = 16_384;
const KIND: u64 = 7;
const MAX_BODY: usize = 1 << 20;

pub(crate) fn bench(c: &mut Criterion) {
    let mut every_third = ChunkSet::new(CHUNKS);
    for chunk in (0..CHUNKS).step_by(3) {
        every_third.insert(chunk);
    }
    let messages = [
        ("announcement of 8", Message::HaveMore((100..108).collect())),
        (
            "grant with 2 suggested",
            Message::Grant {
                bytes: 128 << 10,
                suggested: vec![7, 9_000],
            },
        ),
        ("snapshot of 16,384", Message::Have(every_third)),
    ];
    let mut group = c.benchmark_group("frame there and back");
    for (name, message) in messages {
        let bytes = encode_frame(KIND, &message.encode()).len();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |b| {
            let mut decoder = FrameDecoder::new(MAX_BODY);
            b.iter(|| {
                decoder.push(&encode_frame(KIND, &black_box(&message).encode()));
                let frame = decoder.next_frame().expect("sound").expect("whole");
                Message::decode(&frame.body, CHUNKS).expect("ours")
            });
        });
    }
}
