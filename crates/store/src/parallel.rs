use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Calls `work` with a buffer of the thread's own for every number below `count`,
/// on `threads` threads, `step` numbers at a time. Stops at the first error and
/// returns it.
pub(crate) fn for_each<E: Send>(
    threads: usize,
    count: usize,
    step: usize,
    work: impl Fn(usize, &mut Vec<u8>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let threads = threads.clamp(1, count.div_ceil(step).max(1));
    if threads == 1 {
        let mut buffer = Vec::new();
        return (0..count).try_for_each(|i| work(i, &mut buffer));
    }
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let start = next.fetch_add(step, Ordering::Relaxed);
                    if start >= count {
                        return;
                    }
                    for i in start..(start + step).min(count) {
                        if let Err(e) = work(i, &mut buffer) {
                            stop.store(true, Ordering::Relaxed);
                            failure.lock().expect("no panic inside").get_or_insert(e);
                            return;
                        }
                    }
                }
            });
        }
    });
    failure
        .into_inner()
        .expect("no panic inside")
        .map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_worked_on_once() {
        let seen: Vec<_> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        for_each(4, seen.len(), 7, |i, _| {
            seen[i].fetch_add(1, Ordering::Relaxed);
            Ok::<_, ()>(())
        })
        .unwrap();
        assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn an_error_comes_back() {
        assert_eq!(
            for_each(3, 100, 1, |i, _| if i == 40 { Err(i) } else { Ok(()) }),
            Err(40)
        );
        assert_eq!(for_each(3, 0, 1, |_, _| Err(())), Ok(()));
    }
}
