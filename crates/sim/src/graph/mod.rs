//! The graph's own state machines as the members of a channel, over links of 40 ms.

mod cost;
mod scenario;
mod world;

pub use cost::{Difference, held, made_up, reconcile};
pub use scenario::{Outcome, Scenario};
pub use world::Traffic;
