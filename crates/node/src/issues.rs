//! The folders of newsletter issues' files, `issues/<channel>/<issue>` in the data
//! directory.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use samara_wire::ChannelId;

use crate::EngineError;

/// Folder of the data directory that has the files of newsletter issues.
pub(crate) const ISSUES: &str = "issues";

/// The issues that each held channel has.
pub(crate) type Held = HashMap<String, HashSet<String>>;

/// The folder of an issue's files.
pub(crate) fn issue_dir(data_dir: &Path, channel: ChannelId, slug: &str) -> PathBuf {
    data_dir.join(ISSUES).join(channel.to_string()).join(slug)
}

/// Folders of issues that are being written, and that no record names yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drafts(Arc<Mutex<HashSet<PathBuf>>>);

impl Drafts {
    /// `None`: somebody else is writing this issue.
    pub(crate) fn begin(&self, dir: PathBuf) -> Option<Draft> {
        let new = self.lock().insert(dir.clone());
        new.then(|| Draft {
            drafts: self.clone(),
            dir,
        })
    }

    pub(crate) fn is_written(&self, dir: &Path) -> bool {
        self.lock().contains(dir)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An issue that is being written, until dropped.
#[derive(Debug)]
pub(crate) struct Draft {
    drafts: Drafts,
    dir: PathBuf,
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.drafts.lock().remove(&self.dir);
    }
}

/// Folders of channels that are not held, and of issues that no record names, as
/// one that was killed while it posted leaves them. Blocks.
pub(crate) fn strays(
    data_dir: &Path,
    held: &Held,
    drafts: &Drafts,
) -> Result<Vec<PathBuf>, EngineError> {
    let mut strays = Vec::new();
    for (name, channel) in folders(&data_dir.join(ISSUES))? {
        let Some(issues) = name.and_then(|name| held.get(&name)) else {
            strays.push(channel);
            continue;
        };
        for (name, issue) in folders(&channel)? {
            let named = name.is_some_and(|name| issues.contains(&name));
            if !named && !drafts.is_written(&issue) {
                strays.push(issue);
            }
        }
    }
    Ok(strays)
}

/// What lies in a folder, with its name if that is text.
fn folders(dir: &Path) -> Result<Vec<(Option<String>, PathBuf)>, EngineError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(EngineError::disk(dir, &error)),
    };
    Ok(entries
        .filter_map(Result::ok)
        .map(|entry| (entry.file_name().into_string().ok(), entry.path()))
        .collect())
}

/// Removes a folder or a file. Blocks.
pub(crate) fn remove(path: &Path) -> Result<(), EngineError> {
    let removed = if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EngineError::disk(path, &error))
        }
        _ => Ok(()),
    }
}

/// Bytes of the files below a folder, or of a file. Blocks.
pub(crate) fn bytes_below(path: &Path) -> u64 {
    let Ok(meta) = path.symlink_metadata() else {
        return 0;
    };
    if meta.is_file() {
        return meta.len();
    }
    if !meta.is_dir() {
        return 0;
    }
    let entries = std::fs::read_dir(path).into_iter().flatten();
    entries
        .filter_map(Result::ok)
        .map(|entry| bytes_below(&entry.path()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_record_names_is_a_stray_unless_it_is_being_written() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, gone) = (ChannelId([1; 32]), ChannelId([2; 32]));
        let issue = |channel, slug: &str| issue_dir(dir.path(), channel, slug);
        let drafts = Drafts::default();
        let held = Held::from([(ours.to_string(), HashSet::from(["named".to_owned()]))]);
        assert!(strays(dir.path(), &held, &drafts).unwrap().is_empty());
        for path in [
            issue(ours, "named"),
            issue(ours, "draft"),
            issue(ours, "killed"),
            issue(gone, "old"),
        ] {
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("text.md"), b"12345").unwrap();
        }
        let draft = drafts.begin(issue(ours, "draft")).unwrap();
        assert!(drafts.begin(issue(ours, "draft")).is_none());
        let mut found = strays(dir.path(), &held, &drafts).unwrap();
        found.sort();
        let mut expected = vec![
            issue(ours, "killed"),
            dir.path().join(ISSUES).join(gone.to_string()),
        ];
        expected.sort();
        assert_eq!(found, expected);
        assert_eq!(bytes_below(&expected[0]), 5);
        drop(draft);
        assert_eq!(strays(dir.path(), &held, &drafts).unwrap().len(), 3);
        remove(&expected[0]).unwrap();
        remove(&expected[0]).unwrap();
        assert_eq!(strays(dir.path(), &held, &drafts).unwrap().len(), 2);
    }
}
