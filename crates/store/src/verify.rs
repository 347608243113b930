use std::sync::{Arc, Mutex};

use crate::{
    Content, Placement, StoreError,
    content::{DATA, Place, SPILL, State},
    files,
    limits::MAX_RECHECKS,
    parallel,
    stamp::{Stamp, settle},
};

impl Content {
    /// Hashes everything that `have` claims again, on all cores. What does not
    /// match any more is taken out of `have` and returned, ascending.
    pub fn verify(&self) -> Result<Vec<u32>, StoreError> {
        let _examining = self.examining.lock().expect("no panic inside");
        let place = self.place();
        let claimed: Vec<u32> = self.have().iter().collect();
        self.shared.files.close_all(self.uid);
        let mut lost = self.damaged(&place, &claimed);
        self.lose(&place, &lost);
        if let Some(shards) = &self.shards {
            lost.extend(shards.verify(shards.numbers()));
        }
        Ok(lost)
    }

    /// Hashes one chunk again, as a peer's complaint asks for. `Ok(false)`: it
    /// was damaged and is not in `have` any more.
    pub fn recheck(&self, chunk: u32) -> Result<bool, StoreError> {
        if let Some(shards) = self.shards_with(chunk) {
            return Ok(shards.has(chunk) && shards.verify([chunk]).is_empty());
        }
        let _examining = self.examining.lock().expect("no panic inside");
        let place = self.place();
        if !self.has(chunk) {
            return Ok(false);
        }
        let lost = self.damaged(&place, &[chunk]);
        self.lose(&place, &lost);
        Ok(lost.is_empty())
    }

    /// Hashes a file again that was not what it was. Returns the chunks that
    /// were lost; none if `seen` is not where the content lies any more.
    pub(crate) fn examine(&self, key: u32, seen: &Arc<Place>) -> Vec<u32> {
        let _examining = self.examining.lock().expect("no panic inside");
        let place = self.place();
        if !Arc::ptr_eq(&place, seen) {
            return Vec::new();
        }
        let checked = place.state == State::Finished && key != SPILL;
        // Another thread may have been here while this one waited.
        let now = || {
            files::open_read(&self.path_of(&place, key))
                .and_then(Stamp::of)
                .ok()
        };
        if checked && now() == Some(self.stamp(key)) {
            self.shared.files.close(self.uid, key);
            return Vec::new();
        }
        let claimed: Vec<u32> = self
            .chunks_of(key)
            .filter(|chunk| self.has(*chunk))
            .collect();
        tracing::warn!(
            path = %self.path_of(&place, key).display(),
            "a file was changed behind our back; hashing it again"
        );
        let (mut lost, mut fresh) = (claimed.clone(), None);
        for _ in 0..MAX_RECHECKS {
            self.shared.files.close(self.uid, key);
            let before = now();
            settle(&before);
            let damaged = self.damaged(&place, &claimed);
            if before == now() {
                (lost, fresh) = (damaged, before);
                break;
            }
        }
        // First the claims, then the stamp: under the new stamp a reader, or the next
        // start, takes the file for what the claims say.
        self.lose(&place, &lost);
        if let (true, Some(stamp)) = (checked, fresh) {
            let index = if key == DATA { 0 } else { key as usize };
            self.stamps.write().expect("no panic inside")[index] = stamp;
        }
        if checked {
            let stamps = self.stamps.read().expect("no panic inside").clone();
            if let Err(e) = self.dir.save_stamps(&stamps) {
                tracing::warn!(content = %self.id(), error = %e, "cannot write the stamps");
            }
        }
        lost
    }

    /// Compares every file with its stamp; those that differ are hashed again.
    pub(crate) fn examine_files(&self) {
        let place = self.place();
        for (entry, _) in self.files_with_bytes() {
            self.examine(entry, &place);
        }
    }

    /// Which of `chunks` do not hash to what the manifest says, ascending.
    pub(crate) fn damaged(&self, place: &Place, chunks: &[u32]) -> Vec<u32> {
        let damaged = Mutex::new(Vec::new());
        let check = |i: usize, buffer: &mut Vec<u8>| {
            if !self.is_intact(place, chunks[i], buffer) {
                damaged.lock().expect("no panic inside").push(chunks[i]);
            }
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(()) = parallel::for_each(self.shared.config.threads, chunks.len(), 16, check);
        let mut damaged = damaged.into_inner().expect("no panic inside");
        damaged.sort_unstable();
        damaged
    }

    /// Whether all of `chunks` hash to what the manifest says.
    pub(crate) fn all_intact(&self, place: &Place, chunks: &[u32]) -> bool {
        let check = |i: usize, buffer: &mut Vec<u8>| {
            self.is_intact(place, chunks[i], buffer)
                .then_some(())
                .ok_or(())
        };
        parallel::for_each(self.shared.config.threads, chunks.len(), 16, check).is_ok()
    }

    /// Takes chunks out of all claims, and writes down what is left.
    pub(crate) fn lose(&self, place: &Arc<Place>, lost: &[u32]) {
        for chunk in lost {
            self.have.remove(*chunk);
        }
        if lost.is_empty() {
            return;
        }
        self.unclaim(lost);
        // The store's own file is written again where it was damaged; what lies
        // at a user's path is the user's.
        if place.placement == Placement::Sealed && place.state == State::Finished {
            *self.place.write().expect("no panic inside") = Arc::new(Place {
                placement: Placement::Sealed,
                state: State::Open,
            });
        }
    }
}
