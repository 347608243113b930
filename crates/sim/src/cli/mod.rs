//! One module a subcommand.

pub(crate) mod archive;
pub(crate) mod cost;
pub(crate) mod graph;
mod plot;
pub(crate) mod swarm;
