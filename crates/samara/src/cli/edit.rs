//! What `samara channel edit` changes.

use std::time::Duration;

use clap::Args;
use samara_node::api::CharterEdit;

use crate::quantity::{parse_lifetime, parse_size};

/// The changes; whatever is not given stays as it is.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Changes")]
pub(crate) struct EditArgs {
    /// The channel's name
    #[arg(long)]
    name: Option<String>,
    /// Key that may change the charter from now on; may be given several times, as all of these
    #[arg(long, value_name = "ID")]
    add_root: Vec<String>,
    /// Key that may change it no more; the beginning of the id is enough
    #[arg(long, value_name = "ID")]
    remove_root: Vec<String>,
    /// How many of the roots a change takes; from 2 on no root decides anything alone
    #[arg(long, value_name = "K")]
    threshold: Option<u8>,
    /// Who may invite, give roles and revoke
    #[arg(long, value_name = "ID")]
    add_admin: Vec<String>,
    /// The same no more; what it granted and revoked until now stays
    #[arg(long, value_name = "ID")]
    remove_admin: Vec<String>,
    /// Undo all that somebody wrote as an owner or admin, who is that no more, now or since before
    #[arg(long, value_name = "ID")]
    disown: Vec<String>,
    /// Who may read: everyone or members; members also turns --announced off
    #[arg(long, value_name = "WHO")]
    readers: Option<String>,
    /// Who may publish: all members, or those that are named
    #[arg(long, value_name = "members|named")]
    publishers: Option<String>,
    /// Named publisher
    #[arg(long, value_name = "ID")]
    add_publisher: Vec<String>,
    /// The same no more: its records go
    #[arg(long, value_name = "ID")]
    remove_publisher: Vec<String>,
    /// Largest record, 1 KiB to 64 KiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    record_size: Option<u64>,
    /// Records of one author that are kept, the newest
    #[arg(long, value_name = "N")]
    records_per_author: Option<u32>,
    /// Records of the channel that are kept
    #[arg(long, value_name = "N")]
    records_total: Option<u32>,
    /// Longest life of a record: 90d, 10y
    #[arg(long, value_name = "TIME", value_parser = parse_lifetime)]
    lifetime: Option<Duration>,
    /// Longest lease of a member's presence, 10s to 24h, or `off`
    #[arg(long, value_name = "TIME|off", value_parser = parse_presence)]
    presence: Option<Duration>,
    /// Keep what ends while a node is off the network until it is back: on or off
    #[arg(long, value_name = "on|off", value_parser = parse_switch)]
    deferred_expiry: Option<bool>,
    /// Let members announce the channel in the DHT: on or off
    #[arg(long, value_name = "on|off", value_parser = parse_switch)]
    announced: Option<bool>,
}

impl From<EditArgs> for CharterEdit {
    fn from(edit: EditArgs) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            name: edit.name,
            add_roots: edit.add_root,
            remove_roots: edit.remove_root,
            threshold: edit.threshold,
            add_admins: edit.add_admin,
            remove_admins: edit.remove_admin,
            readers: edit.readers,
            publishers: edit.publishers,
            add_publishers: edit.add_publisher,
            remove_publishers: edit.remove_publisher,
            disown: edit.disown,
            record_bytes: edit.record_size,
            records_per_author: edit.records_per_author,
            records_total: edit.records_total,
            lifetime_ms: edit.lifetime.map(millis),
            presence_ms: edit.presence.map(millis),
            deferred_expiry: edit.deferred_expiry,
            announced: edit.announced,
        }
    }
}

fn parse_presence(text: &str) -> Result<Duration, String> {
    match text {
        "off" => Ok(Duration::ZERO),
        _ => parse_lifetime(text),
    }
}

fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("neither `on` nor `off`".to_owned()),
    }
}
