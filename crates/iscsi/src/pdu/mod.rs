//! iSCSI protocol data units as typed values (RFC 7143 section 11).
//!
//! Every PDU is a 48-byte basic header segment, optional additional header segments, and an
//! optional data segment padded to four bytes; either part may carry a CRC32C digest. [`frame`]
//! cuts a byte stream into those parts without copying, [`Request`] and [`Response`] give the
//! header its meaning, [`text`] reads and writes the `key=value` lists of login and text PDUs.
//! The same types serve the target and an initiator, so neither end can drift from the other.
//! Nothing here panics on any input: what does not decode is a [`Malformed`] value.

pub mod frame;
pub mod header;
pub mod request;
pub mod response;
pub mod text;

pub use frame::{Digests, Frame, FrameError};
pub use header::{Header, NO_TAG};
pub use request::Request;
pub use response::{Counters, RejectReason, Response};

/// Why a header could not be given a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The opcode is not one this end may receive.
    #[error("opcode {0:#04x} is not expected here")]
    Opcode(u8),
    /// A field holds a value the protocol does not allow.
    #[error("field {0} holds a value that is not allowed")]
    Field(&'static str),
}
