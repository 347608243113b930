//! Who is there: leases of presence, in channels whose charter asks for them.
//!
//! A node that may write them signs one that is as long as the charter says and
//! another when half of it is over. Who is present until when is read from the records
//! alone, so all members agree on it but for their clocks.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use samara_graph::{Attributes, Draft, Kind, RecordHeader, Value, WallMs};
use samara_wire::{ChannelId, PeerId, RecordId};

use super::{Core, Live, Role, wall_ms};

/// The attribute that says since when its author has been there without a gap.
const SINCE: &str = "since";

/// Since when and until when somebody is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) since: WallMs,
    pub(crate) until: WallMs,
}

/// Who is present in one channel; as many as members have leases that stand.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    leases: BTreeMap<PeerId, Lease>,
    /// The records of it: they come and go too often to be logged as events.
    records: HashSet<RecordId>,
    /// Not before then this node signs another one.
    next: WallMs,
}

impl Presence {
    /// Takes a lease in that stands; says whether its author is there only now.
    pub(super) fn take(&mut self, header: &RecordHeader, now: WallMs) -> bool {
        self.records.insert(header.id);
        if header.expires <= now {
            return false;
        }
        let claimed = match header.attributes.get(SINCE) {
            Some(Value::Time(since)) => (*since).min(header.created),
            _ => header.created,
        };
        match self.leases.get_mut(&header.author) {
            Some(lease) => {
                lease.since = lease.since.min(claimed);
                lease.until = lease.until.max(header.expires);
                false
            }
            None => {
                let lease = Lease {
                    since: claimed,
                    until: header.expires,
                };
                self.leases.insert(header.author, lease);
                true
            }
        }
    }

    /// A lease is written, and may not stand.
    pub(super) fn note(&mut self, id: RecordId) {
        self.records.insert(id);
    }

    /// A record went; says whether it was a lease.
    pub(super) fn forget(&mut self, id: &RecordId) -> bool {
        self.records.remove(id)
    }

    /// Somebody has no right to be here any more; says whether it was present.
    pub(super) fn expel(&mut self, peer: &PeerId) -> bool {
        self.leases.remove(peer).is_some()
    }

    /// Takes out those whose lease has ended.
    pub(super) fn lapsed(&mut self, now: WallMs) -> Vec<PeerId> {
        let over = self.leases.iter().filter(|(_, lease)| lease.until <= now);
        let over: Vec<PeerId> = over.map(|(peer, _)| *peer).collect();
        for peer in &over {
            self.leases.remove(peer);
        }
        over
    }

    /// The lease of somebody who is present.
    pub(crate) fn of(&self, peer: &PeerId, now: WallMs) -> Option<Lease> {
        let lease = self.leases.get(peer)?;
        (lease.until > now).then_some(*lease)
    }

    /// How many are present.
    pub(crate) fn count(&self, now: WallMs) -> usize {
        let there = |lease: &&Lease| lease.until > now;
        self.leases.values().filter(there).count()
    }

    /// Whether this node should sign a lease now, and since when it has been there; not
    /// asked again before half of `length` is over, whatever becomes of it.
    fn due(&mut self, me: &PeerId, length: Duration, now: WallMs) -> Option<WallMs> {
        let own = self.of(me, now);
        let half = own.is_none_or(|own| own.until.since(now) <= length / 2);
        // A clock that was set back must not keep it from being signed for long.
        let waits = self.next > now && self.next.since(now) <= length / 2;
        if !half || waits {
            return None;
        }
        self.next = now.after(length / 2);
        Some(own.map_or(now, |own| own.since))
    }
}

