//! Leaving a channel: this node says so, and stays until a member has it.

use samara_graph::{GraphError, WallMs};
use samara_wire::{ChannelId, PeerId, RecordId};

use super::{Channel, Core, wall_ms};
use crate::message::Control;

/// What is left to do before this node may go.
#[derive(Debug)]
pub(crate) struct Leaving {
    /// The record that says so.
    record: RecordId,
    /// What this node showed at doors until now: members that do not know yet let it in
    /// by these once more, so that it can tell them.
    credentials: Vec<RecordId>,
    /// Whether a member holds the record.
    heard: bool,
}

impl Channel {
    /// A neighbour says that it holds these records; whether that lets this node go.
    pub(super) fn hear_of_leaving(&mut self, ids: &[RecordId]) -> bool {
        let leaving = self.leaving.as_mut();
        let heard = leaving.filter(|leaving| ids.contains(&leaving.record));
        heard.map(|leaving| leaving.heard = true).is_some()
    }

    /// By which records this node belonged to the channel that it is leaving.
    pub(super) fn leaving_by(&self) -> Option<Vec<RecordId>> {
        let leaving = self.leaving.as_ref()?;
        Some(leaving.credentials.clone())
    }
}

impl Core {
    /// Begins to leave a channel: publishes that this node does.
    ///
    /// # Errors
    /// [`GraphError::NothingToLeave`] if it has nothing to give back; why its record is
    /// not taken.
    pub(crate) fn begin_leaving(&mut self, id: ChannelId) -> Result<(), GraphError> {
        let (me, key, now) = (self.me, self.key.clone(), WallMs(wall_ms()));
        let Some(channel) = self.channels.get_mut(&id) else {
            return Err(GraphError::NothingToLeave(me));
        };
        let credentials = channel.graph.credentials(&me, now).unwrap_or_default();
        let mut actions = Vec::new();
        let record = channel.graph.leave(now, &key, &mut actions)?.id();
        channel.leaving = Some(Leaving {
            record,
            credentials,
            heard: false,
        });
        self.graph_actions(id, actions);
        Ok(())
    }

    /// Whether a member holds the word that this node leaves, or there is none.
    pub(crate) fn has_left(&self, id: ChannelId) -> bool {
        let leaving = self.channels.get(&id).and_then(|c| c.leaving.as_ref());
        leaving.is_none_or(|leaving| leaving.heard)
    }

    /// A member left a private channel: nothing more of it passes. The connection stays,
    /// since the word that its leave was taken is on its way there.
    pub(super) fn part(&mut self, id: ChannelId, peer: PeerId) {
        self.leave_one(id, peer);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.greeted.remove(&peer);
            channel.known.remove(&peer);
        }
        if let Some(link) = self.sessions.get_mut(&peer) {
            link.doors.shut(&id);
            link.session.send(&Control::NoChannel { channel: id });
        }
        self.notify();
    }
}
