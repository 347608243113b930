//! Topologies out of network namespaces: a pair on one veth or on a long path, a star of links on a bridge, sites
//! behind routers.
//!
//! Bridges and routers have namespaces of their own too, so no packet of the bench can leave the machine.

mod cleanup;
mod relayed;
mod sites;
mod star;

use serde_json::Value;

pub(crate) use self::{cleanup::sweep, sites::SiteLinks, star::Link};
use crate::{
    error::{Error, Result},
    interrupt, limits,
    process::{Process, helper},
};

/// A place where a tool runs. Node 0 is the sender.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) netns: String,
    pub(crate) address: String,
    /// The label of its site, where there are sites.
    pub(crate) site: Option<String>,
}

/// An interface whose counters are read.
#[derive(Clone, Debug)]
struct Interface {
    netns: String,
    device: String,
}

/// Bytes that an interface has sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    /// By the interface, where a segment that the other end is to cut counts with one header.
    pub(crate) counted: u64,
    /// By its shaper, with the headers of all segments; 0 where there is none.
    pub(crate) shaped: u64,
}

impl Sent {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            counted: self.counted - before.counted,
            shaped: self.shaped - before.shaped,
        }
    }
}

/// Namespaces that this object made. Dropping it removes them all.
pub(crate) struct Topology {
    namespaces: Vec<String>,
    pub(crate) places: Vec<Place>,
    /// Where a tracker runs: on the bridge, so that it uses no node's link, or beside the sender.
    pub(crate) tracker: Place,
    /// The way into each site.
    ways_in: Vec<Interface>,
    /// The process that a long path consists of.
    relay: Option<Process>,
    congestion: cleanup::Congestion,
}

impl Topology {
    /// Two namespaces, one veth, no shaping.
    pub(crate) fn pair(mtu: u32, congestion: &str) -> Result<Self> {
        let mut topology = Self::empty(congestion)?;
        let [a, b] = [topology.namespace("a")?, topology.namespace("b")?];
        ip(&format!(
            "link add eth0 netns {a} mtu {mtu} type veth peer name eth0 netns {b} mtu {mtu}"
        ))?;
        for (netns, last) in [(a, 1), (b, 2)] {
            topology.join(&netns, format!("{}.0.{last}", limits::PREFIX), 16, None)?;
        }
        topology.tracker = topology.places[0].clone();
        topology.settled()
    }

    fn empty(congestion: &str) -> Result<Self> {
        Ok(Self {
            namespaces: Vec::new(),
            places: Vec::new(),
            tracker: Place {
                netns: String::new(),
                address: String::new(),
                site: None,
            },
            ways_in: Vec::new(),
            relay: None,
            congestion: cleanup::Congestion::allow(congestion)?,
        })
    }

    fn settled(self) -> Result<Self> {
        interrupt::sleep(limits::LINK_SETTLE)?;
        Ok(self)
    }

    fn namespace(&mut self, role: &str) -> Result<String> {
        interrupt::check()?;
        let name = format!("{}{}-{role}", cleanup::NAMESPACE, std::process::id());
        ip(&format!("netns add {name}"))?;
        self.namespaces.push(name.clone());
        ip(&format!("-n {name} link set lo up"))?;
        let congestion = self.congestion.name.clone();
        set(&name, "net/ipv4/tcp_congestion_control", &congestion)?;
        Ok(name)
    }

    /// Gives `netns` its address on eth0, which is there already, and makes it the next place.
    fn join(
        &mut self,
        netns: &str,
        address: String,
        prefix: u8,
        site: Option<String>,
    ) -> Result<()> {
        ip(&format!("-n {netns} addr add {address}/{prefix} dev eth0"))?;
        ip(&format!("-n {netns} link set eth0 up"))?;
        self.places.push(Place {
            netns: netns.to_owned(),
            address,
            site,
        });
        Ok(())
    }

    /// What node `i`'s interface has sent.
    pub(crate) fn sent(&self, i: usize) -> Result<Sent> {
        sent(&self.places[i].netns, "eth0")
    }

    /// What has crossed into each site.
    pub(crate) fn crossed(&self) -> Result<Vec<Sent>> {
        let ways = self.ways_in.iter();
        ways.map(|way| sent(&way.netns, &way.device)).collect()
    }

    /// Processes that the topology itself consists of.
    pub(crate) fn pids(&self) -> Vec<i32> {
        self.relay.iter().flat_map(Process::pids).collect()
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        // It holds devices of two of the namespaces.
        drop(self.relay.take());
        for name in &self.namespaces {
            if let Err(error) = ip(&format!("netns del {name}")) {
                eprintln!("cleaning up: {error}");
            }
        }
    }
}

/// Writes a setting below /proc/sys inside a namespace.
fn set(netns: &str, name: &str, value: &str) -> Result<()> {
    let script = format!("echo {value} > /proc/sys/{name}");
    helper(&["ip", "netns", "exec", netns, "sh", "-c", &script])?;
    Ok(())
}

fn sent(netns: &str, device: &str) -> Result<Sent> {
    let counters = ip(&format!("-n {netns} -s -j link show {device}"))?;
    let qdiscs = helper(&[
        "tc", "-n", netns, "-s", "-j", "qdisc", "show", "dev", device,
    ])?;
    let qdiscs: Vec<Value> = serde_json::from_str(&qdiscs).unwrap_or_default();
    let shapers = qdiscs.iter().filter(|q| q["kind"] == "tbf");
    Ok(Sent {
        counted: number(&counters, "/0/stats64/tx/bytes")?,
        shaped: shapers.filter_map(|q| q["bytes"].as_u64()).sum(),
    })
}

/// A `tbf` of `mbit` Mbit/s on what leaves by `device`.
fn shape(netns: &str, device: &str, mbit: f64) -> Result<()> {
    let kbit = format!("{}kbit", (mbit * 1e3).round());
    let burst = limits::tbf_burst(mbit).to_string();
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
        &burst,
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
    fn the_interface_counter_is_read_from_ip_json() {
        let json = r#"[{"ifname":"eth0","stats64":{"rx":{"bytes":7},"tx":{"bytes":42}}}]"#;
        assert_eq!(number(json, "/0/stats64/tx/bytes").unwrap(), 42);
        assert!(number("[]", "/0/stats64/tx/bytes").is_err());
    }
}
