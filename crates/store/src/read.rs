use std::{fs::File, io, path::PathBuf, sync::Arc};

use samara_content::chunk_hash;

use crate::{
    Content, ReadError,
    content::{DATA, Piece, Place, SPILL, State},
    files,
    limits::MAX_RECHECKS,
    stamp::Stamp,
};

/// Why the bytes of a chunk did not come.
#[derive(Debug)]
pub(crate) enum Torn {
    /// This file is not what it was.
    Changed(u32),
    /// The disk failed.
    Io(PathBuf, io::Error),
}

impl Content {
    /// Reads a chunk, or a parity shard by its number, into `into`, which is resized to it. What `into` held is
    /// overwritten: a buffer that comes back as it was costs no clearing.
    ///
    /// A file that is not the store's alone is checked (inode, size, mtime,
    /// ctime) before and after.
    pub fn read_chunk(&self, chunk: u32, into: &mut Vec<u8>) -> Result<(), ReadError> {
        if let Some(shards) = self.shards_with(chunk) {
            return shards.read(chunk, into);
        }
        for _ in 0..=MAX_RECHECKS {
            let place = self.place();
            if !self.has(chunk) || place.state == State::Retired {
                break;
            }
            let checked = place.state == State::Finished;
            match self.read_raw(&place, chunk, into, checked) {
                // Lost meanwhile: then the stamp may be that of the changed file.
                Ok(()) if self.has(chunk) => return Ok(()),
                Ok(()) => break,
                Err(Torn::Io(path, source)) => return Err(ReadError::Io { path, source }),
                Err(Torn::Changed(key)) => {
                    let lost = self.examine(key, &place);
                    if !lost.is_empty() {
                        let path = self.path_of(&place, key);
                        return Err(ReadError::Changed { path, lost });
                    }
                }
            }
        }
        Err(ReadError::NotHere { chunk })
    }

    /// Whether a chunk's bytes are, at this moment, those that the manifest names.
    pub(crate) fn is_intact(&self, place: &Place, chunk: u32, buffer: &mut Vec<u8>) -> bool {
        self.read_raw(place, chunk, buffer, false).is_ok()
            && self
                .manifest
                .chunk(chunk)
                .is_some_and(|c| chunk_hash(buffer) == c.hash)
    }

    /// Reads a chunk, claimed or not; `checked`: and the files look like their stamps.
    pub(crate) fn read_raw(
        &self,
        place: &Place,
        chunk: u32,
        into: &mut Vec<u8>,
        checked: bool,
    ) -> Result<(), Torn> {
        let Some(chunk) = self.manifest.chunk(chunk) else {
            return Err(Torn::Changed(DATA));
        };
        into.resize(chunk.len as usize, 0);
        let mut rest = &mut into[..];
        for piece in self.pieces(place, &chunk) {
            let (part, tail) = rest.split_at_mut(piece.len);
            rest = tail;
            self.read_piece(place, piece, part, checked)
                .map_err(|e| match e {
                    None => Torn::Changed(piece.key),
                    Some(e) if is_gone(&e) => Torn::Changed(piece.key),
                    Some(e) => Torn::Io(self.path_of(place, piece.key), e),
                })?;
        }
        Ok(())
    }

    /// `Err(None)`: the file does not look like its stamp.
    fn read_piece(
        &self,
        place: &Place,
        piece: Piece,
        into: &mut [u8],
        checked: bool,
    ) -> Result<(), Option<io::Error>> {
        let file = self.open_for_read(place, piece)?;
        let stamp = (checked && piece.key != SPILL).then(|| self.stamp(piece.key));
        let unchanged = || match stamp {
            Some(stamp) if Stamp::of(&*file)? != stamp => Err(None),
            _ => Ok(()),
        };
        unchanged()?;
        files::read_exact(&file, into, piece.offset)?;
        unchanged()
    }

    fn open_for_read(&self, place: &Place, piece: Piece) -> io::Result<Arc<File>> {
        let open = || files::open_read(&self.path_of(place, piece.key));
        if piece.len as u64 == self.size_of(piece.key) {
            // One read takes it all; keeping it open would only push others out.
            return Ok(Arc::new(open()?));
        }
        self.shared.files.get((self.uid, piece.key, false), open)
    }

    pub(crate) fn stamp(&self, key: u32) -> Stamp {
        let index = if key == DATA { 0 } else { key as usize };
        let stamps = self.stamps.read().expect("no panic inside");
        stamps.get(index).copied().unwrap_or_default()
    }
}

/// Whether the file is not there any more, or shorter, or something else.
fn is_gone(e: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    let loops = e.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    matches!(
        e.kind(),
        NotFound | UnexpectedEof | NotADirectory | IsADirectory
    ) || loops
}
