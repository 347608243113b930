//! Golden vectors of docs/protocol.md: a change of any is another format.

use samara_content::{
    ChunkParams, ChunkSet, Coder, Cutter, Encoded, Entry, EntryPath, Manifest, ManifestBuilder,
    Root, chunk_hash,
};

/// `len` bytes of BLAKE3's extended output for the text "samara test vector".
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"samara test vector");
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn path(text: &str) -> EntryPath {
    EntryPath::new(text).unwrap()
}

/// Cuts and hashes `stream` as the builder's layout says; the chunks' lengths.
fn finish(mut builder: ManifestBuilder, params: ChunkParams, stream: &[u8]) -> (Encoded, Vec<u32>) {
    let cutter = Cutter::new(params);
    let mut lengths = Vec::new();
    let segments: Vec<_> = builder.layout().segments().collect();
    for segment in segments {
        let mut rest = &stream[segment.start as usize..segment.end as usize];
        while let Some(len) = cutter.cut(rest, true) {
            let (chunk, tail) = rest.split_at(len);
            builder.push_chunk(chunk_hash(chunk), len as u32).unwrap();
            lengths.push(len as u32);
            rest = tail;
        }
    }
    (builder.finish().unwrap(), lengths)
}

const README: &[u8] = b"hello, samara\n";
const TOOL_BYTES: usize = 100_000;

fn tree() -> (Encoded, Vec<u32>) {
    let params = ChunkParams::for_size(0);
    let entries = vec![
        Entry::directory(path("bin"), 0o755),
        Entry::file(path("bin/tool"), 0o755, TOOL_BYTES as u64),
        Entry::file(path("docs/readme.md"), 0o644, README.len() as u64),
        Entry::file(path("empty"), 0o600, 0),
        Entry::symlink(path("tool"), "bin/tool").unwrap(),
    ];
    let builder = ManifestBuilder::new("tree", Some(0o755), params, entries).unwrap();
    // The pack, then the file that is no smaller than a chunk.
    finish(builder, params, &[README, &noise(TOOL_BYTES)].concat())
}

const TREE_ID: &str = "hsu3sfb6b2xcxeyiii4ccpfxx6xrnods74kzc4cqupt3w6sneuoq";
const TREE_LENGTHS: [u32; 6] = [14, 17386, 23745, 18939, 24603, 15327];
const TREE_ROOT: &str = "73616d61726120636f6e74656e7420763100010e000141ed0474726565800186ae050601\
    a91f610c998012a9756612b79905dfeb7f6f5c961716d5c09cd76195e229bea70528c4c4\
    55e1a2a998eaf96921302434e3e82200c791a0749817f818cc5b3e5376800186ae";
const TREE_ENTRY_PAGE: &str = "0362696e0041ed0862696e2f746f6f6c0141ed800186a00e646f63732f726561646d652e\
    6d640141a40e05656d7074790141800004746f6f6c0241ff0862696e2f746f6f6c";
const TREE_CHUNK_PAGE: &str = "624d3ce6b8ca5d65cbf8be51758b1ef5e5c809dbb2cba3278f0b31cc3786d7a50e000000\
    f90e4acfbc9f4b1a52e0892b9f681b0e760a85521d9f7dc1b481d59392224939ea430000\
    caf6b387a810241f6b81dbc6ed569948a8ce0d1913fcc8f514ec05f3880019c9c15c0000\
    75861ef34bc9dfe59c02b9f3d51d2e60bb235cc5ea956af330fdf7a2974000a9fb490000\
    296355dbe6b97b0e1611191b7aed611f96e87940787fcc1e93df296aede73cef1b600000\
    e37221df4087239c907724e01cfc453df4b40dc240053dcd0f25baabfaaca595df3b0000";

#[test]
fn a_small_tree() {
    let (encoded, lengths) = tree();
    assert_eq!(lengths, TREE_LENGTHS);
    assert_eq!(hex(&encoded.pages[0]), TREE_ENTRY_PAGE);
    assert_eq!(hex(&encoded.pages[1]), TREE_CHUNK_PAGE);
    assert_eq!(hex(&encoded.root), TREE_ROOT);
    assert_eq!(encoded.id.to_string(), TREE_ID);
    assert!(Manifest::from_encoded(&encoded).unwrap().is_complete());
}

const FILE_ID: &str = "qyop3u5asw4rhk44ad25hp4ohz5uv3ewqeu3jklohr2uq2eggjxa";
const FILE_ROOT: &str = "73616d61726120636f6e74656e74207631000110000009726561646d652e6d640e010101\
    7d71727b0853e7a19a46658c3569b61c8c00824674f97f63c62a07b0ce7d63e1010ce5b6\
    c6b8f02db741f86ffe9ac1d27d3257830432dff39801154e99c40c38b60e";

#[test]
fn a_single_file() {
    let params = ChunkParams::new(64 * 1024).unwrap();
    let entry = Entry::file(path("readme.md"), 0o644, README.len() as u64);
    let builder = ManifestBuilder::new("readme.md", None, params, vec![entry]).unwrap();
    let (encoded, _) = finish(builder, params, README);
    assert_eq!(hex(&encoded.root), FILE_ROOT);
    assert_eq!(encoded.id.to_string(), FILE_ID);
    assert!(Root::decode(&encoded.root).unwrap().single_file());
}

