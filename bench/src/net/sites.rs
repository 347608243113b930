//! Sites: local networks behind routers, and the routers' narrow ways out to one core.

use super::{Interface, Place, Topology, ip, set, shape};
use crate::{error::Result, limits};

/// How many sites, how large, and how fast everything is, in Mbit/s both ways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteLinks {
    pub(crate) sites: usize,
    pub(crate) nodes_per_site: usize,
    /// Each node's link to the bridge of its site.
    pub(crate) lan: f64,
    /// Each site's way out.
    pub(crate) way_out: f64,
    /// The publisher's link to the core; it is in no site.
    pub(crate) publisher: f64,
}

impl Topology {
    /// The publisher on the core, then the nodes of each site in turn. The tracker is on the core.
    pub(crate) fn sites(links: &SiteLinks, mtu: u32, congestion: &str) -> Result<Self> {
        let mut topology = Self::empty(congestion)?;
        let core = topology.namespace("core")?;
        set(&core, "net/ipv4/ip_forward", "1")?;
        let tracker = format!("{}.255.254", limits::PREFIX);
        ip(&format!("-n {core} addr add {tracker}/32 dev lo"))?;
        topology.tracker = Place {
            netns: core.clone(),
            address: tracker,
            site: None,
        };

        let netns = topology.namespace("n0")?;
        let (address, gateway) = (subnet(1, 1), subnet(1, GATEWAY));
        veth((&netns, "eth0"), (&core, "publisher"), mtu)?;
        ip(&format!("-n {core} addr add {gateway}/24 dev publisher"))?;
        ip(&format!("-n {core} link set publisher up"))?;
        topology.join(&netns, address, 24, Some("publisher".into()))?;
        ip(&format!("-n {netns} route add default via {gateway}"))?;
        shape(&netns, "eth0", links.publisher)?;
        shape(&core, "publisher", links.publisher)?;

        for site in 0..links.sites {
            topology.site(site, links, &core, mtu)?;
        }
        topology.settled()
    }

    /// A router with a bridge on one side and the way out on the other.
    fn site(&mut self, site: usize, links: &SiteLinks, core: &str, mtu: u32) -> Result<()> {
        let router = self.namespace(&format!("r{site}"))?;
        set(&router, "net/ipv4/ip_forward", "1")?;
        let (lan, out) = (FIRST_SITE + site, FIRST_WAY_OUT + site);
        let way_in = format!("site{site}");
        veth((&router, "out"), (core, &way_in), mtu)?;
        ip(&format!(
            "-n {router} addr add {}/24 dev out",
            subnet(out, 1)
        ))?;
        ip(&format!("-n {router} link set out up"))?;
        ip(&format!(
            "-n {core} addr add {}/24 dev {way_in}",
            subnet(out, GATEWAY)
        ))?;
        ip(&format!("-n {core} link set {way_in} up"))?;
        ip(&format!(
            "-n {router} route add default via {}",
            subnet(out, GATEWAY)
        ))?;
        ip(&format!(
            "-n {core} route add {}/24 via {}",
            subnet(lan, 0),
            subnet(out, 1)
        ))?;
        shape(&router, "out", links.way_out)?;
        shape(core, &way_in, links.way_out)?;

        let gateway = subnet(lan, GATEWAY);
        ip(&format!(
            "-n {router} link add br0 mtu {mtu} type bridge stp_state 0 mcast_snooping 0"
        ))?;
        ip(&format!("-n {router} addr add {gateway}/24 dev br0"))?;
        ip(&format!("-n {router} link set br0 up"))?;
        for i in 0..links.nodes_per_site {
            let (netns, port) = (
                self.namespace(&format!("n{}", self.places.len()))?,
                format!("p{i}"),
            );
            veth((&netns, "eth0"), (&router, &port), mtu)?;
            ip(&format!("-n {router} link set {port} master br0 up"))?;
            self.join(&netns, subnet(lan, i + 1), 24, Some(way_in.clone()))?;
            ip(&format!("-n {netns} route add default via {gateway}"))?;
            shape(&netns, "eth0", links.lan)?;
            shape(&router, &port, links.lan)?;
        }
        self.ways_in.push(Interface {
            netns: core.to_owned(),
            device: way_in,
        });
        Ok(())
    }
}

/// Third byte of the first site's addresses, and of the first way out's.
const FIRST_SITE: usize = 10;
const FIRST_WAY_OUT: usize = 100;
/// Last byte of a router's address.
const GATEWAY: usize = 254;

fn subnet(third: usize, last: usize) -> String {
    format!("{}.{third}.{last}", limits::PREFIX)
}

fn veth(one: (&str, &str), other: (&str, &str), mtu: u32) -> Result<()> {
    ip(&format!(
        "link add {} netns {} mtu {mtu} type veth peer name {} netns {} mtu {mtu}",
        one.1, one.0, other.1, other.0
    ))?;
    Ok(())
}
