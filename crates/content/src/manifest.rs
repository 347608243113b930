use std::ops::Range;

use bytes::Bytes;
use samara_wire::ContentId;

use crate::{
    ChunkRef, ContentError, Encoded, Entry, Layout, Root, Stripes,
    chunk_page::{ChunkPage, chunks_in_page},
    entry_page,
    limits::{CHUNKS_PER_PAGE, MAX_PAGE_BYTES, MAX_ROOT_BYTES},
    root::check_sum,
    tree,
};

/// A verified root with as many of its pages as have come in.
///
/// Pages count from 0: those of entries, then those of chunks. Whatever a method
/// returns was checked against its hash and the format's rules; what depends on a
/// page that is not there yet is `None`.
#[derive(Debug, Clone)]
pub struct Manifest {
    id: ContentId,
    root: Root,
    root_bytes: Bytes,
    entry_pages: Vec<Option<Bytes>>,
    chunk_pages: Vec<Option<ChunkPage>>,
    /// `None` without parity.
    stripes: Option<Stripes>,
    /// Where each chunk page starts in the stream, and the end of the last.
    page_starts: Vec<u64>,
    /// Present when all entry pages are.
    tree: Option<Tree>,
    missing: u32,
}

#[derive(Debug, Clone)]
struct Tree {
    entries: Vec<Entry>,
    layout: Layout,
}

impl Manifest {
    /// Starts from the root's bytes, which `id` must name.
    pub fn from_root(id: &ContentId, root: &[u8]) -> Result<Self, ContentError> {
        if root.len() > MAX_ROOT_BYTES {
            return Err(ContentError::Overlong {
                part: "root",
                got: root.len(),
                max: MAX_ROOT_BYTES,
            });
        }
        if Root::id(root) != *id {
            return Err(ContentError::HashMismatch { part: "root" });
        }
        let root_bytes = Bytes::copy_from_slice(root);
        let root = Root::decode(root)?;
        let mut page_starts = vec![0];
        page_starts.extend(root.chunk_pages.iter().scan(0, |end, page| {
            *end += page.bytes;
            Some(*end)
        }));
        let mut manifest = Self {
            id: *id,
            root_bytes,
            entry_pages: vec![None; root.entry_pages.len()],
            chunk_pages: vec![None; root.chunk_pages.len()],
            page_starts,
            tree: None,
            missing: root.page_count(),
            stripes: root.stripes(),
            root,
        };
        if manifest.entry_pages.is_empty() {
            manifest.tree = Some(manifest.grow_tree()?);
        }
        Ok(manifest)
    }

    /// The complete manifest that a builder made.
    pub fn from_encoded(encoded: &Encoded) -> Result<Self, ContentError> {
        let mut manifest = Self::from_root(&encoded.id, &encoded.root)?;
        for (index, page) in encoded.pages.iter().enumerate() {
            manifest.add_page(index as u32, page.clone())?;
        }
        Ok(manifest)
    }

    /// The content's identifier.
    pub fn id(&self) -> &ContentId {
        &self.id
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The root's bytes, as they came.
    pub fn root_bytes(&self) -> &Bytes {
        &self.root_bytes
    }

    /// How many pages there are in all.
    pub fn page_count(&self) -> u32 {
        self.root.page_count()
    }

    /// The pages of entries: `0..E`.
    pub fn entry_page_range(&self) -> Range<u32> {
        0..self.entry_pages.len() as u32
    }

    /// The pages of chunks: `E..E+C`.
    pub fn chunk_page_range(&self) -> Range<u32> {
        self.entry_pages.len() as u32..self.page_count()
    }

    /// A page's bytes, as they came.
    pub fn page(&self, index: u32) -> Option<&Bytes> {
        match self.chunk_page_number(index) {
            None => self.entry_pages.get(index as usize)?.as_ref(),
            Some(page) => Some(self.chunk_pages.get(page)?.as_ref()?.bytes()),
        }
    }

    /// The pages that have not come in yet, those of entries first.
    pub fn missing_pages(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.page_count()).filter(|index| self.page(*index).is_none())
    }

