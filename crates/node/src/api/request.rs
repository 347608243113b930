use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Attribute, CharterEdit};
use crate::{
    Priority,
    limit::{Cap, Line, UploadPolicy},
};

/// A command. Paths are absolute: the asker's working directory is not ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Makes (or finds again) the one-off channel of a path and serves it until
    /// the asker goes away.
    Share {
        /// File or folder.
        path: PathBuf,
        /// Refuse names that some platform cannot hold.
        #[serde(default)]
        portable: bool,
    },
    /// Lists what a link leads to.
    Ls {
        /// The link; or name, id or id prefix of a channel that is here.
        link: String,
    },
    /// Fetches the newest content of a link into `into`.
    Get {
        /// The link.
        link: String,
        /// Directory that will hold the content's name.
        into: PathBuf,
        /// Globs over entry paths; empty means everything.
        #[serde(default)]
        only: Vec<String>,
        /// Keep serving after completion, until the asker goes away.
        #[serde(default)]
        seed: bool,
        /// Replace a destination that differs.
        #[serde(default)]
        force: bool,
        /// Fetch the first bytes first, for it is used while it arrives.
        #[serde(default)]
        in_order: bool,
        /// Refuse a folder, before anything of it is fetched.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        file_only: bool,
    },
    /// Makes a lasting channel owned by this node's identity.
    ChannelCreate {
        /// Display name, 1 to 64 bytes.
        name: String,
        /// Only members may read it, or learn that it exists.
        #[serde(default)]
        private: bool,
    },
    /// What a channel's charters say.
    Charter {
        /// Name, id or id prefix.
        channel: String,
    },
    /// Makes a channel's next charter: in force at once if this keystore's keys are
    /// enough, else a draft.
    CharterEdit {
        /// Name, id or id prefix.
        channel: String,
        /// What changes.
        change: Box<CharterEdit>,
        /// The file that a draft is written to; must not exist.
        file: PathBuf,
        /// Write a draft in any case.
        #[serde(default)]
        only_draft: bool,
    },
    /// Puts a draft that enough roots have signed in force.
    CharterApply {
        /// The draft.
        file: PathBuf,
    },
    /// Says which of two charters that contradict each other is the right one.
    CharterChoose {
        /// Name, id or id prefix.
        channel: String,
        /// The right one's hash, or the beginning of it.
        hash: String,
    },
    /// Makes a link that admits its bearers to a channel.
    Invite {
        /// Name, id or id prefix.
        channel: String,
        /// What they become; default: `member`.
        #[serde(default)]
        role: Option<String>,
        /// Milliseconds for which it may be used; default: seven days.
        #[serde(default)]
        expires_ms: Option<u64>,
        /// Milliseconds for which its bearer belongs to the channel, not less than
        /// `expires_ms`; default: ten years, renewed before they end.
        #[serde(default)]
        member_ms: Option<u64>,
        /// How many it admits, 1 to 1,024; default: 1.
        #[serde(default)]
        uses: Option<u32>,
    },
    /// Joins a channel by an invitation and follows it; done once admitted.
    Join {
        /// The link of an invitation.
        link: String,
        /// Where releases appear, as `into/<version>/<name>` and `into/current`.
        #[serde(default)]
        into: Option<PathBuf>,
    },
    /// Lists who belongs to a channel, or did.
    Members {
        /// Name, id or id prefix.
        channel: String,
    },
    /// Takes somebody's rights in a channel for ever.
    Revoke {
        /// Name, id or id prefix.
        channel: String,
        /// PeerId, or the beginning of a member's; with `invitation` the id of an
        /// invite record, or its beginning.
        peer: String,
        /// Take back what it published, too; whom it revoked stays revoked.
        #[serde(default)]
        erase: bool,
        /// With `erase`: take back its revocations as well.
        #[serde(default)]
        pardon: bool,
        /// An invitation is meant, and everybody who came by it.
        #[serde(default)]
        invitation: bool,
    },
    /// Gives an identity a role in a channel, in place of the one that it has.
    Role {
        /// Name, id or id prefix.
        channel: String,
        /// PeerId, or the beginning of a member's.
        peer: String,
        /// `admin`, `publisher`, `inviter`, `keeper`, `member` or `reader`.
        role: String,
        /// Milliseconds that it lasts; default: ten years, renewed before they end.
        #[serde(default)]
        expires_ms: Option<u64>,
    },
    /// Stops belonging to a channel on this node. What was installed stays.
    Leave {
        /// Name, id or id prefix.
        channel: String,
    },
    /// Lists the channels this node holds.
    ChannelList,
    /// The link of a channel, with this node's addresses as the way in.
    Link {
        /// Name, id or id prefix.
        channel: String,
    },
    /// Publishes a release.
    Publish {
        /// Name, id or id prefix.
        channel: String,
        /// File or folder.
        path: PathBuf,
        /// One path component, never used before in the channel; default: the next number.
        #[serde(default)]
        version: Option<String>,
        /// Release notes, Markdown text.
        #[serde(default)]
        notes: Option<String>,
        /// Refuse names that some platform cannot hold.
        #[serde(default)]
        portable: bool,
        /// What it is fetched before and after.
        #[serde(default)]
        priority: Priority,
        /// Parity, as `M/K`, or `none`; default: that of the release before.
        #[serde(default)]
        parity: Option<String>,
    },
    /// Retracts a release.
    Unpublish {
        /// Name, id or id prefix.
        channel: String,
        /// The version to take back.
        version: String,
    },
    /// Posts a newsletter issue.
    Post {
        /// Name, id or id prefix.
        channel: String,
        /// Subject; default: the first heading of the body.
        #[serde(default)]
        subject: Option<String>,
        /// Markdown text.
        body: String,
        /// Files to attach.
        #[serde(default)]
        attach: Vec<PathBuf>,
    },
    /// Follows a channel.
    Subscribe {
        /// The link.
        link: String,
        /// Where releases appear, as `into/<version>/<name>` and `into/current`.
        #[serde(default)]
        into: Option<PathBuf>,
        /// Fetch all that is current, then finish.
        #[serde(default)]
        once: bool,
        /// Stay, reporting what arrives, until the asker goes away.
        #[serde(default)]
        wait: bool,
        /// Keep and serve everything that the channel has.
        #[serde(default)]
        mirror: bool,
        /// As a mirror and keeper, keep only a share of old releases with parity.
        #[serde(default)]
        keep_share: bool,
    },
    /// Stops following a channel. What was installed stays.
    Unsubscribe {
        /// Name, id or id prefix.
        channel: String,
    },
    /// Shows issues.
    Read {
        /// Name, id or id prefix; default: all channels.
        #[serde(default)]
        channel: Option<String>,
        /// Number in the listing, newest first from 1, or slug; default: all.
        #[serde(default)]
        issue: Option<String>,
    },
    /// Lists issues without their texts, newest first.
    Headings {
        /// Name, id or id prefix; default: all channels.
        #[serde(default)]
        channel: Option<String>,
        /// How many of the newest to leave out.
        #[serde(default)]
        skip: u64,
        /// How many to list at most.
        limit: u64,
    },
    /// Lists records that have not ended, the oldest first.
    Records {
        /// Name, id or id prefix.
        channel: String,
        /// Which; see [`samara_graph::Query`]. Default: all.
        #[serde(default, rename = "where")]
        filter: Option<String>,
        /// With their bodies.
        #[serde(default)]
        bodies: bool,
    },
    /// Publishes a record of an application.
    RecordPut {
        /// Name, id or id prefix.
        channel: String,
        /// Number of its kind, from 65,536.
        kind: u32,
        /// What it is about; at most 64 bytes.
        #[serde(default)]
        key: String,
        /// Attributes by name.
        #[serde(default)]
        attributes: BTreeMap<String, Attribute>,
        /// How long it lives, in milliseconds; default, and at most: as long as the
        /// channel allows.
        #[serde(default)]
        lifetime_ms: Option<u64>,
        /// Higher ones are wanted first; default 0.
        #[serde(default)]
        priority: u8,
        /// Base64; with everything else the record has at most 64 KiB.
        #[serde(default)]
        body: String,
    },
    /// Takes back the records of an application that this identity published under a kind
    /// and key.
    RecordRetract {
        /// Name, id or id prefix.
        channel: String,
        /// Number of their kind, from 65,536.
        kind: u32,
        /// What they are about.
        #[serde(default)]
        key: String,
    },
    /// Reads a record.
    RecordGet {
        /// Name, id or id prefix.
        channel: String,
        /// Record id or id prefix.
        record: String,
        /// File that gets the body; default: the body comes with the event.
        #[serde(default)]
        output: Option<PathBuf>,
    },
    /// Writes a channel into one signed file.
    Export {
        /// Name, id or id prefix.
        channel: String,
        /// File that is made, or replaced when the new one is whole.
        file: PathBuf,
        /// With the contents that are whole on this node.
        #[serde(default)]
        with_content: bool,
    },
    /// Takes in what [`Request::Export`] wrote.
    Import {
        /// The file.
        file: PathBuf,
    },
    /// Tells what happens in a channel, until the asker goes away.
    Watch {
        /// Name, id or id prefix.
        channel: String,
        /// The cursor of the last event that the asker has seen, 0 for none;
        /// default: from now on.
        #[serde(default)]
        since: Option<u64>,
    },
    /// Tells one member of a channel something, and nobody else: it is kept nowhere, and
    /// heard by who watches the channel there.
    Tell {
        /// Name, id or id prefix.
        channel: String,
        /// PeerId, or the beginning of a member's.
        peer: String,
        /// Base64 of 1 to 4,000 bytes.
        body: String,
    },
    /// What this node has and follows.
    Status,
    /// With whom this node is connected.
    Peers,
    /// Says what limits a transfer.
    Explain {
        /// Content id or id prefix; or a channel, whose newest content is meant.
        what: String,
    },
    /// Changes limits, kept over restarts; then says what holds and why.
    Limit(LimitOrder),
    /// Neither fetches nor serves something until it is resumed, also over restarts.
    Pause {
        /// Channel name or id, or content id; prefixes allowed. Default: everything.
        #[serde(default)]
        what: Option<String>,
    },
    /// Lets go on what was paused.
    Resume {
        /// As in [`Pause`](Self::Pause). Default: everything that is paused.
        #[serde(default)]
        what: Option<String>,
    },
    /// Gives back disk space that nothing needs.
    Gc {
        /// Only say what would go.
        #[serde(default)]
        dry_run: bool,
    },
    /// Drops a channel or a content from the store.
    Forget {
        /// Channel name or id, or content id; prefixes allowed.
        what: String,
    },
    /// Finds who answers to a name: members of a channel, nearest first, or a peer.
    Resolve {
        /// A link; a channel's name, id or id prefix; or a peer's id.
        what: String,
        /// How far away it may be.
        #[serde(default)]
        scope: Scope,
        /// How many, at least 1; default: 1.
        #[serde(default = "one")]
        count: u32,
    },
    /// Who this node is.
    Id,
}

