//! A network in memory: every node on a link of its own to one switch, each direction
//! a token bucket with a short queue that drops what it has no room for, as the
//! bench's `tbf`.

use std::{
    collections::VecDeque,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, IoSliceMut},
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::clock::{Clock, Nanos};

/// Ethernet, IPv4 and UDP.
pub(super) const HEADERS: usize = 14 + 20 + 8;
/// Largest datagram of an Ethernet frame of 1,500 bytes.
const MAX_DATAGRAM: usize = 1_472;
/// Segments that a socket takes in one call, as the kernel.
const SEGMENTS: usize = 64;
const PORT: u16 = 7421;

/// What every link is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkSpec {
    /// Bytes a second, headers of Ethernet included.
    pub(super) rate: f64,
    /// Bytes that may leave at once after a pause.
    pub(super) burst: u64,
    /// Longest queue, as time.
    pub(super) queue: Nanos,
    /// From one node to another, queues not counted.
    pub(super) delay: Nanos,
}

/// One direction of one node's link.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Pipe {
    /// When all that it took would be through, counted without its burst.
    through_at: Nanos,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) dropped: u64,
    /// Time that nothing was there for.
    pub(super) idle: Nanos,
}

impl Pipe {
    /// When a packet leaves; `None`: it is dropped.
    fn take(&mut self, now: Nanos, spec: &LinkSpec, bytes: usize) -> Option<Nanos> {
        let takes = |bytes: f64| (bytes / spec.rate * 1e9) as Nanos;
        let burst = takes(spec.burst as f64);
        if self.through_at.saturating_sub(now) > spec.queue + burst {
            self.dropped += 1;
            return None;
        }
        let start = self.through_at.max(now.saturating_sub(burst));
        self.idle += start - self.through_at;
        self.through_at = start + takes(bytes as f64);
        self.packets += 1;
        self.bytes += bytes as u64;
        Some(self.through_at.max(now))
    }

    /// How long what waits takes.
    pub(super) fn backlog(&self, now: Nanos) -> Nanos {
        self.through_at.saturating_sub(now)
    }
}

/// The switch and all links.
#[derive(Clone)]
pub(super) struct Wire {
    clock: Clock,
    spec: LinkSpec,
    state: Arc<Mutex<State>>,
}

struct State {
    nodes: Vec<Port>,
    /// The rate of each node's uplink, over that of the links.
    ups: Vec<f64>,
    trace: DefaultHasher,
}

#[derive(Default)]
struct Port {
    up: Pipe,
    down: Pipe,
    arrived: VecDeque<(usize, Bytes)>,
    reader: Option<Waker>,
}

impl Wire {
    pub(super) fn new(clock: &Clock, spec: LinkSpec, ups: Vec<f64>) -> Self {
        let state = State {
            nodes: ups.iter().map(|_| Port::default()).collect(),
            ups,
            trace: DefaultHasher::new(),
        };
        Self {
            clock: clock.clone(),
            spec,
            state: Arc::new(Mutex::new(state)),
        }
    }

    pub(super) fn socket(&self, node: usize) -> Socket {
        Socket {
            wire: self.clone(),
            node,
        }
    }

    /// A node's uplink and downlink.
    pub(super) fn pipes(&self, node: usize) -> (Pipe, Pipe) {
        let port = &self.lock().nodes[node];
        (port.up, port.down)
    }

    /// Hash over every packet and its time.
    pub(super) fn trace(&self) -> u64 {
        self.lock().trace.finish()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics with it")
    }

    fn send(&self, from: usize, to: usize, burst: Burst) {
        let now = self.clock.nanos();
        let mut state = self.lock();
        (now, from, to, burst.bytes.len()).hash(&mut state.trace);
        if burst.segment > MAX_DATAGRAM || to >= state.nodes.len() {
            return;
        }
        let size = burst.on_the_wire();
        let spec = LinkSpec {
            rate: self.spec.rate * state.ups[from],
            ..self.spec
        };
        let Some(left) = state.nodes[from].up.take(now, &spec, size) else {
            return;
        };
        drop(state);
        let wire = self.clone();
        let at = left + self.spec.delay;
        self.clock
            .plan(at, move |now| wire.forward(now, from, to, burst));
    }

    /// At the switch.
    fn forward(&self, now: Nanos, from: usize, to: usize, burst: Burst) {
        let size = burst.on_the_wire();
        let Some(left) = self.lock().nodes[to].down.take(now, &self.spec, size) else {
            return;
        };
        let wire = self.clone();
        self.clock
            .plan(left, move |_| wire.deliver(from, to, burst));
    }

    fn deliver(&self, from: usize, to: usize, burst: Burst) {
        let mut state = self.lock();
        let port = &mut state.nodes[to];
        port.arrived
            .extend(burst.datagrams().map(|bytes| (from, bytes)));
        let reader = port.reader.take();
        drop(state);
        if let Some(reader) = reader {
            self.clock.stand_still();
            reader.wake();
        }
    }
}

/// Datagrams of one size, the last may be shorter, which share their fate.
struct Burst {
    bytes: Bytes,
    segment: usize,
}

impl Burst {
    fn on_the_wire(&self) -> usize {
        self.bytes.len() + HEADERS * self.bytes.len().div_ceil(self.segment)
    }

    fn datagrams(&self) -> impl Iterator<Item = Bytes> {
        (0..self.bytes.len()).step_by(self.segment).map(|start| {
            self.bytes
                .slice(start..self.bytes.len().min(start + self.segment))
        })
    }
}

pub(super) fn address(node: usize) -> SocketAddr {
    let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + node as u32);
    SocketAddr::from((ip, PORT))
}

fn node_at(address: SocketAddr) -> usize {
    let SocketAddr::V4(v4) = address else {
        return usize::MAX;
    };
    (u32::from(*v4.ip()) - u32::from(Ipv4Addr::new(10, 0, 0, 1))) as usize
}

/// A node's socket.
pub(super) struct Socket {
    wire: Wire,
    node: usize,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.node).finish()
    }
}

/// A full queue drops; it never asks to wait.
#[derive(Debug)]
struct Writable;

impl UdpPoller for Writable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let to = node_at(transmit.destination);
        let all = Bytes::copy_from_slice(transmit.contents);
        let size = transmit.segment_size.unwrap_or(all.len()).max(1);
        let burst = Burst {
            bytes: all,
            segment: size,
        };
        self.wire.send(self.node, to, burst);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.wire.lock();
        let port = &mut state.nodes[self.node];
        if port.arrived.is_empty() {
            port.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some((from, bytes)) = port.arrived.pop_front() else {
                break;
            };
            buf[..bytes.len()].copy_from_slice(&bytes);
            *meta = RecvMeta {
                addr: address(from),
                len: bytes.len(),
                stride: bytes.len(),
                ecn: None,
                dst_ip: None,
            };
            count += 1;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(address(self.node))
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
