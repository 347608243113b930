use std::ops::Range;

use crate::{ChunkParams, ContentError, Entry, limits::MAX_TOTAL_BYTES};

/// A part of the stream that lies in one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The file, by its number among the entries.
    pub entry: u32,
    /// Where it starts in the file.
    pub file_offset: u64,
    /// Where it starts in the stream.
    pub stream_offset: u64,
    /// How many bytes; never 0.
    pub len: u64,
}

/// Where each file lies in the stream, and where cuts are forced.
///
/// First the pack: all files smaller than the average chunk, back to back in path
/// order. Then every other file, in path order. The pack and each such file are
/// regions, cut independently; within a region a cut is forced at every multiple
/// of 64 MiB from its start. With parity all files are in the pack, and a cut is
/// forced at the last multiple of the chunk size up to 64 MiB: every chunk has the
/// same size.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Files with bytes, in the order of the stream; each ends where the next
    /// starts. The first `packed` are the pack, and both parts are in path order.
    files: Vec<Placed>,
    packed: usize,
    pack_end: u64,
    total: u64,
    /// Bytes of a segment.
    segment: u64,
}

#[derive(Debug, Clone, Copy)]
struct Placed {
    entry: u32,
    start: u64,
}

impl Layout {
    /// The layout of a valid tree's `entries`, in order.
    ///
    /// # Errors
    /// [`ContentError::TooManyBytes`] if the files are too large together.
    pub fn new(entries: &[Entry], params: ChunkParams) -> Result<Self, ContentError> {
        let total = entries
            .iter()
            .fold(0, |t: u64, e| t.saturating_add(e.size()));
        if total > MAX_TOTAL_BYTES {
            return Err(ContentError::TooManyBytes {
                got: total,
                max: MAX_TOTAL_BYTES,
            });
        }
        let alone = match params.parity() {
            None => u64::from(params.avg()),
            Some(_) => u64::MAX,
        };
        let small = |size| (1..alone).contains(&size);
        let large = |size| size >= alone;
        let mut files = Vec::new();
        let mut end = place(entries, small, 0, &mut files);
        let (packed, pack_end) = (files.len(), end);
        end = place(entries, large, end, &mut files);
        debug_assert_eq!(end, total);
        Ok(Self {
            files,
            packed,
            pack_end,
            total,
            segment: params.segment(),
        })
    }

    /// Bytes of the stream.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many segments there are.
    pub fn segment_count(&self) -> usize {
        self.regions()
            .map(|r| (r.end - r.start).div_ceil(self.segment) as usize)
            .sum()
    }

    /// The segments' places in the stream, in order, without gaps. Chunks start
    /// anew at every one: they can be cut and hashed independently.
    pub fn segments(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.regions().flat_map(move |region| {
            (region.start..region.end)
                .step_by(self.segment as usize)
                .map(move |start| start..region.end.min(start + self.segment))
        })
    }

    /// The segment that holds the stream's byte at `offset`; `None` past the end.
    pub fn segment_at(&self, offset: u64) -> Option<Range<u64>> {
        let region = if offset < self.pack_end {
            0..self.pack_end
        } else {
            self.placed_range(self.placed_at(offset)?)
        };
        let start = offset - (offset - region.start) % self.segment;
        Some(start..region.end.min(start + self.segment))
    }

