use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use samara_wire::{PeerId, RecordId};

use super::{Action, Bucket};
use crate::{CharterRef, Message, Summary, limits};

/// What we know of one neighbour and owe it. Everything in here is bounded by
/// [`limits`], whatever the neighbour does.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) peer: PeerId,
    /// Its `Hello`, once it is there.
    pub(super) charter: Option<CharterRef>,
    pub(super) greeted: bool,
    pub(super) summary: Option<Summary>,
    pub(super) synchronized: bool,
    pub(super) rejected: u64,

    /// It is told of new records, and tells us.
    pub(super) active: bool,
    /// We chose to connect to it.
    pub(super) dialled: bool,
    /// We did so though none was missing.
    pub(super) probe: bool,
    /// Not before then it is asked for a place.
    pub(super) not_before: Duration,
    /// New records go to it whole.
    pub(super) eager: bool,
    /// It takes less than it is sent.
    pub(super) slow: bool,
    /// Meanwhile ids that it should have been told of were dropped.
    pub(super) overflowed: bool,
    /// Its requests for a place.
    pub(super) places: Bucket,
    /// Walks that it sends.
    pub(super) walks: Bucket,

    /// When it is told next what we hold, while it is active.
    pub(super) next_summary: Option<Duration>,
    /// Until when an answer to our request for charters is awaited.
    pub(super) charters_due: Option<Duration>,
    /// Not before then they are asked for again.
    pub(super) next_charters: Duration,
    /// Charters were asked of it again because its charter differs from ours.
    pub(super) fork_checked: bool,
    /// It was shown a charter that contradicts ours; it showed us one.
    pub(super) fork_shown: bool,
    pub(super) fork_seen: bool,

    /// The reconciliation that we started.
    pub(super) sync: Option<Sync>,
    /// Not before then another one is started.
    pub(super) next_sync: Duration,
    /// Ids that it has and we lack, not asked for yet.
    pub(super) wanted: VecDeque<RecordId>,
    wanted_set: BTreeSet<RecordId>,
    /// When ids that could not be asked for are looked at again.
    pub(super) retry_at: Option<Duration>,
    /// Ids that it was asked for.
    requested: BTreeMap<RecordId, Duration>,
    /// The same in the order of asking; what was answered stays until it is first.
    asked: VecDeque<(Duration, RecordId)>,
    /// When it last answered a request, or was asked with none open.
    pub(super) progress: Duration,
    /// Ids that it named and did not deliver, less those that it did.
    pub(super) unfulfilled: usize,

    /// Ids that it asked for.
    pub(super) serving: VecDeque<RecordId>,
    pub(super) serve: Bucket,
    /// A step of its reconciliation that waits for its turn.
    pub(super) parked: Option<(u32, Bytes)>,
    pub(super) reconcile: Bucket,
    pub(super) unasked: Bucket,
    pub(super) gossip: Bucket,

    /// Ids to announce to it, for it to ask for, and when.
    announce: Vec<RecordId>,
    /// Ids of what it should get whole from another.
    hints: Vec<RecordId>,
    pub(super) announce_at: Option<Duration>,
}

/// A reconciliation under way, on the side that started it.
#[derive(Debug)]
pub(super) struct Sync {
    pub(super) session: u32,
    /// Rounds that brought no id that we lack.
    pub(super) barren: usize,
    /// The next message, held back until most of what we want has come.
    pub(super) held: Option<Vec<u8>>,
    /// The last answer named the last difference.
    pub(super) finished: bool,
    /// An answer is awaited until then.
    pub(super) due: Duration,
}

impl Neighbour {
    pub(super) fn new(peer: PeerId, mono: Duration) -> Self {
        use limits::*;
        Self {
            peer,
            charter: None,
            greeted: false,
            summary: None,
            synchronized: false,
            rejected: 0,
            active: false,
            dialled: false,
            probe: false,
            not_before: mono,
            eager: true,
            slow: false,
            overflowed: false,
            places: Bucket::new(PLACE_BURST * PLACE_PAUSE.as_secs(), 1, mono),
            walks: Bucket::new(WALK_BURST, WALK_RATE, mono),
            next_summary: None,
            charters_due: None,
            next_charters: mono,
            fork_checked: false,
            fork_shown: false,
            fork_seen: false,
            sync: None,
            next_sync: mono,
            wanted: VecDeque::new(),
            wanted_set: BTreeSet::new(),
            retry_at: None,
            requested: BTreeMap::new(),
            asked: VecDeque::new(),
            progress: mono,
            unfulfilled: 0,
            serving: VecDeque::new(),
            serve: Bucket::new(SERVE_BURST, SERVE_RATE, mono),
            parked: None,
            reconcile: Bucket::new(RECONCILE_BURST, RECONCILE_RATE, mono),
            unasked: Bucket::new(UNASKED_BURST, UNASKED_RATE, mono),
            gossip: Bucket::new(PEERS_BURST, 1, mono),
            announce: Vec::new(),
            hints: Vec::new(),
            announce_at: None,
        }
    }

    /// Whether it said that it has the record.
    pub(super) fn offers(&self, id: &RecordId) -> bool {
        self.wanted_set.contains(id) || self.requested.contains_key(id)
    }

