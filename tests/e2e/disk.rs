//! Disks that are full, and files that are damaged behind our back.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    netns::skipped,
    tree::{assert_same, noise},
    wire::{Wire, first_addr},
    world::{World, number, sources, text},
};

/// A file system of a few megabytes; gone when dropped.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// `None`, and a line that says so, where mounting is not allowed.
    fn mount(at: PathBuf, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={megabytes}m"),
                "samara-e2e",
            ])
            .arg(&at)
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { at });
        }
        skipped("a small file system cannot be mounted here; it takes root");
        None
    }

    /// Takes the space that is left but for so many bytes.
    fn fill_but(&self, spare: u64) -> PathBuf {
        let stat = rustix::fs::statvfs(&self.at).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let filler = self.at.join("filler");
        let file = fs::File::create(&filler).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, free - spare).unwrap();
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still have files open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

#[test]
fn a_disk_without_room_is_told_at_once() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let Some(disk) = SmallDisk::mount(b.path("out"), 16) else {
        return;
    };
    let file = world.path("file.bin");
    fs::write(&file, noise(8_000_000, 1)).unwrap();
    let (_share, link) = a.share(&file);
    let filler = disk.fill_but(4_000_000);
    let message = b.get(&link).failed("no_space", 9);
    assert!(
        message.contains("no space") && message.contains("are free"),
        "{message}"
    );
    assert!(!disk.at.join("file.bin").exists());
    fs::remove_file(filler).unwrap();
    b.get(&link).ok();
    assert_same(&file, &disk.at.join("file.bin"));
}

#[test]
fn a_disk_that_fills_up_in_the_middle_has_the_room_reserved() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let Some(disk) = SmallDisk::mount(b.path("out"), 32) else {
        return;
    };
    let file = world.path("file.bin");
    fs::write(&file, noise(16_000_000, 1)).unwrap();
    let (_share, link) = a.share(&file);
    let wire = Wire::to(first_addr(&link), 5_000_000);
    let mut get = b.start(&["get", "-v", &wire.link(&link), "-o", text(&disk.at)]);
    get.until("the middle", |event| {
        event["event"] == "progress" && number(&event["have"]) > 0
    });
    let _filler = disk.fill_but(0);
    wire.open();
    get.event("complete");
    get.end().ok();
    assert_same(&file, &disk.at.join("file.bin"));
}

#[test]
fn a_full_disk_under_the_data_directory_is_told_and_got_over() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let Some(disk) = SmallDisk::mount(b.path("data"), 24) else {
        return;
    };
    b.run(&["id"]).ok();
    let file = world.path("file.bin");
    fs::write(&file, noise(12_000_000, 1)).unwrap();
    a.run(&["channel", "create", "product"]).ok();
    a.run(&["publish", "product", text(&file)]).ok();
    let (_node, _) = a.node();
    let link = a.link("product");
    let filler = disk.fill_but(6_000_000);
    b.run(&["mirror", &link, "--once"]).failed("no_space", 9);
    fs::remove_file(filler).unwrap();
    let mirrored = b.run(&["mirror", &link, "--once"]).ok();
    assert_eq!(number(&mirrored.event("complete")["bytes"]), 12_000_000);
}

/// The one file of a mirror that holds the bytes of a content.
pub(crate) fn sealed_data(data_dir: &Path) -> PathBuf {
    let mut found = Vec::new();
    for content in fs::read_dir(data_dir.join("contents")).unwrap() {
        for file in fs::read_dir(content.unwrap().path()).unwrap() {
            let file = file.unwrap();
            if file.metadata().unwrap().len() >= 2_000_000 {
                found.push(file.path());
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// A mirror whose copy is damaged while no node runs serves the right bytes all the
/// same, with what it fetches again.
fn damaged_mirror(damage: impl Fn(&fs::File)) {
    let world = World::new();
    let (a, b, c) = (world.peer("a"), world.peer("b"), world.peer("c"));
    let file = world.path("file.bin");
    fs::write(&file, noise(2_000_000, 1)).unwrap();
    a.run(&["channel", "create", "product"]).ok();
    a.run(&["publish", "product", text(&file)]).ok();
    let (a_node, _) = a.node();
    b.run(&["mirror", &a.link("product"), "--once"]).ok();
    let data = sealed_data(&b.data_dir());
    damage(&fs::OpenOptions::new().write(true).open(data).unwrap());

    let (_b_node, _) = b.node();
    let (link, out) = (b.link("product"), c.path("out"));
    let got = c.run(&["get", &link, "-o", text(&out)]).ok();
    assert_same(&file, &out.join("file.bin"));
    let (origin, peers, _) = sources(got.event("complete"));
    assert_eq!(origin + peers, 2_000_000);
    drop(a_node);
}

#[test]
fn a_flipped_byte_in_the_store_is_noticed_and_never_served() {
    damaged_mirror(|file| file.write_all_at(b"flipped!", 1_000_000).unwrap());
}

#[test]
fn a_truncated_store_file_is_noticed_and_never_served() {
    damaged_mirror(|file| file.set_len(1_500_000).unwrap());
}

#[test]
fn a_damaged_copy_is_fetched_again_by_get() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(2_000_000, 1)).unwrap();
    let (_share, link) = a.share(&file);
    b.get(&link).ok();
    let copy = b.path("out/file.bin");
    let open = fs::OpenOptions::new().write(true).open(&copy).unwrap();
    open.write_all_at(b"flipped!", 1_000_000).unwrap();
    // For all that one knows the user changed it: it is not overwritten unasked.
    b.get(&link).failed("exists", 10);
    let out = b.path("out");
    let forced = b.run(&["get", &link, "-o", text(&out), "--force"]).ok();
    assert_same(&file, &copy);
    assert!(sources(forced.event("complete")).0 > 0);
}

#[test]
fn a_lost_index_leaves_nothing_broken() {
    let world = World::new();
    let (a, b) = (world.peer("a"), world.peer("b"));
    let file = world.path("file.bin");
    fs::write(&file, noise(2_000_000, 1)).unwrap();
    let (_share, link) = a.share(&file);
    b.get(&link).ok();
    fs::remove_dir_all(b.data_dir()).unwrap();
    let again = b.get(&link).ok();
    assert_eq!(sources(again.event("complete")), (0, 0, 2_000_000));
}
