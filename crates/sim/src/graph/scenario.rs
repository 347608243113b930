use std::{collections::BTreeMap, time::Duration};

use rand::{RngExt, seq::SliceRandom};

use super::world::{DETECTION, LATENCY, Traffic, World};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The period in which neighbours compare what they hold, with its jitter.
const PERIOD: Duration = Duration::from_secs(50);

/// What is to happen to a channel's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Records in a warm overlay, then 30 % of the members fail at once.
    Spread,
    /// Two halves for an hour of virtual time, so many records on either side.
    Partition {
        /// Records of each half.
        records: usize,
    },
    /// Clocks differ by up to five minutes either way, and records expire.
    Clocks,
    /// All members start again at once, in the middle of publishing.
    Restart,
    /// The creator leaves for good, then newcomers join through anyone.
    Creator,
    /// Nothing happens for half an hour.
    Idle,
}

/// What came of it. Two runs with one seed are equal.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What was measured, by name, in the order of names.
    pub figures: BTreeMap<&'static str, f64>,
    /// What should have held and did not.
    pub failures: Vec<String>,
    /// Events handled.
    pub events: u64,
    /// Hash over every message and its time.
    pub trace: u64,
}

impl Scenario {
    /// Runs it with so many members.
    pub fn run(self, members: usize, seed: u64) -> Outcome {
        let mut run = Run::new(members, seed);
        match self {
            Self::Spread => run.spread(),
            Self::Partition { records } => run.partition(records),
            Self::Clocks => run.clocks(),
            Self::Restart => run.restart(),
            Self::Creator => run.creator(),
            Self::Idle => run.idle(),
        }
        let (faults, risen) = (run.world.faults, run.world.risen);
        run.expect(faults == 0, format!("{faults} faults among honest members"));
        run.expect(risen == 0, format!("{risen} records rose from the dead"));
        Outcome {
            figures: run.figures,
            failures: run.failures,
            events: run.world.events,
            trace: run.world.trace(),
        }
    }
}

/// Members that may publish.
const PUBLISHERS: usize = 16;

struct Run {
    world: World,
    members: usize,
    figures: BTreeMap<&'static str, f64>,
    failures: Vec<String>,
}

