//! What may happen next to a volume and its attachments.
//!
//! Theory: users edit a *wish* (the volume shall be there, these hosts shall have it); a dock makes
//! it true; its answer is folded back in. Every edit raises the generation and a dock never steps
//! back to an older one, so a late, repeated or lost message can delay an edit but never undo it.
//!
//! Everything here is a value in, a value out: no clock, no I/O, no async. `tests/` checks every
//! interleaving of users, controller, network and dock up to a bound, and that each way to break
//! the protocol is caught.

pub mod access;
pub mod confirm;
pub mod enforcer;
pub mod moment;
pub mod publish;
pub mod refused;
pub mod snapshot;
pub mod status;
pub mod volume;

pub use confirm::{Confirmed, confirm};
pub use refused::Refused;
