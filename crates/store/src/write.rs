use std::{io, os::unix::fs::FileExt};

use samara_content::{ChunkRef, chunk_hash};

use crate::{
    Content, WriteError,
    content::{DATA, Piece, Place, State},
    files,
    reserve::{is_preallocated, on_disk},
};

impl Content {
    /// Hashes `bytes` and writes them if they are chunk number `chunk`, or
    /// that parity shard; [`held`](Self::held) has it when this returns `Ok`. A chunk that is there already is `Ok` too.
    pub fn verify_and_write(&self, chunk: u32, bytes: &[u8]) -> Result<(), WriteError> {
        if let Some(shards) = self.shards_with(chunk) {
            return shards.write(chunk, bytes);
        }
        if self.has(chunk) {
            return Ok(());
        }
        let wanted = self
            .wanted
            .contains(chunk)
            .then(|| self.manifest.chunk(chunk));
        let Some(Some(expected)) = wanted else {
            return Err(WriteError::NotWanted { chunk });
        };
        if bytes.len() != expected.len as usize || chunk_hash(bytes) != expected.hash {
            return Err(WriteError::Mismatch { chunk });
        }
        // Held until the chunk is written and claimed: `finish` waits for it.
        let place = self.place.read().expect("no panic inside");
        if place.state != State::Open {
            return Err(WriteError::NotWritable);
        }
        self.release_reserve(&place, &expected);
        let mut rest = bytes;
        let mut keys = Vec::new();
        for piece in self.pieces(&place, &expected) {
            let (part, tail) = rest.split_at(piece.len);
            rest = tail;
            self.write_piece(&place, piece, part).map_err(|source| {
                let path = self.path_of(&place, piece.key);
                if files::is_full(&source) {
                    WriteError::NoSpace { path }
                } else {
                    WriteError::Io { path, source }
                }
            })?;
            keys.push(piece.key);
        }
        self.dirty.lock().expect("no panic inside").extend(keys);
        self.have.insert(chunk);
        Ok(())
    }

    fn write_piece(&self, place: &Place, piece: Piece, bytes: &[u8]) -> io::Result<()> {
        let open = || files::open_staged(&self.path_of(place, piece.key));
        if piece.len as u64 == self.size_of(piece.key) {
            // One write makes it whole; keeping it open would only push others out.
            return open()?.write_all_at(bytes, piece.offset);
        }
        let file = self.shared.files.get((self.uid, piece.key, true), open)?;
        file.write_all_at(bytes, piece.offset)
    }

    /// Gives back as much of the reservation as is about to be written.
    fn release_reserve(&self, place: &Place, chunk: &ChunkRef) {
        let mut reserve = self.reserve.lock().expect("no panic inside");
        if let Some(reserve) = &mut *reserve {
            let small = self
                .pieces(place, chunk)
                .filter(|piece| piece.key < DATA && !is_preallocated(self.size_of(piece.key)));
            reserve.release(small.map(|piece| on_disk(piece.len as u64)).sum());
        }
    }
}
