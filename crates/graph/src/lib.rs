//! What is said of a channel's contents: identities, charters, signed records,
//! and the state machine that keeps every member's copy of them alike.
//!
//! The room is pure: [`Graph`] takes the time and what happened, and returns what
//! to do. It opens no socket and no file and reads no clock, so the node drives it
//! over QUIC and a simulation drives ten thousand of them in memory.
//!
//! From the ground up: a [`SecretKey`] signs; a [`SignedCharter`] says who may
//! publish and within which limits, and its hash is the channel; a [`Record`] is
//! the signed unit that travels byte for byte, and gives and takes [`Role`]s; a
//! [`Link`] is the way in, as text; a [`Gate`] guards a private channel on one
//! connection; a [`Graph`] is one node's copy of one channel.

mod address;
mod attribute;
pub mod body;
mod charter;
mod gate;
mod graph;
mod key;
mod kind;
pub mod limits;
mod link;
mod member;
mod message;
mod query;
mod record;
mod time;

pub use address::{AddressError, PeerAddress};
pub use attribute::{AttributeError, Attributes, Value};
pub use charter::{
    Charter, CharterBounds, CharterChain, CharterDraft, CharterError, CharterHash, CharterLimits,
    CharterRef, Former, Publishers, Readers, SignedCharter,
};
pub use gate::{Access, Gate, GateError, Proof, Refusal};
pub use graph::{
    Action, Config, Draft, DropReason, Event, Fault, Fork, Graph, GraphError, Keep, Keeping,
    LeaveReason, Listed, Lowering, MemberView, NeighbourStatus, NewGrant, NewInvite, Offence,
    Offender, Offered, Reject, RemoveReason, Restoring, Status, TooMany, Verdict,
};
pub use key::{BadSignature, Domain, SecretKey, Signature, verify};
pub use kind::Kind;
pub use link::{Invitation, Link, LinkError, LinkPeer};
pub use member::{Control, Role, UnknownRole};
pub use message::{Message, Summary};
pub use query::{Query, QueryError, QueryProblem};
pub use record::{HeaderRef, NewRecord, Record, RecordError, RecordHeader};
pub use time::WallMs;
