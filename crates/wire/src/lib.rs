//! The alphabet that every room of Samara writes with: bounded readers and
//! writers of canonical bytes, the frame envelope, and the identifiers.
//!
//! Nothing here knows a message. Whatever is read carries its bound with it, so a
//! decoder cannot forget one, and every value has exactly one encoding: what
//! decodes re-encodes to the same bytes, which is what lets a hash or a
//! signature over the bytes stand for the value.

mod frame;
mod id;
mod reader;
mod writer;

pub use frame::{Frame, FrameDecoder, encode_frame};
pub use id::{ChannelId, ChunkHash, ContentId, ParseIdError, PeerId, RecordId, base32};
pub use reader::{Reader, WireError};
pub use writer::Writer;

/// Largest value of a varint: 2^62 - 1 (RFC 9000 section 16).
pub const VARINT_MAX: u64 = (1 << 62) - 1;
