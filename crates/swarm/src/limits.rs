//! Every bound on what a peer can make this room hold or do, with its reason.

/// Peers in one content's swarm; who joins beyond is ignored. As many as a node
/// has connections.
pub const MAX_LINKS: usize = 512;

/// Chunks that one request names. 1 MiB of small chunks: enough that a fast path
/// carries several requests instead of thousands.
pub const MAX_REQUEST_CHUNKS: usize = 64;

/// Chunks in one [`HaveMore`](crate::Message::HaveMore) or
/// [`Withdraw`](crate::Message::Withdraw); longer lists are sent in parts.
pub const MAX_LIST: usize = 8192;

/// Chunks that come suggested with one grant.
pub const MAX_SUGGESTED: usize = 1024;

/// Bytes of credit that one peer may have outstanding, used or not: fills
/// 1 Gbit/s over 130 ms, from the grant to the acknowledgement of what came of it,
/// and leaves room to find a faster rate.
pub const MAX_CREDIT: u64 = 64 << 20;

/// Requests of one peer that are answered at once, over all contents.
pub const MAX_SERVES_PER_PEER: usize = 128;

/// How often one chunk is sent to one peer. Twice: an honest peer may lose an
/// answer, none needs a chunk three times. An answer that the peer stopped, or that broke
/// off, is not one of them.
pub const MAX_SENDS_PER_CHUNK: u8 = 2;

/// Bad chunks from one peer until it is banned: on repetition.
pub const MAX_BAD_CHUNKS: u32 = 2;

/// Requests without credit from one peer until it is banned. An honest peer's
/// request may cross the message of a withdrawn chunk or the taking back of its credit.
pub const MAX_REFUSALS: u32 = 256;

/// Chunks that one peer may have us look at by its messages at once, over all
/// contents, until it is banned: those that a list names, and all of a content for a
/// snapshot ([`Have`](crate::Message::Have)), though one of millions may have five
/// bytes. Sixteen of the largest.
pub const LOOK_BURST: u64 = 64 << 20;

/// The same a second after that.
pub const LOOK_RATE: u64 = 1 << 20;

/// What any message costs beside, for it may lead to a look at all peers. So 4,096 a
/// second, where an honest peer sends some hundreds at 10 Gbit/s.
pub const MESSAGE_LOOKS: u64 = 256;

/// Bytes a second below which a peer that sends is given up as if it were silent: an
/// eighth of the lowest limit that a node can be given, for it may have a few to serve.
pub const SLOWEST_SENDER: u64 = 128;

/// Peers remembered as banned; the oldest is forgotten.
pub const MAX_BANNED: usize = 1024;

/// Peers that are gone whose offences are remembered; the oldest is forgotten.
pub const MAX_OFFENDERS: usize = 1024;

/// Peers that are gone of which a content remembers how much it sent them; the oldest
/// is forgotten.
pub const MAX_SPENT: usize = 256;

/// Bytes requested and not yet here, over all peers of one content; grants
/// beyond it are given back.
pub const MAX_IN_FLIGHT: u64 = 128 << 20;
