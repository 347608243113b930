//! Entries back to back, as many as fit.

use bytes::Bytes;
use samara_wire::{Reader, WireError, Writer};

use crate::{
    ContentError, Entry, EntryPageRef,
    limits::{ENTRY_PAGE_BYTES, MAX_ENTRIES},
    tree::check_order,
};

/// Fills pages with `entries`: each takes the next entry if that keeps it within
/// [`ENTRY_PAGE_BYTES`], so that a tree has one set of pages.
pub(crate) fn write_entry_pages(entries: &[Entry]) -> Vec<(EntryPageRef, Bytes)> {
    let mut pages = Vec::new();
    let mut page = Vec::new();
    let mut count = 0;
    for entry in entries {
        let entry = encode(entry);
        if page.len() + entry.len() > ENTRY_PAGE_BYTES {
            pages.push(close(&mut page, &mut count));
        }
        page.extend(entry);
        count += 1;
    }
    if count > 0 {
        pages.push(close(&mut page, &mut count));
    }
    pages
}

fn close(page: &mut Vec<u8>, count: &mut u32) -> (EntryPageRef, Bytes) {
    let bytes: Bytes = std::mem::take(page).into();
    let reference = EntryPageRef {
        hash: *blake3::hash(&bytes).as_bytes(),
        count: std::mem::take(count),
    };
    (reference, bytes)
}

fn encode(entry: &Entry) -> Vec<u8> {
    let mut w = Writer::new();
    entry.write(&mut w);
    w.finish()
}

/// Reads a page of `count` entries, in order and each valid by itself.
pub(crate) fn read_entry_page(bytes: &[u8], count: u32) -> Result<Vec<Entry>, ContentError> {
    if bytes.len() > ENTRY_PAGE_BYTES {
        return Err(WireError::TooLarge {
            field: "entry page",
            got: bytes.len() as u64,
            max: ENTRY_PAGE_BYTES as u64,
        }
        .into());
    }
    let mut r = Reader::new(bytes);
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..count {
        let entry = Entry::read(&mut r)?;
        if let Some(before) = entries.last() {
            check_order(before, &entry)?;
        }
        entries.push(entry);
    }
    r.finish()?;
    Ok(entries)
}

/// Joins the pages of a whole tree, and checks that each was filled before the
/// next was begun.
pub(crate) fn join<'a>(
    pages: impl Iterator<Item = (&'a Bytes, &'a [Entry])>,
) -> Result<Vec<Entry>, ContentError> {
    let mut tree: Vec<Entry> = Vec::new();
    let mut previous: Option<&Bytes> = None;
    for (bytes, entries) in pages {
        if let (Some(previous), Some(first)) = (previous, entries.first())
            && previous.len() + encode(first).len() <= ENTRY_PAGE_BYTES
        {
            return Err(WireError::NonCanonical {
                field: "division into entry pages",
            }
            .into());
        }
        tree.extend_from_slice(entries);
        previous = Some(bytes);
    }
    debug_assert!(tree.len() <= MAX_ENTRIES as usize);
    Ok(tree)
}
