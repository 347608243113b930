//! The QUIC endpoint: sockets, windows, and what quinn's defaults for small
//! transfers are changed to.

use std::{
    collections::HashSet,
    io,
    net::{Ipv6Addr, SocketAddr, UdpSocket},
    sync::{Arc, OnceLock},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, ClientConfig, EndpointConfig, MtuDiscoveryConfig, Runtime,
    ServerConfig, TransportConfig, VarInt,
};
use samara_wire::PeerId;
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    EngineError, api::ErrorKind, config::DEFAULT_PORT, limits, merge::MergingSocket, restart, tls,
};

/// Kernel socket buffers, each way. The kernel may give less (`net.core.rmem_max`).
const SOCKET_BUFFER: usize = 8 << 20;
/// Unread bytes that one stream may have waiting here.
const STREAM_WINDOW: u32 = 8 << 20;
/// Unread bytes that one connection may have waiting here once we asked it for
/// something. On a short path more costs the processor's caches.
const CONNECTION_WINDOW: u32 = 12 << 20;
/// The same on a long path, and what may be read ahead for it where it is sent: 1 Gbit/s
/// over 200 ms, and a quarter.
const LONG_WINDOW: u32 = 32 << 20;
/// Bytes a second that a path's windows are made for.
const PATH_RATE: f64 = 160e6;
/// Bytes that are read for one connection and not acknowledged, on a short path.
const UNSENT: u32 = 8 << 20;
/// All that we ask something share it, but none has less than this: what memory they
/// take must not grow with their number.
const LEAST_WINDOW: u32 = 1 << 20;
/// The same before: a stranger's bytes wait here too, in order or not, as often as
/// there are connections.
const STRANGER_WINDOW: u32 = 256 << 10;
/// Unacknowledged bytes that one connection may hold here. Chunks are held back before,
/// by its share of [`limits::MAX_UNSENT`].
const SEND_WINDOW: u64 = LONG_WINDOW as u64;
/// Largest datagram that path MTU discovery tries. Ten segments of it must stay
/// below 64 KB, or GSO sends fail with EMSGSIZE.
const MTU_UPPER_BOUND: u16 = 6_500;
/// Data packets that one acknowledgement may cover.
const ACK_THRESHOLD: u32 = 20;
/// Longest that an acknowledgement may wait for more packets.
const MAX_ACK_DELAY: Duration = Duration::from_millis(5);

/// A bound endpoint, and how to dial from it.
pub(crate) struct Transport {
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) addr: SocketAddr,
    /// The default port was taken by somebody else.
    pub(crate) port_was_taken: bool,
    tls: tls::Configs,
    config: Arc<TransportConfig>,
}

impl Transport {
    /// How to dial somebody unknown who must be none of `refused`; who of them
    /// answered is told by the cell.
    pub(crate) fn wary(
        &self,
        refused: HashSet<PeerId>,
    ) -> Result<(ClientConfig, Arc<OnceLock<PeerId>>), String> {
        let (client, seen) = self.tls.wary(refused).map_err(|e| e.to_string())?;
        let mut client = ClientConfig::new(client);
        client.transport_config(self.config.clone());
        Ok((client, seen))
    }

    /// Binds and starts the endpoint's driver on the current tokio runtime.
    ///
    /// With `wanted` that address exactly; else the port used `last` time, the
    /// default port, or a free one.
    pub(crate) fn bind(
        key: &SigningKey,
        wanted: Option<SocketAddr>,
        last: Option<u16>,
    ) -> Result<Self, EngineError> {
        let any = |port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let tries = match wanted {
            // A free port, but the same as last time where possible: links name it.
            Some(addr) if addr.port() == 0 => [last, Some(0)]
                .into_iter()
                .flatten()
                .map(|port| SocketAddr::new(addr.ip(), port))
                .collect(),
            Some(addr) => vec![addr],
            None => [Some(DEFAULT_PORT), last, Some(0)]
                .into_iter()
                .flatten()
                .map(any)
                .collect(),
        };
        let mut failure = None;
        for (i, addr) in tries.iter().enumerate() {
            match udp_socket(*addr) {
                Ok(socket) => {
                    let bound = start(key, socket)?;
                    return Ok(Self {
                        port_was_taken: wanted.is_none() && i > 0,
                        ..bound
                    });
                }
                Err(error) => failure = Some((addr, error)),
            }
        }
        let (addr, error) = failure.expect("at least one address was tried");
        Err(match error.kind() {
            io::ErrorKind::AddrInUse => EngineError::new(
                ErrorKind::AddressInUse,
                format!("{addr} is in use by another program; choose another with --listen"),
            ),
            _ => EngineError::new(
                ErrorKind::AddressInUse,
                format!("cannot listen on {addr}: {error}"),
            ),
        })
    }
}

