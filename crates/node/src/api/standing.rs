use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a channel's members and records stand, in a
/// [`ChannelStatus`](super::ChannelStatus). What is counted counts since the node
/// started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Identities with a role, as far as is known here.
    pub members: u64,
    /// Those that are present by their leases; absent where the charter has no presence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub present: Option<u64>,
    /// Whether everything of some member's was here once since the node started.
    pub synchronized: bool,
    /// Bytes of the records.
    pub record_bytes: u64,
    /// Records that wait for the right of their authors to write them.
    pub waiting: u64,
    /// Records that waited so and made room for others.
    pub crowded_out: u64,
    /// Records that were not taken, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Records that were taken and gave way to others, since there were more than the
    /// charter allows their author, or the channel as a whole.
    pub displaced: u64,
    /// Whose records were not taken or not kept, the most first, at most 64.
    pub offenders: Vec<OffenderStatus>,
    /// The latest time that an owner vouched for, RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_floor: Option<String>,
    /// Whether this machine's clock is behind that.
    pub clock_behind: bool,
    /// Why this node takes no part in the channel: `revoked`; `ended`, its role in a private
    /// channel is over; `no_role`, it never had one there; `refused`, peers answer, and none
    /// talks of the channel with this node: it was revoked, or they carry the channel no
    /// more. Absent if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shut_out: Option<String>,
}

/// Somebody whose records were not taken or not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffenderStatus {
    /// Public key, base32.
    pub peer_id: String,
    /// How many records.
    pub records: u64,
    /// The same by reason: those of `samara_records_rejected_total`, `displaced` and
    /// `crowded_out`.
    pub reasons: BTreeMap<String, u64>,
}
