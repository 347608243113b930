//! A wire between two nodes: a relay of UDP packets that a test can clamp, so that
//! a transfer is in its middle for as long as the test needs.

use std::{
    collections::HashMap,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::Duration,
};

use samara_graph::{Link, LinkPeer};

/// How long a relaying thread sleeps in a read before it looks whether it shall end.
const LOOK: Duration = Duration::from_millis(100);
/// Largest UDP packet.
const PACKET: usize = 65_536;

/// The relay; ends when dropped.
pub(crate) struct Wire {
    addr: SocketAddr,
    state: Arc<State>,
}

struct State {
    /// Bytes that may still pass towards whoever dialled.
    budget: AtomicI64,
    over: AtomicBool,
}

impl Wire {
    /// A wire to a node that lets `budget` bytes pass from it, and then nothing.
    pub(crate) fn to(node: SocketAddr, budget: i64) -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        front.set_read_timeout(Some(LOOK)).unwrap();
        let addr = front.local_addr().unwrap();
        let state = Arc::new(State {
            budget: AtomicI64::new(budget),
            over: AtomicBool::new(false),
        });
        let shared = state.clone();
        thread::spawn(move || forward(&front, node, &shared));
        Self { addr, state }
    }

    /// Lets everything pass from now on.
    pub(crate) fn open(&self) {
        self.state.budget.store(i64::MAX, Ordering::Relaxed);
    }

    /// The same link, with this wire as the only way in.
    pub(crate) fn link(&self, link: &str) -> String {
        let link: Link = link.parse().unwrap();
        let way = LinkPeer {
            peer: link.peers()[0].peer,
            addrs: vec![self.addr],
        };
        Link::new(link.channel(), link.charter(), &[way]).to_string()
    }
}

/// Where a link leads to first.
pub(crate) fn first_addr(link: &str) -> SocketAddr {
    link.parse::<Link>().unwrap().peers()[0].addrs[0]
}

/// Packets of whoever dials, each over a socket of its own.
fn forward(front: &Arc<UdpSocket>, node: SocketAddr, state: &Arc<State>) {
    let mut backs = HashMap::<SocketAddr, Arc<UdpSocket>>::new();
    let mut packet = vec![0; PACKET];
    while !state.over.load(Ordering::Relaxed) {
        let Ok((n, from)) = front.recv_from(&mut packet) else {
            continue;
        };
        let back = backs.entry(from).or_insert_with(|| {
            let back = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
            back.set_read_timeout(Some(LOOK)).unwrap();
            let (front, to, state) = (front.clone(), back.clone(), state.clone());
            thread::spawn(move || answer(&front, &to, from, &state));
            back
        });
        let _ = back.send_to(&packet[..n], node);
    }
}

/// Packets of the node, as long as the budget lasts.
fn answer(front: &UdpSocket, back: &UdpSocket, to: SocketAddr, state: &State) {
    let mut packet = vec![0; PACKET];
    while !state.over.load(Ordering::Relaxed) {
        let Ok(n) = back.recv(&mut packet) else {
            continue;
        };
        if state.budget.fetch_sub(n as i64, Ordering::Relaxed) > 0 {
            let _ = front.send_to(&packet[..n], to);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
    }
}