fn start(key: &SigningKey, socket: UdpSocket) -> Result<Transport, EngineError> {
    let internal = |e: String| EngineError::new(ErrorKind::Internal, e);
    let addr = socket
        .local_addr()
        .map_err(|e| internal(format!("the socket has no address: {e}")))?;
    let runtime = Arc::new(quinn::TokioRuntime);
    let socket = runtime.wrap_udp_socket(socket).map_err(not_started)?;
    let config = restart::endpoint_config(key);
    start_on(key, (socket, addr), runtime, config, transport_config())
}

/// Starts an endpoint on a socket that has this address.
pub(crate) fn start_on(
    key: &SigningKey,
    (socket, addr): (Arc<dyn AsyncUdpSocket>, SocketAddr),
    runtime: Arc<dyn Runtime>,
    mut config: EndpointConfig,
    transport: TransportConfig,
) -> Result<Transport, EngineError> {
    let internal = |e: String| EngineError::new(ErrorKind::Internal, e);
    let tls = tls::configs(key).map_err(|e| internal(e.to_string()))?;
    let transport = Arc::new(transport);
    let mut server = ServerConfig::with_crypto(tls.server.clone());
    server
        .transport_config(transport.clone())
        .max_incoming(limits::MAX_HANDSHAKES);
    let mut client = ClientConfig::new(tls.client.clone());
    client.transport_config(transport.clone());
    config
        .max_udp_payload_size(MTU_UPPER_BOUND)
        .map_err(|e| internal(e.to_string()))?;
    let socket = Arc::new(MergingSocket::start(socket));
    let mut endpoint =
        quinn::Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
            .map_err(not_started)?;
    endpoint.set_default_client_config(client);
    Ok(Transport {
        endpoint,
        addr,
        port_was_taken: false,
        tls,
        config: transport,
    })
}

fn not_started(error: io::Error) -> EngineError {
    EngineError::new(
        ErrorKind::Internal,
        format!("the QUIC endpoint does not start: {error}"),
    )
}

/// What quinn's defaults are changed to.
pub(crate) fn transport_config() -> TransportConfig {
    let mut ack = AckFrequencyConfig::default();
    ack.ack_eliciting_threshold(VarInt::from_u32(ACK_THRESHOLD))
        .max_ack_delay(Some(MAX_ACK_DELAY));
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU_UPPER_BOUND);
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(STRANGER_WINDOW))
        .send_window(SEND_WINDOW)
        .send_fairness(false)
        .max_concurrent_bidi_streams(VarInt::from_u32(limits::MAX_OPEN_REQUESTS))
        .max_concurrent_uni_streams(VarInt::from_u32(limits::MAX_CONTROL_STREAMS))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(limits::IDLE_TIMEOUT.try_into().expect("30 s fit")))
        .keep_alive_interval(Some(limits::KEEP_ALIVE))
        .ack_frequency_config(Some(ack))
        .mtu_discovery_config(Some(mtu));
    config
}

/// Makes room for answers, on a connection that is about to be asked for some.
pub(crate) fn expect_answers(connection: &quinn::Connection, window: u32) {
    connection.set_receive_window(VarInt::from_u32(window));
}

/// Unread bytes that one of so many sources may have waiting here, at a round trip.
pub(crate) fn window(sources: usize, rtt: Duration) -> u32 {
    let sources = u32::try_from(sources.max(1)).unwrap_or(u32::MAX);
    (under_way(rtt).max(CONNECTION_WINDOW) / sources).max(LEAST_WINDOW)
}

