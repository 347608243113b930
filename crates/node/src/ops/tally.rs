//! Where the bytes that a request asked for came from.

use samara_content::{ChunkSet, Manifest};

use super::manifest::Filter;
use crate::{api::Downloaded, core::Sources};

/// Counts each byte of the selected files once. What shares a chunk with them and was
/// not selected is not counted, though it comes along.
#[derive(Debug)]
pub(super) struct Tally {
    /// Selected bytes by chunk.
    bytes: Vec<u32>,
}

impl Tally {
    /// For the files that `filter` wants. Takes as long as the manifest is large.
    pub(super) fn new(manifest: &Manifest, filter: &Filter) -> Self {
        let mut bytes = vec![0; manifest.chunk_count() as usize];
        let (entries, layout) = (manifest.entries().unwrap_or_default(), manifest.layout());
        for (i, entry) in (0..).zip(entries) {
            if !filter.wants(entry) {
                continue;
            }
            let Some(range) = layout.and_then(|layout| layout.file_range(i)) else {
                continue;
            };
            for chunk in manifest.chunks_of_range(range.clone()).unwrap_or_default() {
                if let Some(at) = manifest.chunk(chunk) {
                    let end = (at.offset + u64::from(at.len)).min(range.end);
                    let part = end.saturating_sub(at.offset.max(range.start));
                    // A chunk is smaller than 4 GiB, and the files do not overlap.
                    bytes[chunk as usize] += part as u32;
                }
            }
        }
        Self { bytes }
    }

    /// What of it was fetched, and how many bytes were on this disk: in `before`, or
    /// found there meanwhile.
    pub(super) fn count(&self, before: &ChunkSet, after: &Sources) -> (Downloaded, u64) {
        let (mut downloaded, mut reused) = (Downloaded::default(), 0);
        for (chunk, bytes) in (0..).zip(&self.bytes) {
            let bytes = u64::from(*bytes);
            if before.contains(chunk) || !after.counted.contains(chunk) {
                reused += bytes;
            } else if after.by_origin.contains(chunk) {
                downloaded.origin += bytes;
            } else {
                downloaded.peers += bytes;
            }
        }
        (downloaded, reused)
    }
}
