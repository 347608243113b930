//! Whether and when a request is asked again, by how those ended who carried it out.

use std::time::Duration;

use tokio::time::Instant;

use super::{End, Followed};

/// How long a command waits for a process that has the data directory and does not
/// answer (it may be about to end).
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// What has no end, or made room for a node, leaves the directory to others for so long
/// before it takes it: a node that is started shall find it free.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(2);
/// How long such a command waits for a node that has the directory and does not answer
/// yet: it reads the records of all its channels first, a million in 4 s.
const NODE_PATIENCE: Duration = Duration::from_secs(60);
/// Processes that may die over a request before it is taken for the reason.
const MAX_DEATHS: u32 = 3;
/// Who carried out what has no end for so long did not die over it.
const NOT_THE_REASON: Duration = Duration::from_secs(60);

/// What became of a request until now.
#[derive(Debug)]
pub(super) struct Attempts {
    /// Whether it goes on until it is broken off.
    endless: bool,
    /// How long it is handed from one to the other in silence, unless it is endless and
    /// was carried out once.
    timeout: Duration,
    /// Who died over it in a row.
    deaths: u32,
    /// Since when nobody has carried it out.
    idle: Option<Instant>,
    /// Whether anything was told.
    begun: bool,
}

/// What is to be done after somebody carried a request out, or did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Asked again; no engine is opened before that time, if there is one.
    Again(Option<Instant>),
    /// It ended, or nobody wants it any more.
    End,
    /// Others have the directory for too long.
    Busy,
    /// Too many died over it.
    AlwaysDies,
}

impl Attempts {
    pub(super) fn new(endless: bool, timeout: Duration) -> Self {
        Self {
            endless,
            timeout,
            deaths: 0,
            idle: None,
            begun: false,
        }
    }

    /// Whether anybody died over it, of late if it is endless.
    pub(super) fn had_deaths(&self) -> bool {
        self.deaths > 0
    }

    /// Decides what comes after `followed`, at `now`.
    pub(super) fn after(&mut self, now: Instant, followed: &Followed, cancelled: bool) -> Next {
        self.begun |= !followed.silent;
        if self.endless && followed.lasted >= NOT_THE_REASON {
            self.deaths = 0;
        }
        let idle = self.idle.map_or(Duration::ZERO, |since| now - since);
        // What has no end and was carried out once has time.
        let has_time = self.endless && self.begun;
        match followed.end {
            End::Done | End::Failed(_) => return Next::End,
            End::Moved if !has_time && idle >= self.timeout => return Next::Busy,
            End::Died if self.deaths == MAX_DEATHS => return Next::AlwaysDies,
            End::Moved | End::Died if cancelled => return Next::End,
            End::Died => self.deaths += 1,
            End::Moved => {}
        }
        // News in between: somebody was at it meanwhile.
        let still = followed.silent && !followed.gave_way;
        let since = self.idle.filter(|_| still).unwrap_or(now);
        self.idle = Some(since);
        let leaves = self.endless || followed.gave_way;
        Next::Again(leaves.then(|| since + LEFT_TO_OTHERS))
    }
}

/// How long one attempt waits for whoever has the data directory.
#[derive(Debug)]
pub(super) struct Wait {
    not_before: Option<Instant>,
    until: Instant,
}

impl Wait {
    /// Of an attempt that begins at `now`; the directory is left to others until
    /// `not_before`.
    pub(super) fn new(now: Instant, not_before: Option<Instant>, timeout: Duration) -> Self {
        let patience = match not_before {
            None => LOCK_PATIENCE.min(timeout),
            Some(_) => NODE_PATIENCE,
        };
        Self {
            not_before,
            until: now + patience,
        }
    }

    /// Whether an engine may be opened.
    pub(super) fn may_open(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|then| now >= then)
    }

    /// Whether it goes on though the directory is taken.
    pub(super) fn goes_on(&self, now: Instant) -> bool {
        now < self.until
    }
}

