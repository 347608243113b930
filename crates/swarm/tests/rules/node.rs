//! One node under test, and what to look for in its answers.

use std::{sync::Arc, time::Duration};

use samara_content::{ChunkSet, Stripes};
use samara_swarm::{
    Action, Config, ContentKey, Event, Message, Order, RequestId, Role, ServeId, Swarm, Tier,
};
use samara_wire::PeerId;

pub(crate) const KEY: ContentKey = ContentKey(1);
/// Bytes of a chunk.
pub(crate) const CHUNK: u32 = 1000;
pub(crate) const A: PeerId = PeerId([1; 32]);
pub(crate) const B: PeerId = PeerId([2; 32]);
pub(crate) const C: PeerId = PeerId([3; 32]);
pub(crate) const US: PeerId = PeerId([9; 32]);

/// A node and the time that it believes in.
pub(crate) struct Node {
    pub(crate) swarm: Swarm,
    pub(crate) now: Duration,
    serves: u64,
}

/// A content to add.
pub(crate) struct Given {
    pub(crate) key: ContentKey,
    pub(crate) sizes: Vec<u32>,
    pub(crate) have: ChunkSet,
    pub(crate) wanted: Option<ChunkSet>,
    pub(crate) stripes: Option<Stripes>,
    pub(crate) role: Role,
    pub(crate) priority: u8,
}

impl Given {
    /// `have` of `chunks` equal chunks, all of them wanted.
    pub(crate) fn new(chunks: u32, have: ChunkSet) -> Self {
        Self {
            key: KEY,
            sizes: vec![CHUNK; chunks as usize],
            have,
            wanted: None,
            stripes: None,
            role: Role::Member,
            priority: 0,
        }
    }
}

impl Node {
    pub(crate) fn new(config: Config) -> Self {
        Self::named(US, config)
    }

    pub(crate) fn named(us: PeerId, config: Config) -> Self {
        Self {
            swarm: Swarm::new(config, us, 1),
            now: Duration::ZERO,
            serves: 0,
        }
    }

    pub(crate) fn with(given: Given) -> Self {
        let mut node = Self::new(Config::default());
        node.add(given);
        node
    }

    pub(crate) fn seeder(chunks: u32) -> Self {
        Self::with(Given::new(chunks, ChunkSet::full(chunks)))
    }

    pub(crate) fn receiver(chunks: u32) -> Self {
        Self::with(Given::new(chunks, ChunkSet::new(chunks)))
    }

    pub(crate) fn add(&mut self, given: Given) -> Vec<Action> {
        self.tell(Event::ContentAdded {
            key: given.key,
            stripes: given.stripes,
            chunk_sizes: Arc::from(given.sizes),
            have: given.have,
            wanted: given.wanted,
            role: given.role,
            priority: given.priority,
            order: Order::Rarest,
        })
    }

    pub(crate) fn tell(&mut self, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.swarm.handle(self.now, event, &mut out);
        out
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Action> {
        let end = self.now + time;
        let mut out = Vec::new();
        while let Some(at) = self.swarm.next_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            out.extend(self.tell(Event::Tick));
        }
        self.now = end;
        out
    }

    pub(crate) fn join(&mut self, peer: PeerId) -> Vec<Action> {
        let (key, tier, site) = (KEY, Tier::Site, None);
        let out = self.tell(Event::PeerJoined {
            key,
            peer,
            tier,
            site,
        });
        let rtt = Duration::from_millis(1);
        self.tell(Event::PathSample { peer, rtt });
        out
    }

    /// The peer joins with these chunks.
    pub(crate) fn join_with(&mut self, peer: PeerId, have: ChunkSet) -> Vec<Action> {
        self.join(peer);
        self.hear(peer, Message::Have(have))
    }

    pub(crate) fn leave(&mut self, peer: PeerId) -> Vec<Action> {
        self.tell(Event::PeerLeft { key: KEY, peer })
    }