    /// Adds a page after checking its hash and everything that can be checked
    /// with the pages that are there. A page that is there already is ignored.
    ///
    /// # Errors
    /// When [`ContentError::fault`] is the publisher's, the whole content is
    /// unusable. The manifest is as it was before.
    pub fn add_page(&mut self, index: u32, bytes: Bytes) -> Result<(), ContentError> {
        if index >= self.page_count() {
            return Err(ContentError::NoSuchPage {
                index,
                count: self.page_count(),
            });
        }
        if self.page(index).is_some() {
            return Ok(());
        }
        if bytes.len() > MAX_PAGE_BYTES {
            return Err(ContentError::Overlong {
                part: "page",
                got: bytes.len(),
                max: MAX_PAGE_BYTES,
            });
        }
        match self.chunk_page_number(index) {
            None => self.add_entry_page(index as usize, bytes)?,
            Some(page) => self.add_chunk_page(page, bytes)?,
        }
        self.missing -= 1;
        Ok(())
    }

    /// Whether every page is there.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// The tree, in path order, when all pages of entries are there.
    pub fn entries(&self) -> Option<&[Entry]> {
        Some(&self.tree.as_ref()?.entries)
    }

    /// Where the files lie in the stream, when all pages of entries are there.
    pub fn layout(&self) -> Option<&Layout> {
        Some(&self.tree.as_ref()?.layout)
    }

    /// How many chunks the content has, from the root; parity shards not counted.
    pub fn chunk_count(&self) -> u32 {
        self.root.chunk_count
    }

    /// How the parity shards belong to the chunks; `None` if there are none.
    pub fn stripes(&self) -> Option<&Stripes> {
        self.stripes.as_ref()
    }

    /// How many chunks and parity shards can be asked for.
    pub fn shard_count(&self) -> u32 {
        self.stripes.map_or(self.root.chunk_count, |s| s.all())
    }

    /// A chunk, or a parity shard by the number after the chunks', when its page and
    /// all pages of entries are there. The shards lie behind the end of the stream.
    pub fn chunk(&self, index: u32) -> Option<ChunkRef> {
        self.tree.as_ref()?;
        let page = (index / CHUNKS_PER_PAGE) as usize;
        let chunks = self.chunk_pages.get(page)?.as_ref()?;
        chunks.chunk(index % CHUNKS_PER_PAGE, self.page_starts[page])
    }

    /// Every chunk's length in bytes, in order, when the manifest is complete.
    pub fn chunk_sizes(&self) -> Option<Vec<u32>> {
        (0..self.chunk_count())
            .map(|i| Some(self.chunk(i)?.len))
            .collect()
    }

    /// The pages whose chunks cover `range` of the stream, as page numbers; known
    /// from the root alone. What lies past the end of the stream is left out.
    pub fn pages_for(&self, range: Range<u64>) -> Range<u32> {
        let first_page = self.entry_pages.len() as u32;
        let end = range.end.min(self.root.total_bytes);
        if range.start >= end {
            return first_page..first_page;
        }
        first_page + self.chunk_page_at(range.start)..first_page + self.chunk_page_at(end - 1) + 1
    }

    /// The chunks that cover `range` of the stream, when their pages are there.
    /// Empty for an empty range. What lies past the end of the stream is left out.
    pub fn chunks_of_range(&self, range: Range<u64>) -> Option<Range<u32>> {
        let end = range.end.min(self.root.total_bytes);
        if range.start >= end {
            return Some(0..0);
        }
        Some(self.chunk_at(range.start)?..self.chunk_at(end - 1)? + 1)
    }

