//! Something real to distribute.

use std::{
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};

use samara_node::EngineError;

use crate::settings::{absolute, usage};

/// What is looked for when nothing is named: enough that a swarm has something to
/// do, little enough that four copies are made and compared within seconds.
const GOOD_BYTES: std::ops::RangeInclusive<u64> = 30_000_000..=200_000_000;
const MOST_FILES: u64 = 20_000;
/// Largest file that is attached to the newsletter issue.
const MOST_ATTACHED: u64 = 2_000_000;

/// A file or folder, measured.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Its last component.
    pub(super) name: String,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// The largest file within that is small enough to attach.
    pub(super) attachment: Option<PathBuf>,
}

impl Source {
    /// What the user named.
    pub(super) fn named(path: &Path) -> Result<Self, EngineError> {
        let path = absolute(path)?;
        let say = |what: &str| usage(format!("{}: {what}", path.display()));
        // `..` and links resolved, so that the name is the true one.
        let real = fs::canonicalize(&path).map_err(|error| say(&error.to_string()))?;
        let mut tally = Tally::new(u64::MAX, u64::MAX);
        tally.add(&real, &real).map_err(|what| say(&what))?;
        if tally.bytes == 0 {
            return Err(say("there is nothing in it to distribute"));
        }
        tally
            .into_source(&real)
            .ok_or_else(|| say("it has no name"))
    }

    /// The first good candidate of this machine, else the largest smaller one,
    /// else this program itself.
    pub(super) fn on_this_machine() -> Result<Self, EngineError> {
        let mut best: Option<Self> = None;
        for path in candidates() {
            let mut tally = Tally::new(*GOOD_BYTES.end(), MOST_FILES);
            let Ok(real) = fs::canonicalize(&path) else {
                continue;
            };
            if tally.add(&real, &real).is_err() {
                continue;
            }
            let Some(found) = tally.into_source(&real) else {
                continue;
            };
            if GOOD_BYTES.contains(&found.bytes) {
                return Ok(found);
            }
            if best.as_ref().is_none_or(|best| best.bytes < found.bytes) {
                best = Some(found);
            }
        }
        match best {
            Some(best) if best.bytes > 0 => Ok(best),
            _ => {
                let exe = std::env::current_exe().map_err(|error| usage(error.to_string()))?;
                Self::named(&exe)
            }
        }
    }
}

/// Folders that are on many machines, the likeliest first.
fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok());
    if let Some(root) = sysroot {
        let lib = Path::new(root.trim()).join("lib");
        found.push(lib.clone());
        found.extend(children(&lib.join("rustlib")).map(|target| target.join("lib")));
    }
    found.push("/usr/share/doc".into());
    found.extend(children(Path::new("/usr/lib")).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("python3"))
    }));
    found.extend(["/usr/share/fonts", "/usr/share/locale", "/usr/share/man"].map(PathBuf::from));
    found
}

fn children(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    paths.sort();
    paths.into_iter()
}

/// Counts what is in a tree, and refuses what cannot be published.
struct Tally {
    files: u64,
    bytes: u64,
    most_bytes: u64,
    most_files: u64,
    attachment: Option<(u64, PathBuf)>,
}

impl Tally {
    fn new(most_bytes: u64, most_files: u64) -> Self {
        Self {
            files: 0,
            bytes: 0,
            most_bytes,
            most_files,
            attachment: None,
        }
    }

    fn add(&mut self, root: &Path, path: &Path) -> Result<(), String> {
        let say = |error: io::Error| format!("{}: {error}", path.display());
        let meta = fs::symlink_metadata(path).map_err(say)?;
        if meta.is_dir() {
            for entry in fs::read_dir(path).map_err(say)? {
                self.add(root, &entry.map_err(say)?.path())?;
            }
        } else if meta.is_file() {
            File::open(path).map_err(say)?;
            self.files += 1;
            self.bytes += meta.len();
            let best = self.attachment.as_ref().map_or(0, |(size, _)| *size);
            if meta.len() > best && meta.len() <= MOST_ATTACHED {
                self.attachment = Some((meta.len(), path.to_owned()));
            }
            if self.bytes > self.most_bytes || self.files > self.most_files {
                return Err("too large".to_owned());
            }
        } else if meta.is_symlink() {
            let target = fs::read_link(path).map_err(say)?;
            if !stays_within(root, path, &target) {
                return Err(format!("{} leads out of it", path.display()));
            }
        } else {
            return Err(format!("{} is no file", path.display()));
        }
        Ok(())
    }

    fn into_source(self, path: &Path) -> Option<Source> {
        Some(Source {
            name: path.file_name()?.to_str()?.to_owned(),
            path: path.to_owned(),
            files: self.files,
            bytes: self.bytes,
            attachment: self.attachment.map(|(_, path)| path),
        })
    }
}

/// Whether a link at `link` with this target ends below `root`, by the names alone.
fn stays_within(root: &Path, link: &Path, target: &Path) -> bool {
    let Some(Ok(inside)) = link.parent().map(|parent| parent.strip_prefix(root)) else {
        return false;
    };
    let mut depth = inside.components().count();
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_tree_is_measured_and_links_that_lead_out_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir_all(tree.join("a")).unwrap();
        fs::write(tree.join("a/x"), [0; 10]).unwrap();
        fs::write(tree.join("big"), vec![0; MOST_ATTACHED as usize + 1]).unwrap();
        symlink("../big", tree.join("a/l")).unwrap();
        let source = Source::named(&tree).unwrap();
        assert_eq!((source.files, source.bytes), (2, MOST_ATTACHED + 11));
        assert_eq!(source.name, "tree");
        assert!(source.attachment.unwrap().ends_with("a/x"));
        symlink("../../out", tree.join("a/m")).unwrap();
        assert!(
            Source::named(&tree)
                .unwrap_err()
                .message
                .contains("leads out")
        );
        assert!(Source::named(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_tally_stops_at_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), [0; 10]).unwrap();
        fs::write(dir.path().join("b"), [0; 10]).unwrap();
        let add = |bytes, files| Tally::new(bytes, files).add(dir.path(), dir.path());
        assert!(add(20, 2).is_ok());
        assert!(add(19, 2).is_err());
        assert!(add(20, 1).is_err());
    }
}
