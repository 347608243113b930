//! The measured tools, each behind one trait.

mod aria2;
mod bittorrent;
mod libtorrent;
mod nginx;
mod rqbit;
mod samara;
mod sendme;
mod transmission;

use std::{
    collections::HashMap,
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    content::Content,
    error::{Error, Result},
    process::Launch,
    report::say,
};

/// How a process says that it is ready, or done.
#[derive(Clone)]
pub(crate) enum Sign {
    /// It exits with status 0.
    Exit,
    /// Its output satisfies this.
    Output(fn(&str) -> bool),
    /// This file appears.
    File(PathBuf),
}

/// What every tool of one run is given.
#[derive(Clone)]
pub(crate) struct Job<'a> {
    pub(crate) content: &'a Content,
    /// For files that a tool needs, shared by all runs of one bench.
    pub(crate) shared: &'a Path,
    /// Where the tracker answers.
    pub(crate) tracker: String,
    /// Receivers stay and serve the others when they are done.
    pub(crate) keep_serving: bool,
    /// Piece length of the BitTorrent tools, in bytes.
    pub(crate) piece: usize,
}

/// One sender or receiver of one run.
pub(crate) struct Node {
    pub(crate) address: String,
    /// The label of its site, where there are sites.
    pub(crate) site: Option<String>,
    pub(crate) sender: String,
    /// Its home, empty at the start.
    pub(crate) dir: PathBuf,
    /// Where a receiver puts the content, under the content's name.
    pub(crate) out: PathBuf,
}

/// What a tool is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours.
    Samara,
    /// What people would use instead.
    Swarm,
    /// One server, no hashes of content, no peers: the ceiling.
    Ceiling,
}

/// A tool that moves content. All methods but [`Tool::receive`] run before the clock starts.
pub(crate) trait Tool {
    fn name(&self) -> &'static str;
    fn kind(&self) -> Kind;
    /// As the tool itself says it.
    fn version(&self) -> &str;
    /// Whether receivers serve each other, and a receiver takes from several seeders.
    fn is_swarm(&self) -> bool {
        true
    }
    /// Whether a tracker has to run.
    fn wants_tracker(&self) -> bool {
        false
    }
    /// The sender, and how it says that it is ready.
    fn send(&self, job: &Job<'_>, node: &Node) -> Result<(Launch, Sign)>;
    /// What receivers need to know from the sender's output once it is ready.
    fn link(&self, _output: &str) -> Option<String> {
        None
    }
    /// A receiver, and how it says that it has everything.
    fn receive(&self, job: &Job<'_>, node: &Node, link: Option<&str>) -> Result<(Launch, Sign)>;
    /// Hashing the content for distribution, if the tool has a step of that name.
    fn import(&self, _job: &Job<'_>, _node: &Node) -> Result<Option<(Launch, Sign)>> {
        Ok(None)
    }
    /// What the tool itself reports of a finished receiver, for the JSON file.
    fn report(&self, _output: &str) -> Option<Value> {
        None
    }
}

/// All names.
const NAMES: [&str; 8] = [
    "samara",
    "rqbit",
    "aria2",
    "libtorrent",
    "transmission",
    "sendme",
    "http",
    "https",
];

/// Finds the named tools; those that are not installed are named on standard error and left out.
///
/// `samara` is the binary to measure, asked for only if it is among the names.
pub(crate) fn find(
    names: &[String],
    samara: impl FnOnce() -> Result<PathBuf>,
) -> Result<Vec<Box<dyn Tool>>> {
    let mut found: Vec<Box<dyn Tool>> = Vec::new();
    let mut samara = Some(samara);
    for name in names {
        let tool: Result<Box<dyn Tool>> = match name.as_str() {
            "samara" => match samara.take() {
                Some(binary) => samara::Samara::at(binary()?),
                None => continue,
            },
            "rqbit" => rqbit::Rqbit::find(),
            "aria2" => aria2::Aria2::find(),
            "libtorrent" => libtorrent::Libtorrent::find(),
            "transmission" => transmission::Transmission::find(),
            "sendme" => sendme::Sendme::find(),
            "http" => nginx::Nginx::find(false),
            "https" => nginx::Nginx::find(true),
            other => {
                let all = NAMES.join(", ");
                return Err(Error::Setup(format!(
                    "no tool is called {other:?}; there are {all}"
                )));
            }
        };
        match tool {
            Ok(tool) => {
                say(format_args!("{:<13} {}", tool.name(), tool.version()))?;
                found.push(tool);
            }
            Err(error) if name == "samara" => return Err(error),
            Err(error) => eprintln!("{name:<13} left out: {error}"),
        }
    }
    if found.is_empty() {
        return Err(Error::Setup("none of the tools is installed".into()));
    }
    Ok(found)
}

/// Versions by name, for the JSON file.
pub(crate) fn versions(tools: &[Box<dyn Tool>]) -> HashMap<&'static str, String> {
    tools
        .iter()
        .map(|t| (t.name(), t.version().to_owned()))
        .collect()
}

/// Looks in PATH, then in $SAMARA_BENCH_BIN, then where `cargo install` puts things and where servers live.
fn binary(name: &str) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let path = env::var_os("PATH").unwrap_or_default();
    let own = env::var_os("SAMARA_BENCH_BIN").unwrap_or_default();
    env::split_paths(&path)
        .chain(env::split_paths(&own))
        .chain(cargo.or(home).map(|dir| dir.join("bin")))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
        .ok_or_else(|| Error::Setup(format!("{name} is not installed")))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The first line of what `program args` prints.
fn first_line(program: &Path, args: &[&str]) -> Result<String> {
    let program = program.to_string_lossy();
    let argv: Vec<&str> = std::iter::once(&*program)
        .chain(args.iter().copied())
        .collect();
    let output = crate::process::helper(&argv)?;
    Ok(output.lines().next().unwrap_or_default().trim().to_owned())
}

/// `--flag=value` with a value that need not be UTF-8.
fn flag(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut out = OsString::from(name);
    out.push("=");
    out.push(value);
    out
}
