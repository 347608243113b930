//! Private channels: both ends of a connection prove that they belong before a byte
//! of the channel passes. Who does not prove it is answered like one who asks for a
//! channel that does not exist, at the same time after asking.
//!
//! Who knows no more of a channel than its id asks in the same way, since it may be a
//! private one, and shows nothing. Who carries it, and it is open, answers by showing
//! nothing either: that it could tell the tag is proof that it knows the id.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use quinn::Connection;
use samara_graph::{CharterRef, Gate, GateError, GraphError, Proof, Record, Refusal, WallMs};
use samara_wire::{ChannelId, PeerId, RecordId};
use tokio::{
    task,
    time::{self, Instant},
};

use super::{Core, Input, wall_ms};
use crate::{
    EngineError,
    api::ErrorKind,
    limits,
    message::Control,
    session::{Close, SessionId},
    turnstile::Place,
};

/// From the turn of a proof to its answer, whatever the answer is: longer than any
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
    /// Those of them of which we asked for the peer's, and it has not shown it yet.
    asked: HashSet<ChannelId>,
    /// Channels of which the peer's proof was good.
    let_in: HashSet<ChannelId>,
    /// Proofs that the peer sent.
    proofs: usize,
}

/// What a proof holds, and of which channel.
type Opened = (ChannelId, Result<Proof, GateError>);

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
            asked: HashSet::new(),
            let_in: HashSet::new(),
            proofs: 0,
        }
    }

    /// Forgets what was proved of a channel.
    pub(super) fn shut(&mut self, channel: &ChannelId) {
        self.shown.remove(channel);
        self.asked.remove(channel);
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
            if let Some(channel) = self.channels.get_mut(&id) {
                // Nothing was said: it is asked on this connection too once there is a role.
                channel.greeted.remove(&peer);
                if let Some(known) = channel.known.get_mut(&peer) {
                    let now = std::time::Instant::now();
                    known.refused(now, "this node is no member of the channel");
                }
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
        if let Some(ids) = channel.leaving_by() {
            return Some((charter, ids));
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
            Turn::First => {
                link.doors.asked.insert(id);
                Control::Prove { tag, sealed }
            }
            Turn::Second => Control::Proved { tag, sealed },
        });
        self.enter(id, peer);
    }

    /// A peer shows that it belongs to a private channel.
    ///
    /// What is done here is the same whether or not the channel is here; the proof is
    /// verified by other threads, and `place` is free again when that is done.
    pub(super) fn on_prove(&mut self, peer: PeerId, tag: [u8; 32], sealed: Bytes, place: Place) {
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
        let gate = self.behind(&peer, &tag);
        let opened = task::spawn_blocking(move || {
            let opened = gate.map(|(id, gate)| (id, gate.open(&sealed)));
            drop(place);
            opened
        });
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let opened = opened.await.ok().flatten();
            time::sleep_until(answer_at).await;
            let call: super::Call = Box::new(move |core: &mut Core| {
                if core.is_current(session, peer) {
                    core.answer_proof(peer, tag, opened);
                }
            });
            let _ = inputs.send(Input::Call(call)).await;
        });
    }

    fn answer_proof(&mut self, peer: PeerId, tag: [u8; 32], opened: Option<Opened>) {
        let good = match opened {
            Some((id, proof)) => self.weigh_proof(peer, id, proof).then_some(id),
            None => {
                self.refuse(peer, None, "unknown");
                None
            }
        };
        match (good, self.sessions.get(&peer)) {
            (Some(id), _) => self.show(id, peer, Turn::Second),
            (None, Some(link)) => link.session.send(&Control::Refused { tag }),
            (None, None) => {}
        }
    }

    /// A peer answers our proof with its own. One that it was not asked for is nothing:
    /// so nobody learns by it what is here, and it costs no more than we asked for.
    pub(super) fn on_proved(&mut self, peer: PeerId, tag: [u8; 32], sealed: &[u8]) {
        let me = self.me;
        let Some(link) = self.sessions.get_mut(&peer) else {
            return;
        };
        let doors = &mut link.doors;
        let gates = doors.asked.iter();
        let mut gates = gates.map(|id| (*id, Gate::new(*id, &doors.exporter, &peer, &me)));
        let Some((id, gate)) = gates.find(|(_, gate)| gate.knows(&tag)) else {
            return;
        };
        doors.asked.remove(&id);
        // Here and now, since what comes behind it is about the channel.
        if self.weigh_proof(peer, id, gate.open(sealed)) {
            self.enter(id, peer);
        } else if let Some(link) = self.sessions.get(&peer) {
            link.session.send(&Control::Refused { tag });
        }
    }

    /// A peer does not let us into a channel that we showed a proof for, or does not
    /// have it.
    pub(super) fn on_refused(&mut self, peer: PeerId, tag: &[u8; 32]) {
        let me = self.me;
        let Some(link) = self.sessions.get(&peer) else {
            return;
        };
        let (exporter, mut shown) = (&link.doors.exporter, link.doors.shown.iter());
        if let Some(id) = shown.find(|id| Gate::new(**id, exporter, &me, &peer).knows(tag)) {
            self.on_no_channel(
                peer,
                *id,
                "it does not have the channel, or does not let this node in",
            );
        }
    }

    /// The channel that a tag of a peer's stands for on its connection.
    fn behind(&self, peer: &PeerId, tag: &[u8; 32]) -> Option<(ChannelId, Gate)> {
        let exporter = &self.sessions.get(peer)?.doors.exporter;
        // All of them, also after it is found: the time says nothing.
        let mut found = None;
        for (id, channel) in &self.channels {
            let gate = Gate::new(*id, exporter, peer, &self.me);
            if channel.active && gate.knows(tag) {
                found = Some((*id, gate));
            }
        }
        found
    }

    /// Judges what a peer showed; whether it is let into the channel.
    fn weigh_proof(
        &mut self,
        peer: PeerId,
        id: ChannelId,
        proof: Result<Proof, GateError>,
    ) -> bool {
        let proof = match proof {
            Ok(proof) => proof,
            Err(error) => {
                self.refuse(peer, Some(id), error.label());
                return false;
            }
        };
        let (now, mut actions) = (WallMs(wall_ms()), Vec::new());
        // It may have been left while the proof was verified.
        let Some(channel) = self.channels.get_mut(&id).filter(|c| c.active) else {
            self.refuse(peer, Some(id), "unknown");
            return false;
        };
        let weighed = match channel.is_open() {
            true if channel.graph.is_revoked(&peer) => Err(Refusal::Revoked),
            true => Ok(()),
            false => {
                let access = channel.graph.check_proof(now, &peer, &proof, &mut actions);
                access.map(drop)
            }
        };
        self.graph_actions(id, actions);
        if let Err(refusal) = weighed {
            self.refuse(peer, Some(id), refusal.label());
            return false;
        }
        let link = self.sessions.get_mut(&peer);
        link.is_some_and(|link| {
            link.doors.let_in.insert(id);
            true
        })
    }

    /// Notes a proof that is not taken; `None` for a channel that is not here.
    fn refuse(&self, peer: PeerId, id: Option<ChannelId>, label: &str) {
        let channel = id.map(|id| id.short());
        tracing::info!(peer = %peer.short(), ?channel, label, "not let in");
        let refusals = &self.metrics.gate_refusals;
        refusals.with_label_values(&[label]).inc();
    }

    /// Begins to talk of a private channel, once both ends have proved themselves.
    fn enter(&mut self, id: ChannelId, peer: PeerId) {
        if !self.is_let_in(&id, &peer) {
            return;
        }
        if let Some(channel) = self.channels.get_mut(&id) {
            // Who is let in by one again is likely to be by all.
            let now = std::time::Instant::now();
            let known = channel.known.iter_mut();
            known
                .filter(|(who, known)| **who == peer || known.was_shut())
                .for_each(|(_, known)| known.reopen(now));
        }
        self.say_hello(id, peer);
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
mod alike;
#[cfg(test)]
mod tests;
