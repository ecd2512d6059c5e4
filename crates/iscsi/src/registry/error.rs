//! Why an order to the target fails, and whether asking again can help.
//!
//! An order that finds something else than it expects changes nothing: its owner has to take the
//! old away first. Only a wait that was too short is worth repeating as it is.

use crate::credentials::InvalidCredentials;
use crate::name::{InvalidName, Name};
use crate::scsi::{Access, NotForgotten};

/// Why an order to the target was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A name is malformed.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] InvalidCredentials),
    /// Nothing is exported under this name.
    #[error("no unit is exported as {0}")]
    NoSuchExport(Name),
    /// Another unit is exported under this name.
    #[error("another unit is already exported as {0}")]
    OtherUnit(Name),
    /// The initiator holds, or is just losing, another access; revoke it first.
    #[error("{initiator} has {present:?} access to {target}; revoke it first")]
    OtherAccess {
        /// The target.
        target: Name,
        /// The initiator.
        initiator: Name,
        /// What it has.
        present: Access,
    },
    /// The initiator has the access, or is just losing it, by other credentials; revoke it first.
    #[error("{initiator} has access to {target} by other credentials; revoke it first")]
    OtherCredentials {
        /// The target.
        target: Name,
        /// The initiator.
        initiator: Name,
    },
    /// Commands were still running at the deadline. Nothing was given back: ask again.
    #[error("{sessions} sessions are still draining; ask again")]
    StillDraining {
        /// How many.
        sessions: usize,
    },
    /// The sessions are gone, and what the initiator has registered is still there: ask again.
    #[error("the reservations of {initiator} are still there; ask again")]
    StillRegistered {
        /// The initiator.
        initiator: Name,
        /// Why.
        source: NotForgotten,
    },
    /// Writes that were under way did not end in time, or are held back already: ask again.
    #[error("the writes to {0} did not come to rest; ask again")]
    StillWriting(Name),
    /// The target has been shut down.
    #[error("the target has been shut down")]
    ShutDown,
}

impl TargetError {
    /// Asking again later may succeed without any other change.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::StillDraining { .. } | Self::StillRegistered { .. } | Self::StillWriting(_) => {
                true
            }
            Self::Name(_)
            | Self::Credentials(_)
            | Self::NoSuchExport(_)
            | Self::OtherUnit(_)
            | Self::OtherAccess { .. }
            | Self::OtherCredentials { .. }
            | Self::ShutDown => false,
        }
    }
}
