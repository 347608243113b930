//! Why a transfer is not faster: from shares of the last seconds to what limits it and
//! what helps. A function of what was seen; who sees it is `core/watch.rs`.

use std::time::Duration;

use crate::{api::Shares, core::ShutOut, limit::Line};

/// A share of the time from which on something counts as the reason.
pub(crate) const MOSTLY: f64 = 0.5;
/// A thread that runs so much of the time has no more to give.
const BUSY: f64 = 0.85;
/// A share of the time from which on it is worth a word.
const NOTABLE: f64 = 0.1;
/// Waiting for those who write from so much on.
const OFTEN: f64 = 0.25;
/// Shorter looks say nothing.
const LEAST: Duration = Duration::from_secs(1);

/// What was seen of a transfer.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) state: State,
    /// Whether this node serves it to anybody.
    pub(crate) serves: bool,
    /// Bytes of it that are here.
    pub(crate) have: u64,
    /// Nobody talks with this node of any channel that names it: the first of them, and
    /// why.
    pub(crate) shut_out: Option<(String, ShutOut)>,
    /// How long it was looked at; the shares are of this.
    pub(crate) over: Duration,
    pub(crate) shares: Shares,
    /// Bytes a second that came in.
    pub(crate) rate: u64,
    /// Bytes a second that went out.
    pub(crate) rate_up: u64,
    /// Peers in the swarm, and those of them that have something that is missing here.
    pub(crate) peers: u32,
    pub(crate) sources: u32,
    /// The more urgent content that it lets pass.
    pub(crate) yields_to: Option<String>,
    /// The lowest limit that its bytes pass on their way in, and out.
    pub(crate) limit_down: Option<Limit>,
    pub(crate) limit_up: Option<Limit>,
    /// Round trip of the way on which the most is under way, in milliseconds, and how many
    /// bytes may be.
    pub(crate) rtt_ms: f64,
    pub(crate) window: u64,
}

/// A limit that holds.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    /// Name or id of the channel whose it is; `None`: the node's.
    pub(crate) channel: Option<String>,
    pub(crate) line: Line,
    /// Bytes a second.
    pub(crate) rate: u64,
}

impl Limit {
    fn what(&self) -> String {
        let rate = format!("{} {}", written(self.line), per_second(self.rate));
        match &self.channel {
            Some(channel) => format!("{rate} for the channel {channel}"),
            None => rate,
        }
    }

    fn command(&self) -> String {
        let line = written(self.line);
        match &self.channel {
            Some(channel) => format!("samara limit --channel {} --{line} RATE", word(channel)),
            None => format!("samara limit --{line} RATE"),
        }
    }
}

/// How a transfer stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Whole; others are served.
    Complete,
    /// Whole, and nobody takes part.
    AtRest,
    /// No more than a share of it is kept, and that is here.
    Share,
    /// At most part of it is here, and nothing fetches the rest.
    Partial,
    /// Neither fetched nor served, as somebody said.
    Paused,
    /// It will not be completed.
    Failed(String),
    /// Being fetched.
    Moving,
}

/// What limits a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Complete,
    AtRest,
    Leech,
    Share,
    Partial,
    Paused,
    Failed,
    TooSoon,
    NoSource,
    ShutOut,
    Yields,
    OwnLimit,
    Cpu,
    Disk,
    ReceiveWindow,
    OneSource,
    Uplinks,
}

impl Verdict {
    /// As programs read it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::AtRest => "at_rest",
            Self::Leech => "leech",
            Self::Share => "share",
            Self::Partial => "partial",
            Self::Paused => "paused",
            Self::Failed => "failed",
            Self::TooSoon => "too_soon",
            Self::NoSource => "no_source",
            Self::ShutOut => "shut_out",
            Self::Yields => "yields",
            Self::OwnLimit => "own_limit",
            Self::Cpu => "cpu",
            Self::Disk => "disk",
            Self::ReceiveWindow => "receive_window",
            Self::OneSource => "one_source",
            Self::Uplinks => "uplinks",
        }
    }
}