    /// The parts of files that `range` of the stream consists of, in stream order.
    /// What lies past the end of the stream is left out.
    pub fn extents(&self, range: Range<u64>) -> impl Iterator<Item = Extent> + '_ {
        let first = self.placed_at(range.start).unwrap_or(self.files.len());
        (first..self.files.len())
            .map(move |at| {
                let file = self.placed_range(at);
                let start = range.start.max(file.start);
                Extent {
                    entry: self.files[at].entry,
                    file_offset: start - file.start,
                    stream_offset: start,
                    len: range.end.min(file.end).saturating_sub(start),
                }
            })
            .take_while(|extent| extent.len > 0)
    }

    /// Where the file with the number `entry` lies in the stream; `None` for what
    /// has no bytes there (empty files, directories, links).
    pub fn file_range(&self, entry: u32) -> Option<Range<u64>> {
        let (pack, alone) = self.files.split_at(self.packed);
        let find = |files: &[Placed]| files.binary_search_by_key(&entry, |f| f.entry).ok();
        let at = find(pack).or_else(|| Some(find(alone)? + self.packed))?;
        Some(self.placed_range(at))
    }

    /// The segment that a chunk lies in, if the layout can have it there: inside
    /// one segment, and no shorter than `params.min()` unless it ends the segment.
    pub(crate) fn check_chunk(
        &self,
        params: ChunkParams,
        segment: Option<Range<u64>>,
        offset: u64,
        len: u32,
    ) -> Option<Range<u64>> {
        let segment = segment
            .filter(|s| s.contains(&offset))
            .or_else(|| self.segment_at(offset))?;
        let left = segment.end - offset;
        let least = left.min(params.min().into());
        let most = left.min(params.max().into());
        (least..=most).contains(&len.into()).then_some(segment)
    }

    fn regions(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let pack = (self.packed > 0).then_some(0..self.pack_end);
        let alone = (self.packed..self.files.len()).map(|at| self.placed_range(at));
        pack.into_iter().chain(alone)
    }

    /// The index in `files` of the one that holds the stream's byte at `offset`.
    fn placed_at(&self, offset: u64) -> Option<usize> {
        if offset >= self.total {
            return None;
        }
        // The first starts at 0, so at least one starts at or before the offset.
        Some(self.files.partition_point(|f| f.start <= offset) - 1)
    }

    fn placed_range(&self, at: usize) -> Range<u64> {
        let end = self.files.get(at + 1).map_or(self.total, |next| next.start);
        self.files[at].start..end
    }
}

