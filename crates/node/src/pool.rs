//! Buffers of one chunk each, used again and again, so that the hot path neither
//! allocates nor faults pages in; and the bound on how many are out at once.

use std::{
    collections::VecDeque,
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::oneshot;

/// Hands out byte buffers, at most `max_bytes` of them at any time.
#[derive(Clone)]
pub(crate) struct BufferPool {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
    room: Arc<Room>,
}

/// Buffers that are kept for reuse when nobody needs them.
const MAX_IDLE: usize = 64;

impl BufferPool {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            idle: Arc::default(),
            room: Arc::new(Room {
                size: max_bytes,
                state: Mutex::new(State {
                    free: max_bytes,
                    waiting: VecDeque::new(),
                }),
            }),
        }
    }

    /// A buffer with room for `len` bytes and arbitrary content, as soon as the
    /// bound allows.
    pub(crate) async fn get(&self, len: usize) -> PooledBuffer {
        let mut one = self.get_all(&[len], None).await;
        one.pop().expect("as many as were asked for")
    }

    /// Buffers for several lengths at once. All or none: who held some while waiting
    /// for the rest could wait for others who do the same. Dropping the future gives
    /// its place up.
    pub(crate) async fn get_all(
        &self,
        lens: &[usize],
        share: Option<&PoolShare>,
    ) -> Vec<PooledBuffer> {
        let sum = lens.iter().map(|len| (*len).max(1)).sum();
        let mut permit = self.room.take(sum, share.cloned()).await;
        let last = lens.len().saturating_sub(1);
        lens.iter()
            .enumerate()
            .map(|(i, len)| {
                // What is larger than the bound has all of it, and gives it back at the end.
                let bytes = if i == last { usize::MAX } else { (*len).max(1) };
                self.buffer(*len, permit.split(bytes))
            })
            .collect()
    }

    /// Whether somebody waits for a buffer.
    pub(crate) fn is_short(&self) -> bool {
        !self.room.lock().waiting.is_empty()
    }

    fn buffer(&self, len: usize, permit: Permit) -> PooledBuffer {
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
            _permit: permit,
        }
    }
}

/// What one peer has of the pool. It may have a multiple of what is left for others:
/// its target if it is the only one, and less the more others have. So whoever does not
/// take what it asked for, and ever so many of the kind, leave room (the dynamic
/// thresholds of Choudhury and Hahne, "Dynamic queue length thresholds for
/// shared-memory packet switches", 1998). One that has nothing may have what it asks
/// for.
#[derive(Debug, Clone)]
pub(crate) struct PoolShare(Arc<Held>);

#[derive(Debug)]
struct Held {
    /// Written under the room's lock alone.
    bytes: AtomicUsize,
    target: AtomicUsize,
}

impl Default for PoolShare {
    /// With half of any pool as its target.
    fn default() -> Self {
        Self(Arc::new(Held {
            bytes: AtomicUsize::new(0),
            target: AtomicUsize::new(usize::MAX),
        }))
    }
}

impl PoolShare {
    /// Bytes of the pool that this peer has.
    fn held(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// So many bytes it may have while nobody else has any; half of the pool at most.
    pub(crate) fn set_target(&self, bytes: usize) {
        self.0.target.store(bytes, Ordering::Relaxed);
    }

    /// What it may have while so many bytes of the pool are left.
    fn most(&self, pool: usize, left: usize) -> usize {
        let target = self.0.target.load(Ordering::Relaxed).min(pool / 2);
        let most = left as u128 * target as u128 / (pool - target).max(1) as u128;
        most as usize
    }
}

/// Bytes that are free, and who waits for some.
struct Room {
    size: usize,
    state: Mutex<State>,
}

struct State {
    free: usize,
    /// First come, first served, but for those whose share is used up.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    bytes: usize,
    share: Option<PoolShare>,
    ready: oneshot::Sender<Permit>,
}

/// What keeps one from having its bytes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    /// Nobody has room for it.
    Room,
    /// Its share has none.
    Share,
}