impl Core {
    /// Tells who went, and signs a lease for this node when it is time.
    pub(super) fn keep_present(&mut self, id: ChannelId) {
        let now = WallMs(wall_ms());
        let (me, resident) = (self.me, self.resident);
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let gone = channel.presence.lapsed(now);
        let asked = resident && channel.meta.role != Role::Guest;
        let may = |c: &super::Channel| asked && c.graph.can(&me, Kind::PRESENCE, now);
        let length = channel.graph.presence_lease().filter(|_| may(channel));
        let due = length.and_then(|length| Some((length, channel.presence.due(&me, length, now)?)));
        for peer in gone {
            self.news.tell(id, Live::Absent(peer));
        }
        let Some((length, since)) = due else { return };
        let since = [(SINCE.to_owned(), Value::Time(since))];
        let draft = Draft {
            kind: Kind::PRESENCE,
            key: Default::default(),
            attributes: Attributes::new(since).expect("one name"),
            body: Default::default(),
            lifetime: length,
            priority: 0,
        };
        if let Err(error) = self.publish(id, draft, None) {
            tracing::debug!(channel = %id.short(), %error, "no lease of presence");
        }
    }

    /// A lease arrived, or was signed here.
    pub(super) fn on_lease(&mut self, id: ChannelId, header: &RecordHeader) {
        if let Some(channel) = self.channels.get_mut(&id)
            && channel.presence.take(header, WallMs(wall_ms()))
        {
            self.news.tell(id, Live::Present(header.author));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const START: WallMs = WallMs(1_735_689_600_000);

    fn lease(author: u8, created: WallMs, length: Duration, since: Option<WallMs>) -> RecordHeader {
        let since = since.map(|at| (SINCE.to_owned(), Value::Time(at)));
        RecordHeader {
            id: RecordId(blake3::hash(&[&[author][..], &created.0.to_le_bytes()].concat()).into()),
            author: PeerId([author; 32]),
            kind: Kind::PRESENCE,
            seq: created.0,
            created,
            expires: created.after(length),
            priority: 0,
            len: 100,
            key: [].into(),
            attributes: Attributes::new(since).unwrap(),
            control: None,
        }
    }

    #[test]
    fn who_renews_stays_and_who_does_not_goes() {
        let mut presence = Presence::default();
        let (kept, left) = (PeerId([1; 32]), PeerId([2; 32]));
        let at = |minutes: u32| START.after(MINUTE * minutes);
        assert!(presence.take(&lease(1, at(0), 4 * MINUTE, None), at(0)));
        assert!(presence.take(&lease(2, at(0), 4 * MINUTE, None), at(0)));
        assert!(!presence.take(&lease(1, at(2), 4 * MINUTE, Some(at(0))), at(2)));
        assert_eq!(presence.count(at(3)), 2);
        assert_eq!(presence.lapsed(at(4)), [left]);
        assert_eq!(presence.lapsed(at(4)), []);
        let expected = Lease {
            since: at(0),
            until: at(6),
        };
        assert_eq!(presence.of(&kept, at(5)), Some(expected));
        assert_eq!(presence.of(&kept, at(6)), None);
        // One that comes late is nobody's arrival.
        assert!(!presence.take(&lease(2, at(1), 4 * MINUTE, None), at(5)));
    }

    #[test]
    fn a_lease_is_signed_when_half_of_it_is_over_and_since_when_goes_on() {
        let mut presence = Presence::default();
        let (me, length) = (PeerId([1; 32]), 4 * MINUTE);
        let at = |minutes: u32| START.after(MINUTE * minutes);
        assert_eq!(presence.due(&me, length, at(0)), Some(at(0)));
        assert_eq!(presence.due(&me, length, at(0)), None, "it is on its way");
        presence.take(&lease(1, at(0), length, Some(at(0))), at(0));
        assert_eq!(presence.due(&me, length, at(1)), None);
        assert_eq!(presence.due(&me, length, at(2)), Some(at(0)));
        // It was not to be: asked again after half a lease, and there since then only.
        assert_eq!(presence.due(&me, length, at(3)), None);
        assert_eq!(presence.due(&me, length, at(4)), Some(at(4)));
        // The clock is set back by a year.
        let back = WallMs(START.0 - 365 * 86_400_000);
        presence.lapsed(at(9));
        assert_eq!(presence.due(&me, length, back), Some(back));
    }

    #[test]
    fn since_when_is_not_later_than_the_lease() {
        let mut presence = Presence::default();
        let later = START.after(MINUTE);
        presence.take(&lease(1, START, 4 * MINUTE, Some(later)), START);
        let lease = presence.of(&PeerId([1; 32]), START).unwrap();
        assert_eq!(lease.since, START);
    }
}
