//! What is asked for while limits of this node hold.

use std::{collections::BTreeSet, time::Duration};

use samara_wire::PeerId;

use crate::{Action, ContentKey, swarm::Swarm};

impl Swarm {
    /// Links on which credit was given back for want of room: of which peer, for which
    /// content. They are asked again after [`Event::Roomier`](crate::Event::Roomier).
    pub fn cramped(&self) -> &BTreeSet<(ContentKey, PeerId)> {
        &self.cramped
    }

    pub(crate) fn roomier(&mut self, key: ContentKey, peer: PeerId, out: &mut Vec<Action>) {
        self.cramped.remove(&(key, peer));
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        if let Some(link) = content.links.get_mut(&peer) {
            link.cramped = false;
            // One that is shunned is asked when that is over.
            content.ask_credit(&peer, key, self.now, out);
        }
    }

    /// Nothing could come for a while, whatever the peer did.
    pub(crate) fn held_back(&mut self, peer: PeerId, wait: Duration) {
        for key in &self.fetching {
            let Some(content) = self.contents.get_mut(key) else {
                continue;
            };
            let Some(link) = content.links.get(&peer) else {
                continue;
            };
            for id in &link.requests {
                let asked = content.requests.get_mut(id).expect("the link lists it");
                asked.progress_at = (asked.progress_at + wait).min(self.now);
                asked.late_at += wait;
            }
        }
    }
}
