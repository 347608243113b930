//! What one can ask of a node, and what it answers: one vocabulary for the
//! command line, the control socket, the local HTTP API and programs that embed
//! the engine. A request is answered by a stream of events that ends with
//! [`Event::Done`] or [`Event::Error`].

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

mod charter;
mod duration;
mod explanation;
mod invitation;
mod limits;
mod record;
mod request;
mod standing;

pub use charter::{
    CharterEdit, CharterVersion, CharterView, DraftView, ForkView, FormerView, TermChange, Terms,
};
pub(crate) use duration::{milliseconds, seconds};
pub use explanation::{Explanation, Shares, SourceStatus};
pub use invitation::InvitationView;
pub use limits::{LimitStatus, Limits};
pub(crate) use record::attributes;
pub use record::{Attribute, Change, RecordAbout, RecordView};
pub use request::{LimitOrder, Request, Scope};
pub use standing::{OffenderStatus, Standing};

/// What happened. One JSON object a line with `--json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A path is being scanned and hashed.
    Importing {
        /// Bytes hashed so far.
        bytes: u64,
        /// Bytes to hash in all.
        total: u64,
    },
    /// A one-off share is being served.
    Sharing {
        /// Channel id.
        channel: String,
        /// The link to hand out.
        link: String,
        /// Content id.
        content: String,
        /// Name of the file or folder.
        name: String,
        /// Number of files.
        files: u64,
        /// Bytes in all files.
        bytes: u64,
        /// Number of chunks.
        chunks: u64,
    },
    /// One entry of a content.
    Entry {
        /// Path within the content; for a single file its name.
        path: String,
        /// `file`, `directory` or `symlink`.
        kind: String,
        /// Bytes.
        bytes: u64,
        /// Permission bits, octal.
        mode: String,
        /// Where a symlink points.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        /// Bytes of it that are on this disk already.
        have: u64,
        /// Whether nothing of it is missing on this disk.
        #[serde(default)]
        here: bool,
    },
    /// What a link leads to, after its entries.
    Listing {
        /// Channel id.
        channel: String,
        /// Content id.
        content: String,
        /// Name of the file or folder.
        name: String,
        /// Number of files.
        files: u64,
        /// Bytes in all files.
        bytes: u64,
        /// Bytes that are on this disk already.
        have: u64,
        /// Whether a member said that there is nothing newer.
        confirmed: bool,
    },
    /// The release that a link leads to, or that was installed.
    Release {
        /// Channel id.
        channel: String,
        /// Version.
        version: String,
        /// When it was signed, RFC 3339, UTC.
        published: String,
        /// Markdown; empty if its publisher wrote none.
        notes: String,
    },
    /// Waiting for something named in `what`.
    Waiting {
        /// For people: "looking for peers: 10.0.0.1:7421".
        what: String,
    },
    /// How a transfer stands, about four times a second.
    Progress {
        /// Content id.
        content: String,
        /// Name of the file or folder.
        name: String,
        /// Bytes verified and written, reused ones included.
        have: u64,
        /// Bytes wanted.
        total: u64,
        /// Bytes a second, over the last seconds.
        rate: u64,
        /// Peers with which this content is exchanged.
        peers: u32,
        /// Bytes fetched so far from the record's author.
        origin: u64,
        /// Bytes fetched so far from everyone else.
        others: u64,
        /// Where a single file is at the moment that was asked for in order; only its
        /// first `ready` bytes are to be used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<PathBuf>,
        /// Bytes from its beginning that were verified and written, without a gap.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ready: Option<u64>,
    },
    /// A content is whole, verified and in place.
    Complete {
        /// Channel id.
        channel: String,
        /// Content id.
        content: String,
        /// Name of the file or folder.
        name: String,
        /// Where it is.
        path: PathBuf,
        /// Number of files written or found.
        files: u64,
        /// Bytes in them.
        bytes: u64,
        /// Seconds from the request to here.
        seconds: f64,
        /// What of them was fetched, by where it came from.
        downloaded: Downloaded,
        /// Bytes received for nothing: wrong ones, and what came twice.
        wasted: u64,
        /// What of them was on the disk already; with `downloaded` it is all.
        reused: u64,
        /// Whether a member said that there is nothing newer; false if none could be
        /// asked.
        confirmed: bool,
    },
    /// A channel was made, or is listed.
    Channel {
        /// Channel id.
        id: String,
        /// Display name.
        name: String,
        /// What this node is in it: `owner`, `subscriber`, `mirror`, `share` or `guest`.
        role: String,
        /// Number of records.
        records: u64,
        /// Newest release, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<String>,
        /// Number of newsletter issues.
        issues: u64,
    },
    /// A channel's charters.
    Charter(Box<CharterView>),
    /// A new charter was written into a file, to be signed.
    CharterDraft(Box<DraftView>),
    /// A channel's link.
    Link {
        /// The link.
        link: String,
        /// The invitation in it, if it is one.
        #[serde(flatten)]
        invitation: Option<InvitationView>,
    },
    /// This node was admitted to a channel.
    Joined {
        /// Channel id.
        channel: String,
        /// Display name.
        name: String,
        /// In which role.
        role: String,
    },
    /// Somebody who belongs to a channel, or did.
    Member {
        /// Channel id.
        channel: String,
        /// Who.
        peer_id: String,
        /// The mightiest role now; absent if it has none any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<String>,
        /// Since when, RFC 3339, UTC.
        since: String,
        /// Until when unless it is renewed; absent for one that the charter names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
        /// Who granted it; absent for one that the charter names.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
        /// The invite record by which it came in, if it did by one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        invitation: Option<String>,
        /// Whether it was revoked.
        revoked: bool,
        /// Whether it left by itself; `until` says when.
        #[serde(default)]
        left: bool,
        /// Since when it has been present without a gap, by its own word, RFC 3339, UTC;
        /// absent if it is not present.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        present_since: Option<String>,
        /// When its lease of presence ends unless it is renewed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        present_until: Option<String>,
        /// Whether it is this node.
        this_node: bool,
        /// Whether this node has been alike with a member since it came to the channel, or
        /// made it: until then more may belong to it than are listed. The same in all.
        #[serde(default)]
        synchronized: bool,
    },
    /// Somebody's rights were taken.
    Revoked {
        /// Channel id.
        channel: String,
        /// Who.
        peer_id: String,
        /// Record id.
        record: String,
        /// With `erase`: whom it had revoked, and who stays so.
        #[serde(default)]
        still_revoked: Vec<String>,
        /// With `pardon`: whom it had revoked, and nobody else; who may be a member again.
        #[serde(default)]
        pardoned: Vec<String>,
    },
    /// An invitation was taken back, and the rights of those who came by it.
    InvitationRevoked {
        /// Channel id.
        channel: String,
        /// The invite record.
        invitation: String,
        /// Who was revoked with it.
        revoked: Vec<String>,
        /// Who came by it and was not revoked, since it has a role that this identity
        /// does not outrank.
        outranking: Vec<String>,
    },
    /// Somebody was given a role.
    RoleGiven {
        /// Channel id.
        channel: String,
        /// Who.
        peer_id: String,
        /// Which.
        role: String,
    },
    /// This node belongs to a channel no more.
    Left {
        /// Channel id.
        channel: String,
        /// Whether a member took the word that this node left, for all of them; absent if
        /// there was nothing to give back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<bool>,
    },
    /// A release was published.
    Published {
        /// Channel id.
        channel: String,
        /// Version.
        version: String,
        /// Content id.
        content: String,
        /// Number of files.
        files: u64,
        /// Bytes.
        bytes: u64,
        /// Chunks that no other content of this store has, in bytes.
        fresh: u64,
        /// Record id.
        record: String,
    },
    /// A release was retracted.
    Unpublished {
        /// Channel id.
        channel: String,
        /// Version.
        version: String,
        /// Record id of the retraction.
        record: String,
    },
    /// An issue was posted.
    Posted {
        /// Channel id.
        channel: String,
        /// Slug of the issue.
        issue: String,
        /// Subject.
        subject: String,
        /// Number of attachments.
        attachments: u64,
        /// Record id.
        record: String,
    },
    /// A subscription was stored.
    Subscribed {
        /// Channel id.
        channel: String,
        /// Display name, if the charter is known already.
        name: String,
        /// Whether everything is kept.
        mirror: bool,
        /// Where releases appear.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        into: Option<PathBuf>,
    },
    /// A subscription was dropped.
    Unsubscribed {
        /// Channel id.
        channel: String,
    },
    /// A release is installed.
    Installed {
        /// Channel id.
        channel: String,
        /// Version.
        version: String,
        /// Where it is.
        path: PathBuf,
        /// Whether `current` points at it.
        current: bool,
    },
    /// A newsletter issue.
    Issue {
        /// Channel name.
        channel: String,
        /// Channel id.
        channel_id: String,
        /// Slug.
        issue: String,
        /// Number in the channel's listing, newest first from 1.
        number: u64,
        /// Subject.
        subject: String,
        /// When it was signed, RFC 3339, UTC.
        published: String,
        /// Markdown.
        body: String,
        /// Attached files.
        attachments: Vec<Attachment>,
        /// False while body or attachments are still on their way.
        complete: bool,
    },
    /// A newsletter issue in a list.
    Heading {
        /// Channel name.
        channel: String,
        /// Channel id.
        channel_id: String,
        /// Slug.
        issue: String,
        /// Number in the channel's listing, newest first from 1.
        number: u64,
        /// Subject.
        subject: String,
        /// When it was signed, RFC 3339, UTC.
        published: String,
        /// How many files are attached.
        attachments: u64,
        /// False while body or attachments are still on their way.
        complete: bool,
    },
    /// A channel was written into a file.
    Exported {
        /// Channel id.
        channel: String,
        /// The file.
        file: PathBuf,
        /// Records in it.
        records: u64,
        /// Contents in it.
        contents: u64,
        /// Its size.
        bytes: u64,
    },
    /// A file was taken in.
    Imported {
        /// Channel id.
        channel: String,
        /// The file.
        file: PathBuf,
        /// Public key of whoever wrote it, base32.
        exporter: String,
        /// Whether the channel was not on this node before.
        joined: bool,
        /// Records that were new.
        new: u64,
        /// Records that were here already.
        known: u64,
        /// Records that wait for others that they stand by.
        waiting: u64,
        /// Records that break a rule of the channel, or came too late.
        refused: u64,
        /// Contents that are whole here now.
        contents: u64,
        /// Contents that no record names, or that are being fetched.
        contents_left_out: u64,
    },
    /// A record: listed, published or read.
    Record(Box<RecordView>),
    /// Something happened in a channel that is watched.
    Change {
        /// Channel id.
        channel: String,
        /// Where to go on after this event: [`Request::Watch`].
        cursor: u64,
        /// When it was written down here, RFC 3339; absent if it was not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
        /// What.
        #[serde(flatten)]
        change: Change,
    },
    /// A member took what it was told.
    Told {
        /// Channel id.
        channel: String,
        /// Who.
        peer_id: String,
        /// How much.
        bytes: u64,
    },
    /// What the node has and does.
    Status(Box<Status>),
    /// One connected peer.
    Peer(PeerStatus),
    /// Why a content is not fetched or served faster.
    Explained(Box<Explanation>),
    /// What limits hold, and why.
    Limits(Box<Limits>),
    /// Somebody who answered, and proved to be who was looked for.
    Resolved {
        /// Its public key, base32.
        peer_id: String,
        /// The channel that it is in, if one was asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        channel: Option<String>,
        /// Where it answered.
        addr: String,
        /// How far away that is.
        scope: Scope,
        /// Round-trip time in milliseconds.
        rtt_ms: f64,
    },
    /// Space given back.
    Freed {
        /// Bytes.
        bytes: u64,
        /// Contents removed, by id.
        contents: Vec<String>,
        /// True if this was only a rehearsal.
        dry_run: bool,
    },
    /// This node's identity.
    Id {
        /// Public key, base32.
        peer_id: String,
    },
    /// The node is up.
    Listening {
        /// QUIC address.
        addr: String,
        /// This node's identity.
        peer_id: String,
        /// HTTP address, if on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        http: Option<String>,
        /// Metrics address, if on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        metrics: Option<String>,
    },
    /// Something that the user should know and that stops nothing.
    Warning {
        /// For people.
        message: String,
    },
    /// The request failed. Nothing follows.
    Error {
        /// Which kind of failure.
        kind: ErrorKind,
        /// What happened, to what, and what to do.
        message: String,
    },
    /// The process that was asked gives the data directory up, or cannot do this:
    /// ask again, whoever has the directory then. Nothing follows. On the control
    /// socket only.
    Moved,
    /// The request is done. Nothing follows.
    Done,
}

