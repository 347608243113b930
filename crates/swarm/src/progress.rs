//! Answers that are under way: who sends slowly is not silent, and who takes slowly is
//! not stuck.

use std::time::Duration;

use samara_wire::PeerId;

use crate::{
    ContentKey, RequestId, content::Content, limits::SLOWEST_SENDER, link::Link, swarm::Swarm,
};

/// A peer to which nothing passes for this long holds no place among those served.
const STUCK: Duration = Duration::from_secs(3);

/// A peer that takes something all the time holds its place for so long without having
/// taken a chunk of it, or so many times as long as a chunk should take: it may be this
/// node that is slow.
const LONGEST_CHUNK: Duration = Duration::from_secs(30);
const LONGER: u32 = 8;

impl Content {
    /// Of the chunk that a request is coming to so many bytes are here: how many of them
    /// were not before.
    pub(crate) fn deliver(&mut self, now: Duration, id: RequestId, bytes: u64) -> u64 {
        let asked = self.requests.get_mut(&id).expect("found by request_of");
        let came = bytes.saturating_sub(asked.begun);
        asked.begun = asked.begun.max(bytes);
        let (mark, all, peer) = (asked.mark, asked.all, asked.peer);
        self.rate.deliver(now, all, came);
        if let Some(link) = self.links.get_mut(&peer) {
            link.rate.deliver(now, mark, came);
        }
        came
    }

    /// So many bytes came from a peer. All its answers share one way: none of them is
    /// missing for as long as the slowest sender would take.
    pub(crate) fn hear_from(&mut self, now: Duration, peer: &PeerId, bytes: u64) {
        let worth = Duration::from_secs_f64(bytes as f64 / SLOWEST_SENDER as f64);
        let Some(link) = self.links.get(peer) else {
            return;
        };
        for id in &link.requests {
            let asked = self.requests.get_mut(id).expect("the link lists it");
            asked.progress_at = (asked.progress_at + worth).min(now);
        }
    }
}

impl Swarm {
    pub(crate) fn progressed(&mut self, key: ContentKey, chunk: u32, peer: PeerId, bytes: u32) {
        let Some(content) = self.contents.get_mut(&key) else {
            return;
        };
        if chunk >= content.have.len() {
            return;
        }
        let Some(id) = content.request_of(&peer, chunk) else {
            return;
        };
        let bytes = u64::from(bytes).min(content.size(chunk));
        let came = content.deliver(self.now, id, bytes);
        for key in &self.fetching {
            if let Some(content) = self.contents.get_mut(key) {
                content.hear_from(self.now, &peer, came);
            }
        }
    }

    pub(crate) fn sending(&mut self, key: ContentKey, peer: PeerId) {
        let content = self.contents.get_mut(&key);
        if let Some(link) = content.and_then(|content| content.links.get_mut(&peer)) {
            link.moved_at = self.now;
        }
    }

    /// Whether something passes to a peer that holds a place among those served.
    pub(crate) fn holds_place(&self, content: &Content, link: &Link) -> bool {
        let chunk = self.uplink.rate.time_for(content.average());
        let longest = chunk.map_or(LONGEST_CHUNK, |time| LONGEST_CHUNK.max(LONGER * time));
        let moves = link.moved_at + STUCK > self.now && link.progress_at + longest > self.now;
        moves || link.progress_at + STUCK > self.now
    }
}
