use std::sync::Arc;

use reed_solomon_erasure::galois_8::ReedSolomon;
use samara_wire::ChunkHash;

use crate::{ContentError, Stripes, chunk_hash};

/// Makes the parity shards of a content's stripes, and brings back what is missing.
///
/// Reed–Solomon over GF(2^8), polynomial 0x11d: the Vandermonde matrix of `d + M`
/// rows and `d` columns (row `r`, column `c`: `r` to the power of `c`), multiplied
/// by the inverse of its upper square, so that the chunks stay as they are. `d` is
/// how many chunks the stripe has. The content's last chunk is taken as if zeros
/// followed it.
///
/// One stripe is in memory at a time, at most
/// [`MAX_STRIPE_BYTES`](crate::limits::MAX_STRIPE_BYTES).
#[derive(Debug, Clone)]
pub struct Coder {
    stripes: Stripes,
    /// For stripes of the most chunks, and for those of one less, if there are any.
    codes: [Option<Arc<ReedSolomon>>; 2],
}

impl Coder {
    /// A coder for these stripes.
    pub fn new(stripes: Stripes) -> Self {
        let code = |chunks: u32| {
            let shards = stripes.parity().shards();
            // The numbers are those of a `Parity`, which the field has room for.
            ReedSolomon::new(chunks as usize, shards as usize)
                .ok()
                .map(Arc::new)
        };
        let (most, least) = match stripes.count() {
            0 => {
                return Self {
                    stripes,
                    codes: [None, None],
                };
            }
            n => (stripes.needs(0), stripes.needs(n - 1)),
        };
        Self {
            codes: [code(most), (least < most).then(|| code(least)).flatten()],
            stripes,
        }
    }

    /// The stripes that it is for.
    pub fn stripes(&self) -> &Stripes {
        &self.stripes
    }

    /// The parity shards of a stripe, from all its chunks in order.
    ///
    /// # Errors
    /// [`ContentError::NotAStripe`] if those are not as many as the stripe has, or
    /// not of their lengths.
    pub fn encode(
        &self,
        stripe: u32,
        mut chunks: Vec<Vec<u8>>,
    ) -> Result<Vec<Vec<u8>>, ContentError> {
        let code = self.code(stripe)?;
        let len = self.stripes.len(stripe) as usize;
        let fits =
            |(chunk, bytes): (u32, &Vec<u8>)| bytes.len() == self.stripes.len(chunk) as usize;
        let numbers = self.stripes.chunks_of(stripe);
        if chunks.len() != self.stripes.needs(stripe) as usize || !numbers.zip(&chunks).all(fits) {
            return Err(ContentError::NotAStripe { stripe });
        }
        chunks.iter_mut().for_each(|chunk| chunk.resize(len, 0));
        let mut shards = vec![vec![0; len]; self.stripes.parity().shards() as usize];
        code.encode_sep(&chunks, &mut shards)
            .map_err(|_| ContentError::NotAStripe { stripe })?;
        Ok(shards)
    }