/// Verified bytes by where they came from, each counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downloaded {
    /// From the seeder that is the record's author.
    pub origin: u64,
    /// From everyone else.
    pub peers: u64,
}

/// A file that belongs to an issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// File name.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// Where it lies on this disk; absent until it has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// The answer to [`Request::Status`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Public key, base32.
    pub peer_id: String,
    /// QUIC address; empty when no node runs.
    pub listen: String,
    /// Version of this program.
    pub version: String,
    /// Seconds since the node started; 0 when none runs.
    pub uptime: u64,
    /// Bytes that the store's own files use.
    pub store_bytes: u64,
    /// Bytes that the store's own files may use.
    pub quota_bytes: u64,
    /// Whether everything is paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Channels held.
    pub channels: Vec<ChannelStatus>,
    /// Contents held or being fetched.
    pub contents: Vec<ContentStatus>,
}

/// One channel in [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Channel id.
    pub id: String,
    /// Display name.
    pub name: String,
    /// `owner`, `subscriber`, `mirror`, `share` or `guest`.
    pub role: String,
    /// Number of records.
    pub records: u64,
    /// Connected members.
    pub neighbours: u64,
    /// Whether two charters contradict each other, and nobody has chosen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forked: bool,
    /// Whether its contents are neither fetched nor served: it or everything is paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Newest release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Where releases appear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<PathBuf>,
    /// How its members and records stand.
    #[serde(default)]
    pub standing: Standing,
}

