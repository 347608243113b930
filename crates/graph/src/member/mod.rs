//! Who may do what: roles, and how they follow from the charter and from the records
//! that are held.

mod authority;
mod control;
mod holding;
mod least_after;
mod ripening;
mod role;
mod roster;
pub(crate) mod steps;

pub use control::Control;
pub use role::{Role, UnknownRole};
pub(crate) use roster::{Denied, Entry, Roster, Wait};
