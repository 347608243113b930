use std::{
    fmt::Write as _,
    io::{self, Write},
};

use samara_node::api::{Event, Request};
use serde::Serialize;

use super::Report;

/// One object a line, flushed, so that a script may act on each.
pub(crate) struct Json {
    only_result: bool,
    verbose: bool,
}

impl Json {
    pub(crate) fn new(request: &Request, verbose: bool) -> Self {
        Self {
            only_result: matches!(request, Request::Get { .. }),
            verbose,
        }
    }

    fn wants(&self, event: &Event) -> bool {
        match event {
            Event::Done | Event::Moved => false,
            Event::Importing { .. } | Event::Progress { .. } | Event::Waiting { .. } => {
                self.verbose
            }
            Event::Complete { .. } | Event::Warning { .. } | Event::Error { .. } => true,
            _ => !self.only_result,
        }
    }
}

impl Report for Json {
    fn is_unread(&self) -> bool {
        super::reader_is_gone()
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        if self.wants(event) {
            write_line(event)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one object as a line to standard output.
pub(crate) fn write_line(value: &impl Serialize) -> io::Result<()> {
    let mut text = encode(value)?;
    text.push('\n');
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// JSON (RFC 8259) escapes the controls below 0x20 only; the others can drive a
/// terminal too, so they are escaped as well.
fn encode(value: &impl Serialize) -> io::Result<String> {
    let text = serde_json::to_string(value)?;
    if !text.contains(|c: char| ('\u{7f}'..='\u{9f}').contains(&c)) {
        return Ok(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if ('\u{7f}'..='\u{9f}').contains(&c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get() -> Request {
        Request::Get {
            link: String::new(),
            into: "/".into(),
            only: vec![],
            seed: false,
            force: false,
            in_order: false,
            file_only: false,
        }
    }

    #[test]
    fn get_tells_its_result_and_warnings_only() {
        let progress = Event::Importing { bytes: 1, total: 2 };
        let warning = Event::Warning {
            message: String::new(),
        };
        let link = Event::Link {
            link: String::new(),
            invitation: None,
        };
        let quiet = Json::new(&get(), false);
        assert!(!quiet.wants(&progress) && quiet.wants(&warning));
        assert!(!quiet.wants(&link) && !quiet.wants(&Event::Done));
        assert!(Json::new(&get(), true).wants(&progress));
        let other = Json::new(&Request::Status, false);
        assert!(other.wants(&link) && !other.wants(&progress));
    }

    #[test]
    fn no_control_character_travels_raw_and_nothing_is_lost() {
        let hostile = "a\u{1b}[31m\u{9b}2J\u{7f}\nü";
        let text = encode(&hostile).unwrap();
        assert!(!text.chars().any(char::is_control), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), hostile);
    }
}
