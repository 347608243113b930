//! What is distributed: made before, warmed, and compared byte for byte after the clock has stopped.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use crate::{
    error::{Context, Error, Result},
    interrupt, limits,
};

const BLOCK: usize = 1 << 20;
const FILES_PER_FOLDER: usize = 100;

/// A file or a tree on the scratch file system, in `parent()/name`.
pub(crate) struct Content {
    pub(crate) path: PathBuf,
    pub(crate) name: String,
    /// Relative paths (of the tree; the name itself for a file) and sizes, sorted.
    pub(crate) files: Vec<(PathBuf, u64)>,
    pub(crate) bytes: u64,
    pub(crate) is_tree: bool,
}

impl Content {
    /// One file of random bytes, the same ones every time.
    pub(crate) fn file(dir: &Path, bytes: u64) -> Result<Self> {
        let path = dir.join(format!("random-{}.bin", bytes >> 20));
        let mut out = File::create(&path).on("creating", &path)?;
        let (mut random, mut block, mut left) = (SplitMix(bytes), vec![0; BLOCK], bytes);
        while left > 0 {
            interrupt::check()?;
            let now = left.min(BLOCK as u64) as usize;
            random.fill(&mut block[..now]);
            out.write_all(&block[..now]).on("writing", &path)?;
            left -= now as u64;
        }
        Self::at(path)
    }

    /// A folder of `count` files of `size` random bytes each, a hundred in a subfolder.
    pub(crate) fn tree(dir: &Path, count: usize, size: usize) -> Result<Self> {
        let path = dir.join(format!("tree-{count}x{size}"));
        let (mut random, mut block) = (SplitMix((count * size) as u64), vec![0; size]);
        for i in 0..count {
            interrupt::check()?;
            let folder = path.join(format!("d{:03}", i / FILES_PER_FOLDER));
            if i % FILES_PER_FOLDER == 0 {
                fs::create_dir_all(&folder).on("creating", &folder)?;
            }
            random.fill(&mut block);
            let file = folder.join(format!("f{i:05}.bin"));
            fs::write(&file, &block).on("writing", &file)?;
        }
        Self::at(path)
    }

    fn at(path: PathBuf) -> Result<Self> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_tree = path.is_dir();
        let files = if is_tree {
            list(&path)?
        } else {
            vec![(
                PathBuf::from(&name),
                path.metadata().on("reading", &path)?.len(),
            )]
        };
        let bytes = files.iter().map(|(_, size)| size).sum();
        Ok(Self {
            path,
            name,
            files,
            bytes,
            is_tree,
        })
    }

    /// Where a file of it lies.
    pub(crate) fn source(&self, file: &Path) -> PathBuf {
        if self.is_tree {
            self.path.join(file)
        } else {
            self.path.clone()
        }
    }

    /// Reads everything once, so that the page cache is warm.
    pub(crate) fn warm(&self) -> Result<()> {
        let mut block = vec![0; BLOCK];
        for (file, _) in &self.files {
            let path = self.source(file);
            let mut input = File::open(&path).on("reading", &path)?;
            while input.read(&mut block).on("reading", &path)? > 0 {
                interrupt::check()?;
            }
        }
        Ok(())
    }

    /// Fails unless `got` is this content: the same files, none missing, none more, every byte alike.
    pub(crate) fn verify(&self, got: &Path) -> Result<()> {
        if !self.is_tree {
            return same(&self.path, got);
        }
        let there = list(got).map_err(|e| Error::Tool(format!("no result: {e}")))?;
        if let Some((odd, _)) = there
            .iter()
            .zip(&self.files)
            .find_map(|(a, b)| (a != b).then_some(a))
        {
            return Err(Error::Tool(format!(
                "the result differs at {}",
                odd.display()
            )));
        }
        if there.len() != self.files.len() {
            let (there, files) = (there.len(), self.files.len());
            return Err(Error::Tool(format!(
                "the result has {there} files instead of {files}"
            )));
        }
        for (file, _) in &self.files {
            same(&self.path.join(file), &got.join(file))?;
        }
        Ok(())
    }
}

