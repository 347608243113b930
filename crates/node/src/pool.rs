//! Buffers of one chunk each, used again and again, so that the hot path neither
//! allocates nor faults pages in; and the bound on how many are out at once.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hands out byte buffers, at most `max_bytes` of them at any time.
#[derive(Clone)]
pub(crate) struct BufferPool {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
    room: Arc<Semaphore>,
    max_bytes: usize,
}

/// Buffers that are kept for reuse when nobody needs them.
const MAX_IDLE: usize = 64;
/// Sizes are counted in steps of this, so that they fit a semaphore's permits.
const STEP: usize = 4096;

impl BufferPool {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            idle: Arc::default(),
            room: Arc::new(Semaphore::new(max_bytes / STEP)),
            max_bytes,
        }
    }

    /// A buffer with room for `len` bytes and arbitrary content, as soon as the
    /// bound allows.
    pub(crate) async fn get(&self, len: usize) -> PooledBuffer {
        let mut one = self.get_all(&[len], None).await;
        one.pop().expect("as many as were asked for")
    }

    /// A part of the pool: who takes from it with this never has more at a time.
    pub(crate) fn share(max_bytes: usize) -> PoolShare {
        PoolShare(Arc::new(Semaphore::new(max_bytes / STEP)), max_bytes)
    }

    /// Buffers for several lengths at once, out of a share if there is one. All or
    /// none: who held some while waiting for the rest could wait for others who do
    /// the same.
    pub(crate) async fn get_all(
        &self,
        lens: &[usize],
        share: Option<&PoolShare>,
    ) -> Vec<PooledBuffer> {
        let most = share.map_or(self.max_bytes, |share| share.1.min(self.max_bytes)) / STEP;
        let steps: Vec<usize> = lens.iter().map(|len| len.div_ceil(STEP).max(1)).collect();
        let sum = steps.iter().sum::<usize>().min(most) as u32;
        // The share first: whoever waits for it holds nothing that others need.
        let mut part = match share {
            Some(share) => Some(acquire(&share.0, sum).await),
            None => None,
        };
        let mut room = acquire(&self.room, sum).await;
        // What is larger than the bound has all of it, and gives it back at the end.
        let mut take = |n: usize| {
            let (a, b) = (room.split(n), part.as_mut().and_then(|part| part.split(n)));
            [a, b]
        };
        let mut left = sum as usize;
        let mut permits = Vec::with_capacity(steps.len());
        for (i, n) in steps.iter().enumerate() {
            let n = if i + 1 == steps.len() {
                left
            } else {
                (*n).min(left)
            };
            left -= n;
            permits.push(take(n));
        }
        permits
            .into_iter()
            .zip(lens)
            .map(|(permits, len)| self.buffer(*len, permits))
            .collect()
    }

    fn buffer(&self, len: usize, permits: [Option<OwnedSemaphorePermit>; 2]) -> PooledBuffer {
        let mut bytes = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default();
        bytes.reserve(len.saturating_sub(bytes.len()));
        PooledBuffer {
            bytes,
            idle: Arc::clone(&self.idle),
            _permits: permits,
        }
    }
}

/// See [`BufferPool::share`].
#[derive(Debug, Clone)]
pub(crate) struct PoolShare(Arc<Semaphore>, usize);

async fn acquire(semaphore: &Arc<Semaphore>, steps: u32) -> OwnedSemaphorePermit {
    Arc::clone(semaphore)
        .acquire_many_owned(steps)
        .await
        .expect("the semaphore is never closed")
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// A buffer that goes back to its pool when dropped.
pub(crate) struct PooledBuffer {
    bytes: Vec<u8>,
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Of the pool, and of a share of it.
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl PooledBuffer {
    /// The buffer at a length of `len`. What it held before is not cleared: that
    /// would touch every byte once more.
    pub(crate) fn sized(&mut self, len: usize) -> &mut [u8] {
        self.bytes.resize(len, 0);
        &mut self.bytes
    }
}

impl Deref for PooledBuffer {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for PooledBuffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl fmt::Debug for PooledBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PooledBuffer({} bytes)", self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn two_that_want_several_buffers_do_not_wait_for_each_other() {
        let pool = BufferPool::new(8 * STEP);
        let first = pool.get_all(&[4 * STEP], None).await;
        let wanted = [3 * STEP, 3 * STEP];
        let one = async { drop(pool.get_all(&wanted, None).await) };
        let other = async { drop(pool.get_all(&wanted, None).await) };
        let both = async { tokio::join!(one, other) };
        tokio::pin!(both);
        assert!(timeout(SOON, &mut both).await.is_err());
        drop(first);
        // Had each taken three while it waited for three more, neither would end.
        timeout(Duration::from_secs(10), both).await.unwrap();
        assert_eq!(pool.room.available_permits(), 8);
    }

    #[tokio::test]
    async fn what_is_larger_than_the_pool_has_all_of_it() {
        let pool = BufferPool::new(4 * STEP);
        let share = BufferPool::share(2 * STEP);
        let large = pool.get_all(&[3 * STEP, 3 * STEP], None).await;
        assert_eq!((large.len(), pool.room.available_permits()), (2, 0));
        drop(large);
        let within = pool.get_all(&[9 * STEP], Some(&share)).await;
        assert_eq!(pool.room.available_permits(), 2);
        drop(within);
        assert_eq!(
            (pool.room.available_permits(), share.0.available_permits()),
            (4, 2)
        );
    }

    #[tokio::test]
    async fn nobody_takes_more_than_a_share() {
        let pool = BufferPool::new(8 * STEP);
        let (greedy, modest) = (BufferPool::share(4 * STEP), BufferPool::share(4 * STEP));
        let _held = pool.get_all(&[4 * STEP], Some(&greedy)).await;
        let more = pool.get_all(&[STEP], Some(&greedy));
        assert!(timeout(SOON, more).await.is_err());
        timeout(SOON, pool.get_all(&[4 * STEP], Some(&modest)))
            .await
            .unwrap();
    }
}
