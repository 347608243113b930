//! Range-based set reconciliation, byte for byte the protocol *negentropy*, version
//! 1 (<https://github.com/hoytech/negentropy>), over an [`Order`](super::order::Order).
//!
//! The crate of that name adds up every id of a range whenever somebody asks for its
//! fingerprint, and its trait for other storages cannot be told a sum. With a million
//! records that makes each question of any neighbour cost a pass over all of them.
//! The tests hold this against the crate, message by message.

use samara_wire::RecordId;
use sha2::{Digest, Sha256};

use super::{order::View, packed::Place};
use crate::limits;

const VERSION: u8 = 0x61;
const SKIP: u64 = 0;
const FINGERPRINT: u64 = 1;
const ID_LIST: u64 = 2;
/// Parts that a range is cut into when its fingerprints differ.
const BUCKETS: usize = 16;
/// What the frame keeps free for the last range, as the crate does.
const TAIL: usize = 200;

/// A place in the order and how many bytes of its id are written.
type Bound = (Place, usize);

const START: Place = (0, RecordId([0; 32]));
const END: Place = (u64::MAX, RecordId([0; 32]));

/// Bytes that are no step of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoStep;

/// The first message of whoever wants to know what it lacks.
pub(super) fn ask(view: View<'_>) -> Vec<u8> {
    let mut answer = Answer::new();
    answer.split(view, 0, view.len(), (END, 0));
    answer.bytes
}

/// The answer of the other side.
pub(super) fn answer(view: View<'_>, question: &[u8]) -> Result<Vec<u8>, NoStep> {
    step(view, question, None)
}

/// What whoever asked learns from an answer: ids that it lacks, and the next
/// question, if there is something left to ask.
pub(super) fn learn(
    view: View<'_>,
    answer: &[u8],
) -> Result<(Vec<RecordId>, Option<Vec<u8>>), NoStep> {
    let mut lacking = Vec::new();
    let next = step(view, answer, Some(&mut lacking))?;
    Ok((lacking, (next.len() > 1).then_some(next)))
}

fn step(
    view: View<'_>,
    said: &[u8],
    mut lacking: Option<&mut Vec<RecordId>>,
) -> Result<Vec<u8>, NoStep> {
    let mut said = Said {
        left: said,
        timestamp: 0,
    };
    if said.take(1)? != [VERSION] {
        return Err(NoStep);
    }
    let mut full = Answer::new();
    let (mut lower, mut before) = (0, (START, 0));
    // Ranges that are alike and not told of yet; how far what is told reaches.
    let (mut skipping, mut told) = (false, 0);
    while !said.left.is_empty() {
        let bound = said.bound()?;
        if bound.0 < before.0 {
            return Err(NoStep);
        }
        let mut upper = view.rank(&bound.0).max(lower);
        let mut part = full.part();
        match said.varint()? {
            SKIP => skipping = true,
            FINGERPRINT => {
                if said.take(16)? == fingerprint(view, lower, upper) {
                    skipping = true;
                } else {
                    part.skip(std::mem::take(&mut skipping), before);
                    part.split(view, lower, upper, bound);
                }
            }
            ID_LIST => {
                let count = usize::try_from(said.varint()?).map_err(|_| NoStep)?;
                let bytes = count.checked_mul(32).ok_or(NoStep)?;
                let ids = said.take(bytes)?.chunks_exact(32);
                if let Some(lacking) = &mut lacking {
                    let ids = ids.map(|id| RecordId(id.try_into().expect("32 bytes")));
                    lacking.extend(ids.filter(|id| !view.holds(id)));
                    skipping = true;
                } else {
                    part.skip(std::mem::take(&mut skipping), before);
                    let room = (limits::RECONCILE_FRAME - TAIL).saturating_sub(full.bytes.len());
                    // One more than fits, as the crate does.
                    let fitting = (room / 32 + 1).min(upper - lower);
                    let end = match fitting < upper - lower {
                        true => {
                            upper = lower + fitting;
                            (view.at(upper), 32)
                        }
                        false => bound,
                    };
                    part.list(view, lower, upper, end);
                    full.extend(part);
                    told = upper;
                    part = full.part();
                }
            }
            _ => return Err(NoStep),
        }
        if full.bytes.len() + part.bytes.len() > limits::RECONCILE_FRAME - TAIL {
            // The rest in one fingerprint: the next round goes on there.
            full.bound((END, 0));
            full.varint(FINGERPRINT);
            let rest = fingerprint(view, told, view.len());
            full.bytes.extend_from_slice(&rest);
            break;
        }
        if !part.bytes.is_empty() {
            told = upper;
            full.extend(part);
        }
        (lower, before) = (upper, bound);
    }
    Ok(full.bytes)
}

