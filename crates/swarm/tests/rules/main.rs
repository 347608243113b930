//! What one node does in a swarm, event by event.

mod download;
mod node;
mod progress;
mod room;
mod site;
mod spread;
mod stream;
mod stripes;
mod swarm;
mod terms;
mod upload;
