//! One run: a sender, its receivers, and what it took them.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    content::warm_memory,
    error::{Context, Error, Result},
    interrupt, limits,
    machine::Snapshot,
    net::{Sent, Topology},
    process::{Cpu, Launch, Process, stop_all},
    scratch::Scratch,
    tools::{Job, Node, Sign, Tool},
    tracker,
};

/// Folder of the current run.
const RUN: &str = "run";

/// What one run measured. Times are seconds from just before the first receiver's start.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) tool: &'static str,
    /// Nodes that have the content before the clock starts.
    pub(crate) seeders: usize,
    pub(crate) receivers: usize,
    pub(crate) bytes: u64,
    /// From the sender's start until it says that it is ready: hashing, listening, announcing.
    pub(crate) ready_seconds: f64,
    /// The last receiver.
    pub(crate) seconds: f64,
    pub(crate) median_seconds: f64,
    pub(crate) each_seconds: Vec<f64>,
    pub(crate) sender_cpu: Cpu,
    /// Mean over the receivers.
    pub(crate) receiver_cpu: Cpu,
    /// The whole machine without foreign processes, interrupts included.
    pub(crate) machine_cpu: f64,
    /// Processes that have nothing to do with the bench: with much of it, throw the run away.
    pub(crate) foreign_cpu: f64,
    pub(crate) stolen_cpu: f64,
    pub(crate) sender_anon_mib: f64,
    /// The largest of the receivers.
    pub(crate) receiver_anon_mib: f64,
    /// By the sender's interface counter.
    pub(crate) sender_sent: u64,
    /// By the sender's shaper, headers of offloaded segments counted; 0 without one.
    pub(crate) sender_shaped: u64,
    /// By the interface counter of every seeder, the sender's first.
    pub(crate) seeders_sent: Vec<u64>,
    /// What crossed into each site, by the interface counter of its way in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) crossed: Vec<u64>,
    /// The same by the shaper of its way in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) crossed_shaped: Vec<u64>,
    /// By the receivers' interface counters, together.
    pub(crate) receivers_sent: u64,
    /// What the tool says about itself, a value for each receiver.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reports: Vec<Value>,
}

/// Where and how long.
pub(crate) struct Setting<'a> {
    pub(crate) topology: &'a Topology,
    /// The sender, and the places after it that fetch the content before the clock starts.
    pub(crate) seeders: usize,
    pub(crate) scratch: &'a Scratch,
    /// Where output of the tools stays, if anywhere.
    pub(crate) logs: Option<&'a Path>,
    pub(crate) timeout: Duration,
}

/// A node that has a process, and how that says it is done.
struct Running {
    process: Process,
    done: Sign,
}

impl Running {
    /// True once done. A process that ended otherwise is an error with its last words.
    fn is_done(&mut self, who: &str) -> Result<bool> {
        // Asked before the sign is looked at, so that a sign given just before the end is not missed.
        let exited = self.process.exited()?;
        let signed = match &self.done {
            Sign::Exit => exited.is_some_and(|status| status.success()),
            Sign::Output(test) => test(self.process.output()?),
            Sign::File(file) => file.exists(),
        };
        match exited {
            Some(status) if !signed => {
                let words = self.process.last_words();
                Err(Error::Tool(format!("{who} ended early, {status}: {words}")))
            }
            _ => Ok(signed),
        }
    }

    fn timed_out(&mut self, who: &str, timeout: Duration) -> Error {
        let words = self.process.last_words();
        Error::Tool(format!(
            "{who} not done after {} s: {words}",
            timeout.as_secs()
        ))
    }
}

