use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use rustix::fs::{FlockOperation, flock};
use samara_content::ChunkSet;
use samara_wire::{ContentId, Reader, Writer};

use crate::files;

const MAGIC: &[u8; 8] = b"samhave1";
const HEADER: usize = 8 + 8 + 8 + 32 + 4;
const CHECKSUM: usize = 32;

/// Which chunks are on disk for good, as a file.
///
/// ```text
/// slot 0 | slot 1      each: magic, sequence, stamp, content id, length of the
///                      set, the set, zeros; in its last 32 bytes BLAKE3 of the rest
/// ```
/// A write goes to the slot that is not the newest and is synced, so a crash in
/// the middle leaves the other one: an older set, which is true as well. It is
/// written after the data that it claims is synced, never before.
#[derive(Debug)]
pub(crate) struct Bitfield {
    file: File,
    id: ContentId,
    slot_len: usize,
    sequence: u64,
}

/// What a bitfield file claims.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) have: ChunkSet,
    /// Wall clock in nanoseconds, read before the data was synced: a file that
    /// was changed later may hold anything.
    pub(crate) stamp_ns: i64,
}

impl Bitfield {
    /// Opens or makes the file for a content of `chunks` chunks. The claim is
    /// `None` if it does not read back. `None` for all: another process has it.
    pub(crate) fn open(
        path: &Path,
        id: &ContentId,
        chunks: u32,
    ) -> io::Result<Option<(Self, Option<Claim>)>> {
        let file = files::open_write(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            other => other?,
        }
        let slot_len =
            (HEADER + ChunkSet::max_encoded_len(chunks) + 8 + CHECKSUM).next_multiple_of(4096);
        let mut bytes = vec![0; 2 * slot_len];
        let newest = match files::read_exact(&file, &mut bytes, 0) {
            Ok(()) => bytes
                .chunks(slot_len)
                .filter_map(|slot| parse(slot, id, chunks))
                .max_by_key(|(sequence, _)| *sequence),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                file.set_len(2 * slot_len as u64)?;
                None
            }
            Err(e) => return Err(e),
        };
        let sequence = newest.as_ref().map_or(0, |(sequence, _)| *sequence);
        let bitfield = Self {
            file,
            id: *id,
            slot_len,
            sequence,
        };
        Ok(Some((bitfield, newest.map(|(_, claim)| claim))))
    }

    /// Claims `have`, durably. What it claims must be synced.
    pub(crate) fn write(&mut self, have: &ChunkSet, stamp_ns: i64) -> io::Result<()> {
        self.sequence += 1;
        let mut w = Writer::with_capacity(self.slot_len);
        w.raw(MAGIC);
        w.u64(self.sequence);
        w.u64(stamp_ns as u64);
        w.raw(self.id.as_bytes());
        w.u32(have.len());
        w.bytes(&have.encode());
        let mut slot = w.finish();
        slot.resize(self.slot_len - CHECKSUM, 0);
        let checksum = blake3::hash(&slot);
        slot.extend_from_slice(checksum.as_bytes());
        let offset = self.sequence % 2 * self.slot_len as u64;
        self.file.write_all_at(&slot, offset)?;
        self.file.sync_data()
    }

    /// Claims nothing any more: both slots are made unreadable.
    pub(crate) fn distrust(&self) -> io::Result<()> {
        self.file.write_all_at(&vec![0; 2 * self.slot_len], 0)?;
        self.file.sync_data()
    }
}

fn parse(slot: &[u8], id: &ContentId, chunks: u32) -> Option<(u64, Claim)> {
    let (body, checksum) = slot.split_last_chunk::<CHECKSUM>()?;
    if blake3::hash(body) != *checksum {
        return None;
    }
    let mut r = Reader::new(body);
    let ok = r.array::<8>("magic").ok()? == *MAGIC;
    let sequence = r.u64("sequence").ok()?;
    let stamp_ns = r.u64("stamp").ok()? as i64;
    let same = ContentId::read(&mut r).ok()? == *id && r.u32("chunks").ok()? == chunks;
    let encoded = r.bytes("set", slot.len()).ok()?;
    let have = ChunkSet::decode(encoded, chunks).ok()?;
    (ok && same).then_some((sequence, Claim { have, stamp_ns }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ContentId = ContentId([7; 32]);

    fn open(path: &Path) -> (Bitfield, Option<Claim>) {
        Bitfield::open(path, &ID, 100).unwrap().unwrap()
    }

    #[test]
    fn the_newest_slot_that_reads_back_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("have");
        let (mut bitfield, claim) = open(&path);
        assert_eq!(claim, None);
        let mut have = ChunkSet::new(100);
        for chunk in [3, 50, 99] {
            have.insert(chunk);
            bitfield.write(&have, i64::from(chunk)).unwrap();
        }
        assert!(Bitfield::open(&path, &ID, 100).unwrap().is_none(), "locked");
        drop(bitfield);
        let (bitfield, claim) = open(&path);
        assert_eq!(
            claim,
            Some(Claim {
                have: have.clone(),
                stamp_ns: 99
            })
        );
        // A torn write of the newest slot (sequence 3, slot 1) leaves the one before.
        bitfield
            .file
            .write_all_at(&[1], bitfield.slot_len as u64 + 200)
            .unwrap();
        drop(bitfield);
        let (bitfield, claim) = open(&path);
        have.remove(99);
        assert_eq!(claim, Some(Claim { have, stamp_ns: 50 }));
        bitfield.distrust().unwrap();
        drop(bitfield);
        assert_eq!(open(&path).1, None);
    }

    #[test]
    fn anothers_claims_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("have");
        open(&path).0.write(&ChunkSet::full(100), 1).unwrap();
        let other = Bitfield::open(&path, &ContentId([8; 32]), 100)
            .unwrap()
            .unwrap();
        assert_eq!(other.1, None);
        drop(other);
        let other = Bitfield::open(&path, &ID, 101).unwrap().unwrap();
        assert_eq!(other.1, None);
    }
}
