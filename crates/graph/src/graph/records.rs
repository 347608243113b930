use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use negentropy::{Id, NegentropyStorageVector};
use samara_wire::{PeerId, RecordId};

use super::{Bucket, Reject, RemoveReason, Verdict};
use crate::{Attributes, Charter, Kind, Publishers, RecordHeader, Summary, WallMs, limits};

/// The records that are held, and the rules which of them stand.
///
/// Every rule says which of two records beats the other, by what both of them say
/// and never by which came first; and no chain of "beats" leads back to its start,
/// so that copies which exchange what they hold end up alike:
///
/// 1. Control records first. Of two with one author and sequence the lower id
///    stands; of more than [`limits::MAX_CONTROL_PER_AUTHOR`] the lowest sequences
///    stand, so that nothing later displaces a retraction. Nothing ordinary beats one.
/// 2. Then ordinary records: a control record of the same sequence beats them, and a
///    retraction that covers them; of two with one sequence the lower id stands; of
///    more than the charter allows an author, its highest sequences.
/// 3. Then the channel's total: who is no root gives way to who is, then the author
///    with the most records loses its lowest sequence, and of equals the higher id.
#[derive(Debug, Default)]
pub(super) struct Records {
    headers: BTreeMap<RecordId, RecordHeader>,
    authors: BTreeMap<PeerId, Author>,
    /// Not expired by the clock of the last [`advance`](Self::advance); in the order
    /// of reconciliation.
    live: BTreeSet<(WallMs, RecordId)>,
    /// Expired, held for the grace period: not sent, not counted.
    fading: BTreeSet<(WallMs, RecordId)>,
    ordinary: usize,
    bytes: u64,
    /// Sum of the ids of `live`, modulo 2^256.
    sum: [u64; 4],
    snapshot: Option<NegentropyStorageVector>,
}

#[derive(Debug, Default)]
struct Author {
    control: BTreeMap<u64, RecordId>,
    ordinary: BTreeMap<u64, RecordId>,
    retractions: BTreeSet<RecordId>,
    equivocated: bool,
    eager: Option<Bucket>,
}

impl Author {
    fn at(&self, seq: u64) -> Option<&RecordId> {
        self.control.get(&seq).or_else(|| self.ordinary.get(&seq))
    }

    fn shelf(&mut self, kind: Kind) -> &mut BTreeMap<u64, RecordId> {
        match kind.is_control() {
            true => &mut self.control,
            false => &mut self.ordinary,
        }
    }
}

pub(super) type Removed = Vec<(RecordId, RemoveReason)>;

