//! Whether standard output can be written to.

use std::sync::atomic::{AtomicBool, Ordering};

use samara_node::{EngineError, api::ErrorKind};

/// Whether standard output was open when the process began. To be asked before
/// `main`: Rust's runtime puts `/dev/null` in the place of what is closed, lest a
/// file that is opened later be taken for it, and then all writing succeeds.
static WAS_OPEN: AtomicBool = AtomicBool::new(true);

ctor::declarative::ctor! {
    /// Nothing of Rust's runtime is needed for one system call and one store.
    #[ctor(unsafe)]
    fn look() {
        let flags = rustix::io::fcntl_getfd(rustix::stdio::stdout());
        WAS_OPEN.store(flags.is_ok(), Ordering::Relaxed);
    }
}

/// Nothing is begun whose result cannot be told.
pub(crate) fn check_output() -> Result<(), EngineError> {
    if WAS_OPEN.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err(EngineError {
        kind: ErrorKind::Disk,
        message: "standard output is closed; redirect it to /dev/null if it is not wanted"
            .to_owned(),
    })
}
