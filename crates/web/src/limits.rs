//! Bounds on what a visitor can make us hold.

use std::time::Duration;

/// Connections at once; more wait in the kernel's queue. A browser opens six, a
/// scraper one.
pub const MAX_CONNECTIONS: usize = 128;
/// Time that a connection has for the head of its request, so that an idle or slow
/// one gives its place back.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a connection has for the body of its request.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which a visitor must take something of what is sent to it. One that reads
/// nothing gives its place back.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Body of `POST /api/v1/run`: an issue's Markdown and paths fit many times over.
pub const MAX_REQUEST_BYTES: usize = 4 << 20;
/// Events that a page or a shortcut collects before it stops reading: more rows
/// than a person scrolls through.
pub const MAX_EVENTS: usize = 10_000;
/// Bytes of text in those events: the rest is left out as well.
pub const MAX_EVENT_BYTES: usize = 16 << 20;
/// Issues on one page of a listing.
pub const ISSUES_PER_PAGE: u64 = 50;
/// Time that a page or a shortcut waits for the engine.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// Elements of an issue within each other; those further in are left out, and their
/// text stays. Whoever looks for an open element goes through them all, so that a
/// megabyte of `>` took an hour.
pub const MAX_NESTING: usize = 64;
/// HTML tags in an issue's Markdown; from then on they are shown as text. They may
/// nest as well.
pub const MAX_RAW_TAGS: usize = 4096;
/// Markdown bytes rendered of one issue; the rest is cut, and the page says so.
pub const MAX_RENDERED_BODY: usize = 1 << 20;
