//! The names that a channel is looked for under, on the local network and in the
//! DHT. Who does not know the channel's id learns nothing from them; a private
//! channel's change daily, so that they cannot be followed over time either.

use samara_wire::ChannelId;

/// Contexts of BLAKE3's key derivation.
const SECRET_CONTEXT: &str = "samara discovery secret v1";
const OPEN_CONTEXT: &str = "samara open channel name v1";
/// What a day's name is for, in front of the day.
const LAN_DOMAIN: &[u8] = b"samara lan name v1\0";
const DHT_DOMAIN: &[u8] = b"samara dht info hash v1\0";
/// Milliseconds of a UTC day.
const DAY_MS: u64 = 24 * 3600 * 1000;
/// So long before and after midnight the neighbouring day's names count as well:
/// clocks differ, and an announcement outlives the day that it was made on.
const MIDNIGHT_MS: u64 = 3600 * 1000;

/// A UTC day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Day(pub(crate) u64);

impl Day {
    /// The day of a wall clock's time in milliseconds since 1970.
    pub(crate) fn of(wall_ms: u64) -> Self {
        Self(wall_ms / DAY_MS)
    }

    /// The days whose names count at a time: today, and around midnight the day on
    /// its other side.
    pub(crate) fn around(wall_ms: u64) -> impl Iterator<Item = Self> {
        let today = Self::of(wall_ms);
        let since = wall_ms % DAY_MS;
        let other = if since < MIDNIGHT_MS {
            today.0.checked_sub(1)
        } else if since >= DAY_MS - MIDNIGHT_MS {
            Some(today.0 + 1)
        } else {
            None
        };
        std::iter::once(today).chain(other.map(Self))
    }

    /// The days under which members may still be found in the DHT: announcements
    /// made before midnight stay where they are.
    pub(crate) fn announced(wall_ms: u64) -> impl Iterator<Item = Self> {
        let today = Self::of(wall_ms);
        let yesterday = today.0.checked_sub(1).map(Self);
        let around = Self::around(wall_ms).filter(move |day| *day > today);
        std::iter::once(today).chain(yesterday).chain(around)
    }
}

/// What a channel is called on the local network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LanName(pub(crate) [u8; 16]);

/// A target of BEP 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct InfoHash(pub(crate) [u8; 20]);

/// From what all daily names of a channel are derived. Known to whoever knows the
/// channel's id, and to nobody else.
#[derive(Clone, Copy)]
pub(crate) struct DiscoverySecret([u8; 32]);

impl DiscoverySecret {
    /// The secret of a channel.
    pub(crate) fn of(channel: &ChannelId) -> Self {
        Self(blake3::derive_key(SECRET_CONTEXT, channel.as_bytes()))
    }

    /// What a private channel is called on the local network on a day.
    pub(crate) fn lan_name(&self, day: Day) -> LanName {
        LanName(self.daily(LAN_DOMAIN, day))
    }

    /// Under what members announce themselves in the DHT on a day.
    pub(crate) fn info_hash(&self, day: Day) -> InfoHash {
        InfoHash(self.daily(DHT_DOMAIN, day))
    }

    /// The first bytes of BLAKE3, keyed, over the domain and the day.
    fn daily<const N: usize>(&self, domain: &[u8], day: Day) -> [u8; N] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(domain).update(&day.0.to_le_bytes());
        let mut name = [0; N];
        hasher.finalize_xof().fill(&mut name);
        name
    }
}

/// What an open channel is called on the local network, always.
pub(crate) fn open_lan_name(channel: &ChannelId) -> LanName {
    let hash = blake3::derive_key(OPEN_CONTEXT, channel.as_bytes());
    let (name, _) = hash.split_first_chunk().expect("32 bytes");
    LanName(*name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: ChannelId = ChannelId([0x11; 32]);

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_names_are_those_of_the_protocol() {
        let secret = DiscoverySecret::of(&CHANNEL);
        let day = Day::of(1_735_689_600_000);
        assert_eq!(day, Day(20_089));
        assert_eq!(hex(&secret.0), SECRET);
        assert_eq!(hex(&open_lan_name(&CHANNEL).0), OPEN);
        assert_eq!(hex(&secret.lan_name(day).0), LAN);
        assert_eq!(hex(&secret.info_hash(day).0), DHT);
    }

    // Made with `b3sum --derive-key` and `b3sum --keyed`.
    const SECRET: &str = "af2813f0d2a746de3569d5d708cd8de6b82d929abbff830bbd8c8c80e0b67586";
    const OPEN: &str = "099c2cbfe524649ba1c20f202e24b5f5";
    const LAN: &str = "151da76f1c009c77eb7af8fc9bdda95e";
    const DHT: &str = "52667a19ddd785d9db9ae40d88eecbdf8bf98e68";

    #[test]
    fn no_two_names_are_alike() {
        let mut names = std::collections::HashSet::new();
        for channel in [CHANNEL, ChannelId([0x12; 32])] {
            let secret = DiscoverySecret::of(&channel);
            assert!(names.insert(open_lan_name(&channel).0));
            for day in [Day(0), Day(1), Day(256)] {
                assert!(names.insert(secret.lan_name(day).0));
                let hash = secret.info_hash(day).0;
                assert!(names.insert(*hash.first_chunk().unwrap()));
            }
        }
    }

    #[test]
    fn around_midnight_two_days_count() {
        let midnight = 20_090 * DAY_MS;
        let days = |at| Day::around(at).map(|day| day.0).collect::<Vec<_>>();
        assert_eq!(days(midnight - MIDNIGHT_MS - 1), [20_089]);
        assert_eq!(days(midnight - MIDNIGHT_MS), [20_089, 20_090]);
        assert_eq!(days(midnight - 1), [20_089, 20_090]);
        assert_eq!(days(midnight), [20_090, 20_089]);
        assert_eq!(days(midnight + MIDNIGHT_MS - 1), [20_090, 20_089]);
        assert_eq!(days(midnight + MIDNIGHT_MS), [20_090]);
        assert_eq!(days(0), [0]);
    }

    #[test]
    fn yesterdays_announcements_are_looked_up_all_day() {
        let midnight = 20_090 * DAY_MS;
        let days = |at| Day::announced(at).map(|day| day.0).collect::<Vec<_>>();
        assert_eq!(days(midnight + DAY_MS / 2), [20_090, 20_089]);
        assert_eq!(days(midnight), [20_090, 20_089]);
        assert_eq!(days(midnight - 1), [20_089, 20_088, 20_090]);
        assert_eq!(days(0), [0]);
    }
}
