//! Who may come in, and who is in: exports, grants and every live connection, under one lock.
//!
//! The promise: when [`Registry::revoke`] has returned `Ok`, no write of that initiator reaches that
//! unit any more. The argument, step by step:
//!
//! 1. A session comes to life in [`Registry::admit`] only, which looks up the grant, holds what the
//!    login has proved against it, and records the session in one critical section. Revoke removes
//!    the grant and collects the recorded sessions in one critical section. So a session either was
//!    collected, or finds no grant.
//! 2. A command reaches the unit only while the thread that runs it, the session's own or a worker,
//!    holds a pass of the session's [`Gate`](crate::gate::Gate). Revoke closes the gate of each
//!    collected session: what has not begun never begins, whether it is on the wire, parked, or
//!    queued for a worker.
//! 3. It also shuts the socket so far that the session's thread waits for its peer no longer (see
//!    [`Connection`]), and waits until nobody is inside (what was executing has ended) and until that
//!    thread has let go of everything, its nexus included. The thread itself, however it ends, first takes
//!    back what no worker has begun and waits for what they run (`Backlog::close`), so no worker
//!    touches the unit for a session that has left the registry. Commands run to their end inside
//!    `LogicalUnit::execute`, so nothing of them is left running elsewhere; a backend must keep
//!    that rule. What waits there for the commands of others (a PREEMPT and who is held back by
//!    it, a reset, a command for blocks that another one has) stops waiting at once.
//! 4. What the initiator had registered is removed last, which waits for nobody's commands.
//!
//! A wait that reaches its deadline is reported as [`TargetError::StillDraining`], never as success; the
//! grant stays away and asking again waits again. Reinstatement of a session uses the same path.

mod accounts;
mod connection;
mod error;
mod state;

use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::connection::Connection;
pub use self::error::TargetError;
use self::state::State;
pub use self::state::{ExportFacts, SessionFacts};
use crate::credentials::Authentication;
use crate::grant::Grant;
use crate::limits::Limits;
use crate::login::chap::Proven;
use crate::login::status::Status;
use crate::login::{Claim, Demand};
use crate::name::Name;
use crate::quiet::{Held, Quiet};
use crate::scsi::{Access, LogicalUnit, Nexus};
use crate::session::tasks::{Began, TaskSet};
use crate::throttle::{Lane, Limit};
use crate::usage::Counters;
use crate::workers::Workers;

/// How long a fresh connection waits for the one whose place it takes. That one only has to wake up.
const MAKING_ROOM: Duration = Duration::from_millis(250);

/// What an admitted session works with.
#[derive(Debug)]
pub struct Admitted {
    /// Target part of the session identifier.
    pub tsih: u16,
    /// The unit behind LUN 1; none for discovery.
    pub unit: Option<Attached>,
}

/// A session's hold on a unit.
#[derive(Debug)]
pub struct Attached {
    /// The unit.
    pub unit: Arc<LogicalUnit>,
    /// Our nexus with it.
    pub nexus: Nexus,
    /// Tasks of all sessions of the unit.
    pub tasks: Arc<TaskSet>,
    /// What the sessions of our grant count in.
    pub counters: Arc<Counters>,
    /// Our place in front of the unit's limit.
    pub lane: Lane,
    /// Gives leave to change the unit's blocks.
    pub quiet: Arc<Quiet>,
}

