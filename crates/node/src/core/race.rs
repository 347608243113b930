//! One dial: several addresses of a peer raced, as RFC 8305 has it.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use quinn::{ClientConfig, Connection, Endpoint};
use samara_wire::{ChannelId, PeerId};
use tokio::{sync::mpsc, task::JoinSet, time};

use super::Input;
use crate::{limits, session::Close, tls};

/// Head start of one address over the next of the same peer (RFC 8305 section 5).
const ADDRESS_DELAY: Duration = Duration::from_millis(250);

/// Races the addresses of a peer; the first that proves the right key wins.
pub(super) async fn dial(
    endpoint: Endpoint,
    own: SocketAddr,
    peer: PeerId,
    addrs: Vec<SocketAddr>,
    core: mpsc::Sender<Input>,
) {
    let input = match race(&endpoint, own, peer, &addrs).await {
        Ok(connection) => Input::Connected {
            peer,
            connection,
            dialled: true,
        },
        Err(reason) => Input::DialFailed { peer, reason },
    };
    let _ = core.send(input).await;
}

/// The next address is tried when the one before has had its head start, or failed.
async fn race(
    endpoint: &Endpoint,
    own: SocketAddr,
    peer: PeerId,
    addrs: &[SocketAddr],
) -> Result<Connection, String> {
    let mut waiting = interleaved(addrs).into_iter().peekable();
    let mut tries = JoinSet::new();
    let mut reasons = Vec::new();
    loop {
        if let Some(addr) = waiting.next() {
            let endpoint = endpoint.clone();
            tries.spawn(async move {
                let tried = connect(&endpoint, reachable_as(own, addr), peer).await;
                tried.map_err(|reason| format!("{addr}: {reason}"))
            });
        }
        let more = waiting.peek().is_some();
        tokio::select! {
            ended = tries.join_next() => match ended {
                Some(Ok(Ok(connection))) => return Ok(connection),
                Some(Ok(Err(reason))) => reasons.push(reason),
                Some(Err(_)) => {}
                None if more => {}
                None => return Err(reasons.join("; ")),
            },
            () = time::sleep(ADDRESS_DELAY), if more => {}
        }
    }
}

