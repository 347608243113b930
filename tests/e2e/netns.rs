//! Networks of namespaces: machines that can reach each other and nobody else.

use std::{
    fs,
    io::Write,
    net::Ipv4Addr,
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

/// Two namespaces joined by one cable. They go when this is dropped.
pub(crate) struct Cable {
    names: [String; 2],
}

impl Cable {
    /// `None`, with a line that says why, where namespaces cannot be made.
    pub(crate) fn lay() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let id = format!(
            "{PREFIX}{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let cable = Self {
            names: [format!("{id}-a"), format!("{id}-b")],
        };
        let [a, b] = &cable.names;
        if let Err(why) = ip(&format!("netns add {a}")) {
            skipped(&format!("network namespaces cannot be made here: {why}"));
            return None;
        }
        let must = |args: String| ip(&args).unwrap_or_else(|why| panic!("ip {args}: {why}"));
        must(format!("netns add {b}"));
        must(format!(
            "link add eth0 netns {a} type veth peer name eth0 netns {b}"
        ));
        for (i, name) in cable.names.iter().enumerate() {
            must(format!("-n {name} link set lo up"));
            must(format!("-n {name} addr add {}/24 dev eth0", address(i)));
            must(format!("-n {name} link set eth0 up"));
            must(format!("-n {name} route add 224.0.0.0/4 dev eth0"));
        }
        Some(cable)
    }

    /// One end's namespace.
    pub(crate) fn end(&self, i: usize) -> &str {
        &self.names[i]
    }
}

/// Says that a test does not run here, also where the output of those that pass is not
/// shown.
pub(crate) fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "\nskipped: {why}");
}

/// The address of one end.
pub(crate) fn address(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 209, 0, 1 + i as u8)
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

const PREFIX: &str = "sme";

/// Removes what tests that were killed left behind.
fn sweep() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn ip(args: &str) -> Result<(), String> {
    let run: Output = Command::new("ip")
        .args(args.split(' '))
        .output()
        .map_err(|e| e.to_string())?;
    match run.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&run.stderr).trim().to_owned()),
    }
}