    /// Notes that it has what we lack; false if there is no room or it is noted.
    pub(super) fn want(&mut self, id: RecordId) -> bool {
        let room = self.wanted.len() < limits::MAX_WANTED;
        let new = room && !self.requested.contains_key(&id) && self.wanted_set.insert(id);
        if new {
            self.wanted.push_back(id);
        }
        new
    }

    /// The next id to think about.
    pub(super) fn next_wanted(&mut self) -> Option<RecordId> {
        let id = self.wanted.pop_front()?;
        self.wanted_set.remove(&id);
        Some(id)
    }

    /// Puts ids back that another was asked for. The first keep their place, since
    /// what gives rights comes first and that other may fail; there is a limit to it,
    /// or a slow neighbour would hold up what this one can give.
    pub(super) fn put_back(&mut self, mut ids: Vec<RecordId>) {
        let behind = ids.split_off(ids.len().min(limits::MAX_WANTED_SCAN / 2));
        self.wanted_set.extend(ids.iter().chain(&behind));
        self.wanted.extend(behind);
        ids.into_iter()
            .rev()
            .for_each(|id| self.wanted.push_front(id));
    }

    /// Notes that it was asked.
    pub(super) fn ask(&mut self, id: RecordId, mono: Duration) {
        if self.requested.is_empty() {
            self.progress = mono;
        }
        self.requested.insert(id, mono);
        self.asked.push_back((mono, id));
    }

    /// Notes that it answered; false if it was not asked.
    pub(super) fn answered(&mut self, id: &RecordId, mono: Duration) -> bool {
        let was = self.requested.remove(id).is_some();
        if was {
            self.progress = mono;
        }
        let open = |(at, id): &(Duration, RecordId)| self.requested.get(id) == Some(at);
        while self.asked.front().is_some_and(|first| !open(first)) {
            self.asked.pop_front();
        }
        was
    }

    /// Number of requests that are open.
    pub(super) fn requested(&self) -> usize {
        self.requested.len()
    }

    /// Takes out the requests that have failed by now: all, if nothing came for
    /// [`limits::REQUEST_TIMEOUT`].
    pub(super) fn overdue(&mut self, mono: Duration) -> Vec<RecordId> {
        let mut failed = Vec::new();
        let silent = mono >= self.progress + limits::REQUEST_TIMEOUT;
        while let Some((at, id)) = self.asked.front().copied()
            && (silent || mono >= at + limits::REQUEST_LONGEST)
        {
            self.asked.pop_front();
            if self.requested.get(&id) == Some(&at) {
                self.requested.remove(&id);
                failed.push(id);
            }
        }
        failed
    }

    /// Every id that it was asked for; it is forgotten next.
    pub(super) fn open_requests(&self) -> impl Iterator<Item = &RecordId> {
        self.requested.keys()
    }

    /// Nothing that it offered is open any more.
    pub(super) fn is_drained(&self) -> bool {
        self.wanted.is_empty() && self.requested.is_empty()
    }

    /// Whether nothing would be lost with the connection.
    pub(super) fn is_idle(&self) -> bool {
        !self.active && self.greeted && self.is_drained() && self.serving.is_empty()
    }

    /// Tells it of an id soon, together with others; `hint`: it gets the record from
    /// another.
    pub(super) fn announce(
        &mut self,
        id: RecordId,
        hint: bool,
        mono: Duration,
        out: &mut Vec<Action>,
    ) {
        let list = match hint {
            true => &mut self.hints,
            false => &mut self.announce,
        };
        if list.len() >= limits::MAX_IDS {
            // It is slow, or the list had been sent.
            self.overflowed = true;
            return;
        }
        list.push(id);
        let full = list.len() >= limits::MAX_IDS;
        self.announce_at
            .get_or_insert(mono + limits::ANNOUNCE_DELAY);
        if full {
            self.flush(out);
        }
    }

    /// Sends the announcements that were gathered, unless it is slow.
    pub(super) fn flush(&mut self, out: &mut Vec<Action>) {
        self.announce_at = None;
        if self.slow {
            return;
        }
        for (list, kind) in [
            (&mut self.announce, Message::Have as fn(_) -> _),
            (&mut self.hints, Message::IHave),
        ] {
            if !list.is_empty() {
                let (peer, message) = (self.peer, kind(std::mem::take(list)));
                out.push(Action::Send { peer, message });
            }
        }
    }

    pub(super) fn send(&self, message: Message, out: &mut Vec<Action>) {
        let peer = self.peer;
        out.push(Action::Send { peer, message });
    }

    /// When the first of its timers is due.
    pub(super) fn next_timeout(&self) -> Option<Duration> {
        let oldest = self.asked.front();
        let requests = oldest.map(|(asked, _)| {
            (*asked + limits::REQUEST_LONGEST).min(self.progress + limits::REQUEST_TIMEOUT)
        });
        let sync = self.sync.as_ref().filter(|s| s.awaits_answer());
        [
            requests,
            sync.map(|s| s.due),
            self.retry_at,
            self.charters_due,
            self.announce_at,
            (!self.serving.is_empty() && !self.slow).then(|| self.serve.ready_at()),
            self.parked.is_some().then(|| self.reconcile.ready_at()),
            self.next_summary,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

impl Sync {
    pub(super) fn awaits_answer(&self) -> bool {
        self.held.is_none() && !self.finished
    }
}
