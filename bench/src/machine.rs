//! The machine that a result belongs to, and how busy others kept it meanwhile.

use std::{
    collections::HashSet,
    fs,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{error::Result, interrupt, limits};

/// What stands in the JSON file beside the results.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    pub(crate) virtualised: bool,
    pub(crate) tcp_congestion_control: String,
    pub(crate) socket_receive_max: String,
    pub(crate) socket_send_max: String,
}

impl Machine {
    pub(crate) fn describe(congestion: &str) -> Self {
        let read = |path: &str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let cpuinfo = read("/proc/cpuinfo");
        let field = |text: &str, key: &str| {
            text.lines()
                .find(|line| line.starts_with(key))
                .and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
                .unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: field(&cpuinfo, "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory.trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024,
            virtualised: field(&cpuinfo, "flags")
                .split(' ')
                .any(|flag| flag == "hypervisor"),
            tcp_congestion_control: congestion.to_owned(),
            socket_receive_max: read("/proc/sys/net/core/rmem_max"),
            socket_send_max: read("/proc/sys/net/core/wmem_max"),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.virtualised {
            " (virtual machine)"
        } else {
            ""
        };
        write!(
            f,
            "{} cores {}{kind}, {} MiB, Linux {}, TCP {}",
            self.cores, self.cpu, self.memory_mib, self.kernel, self.tcp_congestion_control
        )
    }
}

/// CPU seconds at one moment.
pub(crate) struct Snapshot {
    /// The whole machine, interrupts included.
    busy: f64,
    /// Taken by the host for somebody else.
    steal: f64,
    /// Processes that are neither the bench nor its tools, with the children that they have reaped.
    foreign: f64,
}

/// CPU seconds between two moments.
pub(crate) struct Used {
    /// The whole machine without foreign work: the honest total of a transfer, since the kernel's network
    /// work is done in whoever's context happens to be running.
    pub(crate) machine: f64,
    pub(crate) foreign: f64,
    pub(crate) steal: f64,
}

impl Snapshot {
    /// `ours` are the measured tools' processes.
    pub(crate) fn take(ours: impl IntoIterator<Item = i32>) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let ticks: Vec<f64> = stat
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            .filter_map(|field| field.parse().ok())
            .collect();
        let at = |i: usize| ticks.get(i).copied().unwrap_or(0.0) / hz();
        let mut skip: HashSet<i32> = ours.into_iter().collect();
        skip.insert(std::process::id() as i32);
        Self {
            busy: [0, 1, 2, 5, 6].map(at).into_iter().sum(),
            steal: at(7),
            foreign: foreign(&skip),
        }
    }

    pub(crate) fn until(&self, later: &Self) -> Used {
        let foreign = (later.foreign - self.foreign).max(0.0);
        Used {
            machine: (later.busy - self.busy - foreign).max(0.0),
            foreign,
            steal: later.steal - self.steal,
        }
    }
}

/// Waits until other work on the machine stops, `limit` at the longest. False if it never did.
pub(crate) fn wait_quiet(limit: Duration) -> Result<bool> {
    let end = Instant::now() + limit;
    loop {
        let (before, start) = (Snapshot::take([]), Instant::now());
        if start >= end {
            return Ok(limit.is_zero());
        }
        interrupt::sleep(Duration::from_millis(700))?;
        let used = before.until(&Snapshot::take([]));
        if used.foreign / start.elapsed().as_secs_f64() < limits::QUIET_SHARE {
            return Ok(true);
        }
    }
}

fn foreign(skip: &HashSet<i32>) -> f64 {
    let mut total = 0.0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        if skip.contains(&pid) {
            continue;
        }
        if let Ok(stat) = fs::read_to_string(entry.path().join("stat")) {
            total += process_seconds(pid, &stat, hz()).unwrap_or(0.0);
        }
    }
    total
}

/// CPU seconds of a process and of its reaped children, from /proc/PID/stat; `None` for kernel threads.
///
/// With the reaped children, a compiler that starts and ends between two snapshots is still seen: in its parent.
fn process_seconds(pid: i32, stat: &str, hz: f64) -> Option<f64> {
    const KTHREADD: i32 = 2;
    // The command's name may hold spaces and parentheses, so fields count from the last ')'.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let parent: i32 = fields.get(1)?.parse().ok()?;
    if pid == KTHREADD || parent == KTHREADD {
        return None;
    }
    let ticks: f64 = fields
        .get(11..15)?
        .iter()
        .filter_map(|f| f.parse::<f64>().ok())
        .sum();
    Some(ticks / hz)
}

fn hz() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_counts_with_its_reaped_children() {
        let stat = "17 (a) b) R 4 1 1 0 -1 0 0 0 0 0 100 50 30 20 20 0 1 0";
        assert_eq!(process_seconds(17, stat, 100.0), Some(2.0));
        assert_eq!(
            process_seconds(17, &stat.replace("R 4", "R 2"), 100.0),
            None
        );
    }
}
