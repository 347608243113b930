//! What links led to that were fetched and not followed: so that the same link is
//! known to lead to what is here when nobody can be asked any more.

use samara_graph::body::ContentRef;
use samara_store::{Batch, Store, StoreError};
use samara_wire::{ChannelId, ContentId, PeerId, Reader, Writer};

/// Where it is kept in the store.
const VISITED_SETTINGS: &str = "visited";

/// Keeps what a channel's newest content was, and whose.
pub(super) fn put(batch: &mut Batch, id: ChannelId, author: PeerId, content: ContentRef) {
    let mut w = Writer::new();
    author.write(&mut w);
    content.id.write(&mut w);
    w.varint(content.root_len.into());
    w.varint(content.bytes);
    w.varint(content.files.into());
    batch.put_setting(VISITED_SETTINGS, id.as_bytes(), &w.finish());
}

/// What was kept of a channel. Blocks.
pub(super) fn load(
    store: &Store,
    id: ChannelId,
) -> Result<Option<(PeerId, ContentRef)>, StoreError> {
    let bytes = store.setting(VISITED_SETTINGS, id.as_bytes())?;
    Ok(bytes.and_then(|bytes| decode(&bytes)))
}

/// Drops what is kept of contents for which `held` does not hold. Blocks.
pub(super) fn prune(store: &Store, held: impl Fn(&ContentId) -> bool) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    for (key, value) in store.settings(VISITED_SETTINGS)? {
        if !decode(&value).is_some_and(|(_, content)| held(&content.id)) {
            batch.remove_setting(VISITED_SETTINGS, &key);
        }
    }
    match batch.is_empty() {
        true => Ok(()),
        false => store.write(batch),
    }
}

fn decode(bytes: &[u8]) -> Option<(PeerId, ContentRef)> {
    let mut r = Reader::new(bytes);
    let author = PeerId::read(&mut r).ok()?;
    let content = ContentRef {
        id: ContentId::read(&mut r).ok()?,
        root_len: r.varint32("root", u32::MAX).ok()?,
        bytes: r.varint("bytes", u64::MAX).ok()?,
        files: r.varint32("files", u32::MAX).ok()?,
    };
    r.finish().ok()?;
    Some((author, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_reads_back_until_it_is_of_no_use() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Default::default()).unwrap();
        let (id, author) = (ChannelId([1; 32]), PeerId([2; 32]));
        let content = ContentRef {
            id: ContentId([3; 32]),
            root_len: 700,
            bytes: 1 << 40,
            files: 5,
        };
        assert_eq!(load(&store, id).unwrap(), None);
        let mut batch = Batch::new();
        put(&mut batch, id, author, content);
        store.write(batch).unwrap();
        prune(&store, |held| *held == content.id).unwrap();
        assert_eq!(load(&store, id).unwrap(), Some((author, content)));
        prune(&store, |_| false).unwrap();
        assert_eq!(load(&store, id).unwrap(), None);
    }
}
