//! Swarms. A [`Scenario`] is data: nodes with their links and behaviour, and faults.

mod flow;
mod outcome;
mod scenario;
mod world;

pub use outcome::Outcome;
pub use scenario::{Behaviour, Fault, NodeSpec, Scenario, When};
