//! Members of a channel, remembered for the next start: one value a channel, written
//! over, since peers come and go without end.

use samara_graph::PeerAddress;
use samara_store::{Batch, Store, StoreError};
use samara_wire::{ChannelId, Reader, Writer};

use crate::limits;

/// Where they are kept in the store.
const PEER_SETTINGS: &str = "peers";
/// Longest address of a peer, in bytes.
const MAX_ADDRESS: usize = 1024;

/// Keeps peers of a channel, instead of those that were kept before.
pub(super) fn put(batch: &mut Batch, id: ChannelId, peers: &[&PeerAddress]) {
    batch.put_setting(PEER_SETTINGS, id.as_bytes(), &encode(peers));
}

pub(super) fn remove(batch: &mut Batch, id: ChannelId) {
    batch.remove_setting(PEER_SETTINGS, id.as_bytes());
}

/// The peers that were kept. What does not read back is as good as nothing: peers are
/// met again. Blocks.
pub(super) fn load(store: &Store, id: ChannelId) -> Result<Vec<PeerAddress>, StoreError> {
    let bytes = store.setting(PEER_SETTINGS, id.as_bytes())?;
    Ok(bytes.and_then(|bytes| decode(&bytes)).unwrap_or_default())
}

fn encode(peers: &[&PeerAddress]) -> Vec<u8> {
    let mut w = Writer::new();
    w.varint(peers.len() as u64);
    for peer in peers {
        w.bytes(&peer.encode());
    }
    w.finish()
}

fn decode(bytes: &[u8]) -> Option<Vec<PeerAddress>> {
    let mut r = Reader::new(bytes);
    let n = r.count("peers", limits::WANTED_NEIGHBOURS, 1).ok()?;
    (0..n)
        .map(|_| PeerAddress::decode(r.bytes("peer", MAX_ADDRESS).ok()?).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use samara_graph::{SecretKey, WallMs};

    use super::*;

    #[test]
    fn remembered_peers_read_back_and_damage_is_nothing() {
        let peers: Vec<_> = (0..limits::WANTED_NEIGHBOURS as u8)
            .map(|i| {
                let addr = SocketAddr::from(([10, 0, 0, i], 7421));
                PeerAddress::sign(&SecretKey::from_bytes(&[i; 32]), &[addr], WallMs(1))
            })
            .collect();
        let bytes = encode(&peers.iter().collect::<Vec<_>>());
        assert_eq!(decode(&bytes), Some(peers.clone()));
        assert_eq!(decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode(&[]), None);

        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Default::default()).unwrap();
        let id = ChannelId([1; 32]);
        assert_eq!(load(&store, id).unwrap(), []);
        let mut batch = Batch::new();
        put(&mut batch, id, &peers.iter().collect::<Vec<_>>());
        store.write(batch).unwrap();
        assert_eq!(load(&store, id).unwrap(), peers);
    }
}
