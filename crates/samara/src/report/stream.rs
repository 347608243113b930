use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use samara_node::api::Event;

use super::Report;
use crate::terminal::line;

/// A file's bytes on standard output as they come, each once it and all before it were
/// verified. What else there is to say goes to standard error.
pub(super) struct Stream<W = io::Stdout> {
    /// Of the content that it began with.
    content: String,
    file: Option<File>,
    written: u64,
    out: W,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self::to(io::stdout())
    }
}

impl<W: Write> Stream<W> {
    fn to(out: W) -> Self {
        Self {
            content: String::new(),
            file: None,
            written: 0,
            out,
        }
    }

    /// Writes what has come of the first `ready` bytes.
    fn write(&mut self, file: &mut File, ready: u64) -> io::Result<()> {
        if ready <= self.written {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.written))?;
        let more = ready - self.written;
        let copied = io::copy(&mut file.take(more), &mut self.out)?;
        self.written += copied;
        match copied == more {
            true => self.out.flush(),
            false => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file was cut while it was read",
            )),
        }
    }

    /// Refuses to go on with other bytes than those that are out already.
    fn same(&mut self, content: &str) -> io::Result<()> {
        if self.written > 0 && self.content != content {
            return Err(io::Error::other("there is a newer release by now"));
        }
        content.clone_into(&mut self.content);
        Ok(())
    }

    fn progress(&mut self, content: &str, path: &Path, ready: u64) -> io::Result<()> {
        self.same(content)?;
        // What is moved to its place meanwhile stays the same file.
        let mut file = match self.file.take() {
            Some(file) => file,
            None => match File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        self.write(&mut file, ready)?;
        self.file = Some(file);
        Ok(())
    }
}

impl<W: Write> Report for Stream<W> {
    fn is_unread(&self) -> bool {
        super::reader_is_gone()
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Progress {
                content,
                path: Some(path),
                ready: Some(ready),
                ..
            } => self.progress(content, path, *ready),
            Event::Progress { .. } => Err(folder()),
            Event::Complete { path, .. } if path.is_dir() => Err(folder()),
            Event::Complete {
                content,
                path,
                bytes,
                ..
            } => {
                self.same(content)?;
                self.write(&mut File::open(path)?, *bytes)
            }
            Event::Warning { message } => {
                let _ = writeln!(io::stderr(), "samara: {}", line(message));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn folder() -> io::Error {
    io::Error::other("it is a folder, and --stdout takes a single file")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn progress(content: &str, path: &Path, ready: u64) -> Event {
        Event::Progress {
            content: content.into(),
            name: String::new(),
            have: 0,
            total: 0,
            rate: 0,
            peers: 0,
            origin: 0,
            others: 0,
            path: Some(path.into()),
            ready: Some(ready),
        }
    }

    #[test]
    fn what_is_ready_is_written_once_also_when_the_file_moves() {
        let dir = tempfile::tempdir().unwrap();
        let (partial, whole) = (dir.path().join("partial"), dir.path().join("whole"));
        // Behind what is ready there may be anything.
        fs::write(&partial, b"abc\0\0\0").unwrap();
        let mut out = Vec::new();
        let mut stream = Stream::to(&mut out);
        stream
            .event(&progress("x", &dir.path().join("none"), 9))
            .unwrap();
        stream.event(&progress("x", &partial, 2)).unwrap();
        stream.event(&progress("x", &partial, 3)).unwrap();
        stream.event(&progress("x", &partial, 3)).unwrap();
        fs::write(&partial, b"abcdef").unwrap();
        fs::rename(&partial, &whole).unwrap();
        stream.event(&progress("x", &whole, 5)).unwrap();
        let other = stream.event(&progress("y", &whole, 6)).unwrap_err();
        assert!(other.to_string().contains("newer"));
        let cut = stream.event(&progress("x", &whole, 7)).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(out, b"abcdef");
    }

    #[test]
    fn a_folder_is_refused() {
        let mut stream = Stream::to(Vec::new());
        let mut event = progress("x", Path::new("x"), 0);
        if let Event::Progress { path, ready, .. } = &mut event {
            (*path, *ready) = (None, None);
        }
        let error = stream.event(&event).unwrap_err();
        assert!(error.to_string().contains("folder"));
    }
}
