//! Trees to share, and short ways to move them.

use std::{
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use rand::{Rng, SeedableRng};
use samara_content::Manifest;
use samara_store::{
    Content, Destination, ImportOptions, Selection, Store, StoreConfig, StoreError,
};

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// For many files: some disks need a millisecond for each.
    pub(crate) fn in_memory() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self { dir: dir.unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn store(&self, name: &str) -> Store {
        Store::open(self.path(name), StoreConfig::default()).unwrap()
    }

    /// A tree with everything that a tree can have, about 1.7 MB.
    pub(crate) fn tree(&self, name: &str) -> PathBuf {
        let root = self.path(name);
        for folder in ["", "empty", "docs/deep", "locked"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        std::fs::write(root.join("big.bin"), noise(1, 1_500_000)).unwrap();
        std::fs::write(root.join("docs/medium"), noise(2, 150_000)).unwrap();
        for i in 0..40 {
            std::fs::write(root.join(format!("docs/deep/{i}.txt")), noise(100 + i, 700)).unwrap();
        }
        std::fs::write(root.join("docs/nothing"), "").unwrap();
        std::fs::write(root.join("locked/key"), noise(3, 5_000)).unwrap();
        std::fs::write(root.join("tool"), noise(4, 9_000)).unwrap();
        symlink("docs/medium", root.join("link")).unwrap();
        symlink("../../big.bin", root.join("docs/deep/up")).unwrap();
        set_mode(&root.join("tool"), 0o755);
        set_mode(&root.join("locked/key"), 0o400);
        set_mode(&root.join("locked"), 0o500);
        set_mode(&root.join("docs/nothing"), 0o640);
        set_mode(&root, 0o750);
        root
    }

    pub(crate) fn install(&self, name: &str) -> Destination {
        Destination::Install {
            parent: self.path("out"),
            name: name.into(),
            force: false,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        make_removable(self.dir.path());
    }
}

fn make_removable(path: &Path) {
    if path.is_dir() && !path.is_symlink() {
        set_mode(path, 0o700);
        std::fs::read_dir(path)
            .unwrap()
            .for_each(|item| make_removable(&item.unwrap().path()));
    }
}

pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rand_chacha::ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Has this thread, and those that it starts, heed permission bits as anybody but
/// root must.
pub(crate) fn heed_modes() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).unwrap();
    sets.effective -= CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, sets).unwrap();
    let dir = tempfile::tempdir().unwrap();
    set_mode(dir.path(), 0o500);
    std::fs::write(dir.path().join("file"), "").unwrap_err();
}

pub(crate) fn import(store: &Store, path: &Path) -> Result<Arc<Content>, StoreError> {
    import_with(store, path, &ImportOptions::default())
}

pub(crate) fn import_with(
    store: &Store,
    path: &Path,
    options: &ImportOptions,
) -> Result<Arc<Content>, StoreError> {
    let never = AtomicBool::new(false);
    store.import(path, options, &|_| {}, &never)
}

pub(crate) fn begin(store: &Store, manifest: &Manifest, to: &Destination) -> Arc<Content> {
    store.begin(manifest.clone(), to, Selection::All).unwrap()
}

/// Copies chunks from one node's content to another's, as a swarm would.
pub(crate) fn transfer(from: &Content, to: &Content, chunks: impl IntoIterator<Item = u32>) {
    let mut buffer = Vec::new();
    for chunk in chunks {
        from.read_chunk(chunk, &mut buffer).unwrap();
        to.verify_and_write(chunk, &buffer).unwrap();
    }
}

pub(crate) fn missing(content: &Content) -> Vec<u32> {
    content.wanted().iter_difference(&content.have()).collect()
}

/// Flips a bit, as a fault or a program would. Writes until the file's ctime has
/// passed the present moment: a file system's clock may tick only every 10 ms.
pub(crate) fn flip(path: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    loop {
        file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
        let meta = file.metadata().unwrap();
        if (meta.ctime(), meta.ctime_nsec()) > (now.as_secs() as i64, now.subsec_nanos().into()) {
            return;
        }
    }
}

/// Takes all the room of a file system but for a page or two.
pub(crate) fn fill_up(path: &Path) {
    let file = std::fs::File::create(path).unwrap();
    (0..)
        .take_while(|i| file.write_all_at(&[1; 4096], i * 4096).is_ok())
        .count();
}

/// Every path with its kind, mode and bytes.
pub(crate) fn listing(root: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut all = Vec::new();
    let mut rest = vec![root.to_owned()];
    while let Some(path) = rest.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let mut bytes = Vec::new();
        if meta.is_dir() {
            rest.extend(
                std::fs::read_dir(&path)
                    .unwrap()
                    .map(|item| item.unwrap().path()),
            );
        } else if meta.is_symlink() {
            bytes = std::fs::read_link(&path)
                .unwrap()
                .into_os_string()
                .into_encoded_bytes();
        } else {
            bytes = std::fs::read(&path).unwrap();
        }
        all.push((
            path.strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
            meta.mode(),
            bytes,
        ));
    }
    all.sort();
    all
}

/// What lies in a folder, by name.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let items = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = items
        .map(|i| i.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
