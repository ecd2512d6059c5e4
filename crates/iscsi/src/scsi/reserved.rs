//! The unit's reservations in force: where the rules of `reservations` meet the sessions.
//!
//! The state lies under a lock that every command which a reservation can stop holds for reading,
//! from the check until it has ended; a change takes it for writing. So a change waits for what is
//! running, and what begins afterwards sees it: when a PREEMPT is answered, no write of the
//! preempted host is still on its way to the medium. Attentions and aborts are dealt out before
//! the lock is given back. What an initiator wants kept through a power loss is kept before the
//! command is answered.

use std::io;
use std::sync::{PoisonError, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use super::nexus::Nexus;
use super::reservations::{Change, KeptReservations, Order, Refusal, Reservations};
use super::sense::{Sense, Status};
use super::unit::LogicalUnit;

/// Keeps reservations through a power loss. A unit without one says that it cannot (PTPL_C = 0)
/// and refuses to be asked for it.
pub trait ReservationStore: Send + Sync + 'static {
    /// Replaces what is kept; durable when it returns. Called with the commands of the unit held
    /// back, so it must not call into the unit.
    fn keep(&self, reservations: &KeptReservations) -> io::Result<()>;
}

impl LogicalUnit {
    /// Keeps reservations in `store` from now on, and starts with those that were kept. Refuses
    /// what cannot have been kept: two registrations of a port, a key of zero, a holder who is not
    /// registered.
    pub fn with_reservations(
        mut self,
        store: Box<dyn ReservationStore>,
        kept: KeptReservations,
    ) -> io::Result<Self> {
        let restored = Reservations::restore(kept).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the kept reservations contradict themselves",
            )
        })?;
        *self.write_reservations() = restored;
        self.reservation_store = Some(store);
        Ok(self)
    }

    /// Removes every registration of an initiator, and with it a reservation that it alone held;
    /// the others are told where the standard says so. For a host that has been detached: its
    /// sessions must have ended.
    ///
    /// An error means that the store has failed: the registrations are gone from the unit, but may
    /// come back with what is kept.
    pub fn forget_initiator(&self, initiator: &str) -> io::Result<()> {
        // Nearly always there is nothing to forget, and then no other host's slow command is
        // waited for.
        if !self.reservations().knows(initiator) {
            return Ok(());
        }
        let mut state = self.write_reservations();
        let before = state.kept();
        let change = state.forget(initiator);
        self.deal_out(&change);
        self.keep(&before, &state)
    }

    /// A reservation could be kept through a power loss.
    pub(super) fn can_keep_reservations(&self) -> bool {
        self.reservation_store.is_some()
    }

    pub(super) fn reservations(&self) -> RwLockReadGuard<'_, Reservations> {
        // Changed by whole values only, so poison means nothing.
        self.roster.reservations.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, unless a change is under way or waiting for its turn.
    pub(super) fn try_reservations(&self) -> Option<RwLockReadGuard<'_, Reservations>> {
        match self.roster.reservations.try_read() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Waits for the commands that are running.
    pub(super) fn write_reservations(&self) -> RwLockWriteGuard<'_, Reservations> {
        self.roster.reservations.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a PERSISTENT RESERVE OUT.
    pub(super) fn reserve_by_order(&self, by: &Nexus, order: &Order) -> Result<Status, Sense> {
        let mut state = self.write_reservations();
        let mut next = state.clone();
        let change = match next.carry_out(by.port(), order) {
            Ok(change) => change,
            Err(Refusal::Conflict) => return Ok(Status::ReservationConflict),
            Err(Refusal::WrongRelease) => return Err(Sense::INVALID_RELEASE),
            Err(Refusal::ZeroKey) => return Err(Sense::invalid_parameter(8)),
            Err(Refusal::NoSuchType) => return Err(Sense::invalid_cdb(2)),
            Err(Refusal::NotHolder) => return Err(Sense::invalid_cdb_bit(1, 4)),
            Err(Refusal::WrongPort) => return Err(Sense::invalid_parameter(24)),
            Err(Refusal::NoRoom) => return Err(Sense::NO_REGISTRATION_RESOURCES),
        };
        self.keep(&state.kept(), &next).map_err(|error| {
            tracing::warn!(%error, "could not keep persistent reservations");
            Sense::TARGET_FAILURE
        })?;
        *state = next;
        self.deal_out(&change);
        Ok(Status::Good)
    }

    fn deal_out(&self, change: &Change) {
        for (port, attention) in &change.told {
            self.roster.tell(port, *attention);
        }
        for port in &change.aborted {
            self.roster.abort(port);
        }
    }

    fn keep(&self, before: &KeptReservations, now: &Reservations) -> io::Result<()> {
        let (Some(store), now) = (&self.reservation_store, now.kept()) else { return Ok(()) };
        if *before == now { Ok(()) } else { store.keep(&now) }
    }
}