/// A verdict, and what to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Explained {
    pub(crate) verdict: Verdict,
    /// What is the matter.
    pub(crate) what: String,
    /// What helps; empty if nothing is to be done.
    pub(crate) advice: String,
}

/// Says what limits a transfer.
pub(crate) fn explain(seen: &Seen) -> Explained {
    let verdict = judge(seen);
    let (what, advice) = words(verdict, seen);
    Explained {
        verdict,
        what,
        advice,
    }
}

fn judge(seen: &Seen) -> Verdict {
    let waits = matches!(seen.state, State::Partial | State::Moving);
    if waits && seen.peers == 0 && seen.shut_out.is_some() {
        return Verdict::ShutOut;
    }
    match seen.state {
        State::Complete | State::AtRest if !seen.serves => return Verdict::Leech,
        State::Complete => return Verdict::Complete,
        State::AtRest => return Verdict::AtRest,
        State::Share => return Verdict::Share,
        State::Partial => return Verdict::Partial,
        State::Paused => return Verdict::Paused,
        State::Failed(_) => return Verdict::Failed,
        State::Moving => {}
    }
    let shares = &seen.shares;
    if seen.sources == 0 && shares.source > 0.0 || shares.source >= MOSTLY {
        return Verdict::NoSource;
    }
    // Whatever it waits for meanwhile.
    if seen.yields_to.is_some() {
        return Verdict::Yields;
    }
    if seen.over < LEAST {
        return Verdict::TooSoon;
    }
    if shares.limit >= MOSTLY {
        return Verdict::OwnLimit;
    }
    // Who hashes and writes is behind: because it computes, or because it waits?
    if shares.writing >= OFTEN {
        return match shares.writer_cpu + shares.writer_wait >= BUSY {
            true => Verdict::Cpu,
            false => Verdict::Disk,
        };
    }
    if is_engine_busy(shares) {
        return Verdict::Cpu;
    }
    if shares.window >= MOSTLY {
        return Verdict::ReceiveWindow;
    }
    match seen.sources {
        1 => Verdict::OneSource,
        _ => Verdict::Uplinks,
    }
}

/// Whether the network thread has no more to give: it computes, or would if it could.
fn is_engine_busy(shares: &Shares) -> bool {
    shares.engine_cpu + shares.engine_wait >= BUSY
}

