use samara_content::{ChunkSet, limits::MAX_TOTAL_BYTES};
use samara_wire::{Reader, WireError, Writer};

use crate::limits::{MAX_CREDIT, MAX_LIST, MAX_SUGGESTED};

mod tag {
    pub(super) const HAVE: u8 = 1;
    pub(super) const HAVE_MORE: u8 = 2;
    pub(super) const WITHDRAW: u8 = 3;
    pub(super) const WANT: u8 = 4;
    pub(super) const GRANT: u8 = 5;
    pub(super) const RELEASE: u8 = 6;
    pub(super) const BAD_CHUNK: u8 = 7;
}

/// What peers tell each other about one content. The node says which content,
/// and frames it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// All that the sender has: first when a peer joins, replaces what was said before.
    Have(ChunkSet),
    /// Chunks that the sender has stored since, strictly ascending.
    HaveMore(Vec<u32>),
    /// Chunks that the sender has no longer, strictly ascending.
    Withdraw(Vec<u32>),
    /// Bytes that the sender still wants; 0: nothing. Also says that the sender
    /// is ready for credit, after it gave some back.
    Want(u64),
    /// Credit: the receiver may request this many bytes, overdrawing by less than a chunk.
    Grant {
        /// At least 1, at most [`limits::MAX_CREDIT`](crate::limits::MAX_CREDIT).
        bytes: u64,
        /// Chunks that should rather be requested than others, in this order.
        suggested: Vec<u32>,
    },
    /// Credit that the receiver of a grant has no use for: at least 1 byte, at
    /// most [`limits::MAX_CREDIT`](crate::limits::MAX_CREDIT).
    Release(u64),
    /// A chunk that the receiver of this message sent had the wrong hash.
    BadChunk(u32),
}

impl Message {
    /// Chunks that have to be looked at to take it in, of a content of `count`.
    pub(crate) fn chunks(&self, count: u32) -> u64 {
        match self {
            Self::Have(_) => u64::from(count),
            Self::HaveMore(chunks) | Self::Withdraw(chunks) => chunks.len() as u64,
            Self::Grant { suggested, .. } => suggested.len() as u64,
            Self::Want(_) | Self::Release(_) | Self::BadChunk(_) => 1,
        }
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        match self {
            Self::Have(set) => {
                w.u8(tag::HAVE);
                w.raw(&set.encode());
            }
            Self::HaveMore(chunks) => {
                w.u8(tag::HAVE_MORE);
                write_ascending(&mut w, chunks);
            }
            Self::Withdraw(chunks) => {
                w.u8(tag::WITHDRAW);
                write_ascending(&mut w, chunks);
            }
            Self::Want(bytes) => {
                w.u8(tag::WANT);
                w.varint(*bytes);
            }
            Self::Grant { bytes, suggested } => {
                w.u8(tag::GRANT);
                w.varint(*bytes);
                w.varint(suggested.len() as u64);
                for chunk in suggested {
                    w.varint(u64::from(*chunk));
                }
            }
            Self::Release(bytes) => {
                w.u8(tag::RELEASE);
                w.varint(*bytes);
            }
            Self::BadChunk(chunk) => {
                w.u8(tag::BAD_CHUNK);
                w.varint(u64::from(*chunk));
            }
        }
        w.finish()
    }

    /// Reads a message about a content of `chunk_count` chunks.
    ///
    /// Allocates in proportion to `bytes` and, for a snapshot, `chunk_count / 8` bytes.
    pub fn decode(bytes: &[u8], chunk_count: u32) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let msg = match r.u8("swarm message")? {
            tag::HAVE => Self::Have(ChunkSet::decode(r.rest(), chunk_count)?),
            tag::HAVE_MORE => Self::HaveMore(read_ascending(&mut r, chunk_count)?),
            tag::WITHDRAW => Self::Withdraw(read_ascending(&mut r, chunk_count)?),
            tag::WANT => Self::Want(r.varint("wanted bytes", MAX_TOTAL_BYTES)?),
            tag::GRANT => {
                let bytes = read_credit(&mut r)?;
                let n = r.count("suggested chunks", MAX_SUGGESTED, 1)?;
                let suggested = (0..n)
                    .map(|_| read_chunk(&mut r, chunk_count))
                    .collect::<Result<_, _>>()?;
                Self::Grant { bytes, suggested }
            }
            tag::RELEASE => Self::Release(read_credit(&mut r)?),
            tag::BAD_CHUNK => Self::BadChunk(read_chunk(&mut r, chunk_count)?),
            _ => {
                return Err(WireError::Invalid {
                    field: "swarm message",
                });
            }
        };
        r.finish()?;
        Ok(msg)
    }
}