const PARITY_ID: &str = "wpkej3otajluzohn42qhsuhmifpwghbwdaoxwcvogikck7p7zfpq";
const PARITY_CHUNK_PAGE: &str = "d83c466eac6916d0f37e1637b6b0a665c5674a10e15dbf9da57dfba23fd6e81300100000\
    7d35a966489f7dfcac72d6898f782dd8c9caed57db1c058b5891b541c1f8ea0700100000\
    1fcac0e23f3f4340e4a948ff5f0799ee48415fc3085e3d86c7bfada3f55017eb10070000\
    256932fe24c7f7a7db0d85ec17fcd8b863027882a46c90b86de9533533a94a2b00100000\
    7d35a966489f7dfcac72d6898f782dd8c9caed57db1c058b5891b541c1f8ea0700100000\
    8bc03b2be3139ab12b92df9991c89453a9063c45b7bc759db45768b40570538900100000\
    7d35a966489f7dfcac72d6898f782dd8c9caed57db1c058b5891b541c1f8ea0700100000";
const PARITY_ROOT: &str = "73616d61726120636f6e74656e742076310002500001020200056e6f6973656710010301\
    5f595ebad6119502c5b318c3141800f6826e7ffc22f0eb1f85ebe43181730d2b013c0db5\
    f04ce7b4b3a878b4513d81686007f02699a9fe42f2765eb3fbf068ab0880006710";

/// A file of `noise(10_000)` with 2 shards for 2 chunks of 4 KiB: three chunks in two
/// stripes, of two and of one.
#[test]
fn a_file_with_parity() {
    let params = ChunkParams::fixed(4096, "2/2".parse().unwrap()).unwrap();
    let entry = Entry::file(path("noise"), 0o644, 10_000);
    let mut builder = ManifestBuilder::new("noise", None, params, vec![entry]).unwrap();
    let stream = noise(10_000);
    let chunks: Vec<&[u8]> = stream.chunks(4096).collect();
    for chunk in &chunks {
        builder
            .push_chunk(chunk_hash(chunk), chunk.len() as u32)
            .unwrap();
    }
    let stripes = *builder.stripes().unwrap();
    let coder = Coder::new(stripes);
    let shards: Vec<Vec<Vec<u8>>> = (0..stripes.count())
        .map(|stripe| {
            let chunks = stripes
                .chunks_of(stripe)
                .map(|c| chunks[c as usize].to_vec());
            coder.encode(stripe, chunks.collect()).unwrap()
        })
        .collect();
    assert_eq!(
        shards[1],
        [chunks[1], chunks[1]],
        "one chunk alone is copied"
    );
    for number in stripes.chunks()..stripes.all() {
        let row = stripes.position(number) - 2;
        let shard = &shards[stripes.stripe_of(number) as usize][row as usize];
        builder
            .push_chunk(chunk_hash(shard), shard.len() as u32)
            .unwrap();
    }
    let encoded = builder.finish().unwrap();
    let texts = (
        hex(&encoded.pages[1]),
        hex(&encoded.root),
        encoded.id.to_string(),
    );
    let expected = (PARITY_CHUNK_PAGE, PARITY_ROOT, PARITY_ID);
    assert_eq!((&*texts.0, &*texts.1, &*texts.2), expected);
    let manifest = Manifest::from_encoded(&encoded).unwrap();
    assert_eq!((manifest.chunk_count(), manifest.shard_count()), (3, 7));
    assert_eq!(manifest.chunk(6).unwrap().len, 4096);
    assert_eq!(manifest.chunk(7), None);
}

/// Where noise is cut, for the smallest and the largest average: what another
/// version of the chunker must not change, or versions share nothing.
#[test]
fn the_places_of_cuts() {
    let cut = |avg, len| {
        let cutter = Cutter::new(ChunkParams::new(avg).unwrap());
        let (bytes, mut at, mut ends) = (noise(len), 0, Vec::new());
        while let Some(len) = cutter.cut(&bytes[at..], true) {
            at += len;
            ends.push(at);
        }
        ends
    };
    assert_eq!(cut(16 * 1024, 256 * 1024), CUTS_16_KIB);
    assert_eq!(cut(1024 * 1024, 4 * 1024 * 1024), CUTS_1_MIB);
}

const CUTS_16_KIB: [usize; 14] = [
    17386, 41131, 60070, 84673, 102218, 119579, 146910, 156241, 161338, 177919, 208241, 233640,
    250116, 262144,
];
const CUTS_1_MIB: [usize; 4] = [1182956, 2440004, 4088722, 4194304];

#[test]
fn chunk_sets() {
    let mut set = ChunkSet::new(100);
    assert_eq!(hex(&set.encode()), "01");
    set.insert_range(10..90);
    assert_eq!(hex(&set.encode()), "010a4050");
    set.remove(50);
    assert_eq!(hex(&set.encode()), "010a280127");
    for chunk in (0..100).step_by(3) {
        set.insert(chunk);
    }
    for chunk in (0..100).step_by(4) {
        set.remove(chunk);
    }
    assert_eq!(hex(&set.encode()), CHUNK_SET_BITS);
    assert_eq!(hex(&ChunkSet::full(100).encode()), "01004064");
}

const CHUNK_SET_BITS: &str = "0048eeeeeeeeeeeaeeeeeeee2608";
