//! The unit's reservations in force: where the rules of `reservations` meet the sessions.
//!
//! A change that may stop somebody's commands is made while none is inside the turnstile: when a
//! PREEMPT is answered, no write of the preempted host is on its way to the medium. If the wait is
//! too long it ends in BUSY, unchanged. All other changes wait for no command, the removal of a
//! detached host among them. Each is tried on a copy, kept if that is wanted, put in force, and told,
//! all before the answer; first the turnstile, then the turn to change, then the state for a moment.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{PoisonError, RwLockReadGuard};
use std::time::Instant;

use super::nexus::{Access, Nexus, Roster};
use super::reservation_terms::{Change, Class, KeptReservations, Order, Refusal};
use super::reservations::Reservations;
use super::sense::{Sense, Status};
use super::turnstile::Inside;
use super::unit::LogicalUnit;

/// Keeps reservations through a power loss. A unit without one says that it cannot (PTPL_C = 0)
/// and refuses to be asked for it.
pub trait ReservationStore: Send + Sync + 'static {
    /// Replaces what is kept; durable when it returns. May be called with the commands of the unit
    /// held back, so it must not call into the unit.
    fn keep(&self, reservations: &KeptReservations) -> io::Result<()>;
}

/// Why the registrations of an initiator are still there, unchanged. Ask again.
#[derive(Debug, thiserror::Error)]
pub enum NotForgotten {
    /// Another change was under way until the deadline.
    #[error("another change of the reservations has not ended yet")]
    Busy,
    /// What is left could not be kept.
    #[error("what is left of the reservations could not be kept")]
    NotKept(#[source] io::Error),
}

impl Roster {
    /// Puts a change in force that takes from nobody, and tells the news.
    pub(super) fn loosen<T>(&self, change: impl FnOnce(&mut Reservations) -> T) -> T {
        let mut state = self.reservations.write().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut state);
        self.is_reserved.store(state.is_in_force(), Ordering::Release);
        outcome
    }

    /// Puts a change in force and tells the news. Whoever calls has the turn to change.
    fn put_in_force(&self, next: Reservations, change: &Change) {
        self.loosen(|state| {
            state.adopt(next);
            self.deal_out(change);
        });
    }

