//! aria2, as BitTorrent client over TCP.

use std::path::PathBuf;

use super::{
    Job, Kind, Node, Sign, Tool, binary,
    bittorrent::{completion_hook, folder_with_content, torrent},
    first_line, flag,
};
use crate::{error::Result, process::Launch};

pub(super) struct Aria2 {
    binary: PathBuf,
    version: String,
}

impl Aria2 {
    pub(super) fn find() -> Result<Box<dyn Tool>> {
        let binary = binary("aria2c")?;
        let version = first_line(&binary, &["--version"])?;
        Ok(Box::new(Self { binary, version }))
    }

    fn launch(&self) -> Launch {
        Launch::new([&self.binary]).args([
            "--no-conf",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--disable-ipv6=true",
            "--bt-enable-lpd=false",
            "--enable-peer-exchange=true",
            "--listen-port=6881",
            "--file-allocation=none",
            "--console-log-level=notice",
            "--summary-interval=0",
            "--show-console-readout=false",
            "--max-overall-upload-limit=0",
            "--bt-max-peers=100",
            // Its default asks for more peers only below 50 KB/s.
            "--bt-request-peer-speed-limit=10M",
            "--seed-ratio=0.0",
            "--seed-time=100000",
        ])
    }
}

impl Tool for Aria2 {
    fn name(&self) -> &'static str {
        "aria2"
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
            .launch()
            .arg("--bt-seed-unverified=true")
            .arg(flag("--dir", folder_with_content(job, node)?))
            .arg(torrent(job)?);
        Ok((
            launch,
            Sign::Output(|text| text.contains("listening on TCP port 6881")),
        ))
    }

    fn receive(&self, job: &Job<'_>, node: &Node, _: Option<&str>) -> Result<(Launch, Sign)> {
        let (script, file) = completion_hook(node)?;
        let launch = self
            .launch()
            .arg(flag("--on-bt-download-complete", script))
            .arg(flag("--dir", &node.out))
            .arg(torrent(job)?);
        Ok((launch, Sign::File(file)))
    }
}
