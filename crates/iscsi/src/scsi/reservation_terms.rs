//! The words of reservations: ports, types, registrations, orders, and why one is refused.
//!
//! Values only; the rules that turn one state into the next are in `reservations`, and the bytes of
//! all of this in `persist`. The six types differ in two things: whether a reservation stops reading
//! too, and whom it lets through.

use super::nexus::Attention;

/// An initiator port: with the unit's one target port it is the I_T nexus that registers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InitiatorPort {
    /// Name of the initiator in its normal form.
    pub initiator: String,
    /// Initiator part of the session identifier.
    pub isid: [u8; 6],
}

/// The six types of a persistent reservation, with their codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ReservationType {
    /// Only the holder writes.
    WriteExclusive = 1,
    /// Only the holder reads and writes.
    ExclusiveAccess = 3,
    /// Only registrants write.
    WriteExclusiveRegistrantsOnly = 5,
    /// Only registrants read and write.
    ExclusiveAccessRegistrantsOnly = 6,
    /// Only registrants write, and each of them is a holder.
    WriteExclusiveAllRegistrants = 7,
    /// Only registrants read and write, and each of them is a holder.
    ExclusiveAccessAllRegistrants = 8,
}

impl ReservationType {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::WriteExclusive,
        Self::ExclusiveAccess,
        Self::WriteExclusiveRegistrantsOnly,
        Self::ExclusiveAccessRegistrantsOnly,
        Self::WriteExclusiveAllRegistrants,
        Self::ExclusiveAccessAllRegistrants,
    ];

    /// The type with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// Everybody may read.
    pub(super) fn only_writes(self) -> bool {
        match self {
            Self::WriteExclusive
            | Self::WriteExclusiveRegistrantsOnly
            | Self::WriteExclusiveAllRegistrants => true,
            Self::ExclusiveAccess
            | Self::ExclusiveAccessRegistrantsOnly
            | Self::ExclusiveAccessAllRegistrants => false,
        }
    }

    /// Whom it lets through.
    pub(super) fn sharing(self) -> Sharing {
        match self {
            Self::WriteExclusive | Self::ExclusiveAccess => Sharing::Holder,
            Self::WriteExclusiveRegistrantsOnly | Self::ExclusiveAccessRegistrantsOnly => {
                Sharing::Registrants
            }
            Self::WriteExclusiveAllRegistrants | Self::ExclusiveAccessAllRegistrants => {
                Sharing::AllHold
            }
        }
    }

    /// Every registrant is a holder.
    pub(super) fn all_hold(self) -> bool {
        self.sharing() == Sharing::AllHold
    }
}

/// Whom a reservation lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// The holder.
    Holder,
    /// All registrants, one of which is the holder.
    Registrants,
    /// All registrants, each of which is a holder.
    AllHold,
}

/// What a reservation of somebody else does to a command: the column of SPC-4's tables of allowed
/// commands, and of SBC-3's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Goes through any reservation.
    Free,
    /// Goes through any persistent reservation, but not through RESERVE(6).
    Asks,
    /// Goes where reading does.
    Reads,
    /// Goes only where writing does.
    Writes,
    /// Has rules of its own: the handler asks.
    Own,
}

/// One registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrant {
    /// Who.
    pub port: InitiatorPort,
    /// Its key, never zero.
    pub key: u64,
    /// It asked for all target ports (there is one).
    pub all_target_ports: bool,
}

/// The persistent reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its type.
    pub kind: ReservationType,
    /// The holder; none if all registrants are.
    pub by: Option<InitiatorPort>,
}

/// What is kept through a power loss when an initiator asked for that (APTPL).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptReservations {
    /// Every registration, in the order it was made.
    pub registrants: Vec<Registrant>,
    /// The reservation.
    pub held: Option<Held>,
}

/// What a port asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// REGISTER, or with `ignore` REGISTER AND IGNORE EXISTING KEY. A new key of zero unregisters.
    Register {
        key: u64,
        new_key: u64,
        ignore: bool,
        all_target_ports: bool,
        persist: bool,
        also: Vec<InitiatorPort>,
    },
    /// RESERVE.
    Reserve { key: u64, kind: ReservationType },
    /// RELEASE; a scope and type that do not exist are none.
    Release { key: u64, kind: Option<ReservationType> },
    /// CLEAR.
    Clear { key: u64 },
    /// PREEMPT, PREEMPT AND ABORT. The type counts only if the reservation changes hands.
    Preempt { key: u64, victim: u64, kind: Option<ReservationType>, abort: bool },
    /// REGISTER AND MOVE.
    Move { key: u64, new_key: u64, to: InitiatorPort, unregister: bool, persist: bool },
}

impl Order {
    /// Somebody's commands may be stopped that were not before. All other orders take from nobody
    /// but their sender.
    pub(super) fn may_stop_commands(&self) -> bool {
        match self {
            Self::Reserve { .. } | Self::Preempt { .. } | Self::Move { .. } => true,
            Self::Register { .. } | Self::Release { .. } | Self::Clear { .. } => false,
        }
    }
}

/// Why an order was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// RESERVATION CONFLICT.
    Conflict,
    /// The holder names another type than the one that is held.
    WrongRelease,
    /// The service action key cannot be zero here.
    ZeroKey,
    /// The scope or type does not exist.
    NoSuchType,
    /// Only the holder can move a reservation.
    NotHolder,
    /// The port to register or to move to cannot be.
    WrongPort,
    /// There are too many registrations.
    NoRoom,
}

/// What an order has led to, apart from the new state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Whom to tell what.
    pub(super) told: Vec<(InitiatorPort, Attention)>,
    /// Whose commands to abort.
    pub(super) aborted: Vec<InitiatorPort>,
}
