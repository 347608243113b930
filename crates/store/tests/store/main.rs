//! The store as its callers see it, on real files.

mod damage;
mod directory;
mod download;
mod import;
mod modes;
mod parity;
mod selection;
mod space;
mod world;
