//! Links as queues: every pipe carries one chunk at a time.
//!
//! What this leaves out of [`Fluid`](super::fluid::Fluid): a sender's peers take
//! turns chunk by chunk instead of sharing its link evenly at every moment, and a
//! full pipe further on does not slow the sender down, it lets chunks wait before
//! it (as many as the sender gave credit for). A chunk costs the same however
//! many nodes there are, where the exact shares of a connected crowd all depend
//! on each other.

use std::collections::VecDeque;

use super::pipes::{Pair, Pipes};

/// When a chunk has left its sender, and when all of it is there, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Passage {
    pub(crate) left: f64,
    pub(crate) there: f64,
}

/// Whose turn it is on every uplink, and until when every pipe is taken.
#[derive(Debug)]
pub(crate) struct Queue {
    free_at: Vec<f64>,
    /// Peers with something to be sent to, by turns.
    turns: Vec<VecDeque<usize>>,
    /// To whom a node is sending, and from when until when.
    sending: Vec<Option<(usize, f64, f64)>>,
}

impl Queue {
    pub(crate) fn new(pipes: &Pipes, nodes: usize) -> Self {
        Self {
            free_at: vec![0.0; pipes.len()],
            turns: vec![VecDeque::new(); nodes],
            sending: vec![None; nodes],
        }
    }

    /// A pair has something to carry; whether its sender was idle.
    pub(crate) fn join(&mut self, (from, to): Pair) -> bool {
        self.turns[from].push_back(to);
        self.sending[from].is_none()
    }

    /// A pair has nothing to carry any more.
    pub(crate) fn leave(&mut self, (from, to): Pair) {
        self.turns[from].retain(|other| *other != to);
    }

    /// Who sends a chunk of so many bytes to whom, and how many of them are left.
    pub(crate) fn under_way(&self, now: f64, bytes: f64) -> Vec<(Pair, f64)> {
        let sending = self.sending.iter().enumerate();
        sending
            .filter_map(|(from, sending)| {
                let (to, since, until) = (*sending)?;
                let part = (until - now) / (until - since);
                Some(((from, to), bytes * part.clamp(0.0, 1.0)))
            })
            .collect()
    }

    /// The next peer in turn; `None`: the node has nothing to send.
    pub(crate) fn next(&mut self, from: usize) -> Option<usize> {
        let to = self.turns[from].pop_front();
        self.sending[from] = to.map(|to| (to, f64::INFINITY, f64::INFINITY));
        to
    }

    /// Sends a chunk now.
    pub(crate) fn pass(&mut self, pipes: &Pipes, now: f64, pair: Pair, bytes: f64) -> Passage {
        let (mut first, mut last) = (now, now);
        let mut left = now;
        for (i, pipe) in pipes.way(pair).pipes().enumerate() {
            // The pipe passes on what it has of the chunk while the rest comes in.
            first = self.free_at[pipe].max(first);
            last = last.max(first + bytes / pipes.rate(pipe));
            self.free_at[pipe] = last;
            if i == 0 {
                left = last;
                self.sending[pair.0] = Some((pair.1, first, last));
            }
        }
        Passage { left, there: last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_waits_for_every_pipe_on_its_way() {
        let pipes = Pipes::new(
            [(10.0, 10.0, None), (10.0, 5.0, None), (10.0, 5.0, None)],
            &[],
        );
        let mut queue = Queue::new(&pipes, 3);
        let pass = |left, there| Passage { left, there };
        assert_eq!(queue.pass(&pipes, 0.0, (0, 1), 10.0), pass(1.0, 2.0));
        assert_eq!(queue.pass(&pipes, 1.0, (0, 1), 10.0), pass(2.0, 4.0));
        assert_eq!(queue.pass(&pipes, 2.0, (0, 2), 10.0), pass(3.0, 4.0));
    }

    #[test]
    fn peers_take_turns() {
        let pipes = Pipes::new([(1.0, 1.0, None); 3], &[]);
        let mut queue = Queue::new(&pipes, 3);
        assert!(queue.join((0, 1)));
        assert_eq!(queue.next(0), Some(1));
        assert!(!queue.join((0, 2)) && !queue.join((0, 1)));
        assert_eq!(
            [queue.next(0), queue.next(0), queue.next(0)],
            [Some(2), Some(1), None]
        );
        assert!(queue.join((0, 1)));
    }
}
