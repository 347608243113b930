mod author;
mod crowd;
mod total;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    time::Duration,
};

use samara_wire::{PeerId, RecordId};

use self::{
    author::{Author, Pace},
    crowd::Crowd,
};
use super::{
    Bucket, Reject, RemoveReason,
    order::{Order, View},
    packed::{Headers, Slot},
    quota::Shelf,
};
use crate::{
    Charter, Control, HeaderRef, Kind, RecordHeader, Summary, WallMs,
    body::{Retraction, subject},
    limits,
    member::{Denied, Roster, steps::step},
};

/// The records that are held, and the rules which of them stand.
///
/// Every rule says which of two records beats the other, by what both of them say
/// and never by which came first; and no chain of "beats" leads back to its start,
/// so that copies which exchange what they hold end up alike:
///
/// 0. Whoever had no right to write a record, by the [`Roster`], has no record. Whose
///    right goes, its records go, and with them what others had by them.
/// 1. Control records first. Of two with one author and sequence the lower id
///    stands; of more than an author may have of a [`Shelf`] the lowest sequences
///    stand, so that nothing later displaces a retraction; before that the same holds
///    of its grants to one identity, [`limits::MAX_GRANTS_TO_ONE`]. Of [`Shelf::Others`] the
///    channel has room for so many in all, those of owners and admins not counted: the
///    lower rank gives way to the higher one, then the author with the most of them
///    loses its highest sequence. Nothing ordinary beats a control record.
/// 2. Then ordinary records: a control record of the same sequence beats them, and a
///    retraction that covers them; of two with one sequence the lower id stands; of
///    more than the charter allows an author, its highest sequences.
/// 3. Leases of presence give way to ordinary records of the same sequence, and to later
///    leases: of each author the last [`limits::MAX_LEASES`] stand. They count for nothing
///    else, so that being there costs nobody a record.
/// 4. Then the channel's total: the lower rank gives way to the higher one, then the
///    author with the most records loses its lowest sequence, and of equals the
///    higher id.
#[derive(Debug)]
pub(super) struct Records {
    roster: Roster,
    /// Whose records have to be looked at again, since a right may be gone.
    shaken: BTreeSet<PeerId>,
    headers: Headers,
    authors: BTreeMap<PeerId, Author>,
    /// Not expired by the clock of the last [`advance`](Self::advance). `None` while
    /// the records of a disk come in: they are put in order once, when all are there.
    live: Option<Order>,
    /// The control records among them, by when they end.
    ending: BTreeSet<(WallMs, Slot)>,
    /// The records of a disk come in: who has how many is counted when all are there.
    restoring: bool,
    /// Expired, held for the grace period: not sent, not counted.
    fading: BTreeSet<(WallMs, RecordId)>,
    ordinary: usize,
    /// Those of [`Shelf::Others`].
    others: u64,
    /// Authors by how many of those they have, and whose rank has to be looked at again.
    ordinary_of: Crowd,
    others_of: Crowd,
    unranked: BTreeSet<PeerId>,
    /// Whose records gave way since the last [`take_displaced`](Self::take_displaced).
    displaced: Vec<PeerId>,
    bytes: u64,
}

/// How a new record is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// Whole, to some.
    Whole,
    /// By its id.
    Id,
    /// Not at all: its author floods, and what stands of it comes with a
    /// reconciliation.
    Nothing,
}

pub(super) type Removed = Vec<(RecordId, RemoveReason)>;

impl Records {
    /// None yet; `seed` is unknown to others.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            roster: Roster::default(),
            shaken: BTreeSet::new(),
            headers: Headers::new(seed),
            authors: BTreeMap::new(),
            live: Some(Order::default()),
            ending: BTreeSet::new(),
            fading: BTreeSet::new(),
            ordinary: 0,
            others: 0,
            restoring: false,
            ordinary_of: Crowd::default(),
            others_of: Crowd::default(),
            unranked: BTreeSet::new(),
            displaced: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(super) fn roster_mut(&mut self) -> &mut Roster {
        &mut self.roster
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
        let fades = self.fading.contains(&self.headers.end(slot));
        (!fades).then(|| self.headers.at(slot))
    }

