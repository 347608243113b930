use samara_wire::RecordId;

use super::packed::{FIRST_ORDINARY, Headers, Place, Slot};

/// Most slots of a block; a full one is halved.
const BLOCK: usize = 128;
/// Slots of a block when all are put in order at once.
const FILL: usize = 96;

/// Records in the order of reconciliation, by their [`Place`].
///
/// Blocks of slots with the sum of their ids: a change touches one block, and the
/// sum of any range is read from the running totals and at most two blocks. The
/// totals are made again from the first changed block on when they are next asked
/// for, which for a million records takes some ten thousand additions.
#[derive(Debug, Default)]
pub(super) struct Order {
    blocks: Vec<Block>,
    len: usize,
    sum: Sum,
    /// Count and sum of all blocks before each, valid below `stale`.
    before: Vec<(usize, Sum)>,
    stale: usize,
}

#[derive(Debug)]
struct Block {
    slots: Vec<Slot>,
    sum: Sum,
}

/// A sum of ids: little-endian numbers of 256 bits, modulo 2^256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum([u64; 4]);

impl Order {
    /// Puts all of `slots` in order at once.
    pub(super) fn build(headers: &Headers, slots: impl Iterator<Item = Slot>) -> Self {
        // With the key beside it: sorting by what lies elsewhere takes thrice as long.
        let mut keyed: Vec<_> = slots
            .map(|slot| {
                let (at, id) = headers.place(slot);
                let first = *id.0.first_chunk().expect("32 bytes");
                (at, u64::from_be_bytes(first), slot)
            })
            .collect();
        keyed.sort_unstable_by(|a, b| {
            let exact = || headers.place(a.2).cmp(&headers.place(b.2));
            (a.0, a.1).cmp(&(b.0, b.1)).then_with(exact)
        });
        let mut order = Self {
            len: keyed.len(),
            ..Self::default()
        };
        for part in keyed.chunks(FILL) {
            let slots: Vec<_> = part.iter().map(|(_, _, slot)| *slot).collect();
            let sum = slots.iter().map(|s| headers.place(*s).1).collect();
            order.sum.add(&sum);
            order.blocks.push(Block { slots, sum });
        }
        order
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The sum of all ids.
    pub(super) fn sum(&self) -> Sum {
        self.sum
    }

    /// The ordinary record that ends first.
    pub(super) fn first_ordinary(&self, headers: &Headers) -> Option<Slot> {
        let at = self.block_of(headers, &FIRST_ORDINARY);
        let block = self.blocks.get(at)?;
        let control = |s: &Slot| headers.place(*s) < FIRST_ORDINARY;
        let within = block.slots.partition_point(control);
        let next = || self.blocks.get(at + 1)?.slots.first();
        block.slots.get(within).or_else(next).copied()
    }

    /// Takes in a slot that is not in it.
    pub(super) fn insert(&mut self, headers: &Headers, slot: Slot) {
        let place = headers.place(slot);
        let id = Sum::from(place.1);
        self.len += 1;
        self.sum.add(&id);
        // The last block that begins before it.
        let at = self.block_of(headers, &place);
        self.stale = self.stale.min(at);
        let Some(block) = self.blocks.get_mut(at) else {
            let slots = vec![slot];
            self.blocks.push(Block { slots, sum: id });
            return;
        };
        let within = block.slots.partition_point(|s| headers.place(*s) < place);
        block.slots.insert(within, slot);
        block.sum.add(&id);
        if block.slots.len() >= BLOCK {
            let slots = block.slots.split_off(BLOCK / 2);
            let sum: Sum = slots.iter().map(|s| headers.place(*s).1).collect();
            block.sum.sub(&sum);
            self.blocks.insert(at + 1, Block { slots, sum });
        }
    }

    /// Takes a slot out, if it is in it; the header must still be there.
    pub(super) fn remove(&mut self, headers: &Headers, slot: Slot) -> bool {
        let place = headers.place(slot);
        let at = self.block_of(headers, &place);
        let Some(block) = self.blocks.get_mut(at) else {
            return false;
        };
        let within = block.slots.partition_point(|s| headers.place(*s) < place);
        if block.slots.get(within) != Some(&slot) {
            return false;
        }
        let id = Sum::from(place.1);
        block.slots.remove(within);
        block.sum.sub(&id);
        self.len -= 1;
        self.sum.sub(&id);
        self.stale = self.stale.min(at);
        self.merge(at);
        true
    }

    /// The order as reconciliation reads it.
    pub(super) fn view<'a>(&'a mut self, headers: &'a Headers) -> View<'a> {
        let (mut count, mut sum) = match self.stale.checked_sub(1) {
            Some(last) => {
                let (mut count, mut sum) = self.before[last];
                count += self.blocks[last].slots.len();
                sum.add(&self.blocks[last].sum);
                (count, sum)
            }
            None => (0, Sum::default()),
        };
        self.before.truncate(self.stale);
        for block in &self.blocks[self.stale..] {
            self.before.push((count, sum));
            count += block.slots.len();
            sum.add(&block.sum);
        }
        self.stale = self.blocks.len();
        View {
            order: self,
            headers,
        }
    }

    fn block_of(&self, headers: &Headers, place: &Place) -> usize {
        let before = |b: &Block| headers.place(b.slots[0]) <= *place;
        self.blocks.partition_point(before).saturating_sub(1)
    }

    /// Joins a block that has become small with the next one, so that there are never
    /// many more blocks than records fill.
    fn merge(&mut self, at: usize) {
        if self.blocks[at].slots.is_empty() {
            self.blocks.remove(at);
            return;
        }
        let with_next = |o: &Self| {
            let next = o.blocks.get(at + 1)?;
            Some(o.blocks[at].slots.len() + next.slots.len())
        };
        if with_next(self).is_some_and(|both| both <= BLOCK / 2) {
            let next = self.blocks.remove(at + 1);
            self.blocks[at].slots.extend(next.slots);
            self.blocks[at].sum.add(&next.sum);
        }
    }
}

/// Records by their rank.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    order: &'a Order,
    headers: &'a Headers,
}

