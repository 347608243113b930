//! Swarms. A [`Scenario`] is data: nodes with their links and behaviour, and faults.

mod agenda;
mod bounds;
mod file;
mod fluid;
mod neighbours;
mod outcome;
mod pipes;
mod queue;
mod reading;
mod scenario;
mod streams;
mod world;

pub use file::{
    ContentPart, Early, Group, LinkPart, ScenarioError, ScenarioFile, SeederPart, SitePart,
};
pub use outcome::Outcome;
pub use pipes::SitePipes;
pub use scenario::{Behaviour, Fault, NodeSpec, Scenario, Sharing, When};
