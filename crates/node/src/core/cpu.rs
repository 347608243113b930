//! How busy the node's own threads are, and how long they wait for a processor: because
//! others run on it, or because the quota of their cgroup is used up.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{Read, Seek},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    Core,
    watch::{remember, share},
};
use crate::api::Shares;

/// What was seen of the threads.
#[derive(Debug)]
pub(super) struct Load {
    looks: VecDeque<Work>,
    at: Option<Instant>,
    before: Work,
    /// Of the thread that the core runs on, from the first look on.
    queue: Option<RunQueue>,
    quota: Quota,
}

/// Time that threads computed, waited for a processor, and were at it.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    took: Duration,
    engine: Duration,
    engine_waits: Duration,
    writers: Duration,
    writers_wait: Duration,
    writers_busy: Duration,
    throttled: Duration,
}

impl Work {
    fn since(&self, before: &Self, took: Duration) -> Self {
        let past = |part: fn(&Self) -> Duration| part(self).saturating_sub(part(before));
        Self {
            took,
            engine: past(|w| w.engine),
            engine_waits: past(|w| w.engine_waits),
            writers: past(|w| w.writers),
            writers_wait: past(|w| w.writers_wait),
            writers_busy: past(|w| w.writers_busy),
            throttled: past(|w| w.throttled),
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self {
            looks: VecDeque::new(),
            at: None,
            before: Work::default(),
            queue: None,
            quota: Quota::of_this_process(),
        }
    }
}

impl Load {
    /// Adds what is known of the threads to the shares.
    pub(super) fn add_to(&self, shares: &mut Shares) {
        let sum = |part: fn(&Work) -> Duration| self.looks.iter().map(part).sum();
        let took = sum(|w| w.took);
        let busy = sum(|w| w.writers_busy);
        shares.engine_cpu = share(sum(|w| w.engine), took);
        shares.engine_wait = share(sum(|w| w.engine_waits), took);
        shares.writer_cpu = share(sum(|w| w.writers), busy);
        shares.writer_wait = share(sum(|w| w.writers_wait), busy);
        shares.throttled = share(sum(|w| w.throttled), took);
    }
}

impl Core {
    pub(super) fn look_at_threads(&mut self, now: Instant) {
        let work = self.writers.work();
        let load = &mut self.load;
        let total = Work {
            took: Duration::ZERO,
            engine: thread_time(),
            engine_waits: load.queue.get_or_insert_with(RunQueue::here).waited(),
            writers: work.computed,
            writers_wait: work.waited,
            writers_busy: work.busy,
            throttled: load.quota.throttled(),
        };
        let before = std::mem::replace(&mut load.before, total);
        let Some(at) = load.at.replace(now) else {
            return;
        };
        let work = total.since(&before, now - at);
        remember(&mut load.looks, work, |work| work.took);
        self.metrics.computed("engine", work.engine);
        self.metrics.computed("writers", work.writers);
        self.metrics.queued("engine", work.engine_waits);
        self.metrics.queued("writers", work.writers_wait);
        let throttled = work.throttled.as_secs_f64();
        self.metrics.cpu_throttled.inc_by(throttled);
    }
}

/// What this thread has computed.
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32)
}

/// Where the kernel says how long a thread was ready to run and did not; Linux alone does,
/// and not every one.
#[derive(Debug)]
pub(crate) struct RunQueue(Option<File>);

impl RunQueue {
    /// That of this thread, for whoever asks.
    pub(crate) fn here() -> Self {
        Self(File::open("/proc/thread-self/schedstat").ok())
    }

    /// How long it waited for a processor until now; nothing where that is not said.
    pub(crate) fn waited(&self) -> Duration {
        let read = |mut file: &File| {
            let mut text = String::new();
            file.rewind().ok()?;
            file.read_to_string(&mut text).ok()?;
            delay(&text)
        };
        self.0.as_ref().and_then(read).unwrap_or_default()
    }
}

/// From nanoseconds on the processor, nanoseconds ready and waiting, and how often
/// (Linux, Documentation/scheduler/sched-stats.rst).
fn delay(schedstat: &str) -> Option<Duration> {
    let nanos = schedstat.split_ascii_whitespace().nth(1)?;
    Some(Duration::from_nanos(nanos.parse().ok()?))
}

