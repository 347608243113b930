//! What comes out of a file instead of from a peer.

use bytes::Bytes;
use samara_graph::{Action, Graph, Offered, Reject, WallMs};
use samara_wire::{ChannelId, RecordId};

use super::{Core, wall_ms};
use crate::{EngineError, api::ErrorKind};

impl Core {
    /// Shows a channel consecutive charters, the first first.
    pub(crate) fn offer_charters(
        &mut self,
        id: ChannelId,
        charters: &[Bytes],
    ) -> Result<(), EngineError> {
        let mono = self.now();
        let outcome = self.with_channel(id, |graph, out| {
            graph.offer_charters(WallMs(wall_ms()), mono, charters, out)
        })?;
        outcome.map_err(|fault| EngineError::new(ErrorKind::BadData, fault.to_string()))
    }

    /// Has a channel judge records; an answer for each.
    pub(crate) fn offer_records(
        &mut self,
        id: ChannelId,
        records: Vec<Bytes>,
    ) -> Result<Vec<Result<Offered, Reject>>, EngineError> {
        let mono = self.now();
        self.with_channel(id, |graph, out| {
            let judge = |bytes| graph.offer(WallMs(wall_ms()), mono, bytes, out);
            records.into_iter().map(judge).collect()
        })
    }

    /// What became of records that had to wait: how many stand, how many wait still, and
    /// how many turned out not to be valid.
    pub(crate) fn became(&self, id: ChannelId, records: &[RecordId]) -> [u64; 3] {
        let mut sums = [0; 3];
        let Some(channel) = self.channels.get(&id) else {
            return sums;
        };
        for record in records {
            let place = match channel.graph.contains(record) {
                true => 0,
                false if channel.graph.is_waiting(record) => 1,
                false => 2,
            };
            sums[place] += 1;
        }
        sums
    }

    fn with_channel<R>(
        &mut self,
        id: ChannelId,
        f: impl FnOnce(&mut Graph, &mut Vec<Action>) -> R,
    ) -> Result<R, EngineError> {
        let gone = || EngineError::new(ErrorKind::NotFound, "the channel was dropped meanwhile");
        let channel = self.channels.get_mut(&id).ok_or_else(gone)?;
        let mut actions = Vec::new();
        let result = f(&mut channel.graph, &mut actions);
        self.graph_actions(id, actions);
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use samara_graph::{
        Attributes, Charter, CharterChain, Graph, Kind, NewRecord, Offered, SecretKey,
    };

    use super::*;
    use crate::core::{Channel, ChannelMeta, Role, dial::tests::core, graph_config};

    #[tokio::test]
    async fn what_waits_is_told_from_what_stands_and_what_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut core = core(dir.path());
        let (owner, stranger) = (
            SecretKey::from_bytes(&[7; 32]),
            SecretKey::from_bytes(&[8; 32]),
        );
        let now = WallMs(wall_ms());
        let charter = Charter::open("x", owner.peer_id(), now, [3; 16]);
        let chain = CharterChain::new(charter.sign(&[&owner]).unwrap()).unwrap();
        let id = chain.channel();
        let record = |author: &SecretKey| {
            let new = NewRecord {
                channel: id,
                kind: Kind(5000),
                seq: 1,
                created: now,
                expires: WallMs(now.0 + 1000),
                priority: 0,
                key: Bytes::new(),
                attributes: Attributes::default(),
                body: Bytes::new(),
            };
            new.sign(author).unwrap()
        };
        let (good, orphan) = (record(&owner), record(&stranger));
        let held = [good.header().unwrap()];
        let graph = Graph::restore(chain, held, graph_config(core.me).unwrap());
        let meta = ChannelMeta::new(Role::Subscriber);
        core.add_channel(id, Channel::new(graph, meta, Default::default()), false);
        let bytes = vec![orphan.bytes().clone()];
        assert_eq!(core.offer_records(id, bytes).unwrap(), [Ok(Offered::Waits)]);
        let ids = [good.id(), orphan.id(), RecordId([9; 32])];
        assert_eq!(core.became(id, &ids), [1, 1, 1]);
    }
}