/// Touches and frees as much memory as a run will need.
///
/// The host of a virtual machine takes idle pages back; the first touch afterwards costs several times a
/// memcpy and would hide every difference between the tools.
pub(crate) fn warm_memory(dir: &Path, bytes: u64) -> Result<()> {
    let path = dir.join("warm");
    let attempt = || -> Result<()> {
        let mut out = File::create(&path).on("creating", &path)?;
        let zeros = vec![0; BLOCK];
        for _ in 0..(bytes + limits::WARM_SLACK).div_ceil(BLOCK as u64) {
            interrupt::check()?;
            out.write_all(&zeros).on("warming memory in", &path)?;
        }
        Ok(())
    };
    let outcome = attempt();
    let _ = fs::remove_file(&path);
    outcome
}

fn list(root: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).on("listing", &folder)? {
            let entry = entry.on("listing", &folder)?;
            let meta = entry.metadata().on("reading", &entry.path())?;
            if meta.is_dir() {
                folders.push(entry.path());
            } else {
                let relative = entry
                    .path()
                    .strip_prefix(root)
                    .unwrap_or(Path::new(""))
                    .to_owned();
                files.push((relative, meta.len()));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn same(want: &Path, got: &Path) -> Result<()> {
    let open = |path: &Path| {
        File::open(path)
            .map(|f| BufReader::with_capacity(BLOCK, f))
            .on("reading", path)
    };
    let mut a = open(want)?;
    let mut b = open(got).map_err(|e| Error::Tool(format!("no result: {e}")))?;
    let (mut left, mut right) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        interrupt::check()?;
        let n = fill(&mut a, &mut left).on("reading", want)?;
        let m = fill(&mut b, &mut right).on("reading", got)?;
        if left[..n] != right[..m] {
            return Err(Error::Tool(format!(
                "{} differs from the original",
                got.display()
            )));
        }
        if n == 0 {
            return Ok(());
        }
    }
}

fn fill(input: &mut impl Read, block: &mut [u8]) -> std::io::Result<usize> {
    let mut have = 0;
    while have < block.len() {
        match input.read(&mut block[have..])? {
            0 => break,
            n => have += n,
        }
    }
    Ok(have)
}

/// A buffered file for small writes of the bench itself.
pub(crate) fn write_lines(path: &Path, lines: impl Iterator<Item = String>) -> Result<()> {
    let mut out = BufWriter::new(File::create(path).on("creating", path)?);
    for line in lines {
        writeln!(out, "{line}").on("writing", path)?;
    }
    out.flush().on("writing", path)
}

/// SplitMix64 (Steele, Lea, Flood 2014): incompressible, repeatable, faster than memory is filled.
struct SplitMix(u64);

impl SplitMix {
    fn fill(&mut self, block: &mut [u8]) {
        for word in block.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..word.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(content: &Content, to: &Path) {
        for (file, _) in &content.files {
            let target = to.join(file);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(content.source(file), target).unwrap();
        }
    }

    #[test]
    fn a_flipped_byte_a_missing_and_an_extra_file_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content::tree(dir.path(), 250, 33).unwrap();
        assert_eq!((content.files.len(), content.bytes), (250, 250 * 33));
        let got = dir.path().join("got");
        copy(&content, &got);
        content.verify(&got).unwrap();

        let victim = got.join("d001/f00150.bin");
        let good = fs::read(&victim).unwrap();
        let mut bad = good.clone();
        bad[32] ^= 1;
        fs::write(&victim, bad).unwrap();
        assert!(content.verify(&got).is_err());

        fs::remove_file(&victim).unwrap();
        assert!(content.verify(&got).is_err());

        fs::write(&victim, good).unwrap();
        fs::write(got.join("d002/zzz"), b"").unwrap();
        assert!(content.verify(&got).is_err());
    }

    #[test]
    fn a_truncated_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content::file(dir.path(), (2 << 20) + 5).unwrap();
        let got = dir.path().join("got");
        fs::copy(&content.path, &got).unwrap();
        content.verify(&got).unwrap();
        File::options()
            .write(true)
            .open(&got)
            .unwrap()
            .set_len(2 << 20)
            .unwrap();
        assert!(content.verify(&got).is_err());
    }
}
