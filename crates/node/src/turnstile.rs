//! How fast proofs of membership are verified, whoever sends them and whether or not
//! they are for a channel that is here.

use std::sync::Arc;

use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    time::{self, Instant},
};

use crate::limits;

/// Lets proofs through one after the other, in the order in which they came. Who reads
/// a connection waits here with the proof in its hand: so there is one of each peer in
/// the line, and what else a peer sends waits on the wire.
#[derive(Debug)]
pub(crate) struct Turnstile {
    /// When the next one may pass. Its lock is first come, first served.
    next: Mutex<Instant>,
    places: Arc<Semaphore>,
}

/// A proof's place among those that are verified; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "dropped")] OwnedSemaphorePermit);

impl Turnstile {
    pub(crate) fn new() -> Self {
        Self {
            next: Mutex::new(Instant::now()),
            places: Arc::new(Semaphore::new(limits::MAX_PROOFS_AT_ONCE)),
        }
    }

    /// Waits for the turn of a proof.
    pub(crate) async fn pass(&self) -> Place {
        let mut next = self.next.lock().await;
        let place = Arc::clone(&self.places).acquire_owned().await;
        time::sleep_until(*next).await;
        *next = Instant::now() + limits::PROOF_PAUSE;
        Place(place.expect("it is never closed"))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    /// A connection on which proofs come without end; each one is verified for `takes`.
    fn flood(turnstile: &Arc<Turnstile>, takes: Duration) -> Arc<AtomicUsize> {
        let passed = Arc::new(AtomicUsize::new(0));
        let (turnstile, count) = (Arc::clone(turnstile), Arc::clone(&passed));
        tokio::spawn(async move {
            loop {
                let place = turnstile.pass().await;
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    time::sleep(takes).await;
                    drop(place);
                });
            }
        });
        passed
    }

    fn all(passed: &[Arc<AtomicUsize>]) -> Vec<usize> {
        passed.iter().map(|n| n.load(Ordering::Relaxed)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn floods_pass_at_one_pace_and_share_it() {
        let turnstile = Arc::new(Turnstile::new());
        let floods: Vec<_> = (0..10)
            .map(|_| flood(&turnstile, Duration::from_millis(1)))
            .collect();
        time::sleep(limits::PROOF_PAUSE * 1000).await;
        let passed = all(&floods);
        let sum: usize = passed.iter().sum();
        // The clock goes by milliseconds, so that a pause may be one longer.
        assert!((500..=1001).contains(&sum), "{passed:?}");
        let (least, most) = (passed.iter().min().unwrap(), passed.iter().max().unwrap());
        // One for who was there before the others, and one for the round under way.
        assert!(most - least <= 2, "{passed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_verified_at_once_than_there_are_places() {
        let turnstile = Arc::new(Turnstile::new());
        let floods: Vec<_> = (0..10)
            .map(|_| flood(&turnstile, Duration::from_secs(3600)))
            .collect();
        time::sleep(Duration::from_secs(60)).await;
        let passed: usize = all(&floods).iter().sum();
        assert_eq!(passed, limits::MAX_PROOFS_AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_alone_does_not_wait() {
        let turnstile = Turnstile::new();
        for _ in 0..3 {
            let came = Instant::now();
            drop(turnstile.pass().await);
            assert_eq!(came.elapsed(), Duration::ZERO);
            time::sleep(Duration::from_secs(1)).await;
        }
    }
}
