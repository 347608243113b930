//! The threads that hash and write received chunks. Few, for what they do is done
//! at the speed of memory, and writers of one file wait for each other in the
//! kernel.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

/// Threads of a node. Two: one hashes while the other is in the kernel.
const THREADS: usize = 2;

type Job = Box<dyn FnOnce() + Send>;

/// Hands jobs to the threads; they end with the last handle. What may wait in
/// line is bounded by the buffers that the jobs hold.
#[derive(Clone)]
pub(crate) struct Writers {
    jobs: mpsc::Sender<Job>,
}

impl Writers {
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name("samara-writer".into())
                .spawn(move || {
                    loop {
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        match job {
                            // A panic must not cost the thread; its chunk stays missing.
                            Ok(job) => drop(catch_unwind(AssertUnwindSafe(job))),
                            Err(mpsc::RecvError) => return,
                        }
                    }
                })?;
        }
        Ok(Self { jobs })
    }

    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        // Fails only when no thread is left, which is when the node stops.
        let _ = self.jobs.send(Box::new(job));
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
