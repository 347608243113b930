//! An owner's word on what time it is. Nodes of owners give it once a day in the
//! channels that they own; every node keeps the latest as a floor, also over restarts.
//!
//! The floor serves checks against old states that are passed off as new, and to tell
//! that this machine's clock is behind. It never ends a record: else one owner could
//! ratchet time forward until everything is gone.

use std::time::Duration;

use samara_graph::{CharterChain, Kind, WallMs, body::TimeFloor, limits::CLOCK_AHEAD};
use samara_store::{Batch, Store};
use samara_wire::ChannelId;

use super::{Core, Role, channel::draft, wall_ms};
use crate::EngineError;

/// Where the floors are kept in the store.
const SETTINGS: &str = "time";
/// How often owners give their word: the floor is that much behind at most while a
/// node of theirs runs.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// How long such a record lives: some thirty of them stand in a channel at most.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The latest time that an owner of a channel vouched for.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    at: WallMs,
    /// What the disk has.
    kept: WallMs,
    /// Whether it was said that this clock is behind.
    warned: bool,
}

impl Floor {
    /// The floor that was kept. Blocks.
    pub(super) fn load(store: &Store, id: &ChannelId) -> Result<Self, EngineError> {
        let bytes = store.setting(SETTINGS, id.as_bytes())?;
        // A damaged one is as good as none: records and charter raise it again.
        let at = bytes.and_then(|b| Some(u64::from_le_bytes(b.try_into().ok()?)));
        let at = WallMs(at.unwrap_or(0));
        Ok(Self {
            at,
            kept: at,
            warned: false,
        })
    }

    /// The time; none if no owner vouched for any.
    pub(crate) fn at(&self) -> Option<WallMs> {
        (self.at > WallMs(0)).then_some(self.at)
    }

    /// Raises it.
    fn raise(&mut self, to: WallMs) {
        self.at = self.at.max(to);
    }

    /// Whether what expires then is over by the owners' word, whatever this clock says.
    pub(crate) fn is_over(&self, expires: WallMs) -> bool {
        expires < self.at
    }

    /// Whether this clock is behind by more than clocks differ.
    pub(crate) fn is_ahead_of(&self, now: WallMs) -> bool {
        self.at > now.after(CLOCK_AHEAD)
    }

    /// Whether an owner should give its word now.
    fn is_due(&self, now: WallMs) -> bool {
        now.since(self.at) >= EVERY
    }

    /// What the disk does not have yet.
    fn unkept(&mut self) -> Option<WallMs> {
        let news = self.at > self.kept;
        self.kept = self.at;
        news.then_some(self.at)
    }

    /// Whether it is to be said, once, that this clock is behind.
    fn warns(&mut self, now: WallMs) -> bool {
        let behind = self.is_ahead_of(now);
        let news = behind && !self.warned;
        self.warned = behind;
        news
    }
}

/// Drops what is kept of a channel.
pub(super) fn remove(batch: &mut Batch, id: ChannelId) {
    batch.remove_setting(SETTINGS, id.as_bytes());
}

impl Core {
    /// Raises the floor by what the records and the charter say, keeps it, and gives
    /// this node's word when it is due.
    pub(super) fn keep_time(&mut self, id: ChannelId) {
        let now = WallMs(wall_ms());
        let (me, resident) = (self.me, self.resident);
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if channel.meta.role == Role::Guest {
            return;
        }
        channel.raise_floor();
        let floor = &mut channel.floor;
        let (unkept, warns) = (floor.unkept(), floor.warns(now));
        let at = floor.at;
        let owns = resident && channel.meta.role == Role::Owner;
        let gives = owns && floor.is_due(now) && channel.graph.can(&me, Kind::TIME, now);
        let name = channel.name().unwrap_or_default();
        if let Some(at) = unkept {
            let mut batch = Batch::new();
            batch.put_setting(SETTINGS, id.as_bytes(), &at.0.to_le_bytes());
            self.store.write_then(batch, super::channels::log_failure);
        }
        if warns {
            self.warn(format!(
                "this machine's clock is wrong: it says {}, and an owner of the channel {name} signed that it was {} or later; set the clock",
                crate::rfc3339::format(now.0),
                crate::rfc3339::format(at.0)
            ));
        }
        if gives {
            let mut draft = draft(Kind::TIME, b"", TimeFloor { at: now }.encode());
            draft.lifetime = KEPT;
            if let Err(error) = self.publish(id, draft, None) {
                tracing::warn!(channel = %id.short(), %error, "the time was not signed");
            }
        }
    }
}

impl super::Channel {
    /// Raises the floor by what the records and the charter say.
    pub(super) fn raise_floor(&mut self) {
        // Whoever signed the charter knew the time too.
        let charter = self.graph.charters().map(CharterChain::current);
        let words = charter.map(|c| c.created).into_iter();
        for word in words.chain(self.graph.time_floor()) {
            self.floor.raise(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallMs = WallMs(1_735_689_600_000);

    #[test]
    fn the_floor_only_rises_and_is_kept_once() {
        let mut floor = Floor::default();
        assert_eq!((floor.at(), floor.unkept()), (None, None));
        floor.raise(NOW);
        floor.raise(WallMs(NOW.0 - 1));
        assert_eq!((floor.at(), floor.unkept()), (Some(NOW), Some(NOW)));
        assert_eq!(floor.unkept(), None);
        assert!(floor.is_over(WallMs(NOW.0 - 1)) && !floor.is_over(NOW));
    }

    #[test]
    fn owners_give_their_word_once_a_day() {
        let mut floor = Floor::default();
        floor.raise(NOW);
        let before = WallMs(NOW.after(EVERY).0 - 1);
        assert!(!floor.is_due(before) && floor.is_due(NOW.after(EVERY)));
        assert!(!floor.is_due(WallMs(0)), "by a clock that was set back");
    }

    #[test]
    fn a_clock_that_is_behind_is_told_of_once_each_time() {
        let mut floor = Floor::default();
        floor.raise(NOW);
        let behind = |ms: u64| WallMs(NOW.0 - CLOCK_AHEAD.as_millis() as u64 - ms);
        assert!(!floor.warns(behind(0)));
        assert!(floor.warns(behind(1)) && !floor.warns(behind(1)));
        assert!(!floor.warns(NOW) && floor.warns(behind(1)));
    }

    #[test]
    fn a_floor_survives_a_restart_and_goes_with_its_channel() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), samara_store::StoreConfig::default()).unwrap();
        let id = ChannelId([1; 32]);
        assert_eq!(Floor::load(&store, &id).unwrap().at(), None);
        let mut batch = Batch::new();
        batch.put_setting(SETTINGS, id.as_bytes(), &NOW.0.to_le_bytes());
        store.write(batch).unwrap();
        let mut floor = Floor::load(&store, &id).unwrap();
        assert_eq!((floor.at(), floor.unkept()), (Some(NOW), None));
        let mut batch = Batch::new();
        remove(&mut batch, id);
        store.write(batch).unwrap();
        assert_eq!(Floor::load(&store, &id).unwrap().at(), None);
    }
}
