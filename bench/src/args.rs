//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, builder::RangedU64ValueParser};

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
    #[arg(long, default_value_t = 40.0)]
    pub(crate) rate: f64,
    /// The origin's rate up, if another.
    #[arg(long)]
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
    /// Numbers of receivers, each a swarm of its own.
    #[arg(long, default_value = "8,16", value_delimiter = ',', value_parser = RangedU64ValueParser::<usize>::new().range(1..=200))]
    pub(crate) n: Vec<usize>,
}

impl Bench {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Pair(args) => &args.common,
            Self::Small(args) => &args.common,
            Self::Import(args) => &args.common,
            Self::Origin(args) => &args.links.common,
            Self::Swarm(args) => &args.links.common,
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
            Self::Origin(_) | Self::Swarm(_) => {
                &["samara", "rqbit", "aria2", "libtorrent", "transmission"]
            }
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
        assert!(Bench::try_parse_from(["samara-bench", "origin", "--receivers", "0"]).is_err());
    }
}
