use samara_wire::{ContentId, Reader, VARINT_MAX, WireError, Writer};

use crate::{
    ChunkParams, ContentError, EntryPath, Parity, PathFault, Stripes,
    chunk_page::chunks_in_page,
    entry::{MAX_MODE, MIN_ENTRY_BYTES},
    error::excerpt,
    limits::{self, CHUNKS_PER_PAGE, ENTRY_PAGE_BYTES, MAX_CHUNKS, MAX_ENTRIES, MAX_TOTAL_BYTES},
};

/// What a root starts with; the number is the format's.
const MAGIC: &[u8] = b"samara content v1\0";

/// Small files packed, cut where the bytes choose; no parity.
const LAYOUT_PACKED_FASTCDC: u8 = 1;

/// All files packed, cut at a fixed size; with parity.
const LAYOUT_FIXED: u8 = 2;

const PARITY_NONE: u8 = 0;

/// Interleaved stripes, coded by [`Coder`](crate::Coder).
const PARITY_REED_SOLOMON: u8 = 1;

/// A hash and a varint.
const MIN_REFERENCE_BYTES: usize = 33;

/// Names a page of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPageRef {
    /// BLAKE3 of the page's bytes.
    pub hash: [u8; 32],
    /// How many entries it has.
    pub count: u32,
}

/// Names a page of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkPageRef {
    /// BLAKE3 of the page's bytes.
    pub hash: [u8; 32],
    /// How many bytes of the stream its chunks have together.
    pub bytes: u64,
}

/// The head of a manifest; its hash is the [`ContentId`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The file's or the folder's name: one valid path component.
    pub name: String,
    /// Permission bits of the folder, at most 0o777; `None` if the content is one
    /// file of that name, whose entry has its mode.
    pub folder_mode: Option<u16>,
    /// How the stream is cut.
    pub params: ChunkParams,
    /// Bytes of the stream.
    pub total_bytes: u64,
    /// How many entries there are.
    pub entry_count: u32,
    /// How many chunks there are, parity shards not counted.
    pub chunk_count: u32,
    /// The pages of entries, in order.
    pub entry_pages: Vec<EntryPageRef>,
    /// The pages of chunks and, after them, parity shards, in order.
    pub chunk_pages: Vec<ChunkPageRef>,
}

impl Root {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.raw(MAGIC);
        write_params(&mut w, self.params);
        w.bool(self.folder_mode.is_some());
        if let Some(mode) = self.folder_mode {
            w.varint(mode.into());
        }
        w.str(&self.name);
        w.varint(self.total_bytes);
        w.varint(self.entry_count.into());
        w.varint(self.chunk_count.into());
        w.varint(self.entry_pages.len() as u64);
        for page in &self.entry_pages {
            w.raw(&page.hash);
            w.varint(page.count.into());
        }
        for page in &self.chunk_pages {
            w.raw(&page.hash);
            w.varint(page.bytes);
        }
        w.finish()
    }

    /// Reads the canonical bytes, and checks that the root's numbers fit each
    /// other and the [`limits`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ContentError> {
        let mut r = Reader::new(bytes);
        if r.take("format", MAGIC.len())? != MAGIC {
            return Err(WireError::Invalid { field: "format" }.into());
        }
        let params = read_params(&mut r)?;
        let folder_mode = read_folder_mode(&mut r)?;
        let name = read_name(&mut r)?;
        let total_bytes = r.varint("total bytes", VARINT_MAX)?;
        let entries = r.varint("entry count", VARINT_MAX)?;
        let chunks = r.varint("chunk count", VARINT_MAX)?;
        let (entry_count, chunk_count) = check_limits(total_bytes, entries, chunks)?;
        if folder_mode.is_none() && entry_count != 1 {
            return Err(ContentError::NotSingleFile);
        }
        let stripes = Stripes::of(params, total_bytes)?;
        if let Some(stripes) = &stripes {
            let fixed = u64::from(stripes.chunks());
            check_sum("the chunks and the content's size", chunks, fixed)?;
        }
        let all = stripes.map_or(chunk_count, |s| s.all());
        let all_bytes = total_bytes + stripes.map_or(0, |s| s.shard_bytes());
        let root = Self {
            name,
            folder_mode,
            params,
            total_bytes,
            entry_count,
            chunk_count,
            entry_pages: read_entry_pages(&mut r, entry_count)?,
            chunk_pages: read_chunk_pages(&mut r, all, params)?,
        };
        r.finish()?;
        let sum: u64 = root.chunk_pages.iter().map(|p| p.bytes).sum();
        check_sum("the chunk pages and the content's size", sum, all_bytes)?;
        Ok(root)
    }

    /// The identifier that root bytes have.
    pub fn id(bytes: &[u8]) -> ContentId {
        ContentId(*blake3::hash(bytes).as_bytes())
    }

    /// The stripes, if the content has parity.
    pub fn stripes(&self) -> Option<Stripes> {
        // What was decoded or built has no more chunks than there may be.
        Stripes::of(self.params, self.total_bytes).ok().flatten()
    }

    /// Whether the content is one file rather than a folder.
    pub fn single_file(&self) -> bool {
        self.folder_mode.is_none()
    }

    /// How many pages there are, of entries and of chunks.
    pub fn page_count(&self) -> u32 {
        (self.entry_pages.len() + self.chunk_pages.len()) as u32
    }
}

