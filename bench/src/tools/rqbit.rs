//! rqbit, BitTorrent in Rust.

use std::path::PathBuf;

use super::{
    Job, Kind, Node, Sign, Tool, binary,
    bittorrent::{folder_with_content, torrent},
    first_line,
};
use crate::{error::Result, process::Launch};

pub(super) struct Rqbit {
    binary: PathBuf,
    version: String,
}

impl Rqbit {
    pub(super) fn find() -> Result<Box<dyn Tool>> {
        let binary = binary("rqbit")?;
        let version = first_line(&binary, &["--version"])?;
        Ok(Box::new(Self { binary, version }))
    }

    fn launch(&self, out: PathBuf) -> Launch {
        Launch::new([&self.binary])
            .args([
                "-v",
                "info",
                "--disable-dht",
                "--disable-lsd",
                "--disable-upnp-port-forward",
            ])
            .args([
                "--listen-port",
                "4240",
                "download",
                "--disable-http-api",
                "-o",
            ])
            .arg(out)
    }
}

impl Tool for Rqbit {
    fn name(&self) -> &'static str {
        "rqbit"
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
        let launch = self
            .launch(folder_with_content(job, node)?)
            .arg("--overwrite")
            .arg(torrent(job)?);
        let checked: fn(&str) -> bool = |text| {
            text.lines()
                .any(|line| line.contains("Initial check results") && line.contains("needed 0"))
                || text.contains("100.00%")
        };
        Ok((launch, Sign::Output(checked)))
    }

    fn receive(&self, job: &Job<'_>, node: &Node, _: Option<&str>) -> Result<(Launch, Sign)> {
        let launch = self.launch(node.out.clone());
        if job.keep_serving {
            let done = Sign::Output(|text| text.contains("torrent finished downloading"));
            return Ok((launch.arg(torrent(job)?), done));
        }
        Ok((launch.arg("-e").arg(torrent(job)?), Sign::Exit))
    }
}
