//! Whether two trees are the same, without trusting any hash.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

/// Bytes compared at a time.
const BLOCK: usize = 1 << 20;

/// Compares names, kinds, permissions, link targets and every byte; says what
/// differs first.
pub(super) fn same(left: &Path, right: &Path) -> Result<(), String> {
    let mut buffers = (vec![0; BLOCK], vec![0; BLOCK]);
    compare(left, right, &mut buffers)
}

fn compare(left: &Path, right: &Path, buffers: &mut (Vec<u8>, Vec<u8>)) -> Result<(), String> {
    let fail = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| format!("{path}: {error}")
    };
    let differ = |what: &str| {
        Err(format!(
            "{} and {}: {what}",
            left.display(),
            right.display()
        ))
    };
    let a = fs::symlink_metadata(left).map_err(fail(left))?;
    let b = fs::symlink_metadata(right).map_err(fail(right))?;
    if a.file_type() != b.file_type() {
        return differ("one is another kind of entry");
    }
    if a.is_symlink() {
        let targets = (fs::read_link(left), fs::read_link(right));
        return match (
            targets.0.map_err(fail(left))?,
            targets.1.map_err(fail(right))?,
        ) {
            (x, y) if x == y => Ok(()),
            _ => differ("they lead elsewhere"),
        };
    }
    if a.permissions().mode() & 0o777 != b.permissions().mode() & 0o777 {
        return differ("their permissions differ");
    }
    if a.is_dir() {
        let names = names(left).map_err(fail(left))?;
        if names != self::names(right).map_err(fail(right))? {
            return differ("they hold other names");
        }
        for name in names {
            compare(&left.join(&name), &right.join(&name), buffers)?;
        }
        return Ok(());
    }
    if a.len() != b.len() {
        return differ("their sizes differ");
    }
    let mut x = File::open(left).map_err(fail(left))?;
    let mut y = File::open(right).map_err(fail(right))?;
    loop {
        let n = fill(&mut x, &mut buffers.0).map_err(fail(left))?;
        let m = fill(&mut y, &mut buffers.1).map_err(fail(right))?;
        if buffers.0[..n] != buffers.1[..m] {
            return differ("their bytes differ");
        }
        if n < BLOCK {
            return Ok(());
        }
    }
}

fn names(dir: &Path) -> io::Result<BTreeSet<OsString>> {
    fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect()
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(root: &Path) {
        fs::create_dir_all(root.join("d/empty")).unwrap();
        fs::write(root.join("d/f"), vec![7; BLOCK + 1]).unwrap();
        fs::write(root.join("e"), "").unwrap();
        symlink("d/f", root.join("l")).unwrap();
    }

    #[test]
    fn every_kind_of_difference_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        tree(&a);
        tree(&b);
        same(&a, &b).unwrap();
        type Change<'a> = (&'a str, &'a dyn Fn(&Path));
        let changes: [Change; 6] = [
            ("bytes", &|b| {
                let mut bytes = vec![7; BLOCK + 1];
                bytes[BLOCK] = 8;
                fs::write(b.join("d/f"), bytes).unwrap();
            }),
            ("sizes", &|b| fs::write(b.join("e"), "x").unwrap()),
            ("names", &|b| fs::write(b.join("d/new"), "").unwrap()),
            ("elsewhere", &|b| {
                fs::remove_file(b.join("l")).unwrap();
                symlink("e", b.join("l")).unwrap();
            }),
            ("permissions", &|b| {
                fs::set_permissions(b.join("e"), fs::Permissions::from_mode(0o600)).unwrap();
            }),
            ("kind", &|b| {
                fs::remove_file(b.join("e")).unwrap();
                fs::create_dir(b.join("e")).unwrap();
            }),
        ];
        for (part, change) in changes {
            fs::remove_dir_all(&b).unwrap();
            tree(&b);
            fs::set_permissions(a.join("e"), fs::Permissions::from_mode(0o644)).unwrap();
            fs::set_permissions(b.join("e"), fs::Permissions::from_mode(0o644)).unwrap();
            change(&b);
            let what = same(&a, &b).unwrap_err();
            assert!(what.contains(part), "{part}: {what}");
        }
    }
}
