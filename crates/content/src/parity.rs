use std::{fmt, str::FromStr};

use crate::{
    ChunkParams, ContentError,
    limits::{MAX_PARITY_FACTOR, MAX_STRIPE_SHARDS},
};

/// How many parity shards a stripe has, and for how many chunks: any as many of
/// them together as there are chunks bring the stripe back.
///
/// Written `M/K`: `4/32` adds four shards to 32 chunks, an eighth; `20/10` makes
/// thirty of ten, of which any ten are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Parity {
    shards: u8,
    chunks: u8,
}

impl Parity {
    /// `shards` parity shards for every `chunks` chunks: at least one of each, 256
    /// together at most, and no more than eight shards for one chunk.
    ///
    /// # Errors
    /// [`ContentError::BadParity`].
    pub fn new(shards: u32, chunks: u32) -> Result<Self, ContentError> {
        let bad = ContentError::BadParity { shards, chunks };
        let sum = shards.saturating_add(chunks);
        if shards == 0 || chunks == 0 || sum > MAX_STRIPE_SHARDS {
            return Err(bad);
        }
        if shards > chunks * MAX_PARITY_FACTOR {
            return Err(bad);
        }
        Ok(Self {
            shards: shards as u8,
            chunks: chunks as u8,
        })
    }

    /// M: parity shards of a stripe.
    pub fn shards(self) -> u32 {
        self.shards.into()
    }

    /// K: chunks of a stripe, at most.
    pub fn chunks(self) -> u32 {
        self.chunks.into()
    }

    /// Chunks and shards of a stripe, at most.
    pub fn width(self) -> u32 {
        self.shards() + self.chunks()
    }
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.shards, self.chunks)
    }
}

impl FromStr for Parity {
    type Err = ContentError;

    fn from_str(text: &str) -> Result<Self, ContentError> {
        let number = |part: &str| match part.bytes().all(|b| b.is_ascii_digit()) {
            true => part.parse().ok(),
            false => None,
        };
        let (shards, chunks) = text
            .split_once('/')
            .and_then(|(shards, chunks)| Some((number(shards)?, number(chunks)?)))
            .ok_or_else(|| ContentError::NotParity(crate::error::excerpt(text)))?;
        Self::new(shards, chunks)
    }
}

/// Which chunks and shards of a content belong together.
///
/// The stripes are interleaved: chunk `i` is in stripe `i mod S`, so that what was
/// lost in a row is lost from many stripes. Chunks are numbered first; the parity
/// shards come after them, the first of every stripe, then the second of every
/// stripe, and so on: shard `j` of stripe `s` has the number `N + j·S + s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripes {
    parity: Parity,
    chunk_bytes: u32,
    total_bytes: u64,
    chunks: u32,
    stripes: u32,
}

impl Stripes {
    /// The stripes of a stream of `total_bytes`; `None` if `params` have no parity.
    ///
    /// # Errors
    /// [`ContentError::TooManyChunks`] if there would be more than
    /// [`MAX_CHUNKS`](crate::limits::MAX_CHUNKS) chunks and shards together.
    pub fn of(params: ChunkParams, total_bytes: u64) -> Result<Option<Self>, ContentError> {
        let Some(parity) = params.parity() else {
            return Ok(None);
        };
        let chunks = total_bytes.div_ceil(params.avg().into());
        let stripes = chunks.div_ceil(parity.chunks().into());
        let all = chunks.saturating_add(stripes.saturating_mul(parity.shards().into()));
        crate::root::check_limits(total_bytes, 0, all)?;
        Ok(Some(Self {
            parity,
            chunk_bytes: params.avg(),
            total_bytes,
            chunks: chunks as u32,
            stripes: stripes as u32,
        }))
    }

    /// M and K.
    pub fn parity(&self) -> Parity {
        self.parity
    }

    /// S: how many stripes there are.
    pub fn count(&self) -> u32 {
        self.stripes
    }

    /// N: how many chunks the content has, parity not counted.
    pub fn chunks(&self) -> u32 {
        self.chunks
    }

    /// How many parity shards there are.
    pub fn shards(&self) -> u32 {
        self.stripes * self.parity.shards()
    }

    /// Chunks and shards.
    pub fn all(&self) -> u32 {
        self.chunks + self.shards()
    }

    /// The stripe of a chunk or shard.
    pub fn stripe_of(&self, number: u32) -> u32 {
        match self.is_shard(number) {
            true => (number - self.chunks) % self.stripes,
            false => number % self.stripes,
        }
    }

    /// Whether `number` is a parity shard's.
    pub fn is_shard(&self, number: u32) -> bool {
        number >= self.chunks
    }

    /// Where a chunk or shard stands in its stripe: from 0, the shards after K.
    pub fn position(&self, number: u32) -> u32 {
        match self.is_shard(number) {
            true => self.parity.chunks() + (number - self.chunks) / self.stripes,
            false => number / self.stripes,
        }
    }

    /// How many chunks a stripe has: what it takes to bring it back. K or one less
    /// when there are many stripes; at least K/2 when there are two or more.
    pub fn needs(&self, stripe: u32) -> u32 {
        (self.chunks - stripe).div_ceil(self.stripes)
    }

    /// The numbers of a stripe's chunks, in order.
    pub fn chunks_of(&self, stripe: u32) -> impl Iterator<Item = u32> + use<> {
        (stripe..self.chunks).step_by(self.stripes.max(1) as usize)
    }

