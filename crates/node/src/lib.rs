//! The engine: one node, its connections, its channels and its transfers, and the
//! requests that people and programs make of it.

mod addrs;
pub mod api;
mod bundle;
pub mod charter;
/// How a node is to run, and the defaults.
pub mod config;
pub mod control;
mod core;
mod discovery;
mod engine;
mod error;
mod explain;
mod fetch;
pub mod identity;
mod issues;
pub mod limit;
pub mod limits;
#[cfg(test)]
mod memnet;
mod merge;
mod message;
mod metrics;
mod ops;
mod pool;
mod priority;
mod rate;
mod receipt;
mod restart;
mod rfc3339;
mod serve;
mod session;
mod stopwatch;
mod tls;
mod transport;
mod turnstile;
mod writers;

pub use config::NodeConfig;
pub use engine::{Engine, Mode};
pub use error::EngineError;
pub use priority::Priority;
pub use receipt::Asked;

/// The same link with one way in fewer; `None` if it has but one, or is no link. For
/// where there is little room, as in a QR code.
pub fn shorter_link(link: &str) -> Option<String> {
    let link: samara_graph::Link = link.parse().ok()?;
    let (_, kept) = link
        .peers()
        .split_last()
        .filter(|(_, kept)| !kept.is_empty())?;
    let shorter = samara_graph::Link::with(
        link.channel(),
        link.charter(),
        link.is_private(),
        link.invitation().cloned(),
        kept,
    );
    Some(shorter.to_string())
}
