use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
};

use samara_wire::{PeerId, Reader, WireError, Writer};
use thiserror::Error;

use crate::{BadSignature, Domain, SecretKey, Signature, WallMs, limits, verify};

/// Where a peer says that it can be reached, in its own hand: passed on by others,
/// it sends nobody to a third party's door under the peer's name.
///
/// Clones share what was signed, and that it was verified: hundreds are remembered, and
/// handed on over and over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress(Arc<Signed>);

#[derive(Debug)]
struct Signed {
    peer: PeerId,
    addrs: Vec<SocketAddr>,
    issued: WallMs,
    signature: Signature,
    verified: OnceLock<Result<(), BadSignature>>,
}

impl PartialEq for Signed {
    fn eq(&self, other: &Self) -> bool {
        let of = |s: &Self| (s.peer, s.issued, s.signature);
        of(self) == of(other) && self.addrs == other.addrs
    }
}

impl Eq for Signed {}

impl PeerAddress {
    /// Signs up to [`limits::MAX_ADDRESSES`] of `addrs`; what cannot be dialled
    /// (port 0, unspecified, multicast) and what comes twice is left out.
    pub fn sign(key: &SecretKey, addrs: &[SocketAddr], issued: WallMs) -> Self {
        let mut list: Vec<SocketAddr> = Vec::new();
        for addr in addrs.iter().map(plain).filter(dialable) {
            if !list.contains(&addr) && list.len() < limits::MAX_ADDRESSES {
                list.push(addr);
            }
        }
        let mut signed = Signed {
            peer: key.peer_id(),
            addrs: list,
            issued: WallMs(issued.0.min(limits::MAX_TIME_MS)),
            signature: Signature([0; 64]),
            verified: Ok(()).into(),
        };
        signed.signature = key.sign(Domain::Address, &signed.bytes());
        Self(Arc::new(signed))
    }

    /// Whose addresses.
    pub fn peer(&self) -> PeerId {
        self.0.peer
    }

    /// The addresses, best first; may be empty.
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.0.addrs
    }

    /// When the peer said so; the newest stands.
    pub fn issued(&self) -> WallMs {
        self.0.issued
    }

    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.0.bytes();
        bytes.extend_from_slice(&self.0.signature.0);
        bytes
    }

    /// Reads and verifies what [`encode`](Self::encode) wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, AddressError> {
        let mut r = Reader::new(bytes);
        let address = Self::read(&mut r)?;
        r.finish()?;
        address.verify()?;
        Ok(address)
    }

    /// Whether the signature is the peer's.
    pub(crate) fn verify(&self) -> Result<(), BadSignature> {
        let signed = &*self.0;
        let check = || {
            verify(
                &signed.peer,
                Domain::Address,
                &signed.bytes(),
                &signed.signature,
            )
        };
        *signed.verified.get_or_init(check)
    }

    /// Reads without verifying, so that a message can be judged cheaply first.
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self(Arc::new(Signed {
            peer: PeerId::read(r)?,
            addrs: read_addrs(r)?,
            issued: WallMs(r.varint("issued", limits::MAX_TIME_MS)?),
            signature: Signature(r.array("signature")?),
            verified: OnceLock::new(),
        })))
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.raw(&self.encode());
    }
}

impl Signed {
    fn bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.peer.write(&mut w);
        write_addrs(&mut w, &self.addrs);
        w.varint(self.issued.0);
        w.finish()
    }
}

/// Why bytes are not a peer's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not their canonical encoding.
    #[error("the addresses are malformed: {0}")]
    Wire(#[from] WireError),
    /// Not signed by the peer.
    #[error("the addresses are not signed by their peer")]
    BadSignature(#[from] BadSignature),
}

/// An IPv4 address in IPv6 clothes becomes IPv4; flow and scope are dropped, since
/// they mean nothing on another machine.
pub(crate) fn plain(addr: &SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

pub(crate) fn dialable(addr: &SocketAddr) -> bool {
    let ip = addr.ip();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

pub(crate) fn write_addr(w: &mut Writer, addr: &SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            w.u8(4);
            w.raw(&ip.octets());
        }
        IpAddr::V6(ip) => {
            w.u8(6);
            w.raw(&ip.octets());
        }
    }
    w.raw(&addr.port().to_be_bytes());
}

pub(crate) fn write_addrs(w: &mut Writer, addrs: &[SocketAddr]) {
    w.varint(addrs.len() as u64);
    addrs.iter().for_each(|addr| write_addr(w, addr));
}

pub(crate) fn read_addrs(r: &mut Reader<'_>) -> Result<Vec<SocketAddr>, WireError> {
    let field = "addresses";
    let n = r.count(field, limits::MAX_ADDRESSES, 7)?;
    let mut addrs = Vec::with_capacity(n);
    for _ in 0..n {
        let ip: IpAddr = match r.u8(field)? {
            4 => Ipv4Addr::from(r.array::<4>(field)?).into(),
            6 => Ipv6Addr::from(r.array::<16>(field)?).into(),
            _ => return Err(WireError::Invalid { field }),
        };
        let addr = SocketAddr::new(ip, u16::from_be_bytes(r.array(field)?));
        if plain(&addr) != addr || addrs.contains(&addr) {
            return Err(WireError::NonCanonical { field });
        }
        if !dialable(&addr) {
            return Err(WireError::Invalid { field });
        }
        addrs.push(addr);
    }
    Ok(addrs)
}