    fn deal_out(&self, change: &Change) {
        for (port, attention) in &change.told {
            self.tell(port, *attention);
        }
        for port in &change.aborted {
            self.abort(port);
        }
    }
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
        self.roster.loosen(|state| *state = restored);
        self.reservation_store = Some(store);
        Ok(self)
    }

    /// Says who may have a session. From the first call on nobody else can be registered (SPEC_I_PT)
    /// or given the reservation (REGISTER AND MOVE) by another one.
    pub fn let_in(&self, initiator: &str, access: Access) {
        let mut granted = self.roster.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.get_or_insert_default().insert(initiator.to_owned(), access);
    }

    /// Takes back what [`LogicalUnit::let_in`] said.
    pub fn put_out(&self, initiator: &str) {
        let mut granted = self.roster.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.get_or_insert_default().remove(initiator);
    }

    /// Removes every registration of an initiator, and with it a reservation that it alone held;
    /// the others are told where the standard says so. For a host that has been detached: it has
    /// been put out and its sessions have ended. Waits for no command: nobody is stopped by this.
    pub fn forget_initiator(&self, initiator: &str, deadline: Instant) -> Result<(), NotForgotten> {
        // First the turn to change: a change under way may be about to register it for another.
        let _changing = self.roster.changes.begin(deadline).ok_or(NotForgotten::Busy)?;
        if !self.reservations().knows(initiator) {
            return Ok(());
        }
        let before = self.reservations().clone();
        let mut next = before.clone();
        next.forget(initiator);
        self.keep(&before.kept(), &next).map_err(NotForgotten::NotKept)?;
        self.roster.loosen(|state| {
            let change = state.forget(initiator);
            self.roster.deal_out(&change);
        });
        Ok(())
    }

    /// Lets a command in that a reservation may stop; `None` when its session is over.
    pub(super) fn enter(&self, nexus: &Nexus) -> Option<Inside<'_>> {
        self.roster.turnstile.enter(nexus.leaving())
    }

    /// The same at once, if nobody is held back.
    pub(super) fn try_enter(&self) -> Option<Inside<'_>> {
        self.roster.turnstile.try_enter()
    }

    /// Whether a command that has been let in may run.
    pub(super) fn permits(&self, nexus: &Nexus, class: Class) -> bool {
        !self.roster.is_reserved.load(Ordering::Acquire)
            || self.reservations().permits(nexus.port(), class)
    }

    /// A reservation could be kept through a power loss.
    pub(super) fn can_keep_reservations(&self) -> bool {
        self.reservation_store.is_some()
    }

    pub(super) fn reservations(&self) -> RwLockReadGuard<'_, Reservations> {
        // Changed by whole values only, so poison means nothing.
        self.roster.reservations.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a PERSISTENT RESERVE OUT.
    pub(super) fn reserve_by_order(&self, by: &Nexus, order: &Order) -> Result<Status, Sense> {
        let deadline = Instant::now() + self.patience;
        // Who has no right to it must not hold anybody back, and what is so already need not.
        let (next, change) = match self.try_out(by, order) {
            Ok(outcome) => outcome,
            Err(refusal) => return refused(refusal),
        };
        if next == *self.reservations() && change == Change::default() {
            return Ok(Status::Good);
        }
        let shut = if order.may_stop_commands() {
            match self.roster.turnstile.shut(deadline, by.leaving()) {
                Some(shut) => Some(shut),
                None => return Ok(Status::Busy),
            }
        } else {
            None
        };
        let Some(_changing) = self.roster.changes.begin(deadline) else { return Ok(Status::Busy) };
        let (next, change) = match self.try_out(by, order) {
            Ok(outcome) => outcome,
            Err(refusal) => return refused(refusal),
        };
        let before = self.reservations().kept();
        self.keep(&before, &next).map_err(|error| {
            tracing::warn!(%error, "could not keep persistent reservations");
            Sense::TARGET_FAILURE
        })?;
        self.roster.put_in_force(next, &change);
        drop(shut);
        Ok(Status::Good)
    }

    /// RESERVE(6).
    pub(super) fn hold_unit(&self, by: &Nexus) -> Result<Status, Sense> {
        let conflict = |_| Status::ReservationConflict;
        let deadline = Instant::now() + self.patience;
        let mut tried = self.reservations().clone();
        if let Err(refusal) = tried.hold_unit(by.port()) {
            return refused(refusal);
        }
        if tried == *self.reservations() {
            return Ok(Status::Good);
        }
        let Some(_shut) = self.roster.turnstile.shut(deadline, by.leaving()) else {
            return Ok(Status::Busy);
        };
        let Some(_changing) = self.roster.changes.begin(deadline) else { return Ok(Status::Busy) };
        let held = self.roster.loosen(|state| state.hold_unit(by.port()));
        Ok(held.map_or_else(conflict, |()| Status::Good))
    }

    /// RELEASE(6).
    pub(super) fn let_unit_go(&self, by: &Nexus) -> Status {
        let released = self.roster.loosen(|state| state.let_unit_go(by.port()));
        // Nothing else than a conflict comes of it.
        released.map_or(Status::ReservationConflict, |()| Status::Good)
    }

    /// What the state would be after an order.
    fn try_out(&self, by: &Nexus, order: &Order) -> Result<(Reservations, Change), Refusal> {
        let mut next = self.reservations().clone();
        let change = next.carry_out(by.port(), order)?;
        if self.names_a_stranger(order) { Err(Refusal::WrongPort) } else { Ok((next, change)) }
    }

    /// Whether an order is to the benefit of a port that has no business here. Its registration
    /// would be nobody's to take back. A reservation is not moved either to a host that only reads:
    /// it could not give it back.
    fn names_a_stranger(&self, order: &Order) -> bool {
        let granted = self.roster.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(granted) = granted.as_ref() else { return false };
        match order {
            Order::Register { also, .. } => {
                also.iter().any(|port| !granted.contains_key(&port.initiator))
            }
            Order::Move { to, .. } => granted.get(&to.initiator) != Some(&Access::ReadWrite),
            Order::Reserve { .. }
            | Order::Release { .. }
            | Order::Clear { .. }
            | Order::Preempt { .. } => false,
        }
    }

    fn keep(&self, before: &KeptReservations, now: &Reservations) -> io::Result<()> {
        let (Some(store), now) = (&self.reservation_store, now.kept()) else { return Ok(()) };
        if *before == now { Ok(()) } else { store.keep(&now) }
    }
}

/// How an order ends that was not carried out.
fn refused(refusal: Refusal) -> Result<Status, Sense> {
    Err(match refusal {
        Refusal::Conflict => return Ok(Status::ReservationConflict),
        Refusal::WrongRelease => Sense::INVALID_RELEASE,
        Refusal::ZeroKey => Sense::invalid_parameter(8),
        Refusal::NoSuchType => Sense::invalid_cdb(2),
        Refusal::NotHolder => Sense::invalid_cdb_bit(1, 4),
        Refusal::WrongPort => Sense::invalid_parameter(24),
        Refusal::NoRoom => Sense::NO_REGISTRATION_RESOURCES,
    })
}
