//! One channel as a node holds it: its graph, what its records say, and where its
//! members are.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use samara_graph::{
    Attributes, CharterChain, Config, Draft, Graph, Kind, Link as WayIn, PeerAddress, Readers,
    Record, RecordHeader, Reject, WallMs,
    body::{Body, ContentRef, IssueText, Release},
};
use samara_store::{Batch, Store};
use samara_wire::{ChannelId, ContentId, PeerId, RecordId, base32};
use serde::{Deserialize, Serialize};

use super::{
    Known, Leaving, forks, presence::Presence, remembered, search::Lookup, time::Floor, told,
    wall_ms,
};
use crate::{EngineError, Priority, api::ErrorKind, limits};

/// Where a channel's own small things are kept in the store.
pub(crate) const CHANNEL_SETTINGS: &str = "channel";
/// Neighbours that a graph looks for: the swarm wants about 32 to choose from.
const TARGET_NEIGHBOURS: usize = 16;

/// What this node is in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Made here.
    Owner,
    /// Followed.
    Subscriber,
    /// Followed, everything kept.
    Mirror,
    /// A one-off share of a path of this machine.
    Share,
    /// Looked into once.
    Guest,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Subscriber => "subscriber",
            Self::Mirror => "mirror",
            Self::Share => "share",
            Self::Guest => "guest",
        }
    }
}

/// What the node remembers of a channel besides charter and records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChannelMeta {
    pub(crate) role: Role,
    /// Where releases are installed.
    pub(crate) into: Option<PathBuf>,
    /// The link that led here: the way in until members are met.
    pub(crate) link: Option<String>,
    /// The redemption of that link's invitation, in base32: made once, and shown until
    /// it stands.
    #[serde(default)]
    pub(crate) redemption: Option<String>,
    /// Average chunk size that the first release was cut with, in bytes.
    pub(crate) chunk_avg: Option<u32>,
    /// Parity of the last release that this node published, as `M/K`: the default of
    /// the next.
    #[serde(default)]
    pub(crate) parity: Option<String>,
    /// As a mirror: of old releases with parity only a share is kept.
    #[serde(default)]
    pub(crate) keep_share: bool,
    /// This node made the channel, or has had all that a member had since it came to it.
    #[serde(default)]
    pub(crate) synchronized: bool,
}

impl ChannelMeta {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            into: None,
            link: None,
            redemption: None,
            chunk_avg: None,
            parity: None,
            keep_share: false,
            synchronized: false,
        }
    }
}

/// What a record says, without the texts.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Release(Release),
    Issue {
        subject: String,
        text: Option<ContentRef>,
        attachments: Option<ContentRef>,
    },
    Share(ContentRef),
}

/// A record of a kind that this node acts on.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) header: RecordHeader,
    pub(crate) what: What,
}

/// Which record brought a content into a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamedContent {
    pub(crate) author: PeerId,
    pub(crate) priority: Priority,
}

/// Why nothing, or not all, of a channel is kept in shares that was to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unshared {
    /// This node is no keeper.
    NotAKeeper,
    /// Releases that are here have no parity.
    NoParity,
}

