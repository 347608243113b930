//! What a publisher, or a peer in between, can put into a manifest.
//!
//! The manifests are made by hand, since the builder makes none of these; unless
//! a test says otherwise every hash in them is right.

use bytes::Bytes;
use samara_content::{
    ChunkPageRef, ChunkParams, ContentError, EntryPageRef, Fault, Manifest, PathFault, Root,
    TargetFault, chunk_hash, limits,
};
use samara_wire::Writer;

const FILE: u8 = 1;
const LINK: u8 = 2;
const KIB: u64 = 1024;

fn hash(bytes: &[u8]) -> [u8; 32] {
    chunk_hash(bytes).0
}

fn file(path: &str, size: u64) -> Vec<u8> {
    let mut w = Writer::new();
    w.str(path);
    w.u8(FILE);
    w.varint(0o644);
    w.varint(size);
    w.finish()
}

fn link(path: &str, target: &str) -> Vec<u8> {
    let mut w = Writer::new();
    w.str(path);
    w.u8(LINK);
    w.varint(0o777);
    w.str(target);
    w.finish()
}

/// A manifest in the making: what it says, whether true or not.
struct Forged {
    root: Root,
    pages: Vec<Bytes>,
}

impl Forged {
    /// One page of these entries, one page of chunks of these lengths.
    fn new(entries: &[Vec<u8>], chunks: &[u32]) -> Self {
        let total = chunks.iter().map(|len| u64::from(*len)).sum();
        let root = Root {
            name: "tree".into(),
            folder_mode: Some(0o755),
            params: ChunkParams::new(16 * 1024).unwrap(),
            total_bytes: total,
            entry_count: 0,
            chunk_count: chunks.len() as u32,
            entry_pages: Vec::new(),
            chunk_pages: Vec::new(),
        };
        let mut forged = Self {
            root,
            pages: Vec::new(),
        };
        if !entries.is_empty() {
            forged.entry_page(entries);
        }
        if !chunks.is_empty() {
            let mut w = Writer::new();
            for len in chunks {
                w.raw(&[7; 32]);
                w.u32(*len);
            }
            let page: Bytes = w.finish().into();
            forged.root.chunk_pages.push(ChunkPageRef {
                hash: hash(&page),
                bytes: total,
            });
            forged.pages.push(page);
        }
        forged
    }

    fn entry_page(&mut self, entries: &[Vec<u8>]) {
        let page: Bytes = entries.concat().into();
        let at = self.root.entry_pages.len();
        self.root.entry_pages.push(EntryPageRef {
            hash: hash(&page),
            count: entries.len() as u32,
        });
        self.root.entry_count += entries.len() as u32;
        self.pages.insert(at, page);
    }

    fn open(&self) -> Result<Manifest, ContentError> {
        let root = self.root.encode();
        Manifest::from_root(&Root::id(&root), &root)
    }

    /// Reads everything, pages in the given order.
    fn read(&self, order: impl IntoIterator<Item = usize>) -> Result<Manifest, ContentError> {
        let mut manifest = self.open()?;
        for index in order {
            manifest.add_page(index as u32, self.pages[index].clone())?;
        }
        Ok(manifest)
    }

    /// The error that stops the reading, the same forwards and backwards.
    fn error(&self) -> ContentError {
        let forwards = self.read(0..self.pages.len());
        let backwards = self.read((0..self.pages.len()).rev());
        let error = forwards.expect_err("should be refused");
        assert_eq!(Some(&error), backwards.err().as_ref());
        error
    }
}

/// The error for a tree of these entries without any bytes.
fn refused(entries: &[Vec<u8>]) -> ContentError {
    let error = Forged::new(entries, &[]).error();
    assert_eq!(error.fault(), Fault::Publisher, "{error}");
    error
}

