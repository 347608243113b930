use std::ops::Range;

use bytes::Bytes;
use samara_wire::{ChunkHash, ContentId, Writer};

use crate::{
    ChunkPageRef, ChunkParams, ContentError, Entry, EntryPageRef, Layout, Root, Stripes,
    chunk_page::write_chunk,
    entry::MAX_MODE,
    entry_page::write_entry_pages,
    limits::{self, CHUNKS_PER_PAGE},
    root::{check_limits, check_name, check_sum},
    tree,
};

/// A finished manifest in the bytes that travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// BLAKE3 of `root`.
    pub id: ContentId,
    /// The root.
    pub root: Bytes,
    /// The pages: those of entries, then those of chunks.
    pub pages: Vec<Bytes>,
}

/// Makes a manifest: entries first, then chunks in the order of the stream, then
/// parity shards in the order of their numbers.
#[derive(Debug)]
pub struct ManifestBuilder {
    name: String,
    folder_mode: Option<u16>,
    params: ChunkParams,
    entries: Vec<Entry>,
    layout: Layout,
    chunk_pages: Vec<(ChunkPageRef, Bytes)>,
    /// The chunk page being filled.
    open_page: Writer,
    chunks: u32,
    /// Where the next chunk starts in the stream.
    end: u64,
    /// Where the open page starts in the stream.
    page_start: u64,
    /// The segment of the chunk before.
    segment: Option<Range<u64>>,
    stripes: Option<Stripes>,
}

impl ManifestBuilder {
    /// Sorts and checks the entries of a folder called `name` with the permission
    /// bits of `folder_mode`, or without them of the single file of that name (its
    /// only entry).
    pub fn new(
        name: &str,
        folder_mode: Option<u16>,
        params: ChunkParams,
        mut entries: Vec<Entry>,
    ) -> Result<Self, ContentError> {
        check_name(name)?;
        check_limits(0, entries.len() as u64, 0)?;
        entries.iter().try_for_each(Entry::check)?;
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        tree::check(&entries)?;
        if folder_mode.is_none() {
            tree::check_single_file(name, &entries)?;
        }
        let layout = Layout::new(&entries, params)?;
        Ok(Self {
            name: name.into(),
            folder_mode: folder_mode.map(|mode| mode & MAX_MODE),
            params,
            stripes: Stripes::of(params, layout.total())?,
            layout,
            entries,
            chunk_pages: Vec::new(),
            open_page: Writer::new(),
            chunks: 0,
            end: 0,
            page_start: 0,
            segment: None,
        })
    }

    /// The entries, in the order that [`Extent::entry`](crate::Extent) counts.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Which bytes to cut and hash.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The stripes to make parity shards of, if there are to be any.
    pub fn stripes(&self) -> Option<&Stripes> {
        self.stripes.as_ref()
    }

    /// Adds the next chunk of the stream, or after the last one the next parity shard.
    ///
    /// # Errors
    /// [`ContentError::BadChunk`] if it is not as long as a chunk can be there,
    /// [`ContentError::TooManyChunks`]. The builder is as before then.
    pub fn push_chunk(&mut self, hash: ChunkHash, len: u32) -> Result<(), ContentError> {
        check_limits(0, 0, u64::from(self.chunks) + 1)?;
        let fits = match &self.stripes {
            Some(stripes) => self.chunks < stripes.all() && len == stripes.len(self.chunks),
            None => {
                let segment = self.segment.take();
                self.segment = self.layout.check_chunk(self.params, segment, self.end, len);
                self.segment.is_some()
            }
        };
        if !fits {
            return Err(ContentError::BadChunk {
                chunk: self.chunks,
                len,
                offset: self.end,
            });
        }
        write_chunk(&mut self.open_page, &hash, len);
        self.chunks += 1;
        self.end += u64::from(len);
        if self.chunks.is_multiple_of(CHUNKS_PER_PAGE) {
            self.close_page();
        }
        Ok(())
    }

    /// The manifest, when the chunks cover the whole stream and no shard is missing.
    ///
    /// # Errors
    /// [`ContentError::Sums`] if they do not, [`ContentError::RootTooLarge`].
    pub fn finish(mut self) -> Result<Encoded, ContentError> {
        let total = self.layout.total();
        let shards = self.stripes.map_or(0, |s| s.shard_bytes());
        check_sum("the chunks and the files", self.end, total + shards)?;
        if !self.open_page.is_empty() {
            self.close_page();
        }
        let (entry_pages, mut pages): (Vec<EntryPageRef>, Vec<Bytes>) =
            write_entry_pages(&self.entries).into_iter().unzip();
        let (chunk_pages, last): (Vec<_>, Vec<_>) = self.chunk_pages.into_iter().unzip();
        pages.extend(last);
        let root = Root {
            name: self.name,
            folder_mode: self.folder_mode,
            params: self.params,
            total_bytes: total,
            entry_count: self.entries.len() as u32,
            chunk_count: self.stripes.map_or(self.chunks, |s| s.chunks()),
            entry_pages,
            chunk_pages,
        };
        let root = encode_bounded(&root)?;
        Ok(Encoded {
            id: Root::id(&root),
            root: root.into(),
            pages,
        })
    }

    fn close_page(&mut self) {
        let bytes: Bytes = std::mem::take(&mut self.open_page).finish().into();
        let reference = ChunkPageRef {
            hash: *blake3::hash(&bytes).as_bytes(),
            bytes: self.end - self.page_start,
        };
        self.chunk_pages.push((reference, bytes));
        self.page_start = self.end;
    }
}

fn encode_bounded(root: &Root) -> Result<Vec<u8>, ContentError> {
    let bytes = root.encode();
    if bytes.len() > limits::MAX_ROOT_BYTES {
        return Err(ContentError::RootTooLarge {
            got: bytes.len(),
            max: limits::MAX_ROOT_BYTES,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_has_at_most_its_bound() {
        // Entry pages of 33 bytes each, and a name that makes up the difference.
        let root = |name: usize| Root {
            name: "n".repeat(name),
            folder_mode: Some(0o755),
            params: ChunkParams::for_size(0),
            total_bytes: 0,
            entry_count: 31_773,
            chunk_count: 0,
            entry_pages: vec![
                EntryPageRef {
                    hash: [0; 32],
                    count: 1
                };
                31_773
            ],
            chunk_pages: Vec::new(),
        };
        let spare = limits::MAX_ROOT_BYTES - root(1).encode().len();
        assert!((1..60).contains(&spare), "{spare}");
        assert!(encode_bounded(&root(1 + spare)).is_ok());
        let bytes = root(1 + spare).encode();
        assert!(crate::Manifest::from_root(&Root::id(&bytes), &bytes).is_ok());
        assert_eq!(
            encode_bounded(&root(2 + spare)),
            Err(ContentError::RootTooLarge {
                got: limits::MAX_ROOT_BYTES + 1,
                max: limits::MAX_ROOT_BYTES
            })
        );
    }
}
