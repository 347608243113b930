//! Manifests as builders make them and peers read them.

use bytes::Bytes;
use proptest::prelude::*;
use samara_content::{
    ChunkParams, ContentError, Encoded, Entry, EntryPath, Manifest, ManifestBuilder, chunk_hash,
    limits,
};

fn path(text: &str) -> EntryPath {
    EntryPath::new(text).unwrap()
}

fn params() -> ChunkParams {
    ChunkParams::new(limits::MIN_AVG_BYTES).unwrap()
}

/// Fills the stream with chunks of `len` bytes, shorter where a cut is forced.
fn build(entries: Vec<Entry>, len: u32) -> Encoded {
    let mut builder = ManifestBuilder::new("tree", Some(0o755), params(), entries).unwrap();
    let segments: Vec<_> = builder.layout().segments().collect();
    for segment in segments {
        let mut at = segment.start;
        while at < segment.end {
            let len = u64::from(len).min(segment.end - at);
            let hash = chunk_hash(&at.to_le_bytes());
            builder.push_chunk(hash, len as u32).unwrap();
            at += len;
        }
    }
    builder.finish().unwrap()
}

/// 2,000 files with long names and one of 20 MB: several pages of each kind.
fn large_tree() -> (Vec<Entry>, Encoded) {
    let name = |i| path(&format!("d{:02}/{i:050}", i % 17));
    let mut entries: Vec<Entry> = (0..2000)
        .map(|i| Entry::file(name(i), 0o644, 1000 + i % 50))
        .collect();
    entries.push(Entry::file(path("large"), 0o600, 20_000_000));
    entries.push(Entry::directory(path("empty"), 0o755));
    entries.push(Entry::symlink(path("newest"), "d00/x").unwrap());
    let encoded = build(entries.clone(), params().min());
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    (entries, encoded)
}

#[test]
fn pages_may_come_in_any_order() {
    let (entries, encoded) = large_tree();
    let mut manifest = Manifest::from_root(&encoded.id, &encoded.root).unwrap();
    assert!(manifest.entry_page_range().len() > 1 && manifest.chunk_page_range().len() > 2);
    let n = encoded.pages.len() as u32;
    assert_eq!(
        manifest.missing_pages().collect::<Vec<_>>(),
        (0..n).collect::<Vec<_>>()
    );
    // 7 has no divisor in common with any of the counts that the tree can have.
    assert_ne!(n % 7, 0);
    for step in 0..n {
        assert!(!manifest.is_complete());
        let index = step * 7 % n;
        let page = encoded.pages[index as usize].clone();
        manifest.add_page(index, page).unwrap();
    }
    assert!(manifest.is_complete());
    assert_eq!(manifest.entries(), Some(&entries[..]));
    assert_eq!(manifest.missing_pages().count(), 0);
    let sizes = manifest.chunk_sizes().unwrap();
    assert_eq!(sizes.len() as u32, manifest.chunk_count());
    let mut offset = 0;
    for (i, len) in sizes.into_iter().enumerate() {
        let chunk = manifest.chunk(i as u32).unwrap();
        assert_eq!((chunk.offset, chunk.len), (offset, len));
        assert_eq!(chunk.hash, chunk_hash(&offset.to_le_bytes()));
        assert_eq!(
            manifest.chunks_of_range(chunk.range()),
            Some(i as u32..i as u32 + 1)
        );
        offset = chunk.range().end;
    }
    assert_eq!(offset, manifest.root().total_bytes);
    assert_eq!(manifest.chunk(manifest.chunk_count()), None);
}

#[test]
fn one_file_needs_only_its_pages() {
    let (entries, encoded) = large_tree();
    let mut manifest = Manifest::from_root(&encoded.id, &encoded.root).unwrap();
    for index in manifest.entry_page_range() {
        assert_eq!(manifest.entries(), None);
        let page = encoded.pages[index as usize].clone();
        manifest.add_page(index, page).unwrap();
    }
    let small = entries.iter().position(|e| e.size() > 0).unwrap() as u32;
    let range = manifest.layout().unwrap().file_range(small).unwrap();
    let pages = manifest.pages_for(range.clone());
    assert_eq!(pages.len(), 1);
    assert_eq!(manifest.chunks_of_range(range.clone()), None);
    manifest
        .add_page(pages.start, encoded.pages[pages.start as usize].clone())
        .unwrap();
    let chunks = manifest.chunks_of_range(range.clone()).unwrap();
    let first = manifest.chunk(chunks.start).unwrap();
    let last = manifest.chunk(chunks.end - 1).unwrap();
    assert!(first.range().contains(&range.start) && last.range().contains(&(range.end - 1)));
    assert!(!manifest.is_complete());
    assert_eq!(manifest.chunk_sizes(), None);
}

#[test]
fn ranges_past_the_end_are_empty() {
    let (_, encoded) = large_tree();
    let manifest = Manifest::from_encoded(&encoded).unwrap();
    let total = manifest.root().total_bytes;
    for range in [0..0, 5..5, total..total + 1, total + 9..u64::MAX] {
        assert!(manifest.pages_for(range.clone()).is_empty());
        assert_eq!(manifest.chunks_of_range(range), Some(0..0));
    }
    assert_eq!(manifest.pages_for(0..u64::MAX), manifest.chunk_page_range());
    assert_eq!(
        manifest.chunks_of_range(0..u64::MAX),
        Some(0..manifest.chunk_count())
    );
}