    /// The number of the chunk that holds the stream's byte at `offset`.
    fn chunk_at(&self, offset: u64) -> Option<u32> {
        self.tree.as_ref()?;
        let page = self.chunk_page_at(offset);
        let chunks = self.chunk_pages.get(page as usize)?.as_ref()?;
        let inside = offset - self.page_starts[page as usize];
        Some(page * CHUNKS_PER_PAGE + chunks.chunk_at(inside))
    }

    /// Which of the chunk pages holds the stream's byte at `offset`.
    fn chunk_page_at(&self, offset: u64) -> u32 {
        self.page_starts.partition_point(|s| *s <= offset) as u32 - 1
    }

    /// `index` among the chunk pages; `None` for a page of entries.
    fn chunk_page_number(&self, index: u32) -> Option<usize> {
        (index as usize).checked_sub(self.entry_pages.len())
    }

    fn add_entry_page(&mut self, page: usize, bytes: Bytes) -> Result<(), ContentError> {
        let reference = &self.root.entry_pages[page];
        check_page_hash(&bytes, &reference.hash)?;
        entry_page::read_entry_page(&bytes, reference.count)?;
        self.entry_pages[page] = Some(bytes);
        if self.entry_pages.iter().all(Option::is_some) {
            // Read once more rather than kept from the first time: entries of all
            // pages are never there twice.
            match self.grow_tree() {
                Ok(tree) => self.tree = Some(tree),
                Err(error) => {
                    self.entry_pages[page] = None;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The tree from all pages of entries, checked against the root and the chunk
    /// pages that are there.
    fn grow_tree(&self) -> Result<Tree, ContentError> {
        let pages = self.entry_pages.iter().flatten();
        let entries = entry_page::read_tree(pages.zip(&self.root.entry_pages))?;
        tree::check(&entries)?;
        if self.root.single_file() {
            tree::check_single_file(&self.root.name, &entries)?;
        }
        let layout = Layout::new(&entries, self.root.params)?;
        check_sum(
            "the files and the content's size",
            layout.total(),
            self.root.total_bytes,
        )?;
        for (page, chunks) in self.chunk_pages.iter().enumerate() {
            if let Some(chunks) = chunks {
                self.check_chunks(&layout, page, chunks)?;
            }
        }
        Ok(Tree { entries, layout })
    }

    fn add_chunk_page(&mut self, page: usize, bytes: Bytes) -> Result<(), ContentError> {
        let reference = &self.root.chunk_pages[page];
        check_page_hash(&bytes, &reference.hash)?;
        let count = chunks_in_page(page as u32, self.shard_count());
        let chunks = ChunkPage::read(bytes, reference, count)?;
        if let Some(tree) = &self.tree {
            self.check_chunks(&tree.layout, page, &chunks)?;
        }
        self.chunk_pages[page] = Some(chunks);
        Ok(())
    }

    /// Checks that the chunks of a page stand where the layout can have them.
    fn check_chunks(
        &self,
        layout: &Layout,
        page: usize,
        chunks: &ChunkPage,
    ) -> Result<(), ContentError> {
        let mut segment = None;
        for index in 0..chunks.count() {
            let Some(chunk) = chunks.chunk(index, self.page_starts[page]) else {
                break;
            };
            let number = page as u32 * CHUNKS_PER_PAGE + index;
            let fits = match &self.stripes {
                Some(stripes) => chunk.len == stripes.len(number),
                None => {
                    let params = self.root.params;
                    segment = layout.check_chunk(params, segment, chunk.offset, chunk.len);
                    segment.is_some()
                }
            };
            if !fits {
                return Err(ContentError::BadChunk {
                    chunk: number,
                    len: chunk.len,
                    offset: chunk.offset,
                });
            }
        }
        Ok(())
    }
}

fn check_page_hash(bytes: &[u8], hash: &[u8; 32]) -> Result<(), ContentError> {
    if blake3::hash(bytes) == *hash {
        Ok(())
    } else {
        Err(ContentError::HashMismatch { part: "page" })
    }
}
