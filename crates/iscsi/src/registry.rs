//! Who may come in, and who is in: exports, grants and every live connection, under one lock.
//!
//! The promise: when [`Registry::revoke`] has returned `Ok`, no write of that initiator reaches that
//! unit any more. The argument, step by step:
//!
//! 1. A session comes to life in [`Registry::admit`] only, which looks up the grant and records the
//!    session in one critical section. Revoke removes the grant and collects the recorded sessions
//!    in one critical section. So a session either was collected, or finds no grant.
//! 2. A command reaches the unit only while its thread holds a pass of its session's [`Gate`].
//!    Revoke closes the gate of each collected session: what has not begun never begins.
//! 3. Revoke then waits until nobody is inside (what was executing has ended), shuts the socket
//!    (a thread blocked in receive or send wakes up), and waits until the thread has let go of
//!    everything, its nexus included. Commands run to their end inside `LogicalUnit::execute`, so
//!    nothing of them is left running elsewhere; a backend must keep that rule.
//!
//! A wait that reaches its deadline is reported as [`TargetError::StillDraining`], never as success; the
//! grant stays away and asking again waits again. Reinstatement of a session uses the same path.

mod accounts;

use std::collections::{BTreeMap, HashMap};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::credentials::{Authentication, InvalidCredentials};
use crate::gate::{Gate, Latch};
use crate::grant::Grant;
use crate::limits::Limits;
use crate::login::Claim;
use crate::login::status::Status;
use crate::name::{InvalidName, Name};
use crate::scsi::{Access, LogicalUnit, Nexus};
use crate::session::tasks::TaskSet;
use crate::usage::{Counters, RefusalCounters};

use accounts::Accounts;

/// How long a fresh connection waits for the one whose place it takes. That one only has to wake up.
const MAKING_ROOM: Duration = Duration::from_millis(250);

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
    /// The target has been shut down.
    #[error("the target has been shut down")]
    ShutDown,
}

impl TargetError {
    /// Asking again later may succeed without any other change.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::StillDraining { .. } => true,
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

/// One exported unit as it is, for drift detection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFacts {
    /// Target name.
    pub iqn: Name,
    /// Who may log in, and how.
    pub grants: BTreeMap<Name, Grant>,
    /// Who is logged in.
    pub sessions: Vec<SessionFacts>,
}

/// One live session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// Initiator name.
    pub initiator: Name,
    /// Initiator part of the session identifier.
    pub isid: [u8; 6],
    /// Target part of the session identifier.
    pub tsih: u16,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What it may do.
    pub access: Access,
    /// It has been told to end and is still running a command.
    pub draining: bool,
}

/// The part of a connection that others may touch.
#[derive(Debug)]
pub struct Connection {
    /// Key in the registry.
    pub id: u64,
    /// The other end.
    pub peer: SocketAddr,
    /// The socket; reading and writing is for its own thread only.
    pub stream: TcpStream,
    /// Every command passes here.
    pub gate: Gate,
    /// Set when the thread has let go of everything.
    pub ended: Latch,
    /// The thread, to be joined by whoever waits for the end.
    pub thread: Mutex<Option<JoinHandle<()>>>,
}

