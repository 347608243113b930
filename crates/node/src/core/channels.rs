//! Channels: the graphs' actions carried out, and who is in which channel.

use std::{
    collections::HashSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use samara_graph::{
    Action, Draft, Event, Fault, Graph, Invitation, Kind, LeaveReason, Link as WayIn, LinkPeer,
    Message, PeerAddress, Record, RecordHeader, WallMs,
};
use samara_store::{Batch, StoreError};
use samara_wire::{ChannelId, PeerId, RecordId};
use tokio::task;

use super::{
    CHANNEL_SETTINGS, Channel, ChannelMeta, Core, Input, Item, Live, Role, channel::put_meta,
    forks, news::leave_name, remembered, time, told, wall_ms,
};
use crate::{
    EngineError,
    api::{Change, ErrorKind},
    discovery::Source,
    limits,
    message::Control,
    receipt::Receipt,
    session::{Close, SessionId},
};

/// How often they are written down.
const REMEMBER_EVERY: Duration = Duration::from_secs(20);

impl Core {
    /// Adds a channel, to be talked about if `active`; keeps its metadata.
    pub(crate) fn add_channel(&mut self, id: ChannelId, channel: Channel, active: bool) {
        self.remember_meta(id, &channel.meta);
        let link = channel.meta.link.clone();
        self.channels.insert(id, channel);
        if active {
            self.activate(id);
        }
        if let Some(link) = link.and_then(|text| text.parse::<WayIn>().ok()) {
            for peer in link.peers() {
                self.learn_peer(id, peer.peer, &peer.addrs, Source::Link);
            }
        }
        self.notify();
    }

    pub(crate) fn remember_meta(&self, id: ChannelId, meta: &ChannelMeta) {
        if meta.role == Role::Guest {
            return;
        }
        let mut batch = Batch::new();
        put_meta(&mut batch, id, meta);
        self.store.write_then(batch, log_failure);
    }

    /// Starts talking about a channel.
    pub(crate) fn activate(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        channel.active = true;
        for peer in std::mem::take(&mut channel.remembered) {
            self.graph_event(id, Event::PeerKnown(peer));
        }
        self.next_dial = self.next_dial.min(Instant::now());
    }

    /// Stops talking about a channel, and keeps it.
    pub(crate) fn silence(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        channel.active = false;
        let members: Vec<PeerId> = channel.members.iter().copied().collect();
        for peer in members {
            if let Some(link) = self.sessions.get(&peer) {
                link.session.send(&Control::NoChannel { channel: id });
            }
            self.leave_one(id, peer);
            self.graph_event(id, Event::NeighbourDown { peer });
        }
        for link in self.sessions.values_mut() {
            link.doors.shut(&id);
        }
    }

    /// Stops talking about a channel and drops it from memory; `forget` also from
    /// the disk.
    pub(crate) fn drop_channel(&mut self, id: ChannelId, forget: bool) {
        self.silence(id);
        let dropped = self.channels.remove(&id);
        let members = dropped.map_or(Vec::new(), |c| c.graph.members_told().collect());
        for link in self.sessions.values_mut() {
            link.channels.remove(&id);
        }
        self.leave_swarms(id);
        if forget {
            let mut batch = Batch::new();
            batch.remove_channel(&id);
            batch.remove_setting(CHANNEL_SETTINGS, id.as_bytes());
            for peer in members {
                told::put(&mut batch, &id, &peer, None);
            }
            remembered::remove(&mut batch, id);
            time::remove(&mut batch, id);
            forks::remove(&mut batch, id);
            self.write_telling(batch, log_failure);
        }
        self.notify();
    }

    /// Gives up the transfers that serve no other channel.
    pub(super) fn leave_swarms(&mut self, id: ChannelId) {
        let keys: Vec<_> = self
            .transfers
            .iter()
            .filter(|(_, t)| t.channels.contains(&id))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let transfer = self.transfers.get_mut(&key).expect("listed");
            transfer.channels.remove(&id);
            if transfer.channels.is_empty() {
                self.remove_transfer(key);
            }
        }
    }

    /// Signs and publishes a record; it counts once it is stored, which
    /// [`Channel::graph`]'s `contains` and the items then show. The receipt is stored
    /// with it.
    pub(crate) fn publish(
        &mut self,
        id: ChannelId,
        draft: Draft,
        receipt: Option<Receipt>,
    ) -> Result<Record, EngineError> {
        let key = self.key.clone();
        self.receipt = receipt;
        let record = self.with_graph(id, |graph, now, out| graph.publish(now, &key, draft, out));
        self.receipt = None;
        record
    }

    /// Signs and publishes a retraction of a record of this identity.
    pub(crate) fn retract(
        &mut self,
        id: ChannelId,
        kind: Kind,
        about: &[u8],
        receipt: Option<Receipt>,
    ) -> Result<Record, EngineError> {
        let key = self.key.clone();
        self.receipt = receipt;
        let record = self.with_graph(id, |graph, now, out| {
            graph.retract(now, &key, kind, about, out)
        });
        self.receipt = None;
        record
    }

    pub(crate) fn with_graph<R>(
        &mut self,
        id: ChannelId,
        f: impl FnOnce(&mut Graph, WallMs, &mut Vec<Action>) -> Result<R, samara_graph::GraphError>,
    ) -> Result<R, EngineError> {
        let mut actions = Vec::new();
        let channel = self
            .channels
            .get_mut(&id)
            .ok_or_else(|| EngineError::new(ErrorKind::NotFound, "the channel is not here"))?;
        let result = f(&mut channel.graph, WallMs(wall_ms()), &mut actions);
        self.graph_actions(id, actions);
        result.map_err(|error| {
            let kind = match error {
                samara_graph::GraphError::NotPublisher(_)
                | samara_graph::GraphError::MayNotGive(_)
                | samara_graph::GraphError::MayNotLower(_)
                | samara_graph::GraphError::Outranked(_) => ErrorKind::Denied,
                samara_graph::GraphError::NothingToRetract { .. } => ErrorKind::NotFound,
                samara_graph::GraphError::NoCharter => ErrorKind::NoPeer,
                _ => ErrorKind::Record,
            };
            EngineError::new(kind, error.to_string())
        })
    }

    /// The link of a channel with this node, and members that it knows, as the way in.
    /// An invitation makes it one that admits its bearer.
    pub(crate) fn link_of(
        &self,
        id: ChannelId,
        own: &[SocketAddr],
        invitation: Option<Invitation>,
    ) -> Option<String> {
        let channel = self.channels.get(&id)?;
        let charter = match channel.graph.charters() {
            Some(chain) => chain.reference(),
            None => channel.way_in()?.charter(),
        };
        let mut peers = vec![LinkPeer {
            peer: self.me,
            addrs: own.to_vec(),
        }];
        let graph = &channel.graph;
        let others = graph
            .known_peers()
            .filter(|p| p.peer() != self.me && !graph.is_revoked(&p.peer()));
        peers.extend(others.take(LINK_PEERS).map(|known| LinkPeer {
            peer: known.peer(),
            addrs: known.addrs().to_vec(),
        }));
        peers.retain(|p| !p.addrs.is_empty());
        let link = WayIn::with(id, charter, channel.is_private(), invitation, &peers);
        Some(link.to_string())
    }

    /// Says hello to a connected peer about a channel.
    pub(super) fn greet(&mut self, id: ChannelId, peer: PeerId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        // Nothing is shown to who was revoked, nor that the channel is here.
        if channel.graph.is_revoked(&peer) {
            return;
        }
        channel.greeted.insert(peer);
        if !channel.is_sayable() {
            return self.knock(id, peer);
        }
        self.say_hello(id, peer);
    }

    /// A link says what a bare id does not: whether the channel is private.
    pub(crate) fn unveil(&mut self, id: ChannelId, link: &WayIn) {
        if let Some(channel) = self.channels.get_mut(&id).filter(|c| c.veiled) {
            channel.veiled = false;
            channel.meta.link = Some(link.to_string());
        }
    }

    /// A peer is a neighbour in a channel from now on.
    pub(super) fn say_hello(&mut self, id: ChannelId, peer: PeerId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        channel.greeted.insert(peer);
        if let Some(known) = channel.known.get_mut(&peer) {
            known.asked();
        }
        if channel.members.insert(peer) {
            self.graph_event(id, Event::NeighbourUp { peer });
        }
    }

    /// A connection ended.
    pub(super) fn leave_channels(&mut self, peer: PeerId) {
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for id in ids {
            let channel = self.channels.get_mut(&id).expect("listed");
            channel.greeted.remove(&peer);
            channel.synchronized.remove(&peer);
            channel.graph.forget_proof(&peer);
            if channel.members.remove(&peer) {
                self.graph_event(id, Event::NeighbourDown { peer });
            }
        }
    }

    pub(super) fn on_control(&mut self, peer: PeerId, control: Control) {
        match control {
            Control::Introduce { site } => {
                if let Some(link) = self.sessions.get_mut(&peer) {
                    link.site = site;
                }
            }
            Control::Graph { channel, body } => self.on_graph(peer, channel, &body),
            Control::NoChannel { channel } => {
                self.on_no_channel(peer, channel, "it does not have the channel");
            }
            // Has a turn of its own: `Input::Prove`.
            Control::Prove { .. } => {}
            Control::Proved { tag, sealed } => self.on_proved(peer, tag, &sealed),
            Control::Refused { tag } => self.on_refused(peer, &tag),
            Control::Open {
                handle,
                channel,
                content,
            } => self.on_open(peer, handle, channel, content),
            Control::Close { handle } => self.on_close(peer, handle),
            Control::Swarm { handle, body } => self.on_swarm_message(peer, handle, &body),
        }
    }

    /// A peer does not talk of a channel, or no more.
    pub(super) fn on_no_channel(&mut self, peer: PeerId, id: ChannelId, why: &str) {
        let mut parted = false;
        if let Some(link) = self.sessions.get_mut(&peer) {
            link.doors.shut(&id);
            parted = link.channels.contains(&id);
        }
        let Some(found) = self.channels.get_mut(&id) else {
            return;
        };
        found.members.remove(&peer);
        found.greeted.remove(&peer);
        found.synchronized.remove(&peer);
        // The charter of a private channel is shown inside only: we were let in once.
        let was_in = found.graph.is_private() == Some(true);
        let now = Instant::now();
        if let Some(known) = found.known.get_mut(&peer) {
            match was_in {
                // Who talked of it takes leave: that says nothing of this node's rights.
                _ if parted => known.parted(now, why),
                true => known.shut_out(now, why),
                false => known.refused(now, why),
            }
            if known.asks_anew(now) {
                self.next_dial = now;
            }
        }
        self.leave_swarms_with(id, peer);
        self.graph_event(id, Event::NeighbourDown { peer });
        self.notify();
    }

    fn on_graph(&mut self, peer: PeerId, id: ChannelId, body: &Bytes) {
        let let_in = self.is_let_in(&id, &peer);
        let Some(channel) = self.channels.get_mut(&id).filter(|c| c.active && let_in) else {
            if let Some(link) = self.sessions.get(&peer) {
                link.session.send(&Control::NoChannel { channel: id });
            }
            return;
        };
        let message = match Message::decode(body) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(peer = %peer.short(), %error, "bad graph message");
                self.metrics
                    .misbehaviour
                    .with_label_values(&["graph"])
                    .inc();
                if let Some(link) = self.sessions.get(&peer) {
                    link.session.close(Close::Protocol);
                }
                return;
            }
        };
        if let Message::Have(ids) = &message
            && channel.hear(ids)
        {
            self.changed.notify_waiters();
        }
        let newcomer = channel.members.insert(peer);
        let Some(link) = self.sessions.get_mut(&peer) else {
            return;
        };
        if link.channels.len() >= limits::MAX_CHANNELS_PER_PEER && !link.channels.contains(&id) {
            link.session.close(Close::Misbehaved);
            return;
        }
        let proved = link.channels.insert(id);
        if newcomer {
            self.graph_event(id, Event::NeighbourUp { peer });
        }
        self.graph_event(id, Event::Message { peer, message });
        if proved {
            let channel = self.channels.get_mut(&id);
            if let Some(known) = channel.and_then(|c| c.known.get_mut(&peer)) {
                known.reopen(Instant::now());
            }
            self.news.tell(id, Live::NeighbourUp(peer));
            self.announce_channel(id, peer);
            self.notify();
        }
    }

    pub(super) fn tick_channels(&mut self, now: Duration) {
        let ids: Vec<_> = self
            .channels
            .iter()
            .filter(|(_, c)| c.active)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.watch_pace(id);
            self.keep_present(id);
            let channel = self.channels.get_mut(&id).expect("listed");
            if channel.graph.next_timeout().is_some_and(|t| t <= now) {
                self.graph_event(id, Event::Tick);
            }
            let Some(channel) = self.channels.get_mut(&id) else {
                continue;
            };
            if self.transport.is_some()
                && channel
                    .last_round
                    .is_none_or(|last| now.saturating_sub(last) >= REMEMBER_EVERY)
            {
                channel.last_round = Some(now);
                self.tell_address(id);
                self.remember_peers(id);
                self.renew_roles(id);
                self.keep_time(id);
            }
        }
    }

    /// Tells the graph which neighbours do not take what they are sent, and which do
    /// again.
    fn watch_pace(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let sessions = &self.sessions;
        let is_behind = |peer: &PeerId| sessions.get(peer).is_some_and(|l| l.session.is_behind());
        let slow: HashSet<PeerId> = channel.members.iter().copied().filter(is_behind).collect();
        let before = std::mem::replace(&mut channel.slow, slow.clone());
        for peer in slow.symmetric_difference(&before).copied() {
            let slow = slow.contains(&peer);
            self.graph_event(id, Event::Slow { peer, slow });
        }
    }

    fn tell_address(&mut self, id: ChannelId) {
        let addrs = self.own_addrs();
        if addrs.is_empty() {
            return;
        }
        let address = PeerAddress::sign(&self.key, &addrs, WallMs(wall_ms()));
        self.graph_event(id, Event::OurAddress(address));
    }

    fn remember_peers(&self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        if channel.meta.role == Role::Guest {
            return;
        }
        let peers: Vec<_> = channel
            .graph
            .known_peers()
            .take(limits::WANTED_NEIGHBOURS)
            .collect();
        if peers.is_empty() {
            return;
        }
        let mut batch = Batch::new();
        remembered::put(&mut batch, id, &peers);
        self.store.write_then(batch, log_failure);
    }

    pub(super) fn graph_event(&mut self, id: ChannelId, event: Event) {
        let now = self.now();
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let mut actions = Vec::new();
        channel
            .graph
            .handle(WallMs(wall_ms()), now, event, &mut actions);
        self.graph_actions(id, actions);
    }

    pub(super) fn graph_actions(&mut self, id: ChannelId, actions: Vec<Action>) {
        for action in actions {
            self.graph_action(id, action);
        }
    }

    fn graph_action(&mut self, id: ChannelId, action: Action) {
        match action {
            Action::Send { peer, message } => {
                if let Some(link) = self.sessions.get(&peer) {
                    link.session.send(&Control::Graph {
                        channel: id,
                        body: message.encode().into(),
                    });
                    if link.session.is_behind()
                        && let Some(channel) = self.channels.get_mut(&id)
                        && channel.slow.insert(peer)
                    {
                        self.graph_event(id, Event::Slow { peer, slow: true });
                    }
                }
            }
            Action::SendRecord { peer, id: record } => self.send_record(id, peer, record),
            Action::Store { header, bytes } => self.store_record(id, &header, &bytes),
            Action::StoreCharters { chain } => {
                let keep = self
                    .channels
                    .get(&id)
                    .is_some_and(|c| c.meta.role != Role::Guest);
                if keep {
                    let mut batch = Batch::new();
                    batch.put_charter(&id, &chain.encode());
                    self.store.write_then(batch, log_failure);
                }
                self.knock_again(id);
                self.notify();
            }
            Action::Deliver { record } => {
                if record.kind() == Kind::PRESENCE
                    && let Ok(header) = record.header()
                {
                    self.on_lease(id, &header);
                }
                if record.kind() == Kind::TIME {
                    self.keep_time(id);
                }
                if let (Some(item), Some(channel)) = (Item::of(&record), self.channels.get_mut(&id))
                {
                    channel.items.insert(record.id(), item);
                }
                self.notify();
            }
            Action::Remove { id: record, reason } => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.items.remove(&record);
                }
                let mut batch = Batch::new();
                self.remove_record(&mut batch, &id, &record, reason);
                self.write_telling(batch, log_failure);
                self.notify();
            }
            Action::Connect { peer, addrs } => {
                self.learn_peer(id, peer, &addrs, Source::Overlay);
            }
            Action::Drop { peer, .. } => {
                self.leave_one(id, peer);
                if let Some(link) = self.sessions.get(&peer) {
                    link.session.send(&Control::NoChannel { channel: id });
                }
            }
            Action::Fault { peer, fault } => {
                tracing::warn!(peer = %peer.short(), %fault, "graph");
                self.metrics
                    .misbehaviour
                    .with_label_values(&[fault.label()])
                    .inc();
                self.leave_one(id, peer);
                if matches!(
                    fault,
                    Fault::MalformedRecord
                        | Fault::ForgedRecord
                        | Fault::BadCharter
                        | Fault::ForgedAddress
                ) {
                    self.ban_later.push((peer, fault.to_string()));
                }
            }
            Action::Synchronized { peer } => {
                if let Some(channel) = self.channels.get_mut(&id) {
                    channel.synchronized.insert(peer);
                    if !std::mem::replace(&mut channel.meta.synchronized, true) {
                        let meta = channel.meta.clone();
                        self.remember_meta(id, &meta);
                    }
                }
                self.redeem_openly(id);
                self.news.tell(id, Live::Synchronized(peer));
                self.notify();
            }
            Action::MemberJoined { peer, role } => {
                self.on_role(id, peer);
                let (name, label) = (peer.to_string(), role.to_string());
                let change = Change::MemberJoined {
                    peer: name,
                    role: label,
                };
                self.note_role(&id, &change, &peer, Some(role));
            }
            Action::RoleChanged { peer, role } => {
                self.on_role(id, peer);
                let (name, label) = (peer.to_string(), role.to_string());
                let change = Change::RoleChanged {
                    peer: name,
                    role: label,
                };
                self.note_role(&id, &change, &peer, Some(role));
            }
            Action::MemberLeft { peer, reason } => {
                if let Some(channel) = self.channels.get_mut(&id)
                    && channel.presence.expel(&peer)
                {
                    self.news.tell(id, Live::Absent(peer));
                }
                let (name, reason) = (peer.to_string(), leave_name(reason).to_owned());
                let change = Change::MemberLeft { peer: name, reason };
                self.note_role(&id, &change, &peer, None);
            }
            Action::MembersFound { roles } => self.keep_told(&id, &roles),
            Action::CharterFork { ours, theirs } => self.on_fork(id, ours, theirs),
            Action::Expel { peer, reason } => match reason {
                LeaveReason::Left => self.part(id, peer),
                _ => self.expel(id, peer),
            },
            other => tracing::debug!(?other, "unknown graph action"),
        }
    }

    pub(super) fn leave_one(&mut self, id: ChannelId, peer: PeerId) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.members.remove(&peer);
            channel.synchronized.remove(&peer);
        }
        self.leave_swarms_with(id, peer);
    }

    /// A channel is no longer common to us and a peer: neither are the swarms of its
    /// contents, unless another channel has them too.
    fn leave_swarms_with(&mut self, id: ChannelId, peer: PeerId) {
        let Some(link) = self.sessions.get_mut(&peer) else {
            return;
        };
        if link.channels.remove(&id) {
            self.news.tell(id, Live::NeighbourDown(peer));
        }
        link.doors.shut(&id);
        let mut gone = Vec::new();
        link.theirs.retain(|_, (channel, content)| {
            if *channel == id {
                gone.push(*content);
            }
            *channel != id
        });
        gone.retain(|content| !link.theirs.values().any(|(_, other)| other == content));
        let (transfers, channels) = (&self.transfers, &link.channels);
        let unshared: Vec<_> = link
            .ours
            .iter()
            .copied()
            .filter(|key| {
                let shared = |t: &super::Transfer| !t.channels.is_disjoint(channels);
                !transfers.get(key).is_some_and(shared)
            })
            .collect();
        for key in unshared {
            link.ours.remove(&key);
            link.session.send(&Control::Close { handle: key.0 });
        }
        for content in gone {
            if let Some(key) = self.transfer_by_content.get(&content).copied() {
                self.swarm_event(samara_swarm::Event::PeerLeft { key, peer });
            }
        }
    }

    fn send_record(&self, id: ChannelId, peer: PeerId, record: RecordId) {
        let Some(link) = self.sessions.get(&peer) else {
            return;
        };
        let (store, sender, inputs) = (
            self.store.clone(),
            link.session.sender(),
            self.inputs.clone(),
        );
        task::spawn_blocking(move || match store.record(&id, &record) {
            Ok(Some(bytes)) => {
                let body = Message::Record(bytes.into()).encode().into();
                sender.send(&Control::Graph { channel: id, body });
            }
            _ => {
                let lost: super::Call = Box::new(move |core: &mut Core| {
                    core.graph_event(id, Event::Lost { id: record });
                });
                let _ = inputs.blocking_send(Input::Call(lost));
            }
        });
    }

    fn store_record(&mut self, id: ChannelId, header: &RecordHeader, bytes: &Bytes) {
        let mut batch = Batch::new();
        let record = header.id;
        if header.kind == Kind::PRESENCE
            && let Some(channel) = self.channels.get_mut(&id)
        {
            channel.presence.note(record);
        }
        self.put_record(&mut batch, &id, header, bytes);
        if let Some(receipt) = self.receipt.take() {
            receipt.put(&mut batch, record);
        }
        let (inputs, runtime) = (self.inputs.clone(), tokio::runtime::Handle::current());
        let done = self.telling(move |result| {
            let input = Input::RecordStored {
                channel: id,
                record,
                result,
            };
            // The index's own thread must not wait for the core.
            runtime.spawn(async move {
                let _ = inputs.send(input).await;
            });
        });
        if header.author == self.me {
            self.store.write_then(batch, done);
        } else {
            // Not taken now, it comes again with the next reconciliation.
            self.store.offer_then(batch, done);
        }
    }

    pub(super) fn on_record_stored(
        &mut self,
        id: ChannelId,
        record: RecordId,
        result: Result<(), StoreError>,
    ) {
        let event = match result {
            Ok(()) => Event::Stored { id: record },
            Err(StoreError::Busy) => Event::StoreFailed { id: record },
            Err(error) => {
                self.warn(format!("a record could not be written: {error}"));
                Event::StoreFailed { id: record }
            }
        };
        self.graph_event(id, event);
        self.notify();
    }

    /// Whether a session is still the one that a message came on.
    pub(super) fn is_current(&self, session: SessionId, peer: PeerId) -> bool {
        self.sessions
            .get(&peer)
            .is_some_and(|link| link.session.id == session)
    }
}

