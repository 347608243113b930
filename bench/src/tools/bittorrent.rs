//! What the BitTorrent tools have in common: one torrent per bench, and a sender that serves the content where it lies.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

use super::{Job, Node};
use crate::{
    error::{Context, Result},
    metainfo,
};

/// The torrent file, made by the first tool that asks.
pub(super) fn torrent(job: &Job<'_>) -> Result<PathBuf> {
    let host: String = job.tracker.chars().filter(char::is_ascii_digit).collect();
    let path = job
        .shared
        .join(format!("{}-{}-{host}.torrent", job.content.name, job.piece));
    if !path.exists() {
        let encoded = metainfo::encode(job.content, &job.tracker, job.piece)?;
        fs::write(&path, encoded).on("writing", &path)?;
    }
    Ok(path)
}

/// A download folder for the sender that already holds the content: a link, no copy.
pub(super) fn folder_with_content(job: &Job<'_>, node: &Node) -> Result<PathBuf> {
    let dir = node.dir.join("seed");
    fs::create_dir_all(&dir).on("creating", &dir)?;
    symlink(&job.content.path, dir.join(&job.content.name)).on("linking into", &dir)?;
    Ok(dir)
}

/// A script for "run this when complete", and the file that it makes.
pub(super) fn completion_hook(node: &Node) -> Result<(PathBuf, PathBuf)> {
    let (script, file) = (node.dir.join("complete.sh"), node.dir.join("complete"));
    fs::write(&script, format!("#!/bin/sh\n: > '{}'\n", file.display())).on("writing", &script)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).on("changing", &script)?;
    Ok((script, file))
}