/// The first 16 bytes of SHA-256 over the sum of the ids and their number.
fn fingerprint(view: View<'_>, from: usize, to: usize) -> [u8; 16] {
    let mut count = Answer::empty(0);
    count.varint((to - from) as u64);
    let hash = Sha256::new()
        .chain_update(view.sum(from, to).to_bytes())
        .chain_update(&count.bytes)
        .finalize();
    *hash.first_chunk().expect("16 of 32 bytes")
}

/// A message that is read: each timestamp counts from the one before.
struct Said<'a> {
    left: &'a [u8],
    timestamp: u64,
}

impl<'a> Said<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], NoStep> {
        let (taken, left) = self.left.split_at_checked(n).ok_or(NoStep)?;
        self.left = left;
        Ok(taken)
    }

    /// Seven bits a byte, the highest first.
    fn varint(&mut self) -> Result<u64, NoStep> {
        let mut value = 0u64;
        loop {
            let byte = self.take(1)?[0];
            if value > u64::MAX >> 7 {
                return Err(NoStep);
            }
            value = value << 7 | u64::from(byte & 0x7f);
            if byte < 0x80 {
                return Ok(value);
            }
        }
    }

    fn bound(&mut self) -> Result<Bound, NoStep> {
        self.timestamp = match self.varint()? {
            0 => u64::MAX,
            n => self.timestamp.saturating_add(n - 1),
        };
        let len = usize::try_from(self.varint()?).map_err(|_| NoStep)?;
        let mut id = [0; 32];
        let prefix = id.get_mut(..len).ok_or(NoStep)?;
        prefix.copy_from_slice(self.take(len)?);
        Ok(((self.timestamp, RecordId(id)), len))
    }
}

/// A message that is written.
struct Answer {
    bytes: Vec<u8>,
    timestamp: u64,
}

impl Answer {
    fn new() -> Self {
        let mut answer = Self::empty(0);
        answer.bytes.push(VERSION);
        answer
    }

    fn empty(timestamp: u64) -> Self {
        let bytes = Vec::new();
        Self { bytes, timestamp }
    }

    /// What is to follow, if there is room for it.
    fn part(&self) -> Self {
        Self::empty(self.timestamp)
    }

    fn extend(&mut self, part: Self) {
        self.bytes.extend_from_slice(&part.bytes);
        self.timestamp = part.timestamp;
    }

    fn varint(&mut self, value: u64) {
        let groups = (64 - value.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let more = if group > 0 { 0x80 } else { 0 };
            self.bytes.push((value >> (7 * group)) as u8 & 0x7f | more);
        }
    }

    fn bound(&mut self, ((at, id), len): Bound) {
        match at {
            u64::MAX => self.varint(0),
            at => self.varint(at.saturating_sub(self.timestamp).saturating_add(1)),
        }
        self.timestamp = at;
        self.varint(len as u64);
        self.bytes.extend_from_slice(&id.0[..len]);
    }

    fn skip(&mut self, skipped: bool, up_to: Bound) {
        if skipped {
            self.bound(up_to);
            self.varint(SKIP);
        }
    }

    fn list(&mut self, view: View<'_>, from: usize, to: usize, end: Bound) {
        self.bound(end);
        self.varint(ID_LIST);
        self.varint((to - from) as u64);
        for rank in from..to {
            self.bytes.extend_from_slice(&view.at(rank).1.0);
        }
    }

