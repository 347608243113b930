//! A made-up world: the engine's own state machines over made-up links, in
//! virtual time. A run is a function of its seed: the same seed gives the same
//! trace, to the last event.

pub mod archive;
pub mod graph;
pub mod limits;
pub mod swarm;