    pub(super) fn of_author(&self, author: &PeerId) -> impl Iterator<Item = HeaderRef<'_>> {
        let author = self.authors.get(author);
        author
            .into_iter()
            .flat_map(Author::slots)
            .map(|slot| self.headers.at(*slot))
    }

    /// The highest sequence of an author.
    pub(super) fn last_seq(&self, author: &PeerId) -> Option<u64> {
        self.authors.get(author)?.last_seq()
    }

    /// How many revocations of an author are held.
    pub(super) fn revocations_of(&self, author: &PeerId) -> u64 {
        let author = self.authors.get(author);
        author.map_or(0, |a| a.taken[Shelf::Revocations.index()])
    }

    /// Before what a disk held comes in, in any order, `expected` records or more.
    ///
    /// They are put in order once, when all are there, and judged by who may write
    /// what then: as long as grants are missing, nobody can be told from a stranger.
    pub(super) fn begin_restoring(&mut self, expected: usize) {
        self.live = None;
        self.restoring = true;
        self.headers.reserve(expected);
    }

    /// Takes one of them in.
    pub(super) fn restore(&mut self, charter: &Charter, h: RecordHeader, removed: &mut Removed) {
        let id = h.id;
        if let Err(h) = self.restore_plain(charter, h) {
            match self.settle(charter, WallMs(0), *h) {
                Ok(displaced) => removed.extend(displaced),
                Err(reject) => removed.push((id, reject.as_removal())),
            }
        }
    }

    /// What most records of a disk are: one more of an author that is known, which
    /// nothing competes with. A million of them are taken in with one look each.
    fn restore_plain(
        &mut self,
        charter: &Charter,
        h: RecordHeader,
    ) -> Result<(), Box<RecordHeader>> {
        let most = charter.limits.records_per_author as usize;
        let author = (self.authors.get_mut(&h.author))
            .filter(|author| is_counted(h.kind) && author.retractions.is_empty())
            .filter(|author| author.ordinary.len() < most)
            .filter(|author| author.beside_ordinary(h.seq).is_none());
        let Some(author) = author else {
            return Err(Box::new(h));
        };
        let Entry::Vacant(place) = author.ordinary.entry(h.seq) else {
            return Err(Box::new(h));
        };
        self.ordinary += 1;
        self.bytes += u64::from(h.len);
        place.insert(self.headers.insert(h));
        Ok(())
    }

    /// All are there; says what does not stand any more.
    pub(super) fn finish_restoring(&mut self, charter: &Charter) -> Removed {
        self.restoring = false;
        for (peer, author) in &self.authors {
            let counts = author.counts();
            let crowds = [&mut self.ordinary_of, &mut self.others_of];
            for (crowd, has) in crowds.into_iter().zip(counts) {
                crowd.change(*peer, (author.rank, 0), (author.rank, has));
            }
        }
        let removed = self.enforce(charter);
        self.end_restoring();
        removed
    }

    fn end_restoring(&mut self) {
        if self.live.is_none() {
            self.live = Some(Order::build(&self.headers, self.headers.slots()));
            let control = self.authors.values().flat_map(|a| a.control.values());
            let ends = control.map(|slot| (self.headers.end(*slot).0, *slot));
            self.ending = ends.collect();
        }
    }

    /// Whose records gave way since the last call, each as often as it lost one.
    pub(super) fn take_displaced(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.displaced)
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

    /// How another record of this author is told of; `whole` if it may be so.
    pub(super) fn telling(&mut self, author: &PeerId, whole: bool, mono: Duration) -> Telling {
        let Some(author) = self.authors.get_mut(author) else {
            return Telling::Nothing;
        };
        let pace = author.pace.get_or_insert_with(|| {
            Box::new(Pace {
                told: Bucket::new(limits::AUTHOR_BURST, limits::AUTHOR_RATE, mono),
                whole: Bucket::new(limits::EAGER_BURST, limits::EAGER_RATE, mono),
            })
        });
        if !pace.told.take(1, mono) {
            return Telling::Nothing;
        }
        match whole && pace.whole.take(1, mono) {
            true => Telling::Whole,
            false => Telling::Id,
        }
    }

    /// What the rules say to a record that is not held, beside the records that are.
    pub(super) fn judge(&self, charter: &Charter, h: &HeaderRef<'_>) -> Result<(), Denied> {
        self.roster.admits(charter, h)?;
        let rival = self.authors.get(&h.author).and_then(|a| a.at(h.seq));
        self.compete(charter, h, rival).map_err(Denied::Reject)
    }

    /// `rival` has the same author and sequence.
    fn compete(
        &self,
        charter: &Charter,
        h: &HeaderRef<'_>,
        rival: Option<Slot>,
    ) -> Result<(), Reject> {
        let none = Author::default();
        let author = self.authors.get(&h.author).unwrap_or(&none);
        if author.retractions.iter().any(|r| self.covers(*r, h)) {
            return Err(Reject::Retracted);
        }
        let rival = rival.map(|slot| self.headers.at(slot));
        if rival.is_some_and(|rival| precedence(&rival) < precedence(h)) {
            return Err(Reject::Equivocation);
        }
        if h.kind.is_control() {
            // While a disk's come in, nobody has a rank.
            let crowded = || {
                let more = self.live.is_some() && rival.is_none_or(|r| !r.kind.is_control());
                more && self.is_crowded_out(charter, h)
            };
            let again = granted_to(h).is_some_and(|whom| author.granted.has_enough(whom, h.seq));
            return match again || author.is_full(&self.headers, h) || crowded() {
                true => Err(Reject::Quota),
                false => self.roster.has_place(h),
            };
        }
        if h.kind == Kind::PRESENCE {
            let later = author.leases.range(h.seq + 1..).count();
            return match later < limits::MAX_LEASES {
                true => Ok(()),
                false => Err(Reject::Expired),
            };
        }
        if rival.is_some_and(|r| is_counted(r.kind)) {
            return Ok(());
        }
        let lowest = author.ordinary.first_key_value().map(|(seq, _)| *seq);
        let is_lowest = lowest.is_none_or(|lowest| h.seq < lowest);
        let count = author.ordinary.len() + 1;
        let too_many = count > charter.limits.records_per_author as usize;
        let over = !self.restoring && self.ordinary + 1 > charter.limits.records_total as usize;
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
    ) -> Result<Removed, Denied> {
        if self.headers.find(&h.id).is_some() {
            return Ok(Vec::new());
        }
        self.roster.admits(charter, &h.view())?;
        let id = h.id;
        let mut removed = self.settle(charter, now, h).map_err(Denied::Reject)?;
        if let Some(slot) = self.headers.find(&id) {
            self.enroll(charter, slot, &mut removed);
        }
        self.resettle(charter, &mut removed);
        self.trim_others(charter, &mut removed);
        Ok(removed)
    }

    /// Takes in a record whose author may write it.
    fn settle(
        &mut self,
        charter: &Charter,
        now: WallMs,
        h: RecordHeader,
    ) -> Result<Removed, Reject> {
        let rival = self.authors.get(&h.author).and_then(|a| a.at(h.seq));
        let judged = self.compete(charter, &h.view(), rival);
        if rival.is_some() {
            self.mark(&h.author);
        }
        judged?;
        let mut removed = Vec::new();
        if let Some(rival) = rival {
            self.remove(rival, RemoveReason::Equivocation, &mut removed);
        }
        let peer = h.author;
        let to = granted_to(&h.view());
        let slot = self.insert(now, h);
        if let (Some(whom), Some(author)) = (to, self.authors.get(&peer)) {
            let beyond = author.granted.beyond(whom);
            let slot = |seq| author.control[&(Shelf::Places, seq)];
            let beyond: Vec<Slot> = beyond.map(slot).collect();
            for slot in beyond {
                self.remove(slot, RemoveReason::Quota, &mut removed);
            }
        }
        for covered in self.covered_by(slot) {
            self.remove(covered, RemoveReason::Retracted, &mut removed);
        }
        self.trim(charter, &peer, &mut removed);
        if !self.restoring {
            self.rank_again(charter);
        }
        Ok(removed)
    }

    /// Lets a control record that is held take effect.
    fn enroll(&mut self, charter: &Charter, slot: Slot, removed: &mut Removed) {
        let h = self.headers.at(slot);
        self.shaken.extend(self.roster.insert(charter, &h));
        if let Some(Control::Redemption { invite }) = h.control {
            for late in self.roster.displaced(invite) {
                if let Some(slot) = self.headers.find(&late) {
                    self.remove(slot, RemoveReason::InviteUsedUp, removed);
                }
            }
        }
    }

    /// Removes what stands no longer because of what came or went before.
    fn resettle(&mut self, charter: &Charter, removed: &mut Removed) {
        while let Some(peer) = self.shaken.pop_first() {
            let Some(author) = self.authors.get(&peer) else {
                continue;
            };
            let fallen: Vec<_> = author
                .slots()
                .inspect(|_| step())
                .filter_map(|slot| Some((*slot, self.fallen(charter, *slot)?)))
                .collect();
            for (slot, reason) in fallen {
                self.remove(slot, reason, removed);
            }
        }
    }

    /// Why a record that is held stands no longer, if it does not.
    fn fallen(&self, charter: &Charter, slot: Slot) -> Option<RemoveReason> {
        match self.roster.admits(charter, &self.headers.at(slot)) {
            Ok(()) => None,
            Err(Denied::Reject(reject)) => Some(reject.as_removal()),
            Err(Denied::Waits(_)) => Some(RemoveReason::NotPublisher),
        }
    }

    /// Judges what is held by a charter, from nothing but the charter.
    pub(super) fn enforce(&mut self, charter: &Charter) -> Removed {
        let mut removed = Vec::new();
        let before = std::mem::take(&mut self.roster);
        self.unranked.extend(self.authors.keys());
        let control = self.authors.values().flat_map(|a| a.control.values());
        let mut left: Vec<Slot> = control.copied().collect();
        left.sort_by_key(|slot| (self.headers.at(*slot).created, *slot));
        // A pass for each link of the longest chain at worst; by time, one does.
        loop {
            let count = left.len();
            left.retain(|slot| {
                let admitted = self.roster.admits(charter, &self.headers.at(*slot));
                if admitted.is_ok() {
                    let h = self.headers.at(*slot);
                    self.shaken.extend(self.roster.insert(charter, &h));
                }
                admitted.is_err()
            });
            if left.len() == count || left.is_empty() {
                break;
            }
        }
        // As they lie in memory.
        let ordinary = (self.headers.slots()).filter(|slot| !self.headers.is_control(*slot));
        let fallen: Vec<_> = (left.into_iter().chain(ordinary))
            .filter_map(|slot| Some((slot, self.fallen(charter, slot)?)))
            .collect();
        for (slot, reason) in fallen {
            self.remove(slot, reason, &mut removed);
        }
        self.resettle(charter, &mut removed);
        for late in self.roster.all_displaced() {
            if let Some(slot) = self.headers.find(&late) {
                self.remove(slot, RemoveReason::InviteUsedUp, &mut removed);
            }
        }
        let authors: Vec<_> = self.authors.keys().copied().collect();
        for author in authors {
            self.trim(charter, &author, &mut removed);
        }
        self.resettle(charter, &mut removed);
        self.trim_others(charter, &mut removed);
        before
            .peers()
            .into_iter()
            .for_each(|p| self.roster.touch(p));
        removed
    }

    /// Forgets a record that the disk lost.
    pub(super) fn lose(&mut self, charter: &Charter, id: &RecordId) -> Removed {
        let mut removed = Vec::new();
        if let Some(slot) = self.headers.find(id) {
            self.remove(slot, RemoveReason::Lost, &mut removed);
        }
        self.resettle(charter, &mut removed);
        self.rank_again(charter);
        removed
    }

    /// Moves the clock, in either direction; says what is over for good.
    ///
    /// With `hold`, nothing but releases is removed, however late it is.
    pub(super) fn advance(&mut self, charter: &Charter, now: WallMs, hold: bool) -> Removed {
        let mut removed = Vec::new();
        self.end_restoring();
        let Some(live) = &mut self.live else {
            return removed;
        };
        while let Some((at, first)) = first_to_end(live, &self.ending, &self.headers)
            && at <= now
        {
            live.remove(&self.headers, first);
            self.ending.remove(&(at, first));
            self.fading.insert(self.headers.end(first));
        }
        while let Some(last) = self.fading.last().copied()
            && last.0 > now
        {
            self.fading.remove(&last);
            if let Some(slot) = self.headers.find(&last.1) {
                live.insert(&self.headers, slot);
                if self.headers.at(slot).kind.is_control() {
                    self.ending.insert((last.0, slot));
                }
            }
        }
        let over = self.fading.iter();
        let over: Vec<_> = over
            .take_while(|(at, _)| at.after(limits::EXPIRY_GRACE) <= now)
            .filter(|(_, id)| self.ends(id, hold))
            .filter_map(|(_, id)| self.headers.find(id))
            .collect();
        for slot in over {
            self.remove(slot, RemoveReason::Expired, &mut removed);
        }
        self.resettle(charter, &mut removed);
        self.trim_others(charter, &mut removed);
        removed
    }

    /// Whether a record that is over is removed, though some are held back.
    fn ends(&self, id: &RecordId, hold: bool) -> bool {
        !hold || self.get(id).is_some_and(|h| h.kind == Kind::RELEASE)
    }

    /// When [`advance`](Self::advance) has something to do.
    pub(super) fn next_expiry(&self, hold: bool) -> Option<WallMs> {
        let live = self.live.as_ref();
        let live = live.and_then(|live| first_to_end(live, &self.ending, &self.headers));
        let live = live.map(|(at, _)| at);
        let fading = self.fading.iter().find(|(_, id)| self.ends(id, hold));
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

    /// The live records as reconciliation reads them.
    pub(super) fn view(&mut self) -> View<'_> {
        self.end_restoring();
        let live = self.live.get_or_insert_default();
        live.view(&self.headers)
    }

    fn covers(&self, retraction: Slot, h: &HeaderRef<'_>) -> bool {
        let by = self.headers.at(retraction);
        retraction_of(&by).is_some_and(|r| {
            r.kind == h.kind && *r.key == *h.key && h.seq <= r.up_to && h.expires <= by.expires
        })
    }

    fn covered_by(&self, retraction: Slot) -> Vec<Slot> {
        let by = self.headers.at(retraction);
        let Some(up_to) = retraction_of(&by).map(|r| r.up_to) else {
            return Vec::new();
        };
        let author = &self.authors[&by.author];
        let candidates = author.ordinary.range(..=up_to);
        candidates
            .chain(author.leases.range(..=up_to))
            .map(|(_, slot)| *slot)
            .filter(|slot| self.covers(retraction, &self.headers.at(*slot)))
            .collect()
    }

    fn trim(&mut self, charter: &Charter, peer: &PeerId, removed: &mut Removed) {
        if let Some(author) = self.authors.get(peer) {
            for slot in author.overflow(&self.headers) {
                self.remove(slot, RemoveReason::Quota, removed);
            }
        }
        while let Some(author) = self.authors.get(peer)
            && author.leases.len() > limits::MAX_LEASES
            && let Some((_, &slot)) = author.leases.first_key_value()
        {
            self.remove(slot, RemoveReason::Expired, removed);
        }
        while let Some(author) = self.authors.get(peer)
            && author.ordinary.len() > charter.limits.records_per_author as usize
            && let Some((_, &slot)) = author.ordinary.first_key_value()
        {
            self.remove(slot, RemoveReason::Quota, removed);
        }
        if !self.restoring {
            self.trim_ordinary(charter, removed);
        }
    }

    fn insert(&mut self, now: WallMs, h: RecordHeader) -> Slot {
        let (seq, kind, expires) = (h.seq, h.kind, h.expires);
        let (author, id) = (h.author, h.id);
        let retracts = retraction_of(&h.view()).is_some();
        let to = granted_to(&h.view());
        let (shelf, weight) = (Shelf::of(&h.view()), Shelf::weight(&h.view()));
        self.ordinary += usize::from(is_counted(kind));
        self.bytes += u64::from(h.len);
        let slot = self.headers.insert(h);
        let peer = author;
        let author = self.authors.entry(peer).or_insert_with(|| {
            self.unranked.insert(peer);
            Author::default()
        });
        let before = author.counts();
        author.put(kind, shelf, seq, slot);
        if kind.is_control() {
            author.taken[shelf.index()] += weight;
            self.others += u64::from(shelf == Shelf::Others);
        }
        if retracts {
            author.retractions.insert(slot);
        }
        if let Some(whom) = to {
            author.granted.insert(whom, seq);
        }
        let (rank, now_has) = (author.rank, author.counts());
        self.recount(peer, rank, before, now_has);
        match &mut self.live {
            Some(_) if expires <= now => {
                self.fading.insert((expires, id));
            }
            Some(live) => {
                live.insert(&self.headers, slot);
                if kind.is_control() {
                    self.ending.insert((expires, slot));
                }
            }
            None => {}
        }
        slot
    }

    fn remove(&mut self, slot: Slot, reason: RemoveReason, removed: &mut Removed) {
        let h = self.headers.at(slot);
        self.shaken.extend(self.roster.remove(&h));
        let author = self.authors.get_mut(&h.author).expect("it has a record");
        let before = author.counts();
        let shelf = Shelf::of(&h);
        author.take(h.kind, shelf, h.seq);
        if h.kind.is_control() {
            author.taken[shelf.index()] -= Shelf::weight(&h);
            self.others -= u64::from(shelf == Shelf::Others);
        }
        author.retractions.remove(&slot);
        if let Some(whom) = granted_to(&h) {
            author.granted.remove(whom, h.seq);
        }
        let (rank, has) = (author.rank, author.counts());
        self.ordinary -= usize::from(is_counted(h.kind));
        self.bytes -= u64::from(h.len);
        removed.push((h.id, reason));
        if reason == RemoveReason::Quota {
            self.displaced.push(h.author);
        }
        let peer = h.author;
        if !self.fading.remove(&(h.expires, h.id))
            && let Some(live) = &mut self.live
        {
            live.remove(&self.headers, slot);
            self.ending.remove(&(h.expires, slot));
        }
        self.headers.remove(slot);
        self.recount(peer, rank, before, has);
    }

    fn recount(&mut self, peer: PeerId, rank: u8, before: [u64; 2], has: [u64; 2]) {
        if self.restoring {
            return;
        }
        let crowds = [&mut self.ordinary_of, &mut self.others_of];
        for (crowd, (before, has)) in crowds.into_iter().zip(before.into_iter().zip(has)) {
            crowd.change(peer, (rank, before), (rank, has));
        }
    }
}

/// The live record that ends first, and when.
fn first_to_end(
    live: &Order,
    ending: &BTreeSet<(WallMs, Slot)>,
    headers: &Headers,
) -> Option<(WallMs, Slot)> {
    let ordinary = live.first_ordinary(headers);
    let ordinary = ordinary.map(|slot| (headers.end(slot).0, slot));
    ordinary.into_iter().chain(ending.first().copied()).min()
}

fn retraction_of<'a>(h: &HeaderRef<'a>) -> Option<&'a Retraction> {
    match h.control {
        Some(Control::Retraction(retraction)) => Some(retraction),
        _ => None,
    }
}

/// To whom a grant is.
fn granted_to(h: &HeaderRef<'_>) -> Option<PeerId> {
    match h.control {
        Some(Control::Grant(_)) => subject(h.key),
        _ => None,
    }
}

/// Of two records with one author and one sequence the one with less stands.
fn precedence(h: &HeaderRef<'_>) -> (bool, bool, RecordId) {
    (!h.kind.is_control(), h.kind == Kind::PRESENCE, h.id)
}

/// Whether a record counts against what the charter allows an author and in total.
fn is_counted(kind: Kind) -> bool {
    !kind.is_control() && kind != Kind::PRESENCE
}