/// Bytes that may be read for a connection and not be acknowledged, at a round trip, while
/// others leave room.
pub(crate) fn unsent(rtt: Duration) -> usize {
    under_way(rtt).max(UNSENT) as usize
}

/// What is under way at once on a path of this round trip.
fn under_way(rtt: Duration) -> u32 {
    ((rtt.as_secs_f64() * PATH_RATE) as u32).min(LONG_WINDOW)
}

fn udp_socket(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if let SocketAddr::V6(v6) = addr {
        // One socket for both families, where the address is "any".
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    socket.bind(&addr.into())?;
    for set in [Socket::set_recv_buffer_size, Socket::set_send_buffer_size] {
        // Smaller buffers are slower, not wrong.
        if let Err(error) = set(&socket, SOCKET_BUFFER) {
            tracing::debug!(%error, "socket buffer");
        }
    }
    Ok(socket.into())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An endpoint with an identity of its own.
    pub(crate) fn endpoint(seed: u8) -> Transport {
        let any = "127.0.0.1:0".parse().unwrap();
        Transport::bind(&SigningKey::from_bytes(&[seed; 32]), Some(any), None).unwrap()
    }

    /// Both ends of a connection: who was dialled, and who dialled.
    pub(crate) async fn pair() -> (quinn::Connection, quinn::Connection) {
        let (server, client) = (endpoint(1), endpoint(2));
        let dialled = client.endpoint.connect(server.addr, tls::SERVER_NAME);
        let accepted = async { server.endpoint.accept().await.unwrap().await.unwrap() };
        let (dialled, accepted) = tokio::join!(dialled.unwrap(), accepted);
        (accepted, dialled.unwrap())
    }

    #[test]
    fn many_sources_share_the_room_that_one_may_have() {
        let near = Duration::from_millis(1);
        assert_eq!(window(0, near), CONNECTION_WINDOW);
        assert_eq!(window(1, near), CONNECTION_WINDOW);
        assert_eq!(window(3, near), CONNECTION_WINDOW / 3);
        assert_eq!(window(12, near), LEAST_WINDOW);
        assert_eq!(window(usize::MAX, near), LEAST_WINDOW);
        let far = Duration::from_secs(1);
        assert_eq!(window(1, far), LONG_WINDOW);
        assert_eq!(window(4, far), LONG_WINDOW / 4);
        assert_eq!(window(usize::MAX, far), LEAST_WINDOW);
    }

    #[test]
    fn a_gigabit_fits_a_path_of_200_ms_and_short_ones_take_no_more_than_they_need() {
        let ms = Duration::from_millis;
        let rate = |bytes: usize, rtt: Duration| bytes as f64 / rtt.as_secs_f64();
        for rtt in [10, 50, 100, 200].map(ms) {
            assert!(rate(unsent(rtt), rtt) >= 125e6, "{rtt:?}");
            assert!(rate(window(1, rtt) as usize, rtt) >= 125e6, "{rtt:?}");
        }
        assert_eq!(unsent(ms(50)), UNSENT as usize);
        assert_eq!(unsent(ms(100)), 16_000_000);
        assert_eq!(unsent(Duration::MAX), LONG_WINDOW as usize);
        // Others find room as well.
        assert!(2 * LONG_WINDOW as usize <= limits::MAX_UNSENT);
    }

    #[tokio::test]
    async fn a_stranger_s_bytes_take_little_room_until_it_is_asked() {
        let (ours, stranger) = pair().await;
        let mut stream = stranger.open_uni().await.unwrap();
        let mut sent = async || {
            let mut sent = 0;
            let wait = Duration::from_millis(300);
            // Nobody reads.
            while let Ok(n) = tokio::time::timeout(wait, stream.write(&[0; 64 << 10])).await {
                sent += n.unwrap();
            }
            sent
        };
        assert_eq!(sent().await, STRANGER_WINDOW as usize);
        expect_answers(&ours, window(1, Duration::ZERO));
        // Then the stream's own window is the bound.
        assert_eq!(sent().await, (STREAM_WINDOW - STRANGER_WINDOW) as usize);
    }
}
