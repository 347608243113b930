use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use samara_wire::{PeerId, RecordId};

use super::{
    Bucket, Reject, RemoveReason, Verdict,
    order::{Order, View},
    packed::{Headers, Slot},
};
use crate::{Charter, HeaderRef, Kind, Publishers, RecordHeader, Summary, WallMs, limits};

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
#[derive(Debug)]
pub(super) struct Records {
    headers: Headers,
    authors: BTreeMap<PeerId, Author>,
    /// Not expired by the clock of the last [`advance`](Self::advance). `None` while
    /// the records of a disk come in: they are put in order once, when all are there.
    live: Option<Order>,
    /// Expired, held for the grace period: not sent, not counted.
    fading: BTreeSet<(WallMs, RecordId)>,
    ordinary: usize,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Author {
    control: BTreeMap<u64, Slot>,
    ordinary: BTreeMap<u64, Slot>,
    retractions: BTreeSet<Slot>,
    equivocated: bool,
    eager: Option<Bucket>,
}

impl Author {
    fn at(&self, seq: u64) -> Option<Slot> {
        let slot = self.control.get(&seq).or_else(|| self.ordinary.get(&seq));
        slot.copied()
    }

    fn shelf(&mut self, kind: Kind) -> &mut BTreeMap<u64, Slot> {
        match kind.is_control() {
            true => &mut self.control,
            false => &mut self.ordinary,
        }
    }
}

pub(super) type Removed = Vec<(RecordId, RemoveReason)>;

impl Records {
    /// None yet; `seed` is unknown to others.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            headers: Headers::new(seed),
            authors: BTreeMap::new(),
            live: Some(Order::default()),
            fading: BTreeSet::new(),
            ordinary: 0,
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.headers.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn get(&self, id: &RecordId) -> Option<HeaderRef<'_>> {
        self.headers.get(id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = HeaderRef<'_>> {
        self.headers.iter()
    }

    /// The header, unless the record has expired and must not be sent.
    pub(super) fn live(&self, id: &RecordId) -> Option<HeaderRef<'_>> {
        let slot = self.headers.find(id)?;
        let fades = self.fading.contains(&self.headers.place(slot));
        (!fades).then(|| self.headers.at(slot))
    }

