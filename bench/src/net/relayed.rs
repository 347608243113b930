//! A pair with a long path between the two: a relay process that holds one TUN device in each namespace.

use super::{Topology, ip};
use crate::{
    error::{Context, Error, Result},
    interrupt, limits,
    process::{Launch, Process},
    relay::{self, Path},
    scratch::Scratch,
};

impl Topology {
    /// Two namespaces and a relay that plays `path` in both directions.
    pub(crate) fn relayed(
        path: &Path,
        mtu: u32,
        congestion: &str,
        scratch: &Scratch,
    ) -> Result<Self> {
        let mut topology = Self::empty(congestion)?;
        let [a, b] = [topology.namespace("a")?, topology.namespace("b")?];
        let me = std::env::current_exe().context("finding this program")?;
        let launch = Launch::new([me]).args(path.command_line(&b));
        let log = scratch.path().join("relay.log");
        let mut relay = Process::start("relay", &a, &launch, scratch.path(), &log)?;
        while !relay.output()?.contains(relay::READY) {
            if relay.exited()?.is_some() {
                let words = relay.last_words();
                return Err(Error::Setup(format!(
                    "the relay does not start ({words}); it needs /dev/net/tun"
                )));
            }
            interrupt::sleep(limits::POLL_PAIR)?;
        }
        topology.relay = Some(relay);
        for (netns, last) in [(a, 1), (b, 2)] {
            let queue = limits::RELAY_DEVICE_QUEUE;
            ip(&format!(
                "-n {netns} link set eth0 mtu {mtu} txqueuelen {queue}"
            ))?;
            topology.join(&netns, format!("{}.0.{last}", limits::PREFIX), 16, None)?;
        }
        topology.tracker = topology.places[0].clone();
        topology.settled()
    }
}
