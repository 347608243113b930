use std::{
    ffi::OsString,
    io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    sync::Mutex,
};

use bytes::Bytes;
use samara_content::{ChunkSet, Manifest, limits as content_limits};
use samara_wire::{ContentId, Reader, WireError, Writer};

use crate::{Placement, files, stamp::Stamp};

/// Held while a manifest is saved: two requests that save the same one at once would write
/// one temporary file.
static SAVING: Mutex<()> = Mutex::new(());

const ROW_VERSION: u8 = 1;
/// A row with a share. Others are written as they always were.
const ROW_WITH_SHARE: u8 = 2;
const MAX_PATH: usize = 1 << 16;
const CHECKSUM: usize = 32;

/// A content's folder in the store.
///
/// ```text
/// contents/<content id>/
///   manifest   root and pages; they carry their own hashes
///   stamps     what the files looked like when they were known to be right
///   have       the bitfield of a finished or sealed content
///   data       a sealed content's stream
///   spill      parts of packed chunks that belong to files nobody selected
///   parity, parity-have   see `Shards`
/// ```
#[derive(Debug, Clone)]
pub(crate) struct ContentDir(PathBuf);

impl ContentDir {
    pub(crate) fn new(store: &Path, id: &ContentId) -> Self {
        Self(store.join("contents").join(id.to_string()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn have(&self) -> PathBuf {
        self.0.join("have")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    pub(crate) fn parity(&self) -> PathBuf {
        self.0.join("parity")
    }

    pub(crate) fn parity_have(&self) -> PathBuf {
        self.0.join("parity-have")
    }

    pub(crate) fn spill(&self) -> PathBuf {
        self.0.join("spill")
    }

    /// Keeps a manifest, unless one with as many pages is kept already.
    pub(crate) fn save_manifest(&self, manifest: &Manifest) -> io::Result<()> {
        let path = self.0.join("manifest");
        let have = |m: &Manifest| m.page_count() as usize - m.missing_pages().count();
        let _turn = SAVING.lock().expect("no panic inside");
        if self
            .load_manifest(manifest.id())
            .is_some_and(|old| have(&old) >= have(manifest))
        {
            return Ok(());
        }
        std::fs::create_dir_all(&self.0)?;
        let mut w = Writer::new();
        w.bytes(manifest.root_bytes());
        for index in 0..manifest.page_count() {
            if let Some(page) = manifest.page(index) {
                w.varint(index.into());
                w.bytes(page);
            }
        }
        files::replace(&path, &w.finish())
    }

    /// What was kept of the manifest; hashes are checked, so a damaged page is a
    /// missing page.
    pub(crate) fn load_manifest(&self, id: &ContentId) -> Option<Manifest> {
        let file = Bytes::from(std::fs::read(self.0.join("manifest")).ok()?);
        let mut r = Reader::new(&file);
        let root = r.bytes("root", content_limits::MAX_ROOT_BYTES).ok()?;
        let mut manifest = Manifest::from_root(id, root).ok()?;
        while r.remaining() > 0 {
            let Ok(index) = r.varint32("page number", u32::MAX) else {
                break;
            };
            let Ok(page) = r.bytes("page", content_limits::MAX_PAGE_BYTES) else {
                break;
            };
            // A page of its own, so that it does not keep the whole file in memory.
            if manifest
                .add_page(index, Bytes::copy_from_slice(page))
                .is_err()
            {
                break;
            }
        }
        Some(manifest)
    }

    pub(crate) fn save_stamps(&self, stamps: &[Stamp]) -> io::Result<()> {
        let mut w = Writer::with_capacity(stamps.len() * Stamp::LEN + CHECKSUM);
        stamps.iter().for_each(|stamp| stamp.write(&mut w));
        let mut bytes = w.finish();
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        std::fs::create_dir_all(&self.0)?;
        files::replace(&self.0.join("stamps"), &bytes)
    }

    /// The `count` stamps; `None` if they do not read back.
    pub(crate) fn load_stamps(&self, count: usize) -> Option<Vec<Stamp>> {
        let bytes = std::fs::read(self.0.join("stamps")).ok()?;
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
        if blake3::hash(body) != *checksum || body.len() != count * Stamp::LEN {
            return None;
        }
        let mut r = Reader::new(body);
        (0..count).map(|_| Stamp::read(&mut r).ok()).collect()
    }
}

/// What the index knows of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) placement: Placement,
    /// Whether the placement is its last.
    pub(crate) finished: bool,
    /// The entries that were selected, by number; `None` is all.
    pub(crate) chosen: Option<ChunkSet>,
    /// The chunks and parity shards that are kept, where that is not all.
    pub(crate) share: Option<ChunkSet>,
    /// Bytes of disk space that a sealed content takes.
    pub(crate) bytes: u64,
    /// When it came, in milliseconds since 1970.
    pub(crate) added_ms: u64,
}

impl Row {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u8(match self.share {
            None => ROW_VERSION,
            Some(_) => ROW_WITH_SHARE,
        });
        match &self.placement {
            Placement::InPlace(path) => {
                w.u8(0);
                write_path(&mut w, path);
            }
            Placement::Staging {
                staging,
                destination,
            } => {
                w.u8(1);
                write_path(&mut w, staging);
                write_path(&mut w, destination);
            }
            Placement::Installed(path) => {
                w.u8(2);
                write_path(&mut w, path);
            }
            Placement::Sealed => w.u8(3),
        }
        w.bool(self.finished);
        w.bool(self.chosen.is_some());
        if let Some(chosen) = &self.chosen {
            w.u32(chosen.len());
            w.bytes(&chosen.encode());
        }
        w.u64(self.bytes);
        w.u64(self.added_ms);
        if let Some(share) = &self.share {
            w.u32(share.len());
            w.bytes(&share.encode());
        }
        w.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let version = r.u8("row version")?;
        if version != ROW_VERSION && version != ROW_WITH_SHARE {
            return Err(WireError::Invalid {
                field: "row version",
            });
        }
        let placement = match r.u8("placement")? {
            0 => Placement::InPlace(read_path(&mut r)?),
            1 => Placement::Staging {
                staging: read_path(&mut r)?,
                destination: read_path(&mut r)?,
            },
            2 => Placement::Installed(read_path(&mut r)?),
            3 => Placement::Sealed,
            _ => return Err(WireError::Invalid { field: "placement" }),
        };
        let finished = r.bool("finished")?;
        let chosen = if r.bool("chosen")? {
            let len = r.u32("entries")?;
            if len > content_limits::MAX_ENTRIES {
                return Err(WireError::Invalid { field: "entries" });
            }
            Some(ChunkSet::decode(r.bytes("chosen", bytes.len())?, len)?)
        } else {
            None
        };
        let mut row = Self {
            placement,
            finished,
            chosen,
            share: None,
            bytes: r.u64("bytes")?,
            added_ms: r.u64("added")?,
        };
        if version == ROW_WITH_SHARE {
            let len = r.u32("chunks")?;
            if len > content_limits::MAX_CHUNKS {
                return Err(WireError::Invalid { field: "chunks" });
            }
            row.share = Some(ChunkSet::decode(r.bytes("share", bytes.len())?, len)?);
        }
        r.finish()?;
        Ok(row)
    }
}

fn write_path(w: &mut Writer, path: &Path) {
    w.bytes(path.as_os_str().as_bytes());
}

fn read_path(r: &mut Reader<'_>) -> Result<PathBuf, WireError> {
    Ok(OsString::from_vec(r.bytes("path", MAX_PATH)?.to_vec()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back() {
        let mut chosen = ChunkSet::new(9);
        chosen.insert(4);
        let placements = [
            Placement::InPlace("/a".into()),
            Placement::Staging {
                staging: "/s".into(),
                destination: "/d".into(),
            },
            Placement::Installed(OsString::from_vec(vec![b'/', 0xff]).into()),
            Placement::Sealed,
        ];
        for (i, placement) in placements.into_iter().enumerate() {
            let row = Row {
                placement,
                finished: i % 2 == 0,
                chosen: (i > 1).then(|| chosen.clone()),
                share: (i == 3).then(|| chosen.clone()),
                bytes: 1 << 40,
                added_ms: 77,
            };
            let bytes = row.encode();
            assert_eq!(Row::decode(&bytes), Ok(row));
            assert!(Row::decode(&bytes[..bytes.len() - 1]).is_err());
        }
    }

    #[test]
    fn damaged_stamps_are_none() {
        let store = tempfile::tempdir().unwrap();
        let dir = ContentDir::new(store.path(), &ContentId([1; 32]));
        let stamps = vec![Stamp::of(std::fs::File::open(store.path()).unwrap()).unwrap(); 3];
        dir.save_stamps(&stamps).unwrap();
        assert_eq!(dir.load_stamps(3), Some(stamps));
        assert_eq!(dir.load_stamps(2), None);
        let path = dir.path().join("stamps");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(dir.load_stamps(3), None);
    }
}