    /// The chunks that are missing from a stripe, from any
    /// [`needs`](Stripes::needs) of its chunks and shards, given with their numbers;
    /// each checked against the hash that `hash` has for it.
    ///
    /// What is given must have been checked already. Chunks and shards beyond what
    /// it needs are left aside.
    ///
    /// # Errors
    /// [`ContentError::NotAStripe`] if there are too few, of a wrong length, or of
    /// another stripe. [`ContentError::FalseParity`] if what comes out is not what
    /// the manifest names: its shards were never made from its chunks.
    pub fn decode(
        &self,
        stripe: u32,
        given: Vec<(u32, Vec<u8>)>,
        hash: impl Fn(u32) -> Option<ChunkHash>,
    ) -> Result<Vec<(u32, Vec<u8>)>, ContentError> {
        let code = self.code(stripe)?;
        let bad = || ContentError::NotAStripe { stripe };
        let (needs, width) = (code.data_shard_count(), code.total_shard_count());
        let len = self.stripes.len(stripe) as usize;
        let mut slots: Vec<Option<Vec<u8>>> = vec![None; width];
        let mut there = 0;
        for (number, mut bytes) in given {
            if number >= self.stripes.all()
                || self.stripes.stripe_of(number) != stripe
                || bytes.len() != self.stripes.len(number) as usize
            {
                return Err(bad());
            }
            let position = self.stripes.position(number) as usize;
            let slot = match self.stripes.is_shard(number) {
                true => position - self.stripes.parity().chunks() as usize + needs,
                false => position,
            };
            if there < needs || slot < needs {
                bytes.resize(len, 0);
                there += usize::from(slots[slot].is_none());
                slots[slot] = Some(bytes);
            }
        }
        if there < needs {
            return Err(bad());
        }
        let missing: Vec<usize> = (0..needs).filter(|slot| slots[*slot].is_none()).collect();
        code.reconstruct_data(&mut slots).map_err(|_| bad())?;
        let mut found = Vec::with_capacity(missing.len());
        for slot in missing {
            let chunk = stripe + slot as u32 * self.stripes.count();
            let mut bytes = slots[slot].take().ok_or_else(bad)?;
            bytes.truncate(self.stripes.len(chunk) as usize);
            if hash(chunk) != Some(chunk_hash(&bytes)) {
                return Err(ContentError::FalseParity { stripe });
            }
            found.push((chunk, bytes));
        }
        Ok(found)
    }

