//! One connection: its control stream each way, and the requests that the peer
//! opens. A session's tasks only carry; what anything means is decided in the core.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use samara_wire::{FrameDecoder, PeerId, WireError};
use tokio::sync::mpsc;

use crate::{
    api::milliseconds,
    core::Input,
    limits,
    message::{Ask, Control},
    transport,
    turnstile::Turnstile,
};

/// Why a connection was closed, as its QUIC application error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// The node stops.
    Bye = 0,
    /// Bytes that are not of the protocol.
    Protocol = 1,
    /// The peer sent what it must not have.
    Misbehaved = 2,
    /// The two have another connection.
    Duplicate = 3,
    /// Too many connections, or frames waiting.
    Busy = 4,
    /// The key is not the one that was dialled.
    WrongPeer = 5,
}

impl Close {
    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// Numbers sessions, so that news of a closed one is not taken for its successor's.
pub(crate) type SessionId = u64;

/// An established connection to a peer that proved its key.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) peer: PeerId,
    pub(crate) connection: Connection,
    pub(crate) dialled: bool,
    pub(crate) since: Instant,
    outgoing: FrameSender,
}

impl Session {
    /// Starts the connection's tasks on the current runtime.
    pub(crate) fn start(
        id: SessionId,
        peer: PeerId,
        connection: Connection,
        dialled: bool,
        core: mpsc::Sender<Input>,
        turnstile: Arc<Turnstile>,
    ) -> Self {
        let (frames, queue) = mpsc::channel(limits::MAX_OUTGOING_FRAMES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let outgoing = FrameSender {
            frames,
            waiting: Arc::clone(&waiting),
            connection: connection.clone(),
        };
        tokio::spawn(write_control(connection.clone(), queue, waiting));
        tokio::spawn(run(id, peer, connection.clone(), core, turnstile));
        Self {
            id,
            peer,
            connection,
            dialled,
            since: Instant::now(),
            outgoing,
        }
    }

    /// Queues a frame. A peer that does not take its frames loses the connection.
    pub(crate) fn send(&self, control: &Control) {
        self.outgoing.send(control);
    }

    /// For a task that has something to say later.
    pub(crate) fn sender(&self) -> FrameSender {
        self.outgoing.clone()
    }

    /// Whether half of what may wait for the peer does: what can, should wait elsewhere.
    pub(crate) fn is_behind(&self) -> bool {
        let out = &self.outgoing;
        out.waiting.load(Ordering::Relaxed) > limits::MAX_OUTGOING_BYTES / 2
            || out.frames.capacity() < limits::MAX_OUTGOING_FRAMES / 2
    }

    pub(crate) fn close(&self, why: Close) {
        self.connection
            .close(why.code(), format!("{why:?}").as_bytes());
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        canonical(self.connection.remote_address())
    }

    pub(crate) fn rtt(&self) -> Duration {
        self.connection.rtt()
    }

    /// The same as it is told.
    pub(crate) fn rtt_ms(&self) -> f64 {
        milliseconds(self.rtt())
    }

    pub(crate) fn is_lan(&self) -> bool {
        is_lan(self.addr().ip())
    }
}

/// Queues frames for a peer.
#[derive(Debug, Clone)]
pub(crate) struct FrameSender {
    frames: mpsc::Sender<Bytes>,
    /// Bytes of the frames that wait.
    waiting: Arc<AtomicUsize>,
    connection: Connection,
}

impl FrameSender {
    pub(crate) fn send(&self, control: &Control) {
        let frame = control.encode();
        let waiting = self.waiting.fetch_add(frame.len(), Ordering::Relaxed);
        if waiting > limits::MAX_OUTGOING_BYTES || self.frames.try_send(frame).is_err() {
            self.connection
                .close(Close::Busy.code(), b"frames are not taken");
        }
    }
}

/// Whether an address is one of a local network: loopback, link-local, or of the
/// private ranges (RFC 1918, RFC 4193, RFC 3927, RFC 4291).
pub(crate) fn is_lan(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// An IPv4 address that a dual-stack socket shows as mapped, as itself.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        // Another one keeps its zone, without which a link-local address is none.
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => addr,
        _ => SocketAddr::new(addr.ip().to_canonical(), addr.port()),
    }
}

