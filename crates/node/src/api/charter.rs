use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A channel's charters: [`Request::Charter`](super::Request::Charter).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CharterView {
    /// Channel id.
    pub channel: String,
    /// The charter in force.
    #[serde(flatten)]
    pub terms: Terms,
    /// Every version, the first first.
    pub versions: Vec<CharterVersion>,
    /// The charter that contradicts ours, until somebody has chosen between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork: Option<ForkView>,
}

/// What one charter says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// 1 for the first.
    pub version: u32,
    /// Hash of its body, base32.
    pub hash: String,
    /// When it was written, RFC 3339, UTC.
    pub created: String,
    /// The channel's name.
    pub name: String,
    /// Who may change the charter.
    pub roots: Vec<String>,
    /// How many of them it takes. One: each is an owner. More: authority begins with
    /// the admins.
    pub threshold: u8,
    /// Admins that the charter names.
    pub admins: Vec<String>,
    /// Owners and admins of earlier charters, of whom records stay.
    pub former: Vec<FormerView>,
    /// `everyone` or `members`.
    pub readers: String,
    /// `named` or `members`.
    pub publishers: String,
    /// Those that are named.
    pub named_publishers: Vec<String>,
    /// Largest record in bytes.
    pub record_bytes: u32,
    /// Ordinary records of one author.
    pub records_per_author: u32,
    /// Ordinary records of the channel.
    pub records_total: u32,
    /// Longest life of a record, in whole seconds, rounded up.
    pub lifetime: u64,
    /// Average chunk size that all contents are cut with, if it is fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_bytes: Option<u32>,
    /// Longest lease of a member's presence, likewise; absent: no presence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<u64>,
    /// Whether what ends while a node is off the network stays readable there.
    pub deferred_expiry: bool,
    /// Whether members may announce the channel beyond their site.
    pub announced: bool,
}

/// Somebody whom an earlier charter named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerView {
    /// Who.
    pub peer_id: String,
    /// As what; who was both is there twice.
    pub role: String,
    /// How many of the records that it wrote as that stay.
    pub kept: usize,
}

/// One version in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharterVersion {
    /// 1 for the first.
    pub version: u32,
    /// Hash of its body, base32.
    pub hash: String,
    /// When it was written, RFC 3339, UTC.
    pub created: String,
    /// Who signed it.
    pub signers: Vec<String>,
}

/// Two charters of one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForkView {
    /// Hash of the one that is held here, or that the link named.
    pub ours: String,
    /// The other one.
    pub theirs: Terms,
    /// Who signed the other one.
    pub signers: Vec<String>,
}

/// A new charter on its way from root to root.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DraftView {
    /// Where it is.
    pub file: PathBuf,
    /// Channel id; absent for a first charter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// What it says.
    #[serde(flatten)]
    pub terms: Terms,
    /// In what it differs from the charter before it.
    pub changes: Vec<TermChange>,
    /// Who has signed.
    pub signers: Vec<String>,
    /// Roots, old and new, that have not. Not all of them need to.
    pub unsigned: Vec<String>,
    /// How many more signatures it takes at least.
    pub missing: u32,
}

/// One difference between two charters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermChange {
    /// Which term, for people.
    pub term: String,
    /// What it was; absent where something is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it becomes; absent where something is taken away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What a new charter changes; whatever is not named stays as it is. People are named
/// by whole ids, and those that the charter has, by the beginning of one too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CharterEdit {
    /// The channel's name.
    pub name: Option<String>,
    /// Keys that may change the charter.
    pub add_roots: Vec<String>,
    /// The same no more.
    pub remove_roots: Vec<String>,
    /// How many of them it takes.
    pub threshold: Option<u8>,
    /// Admins.
    pub add_admins: Vec<String>,
    /// The same no more.
    pub remove_admins: Vec<String>,
    /// `everyone` or `members`.
    pub readers: Option<String>,
    /// `named` or `members`.
    pub publishers: Option<String>,
    /// Named publishers.
    pub add_publishers: Vec<String>,
    /// The same no more.
    pub remove_publishers: Vec<String>,
    /// Those of whom nothing is to stay that they wrote as owners or admins.
    pub disown: Vec<String>,
    /// Largest record in bytes.
    pub record_bytes: Option<u64>,
    /// Ordinary records of one author.
    pub records_per_author: Option<u32>,
    /// Ordinary records of the channel.
    pub records_total: Option<u32>,
    /// Longest life of a record, in milliseconds.
    pub lifetime_ms: Option<u64>,
    /// Longest lease of a member's presence, in milliseconds; 0: no presence.
    pub presence_ms: Option<u64>,
    /// Whether what ends while a node is off the network stays readable there.
    pub deferred_expiry: Option<bool>,
    /// Whether members may announce the channel beyond their site.
    pub announced: Option<bool>,
}
