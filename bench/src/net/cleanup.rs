//! What the bench changes outside its namespaces and puts back, and what a bench that was killed left behind.

use std::{fs, path::Path};

use super::ip;
use crate::{
    error::{Context, Error, Result},
    process,
};

/// A namespace may choose only among the congestion controls that the machine allows; this adds one to the
/// list and takes it off again.
pub(super) struct Congestion {
    pub(super) name: String,
    restore: Option<String>,
}

const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

impl Congestion {
    pub(super) fn allow(name: &str) -> Result<Self> {
        let before = fs::read_to_string(ALLOWED).context(format!("reading {ALLOWED}"))?;
        let before = before.trim().to_owned();
        let listed = before.split_whitespace().any(|n| n == name);
        if !listed {
            fs::write(ALLOWED, format!("{before} {name}")).map_err(|_| {
                Error::Setup(format!(
                    "this kernel has no TCP congestion control {name:?}: choose another with --cc"
                ))
            })?;
        }
        Ok(Self {
            name: name.to_owned(),
            restore: (!listed).then_some(before),
        })
    }
}

impl Drop for Congestion {
    fn drop(&mut self) {
        if let Some(before) = &self.restore {
            let _ = fs::write(ALLOWED, before);
        }
    }
}

/// Names of the bench's namespaces begin with this and its process id.
pub(super) const NAMESPACE: &str = "smb";

/// Removes what a bench that was killed with SIGKILL could not: its cgroups with what still runs in them, and
/// its namespaces.
pub(crate) fn sweep() {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    if let Ok(root) = process::cgroup_root() {
        for entry in entries(root) {
            if is_orphan(&entry.file_name().to_string_lossy(), process::CGROUP, '.') {
                process::remove_cgroup(&entry.path());
            }
        }
    }
    for entry in entries(Path::new("/run/netns")) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_orphan(&name, NAMESPACE, '-') {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

/// Whether a name made of a prefix, a process id, a separator and more belongs to a bench that is gone.
fn is_orphan(name: &str, prefix: &str, separator: char) -> bool {
    let owner = name
        .strip_prefix(prefix)
        .and_then(|rest| rest.split_once(separator))
        .filter(|(pid, _)| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()));
    owner.is_some_and(|(pid, _)| {
        let comm = fs::read_to_string(Path::new("/proc").join(pid).join("comm"));
        !comm.is_ok_and(|comm| comm.starts_with("samara"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_whose_process_is_gone_are_orphans() {
        assert!(is_orphan("smb4194305-a", NAMESPACE, '-'));
        assert!(!is_orphan(
            &format!("smb{}-a", std::process::id()),
            NAMESPACE,
            '-'
        ));
        assert!(!is_orphan("smbfoo-a", NAMESPACE, '-'));
        assert!(!is_orphan("other4194305-a", NAMESPACE, '-'));
    }
}
