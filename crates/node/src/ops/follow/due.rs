//! What a subscription wants on this disk.

use std::{num::NonZeroU32, path::PathBuf};

use samara_graph::Kind;
use samara_wire::{ContentId, PeerId};

use super::{super::archive, current::Current};
use crate::{
    Priority,
    core::{self, Role, What},
};

/// Something that a subscription wants on this disk.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) content: ContentId,
    pub(super) bytes: u64,
    pub(super) author: PeerId,
    pub(super) priority: Priority,
    pub(super) place: DuePlace,
    /// Whether somebody could be asked for what is current.
    pub(super) confirmed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DuePlace {
    Release {
        into: PathBuf,
        version: String,
    },
    Issue {
        slug: String,
    },
    Sealed,
    /// What falls to this node of an old release.
    Share,
}

impl Due {
    /// Whether all of it is on this disk, wherever.
    pub(super) fn is_whole(&self, core: &core::Core) -> bool {
        let content = core.store.content(&self.content);
        content.is_some_and(|content| content.is_complete())
    }
}

/// What is due of a channel, of which so many releases are kept; and what `current` is to
/// point at.
pub(super) fn dues_of(
    channel: &core::Channel,
    keep: Option<NonZeroU32>,
) -> (Vec<Due>, Option<Current>) {
    let mut dues = Vec::new();
    let mirror = channel.meta.role == Role::Mirror;
    let releases = channel.newest(Kind::RELEASE);
    let mut current = None;
    let (whole, kept) = archive::kept(channel, keep);
    for (i, item) in releases.iter().enumerate().take(kept) {
        let What::Release(release) = &item.what else {
            continue;
        };
        let due = |place| Due {
            content: release.content.id,
            bytes: release.content.bytes,
            author: item.header.author,
            priority: item.priority(),
            place,
            confirmed: true,
        };
        if i == 0
            && let Some(into) = &channel.meta.into
        {
            current = Some(Current {
                content: release.content.id,
                into: into.clone(),
                version: release.version.clone(),
            });
            dues.push(due(DuePlace::Release {
                into: into.clone(),
                version: release.version.clone(),
            }));
            continue;
        }
        if mirror {
            dues.push(due(match i < whole {
                true => DuePlace::Sealed,
                false => DuePlace::Share,
            }));
        }
    }
    for item in channel.newest(Kind::ISSUE) {
        let slug = String::from_utf8_lossy(&item.header.key).into_owned();
        if !valid_slug(&slug) {
            continue;
        }
        dues.extend(item.contents().map(|content| Due {
            content: content.id,
            bytes: content.bytes,
            author: item.header.author,
            priority: item.priority(),
            place: DuePlace::Issue { slug: slug.clone() },
            confirmed: true,
        }));
    }
    (dues, current)
}

/// A slug becomes a directory of the data directory.
fn valid_slug(slug: &str) -> bool {
    !slug.is_empty()
        && slug
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_never_leaves_its_folder() {
        assert!(valid_slug("2026-11-21-hello-abcd"));
        for bad in ["", "..", "a/b", ".hidden", "a b", "a\0"] {
            assert!(!valid_slug(bad), "{bad:?}");
        }
    }
}
