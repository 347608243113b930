//! The engine: one node, its connections, its channels and its transfers, and the
//! requests that people and programs make of it.

pub mod api;
pub mod config;
pub mod control;
mod engine;

pub use config::NodeConfig;
pub use engine::{Engine, EngineError, Mode};
