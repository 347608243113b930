//! The folder that everything of a bench lies in, on a memory file system, removed whatever happens.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Context, Error, Result};

const PREFIX: &str = "samara-bench.";

pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// A fresh folder in `parent`, which must have `bytes` free. Folders of benches that were killed are removed.
    pub(crate) fn create(parent: &Path, bytes: u64) -> Result<Self> {
        let parent = &parent.canonicalize().on("finding", parent)?;
        for entry in fs::read_dir(parent).on("listing", parent)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let dead = name
                .strip_prefix(PREFIX)
                .is_some_and(|pid| !Path::new("/proc").join(pid).exists());
            if dead {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let stat = rustix::fs::statvfs(parent)
            .map_err(Into::into)
            .on("asking for space in", parent)?;
        let mut free = stat.f_bavail * stat.f_frsize;
        if parent.starts_with("/dev/shm") {
            // A memory file system promises more than there is.
            free = free.min(available_memory());
        }
        if free < bytes {
            return Err(Error::Setup(format!(
                "{} has {} MiB free and this bench needs {}: choose a smaller --size-mib or another --scratch",
                parent.display(),
                free >> 20,
                bytes >> 20
            )));
        }
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&path).on("creating", &path)?;
        Ok(Self { path })
    }

    /// An empty folder of this name.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        if path.exists() {
            fs::remove_dir_all(&path).on("removing", &path)?;
        }
        fs::create_dir_all(&path).on("creating", &path)?;
        Ok(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("cleaning up {}: {error}", self.path.display());
        }
    }
}

fn available_memory() -> u64 {
    fs::read_to_string("/proc/meminfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| {
            let kib = line
                .strip_prefix("MemAvailable:")?
                .trim()
                .strip_suffix(" kB")?;
            kib.parse::<u64>().ok()
        })
        .map_or(u64::MAX, |kib| kib * 1024)
}
