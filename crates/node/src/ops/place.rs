//! Files that a request makes for its asker: whole under their name, or not there.

use std::{
    fs::{File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use crate::{EngineError, api::ErrorKind};

/// Makes a file: written under another name beside it, synced, renamed. Replaces
/// what is there. `mode` is cut by the umask. Blocks.
pub(super) fn place<T>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let failed = |e: &io::Error| EngineError::disk(path, e);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        let why = format!("{}: not a file's name", path.display());
        return Err(EngineError::new(ErrorKind::Usage, why));
    };
    let mut prefix = std::ffi::OsString::from(".samara-");
    prefix.push(name);
    let file = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".partial")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(parent)
        .map_err(|e| failed(&e))?;
    let mut writer = BufWriter::with_capacity(1 << 20, file.as_file());
    let result = write(&mut writer)?;
    writer.flush().map_err(|e| failed(&e))?;
    drop(writer);
    file.as_file().sync_all().map_err(|e| failed(&e))?;
    file.persist(path).map_err(|e| failed(&e.error))?;
    // The name is as durable as what it names.
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|e| failed(&e))?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let broken = place(&path, 0o666, |w| {
            w.write_all(&[1; 100]).unwrap();
            Err::<(), _>(EngineError::new(ErrorKind::Internal, "stop"))
        });
        assert_eq!(broken.unwrap_err().message, "stop");
        assert_eq!(names(dir.path()), [""; 0]);
        let write = |bytes: &'static [u8]| {
            let wrote = place(&path, 0o600, |w| {
                w.write_all(bytes).unwrap();
                Ok(())
            });
            wrote.unwrap();
        };
        write(b"one");
        write(b"two");
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(names(dir.path()), ["a"]);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let nowhere = dir.path().join("no/a");
        let error = place(&nowhere, 0o666, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
    }
}
