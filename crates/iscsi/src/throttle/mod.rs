//! Quality of service: the limit of a unit, and each session's place in front of it.
//!
//! [`Throttle`] belongs to one exported unit, a [`Lane`] to one of its sessions. A session asks its
//! lane before it carries a command out and hears "go" or gets a ticket; then it keeps the command,
//! goes on with whatever else its connection brings, and asks again no later than it was told.
//! Nobody sleeps in here and no session wakes another: whoever asks also calls those of the others
//! whose turn it is, so a session that comes late finds its place kept, never lost.
//!
//! Must stay true: without a limit the only cost of a command is one look at a flag.

mod queue;
mod rate;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::queue::Ticket;
use self::queue::{Party, Queue};
use self::rate::Nanos;
pub use self::rate::Rate;
use crate::name::Name;

/// A session with something held back asks again at least this often. Nobody wakes it when a limit is
/// raised or others leave; and what it comes late by is less than a burst, so nothing is lost.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// The limits on one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// For all initiators together.
    pub unit: Rate,
    /// For each party by itself.
    pub each: Rate,
    /// Initiators that are one party, as the names of one host. Who is not listed is one alone.
    pub parties: Vec<Vec<Name>>,
}

/// The limit of one unit.
#[derive(Debug)]
pub struct Throttle {
    limited: AtomicBool,
    epoch: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    limit: Limit,
    queue: Queue,
    lanes: BTreeMap<u64, Place>,
    parties: HashMap<Name, Party>,
    /// Whose each ticket is, of those that wait.
    tickets: HashMap<Ticket, u64>,
    last: u64,
}

/// A lane, as the throttle knows it.
#[derive(Debug)]
struct Place {
    initiator: Name,
    party: Party,
    /// Called, and not yet told.
    called: Vec<Ticket>,
}

/// A session's place in front of a unit's limit. Dropped with everything that waits in it.
#[derive(Debug)]
pub struct Lane {
    throttle: Arc<Throttle>,
    id: u64,
}

/// What a session hears about one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Carry it out.
    Go,
    /// Keep it until [`Lane::called`] names this ticket.
    Wait(Ticket),
}

impl Default for Throttle {
    fn default() -> Self {
        Self { limited: AtomicBool::new(false), epoch: Instant::now(), state: Mutex::default() }
    }
}

impl Throttle {
    /// Sets the limits, at once and for all sessions: those that wait are sorted anew.
    pub fn set(&self, limit: &Limit, now: Instant) {
        let now = self.nanos(now);
        let mut state = self.lock();
        if state.limit == *limit {
            return;
        }
        state.limit = limit.clone();
        let State { queue, lanes, parties, tickets, last, .. } = &mut *state;
        for place in lanes.values_mut() {
            place.party = party_of(limit, parties, last, &place.initiator);
        }
        queue.regroup(now, |ticket| {
            let lane = tickets.get(&ticket).and_then(|lane| lanes.get(lane));
            lane.map_or(0, |place| place.party)
        });
        queue.change(limit.unit, limit.each, now);
        let limited = !limit.unit.is_none() || !limit.each.is_none();
        // Those that wait while the limit goes are called by their own sessions.
        self.limited.store(limited, Ordering::Release);
    }

    /// The limits in force.
    pub fn limit(&self) -> Limit {
        self.lock().limit.clone()
    }

    /// Opens the place of a session of `initiator`.
    pub fn lane(self: &Arc<Self>, initiator: &Name, now: Instant) -> Lane {
        let now = self.nanos(now);
        let mut state = self.lock();
        let State { limit, queue, lanes, parties, last, .. } = &mut *state;
        queue.forget(now, |party| lanes.values().any(|place| place.party == party));
        parties.retain(|_, party| {
            queue.knows(*party) || lanes.values().any(|place| place.party == *party)
        });
        let party = party_of(limit, parties, last, initiator);
        *last += 1;
        let id = *last;
        lanes.insert(id, Place { initiator: initiator.clone(), party, called: Vec::new() });
        Lane { throttle: Arc::clone(self), id }
    }