impl Attached {
    /// When a task begins that has to wait from now on.
    pub fn began(&self) -> Began {
        Began { epoch: self.tasks.epoch(), aborts: self.nexus.aborts() }
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct Registry {
    limits: Limits,
    portals: Vec<SocketAddr>,
    workers: Workers,
    state: Mutex<State>,
}

impl Registry {
    /// An empty registry of a target that listens on these addresses.
    pub fn new(limits: Limits, portals: Vec<SocketAddr>) -> Self {
        let workers = Workers::new(limits.workers);
        Self { limits, portals, workers, state: Mutex::default() }
    }

    /// Who runs commands that have to wait.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Where the target listens.
    pub fn portals(&self) -> &[SocketAddr] {
        &self.portals
    }

    /// The bounds in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section here calls foreign code that could panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.limits.drain_timeout
    }

    /// Records a fresh connection; `None` when there is no room or no service. Whoever has not
    /// shown a grant only has a place until somebody else needs it: a crowd of strangers cannot
    /// keep a granted initiator out, because its login is over long before it is the oldest.
    pub fn connect(&self, stream: TcpStream, peer: SocketAddr) -> Option<Arc<Connection>> {
        let deadline = Instant::now() + MAKING_ROOM;
        let mut state = self.lock();
        while !state.stopped {
            if state.has_room(&self.limits) {
                return Some(state.take_in(stream, peer));
            }
            let stranger = state.oldest_stranger()?;
            // Before the lock goes: it must not be admitted any more.
            stranger.end();
            drop(state);
            tracing::debug!(peer = %stranger.peer, "an iSCSI connection made room for another");
            if !stranger.wait(deadline) {
                return None;
            }
            state = self.lock();
        }
        None
    }

    /// The last act of a connection's thread.
    pub fn disconnect(&self, connection: &Connection) {
        self.lock().leave(connection);
        connection.ended.set();
    }

    /// What a login must prove, or why it has no chance; asked early. The answer may be out of
    /// date a moment later; what counts is [`Registry::admit`].
    pub fn check(&self, claim: &Claim) -> Result<Demand, Status> {
        let grant = self.lock().look_up(claim)?;
        Ok(grant.and_then(|grant| grant.authentication().cloned()))
    }

    /// Lets a login in: step 1 of the argument above.
    pub fn admit(
        &self,
        connection: &Connection,
        claim: &Claim,
        proven: Option<&Proven>,
        deadline: Instant,
    ) -> Result<Admitted, Status> {
        loop {
            let mut state = self.lock();
            if connection.gate.is_closed() {
                return Err(Status::SERVICE_UNAVAILABLE);
            }
            let grant = state.admissible(claim, proven)?;
            let older = state.same_session(claim);
            if older.is_empty() {
                return state.enter(connection, claim, grant, &self.limits);
            }
            // The initiator starts its session anew: the old one ends first, completely.
            drop(state);
            older.iter().for_each(|old| old.end());
            if !older.iter().all(|old| old.wait(deadline)) {
                return Err(Status::OUT_OF_RESOURCES);
            }
        }
    }

    /// Names of the targets granted to an initiator.
    pub fn granted_to(&self, initiator: &Name) -> Vec<Name> {
        self.lock().granted_to(initiator)
    }

    /// Exports a unit; a second time is fine.
    pub fn export(&self, iqn: &str, unit: Arc<LogicalUnit>) -> Result<(), TargetError> {
        let iqn = Name::new(iqn)?;
        self.lock().export(iqn, unit)
    }

    /// Sets the limit of a unit; holds from now on, also for the sessions that there are.
    pub fn limit(&self, iqn: &str, limit: &Limit) -> Result<(), TargetError> {
        let iqn = Name::new(iqn)?;
        let throttle = self.lock().throttle_of(&iqn).ok_or(TargetError::NoSuchExport(iqn))?;
        throttle.set(limit, Instant::now());
        Ok(())
    }

    /// Holds back the writes to a unit, of all of its sessions, when those under way have ended.
    pub fn hold_writes(&self, iqn: &str, most: Duration) -> Result<Held, TargetError> {
        let iqn = Name::new(iqn)?;
        let quiet = self.lock().quiet_of(&iqn);
        // Not under the lock: this waits for commands.
        let quiet = quiet.ok_or_else(|| TargetError::NoSuchExport(iqn.clone()))?;
        quiet.hold(most).ok_or(TargetError::StillWriting(iqn))
    }

    /// Takes an export away and ends all of its sessions; a second time is fine. Nobody gets in any
    /// more from the first moment; it is forgotten only when nobody is on his way out any more,
    /// or what such a one has registered would come back with the unit.
    pub fn unexport(&self, iqn: &str) -> Result<(), TargetError> {
        let iqn = Name::new(iqn)?;
        let (closed, ending) = {
            let mut state = self.lock();
            (state.close(&iqn), state.connections(&iqn, None))
        };
        let deadline = self.deadline();
        end_all(&ending, deadline)?;
        let Some((unit, leaving)) = closed else { return Ok(()) };
        for initiator in leaving {
            unit.forget_initiator(initiator.as_str(), deadline).map_err(|source| {
                TargetError::StillRegistered { initiator: initiator.clone(), source }
            })?;
            self.lock().has_left(&iqn, &initiator);
        }
        self.lock().unexport(&iqn);
        Ok(())
    }

    /// Allows an initiator to log in; a second time is fine.
    pub fn grant(
        &self,
        iqn: &str,
        initiator: &str,
        access: Access,
        authentication: Option<Authentication>,
    ) -> Result<(), TargetError> {
        let (target, initiator) = (Name::new(iqn)?, Name::new(initiator)?);
        if let Some(authentication) = &authentication {
            authentication.check()?;
        }
        self.lock().grant(target, initiator, Grant::new(access, authentication))
    }

    /// Takes a grant away and ends the initiator's sessions. See the head of this file.
    pub fn revoke(&self, iqn: &str, initiator: &str) -> Result<(), TargetError> {
        let (target, initiator) = (Name::new(iqn)?, Name::new(initiator)?);
        let (unit, ending) = {
            let mut state = self.lock();
            let unit = state.take_grant(&target, &initiator);
            (unit, state.connections(&target, Some(&initiator)))
        };
        let deadline = self.deadline();
        end_all(&ending, deadline)?;
        let Some(unit) = unit else { return Ok(()) };
        // Only now: a session that was still running could have registered again.
        if let Err(source) = unit.forget_initiator(initiator.as_str(), deadline) {
            return Err(TargetError::StillRegistered { initiator, source });
        }
        self.lock().has_left(&target, &initiator);
        Ok(())
    }

    /// Everything exported, granted and logged in.
    pub fn exports(&self) -> Vec<ExportFacts> {
        self.lock().facts()
    }

    /// The same for one target name.
    pub fn export_of(&self, iqn: &str) -> Option<ExportFacts> {
        let iqn = Name::new(iqn).ok()?;
        self.lock().facts_of(&iqn)
    }

    /// Refuses everything from now on and ends every connection.
    pub fn stop(&self) -> Result<(), TargetError> {
        let ending = {
            let mut state = self.lock();
            state.stopped = true;
            state.everybody()
        };
        end_all(&ending, self.deadline())?;
        // Every session has taken its work back, so none of them is inside anything.
        self.workers.stop();
        Ok(())
    }
}

/// Ends connections, all of them before it waits for the first.
fn end_all(ending: &[Arc<Connection>], deadline: Instant) -> Result<(), TargetError> {
    ending.iter().for_each(|connection| connection.end());
    let sessions = ending.iter().filter(|connection| !connection.wait(deadline)).count();
    if sessions == 0 { Ok(()) } else { Err(TargetError::StillDraining { sessions }) }
}
