use samara_wire::{ChannelId, RecordId};

/// Changes to the index that become durable together, or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) ops: Vec<Op>,
}

#[derive(Debug)]
pub(crate) enum Op {
    PutCharter(ChannelId, Vec<u8>),
    RemoveChannel(ChannelId),
    PutRecord(ChannelId, RecordId, Vec<u8>, Vec<u8>),
    RemoveRecord(ChannelId, RecordId),
    PutSetting(String, Vec<u8>, Vec<u8>),
    RemoveSetting(String, Vec<u8>),
}

impl Batch {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the charter (or chain of charters) of a channel, instead of what
    /// was kept before.
    pub fn put_charter(&mut self, channel: &ChannelId, bytes: &[u8]) -> &mut Self {
        self.ops.push(Op::PutCharter(*channel, bytes.to_vec()));
        self
    }

    /// Removes a channel's charter and all its records.
    pub fn remove_channel(&mut self, channel: &ChannelId) -> &mut Self {
        self.ops.push(Op::RemoveChannel(*channel));
        self
    }

    /// Keeps a record. `head` is whatever the caller wants to read of every
    /// record at start-up without loading the records themselves.
    pub fn put_record(
        &mut self,
        channel: &ChannelId,
        id: &RecordId,
        head: &[u8],
        bytes: &[u8],
    ) -> &mut Self {
        self.ops
            .push(Op::PutRecord(*channel, *id, head.to_vec(), bytes.to_vec()));
        self
    }

    /// Removes a record; nothing happens if it is not there.
    pub fn remove_record(&mut self, channel: &ChannelId, id: &RecordId) -> &mut Self {
        self.ops.push(Op::RemoveRecord(*channel, *id));
        self
    }

    /// Keeps a value of at most
    /// [`MAX_SETTING_BYTES`](crate::limits::MAX_SETTING_BYTES) under a key of a
    /// namespace (the caller's choice of a word).
    pub fn put_setting(&mut self, namespace: &str, key: &[u8], value: &[u8]) -> &mut Self {
        self.ops.push(Op::PutSetting(
            namespace.to_owned(),
            key.to_vec(),
            value.to_vec(),
        ));
        self
    }

    /// Removes a key; nothing happens if it is not there.
    pub fn remove_setting(&mut self, namespace: &str, key: &[u8]) -> &mut Self {
        self.ops
            .push(Op::RemoveSetting(namespace.to_owned(), key.to_vec()));
        self
    }

    /// Whether there is no change in it.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}