fn words(verdict: Verdict, seen: &Seen) -> (String, String) {
    let shares = &seen.shares;
    let text = |what: &str, advice: &str| (what.to_owned(), advice.to_owned());
    match verdict {
        Verdict::Complete => match &seen.limit_up {
            Some(limit) if shares.limit_up >= MOSTLY => (
                format!(
                    "It is whole. What others get of it is held back by this node's limit: {}.",
                    limit.what()
                ),
                format!("`{}` raises it.", limit.command()),
            ),
            _ if seen.rate_up > 0 => (
                format!("It is whole, and others get {} of it.", per_second(seen.rate_up)),
                String::new(),
            ),
            _ => text("It is whole, and served to who wants it.", ""),
        },
        Verdict::AtRest => text("It is whole, and nobody takes part at the moment.", ""),
        Verdict::Leech => text(
            "It is whole, and served to nobody: this node only fetches (leech).",
            "`samara limit --leech off` lets it serve.",
        ),
        Verdict::Share => text(
            "This node's share of it is here, as of what the channel's keepers hold together.",
            "`samara mirror` without --keep share, or `samara get`, brings all of it.",
        ),
        Verdict::Partial if seen.have == 0 => text(
            "Nothing of it is here, and nothing fetches it.",
            "`samara get` or `samara subscribe` with its link fetches it.",
        ),
        Verdict::Partial => text(
            "Part of it is here, and nothing fetches the rest.",
            "`samara get` or `samara subscribe` with its link goes on where it stopped.",
        ),
        Verdict::Paused => text("It is paused.", "`samara resume` lets it go on."),
        Verdict::Failed => match &seen.state {
            State::Failed(why) => (format!("It stopped: {why}."), String::new()),
            _ => text("It stopped.", ""),
        },
        Verdict::TooSoon => text(
            "It has only begun: there is nothing to tell yet.",
            "Ask again in a few seconds.",
        ),
        Verdict::ShutOut => match &seen.shut_out {
            Some((channel, why)) => barred(channel, *why),
            None => text("Nobody talks with this node about it.", ""),
        },
        Verdict::NoSource if seen.peers == 0 => text(
            "Nobody is connected who takes part in it.",
            "Is a node that has it running, and to be reached? `samara peers` shows who is connected, `samara resolve` finds members.",
        ),
        Verdict::NoSource => (
            format!(
                "{} connected, and none of them has anything that is missing here.",
                many(seen.peers, "peer is", "peers are")
            ),
            "It goes on when one gets it. A second seeder (`samara mirror`) makes that likelier."
                .to_owned(),
        ),
        Verdict::Yields => (
            format!(
                "It waits for {}, which is more urgent.",
                seen.yields_to.as_deref().unwrap_or("another content")
            ),
            "It goes on by itself when that is here. `samara pause` with that one lets this one go first."
                .to_owned(),
        ),
        Verdict::OwnLimit => {
            let limit = seen.limit_down.clone().unwrap_or(Limit {
                channel: None,
                line: Line::Down,
                rate: seen.rate,
            });
            (
                format!(
                    "This node's own limit holds it back: {}; it waited for that {} of the time.",
                    limit.what(),
                    percent(shares.limit)
                ),
                format!(
                    "`samara limit` shows who set it, `{}` raises it.",
                    limit.command()
                ),
            )
        }
        Verdict::Cpu => {
            let (engine, waits) = match is_engine_busy(shares) {
                true => (true, shares.engine_wait),
                false => (false, shares.writer_wait),
            };
            let mut what = match engine {
                true => format!(
                    "This machine's processor: the network thread computes {} of the time",
                    percent(shares.engine_cpu)
                ),
                false => format!(
                    "This machine's processor: who hashes is behind {} of the time, and computes {} of it",
                    percent(shares.writing),
                    percent(shares.writer_cpu)
                ),
            };
            if waits >= NOTABLE {
                what += &format!(", and waits for a core {}", percent(waits));
            }
            let advice = if shares.throttled >= NOTABLE {
                what += &format!(
                    "; the quota of its control group is used up {}",
                    percent(shares.throttled)
                );
                "A larger quota helps: `CPUQuota=` of its systemd unit, `--cpus` of its container."
            } else if waits >= NOTABLE {
                "Other programs are in the way."
            } else if engine {
                "A faster core helps, or larger frames on the link (MTU 9000)."
            } else {
                "A faster core helps."
            };
            (what + ".", advice.to_owned())
        }
        Verdict::Disk => (
            format!(
                "This machine's disk: what has arrived waited to be written {} of the time.",
                percent(shares.writing)
            ),
            "A faster disk as the destination helps, or fewer programs that write to it."
                .to_owned(),
        ),
        Verdict::ReceiveWindow => (
            format!(
                "The way is long: what may be under way at once, {:.1} MB, is used up {} of the time, at a round trip of {:.0} ms.",
                seen.window as f64 / 1e6,
                percent(shares.window),
                seen.rtt_ms
            ),
            "A nearer source helps (`samara mirror`): all of them share what may be under way."
                .to_owned(),
        ),
        Verdict::OneSource => (
            format!(
                "There is one source, and it sends no faster than {}.",
                per_second(seen.rate)
            ),
            "Its uplink, a limit there, or its other receivers are in the way. A second seeder (`samara mirror`) helps."
                .to_owned(),
        ),
        Verdict::Uplinks => (
            format!(
                "{} send together {}, and no faster: their uplinks, their limits, or their other receivers are in the way.",
                many(seen.sources, "source", "sources"),
                per_second(seen.rate)
            ),
            match shares.credit >= MOSTLY {
                true => format!(
                    "They serve others first: this node waited for its turn {} of the time.",
                    percent(shares.credit)
                ),
                false => "More seeders, or faster ones, help.".to_owned(),
            },
        ),
    }
}