impl Setting<'_> {
    fn node(&self, tool: &dyn Tool, i: usize) -> Result<Node> {
        let dir = self
            .scratch
            .path()
            .join(RUN)
            .join(format!("{}-{i}", tool.name()));
        fs::create_dir_all(&dir).on("creating", &dir)?;
        let out = dir.join("out");
        fs::create_dir(&out).on("creating", &out)?;
        let places = &self.topology.places;
        Ok(Node {
            address: places[i].address.clone(),
            site: places[i].site.clone(),
            sender: places[0].address.clone(),
            dir,
            out,
        })
    }

    fn start(
        &self,
        tool: &dyn Tool,
        i: usize,
        node: &Node,
        (launch, done): (Launch, Sign),
    ) -> Result<Running> {
        let name = format!("{}-{i}", tool.name());
        let run = self.scratch.path().join(RUN);
        let log = self.logs.unwrap_or(&run).join(format!("{name}.log"));
        let netns = &self.topology.places[i].netns;
        let process = Process::start(&name, netns, &launch, &node.dir, &log)?;
        Ok(Running { process, done })
    }

    fn start_tracker(&self) -> Result<Running> {
        let me = std::env::current_exe().context("finding this program")?;
        let launch = Launch::new([me]).arg(tracker::TRACKER);
        let log = self.scratch.path().join("tracker.log");
        let netns = &self.topology.tracker.netns;
        let mut running = Running {
            process: Process::start("tracker", netns, &launch, self.scratch.path(), &log)?,
            done: Sign::Output(|text| text.contains(tracker::READY)),
        };
        self.until_done(&mut running, "the tracker", limits::POLL_SWARM)?;
        Ok(running)
    }

    /// Waits for one process; returns the seconds since its start.
    fn until_done(&self, running: &mut Running, who: &str, poll: Duration) -> Result<f64> {
        let mut sampled = running.process.started;
        while !running.is_done(who)? {
            let now = Instant::now();
            if now - running.process.started > self.timeout {
                return Err(running.timed_out(who, self.timeout));
            }
            if now - sampled > limits::SAMPLE_PAIR {
                running.process.sample_memory();
                sampled = now;
            }
            interrupt::sleep(poll)?;
        }
        Ok(running.process.started.elapsed().as_secs_f64())
    }
}