/// A channel that this node holds.
pub(crate) struct Channel {
    pub(crate) graph: Graph,
    pub(crate) meta: ChannelMeta,
    /// Whether the node talks about it with others at the moment.
    pub(crate) active: bool,
    /// Known by its bare id alone, which says nothing of whether it is private: until
    /// the charter is here, the id is named only to peers that prove to know it.
    pub(crate) veiled: bool,
    pub(crate) items: HashMap<RecordId, Item>,
    /// Members of the last time that the channel was talked about.
    pub(super) remembered: Vec<PeerAddress>,
    /// Where members may be reached.
    pub(crate) known: HashMap<PeerId, Known>,
    /// What this node shows while it is no member yet.
    pub(super) redemption: Option<Record>,
    /// Whether a neighbour holds it, or this node came with it from an earlier start.
    pub(super) redemption_taken: bool,
    /// Connected peers that carry this channel with us.
    pub(crate) members: HashSet<PeerId>,
    /// Connected peers that were asked whether they do.
    pub(super) greeted: HashSet<PeerId>,
    /// Members that do not take what they are sent.
    pub(super) slow: HashSet<PeerId>,
    /// Members that we hold everything of.
    pub(crate) synchronized: HashSet<PeerId>,
    /// Rejected records that the metrics have counted, by reason.
    pub(super) rejected: HashMap<Reject, u64>,
    /// The same of those that were displaced and crowded out.
    pub(super) gave_way: (u64, u64),
    /// When addresses were last told and peers remembered.
    pub(super) last_round: Option<Duration>,
    /// Looking for members in the DHT.
    pub(super) lookup: Lookup,
    /// Who is there.
    pub(crate) presence: Presence,
    /// The time that owners vouched for.
    pub(crate) floor: Floor,
    /// This node is on its way out.
    pub(super) leaving: Option<Leaving>,
    /// What its user was told of that stands in the way of keeping shares.
    pub(crate) unshared: Option<Unshared>,
}

impl Channel {
    /// A channel whose charter is here.
    pub(crate) fn new(graph: Graph, meta: ChannelMeta, items: HashMap<RecordId, Item>) -> Self {
        let redemption = meta.redemption.as_deref().and_then(read_redemption);
        Self {
            graph,
            meta,
            redemption_taken: redemption.is_some(),
            redemption,
            active: false,
            veiled: false,
            items,
            remembered: Vec::new(),
            known: HashMap::new(),
            members: HashSet::new(),
            greeted: HashSet::new(),
            slow: HashSet::new(),
            synchronized: HashSet::new(),
            rejected: HashMap::new(),
            gave_way: (0, 0),
            last_round: None,
            lookup: Lookup::default(),
            presence: Presence::default(),
            floor: Floor::default(),
            leaving: None,
            unshared: None,
        }
    }

    /// The display name, once the charter is here.
    pub(crate) fn name(&self) -> Option<String> {
        self.graph
            .charters()
            .map(|chain| chain.current().name.clone())
    }

    /// Whether only members may read it; by its link until the charter is here.
    pub(crate) fn is_private(&self) -> bool {
        match self.graph.charters() {
            Some(chain) => chain.current().readers == Readers::Members,
            None => self.way_in().is_some_and(|link| link.is_private()),
        }
    }

    /// Whether its id may be said to peers that have not shown that they know it.
    pub(crate) fn is_sayable(&self) -> bool {
        let veiled = self.veiled && self.graph.charters().is_none();
        !veiled && !self.is_private()
    }

    /// Whether it is here, and everyone may read it.
    pub(crate) fn is_open(&self) -> bool {
        self.graph.charters().is_some() && !self.is_private()
    }

    /// Whether members may say so where the whole world can ask.
    pub(crate) fn may_be_announced(&self) -> bool {
        match self.graph.charters() {
            Some(chain) => chain.current().announced,
            None => !self.is_private(),
        }
    }

    /// The record that names a content, if one does.
    pub(crate) fn named(&self, content: &ContentId) -> Option<NamedContent> {
        self.items
            .values()
            .find(|item| item.contents().any(|c| c.id == *content))
            .map(|item| NamedContent {
                author: item.header.author,
                priority: item.priority(),
            })
    }

    /// Items of a kind, newest first, one for each key. A release that is over by the
    /// owners' word is none, whatever this machine's clock says: else an old version
    /// could be passed off as the newest to who has a clock that is behind.
    pub(crate) fn newest(&self, kind: Kind) -> Vec<&Item> {
        let over = |item: &Item| kind == Kind::RELEASE && self.floor.is_over(item.header.expires);
        let mut items: Vec<&Item> = self
            .items
            .values()
            .filter(|item| item.header.kind == kind && !over(item))
            .collect();
        items.sort_by_key(|item| {
            std::cmp::Reverse((item.header.created, item.header.seq, item.header.id))
        });
        let mut keys = HashSet::new();
        items.retain(|item| keys.insert((item.header.author, item.header.key.clone())));
        items
    }

