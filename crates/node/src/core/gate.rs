//! Private channels: both ends of a connection prove that they belong before a byte
//! of the channel passes. Who does not prove it is answered like one who asks for a
//! channel that does not exist, at the same time after asking.
//!
//! Who knows no more of a channel than its id asks in the same way, since it may be a
//! private one, and shows nothing. Who carries it, and it is open, answers by showing
//! nothing either: that it could tell the tag is proof that it knows the id.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quinn::Connection;
use samara_graph::{CharterRef, Gate, GraphError, Proof, Record, Refusal, WallMs};
use samara_wire::{ChannelId, PeerId, RecordId};
use tokio::{task, time};

use super::{Core, Input, wall_ms};
use crate::{
    EngineError,
    api::ErrorKind,
    limits,
    message::Control,
    session::{Close, SessionId},
};

/// From a proof's arrival to its answer, whatever the answer is: longer than any
/// proof takes to verify.
const ANSWER_AFTER: Duration = Duration::from_millis(50);
/// Label of the keying material that tags and proofs are bound to (RFC 8446 section 7.5).
const EXPORTER_LABEL: &[u8] = b"samara gate v1";

/// What was proved on one connection.
#[derive(Debug)]
pub(crate) struct Doors {
    exporter: [u8; 32],
    /// Channels of which we sent our proof.
    shown: HashSet<ChannelId>,
    /// Channels of which the peer's proof was good.
    let_in: HashSet<ChannelId>,
    /// Proofs that the peer sent.
    proofs: usize,
}

/// Whether a proof opens a conversation or answers one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Second,
}

impl Doors {
    /// Nothing is proved on a new connection.
    pub(super) fn new(connection: &Connection) -> Self {
        let mut exporter = [0; 32];
        // It fails only for output longer than this.
        let _ = connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"");
        Self {
            exporter,
            shown: HashSet::new(),
            let_in: HashSet::new(),
            proofs: 0,
        }
    }

    /// Forgets what was proved of a channel.
    pub(super) fn shut(&mut self, channel: &ChannelId) {
        self.shown.remove(channel);
        self.let_in.remove(channel);
    }

    fn is_open(&self, channel: &ChannelId) -> bool {
        self.shown.contains(channel) && self.let_in.contains(channel)
    }
}

impl Core {
    /// Whether a peer may hear of a channel on its connection.
    pub(super) fn is_let_in(&self, id: &ChannelId, peer: &PeerId) -> bool {
        let Some(channel) = self.channels.get(id) else {
            return false;
        };
        let proved = || self.sessions.get(peer).is_some_and(|l| l.doors.is_open(id));
        !channel.graph.is_revoked(peer) && (channel.is_sayable() || proved())
    }

    /// Shows a peer that we belong to a private channel, so that it shows the same; or
    /// asks for one that we know nothing of but its id.
    pub(super) fn knock(&mut self, id: ChannelId, peer: PeerId) {
        self.show(id, peer, Turn::First);
    }

    /// Loads what proves us, and sends it.
    fn show(&mut self, id: ChannelId, peer: PeerId, turn: Turn) {
        let Some((charter, ids)) = self.credentials(id) else {
            if let Some(known) = self
                .channels
                .get_mut(&id)
                .and_then(|c| c.known.get_mut(&peer))
            {
                known.refused("this node is no member of the channel");
            }
            return;
        };
        let (Some(link), Some(channel)) = (self.sessions.get(&peer), self.channels.get(&id)) else {
            return;
        };
        if channel.graph.is_revoked(&peer) {
            return;
        }
        let session = link.session.id;
        let redemption = channel.redemption.clone();
        let (store, inputs) = (self.store.clone(), self.inputs.clone());
        task::spawn_blocking(move || {
            let record = |wanted: &RecordId| -> Option<Record> {
                if let Some(redemption) = redemption.as_ref().filter(|r| r.id() == *wanted) {
                    return Some(redemption.clone());
                }
                let bytes = store.record(&id, wanted).ok()??;
                Record::decode(bytes.into()).ok()
            };
            let records = ids.iter().map(record).collect::<Option<Vec<_>>>();
            // One that is not on disk yet is there when we are asked again.
            let Some(records) = records else { return };
            let proof = Proof { charter, records };
            let call: super::Call =
                Box::new(move |core: &mut Core| core.send_proof(id, session, peer, turn, &proof));
            let _ = inputs.blocking_send(Input::Call(call));
        });
    }