/// Checks the name of a content.
pub(crate) fn check_name(name: &str) -> Result<(), ContentError> {
    let path = EntryPath::new(name)?;
    if path.components().count() > 1 {
        return Err(ContentError::BadPath {
            path: excerpt(name),
            fault: PathFault::NotPlain,
        });
    }
    Ok(())
}

pub(crate) fn check_sum(what: &'static str, left: u64, right: u64) -> Result<(), ContentError> {
    if left == right {
        Ok(())
    } else {
        Err(ContentError::Sums { what, left, right })
    }
}

/// Checks a content's size against our limits; the counts, narrowed.
pub(crate) fn check_limits(
    bytes: u64,
    entries: u64,
    chunks: u64,
) -> Result<(u32, u32), ContentError> {
    if bytes > MAX_TOTAL_BYTES {
        return Err(ContentError::TooManyBytes {
            got: bytes,
            max: MAX_TOTAL_BYTES,
        });
    }
    if entries > u64::from(MAX_ENTRIES) {
        return Err(ContentError::TooManyEntries {
            got: entries,
            max: MAX_ENTRIES,
        });
    }
    if chunks > u64::from(MAX_CHUNKS) {
        return Err(ContentError::TooManyChunks {
            got: chunks,
            max: MAX_CHUNKS,
        });
    }
    Ok((entries as u32, chunks as u32))
}

fn write_params(w: &mut Writer, params: ChunkParams) {
    match params.parity() {
        None => {
            w.u8(LAYOUT_PACKED_FASTCDC);
            w.u8(params.avg().trailing_zeros() as u8);
            w.u8(PARITY_NONE);
        }
        Some(parity) => {
            w.u8(LAYOUT_FIXED);
            w.varint(params.max().into());
            w.u8(PARITY_REED_SOLOMON);
            w.u8(parity.shards() as u8);
            w.u8(parity.chunks() as u8);
        }
    }
}

fn read_params(r: &mut Reader<'_>) -> Result<ChunkParams, ContentError> {
    match r.u8("layout")? {
        LAYOUT_FIXED => {
            let size = r.varint32("chunk size", u32::MAX)?;
            known("parity", r.u8("parity")?, PARITY_REED_SOLOMON)?;
            let (shards, chunks) = (r.u8("parity shards")?, r.u8("chunks of a stripe")?);
            ChunkParams::fixed(size, Parity::new(shards.into(), chunks.into())?)
        }
        layout => {
            known("layout", layout, LAYOUT_PACKED_FASTCDC)?;
            let avg_log2 = r.u8("chunk size")?;
            let avg = 1u32.checked_shl(avg_log2.into()).unwrap_or(0);
            let params = ChunkParams::new(avg).map_err(|_| WireError::Invalid {
                field: "chunk size",
            })?;
            known("parity", r.u8("parity")?, PARITY_NONE)?;
            Ok(params)
        }
    }
}

fn known(field: &'static str, got: u8, expected: u8) -> Result<(), ContentError> {
    if got == expected {
        return Ok(());
    }
    Err(ContentError::Unknown {
        field,
        got: got.into(),
    })
}

