//! The SCSI half of the target: one direct-access logical unit, shared by every session of it.
//!
//! The transport hands in one CDB with all of its data-out and gets back a status, sense data and
//! data-in; nothing here knows how the bytes travel. A [`LogicalUnit`] belongs to everybody, a
//! [`Nexus`] to one session: access rights and pending unit attentions live in the nexus, the
//! medium and its block locks in the unit. What a command may do is decided by one table
//! (`dispatch`), so that a read-only nexus cannot mutate the medium by any opcode.

mod backend;
mod block;
mod cdb;
mod copied;
mod copy;
mod dispatch;
mod inquiry;
mod log;
mod luns;
mod mode;
mod nexus;
mod persist;
mod primary;
mod provisioning;
mod ranges;
mod reservation_terms;
mod reservations;
mod reserved;
mod sense;
mod supported;
mod table;
mod toll;
mod turnstile;
mod unit;

#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod provisioned;
#[cfg(test)]
mod reservation_model;
#[cfg(test)]
mod reservation_rules;
#[cfg(test)]
mod sharing;
#[cfg(test)]
mod testing;

pub use backend::{Backend, FileBackend, Run};
pub use dispatch::{data_in_length, data_out_length};
pub use luns::{decode_lun, encode_lun, execute_absent, execute_well_known};
pub use nexus::{Access, Attention, Departure, Nexus};
pub use reservation_terms::{Held, InitiatorPort, KeptReservations, Registrant, ReservationType};
pub use reserved::{NotForgotten, ReservationStore};
pub use sense::{CopyFault, FieldPointer, Sense, SenseKey, Status};
pub use table::command_name;
pub use toll::{changes_blocks, toll};
pub use unit::{Identity, LogicalUnit};

/// Bytes in one logical block.
pub const BLOCK_SIZE: usize = 512;

/// Most blocks that one READ, WRITE or VERIFY may move; longer ones are refused. The block limits
/// page states it.
pub const MAX_TRANSFER_BLOCKS: u32 = 8192;

/// [`MAX_TRANSFER_BLOCKS`] in bytes: a transport never needs to collect more data-out than this.
pub const MAX_TRANSFER_BYTES: usize = MAX_TRANSFER_BLOCKS as usize * BLOCK_SIZE;

/// One SCSI command as the transport received it.
#[derive(Debug, Clone, Copy)]
pub struct Command<'a> {
    /// The command descriptor block, at least as long as its opcode demands.
    pub cdb: &'a [u8],
    /// Every byte of data-out the initiator sent. Nothing beyond it is ever written: a command
    /// whose CDB asks for more ends in CHECK CONDITION and writes nothing; excess bytes are
    /// ignored.
    pub data_out: &'a [u8],
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Completion {
    /// The status byte.
    pub status: Status,
    /// Sense data, present exactly with CHECK CONDITION.
    pub sense: Option<Sense>,
}

impl Completion {
    /// GOOD, nothing to add.
    pub const GOOD: Self = Self { status: Status::Good, sense: None };

    /// CHECK CONDITION with this sense data.
    pub const fn check(sense: Sense) -> Self {
        Self { status: Status::CheckCondition, sense: Some(sense) }
    }
}

impl From<Result<Status, Sense>> for Completion {
    fn from(outcome: Result<Status, Sense>) -> Self {
        match outcome {
            Ok(status) => Self { status, sense: None },
            Err(sense) => Self::check(sense),
        }
    }
}
