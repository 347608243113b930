//! Who takes part in which swarm, and the requests both ways.

use std::sync::Arc;

use quinn::SendStream;
use samara_store::Content;
use samara_swarm::{Event, Message, RequestId, ServeId, SiteId, Tier};
use samara_wire::{ChannelId, ContentId, PeerId};
use tokio_util::sync::CancellationToken;

use super::{Core, TransferKey};
use crate::{
    fetch::{self, FetchJob},
    limits,
    message::{Ask, Control, Handle},
    serve::{self, ServeJob},
    session::{Close, is_lan},
    transport,
};

/// A peer's request for chunks, until the swarm says whether it is answered.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) stream: SendStream,
}

impl Core {
    /// Tells peers of the transfer's channels that we take part, where that is
    /// news: all of them while we want something, else those that spoke first.
    pub(super) fn announce(&mut self, key: TransferKey) {
        let peers: Vec<PeerId> = self.sessions.keys().copied().collect();
        for peer in peers {
            self.announce_to(key, peer);
        }
    }

    /// A peer proved a channel: tells it of what we want there.
    pub(super) fn announce_channel(&mut self, channel: ChannelId, peer: PeerId) {
        let keys: Vec<_> = self
            .transfers
            .iter()
            .filter(|(_, t)| t.channels.contains(&channel))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.announce_to(key, peer);
        }
    }

    /// Tells those again that closed it, when all was whole or paused, that we want
    /// something of it.
    pub(super) fn announce_again(&mut self, key: TransferKey) {
        let Some(transfer) = self.transfers.get(&key) else {
            return;
        };
        if transfer.content.has_wanted() {
            return;
        }
        let id = *transfer.content.id();
        for link in self.sessions.values_mut() {
            let joined = link.theirs.values().any(|(_, content)| *content == id);
            let mut channels = transfer.channels.intersection(&link.channels);
            if !joined
                && link.ours.contains(&key)
                && let Some(channel) = channels.next()
            {
                link.session.send(&Control::Open {
                    handle: key.0,
                    channel: *channel,
                    content: id,
                });
            }
        }
    }

    fn announce_to(&mut self, key: TransferKey, peer: PeerId) {
        let (Some(transfer), Some(link)) = (self.transfers.get(&key), self.sessions.get_mut(&peer))
        else {
            return;
        };
        let id = *transfer.content.id();
        let Some(channel) = transfer.channels.intersection(&link.channels).next() else {
            return;
        };
        let joined = link
            .theirs
            .values()
            .any(|(c, content)| *content == id && transfer.channels.contains(c));
        let fresh = link.ours.insert(key);
        if !fresh {
            return;
        }
        if !joined && transfer.content.has_wanted() {
            // Whoever wants it will speak first.
            link.ours.remove(&key);
            return;
        }
        link.session.send(&Control::Open {
            handle: key.0,
            channel: *channel,
            content: id,
        });
        if joined {
            self.peer_joined(key, peer);
        }
    }

    fn peer_joined(&mut self, key: TransferKey, peer: PeerId) {
        let Some(link) = self.sessions.get(&peer) else {
            return;
        };
        let tier = self.tier_of(link);
        let site = link.site.as_deref().map(site_id);
        let rtt = link.session.rtt();
        self.swarm_event(Event::PeerJoined {
            key,
            peer,
            tier,
            site,
        });
        self.swarm_event(Event::PathSample { peer, rtt });
    }

    fn tier_of(&self, link: &super::Link) -> Tier {
        let addr = link.session.addr().ip();
        match (&self.config.site, &link.site) {
            (Some(ours), Some(theirs)) if ours == theirs => return Tier::Site,
            (Some(_), Some(_)) => return Tier::Elsewhere,
            _ => {}
        }
        if addr.is_loopback() || self.on_own_subnet(addr) {
            Tier::Subnet
        } else if is_lan(addr) {
            Tier::Site
        } else {
            Tier::Elsewhere
        }
    }

    pub(super) fn on_open(
        &mut self,
        peer: PeerId,
        handle: Handle,
        channel: ChannelId,
        content: ContentId,
    ) {
        let Some(link) = self.sessions.get_mut(&peer) else {
            return;
        };
        if link.theirs.len() >= limits::MAX_OPENS_PER_PEER && !link.theirs.contains_key(&handle) {
            self.metrics
                .misbehaviour
                .with_label_values(&["opens"])
                .inc();
            link.session.close(Close::Misbehaved);
            return;
        }
        // A channel that is not proved on both sides does not exist here.
        if !link.channels.contains(&channel) {
            return;
        }
        if let Some((_, old)) = link.theirs.insert(handle, (channel, content))
            && old != content
        {
            self.peer_left(peer, old);
        }
        let Some(key) = self.serve_on_demand(channel, content) else {
            return;
        };
        let Some(link) = self.sessions.get(&peer) else {
            return;
        };
        if link.ours.contains(&key) {
            self.peer_joined(key, peer);
        } else {
            self.announce_to(key, peer);
        }
    }

    pub(super) fn on_close(&mut self, peer: PeerId, handle: Handle) {
        let gone = self
            .sessions
            .get_mut(&peer)
            .and_then(|link| link.theirs.remove(&handle));
        let Some((_, content)) = gone else {
            return;
        };
        self.peer_left(peer, content);
        // Whole here as well: whoever wants something speaks first.
        if let Some((key, transfer)) = self.transfer_of(&content)
            && transfer.content.has_wanted()
            && let Some(link) = self.sessions.get_mut(&peer)
            && link.ours.remove(&key)
        {
            link.session.send(&Control::Close { handle: key.0 });
        }
    }

    fn peer_left(&mut self, peer: PeerId, content: ContentId) {
        if let Some(key) = self.transfer_by_content.get(&content).copied() {
            self.swarm_event(Event::PeerLeft { key, peer });
        }
    }

    pub(super) fn on_swarm_message(&mut self, peer: PeerId, handle: Handle, body: &[u8]) {
        let Some(link) = self.sessions.get(&peer) else {
            return;
        };
        let Some((channel, content)) = link.theirs.get(&handle).copied() else {
            return;
        };
        let key = match self.transfer_by_content.get(&content).copied() {
            Some(key) => key,
            // It was closed here while this was on its way.
            None => {
                let Some(key) = self.serve_on_demand(channel, content) else {
                    return;
                };
                self.announce_to(key, peer);
                key
            }
        };
        let Some(link) = self.sessions.get(&peer) else {
            return;
        };
        let Some(count) = self.swarm.chunk_count(key) else {
            return;
        };
        match Message::decode(body, count) {
            Ok(msg) => {
                let room = match &msg {
                    Message::Grant { .. } => self.room_for(key, &peer),
                    _ => None,
                };
                self.swarm_event(Event::Message {
                    peer,
                    key,
                    msg,
                    room,
                });
            }
            Err(error) => {
                tracing::warn!(peer = %peer.short(), %error, "bad swarm message");
                self.metrics
                    .misbehaviour
                    .with_label_values(&["swarm"])
                    .inc();
                link.session.close(Close::Protocol);
            }
        }
    }

    /// The transfer of a content of a channel, started now if the store has the
    /// content and a record of the channel names it: a node with very many
    /// contents at rest keeps none of them in memory.
    fn serve_on_demand(&mut self, channel: ChannelId, content: ContentId) -> Option<TransferKey> {
        let named = self.channels.get(&channel)?.named(&content);
        if let Some(key) = self.transfer_by_content.get(&content).copied() {
            let transfer = self.transfers.get_mut(&key)?;
            if named.is_some() {
                transfer.channels.insert(channel);
            }
            return transfer.channels.contains(&channel).then_some(key);
        }
        let named = named?;
        let content = self.store.content(&content)?;
        // What was given up in between would be fetched on.
        if !content.has_wanted() {
            return None;
        }
        Some(self.add_transfer(content, channel, named.author, named.priority))
    }

    pub(super) fn on_asked(&mut self, peer: PeerId, ask: Ask, mut stream: SendStream) {
        let proved = |core: &Self, channel: &ChannelId| {
            core.sessions
                .get(&peer)
                .is_some_and(|link| link.channels.contains(channel))
        };
        match ask {
            Ask::Words { channel, body } => self.on_words(peer, channel, body, stream),
            Ask::Pages {
                channel,
                content,
                pages,
            } => {
                let held = (proved(self, &channel) && self.serves(&channel, &content))
                    .then(|| self.content_for(channel, &content))
                    .flatten();
                tokio::spawn(serve::serve_pages(stream, held, pages));
            }
            Ask::Chunks {
                channel,
                content,
                chunks,
            } => {
                let key = proved(self, &channel)
                    .then(|| self.serve_on_demand(channel, content))
                    .flatten();
                let Some(key) = key else {
                    let _ = stream.reset(Close::Protocol.code());
                    return;
                };
                let serve = ServeId(self.next_asked);
                self.next_asked += 1;
                self.asked.insert(serve, Waiting { stream });
                self.swarm_event(Event::Incoming {
                    key,
                    peer,
                    serve,
                    chunks,
                });
            }
        }
    }

    fn content_for(&self, channel: ChannelId, content: &ContentId) -> Option<Arc<Content>> {
        if let Some((_, transfer)) = self.transfer_of(content)
            && transfer.channels.contains(&channel)
        {
            return Some(transfer.content.clone());
        }
        self.channels.get(&channel)?.named(content)?;
        self.store.content(content)
    }

    pub(super) fn request(
        &mut self,
        peer: PeerId,
        key: TransferKey,
        request: RequestId,
        chunks: &[u32],
    ) -> bool {
        let (Some(transfer), Some(link)) = (self.transfers.get(&key), self.sessions.get_mut(&peer))
        else {
            return false;
        };
        let Some(channel) = transfer.channels.intersection(&link.channels).next() else {
            return false;
        };
        let manifest = transfer.content.manifest();
        let Some(chunks) = chunks
            .iter()
            .map(|i| manifest.chunk(*i).map(|c| (*i, c.len)))
            .collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        let cancel = CancellationToken::new();
        link.requests.insert(request, cancel.clone());
        link.asked = true;
        let channel = *channel;
        let connection = link.session.connection.clone();
        let (lan, meter) = (link.session.is_lan(), link.meter.clone());
        let watches = [&transfer.held_down, &link.held];
        let lane = self.shapers.lane((false, lan), channel, &meter, watches);
        let asking = lane.ask(chunks.iter().map(|(_, bytes)| u64::from(*bytes)).sum());
        let window = self.receive_window(&self.sessions[&peer]);
        self.metrics.open_requests.inc();
        let job = FetchJob {
            key,
            request,
            peer,
            channel,
            content: transfer.content.clone(),
            chunks,
            lane,
            window,
            unwritten: transfer.unwritten.clone(),
        };
        tokio::spawn(fetch::fetch_chunks(
            connection,
            job,
            asking,
            self.receive_pool.clone(),
            self.writers.clone(),
            self.inputs.clone(),
            cancel,
        ));
        true
    }

    pub(super) fn serve(
        &mut self,
        peer: PeerId,
        key: TransferKey,
        serve: ServeId,
        chunks: &[u32],
    ) -> bool {
        let Some(waiting) = self.asked.remove(&serve) else {
            return false;
        };
        let (Some(transfer), Some(link)) = (self.transfers.get(&key), self.sessions.get(&peer))
        else {
            return false;
        };
        let manifest = transfer.content.manifest();
        let chunks = chunks
            .iter()
            .filter_map(|i| manifest.chunk(*i).map(|c| (*i, c.len)))
            .collect();
        let Some(channel) = transfer.channels.intersection(&link.channels).next() else {
            return false;
        };
        let lane = self.shapers.lane(
            (true, link.session.is_lan()),
            *channel,
            &link.meter,
            [&transfer.held_up; 2],
        );
        link.share.set_target(transport::unsent(link.session.rtt()));
        let job = ServeJob {
            key,
            serve,
            peer,
            connection: link.session.connection.clone(),
            content: transfer.content.clone(),
            chunks,
            share: link.share.clone(),
            sent: link.sent.clone(),
        };
        tokio::spawn(serve::serve_chunks(
            waiting.stream,
            job,
            self.send_pool.clone(),
            lane,
            self.inputs.clone(),
        ));
        true
    }
}

/// The swarm's number for a site's label.
fn site_id(label: &str) -> SiteId {
    let hash = blake3::hash(label.as_bytes());
    let (head, _) = hash.as_bytes().split_first_chunk().expect("32 bytes");
    SiteId(u64::from_le_bytes(*head))
}
