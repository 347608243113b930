//! Time that stands still while anybody has something to do, and then jumps to the
//! next thing that is planned.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use quinn::AsyncTimer;

/// tokio's timers fire at whole milliseconds, rounded up: so do these, or quinn would
/// pace its packets better than it does in a node.
const TICK: u64 = 1_000_000;

/// Nanoseconds since the world began.
pub(super) type Nanos = u64;

type Job = Box<dyn FnOnce(Nanos) + Send>;

/// The world's only clock. Cheap to clone.
#[derive(Clone)]
pub(super) struct Clock {
    began: Instant,
    agenda: Arc<Mutex<Agenda>>,
}

#[derive(Default)]
struct Agenda {
    now: Nanos,
    planned: u64,
    woken: u64,
    heap: BinaryHeap<Reverse<(Nanos, u64, usize)>>,
    plans: Vec<Option<Plan>>,
    free: Vec<usize>,
}

enum Plan {
    Alarm(Arc<Mutex<Alarm>>),
    Job(Job),
}

/// A timer's state. It is planned anew only for an earlier time: quinn puts its timers
/// off with every packet.
#[derive(Default)]
struct Alarm {
    deadline: Nanos,
    planned: Option<Nanos>,
    waker: Option<Waker>,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            agenda: Arc::default(),
        }
    }

    /// A runtime of one thread that has this clock move on whenever all tasks wait.
    pub(super) fn runtime(&self) -> tokio::runtime::Runtime {
        let clock = self.clone();
        tokio::runtime::Builder::new_current_thread()
            .on_thread_park(move || clock.move_on())
            .build()
            .expect("a runtime without drivers")
    }

    pub(super) fn nanos(&self) -> Nanos {
        self.lock().now
    }

    pub(super) fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos())
    }

    pub(super) fn instant(&self) -> Instant {
        self.began + self.now()
    }

    /// Has `job` done then; on time, not at the next tick.
    pub(super) fn plan(&self, at: Nanos, job: impl FnOnce(Nanos) + Send + 'static) {
        self.lock().plan(at, Plan::Job(Box::new(job)));
    }

    /// A timer for so long after the beginning.
    pub(super) fn timer(&self, at: Duration) -> Timer {
        let timer = Timer {
            clock: self.clone(),
            alarm: Arc::default(),
        };
        timer.set(at);
        timer
    }

    pub(super) async fn sleep_until(&self, at: Duration) {
        let timer = self.timer(at);
        std::future::poll_fn(|cx| timer.poll_alarm(cx)).await;
    }

    /// Does what is planned next, until somebody has something to do.
    fn move_on(&self) {
        let before = self.lock().woken;
        loop {
            let mut agenda = self.lock();
            if agenda.woken != before {
                return;
            }
            let Reverse((at, _, place)) = agenda.heap.pop().expect("everybody waits for ever");
            agenda.free.push(place);
            let plan = agenda.plans[place].take().expect("planned together");
            match plan {
                Plan::Job(job) => {
                    agenda.now = at;
                    drop(agenda);
                    job(at);
                }
                Plan::Alarm(alarm) => agenda.ring(at, alarm),
            }
        }
    }

    /// Somebody has something to do: the clock stands still until all wait again.
    pub(super) fn stand_still(&self) {
        self.lock().woken += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().expect("nothing panics with it")
    }
}

impl Agenda {
    fn plan(&mut self, at: Nanos, plan: Plan) {
        self.planned += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.plans.push(None);
            self.plans.len() - 1
        });
        self.plans[place] = Some(plan);
        self.heap
            .push(Reverse((at.max(self.now), self.planned, place)));
    }

    fn ring(&mut self, at: Nanos, alarm: Arc<Mutex<Alarm>>) {
        let mut state = alarm.lock().expect("nothing panics with it");
        if state.planned != Some(at) {
            return;
        }
        state.planned = None;
        if state.waker.is_none() {
            return;
        }
        if state.deadline > at {
            let deadline = state.deadline;
            state.planned = Some(deadline);
            drop(state);
            self.plan(deadline, Plan::Alarm(alarm));
            return;
        }
        self.now = at;
        if let Some(waker) = state.waker.take() {
            self.woken += 1;
            waker.wake();
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}

/// What quinn and the members wait for.
#[derive(Debug)]
pub(super) struct Timer {
    clock: Clock,
    alarm: Arc<Mutex<Alarm>>,
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Alarm").field(&self.deadline).finish()
    }
}

impl Timer {
    fn set(&self, at: Duration) {
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX / 2);
        let mut alarm = self.alarm.lock().expect("nothing panics with it");
        alarm.deadline = nanos.div_ceil(TICK) * TICK;
    }

    fn poll_alarm(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut alarm = self.alarm.lock().expect("nothing panics with it");
        let mut agenda = self.clock.lock();
        if agenda.now >= alarm.deadline {
            return Poll::Ready(());
        }
        alarm.waker = Some(cx.waker().clone());
        let deadline = alarm.deadline;
        if alarm.planned.is_none_or(|planned| planned > deadline) {
            alarm.planned = Some(deadline);
            agenda.plan(deadline, Plan::Alarm(Arc::clone(&self.alarm)));
        }
        Poll::Pending
    }
}

impl AsyncTimer for Timer {
    fn reset(self: Pin<&mut Self>, at: Instant) {
        Timer::set(&self, at.saturating_duration_since(self.clock.began));
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_alarm(cx)
    }
}

/// quinn's way to the clock.
#[derive(Debug)]
pub(super) struct Runtime(pub(super) Clock);

impl quinn::Runtime for Runtime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(self.0.timer(at.saturating_duration_since(self.0.began)))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(future);
    }

    fn wrap_udp_socket(
        &self,
        _: std::net::UdpSocket,
    ) -> std::io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn now(&self) -> Instant {
        self.0.instant()
    }
}
