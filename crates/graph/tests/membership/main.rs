//! Membership: who may do what, who comes in and who goes, and that all copies agree.

mod bounds;
mod charters;
mod club;
mod former;
mod gate;
mod invitations;
mod leaves;
#[path = "../lone/mod.rs"]
mod lone;
mod lowering;
mod merge;
mod model;
mod revocations;
mod roles;