#[test]
fn a_plain_tree_is_read() {
    let tree = [file("a/b", 5), file("c", 6), link("d", "a/b")];
    let forged = Forged::new(&tree, &[11]);
    let manifest = forged.read([1, 0]).unwrap();
    assert!(manifest.is_complete());
    assert_eq!(manifest.entries().unwrap().len(), 3);
    let empty = Forged::new(&[], &[]).open().unwrap();
    assert!(empty.is_complete());
    assert_eq!(empty.entries(), Some(&[][..]));
}

#[test]
fn paths_that_leave_the_tree() {
    for (path, expected) in [
        ("../x", PathFault::Parent),
        ("a/../../x", PathFault::Parent),
        ("/etc/cron.d/x", PathFault::Absolute),
        ("C:/x", PathFault::Drive),
        ("", PathFault::Empty),
        ("a//b", PathFault::NotPlain),
    ] {
        match refused(&[file(path, 0)]) {
            ContentError::BadPath { fault, path: told } => {
                assert_eq!((fault, &*told), (expected, path));
            }
            other => panic!("{path}: {other}"),
        }
    }
    let mut not_text = file("xx", 0);
    not_text[1] = 0xff;
    assert!(matches!(refused(&[not_text]), ContentError::Malformed(_)));
}

#[test]
fn a_path_that_stands_twice() {
    assert!(matches!(
        refused(&[file("a", 0), file("a", 0)]),
        ContentError::DuplicatePath { .. }
    ));
    assert!(matches!(
        refused(&[file("b", 0), file("a", 0)]),
        ContentError::OutOfOrder { .. }
    ));
    assert!(matches!(
        refused(&[file("e\u{301}", 0), file("\u{e9}", 0)]),
        ContentError::EquivalentPaths { .. }
    ));
    assert!(matches!(
        refused(&[file("e\u{301}/a", 0), file("\u{e9}/b", 0)]),
        ContentError::EquivalentPaths { .. }
    ));
}

#[test]
fn things_under_what_is_no_directory() {
    assert!(matches!(
        refused(&[file("a", 0), file("a/b", 0)]),
        ContentError::UnderNonDirectory { .. }
    ));
    // Written through the link, this would be /tmp/x.
    assert!(matches!(
        refused(&[link("a", "b"), file("a-", 0), file("a/x", 0)]),
        ContentError::UnderNonDirectory { .. }
    ));
}

