use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Unbounded},
};

use super::steps::step;

/// Values by ordered keys, and the least value of all those that come after some key.
///
/// Of the values only those count to which no later one is equal or less: with the keys
/// they rise, so that the first one after a key is the least. An answer takes a look-up,
/// a new value one for each that it makes irrelevant for good; what goes brings those
/// back that it hid, which are looked through.
#[derive(Debug)]
pub(super) struct LeastAfter<K, V> {
    all: BTreeMap<K, V>,
    stairs: BTreeMap<K, V>,
}

impl<K, V> Default for LeastAfter<K, V> {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            stairs: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Copy, V: Ord + Copy> LeastAfter<K, V> {
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        self.all.insert(key, value);
        if self.from(&key).is_some_and(|least| least <= value) {
            return;
        }
        while let Some((before, least)) = self.stairs.range(..key).next_back()
            && *least >= value
        {
            step();
            let before = *before;
            self.stairs.remove(&before);
        }
        self.stairs.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: &K) {
        self.all.remove(key);
        if self.stairs.remove(key).is_none() {
            return;
        }
        let before = self.stairs.range(..key).next_back();
        let from = before.map_or(Unbounded, |(before, _)| Excluded(*before));
        let mut least = self.from(key);
        for (hidden, value) in self.all.range((from, Excluded(*key))).rev() {
            step();
            if least.is_none_or(|least| *value < least) {
                self.stairs.insert(*hidden, *value);
                least = Some(*value);
            }
        }
    }

    /// The least value of those after `key`.
    pub(super) fn after(&self, key: &K) -> Option<V> {
        let mut later = self.stairs.range((Excluded(*key), Unbounded));
        later.next().map(|(_, value)| *value)
    }

    /// The least value of those at `key` and after it.
    pub(super) fn from(&self, key: &K) -> Option<V> {
        self.stairs.range(*key..).next().map(|(_, value)| *value)
    }

    /// The first key that is not before this one.
    pub(super) fn key_from(&self, key: &K) -> Option<&K> {
        self.all.range(*key..).next().map(|(key, _)| key)
    }

    pub(super) fn last_key(&self) -> Option<&K> {
        self.all.last_key_value().map(|(key, _)| key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::member::steps::counted;

    proptest! {
        #[test]
        fn the_least_after_every_key_is_what_a_search_finds(
            deeds in prop::collection::vec((any::<bool>(), 0u8..24, 0u8..12), 0..200),
        ) {
            let mut least = LeastAfter::default();
            let mut plain = BTreeMap::new();
            for (add, key, value) in deeds {
                if add {
                    least.insert(key, value);
                    plain.insert(key, value);
                } else {
                    least.remove(&key);
                    plain.remove(&key);
                }
                for at in 0..=24 {
                    let found = plain.range(at + 1..).map(|(_, v)| *v).min();
                    prop_assert_eq!(least.after(&at), found);
                    let found = plain.range(at..).map(|(_, v)| *v).min();
                    prop_assert_eq!(least.from(&at), found);
                }
                prop_assert_eq!(least.last_key(), plain.keys().last());
            }
        }
    }

    #[test]
    fn many_that_come_cost_a_step_each_at_most() {
        const MANY: u64 = 20_000;
        let values: [fn(u64) -> u64; 3] = [|n| n, |n| MANY - n, |_| 7];
        for value in values {
            let (steps, _) = counted(|| {
                let mut least = LeastAfter::default();
                (0..MANY).for_each(|n| least.insert(n, value(n)));
            });
            assert!(steps <= MANY, "{steps}");
        }
    }
}
