//! What is to happen, and when.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use samara_swarm::Event;

use super::{fluid::End, pipes::Pair, streams::Ticket};

/// What is to happen. What is large is boxed: a crowd plans a great deal at once, and
/// the places for it are never given back.
#[derive(Debug)]
pub(crate) enum Next {
    /// A node takes part from now on.
    Start {
        node: usize,
    },
    /// Two nodes get to know each other.
    Meet {
        a: usize,
        b: usize,
    },
    /// A node's own event.
    Tell {
        node: usize,
        event: Box<Event>,
    },
    /// News reach several nodes.
    News {
        from: usize,
        news: Box<News>,
    },
    /// The last byte of the transfer at the head of a pair has left.
    Sent(End),
    /// A queue's chunk has left; the rest of its way takes so long.
    Passed {
        pair: Pair,
        rest: Duration,
    },
    /// A request reaches whom it was sent to.
    Asked {
        ticket: Ticket,
    },
    /// A refusal, or the end of a stream, reaches who asked.
    Failed {
        ticket: Ticket,
    },
    /// The end of an answer is known to the one who sent it.
    Ended {
        ticket: Ticket,
    },
    /// A chunk is all here.
    Arrived {
        ticket: Ticket,
        chunk: u32,
    },
    /// A node does not want the rest of an answer.
    Stopped {
        ticket: Ticket,
    },
    Vanish {
        node: usize,
    },
    /// Both ends look at what takes long.
    Look,
}

/// Things to come, the earliest first, in the order they were planned.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Nanosecond, sequence and place.
    heap: BinaryHeap<Reverse<(u64, u64, u32)>>,
    /// Places of past things are used again.
    plans: Vec<Option<Next>>,
    free: Vec<u32>,
    sequence: u64,
}

impl Agenda {
    pub(crate) fn plan(&mut self, at: Duration, next: Next) {
        self.sequence += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.plans.push(None);
            (self.plans.len() - 1) as u32
        });
        self.plans[place as usize] = Some(next);
        let at = u64::try_from(at.as_nanos()).expect("within some centuries");
        self.heap.push(Reverse((at, self.sequence, place)));
    }

    pub(crate) fn next(&mut self) -> Option<(Duration, Next)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        let next = self.plans[place as usize].take();
        Some((Duration::from_nanos(at), next.expect("planned together")))
    }
}

/// The same news for several nodes.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) delay: Duration,
    pub(crate) to: Vec<u32>,
    pub(crate) chunks: Box<[u32]>,
    /// Of the message to each.
    pub(crate) bytes: u64,
}
