//! A UDP socket that merges the transmits that follow one another.
//!
//! quinn gives the socket at most ten datagrams at once, a private constant of its
//! own; the kernel takes 64 KB of equal ones in a single call (UDP GSO). What is
//! sent in bursts is therefore gathered here, until it is as much as the kernel
//! takes, is of another kind than what came before, or nobody added to it while the
//! other tasks of the runtime had their turn.

use std::{
    fmt,
    future::poll_fn,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{EcnCodepoint, RecvMeta, Transmit},
};

/// Most bytes of one call: the kernel counts the headers of IP and UDP in its 65,535.
const MAX_BYTES: usize = 65_000;
/// Most datagrams of one call: what every kernel with UDP GSO takes
/// (`UDP_MAX_SEGMENTS` of Linux 4.18).
const MAX_SEGMENTS: usize = 64;
/// Turns of the runtime without more that end a burst. A connection sends twenty
/// datagrams a turn; with two turns instead of one, calls of 44 are filled and the
/// sender's system time falls by a third more.
const TURNS: u8 = 2;

/// The socket, for quinn. Dropping it ends its task.
pub(crate) struct MergingSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    shared: Arc<Shared>,
}

struct Shared {
    gathered: Mutex<Gathered>,
}

/// Datagrams of one size to one destination, and a last one that may be shorter.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Zero while nothing is gathered.
    segment: usize,
    kind: Option<Kind>,
    /// The last datagram is shorter: nothing can follow it.
    full: bool,
    /// Turns that the task still gives the others before it sends.
    turns: u8,
    /// The task, while it has nothing to do.
    idle: Option<Waker>,
    closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    src_ip: Option<IpAddr>,
}

impl MergingSocket {
    /// Starts the task that sends what nobody adds to, on the current runtime.
    pub(crate) fn start(inner: Arc<dyn AsyncUdpSocket>) -> Self {
        let shared = Arc::new(Shared {
            gathered: Mutex::default(),
        });
        tokio::spawn(flush_idle(Arc::clone(&inner), Arc::clone(&shared)));
        Self { inner, shared }
    }
}

impl Drop for MergingSocket {
    fn drop(&mut self) {
        let mut gathered = self.shared.lock();
        gathered.closed = true;
        gathered.wake();
    }
}

impl fmt::Debug for MergingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MergingSocket").field(&self.inner).finish()
    }
}

impl AsyncUdpSocket for MergingSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut gathered = self.shared.lock();
        let segments = self.inner.max_transmit_segments().min(MAX_SEGMENTS);
        if gathered.takes(transmit, segments) {
            gathered.add(transmit);
            // A burst's end is known here; the rest waits for the task.
            if gathered.full {
                // What does not go now goes later: it was taken.
                return would_block_later(gathered.send(&*self.inner));
            }
            return Ok(());
        }
        gathered.send(&*self.inner)?;
        // A lone datagram is no burst: an acknowledgement, a handshake.
        if transmit.segment_size.is_none() || segments < 2 {
            return self.inner.try_send(transmit);
        }
        gathered.add(transmit);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

fn would_block_later(sent: io::Result<()>) -> io::Result<()> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // Nothing below panics while it holds the lock.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    /// Whether `transmit` can follow what is gathered in the same call.
    fn takes(&self, transmit: &Transmit<'_>, segments: usize) -> bool {
        let len = transmit.contents.len();
        let size = transmit.segment_size.unwrap_or(len);
        let fits = |limit: usize| self.bytes.len() + len <= limit;
        !self.bytes.is_empty()
            && !self.full
            && self.kind == Some(Kind::of(transmit))
            && (size == self.segment || transmit.segment_size.is_none() && len < self.segment)
            && fits(MAX_BYTES)
            && fits(self.segment * segments)
    }

    fn add(&mut self, transmit: &Transmit<'_>) {
        let len = transmit.contents.len();
        if self.bytes.is_empty() {
            self.segment = transmit.segment_size.unwrap_or(len);
            self.kind = Some(Kind::of(transmit));
        }
        self.bytes.extend_from_slice(transmit.contents);
        self.full = !self.bytes.len().is_multiple_of(self.segment);
        self.turns = TURNS;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(task) = self.idle.take() {
            task.wake();
        }
    }

    /// Sends what is gathered; it stays if the kernel takes nothing now.
    fn send(&mut self, inner: &dyn AsyncUdpSocket) -> io::Result<()> {
        let Some(kind) = self.kind else {
            return Ok(());
        };
        let sent = inner.try_send(&Transmit {
            destination: kind.destination,
            ecn: kind.ecn,
            contents: &self.bytes,
            segment_size: (self.bytes.len() > self.segment).then_some(self.segment),
            src_ip: kind.src_ip,
        });
        let later = |e: &io::Error| e.kind() == io::ErrorKind::WouldBlock;
        if !sent.as_ref().is_err_and(later) {
            // Also after a failure: datagrams may be lost, and QUIC sends them again.
            self.bytes.clear();
            self.kind = None;
            self.full = false;
        }
        sent
    }
}

impl Kind {
    fn of(transmit: &Transmit<'_>) -> Self {
        Self {
            destination: transmit.destination,
            ecn: transmit.ecn,
            src_ip: transmit.src_ip,
        }
    }
}