    fn code(&self, stripe: u32) -> Result<&ReedSolomon, ContentError> {
        let bad = ContentError::NotAStripe { stripe };
        if stripe >= self.stripes.count() {
            return Err(bad);
        }
        let needs = self.stripes.needs(stripe) as usize;
        let mut codes = self.codes.iter().flatten();
        codes
            .find(|code| code.data_shard_count() == needs)
            .map(Arc::as_ref)
            .ok_or(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChunkParams, Parity};
    use proptest::{prelude::*, sample::subsequence};

    fn coder(shards: u32, chunks: u32, total: u64) -> Coder {
        let parity = Parity::new(shards, chunks).unwrap();
        let params = ChunkParams::fixed(4096, parity).unwrap();
        Coder::new(Stripes::of(params, total).unwrap().unwrap())
    }

    /// Chunks and shards by number, of a stream that is no two bytes the same.
    fn encoded(coder: &Coder, total: u64) -> Vec<Vec<u8>> {
        let mut stream = vec![0; total as usize];
        blake3::Hasher::new().finalize_xof().fill(&mut stream);
        let mut all: Vec<Vec<u8>> = stream.chunks(4096).map(<[u8]>::to_vec).collect();
        let stripes = *coder.stripes();
        all.resize(stripes.all() as usize, Vec::new());
        for stripe in 0..stripes.count() {
            let chunks = stripes.chunks_of(stripe).map(|c| all[c as usize].clone());
            let shards = coder.encode(stripe, chunks.collect()).unwrap();
            for (number, shard) in stripes.shards_of(stripe).zip(shards) {
                all[number as usize] = shard;
            }
        }
        all
    }

    /// Multiplication in GF(2^8) as one would write it down.
    fn times(mut a: u8, mut b: u8) -> u8 {
        let mut product = 0;
        while b > 0 {
            product ^= if b & 1 == 1 { a } else { 0 };
            a = (a << 1) ^ if a & 0x80 > 0 { 0x1d } else { 0 };
            b >>= 1;
        }
        product
    }

    #[test]
    fn the_shards_are_those_of_the_matrix_that_the_protocol_names() {
        // One chunk: the upper square is 1, and every row is 1: copies.
        let one = encoded(&coder(2, 1, 5), 5);
        assert_eq!((&one[1], &one[2]), (&one[0], &one[0]));
        // Two chunks a, b. Rows of the Vandermonde matrix (1, r); the upper square is
        // (1 0; 1 1), its own inverse; row r becomes (1 + r, r).
        let c = coder(2, 2, 8192);
        let all = encoded(&c, 8192);
        for (row, shard) in [(2, &all[2]), (3, &all[3])] {
            let byte = |i: usize| times(1 ^ row, all[0][i]) ^ times(row, all[1][i]);
            assert!((0..4096).all(|i| shard[i] == byte(i)));
        }
    }

    #[test]
    fn too_few_and_what_belongs_elsewhere_is_no_stripe() {
        let c = coder(2, 3, 5 * 4096);
        let all = encoded(&c, 5 * 4096);
        let hash = |n: u32| Some(chunk_hash(&all[n as usize]));
        let give = |numbers: &[u32]| {
            numbers
                .iter()
                .map(|n| (*n, all[*n as usize].clone()))
                .collect()
        };
        assert_eq!(
            c.decode(0, give(&[0, 4, 5]), hash),
            Ok(vec![(2, all[2].clone())])
        );
        for numbers in [&[0, 4][..], &[0, 4, 4], &[0, 4, 1], &[]] {
            assert_eq!(
                c.decode(0, give(numbers), hash),
                Err(ContentError::NotAStripe { stripe: 0 }),
                "{numbers:?}"
            );
        }
        let mut short: Vec<(u32, Vec<u8>)> = give(&[0, 4, 5]);
        short[1].1.pop();
        assert!(c.decode(0, short, hash).is_err());
        assert!(c.decode(9, Vec::new(), hash).is_err());
        assert!(c.encode(0, vec![vec![0; 4096]; 2]).is_err());
        assert!(c.encode(0, vec![vec![0; 4095]; 3]).is_err());
        assert!(c.encode(2, vec![vec![0; 4096]; 3]).is_err());
    }

    #[test]
    fn a_wrong_result_is_noticed() {
        let c = coder(2, 3, 3 * 4096);
        let all = encoded(&c, 3 * 4096);
        let hash = |n: u32| Some(chunk_hash(&all[n as usize]));
        let mut false_shard = all[3].clone();
        false_shard[7] ^= 1;
        let given = vec![(0, all[0].clone()), (2, all[2].clone()), (3, false_shard)];
        assert_eq!(
            c.decode(0, given, hash),
            Err(ContentError::FalseParity { stripe: 0 })
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_as_many_as_there_are_chunks_bring_a_stripe_back(
            (shards, chunks, keep) in (1u32..5, 1u32..7).prop_flat_map(|(m, k)| {
                let all = (0..k + m).collect::<Vec<_>>();
                (Just(m), Just(k), subsequence(all, k as usize).prop_shuffle())
            }),
            total in 1u64..60_000,
        ) {
            let c = coder(shards, chunks, total);
            let all = encoded(&c, total);
            let stripes = c.stripes();
            for stripe in 0..stripes.count() {
                let members: Vec<u32> = stripes.chunks_of(stripe).chain(stripes.shards_of(stripe)).collect();
                let mut kept: Vec<u32> = keep.iter().filter_map(|at| members.get(*at as usize)).copied().collect();
                // A shorter stripe has fewer chunks and needs fewer.
                for number in &members {
                    if kept.len() < stripes.needs(stripe) as usize && !kept.contains(number) {
                        kept.push(*number);
                    }
                }
                let given = kept.iter().map(|n| (*n, all[*n as usize].clone())).collect();
                let hash = |n: u32| Some(chunk_hash(&all[n as usize]));
                let found = c.decode(stripe, given, hash).unwrap();
                for (number, bytes) in &found {
                    prop_assert_eq!(bytes, &all[*number as usize]);
                }
                let back = found.iter().map(|(number, _)| *number);
                let mut there: Vec<u32> = kept.iter().copied().filter(|n| !stripes.is_shard(*n)).chain(back).collect();
                there.sort_unstable();
                prop_assert_eq!(there, stripes.chunks_of(stripe).collect::<Vec<_>>());
            }
        }
    }
}
