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
        let steps = len.min(self.max_bytes).div_ceil(STEP).max(1);
        let permit = Arc::clone(&self.room)
            .acquire_many_owned(steps as u32)
            .await
            .expect("the semaphore is never closed");
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
    _permit: OwnedSemaphorePermit,
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
