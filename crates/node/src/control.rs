//! The control socket: one JSON request a connection, answered by JSON events, a line each.

use std::path::Path;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::{Event, Request};

/// File name of the socket in the data directory.
pub const SOCKET_NAME: &str = "control.sock";

/// Sends `request` to the node that runs on `data_dir`. `None` if none runs there.
/// Cancelling, or dropping the receiver, ends the request on the node's side.
pub async fn ask(
    _data_dir: &Path,
    _request: &Request,
    _cancel: CancellationToken,
) -> Option<mpsc::Receiver<Event>> {
    todo!()
}
