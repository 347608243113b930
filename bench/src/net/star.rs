//! A star: every node on a link of its own to one bridge.

use super::{Place, Topology, ip, shape};
use crate::{error::Result, limits};

/// A node's rates in Mbit/s; `None` is not shaped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Link {
    pub(crate) up: Option<f64>,
    pub(crate) down: Option<f64>,
}

impl Topology {
    /// A node for each of `links`, the sender's first. Nodes from `isolated` on reach those before it and not each
    /// other.
    pub(crate) fn star(
        links: &[Link],
        isolated: Option<usize>,
        mtu: u32,
        congestion: &str,
    ) -> Result<Self> {
        let mut topology = Self::empty(congestion)?;
        let hub = topology.namespace("hub")?;
        let hub_address = format!("{}.255.254", limits::PREFIX);
        ip(&format!(
            "-n {hub} link add br0 mtu {mtu} type bridge stp_state 0 mcast_snooping 0"
        ))?;
        ip(&format!("-n {hub} addr add {hub_address}/16 dev br0"))?;
        ip(&format!("-n {hub} link set br0 up"))?;
        for (i, link) in links.iter().enumerate() {
            let netns = topology.namespace(&format!("n{i}"))?;
            ip(&format!(
                "link add eth0 netns {netns} mtu {mtu} type veth peer name p{i} netns {hub} mtu {mtu}"
            ))?;
            ip(&format!("-n {hub} link set p{i} master br0 up"))?;
            if isolated.is_some_and(|first| i >= first) {
                ip(&format!(
                    "-n {hub} link set p{i} type bridge_slave isolated on"
                ))?;
            }
            let address = format!("{}.1.{}", limits::PREFIX, i + 1);
            topology.join(&netns, address, 16, None)?;
            if let Some(up) = link.up {
                shape(&netns, "eth0", up)?;
            }
            if let Some(down) = link.down {
                shape(&hub, &format!("p{i}"), down)?;
            }
        }
        topology.tracker = Place {
            netns: hub,
            address: hub_address,
            site: None,
        };
        topology.settled()
    }
}
