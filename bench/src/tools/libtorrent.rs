//! libtorrent-rasterbar through its Python binding; the work is done in the C++ library.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    Job, Kind, Node, Sign, Tool, binary,
    bittorrent::{folder_with_content, torrent},
    first_line,
};
use crate::{
    error::{Context, Error, Result},
    process::Launch,
};

const SCRIPT: &str = include_str!("libtorrent_node.py");
const DONE: fn(&str) -> bool = |text| text.lines().any(|line| line == "DONE");

pub(super) struct Libtorrent {
    python: PathBuf,
    version: String,
}

impl Libtorrent {
    pub(super) fn find() -> Result<Box<dyn Tool>> {
        // Distributions install the binding for their own interpreter, which need not be the first in PATH.
        let candidates = [
            binary("python3").ok(),
            Some(PathBuf::from("/usr/bin/python3")),
        ];
        for python in candidates.into_iter().flatten() {
            if let Ok(number) = first_line(
                &python,
                &["-c", "import libtorrent; print(libtorrent.__version__)"],
            ) {
                let version =
                    format!("libtorrent-rasterbar {number} (Python binding), TCP, no encryption");
                return Ok(Box::new(Self { python, version }));
            }
        }
        Err(Error::Setup("python3-libtorrent is not installed".into()))
    }

    fn launch(&self, job: &Job<'_>, command: &str, path: &Path, dir: &Path) -> Result<Launch> {
        let script = job.shared.join("libtorrent_node.py");
        fs::write(&script, SCRIPT).on("writing", &script)?;
        Ok(Launch::new([&self.python])
            .arg(script)
            .arg(command)
            .arg(path)
            .arg(dir))
    }
}

impl Tool for Libtorrent {
    fn name(&self) -> &'static str {
        "libtorrent"
    }

    fn kind(&self) -> Kind {
        Kind::Swarm
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn wants_tracker(&self) -> bool {
        true
    }

    fn send(&self, job: &Job<'_>, node: &Node) -> Result<(Launch, Sign)> {
        let dir = folder_with_content(job, node)?;
        Ok((
            self.launch(job, "seed", &torrent(job)?, &dir)?,
            Sign::Output(DONE),
        ))
    }

    fn receive(&self, job: &Job<'_>, node: &Node, _: Option<&str>) -> Result<(Launch, Sign)> {
        Ok((
            self.launch(job, "leech", &torrent(job)?, &node.out)?,
            Sign::Output(DONE),
        ))
    }

    fn import(&self, job: &Job<'_>, node: &Node) -> Result<Option<(Launch, Sign)>> {
        let out = node.dir.join("made.torrent");
        Ok(Some((
            self.launch(job, "create", &job.content.path, &out)?,
            Sign::Exit,
        )))
    }
}
