//! What people ordered while the node ran: kept in the store, counts before the
//! configuration, until it is taken back.

use std::collections::{BTreeMap, BTreeSet};

use samara_store::{Batch, Store};
use samara_wire::{ChannelId, ContentId};
use serde::{Deserialize, Serialize};

use super::{Rates, UploadPolicy};
use crate::{EngineError, engine::NODE_SETTINGS};

/// Where they stand among the node's settings.
const KEY: &[u8] = b"orders";

/// Most of the channels and contents that are paused, or limited, one by one: all of it
/// is one setting of the store.
pub(crate) const MAX_NAMED: usize = 1024;

/// All orders that hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Orders {
    pub(crate) rates: Rates,
    /// By the channel's id.
    pub(crate) channels: BTreeMap<String, Rates>,
    pub(crate) leech: Option<bool>,
    pub(crate) no_wan: Option<bool>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) upload_slots: Option<usize>,
    pub(crate) upload_policy: Option<UploadPolicy>,
    pub(crate) paused: Paused,
}

impl Orders {
    /// What was kept; nothing, if it does not read back. Blocks.
    pub(crate) fn load(store: &Store) -> Result<Self, EngineError> {
        let Some(bytes) = store.setting(NODE_SETTINGS, KEY)? else {
            return Ok(Self::default());
        };
        // Better no orders than no node.
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, "the orders about limits do not read back");
            Self::default()
        }))
    }

    /// Takes back what was ordered of a channel, by its id; of the node and all channels
    /// where none is named. Pauses stay.
    pub(crate) fn reset(&mut self, channel: Option<&str>) {
        match channel {
            Some(channel) => drop(self.channels.remove(channel)),
            None => {
                *self = Self {
                    paused: std::mem::take(&mut self.paused),
                    ..Self::default()
                }
            }
        }
    }

    /// Has them kept; the next write that is waited for is after that.
    pub(crate) fn keep(&self, store: &Store) {
        let text = serde_json::to_vec(self).expect("orders are plain data");
        let mut batch = Batch::new();
        batch.put_setting(NODE_SETTINGS, KEY, &text);
        store.write_then(batch, |result| {
            if let Err(error) = result {
                tracing::warn!(%error, "the orders about limits were not kept");
            }
        });
    }
}

/// What is neither fetched nor served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Paused {
    pub(crate) all: bool,
    /// By id.
    pub(crate) channels: BTreeSet<String>,
    /// By id.
    pub(crate) contents: BTreeSet<String>,
}

impl Paused {
    /// Whether a channel is.
    pub(crate) fn has_channel(&self, channel: &ChannelId) -> bool {
        self.all || !self.channels.is_empty() && self.channels.contains(&channel.to_string())
    }

    /// Whether a content is that these channels name.
    pub(crate) fn has<'a>(
        &self,
        content: &ContentId,
        channels: impl IntoIterator<Item = &'a ChannelId>,
    ) -> bool {
        if self.all || !self.contents.is_empty() && self.contents.contains(&content.to_string()) {
            return true;
        }
        let mut channels = channels.into_iter().peekable();
        !self.channels.is_empty()
            && channels.peek().is_some()
            && channels.all(|channel| self.has_channel(channel))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Cap, Line};

    #[test]
    fn a_content_rests_when_all_its_channels_do() {
        let (a, b) = (ChannelId([1; 32]), ChannelId([2; 32]));
        let content = ContentId([3; 32]);
        let mut paused = Paused::default();
        assert!(!paused.has(&content, [&a, &b]));
        paused.channels.insert(a.to_string());
        assert!(paused.has(&content, [&a]) && !paused.has(&content, [&a, &b]));
        assert!(!paused.has(&content, []));
        paused.contents.insert(content.to_string());
        assert!(paused.has(&content, [&b]) && paused.has(&content, []));
        assert!(!paused.has(&ContentId([4; 32]), [&b]));
        paused = Paused {
            all: true,
            ..Paused::default()
        };
        assert!(paused.has(&content, []) && paused.has_channel(&b));
    }

    #[test]
    fn a_channel_is_reset_alone() {
        let rates = || Rates::from([(Line::Up, Cap::At(50_000))]);
        let mut paused = Paused::default();
        paused.channels.insert("a".into());
        let mut orders = Orders {
            rates: rates(),
            channels: ["a", "b"].map(|id| (id.to_owned(), rates())).into(),
            leech: Some(true),
            paused: paused.clone(),
            ..Orders::default()
        };
        let mut left = orders.clone();
        left.channels.remove("a");
        orders.reset(Some("a"));
        assert_eq!(orders, left);
        orders.reset(Some("c"));
        assert_eq!(orders, left);
        orders.reset(None);
        let none = Orders {
            paused,
            ..Orders::default()
        };
        assert_eq!(orders, none);
    }

    #[test]
    fn orders_of_other_versions_are_understood() {
        let orders: Orders =
            serde_json::from_str(r#"{"leech":true,"upload_policy":"average","of_later":1}"#)
                .unwrap();
        assert_eq!(orders.leech, Some(true));
        assert_eq!(orders.upload_policy, Some(UploadPolicy::Average));
        let text = serde_json::to_string(&orders).unwrap();
        assert_eq!(serde_json::from_str::<Orders>(&text).unwrap(), orders);
    }
}
