//! A made-up world: the swarm's own state machines over made-up links, in
//! virtual time.
//!
//! A [`Scenario`] is data: nodes with their links and behaviour, and faults. A
//! run of it is a function of its seed: the same seed gives the same trace, to
//! the last event.

mod flow;
mod outcome;
mod scenario;
mod world;

pub use outcome::Outcome;
pub use scenario::{Behaviour, Fault, NodeSpec, Scenario, When};