fn read_folder_mode(r: &mut Reader<'_>) -> Result<Option<u16>, ContentError> {
    if !r.bool("folder flag")? {
        return Ok(None);
    }
    let mode = r.varint32("folder mode", MAX_MODE.into())?;
    Ok(Some(mode as u16))
}

fn read_name(r: &mut Reader<'_>) -> Result<String, ContentError> {
    let name = r.str("name", limits::MAX_COMPONENT_BYTES)?;
    check_name(name)?;
    Ok(name.into())
}

fn read_entry_pages(
    r: &mut Reader<'_>,
    entry_count: u32,
) -> Result<Vec<EntryPageRef>, ContentError> {
    let n = r.count("entry pages", entry_count as usize, MIN_REFERENCE_BYTES)?;
    let mut pages = Vec::with_capacity(n);
    for _ in 0..n {
        let hash = r.array("entry page hash")?;
        let most = ENTRY_PAGE_BYTES / MIN_ENTRY_BYTES;
        let count = r.varint32("entries of a page", most as u32)?;
        if count == 0 {
            return Err(WireError::Invalid {
                field: "entries of a page",
            }
            .into());
        }
        pages.push(EntryPageRef { hash, count });
    }
    let sum = pages.iter().map(|p| u64::from(p.count)).sum();
    check_sum(
        "the entry pages and the number of entries",
        sum,
        entry_count.into(),
    )?;
    Ok(pages)
}

