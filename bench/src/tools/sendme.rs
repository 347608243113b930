//! sendme: iroh-blobs over iroh's QUIC; one sender, no swarm.

use std::path::PathBuf;

use super::{Job, Kind, Node, Sign, Tool, binary, first_line};
use crate::{error::Result, process::Launch};

pub(super) struct Sendme {
    binary: PathBuf,
    version: String,
}

impl Sendme {
    pub(super) fn find() -> Result<Box<dyn Tool>> {
        let binary = binary("sendme")?;
        let version = first_line(&binary, &["--version"])? + " (iroh-blobs, no relay)";
        Ok(Box::new(Self { binary, version }))
    }
}

impl Tool for Sendme {
    fn name(&self) -> &'static str {
        "sendme"
    }

    fn kind(&self) -> Kind {
        Kind::Swarm
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn is_swarm(&self) -> bool {
        false
    }

    fn send(&self, job: &Job<'_>, _: &Node) -> Result<(Launch, Sign)> {
        let launch = Launch::new([&self.binary])
            .args([
                "send",
                "--relay",
                "disabled",
                "--ticket-type",
                "Addresses",
                "--no-progress",
            ])
            .arg(&job.content.path);
        Ok((launch, Sign::Output(|text| ticket(text).is_some())))
    }

    fn link(&self, output: &str) -> Option<String> {
        ticket(output).map(str::to_owned)
    }

    fn receive(&self, _: &Job<'_>, node: &Node, link: Option<&str>) -> Result<(Launch, Sign)> {
        let mut launch = Launch::new([&self.binary])
            .args(["receive", "--relay", "disabled", "--no-progress"])
            .arg(link.unwrap_or_default());
        launch.cwd = Some(node.out.clone());
        Ok((launch, Sign::Exit))
    }

    fn import(&self, job: &Job<'_>, node: &Node) -> Result<Option<(Launch, Sign)>> {
        self.send(job, node).map(Some)
    }
}

fn ticket(output: &str) -> Option<&str> {
    let (_, rest) = output.split_once("sendme receive ")?;
    // Without whitespace after it the ticket may still be growing.
    rest.split_once(char::is_whitespace)
        .map(|(ticket, _)| ticket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_taken_only_whole() {
        assert_eq!(
            ticket("to get this, use\nsendme receive blobabc\n"),
            Some("blobabc")
        );
        assert_eq!(ticket("sendme receive bloba"), None);
    }
}
