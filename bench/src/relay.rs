//! A long path in one thread: what one namespace sends into its TUN device leaves the other's after the time that a
//! link of a given rate needs, a queue of a given length in front of it, and a given delay.
//!
//! `netem` is missing in many kernels, and `tbf` knows no delay. Segments that a sender's kernel hands over as one
//! (TSO, UDP GSO) stay one on the way, as between network cards that merge them on arrival: the rate counts all
//! their headers, delay and loss meet them together.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fmt,
    fs::File,
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::{
    error::{Context, Error, Result},
    limits,
    report::say,
};

/// First argument that makes the bench run as relay.
pub(crate) const RELAY: &str = "__relay";
/// Printed once both devices are there.
pub(crate) const READY: &str = "relay ready";

/// Between the two ends, the same in both directions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    /// In Mbit/s, Ethernet headers counted.
    pub(crate) rate: f64,
    /// One way, the packet's own time on the link not counted.
    pub(crate) delay: Duration,
}

impl Path {
    /// Longest wait in front of the link: a round trip, as a router that holds one bandwidth-delay product.
    pub(crate) fn queue(&self) -> Duration {
        2 * self.delay
    }

    fn seconds(&self, bytes: usize) -> f64 {
        bytes as f64 * 8.0 / (self.rate * 1e6)
    }

    /// Arguments after the program's name that make it this relay, started in one namespace, to `other`.
    pub(crate) fn command_line(&self, other: &str) -> [String; 4] {
        [
            RELAY.into(),
            self.rate.to_string(),
            self.delay.as_micros().to_string(),
            format!("/run/netns/{other}"),
        ]
    }

    fn parse(args: &[OsString]) -> Option<(Self, &OsString)> {
        let [rate, delay, other] = args else {
            return None;
        };
        let path = Self {
            rate: rate.to_str()?.parse().ok()?,
            delay: Duration::from_micros(delay.to_str()?.parse().ok()?),
        };
        Some((path, other))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rate, delay) = (self.rate, self.delay.as_millis());
        write!(f, "a path of {rate} Mbit/s and {delay} ms one way")
    }
}

/// Relays until killed. `args` are what follows [`RELAY`].
pub(crate) fn serve(args: &[OsString]) -> Result<()> {
    let (path, other) =
        Path::parse(args).ok_or_else(|| Error::Setup("this is an internal command".into()))?;
    let here = device()?;
    let namespace = File::open(other).context("opening the other namespace")?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(Into::into)
        .context("entering the other namespace")?;
    let there = device()?;
    // A path is never late: the tools that it connects wait, not it. Without the right to say so it runs as they do.
    let _ = rustix::process::nice(limits::RELAY_NICE);
    say(READY)?;
    let mut ways = [Way::new(path), Way::new(path)];
    let mut buffer = vec![0; limits::RELAY_BUFFER];
    loop {
        let ends = [&here, &there];
        for (i, way) in ways.iter_mut().enumerate() {
            way.take(ends[i], &mut buffer).context("reading a packet")?;
            way.give(ends[1 - i], Instant::now())
                .context("writing a packet")?;
        }
        let next = ways.iter().filter_map(Way::next).min();
        wait(ends, next).context("waiting for packets")?;
    }
}

fn device() -> Result<SyncDevice> {
    let device = DeviceBuilder::new()
        .name("eth0")
        // Large packets come whole, with a header that says how they are to be cut.
        .offload(true)
        .enable(false)
        .build_sync()
        .context("making a TUN device")?;
    device
        .set_nonblocking(true)
        .context("setting up a TUN device")?;
    Ok(device)
}

