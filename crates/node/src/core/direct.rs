//! Words from one member to another: on their own connection, kept by nobody, seen by
//! nobody else.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quinn::{Connection, SendStream};
use samara_wire::{ChannelId, PeerId};
use tokio::sync::broadcast;

use super::Core;
use crate::{
    fetch::{HERE, NOT_HERE},
    limits,
};

/// Words that may wait for a slow watcher.
const MAX_WAITING: usize = 256;

/// What a member said.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) peer: PeerId,
    pub(crate) body: Bytes,
}

pub(crate) type Heard = broadcast::Receiver<(ChannelId, Arc<Words>)>;

/// Who listens in which channel.
#[derive(Debug)]
pub(super) struct Direct {
    said: broadcast::Sender<(ChannelId, Arc<Words>)>,
    listeners: HashMap<ChannelId, usize>,
}

impl Default for Direct {
    fn default() -> Self {
        Self {
            said: broadcast::channel(MAX_WAITING).0,
            listeners: HashMap::new(),
        }
    }
}

/// How much one peer says.
#[derive(Debug, Default)]
pub(super) struct Talk {
    second: Option<Instant>,
    said: u32,
}

impl Talk {
    /// Whether it may say something more now; counts it.
    fn may(&mut self, now: Instant) -> bool {
        let fresh = self
            .second
            .is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1));
        if fresh {
            (self.second, self.said) = (Some(now), 0);
        }
        self.said += 1;
        self.said <= limits::MAX_WORDS_PER_SECOND
    }
}

impl Core {
    /// A request listens in a channel from now on.
    pub(crate) fn listen(&mut self, id: ChannelId) -> Heard {
        *self.direct.listeners.entry(id).or_default() += 1;
        self.direct.said.subscribe()
    }

    /// It does no more.
    pub(crate) fn unlisten(&mut self, id: ChannelId) {
        if let Some(count) = self.direct.listeners.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.direct.listeners.remove(&id);
            }
        }
    }

    /// A peer says something in a channel. Without listeners, and in a channel that it
    /// does not share with us, it is answered alike.
    pub(super) fn on_words(
        &mut self,
        peer: PeerId,
        channel: ChannelId,
        body: Bytes,
        mut stream: SendStream,
    ) {
        let heard = self.direct.listeners.contains_key(&channel);
        let taken = self.sessions.get_mut(&peer).is_some_and(|link| {
            link.channels.contains(&channel) && heard && link.talk.may(Instant::now())
        });
        if taken {
            let words = Arc::new(Words { peer, body });
            let _ = self.direct.said.send((channel, words));
        }
        tokio::spawn(async move {
            let answer = if taken { HERE } else { NOT_HERE };
            if stream.write_all(&[answer]).await.is_ok() {
                let _ = stream.finish();
            }
        });
    }

    /// The connection to a peer, once both ends have spoken of a channel on it; a peer
    /// that is connected for another channel's sake is asked about this one.
    pub(crate) fn connection_in(&mut self, id: ChannelId, peer: PeerId) -> Option<Connection> {
        let link = self.sessions.get(&peer)?;
        if link.channels.contains(&id) {
            return Some(link.session.connection.clone());
        }
        let channel = self.channels.get(&id)?;
        if !channel.greeted.contains(&peer) {
            self.greet(id, peer);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_says_so_much_a_second_and_again_in_the_next() {
        let (mut talk, start) = (Talk::default(), Instant::now());
        let said = (0..limits::MAX_WORDS_PER_SECOND + 5).filter(|_| talk.may(start));
        assert_eq!(said.count() as u32, limits::MAX_WORDS_PER_SECOND);
        assert!(!talk.may(start + Duration::from_millis(999)));
        assert!(talk.may(start + Duration::from_secs(1)));
    }
}