#[test]
fn links_that_lead_out() {
    for (path, target, expected) in [
        ("l", "/etc", TargetFault::Absolute),
        ("l", "../x", TargetFault::Outside),
        ("a/l", "../../x", TargetFault::Outside),
        ("a/l", "b/../../..", TargetFault::ParentAfterName),
    ] {
        match refused(&[link(path, target)]) {
            ContentError::BadTarget { fault, .. } => assert_eq!(fault, expected),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn entries_that_have_more_than_one_encoding() {
    // A mode in two bytes that fits one; an unknown kind; a mode beyond 0o777.
    let long_mode = [&b"\x01a\x00"[..], &[0x40, 5]].concat();
    assert!(matches!(refused(&[long_mode]), ContentError::Malformed(_)));
    let kind = Forged::new(&[b"\x01a\x09\x05".to_vec()], &[]).error();
    assert!(matches!(kind, ContentError::Unknown { .. }));
    let setuid = [&b"\x01a\x00"[..], &[0x49, 0xed]].concat();
    assert!(matches!(
        refused(&[setuid]),
        ContentError::BadMode { mode: 0o4755, .. }
    ));
    // More bytes, or fewer, than the entries take.
    let mut forged = Forged::new(&[file("a", 0)], &[]);
    forged.root.entry_pages[0].count = 2;
    forged.root.entry_count = 2;
    assert!(matches!(forged.error(), ContentError::Malformed(_)));
    let mut forged = Forged::new(&[file("a", 0), file("b", 0)], &[]);
    forged.root.entry_pages[0].count = 1;
    forged.root.entry_count = 1;
    assert!(matches!(forged.error(), ContentError::Malformed(_)));
}

#[test]
fn pages_that_are_divided_otherwise() {
    let mut forged = Forged::new(&[file("a", 0)], &[]);
    forged.entry_page(&[file("b", 0)]);
    assert!(matches!(forged.error(), ContentError::Malformed(_)));
    // The order holds from page to page too.
    let long = |c: &str| -> Vec<Vec<u8>> {
        let name = |i| format!("{}{i:03}", c.repeat(250));
        (0..256).map(|i| file(&name(i), 0)).collect()
    };
    let fill = |first: &str, second: &str| {
        let fits = limits::ENTRY_PAGE_BYTES / file(&"x".repeat(253), 0).len();
        let mut forged = Forged::new(&long(first)[..fits], &[]);
        forged.entry_page(&long(second)[..fits]);
        forged
    };
    assert!(fill("a", "b").read([0, 1]).is_ok());
    assert!(matches!(
        fill("b", "a").error(),
        ContentError::OutOfOrder { .. }
    ));
    assert!(matches!(
        fill("a", "a").error(),
        ContentError::OutOfOrder { .. }
    ));
}

#[test]
fn sizes_that_do_not_add_up() {
    for size in [9, 11] {
        let error = Forged::new(&[file("a", size)], &[10]).error();
        assert!(matches!(error, ContentError::Sums { .. }));
        assert_eq!(error.fault(), Fault::Publisher);
    }
    // Each size is one that a file may have, the sum is not.
    let huge = limits::MAX_TOTAL_BYTES;
    let error = Forged::new(&[file("a", huge), file("b", huge)], &[]).error();
    assert!(matches!(error, ContentError::TooManyBytes { .. }));
    let overflow: Vec<_> = (0..10)
        .map(|i| file(&i.to_string(), (1 << 62) - 1))
        .collect();
    let error = Forged::new(&overflow, &[]).error();
    assert!(matches!(error, ContentError::TooManyBytes { .. }));
    // The page's chunks and the number that the root has for them.
    let mut forged = Forged::new(&[file("a", 11)], &[10]);
    forged.root.chunk_pages[0].bytes = 11;
    forged.root.total_bytes = 11;
    assert!(matches!(forged.error(), ContentError::Sums { .. }));
}

#[test]
fn chunks_that_the_layout_cannot_have() {
    let (min, max) = (4 * KIB as u32, 64 * KIB as u32);
    let whole = |size: u64, chunks: &[u32]| Forged::new(&[file("a", size)], chunks);
    let read = |forged: Forged| forged.read([1, 0]).is_ok();
    // Lengths hold on both sides; the last may be shorter.
    assert!(read(whole((min + max + 1).into(), &[min, max, 1])));
    for chunks in [&[min - 1, max][..], &[max + 1, min], &[0, min, max]] {
        let size = chunks.iter().map(|len| u64::from(*len)).sum();
        let error = whole(size, chunks).error();
        assert!(matches!(error, ContentError::BadChunk { .. }), "{chunks:?}");
    }
    // One chunk must not reach from the pack into a file of its own.
    let two = [file("a", 10), file("b", 20 * KIB)];
    assert!(read(Forged::new(&two, &[10, 20 * KIB as u32])));
    let error = Forged::new(&two, &[20 * KIB as u32, 10]).error();
    assert!(matches!(error, ContentError::BadChunk { chunk: 0, .. }));
}

#[test]
fn a_chunk_over_the_end_of_a_segment() {
    let max = 256 * KIB as u32;
    let in_segment = (limits::SEGMENT_BYTES / u64::from(max)) as usize;
    let mut chunks = vec![max; in_segment];
    chunks[0] = max - 1;
    chunks.push(max);
    let size = chunks.iter().map(|len| u64::from(*len)).sum();
    let mut forged = Forged::new(&[file("a", size)], &chunks);
    forged.root.params = ChunkParams::new(max / 4).unwrap();
    assert_eq!(
        forged.error(),
        ContentError::BadChunk {
            chunk: in_segment as u32,
            len: max,
            offset: limits::SEGMENT_BYTES - 1
        }
    );
    // Cut at the segment's end it is read.
    chunks.insert(in_segment, 1);
    chunks[in_segment + 1] = max - 1;
    let mut forged = Forged::new(&[file("a", size)], &chunks);
    forged.root.params = ChunkParams::new(max / 4).unwrap();
    assert!(forged.read([0, 1]).is_ok());
}

#[test]
fn a_single_file_that_is_something_else() {
    for entry in [file("other", 0), link("tree", "x"), file("tree/tree", 0)] {
        let mut forged = Forged::new(&[entry], &[]);
        forged.root.folder_mode = None;
        assert_eq!(forged.error(), ContentError::NotSingleFile);
    }
    let mut forged = Forged::new(&[file("tree", 0)], &[]);
    forged.root.folder_mode = None;
    assert!(forged.read([0]).is_ok());
}

#[test]
fn wrong_bytes_are_the_senders_fault_and_change_nothing() {
    let forged = Forged::new(&[file("a", 5)], &[5]);
    let root = forged.root.encode();
    let mut id = Root::id(&root);
    let mut manifest = Manifest::from_root(&id, &root).unwrap();
    for index in [0, 1] {
        let page = &forged.pages[index];
        let mut damaged = page.to_vec();
        damaged[3] ^= 1;
        for wrong in [Bytes::new(), damaged.into(), page.slice(1..)] {
            let error = manifest.add_page(index as u32, wrong).unwrap_err();
            assert_eq!(error.fault(), Fault::Peer);
        }
        assert_eq!(manifest.page(index as u32), None);
    }
    assert!(manifest.add_page(2, forged.pages[0].clone()).is_err());
    assert_eq!(manifest.missing_pages().collect::<Vec<_>>(), [0, 1]);
    for index in [0, 1, 1, 0] {
        let page = forged.pages[index].clone();
        manifest.add_page(index as u32, page).unwrap();
    }
    assert!(manifest.is_complete());

    id.0[0] ^= 1;
    let error = Manifest::from_root(&id, &root).unwrap_err();
    assert_eq!(error, ContentError::HashMismatch { part: "root" });
}

#[test]
fn overlong_parts_are_refused_before_they_are_hashed() {
    let mut manifest = Forged::new(&[file("a", 5)], &[5]).open().unwrap();
    let mut add = |len| manifest.add_page(0, vec![0; len].into()).unwrap_err();
    let part = "page";
    assert_eq!(
        add(limits::MAX_PAGE_BYTES),
        ContentError::HashMismatch { part }
    );
    assert!(matches!(
        add(limits::MAX_PAGE_BYTES + 1),
        ContentError::Overlong { .. }
    ));
    let id = Root::id(b"");
    let root = |len| Manifest::from_root(&id, &vec![0; len]).unwrap_err();
    assert_eq!(
        root(limits::MAX_ROOT_BYTES),
        ContentError::HashMismatch { part: "root" }
    );
    let error = root(limits::MAX_ROOT_BYTES + 1);
    assert!(matches!(error, ContentError::Overlong { .. }));
    assert_eq!(error.fault(), Fault::Peer);
}

#[test]
fn a_page_with_its_right_hash_and_a_wrong_shape() {
    let mut forged = Forged::new(&[file("a", 5)], &[5]);
    let good = forged.pages[1].to_vec();
    let longer = [&good[..], &[0]].concat();
    for page in [good[..35].to_vec(), longer, Vec::new()] {
        forged.root.chunk_pages[0].hash = hash(&page);
        forged.pages[1] = page.into();
        assert!(matches!(forged.error(), ContentError::Malformed(_)));
    }
}

#[test]
fn messages_repeat_only_the_start_of_a_strangers_text() {
    let path = format!("../{}", "x".repeat(4000));
    let message = refused(&[file(&path, 0)]).to_string();
    assert!(
        message.len() < 300 && message.contains("../xxx"),
        "{message}"
    );
}

/// A file of `total` bytes in chunks of 4 KiB with parity 1/2, as its root claims:
/// three chunks, two stripes, two shards.
fn striped(total: u64, lengths: &[u32]) -> Forged {
    let mut forged = Forged::new(&[file("a", total)], lengths);
    forged.root.params = ChunkParams::fixed(4096, "1/2".parse().unwrap()).unwrap();
    forged.root.total_bytes = total;
    forged.root.chunk_count = total.div_ceil(4096) as u32;
    forged
}

#[test]
fn parity_that_does_not_add_up() {
    let total = 10_000;
    assert!(
        striped(total, &[4096, 4096, 1808, 4096, 4096])
            .read([0, 1])
            .is_ok()
    );
    // A shard missing, one too many, no shards.
    for lengths in [
        &[4096, 4096, 1808, 4096][..],
        &[4096, 4096, 1808, 4096, 4096, 4096],
        &[4096, 4096, 1808],
    ] {
        let error = striped(total, lengths).error();
        assert!(
            matches!(
                error,
                ContentError::Sums { .. } | ContentError::Malformed(_)
            ),
            "{error}"
        );
    }
    // The right bytes in all, in chunks of other lengths.
    for lengths in [
        [4095, 4097, 1808, 4096, 4096],
        [4096, 4096, 4096, 1808, 4096],
        [4096, 4096, 1808, 4095, 4097],
    ] {
        let error = striped(total, &lengths).error();
        assert!(matches!(error, ContentError::BadChunk { .. }), "{error}");
    }
    let mut more = striped(total, &[4096, 4096, 1808, 4096, 4096]);
    more.root.chunk_count += 1;
    assert!(matches!(more.error(), ContentError::Sums { .. }));
}

#[test]
fn absurd_parity_is_refused_by_the_root_alone() {
    let root = |size: u64, shards: u8, chunks: u8, total: u64| {
        let mut w = Writer::new();
        w.raw(b"samara content v1\0");
        w.u8(2);
        w.varint(size);
        w.raw(&[1, shards, chunks, 0]);
        w.str("a");
        w.varint(total);
        w.varint(1);
        w.varint(total.div_ceil(size.max(1)));
        w.finish()
    };
    let error = |size, shards, chunks, total| {
        let bytes = root(size, shards, chunks, total);
        Manifest::from_root(&Root::id(&bytes), &bytes).unwrap_err()
    };
    // What it takes of memory to code a stripe, and how many shards there may be.
    for (size, shards, chunks) in [
        (4095, 1, 1),
        (4 * 1024 * KIB + 1, 1, 1),
        (4 * 1024 * KIB, 1, 16),
        (256 * KIB + 1, 128, 128),
        (u64::from(u32::MAX), 255, 1),
    ] {
        let error = error(size, shards, chunks, 1 << 20);
        assert_eq!(error.fault(), Fault::Publisher, "{error}");
    }
    for (shards, chunks) in [(0, 1), (1, 0), (0, 0), (9, 1), (255, 255), (255, 31)] {
        assert!(matches!(
            error(4096, shards, chunks, 1 << 20),
            ContentError::BadParity { .. }
        ));
    }
    // As many chunks as there may be, and shards beside them.
    let most = u64::from(limits::MAX_CHUNKS) * 4096;
    for total in [most, most / 2 + 1] {
        assert!(matches!(
            error(4096, 1, 1, total),
            ContentError::TooManyChunks { .. }
        ));
    }
    let unknown = {
        let mut bytes = root(4096, 1, 1, 4096);
        bytes["samara content v1\0".len() + 3] = 2;
        Manifest::from_root(&Root::id(&bytes), &bytes).unwrap_err()
    };
    assert_eq!(unknown.fault(), Fault::Incompatible, "{unknown}");
}