impl Run {
    /// Members that joined one after the other, each through any of those before.
    fn new(members: usize, seed: u64) -> Self {
        let mut world = World::new(seed, PUBLISHERS);
        // More than 10,000 come faster, so that the last is there after 200 s.
        let apart = Duration::from_millis(20).min(Duration::from_secs(200) / members as u32);
        for n in 1..members {
            let through = world.rng.random_range(0..n);
            world.join(Some(through));
            world.run(apart);
        }
        world.run(Duration::from_secs(30));
        Self {
            world,
            members,
            figures: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    fn expect(&mut self, held: bool, else_: String) {
        if !held {
            self.failures.push(else_);
        }
    }

    fn note(&mut self, name: &'static str, value: f64) {
        self.figures.insert(name, value);
    }

    fn publisher(&mut self) -> usize {
        loop {
            let n = self.world.rng.random_range(0..PUBLISHERS.min(self.members));
            if self.world.members[n].alive {
                return n;
            }
        }
    }

    /// Publishes `n` records, `apart` from each other.
    fn publish(&mut self, n: usize, apart: Duration) -> Vec<usize> {
        let one = |run: &mut Self| {
            let at = run.publisher();
            let number = run.world.publish(at, DAY);
            run.world.run(apart);
            number
        };
        (0..n).map(|_| one(self)).collect()
    }

    /// The worst share of living members that one of the records reached.
    fn reached(&self, records: &[usize]) -> f64 {
        let living = self.world.members.iter().filter(|m| m.alive).count();
        let of = |n: &usize| self.world.holders(&[*n]) as f64 / living as f64;
        records.iter().map(of).fold(1.0, f64::min)
    }

    fn spread(&mut self) {
        self.publish(20, Duration::from_secs(1));
        self.world.run(PERIOD);
        let before = self.world.traffic;
        let published = self.world.mono;
        let apart = Duration::from_millis(500);
        let warm = self.publish(20, apart);
        self.world.run(Duration::from_secs(3));
        let copies = (self.world.traffic.bodies - before.bodies) as f64 / 20.0;
        let copies = copies / self.members as f64;
        self.note("copies", copies);
        self.expect(copies <= 1.2, format!("{copies:.3} copies a member"));
        let reached = self.reached(&warm);
        self.note("reached", reached);
        self.expect(reached >= 0.999, format!("{reached:.5} reached"));
        let (mut hops, mut times) = (Vec::new(), Vec::new());
        for m in &self.world.members {
            for (i, number) in warm.iter().enumerate() {
                let story = m.story[*number];
                hops.push(story.hops);
                let began = published + apart * i as u32;
                times.extend(story.delivered.map(|at| at - began));
            }
        }
        hops.sort_unstable();
        times.sort_unstable();
        let most = hops[(hops.len() - 1) * 999 / 1000];
        self.note("hops of 99.9 %", most.into());
        self.note("hops of all", hops[hops.len() - 1].into());
        self.note(
            "ms of 99 %",
            times[(times.len() - 1) * 99 / 100].as_millis() as f64,
        );
        self.expect(most <= 16, format!("{most} hops"));
        self.fail_a_third();
    }

    fn fail_a_third(&mut self) {
        let mut all: Vec<_> = (0..self.members).collect();
        all.shuffle(&mut self.world.rng);
        for at in all.into_iter().take(self.members * 3 / 10) {
            self.world.kill(at);
        }
        // Before anybody can have noticed.
        let hit = self.publish(5, Duration::from_millis(100));
        self.world.run(DETECTION - Duration::from_secs(2));
        let reached = self.reached(&hit);
        self.note("reached, 30 % dead", reached);
        self.expect(
            reached >= 0.999,
            format!("{reached:.5} of the living reached"),
        );
        self.world
            .run(Duration::from_secs(2) + PERIOD + Duration::from_secs(1));
        let reached = self.reached(&hit);
        self.note("reached, reconciled", reached);
        self.expect(
            reached == 1.0,
            format!("{reached:.5} after a reconciliation"),
        );
        let before = self.world.traffic;
        let mended = self.publish(10, Duration::from_millis(500));
        self.world.run(Duration::from_secs(3));
        let living = (self.members - self.members * 3 / 10) as f64;
        let copies = (self.world.traffic.bodies - before.bodies) as f64 / 10.0 / living;
        self.note("copies, mended", copies);
        let reached = self.reached(&mended);
        self.note("reached, mended", reached);
    }

    fn partition(&mut self, records: usize) {
        self.publish(20, Duration::from_secs(1));
        self.world.run(PERIOD);
        self.world.split(|a, b| a % 2 == b % 2);
        let apart = Duration::from_secs(3600) / records as u32;
        for _ in 0..records {
            for half in 0..2 {
                let of_half = self.world.rng.random_range(0..PUBLISHERS / 2);
                self.world.publish(of_half * 2 + half, DAY);
            }
            self.world.run(apart);
        }
        let before = self.world.alike();
        self.expect(before.is_none(), "the halves were never apart".into());
        self.world.reachable = |_, _| true;
        let (healed, traffic) = (self.world.mono, self.world.traffic);
        let step = Duration::from_millis(500);
        while self.world.alike() != Some(20 + 2 * records) && self.world.mono < healed + 4 * PERIOD
        {
            self.world.run(step);
        }
        let took = self.world.mono - healed;
        self.note("s until alike", took.as_secs_f64());
        self.expect(
            took <= Duration::from_secs(46),
            format!("alike after {took:?}"),
        );
        let bytes = self.world.traffic.bytes - traffic.bytes;
        self.note(
            "KB a member to heal",
            bytes as f64 / 1e3 / self.members as f64,
        );
        let bodies = (self.world.traffic.bodies - traffic.bodies) as f64;
        let needed = (records * self.members) as f64;
        self.note("copies", bodies / needed);
        self.world.run(PERIOD);
        let after = self.publish(10, Duration::from_millis(500));
        self.world.run(Duration::from_secs(3));
        let reached = self.reached(&after);
        self.note("reached, mended", reached);
        self.expect(
            reached >= 0.999,
            format!("{reached:.5} reached after healing"),
        );
    }

    fn clocks(&mut self) {
        for m in &mut self.world.members {
            m.skew_ms = self.world.rng.random_range(-300_000..=300_000);
        }
        let (mut short, mut long) = (Vec::new(), Vec::new());
        for _ in 0..10 {
            let at = self.publisher();
            short.push(self.world.publish(at, Duration::from_secs(1800)));
            let at = self.publisher();
            long.push(self.world.publish(at, DAY));
            self.world.run(Duration::from_secs(1));
        }
        self.world.run(PERIOD);
        let alike = self.world.alike();
        self.expect(alike == Some(20), format!("{alike:?} records alike"));
        // 1,800 s by the author's clock, 15 minutes of grace, 10 minutes between clocks.
        self.world.run(Duration::from_secs(1800 + 900 + 600));
        let alike = self.world.alike();
        self.expect(alike == Some(10), format!("{alike:?} records left"));
        self.world.run(Duration::from_secs(1800));
        let holders = self.world.holders(&long);
        self.expect(
            holders == self.members,
            format!("{holders} hold the long ones"),
        );
        let missed = (self.world.members.iter())
            .flat_map(|m| short.iter().chain(&long).map(|n| m.story[*n].delivered))
            .filter(Option::is_none)
            .count();
        self.note("lost", missed as f64);
        self.expect(missed == 0, format!("{missed} never delivered"));
    }

    fn restart(&mut self) {
        self.publish(20, Duration::from_millis(20));
        self.world.restart_all();
        let began = self.world.mono;
        while self.world.alike() != Some(20) && self.world.mono < began + 4 * PERIOD {
            self.world.run(Duration::from_millis(500));
        }
        let took = self.world.mono - began;
        self.note("s until alike", took.as_secs_f64());
        self.expect(took <= PERIOD, format!("alike after {took:?}"));
        let after = self.publish(5, Duration::from_millis(500));
        self.world.run(Duration::from_secs(3));
        let reached = self.reached(&after);
        self.note("reached", reached);
        self.expect(reached >= 0.999, format!("{reached:.5} reached"));
    }

    fn creator(&mut self) {
        self.publish(20, Duration::from_millis(200));
        self.world.run(PERIOD);
        self.world.kill(0);
        self.world.run(DETECTION);
        let first = self.world.members.len();
        for _ in 0..self.members / 10 {
            let through = self.world.rng.random_range(1..first);
            self.world.join(Some(through));
            self.world.run(Duration::from_millis(20));
        }
        // The last one: handshake, charter, reconciliation, records.
        self.world.run(30 * LATENCY);
        let alike = self.world.alike();
        self.expect(alike == Some(20), format!("{alike:?} records alike"));
    }

    fn idle(&mut self) {
        self.world.run(Duration::from_secs(300));
        let before = self.world.traffic;
        let time = Duration::from_secs(600);
        self.world.run(time);
        let Traffic {
            messages, bytes, ..
        } = self.world.traffic;
        let share = |n: u64| n as f64 / time.as_secs_f64() / self.members as f64;
        let (messages, bytes) = (
            share(messages - before.messages),
            share(bytes - before.bytes),
        );
        self.note("bit/s a member", 8.0 * bytes);
        self.note("messages/min a member", 60.0 * messages);
        let statuses = self
            .world
            .members
            .iter()
            .map(|m| m.graph.status().neighbours);
        let active: usize = statuses
            .map(|all| all.iter().filter(|n| n.active).count())
            .sum();
        self.note("active neighbours", active as f64 / self.members as f64);
    }
}
