use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// Chunks looked at for one choice; beyond it, any that will do is taken. A choice
/// costs more than one look only where a peer lacks the rarest chunks.
pub(crate) const SCAN: usize = 2048;

const ABSENT: u32 = u32::MAX;

/// Chunks ordered by how many copies of them are known, kept incrementally.
///
/// Copies are counted for every chunk; only *members*, the chunks that may be
/// chosen, are ordered. They lie in one array, bucket after bucket, so that a
/// change of one copy is one swap to the bucket's edge.
#[derive(Debug)]
pub(crate) struct Rarity {
    copies: Vec<u16>,
    /// Members, fewest copies first.
    order: Vec<u32>,
    /// Where a chunk stands in `order`.
    place: Vec<u32>,
    /// `ends[n]`: end in `order` of the members with at most `n` copies.
    ends: Vec<u32>,
    /// Every member before this one has copies.
    fresh: u32,
}

impl Rarity {
    /// No copies of any chunk, no members.
    pub(crate) fn new(chunks: u32) -> Self {
        Self {
            copies: vec![0; chunks as usize],
            order: Vec::new(),
            place: vec![ABSENT; chunks as usize],
            ends: vec![0],
            fresh: 0,
        }
    }

    /// So many copies of each chunk, no members.
    pub(crate) fn of(copies: Vec<u16>) -> Self {
        let most = copies.iter().copied().max().unwrap_or_default();
        Self {
            order: Vec::new(),
            place: vec![ABSENT; copies.len()],
            ends: vec![0; usize::from(most) + 1],
            copies,
            fresh: 0,
        }
    }