    /// The numbers of a stripe's parity shards, in order.
    pub fn shards_of(&self, stripe: u32) -> impl Iterator<Item = u32> + use<> {
        (self.chunks + stripe..self.all()).step_by(self.stripes.max(1) as usize)
    }

    /// Bytes of a chunk or shard. A stripe's shards are as long as its first chunk,
    /// which is one of its longest: only the content's last chunk is shorter.
    pub fn len(&self, number: u32) -> u32 {
        let chunk = match self.is_shard(number) {
            true => self.stripe_of(number),
            false => number,
        };
        let start = u64::from(chunk) * u64::from(self.chunk_bytes);
        (self.total_bytes - start).min(self.chunk_bytes.into()) as u32
    }

    /// Bytes of all parity shards.
    pub fn shard_bytes(&self) -> u64 {
        // All are of the full length but perhaps those of the last stripe.
        let Some(last) = self.stripes.checked_sub(1) else {
            return 0;
        };
        let stripe = u64::from(last) * u64::from(self.chunk_bytes) + u64::from(self.len(last));
        stripe * u64::from(self.parity.shards())
    }

    /// Where a parity shard starts, from the start of the first.
    pub fn shard_offset(&self, number: u32) -> u64 {
        let row = self.position(number) - self.parity.chunks();
        let one = self.shard_bytes() / u64::from(self.parity.shards());
        u64::from(row) * one + u64::from(self.stripe_of(number)) * u64::from(self.chunk_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_notation_is_shards_to_chunks() {
        for (text, shards, chunks) in [("4/32", 4, 32), ("20/10", 20, 10), ("8/1", 8, 1)] {
            let parity: Parity = text.parse().unwrap();
            assert_eq!((parity.shards(), parity.chunks()), (shards, chunks));
            assert_eq!(parity.to_string(), text);
        }
        for text in ["", "4", "4/", "/4", "4/32/1", "a/4", "-1/4", "+1/4", " 1/4"] {
            assert!(text.parse::<Parity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_stripe_has_at_most_as_many_shards_as_the_field_has_elements() {
        assert!(Parity::new(128, 128).is_ok());
        assert!(Parity::new(129, 128).is_err());
        assert!(Parity::new(1, 255).is_ok());
        assert!(Parity::new(1, 256).is_err());
        assert!(Parity::new(u32::MAX, u32::MAX).is_err());
        assert!(Parity::new(0, 4).is_err() && Parity::new(4, 0).is_err());
    }

    #[test]
    fn absurd_parity_is_refused() {
        assert!(Parity::new(8, 1).is_ok());
        assert!(Parity::new(9, 1).is_err());
        assert!(Parity::new(80, 10).is_ok());
        assert!(Parity::new(81, 10).is_err());
    }

    fn stripes(chunk: u32, shards: u32, chunks: u32, total: u64) -> Stripes {
        let parity = Parity::new(shards, chunks).unwrap();
        let params = ChunkParams::fixed(chunk, parity).unwrap();
        Stripes::of(params, total).unwrap().unwrap()
    }

    #[test]
    fn an_empty_stream_has_no_stripes() {
        let s = stripes(4096, 2, 4, 0);
        assert_eq!((s.count(), s.all(), s.shard_bytes()), (0, 0, 0));
    }

    #[test]
    fn a_chunk_alone_is_copied() {
        let s = stripes(4096, 3, 4, 100);
        assert_eq!((s.count(), s.chunks(), s.shards()), (1, 1, 3));
        assert_eq!((s.len(0), s.len(1), s.shard_bytes()), (100, 100, 300));
    }

    proptest! {
        #[test]
        fn every_number_is_in_one_stripe_once(
            shards in 1u32..6,
            chunks in 1u32..9,
            total in 1u64..200_000,
        ) {
            let s = stripes(4096, shards, chunks, total);
            let mut seen = vec![false; s.all() as usize];
            let mut end = 0;
            for stripe in 0..s.count() {
                prop_assert_eq!(s.chunks_of(stripe).count() as u32, s.needs(stripe));
                prop_assert!((1..=chunks).contains(&s.needs(stripe)));
                prop_assert!(s.count() < 2 || 2 * s.needs(stripe) >= chunks);
                prop_assert_eq!(s.shards_of(stripe).count() as u32, shards);
                for (at, number) in s.chunks_of(stripe).enumerate() {
                    prop_assert_eq!((s.stripe_of(number), s.position(number)), (stripe, at as u32));
                    prop_assert!(!s.is_shard(number) && s.len(number) <= s.len(stripe));
                    prop_assert!(!std::mem::replace(&mut seen[number as usize], true));
                }
                for (at, number) in s.shards_of(stripe).enumerate() {
                    prop_assert_eq!((s.stripe_of(number), s.position(number)), (stripe, chunks + at as u32));
                    prop_assert!(s.is_shard(number) && s.len(number) == s.len(stripe));
                    prop_assert!(!std::mem::replace(&mut seen[number as usize], true));
                }
            }
            prop_assert!(seen.into_iter().all(|seen| seen));
            prop_assert_eq!((0..s.chunks()).map(|c| u64::from(s.len(c))).sum::<u64>(), total);
            for number in s.chunks()..s.all() {
                prop_assert_eq!(s.shard_offset(number), end);
                end += u64::from(s.len(number));
            }
            prop_assert_eq!(end, s.shard_bytes());
        }
    }
}
