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
///
/// # Errors
/// [`ErrorKind::Usage`] if no file can be there; those of `write`; else
/// [`ErrorKind::Disk`], [`ErrorKind::NoSpace`].
pub(super) fn place<T>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut BufWriter<&File>) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    // Only the kind: the text of some names the other name.
    let failed = |e: &io::Error| EngineError::disk(path, &e.kind().into());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        let why = format!("{}: not a file's name", path.display());
        return Err(EngineError::new(ErrorKind::Usage, why));
    };
    check(path, parent)?;
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

/// Whether a file can be there at all.
fn check(path: &Path, parent: &Path) -> Result<(), EngineError> {
    let usage = |why: String| {
        let message = format!("{}: {why}", path.display());
        Err(EngineError::new(ErrorKind::Usage, message))
    };
    let folder = parent.display();
    match std::fs::metadata(parent) {
        Ok(meta) if !meta.is_dir() => usage(format!("{folder} is not a folder")),
        Ok(_) if path.is_dir() => usage("it is a folder; name a file".to_owned()),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            usage(format!("there is no folder {folder}"))
        }
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            usage(format!("{folder} is not a folder"))
        }
        Err(e) => Err(EngineError::disk(path, &e)),
    }
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
    }

    #[test]
    fn where_no_file_can_be_is_said_of_the_name_that_was_given() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), b"").unwrap();
        for (name, why) in [
            ("no/a", "there is no folder"),
            ("file/a", "is not a folder"),
            ("file/a/b", "is not a folder"),
            (".", "it is a folder"),
        ] {
            let path = dir.path().join(name);
            let error = place(&path, 0o666, |_| Ok(())).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Usage, "{error}");
            let said = path.display().to_string();
            assert!(error.message.starts_with(&said), "{error}");
            assert!(error.message.contains(why), "{error}");
            assert!(!error.message.contains(".samara-"), "{error}");
        }
        assert_eq!(names(dir.path()), ["file"]);
    }
}
