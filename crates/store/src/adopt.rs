use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use samara_content::{ChunkSet, Entry, EntryKind, EntryPath, Manifest};

use crate::{
    Content, Difference, Placement, Store, StoreError,
    content::State,
    install::{Parts, set_mode},
    scan::Tree,
    stamp::{Stamp, settle},
    sync::Synced,
};

impl Store {
    /// Takes what lies at the destination for the content, if it is.
    pub(crate) fn adopt(
        &self,
        parts: &Parts,
        path: &Path,
    ) -> Result<Option<Arc<Content>>, StoreError> {
        let Some((present, tree)) = compare(parts, path) else {
            return Ok(None);
        };
        settle(&tree.stamps);
        let entries = parts.manifest.entries().unwrap_or_default();
        // What else lies there of the content is known to it as well.
        let chosen = (!present.is_full()).then_some(&present);
        let Ok(wider) = Parts::new(self, parts.manifest.clone(), chosen.cloned()) else {
            return Ok(None);
        };
        let wanted = wider.wanted.clone();
        let synced = Synced {
            set: wanted.clone(),
            bitfield: None,
            stamp_ns: 0,
        };
        let placement = Placement::Installed(path.to_owned());
        let probe = wider.content(
            self,
            placement.clone(),
            State::Finished,
            wanted.clone(),
            Vec::new(),
            synced,
        );
        if !probe.all_intact(&probe.place(), &wanted.iter().collect::<Vec<_>>()) {
            return Ok(None);
        }
        let unchanged =
            compare(parts, path).is_some_and(|(_, later)| tree.first_change(&later).is_none());
        if !unchanged {
            return Ok(None);
        }
        let at = |entry: &Entry| {
            if probe.manifest.root().single_file() {
                path.to_owned()
            } else {
                path.join(&entry.path)
            }
        };
        let set_mode = |path: PathBuf, mode| {
            set_mode(&path, mode).map_err(|e| StoreError::io("change the mode of", path, e))
        };
        let change = |entry: &Entry| {
            let index = entries.binary_search_by(|e| e.path.cmp(&entry.path));
            match index.ok().map(|i| entries[i].mode) {
                Some(mode) if mode != entry.mode => set_mode(at(entry), mode),
                _ => Ok(()),
            }
        };
        let mut stamps = vec![Stamp::default(); entries.len()];
        let files = |entry: &&Entry| matches!(entry.kind, EntryKind::File { .. });
        tree.entries.iter().filter(files).try_for_each(change)?;
        for (i, entry) in probe.chosen_entries(|kind| matches!(kind, EntryKind::File { .. })) {
            let meta = std::fs::symlink_metadata(at(entry));
            let meta = meta.map_err(|e| StoreError::io("examine", at(entry), e))?;
            stamps[i as usize] = Stamp::from_metadata(&meta);
        }
        // The deepest first, the root last: one may end up closed to us.
        let folders = |entry: &&Entry| entry.kind == EntryKind::Directory;
        let mut folders = tree.entries.iter().filter(folders);
        folders.try_rfold((), |(), entry| change(entry))?;
        if let Some(mode) = parts.manifest.root().folder_mode
            && tree.folder_mode != Some(mode)
        {
            set_mode(path.to_owned(), mode)?;
        }
        self.supersede(probe.id())?;
        let parts = Parts::new(self, parts.manifest.clone(), chosen.cloned())?;
        let content = parts.finished(self, placement, wanted, stamps)?;
        self.register(&content)?;
        Ok(Some(content))
    }
}

impl Content {
    /// Whether everything that `parts` selects is selected here.
    fn covers(&self, parts: &Parts) -> bool {
        match (&self.chosen, &parts.chosen) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => theirs.difference_count(ours) == 0,
        }
    }
}