fn wait(ends: [&SyncDevice; 2], next: Option<Instant>) -> io::Result<()> {
    let mut fds = ends.map(|end| PollFd::new(end, PollFlags::IN));
    let timeout = next.map(|at| {
        let left = at.saturating_duration_since(Instant::now());
        Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// One direction.
struct Way {
    link: Link,
    /// When each packet arrives, in order.
    flying: VecDeque<(Instant, Vec<u8>)>,
}

impl Way {
    fn new(path: Path) -> Self {
        Self {
            link: Link { path, free: None },
            flying: VecDeque::new(),
        }
    }

    /// Takes what waits at the one end, as much as fits into one round.
    fn take(&mut self, from: &SyncDevice, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..limits::RELAY_ROUND {
            match from.recv(buffer) {
                Ok(n) => {
                    let packet = &buffer[..n];
                    if let Some(due) = self.link.pass(wire_bytes(packet), Instant::now()) {
                        self.flying.push_back((due, packet.to_vec()));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Down: the other end is about to be set up, or gone already.
                Err(error) if error.raw_os_error() == Some(EIO) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Hands over what has arrived.
    fn give(&mut self, to: &SyncDevice, now: Instant) -> io::Result<()> {
        while self.next().is_some_and(|due| due <= now) {
            let Some((_, packet)) = self.flying.pop_front() else {
                break;
            };
            match to.send(&packet) {
                Ok(_) => {}
                // What the other end's kernel does not take is lost, as on any path.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if [EIO, EINVAL].map(Some).contains(&error.raw_os_error()) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<Instant> {
        self.flying.front().map(|(due, _)| *due)
    }
}

const EIO: i32 = rustix::io::Errno::IO.raw_os_error();
const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();

/// A link of a rate, with a queue before and a delay behind it.
struct Link {
    path: Path,
    /// When the last packet has left it.
    free: Option<Instant>,
}

impl Link {
    /// When a packet of `bytes` that comes at `now` arrives; `None` if the queue is full.
    fn pass(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        // Tokens for the time in which this thread was not run: the link would have sent meanwhile.
        let earliest = now.checked_sub(limits::RELAY_BURST).unwrap_or(now);
        let start = self.free.map_or(earliest, |free| free.max(earliest));
        if start.saturating_duration_since(now) > self.path.queue() {
            return None;
        }
        let left = start + Duration::from_secs_f64(self.path.seconds(bytes));
        self.free = Some(left);
        Some(left.max(now) + self.path.delay)
    }
}

/// Bytes on the wire of a packet with its `virtio_net_hdr`: all segments, each with its headers.
fn wire_bytes(packet: &[u8]) -> usize {
    const ETHERNET: usize = 14;
    const UDP: usize = 8;
    // <linux/virtio_net.h>
    const GSO_NONE: u8 = 0;
    const GSO_UDP_L4: u8 = 5;
    const GSO_ECN: u8 = 0x80;
    let Some((header, ip)) = packet.split_at_checked(tun_rs::VIRTIO_NET_HDR_LEN) else {
        return 0;
    };
    let field = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    // The header's own length of headers is only a hint; where the checksum starts, the transport's header does.
    let (segment, transport) = (field(4), field(6));
    let headers = match header[1] & !GSO_ECN {
        GSO_NONE => return ip.len() + ETHERNET,
        GSO_UDP_L4 => transport + UDP,
        _ => {
            let words = ip.get(transport + 12).map_or(5, |byte| byte >> 4);
            transport + 4 * usize::from(words)
        }
    };
    let payload = ip.len().saturating_sub(headers);
    let segments = payload.div_ceil(segment.max(1)).max(1);
    payload + segments * (headers + ETHERNET)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: Path = Path {
        rate: 8.0, // a byte a microsecond
        delay: Duration::from_millis(10),
    };

    #[test]
    fn packets_leave_at_the_link_s_rate_and_arrive_after_the_delay() {
        let now = Instant::now();
        let mut link = Link {
            path: PATH,
            free: Some(now),
        };
        let after = |us: u64| Some(now + Duration::from_micros(us));
        assert_eq!(link.pass(1_000, now), after(11_000));
        assert_eq!(link.pass(500, now), after(11_500));
        // The link has been idle: nothing is saved up beyond the burst.
        let later = now + Duration::from_secs(1);
        let burst = limits::RELAY_BURST.as_micros() as usize;
        assert_eq!(link.pass(burst, later), Some(later + PATH.delay));
        let next = link.pass(1_000, later).unwrap();
        assert_eq!(next, later + PATH.delay + Duration::from_millis(1));
    }

    #[test]
    fn a_full_queue_drops() {
        let now = Instant::now();
        let mut link = Link {
            path: PATH,
            free: Some(now),
        };
        let full = PATH.queue().as_micros() as usize;
        assert!(link.pass(full, now).is_some());
        assert!(link.pass(1, now).is_some(), "exactly full is not over");
        assert!(link.pass(1, now).is_none());
    }

    #[test]
    fn every_segment_counts_with_its_headers() {
        let packet = |kind: u8, segment: u16, transport: u16, bytes: usize| {
            let mut packet = vec![0, kind];
            for field in [u16::MAX, segment, transport, 0] {
                packet.extend(field.to_ne_bytes());
            }
            packet.resize(packet.len() + bytes, 0x80);
            packet
        };
        assert_eq!(wire_bytes(&packet(0, 0, 0, 1_500)), 1_514);
        // TCP over IPv4, with timestamps: three segments of 1,000 and one of 5.
        let headers = 20 + 32;
        let tcp = packet(1, 1_000, 20, 3_005 + headers);
        assert_eq!(wire_bytes(&tcp), 3_005 + 4 * (headers + 14));
        // UDP over IPv4: two of 1,200.
        assert_eq!(
            wire_bytes(&packet(5, 1_200, 20, 2_428)),
            2_400 + 2 * (28 + 14)
        );
        assert_eq!(wire_bytes(&[0; 3]), 0);
    }

    #[test]
    fn a_path_survives_its_command_line() {
        let args = PATH.command_line("smb1-b").map(OsString::from);
        let (path, other) = Path::parse(&args[1..]).unwrap();
        assert_eq!((path.rate, path.delay), (PATH.rate, PATH.delay));
        assert_eq!(other, "/run/netns/smb1-b");
        assert!(Path::parse(&args).is_none());
    }
}