impl View<'_> {
    pub(super) fn len(&self) -> usize {
        self.order.len
    }

    /// Whether a record with that id is held, wherever in the order.
    pub(super) fn holds(&self, id: &RecordId) -> bool {
        self.headers.find(id).is_some()
    }

    /// The record of a rank below [`len`](Self::len).
    pub(super) fn at(&self, rank: usize) -> Place {
        let (block, within) = self.locate(rank);
        self.headers.place(self.order.blocks[block].slots[within])
    }

    /// How many records come before `bound`, which need be none of them.
    pub(super) fn rank(&self, bound: &Place) -> usize {
        let at = self.order.block_of(self.headers, bound);
        let Some(block) = self.order.blocks.get(at) else {
            return 0;
        };
        let before = |s: &Slot| self.headers.place(*s) < *bound;
        self.order.before[at].0 + block.slots.partition_point(before)
    }

    /// The sum of the ids from one rank up to, not including, another.
    pub(super) fn sum(&self, from: usize, to: usize) -> Sum {
        let mut sum = self.sum_before(to);
        sum.sub(&self.sum_before(from));
        sum
    }

    fn sum_before(&self, rank: usize) -> Sum {
        if rank >= self.order.len {
            return self.order.sum;
        }
        let (at, within) = self.locate(rank);
        let mut sum = self.order.before[at].1;
        let ids = self.order.blocks[at].slots[..within].iter();
        ids.for_each(|s| sum.add(&Sum::from(self.headers.place(*s).1)));
        sum
    }

    fn locate(&self, rank: usize) -> (usize, usize) {
        let at = self.order.before.partition_point(|(n, _)| *n <= rank) - 1;
        (at, rank - self.order.before[at].0)
    }
}

impl Sum {
    pub(super) fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (to, limb) in bytes.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&limb.to_le_bytes());
        }
        bytes
    }

    fn add(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, n) in self.0.iter_mut().zip(other.0) {
            let (partial, c1) = limb.overflowing_add(n);
            let (whole, c2) = partial.overflowing_add(carry.into());
            *limb = whole;
            carry = c1 | c2;
        }
    }

    fn sub(&mut self, other: &Self) {
        let mut borrow = false;
        for (limb, n) in self.0.iter_mut().zip(other.0) {
            let (partial, b1) = limb.overflowing_sub(n);
            let (whole, b2) = partial.overflowing_sub(borrow.into());
            *limb = whole;
            borrow = b1 | b2;
        }
    }
}