    pub(super) fn of_author(&self, author: &PeerId) -> impl Iterator<Item = HeaderRef<'_>> {
        let author = self.authors.get(author);
        author
            .into_iter()
            .flat_map(|a| a.control.values().chain(a.ordinary.values()))
            .map(|slot| self.headers.at(*slot))
    }

    /// The highest sequence of an author.
    pub(super) fn last_seq(&self, author: &PeerId) -> Option<u64> {
        let author = self.authors.get(author)?;
        let last = |shelf: &BTreeMap<u64, Slot>| shelf.last_key_value().map(|(seq, _)| *seq);
        last(&author.control).max(last(&author.ordinary))
    }

    /// Before the records of a disk come in: they are put in order at the end.
    pub(super) fn begin_restoring(&mut self) {
        self.live = None;
    }

    /// Until then all count as live.
    pub(super) fn end_restoring(&mut self) {
        if self.live.is_none() {
            self.live = Some(Order::build(&self.headers, self.headers.slots()));
        }
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
        match admit(charter, &h.view()) {
            Verdict::Valid => {}
            Verdict::Invalid(reject) => return Err(reject),
            Verdict::Deferred => return Err(Reject::NotPublisher),
        }
        let none = Author::default();
        let author = self.authors.get(&h.author).unwrap_or(&none);
        let h = h.view();
        if author.retractions.iter().any(|r| self.covers(*r, &h)) {
            return Err(Reject::Retracted);
        }
        let rival = author.at(h.seq).map(|slot| self.headers.at(slot));
        if rival.is_some_and(|rival| precedence(&rival) < precedence(&h)) {
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
        if self.headers.find(&h.id).is_some() {
            return Ok(Vec::new());
        }
        let judged = self.judge(charter, &h);
        let mut rival = None;
        if let Some(author) = self.authors.get_mut(&h.author) {
            rival = author.at(h.seq);
            author.equivocated |= rival.is_some();
        }
        judged?;
        let mut removed = Vec::new();
        if let Some(rival) = rival {
            self.remove(rival, RemoveReason::Equivocation, &mut removed);
        }
        let peer = h.author;
        let slot = self.insert(now, h);
        for covered in self.covered_by(slot) {
            self.remove(covered, RemoveReason::Retracted, &mut removed);
        }
        self.trim(charter, &peer, &mut removed);
        Ok(removed)
    }

    /// Applies a new charter to what is held.
    pub(super) fn enforce(&mut self, charter: &Charter) -> Removed {
        let mut removed = Vec::new();
        let refused: Vec<_> = self
            .headers
            .slots()
            .filter_map(|slot| match admit(charter, &self.headers.at(slot)) {
                Verdict::Valid => None,
                Verdict::Invalid(Reject::TooLarge | Reject::Lifetime) => {
                    Some((slot, RemoveReason::Quota))
                }
                _ => Some((slot, RemoveReason::NotPublisher)),
            })
            .collect();
        for (slot, reason) in refused {
            self.remove(slot, reason, &mut removed);
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
        if let Some(slot) = self.headers.find(id) {
            self.remove(slot, RemoveReason::Lost, &mut removed);
        }
        removed
    }

    /// Moves the clock, in either direction; says what is over for good.
    pub(super) fn advance(&mut self, now: WallMs) -> Removed {
        let mut removed = Vec::new();
        self.end_restoring();
        let Some(live) = &mut self.live else {
            return removed;
        };
        while let Some(first) = live.first()
            && self.headers.place(first).0 <= now
        {
            live.remove(&self.headers, first);
            self.fading.insert(self.headers.place(first));
        }
        while let Some(last) = self.fading.last().copied()
            && last.0 > now
        {
            self.fading.remove(&last);
            if let Some(slot) = self.headers.find(&last.1) {
                live.insert(&self.headers, slot);
            }
        }
        while let Some((expires, id)) = self.fading.first().copied()
            && expires.after(limits::EXPIRY_GRACE) <= now
        {
            let slot = self.headers.find(&id).expect("what fades is held");
            self.remove(slot, RemoveReason::Expired, &mut removed);
        }
        removed
    }

    /// When [`advance`](Self::advance) has something to do.
    pub(super) fn next_expiry(&self) -> Option<WallMs> {
        let live = self.live.as_ref().and_then(Order::first);
        let live = live.map(|slot| self.headers.place(slot).0);
        let fading = self.fading.first();
        let fading = fading.map(|(at, _)| at.after(limits::EXPIRY_GRACE));
        live.into_iter().chain(fading).min()
    }

    pub(super) fn summary(&self) -> Summary {
        let (count, sum) = match &self.live {
            Some(live) => (live.len(), live.sum()),
            None => Default::default(),
        };
        let hash = blake3::hash(&sum.to_bytes());
        Summary {
            count: count as u32,
            fingerprint: *hash.as_bytes().first_chunk().expect("16 of 32 bytes"),
        }
    }

    /// The live records as reconciliation reads them, ordered by expiry: what one
    /// clock counts as expired and another does not lies together in one range.
    pub(super) fn view(&mut self) -> View<'_> {
        self.end_restoring();
        let live = self.live.get_or_insert_default();
        live.view(&self.headers)
    }

    fn covers(&self, retraction: Slot, h: &HeaderRef<'_>) -> bool {
        let by = self.headers.at(retraction);
        by.retracts.is_some_and(|r| {
            r.kind == h.kind && *r.key == *h.key && h.seq <= r.up_to && h.expires <= by.expires
        })
    }

    fn covered_by(&self, retraction: Slot) -> Vec<Slot> {
        let by = self.headers.at(retraction);
        let Some(up_to) = by.retracts.map(|r| r.up_to) else {
            return Vec::new();
        };
        let candidates = self.authors[&by.author].ordinary.range(..=up_to);
        candidates
            .map(|(_, slot)| *slot)
            .filter(|slot| self.covers(retraction, &self.headers.at(*slot)))
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
            let Some((_, &slot)) = victim else { break };
            self.remove(slot, RemoveReason::Quota, removed);
        }
        while self.ordinary > charter.limits.records_total as usize {
            let weakest = self.weakest(charter, None).expect("there are records");
            let lowest = self.authors[&weakest].ordinary.first_key_value();
            let slot = *lowest.expect("the weakest has most records").1;
            self.remove(slot, RemoveReason::Quota, removed);
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

    fn insert(&mut self, now: WallMs, h: RecordHeader) -> Slot {
        let (seq, kind, expires) = (h.seq, h.kind, h.expires);
        let (author, id, retracts) = (h.author, h.id, h.retracts.is_some());
        self.ordinary += usize::from(!kind.is_control());
        self.bytes += u64::from(h.len);
        let slot = self.headers.insert(h);
        let author = self.authors.entry(author).or_default();
        author.shelf(kind).insert(seq, slot);
        if retracts {
            author.retractions.insert(slot);
        }
        match &mut self.live {
            Some(_) if expires <= now => {
                self.fading.insert((expires, id));
            }
            Some(live) => live.insert(&self.headers, slot),
            None => {}
        }
        slot
    }

    fn remove(&mut self, slot: Slot, reason: RemoveReason, removed: &mut Removed) {
        let h = self.headers.at(slot);
        let author = self.authors.get_mut(&h.author).expect("it has a record");
        author.shelf(h.kind).remove(&h.seq);
        author.retractions.remove(&slot);
        self.ordinary -= usize::from(!h.kind.is_control());
        self.bytes -= u64::from(h.len);
        removed.push((h.id, reason));
        if !self.fading.remove(&(h.expires, h.id))
            && let Some(live) = &mut self.live
        {
            live.remove(&self.headers, slot);
        }
        self.headers.remove(slot);
    }
}

/// What the charter alone says to a record.
pub(super) fn admit(charter: &Charter, h: &HeaderRef<'_>) -> Verdict {
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
fn precedence(h: &HeaderRef<'_>) -> (bool, RecordId) {
    (!h.kind.is_control(), h.id)
}
