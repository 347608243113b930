//! Numbers with a reason, in one place.

use std::time::Duration;

/// All addresses are in 10.78.0.0/16 and exist only inside namespaces of the bench.
pub(crate) const PREFIX: &str = "10.78";
/// Port of the BitTorrent tracker that the bench runs for the tools that need one.
pub(crate) const TRACKER_PORT: u16 = 6969;
/// Least token bucket of a shaped link, in bytes: two datagrams of segments that are cut later.
const TBF_BURST: u64 = 32 << 10;
/// Time between two looks of a kernel with HZ=250 at its token buckets, in microseconds.
const TBF_TICK: f64 = 4_000.0;
/// Longest queue in front of a shaped link, as time.
pub(crate) const TBF_LATENCY: &str = "50ms";
/// Carrier and IPv6 duplicate address detection of fresh interfaces.
pub(crate) const LINK_SETTLE: Duration = Duration::from_millis(2_200);
/// Between the sender's "ready" and the start of the receivers: announced, idle.
pub(crate) const SENDER_SETTLE: Duration = Duration::from_secs(1);
/// How often one receiver is looked at: the resolution of the pair's clock.
pub(crate) const POLL_PAIR: Duration = Duration::from_millis(2);
/// The same for a swarm, where seconds matter and sixteen receivers share the machine.
pub(crate) const POLL_SWARM: Duration = Duration::from_millis(20);
/// How often memory is sampled: a peak that is shorter than this can be missed.
pub(crate) const SAMPLE_PAIR: Duration = Duration::from_millis(20);
/// The same for a swarm.
pub(crate) const SAMPLE_SWARM: Duration = Duration::from_millis(250);
/// Touched before every run on top of what the run will write: the tools' own memory.
pub(crate) const WARM_SLACK: u64 = 300 << 20;
/// How much of a process's output is kept for looking at it.
pub(crate) const OUTPUT_KEPT: usize = 256 << 10;
/// How much of it stands in an error.
pub(crate) const OUTPUT_SHOWN: usize = 800;
/// Grace after SIGINT before SIGKILL.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(2);
/// A killed process that is still there after this is stuck in the kernel and left alone.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// A helper (`ip`, `tc`, `openssl`, `--version`) that takes longer hangs.
pub(crate) const HELPER_TIMEOUT: Duration = Duration::from_secs(30);
/// Foreign work below this share of one core counts as quiet.
pub(crate) const QUIET_SHARE: f64 = 0.08;
/// Largest packet that the kernel gives a TUN device, with its header.
pub(crate) const RELAY_BUFFER: usize = tun_rs::VIRTIO_NET_HDR_LEN + 65_535;
/// Packets that the relay takes in one direction before it looks at the other.
pub(crate) const RELAY_ROUND: usize = 64;
/// Time for which the relay's link saves up tokens, in case its thread was not run.
pub(crate) const RELAY_BURST: Duration = Duration::from_millis(2);
/// How much more readily than the tools the relay is run.
pub(crate) const RELAY_NICE: i32 = -10;
/// Packets that wait in a TUN device for the relay: not the path's queue, so longer than it.
pub(crate) const RELAY_DEVICE_QUEUE: usize = 10_000;

/// Token bucket in bytes of a link of `mbit` Mbit/s: small enough that a burst is not seen, large enough that the
/// rate is reached.
pub(crate) fn tbf_burst(mbit: f64) -> u64 {
    TBF_BURST.max((mbit * TBF_TICK / 8.0) as u64)
}
