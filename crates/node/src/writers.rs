//! The threads that hash and write received chunks. Few, for what they do is done
//! at the speed of memory, and writers of one file wait for each other in the
//! kernel.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crate::core::{RunQueue, thread_time};

/// Threads of a node. Two: one hashes while the other is in the kernel.
const THREADS: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

/// Hands jobs to the threads; they end with the last handle. What may wait in
/// line is bounded by the buffers that the jobs hold.
#[derive(Clone)]
pub(crate) struct Writers {
    jobs: mpsc::Sender<Job>,
    done: Arc<Done>,
}

/// Nanoseconds of all threads.
#[derive(Default)]
struct Done {
    busy: AtomicU64,
    computed: AtomicU64,
    /// Of each of them.
    queues: Mutex<Vec<RunQueue>>,
}

/// What the threads have done so far, together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Time that they were at it.
    pub(crate) busy: Duration,
    /// What of it they computed, and did not wait for the disk.
    pub(crate) computed: Duration,
    /// What of it they waited for a processor.
    pub(crate) waited: Duration,
}

impl Writers {
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let done = Arc::new(Done::default());
        for _ in 0..THREADS {
            let (queue, done) = (Arc::clone(&queue), Arc::clone(&done));
            thread::Builder::new()
                .name("samara-writer".into())
                .spawn(move || {
                    done.queues().push(RunQueue::here());
                    loop {
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        match job {
                            // A panic must not cost the thread; its chunk stays missing.
                            Ok(job) => {
                                let (began, computed) = (Instant::now(), thread_time());
                                drop(catch_unwind(AssertUnwindSafe(job)));
                                done.count(began.elapsed(), thread_time() - computed);
                            }
                            Err(mpsc::RecvError) => return,
                        }
                    }
                })?;
        }
        Ok(Self { jobs, done })
    }

    pub(crate) fn work(&self) -> Work {
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        Work {
            busy: time(&self.done.busy),
            computed: time(&self.done.computed),
            waited: self.done.queues().iter().map(RunQueue::waited).sum(),
        }
    }

    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        // Fails only when no thread is left, which is when the node stops.
        let _ = self.jobs.send(Box::new(job));
    }
}

impl Done {
    fn queues(&self) -> MutexGuard<'_, Vec<RunQueue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, busy: Duration, computed: Duration) {
        for (sum, time) in [(&self.busy, busy), (&self.computed, computed)] {
            sum.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Writers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once() {
        let writers = Writers::start().unwrap();
        let (done, results) = mpsc::channel();
        for i in 0..100 {
            let done = done.clone();
            writers.submit(move || done.send(i).unwrap());
        }
        drop(done);
        let mut all: Vec<u32> = results.iter().collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }
}
