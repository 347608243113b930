use serde::{Deserialize, Serialize};

/// The answer to [`Request::Explain`](super::Request::Explain).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Content id.
    pub content: String,
    /// Name of the file or folder.
    pub name: String,
    /// What limits it: `no_source`, `shut_out`, `yields`, `one_source`, `uplinks`, `own_limit`,
    /// `receive_window`, `disk`, `cpu`; or how it stands: `complete`, `at_rest`, `leech`, `share`, `partial`,
    /// `paused`, `failed`, `too_soon`.
    pub verdict: String,
    /// The same for people.
    pub what: String,
    /// What helps; empty if nothing is to be done.
    pub advice: String,
    /// Bytes verified and written.
    pub have: u64,
    /// Bytes wanted.
    pub total: u64,
    /// Bytes a second coming in.
    pub rate_down: u64,
    /// Bytes a second going out.
    pub rate_up: u64,
    /// Peers with which it is exchanged.
    pub peers: u32,
    /// Those of them that have something that is missing here.
    pub sources: u32,
    /// Seconds that were looked at: the shares are of these.
    pub seconds: f64,
    /// What was waited for.
    pub shares: Shares,
    /// Those who send, or have something that is missing here; the fastest first.
    pub from: Vec<SourceStatus>,
}

/// Shares of the time, 0 to 1 each. Several can go on at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// Nobody connected had anything that is missing.
    pub source: f64,
    /// Something more urgent went first.
    #[serde(default)]
    pub urgent: f64,
    /// Somebody had, and granted nothing yet.
    pub credit: f64,
    /// This node's limits held back what comes in.
    pub limit: f64,
    /// This node's limits held back what goes out.
    pub limit_up: f64,
    /// What had arrived waited for those who hash and write.
    pub writing: f64,
    /// A sender had more than the flow control lets be under way.
    pub window: f64,
    /// The network thread computed, whatever for.
    pub engine_cpu: f64,
    /// The network thread was ready to run and had no processor.
    #[serde(default)]
    pub engine_wait: f64,
    /// Those who hash and write computed, of the time that they were at it.
    pub writer_cpu: f64,
    /// They were ready to run and had no processor, likewise.
    #[serde(default)]
    pub writer_wait: f64,
    /// The cgroup of this process had used up its quota.
    #[serde(default)]
    pub throttled: f64,
}

/// Somebody who sends, in [`Explanation`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Public key, base32.
    pub peer_id: String,
    /// Its address as we see it.
    pub addr: String,
    /// Bytes a second that come from it.
    pub rate: u64,
    /// Round-trip time in milliseconds.
    pub rtt_ms: f64,
}
