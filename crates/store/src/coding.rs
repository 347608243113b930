//! Bringing back chunks from parity shards, and making the shards.

use samara_content::{ChunkSet, ContentError};
use thiserror::Error;

use crate::{Content, ReadError, WriteError, content::State};

/// Why a stripe could not be brought back, or its shards not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CodingError {
    /// Too few of the stripe's chunks and shards are here. `lost` are those that
    /// turned out damaged and have to be withdrawn.
    #[error("too little of stripe {stripe} is here")]
    TooLittle {
        /// Its number.
        stripe: u32,
        /// Chunks and shards that are not here any more, ascending.
        lost: Vec<u32>,
    },
    /// The publisher's shards are not those of its chunks: they are of no use.
    #[error("the parity of stripe {stripe} is not that of its chunks: the publisher made it wrong")]
    False {
        /// Its number.
        stripe: u32,
    },
    /// A chunk could not be read.
    #[error(transparent)]
    Read(ReadError),
    /// What came out could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Content {
    /// Brings back the chunks that are missing from a stripe, from as many chunks and
    /// shards of it as it needs; each was checked when it was written, and each chunk
    /// that comes out is checked against its own hash before it is. Returns their
    /// numbers; none if the content has no parity or none was missing.
    ///
    /// One stripe of a store is in memory at a time, at most
    /// [`MAX_STRIPE_BYTES`](samara_content::limits::MAX_STRIPE_BYTES).
    pub fn decode(&self, stripe: u32) -> Result<Vec<u32>, CodingError> {
        let Some(shards) = &self.shards else {
            return Ok(Vec::new());
        };
        let _one = self.shared.coding.lock().expect("no panic inside");
        let stripes = *shards.stripes();
        if stripe >= stripes.count() || stripes.chunks_of(stripe).all(|chunk| self.has(chunk)) {
            return Ok(Vec::new());
        }
        if self.place().state != State::Open {
            return Err(WriteError::NotWritable.into());
        }
        let members = || stripes.chunks_of(stripe).chain(stripes.shards_of(stripe));
        let mut given = Vec::with_capacity(stripes.needs(stripe) as usize);
        let mut lost = Vec::new();
        for number in members().filter(|number| self.has(*number)) {
            if given.len() == stripes.needs(stripe) as usize {
                break;
            }
            let mut bytes = Vec::new();
            match self.read_chunk(number, &mut bytes) {
                Ok(()) => given.push((number, bytes)),
                Err(ReadError::Changed { lost: more, .. }) => lost.extend(more),
                Err(ReadError::NotHere { .. }) => {}
                Err(error) => return Err(CodingError::Read(error)),
            }
        }
        let sources: Vec<u32> = given.iter().map(|(number, _)| *number).collect();
        let hash = |number| self.manifest.chunk(number).map(|chunk| chunk.hash);
        let found = match shards.coder().decode(stripe, given, hash) {
            Ok(found) => found,
            Err(ContentError::FalseParity { .. }) => {
                // Whose fault is it: the disk's, if one of these is not what it was.
                for number in sources {
                    if matches!(self.recheck(number), Ok(false)) {
                        lost.push(number);
                    }
                }
                return Err(match lost.is_empty() {
                    true => CodingError::False { stripe },
                    false => CodingError::TooLittle { stripe, lost },
                });
            }
            Err(_) => return Err(CodingError::TooLittle { stripe, lost }),
        };
        let mut back = Vec::with_capacity(found.len());
        for (chunk, bytes) in found {
            if self.wanted.contains(chunk) {
                self.verify_and_write(chunk, &bytes)?;
                back.push(chunk);
            }
        }
        Ok(back)
    }

    /// Makes those parity shards of `numbers` that are not here, from the chunks,
    /// which must be. Numbers of chunks are left aside.
    pub fn make_shards(&self, numbers: &ChunkSet) -> Result<(), CodingError> {
        let Some(shards) = &self.shards else {
            return Ok(());
        };
        let stripes = *shards.stripes();
        let missing = |number: &u32| numbers.contains(*number) && !shards.has(*number);
        for stripe in 0..stripes.count() {
            if !stripes.shards_of(stripe).any(|number| missing(&number)) {
                continue;
            }
            let _one = self.shared.coding.lock().expect("no panic inside");
            let mut chunks = Vec::with_capacity(stripes.needs(stripe) as usize);
            for chunk in stripes.chunks_of(stripe) {
                let mut bytes = Vec::new();
                self.read_chunk(chunk, &mut bytes).map_err(|e| match e {
                    ReadError::Changed { lost, .. } => CodingError::TooLittle { stripe, lost },
                    ReadError::NotHere { .. } => CodingError::TooLittle {
                        stripe,
                        lost: Vec::new(),
                    },
                    other => CodingError::Read(other),
                })?;
                chunks.push(bytes);
            }
            let made = shards.coder().encode(stripe, chunks);
            let made = made.map_err(|_| CodingError::False { stripe })?;
            for (number, bytes) in stripes.shards_of(stripe).zip(made) {
                if missing(&number) {
                    shards.write(number, &bytes).map_err(|e| match e {
                        WriteError::Mismatch { .. } => CodingError::False { stripe },
                        other => CodingError::Write(other),
                    })?;
                }
            }
        }
        Ok(())
    }
}
