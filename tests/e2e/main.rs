//! The binary as its users meet it: real processes, real directories, loopback.
//!
//! Every test has a [`world::World`] of its own: directories that vanish with it
//! and processes that die with it, on ports that the system chooses. Nothing waits
//! by sleeping: a test waits for an event of the program, and gives up with all that
//! the program said.

mod liar;
mod netns;
mod running;
mod tree;
mod wire;
mod world;

mod archive;
mod channels;
mod charters;
mod disk;
mod follow;
mod found;
mod hostile;
mod limits;
mod members;
mod pages;
mod parts;
mod real;
mod records;
mod refusals;
mod share;
mod standing;
mod together;
mod whole;
