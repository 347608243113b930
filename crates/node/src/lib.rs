//! The engine: one node, its connections, its channels and its transfers, and the
//! requests that people and programs make of it.

pub mod api;
/// How a node is to run, and the defaults.
pub mod config;
pub mod control;
mod engine;
mod error;
pub mod identity;
pub mod limits;
mod tls;
mod transport;

pub use config::NodeConfig;
pub use engine::{Engine, Mode};
pub use error::EngineError;
