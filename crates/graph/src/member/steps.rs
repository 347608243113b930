//! Counts what is looked at, so that tests can say what an answer costs without a clock.

#[cfg(test)]
thread_local! {
    static STEPS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// One thing was looked at.
#[inline]
pub(crate) fn step() {
    #[cfg(test)]
    STEPS.with(|steps| steps.set(steps.get() + 1));
}

/// How many things `act` looks at, and what it answers.
#[cfg(test)]
pub(crate) fn counted<R>(act: impl FnOnce() -> R) -> (u64, R) {
    let before = STEPS.with(std::cell::Cell::get);
    let done = act();
    (STEPS.with(std::cell::Cell::get) - before, done)
}