    pub(crate) fn hear(&mut self, peer: PeerId, msg: Message) -> Vec<Action> {
        let key = KEY;
        self.tell(Event::Message {
            peer,
            key,
            msg,
            room: None,
        })
    }

    pub(crate) fn ask(&mut self, peer: PeerId, chunks: &[u32]) -> Vec<Action> {
        self.serves += 1;
        self.tell(Event::Incoming {
            key: KEY,
            peer,
            serve: ServeId(self.serves),
            chunks: chunks.to_vec(),
        })
    }

    /// The answer to the last request gets through, `took` later.
    pub(crate) fn deliver(&mut self, peer: PeerId, chunks: &[u32], took: Duration) -> Vec<Action> {
        self.now += took;
        self.end(peer, chunks, true)
    }

    /// The transport takes the answer to the last request, and the peer stops it.
    pub(crate) fn stop(&mut self, peer: PeerId, chunks: &[u32]) -> Vec<Action> {
        self.end(peer, chunks, false)
    }

    fn end(&mut self, peer: PeerId, chunks: &[u32], taken: bool) -> Vec<Action> {
        let (key, serve, bytes) = (KEY, ServeId(self.serves), CHUNK);
        for chunk in chunks.iter().copied() {
            self.tell(Event::Served {
                key,
                peer,
                serve,
                chunk,
                bytes,
            });
        }
        self.tell(Event::ServeEnded {
            key,
            peer,
            serve,
            taken,
        })
    }

    pub(crate) fn arrive(&mut self, peer: PeerId, chunk: u32) -> Vec<Action> {
        let (key, bytes) = (KEY, CHUNK);
        self.tell(Event::ChunkArrived {
            key,
            chunk,
            peer,
            bytes,
        })
    }

    pub(crate) fn store(&mut self, chunk: u32) -> Vec<Action> {
        self.tell(Event::ChunkStored { key: KEY, chunk })
    }

    pub(crate) fn reject(&mut self, peer: PeerId, chunk: u32) -> Vec<Action> {
        let key = KEY;
        self.tell(Event::ChunkRejected { key, chunk, peer })
    }
}

/// Credit for so many chunks.
pub(crate) fn grant(chunks: u32) -> Message {
    Message::Grant {
        bytes: u64::from(chunks * CHUNK),
        suggested: vec![],
    }
}

pub(crate) fn set(chunks: u32, members: impl IntoIterator<Item = u32>) -> ChunkSet {
    let mut set = ChunkSet::new(chunks);
    for chunk in members {
        set.insert(chunk);
    }
    set
}

pub(crate) fn messages(out: &[Action]) -> Vec<(PeerId, Message)> {
    let message = |action: &Action| match action {
        Action::Send { peer, msg, .. } => Some((*peer, msg.clone())),
        _ => None,
    };
    out.iter().filter_map(message).collect()
}

/// Who was granted how much.
pub(crate) fn grants(out: &[Action]) -> Vec<(PeerId, u64)> {
    let bytes = |(peer, msg)| match msg {
        Message::Grant { bytes, .. } => Some((peer, bytes)),
        _ => None,
    };
    messages(out).into_iter().filter_map(bytes).collect()
}

/// What was requested, chunk by chunk.
pub(crate) fn requests(out: &[Action]) -> Vec<(PeerId, RequestId, u32)> {
    let mut found = Vec::new();
    for action in out {
        if let Action::Request {
            peer,
            request,
            chunks,
            ..
        } = action
        {
            found.extend(chunks.iter().map(|chunk| (*peer, *request, *chunk)));
        }
    }
    found
}

pub(crate) fn is_refused(out: &[Action]) -> bool {
    out.iter().any(|a| matches!(a, Action::Refuse { .. }))
}

pub(crate) fn is_served(out: &[Action]) -> bool {
    out.iter().any(|a| matches!(a, Action::Serve { .. }))
}
