//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, ValueEnum, builder::RangedU64ValueParser};

/// Measures Samara side by side with other tools, in network namespaces of this machine.
///
/// Needs root, iproute2 and cgroup v2. Sends nothing off the machine, and removes its namespaces, processes
/// and files also after Ctrl-C. README.md beside it says what is measured how.
#[derive(Debug, Parser)]
#[command(name = "samara-bench", version)]
pub(crate) enum Bench {
    /// One file, one sender, one receiver, one unshaped veth.
    Pair(Pair),
    /// Many small files, one sender, one receiver.
    Small(Small),
    /// Chunking and hashing, before anything is sent.
    Import(Import),
    /// Three receivers at once on shaped links: how much the origin has to send.
    Origin(Origin),
    /// Many receivers at once on shaped links: how long the last one takes.
    Swarm(Swarm),
    /// Sites behind narrow ways out: how often the content crosses into each, and how long the last receiver takes.
    Sites(Sites),
    /// Several seeders for one receiver, and one seeder for several receivers.
    Seeders(Seeders),
    /// Limits of the rate, up and down: how near what passes on the wire is to them.
    Limits(Limits),
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Tools to measure, comma-separated; the default is all that the bench suits and that are installed.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    tools: Vec<String>,
    /// Runs of each tool; the table has medians.
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub(crate) repeat: usize,
    /// Write every run, the medians and the machine's description here.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a bar chart here.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// The samara binary to measure; without this, a release build is made first.
    #[arg(long, value_name = "FILE")]
    pub(crate) samara: Option<PathBuf>,
    /// Seconds after which a tool counts as hanging; the default suits the bench.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<f64>,
    /// Wait this long before each run for other work on the machine to stop; 0 does not wait.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(crate) quiet: u64,
    /// TCP congestion control inside the namespaces.
    #[arg(long, default_value = "cubic", value_name = "NAME")]
    pub(crate) cc: String,
    /// Where content and results lie; a memory file system, or the disk is measured too.
    #[arg(long, default_value = "/dev/shm", value_name = "DIR")]
    pub(crate) scratch: PathBuf,
    /// Keep the output of the tools of each last run here.
    #[arg(long, value_name = "DIR")]
    pub(crate) logs: Option<PathBuf>,
}

impl Common {
    /// The tools asked for, or `default`.
    pub(crate) fn tools(&self, default: &[&str]) -> Vec<String> {
        if self.tools.is_empty() {
            return default.iter().map(|&name| name.to_owned()).collect();
        }
        self.tools.clone()
    }
}

#[derive(Debug, Args)]
pub(crate) struct Pair {
    #[command(flatten)]
    common: Common,
    /// Size of the file.
    #[arg(long, default_value_t = 2048)]
    pub(crate) size_mib: u64,
    /// MTU of the link.
    #[arg(long, default_value_t = 1500)]
    pub(crate) mtu: u32,
    /// Piece length of the BitTorrent tools.
    #[arg(long, default_value_t = 1024)]
    pub(crate) piece_kib: usize,
    /// A long path instead of the veth: a relay with a rate, a delay and a queue of one round trip.
    #[arg(long)]
    pub(crate) relay: bool,
    /// The relay's rate each way, in Mbit/s.
    #[arg(long, default_value_t = 1000.0, requires = "relay", value_parser = rate)]
    pub(crate) relay_rate: f64,
    /// The relay's delay each way.
    #[arg(long, default_value_t = 10, requires = "relay", value_parser = RangedU64ValueParser::<u64>::new().range(0..=10_000))]
    pub(crate) relay_delay_ms: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Small {
    #[command(flatten)]
    common: Common,
    /// How many files.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) files: usize,
    /// Size of each.
    #[arg(long, default_value_t = 4096)]
    pub(crate) file_bytes: usize,
    /// MTU of the link.
    #[arg(long, default_value_t = 1500)]
    pub(crate) mtu: u32,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    #[command(flatten)]
    common: Common,
    /// Size of the file.
    #[arg(long, default_value_t = 2048)]
    pub(crate) size_mib: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Links {
    #[command(flatten)]
    common: Common,
    /// Size of the file.
    #[arg(long, default_value_t = 64)]
    pub(crate) size_mib: u64,
    /// Rate of every link both ways, in Mbit/s.
    #[arg(long, default_value_t = 40.0, value_parser = rate)]
    pub(crate) rate: f64,
    /// The origin's rate up, if another.
    #[arg(long, value_parser = rate)]
    pub(crate) origin_rate: Option<f64>,
    /// MTU of the links.
    #[arg(long, default_value_t = 1500)]
    pub(crate) mtu: u32,
    /// Piece length of the BitTorrent tools.
    #[arg(long, default_value_t = 256)]
    pub(crate) piece_kib: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Origin {
    #[command(flatten)]
    pub(crate) links: Links,
    /// How many receivers start at once.
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..=200))]
    pub(crate) receivers: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Swarm {
    #[command(flatten)]
    pub(crate) links: Links,
    /// What the receivers' uplinks are.
    #[arg(long, value_enum, default_value_t = Uplinks::Equal)]
    pub(crate) uplinks: Uplinks,
    /// Numbers of receivers, each a swarm of its own.
    #[arg(long, default_value = "8,16", value_delimiter = ',', value_parser = RangedU64ValueParser::<usize>::new().range(1..=200))]
    pub(crate) n: Vec<usize>,
}

/// The uplinks of a swarm's receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Uplinks {
    /// All at the rate of the links.
    Equal,
    /// Half of them at a quarter of it, a fifth at three times.
    Mixed,
}

