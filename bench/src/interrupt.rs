//! Ctrl-C and SIGTERM as a flag that every wait looks at.
//!
//! Nothing is removed from a signal handler: the flag turns into [`Error::Interrupted`], and the guards on
//! the way out remove processes, namespaces and files exactly as they do after a failure or a panic.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

use crate::error::{Context, Error, Result};

static STOP: AtomicBool = AtomicBool::new(false);

/// From here on SIGINT, SIGTERM and SIGHUP set the flag instead of ending the process.
pub(crate) fn install() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the signal listener")?;
    let mut streams = {
        let _inside = runtime.enter();
        [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ]
        .map(signal)
        .into_iter()
        .collect::<std::io::Result<Vec<_>>>()
        .context("listening for signals")?
    };
    thread::spawn(move || {
        runtime.block_on(async {
            let [int, term, hup] = &mut streams[..] else {
                unreachable!("three signals were asked for")
            };
            loop {
                tokio::select! {
                    _ = int.recv() => {}
                    _ = term.recv() => {}
                    _ = hup.recv() => {}
                }
                if !STOP.swap(true, Ordering::Relaxed) {
                    eprintln!("stopping, cleaning up ...");
                }
            }
        });
    });
    Ok(())
}

/// Fails once a signal has come.
pub(crate) fn check() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        return Err(Error::Interrupted);
    }
    Ok(())
}

/// Sleeps, and wakes early with an error when a signal comes.
pub(crate) fn sleep(duration: Duration) -> Result<()> {
    let end = Instant::now() + duration;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}