impl Records {
    pub(super) fn len(&self) -> usize {
        self.headers.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn get(&self, id: &RecordId) -> Option<&RecordHeader> {
        self.headers.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RecordHeader> {
        self.headers.values()
    }

    /// The header, unless the record has expired and must not be sent.
    pub(super) fn live(&self, id: &RecordId) -> Option<&RecordHeader> {
        self.get(id)
            .filter(|h| self.live.contains(&(h.expires, h.id)))
    }

    pub(super) fn of_author(&self, author: &PeerId) -> impl Iterator<Item = &RecordHeader> {
        let author = self.authors.get(author);
        author
            .into_iter()
            .flat_map(|a| a.control.values().chain(a.ordinary.values()))
            .map(|id| &self.headers[id])
    }

    pub(super) fn equivocators(&self) -> Vec<PeerId> {
        let marked = self.authors.iter().filter(|(_, a)| a.equivocated);
        marked.map(|(peer, _)| *peer).collect()
    }

    /// Notes that an author signed two records of one sequence.
    pub(super) fn mark(&mut self, author: &PeerId) {
        if let Some(author) = self.authors.get_mut(author) {
            author.equivocated = true;
        }
    }

    /// Whether another record of this author may be flooded whole.
    pub(super) fn may_push(&mut self, author: &PeerId, mono: Duration) -> bool {
        let Some(author) = self.authors.get_mut(author) else {
            return false;
        };
        author
            .eager
            .get_or_insert_with(|| Bucket::new(limits::EAGER_BURST, limits::EAGER_RATE, mono))
            .take(1, mono)
    }

    /// What the rules say to a record that is not held, beside the records that are.
    pub(super) fn judge(&self, charter: &Charter, h: &RecordHeader) -> Result<(), Reject> {
        match admit(charter, h) {
            Verdict::Valid => {}
            Verdict::Invalid(reject) => return Err(reject),
            Verdict::Deferred => return Err(Reject::NotPublisher),
        }
        let none = Author::default();
        let author = self.authors.get(&h.author).unwrap_or(&none);
        if author.retractions.iter().any(|r| self.covers(r, h)) {
            return Err(Reject::Retracted);
        }
        let rival = author.at(h.seq).map(|id| &self.headers[id]);
        if rival.is_some_and(|rival| precedence(rival) < precedence(h)) {
            return Err(Reject::Equivocation);
        }
        let replaces = |control| rival.is_some_and(|r| r.kind.is_control() == control);
        if h.kind.is_control() {
            let full = author.control.len() >= limits::MAX_CONTROL_PER_AUTHOR;
            let last = author.control.last_key_value().map(|(seq, _)| *seq);
            return match full && !replaces(true) && Some(h.seq) > last {
                true => Err(Reject::Quota),
                false => Ok(()),
            };
        }
        if replaces(false) {
            return Ok(());
        }
        let lowest = author.ordinary.first_key_value().map(|(seq, _)| *seq);
        let is_lowest = lowest.is_none_or(|lowest| h.seq < lowest);
        let count = author.ordinary.len() + 1;
        let too_many = count > charter.limits.records_per_author as usize;
        let over = self.ordinary + 1 > charter.limits.records_total as usize;
        let loses = over && self.weakest(charter, Some((h.author, count))) == Some(h.author);
        match is_lowest && (too_many || loses) {
            true => Err(Reject::Quota),
            false => Ok(()),
        }
    }

    /// Takes a record in by the rules; says which ones it displaced.
    ///
    /// `now` decides only whether it counts as live yet.
    pub(super) fn place(
        &mut self,
        charter: &Charter,
        now: WallMs,
        h: RecordHeader,
    ) -> Result<Removed, Reject> {
        if self.headers.contains_key(&h.id) {
            return Ok(Vec::new());
        }
        let judged = self.judge(charter, &h);
        let mut rival = None;
        if let Some(author) = self.authors.get_mut(&h.author) {
            rival = author.at(h.seq).copied();
            author.equivocated |= rival.is_some();
        }
        judged?;
        let mut removed = Vec::new();
        if let Some(rival) = rival {
            self.remove(&rival, RemoveReason::Equivocation, &mut removed);
        }
        let (id, peer) = (h.id, h.author);
        self.insert(now, h);
        for covered in self.covered_by(&id) {
            self.remove(&covered, RemoveReason::Retracted, &mut removed);
        }
        self.trim(charter, &peer, &mut removed);
        Ok(removed)
    }

    /// Applies a new charter to what is held.
    pub(super) fn enforce(&mut self, charter: &Charter) -> Removed {
        let mut removed = Vec::new();
        let refused: Vec<_> = self
            .headers
            .values()
            .filter_map(|h| match admit(charter, h) {
                Verdict::Valid => None,
                Verdict::Invalid(Reject::TooLarge | Reject::Lifetime) => {
                    Some((h.id, RemoveReason::Quota))
                }
                _ => Some((h.id, RemoveReason::NotPublisher)),
            })
            .collect();
        for (id, reason) in refused {
            self.remove(&id, reason, &mut removed);
        }
        let authors: Vec<_> = self.authors.keys().copied().collect();
        for author in authors {
            self.trim(charter, &author, &mut removed);
        }
        removed
    }

    /// Forgets a record that the disk lost.
    pub(super) fn lose(&mut self, id: &RecordId) -> Removed {
        let mut removed = Vec::new();
        self.remove(id, RemoveReason::Lost, &mut removed);
        removed
    }

    /// Moves the clock, in either direction; says what is over for good.
    pub(super) fn advance(&mut self, now: WallMs) -> Removed {
        let mut removed = Vec::new();
        while let Some(first) = self.live.first().copied()
            && first.0 <= now
        {
            self.live.remove(&first);
            self.count(&first.1, false);
            self.fading.insert(first);
        }
        while let Some(last) = self.fading.last().copied()
            && last.0 > now
        {
            self.fading.remove(&last);
            self.count(&last.1, true);
            self.live.insert(last);
        }
        while let Some((expires, id)) = self.fading.first().copied()
            && expires.after(limits::EXPIRY_GRACE) <= now
        {
            self.remove(&id, RemoveReason::Expired, &mut removed);
        }
        removed
    }

    /// When [`advance`](Self::advance) has something to do.
    pub(super) fn next_expiry(&self) -> Option<WallMs> {
        let live = self.live.first().map(|(at, _)| *at);
        let fading = self.fading.first();
        let fading = fading.map(|(at, _)| at.after(limits::EXPIRY_GRACE));
        live.into_iter().chain(fading).min()
    }

    pub(super) fn summary(&self) -> Summary {
        let mut hasher = blake3::Hasher::new();
        for limb in self.sum {
            hasher.update(&limb.to_le_bytes());
        }
        let hash = hasher.finalize();
        Summary {
            count: self.live.len() as u32,
            fingerprint: *hash.as_bytes().first_chunk().expect("16 of 32 bytes"),
        }
    }

    /// The live records as `negentropy` wants them, ordered by expiry: what one
    /// clock counts as expired and another does not lies together in one range.
    pub(super) fn snapshot(&mut self) -> &NegentropyStorageVector {
        let live = &self.live;
        self.snapshot.get_or_insert_with(|| {
            let mut items = NegentropyStorageVector::with_capacity(live.len());
            for (expires, id) in live {
                let inserted = items.insert(expires.0, Id::from_byte_array(id.0));
                debug_assert!(inserted.is_ok(), "not sealed yet");
            }
            let sealed = items.seal();
            debug_assert!(sealed.is_ok(), "sealed once");
            items
        })
    }

    fn covers(&self, retraction: &RecordId, h: &RecordHeader) -> bool {
        let by = &self.headers[retraction];
        by.retracts.as_ref().is_some_and(|r| {
            r.kind == h.kind && r.key == h.key && h.seq <= r.up_to && h.expires <= by.expires
        })
    }

    fn covered_by(&self, id: &RecordId) -> Vec<RecordId> {
        let Some(up_to) = self.headers[id].retracts.as_ref().map(|r| r.up_to) else {
            return Vec::new();
        };
        let author = &self.authors[&self.headers[id].author];
        let candidates = author.ordinary.range(..=up_to).map(|(_, id)| *id);
        candidates
            .filter(|c| self.covers(id, &self.headers[c]))
            .collect()
    }

    fn trim(&mut self, charter: &Charter, peer: &PeerId, removed: &mut Removed) {
        while let Some(author) = self.authors.get(peer) {
            let victim = if author.control.len() > limits::MAX_CONTROL_PER_AUTHOR {
                author.control.last_key_value()
            } else if author.ordinary.len() > charter.limits.records_per_author as usize {
                author.ordinary.first_key_value()
            } else {
                None
            };
            let Some((_, &id)) = victim else { break };
            self.remove(&id, RemoveReason::Quota, removed);
        }
        while self.ordinary > charter.limits.records_total as usize {
            let weakest = self.weakest(charter, None).expect("there are records");
            let lowest = self.authors[&weakest].ordinary.first_key_value();
            let id = *lowest.expect("the weakest has most records").1;
            self.remove(&id, RemoveReason::Quota, removed);
        }
    }

    /// Who loses a record when the channel has too many; `with` counts one author
    /// as having that many.
    fn weakest(&self, charter: &Charter, with: Option<(PeerId, usize)>) -> Option<PeerId> {
        let held = self.authors.iter().map(|(p, a)| (*p, a.ordinary.len()));
        held.filter(|(p, _)| with.is_none_or(|w| w.0 != *p))
            .chain(with)
            .filter(|(_, count)| *count > 0)
            .max_by_key(|(p, count)| (!charter.roots.contains(p), *count, *p))
            .map(|(p, _)| p)
    }

    fn insert(&mut self, now: WallMs, mut h: RecordHeader) {
        h.attributes = Attributes::default();
        let author = self.authors.entry(h.author).or_default();
        author.shelf(h.kind).insert(h.seq, h.id);
        if h.retracts.is_some() {
            author.retractions.insert(h.id);
        }
        self.ordinary += usize::from(!h.kind.is_control());
        self.bytes += u64::from(h.len);
        if h.expires > now {
            self.live.insert((h.expires, h.id));
            self.count(&h.id, true);
        } else {
            self.fading.insert((h.expires, h.id));
        }
        self.headers.insert(h.id, h);
    }

    fn remove(&mut self, id: &RecordId, reason: RemoveReason, removed: &mut Removed) {
        let Some(h) = self.headers.remove(id) else {
            return;
        };
        let author = self.authors.get_mut(&h.author).expect("it has a record");
        author.shelf(h.kind).remove(&h.seq);
        author.retractions.remove(id);
        self.ordinary -= usize::from(!h.kind.is_control());
        self.bytes -= u64::from(h.len);
        if self.live.remove(&(h.expires, h.id)) {
            self.count(id, false);
        }
        self.fading.remove(&(h.expires, h.id));
        removed.push((*id, reason));
    }

    /// Adds the id to the sum of live ones, or takes it out.
    fn count(&mut self, id: &RecordId, add: bool) {
        self.snapshot = None;
        let mut carry = false;
        for (limb, bytes) in self.sum.iter_mut().zip(id.0.chunks_exact(8)) {
            let n = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
            let step = match add {
                true => u64::overflowing_add,
                false => u64::overflowing_sub,
            };
            let (partial, c1) = step(*limb, n);
            let (whole, c2) = step(partial, u64::from(carry));
            *limb = whole;
            carry = c1 | c2;
        }
    }
}

/// What the charter alone says to a record.
pub(super) fn admit(charter: &Charter, h: &RecordHeader) -> Verdict {
    let lifetime = h.expires.since(h.created);
    if h.len > charter.limits.record_bytes {
        Verdict::Invalid(Reject::TooLarge)
    } else if lifetime > Duration::from_millis(charter.limits.lifetime_ms) {
        Verdict::Invalid(Reject::Lifetime)
    } else if charter.names_publisher(&h.author) {
        Verdict::Valid
    } else if charter.publishers == Publishers::Members {
        Verdict::Deferred
    } else {
        Verdict::Invalid(Reject::NotPublisher)
    }
}

/// Of two records with one author and one sequence the one with less stands.
fn precedence(h: &RecordHeader) -> (bool, RecordId) {
    (!h.kind.is_control(), h.id)
}
