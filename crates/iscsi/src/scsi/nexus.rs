//! One session's view of a logical unit: the I_T nexus.
//!
//! A nexus carries what differs between sessions: who it is, whether it may write, and which unit
//! attentions it has not been told yet. Attentions are bits in one atomic word: the check before
//! each command is a single load, and raising the same attention twice tells it once. A nexus
//! leaves the unit's list when it is dropped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::copied::Copies;
use super::ranges::RangeLocks;
use super::reservation_terms::InitiatorPort;
use super::reservations::Reservations;
use super::sense::{Sense, SenseKey};
use super::turnstile::{Changes, Turnstile};

/// What a nexus may do with the medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads only: every write-class command ends in DATA PROTECT.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

/// Something that every nexus is to be told once. Reported in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Attention {
    /// The session is new (29/00).
    PowerOn,
    /// The logical unit was reset (29/03).
    Reset,
    /// Another initiator cleared this one's commands (2F/00).
    CommandsCleared,
    /// Another initiator took the reservation and all registrations away (2A/03).
    ReservationsPreempted,
    /// The reservation that let this registrant through has been released (2A/04).
    ReservationsReleased,
    /// Another initiator took this one's registration away (2A/05).
    RegistrationsPreempted,
    /// The medium has another size (2A/09).
    CapacityChanged,
}

impl Attention {
    const ALL: [Self; 7] = [
        Self::PowerOn,
        Self::Reset,
        Self::CommandsCleared,
        Self::ReservationsPreempted,
        Self::ReservationsReleased,
        Self::RegistrationsPreempted,
        Self::CapacityChanged,
    ];

    const fn bit(self) -> u32 {
        1 << self as u8
    }

    const fn sense(self) -> Sense {
        let (asc, ascq) = match self {
            Self::PowerOn => (0x29, 0x00),
            Self::Reset => (0x29, 0x03),
            Self::CommandsCleared => (0x2f, 0x00),
            Self::ReservationsPreempted => (0x2a, 0x03),
            Self::ReservationsReleased => (0x2a, 0x04),
            Self::RegistrationsPreempted => (0x2a, 0x05),
            Self::CapacityChanged => (0x2a, 0x09),
        };
        Sense::new(SenseKey::UnitAttention, asc, ascq)
    }
}

/// One session with one logical unit; detaches itself when dropped.
#[derive(Debug)]
pub struct Nexus {
    member: Arc<Member>,
    roster: Arc<Roster>,
}

#[derive(Debug)]
struct Member {
    port: InitiatorPort,
    access: Access,
    pending: AtomicU32,
    aborts: AtomicU64,
    copies: Mutex<Copies>,
    /// The session has been told to end: none of its commands waits for another one any more.
    leaving: AtomicBool,
}

/// Tells a nexus from outside that its session ends. A command of it that waits for commands of
/// others, which may never end, ends at once in BUSY and has done nothing.
#[derive(Debug)]
pub struct Departure {
    member: Arc<Member>,
    roster: Arc<Roster>,
}

impl Departure {
    /// Tells it.
    pub fn announce(&self) {
        self.member.leaving.store(true, Ordering::Release);
        self.roster.turnstile.wake();
        self.roster.ranges.wake();
    }
}

impl Nexus {
    /// Name of the initiator.
    pub fn initiator(&self) -> &str {
        &self.member.port.initiator
    }

    /// The session's ISID: with the name it is the initiator port.
    pub fn isid(&self) -> [u8; 6] {
        self.member.port.isid
    }

    /// Its initiator port.
    pub(super) fn port(&self) -> &InitiatorPort {
        &self.member.port
    }

    /// How often another initiator has aborted all commands of this nexus. A transport that lets a
    /// command wait compares: see [`LogicalUnit::execute_begun`](super::LogicalUnit::execute_begun).
    pub fn aborts(&self) -> u64 {
        self.member.aborts.load(Ordering::Acquire)
    }

    /// What is kept of its copies.
    pub(super) fn copies(&self) -> MutexGuard<'_, Copies> {
        self.member.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To tell it that its session ends.
    pub fn departure(&self) -> Departure {
        Departure { member: Arc::clone(&self.member), roster: Arc::clone(&self.roster) }
    }

    /// Set once its session has been told to end.
    pub(super) fn leaving(&self) -> &AtomicBool {
        &self.member.leaving
    }

    /// What it may do.
    pub fn access(&self) -> Access {
        self.member.access
    }

    /// Takes the most important pending unit attention, which is thereby told.
    pub(super) fn take_attention(&self) -> Option<Sense> {
        let pending = &self.member.pending;
        if pending.load(Ordering::Acquire) == 0 {
            return None;
        }
        // Two commands of one nexus may come here at once: the one that clears the bit tells it.
        Attention::ALL
            .into_iter()
            .find(|it| pending.fetch_and(!it.bit(), Ordering::AcqRel) & it.bit() != 0)
            .map(Attention::sense)
    }

