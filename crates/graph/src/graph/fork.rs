//! Two charters of one version, both signed by those who may: stolen keys, or owners
//! who disagree. Nobody but the operator can tell which one is right.

use bytes::Bytes;
use samara_wire::{PeerId, Reader, WireError, Writer};

use super::{Action, Graph, GraphError};
use crate::{
    CharterChain, CharterError, CharterHash, CharterRef, Kind, Message, Record, SignedCharter,
    WallMs, limits,
};

/// A charter that contradicts ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// What we hold, or what the link named.
    pub ours: CharterRef,
    /// What somebody else has of that version.
    pub theirs: SignedCharter,
}

/// What is known of contradictions.
#[derive(Debug, Default)]
pub(super) struct Forks {
    /// Until the operator chooses.
    open: Option<Fork>,
    /// Charters that the operator decided against; at most [`limits::MAX_DECLINED`].
    declined: Vec<CharterHash>,
}

impl Forks {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn decline(&mut self, hash: CharterHash) {
        if !self.declined.contains(&hash) {
            self.declined.push(hash);
        }
        if self.declined.len() > limits::MAX_DECLINED {
            self.declined.remove(0);
        }
    }
}

impl Graph {
    /// The charter that contradicts ours, until the operator has chosen.
    pub fn fork(&self) -> Option<&Fork> {
        self.forks.open.as_ref()
    }

    /// What is known of forks, for the store; nothing if none ever was.
    pub fn forks(&self) -> Option<Vec<u8>> {
        let forks = &self.forks;
        if forks.open.is_none() && forks.declined.is_empty() {
            return None;
        }
        let mut w = Writer::new();
        w.bool(forks.open.is_some());
        if let Some(fork) = &forks.open {
            fork.ours.write(&mut w);
            w.bytes(fork.theirs.bytes());
        }
        w.varint(forks.declined.len() as u64);
        forks.declined.iter().for_each(|hash| w.raw(&hash.0));
        Some(w.finish())
    }

    /// Reads what [`forks`](Self::forks) wrote, and verifies it.
    ///
    /// # Errors
    /// [`CharterError`]; nothing is changed then.
    pub fn restore_forks(&mut self, bytes: &[u8]) -> Result<(), CharterError> {
        let mut r = Reader::new(bytes);
        let open = match r.bool("fork")? {
            false => None,
            true => Some(Fork {
                ours: CharterRef::read(&mut r)?,
                theirs: SignedCharter::decode(r.bytes("charter", limits::MAX_CHARTER_BYTES)?)?,
            }),
        };
        let n = r.count("declined", limits::MAX_DECLINED, 32)?;
        let declined = (0..n).map(|_| Ok(CharterHash(r.array("declined")?)));
        let declined = declined.collect::<Result<_, WireError>>()?;
        r.finish()?;
        self.forks = Forks { open, declined };
        Ok(())
    }

    /// Ends a fork by its operator's word: the charter of `hash` is the right one,
    /// ours or theirs, and the other is never listened to again. What came of the
    /// newer charters on our side of the fork is given up if theirs is taken.
    ///
    /// # Errors
    /// [`GraphError::NoFork`] if there is none, or it is between others.
    pub fn choose(
        &mut self,
        now: WallMs,
        hash: CharterHash,
        out: &mut Vec<Action>,
    ) -> Result<(), GraphError> {
        self.clock.0 = now;
        let fork = self.forks.open.clone().ok_or(GraphError::NoFork)?;
        let theirs = fork.theirs.reference();
        if hash != fork.ours.hash && hash != theirs.hash {
            return Err(GraphError::NoFork);
        }
        if hash == fork.ours.hash {
            self.forks.decline(theirs.hash);
            self.forks.open = None;
        } else {
            self.take_their_side(fork, out)?;
        }
        // Everybody is looked at again in this light.
        let mono = self.clock.1;
        for n in self.neighbours.values_mut() {
            n.fork_checked = false;
            n.next_charters = mono;
        }
        let peers: Vec<_> = self.neighbours.keys().copied().collect();
        peers
            .into_iter()
            .for_each(|peer| self.seek_charters(peer, out));
        Ok(())
    }

    fn take_their_side(&mut self, fork: Fork, out: &mut Vec<Action>) -> Result<(), GraphError> {
        let version = fork.theirs.reference().version;
        let held = self.chain.as_ref().and_then(|c| c.version(version));
        if held.map(SignedCharter::reference) != Some(fork.ours) {
            // It contradicts the link alone: the link was wrong.
            self.promised = None;
            self.forks.decline(fork.ours.hash);
            self.forks.open = None;
            return Ok(());
        }
        let trunk = self.chain.as_ref().and_then(|c| c.before(version));
        let mut chain: CharterChain = trunk.ok_or(GraphError::NoFork)?;
        chain.push(fork.theirs)?;
        self.forks.decline(fork.ours.hash);
        self.forks.open = None;
        self.put_in_force(chain, out);
        Ok(())
    }

    /// Two charters differ. Only the first contradiction is kept: one is enough to
    /// stop, and whoever stole keys can make any number.
    pub(super) fn raise_fork(
        &mut self,
        ours: CharterRef,
        theirs: SignedCharter,
        out: &mut Vec<Action>,
    ) {
        if self.forks.is_open() || self.forks.declined.contains(&theirs.reference().hash) {
            return;
        }
        out.push(Action::CharterFork {
            ours,
            theirs: theirs.reference(),
        });
        self.forks.open = Some(Fork { ours, theirs });
        let peers: Vec<_> = self.neighbours.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.show_fork(peer, out));
    }

    /// Shows a neighbour that has our charter the one that contradicts it, once.
    pub(super) fn show_fork(&mut self, peer: PeerId, out: &mut Vec<Action>) {
        let (Some(chain), Some(fork)) = (&self.chain, &self.forks.open) else {
            return;
        };
        let Some(n) = self.neighbours.get_mut(&peer) else {
            return;
        };
        let same =
            |r: CharterRef| chain.version(r.version).map(SignedCharter::reference) == Some(r);
        let reaches = |r: CharterRef| r.version >= fork.ours.version;
        if n.charter.is_some_and(|r| same(r) && reaches(r)) && !n.fork_shown {
            n.fork_shown = true;
            let evidence: Bytes = fork.theirs.bytes().clone();
            n.send(Message::Charters(vec![evidence]), out);
        }
    }

    /// Whether a record has to wait until it is known who speaks for the channel:
    /// a release would be installed.
    pub(super) fn is_held_up(&self, record: &Record) -> bool {
        self.forks.is_open() && record.kind() == Kind::RELEASE
    }
}