    /// Which charter and which records prove that we belong to a channel.
    fn credentials(&mut self, id: ChannelId) -> Option<(CharterRef, Vec<RecordId>)> {
        let now = WallMs(wall_ms());
        let me = self.me;
        let channel = self.channels.get(&id)?;
        let charter = match channel.graph.charters() {
            Some(chain) => chain.reference(),
            None => channel.way_in()?.charter(),
        };
        if !channel.is_private() {
            // Everyone may read it, or it may be such a one: nobody has to belong.
            return Some((charter, Vec::new()));
        }
        if let Some(ids) = channel.graph.credentials(&me, now) {
            return Some((charter, ids));
        }
        let newcomer = channel.graph.charters().is_none();
        match self.redeem(id) {
            Ok(Some(redemption)) => Some((charter, vec![redemption.id()])),
            refused => {
                let first = self.channels.get(&id)?.redemption.is_none();
                if let Err(error) = refused
                    && first
                {
                    self.warn(format!("the invitation cannot be used: {error}"));
                }
                // It may have been given a role that only the others know of.
                newcomer.then(|| (charter, Vec::new()))
            }
        }
    }

    /// The redemption of the invitation that led here, made once for each.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if the invitation cannot be used, as far as is known here.
    pub(crate) fn redeem(&mut self, id: ChannelId) -> Result<Option<Record>, EngineError> {
        let Some(channel) = self.channels.get(&id) else {
            return Ok(None);
        };
        let link = channel.way_in();
        let Some(invitation) = link.and_then(|link| link.invitation().cloned()) else {
            return Ok(None);
        };
        let one_time = invitation.key.peer_id();
        let earlier = channel.redemption.clone();
        // Another link may have led here since.
        let earlier = earlier.filter(|r| *r.key() == one_time.as_bytes()[..]);
        let key = self.key.clone();
        let redeemed = self.with_graph(id, |graph, now, out| match earlier {
            Some(record) => graph
                .keep_trying(now, &record, out)
                .map(|()| record)
                .map_err(GraphError::Refused),
            None => graph.redeem(now, &key, &invitation, out),
        });
        let record =
            redeemed.map_err(|error| EngineError::new(ErrorKind::Denied, error.message))?;
        let Some(channel) = self.channels.get_mut(&id) else {
            return Ok(None);
        };
        if channel.redemption.as_ref().map(Record::id) != Some(record.id()) {
            channel.keep_redemption(&record);
            let meta = channel.meta.clone();
            self.remember_meta(id, &meta);
        }
        Ok(Some(record))
    }

    /// Takes the role that the invitation offers by which this node came, where nobody
    /// has to show one to be let in. Once everything is here: whether there is a place
    /// left can be seen only then.
    pub(crate) fn redeem_openly(&mut self, id: ChannelId) {
        let me = self.me;
        let now = WallMs(wall_ms());
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let invited = || channel.way_in().is_some_and(|l| l.invitation().is_some());
        if channel.is_private() || channel.graph.role_of(&me, now).is_some() || !invited() {
            return;
        }
        if channel.synchronized.is_empty() {
            return;
        }
        if let Err(error) = self.redeem(id) {
            tracing::debug!(channel = %id.short(), %error, "the invitation cannot be used");
        }
    }

    fn send_proof(
        &mut self,
        id: ChannelId,
        session: SessionId,
        peer: PeerId,
        turn: Turn,
        proof: &Proof,
    ) {
        if !self.is_current(session, peer) {
            return;
        }
        let me = self.me;
        let Some(link) = self.sessions.get_mut(&peer) else {
            return;
        };
        let gate = Gate::new(id, &link.doors.exporter, &me, &peer);
        let sealed = match gate.seal(proof) {
            Ok(sealed) => Bytes::from(sealed),
            Err(error) => return tracing::warn!(%error, "own proof"),
        };
        let tag = gate.tag();
        link.doors.shown.insert(id);
        link.session.send(&match turn {
            Turn::First => Control::Prove { tag, sealed },
            Turn::Second => Control::Proved { tag, sealed },
        });
        self.enter(id, peer);
    }

