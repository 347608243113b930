//! Topologies out of network namespaces: a pair on one veth, or a star of shaped links on a bridge.
//!
//! The bridge has a namespace of its own too, so no packet of the bench can leave the machine.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    error::{Context, Error, Result},
    interrupt, limits,
    process::{self, helper},
};

/// A place where a tool runs. Node 0 is the sender.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) netns: String,
    pub(crate) address: String,
}

/// Shape of a star's links, in Mbit/s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// The sender's way up.
    pub(crate) sender: f64,
    /// Everything else: receivers both ways, the sender's way down.
    pub(crate) node: f64,
}

/// Namespaces that this object made. Dropping it removes them all.
pub(crate) struct Topology {
    namespaces: Vec<String>,
    pub(crate) places: Vec<Place>,
    /// Where a tracker runs: on the bridge, so that it uses no node's link, or beside the sender.
    pub(crate) tracker: Place,
    _congestion: Congestion,
}

impl Topology {
    /// Two namespaces, one veth, no shaping.
    pub(crate) fn pair(mtu: u32, congestion: &str) -> Result<Self> {
        let mut topology = Self::empty(congestion)?;
        let [a, b] = [topology.namespace("a")?, topology.namespace("b")?];
        let mtu = mtu.to_string();
        ip(&format!(
            "link add eth0 netns {a} mtu {mtu} type veth peer name eth0 netns {b} mtu {mtu}"
        ))?;
        for (netns, last) in [(a, 1), (b, 2)] {
            topology.join(netns, format!("{}.0.{last}", limits::PREFIX))?;
        }
        topology.tracker = topology.places[0].clone();
        interrupt::sleep(limits::LINK_SETTLE)?;
        Ok(topology)
    }

    /// One sender and `receivers` others on a bridge, every link shaped with `tc tbf` both ways.
    pub(crate) fn star(receivers: usize, rates: Rates, mtu: u32, congestion: &str) -> Result<Self> {
        let mut topology = Self::empty(congestion)?;
        let hub = topology.namespace("hub")?;
        let hub_address = format!("{}.255.254", limits::PREFIX);
        ip(&format!(
            "-n {hub} link add br0 mtu {mtu} type bridge stp_state 0 mcast_snooping 0"
        ))?;
        ip(&format!("-n {hub} addr add {hub_address}/16 dev br0"))?;
        ip(&format!("-n {hub} link set br0 up"))?;
        for i in 0..=receivers {
            let netns = topology.namespace(&format!("n{i}"))?;
            ip(&format!(
                "link add eth0 netns {netns} mtu {mtu} type veth peer name p{i} netns {hub} mtu {mtu}"
            ))?;
            ip(&format!("-n {hub} link set p{i} master br0 up"))?;
            topology.join(netns.clone(), format!("{}.1.{}", limits::PREFIX, i + 1))?;
            let up = if i == 0 { rates.sender } else { rates.node };
            shape(&netns, "eth0", up)?;
            shape(&hub, &format!("p{i}"), rates.node)?;
        }
        topology.tracker = Place {
            netns: hub,
            address: hub_address,
        };
        interrupt::sleep(limits::LINK_SETTLE)?;
        Ok(topology)
    }

    fn empty(congestion: &str) -> Result<Self> {
        Ok(Self {
            namespaces: Vec::new(),
            places: Vec::new(),
            tracker: Place {
                netns: String::new(),
                address: String::new(),
            },
            _congestion: Congestion::allow(congestion)?,
        })
    }

    fn namespace(&mut self, role: &str) -> Result<String> {
        interrupt::check()?;
        let name = format!("{}{}-{role}", NAMESPACE, std::process::id());
        ip(&format!("netns add {name}"))?;
        self.namespaces.push(name.clone());
        ip(&format!("-n {name} link set lo up"))?;
        helper(&[
            "ip",
            "netns",
            "exec",
            &name,
            "sh",
            "-c",
            &format!(
                "echo {} > /proc/sys/net/ipv4/tcp_congestion_control",
                self._congestion.name
            ),
        ])?;
        Ok(name)
    }

    fn join(&mut self, netns: String, address: String) -> Result<()> {
        ip(&format!("-n {netns} addr add {address}/16 dev eth0"))?;
        ip(&format!("-n {netns} link set eth0 up"))?;
        self.places.push(Place { netns, address });
        Ok(())
    }

    /// Bytes that node `i`'s interface has sent, by its counter.
    pub(crate) fn sent(&self, i: usize) -> Result<u64> {
        let place = &self.places[i];
        let json = ip(&format!("-n {} -s -j link show eth0", place.netns))?;
        number(&json, "/0/stats64/tx/bytes")
    }

    /// Bytes that node `i`'s shaper has let through, the headers of offloaded segments counted; 0 where
    /// there is no shaper.
    pub(crate) fn shaped(&self, i: usize) -> Result<u64> {
        let place = &self.places[i];
        let json = helper(&[
            "tc",
            "-n",
            &place.netns,
            "-s",
            "-j",
            "qdisc",
            "show",
            "dev",
            "eth0",
        ])?;
        let qdiscs: Vec<Value> = serde_json::from_str(&json).unwrap_or_default();
        Ok(qdiscs
            .iter()
            .filter(|q| q["kind"] == "tbf")
            .filter_map(|q| q["bytes"].as_u64())
            .sum())
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        for name in &self.namespaces {
            if let Err(error) = ip(&format!("netns del {name}")) {
                eprintln!("cleaning up: {error}");
            }
        }
    }
}

/// A namespace may choose only among the congestion controls that the machine allows; this adds one to the
/// list and takes it off again.
struct Congestion {
    name: String,
    restore: Option<String>,
}

const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

impl Congestion {
    fn allow(name: &str) -> Result<Self> {
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

const NAMESPACE: &str = "smb";

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

fn shape(netns: &str, device: &str, mbit: f64) -> Result<()> {
    let kbit = format!("{}kbit", (mbit * 1e3).round());
    helper(&[
        "tc",
        "-n",
        netns,
        "qdisc",
        "add",
        "dev",
        device,
        "root",
        "tbf",
        "rate",
        &kbit,
        "burst",
        limits::TBF_BURST,
        "latency",
        limits::TBF_LATENCY,
    ])
    .map_err(|error| {
        Error::Setup(format!(
            "cannot shape a link ({error}); the kernel needs sch_tbf"
        ))
    })?;
    Ok(())
}

fn ip(args: &str) -> Result<String> {
    let argv: Vec<&str> = std::iter::once("ip").chain(args.split(' ')).collect();
    helper(&argv)
}

fn number(json: &str, pointer: &str) -> Result<u64> {
    serde_json::from_str::<Value>(json)
        .ok()
        .and_then(|value| value.pointer(pointer)?.as_u64())
        .ok_or_else(|| Error::Setup(format!("`ip -j` printed no {pointer}")))
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

    #[test]
    fn the_interface_counter_is_read_from_ip_json() {
        let json = r#"[{"ifname":"eth0","stats64":{"rx":{"bytes":7},"tx":{"bytes":42}}}]"#;
        assert_eq!(number(json, "/0/stats64/tx/bytes").unwrap(), 42);
        assert!(number("[]", "/0/stats64/tx/bytes").is_err());
    }
}
