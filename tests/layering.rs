//! The house's walls: who may know whom, what the pure rooms must not touch, and the
//! cheap half of the house style. Told from the resolved dependencies and the sources
//! themselves, so that a wall does not fall by an oversight.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The rooms that take time, randomness and bytes as arguments.
const PURE: [&str; 5] = ["wire", "content", "graph", "swarm", "sim"];

/// What each room may know of the others. `bench` stands outside.
const MAY_USE: [(&str, &[&str]); 9] = [
    ("wire", &[]),
    ("content", &["wire"]),
    ("graph", &["wire", "content"]),
    ("swarm", &["wire", "content"]),
    ("sim", &["wire", "content", "graph", "swarm"]),
    ("store", &["wire", "content", "graph"]),
    ("node", &["wire", "content", "graph", "swarm", "store"]),
    (
        "web",
        &["wire", "content", "graph", "swarm", "store", "node"],
    ),
    (
        "samara",
        &["wire", "content", "graph", "swarm", "store", "node", "web"],
    ),
];

/// Crates that open sockets, run tasks, or read and write files.
const IMPURE: [&str; 21] = [
    "async-io",
    "async-std",
    "axum",
    "hyper",
    "hyper-util",
    "if-addrs",
    "memmap2",
    "mio",
    "polling",
    "quinn",
    "quinn-proto",
    "quinn-udp",
    "redb",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "tempfile",
    "tokio",
    "tokio-util",
    "ureq",
];

/// Crates that offer system calls. The simulator's command line is as wide as the
/// terminal, which clap learns through one: none of them may be used directly.
const SYSTEM: [&str; 3] = ["libc", "nix", "rustix"];

/// What the pure rooms' sources must not name, tests included: a test that sleeps
/// is as little welcome as code that does.
const UNNAMEABLE: [&str; 16] = [
    "Instant::now",
    "SystemTime::now",
    "UNIX_EPOCH",
    "std::fs",
    "fs::File",
    "std::net::Tcp",
    "std::net::Udp",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "thread::sleep",
    "rand::rng()",
    "thread_rng",
    "from_os_rng",
    "getrandom",
];

/// Longest file: past it, look for the second idea.
const MAX_LINES: usize = 800;

#[test]
fn pure_rooms_reach_nothing_that_touches_the_world() {
    let packages = Packages::resolve();
    for room in PURE {
        let reached = packages.reached(&crate_of(room));
        let impure: Vec<_> = IMPURE
            .iter()
            .filter(|name| reached.contains_key(**name))
            .map(|name| Packages::way(&reached, name))
            .collect();
        assert!(impure.is_empty(), "{room} reaches {impure:#?}");
        for name in SYSTEM {
            let direct = packages.normal[&crate_of(room)].contains(name);
            assert!(!direct, "{room} uses {name}");
        }
    }
}

#[test]
fn rooms_know_only_those_below() {
    let packages = Packages::resolve();
    let mut rooms: BTreeSet<String> = packages.workspace.clone();
    for (room, may) in MAY_USE {
        let name = crate_of(room);
        assert!(rooms.remove(&name), "{name} is no crate of the workspace");
        let allowed: BTreeSet<String> = may.iter().map(|other| crate_of(other)).collect();
        for used in packages.normal[&name].intersection(&packages.workspace) {
            assert!(allowed.contains(used), "{name} must not use {used}");
        }
    }
    // A new crate takes its place in the list above.
    assert_eq!(rooms, BTreeSet::from(["samara-bench".to_owned()]));
}

#[test]
fn pure_rooms_name_no_clock_no_socket_and_no_file() {
    for room in PURE {
        for path in sources(&root().join("crates").join(room).join("src")) {
            // The simulator's command line prints and times itself; its world does not.
            if path.ends_with("sim/src/main.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in code_lines(&text) {
                for name in UNNAMEABLE {
                    assert!(
                        !line.contains(name),
                        "{}:{number} names {name}",
                        path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn files_are_short_and_finished() {
    // Put together here, so as not to be found here.
    let unfinished = ["to", "unimplemen", "db"].map(|start| {
        let end = match start {
            "to" => "do!(",
            "db" => "g!(",
            _ => "ted!(",
        };
        format!("{start}{end}")
    });
    for folder in ["crates", "bench", "tests"] {
        for path in sources(&root().join(folder)) {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().count();
            assert!(lines <= MAX_LINES, "{}: {lines} lines", path.display());
            for (number, line) in code_lines(&text) {
                for word in &unfinished {
                    assert!(
                        !line.contains(word.as_str()),
                        "{}:{number} has {word}",
                        path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn modules_are_named_for_what_they_hold() {
    for folder in ["crates", "bench", "tests"] {
        for path in sources(&root().join(folder)) {
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let parent = path
                .parent()
                .unwrap()
                .file_name()
                .unwrap()
                .to_string_lossy();
            for vague in [
                "util", "utils", "common", "helper", "helpers", "misc", "manager", "types",
            ] {
                assert!(stem != vague && parent != vague, "{}", path.display());
            }
        }
    }
}

/// The workspace and all that it depends on, as cargo resolved it.
struct Packages {
    workspace: BTreeSet<String>,
    /// Names of the crates that a crate's own code uses; not of its tests.
    normal: BTreeMap<String, BTreeSet<String>>,
}

impl Packages {
    fn resolve() -> Self {
        let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["metadata", "--offline", "--locked", "--format-version", "1"])
            .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
            .current_dir(root())
            .output()
            .expect("cargo runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let names: BTreeMap<String, String> = list(&metadata["packages"])
            .into_iter()
            .map(|p| (p["id"].to_string(), p["name"].as_str().unwrap().into()))
            .collect();
        let name = |id: &Value| names[&id.to_string()].clone();
        let mut normal: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            // Of two versions of a crate, what either uses.
            let used = normal.entry(name(&node["id"])).or_default();
            for dep in list(&node["deps"]) {
                let kinds = list(&dep["dep_kinds"]);
                if kinds.iter().any(|kind| kind["kind"].is_null()) {
                    used.insert(name(&dep["pkg"]));
                }
            }
        }
        Self {
            workspace: list(&metadata["workspace_members"])
                .iter()
                .map(name)
                .collect(),
            normal,
        }
    }

    /// All crates that a crate's code uses, and through which each.
    fn reached(&self, start: &str) -> BTreeMap<String, String> {
        let mut reached = BTreeMap::new();
        let mut todo = vec![start.to_owned()];
        while let Some(user) = todo.pop() {
            for used in &self.normal[&user] {
                if !reached.contains_key(used) {
                    reached.insert(used.clone(), user.clone());
                    todo.push(used.clone());
                }
            }
        }
        reached
    }

    /// How a crate is reached, for whoever has to mend it.
    fn way(reached: &BTreeMap<String, String>, name: &str) -> String {
        let mut way = vec![name];
        while let Some(user) = reached.get(way[way.len() - 1])
            && !way.contains(&user.as_str())
        {
            way.push(user);
        }
        way.reverse();
        way.join(" -> ")
    }
}

fn crate_of(room: &str) -> String {
    match room {
        "samara" => room.to_owned(),
        _ => format!("samara-{room}"),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All Rust sources under a folder.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no sources in {}", dir.display());
    found
}

/// Lines that are not comments, with their numbers.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(i, line)| (i + 1, line));
    numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
}
