//! A rate that many wait for, and that can change while they do.

use std::{
    pin::pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};

use super::pacer::Pacer;

/// Waits until bytes may pass: in the order of asking, or at once while there is no rate.
#[derive(Debug)]
pub(crate) struct Bucket {
    pacer: Mutex<Option<Pacer>>,
    /// Bytes asked for that did not come in yet.
    asked: AtomicU64,
    changed: Notify,
    turn: tokio::sync::Mutex<()>,
    started: Instant,
}

impl Default for Bucket {
    fn default() -> Self {
        Self {
            pacer: Mutex::default(),
            asked: AtomicU64::new(0),
            changed: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            started: Instant::now(),
        }
    }
}

impl Bucket {
    /// Another rate, in bytes a second; who waits goes on by it. Nothing happens if it is
    /// the one that holds.
    pub(crate) fn set(&self, rate: Option<u64>) {
        let mut pacer = self.pacer();
        if pacer.as_ref().map(Pacer::rate) != rate {
            let (now, unread) = (self.started.elapsed(), self.unread());
            *pacer = match (pacer.take(), rate) {
                (Some(before), Some(rate)) => Some(before.at_rate(rate, now, unread)),
                (_, rate) => rate.map(Pacer::new),
            };
            drop(pacer);
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn rate(&self) -> Option<u64> {
        self.pacer().as_ref().map(Pacer::rate)
    }

    /// Bytes that are best taken at once; `None`: any number.
    pub(crate) fn piece(&self) -> Option<u64> {
        self.pacer().as_ref().map(Pacer::piece)
    }

    /// So many bytes are asked for.
    pub(super) fn ask(&self, bytes: u64) {
        self.asked.fetch_add(bytes, Ordering::Relaxed);
    }

    /// They came in, or will not.
    pub(super) fn settle(&self, bytes: u64) {
        self.asked.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that may be asked for, so that no more are under way than come in within
    /// `time`; always some if none are. `None`: any number.
    pub(super) fn room(&self, time: Duration) -> Option<u64> {
        let most = (self.rate()? as f64 * time.as_secs_f64()) as u64;
        let asked = self.asked.load(Ordering::Relaxed);
        Some(match asked {
            0 => most.max(1),
            asked => most.saturating_sub(asked),
        })
    }

    /// Bytes have passed that nobody took.
    pub(crate) fn owe(&self, bytes: u64) {
        let now = self.started.elapsed();
        if let Some(pacer) = &mut *self.pacer() {
            pacer.owe(now, bytes, self.unread());
        }
    }

    /// Bytes have passed that nobody took, and it is not known whether they concern this.
    pub(crate) fn forgive(&self, bytes: u64) {
        if let Some(pacer) = &mut *self.pacer() {
            pacer.forgive(bytes, self.unread());
        }
    }

    /// Bytes were paid for twice.
    pub(crate) fn refund(&self, bytes: u64) {
        if let Some(pacer) = &mut *self.pacer() {
            pacer.refund(bytes, self.unread());
        }
    }

    fn unread(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Takes so many bytes; `waits` is called if that takes time.
    pub(crate) async fn take(&self, bytes: u64, mut waits: impl FnMut()) {
        if self.pacer().is_none() {
            return;
        }
        let turn = self.turn.try_lock();
        let _turn = match turn {
            Ok(turn) => turn,
            Err(_) => {
                waits();
                self.turn.lock().await
            }
        };
        let mut left = bytes;
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let wait = match &mut *self.pacer() {
                None => return,
                Some(pacer) => pacer.pay(self.started.elapsed(), &mut left),
            };
            let Some(wait) = wait else { return };
            waits();
            tokio::select! {
                () = sleep(wait) => {}
                () = changed => {}
            }
        }
    }

    fn pacer(&self) -> MutexGuard<'_, Option<Pacer>> {
        self.pacer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn who_waits_goes_on_when_the_rate_is_lifted() {
        let bucket = Arc::new(Bucket::default());
        bucket.set(Some(1));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let bucket = bucket.clone();
                tokio::spawn(async move { bucket.take(1 << 30, || {}).await })
            })
            .collect();
        let soon = timeout(Duration::from_millis(50), bucket.take(1 << 30, || {})).await;
        assert!(soon.is_err(), "a gibibyte takes 34 years");
        // A faster rate first: who waits goes on by it.
        bucket.set(Some(u64::MAX / 2));
        for task in waiting {
            timeout(Duration::from_secs(20), task)
                .await
                .unwrap()
                .unwrap();
        }
        bucket.set(None);
        bucket
            .take(u64::MAX / 2, || panic!("there is nothing to wait for"))
            .await;
    }

    #[tokio::test]
    async fn who_gives_up_owes_nothing() {
        let bucket = Bucket::default();
        bucket.set(Some(1 << 20));
        let much = timeout(Duration::from_millis(20), bucket.take(1 << 40, || {})).await;
        assert!(much.is_err());
        // Else this would take twelve days.
        timeout(Duration::from_secs(20), bucket.take(1024, || {}))
            .await
            .unwrap();
    }
}
