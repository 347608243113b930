//! transmission-cli over TCP. Version 3 asks one peer for at most 512 blocks of 16 KiB a second, so a pair
//! moves 8 MiB/s whatever the link.

use std::{fs, path::PathBuf};

use serde_json::json;

use super::{
    Job, Kind, Node, Sign, Tool, binary,
    bittorrent::{completion_hook, folder_with_content, torrent},
    first_line,
};
use crate::{
    error::{Context, Result},
    process::Launch,
};

pub(super) struct Transmission {
    binary: PathBuf,
    version: String,
}

impl Transmission {
    pub(super) fn find() -> Result<Box<dyn Tool>> {
        let binary = binary("transmission-cli")?;
        let version = first_line(&binary, &["--version"])? + ", TCP";
        Ok(Box::new(Self { binary, version }))
    }

    fn launch(&self, job: &Job<'_>, node: &Node, dir: PathBuf) -> Result<(Launch, PathBuf)> {
        let config = node.dir.join("transmission");
        fs::create_dir_all(&config).on("creating", &config)?;
        let settings = json!({
            "dht-enabled": false, "lpd-enabled": false, "pex-enabled": true, "utp-enabled": false, "encryption": 0,
            "port-forwarding-enabled": false, "rename-partial-files": false, "cache-size-mb": 4, "preallocation": 1,
            "peer-limit-per-torrent": 100, "peer-limit-global": 200, "upload-slots-per-torrent": 14,
            "speed-limit-up-enabled": false, "speed-limit-down-enabled": false, "ratio-limit-enabled": false,
            "scrape-paused-torrents-enabled": false,
        });
        let file = config.join("settings.json");
        fs::write(&file, settings.to_string()).on("writing", &file)?;
        let (script, complete) = completion_hook(node)?;
        let launch = Launch::new([&self.binary])
            .arg("-g")
            .arg(config)
            .args(["-M", "-D", "-U", "-et", "-p", "51413", "-w"])
            .arg(dir)
            .arg("-f")
            .arg(script)
            .arg(torrent(job)?);
        Ok((launch, complete))
    }
}

impl Tool for Transmission {
    fn name(&self) -> &'static str {
        "transmission"
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
        let (launch, _) = self.launch(job, node, dir)?;
        Ok((
            launch,
            Sign::Output(|text| text.contains("Seeding, uploading")),
        ))
    }

    fn receive(&self, job: &Job<'_>, node: &Node, _: Option<&str>) -> Result<(Launch, Sign)> {
        let (launch, complete) = self.launch(job, node, node.out.clone())?;
        Ok((launch, Sign::File(complete)))
    }
}