    /// A range as fingerprints of its parts, or as a list if it is short.
    fn split(&mut self, view: View<'_>, from: usize, to: usize, end: Bound) {
        let count = to - from;
        if count < 2 * BUCKETS {
            return self.list(view, from, to, end);
        }
        let mut lower = from;
        for bucket in 0..BUCKETS {
            let upper = lower + count / BUCKETS + usize::from(bucket < count % BUCKETS);
            match upper == to {
                true => self.bound(end),
                false => self.bound(between(view.at(upper - 1), view.at(upper))),
            }
            self.varint(FINGERPRINT);
            let sum = fingerprint(view, lower, upper);
            self.bytes.extend_from_slice(&sum);
            lower = upper;
        }
    }
}

/// The shortest bound that lies behind one record and not behind the next.
fn between(before: Place, after: Place) -> Bound {
    let mut id = [0; 32];
    if before.0 != after.0 {
        return ((after.0, RecordId(id)), 0);
    }
    let pairs = before.1.0.iter().zip(&after.1.0);
    let len = pairs.take_while(|(a, b)| a == b).count() + 1;
    id[..len].copy_from_slice(&after.1.0[..len]);
    ((after.0, RecordId(id)), len)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use negentropy::{Id, Negentropy, NegentropyStorageVector};
    use proptest::prelude::*;
    use samara_wire::PeerId;

    use super::*;
    use crate::{
        Kind, RecordHeader, WallMs,
        graph::{
            order::Order,
            packed::{FIRST_ORDINARY, Headers},
        },
    };

    struct Side {
        headers: Headers,
        order: Order,
        oracle: NegentropyStorageVector,
    }

    impl Side {
        fn new(places: &BTreeSet<Place>) -> Self {
            let mut headers = Headers::new(1);
            let mut oracle = NegentropyStorageVector::new();
            for (at, id) in places {
                let ordinary = *at >= FIRST_ORDINARY.0;
                let slot = headers.insert(RecordHeader {
                    id: *id,
                    author: PeerId([1; 32]),
                    kind: if ordinary { Kind(70_000) } else { Kind::GRANT },
                    seq: 1,
                    created: WallMs(*at),
                    expires: WallMs(at.saturating_sub(FIRST_ORDINARY.0)),
                    priority: 0,
                    len: 1,
                    key: [].into(),
                    attributes: crate::Attributes::default(),
                    control: None,
                });
                assert_eq!(headers.place(slot), (*at, *id));
                oracle.insert(*at, Id::from_byte_array(id.0)).unwrap();
            }
            oracle.seal().unwrap();
            let order = Order::build(&headers, headers.slots());
            Self {
                headers,
                order,
                oracle,
            }
        }

        fn view(&mut self) -> View<'_> {
            self.order.view(&self.headers)
        }

        fn oracle(&self) -> Negentropy<'_, NegentropyStorageVector> {
            Negentropy::borrowed(&self.oracle, limits::RECONCILE_FRAME as u64).unwrap()
        }
    }

    /// Expiries and ids from few values, so that bounds share bytes.
    fn place(n: u64) -> Place {
        let mut id: [u8; 32] = blake3::hash(&n.to_le_bytes()).into();
        id[0] %= 3;
        id[1] %= 2;
        let kinds = [0, FIRST_ORDINARY.0];
        (n % 4 * 1000 + kinds[n as usize % 5 % 2], RecordId(id))
    }

    /// A whole reconciliation, each message compared with the crate's.
    fn reconcile(a: &BTreeSet<Place>, b: &BTreeSet<Place>) -> usize {
        let (mut ours, mut theirs) = (Side::new(a), Side::new(b));
        let mut question = ask(ours.view());
        assert_eq!(question, ours.oracle().initiate().unwrap());
        let (mut lacking, mut rounds) = (BTreeSet::new(), 0);
        loop {
            rounds += 1;
            let said = answer(theirs.view(), &question).unwrap();
            assert_eq!(said, theirs.oracle().reconcile(&question).unwrap());
            assert!(said.len() <= limits::MAX_RECONCILE_BYTES);
            let (ids, next) = learn(ours.view(), &said).unwrap();
            let mut oracle = ours.oracle();
            oracle.set_initiator();
            let (mut have, mut need) = (Vec::new(), Vec::new());
            let expected = oracle.reconcile_with_ids(&said, &mut have, &mut need);
            assert_eq!(next, expected.unwrap());
            let need: BTreeSet<_> = need.iter().map(|id| RecordId(**id)).collect();
            assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), need);
            lacking.extend(need);
            match next {
                Some(next) => question = next,
                None => break,
            }
        }
        let held: BTreeSet<_> = a.iter().map(|p| p.1).collect();
        let missing: BTreeSet<_> = b
            .iter()
            .map(|p| p.1)
            .filter(|i| !held.contains(i))
            .collect();
        assert_eq!(lacking, missing);
        rounds
    }

    #[test]
    fn large_sets_take_several_frames() {
        let all: BTreeSet<_> = (0..6000).map(place).collect();
        assert!(reconcile(&BTreeSet::new(), &all) > 5);
        assert!(reconcile(&all, &BTreeSet::new()) < 3);
        let odd: BTreeSet<_> = (0..6000).step_by(2).map(place).collect();
        assert!(reconcile(&odd, &all) > 3);
    }

    #[test]
    fn what_the_crate_lets_pass_is_refused_here() {
        let mut side = Side::new(&(0..10).map(place).collect());
        for (said, why) in [
            (&[][..], "nothing"),
            (&[0x62], "another version"),
            (&[VERSION, 0], "cut in a bound"),
            (&[VERSION, 0, 0], "no mode"),
            (&[VERSION, 0, 0, 3], "an unknown mode"),
            (&[VERSION, 0, 33], "a prefix longer than an id"),
            (&[VERSION, 0, 0, 1, 5, 5], "half a fingerprint"),
            (&[VERSION, 0, 0, 2, 2, 7], "fewer ids than named"),
            (
                &[
                    VERSION, 0, 0, 2, 0x83, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
                ],
                "more ids than there are numbers",
            ),
            (
                &[VERSION, 2, 1, 9, 0, 1, 1, 8, 0],
                "a bound before the one before",
            ),
        ] {
            assert_eq!(answer(side.view(), said), Err(NoStep), "{why}");
            assert_eq!(learn(side.view(), said), Err(NoStep), "{why}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_two_sets_are_told_apart_as_the_crate_does(
            both in prop::collection::btree_set(0u64..100_000, 0..400),
            ours in prop::collection::btree_set(100_000u64..200_000, 0..120),
            theirs in prop::collection::btree_set(200_000u64..300_000, 0..120),
        ) {
            let with = |more: &BTreeSet<u64>| both.iter().chain(more).map(|n| place(*n)).collect();
            reconcile(&with(&ours), &with(&theirs));
        }

        /// Nearly right noise: no panic, and never more than a frame.
        #[test]
        fn noise_is_answered_within_the_frame(
            ranges in prop::collection::vec((0u64..3000, 0usize..33, 0u64..4, 0u64..5), 0..40),
            held in 0u64..500,
        ) {
            let mut side = Side::new(&(0..held).map(place).collect());
            let mut said = Answer::new();
            for (at, len, mode, ids) in ranges {
                said.bound(((at + said.timestamp, RecordId([1; 32])), len));
                said.varint(mode);
                match mode {
                    FINGERPRINT => said.bytes.extend([9; 16]),
                    ID_LIST => {
                        said.varint(ids);
                        said.bytes.extend(vec![8; 32 * ids as usize]);
                    }
                    _ => {}
                }
            }
            for step in [
                answer(side.view(), &said.bytes).unwrap_or_default(),
                learn(side.view(), &said.bytes).ok().and_then(|l| l.1).unwrap_or_default(),
            ] {
                prop_assert!(step.len() <= limits::RECONCILE_FRAME);
            }
        }
    }
}
