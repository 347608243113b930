//! Upload caps: a token bucket over all that leaves for beyond the local network.

use std::{num::NonZeroU32, sync::Arc};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

/// Tokens are KiB, so that a bucket's burst fits 32 bits at any rate.
const UNIT: usize = 1024;

/// Waits until bytes may be sent; unlimited unless made with a rate.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shaper {
    bucket: Option<Arc<DefaultDirectRateLimiter>>,
}

impl Shaper {
    /// At most `rate` bytes a second, in bursts of a quarter of a second.
    pub(crate) fn new(rate: Option<u64>) -> Self {
        let bucket = rate.map(|rate| {
            let units = |bytes: u64| {
                let kib = (bytes / UNIT as u64).clamp(1, u64::from(u32::MAX));
                NonZeroU32::new(kib as u32).expect("at least one")
            };
            let quota = Quota::per_second(units(rate)).allow_burst(units(rate / 4));
            Arc::new(RateLimiter::direct(quota))
        });
        Self { bucket }
    }

    /// Takes `bytes` from the bucket, in pieces where they exceed its burst.
    pub(crate) async fn until_ready(&self, bytes: usize) {
        let Some(bucket) = &self.bucket else { return };
        let mut left = bytes.div_ceil(UNIT) as u32;
        let mut piece = left;
        while let Some(n) = NonZeroU32::new(piece.min(left)) {
            match bucket.until_n_ready(n).await {
                Ok(()) => left -= n.get(),
                // More than the bucket ever holds: smaller pieces.
                Err(too_much) => piece = too_much.0,
            }
        }
    }
}