/// The content that is under way to, or lies at, the same path.
pub(crate) fn same_place(
    old: &Arc<Content>,
    path: &Path,
    parts: &Parts,
) -> Result<Option<Arc<Content>>, StoreError> {
    let covers = parts.wanted.difference_count(&old.wanted) == 0 && old.covers(parts);
    match old.placement() {
        // Another selection takes its place: nothing else may be installed.
        Placement::Staging { destination, .. } if destination == path => {
            Ok((old.chosen == parts.chosen).then(|| old.clone()))
        }
        Placement::Staging { destination, .. } => {
            let reason = format!(
                "the content is being downloaded to {}",
                destination.display()
            );
            Err(StoreError::BadDestination {
                path: path.to_owned(),
                reason,
            })
        }
        Placement::Installed(at) | Placement::InPlace(at) if at == path && covers => {
            old.examine_files();
            let whole = old.has_wanted() && compare(parts, path).is_some();
            Ok(whole.then(|| old.clone()))
        }
        _ => Ok(None),
    }
}

/// Whether what lies at `path` is an earlier, narrower selection of the same
/// content that the store put there, unchanged; then that is selected too.
pub(crate) fn widens(parts: &mut Parts, path: &Path) -> bool {
    let Some(old) = &parts.donor else {
        return false;
    };
    let (Some(before), Placement::Installed(at)) = (&old.chosen, old.placement()) else {
        return false;
    };
    if at != path {
        return false;
    }
    old.examine_files();
    // Folders come and go with what lies in them.
    let foreign = |present: &ChunkSet| {
        let mut found = present.iter_difference(before);
        found.any(|i| old.entries()[i as usize].kind != EntryKind::Directory)
    };
    let tree = compare_loosely(&parts.manifest, path);
    if !old.has_wanted() || tree.is_none_or(|(present, _)| foreign(&present)) {
        return false;
    }
    if let Some(chosen) = &mut parts.chosen {
        chosen.union_with(before);
    }
    true
}

/// How what lies at `path` is not what was to be put there.
pub(crate) fn difference(store: &Store, parts: Parts, path: &Path) -> Difference {
    // What else is there of the content shares chunks with what was selected.
    let wider = compare_loosely(&parts.manifest, path).and_then(|(mut present, _)| {
        match &parts.chosen {
            Some(chosen) => present.union_with(chosen),
            None => return None,
        }
        let chosen = (!present.is_full()).then_some(present);
        Parts::new(store, parts.manifest.clone(), chosen).ok()
    });
    let parts = wider.unwrap_or(parts);
    let none = ChunkSet::new(parts.manifest.chunk_count());
    let synced = Synced {
        set: none.clone(),
        bitfield: None,
        stamp_ns: 0,
    };
    let placement = Placement::Installed(path.to_owned());
    let expected = parts.content(store, placement, State::Finished, none, Vec::new(), synced);
    expected.difference(path)
}

/// What of the manifest lies at `path`, when nothing else does and everything
/// selected does.
fn compare(parts: &Parts, path: &Path) -> Option<(ChunkSet, Tree)> {
    let (present, tree) = compare_loosely(&parts.manifest, path)?;
    let complete = match &parts.chosen {
        None => present.is_full(),
        Some(chosen) => chosen.difference_count(&present) == 0,
    };
    complete.then_some((present, tree))
}

/// What of the manifest lies at `path`, when nothing else does.
fn compare_loosely(manifest: &Manifest, path: &Path) -> Option<(ChunkSet, Tree)> {
    let entries = manifest.entries()?;
    let meta = std::fs::symlink_metadata(path).ok()?;
    let tree = match (manifest.root().single_file(), meta.is_dir()) {
        // Whatever it is called there.
        (true, false) => Tree::of_file(path, &manifest.root().name, &meta).ok()?,
        (false, true) => Tree::of_folder(path).ok()?,
        _ => return None,
    };
    let mut present = ChunkSet::new(entries.len() as u32);
    let implied: HashSet<EntryPath> = {
        let mut all = HashSet::new();
        for entry in entries {
            let mut parent = entry.path.parent();
            while let Some(path) = parent {
                parent = path.parent();
                if !all.insert(path) {
                    break;
                }
            }
        }
        all
    };
    for entry in &tree.entries {
        match entries.binary_search_by(|e| e.path.cmp(&entry.path)) {
            Ok(i) if entries[i].kind == entry.kind => {
                present.insert(i as u32);
            }
            Err(_) if entry.kind == EntryKind::Directory && implied.contains(&entry.path) => {}
            _ => return None,
        }
    }
    Some((present, tree))
}
