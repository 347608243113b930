//! Private channels: both ends of a connection prove that they belong before a byte
//! of the channel passes. Who does not prove it is answered like one who asks for a
//! channel that does not exist, at the same time after asking.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quinn::Connection;
use samara_graph::{CharterRef, Gate, Proof, Record, WallMs};
use samara_wire::{ChannelId, PeerId, RecordId};
use tokio::{task, time};

use super::{Core, Input, wall_ms};
use crate::{
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
        !channel.graph.is_revoked(peer) && (!channel.is_private() || proved())
    }

    /// Shows a peer that we belong to a private channel, so that it shows the same.
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
        if let Some(ids) = channel.graph.credentials(&me, now) {
            return Some((charter, ids));
        }
        let redemption = self.redeem(id)?;
        Some((charter, vec![redemption.id()]))
    }

    /// The redemption of the invitation that led here, made once.
    fn redeem(&mut self, id: ChannelId) -> Option<Record> {
        let channel = self.channels.get(&id)?;
        if let Some(redemption) = &channel.redemption {
            return Some(redemption.clone());
        }
        let link = channel.way_in()?;
        let invitation = link.invitation()?.clone();
        let key = self.key.clone();
        let redeemed = self.with_graph(id, |graph, now, out| {
            graph.redeem(now, &key, &invitation, out)
        });
        match redeemed {
            Ok(record) => {
                let channel = self.channels.get_mut(&id)?;
                channel.keep_redemption(&record);
                let meta = channel.meta.clone();
                self.remember_meta(id, &meta);
                Some(record)
            }
            Err(error) => {
                self.warn(format!("the invitation cannot be used: {error}"));
                None
            }
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

    /// The private channel that a tag stands for on a peer's connection.
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
            if channel.active
                && channel.is_private()
                && Gate::new(*id, exporter, from, to).knows(tag)
            {
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
