//! How neighbours begin: charters and addresses.

use bytes::Bytes;
use samara_wire::PeerId;

use super::{Action, Fault, Graph, Learned};
use crate::{
    CharterChain, CharterError, CharterRef, Message, PeerAddress, SignedCharter, Summary, limits,
};

impl Graph {
    pub(super) fn hello(&self) -> Message {
        Message::Hello {
            charter: self.chain.as_ref().map(CharterChain::reference),
            address: self.overlay.ours.clone(),
            summary: self.records.summary(),
        }
    }

    pub(super) fn on_hello(
        &mut self,
        peer: PeerId,
        charter: Option<CharterRef>,
        address: Option<PeerAddress>,
        summary: Summary,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let mono = self.clock.1;
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        let joined = std::mem::replace(&mut n.charter, charter).is_none() && charter.is_some();
        let first = !std::mem::replace(&mut n.greeted, true);
        if joined && !first && n.active {
            // What we took between its two hellos was flooded to others only.
            n.send(Message::Summary(self.records.summary()), out);
        }
        if let Some(address) = address {
            // Only its own: what it knows of others comes as `Peers`.
            if address.peer() != peer {
                return Err(Fault::ForgedAddress);
            }
            if n.gossip.take(1, mono) && self.learn(address) == Learned::Forged {
                return Err(Fault::ForgedAddress);
            }
        }
        self.restless |= first;
        self.seek_charters(peer, out);
        self.show_fork(peer, out);
        self.on_summary(peer, summary, out)?;
        if first {
            self.weigh_probe(peer, out);
        }
        Ok(())
    }

    /// Asks a neighbour for its charters if it has newer ones, or other ones.
    pub(super) fn seek_charters(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let mono = self.clock.1;
        let n = self.neighbours.get_mut(&peer).expect("a neighbour");
        let Some(theirs) = n.charter else { return };
        let have = self.chain.as_ref().map(CharterChain::reference);
        let known = |r: CharterRef| {
            let chain = self.chain.as_ref()?;
            Some(chain.version(r.version)?.reference() == r)
        };
        let after = match have {
            None if self.promised.is_some_and(|p| theirs.version < p.version) => return,
            None => 0,
            Some(ours) if theirs.version > ours.version && !self.forks.is_open() => ours.version,
            Some(_) if known(theirs) == Some(false) && !n.fork_checked => {
                n.fork_checked = true;
                0
            }
            Some(_) => return,
        };
        if n.charters_due.is_none() && n.next_charters <= mono {
            n.charters_due = Some(mono + limits::REQUEST_TIMEOUT);
            n.next_charters = mono + limits::REQUEST_TIMEOUT;
            n.send(Message::CharterRequest { after }, out);
        }
    }

    pub(super) fn on_charter_request(
        &mut self,
        peer: PeerId,
        after: u32,
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let mono = self.clock.1;
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        let Some(chain) = &self.chain else {
            return Ok(());
        };
        if !n.reconcile.take(1, mono) {
            return Ok(());
        }
        let mut room = limits::MAX_MESSAGE_BYTES - 16;
        let newer = chain.versions().iter().skip(after as usize);
        let list: Vec<Bytes> = newer
            .map(|v| v.bytes().clone())
            .take_while(|b| {
                let fits = b.len() + 4 <= room;
                room -= (b.len() + 4).min(room);
                fits
            })
            .collect();
        n.send(Message::Charters(list), out);
        Ok(())
    }

    pub(super) fn on_charters(
        &mut self,
        peer: PeerId,
        list: &[Bytes],
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        // Unasked only what shows a fork is sent, and that once.
        let asked = n.charters_due.take().is_some();
        let evidence = self.chain.is_some() && list.len() == 1;
        if !asked && (!evidence || std::mem::replace(&mut n.fork_seen, true)) {
            return Ok(());
        }
        self.take_charters(peer, list, out)
    }

    /// Takes consecutive charters, whoever `from` is.
    pub(super) fn take_charters(
        &mut self,
        from: PeerId,
        list: &[Bytes],
        out: &mut Vec<Action>,
    ) -> Result<(), Fault> {
        let mut chain = self.chain.clone();
        for bytes in list {
            let next = match SignedCharter::decode(bytes) {
                Ok(next) => next,
                // A newer Samara wrote it: we stay with what we can read.
                Err(CharterError::UnknownFormat(_)) => break,
                Err(_) => return Err(Fault::BadCharter),
            };
            if !self.extend(&mut chain, next, out)? {
                return Ok(());
            }
        }
        self.adopt(chain, from, out);
        Ok(())
    }

