//! Which roles applications were told of, so that what changes while the node is away
//! is told at its next start, and nothing twice.

use std::collections::BTreeMap;

use samara_graph::Role;
use samara_store::{Batch, Store, StoreError};
use samara_wire::{ChannelId, PeerId};

/// Where a channel's are kept in the store, by identity.
fn space(channel: &ChannelId) -> String {
    format!("roles {channel}")
}

/// Notes somebody's role, or that there is none any more.
pub(super) fn put(batch: &mut Batch, channel: &ChannelId, peer: &PeerId, role: Option<Role>) {
    let (space, key) = (space(channel), peer.as_bytes());
    match role {
        Some(role) => batch.put_setting(&space, key, role.label().as_bytes()),
        None => batch.remove_setting(&space, key),
    };
}

/// All of a channel. What does not read back is told again. Blocks.
pub(super) fn load(
    store: &Store,
    channel: &ChannelId,
) -> Result<BTreeMap<PeerId, Role>, StoreError> {
    let all = store.settings(&space(channel))?.into_iter();
    let read = |(key, role): (Vec<u8>, Vec<u8>)| {
        let peer = PeerId(key.try_into().ok()?);
        let role = std::str::from_utf8(&role).ok()?.parse().ok()?;
        Some((peer, role))
    };
    Ok(all.filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use samara_store::StoreConfig;

    use super::*;

    #[test]
    fn roles_that_were_told_are_a_channels_own() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreConfig::default()).unwrap();
        let (one, other) = (ChannelId([1; 32]), ChannelId([2; 32]));
        let (a, b) = (PeerId([3; 32]), PeerId([4; 32]));
        let mut batch = Batch::new();
        put(&mut batch, &one, &a, Some(Role::Owner));
        put(&mut batch, &one, &b, Some(Role::Member));
        put(&mut batch, &other, &b, Some(Role::Reader));
        put(&mut batch, &one, &b, None);
        store.write(batch).unwrap();
        assert_eq!(load(&store, &one).unwrap(), [(a, Role::Owner)].into());
        assert_eq!(load(&store, &other).unwrap(), [(b, Role::Reader)].into());
    }
}