/// The two families in turns, beginning with that of the first address; within a
/// family in the order given (RFC 8305 section 4).
fn interleaved(addrs: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_v6 = |addr: &SocketAddr| addr.ip().to_canonical().is_ipv6();
    let first_is_v6 = addrs.first().is_some_and(is_v6);
    let (first, second): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addrs.iter().partition(|addr| is_v6(addr) == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::with_capacity(addrs.len());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

/// Dials whoever is at an address, for a channel's sake.
pub(super) async fn dial_stranger(
    endpoint: Endpoint,
    own: SocketAddr,
    (config, refused): (ClientConfig, Arc<OnceLock<PeerId>>),
    channel: ChannelId,
    addr: SocketAddr,
    core: mpsc::Sender<Input>,
) {
    let tried = match endpoint.connect_with(config, reachable_as(own, addr), tls::SERVER_NAME) {
        Ok(connecting) => time::timeout(limits::DIAL_TIMEOUT, connecting).await,
        Err(_) => return say(&core, channel, addr, None).await,
    };
    let connection = tried.ok().and_then(Result::ok);
    let peer = match &connection {
        Some(connection) => tls::remote_peer(connection),
        None => refused.get().copied(),
    };
    // First who it is: the connection is greeted as one of the channel's.
    say(&core, channel, addr, peer).await;
    if let (Some(connection), Some(peer)) = (connection, peer) {
        let connected = Input::Connected {
            peer,
            connection,
            dialled: true,
        };
        let _ = core.send(connected).await;
    }
}

async fn say(
    core: &mpsc::Sender<Input>,
    channel: ChannelId,
    addr: SocketAddr,
    peer: Option<PeerId>,
) {
    let input = Input::StrangerTried {
        channel,
        addr,
        peer,
    };
    let _ = core.send(input).await;
}

async fn connect(
    endpoint: &Endpoint,
    addr: SocketAddr,
    peer: PeerId,
) -> Result<Connection, String> {
    let connecting = endpoint
        .connect(addr, tls::SERVER_NAME)
        .map_err(|e| e.to_string())?;
    let connection = time::timeout(limits::DIAL_TIMEOUT, connecting)
        .await
        .map_err(|_| "no answer".to_owned())?
        .map_err(|e| e.to_string())?;
    match tls::remote_peer(&connection) {
        Some(found) if found == peer => Ok(connection),
        Some(found) => {
            connection.close(Close::WrongPeer.code(), b"");
            Err(format!("somebody else answers ({})", found.short()))
        }
        None => Err("no key".to_owned()),
    }
}

/// A dual-stack socket dials IPv4 addresses as mapped ones.
fn reachable_as(own: SocketAddr, addr: SocketAddr) -> SocketAddr {
    match (own, addr) {
        (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
            SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
        }
        _ => addr,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::transport::tests::endpoint;

    fn addrs(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_beginning_with_the_best_address() {
        let mixed = addrs(&["10.0.0.1:1", "10.0.0.2:1", "[2001:db8::1]:1", "10.0.0.3:1"]);
        let order = addrs(&["10.0.0.1:1", "[2001:db8::1]:1", "10.0.0.2:1", "10.0.0.3:1"]);
        assert_eq!(interleaved(&mixed), order);
        let mixed = addrs(&["[2001:db8::1]:1", "[2001:db8::2]:1", "10.0.0.1:1"]);
        let order = addrs(&["[2001:db8::1]:1", "10.0.0.1:1", "[2001:db8::2]:1"]);
        assert_eq!(interleaved(&mixed), order);
        assert_eq!(interleaved(&[]), []);
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_keeps_nobody_from_the_next() {
        let (ours, theirs) = (endpoint(1), endpoint(2));
        let peer = PeerId(
            ed25519_dalek::SigningKey::from_bytes(&[2; 32])
                .verifying_key()
                .to_bytes(),
        );
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Another family than the socket's fails at once; the right address is last.
        let mut list = addrs(&["[2001:db8::1]:1"]);
        list.push(silent.local_addr().unwrap());
        list.push(theirs.addr);
        let accept = async { theirs.endpoint.accept().await.unwrap().await.unwrap() };
        let (raced, _accepted) = tokio::join!(race(&ours.endpoint, ours.addr, peer, &list), accept);
        assert_eq!(raced.unwrap().remote_address(), theirs.addr);
    }

    #[tokio::test]
    async fn whoever_holds_another_key_is_not_the_peer() {
        let (ours, theirs) = (endpoint(1), endpoint(2));
        let accept = theirs.endpoint.clone();
        tokio::spawn(async move { accept.accept().await.unwrap().await });
        let raced = race(&ours.endpoint, ours.addr, PeerId([9; 32]), &[theirs.addr]).await;
        assert!(raced.unwrap_err().contains("somebody else"));
        let nobody = race(&ours.endpoint, ours.addr, PeerId([9; 32]), &[]).await;
        assert_eq!(nobody.unwrap_err(), "");
    }

    #[tokio::test]
    async fn a_stranger_that_is_no_stranger_never_sees_a_connection() {
        let (ours, theirs) = (endpoint(1), endpoint(2));
        let key = ed25519_dalek::SigningKey::from_bytes(&[2; 32]);
        let peer = PeerId(key.verifying_key().to_bytes());
        let (send, mut inputs) = mpsc::channel(8);
        let channel = ChannelId([3; 32]);
        let dial = |refused| {
            dial_stranger(
                ours.endpoint.clone(),
                ours.addr,
                ours.wary(refused).unwrap(),
                channel,
                theirs.addr,
                send.clone(),
            )
        };
        let accept = async { theirs.endpoint.accept().await.unwrap().await };
        let ((), accepted) = tokio::join!(dial([peer].into()), accept);
        assert!(accepted.is_err());
        let Some(Input::StrangerTried { peer: told, .. }) = inputs.recv().await else {
            panic!("nothing was told");
        };
        // Who it is counts all the same: it may be in the channel.
        assert_eq!(told, Some(peer));
        assert!(inputs.try_recv().is_err());

        let accept = async { theirs.endpoint.accept().await.unwrap().await };
        let ((), accepted) = tokio::join!(dial(Default::default()), accept);
        assert!(accepted.is_ok());
        assert!(matches!(
            inputs.recv().await,
            Some(Input::StrangerTried { peer: Some(_), .. })
        ));
        assert!(matches!(inputs.recv().await, Some(Input::Connected { .. })));
    }
}