/// Sends `job`'s content from the seeders to all others at once, and compares every result with the original.
pub(crate) fn transfer(tool: &dyn Tool, job: &Job<'_>, setting: &Setting<'_>) -> Result<Run> {
    let places = setting.topology.places.len();
    let (seeders, receivers) = (setting.seeders, places - setting.seeders);
    // What the run before left behind, also if it failed.
    setting.scratch.folder(RUN)?;
    let tracker = tool
        .wants_tracker()
        .then(|| setting.start_tracker())
        .transpose()?;

    let node = setting.node(tool, 0)?;
    let mut sender = setting.start(tool, 0, &node, tool.send(job, &node)?)?;
    let ready_seconds = setting.until_done(&mut sender, "the sender", limits::POLL_SWARM)?;
    let link = tool.link(sender.process.output()?);
    let helpers = further_seeders(tool, job, setting, link.as_deref())?;
    interrupt::sleep(limits::SENDER_SETTLE)?;

    let mut waiting = Vec::new();
    for i in seeders..places {
        let node = setting.node(tool, i)?;
        let what = tool.receive(job, &node, link.as_deref())?;
        waiting.push((i, node, what));
    }
    warm_memory(setting.scratch.path(), job.content.bytes * receivers as u64)?;

    let sent = |i: usize| setting.topology.sent(i);
    let sent_before = (0..places).map(sent).collect::<Result<Vec<_>>>()?;
    let crossed_before = setting.topology.crossed()?;
    let ours = |running: &[Running], sender: &Running| -> Vec<i32> {
        let mut pids = sender.process.pids();
        pids.extend(setting.topology.pids());
        let others = running.iter().chain(&helpers).chain(&tracker);
        pids.extend(others.flat_map(|r| r.process.pids()));
        pids
    };
    let before = Snapshot::take(ours(&[], &sender));
    let cpu_before = sender.process.cpu();

    let start = Instant::now();
    let (mut running, mut nodes) = (Vec::new(), Vec::new());
    for (i, node, what) in waiting {
        running.push(setting.start(tool, i, &node, what)?);
        nodes.push(node);
    }
    let done = watch(&mut running, &mut sender, start, setting.timeout)?;

    let sender_cpu = sender.process.cpu().since(cpu_before);
    let after = Snapshot::take(ours(&running, &sender));
    let sent_after = (0..places).map(sent).collect::<Result<Vec<_>>>()?;
    let crossed_after = setting.topology.crossed()?;
    for node in &nodes {
        job.content.verify(&node.out.join(&job.content.name))?;
    }
    let mut reports = Vec::new();
    for receiver in &mut running {
        reports.extend(tool.report(receiver.process.output()?));
    }

    let used = before.until(&after);
    let sent = difference(&sent_after, &sent_before);
    let crossed = difference(&crossed_after, &crossed_before);
    let counted = |sent: &[Sent]| sent.iter().map(|s| s.counted).collect::<Vec<_>>();
    let mut each_seconds: Vec<f64> = done.iter().map(|d| d.seconds).collect();
    each_seconds.sort_by(f64::total_cmp);
    let mean = |of: fn(Cpu) -> f64| done.iter().map(|d| of(d.cpu)).sum::<f64>() / receivers as f64;
    let peak = running
        .iter()
        .map(|r| r.process.peak_anon_kib)
        .max()
        .unwrap_or(0);
    let run = Run {
        tool: tool.name(),
        seeders,
        receivers,
        bytes: job.content.bytes,
        ready_seconds,
        seconds: each_seconds[receivers - 1],
        median_seconds: crate::report::median(each_seconds.iter().copied()),
        each_seconds,
        sender_cpu,
        receiver_cpu: Cpu {
            user: mean(|cpu| cpu.user),
            system: mean(|cpu| cpu.system),
        },
        machine_cpu: used.machine,
        foreign_cpu: used.foreign,
        stolen_cpu: used.steal,
        sender_anon_mib: sender.process.peak_anon_kib as f64 / 1024.0,
        receiver_anon_mib: peak as f64 / 1024.0,
        sender_sent: sent[0].counted,
        sender_shaped: sent[0].shaped,
        seeders_sent: counted(&sent[..seeders]),
        crossed: counted(&crossed),
        crossed_shaped: crossed.iter().map(|s| s.shaped).collect(),
        receivers_sent: counted(&sent[seeders..]).iter().sum(),
        reports,
    };
    let all = running.into_iter().chain([sender]).chain(helpers);
    stop_all(all.chain(tracker).map(|r| r.process).collect());
    Ok(run)
}

/// When a rate is measured, in seconds after the receiver's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) start: f64,
    pub(crate) seconds: f64,
}

/// Bytes a second that leave the sender's shaper towards one receiver, with options for the one and for the other.
pub(crate) fn wire_rate(
    tool: &dyn Tool,
    job: &Job<'_>,
    setting: &Setting<'_>,
    [mine, theirs]: [&[String]; 2],
    window: Window,
) -> Result<f64> {
    setting.scratch.folder(RUN)?;
    let node = setting.node(tool, 0)?;
    let (launch, ready) = tool.send(job, &node)?;
    let what = (launch.args(mine), ready);
    let mut sender = setting.start(tool, 0, &node, what)?;
    setting.until_done(&mut sender, "the sender", limits::POLL_SWARM)?;
    let link = tool.link(sender.process.output()?);
    let node = setting.node(tool, 1)?;
    let (launch, done) = tool.receive(job, &node, link.as_deref())?;
    warm_memory(setting.scratch.path(), job.content.bytes)?;
    let mut receiver = setting.start(tool, 1, &node, (launch.args(theirs), done))?;
    interrupt::sleep(Duration::from_secs_f64(window.start))?;
    let (before, from) = (setting.topology.sent(0)?, Instant::now());
    interrupt::sleep(Duration::from_secs_f64(window.seconds))?;
    let (after, took) = (setting.topology.sent(0)?, from.elapsed());
    if receiver.is_done("the receiver")? {
        let message = "the content came whole before the time was over";
        return Err(Error::Tool(message.into()));
    }
    stop_all(vec![receiver.process, sender.process]);
    Ok(after.since(before).shaped as f64 / took.as_secs_f64())
}