fn read_chunk(r: &mut Reader<'_>, chunk_count: u32) -> Result<u32, WireError> {
    const FIELD: &str = "chunk number";
    let last = chunk_count
        .checked_sub(1)
        .ok_or(WireError::Invalid { field: FIELD })?;
    r.varint32(FIELD, last)
}

fn read_credit(r: &mut Reader<'_>) -> Result<u64, WireError> {
    const FIELD: &str = "credit";
    match r.varint(FIELD, MAX_CREDIT)? {
        0 => Err(WireError::Invalid { field: FIELD }),
        bytes => Ok(bytes),
    }
}

/// Count, first, then the distance of each to the one before, less one: ascending
/// by construction.
fn write_ascending(w: &mut Writer, chunks: &[u32]) {
    w.varint(chunks.len() as u64);
    let mut next = 0;
    for chunk in chunks {
        w.varint(u64::from(chunk - next));
        next = chunk + 1;
    }
}

fn read_ascending(r: &mut Reader<'_>, chunk_count: u32) -> Result<Vec<u32>, WireError> {
    let n = r.count("chunk list", MAX_LIST, 1)?;
    if n == 0 {
        return Err(WireError::Invalid {
            field: "chunk list",
        });
    }
    let mut chunks = Vec::with_capacity(n);
    let mut next = 0;
    for _ in 0..n {
        // `next` chunks are behind us, so what is left bounds the distance.
        let chunk = next + read_chunk(r, chunk_count - next)?;
        chunks.push(chunk);
        next = chunk + 1;
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(msg: Message, chunk_count: u32) {
        assert_eq!(Message::decode(&msg.encode(), chunk_count), Ok(msg));
    }

    /// The bytes in docs/protocol.md.
    #[test]
    fn layouts_are_those_of_the_specification() {
        for (msg, bytes) in [
            (
                Message::Have(ChunkSet::full(100)),
                &[1, 1, 0, 0x40, 100][..],
            ),
            (
                Message::HaveMore(vec![3, 4, 70]),
                &[2, 3, 3, 0, 0x40, 65][..],
            ),
            (Message::Withdraw(vec![9]), &[3, 1, 9]),
            (Message::Want(0), &[4, 0]),
            (
                Message::Grant {
                    bytes: 65_536,
                    suggested: vec![7, 2],
                },
                &[5, 0x80, 1, 0, 0, 2, 7, 2],
            ),
            (Message::Release(1), &[6, 1]),
            (Message::BadChunk(64), &[7, 0x40, 64]),
        ] {
            assert_eq!(msg.encode(), bytes, "{msg:?}");
            round_trip(msg, 100);
        }
    }

    #[test]
    fn bounds_hold_on_both_sides() {
        round_trip(Message::HaveMore((0..MAX_LIST as u32).collect()), 10_000);
        let long = Message::HaveMore((0..=MAX_LIST as u32).collect()).encode();
        assert!(Message::decode(&long, 10_000).is_err());

        let grant = |bytes, n| Message::Grant {
            bytes,
            suggested: vec![0; n],
        };
        round_trip(grant(MAX_CREDIT, MAX_SUGGESTED), 1);
        for refused in [
            grant(MAX_CREDIT + 1, 0),
            grant(0, 0),
            grant(1, MAX_SUGGESTED + 1),
            Message::Release(0),
            Message::Release(MAX_CREDIT + 1),
            Message::Want(MAX_TOTAL_BYTES + 1),
            Message::HaveMore(vec![]),
            Message::BadChunk(1),
            Message::Withdraw(vec![0, 1]),
        ] {
            assert!(
                Message::decode(&refused.encode(), 1).is_err(),
                "{refused:?}"
            );
        }
        round_trip(Message::BadChunk(0), 1);
        assert!(Message::decode(&Message::BadChunk(0).encode(), 0).is_err());
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            tag in 0u8..9,
            body in proptest::collection::vec(0u8..80, 0..24),
            chunk_count in 0u32..200,
        ) {
            let mut bytes = vec![tag];
            bytes.extend(body);
            if let Ok(msg) = Message::decode(&bytes, chunk_count) {
                prop_assert_eq!(msg.encode(), bytes);
            }
        }
    }
}
