use std::{path::PathBuf, process::Command};

use samara_store::{Destination, Selection, StoreError, WriteError};

use crate::world::{World, begin, fill_up, import, listing, missing, noise, transfer};

/// A small file system of our own, if we may mount one.
struct Mount(PathBuf);

impl Mount {
    fn new(path: PathBuf, megabytes: u32) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&path)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(path));
        }
        eprintln!("skipped: mounting a tmpfs needs root");
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn too_little_room_is_said_before_anything_is_written() {
    let world = World::new();
    let Some(mount) = Mount::new(world.path("out"), 2) else {
        return;
    };
    let tree = world.tree("tree");
    std::fs::write(tree.join("more"), noise(8, 1 << 20)).unwrap();
    let content = import(&world.store("ours"), &tree).unwrap();
    let theirs = world.store("theirs");
    let refused = theirs.begin(
        content.manifest().clone(),
        &world.install("tree"),
        Selection::All,
    );
    let Err(StoreError::NoSpace { need, free, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(need > content.wanted_bytes() && free <= 2 << 20);
    assert_eq!(std::fs::read_dir(&mount.0).unwrap().count(), 0);
}

#[test]
fn small_files_hold_their_room() {
    let world = World::new();
    let Some(mount) = Mount::new(world.path("out"), 4) else {
        return;
    };
    let tree = world.path("tree");
    std::fs::create_dir(&tree).unwrap();
    for i in 0..300 {
        std::fs::write(tree.join(format!("{i}")), noise(i, 5_000)).unwrap();
    }
    let content = import(&world.store("ours"), &tree).unwrap();
    let copy = begin(
        &world.store("theirs"),
        content.manifest(),
        &world.install("tree"),
    );
    // Somebody else takes all that is left, but for the folder's own blocks.
    fill_up(&mount.0.join("filler"));
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    assert_eq!(listing(&world.path("out/tree")), listing(&tree));
}

#[test]
fn a_disk_that_fills_up_in_the_middle_loses_nothing() {
    let world = World::new();
    let Some(mount) = Mount::new(world.path("theirs"), 8) else {
        return;
    };
    let tree = world.tree("tree");
    let content = import(&world.store("ours"), &tree).unwrap();
    let theirs = world.store("theirs");
    // A part of a sealed content is not preallocated: its holes stay holes.
    let big = |entry: &samara_content::Entry| entry.path.as_str() != "tool";
    let copy = theirs
        .begin(
            content.manifest().clone(),
            &Destination::Sealed,
            Selection::Only(&big),
        )
        .unwrap();
    let chunks = missing(&copy);
    transfer(&content, &copy, chunks[..5].iter().copied());
    copy.sync().unwrap();
    fill_up(&mount.0.join("filler"));
    let mut buffer = Vec::new();
    let full = chunks[5..].iter().find_map(|chunk| {
        content.read_chunk(*chunk, &mut buffer).unwrap();
        copy.verify_and_write(*chunk, &buffer).err()
    });
    assert!(matches!(full, Some(WriteError::NoSpace { .. })), "{full:?}");
    assert!(chunks[..5].iter().all(|chunk| copy.has(*chunk)));
    std::fs::remove_file(mount.0.join("filler")).unwrap();
    transfer(&content, &copy, missing(&copy));
    copy.finish().unwrap();
    assert!(copy.verify().unwrap().is_empty());
}
