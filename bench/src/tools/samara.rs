//! Samara itself: `share` and `get` as whole processes, driven through `--json`.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Job, Kind, Node, Sign, Tool, first_line};
use crate::{error::Result, process::Launch};

const PORT: u16 = 7421;

pub(super) struct Samara {
    binary: PathBuf,
    version: String,
}

impl Samara {
    pub(super) fn at(binary: PathBuf) -> Result<Box<dyn Tool>> {
        let version = first_line(&binary, &["--version"])?;
        Ok(Box::new(Self { binary, version }))
    }

    fn launch(&self, node: &Node, data: &Path) -> Launch {
        Launch::new([&self.binary])
            .arg("--data-dir")
            .arg(data)
            .arg("--listen")
            .arg(format!("{}:{PORT}", node.address))
            .args(["--http", "off", "--no-mdns", "--json"])
            .args(node.site.iter().flat_map(|site| ["--site", site.as_str()]))
    }
}

impl Tool for Samara {
    fn name(&self) -> &'static str {
        "samara"
    }

    fn kind(&self) -> Kind {
        Kind::Samara
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn send(&self, job: &Job<'_>, node: &Node) -> Result<(Launch, Sign)> {
        let launch = self
            .launch(node, &node.dir.join("data"))
            .arg("share")
            .arg(&job.content.path);
        Ok((
            launch,
            Sign::Output(|text| event(text, "sharing").is_some()),
        ))
    }

    fn link(&self, output: &str) -> Option<String> {
        event(output, "sharing")?["link"]
            .as_str()
            .map(str::to_owned)
    }

    fn receive(&self, job: &Job<'_>, node: &Node, link: Option<&str>) -> Result<(Launch, Sign)> {
        let launch = self
            .launch(node, &node.dir.join("data"))
            .arg("get")
            .arg(link.unwrap_or_default())
            .arg("-o")
            .arg(&node.out);
        if job.keep_serving {
            let done = Sign::Output(|text| event(text, "complete").is_some());
            return Ok((launch.arg("--seed"), done));
        }
        Ok((launch, Sign::Exit))
    }

    fn import(&self, job: &Job<'_>, node: &Node) -> Result<Option<(Launch, Sign)>> {
        self.send(job, node).map(Some)
    }

    fn report(&self, output: &str) -> Option<Value> {
        event(output, "complete")
    }
}

/// The last line that is a JSON object with this `event`.
fn event(output: &str, name: &str) -> Option<Value> {
    // A line that is still being written has no newline yet.
    let whole = &output[..output.rfind('\n')?];
    whole
        .lines()
        .rev()
        .filter(|line| line.starts_with('{'))
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|object| object["event"] == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_among_other_lines_and_only_when_whole() {
        let text = "starting\n{\"event\":\"sharing\",\"link\":\"samara:a\"}\nnoise {\n{\"event\":\"complete\"}";
        assert_eq!(event(text, "sharing").unwrap()["link"], "samara:a");
        assert!(event(text, "complete").is_none());
        assert!(event(&format!("{text}\n"), "complete").is_some());
    }
}
