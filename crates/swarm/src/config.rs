use std::time::Duration;

/// How a node behaves in its swarms. The defaults are what the simulator found
/// best on equal links; see docs/architecture.md for the table.
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
    /// Peers served at once while each takes what it is given. 2: fewer leaves
    /// the uplink idle between one peer and the next, more delays everyone's
    /// first complete chunk.
    pub upload_slots: usize,
    /// Peers served at once if those above cannot take all that the uplink
    /// gives. 8: more costs fairness towards the deprived, fewer leaves uplink unused
    /// when receivers are slower than this node.
    pub max_upload_slots: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            announce_delay: Duration::from_millis(20),
            credit_timeout: Duration::from_millis(500),
            request_timeout: Duration::from_secs(3),
            upload_slots: 2,
            max_upload_slots: 8,
        }
    }
}