    /// True if the nexus belongs to the unit that keeps `roster`.
    pub(super) fn is_of(&self, roster: &Arc<Roster>) -> bool {
        Arc::ptr_eq(&self.roster, roster)
    }
}

impl Drop for Nexus {
    fn drop(&mut self) {
        self.roster.members().retain(|member| !Arc::ptr_eq(member, &self.member));
        // RESERVE(6) ends with the session; registrations outlive it.
        let holder = {
            let state = self.roster.reservations.read().unwrap_or_else(PoisonError::into_inner);
            state.unit_is_held()
        };
        if holder {
            self.roster.loosen(|state| state.end_session(self.port()));
        }
    }
}

/// Every nexus of one logical unit, and what they have reserved.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Locked for moments only; see `reserved` for what must hold before it is changed.
    pub(super) reservations: RwLock<Reservations>,
    /// Whether a reservation is in force: without one no command needs to look at it.
    pub(super) is_reserved: AtomicBool,
    /// Commands that a reservation can stop are inside of it.
    pub(super) turnstile: Turnstile,
    pub(super) changes: Changes,
    /// What keeps the commands of one from seeing half of another's blocks.
    pub(super) ranges: RangeLocks,
    /// Who may have a session, where the owner says so.
    pub(super) granted: Mutex<Option<BTreeMap<String, Access>>>,
    members: Mutex<Vec<Arc<Member>>>,
}

impl Roster {
    pub(super) fn attach(
        self: &Arc<Self>,
        initiator: &str,
        isid: [u8; 6],
        access: Access,
    ) -> Nexus {
        let member = Arc::new(Member {
            port: InitiatorPort { initiator: initiator.to_owned(), isid },
            access,
            pending: AtomicU32::new(Attention::PowerOn.bit()),
            aborts: AtomicU64::new(0),
            copies: Mutex::default(),
            leaving: AtomicBool::new(false),
        });
        self.members().push(Arc::clone(&member));
        Nexus { member, roster: Arc::clone(self) }
    }

    /// Raises `attention` for every nexus but `except`.
    pub(super) fn announce(&self, attention: Attention, except: Option<&Nexus>) {
        for member in self.members().iter() {
            if except.is_none_or(|nexus| !Arc::ptr_eq(&nexus.member, member)) {
                member.pending.fetch_or(attention.bit(), Ordering::AcqRel);
            }
        }
    }

    /// Raises `attention` for the nexus of one port, if there is a session.
    pub(super) fn tell(&self, port: &InitiatorPort, attention: Attention) {
        for member in self.members().iter().filter(|member| member.port == *port) {
            member.pending.fetch_or(attention.bit(), Ordering::AcqRel);
        }
    }

    /// Voids all commands of one port that have not begun to run.
    pub(super) fn abort(&self, port: &InitiatorPort) {
        for member in self.members().iter().filter(|member| member.port == *port) {
            member.aborts.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Forgets what every nexus keeps of its copies.
    pub(super) fn forget_copies(&self) {
        for member in self.members().iter() {
            member.copies.lock().unwrap_or_else(PoisonError::into_inner).forget();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members().len()
    }

    fn members(&self) -> MutexGuard<'_, Vec<Arc<Member>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(nexus: &Nexus) -> Vec<(u8, u8)> {
        std::iter::from_fn(|| nexus.take_attention()).map(|s| (s.asc, s.ascq)).collect()
    }

    #[test]
    fn attentions_are_told_once_and_in_order() {
        let roster = Arc::new(Roster::default());
        let nexus = roster.attach("a", [0; 6], Access::ReadWrite);
        roster.announce(Attention::CapacityChanged, None);
        roster.announce(Attention::Reset, None);
        roster.announce(Attention::Reset, None);
        assert_eq!(codes(&nexus), [(0x29, 0x00), (0x29, 0x03), (0x2a, 0x09)]);
        assert_eq!(codes(&nexus), []);
    }

    #[test]
    fn the_excepted_nexus_is_not_told() {
        let roster = Arc::new(Roster::default());
        let (a, b) = (
            roster.attach("a", [0; 6], Access::ReadWrite),
            roster.attach("b", [0; 6], Access::ReadOnly),
        );
        assert_eq!(codes(&a), codes(&b));
        roster.announce(Attention::CommandsCleared, Some(&a));
        assert_eq!((codes(&a), codes(&b)), (vec![], vec![(0x2f, 0x00)]));
    }

    #[test]
    fn a_dropped_nexus_leaves_the_list() {
        let roster = Arc::new(Roster::default());
        let a = roster.attach("a", [0; 6], Access::ReadWrite);
        let b = roster.attach("a", [0; 6], Access::ReadWrite);
        drop(a);
        assert_eq!(roster.len(), 1);
        drop(b);
        assert_eq!(roster.len(), 0);
    }
}
