//! Data directories that hold nothing yet. A name that was mistyped must not become
//! a node of its own for somebody who only wanted to look.

use samara_node::{
    EngineError,
    api::{ErrorKind, Request},
    identity::Keystore,
};

use crate::settings::Settings;

/// What a request on an empty data directory means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// It is how people begin: a new identity is made for it.
    Begins,
    /// It can be done, but leaves nothing behind that anybody asked for.
    Visits,
    /// There is nothing that it could be about.
    Vain,
}

impl Start {
    fn of(request: &Request) -> Self {
        match request {
            Request::Share { .. }
            | Request::Get { .. }
            | Request::ChannelCreate { .. }
            | Request::CharterApply { .. }
            | Request::Join { .. }
            | Request::Subscribe { .. }
            | Request::Import { .. }
            | Request::Limit(_)
            | Request::Id => Self::Begins,
            Request::Ls { .. } | Request::Resolve { .. } => Self::Visits,
            _ => Self::Vain,
        }
    }
}

/// Refuses a request about what a data directory holds when that was named and no
/// identity is in it; else what the user should be told.
///
/// # Errors
/// [`ErrorKind::NotFound`]; [`ErrorKind::Disk`].
pub(crate) fn look(settings: &Settings, request: &Request) -> Result<Option<String>, EngineError> {
    let dir = &settings.node.data_dir;
    let start = Start::of(request);
    if !settings.data_dir_named || start == Start::Begins || !Keystore::of(dir).list()?.is_empty() {
        return Ok(None);
    }
    let dir = dir.display();
    match start {
        Start::Vain => Err(EngineError {
            kind: ErrorKind::NotFound,
            message: format!(
                "{dir} is no data directory; `share`, `get`, `subscribe`, `channel create` and `node` make one"
            ),
        }),
        _ => Ok(Some(format!(
            "{dir} was no data directory: a new one is made there, with a new identity"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_looks_finds_a_directory_or_none() {
        let link = String::new;
        for (request, start) in [
            (Request::Status, Start::Vain),
            (Request::Peers, Start::Vain),
            (Request::ChannelList, Start::Vain),
            (Request::Ls { link: link() }, Start::Visits),
            (Request::Import { file: "f".into() }, Start::Begins),
            (Request::Id, Start::Begins),
        ] {
            assert_eq!(Start::of(&request), start, "{request:?}");
        }
    }
}
