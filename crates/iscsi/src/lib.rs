//! A user-space iSCSI target: shared block devices with per-initiator access.
//!
//! Three layers, each ignorant of the one above: [`pdu`] turns bytes into typed protocol data
//! units and back, `login` decides what a connection may become (no sockets in it), and `session`
//! moves commands between one socket and one [`scsi::LogicalUnit`]. [`Target`] owns the portals,
//! the grants and every live session, and keeps the promise the whole crate exists for: when
//! [`Target::revoke`] has returned, no write of that initiator reaches the backend any more
//! (`registry` has the argument).

pub mod pdu;
pub mod scsi;

mod buffer;
mod credentials;
mod gate;
mod grant;
mod limits;
mod login;
mod name;
mod portals;
mod quiet;
mod registry;
mod session;
mod target;
mod throttle;
mod usage;
mod workers;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;

pub use buffer::Buffer;
pub use credentials::{Authentication, Credentials, InvalidCredentials, Proof, Secret};
pub use grant::Grant;
pub use limits::Limits;
pub use name::{InvalidName, Name};
pub use quiet::Held;
pub use registry::{ExportFacts, SessionFacts, TargetError};
pub use target::Target;
pub use throttle::{Limit, Rate};
pub use usage::{BOUNDS, Errors, ExportUsage, Latency, LoginRefusals, TargetUsage, Usage};
