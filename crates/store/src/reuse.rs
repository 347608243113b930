use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use samara_wire::ChunkHash;

use crate::{Content, StoreError, WriteError, parallel};

impl Content {
    /// Fills missing wanted chunks from other contents of the store and from the
    /// same content in another place. `progress` gets the bytes found so far,
    /// from several threads. Returns the bytes found.
    ///
    /// The chunks to look for are few and the manifests are in memory: no index
    /// of chunks is kept that could be wrong.
    pub fn reuse(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<u64, StoreError> {
        let mut missing: HashMap<ChunkHash, Vec<u32>> = HashMap::new();
        for chunk in self.wanted.iter_difference(&self.have()) {
            if let Some(expected) = self.manifest.chunk(chunk) {
                missing.entry(expected.hash).or_default().push(chunk);
            }
        }
        let mut found: Vec<(Arc<Content>, u32, Vec<u32>)> = Vec::new();
        for donor in self.donors() {
            if missing.is_empty() {
                break;
            }
            for chunk in &donor.have() {
                let hash = donor.manifest.chunk(chunk).map(|c| c.hash);
                if let Some(targets) = hash.and_then(|hash| missing.remove(&hash)) {
                    found.push((donor.clone(), chunk, targets));
                }
            }
        }
        let reused = AtomicU64::new(0);
        parallel::for_each(self.shared.config.threads, found.len(), 4, |i, buffer| {
            let (donor, chunk, targets) = &found[i];
            // A donor's damage is not ours: the chunk is fetched instead.
            if donor.read_chunk(*chunk, buffer).is_err() {
                return Ok(());
            }
            for target in targets {
                match self.verify_and_write(*target, buffer) {
                    Ok(()) => {
                        let bytes = buffer.len() as u64;
                        progress(reused.fetch_add(bytes, Ordering::Relaxed) + bytes);
                    }
                    Err(WriteError::Mismatch { .. }) => {}
                    Err(WriteError::NoSpace { path }) => {
                        let (need, free) = (self.missing_bytes(), crate::install::free(&path));
                        return Err(StoreError::NoSpace { path, need, free });
                    }
                    Err(WriteError::Io { path, source }) => {
                        return Err(StoreError::io("write", path, source));
                    }
                    Err(_) => return Ok(()),
                }
            }
            Ok(())
        })?;
        Ok(reused.into_inner())
    }

    pub(crate) fn missing_bytes(&self) -> u64 {
        let have = self.have();
        let missing = self.wanted.iter_difference(&have);
        missing
            .filter_map(|chunk| self.manifest.chunk(chunk))
            .map(|c| u64::from(c.len))
            .sum()
    }

    /// Who may have our chunks, the likeliest first.
    fn donors(&self) -> Vec<Arc<Content>> {
        let mut donors: Vec<_> = self
            .donor
            .lock()
            .expect("no panic inside")
            .clone()
            .into_iter()
            .collect();
        if let Some(table) = self.table.upgrade() {
            // Earlier versions have the same name.
            let mut others = table.all();
            others.retain(|other| other.id() != self.id());
            let name = &self.manifest.root().name;
            others.sort_by_key(|other| {
                (
                    &other.manifest.root().name != name,
                    u64::MAX - other.added_ms,
                )
            });
            donors.extend(others);
        }
        donors
    }
}