impl From<RecordId> for Sum {
    fn from(id: RecordId) -> Self {
        let mut limbs = [0; 4];
        for (limb, bytes) in limbs.iter_mut().zip(id.0.chunks_exact(8)) {
            *limb = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        }
        Self(limbs)
    }
}

impl FromIterator<RecordId> for Sum {
    fn from_iter<T: IntoIterator<Item = RecordId>>(ids: T) -> Self {
        let mut sum = Self::default();
        ids.into_iter().for_each(|id| sum.add(&id.into()));
        sum
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use samara_wire::PeerId;

    use super::*;
    use crate::{Kind, RecordHeader, WallMs};

    fn header(expires: u64, n: u64) -> RecordHeader {
        RecordHeader {
            id: RecordId(blake3::hash(&n.to_le_bytes()).into()),
            author: PeerId([1; 32]),
            kind: match n % 3 {
                0 => Kind::GRANT,
                _ => Kind(70_000),
            },
            seq: n + 1,
            created: WallMs(n % 7),
            expires: WallMs(expires),
            priority: 0,
            len: 100,
            key: [].into(),
            attributes: crate::Attributes::default(),
            control: None,
        }
    }

    #[test]
    fn carries_and_borrows_go_through_all_limbs() {
        let mut sum = Sum::default();
        sum.sub(&Sum([1, 0, 0, 0]));
        assert_eq!(sum, Sum([u64::MAX; 4]));
        sum.add(&Sum([1, 0, 0, 0]));
        assert_eq!(sum, Sum::default());
        sum.add(&Sum([u64::MAX, u64::MAX, 0, 7]));
        sum.add(&Sum([1, 0, u64::MAX, 0]));
        assert_eq!(sum, Sum([0, 0, 0, 8]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Whatever was put in and taken out: ranks, places and sums are those of a
        /// sorted list.
        #[test]
        fn it_is_a_sorted_list(
            start in 0u64..600,
            steps in prop::collection::vec((any::<bool>(), 0u64..400), 1..1500),
            asked in prop::collection::vec((0usize..2000, 0usize..2000), 20),
        ) {
            let mut headers = Headers::new(5);
            let mut model = BTreeMap::new();
            let mut next = 0;
            for n in 0..start {
                let h = header(n % 50, n);
                let slot = headers.insert(h);
                model.insert(headers.place(slot), slot);
                next = n + 1;
            }
            let mut order = Order::build(&headers, headers.slots());
            for (i, (add, n)) in steps.into_iter().enumerate() {
                if add || model.is_empty() {
                    let h = header(n % 50, next);
                    next += 1;
                    let slot = headers.insert(h);
                    let place = headers.place(slot);
                    order.insert(&headers, slot);
                    model.insert(place, slot);
                } else {
                    let nth = n as usize % model.len();
                    let (place, slot) = model.iter().nth(nth).map(|(p, s)| (*p, *s)).unwrap();
                    prop_assert!(order.remove(&headers, slot));
                    prop_assert!(!order.remove(&headers, slot));
                    headers.remove(slot);
                    model.remove(&place);
                }
                if i % 97 == 0 {
                    order.view(&headers);
                }
            }
            let list: Vec<_> = model.keys().copied().collect();
            prop_assert_eq!(order.len(), list.len());
            let ordinary = list.iter().find(|p| **p >= FIRST_ORDINARY).copied();
            prop_assert_eq!(order.first_ordinary(&headers).map(|s| headers.place(s)), ordinary);
            let view = order.view(&headers);
            for (a, b) in asked {
                let (a, b) = (a % (list.len() + 1), b % (list.len() + 1));
                let (a, b) = (a.min(b), a.max(b));
                let sum: Sum = list[a..b].iter().map(|p| p.1).collect();
                prop_assert_eq!(view.sum(a, b), sum);
                if let Some(place) = list.get(a) {
                    prop_assert_eq!(view.at(a), *place);
                    prop_assert_eq!(view.rank(place), a);
                    let after = (place.0 + 1, RecordId([0; 32]));
                    prop_assert_eq!(view.rank(&after), list.partition_point(|p| *p < after));
                }
            }
        }
    }
}
