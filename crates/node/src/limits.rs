//! Bounds on what a peer can make this node hold or do. docs/protocol.md lists them.

use std::time::Duration;

/// Connections being established at once; more are refused.
pub const MAX_HANDSHAKES: usize = 64;
/// Established connections; more are refused.
pub const MAX_CONNECTIONS: usize = 512;
/// Established connections that came from one network (an IPv4 /24 or IPv6 /64); more
/// are refused. A quarter: identities are free, networks are not.
pub const MAX_CONNECTIONS_PER_NETWORK: usize = 128;
/// A connection on which no channel is common to both ends for this long is closed:
/// it would keep a place from members.
pub const STRANGER_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests (bidirectional streams) that one peer may have open.
pub const MAX_OPEN_REQUESTS: u32 = 128;
/// Control streams that one peer may open: one.
pub const MAX_CONTROL_STREAMS: u32 = 1;
/// Largest frame body on a control stream: a batch of records, or a bitfield of
/// four million chunks.
pub const MAX_CONTROL_FRAME: usize = 1 << 20;
/// Largest request: 64 identifiers and numbers.
pub const MAX_REQUEST: usize = 4096;
/// Chunks that one request may name.
pub const MAX_REQUEST_CHUNKS: usize = 64;
/// Manifest pages that one request may name.
pub const MAX_REQUEST_PAGES: usize = 64;
/// Frames that may wait for one slow peer before its connection is closed.
pub const MAX_OUTGOING_FRAMES: usize = 1024;
/// Bytes of frames that may wait for one slow peer: a little more than the records
/// that one burst of a graph's answers holds.
pub const MAX_OUTGOING_BYTES: usize = 20 << 20;
/// Contents that one peer may announce to us at once.
pub const MAX_OPENS_PER_PEER: usize = 1024;
/// Channels that one peer may prove membership of on one connection.
pub const MAX_CHANNELS_PER_PEER: usize = 256;
/// Proofs that one peer may send on one connection: one a channel, and as many again
/// after it was refused or left.
pub const MAX_PROOFS_PER_PEER: usize = 2 * MAX_CHANNELS_PER_PEER;
/// Proofs that may be verified at once, of all peers together.
pub const MAX_PROOFS_AT_ONCE: usize = 4;
/// From one proof of any peer to the next: identities are free, so that what one alone
/// may cost bounds nothing. Longer than most take to verify.
pub const PROOF_PAUSE: Duration = Duration::from_millis(2);
/// A silent connection ends after this.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// An idle connection sends something this often.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A dial that has not succeeded by now has failed.
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Neighbours that a node looks for in one channel.
pub const WANTED_NEIGHBOURS: usize = 32;
/// Addresses known for one channel.
pub const MAX_KNOWN_PEERS: usize = 1024;
/// Peers remembered as banned.
pub const MAX_BANNED: usize = 4096;
/// Bytes of chunks received and not yet written, over all peers.
pub const MAX_UNWRITTEN: usize = 16 << 20;
/// Bytes of chunks read and not yet acknowledged, over all peers: two long paths of
/// 1 Gbit/s. One may have as much of it as is left for others, on a short path a seventh
/// of that.
pub const MAX_UNSENT: usize = 64 << 20;
/// While others wait for room in [`MAX_UNSENT`], a peer that is being sent something
/// and from which nothing at all has come for this long loses the connection: it was
/// killed, or its network is gone.
pub const SILENT_TAKER: Duration = Duration::from_secs(3);
/// A peer that has not taken what it asked for after this long, and as long again as
/// the bytes need at [`SLOWEST_TAKER`], loses the connection while others wait for
/// room, and after the time at [`SLOWEST_SENDER`](samara_swarm::limits::SLOWEST_SENDER)
/// in any case: what waits for it counts against [`MAX_UNSENT`], which everybody shares.
pub const TAKE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes a second that the slowest peer takes: a modem's 16 KiB.
pub const SLOWEST_TAKER: u64 = 16 << 10;
/// Bytes that one member tells another at once; with what is around them they are a
/// request.
pub const MAX_WORDS: usize = MAX_REQUEST - 96;
/// How often a second one peer may.
pub const MAX_WORDS_PER_SECOND: u32 = 64;
/// Bytes of a site's label.
pub const MAX_SITE_LABEL: usize = 64;
