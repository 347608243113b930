//! Entries back to back, as many as fit.

use bytes::Bytes;
use samara_wire::{Reader, WireError, Writer};

use crate::{ContentError, Entry, EntryPageRef, limits::ENTRY_PAGE_BYTES, tree::check_order};

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

/// The tree in a whole set of pages, each filled before the next was begun.
pub(crate) fn read_tree<'a>(
    pages: impl Iterator<Item = (&'a Bytes, &'a EntryPageRef)>,
) -> Result<Vec<Entry>, ContentError> {
    let mut tree: Vec<Entry> = Vec::new();
    let mut previous: Option<&Bytes> = None;
    for (bytes, reference) in pages {
        let entries = read_entry_page(bytes, reference.count)?;
        if let (Some(previous), Some(first)) = (previous, entries.first())
            && previous.len() + encode(first).len() <= ENTRY_PAGE_BYTES
        {
            return Err(WireError::NonCanonical {
                field: "division into entry pages",
            }
            .into());
        }
        tree.extend(entries);
        previous = Some(bytes);
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EntryPath;
    use proptest::prelude::*;

    fn files(n: usize, name_len: usize) -> Vec<Entry> {
        let path = |i| EntryPath::new(&format!("{i:0name_len$}")).unwrap();
        (0..n)
            .map(|i| Entry::file(path(i), 0o644, i as u64))
            .collect()
    }

    #[test]
    fn a_page_takes_what_fits_and_no_more() {
        // 1 + 27 + 1 + 2 + 1 bytes each: 2,048 fill the page to the byte.
        let entries: Vec<Entry> = files(2049, 27)
            .into_iter()
            .map(|e| Entry::file(e.path, 0o644, 1))
            .collect();
        let sizes = |n| -> Vec<(u32, usize)> {
            write_entry_pages(&entries[..n])
                .iter()
                .map(|(r, b)| (r.count, b.len()))
                .collect()
        };
        assert_eq!(sizes(0), []);
        assert_eq!(sizes(2048), [(2048, ENTRY_PAGE_BYTES)]);
        assert_eq!(sizes(2049), [(2048, ENTRY_PAGE_BYTES), (1, 32)]);
    }

    #[test]
    fn a_page_larger_than_a_page_is_refused() {
        let entries = files(2049, 28);
        let bytes: Vec<u8> = entries.iter().flat_map(encode).collect();
        assert!(bytes.len() > ENTRY_PAGE_BYTES);
        assert!(matches!(
            read_entry_page(&bytes, 2049),
            Err(ContentError::Malformed(WireError::TooLarge { .. }))
        ));
    }

    #[test]
    fn pages_that_could_be_fuller_are_refused() {
        let entries = files(4, 10);
        let half = |part: &[Entry]| write_entry_pages(part).remove(0);
        let pages = [half(&entries[..2]), half(&entries[2..])];
        assert_eq!(
            read_tree(pages.iter().map(|(r, b)| (b, r))),
            Err(ContentError::Malformed(WireError::NonCanonical {
                field: "division into entry pages"
            }))
        );
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let path = "[a-c\u{e9}]{1,3}(/[a-c]{1,2}){0,2}".prop_map(|p| EntryPath::new(&p).unwrap());
        (path, 0u16..0o1000, 0u64..1 << 44, 0u8..3).prop_map(
            |(path, mode, size, kind)| match kind {
                0 => Entry::directory(path, mode),
                1 => Entry::file(path, mode, size),
                _ => Entry::symlink(path, "a/b").unwrap(),
            },
        )
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            mut entries in proptest::collection::vec(any_entry(), 1..6),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            entries.sort_by(|a, b| a.path.cmp(&b.path));
            entries.dedup_by(|a, b| a.path == b.path);
            let count = entries.len() as u32;
            let (_, bytes) = write_entry_pages(&entries).remove(0);
            prop_assert_eq!(read_entry_page(&bytes, count), Ok(entries));
            prop_assert!(read_entry_page(&bytes, count + 1).is_err());
            prop_assert!(read_entry_page(&bytes, count - 1).is_err());

            let mut bytes = bytes.to_vec();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(entries) = read_entry_page(&bytes, count) {
                prop_assert_eq!(&write_entry_pages(&entries)[0].1[..], &bytes[..]);
            }
        }
    }
}