    /// The newest release or share.
    pub(crate) fn newest_content(&self) -> Option<(&Item, ContentRef)> {
        [Kind::SHARE, Kind::RELEASE]
            .into_iter()
            .flat_map(|kind| self.newest(kind).into_iter().take(1))
            .max_by_key(|item| (item.header.created, item.header.seq))
            .and_then(|item| Some((item, item.contents().next()?)))
    }

    pub(super) fn next_timeout(&self) -> Option<Duration> {
        self.active.then(|| self.graph.next_timeout()).flatten()
    }
}

impl Item {
    /// What a record says, if it is of a kind that this node acts on.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let what = match Body::of(record).ok()? {
            Body::Release(release) => What::Release(release),
            Body::Issue(issue) => What::Issue {
                subject: issue.subject,
                text: match issue.text {
                    IssueText::Inline(_) => None,
                    IssueText::Content(content) => Some(content),
                },
                attachments: issue.attachments,
            },
            Body::Share(share) => What::Share(share.content),
            _ => return None,
        };
        Some(Self {
            header: record.header().ok()?,
            what,
        })
    }

    /// How urgent its contents are.
    pub(crate) fn priority(&self) -> Priority {
        Priority::of(&self.header.attributes)
    }

    /// The contents that the record names.
    pub(crate) fn contents(&self) -> impl Iterator<Item = ContentRef> {
        let (a, b) = match &self.what {
            What::Release(release) => (Some(release.content), None),
            What::Issue {
                text, attachments, ..
            } => (*text, *attachments),
            What::Share(content) => (Some(*content), None),
        };
        a.into_iter().chain(b)
    }
}

/// Keeps what the node remembers of a channel.
pub(crate) fn put_meta(batch: &mut Batch, id: ChannelId, meta: &ChannelMeta) {
    let value = serde_json::to_vec(meta).expect("metadata is plain data");
    batch.put_setting(CHANNEL_SETTINGS, id.as_bytes(), &value);
}

/// A channel as the store has it. Blocks.
pub(crate) fn load(
    store: &Store,
    me: PeerId,
    id: ChannelId,
    meta: ChannelMeta,
) -> Result<Channel, EngineError> {
    let config = graph_config(me)?;
    let damaged = |what: &str, error: String| {
        EngineError::new(
            ErrorKind::Disk,
            format!(
                "channel {}: {what} in the index does not read back: {error}",
                id.short()
            ),
        )
    };
    let Some(bytes) = store.charter(&id)? else {
        let link = meta
            .link
            .as_deref()
            .and_then(|text| text.parse::<WayIn>().ok())
            .ok_or_else(|| damaged("the charter", "it is missing".into()))?;
        let mut graph = Graph::join(id, link.charter(), config);
        forks::load(store, id, &mut graph)?;
        let mut channel = Channel::new(graph, meta, HashMap::new());
        channel.remembered = remembered::load(store, id)?;
        channel.floor = Floor::load(store, &id)?;
        return Ok(channel);
    };
    let chain = CharterChain::decode(&bytes).map_err(|e| damaged("the charter", e.to_string()))?;
    let mut restoring = Graph::restoring(chain, 0, config);
    let mut named = Vec::new();
    let (mut presence, now) = (Presence::default(), WallMs(wall_ms()));
    store.record_heads(&id, &mut |_, head| {
        // A damaged head is as good as a missing record: it comes again.
        let Ok(header) = RecordHeader::decode(head) else {
            return;
        };
        if matches!(header.kind, Kind::RELEASE | Kind::ISSUE | Kind::SHARE) {
            named.push(header.id);
        }
        if header.kind == Kind::PRESENCE {
            presence.take(&header, now);
        }
        restoring.add(header);
    })?;
    let mut items = HashMap::new();
    for record_id in named {
        if let Some(bytes) = store.record(&id, &record_id)?
            && let Ok(record) = Record::decode(bytes.into())
        {
            items.extend(Item::of(&record).map(|item| (record_id, item)));
        }
    }
    let mut graph = restoring.finish();
    graph.recall_members(told::load(store, &id)?);
    forks::load(store, id, &mut graph)?;
    let mut channel = Channel::new(graph, meta, items);
    channel.remembered = remembered::load(store, id)?;
    channel.presence = presence;
    channel.floor = Floor::load(store, &id)?;
    channel.raise_floor();
    Ok(channel)
}