fn read_chunk_pages(
    r: &mut Reader<'_>,
    chunk_count: u32,
    params: ChunkParams,
) -> Result<Vec<ChunkPageRef>, ContentError> {
    let n = chunk_count.div_ceil(CHUNKS_PER_PAGE);
    if n as usize * MIN_REFERENCE_BYTES > r.remaining() {
        return Err(WireError::Truncated {
            field: "chunk pages",
        }
        .into());
    }
    let mut pages = Vec::with_capacity(n as usize);
    for page in 0..n {
        let hash = r.array("chunk page hash")?;
        let chunks = u64::from(chunks_in_page(page, chunk_count));
        let bytes = r.varint("bytes of a chunk page", chunks * u64::from(params.max()))?;
        if bytes < chunks {
            return Err(WireError::Invalid {
                field: "bytes of a chunk page",
            }
            .into());
        }
        pages.push(ChunkPageRef { hash, bytes });
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn root() -> Root {
        Root {
            name: "tree".into(),
            folder_mode: Some(0o755),
            params: ChunkParams::for_size(0),
            total_bytes: 300,
            entry_count: 3,
            chunk_count: 2,
            entry_pages: vec![EntryPageRef {
                hash: [1; 32],
                count: 3,
            }],
            chunk_pages: vec![ChunkPageRef {
                hash: [2; 32],
                bytes: 300,
            }],
        }
    }

    /// A root at every limit at once.
    fn largest() -> Root {
        let most = (ENTRY_PAGE_BYTES / MIN_ENTRY_BYTES) as u32;
        let mut entry_pages = vec![most; (MAX_ENTRIES / most) as usize];
        entry_pages.push(MAX_ENTRIES % most);
        let pages = MAX_CHUNKS / CHUNKS_PER_PAGE;
        Root {
            params: ChunkParams::new(limits::MAX_AVG_BYTES).unwrap(),
            total_bytes: MAX_TOTAL_BYTES,
            entry_count: MAX_ENTRIES,
            chunk_count: MAX_CHUNKS,
            entry_pages: entry_pages
                .into_iter()
                .map(|count| EntryPageRef {
                    hash: [3; 32],
                    count,
                })
                .collect(),
            chunk_pages: (0..pages)
                .map(|_| ChunkPageRef {
                    hash: [4; 32],
                    bytes: MAX_TOTAL_BYTES / u64::from(pages),
                })
                .collect(),
            ..root()
        }
    }

    fn error(root: &Root) -> ContentError {
        Root::decode(&root.encode()).expect_err("should be refused")
    }

    #[test]
    fn the_limits_hold_on_both_sides() {
        let full = largest();
        let bytes = full.encode();
        assert!(bytes.len() < limits::MAX_ROOT_BYTES);
        assert_eq!(Root::decode(&bytes).as_ref(), Ok(&full));

        let mut more = full.clone();
        more.total_bytes += 1;
        assert!(matches!(error(&more), ContentError::TooManyBytes { .. }));
        let mut more = full.clone();
        more.entry_count += 1;
        more.entry_pages.last_mut().unwrap().count += 1;
        assert!(matches!(error(&more), ContentError::TooManyEntries { .. }));
        let mut more = full;
        more.chunk_count += 1;
        assert!(matches!(error(&more), ContentError::TooManyChunks { .. }));
    }

    #[test]
    fn ten_million_entries_are_refused_by_the_root_alone() {
        let mut claims = root();
        claims.entry_count = 10_000_000;
        assert_eq!(
            error(&claims),
            ContentError::TooManyEntries {
                got: 10_000_000,
                max: MAX_ENTRIES
            }
        );
    }

    #[test]
    fn numbers_must_add_up() {
        let mut r = root();
        r.total_bytes += 1;
        assert!(matches!(
            error(&r),
            ContentError::Sums {
                left: 300,
                right: 301,
                ..
            }
        ));
        let mut r = root();
        r.entry_count = 4;
        assert!(matches!(
            error(&r),
            ContentError::Sums {
                left: 3,
                right: 4,
                ..
            }
        ));
        let mut r = root();
        r.entry_pages.clear();
        assert!(matches!(
            error(&r),
            ContentError::Sums {
                left: 0,
                right: 3,
                ..
            }
        ));
        // A page reference too few, one too many, an empty page, a page of more
        // bytes than its chunks can have, one of fewer.
        for change in [
            |r: &mut Root| r.chunk_count = CHUNKS_PER_PAGE + 1,
            |r: &mut Root| r.chunk_count = 0,
            |r: &mut Root| {
                let empty = EntryPageRef {
                    hash: [0; 32],
                    count: 0,
                };
                r.entry_pages.push(empty);
            },
            |r: &mut Root| r.chunk_pages[0].bytes = 2 * u64::from(r.params.max()) + 1,
            |r: &mut Root| r.chunk_pages[0].bytes = 1,
        ] {
            let mut r = root();
            change(&mut r);
            assert!(matches!(error(&r), ContentError::Malformed(_)), "{r:?}");
        }
    }

    #[test]
    fn a_name_is_one_component() {
        for name in ["", ".", "..", "a/b", "/a", "C:", "a\0"] {
            let mut r = root();
            r.name = name.into();
            assert!(
                matches!(error(&r), ContentError::BadPath { .. }),
                "{name:?}"
            );
        }
        let mut r = root();
        r.name = "n".repeat(255);
        assert!(Root::decode(&r.encode()).is_ok());
        r.name.push('n');
        assert!(matches!(error(&r), ContentError::Malformed(_)));
    }

    #[test]
    fn what_a_later_version_may_bring_is_told_apart_from_damage() {
        for (at, field) in [(0, "layout"), (2, "parity")] {
            let mut bytes = root().encode();
            bytes[MAGIC.len() + at] = 9;
            let error = Root::decode(&bytes).unwrap_err();
            assert_eq!(error, ContentError::Unknown { field, got: 9 });
            assert_eq!(error.fault(), crate::Fault::Incompatible);
        }
        for avg_log2 in [0, 13, 21, 32, 255] {
            let mut bytes = root().encode();
            bytes[MAGIC.len() + 1] = avg_log2;
            assert!(matches!(
                Root::decode(&bytes),
                Err(ContentError::Malformed(_))
            ));
        }
    }

    #[test]
    fn a_single_file_has_one_entry() {
        let mut r = root();
        r.folder_mode = None;
        assert_eq!(error(&r), ContentError::NotSingleFile);
    }

    #[test]
    fn a_folder_has_no_more_than_permission_bits() {
        let mut r = root();
        for mode in [0, 0o700, 0o777] {
            r.folder_mode = Some(mode);
            assert_eq!(Root::decode(&r.encode()).as_ref(), Ok(&r));
        }
        r.folder_mode = Some(0o1000);
        assert!(matches!(error(&r), ContentError::Malformed(_)));
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = root().encode();
            prop_assert!(Root::decode(&bytes[..cut.index(bytes.len())]).is_err());
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(root) = Root::decode(&bytes) {
                prop_assert_eq!(root.encode(), &bytes[..]);
            }
            bytes.push(0);
            prop_assert!(Root::decode(&bytes).is_err());
        }
    }
}
