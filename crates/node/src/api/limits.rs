use serde::{Deserialize, Serialize};

use crate::limit::{Line, UploadPolicy};

/// The answer to [`Request::Limit`](super::Request::Limit), `Pause` and `Resume`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// The node's lines, and those of channels that are limited.
    pub rates: Vec<LimitStatus>,
    /// Whether it fetches and never serves.
    pub leech: bool,
    /// Whether it has no connections beyond the local network.
    pub no_wan: bool,
    /// Connections that there may be at once.
    pub max_connections: u64,
    /// Peers that may be served at once.
    pub upload_slots: u64,
    /// Whom it serves first.
    #[serde(default)]
    pub upload_policy: UploadPolicy,
    /// Whether everything is paused.
    pub paused: bool,
    /// Channels that are paused one by one, by name, or by id where the name is not known.
    pub paused_channels: Vec<String>,
    /// Contents that are paused one by one, by id.
    pub paused_contents: Vec<String>,
}

/// One line in [`Limits`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LimitStatus {
    /// Name of the channel that it is of; absent for the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// What is limited.
    pub line: Line,
    /// Bytes a second; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Who set it: `command`, `hours`, `configuration` or `default`.
    pub why: String,
    /// Of hours: the time of the day at which they end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}
