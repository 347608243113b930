//! What can go wrong in a bench, told apart by who has to act.

use std::{io, path::Path};

/// A failure of the bench or of one measured tool.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// Ctrl-C or SIGTERM; everything made so far is removed on the way out.
    #[error("interrupted")]
    Interrupted,
    /// Standard output was closed (`| head`): the rest would be measured for nobody. Removed as above.
    #[error("nobody reads standard output")]
    Unread,
    /// The machine or the command line does not allow this bench; the text says what to change.
    #[error("{0}")]
    Setup(String),
    /// A measured tool failed, hung or delivered wrong bytes. The others go on.
    #[error("{0}")]
    Tool(String),
    /// A file or a process of the bench itself.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Names the action that an `io::Error` interrupted.
pub(crate) trait Context<T> {
    fn context(self, what: impl Into<String>) -> Result<T>;
    /// For the usual case: an action on one path.
    fn on(self, action: &str, path: &Path) -> Result<T>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: what.into(),
            source,
        })
    }

    fn on(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io {
            what: format!("{action} {}", path.display()),
            source,
        })
    }
}
