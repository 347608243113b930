//! Requests on their way through the world.

use std::collections::{HashMap, VecDeque};

use samara_swarm::{RequestId, ServeId};

use super::pipes::Pair;

/// Names a request: who sends the answer to whom, and which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Uploader and asker: the direction of the bytes.
    pub(crate) pair: Pair,
    pub(crate) serve: ServeId,
}

/// A request that has not ended.
#[derive(Debug)]
pub(crate) struct Stream {
    serve: ServeId,
    pub(crate) request: RequestId,
    pub(crate) chunks: Vec<u32>,
    /// Chunks that have not left yet.
    pub(crate) left: usize,
}

/// All requests, and what waits to be sent for them.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: HashMap<Pair, Vec<Stream>>,
    /// The one being sent at the head.
    lines: HashMap<Pair, VecDeque<(ServeId, u32)>>,
    made: u64,
}

impl Streams {
    pub(crate) fn open(&mut self, pair: Pair, request: RequestId, chunks: Vec<u32>) -> Ticket {
        self.made += 1;
        let serve = ServeId(self.made);
        self.open.entry(pair).or_default().push(Stream {
            serve,
            request,
            left: chunks.len(),
            chunks,
        });
        Ticket { pair, serve }
    }

    pub(crate) fn get(&mut self, ticket: Ticket) -> Option<&mut Stream> {
        let streams = self.open.get_mut(&ticket.pair)?;
        streams.iter_mut().find(|s| s.serve == ticket.serve)
    }

    pub(crate) fn ticket(&self, pair: Pair, request: RequestId) -> Option<Ticket> {
        let mut streams = self.open.get(&pair)?.iter();
        let serve = streams.find(|s| s.request == request)?.serve;
        Some(Ticket { pair, serve })
    }

    pub(crate) fn close(&mut self, ticket: Ticket) -> Option<Stream> {
        let streams = self.open.get_mut(&ticket.pair)?;
        let place = streams.iter().position(|s| s.serve == ticket.serve)?;
        let stream = streams.swap_remove(place);
        if streams.is_empty() {
            self.open.remove(&ticket.pair);
        }
        Some(stream)
    }

    /// Has an answer sent; whether the pair had nothing to send.
    pub(crate) fn line_up(&mut self, ticket: Ticket, chunks: &[u32]) -> bool {
        let line = self.lines.entry(ticket.pair).or_default();
        let idle = line.is_empty();
        line.extend(chunks.iter().map(|chunk| (ticket.serve, *chunk)));
        idle
    }

    /// What is being sent.
    pub(crate) fn head(&self, pair: Pair) -> Option<(ServeId, u32)> {
        self.lines.get(&pair)?.front().copied()
    }

    /// The chunk at the head has left; what it was, and whether another follows.
    pub(crate) fn advance(&mut self, pair: Pair) -> Option<((ServeId, u32), bool)> {
        let line = self.lines.get_mut(&pair)?;
        let head = line.pop_front()?;
        let more = !line.is_empty();
        if !more {
            self.lines.remove(&pair);
        }
        Some((head, more))
    }

    /// Takes what is left of an answer out of the line, but for its head if that
    /// `stays`; whether the head went, and whether something is left.
    pub(crate) fn strike(&mut self, ticket: Ticket, stays: bool) -> (bool, bool) {
        let Some(line) = self.lines.get_mut(&ticket.pair) else {
            return (false, false);
        };
        let ours = line.front().is_some_and(|(s, _)| *s == ticket.serve);
        let mut first = true;
        line.retain(|(s, _)| *s != ticket.serve || std::mem::take(&mut first) && ours && stays);
        let more = !line.is_empty();
        if !more {
            self.lines.remove(&ticket.pair);
        }
        (ours && !stays, more)
    }

    /// Forgets everything from one node to another.
    pub(crate) fn drop_pair(&mut self, pair: Pair) {
        self.open.remove(&pair);
        self.lines.remove(&pair);
    }
}
