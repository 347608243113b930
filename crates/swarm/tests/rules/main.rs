//! What one node does in a swarm, event by event.

mod download;
mod node;
mod swarm;
mod upload;
