//! The link `current`, which points at the newest release that is installed.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use samara_graph::body::valid_version;
use samara_store::{Placement, Store};
use samara_wire::ContentId;

use super::Context;
use crate::{EngineError, api::ErrorKind};

/// Name of the link that points at the newest installed release.
const CURRENT: &str = "current";

/// What `current` is to point at.
#[derive(Debug, Clone)]
pub(super) struct Current {
    pub(super) content: ContentId,
    pub(super) into: PathBuf,
    pub(super) version: String,
}

impl Current {
    /// The version that `current` points at; `None` if there is none. What is there
    /// and was not made here is the user's: an error.
    pub(super) fn version_shown(&self) -> Result<Option<String>, EngineError> {
        let link = self.into.join(CURRENT);
        let foreign = || {
            let link = link.display();
            EngineError::new(
                ErrorKind::Exists,
                format!(
                    "{link} is not a link to a version; move it away, or subscribe with another --into"
                ),
            )
        };
        match fs::read_link(&link) {
            Ok(at) => match at.to_str().filter(|at| valid_version(at)) {
                Some(version) => Ok(Some(version.to_owned())),
                None => Err(foreign()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // There, and no link.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(foreign()),
            Err(error) => Err(EngineError::disk(&link, &error)),
        }
    }

    /// Points `current` at the version if that is whole in its place, atomically. Says
    /// whether it pointed elsewhere. Blocks.
    fn show(&self, store: &Store) -> Result<bool, EngineError> {
        // `subscribe` and what follows by itself may both be here, with one name between them.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        if !lies_in(store, &self.content, &self.into.join(&self.version))
            || self.version_shown()?.as_ref() == Some(&self.version)
        {
            return Ok(false);
        }
        let link = self.into.join(CURRENT);
        // One name, so that what a crash leaves is used again.
        let fresh = self.into.join(format!(".{CURRENT}.samara"));
        let _ = fs::remove_file(&fresh);
        std::os::unix::fs::symlink(&self.version, &fresh)
            .and_then(|()| fs::rename(&fresh, &link))
            .and_then(|()| fs::File::open(&self.into)?.sync_all())
            .map_err(|e| EngineError::disk(&link, &e))?;
        Ok(true)
    }
}

/// Whether a content is whole, and lies in a folder. Blocks.
pub(super) fn lies_in(store: &Store, content: &ContentId, folder: &Path) -> bool {
    store.content(content).is_some_and(|content| {
        let there = matches!(
            content.placement(),
            Placement::Installed(path) | Placement::InPlace(path) if path.starts_with(folder)
        );
        there && content.is_finished() && content.has_wanted()
    })
}

/// Whether a content is whole, and something of its shape lies in a folder that is not
/// the store's place of it. Blocks.
pub(super) fn lies_in_again(store: &Store, content: &ContentId, folder: &Path) -> bool {
    store.content(content).is_some_and(|content| {
        let path = folder.join(&content.manifest().root().name);
        content.is_finished() && content.has_wanted() && content.resembles(&path)
    })
}

/// Has `current` point at a version if that is whole in its place; whether it pointed
/// elsewhere.
pub(super) async fn switch(context: &Context, current: &Current) -> Result<bool, EngineError> {
    let current = current.clone();
    context.blocking(move |store| current.show(store)).await
}
