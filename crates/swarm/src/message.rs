use samara_content::ChunkSet;
use samara_wire::WireError;

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
    /// Credit that the receiver of a grant has no use for.
    Release(u64),
    /// A chunk that the receiver of this message sent had the wrong hash.
    BadChunk(u32),
}

impl Message {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }

    /// Reads a message about a content of `chunk_count` chunks.
    ///
    /// Allocates in proportion to `bytes` and, for a snapshot, `chunk_count / 8` bytes.
    pub fn decode(_bytes: &[u8], _chunk_count: u32) -> Result<Self, WireError> {
        todo!()
    }
}