/// Sends what stayed behind, once a turn of the runtime brought nothing more.
async fn flush_idle(inner: Arc<dyn AsyncUdpSocket>, shared: Arc<Shared>) {
    let mut poller = Arc::clone(&inner).create_io_poller();
    loop {
        let work = poll_fn(|cx| {
            let mut gathered = shared.lock();
            if gathered.closed {
                return Poll::Ready(false);
            }
            if gathered.bytes.is_empty() {
                gathered.idle = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if gathered.turns > 0 {
                gathered.turns -= 1;
                // The connections' tasks first: they may have more of it.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match gathered.send(&*inner) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Ready(true),
                sent => {
                    if let Err(error) = sent {
                        tracing::debug!(%error, "datagrams were not sent");
                    }
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            }
        })
        .await;
        if !work {
            return;
        }
        // The kernel's buffer is full.
        if poll_fn(|cx| poller.as_mut().poll_writable(cx))
            .await
            .is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Notes what it is given; takes nothing while blocked.
    #[derive(Debug, Default)]
    struct Wire {
        sent: Mutex<Vec<(u16, usize, Option<usize>)>>,
        blocked: AtomicBool,
        waiting: Mutex<Vec<Waker>>,
    }

    #[derive(Debug)]
    struct Writable(Arc<Wire>);

    impl UdpPoller for Writable {
        fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if !self.0.blocked.load(Ordering::SeqCst) {
                return Poll::Ready(Ok(()));
            }
            self.0.waiting.lock().unwrap().push(cx.waker().clone());
            Poll::Pending
        }
    }

    impl AsyncUdpSocket for Wire {
        fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
            Box::pin(Writable(self))
        }

        fn try_send(&self, t: &Transmit<'_>) -> io::Result<()> {
            if self.blocked.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let sent = (t.destination.port(), t.contents.len(), t.segment_size);
            self.sent.lock().unwrap().push(sent);
            Ok(())
        }

        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 1).into())
        }

        fn max_transmit_segments(&self) -> usize {
            64
        }
    }

    impl Wire {
        fn sent(&self) -> Vec<(u16, usize, Option<usize>)> {
            std::mem::take(&mut *self.sent.lock().unwrap())
        }

        fn unblock(&self) {
            self.blocked.store(false, Ordering::SeqCst);
            for waker in self.waiting.lock().unwrap().drain(..) {
                waker.wake();
            }
        }
    }

    fn start() -> (Arc<Wire>, MergingSocket) {
        let wire = Arc::new(Wire::default());
        let socket = MergingSocket::start(Arc::clone(&wire) as Arc<dyn AsyncUdpSocket>);
        (wire, socket)
    }

    /// A transmit of `len` bytes in datagrams of 1,000.
    fn send(socket: &MergingSocket, port: u16, len: usize) -> io::Result<()> {
        socket.try_send(&Transmit {
            destination: ([127, 0, 0, 1], port).into(),
            ecn: None,
            contents: &vec![7; len],
            segment_size: (len > 1_000).then_some(1_000),
            src_ip: None,
        })
    }

    /// Gives every task that is ready its turn, and those that that makes ready.
    async fn turns() {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn bursts_become_one_call_and_a_lone_datagram_waits_for_nothing() {
        let (wire, socket) = start();
        send(&socket, 1, 1_000).unwrap();
        assert_eq!(wire.sent(), [(1, 1_000, None)]);
        send(&socket, 1, 10_000).unwrap();
        send(&socket, 1, 10_000).unwrap();
        assert_eq!(wire.sent(), []);
        turns().await;
        assert_eq!(wire.sent(), [(1, 20_000, Some(1_000))]);
    }

    #[tokio::test]
    async fn what_is_of_another_kind_does_not_overtake() {
        let (wire, socket) = start();
        send(&socket, 1, 10_000).unwrap();
        send(&socket, 2, 10_000).unwrap();
        send(&socket, 2, 1_200).unwrap();
        send(&socket, 2, 1_000).unwrap();
        let calls = [
            (1, 10_000, Some(1_000)),
            // The short one ended the burst.
            (2, 11_200, Some(1_000)),
            (2, 1_000, None),
        ];
        assert_eq!(wire.sent(), calls);
    }

    #[tokio::test]
    async fn no_call_is_larger_than_the_kernel_takes() {
        let (wire, socket) = start();
        for _ in 0..13 {
            send(&socket, 1, 10_000).unwrap();
        }
        turns().await;
        let most = 60_000;
        assert_eq!(
            wire.sent().iter().map(|s| s.1).collect::<Vec<_>>(),
            [most, most, 10_000]
        );
    }

    #[tokio::test]
    async fn a_full_buffer_loses_and_repeats_nothing() {
        let (wire, socket) = start();
        wire.blocked.store(true, Ordering::SeqCst);
        send(&socket, 1, 10_000).unwrap();
        turns().await;
        let refused = send(&socket, 2, 10_000).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        wire.unblock();
        turns().await;
        send(&socket, 2, 10_000).unwrap();
        turns().await;
        let calls = [(1, 10_000, Some(1_000)), (2, 10_000, Some(1_000))];
        assert_eq!(wire.sent(), calls);
    }

    #[tokio::test]
    async fn its_task_ends_with_it() {
        let (wire, socket) = start();
        turns().await;
        drop(socket);
        turns().await;
        assert_eq!(Arc::strong_count(&wire), 1);
    }
}