/// Why a session's reading ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Connection(#[from] quinn::ConnectionError),
    #[error("the control stream ended: {0}")]
    Read(#[from] quinn::ReadError),
    #[error("the peer closed its control stream")]
    Finished,
    #[error("the peer sent {0}")]
    Peer(#[from] WireError),
    #[error("the node stops")]
    CoreGone,
}

async fn run(
    id: SessionId,
    peer: PeerId,
    connection: Connection,
    core: mpsc::Sender<Input>,
    turnstile: Arc<Turnstile>,
) {
    let ended = tokio::select! {
        biased;
        ended = read_control(id, peer, &connection, &core, &turnstile) => ended,
        ended = accept_requests(id, peer, &connection, &core) => ended,
    };
    let Err(ended) = ended;
    match &ended {
        Ended::Peer(_) | Ended::Finished => {
            connection.close(Close::Protocol.code(), ended.to_string().as_bytes());
        }
        Ended::CoreGone => connection.close(Close::Bye.code(), b""),
        Ended::Connection(_) | Ended::Read(_) => {}
    }
    let _ = core
        .send(Input::Disconnected {
            session: id,
            peer,
            reason: ended.to_string(),
            misbehaved: matches!(ended, Ended::Peer(_)),
        })
        .await;
}

async fn read_control(
    session: SessionId,
    peer: PeerId,
    connection: &Connection,
    core: &mpsc::Sender<Input>,
    turnstile: &Turnstile,
) -> Result<std::convert::Infallible, Ended> {
    let mut stream = connection.accept_uni().await?;
    let mut frames = FrameDecoder::new(limits::MAX_CONTROL_FRAME);
    while let Some(chunk) = stream.read_chunk(64 << 10, true).await? {
        frames.push(&chunk.bytes);
        while let Some(frame) = frames.next_frame()? {
            let Some(control) = Control::decode(&frame)? else {
                continue;
            };
            let input = match control {
                Control::Prove { tag, sealed } => Input::Prove {
                    session,
                    peer,
                    tag,
                    sealed,
                    place: turnstile.pass().await,
                },
                control => Input::Control {
                    session,
                    peer,
                    control,
                },
            };
            core.send(input).await.map_err(|_| Ended::CoreGone)?;
        }
    }
    Err(Ended::Finished)
}

async fn accept_requests(
    session: SessionId,
    peer: PeerId,
    connection: &Connection,
    core: &mpsc::Sender<Input>,
) -> Result<std::convert::Infallible, Ended> {
    loop {
        let (send, recv) = connection.accept_bi().await?;
        let core = core.clone();
        let connection = connection.clone();
        tokio::spawn(async move {
            match read_ask(recv).await {
                Ok(Some(ask)) => {
                    let _ = core
                        .send(Input::Asked {
                            session,
                            peer,
                            ask,
                            stream: send,
                        })
                        .await;
                }
                Ok(None) => {}
                Err(error) => connection.close(
                    Close::Protocol.code(),
                    format!("in a request: {error}").as_bytes(),
                ),
            }
        });
    }
}

/// The request at the head of a stream; `None` if the stream broke off.
async fn read_ask(mut stream: RecvStream) -> Result<Option<Ask>, WireError> {
    let mut frames = FrameDecoder::new(limits::MAX_REQUEST);
    while let Ok(Some(chunk)) = stream.read_chunk(limits::MAX_REQUEST, true).await {
        frames.push(&chunk.bytes);
        if let Some(frame) = frames.next_frame()? {
            return Ask::decode(&frame).map(Some);
        }
    }
    Ok(None)
}

async fn write_control(
    connection: Connection,
    mut queue: mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
) {
    let Ok(mut stream) = connection.open_uni().await else {
        return;
    };
    // Before chunks: a late "have" costs more than a late chunk.
    let _ = stream.set_priority(1);
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, 64).await > 0 {
        let bytes = batch.iter().map(Bytes::len).sum();
        if stream.write_all_chunks(&mut batch).await.is_err() {
            return;
        }
        waiting.fetch_sub(bytes, Ordering::Relaxed);
        batch.clear();
    }
}

/// Opens a request's stream and sends the request; of the answers so many bytes may
/// wait here unread.
pub(crate) async fn open_request(
    connection: &Connection,
    ask: &Ask,
    window: u32,
) -> Result<(SendStream, RecvStream), quinn::WriteError> {
    transport::expect_answers(connection, window);
    let (mut send, recv) = connection.open_bi().await?;
    send.write_all(&ask.encode()).await?;
    let _ = send.finish();
    Ok((send, recv))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_told_from_global_ones() {
        for lan in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.1.9",
            "169.254.3.4",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_lan(lan.parse().unwrap()), "{lan}");
        }
        for wan in ["8.8.8.8", "172.32.0.1", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!is_lan(wan.parse().unwrap()), "{wan}");
        }
    }
}
