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

pub(crate) type Heard = broadcast::Receiver<Arc<Words>>;

/// Who listens in which channel: a line for each, so that a flood in one makes nobody
/// miss anything in another.
#[derive(Debug, Default)]
pub(super) struct Direct {
    listened: HashMap<ChannelId, broadcast::Sender<Arc<Words>>>,
}

impl Direct {
    fn listen(&mut self, id: ChannelId) -> Heard {
        self.listened.retain(|_, said| said.receiver_count() > 0);
        let said = self.listened.entry(id);
        said.or_insert_with(|| broadcast::channel(MAX_WAITING).0)
            .subscribe()
    }

    fn is_heard(&self, id: &ChannelId) -> bool {
        let said = self.listened.get(id);
        said.is_some_and(|said| said.receiver_count() > 0)
    }

    /// Whether somebody listened.
    fn say(&self, id: &ChannelId, words: Words) -> bool {
        let said = self.listened.get(id);
        said.is_some_and(|said| said.send(Arc::new(words)).is_ok())
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
    /// A request listens in a channel, until it drops what this gives.
    pub(crate) fn listen(&mut self, id: ChannelId) -> Heard {
        self.direct.listen(id)
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
        let heard = self.direct.is_heard(&channel);
        let taken = self.sessions.get_mut(&peer).is_some_and(|link| {
            link.channels.contains(&channel) && heard && link.talk.may(Instant::now())
        }) && self.direct.say(&channel, Words { peer, body });
        let outcome = if taken { "taken" } else { "refused" };
        self.metrics.words.with_label_values(&[outcome]).inc();
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
    use crate::{
        core::{CoreHandle, dial::tests::core_with_queue},
        message::Ask,
    };

    const PROVED: ChannelId = ChannelId([1; 32]);
    const OTHER: ChannelId = ChannelId([2; 32]);

    fn words(n: usize) -> Words {
        Words {
            peer: PeerId([9; 32]),
            body: n.to_string().into(),
        }
    }

    #[test]
    fn a_peer_says_so_much_a_second_and_again_in_the_next() {
        let (mut talk, start) = (Talk::default(), Instant::now());
        let said = (0..limits::MAX_WORDS_PER_SECOND + 5).filter(|_| talk.may(start));
        assert_eq!(said.count() as u32, limits::MAX_WORDS_PER_SECOND);
        assert!(!talk.may(start + Duration::from_millis(999)));
        assert!(talk.may(start + Duration::from_secs(1)));
    }

    #[test]
    fn a_flood_in_one_channel_displaces_nothing_in_another() {
        let mut direct = Direct::default();
        assert!(!direct.say(&PROVED, words(0)));
        let (mut flooded, mut other) = (direct.listen(PROVED), direct.listen(OTHER));
        assert!(direct.say(&OTHER, words(0)));
        for n in 0..=MAX_WAITING {
            assert!(direct.say(&PROVED, words(n)));
        }
        assert!(matches!(
            flooded.try_recv(),
            Err(broadcast::error::TryRecvError::Lagged(1))
        ));
        assert_eq!(flooded.try_recv().unwrap().body, "1");
        assert_eq!(other.try_recv().unwrap().body, "0");
        // Who stops listening leaves nothing behind.
        drop(flooded);
        assert!(!direct.is_heard(&PROVED));
        let _again = direct.listen(OTHER);
        assert_eq!(direct.listened.len(), 1);
    }

    /// What the node answers; `None` if it ends the connection instead.
    async fn tell(theirs: &Connection, channel: ChannelId) -> Option<u8> {
        let ask = Ask::Words {
            channel,
            body: Bytes::from_static(b"hello"),
        };
        let (mut send, mut answers) = theirs.open_bi().await.ok()?;
        send.write_all(&ask.encode()).await.ok()?;
        let mut answer = [0];
        answers.read_exact(&mut answer).await.ok()?;
        Some(answer[0])
    }

    #[tokio::test]
    async fn only_who_proved_the_channel_is_heard_and_not_after_it_was_expelled() {
        let dir = tempfile::tempdir().unwrap();
        let (core, node, queue): (_, CoreHandle, _) = core_with_queue(dir.path());
        tokio::spawn(core.run(queue));
        let (ours, theirs) = crate::transport::tests::pair().await;
        let peer = crate::tls::remote_peer(&ours).unwrap();
        let connect = move |core: &mut Core| {
            core.on_connected(peer, ours, false);
            let link = core.sessions.get_mut(&peer).unwrap();
            link.channels.insert(PROVED);
        };
        node.call(connect).await.unwrap();
        assert_eq!(
            tell(&theirs, PROVED).await,
            Some(NOT_HERE),
            "nobody listens"
        );
        let listen = |core: &mut Core| (core.listen(PROVED), core.listen(OTHER));
        let (mut proved, mut other) = node.call(listen).await.unwrap();
        assert_eq!(tell(&theirs, PROVED).await, Some(HERE));
        assert_eq!(proved.recv().await.unwrap().peer, peer);
        assert_eq!(tell(&theirs, OTHER).await, Some(NOT_HERE));
        node.call(move |core| core.expel(PROVED, peer))
            .await
            .unwrap();
        assert_eq!(tell(&theirs, PROVED).await, None);
        assert!(proved.try_recv().is_err() && other.try_recv().is_err());
    }
}
