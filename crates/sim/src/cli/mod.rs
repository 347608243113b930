//! One module a subcommand.

pub(crate) mod cost;
pub(crate) mod graph;
pub(crate) mod swarm;