impl Connection {
    /// Tells the connection to end: nothing more begins, blocked socket calls return.
    fn end(&self) {
        self.gate.close();
        // Fails only when the peer is gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Waits for what [`Connection::end`] began.
    fn wait(&self, deadline: Instant) -> bool {
        if !self.gate.wait_empty(deadline) || !self.ended.wait(deadline) {
            return false;
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The latch was the last thing it did, so this returns at once. A panic of that thread has
        // been reported by the panic hook and ended only its own session.
        thread.is_none_or(|thread| thread.join().is_ok() || self.gate.wait_empty(deadline))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Role {
    LoggingIn,
    Discovery { initiator: Name },
    Normal { initiator: Name, target: Name, isid: [u8; 6], tsih: u16, grant: Grant },
}

impl Role {
    fn initiator(&self) -> Option<&Name> {
        match self {
            Self::LoggingIn => None,
            Self::Discovery { initiator } | Self::Normal { initiator, .. } => Some(initiator),
        }
    }

    fn is_session(&self, on: &Name, of: Option<&Name>) -> bool {
        match self {
            Self::LoggingIn | Self::Discovery { .. } => false,
            Self::Normal { initiator, target, .. } => {
                target == on && of.is_none_or(|of| of == initiator)
            }
        }
    }
}

#[derive(Debug)]
struct Member {
    connection: Arc<Connection>,
    role: Role,
}

#[derive(Debug)]
struct Export {
    unit: Arc<LogicalUnit>,
    tasks: Arc<TaskSet>,
    grants: BTreeMap<Name, Grant>,
    accounts: Accounts,
}

#[derive(Debug, Default)]
struct State {
    exports: BTreeMap<Name, Export>,
    members: HashMap<u64, Member>,
    next_id: u64,
    last_tsih: u16,
    stopped: bool,
    /// Logins refused for anything that is not exported.
    refusals: Arc<RefusalCounters>,
}

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
}

impl Attached {
    /// The epoch in which a task begins that has to wait. It is another one as soon as the task has
    /// been aborted, with all tasks of the unit or with all of this nexus: both only count up.
    pub fn epoch(&self) -> u64 {
        self.tasks.epoch().wrapping_add(self.nexus.aborts())
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct Registry {
    limits: Limits,
    state: Mutex<State>,
}

impl Registry {
    /// An empty registry.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default() }
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
            let stranger = state.end_oldest_stranger()?;
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
        self.lock().members.remove(&connection.id);
        connection.ended.set();
    }

    /// Whether a login has a chance, asked early. The answer may be out of date a moment later;
    /// what counts is [`Registry::admit`].
    pub fn check(&self, claim: &Claim) -> Result<(), Status> {
        let state = self.lock();
        state.check(claim).map(|_| ())
    }

    /// Lets a login in: step 1 of the argument above.
    pub fn admit(
        &self,
        connection: &Connection,
        claim: &Claim,
        deadline: Instant,
    ) -> Result<Admitted, Status> {
        loop {
            let mut state = self.lock();
            if connection.gate.is_closed() {
                return Err(Status::SERVICE_UNAVAILABLE);
            }
            let grant = state.check(claim)?;
            let older = state.same_session(claim);
            if !older.is_empty() {
                // The initiator starts its session anew: the old one ends first, completely.
                drop(state);
                older.iter().for_each(|old| old.end());
                if !older.iter().all(|old| old.wait(deadline)) {
                    return Err(Status::OUT_OF_RESOURCES);
                }
                continue;
            }
            let open = state.members.values();
            let open = open.filter(|m| m.role.initiator() == Some(&claim.initiator)).count();
            if open >= self.limits.connections_per_initiator {
                return Err(Status::OUT_OF_RESOURCES);
            }
            let tsih = state.fresh_tsih();
            let (role, unit) = match (&claim.target, grant) {
                (Some(target), Some(grant)) => {
                    let export = state.exports.get(target).ok_or(Status::NOT_FOUND)?;
                    let access = grant.access();
                    let role = Role::Normal {
                        initiator: claim.initiator.clone(),
                        target: target.clone(),
                        isid: claim.isid,
                        tsih,
                        grant,
                    };
                    let nexus = export.unit.attach(claim.initiator.as_str(), claim.isid, access);
                    let unit = Arc::clone(&export.unit);
                    let counters = export.accounts.of(&claim.initiator);
                    counters.login();
                    let tasks = Arc::clone(&export.tasks);
                    (role, Some(Attached { unit, nexus, tasks, counters }))
                }
                (Some(_), None) => return Err(Status::NOT_FOUND),
                (None, _) => (Role::Discovery { initiator: claim.initiator.clone() }, None),
            };
            let member =
                state.members.get_mut(&connection.id).ok_or(Status::SERVICE_UNAVAILABLE)?;
            member.role = role;
            return Ok(Admitted { tsih, unit });
        }
    }

    /// Names of the targets granted to an initiator.
    pub fn granted_to(&self, initiator: &Name) -> Vec<Name> {
        let state = self.lock();
        let granted = state.exports.iter().filter(|(_, e)| e.grants.contains_key(initiator));
        granted.map(|(iqn, _)| iqn.clone()).collect()
    }

    /// Exports a unit; a second time is fine.
    pub fn export(&self, iqn: &str, unit: Arc<LogicalUnit>) -> Result<(), TargetError> {
        let iqn = Name::new(iqn)?;
        let mut state = self.lock();
        if state.stopped {
            return Err(TargetError::ShutDown);
        }
        match state.exports.get(&iqn) {
            Some(export) if Arc::ptr_eq(&export.unit, &unit) => Ok(()),
            Some(_) => Err(TargetError::OtherUnit(iqn)),
            None => {
                let export = Export {
                    unit,
                    tasks: Arc::default(),
                    grants: BTreeMap::new(),
                    accounts: Accounts::default(),
                };
                state.exports.insert(iqn, export);
                Ok(())
            }
        }
    }

    /// Takes an export away and ends all of its sessions; a second time is fine.
    pub fn unexport(&self, iqn: &str) -> Result<(), TargetError> {
        let iqn = Name::new(iqn)?;
        let ending = {
            let mut state = self.lock();
            state.exports.remove(&iqn);
            state.end_sessions(&iqn, None)
        };
        wait_all(&ending, self.deadline())
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
        let wished = Grant::new(access, authentication);
        let mut state = self.lock();
        if state.stopped {
            return Err(TargetError::ShutDown);
        }
        // A session that a timed-out revoke left behind may still run a command under its old
        // grant; the new one must not begin beside it.
        let lingering = state.sessions(&target, Some(&initiator)).find_map(|m| match &m.role {
            Role::Normal { grant: old, .. } if *old != wished => Some(old.access()),
            Role::Normal { .. } | Role::LoggingIn | Role::Discovery { .. } => None,
        });
        let Some(export) = state.exports.get(&target) else {
            return Err(TargetError::NoSuchExport(target));
        };
        let other = export.grants.get(&initiator).filter(|present| **present != wished);
        match other.map(Grant::access).or(lingering) {
            Some(present) if present == access => {
                return Err(TargetError::OtherCredentials { target, initiator });
            }
            Some(present) => return Err(TargetError::OtherAccess { target, initiator, present }),
            None => {}
        }
        if let Some(export) = state.exports.get_mut(&target) {
            export.accounts.open(&initiator);
            export.grants.insert(initiator, wished);
        }
        Ok(())
    }

    /// Takes a grant away and ends the initiator's sessions. See the head of this file.
    pub fn revoke(&self, iqn: &str, initiator: &str) -> Result<(), TargetError> {
        let (target, initiator) = (Name::new(iqn)?, Name::new(initiator)?);
        let (unit, ending) = {
            let mut state = self.lock();
            let unit = state.exports.get_mut(&target).map(|export| {
                export.grants.remove(&initiator);
                export.accounts.close(&initiator);
                Arc::clone(&export.unit)
            });
            (unit, state.end_sessions(&target, Some(&initiator)))
        };
        wait_all(&ending, self.deadline())?;
        // Only now: a session that was still running could have registered again.
        if let Some(unit) = unit
            && let Err(error) = unit.forget_initiator(initiator.as_str())
        {
            tracing::warn!(%target, %initiator, %error, "reservations of a revoked initiator may come back with the volume");
        }
        Ok(())
    }

    /// Everything exported, granted and logged in.
    pub fn exports(&self) -> Vec<ExportFacts> {
        let state = self.lock();
        state.exports.iter().map(|(iqn, export)| state.facts(iqn, export)).collect()
    }

    /// The same for one target name.
    pub fn export_of(&self, iqn: &str) -> Option<ExportFacts> {
        let iqn = Name::new(iqn).ok()?;
        let state = self.lock();
        state.exports.get(&iqn).map(|export| state.facts(&iqn, export))
    }

    /// Refuses everything from now on and ends every connection.
    pub fn stop(&self) -> Result<(), TargetError> {
        let ending: Vec<_> = {
            let mut state = self.lock();
            state.stopped = true;
            state.members.values().map(|m| Arc::clone(&m.connection)).collect()
        };
        ending.iter().for_each(|connection| connection.end());
        wait_all(&ending, self.deadline())
    }
}

impl Member {
    fn session_facts(&self) -> Option<SessionFacts> {
        match &self.role {
            Role::LoggingIn | Role::Discovery { .. } => None,
            Role::Normal { initiator, isid, tsih, grant, .. } => Some(SessionFacts {
                initiator: initiator.clone(),
                isid: *isid,
                tsih: *tsih,
                peer: self.connection.peer,
                access: grant.access(),
                draining: self.connection.gate.is_closed(),
            }),
        }
    }
}

impl State {
    fn has_room(&self, limits: &Limits) -> bool {
        self.members.len() < limits.connections_total
            && self.strangers().count() < limits.connections_strangers
    }

    /// Connections without a session on a unit.
    fn strangers(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| match member.role {
            Role::LoggingIn | Role::Discovery { .. } => true,
            Role::Normal { .. } => false,
        })
    }

    /// Ends the oldest stranger that is not ending already. Its gate is closed before the lock
    /// goes, so it cannot be admitted any more.
    fn end_oldest_stranger(&self) -> Option<Arc<Connection>> {
        let staying = self.strangers().map(|m| &m.connection).filter(|c| !c.gate.is_closed());
        let oldest = Arc::clone(staying.min_by_key(|connection| connection.id)?);
        oldest.end();
        Some(oldest)
    }

    fn take_in(&mut self, stream: TcpStream, peer: SocketAddr) -> Arc<Connection> {
        self.next_id += 1;
        let id = self.next_id;
        let connection = Arc::new(Connection {
            id,
            peer,
            stream,
            gate: Gate::default(),
            ended: Latch::default(),
            thread: Mutex::default(),
        });
        let member = Member { connection: Arc::clone(&connection), role: Role::LoggingIn };
        self.members.insert(id, member);
        connection
    }

    fn facts(&self, iqn: &Name, export: &Export) -> ExportFacts {
        let mut sessions: Vec<_> =
            self.sessions(iqn, None).filter_map(Member::session_facts).collect();
        sessions.sort_by_key(|session| session.tsih);
        ExportFacts { iqn: iqn.clone(), grants: export.grants.clone(), sessions }
    }

    /// The grant a claim rests on; none for discovery.
    fn check(&self, claim: &Claim) -> Result<Option<Grant>, Status> {
        if self.stopped {
            return Err(Status::SERVICE_UNAVAILABLE);
        }
        let Some(target) = &claim.target else {
            return if claim.tsih == 0 { Ok(None) } else { Err(Status::NO_SUCH_SESSION) };
        };
        // A target that is not granted answers exactly like one that is not there, so that a
        // stranger cannot find out which volumes exist.
        let export = self.exports.get(target).ok_or(Status::NOT_FOUND)?;
        let grant = export.grants.get(&claim.initiator).cloned().ok_or(Status::NOT_FOUND)?;
        if grant.authentication().is_some() {
            // Until login can prove something, nobody gets in by a grant that demands it.
            return Err(Status::AUTHENTICATION_FAILURE);
        }
        if claim.tsih != 0 {
            let joins = self.sessions(target, Some(&claim.initiator)).any(|member| {
                matches!(&member.role, Role::Normal { isid, tsih, .. }
                    if *isid == claim.isid && *tsih == claim.tsih)
            });
            let status = if joins { Status::TOO_MANY_CONNECTIONS } else { Status::NO_SUCH_SESSION };
            return Err(status);
        }
        Ok(Some(grant))
    }

    fn sessions<'a>(
        &'a self,
        target: &'a Name,
        initiator: Option<&'a Name>,
    ) -> impl Iterator<Item = &'a Member> {
        self.members.values().filter(move |member| member.role.is_session(target, initiator))
    }

    /// Live sessions that a new session of this claim replaces.
    fn same_session(&self, claim: &Claim) -> Vec<Arc<Connection>> {
        let Some(target) = &claim.target else { return Vec::new() };
        self.sessions(target, Some(&claim.initiator))
            .filter(|m| matches!(&m.role, Role::Normal { isid, .. } if *isid == claim.isid))
            .map(|m| Arc::clone(&m.connection))
            .collect()
    }

    fn end_sessions(&self, target: &Name, initiator: Option<&Name>) -> Vec<Arc<Connection>> {
        let sessions = self.sessions(target, initiator);
        let ending: Vec<_> = sessions.map(|m| Arc::clone(&m.connection)).collect();
        ending.iter().for_each(|connection| connection.end());
        ending
    }

    fn fresh_tsih(&mut self) -> u16 {
        loop {
            self.last_tsih = self.last_tsih.wrapping_add(1).max(1);
            let used = self
                .members
                .values()
                .any(|m| matches!(&m.role, Role::Normal { tsih, .. } if *tsih == self.last_tsih));
            // Connections are far fewer than handles, so this ends.
            if !used {
                return self.last_tsih;
            }
        }
    }
}

fn wait_all(ending: &[Arc<Connection>], deadline: Instant) -> Result<(), TargetError> {
    let sessions = ending.iter().filter(|connection| !connection.wait(deadline)).count();
    if sessions == 0 { Ok(()) } else { Err(TargetError::StillDraining { sessions }) }
}