    pub(crate) fn copies(&self, chunk: u32) -> u16 {
        self.copies[chunk as usize]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(crate) fn contains(&self, chunk: u32) -> bool {
        self.place
            .get(chunk as usize)
            .is_some_and(|place| *place != ABSENT)
    }

    /// Makes `chunk` one that may be chosen.
    pub(crate) fn insert(&mut self, chunk: u32) {
        if self.contains(chunk) {
            return;
        }
        let bucket = self.bucket(chunk);
        self.freshen(chunk);
        let mut hole = self.order.len();
        self.order.push(chunk);
        // Every later bucket moves its first to behind its last.
        for n in (bucket..self.ends.len()).rev() {
            let first = if n == bucket {
                hole
            } else {
                self.ends[n - 1] as usize
            };
            if n > bucket && first < hole {
                self.put(self.order[first], hole);
            }
            self.ends[n] += 1;
            if n > bucket {
                hole = first;
            }
        }
        self.put(chunk, hole);
    }

    /// Makes `chunk` one that is not chosen.
    pub(crate) fn remove(&mut self, chunk: u32) {
        if !self.contains(chunk) {
            return;
        }
        let mut hole = self.place[chunk as usize] as usize;
        for n in self.bucket(chunk)..self.ends.len() {
            let last = self.ends[n] as usize - 1;
            if last != hole {
                self.put(self.order[last], hole);
            }
            hole = last;
            self.ends[n] -= 1;
        }
        self.order.pop();
        self.place[chunk as usize] = ABSENT;
    }

    /// One copy more.
    pub(crate) fn add_copy(&mut self, chunk: u32) {
        let bucket = self.bucket(chunk);
        self.copies[chunk as usize] += 1;
        self.grow(bucket + 1);
        if self.contains(chunk) {
            self.ends[bucket] -= 1;
            self.swap(chunk, self.ends[bucket] as usize);
        }
    }

    /// One copy less.
    pub(crate) fn drop_copy(&mut self, chunk: u32) {
        let bucket = self.bucket(chunk);
        debug_assert!(bucket > 0, "more copies dropped than added");
        self.copies[chunk as usize] -= 1;
        self.freshen(chunk);
        if self.contains(chunk) {
            let edge = self.ends[bucket - 1] as usize;
            self.swap(chunk, edge);
            self.ends[bucket - 1] += 1;
        }
    }

    /// The members that nobody has.
    pub(crate) fn without_copies(&self) -> &[u32] {
        &self.order[..self.ends[0] as usize]
    }

    /// Prepares [`first_without_copies`](Self::first_without_copies), which looks from here on.
    pub(crate) fn skip_copied(&mut self) {
        while (self.fresh as usize) < self.copies.len() && !self.is_fresh(self.fresh) {
            self.fresh += 1;
        }
    }

    /// The first member that nobody has for which `fits`; of very many not all are looked at.
    pub(crate) fn first_without_copies(&self, mut fits: impl FnMut(u32) -> bool) -> Option<u32> {
        (self.fresh..self.copies.len() as u32)
            .take(SCAN)
            .find(|chunk| self.is_fresh(*chunk) && fits(*chunk))
    }

    /// The member with the fewest copies for which `fits`, any of several.
    pub(crate) fn choose(
        &self,
        rng: &mut ChaCha8Rng,
        mut fits: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        let (mut start, mut looks) = (0, 0);
        for end in &self.ends {
            let bucket = &self.order[start..*end as usize];
            start = *end as usize;
            if bucket.is_empty() {
                continue;
            }
            let (tail, head) = bucket.split_at(rng.next_u32() as usize % bucket.len());
            for chunk in head.iter().chain(tail) {
                if fits(*chunk) {
                    return Some(*chunk);
                }
                looks += 1;
                if looks == SCAN {
                    return None;
                }
            }
        }
        None
    }

    /// Where [`choose`](Self::choose) gave up after looking at `SCAN` members:
    /// whether there are more than that.
    pub(crate) fn is_long(&self) -> bool {
        self.order.len() > SCAN
    }

    fn is_fresh(&self, chunk: u32) -> bool {
        self.bucket(chunk) == 0 && self.contains(chunk)
    }

    /// The chunk may have become one without copies.
    fn freshen(&mut self, chunk: u32) {
        if self.bucket(chunk) == 0 {
            self.fresh = self.fresh.min(chunk);
        }
    }

    fn bucket(&self, chunk: u32) -> usize {
        usize::from(self.copies[chunk as usize])
    }

    fn grow(&mut self, bucket: usize) {
        while self.ends.len() <= bucket {
            self.ends.push(self.order.len() as u32);
        }
    }

    fn put(&mut self, chunk: u32, place: usize) {
        self.order[place] = chunk;
        self.place[chunk as usize] = place as u32;
    }

    fn swap(&mut self, chunk: u32, place: usize) {
        let from = self.place[chunk as usize] as usize;
        let other = self.order[place];
        self.put(other, from);
        self.put(chunk, place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    fn check(rarity: &Rarity) {
        assert_eq!(*rarity.ends.last().unwrap() as usize, rarity.order.len());
        for (place, chunk) in rarity.order.iter().enumerate() {
            assert_eq!(rarity.place[*chunk as usize] as usize, place);
        }
        assert!(
            rarity
                .order
                .windows(2)
                .all(|w| rarity.copies(w[0]) <= rarity.copies(w[1]))
        );
        for (n, end) in rarity.ends.iter().enumerate() {
            let at_most = |c: &&u32| usize::from(rarity.copies(**c)) <= n;
            assert_eq!(rarity.order.iter().filter(at_most).count(), *end as usize);
        }
    }

    proptest! {
        #[test]
        fn the_order_stands_after_every_change(
            steps in proptest::collection::vec((0u8..5, 0u32..12), 0..200)
        ) {
            let mut rarity = Rarity::new(12);
            for (step, chunk) in steps {
                match step {
                    0 => rarity.insert(chunk),
                    1 => rarity.remove(chunk),
                    2 => rarity.add_copy(chunk),
                    3 => {
                        rarity.skip_copied();
                        let fresh = (chunk..12).find(|c| rarity.is_fresh(*c));
                        assert_eq!(rarity.first_without_copies(|c| c >= chunk), fresh);
                    }
                    _ if rarity.copies(chunk) > 0 => rarity.drop_copy(chunk),
                    _ => {}
                }
                check(&rarity);
                let mut again = Rarity::of(rarity.copies.clone());
                rarity.order.iter().for_each(|chunk| again.insert(*chunk));
                check(&again);
            }
        }
    }

    #[test]
    fn the_rarest_that_fits_is_chosen() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut rarity = Rarity::new(4);
        (0..4).for_each(|c| rarity.insert(c));
        assert_eq!(rarity.first_without_copies(|_| true), Some(0));
        for (chunk, copies) in [(0, 3), (1, 1), (2, 2)] {
            (0..copies).for_each(|_| rarity.add_copy(chunk));
        }
        assert_eq!(rarity.choose(&mut rng, |_| true), Some(3));
        assert_eq!(rarity.choose(&mut rng, |c| c != 3), Some(1));
        rarity.remove(1);
        assert_eq!(rarity.choose(&mut rng, |c| c < 3), Some(2));
        assert_eq!(rarity.choose(&mut rng, |_| false), None);
    }
}