    /// Adds one version to `chain`; false if it turned out to be a fork.
    fn extend(
        &mut self,
        chain: &mut Option<CharterChain>,
        next: SignedCharter,
        out: &mut Vec<Action>,
    ) -> Result<bool, Fault> {
        let theirs = next.reference();
        let Some(known) = chain else {
            let first = CharterChain::new(next).map_err(|_| Fault::BadCharter)?;
            if first.channel() != self.channel {
                return Err(Fault::BadCharter);
            }
            let next = first.versions()[0].clone();
            *chain = Some(first);
            return Ok(self.keeps_promise(next, out));
        };
        match known.version(theirs.version).map(SignedCharter::reference) {
            Some(ours) if ours == theirs => Ok(true),
            Some(ours) => {
                // A fork only if the roots before it really signed it; else a lie.
                let mut trunk = known.before(theirs.version).ok_or(Fault::BadCharter)?;
                trunk.push(next.clone()).map_err(|_| Fault::BadCharter)?;
                self.raise_fork(ours, next, out);
                Ok(false)
            }
            None if self.forks.is_open() => Ok(false),
            None => {
                known.push(next.clone()).map_err(|_| Fault::BadCharter)?;
                Ok(self.keeps_promise(next, out))
            }
        }
    }

    /// Whether a version is the one that the link named, if the link named it.
    fn keeps_promise(&mut self, next: SignedCharter, out: &mut Vec<Action>) -> bool {
        let theirs = next.reference();
        match self.promised {
            Some(ours) if ours.version == theirs.version && ours != theirs => {
                self.raise_fork(ours, next, out);
                false
            }
            _ => true,
        }
    }

    /// Puts a longer chain in force.
    fn adopt(&mut self, chain: Option<CharterChain>, from: PeerId, out: &mut Vec<Action>) {
        let Some(chain) = chain else { return };
        let short = |r: CharterRef| chain.reference().version < r.version;
        if self.promised.is_some_and(short) || self.chain.as_ref() == Some(&chain) {
            return;
        }
        self.promised = None;
        self.put_in_force(chain, out);
        if !self.neighbours.contains_key(&from) {
            return;
        }
        // The list may have been cut at the size of a message.
        if let Some(n) = self.neighbours.get_mut(&from) {
            n.next_charters = self.clock.1;
        }
        self.seek_charters(from, out);
    }

    /// Judges everything by a new charter, and tells the neighbours of it.
    pub(super) fn put_in_force(&mut self, chain: CharterChain, out: &mut Vec<Action>) {
        let removed = self.records.enforce(chain.current());
        super::report(removed, out);
        out.push(Action::StoreCharters {
            chain: chain.clone(),
        });
        self.chain = Some(chain);
        self.touch_everybody();
        // Who may not be here any more hears nothing of it.
        self.review(out);
        self.wake(None, out);
        let hello = self.hello();
        let peers: Vec<_> = self.neighbours.keys().copied().collect();
        for peer in peers {
            // Also the one that it came from: it floods nothing to who has no charter.
            self.neighbours[&peer].send(hello.clone(), out);
            self.compare(peer, out);
        }
    }

    pub(super) fn on_peers(&mut self, peer: PeerId, list: Vec<PeerAddress>) -> Result<(), Fault> {
        let mono = self.clock.1;
        let n = self.neighbours.get_mut(&peer).expect("checked by caller");
        if !n.gossip.take(1, mono) {
            return Ok(());
        }
        for address in list {
            let named = address.peer();
            if self.learn(address) == Learned::Forged {
                return Err(Fault::ForgedAddress);
            }
            self.remember(named, peer);
        }
        Ok(())
    }

    pub(super) fn on_our_address(&mut self, address: PeerAddress, out: &mut Vec<Action>) {
        if address.peer() != self.config.us {
            return;
        }
        self.overlay.ours = Some(address.clone());
        for n in self.neighbours.values() {
            n.send(Message::Peers(vec![address.clone()]), out);
        }
    }
}
