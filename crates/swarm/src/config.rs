use std::time::Duration;

use crate::Policy;

/// How a node behaves in its swarms. The defaults are what the simulator found
/// best on equal links with round trips from 2 to 40 ms.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long announcements of new chunks are collected. 20 ms: longer delays
    /// every chunk by that at each hop, shorter costs a message per chunk and
    /// neighbour.
    pub announce_delay: Duration,
    /// Credit that a peer has not used after this (or eight round trips, if
    /// that is longer) is taken back. 500 ms: a peer spends or returns credit as soon
    /// as it gets it, so only a stalled one reaches it.
    pub credit_timeout: Duration,
    /// A request that brings nothing for this long (or eight times what it
    /// should take) is cancelled and its chunks are asked for elsewhere. 3 s:
    /// shorter gives up on a peer during an ordinary loss of packets.
    pub request_timeout: Duration,
    /// Peers that have credit or answers outstanding at once. 16: each has only
    /// two or three chunks on a short path, so this is a queue of 48 chunks at most. Fewer
    /// leave the uplink idle whenever receivers are busy with other senders
    /// (simulated, 16 receivers on equal links: 1.03 of the bound with 16, 1.06
    /// with 8, 1.08 with 4); more delay everybody's first complete chunk.
    pub upload_slots: usize,
    /// Whom to serve first. The last peer: nobody waits for long, and everybody has
    /// something to pass on.
    pub policy: Policy,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            announce_delay: Duration::from_millis(20),
            credit_timeout: Duration::from_millis(500),
            request_timeout: Duration::from_secs(3),
            upload_slots: 16,
            policy: Policy::LastPeer,
        }
    }
}