    /// A peer shows that it belongs to a private channel.
    pub(super) fn on_prove(&mut self, peer: PeerId, tag: [u8; 32], sealed: &Bytes) {
        let answer_at = Instant::now() + ANSWER_AFTER;
        let Some(link) = self.sessions.get_mut(&peer) else {
            return;
        };
        link.doors.proofs += 1;
        if link.doors.proofs > limits::MAX_PROOFS_PER_PEER {
            link.session.close(Close::Misbehaved);
            return;
        }
        let session = link.session.id;
        let found = self.weigh_proof(peer, &tag, sealed);
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            time::sleep_until(answer_at.into()).await;
            let call: super::Call = Box::new(move |core: &mut Core| {
                if core.is_current(session, peer) {
                    core.answer_proof(peer, tag, found);
                }
            });
            let _ = inputs.send(Input::Call(call)).await;
        });
    }

    fn answer_proof(&mut self, peer: PeerId, tag: [u8; 32], found: Option<ChannelId>) {
        let Some(link) = self.sessions.get(&peer) else {
            return;
        };
        // It may have been revoked while the answer waited.
        let good = found.filter(|id| link.doors.let_in.contains(id));
        match good {
            Some(id) => self.show(id, peer, Turn::Second),
            None => link.session.send(&Control::Refused { tag }),
        }
    }

    /// A peer answers our proof with its own.
    pub(super) fn on_proved(&mut self, peer: PeerId, tag: [u8; 32], sealed: &Bytes) {
        match self.weigh_proof(peer, &tag, sealed) {
            Some(id) => self.enter(id, peer),
            None => {
                if let Some(link) = self.sessions.get(&peer) {
                    link.session.send(&Control::Refused { tag });
                }
            }
        }
    }

    /// A peer does not let us into a channel, or does not have it.
    pub(super) fn on_refused(&mut self, peer: PeerId, tag: &[u8; 32]) {
        let me = self.me;
        if let Some(id) = self.behind(&peer, tag, &me, &peer) {
            self.on_no_channel(
                peer,
                id,
                "it does not have the channel, or does not let this node in",
            );
        }
    }

    /// The channel that a tag stands for on a peer's connection.
    fn behind(
        &self,
        peer: &PeerId,
        tag: &[u8; 32],
        from: &PeerId,
        to: &PeerId,
    ) -> Option<ChannelId> {
        let exporter = &self.sessions.get(peer)?.doors.exporter;
        // All of them, also after it is found: the time says nothing.
        let mut found = None;
        for (id, channel) in &self.channels {
            if channel.active && Gate::new(*id, exporter, from, to).knows(tag) {
                found = Some(*id);
            }
        }
        found
    }

    /// Judges a proof; the channel that it opens.
    fn weigh_proof(&mut self, peer: PeerId, tag: &[u8; 32], sealed: &[u8]) -> Option<ChannelId> {
        let me = self.me;
        let id = self.behind(&peer, tag, &peer, &me)?;
        let exporter = self.sessions.get(&peer)?.doors.exporter;
        let refused = |core: &Self, label: &str| {
            tracing::info!(peer = %peer.short(), channel = %id.short(), label, "not let in");
            core.metrics.gate_refusals.with_label_values(&[label]).inc();
        };
        let proof = match Gate::new(id, &exporter, &peer, &me).open(sealed) {
            Ok(proof) => proof,
            Err(error) => {
                refused(self, error.label());
                return None;
            }
        };
        let mut actions = Vec::new();
        let channel = self.channels.get_mut(&id)?;
        if channel.is_open() {
            if channel.graph.is_revoked(&peer) {
                refused(self, Refusal::Revoked.label());
                return None;
            }
            self.sessions.get_mut(&peer)?.doors.let_in.insert(id);
            return Some(id);
        }
        let weighed = channel
            .graph
            .check_proof(WallMs(wall_ms()), &peer, &proof, &mut actions);
        self.graph_actions(id, actions);
        match weighed {
            Ok(_) => {
                self.sessions.get_mut(&peer)?.doors.let_in.insert(id);
                Some(id)
            }
            Err(refusal) => {
                refused(self, refusal.label());
                None
            }
        }
    }

    /// Begins to talk of a private channel, once both ends have proved themselves.
    fn enter(&mut self, id: ChannelId, peer: PeerId) {
        if self.is_let_in(&id, &peer) {
            self.say_hello(id, peer);
        }
    }

    /// A peer lost its right to a channel: nothing of it passes any more, also not
    /// what is under way. Other channels begin anew on another connection.
    pub(super) fn expel(&mut self, id: ChannelId, peer: PeerId) {
        self.leave_one(id, peer);
        if let Some(link) = self.sessions.get_mut(&peer) {
            link.doors.shut(&id);
            tracing::info!(peer = %peer.short(), channel = %id.short(), "expelled");
            link.session.close(Close::Bye);
        }
        self.forget_session(peer);
        self.notify();
    }
}

#[cfg(test)]
mod tests {
    use samara_graph::{Charter, CharterChain, CharterHash, Graph, Link as WayIn};
    use samara_wire::{Frame, FrameDecoder};

    use super::*;
    use crate::{
        core::{
            Channel, ChannelMeta, CoreHandle, Role, dial::tests::core_with_queue, graph_config,
        },
        tls,
    };

    /// A node at work, and a peer on one connection that reads all that it says.
    struct Scene {
        node: CoreHandle,
        me: PeerId,
        theirs: Connection,
        stranger: PeerId,
        said: quinn::RecvStream,
        frames: FrameDecoder,
        _dir: tempfile::TempDir,
    }

    const PROVE: u64 = 7;
    const PROVED: u64 = 8;
    const REFUSED: u64 = 9;
    const INTRODUCE: u64 = 6;