/// Why nothing of a channel comes here any more, and what helps.
fn barred(channel: &str, why: ShutOut) -> (String, String) {
    let (what, advice) = match why {
        ShutOut::Revoked => (
            format!("This node was revoked in {channel}: nobody sends it anything of it any more."),
            "A revocation lasts as long as the channel: an owner or admin can admit another identity.",
        ),
        ShutOut::Ended => (
            format!("This node's role in {channel} has ended, and nobody lets it in."),
            "Somebody who may can give it a role again, or invite it.",
        ),
        ShutOut::NoRole => (
            format!("This node has no role in {channel}, and nobody lets it in."),
            "`samara join` with an invitation makes it a member.",
        ),
        ShutOut::Refused => (
            format!(
                "Those who answer do not talk with this node about {channel}: it may have been revoked there, or they carry the channel no more."
            ),
            "An owner or admin knows which. They are asked again every few minutes.",
        ),
    };
    (what, advice.to_owned())
}

/// A line as the option for it.
fn written(line: Line) -> String {
    line.name().replace('_', "-")
}

/// A name as one argument of a command.
fn word(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    match name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}

fn many(number: u32, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share.clamp(0.0, 1.0) * 100.0)
}

fn per_second(rate: u64) -> String {
    match rate {
        0..1_000_000 => format!("{:.0} kB/s", rate as f64 / 1e3),
        _ => format!("{:.1} MB/s", rate as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        Seen {
            state: State::Moving,
            serves: true,
            have: 1,
            shut_out: None,
            over: Duration::from_secs(5),
            shares: Shares::default(),
            rate: 3_000_000,
            rate_up: 0,
            peers: 3,
            sources: 2,
            yields_to: None,
            limit_down: None,
            limit_up: None,
            rtt_ms: 20.0,
            window: 12 << 20,
        }
    }

    fn limit(channel: Option<&str>, line: Line, rate: u64) -> Limit {
        let channel = channel.map(str::to_owned);
        Limit {
            channel,
            line,
            rate,
        }
    }

    /// The verdict, with all that is said.
    fn told(change: impl FnOnce(&mut Seen)) -> (Verdict, String) {
        let mut seen = seen();
        change(&mut seen);
        let told = explain(&seen);
        (told.verdict, format!("{} {}", told.what, told.advice))
    }

    #[test]
    fn what_does_not_move_says_why() {
        for (state, verdict, part) in [
            (State::Complete, Verdict::Complete, "whole"),
            (State::AtRest, Verdict::AtRest, "nobody takes part"),
            (State::Share, Verdict::Share, "share of it is here"),
            (State::Partial, Verdict::Partial, "samara get"),
            (State::Paused, Verdict::Paused, "samara resume"),
            (
                State::Failed("the disk is full".into()),
                Verdict::Failed,
                "disk is full",
            ),
        ] {
            // Whatever else was seen.
            let (found, text) = told(|s| (s.state, s.shares.limit) = (state, 1.0));
            assert_eq!(found, verdict);
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn a_seeder_hears_of_its_own_limit() {
        let held = |s: &mut Seen| {
            s.state = State::Complete;
            s.shares.limit_up = 0.9;
            s.limit_up = Some(limit(None, Line::WanUp, 2_500_000));
        };
        let (verdict, text) = told(held);
        assert_eq!(verdict, Verdict::Complete);
        assert!(
            text.contains("wan-up 2.5 MB/s") && text.contains("--wan-up"),
            "{text}"
        );
    }

    #[test]
    fn who_serves_nobody_hears_that() {
        for state in [State::Complete, State::AtRest] {
            let (verdict, text) = told(|s| (s.state, s.serves) = (state, false));
            assert_eq!(verdict, Verdict::Leech);
            assert!(text.contains("samara limit --leech off"), "{text}");
        }
        // What it fetches comes as fast as to others.
        assert_eq!(told(|s| s.serves = false).0, Verdict::Uplinks);
    }

    #[test]
    fn nobody_there_is_not_nobody_who_has_it() {
        let (verdict, text) = told(|s| {
            (s.peers, s.sources, s.shares.source) = (0, 0, 1.0);
            // That shows at once.
            s.over = Duration::from_millis(200);
        });
        assert_eq!(verdict, Verdict::NoSource);
        assert!(text.contains("Nobody is connected"), "{text}");
        let (verdict, text) = told(|s| (s.peers, s.sources, s.shares.source) = (1, 0, 0.7));
        assert_eq!(verdict, Verdict::NoSource);
        assert!(text.contains("1 peer is connected"), "{text}");
        // It came back just now, after most of the time without.
        assert_eq!(told(|s| s.shares.source = 0.6).0, Verdict::NoSource);
        assert_ne!(told(|s| s.shares.source = 0.4).0, Verdict::NoSource);
    }

    #[test]
    fn who_is_let_in_by_nobody_hears_why() {
        for (why, part) in [
            (ShutOut::Revoked, "was revoked in news"),
            (ShutOut::Ended, "role in news has ended"),
            (ShutOut::NoRole, "no role in news"),
            (ShutOut::Refused, "may have been revoked"),
        ] {
            let out = |state: State| {
                move |s: &mut Seen| {
                    s.state = state;
                    (s.peers, s.sources, s.have) = (0, 0, 0);
                    s.shut_out = Some(("news".to_owned(), why));
                }
            };
            for state in [State::Partial, State::Moving] {
                let (verdict, text) = told(out(state));
                assert_eq!(verdict, Verdict::ShutOut);
                assert!(text.contains(part), "{text}");
            }
            // What is here is here, and what was paused is.
            assert_eq!(told(out(State::AtRest)).0, Verdict::AtRest);
            assert_eq!(told(out(State::Paused)).0, Verdict::Paused);
        }
    }

    #[test]
    fn of_what_is_not_here_no_part_is_said_to_be() {
        let partial = |have| move |s: &mut Seen| (s.state, s.have) = (State::Partial, have);
        let (verdict, text) = told(partial(0));
        assert_eq!(verdict, Verdict::Partial);
        assert!(text.contains("Nothing of it is here"), "{text}");
        assert!(told(partial(1)).1.contains("Part of it is here"));
    }

    #[test]
    fn a_short_look_says_nothing() {
        let (verdict, _) = told(|s| s.over = LEAST - Duration::from_millis(1));
        assert_eq!(verdict, Verdict::TooSoon);
        assert_eq!(told(|s| s.over = LEAST).0, Verdict::Uplinks);
    }

    #[test]
    fn what_lets_another_pass_says_whom() {
        let (verdict, text) = told(|s| {
            s.yields_to = Some("fix".to_owned());
            // As it looks: it asks for nothing.
            (s.shares.credit, s.rate, s.sources) = (1.0, 0, 1);
        });
        assert_eq!(verdict, Verdict::Yields);
        assert!(
            text.contains("waits for fix, which is more urgent"),
            "{text}"
        );
    }

    #[test]
    fn our_own_limit_goes_before_what_it_causes() {
        let (verdict, text) = told(|s| {
            s.shares.limit = 0.5;
            s.shares.window = 1.0;
            s.limit_down = Some(limit(None, Line::LanDown, 500_000));
        });
        assert_eq!(verdict, Verdict::OwnLimit);
        assert!(
            text.contains("lan-down 500 kB/s") && text.contains("50 %"),
            "{text}"
        );
        assert!(text.contains("`samara limit --lan-down RATE`"), "{text}");
        assert_ne!(told(|s| s.shares.limit = 0.49).0, Verdict::OwnLimit);
    }

    #[test]
    fn a_channel_s_limit_is_raised_for_the_channel() {
        for (name, word) in [("prod", "prod"), ("Ann's news", r"'Ann'\''s news'")] {
            let limit = || Some(limit(Some(name), Line::Down, 1_000_000));
            let (_, text) = told(|s| (s.shares.limit, s.limit_down) = (1.0, limit()));
            let command = format!("`samara limit --channel {word} --down RATE`");
            assert!(text.contains(&command), "{text}");
            assert!(text.contains(&format!("down 1.0 MB/s for the channel {name};")));
            let (_, text) = told(|s| {
                s.state = State::Complete;
                (s.shares.limit_up, s.limit_up) = (1.0, limit());
            });
            assert!(text.contains(&command), "{text}");
        }
    }

    #[test]
    fn who_writes_waits_for_the_disk_or_computes() {
        let behind = |cpu| move |s: &mut Seen| (s.shares.writing, s.shares.writer_cpu) = (0.3, cpu);
        let (verdict, text) = told(behind(0.2));
        assert_eq!(verdict, Verdict::Disk);
        assert!(text.contains("disk") && text.contains("30 %"), "{text}");
        let (verdict, text) = told(behind(0.9));
        assert_eq!(verdict, Verdict::Cpu);
        assert!(text.contains("hashes"), "{text}");
        let (verdict, text) = told(|s| {
            behind(0.2)(s);
            s.shares.writer_wait = 0.7;
        });
        assert_eq!(verdict, Verdict::Cpu);
        assert!(text.contains("waits for a core 70 %"), "{text}");
        assert_eq!(told(|s| s.shares.writing = 0.2).0, Verdict::Uplinks);
    }

    #[test]
    fn a_busy_network_thread_is_the_processor() {
        let (verdict, text) = told(|s| s.shares.engine_cpu = 0.95);
        assert_eq!(verdict, Verdict::Cpu);
        assert!(text.contains("network thread computes 95 %"), "{text}");
        assert!(text.contains("MTU"), "{text}");
    }

    #[test]
    fn a_thread_that_gets_no_core_is_the_processor_too() {
        let starved = |throttled| {
            move |s: &mut Seen| {
                (s.shares.engine_cpu, s.shares.engine_wait) = (0.11, 0.8);
                s.shares.throttled = throttled;
            }
        };
        let (verdict, text) = told(starved(0.0));
        assert_eq!(verdict, Verdict::Cpu);
        assert!(
            text.contains("waits for a core 80 %") && text.contains("Other programs"),
            "{text}"
        );
        let (verdict, text) = told(starved(0.75));
        assert_eq!(verdict, Verdict::Cpu);
        assert!(
            text.contains("used up 75 %") && text.contains("CPUQuota="),
            "{text}"
        );
        // On a busy machine, and yet it mostly sleeps.
        let (verdict, _) = told(|s| (s.shares.engine_cpu, s.shares.engine_wait) = (0.1, 0.3));
        assert_eq!(verdict, Verdict::Uplinks);
    }

    #[test]
    fn a_long_way_uses_the_window_up() {
        let (verdict, text) =
            told(|s| (s.shares.window, s.rtt_ms, s.window) = (0.8, 380.0, 32 << 20));
        assert_eq!(verdict, Verdict::ReceiveWindow);
        assert!(
            text.contains("380 ms") && text.contains("33.6 MB"),
            "{text}"
        );
    }

    #[test]
    fn else_it_is_those_who_send() {
        let (verdict, text) = told(|s| s.sources = 1);
        assert_eq!(verdict, Verdict::OneSource);
        assert!(
            text.contains("3.0 MB/s") && text.contains("samara mirror"),
            "{text}"
        );
        let (verdict, text) = told(|_| {});
        assert_eq!(verdict, Verdict::Uplinks);
        assert!(text.contains("2 sources"), "{text}");
        let (verdict, text) = told(|s| s.shares.credit = 0.6);
        assert_eq!(verdict, Verdict::Uplinks);
        assert!(text.contains("its turn 60 %"), "{text}");
    }
}
