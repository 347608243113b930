//! Requests that are at work in a channel for a while: the last one to leave puts
//! it back as it was, and none takes it away from the others.

use samara_graph::{CharterHash, CharterRef, Link};
use samara_wire::ChannelId;

use super::{ChannelMeta, Core, Role};
use crate::EngineError;

/// The requests in one channel.
#[derive(Debug, Default)]
pub(super) struct Visits {
    count: usize,
    /// The first of them found the channel silent.
    woke: bool,
    /// It is dropped from memory with the last of them.
    drop: bool,
}

impl Core {
    /// A request begins to work in a channel that is here, and has it talked about.
    pub(crate) fn visit(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let silent = !channel.active;
        let visits = self.visits.entry(id).or_default();
        visits.count += 1;
        visits.woke |= silent;
        self.activate(id);
    }

    /// A request looks for a channel of which this node may know nothing but its id.
    /// It may be a private one: whoever is met on the way hears the id only after
    /// showing that it knows it.
    pub(crate) fn visit_bare(&mut self, id: ChannelId) -> Result<(), EngineError> {
        if !self.channels.contains_key(&id) {
            // The id is the hash of the first charter, which is all that a link says
            // besides where somebody is.
            let first = CharterRef {
                version: 1,
                hash: CharterHash(id.0),
            };
            let link = Link::new(id, first, &[]);
            let mut meta = ChannelMeta::new(Role::Guest);
            meta.link = Some(link.to_string());
            let mut channel = super::join(&link, self.me, meta)?;
            channel.veiled = true;
            self.add_channel(id, channel, false);
        }
        self.visit(id);
        Ok(())
    }

    /// A request begins to share a channel.
    pub(crate) fn visit_to_share(&mut self, id: ChannelId) {
        self.visit(id);
        if let Some(visits) = self.visits.get_mut(&id) {
            visits.drop = true;
        }
    }

    /// A channel is talked about from now on, whoever leaves it.
    pub(crate) fn stay(&mut self, id: ChannelId) {
        if let Some(visits) = self.visits.get_mut(&id) {
            visits.woke = false;
        }
    }

    /// A request is done with a channel. A guest's is dropped with all that came of
    /// it, a share's until it is shared again; one that was silent is silent again.
    pub(crate) fn leave(&mut self, id: ChannelId) {
        let Some(visits) = self.visits.get_mut(&id) else {
            return;
        };
        visits.count -= 1;
        if visits.count > 0 {
            return;
        }
        let visits = self.visits.remove(&id).expect("found above");
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        match channel.meta.role {
            Role::Guest => self.drop_channel(id, true),
            Role::Share if visits.drop => self.drop_channel(id, false),
            _ if visits.woke => {
                self.silence(id);
                self.leave_swarms(id);
            }
            _ => {}
        }
    }
}