/// One content in [`Status`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContentStatus {
    /// Content id, the hash of the manifest.
    pub manifest: String,
    /// Name of the file or folder.
    pub name: String,
    /// Bytes in all files.
    pub bytes: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Chunks verified and written.
    pub have: u64,
    /// Whether all are there.
    pub complete: bool,
    /// Where no more than a share of it is kept: that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<ShareStatus>,
    /// Whether it is neither fetched nor served: it, all channels that name it, or
    /// everything is paused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Peers that hold or want it, connected now.
    pub peers: u64,
    /// Bytes a second coming in.
    pub rate_down: u64,
    /// Bytes a second going out.
    pub rate_up: u64,
}

/// What a keeper holds of a content that several keep together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareStatus {
    /// Chunks and parity shards that fall to this node; none where there are more keepers
    /// than places.
    pub chunks: u64,
    /// Those of them that are here.
    pub have: u64,
}

/// One connected peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Public key, base32.
    pub peer_id: String,
    /// Its address as we see it.
    pub addr: String,
    /// `lan` or `wan`.
    pub scope: String,
    /// Round-trip time in milliseconds.
    pub rtt_ms: f64,
    /// Chunk bytes received from it.
    pub received: u64,
    /// Chunk bytes sent to it.
    pub sent: u64,
    /// Channels that both are in, by name.
    pub channels: Vec<String>,
}

