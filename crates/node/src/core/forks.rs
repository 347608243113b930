//! Charters that contradict each other: kept, shown, and said aloud.

use samara_graph::{CharterRef, Graph};
use samara_store::{Batch, Store};
use samara_wire::ChannelId;

use super::{Core, Role, channels::log_failure};
use crate::EngineError;

/// Where it is kept in the store.
const FORK_SETTINGS: &str = "fork";

impl Core {
    /// Somebody has another charter of a version that is held here.
    pub(super) fn on_fork(&mut self, id: ChannelId, ours: CharterRef, theirs: CharterRef) {
        self.metrics.charter_forks.inc();
        self.keep_forks(id);
        self.warn(format!(
            "channel {}: the owners' keys signed two charters of version {}, {} here and {} elsewhere: keys may be stolen; no newer charter and no release is taken until you choose (samara channel show, samara channel choose)",
            self.channels
                .get(&id)
                .and_then(|c| c.name())
                .unwrap_or_else(|| id.short().to_string()),
            ours.version,
            ours.hash,
            theirs.hash
        ));
        self.notify();
    }

    /// Keeps what is known of a channel's forks.
    pub(crate) fn keep_forks(&self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        if channel.meta.role == Role::Guest {
            return;
        }
        let mut batch = Batch::new();
        match channel.graph.forks() {
            Some(forks) => {
                batch.put_setting(FORK_SETTINGS, id.as_bytes(), &forks);
            }
            None => remove(&mut batch, id),
        }
        self.store.write_then(batch, log_failure);
    }
}

/// Tells a graph what is known of its forks. Blocks.
pub(super) fn load(store: &Store, id: ChannelId, graph: &mut Graph) -> Result<(), EngineError> {
    let Some(bytes) = store.setting(FORK_SETTINGS, id.as_bytes())? else {
        return Ok(());
    };
    match graph.restore_forks(&bytes) {
        Ok(()) if graph.fork().is_some() => tracing::warn!(
            channel = %id.short(),
            "two charters contradict each other; choose one: samara channel choose"
        ),
        Ok(()) => {}
        // It comes again from whoever has the other charter.
        Err(error) => tracing::warn!(channel = %id.short(), %error, "what is kept of a fork"),
    }
    Ok(())
}

/// Forgets it with the channel.
pub(super) fn remove(batch: &mut Batch, id: ChannelId) {
    batch.remove_setting(FORK_SETTINGS, id.as_bytes());
}