/// Appends the files whose size is `chosen`, from `start` on; where they end.
fn place(
    entries: &[Entry],
    chosen: impl Fn(u64) -> bool,
    mut start: u64,
    files: &mut Vec<Placed>,
) -> u64 {
    for (entry, size) in entries.iter().map(Entry::size).enumerate() {
        if chosen(size) {
            let entry = entry as u32;
            files.push(Placed { entry, start });
            start += size;
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EntryPath, limits::SEGMENT_BYTES};
    use proptest::prelude::*;

    const AVG: u64 = 16 * 1024;

    fn layout(sizes: &[u64]) -> Layout {
        let entries: Vec<Entry> = sizes
            .iter()
            .enumerate()
            .map(|(i, size)| Entry::file(EntryPath::new(&format!("{i:06}")).unwrap(), 0o644, *size))
            .collect();
        Layout::new(&entries, ChunkParams::new(AVG as u32).unwrap()).unwrap()
    }

    #[test]
    fn small_files_are_packed_first() {
        let l = layout(&[5, AVG, 0, AVG - 1, 2 * AVG, 1]);
        let pack = 5 + AVG - 1 + 1;
        assert_eq!(l.total(), pack + 3 * AVG);
        assert_eq!(l.file_range(0), Some(0..5));
        assert_eq!(l.file_range(1), Some(pack..pack + AVG));
        assert_eq!(l.file_range(2), None);
        assert_eq!(l.file_range(3), Some(5..5 + AVG - 1));
        assert_eq!(l.file_range(5), Some(pack - 1..pack));
        let segments: Vec<_> = l.segments().collect();
        assert_eq!(
            segments,
            [0..pack, pack..pack + AVG, pack + AVG..pack + 3 * AVG]
        );
    }

    #[test]
    fn an_empty_stream_has_no_parts() {
        let l = layout(&[0, 0]);
        assert_eq!((l.total(), l.segment_count()), (0, 0));
        assert_eq!(l.segments().count(), 0);
        assert_eq!(l.extents(0..10).count(), 0);
        assert_eq!(l.segment_at(0), None);
    }

    #[test]
    fn cuts_are_forced_from_the_start_of_the_region() {
        let l = layout(&[7, SEGMENT_BYTES * 2, SEGMENT_BYTES + 1]);
        let s = SEGMENT_BYTES;
        let expected = [
            0..7,
            7..7 + s,
            7 + s..7 + 2 * s,
            7 + 2 * s..7 + 3 * s,
            7 + 3 * s..8 + 3 * s,
        ];
        assert_eq!(l.segments().collect::<Vec<_>>(), expected);
        assert_eq!(l.segment_at(7 + s - 1), Some(7..7 + s));
        assert_eq!(l.segment_at(7 + s), Some(7 + s..7 + 2 * s));
        assert_eq!(l.segment_at(7 + 3 * s), Some(7 + 3 * s..8 + 3 * s));
        assert_eq!(l.segment_at(8 + 3 * s), None);
    }

    #[test]
    fn with_parity_all_chunks_are_cut_from_one_region() {
        let parity = crate::Parity::new(1, 4).unwrap();
        let params = ChunkParams::fixed(5000, parity).unwrap();
        let file = |name: &str, size| Entry::file(EntryPath::new(name).unwrap(), 0o644, size);
        let entries = [
            file("a", 9000),
            file("b", 0),
            file("c", 10),
            file("d", SEGMENT_BYTES),
        ];
        let l = Layout::new(&entries, params).unwrap();
        assert_eq!(l.file_range(2), Some(9000..9010));
        let cut = SEGMENT_BYTES - SEGMENT_BYTES % 5000;
        assert_eq!(l.segments().collect::<Vec<_>>(), [0..cut, cut..l.total()]);
        let fits = |offset, len| l.check_chunk(params, None, offset, len).is_some();
        assert!(fits(5000, 5000) && !fits(5000, 4999) && !fits(5000, 5001));
        let left = (l.total() % 5000) as u32;
        assert!(fits(l.total() - u64::from(left), left));
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let at = |size, n| {
            let entries: Vec<Entry> = (0..n)
                .map(|i| Entry::file(EntryPath::new(&format!("{i}")).unwrap(), 0, size))
                .collect();
            Layout::new(&entries, ChunkParams::for_size(0))
        };
        assert!(at(MAX_TOTAL_BYTES / 2, 2).is_ok());
        assert!(at(MAX_TOTAL_BYTES / 2 + 1, 2).is_err());
        assert!(at(u64::MAX, 3).is_err());
    }

    proptest! {
        #[test]
        fn extents_name_every_byte_once(
            sizes in proptest::collection::vec(prop_oneof![Just(0), 1..9u64, AVG - 2..AVG + 3], 0..12),
            cuts in proptest::collection::vec(0u64..80_000, 0..6),
        ) {
            let l = layout(&sizes);
            let mut cuts: Vec<u64> = cuts.into_iter().map(|c| c.min(l.total())).collect();
            cuts.extend([0, l.total()]);
            cuts.sort_unstable();
            let mut next = vec![0; sizes.len()];
            let mut at = 0;
            for pair in cuts.windows(2) {
                for extent in l.extents(pair[0]..pair[1]) {
                    prop_assert_eq!(extent.stream_offset, at);
                    prop_assert_eq!(extent.file_offset, next[extent.entry as usize]);
                    let file = l.file_range(extent.entry).unwrap();
                    prop_assert_eq!(file.start + extent.file_offset, extent.stream_offset);
                    next[extent.entry as usize] += extent.len;
                    at += extent.len;
                }
                prop_assert_eq!(at, pair[1]);
            }
            prop_assert_eq!(next, sizes);
        }

        #[test]
        fn segments_tile_the_stream(
            sizes in proptest::collection::vec(prop_oneof![0..9u64, AVG..4 * AVG, SEGMENT_BYTES - 1..3 * SEGMENT_BYTES], 0..9),
        ) {
            let l = layout(&sizes);
            let mut at = 0;
            for segment in l.segments() {
                prop_assert_eq!(segment.start, at);
                prop_assert!(segment.end > at && segment.end - at <= SEGMENT_BYTES);
                prop_assert_eq!(l.segment_at(segment.start), Some(segment.clone()));
                prop_assert_eq!(l.segment_at(segment.end - 1), Some(segment.clone()));
                at = segment.end;
            }
            prop_assert_eq!(at, l.total());
            prop_assert_eq!(l.segments().count(), l.segment_count());
        }
    }
}
