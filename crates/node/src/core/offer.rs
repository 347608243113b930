//! What comes out of a file instead of from a peer.

use bytes::Bytes;
use samara_graph::{Action, Graph, Offered, Reject, WallMs};
use samara_wire::ChannelId;

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