#[cfg(test)]
mod tests {
    use samara_node::{EngineError, api::ErrorKind};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);
    const MOMENT: Duration = Duration::from_millis(1);

    fn ended(end: End, silent: bool, lasted: Duration) -> Followed {
        Followed {
            end,
            complete: false,
            silent,
            unread: false,
            gave_way: false,
            cursor: None,
            lasted,
        }
    }

    fn died(lasted: Duration) -> Followed {
        ended(End::Died, false, lasted)
    }

    fn moved() -> Followed {
        ended(End::Moved, true, Duration::ZERO)
    }

    #[test]
    fn what_three_died_over_is_not_given_to_a_fifth() {
        for endless in [false, true] {
            let mut attempts = Attempts::new(endless, TIMEOUT);
            let mut now = Instant::now();
            assert!(!attempts.had_deaths());
            let lasted = NOT_THE_REASON - MOMENT;
            for _ in 0..MAX_DEATHS {
                now += lasted;
                let not_before = endless.then(|| now + LEFT_TO_OTHERS);
                let next = attempts.after(now, &died(lasted), false);
                assert_eq!(next, Next::Again(not_before));
                assert!(attempts.had_deaths());
            }
            let next = attempts.after(now + lasted, &died(lasted), false);
            assert_eq!(next, Next::AlwaysDies);
        }
    }

    #[test]
    fn who_watched_for_a_minute_did_not_die_over_it() {
        let (mut watch, mut get) = (Attempts::new(true, TIMEOUT), Attempts::new(false, TIMEOUT));
        let now = Instant::now();
        let again = |next| matches!(next, Next::Again(_));
        for _ in 0..100 {
            assert!(again(watch.after(now, &died(NOT_THE_REASON), false)));
        }
        // The last one counts, and as many more as may die.
        for _ in 1..MAX_DEATHS {
            assert!(again(watch.after(now, &died(Duration::ZERO), false)));
        }
        let next = watch.after(now, &died(Duration::ZERO), false);
        assert_eq!(next, Next::AlwaysDies);
        // What has an end is not begun anew for ever, however long it takes.
        for _ in 0..MAX_DEATHS {
            assert!(again(get.after(now, &died(NOT_THE_REASON), false)));
        }
        let next = get.after(now, &died(NOT_THE_REASON), false);
        assert_eq!(next, Next::AlwaysDies);
    }

    #[test]
    fn who_is_sent_from_one_to_the_other_in_silence_gives_up() {
        for endless in [false, true] {
            let mut attempts = Attempts::new(endless, TIMEOUT);
            let start = Instant::now();
            let not_before = endless.then(|| start + LEFT_TO_OTHERS);
            for after in [Duration::ZERO, TIMEOUT / 2, TIMEOUT - MOMENT] {
                let next = attempts.after(start + after, &moved(), false);
                // The directory is left to others once, not for ever.
                assert_eq!(next, Next::Again(not_before));
            }
            let next = attempts.after(start + TIMEOUT, &moved(), false);
            assert_eq!(next, Next::Busy);
            // News in between: the waiting begins anew.
            let mut attempts = Attempts::new(endless, TIMEOUT);
            attempts.after(start, &moved(), false);
            let told = ended(End::Moved, false, TIMEOUT);
            let then = start + TIMEOUT - MOMENT;
            let next = attempts.after(then, &told, false);
            let not_before = endless.then(|| then + LEFT_TO_OTHERS);
            assert_eq!(next, Next::Again(not_before));
            // What has no end and began has time.
            let next = attempts.after(then + TIMEOUT, &moved(), false);
            let busy = if endless {
                Next::Again(not_before)
            } else {
                Next::Busy
            };
            assert_eq!(next, busy);
        }
    }

    #[test]
    fn what_made_room_for_a_node_leaves_it_the_directory() {
        let mut attempts = Attempts::new(false, TIMEOUT);
        let now = Instant::now();
        let gave_way = |at| {
            let followed = Followed {
                gave_way: true,
                ..moved()
            };
            (at, followed)
        };
        for (at, followed) in [now, now + TIMEOUT / 2].map(gave_way) {
            let next = attempts.after(at, &followed, false);
            assert_eq!(next, Next::Again(Some(at + LEFT_TO_OTHERS)));
        }
    }

    #[test]
    fn what_ended_or_was_broken_off_is_not_asked_again() {
        let failed = End::Failed(EngineError {
            kind: ErrorKind::Disk,
            message: String::new(),
        });
        let now = Instant::now();
        for (end, cancelled) in [
            (End::Done, false),
            (failed, false),
            (End::Moved, true),
            (End::Died, true),
        ] {
            let mut attempts = Attempts::new(true, TIMEOUT);
            let followed = ended(end, false, Duration::ZERO);
            assert_eq!(attempts.after(now, &followed, cancelled), Next::End);
        }
    }

    #[test]
    fn a_node_that_reads_its_records_is_waited_for_longer_than_another_command() {
        let now = Instant::now();
        let long = Duration::from_secs(600);
        for (timeout, patience) in [
            (TIMEOUT, LOCK_PATIENCE),
            (LOCK_PATIENCE / 2, LOCK_PATIENCE / 2),
        ] {
            let wait = Wait::new(now, None, timeout);
            assert!(wait.may_open(now));
            assert!(wait.goes_on(now + patience - MOMENT) && !wait.goes_on(now + patience));
        }
        for timeout in [LOCK_PATIENCE / 2, long] {
            let wait = Wait::new(now, Some(now + LEFT_TO_OTHERS), timeout);
            assert!(!wait.may_open(now + LEFT_TO_OTHERS - MOMENT));
            assert!(wait.may_open(now + LEFT_TO_OTHERS));
            let until = now + NODE_PATIENCE;
            assert!(wait.goes_on(until - MOMENT) && !wait.goes_on(until));
        }
    }
}