    fn nanos(&self, moment: Instant) -> Nanos {
        let since = moment.saturating_duration_since(self.epoch);
        Nanos::try_from(since.as_nanos()).unwrap_or(Nanos::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section here calls foreign code that could panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    /// Whether anything is limited. One look at a flag: ask this first.
    pub fn is_limited(&self) -> bool {
        self.throttle.limited.load(Ordering::Acquire)
    }

    /// Asks whether a command that moves so many bytes may go now.
    pub fn ask(&self, now: Instant, bytes: u64) -> Passage {
        let now = self.throttle.nanos(now);
        let mut state = self.throttle.lock();
        let State { queue, lanes, tickets, last, .. } = &mut *state;
        let Some(place) = lanes.get_mut(&self.id) else { return Passage::Go };
        if queue.go(now, place.party, bytes) {
            return Passage::Go;
        }
        *last += 1;
        let ticket = Ticket(*last);
        tickets.insert(ticket, self.id);
        queue.wait(now, place.party, ticket, bytes);
        state.call(now);
        let called = state.lanes.get_mut(&self.id).map(|place| &mut place.called);
        if let Some(called) = called
            && let Some(at) = called.iter().position(|own| *own == ticket)
        {
            called.swap_remove(at);
            return Passage::Go;
        }
        Passage::Wait(ticket)
    }

    /// Hands out the tickets of this lane that have been called, in their order.
    pub fn called(&self, now: Instant) -> Vec<Ticket> {
        let now = self.throttle.nanos(now);
        let mut state = self.throttle.lock();
        state.call(now);
        state
            .lanes
            .get_mut(&self.id)
            .map(|place| std::mem::take(&mut place.called))
            .unwrap_or_default()
    }

    /// When to ask [`Lane::called`] again, at the latest; `None` when nothing waits.
    pub fn ask_again(&self, now: Instant) -> Option<Instant> {
        let nanos = self.throttle.nanos(now);
        let state = self.throttle.lock();
        let place = state.lanes.get(&self.id)?;
        if !place.called.is_empty() {
            return Some(now);
        }
        let at = state.queue.not_before(nanos, place.party)?;
        Some(now + Duration::from_nanos(at.saturating_sub(nanos)).min(LONGEST_SLEEP))
    }

    /// Gives a ticket back: the command will not be carried out.
    pub fn cancel(&self, ticket: Ticket) {
        let mut state = self.throttle.lock();
        let State { queue, lanes, tickets, .. } = &mut *state;
        let Some(place) = lanes.get_mut(&self.id) else { return };
        place.called.retain(|called| *called != ticket);
        if tickets.remove(&ticket).is_some() {
            queue.cancel(place.party, ticket);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.throttle.lock();
        let State { queue, lanes, tickets, .. } = &mut *state;
        let Some(place) = lanes.remove(&self.id) else { return };
        tickets.retain(|ticket, lane| {
            let is_ours = *lane == self.id;
            if is_ours {
                queue.cancel(place.party, *ticket);
            }
            !is_ours
        });
    }
}

impl State {
    /// Calls everybody whose turn has come.
    fn call(&mut self, now: Nanos) {
        while let Some(ticket) = self.queue.call(now) {
            let lane = self.tickets.remove(&ticket);
            if let Some(place) = lane.and_then(|lane| self.lanes.get_mut(&lane)) {
                place.called.push(ticket);
            }
        }
    }
}

/// The party that an initiator belongs to: known by the first of its names.
fn party_of(
    limit: &Limit,
    parties: &mut HashMap<Name, Party>,
    last: &mut u64,
    initiator: &Name,
) -> Party {
    let listed = limit.parties.iter().find(|names| names.contains(initiator));
    let key = listed.and_then(|names| names.first()).unwrap_or(initiator);
    if let Some(party) = parties.get(key) {
        return *party;
    }
    *last += 1;
    parties.insert(key.clone(), *last);
    *last
}

#[cfg(test)]
mod tests;