/// Members besides ourselves that a link names.
const LINK_PEERS: usize = 5;

pub(super) fn log_failure(result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "index");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use samara_graph::{CharterHash, CharterRef};
    use samara_wire::ContentId;

    use super::*;
    use crate::core::{dial::tests::core, graph_config};

    #[tokio::test]
    async fn who_leaves_a_channel_leaves_its_swarms() {
        let dir = tempfile::tempdir().unwrap();
        let mut core = core(dir.path());
        let (ours, _theirs) = crate::transport::tests::pair().await;
        let peer = crate::tls::remote_peer(&ours).unwrap();
        core.on_connected(peer, ours, false);
        let (left, kept) = (ChannelId([1; 32]), ChannelId([2; 32]));
        let charter = CharterRef {
            version: 1,
            hash: CharterHash([0; 32]),
        };
        let graph = Graph::join(left, charter, graph_config(core.me).unwrap());
        let meta = ChannelMeta::new(Role::Guest);
        let channel = Channel::new(graph, meta, HashMap::new());
        core.add_channel(left, channel, true);
        let (content, other) = (ContentId([3; 32]), ContentId([4; 32]));
        let link = core.sessions.get_mut(&peer).unwrap();
        link.channels.extend([left, kept]);
        link.theirs.insert(1, (left, content));
        link.theirs.insert(2, (kept, other));
        core.on_control(peer, Control::NoChannel { channel: left });
        let link = &core.sessions[&peer];
        assert_eq!(link.channels, [kept].into());
        assert_eq!(link.theirs, [(2, (kept, other))].into());
    }
}