#[test]
fn trees_without_bytes() {
    for entries in [
        vec![],
        vec![Entry::directory(path("d"), 0o700)],
        vec![Entry::file(path("empty"), 0o644, 0)],
    ] {
        let encoded = build(entries.clone(), 1);
        let manifest = Manifest::from_encoded(&encoded).unwrap();
        assert!(manifest.is_complete());
        assert_eq!(manifest.entries(), Some(&entries[..]));
        assert_eq!(manifest.chunk_sizes(), Some(vec![]));
    }
}

#[test]
fn the_order_of_the_entries_given_does_not_matter() {
    let entries = vec![
        Entry::file(path("b"), 0o644, 3),
        Entry::file(path("a"), 0o644, 4),
        Entry::file(path("a-/x"), 0o644, 5),
    ];
    let reversed = entries.iter().rev().cloned().collect();
    assert_eq!(build(entries, 12), build(reversed, 12));
}

#[test]
fn a_builder_takes_no_tree_that_a_reader_would_refuse() {
    let new = |name, single: bool, entries| {
        let folder_mode = (!single).then_some(0o755);
        ManifestBuilder::new(name, folder_mode, params(), entries)
            .map(|_| ())
            .unwrap_err()
    };
    let a = || Entry::file(path("a"), 0o644, 1);
    assert!(matches!(
        new("x/y", false, vec![]),
        ContentError::BadPath { .. }
    ));
    assert!(matches!(
        new("x", false, vec![a(), a()]),
        ContentError::DuplicatePath { .. }
    ));
    let below = Entry::file(path("a/b"), 0o644, 1);
    assert!(matches!(
        new("x", false, vec![below, a()]),
        ContentError::UnderNonDirectory { .. }
    ));
    assert_eq!(new("x", true, vec![a()]), ContentError::NotSingleFile);
    let mut mode = a();
    mode.mode = 0o4755;
    assert!(matches!(
        new("x", false, vec![mode]),
        ContentError::BadMode { .. }
    ));
}

#[test]
fn a_builder_takes_only_the_chunks_that_fit() {
    let size = u64::from(params().max()) + 10;
    let entries = vec![Entry::file(path("a"), 0o644, size)];
    let mut builder = ManifestBuilder::new("x", Some(0o755), params(), entries).unwrap();
    let hash = chunk_hash(b"");
    for len in [0, 1, params().min() - 1, params().max() + 1] {
        assert!(matches!(
            builder.push_chunk(hash, len),
            Err(ContentError::BadChunk { chunk: 0, .. })
        ));
    }
    builder.push_chunk(hash, params().max()).unwrap();
    assert!(builder.push_chunk(hash, 11).is_err());
    builder.push_chunk(hash, 10).unwrap();
    assert!(builder.push_chunk(hash, 1).is_err());
    assert!(builder.finish().is_ok());

    let entries = vec![Entry::file(path("a"), 0o644, 1)];
    let builder = ManifestBuilder::new("x", Some(0o755), params(), entries).unwrap();
    assert!(matches!(builder.finish(), Err(ContentError::Sums { .. })));
}

fn any_tree() -> impl Strategy<Value = Vec<Entry>> {
    let component = prop_oneof!["[a-d.]{1,3}", "[\u{e0}-\u{e4}]"];
    let name = proptest::collection::vec(component, 1..4).prop_map(|c| c.join("/"));
    let size = prop_oneof![Just(0), 1..100u64, 16_000..17_000u64, 60_000..200_000u64];
    let entry = (name, 0u16..0o1000, size, 0u8..4);
    proptest::collection::vec(entry, 0..20).prop_map(|raw| {
        raw.into_iter()
            .filter_map(|(name, mode, size, kind)| {
                let path = EntryPath::new(&name).ok()?;
                Some(match kind {
                    0 => Entry::directory(path, mode),
                    1 => Entry::symlink(path, "x/y").ok()?,
                    _ => Entry::file(path, mode, size),
                })
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn what_a_builder_makes_a_reader_reads(
        tree in any_tree(),
        len in params().min()..=params().max(),
        reads in proptest::collection::vec((0u64..400_000, 0u64..100_000), 4),
    ) {
        prop_assume!(ManifestBuilder::new("t", Some(0o755), params(), tree.clone()).is_ok());
        let encoded = build(tree.clone(), len);
        let manifest = Manifest::from_encoded(&encoded).unwrap();
        let mut sorted = tree;
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        prop_assert_eq!(manifest.entries(), Some(&sorted[..]));
        prop_assert_eq!(manifest.root_bytes(), &encoded.root);
        let pages: Vec<Bytes> = (0..manifest.page_count())
            .map(|i| manifest.page(i).unwrap().clone())
            .collect();
        prop_assert_eq!(pages, encoded.pages);
        let total = manifest.root().total_bytes;
        for (start, len) in reads {
            let range = start..(start + len).min(total);
            let chunks = manifest.chunks_of_range(range.clone()).unwrap();
            let expected: Vec<u32> = (0..manifest.chunk_count())
                .filter(|i| {
                    let chunk = manifest.chunk(*i).unwrap().range();
                    chunk.start < range.end && range.start < chunk.end
                })
                .collect();
            prop_assert!(chunks.eq(expected));
        }
    }

    #[test]
    fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let encoded = build(vec![Entry::file(path("a"), 0o644, 5)], 5);
        let id = samara_content::Root::id(&noise);
        prop_assert!(Manifest::from_root(&id, &noise).is_err());
        let mut manifest = Manifest::from_root(&encoded.id, &encoded.root).unwrap();
        prop_assert!(manifest.add_page(0, noise.into()).is_err());
    }
}