impl Request {
    /// Whether it needs a network.
    pub fn needs_peers(&self) -> bool {
        match self {
            Self::Share { .. }
            | Self::Ls { .. }
            | Self::Get { .. }
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::Resolve { .. }
            | Self::Tell { .. }
            | Self::Watch { .. } => true,
            Self::Subscribe { once, wait, .. } => *once || *wait,
            _ => false,
        }
    }

    /// Whether it goes on until the asker goes away.
    pub fn is_endless(&self) -> bool {
        match self {
            Self::Share { .. } | Self::Watch { .. } => true,
            Self::Get { seed, .. } => *seed,
            Self::Subscribe { wait, .. } => *wait,
            _ => false,
        }
    }

    /// Whether asking twice does it twice, or is refused the second time.
    pub fn is_done_once(&self) -> bool {
        matches!(
            self,
            Self::ChannelCreate { .. }
                | Self::Publish { .. }
                | Self::Unpublish { .. }
                | Self::Post { .. }
        )
    }
}

/// What is to change of the limits; nothing: only what holds is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitOrder {
    /// Name, id or id prefix of the channel whose rates are meant; default: the node's.
    pub channel: Option<String>,
    /// Bytes a second or "off", by line; null: what the configuration says counts again.
    pub rates: BTreeMap<Line, Option<Cap>>,
    /// Fetch and never serve.
    pub leech: Option<bool>,
    /// No connections beyond the local network.
    pub no_wan: Option<bool>,
    /// Connections at once, at least 1.
    pub max_connections: Option<usize>,
    /// Peers served at once, at least 1.
    pub upload_slots: Option<usize>,
    /// Whom to serve first.
    pub upload_policy: Option<UploadPolicy>,
    /// Take back everything that was ordered before, with `channel` of that channel alone;
    /// pauses stay.
    pub reset: bool,
}

fn one() -> u32 {
    1
}

/// How far away a peer is. Each contains the ones before.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// On a network that this machine is on, or this machine itself.
    Lan,
    /// At a private address, or of the same site by its label.
    Site,
    /// Anywhere.
    #[default]
    Global,
}

impl Scope {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Site => "site",
            Self::Global => "global",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Lan, Self::Site, Self::Global]
            .into_iter()
            .find(|scope| scope.name() == text)
            .ok_or_else(|| "neither `lan`, `site` nor `global`".to_owned())
    }
}
