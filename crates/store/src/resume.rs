//! What an interrupted download left, found out without believing more than is known.

use std::{fs::File, io, ops::Range};

use rustix::fs::{SeekFrom, seek};
use samara_content::ChunkSet;

use crate::{
    Content, StoreError,
    bitfield::Claim,
    content::{DATA, Place, SPILL},
    files,
    reserve::is_preallocated,
    stamp::Stamp,
};

/// What is to be done about a download's chunks.
#[derive(Debug)]
struct Found {
    /// To be believed, as far as it is not in the others.
    claimed: ChunkSet,
    /// To be hashed.
    doubtful: ChunkSet,
    /// Not there.
    absent: ChunkSet,
}

impl Content {
    /// Finds out what an interrupted download left. What the bitfield claims is
    /// believed of files that were not written to since. The others are hashed, as
    /// far as there is anything in them: so what was written and not claimed yet
    /// when the process was killed is not fetched again.
    pub(crate) fn resume(&self, claim: Option<Claim>) -> Result<(), StoreError> {
        let place = self.place();
        let readable = claim.is_some();
        let since = claim.as_ref().map_or(i64::MIN, |claim| claim.stamp_ns);
        let count = self.manifest.chunk_count();
        let mut before = claim.map_or_else(|| ChunkSet::new(count), |claim| claim.have);
        before.intersect_with(&self.wanted);
        let mut found = Found {
            claimed: before.clone(),
            doubtful: ChunkSet::new(count),
            absent: ChunkSet::new(count),
        };
        for key in self.keys(&place) {
            self.look_at(&place, key, since, &mut found);
        }
        found.claimed.subtract(&found.absent);
        found.claimed.subtract(&found.doubtful);
        found.doubtful.subtract(&found.absent);
        self.have.extend(found.claimed.iter());
        {
            let mut synced = self.synced.lock().expect("no panic inside");
            synced.set = found.claimed.clone();
            synced.stamp_ns = since.max(0);
        }
        self.take_intact(&place, &found.doubtful);
        if before != found.claimed || !readable {
            self.unclaim(&[]);
        }
        Ok(())
    }

    /// The files that chunks lie in.
    fn keys(&self, place: &Place) -> Vec<u32> {
        if place.placement == crate::Placement::Sealed {
            return vec![DATA];
        }
        let mut keys: Vec<u32> = self.files_with_bytes().map(|(i, _)| i).collect();
        keys.extend(self.chosen.is_some().then_some(SPILL));
        keys
    }

    fn look_at(&self, place: &Place, key: u32, since: i64, found: &mut Found) {
        let path = self.path_of(place, key);
        let stamp = std::fs::symlink_metadata(&path)
            .ok()
            .filter(|meta| meta.is_file())
            .map(|meta| Stamp::from_metadata(&meta));
        let chunks = self
            .chunks_of(key)
            .filter(|chunk| self.wanted.contains(*chunk))
            .filter_map(|chunk| {
                let at = self.manifest.chunk(chunk)?;
                let piece = self.pieces(place, &at).find(|piece| piece.key == key)?;
                Some((chunk, piece.offset..piece.offset + piece.len as u64))
            });
        match stamp {
            None => chunks.for_each(|(chunk, _)| {
                found.absent.insert(chunk);
            }),
            Some(stamp)
                if stamp.may_be_later(since) || (key < DATA && stamp.size != self.size_of(key)) =>
            {
                // Small files have no holes: they are as long as what was written.
                let holes = key >= DATA || is_preallocated(self.size_of(key));
                let mut data = Data::of(files::open_read(&path).ok().filter(|_| holes));
                for (chunk, range) in chunks {
                    if found.claimed.contains(chunk) || data.covers(&range) {
                        found.doubtful.insert(chunk);
                    } else {
                        found.absent.insert(chunk);
                    }
                }
            }
            Some(_) => {}
        }
    }

    /// Hashes `doubtful` on all cores. What is right is ours, and synced next time.
    fn take_intact(&self, place: &Place, doubtful: &ChunkSet) {
        let doubtful: Vec<u32> = doubtful.iter().collect();
        let damaged = self.damaged(place, &doubtful);
        let mut dirty = self.dirty.lock().expect("no panic inside");
        for chunk in doubtful
            .into_iter()
            .filter(|chunk| damaged.binary_search(chunk).is_err())
        {
            if let Some(found) = self.manifest.chunk(chunk) {
                dirty.extend(self.pieces(place, &found).map(|piece| piece.key));
            }
            self.have.insert(chunk);
        }
    }
}

/// Where a file has been written to, in ascending order: what was only allocated
/// is a hole.
#[derive(Debug)]
struct Data {
    /// `None` where it cannot be told: then everything may be data.
    file: Option<File>,
    extent: Range<u64>,
}

impl Data {
    fn of(file: Option<File>) -> Self {
        Self { file, extent: 0..0 }
    }

    /// Whether all of `range` was written to. Ranges must be asked for in order:
    /// each extent of the file is looked up once, since that can take as long as
    /// the extent.
    fn covers(&mut self, range: &Range<u64>) -> bool {
        let Some(file) = &self.file else {
            return true;
        };
        while self.extent.end <= range.start {
            match next_extent(file, range.start) {
                Ok(Some(extent)) => self.extent = extent,
                Ok(None) => self.extent = u64::MAX..u64::MAX,
                Err(_) => {
                    self.file = None;
                    return true;
                }
            }
        }
        self.extent.start <= range.start && range.end <= self.extent.end
    }
}

/// The first extent of data that ends after `offset`, as far as it lies there.
fn next_extent(file: &File, offset: u64) -> io::Result<Option<Range<u64>>> {
    let start = match seek(file, SeekFrom::Data(offset)) {
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        start => start?,
    };
    Ok(Some(start..seek(file, SeekFrom::Hole(start))?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn holes_are_told_from_data() {
        const MIB: u64 = 1 << 20;
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 * MIB).unwrap();
        for at in [MIB, 2 * MIB, 5 * MIB] {
            file.write_all_at(&vec![1; MIB as usize], at).unwrap();
        }
        let mut data = Data::of(Some(file.try_clone().unwrap()));
        let asked = [
            (0..MIB, false),
            (MIB - 1..MIB + 1, false),
            (MIB..MIB + 10, true),
            (MIB + 10..3 * MIB, true),
            (3 * MIB - 1..3 * MIB + 1, false),
            (4 * MIB..5 * MIB, false),
            (5 * MIB..6 * MIB, true),
            (7 * MIB..8 * MIB, false),
            (9 * MIB..10 * MIB, false),
        ];
        for (range, written) in asked {
            assert_eq!(data.covers(&range), written, "{range:?}");
        }
        let mut unknown = Data::of(None);
        assert!(unknown.covers(&(0..MIB)) && unknown.covers(&(9 * MIB..10 * MIB)));
    }
}