/// Kinds of failure; each has an exit status of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// A bug, or something nobody thought of.
    Internal,
    /// The command cannot be carried out as it was given.
    Usage,
    /// The link is damaged, of a newer version, or no link at all.
    Link,
    /// No peer could be reached, or none made progress.
    NoPeer,
    /// Peers sent wrong bytes, and no other source is left.
    BadData,
    /// The content's manifest breaks a rule.
    Manifest,
    /// A record breaks a rule.
    Record,
    /// The disk failed.
    Disk,
    /// There is not enough room.
    NoSpace,
    /// The destination exists with other content.
    Exists,
    /// Another node uses the data directory.
    Locked,
    /// The address to listen on is taken.
    AddressInUse,
    /// The data directory was written by a newer version.
    NewerFormat,
    /// No such channel, content, version or issue.
    NotFound,
    /// A file changed or vanished while it was read.
    Changed,
    /// This identity may not do that.
    Denied,
    /// The user broke it off.
    Interrupted,
}

impl ErrorKind {
    /// The exit status of the command line, 1 to 130.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Link => 3,
            Self::NoPeer => 4,
            Self::BadData => 5,
            Self::Manifest => 6,
            Self::Record => 7,
            Self::Disk => 8,
            Self::NoSpace => 9,
            Self::Exists => 10,
            Self::Locked => 11,
            Self::AddressInUse => 12,
            Self::NewerFormat => 13,
            Self::NotFound => 14,
            Self::Changed => 15,
            Self::Denied => 16,
            Self::Interrupted => 130,
        }
    }
}
