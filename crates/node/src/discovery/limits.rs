//! Bounds on what the local network and the DHT can make this node hold or do.
//! docs/protocol.md lists them.

use std::time::Duration;

/// Announcements of the local network that are remembered.
pub(crate) const MAX_LAN_INSTANCES: usize = 512;
/// Channel names read from one announcement: as many as fit one instance.
pub(crate) const MAX_NAMES_PER_ANSWER: usize = 45;
/// Instances that this node announces itself under: room for
/// 360 channels, more than it may share with one peer.
pub(crate) const MAX_OWN_INSTANCES: usize = 8;
/// Records that the mDNS library may have in its cache, which has no bound of its
/// own: beyond it mDNS is switched off for [`LAN_PAUSE`].
pub(crate) const MAX_LAN_RECORDS: i64 = 8192;
/// How often that is looked at.
pub(crate) const LAN_CHECK: Duration = Duration::from_secs(1);
/// How long mDNS is off after a flood.
pub(crate) const LAN_PAUSE: Duration = Duration::from_secs(60);
/// Hints of the local network that are passed on at once, and each second from
/// then on: each may cost a dial.
pub(crate) const HINT_BURST: u32 = 64;
/// See [`HINT_BURST`].
pub(crate) const HINTS_PER_SECOND: u32 = 4;
/// A neighbour that goes on saying that it is there is passed on again after this: when
/// it was first, there may have been no room for it.
pub(crate) const LAN_RETELL: Duration = Duration::from_secs(60);
/// Unproved addresses that are kept for one peer.
pub(crate) const MAX_HINTS: usize = 4;
/// Peers of one channel that are known by hearsay alone: they take no room from
/// those that a link or a signature names.
pub(crate) const MAX_HINTED_PEERS: usize = 64;
/// Dials to hearsay under way at once.
pub(crate) const MAX_HINT_DIALS: usize = 8;
/// Addresses of unknown peers that are remembered, tried or not, over all channels.
pub(crate) const MAX_STRANGERS: usize = 256;
/// An address of an unknown peer is not dialled again before.
pub(crate) const STRANGER_RETRY: Duration = Duration::from_secs(600);
/// Questions to the DHT under way at once.
pub(crate) const MAX_LOOKUPS: usize = 8;
/// Addresses taken from one question to the DHT.
pub(crate) const MAX_DHT_ADDRS: usize = 64;
/// A question to the DHT ends after this.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);
/// Peers whose addresses are looked for at once.
pub(crate) const MAX_SOUGHT_PEERS: usize = 64;
