//! How a content is moved: who asks whom for which chunk.
//!
//! [`Swarm`] is one state machine for all contents of a node. It is told what
//! happened as an [`Event`] together with the time, and answers with
//! [`Action`]s; it opens no socket, reads no clock and touches no disk, so the
//! same code runs in a node and, a hundred thousand times, in the simulator.
//!
//! Receivers choose, uploaders grant. An uploader hands out byte credit, to the
//! interested neighbour that has least first, so that its uplink is always busy
//! and never promised twice. A receiver spends credit at once, on what the
//! seeder suggests or on the rarest chunk that it still needs, and gives back
//! what it has no use for. docs/protocol.md has the messages' bytes.

mod action;
mod announce;
mod config;
mod content;
mod download;
mod event;
pub mod limits;
mod link;
mod message;
mod pace;
mod progress;
mod rarity;
mod room;
mod site;
mod spread;
mod stream;
mod stripes;
mod swarm;
mod terms;
mod upload;

pub use action::{Action, Offence};
pub use config::Config;
pub use event::{ContentKey, Event, Order, Policy, RequestId, Role, ServeId, SiteId, Tier};
pub use message::Message;
pub use swarm::{LinkStatus, Progress, Swarm};