/// Where the kernel says how long this process's cgroup had used up its quota.
#[derive(Debug)]
struct Quota(Option<PathBuf>);

impl Quota {
    fn of_this_process() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let files = groups.lines().filter_map(cpu_stat);
        Self(files.flatten().find(|file| file.exists()))
    }

    fn throttled(&self) -> Duration {
        let text = self
            .0
            .as_ref()
            .and_then(|file| fs::read_to_string(file).ok());
        text.map_or(Duration::ZERO, |text| throttled(&text))
    }
}

/// Files that may tell of a process with this line in /proc/self/cgroup.
fn cpu_stat(line: &str) -> Option<[PathBuf; 2]> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
    let of_cpu = controllers.is_empty() || controllers.split(',').any(|c| c == "cpu");
    let root = PathBuf::from("/sys/fs/cgroup").join(controllers);
    // In a container the path may be the host's, and the root what it leads to.
    of_cpu.then(|| [root.join(path).join("cpu.stat"), root.join("cpu.stat")])
}

/// Microseconds in version 2, nanoseconds in version 1.
fn throttled(cpu_stat: &str) -> Duration {
    let lines = cpu_stat.lines().filter_map(|line| line.split_once(' '));
    let number = |text: &str| text.trim().parse().unwrap_or(0);
    lines
        .filter_map(|(name, value)| match name {
            "throttled_usec" => Some(Duration::from_micros(number(value))),
            "throttled_time" => Some(Duration::from_nanos(number(value))),
            _ => None,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_computes_counts_it() {
        let before = thread_time();
        let mut x = 1u64;
        for i in 0..3_000_000 {
            x = std::hint::black_box(x.wrapping_mul(31).wrapping_add(i));
        }
        assert!(thread_time() > before);
    }

    #[test]
    fn waiting_for_a_processor_is_the_second_number() {
        assert_eq!(
            delay("601875081 2398078827 207\n"),
            Some(Duration::from_nanos(2_398_078_827))
        );
        assert_eq!(delay("0"), None);
        assert_eq!(delay("a b c"), None);
        assert_eq!(RunQueue(None).waited(), Duration::ZERO);
        // It can be asked again, and does not run backwards.
        let queue = RunQueue::here();
        assert!(queue.waited() <= queue.waited());
    }

    #[test]
    fn both_versions_of_cgroups_tell_how_long_the_quota_was_used_up() {
        let of = throttled;
        assert_eq!(
            of("usage_usec 9\nnr_throttled 2\nthrottled_usec 1500\n"),
            Duration::from_micros(1500)
        );
        assert_eq!(
            of("nr_throttled 64\nthrottled_time 2482250980\nnr_bursts 0\n"),
            Duration::from_nanos(2_482_250_980)
        );
        assert_eq!(of("usage_usec 9\n"), Duration::ZERO);
        let first = |line| cpu_stat(line).map(|[first, _]| first);
        assert_eq!(
            first("0::/system.slice/samara.service"),
            Some("/sys/fs/cgroup/system.slice/samara.service/cpu.stat".into())
        );
        assert_eq!(
            first("3:cpu,cpuacct:/a"),
            Some("/sys/fs/cgroup/cpu,cpuacct/a/cpu.stat".into())
        );
        assert_eq!(first("4:memory:/a"), None);
    }

    #[test]
    fn what_the_threads_did_is_counted_from_one_look_to_the_next() {
        let ms = Duration::from_millis;
        let before = Work {
            engine: ms(5),
            ..Work::default()
        };
        let total = Work {
            engine: ms(37),
            engine_waits: ms(96),
            writers_wait: ms(48),
            writers_busy: ms(64),
            throttled: ms(64),
            ..Work::default()
        };
        let mut load = Load::default();
        load.looks.push_back(total.since(&before, ms(128)));
        let mut shares = Shares::default();
        load.add_to(&mut shares);
        let engine = (shares.engine_cpu, shares.engine_wait);
        // Shares that have no rest in binary.
        assert_eq!(engine, (0.25, 0.75));
        assert_eq!((shares.writer_wait, shares.throttled), (0.75, 0.5));
    }
}