    fn by_its_id(id: ChannelId) -> WayIn {
        let (version, hash) = (1, CharterHash(id.0));
        WayIn::new(id, CharterRef { version, hash }, &[])
    }

    /// A channel of somebody else's with its charter, open or not.
    fn held(me: PeerId, private: bool) -> (ChannelId, Channel) {
        let owner = samara_graph::SecretKey::from_bytes(&[77; 32]);
        let make = if private {
            Charter::private
        } else {
            Charter::open
        };
        let charter = make("x", owner.peer_id(), WallMs(wall_ms()), [3; 16]);
        let chain = CharterChain::new(charter.sign(&[&owner]).unwrap()).unwrap();
        let id = chain.channel();
        let graph = Graph::restore(chain, [], graph_config(me).unwrap());
        let meta = ChannelMeta::new(Role::Subscriber);
        (id, Channel::new(graph, meta, Default::default()))
    }

    impl Scene {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (core, node, queue) = core_with_queue(dir.path());
            let me = core.me;
            tokio::spawn(core.run(queue));
            let (ours, theirs) = crate::transport::tests::pair().await;
            let stranger = tls::remote_peer(&ours).unwrap();
            let connect = move |core: &mut Core| core.on_connected(stranger, ours, false);
            node.call(connect).await.unwrap();
            let said = theirs.accept_uni().await.unwrap();
            Self {
                node,
                me,
                theirs,
                stranger,
                said,
                frames: FrameDecoder::new(1 << 20),
                _dir: dir,
            }
        }

        async fn add(&self, id: ChannelId, channel: Channel) {
            let add = move |core: &mut Core| core.add_channel(id, channel, true);
            self.node.call(add).await.unwrap();
        }

        /// What the node says next, after who it is.
        async fn next(&mut self) -> Frame {
            loop {
                match self.frames.next_frame().unwrap() {
                    Some(frame) if frame.kind == INTRODUCE => {}
                    Some(frame) => return frame,
                    None => {
                        let chunk = self.said.read_chunk(1 << 16, true).await.unwrap();
                        self.frames.push(&chunk.expect("it goes on").bytes);
                    }
                }
            }
        }

        fn gate(&self, id: ChannelId, from: &PeerId, to: &PeerId) -> Gate {
            let mut exporter = [0; 32];
            self.theirs
                .export_keying_material(&mut exporter, EXPORTER_LABEL, b"")
                .unwrap();
            Gate::new(id, &exporter, from, to)
        }

        /// Asks for a channel as one who knows its id and shows nothing.
        async fn ask(&self, id: ChannelId) {
            let gate = self.gate(id, &self.stranger, &self.me);
            let charter = by_its_id(id).charter();
            let records = Vec::new();
            let sealed = gate.seal(&Proof { charter, records }).unwrap().into();
            let tag = gate.tag();
            let mut stream = self.theirs.open_uni().await.unwrap();
            for said in [
                Control::Introduce { site: None },
                Control::Prove { tag, sealed },
            ] {
                stream.write_all(&said.encode()).await.unwrap();
            }
            // It must stay open.
            std::mem::forget(stream);
        }
    }

    fn names(frame: &Frame, id: &ChannelId) -> bool {
        frame.body.windows(32).any(|bytes| bytes == id.0)
    }

    #[tokio::test]
    async fn a_bare_id_is_said_to_nobody_who_does_not_know_it() {
        let mut scene = Scene::new().await;
        let id = ChannelId([9; 32]);
        let peer = scene.stranger;
        let look = move |core: &mut Core| {
            core.visit_bare(id).unwrap();
            core.greet(id, peer);
        };
        scene.node.call(look).await.unwrap();
        let frame = scene.next().await;
        assert!(!names(&frame, &id), "{frame:?}");
        assert_eq!(frame.kind, PROVE);
        // Who knows it can tell what it is asked for, and sees that nothing is shown.
        let gate = scene.gate(id, &scene.me, &scene.stranger);
        assert!(gate.knows(frame.body.first_chunk().unwrap()));
        assert_eq!(gate.open(&frame.body[32..]).unwrap().records, []);
    }

    #[tokio::test]
    async fn an_open_channel_answers_who_knows_its_id_and_a_private_one_does_not() {
        for (private, answer) in [(false, PROVED), (true, REFUSED)] {
            let mut scene = Scene::new().await;
            let (id, channel) = held(scene.me, private);
            scene.add(id, channel).await;
            scene.ask(id).await;
            let frame = scene.next().await;
            assert_eq!(frame.kind, answer);
            assert!(!names(&frame, &id), "{frame:?}");
        }
        let mut scene = Scene::new().await;
        scene.ask(ChannelId([9; 32])).await;
        assert_eq!(scene.next().await.kind, REFUSED);
    }
}
