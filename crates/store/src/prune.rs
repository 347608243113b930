//! What is installed is what was selected and verified: whatever else a staging tree
//! holds is removed from it first. That can be what an interrupted download of a wider
//! selection left there, what an exchange before a crash put there, or anybody's files.

use std::{
    collections::HashSet,
    fs::FileType,
    path::{Path, PathBuf},
};

use samara_content::{EntryKind, EntryPath};

use crate::{Content, StoreError, files};

impl Content {
    /// Removes from the staging tree what is neither a selected entry, of its kind,
    /// nor a folder on the way to one. Says whether there was anything.
    pub(crate) fn prune(&self, tree: &Path) -> Result<bool, StoreError> {
        let unreadable = |path: &Path, e| StoreError::io("look through", path, e);
        let remove = |path: &Path| {
            tracing::debug!(path = %path.display(), "not of the selection; not installed");
            files::remove_tree(path).map_err(|e| StoreError::io("remove", path, e))
        };
        let Ok(meta) = std::fs::symlink_metadata(tree) else {
            return Ok(false);
        };
        if self.manifest.root().single_file() != meta.is_file() {
            remove(tree)?;
            return Ok(true);
        }
        if meta.is_file() {
            return Ok(false);
        }
        let implied = self.folders_on_the_way();
        let mut pruned = false;
        let mut rest: Vec<(PathBuf, String)> = vec![(tree.to_owned(), String::new())];
        while let Some((folder, prefix)) = rest.pop() {
            let items = std::fs::read_dir(&folder).map_err(|e| unreadable(&folder, e))?;
            for item in items {
                let item = item.map_err(|e| unreadable(&folder, e))?;
                let kind = item.file_type().map_err(|e| unreadable(&item.path(), e))?;
                let name = item.file_name();
                let path = name
                    .to_str()
                    .and_then(|name| EntryPath::new(&format!("{prefix}{name}")).ok())
                    .filter(|path| self.belongs(path, kind, &implied));
                match path {
                    Some(path) if kind.is_dir() => rest.push((item.path(), format!("{path}/"))),
                    Some(_) => {}
                    None => {
                        remove(&item.path())?;
                        pruned = true;
                    }
                }
            }
        }
        Ok(pruned)
    }

    fn belongs(&self, path: &EntryPath, kind: FileType, implied: &HashSet<EntryPath>) -> bool {
        let entries = self.entries();
        match entries.binary_search_by(|entry| entry.path.cmp(path)) {
            Ok(i) if self.is_chosen(i as u32) => match entries[i].kind {
                EntryKind::File { .. } => kind.is_file(),
                EntryKind::Directory => kind.is_dir(),
                EntryKind::Symlink { .. } => kind.is_symlink(),
            },
            _ => kind.is_dir() && implied.contains(path),
        }
    }

    /// The folders that selected entries lie in.
    pub(crate) fn folders_on_the_way(&self) -> HashSet<EntryPath> {
        let mut all = HashSet::new();
        for (_, entry) in self.chosen_entries(|_| true) {
            let mut parent = entry.path.parent();
            while let Some(path) = parent {
                parent = path.parent();
                if !all.insert(path) {
                    break;
                }
            }
        }
        all
    }
}
