//! Chunks brought back from parity shards.

use samara_store::{CodingError, WriteError};
use samara_swarm::Event;

use super::{Core, Input, TransferKey, transfers::disk_error};
use crate::{EngineError, api::ErrorKind};

impl Core {
    /// Has a stripe decoded on the threads that hash.
    pub(super) fn decode(&self, key: TransferKey, stripe: u32) {
        let Some(transfer) = self.transfers.get(&key) else {
            return;
        };
        let (content, inputs) = (transfer.content.clone(), self.inputs.clone());
        self.writers.submit(move || {
            let result = content.decode(stripe);
            let _ = inputs.blocking_send(Input::Decoded {
                key,
                stripe,
                result,
            });
        });
    }

    fn is_at_rest(&self, key: TransferKey) -> bool {
        let transfer = self.transfers.get(&key);
        transfer.is_some_and(|transfer| transfer.content.is_finished())
    }

    pub(super) fn on_decoded(
        &mut self,
        key: TransferKey,
        stripe: u32,
        result: Result<Vec<u32>, CodingError>,
    ) {
        let broken = match result {
            Ok(chunks) => {
                if let Some(transfer) = self.transfers.get_mut(&key) {
                    transfer.dirty = true;
                }
                self.metrics.chunks_decoded.inc_by(chunks.len() as u64);
                for chunk in chunks {
                    if let Some(transfer) = self.transfers.get_mut(&key) {
                        transfer.counted.insert(chunk);
                    }
                    self.swarm_event(Event::ChunkStored { key, chunk });
                }
                return;
            }
            Err(CodingError::TooLittle { lost, .. }) => {
                self.withdraw(key, lost);
                false
            }
            Err(error @ CodingError::False { .. }) => {
                self.warn(error.to_string());
                true
            }
            // A user's file was changed: what it lost cannot be put back there.
            Err(CodingError::Write(WriteError::NotWritable)) if self.is_at_rest(key) => false,
            Err(CodingError::Write(WriteError::NotWritable)) => {
                let message = "the content was forgotten while it was fetched";
                self.fail(key, EngineError::new(ErrorKind::Interrupted, message));
                return;
            }
            Err(error) => {
                let full = matches!(error, CodingError::Write(WriteError::NoSpace { .. }));
                self.fail(key, disk_error(full, &error));
                return;
            }
        };
        self.swarm_event(Event::DecodeFailed {
            key,
            stripe,
            broken,
        });
    }
}
