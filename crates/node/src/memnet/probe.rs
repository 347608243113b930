//! quinn's congestion controllers, with a look inside.

use std::{
    any::Any,
    sync::{Arc, Mutex},
    time::Instant,
};

use quinn::congestion::{Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

/// What one connection's controller knows.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Flow {
    pub(super) in_flight: u64,
    pub(super) window: u64,
    /// Losses that made the window smaller, and those that closed it.
    pub(super) losses: u64,
    pub(super) collapses: u64,
}

impl Flow {
    /// Whether no packet more fits its window.
    pub(super) fn is_shut(&self) -> bool {
        self.in_flight + MTU >= self.window
    }
}

/// Bytes of a full packet.
const MTU: u64 = 1_472;

/// All connections of one node, in the order that they were made.
pub(super) type Flows = Arc<Mutex<Vec<Arc<Mutex<Flow>>>>>;

/// Makes watched controllers for one node.
pub(super) struct Watch {
    pub(super) inner: Arc<dyn ControllerFactory + Send + Sync>,
    pub(super) flows: Flows,
}

impl Watch {
    pub(super) fn cubic(flows: &Flows) -> Self {
        Self {
            inner: Arc::new(CubicConfig::default()),
            flows: Arc::clone(flows),
        }
    }
}

impl ControllerFactory for Watch {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        let flow = Arc::default();
        self.flows.lock().expect("no panic").push(Arc::clone(&flow));
        let inner = Arc::clone(&self.inner).build(now, mtu);
        Box::new(Watched { inner, flow })
    }
}

struct Watched {
    inner: Box<dyn Controller>,
    flow: Arc<Mutex<Flow>>,
}

impl Watched {
    fn note(&self, change: impl FnOnce(&mut Flow)) {
        let mut flow = self.flow.lock().expect("no panic");
        change(&mut flow);
        flow.window = self.inner.window();
    }
}

impl Controller for Watched {
    fn on_sent(&mut self, now: Instant, bytes: u64, last: u64) {
        self.inner.on_sent(now, bytes, last);
        self.note(|flow| flow.in_flight += bytes);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, idle: bool, last: Option<u64>) {
        self.inner.on_end_acks(now, in_flight, idle, last);
        self.note(|flow| flow.in_flight = in_flight);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost: u64) {
        let before = self.inner.window();
        self.inner.on_congestion_event(now, sent, persistent, lost);
        let fell = self.inner.window() < before;
        self.note(|flow| {
            flow.in_flight = flow.in_flight.saturating_sub(lost);
            flow.losses += u64::from(fell);
            flow.collapses += u64::from(persistent);
        });
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.inner.on_mtu_update(mtu);
    }

    fn window(&self) -> u64 {
        self.inner.window()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Self {
            inner: self.inner.clone_box(),
            flow: Arc::clone(&self.flow),
        })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
