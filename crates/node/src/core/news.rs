//! What applications are told of: durable entries in the store's log, and what is
//! true only while the node runs.

use samara_graph::{Kind, LeaveReason, RecordHeader, RemoveReason, WallMs};
use samara_store::{Batch, StoreError};
use samara_wire::{ChannelId, PeerId, RecordId};
use tokio::sync::{broadcast, watch};

use super::{Core, Role, told, wall_ms};
use crate::api::Change;

/// News of connections that may wait for a slow watcher.
const MAX_LIVE: usize = 256;

/// Something that no restart brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    NeighbourUp(PeerId),
    NeighbourDown(PeerId),
    Synchronized(PeerId),
    Present(PeerId),
    Absent(PeerId),
}

/// Where watchers hear of news.
pub(crate) struct News {
    logged: watch::Sender<()>,
    live: broadcast::Sender<(ChannelId, Live)>,
}

impl News {
    pub(super) fn new() -> Self {
        Self {
            logged: watch::channel(()).0,
            live: broadcast::channel(MAX_LIVE).0,
        }
    }

    /// Changes after each commit that may have added to a log.
    pub(crate) fn logged(&self) -> watch::Receiver<()> {
        self.logged.subscribe()
    }

    /// What happens to connections from now on, in all channels.
    pub(crate) fn live(&self) -> broadcast::Receiver<(ChannelId, Live)> {
        self.live.subscribe()
    }

    pub(super) fn tell(&self, channel: ChannelId, live: Live) {
        // Nobody listens: nobody misses it.
        let _ = self.live.send((channel, live));
    }
}

impl Core {
    /// Whether the channel's events are logged: what is looked into once is not.
    fn logs(&self, id: &ChannelId) -> bool {
        let channel = self.channels.get(id);
        channel.is_some_and(|c| c.meta.role != Role::Guest)
    }

    /// Writes to the index, then wakes who watches.
    pub(super) fn write_telling(
        &self,
        batch: Batch,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        self.store.write_then(batch, self.telling(done));
    }

    /// `done`, and then who watches looks at the log.
    pub(super) fn telling(
        &self,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) -> impl FnOnce(Result<(), StoreError>) + Send + 'static {
        let logged = self.news.logged.clone();
        move |result| {
            done(result);
            logged.send_replace(());
        }
    }

    /// Leases of presence are not logged: they would leave no room for anything else.
    pub(super) fn put_record(
        &self,
        batch: &mut Batch,
        channel: &ChannelId,
        header: &RecordHeader,
        bytes: &[u8],
    ) {
        let (record, head) = (&header.id, header.encode());
        match self.logs(channel) && header.kind != Kind::PRESENCE {
            true => batch.put_record_logged(channel, record, &head, bytes, WallMs(wall_ms())),
            false => batch.put_record(channel, record, &head, bytes),
        };
    }

    /// Logs what no record's entry tells: that somebody has another role now, or none.
    pub(super) fn note_role(
        &self,
        channel: &ChannelId,
        change: &Change,
        peer: &PeerId,
        role: Option<samara_graph::Role>,
    ) {
        if !self.logs(channel) {
            return;
        }
        let note = serde_json::to_vec(change).expect("texts and numbers");
        let mut batch = Batch::new();
        batch.note(channel, &note, WallMs(wall_ms()));
        told::put(&mut batch, channel, peer, role);
        self.write_telling(batch, super::channels::log_failure);
    }

    /// Keeps who was found to belong to a channel, of which nobody was told.
    pub(super) fn keep_told(&self, channel: &ChannelId, roles: &[(PeerId, samara_graph::Role)]) {
        if !self.logs(channel) {
            return;
        }
        let mut batch = Batch::new();
        for (peer, role) in roles {
            told::put(&mut batch, channel, peer, Some(*role));
        }
        self.store.write_then(batch, super::channels::log_failure);
    }

    pub(super) fn remove_record(
        &mut self,
        batch: &mut Batch,
        channel: &ChannelId,
        record: &RecordId,
        reason: RemoveReason,
    ) {
        let now = WallMs(wall_ms());
        let found = self.channels.get_mut(channel);
        let lease = found.is_some_and(|c| c.presence.forget(record));
        match self.logs(channel) && !lease {
            true => batch.remove_record_logged(channel, record, reason_number(reason), now),
            false => batch.remove_record(channel, record),
        };
    }
}

/// Why a member is none any more, in events.
pub(super) fn leave_name(reason: LeaveReason) -> &'static str {
    match reason {
        LeaveReason::Revoked => "revoked",
        LeaveReason::Lapsed => "lapsed",
        LeaveReason::Left => "left",
        _ => "other",
    }
}

/// A reason as the log keeps it; the numbers stay.
fn reason_number(reason: RemoveReason) -> u8 {
    match reason {
        RemoveReason::Expired => 1,
        RemoveReason::Retracted => 2,
        RemoveReason::Equivocation => 3,
        RemoveReason::Quota => 4,
        RemoveReason::NotPublisher => 5,
        RemoveReason::Lost => 6,
        RemoveReason::Revoked => 7,
        RemoveReason::InviteUsedUp => 8,
        _ => 0,
    }
}

/// The name of a reason in events.
pub(crate) fn reason_name(number: u8) -> &'static str {
    match number {
        1 => "expired",
        2 => "retracted",
        3 => "equivocation",
        4 => "quota",
        5 => "not_publisher",
        6 => "lost",
        7 => "revoked",
        8 => "invite_used_up",
        _ => "other",
    }
}
