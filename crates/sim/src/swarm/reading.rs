use std::{collections::BTreeSet, time::Duration};

/// What a node that reads while it receives could have read, and when.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// When all chunks up to each one were here.
    pub(crate) upto: Vec<Duration>,
    /// Here, but not all before them.
    ahead: BTreeSet<u32>,
}

impl Reading {
    /// One of `chunks` chunks is here; parity shards come after them and do not count.
    pub(crate) fn store(&mut self, now: Duration, chunk: u32, chunks: u32) {
        if chunk < chunks && chunk as usize >= self.upto.len() {
            self.ahead.insert(chunk);
        }
        while self.ahead.remove(&(self.upto.len() as u32)) {
            self.upto.push(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_can_be_read_when_all_before_it_are_here() {
        let second = Duration::from_secs;
        let mut reading = Reading::default();
        for (now, chunk) in [(1, 1), (2, 5), (3, 0), (4, 0), (5, 3), (6, 2)] {
            reading.store(second(now), chunk, 5);
        }
        assert_eq!(reading.upto, [3, 3, 6, 6].map(second));
    }
}