impl State {
    fn lack(&self, size: usize, bytes: usize, share: Option<&PoolShare>) -> Option<Lack> {
        let left = self.free.saturating_sub(bytes);
        let full = |share: &PoolShare| {
            let held = share.held();
            held > 0 && held + bytes > share.most(size, left)
        };
        if share.is_some_and(full) {
            return Some(Lack::Share);
        }
        (bytes > self.free).then_some(Lack::Room)
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take(self: &Arc<Self>, bytes: usize, share: Option<PoolShare>) -> Permit {
        let bytes = bytes.min(self.size);
        let ready = {
            let mut state = self.lock();
            if state.waiting.is_empty() && state.lack(self.size, bytes, share.as_ref()).is_none() {
                return self.permit(&mut state, bytes, share);
            }
            let (ready, waits) = oneshot::channel();
            state.waiting.push_back(Waiting {
                bytes,
                share,
                ready,
            });
            // Those before it may wait for their shares, or have given up.
            self.serve(state);
            waits
        };
        ready.await.expect("the queue is never dropped before")
    }

    fn permit(
        self: &Arc<Self>,
        state: &mut State,
        bytes: usize,
        share: Option<PoolShare>,
    ) -> Permit {
        state.free -= bytes;
        if let Some(share) = &share {
            share.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Permit {
            room: Arc::clone(self),
            share,
            bytes,
        }
    }

    /// Gives what is free to those who wait.
    fn serve(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut given_up = Vec::new();
        let mut at = 0;
        while let Some(next) = state.waiting.get(at) {
            if next.ready.is_closed() {
                state.waiting.remove(at);
                continue;
            }
            match state.lack(self.size, next.bytes, next.share.as_ref()) {
                // Its turn comes before that of any who came after it.
                Some(Lack::Room) => break,
                Some(Lack::Share) => at += 1,
                None => {
                    let next = state.waiting.remove(at).expect("looked at above");
                    let permit = self.permit(&mut state, next.bytes, next.share);
                    // Given up in this very moment.
                    given_up.extend(next.ready.send(permit).err());
                }
            }
        }
        // Only now: dropping a permit takes the lock.
        drop(state);
        drop(given_up);
    }
}

/// Bytes of the pool, until dropped.
struct Permit {
    room: Arc<Room>,
    share: Option<PoolShare>,
    bytes: usize,
}

impl Permit {
    /// Takes off so many bytes, or what is left.
    fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            room: Arc::clone(&self.room),
            share: self.share.clone(),
            bytes,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut state = self.room.lock();
        state.free += self.bytes;
        if let Some(share) = &self.share {
            share.0.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
        if !state.waiting.is_empty() {
            self.room.serve(state);
        }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("max_bytes", &self.room.size)
            .finish_non_exhaustive()
    }
}

/// A buffer that goes back to its pool when dropped.
pub(crate) struct PooledBuffer {
    bytes: Vec<u8>,
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
    _permit: Permit,
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
pub(crate) mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const K: usize = 1024;

    /// Bytes of a pool that nobody has.
    pub(crate) fn free(pool: &BufferPool) -> usize {
        pool.room.lock().free
    }

    #[tokio::test]
    async fn two_that_want_several_buffers_do_not_wait_for_each_other() {
        let pool = BufferPool::new(8 * K);
        let first = pool.get_all(&[4 * K], None).await;
        let wanted = [3 * K, 3 * K];
        let one = async { drop(pool.get_all(&wanted, None).await) };
        let other = async { drop(pool.get_all(&wanted, None).await) };
        let both = async { tokio::join!(one, other) };
        tokio::pin!(both);
        assert!(timeout(SOON, &mut both).await.is_err());
        assert!(pool.is_short());
        drop(first);
        // Had each taken three while it waited for three more, neither would end.
        timeout(Duration::from_secs(10), both).await.unwrap();
        assert_eq!((free(&pool), pool.is_short()), (8 * K, false));
    }

    #[tokio::test]
    async fn what_is_larger_than_the_pool_has_all_of_it() {
        let pool = BufferPool::new(4 * K);
        let mut large = pool.get_all(&[3 * K, 3 * K], None).await;
        assert_eq!((large.len(), free(&pool)), (2, 0));
        large.pop();
        assert_eq!(free(&pool), K);
        large.pop();
        assert_eq!(free(&pool), 4 * K);
        let share = PoolShare::default();
        drop(pool.get_all(&[9 * K], Some(&share)).await);
        assert_eq!((free(&pool), share.held()), (4 * K, 0));
    }

    #[tokio::test]
    async fn nobody_takes_more_than_is_left_for_others() {
        let pool = BufferPool::new(16 * K);
        let mut held = Vec::new();
        for left in [8, 4, 2, 1] {
            let greedy = PoolShare::default();
            while let Ok(buffers) = timeout(SOON, pool.get_all(&[K], Some(&greedy))).await {
                held.push(buffers);
            }
            assert_eq!(free(&pool), left * K);
        }
        // One that has nothing has what there is.
        let modest = PoolShare::default();
        timeout(SOON, pool.get_all(&[K], Some(&modest)))
            .await
            .unwrap();
        drop(held);
        assert_eq!(free(&pool), 16 * K);
    }

    #[tokio::test]
    async fn a_short_path_leaves_more_to_others() {
        let pool = BufferPool::new(64 * K);
        let mut held = Vec::new();
        let mut left = Vec::new();
        for target in [8 * K, 8 * K, 32 * K, usize::MAX] {
            let greedy = PoolShare::default();
            greedy.set_target(target);
            while let Ok(buffers) = timeout(SOON, pool.get_all(&[K], Some(&greedy))).await {
                held.push(buffers);
            }
            left.push(free(&pool) / K);
        }
        // An eighth, an eighth of the rest, then halves.
        assert_eq!(left, [56, 49, 25, 13]);
    }

    #[tokio::test]
    async fn who_waits_for_room_is_not_overtaken_and_who_waits_for_its_share_is() {
        let pool = BufferPool::new(8 * K);
        let (a, b, c) = <(PoolShare, PoolShare, PoolShare)>::default();
        let first = pool.get_all(&[4 * K], Some(&a)).await;
        // For its share: others pass.
        let waits = pool.get_all(&[K], Some(&a));
        tokio::pin!(waits);
        assert!(timeout(SOON, &mut waits).await.is_err());
        let second = timeout(SOON, pool.get_all(&[K], Some(&b))).await.unwrap();
        // For room: nobody passes.
        let large = pool.get_all(&[6 * K], Some(&c));
        tokio::pin!(large);
        assert!(timeout(SOON, &mut large).await.is_err());
        let small = pool.get_all(&[K], None);
        tokio::pin!(small);
        assert!(timeout(SOON, &mut small).await.is_err());
        drop(first);
        let waited = timeout(SOON, &mut waits).await.unwrap();
        drop((waited, second));
        timeout(SOON, &mut large).await.unwrap();
        timeout(SOON, &mut small).await.unwrap();
    }

    #[tokio::test]
    async fn who_gives_up_leaves_its_place() {
        let pool = BufferPool::new(4 * K);
        let all = pool.get_all(&[4 * K], None).await;
        assert!(timeout(SOON, pool.get_all(&[4 * K], None)).await.is_err());
        let next = pool.get_all(&[K], None);
        tokio::pin!(next);
        assert!(timeout(SOON, &mut next).await.is_err());
        drop(all);
        drop(timeout(SOON, &mut next).await.unwrap());
        assert_eq!(free(&pool), 4 * K);
    }
}
