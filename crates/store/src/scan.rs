use std::{fs::Metadata, path::Path};

use samara_content::{Entry, EntryKind, EntryPath};

use crate::{StoreError, limits::MAX_DEPTH, stamp::Stamp};

/// What lies at a path, in path order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) entries: Vec<Entry>,
    /// Permission bits of the folder itself; `None` for a single file.
    pub(crate) folder_mode: Option<u16>,
    /// By entry; meaningless for what is no file.
    pub(crate) stamps: Vec<Stamp>,
}

impl Tree {
    /// The one file at `path`, as an entry called `name`.
    pub(crate) fn of_file(path: &Path, name: &str, meta: &Metadata) -> Result<Self, StoreError> {
        if !meta.is_file() {
            return Err(StoreError::SpecialFile { path: path.into() });
        }
        let entry = Entry::file(EntryPath::new(name)?, mode(meta), meta.len());
        Ok(Self {
            folder_mode: None,
            entries: vec![entry],
            stamps: vec![Stamp::from_metadata(meta)],
        })
    }

    /// Everything below `root`. Symlinks are entries, never followed.
    pub(crate) fn of_folder(root: &Path) -> Result<Self, StoreError> {
        let meta = std::fs::metadata(root).map_err(|e| StoreError::io("examine", root, e))?;
        let mut found = Vec::new();
        let mut folders = vec![(String::new(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let path = root.join(&folder);
            let unreadable = |e| StoreError::io("read the folder", &path, e);
            for item in std::fs::read_dir(&path).map_err(unreadable)? {
                let item = item.map_err(unreadable)?;
                let path = item.path();
                let not_utf8 = |_| StoreError::NotUtf8 { path: path.clone() };
                let name = item.file_name().into_string().map_err(not_utf8)?;
                let relative = if folder.is_empty() {
                    name
                } else {
                    format!("{folder}/{name}")
                };
                let meta = match item.metadata() {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                        return Err(StoreError::ChangedDuringImport { path });
                    }
                    meta => meta.map_err(|e| StoreError::io("examine", &path, e))?,
                };
                let entry_path = EntryPath::new(&relative)?;
                let entry = if meta.is_file() {
                    Entry::file(entry_path, mode(&meta), meta.len())
                } else if meta.is_symlink() {
                    let target = std::fs::read_link(&path)
                        .map_err(|e| StoreError::io("read the link", &path, e))?;
                    let target = target.to_str().ok_or_else(|| not_utf8(item.file_name()))?;
                    Entry::symlink(entry_path, target)?
                } else if meta.is_dir() {
                    if depth == MAX_DEPTH {
                        return Err(StoreError::BadDestination {
                            path,
                            reason: format!("it lies more than {MAX_DEPTH} folders deep"),
                        });
                    }
                    folders.push((relative, depth + 1));
                    Entry::directory(entry_path, mode(&meta))
                } else {
                    return Err(StoreError::SpecialFile { path });
                };
                found.push((entry, Stamp::from_metadata(&meta)));
            }
        }
        found.sort_unstable_by(|a, b| a.0.path.cmp(&b.0.path));
        let (entries, stamps) = found.into_iter().unzip();
        Ok(Self {
            folder_mode: Some(mode(&meta)),
            entries,
            stamps,
        })
    }

    /// Where below the root `later` is not the same; empty for the root itself.
    pub(crate) fn first_change<'a>(&'a self, later: &'a Tree) -> Option<&'a str> {
        if self.folder_mode != later.folder_mode {
            return Some("");
        }
        let same = |i: usize| {
            let is_file = matches!(self.entries[i].kind, EntryKind::File { .. });
            later.entries.get(i) == Some(&self.entries[i])
                && (!is_file || self.stamps[i] == later.stamps[i])
        };
        let count = self.entries.len();
        let changed = (0..count).find(|i| !same(*i)).map(|i| &self.entries[i]);
        changed
            .or(later.entries.get(count))
            .map(|entry| entry.path.as_str())
    }
}

fn mode(meta: &Metadata) -> u16 {
    use std::os::unix::fs::PermissionsExt;
    (meta.permissions().mode() & 0o777) as u16
}