/// A channel known by its link alone.
pub(crate) fn join(link: &WayIn, me: PeerId, meta: ChannelMeta) -> Result<Channel, EngineError> {
    let graph = Graph::join(link.channel(), link.charter(), graph_config(me)?);
    Ok(Channel::new(graph, meta, HashMap::new()))
}

/// A record to publish, living as long as its channel allows.
pub(crate) fn draft(kind: Kind, about: &[u8], body: Vec<u8>) -> Draft {
    Draft {
        kind,
        key: Bytes::copy_from_slice(about),
        attributes: Attributes::default(),
        body: body.into(),
        lifetime: samara_graph::limits::MAX_LIFETIME,
        priority: 0,
    }
}

fn read_redemption(text: &str) -> Option<Record> {
    let bytes = base32().decode(text.as_bytes()).ok()?;
    Record::decode(bytes.into()).ok()
}

/// How graphs of this node are run.
pub(crate) fn graph_config(me: PeerId) -> Result<Config, EngineError> {
    let mut seed = [0; 8];
    crate::identity::random(&mut seed)?;
    let mut config = Config::new(me, u64::from_le_bytes(seed));
    config.target_neighbours = TARGET_NEIGHBOURS;
    // Who is connected may be a neighbour: the connections have a bound already.
    config.max_neighbours = limits::MAX_CONNECTIONS;
    Ok(config)
}

impl Channel {
    /// Keeps the redemption of the invitation that led here.
    pub(super) fn keep_redemption(&mut self, record: &Record) {
        self.meta.redemption = Some(base32().encode(record.bytes()));
        self.redemption = Some(record.clone());
        self.redemption_taken = false;
    }

    /// Whether a neighbour holds the redemption that is held here.
    pub(crate) fn is_taken(&self) -> Option<bool> {
        let held = |r: &&Record| self.graph.contains(&r.id());
        let ours = self.redemption.as_ref().filter(held);
        ours.map(|_| self.redemption_taken)
    }

    /// A neighbour says that it holds these records; whether somebody waits for that.
    pub(super) fn hear(&mut self, ids: &[RecordId]) -> bool {
        let ours = self.redemption.as_ref().map(Record::id);
        let taken = !self.redemption_taken && ours.is_some_and(|id| ids.contains(&id));
        self.redemption_taken |= taken;
        self.hear_of_leaving(ids) || taken
    }

    /// Why the redemption of the invitation that led here is not taken, by what is here.
    pub(crate) fn objection(&self, now: WallMs) -> Option<Reject> {
        let link = self.way_in()?;
        let one_time = link.invitation()?.key.peer_id();
        let ours = |r: &&Record| *r.key() == one_time.as_bytes()[..];
        match self.redemption.as_ref().filter(ours) {
            Some(redemption) => self.graph.objection(now, redemption),
            // None is made in vain.
            None if self.is_open() && !self.synchronized.is_empty() => {
                let invite = &link.invitation()?.invite;
                self.graph
                    .is_used_up(invite)
                    .then_some(Reject::InviteUsedUp)
            }
            None => None,
        }
    }

    /// The link that led here.
    pub(crate) fn way_in(&self) -> Option<WayIn> {
        self.meta.link.as_deref()?.parse().ok()
    }
}