/// Receivers that get the content before the clock starts, and stay.
fn further_seeders(
    tool: &dyn Tool,
    job: &Job<'_>,
    setting: &Setting<'_>,
    link: Option<&str>,
) -> Result<Vec<Running>> {
    let job = Job {
        keep_serving: true,
        ..job.clone()
    };
    let mut seeders = Vec::new();
    for i in 1..setting.seeders {
        let node = setting.node(tool, i)?;
        let what = tool.receive(&job, &node, link)?;
        seeders.push(setting.start(tool, i, &node, what)?);
    }
    for (i, seeder) in seeders.iter_mut().enumerate() {
        setting.until_done(seeder, &format!("seeder {}", i + 2), limits::POLL_SWARM)?;
    }
    Ok(seeders)
}

fn difference(after: &[Sent], before: &[Sent]) -> Vec<Sent> {
    let pairs = after.iter().zip(before);
    pairs.map(|(after, before)| after.since(*before)).collect()
}

/// A receiver's moment.
#[derive(Clone, Copy, Default)]
struct Done {
    seconds: f64,
    cpu: Cpu,
}

fn watch(
    running: &mut [Running],
    sender: &mut Running,
    start: Instant,
    timeout: Duration,
) -> Result<Vec<Done>> {
    let one = running.len() == 1;
    let (poll, sample) = if one {
        (limits::POLL_PAIR, limits::SAMPLE_PAIR)
    } else {
        (limits::POLL_SWARM, limits::SAMPLE_SWARM)
    };
    let mut done = vec![None; running.len()];
    let mut sampled = start;
    loop {
        for (i, receiver) in running.iter_mut().enumerate() {
            if done[i].is_some() {
                continue;
            }
            let now = start.elapsed();
            let who = format!("receiver {}", i + 1);
            if receiver.is_done(&who)? {
                receiver.process.sample_memory();
                done[i] = Some(Done {
                    seconds: now.as_secs_f64(),
                    cpu: receiver.process.cpu(),
                });
            } else if now > timeout {
                return Err(receiver.timed_out(&who, timeout));
            }
        }
        if sampled.elapsed() > sample {
            running.iter_mut().for_each(|r| r.process.sample_memory());
            sender.process.sample_memory();
            sampled = Instant::now();
        }
        if done.iter().all(Option::is_some) {
            sender.process.sample_memory();
            return Ok(done.into_iter().flatten().collect());
        }
        interrupt::sleep(poll)?;
    }
}

/// What an import measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Import {
    pub(crate) tool: &'static str,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu: Cpu,
    pub(crate) anon_mib: f64,
    pub(crate) foreign_cpu: f64,
}

/// From the start of a tool until it has hashed the content and could serve it; `None` if it has no such step.
pub(crate) fn import(
    tool: &dyn Tool,
    job: &Job<'_>,
    setting: &Setting<'_>,
) -> Result<Option<Import>> {
    setting.scratch.folder(RUN)?;
    let node = setting.node(tool, 0)?;
    let Some(what) = tool.import(job, &node)? else {
        return Ok(None);
    };
    warm_memory(setting.scratch.path(), 0)?;
    let before = Snapshot::take([]);
    let mut running = setting.start(tool, 0, &node, what)?;
    let seconds = setting.until_done(&mut running, "the import", limits::POLL_PAIR)?;
    let cpu = running.process.cpu();
    let foreign_cpu = before
        .until(&Snapshot::take(running.process.pids()))
        .foreign;
    running.process.sample_memory();
    let import = Import {
        tool: tool.name(),
        bytes: job.content.bytes,
        seconds,
        cpu,
        anon_mib: running.process.peak_anon_kib as f64 / 1024.0,
        foreign_cpu,
    };
    stop_all(vec![running.process]);
    Ok(Some(import))
}
