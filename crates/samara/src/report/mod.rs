//! What the user sees of a request's events.

mod bars;
mod charter;
mod explanation;
mod human;
mod json;
mod limits;
mod markdown;
mod output;
mod qr;
mod record;
mod standing;
mod status;
mod stream;
mod told;

use std::io::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use samara_node::{EngineError, api::Event};

pub(crate) use charter::draft_text;
pub(crate) use json::write_line;
pub(crate) use output::check_output;
pub(crate) use told::Told;

use crate::{plan::Plan, settings::Settings, terminal::line};

/// Takes events as they come. An error means that standard output is gone.
pub(crate) trait Report {
    fn event(&mut self, event: &Event) -> io::Result<()>;
    /// After the last event of a request that succeeded.
    fn finish(&mut self) -> io::Result<()>;
    /// Whether nobody will ever read what is told.
    fn is_unread(&self) -> bool {
        false
    }
}

/// Whether standard output is a pipe, or the like, whose reader is gone.
fn reader_is_gone() -> bool {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let now = Timespec::default();
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::ERR)
}

/// The right report for a request.
pub(crate) fn for_request(settings: &Settings, plan: &Plan) -> Box<dyn Report> {
    let request = &plan.request;
    if plan.stdout {
        Box::new(stream::Stream::new())
    } else if settings.json {
        Box::new(json::Json::new(request, settings.verbose > 0))
    } else {
        Box::new(human::Human::new(request, settings.verbose > 0, plan.qr))
    }
}

/// One line on standard error, and with `--json` one on standard output.
pub(crate) fn failure(json: bool, error: &EngineError) {
    let event = Event::Error {
        kind: error.kind,
        message: error.message.clone(),
    };
    // If nobody reads either of them, the exit status still tells.
    if json {
        let _ = write_line(&event);
    }
    let _ = writeln!(io::stderr(), "samara: {}", line(&error.message));
}