#[derive(Debug, Args)]
pub(crate) struct Sites {
    #[command(flatten)]
    common: Common,
    /// Size of the file.
    #[arg(long, default_value_t = 64)]
    pub(crate) size_mib: u64,
    /// How many sites.
    #[arg(long, default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..=50))]
    pub(crate) sites: usize,
    /// How many receivers in each.
    #[arg(long, default_value_t = 8, value_parser = RangedU64ValueParser::<usize>::new().range(1..=200))]
    pub(crate) per_site: usize,
    /// Rate of each receiver's link inside its site, in Mbit/s.
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    pub(crate) lan: f64,
    /// Rate of each site's way out, in Mbit/s.
    #[arg(long, default_value_t = 20.0, value_parser = rate)]
    pub(crate) way_out: f64,
    /// Rate of the publisher's link, in Mbit/s.
    #[arg(long, default_value_t = 200.0, value_parser = rate)]
    pub(crate) publisher: f64,
    /// MTU of the links.
    #[arg(long, default_value_t = 1500)]
    pub(crate) mtu: u32,
    /// Piece length of the BitTorrent tools.
    #[arg(long, default_value_t = 256)]
    pub(crate) piece_kib: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Seeders {
    #[command(flatten)]
    common: Common,
    /// Size of the file.
    #[arg(long, default_value_t = 512)]
    pub(crate) size_mib: u64,
    /// Numbers of seeders that one receiver has.
    #[arg(long, default_value = "1,2,4", value_delimiter = ',', value_parser = RangedU64ValueParser::<usize>::new().range(1..=100))]
    pub(crate) seeders: Vec<usize>,
    /// Numbers of receivers that one seeder has; they cannot reach each other.
    #[arg(long, default_value = "2,4", value_delimiter = ',', value_parser = RangedU64ValueParser::<usize>::new().range(1..=100))]
    pub(crate) receivers: Vec<usize>,
    /// Rate up of each seeder, in Mbit/s; without this, links are not shaped.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// MTU of the links.
    #[arg(long, default_value_t = 1500)]
    pub(crate) mtu: u32,
    /// Piece length of the BitTorrent tools.
    #[arg(long, default_value_t = 1024)]
    pub(crate) piece_kib: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Limits {
    #[command(flatten)]
    common: Common,
    /// Limits in Mbit/s, each up and down in runs of its own.
    #[arg(long, default_value = "10,40,200", value_delimiter = ',', value_parser = rate)]
    pub(crate) rates: Vec<f64>,
    /// Seconds after the receiver's start at which measuring begins.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub(crate) start: f64,
    /// Seconds that it lasts.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub(crate) seconds: f64,
    /// MTU of the links.
    #[arg(long, default_value_t = 1500)]
    pub(crate) mtu: u32,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        Ok(_) => Err("from 0.1 to 600 seconds".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// A rate in Mbit/s that a link can have.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=1e6).contains(&rate) => Ok(rate),
        Ok(_) => Err("a rate is from 0.1 to 1,000,000 Mbit/s".into()),
        Err(error) => Err(error.to_string()),
    }
}

impl Bench {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Pair(args) => &args.common,
            Self::Small(args) => &args.common,
            Self::Import(args) => &args.common,
            Self::Origin(args) => &args.links.common,
            Self::Swarm(args) => &args.links.common,
            Self::Sites(args) => &args.common,
            Self::Seeders(args) => &args.common,
            Self::Limits(args) => &args.common,
        }
    }

    /// What is measured unless `--tools` says otherwise.
    pub(crate) fn default_tools(&self) -> &'static [&'static str] {
        match self {
            // transmission moves 8 MiB/s from one peer, whatever the link: minutes, for a number that is known.
            Self::Pair(_) | Self::Small(_) => &[
                "samara",
                "rqbit",
                "aria2",
                "libtorrent",
                "sendme",
                "http",
                "https",
            ],
            Self::Import(_) => &["samara", "sendme", "libtorrent"],
            // One server for all: their numbers are N copies in N times T*, known without measuring.
            Self::Origin(_) | Self::Swarm(_) | Self::Sites(_) => {
                &["samara", "rqbit", "aria2", "libtorrent", "transmission"]
            }
            Self::Seeders(_) => &["samara", "rqbit", "aria2", "libtorrent", "https"],
            // Others have options of other names.
            Self::Limits(_) => &["samara"],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Bench::command().debug_assert();
        let bench = Bench::parse_from([
            "samara-bench",
            "swarm",
            "--n",
            "2,4",
            "--tools",
            "aria2,rqbit",
        ]);
        assert_eq!(bench.common().tools(&[]), ["aria2", "rqbit"]);
        assert!(matches!(bench, Bench::Swarm(swarm) if swarm.n == [2, 4]));
        let refused = |line: &str| {
            let args = line.split(' ');
            Bench::try_parse_from(["samara-bench"].into_iter().chain(args)).is_err()
        };
        assert!(refused("origin --receivers 0"));
        assert!(refused("sites --way-out 0"));
        assert!(refused("sites --way-out nan"));
        assert!(refused("pair --relay-rate 10"));
    }
}
