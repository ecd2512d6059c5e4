//! What the registry knows: who is exported, who may come, who is there.
//!
//! Nothing in this file waits, and nothing locks: each function is one step of a critical section
//! of the registry, and whoever ends sessions does so after leaving it. A lookup by a name that is
//! not granted answers like one by a name that is not there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use super::accounts::Accounts;
use super::{Admitted, Attached, Connection, TargetError};
use crate::grant::Grant;
use crate::limits::Limits;
use crate::login::Claim;
use crate::login::chap::Proven;
use crate::login::status::Status;
use crate::name::Name;
use crate::quiet::Quiet;
use crate::scsi::{Access, LogicalUnit};
use crate::session::tasks::TaskSet;
use crate::throttle::{Limit, Throttle};
use crate::usage::RefusalCounters;

/// One exported unit as it is, for drift detection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFacts {
    /// Target name.
    pub iqn: Name,
    /// Who may log in, and how.
    pub grants: BTreeMap<Name, Grant>,
    /// Whose revoke has begun and not succeeded yet.
    pub leaving: BTreeSet<Name>,
    /// Who is logged in.
    pub sessions: Vec<SessionFacts>,
    /// How much I/O is carried out.
    pub limit: Limit,
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

/// What a connection has become.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    LoggingIn,
    Discovery { initiator: Name },
    Normal { initiator: Name, target: Name, isid: [u8; 6], tsih: u16, grant: Grant },
}

impl Role {
    /// A session with a unit, or one for discovery, that was let in by what this claim says. They
    /// are counted apart: discovery proves nothing, and must not use up the place of who does.
    fn is_like(&self, claim: &Claim) -> bool {
        match self {
            Self::LoggingIn => false,
            Self::Discovery { initiator } => {
                claim.target.is_none() && *initiator == claim.initiator
            }
            Self::Normal { initiator, .. } => {
                claim.target.is_some() && *initiator == claim.initiator
            }
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

/// One live connection.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) connection: Arc<Connection>,
    pub(super) role: Role,
}

/// A unit, and who may use it.
#[derive(Debug)]
pub(super) struct Export {
    unit: Arc<LogicalUnit>,
    tasks: Arc<TaskSet>,
    throttle: Arc<Throttle>,
    quiet: Arc<Quiet>,
    grants: BTreeMap<Name, Grant>,
    leaving: BTreeSet<Name>,
    pub(super) accounts: Accounts,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) exports: BTreeMap<Name, Export>,
    pub(super) members: HashMap<u64, Member>,
    next_id: u64,
    last_tsih: u16,
    pub(super) stopped: bool,
    /// Logins refused for anything that is not exported.
    pub(super) refusals: Arc<RefusalCounters>,
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
    /// Another connection may be taken in.
    pub(super) fn has_room(&self, limits: &Limits) -> bool {
        self.members.len() < limits.connections_total
            && self.strangers().count() < limits.connections_strangers
    }

    /// Connections without a session on a unit.
    pub(super) fn strangers(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| match member.role {
            Role::LoggingIn | Role::Discovery { .. } => true,
            Role::Normal { .. } => false,
        })
    }

    /// The oldest stranger that is not ending already.
    pub(super) fn oldest_stranger(&self) -> Option<Arc<Connection>> {
        let staying = self.strangers().map(|m| &m.connection).filter(|c| !c.gate.is_closed());
        staying.min_by_key(|connection| connection.id).map(Arc::clone)
    }

    /// Records a fresh connection.
    pub(super) fn take_in(&mut self, stream: TcpStream, peer: SocketAddr) -> Arc<Connection> {
        self.next_id += 1;
        let connection = Arc::new(Connection::new(self.next_id, stream, peer));
        let member = Member { connection: Arc::clone(&connection), role: Role::LoggingIn };
        self.members.insert(self.next_id, member);
        connection
    }

    /// A connection is gone.
    pub(super) fn leave(&mut self, connection: &Connection) {
        self.members.remove(&connection.id);
    }

    /// Every connection.
    pub(super) fn everybody(&self) -> Vec<Arc<Connection>> {
        self.members.values().map(|m| Arc::clone(&m.connection)).collect()
    }

    /// The sessions of a target, or those of one initiator with it.
    fn sessions<'a>(
        &'a self,
        target: &'a Name,
        initiator: Option<&'a Name>,
    ) -> impl Iterator<Item = &'a Member> {
        self.members.values().filter(move |member| member.role.is_session(target, initiator))
    }

    /// The connections of those.
    pub(super) fn connections(
        &self,
        target: &Name,
        initiator: Option<&Name>,
    ) -> Vec<Arc<Connection>> {
        self.sessions(target, initiator).map(|m| Arc::clone(&m.connection)).collect()
    }

    /// Makes a unit known; a second time is fine.
    pub(super) fn export(&mut self, iqn: Name, unit: Arc<LogicalUnit>) -> Result<(), TargetError> {
        if self.stopped {
            return Err(TargetError::ShutDown);
        }
        match self.exports.get(&iqn) {
            Some(export) if Arc::ptr_eq(&export.unit, &unit) => Ok(()),
            Some(_) => Err(TargetError::OtherUnit(iqn)),
            None => {
                let export = Export {
                    unit,
                    tasks: Arc::default(),
                    throttle: Arc::default(),
                    quiet: Arc::default(),
                    grants: BTreeMap::new(),
                    leaving: BTreeSet::new(),
                    accounts: Accounts::default(),
                };
                self.exports.insert(iqn, export);
                Ok(())
            }
        }
    }

    /// Lets nobody in to an export any more; its unit, and who is on his way out of it.
    pub(super) fn close(&mut self, iqn: &Name) -> Option<(Arc<LogicalUnit>, Vec<Name>)> {
        let export = self.exports.get_mut(iqn)?;
        export.grants.clear();
        Some((Arc::clone(&export.unit), export.leaving.iter().cloned().collect()))
    }

    /// Forgets an export; its sessions are the caller's to end.
    pub(super) fn unexport(&mut self, iqn: &Name) {
        self.exports.remove(iqn);
    }

    /// Records a grant, unless there is another, or a session of another.
    pub(super) fn grant(
        &mut self,
        target: Name,
        initiator: Name,
        wished: Grant,
    ) -> Result<(), TargetError> {
        if self.stopped {
            return Err(TargetError::ShutDown);
        }
        // A session that a timed-out revoke left behind may still run a command under its old
        // grant; the new one must not begin beside it.
        let lingering = self.sessions(&target, Some(&initiator)).find_map(|m| match &m.role {
            Role::Normal { grant: old, .. } if *old != wished => Some(old.access()),
            Role::Normal { .. } | Role::LoggingIn | Role::Discovery { .. } => None,
        });
        let Some(export) = self.exports.get_mut(&target) else {
            return Err(TargetError::NoSuchExport(target));
        };
        if export.leaving.contains(&initiator) {
            // What it has registered would go on under the new grant.
            return Err(TargetError::OtherAccess { target, initiator, present: wished.access() });
        }
        let other = export.grants.get(&initiator).filter(|present| **present != wished);
        match other.map(Grant::access).or(lingering) {
            Some(present) if present == wished.access() => {
                Err(TargetError::OtherCredentials { target, initiator })
            }
            Some(present) => Err(TargetError::OtherAccess { target, initiator, present }),
            None => {
                export.accounts.open(&initiator);
                export.unit.let_in(initiator.as_str(), wished.access());
                export.grants.insert(initiator, wished);
                Ok(())
            }
        }
    }

    /// Takes a grant away; the sessions are the caller's to end. The unit, if it is exported.
    pub(super) fn take_grant(
        &mut self,
        target: &Name,
        initiator: &Name,
    ) -> Option<Arc<LogicalUnit>> {
        let export = self.exports.get_mut(target)?;
        export.grants.remove(initiator);
        export.accounts.close(initiator);
        export.unit.put_out(initiator.as_str());
        export.leaving.insert(initiator.clone());
        Some(Arc::clone(&export.unit))
    }

    /// The end of what [`State::take_grant`] began.
    pub(super) fn has_left(&mut self, target: &Name, initiator: &Name) {
        if let Some(export) = self.exports.get_mut(target) {
            export.leaving.remove(initiator);
        }
    }

    /// The limit of a unit.
    pub(super) fn throttle_of(&self, iqn: &Name) -> Option<Arc<Throttle>> {
        self.exports.get(iqn).map(|export| Arc::clone(&export.throttle))
    }

    /// What gives leave to change the blocks of a unit.
    pub(super) fn quiet_of(&self, iqn: &Name) -> Option<Arc<Quiet>> {
        self.exports.get(iqn).map(|export| Arc::clone(&export.quiet))
    }

    /// The grant a claim rests on; none for discovery.
    pub(super) fn look_up(&self, claim: &Claim) -> Result<Option<Grant>, Status> {
        if self.stopped {
            return Err(Status::SERVICE_UNAVAILABLE);
        }
        let Some(target) = &claim.target else {
            return if claim.tsih == 0 { Ok(None) } else { Err(Status::NO_SUCH_SESSION) };
        };
        // A target that is not granted answers exactly like one that is not there, so that a
        // stranger cannot find out which volumes exist.
        let export = self.exports.get(target).ok_or(Status::NOT_FOUND)?;
        let grant = export.grants.get(&claim.initiator).ok_or(Status::NOT_FOUND)?;
        Ok(Some(grant.clone()))
    }

    /// The same for a login that has proved what it could: it must be what *this* grant demands,
    /// whichever grant there was when it began.
    pub(super) fn admissible(
        &self,
        claim: &Claim,
        proven: Option<&Proven>,
    ) -> Result<Option<Grant>, Status> {
        let grant = self.look_up(claim)?;
        if let Some(demanded) = grant.as_ref().and_then(Grant::authentication)
            && !proven.is_some_and(|proven| proven.satisfies(demanded))
        {
            return Err(Status::AUTHENTICATION_FAILURE);
        }
        // Only now: who is logged in with which handle is for its own initiator to know.
        if claim.tsih != 0 {
            let joins = claim.target.iter().any(|target| {
                self.sessions(target, Some(&claim.initiator)).any(|member| {
                    matches!(&member.role, Role::Normal { isid, tsih, .. }
                        if *isid == claim.isid && *tsih == claim.tsih)
                })
            });
            let status = if joins { Status::TOO_MANY_CONNECTIONS } else { Status::NO_SUCH_SESSION };
            return Err(status);
        }
        Ok(grant)
    }

    /// Live sessions that a new session of this claim replaces.
    pub(super) fn same_session(&self, claim: &Claim) -> Vec<Arc<Connection>> {
        let Some(target) = &claim.target else { return Vec::new() };
        self.sessions(target, Some(&claim.initiator))
            .filter(|m| matches!(&m.role, Role::Normal { isid, .. } if *isid == claim.isid))
            .map(|m| Arc::clone(&m.connection))
            .collect()
    }

    /// Turns a connection into a session.
    pub(super) fn enter(
        &mut self,
        connection: &Connection,
        claim: &Claim,
        grant: Option<Grant>,
        limits: &Limits,
    ) -> Result<Admitted, Status> {
        let open = self.members.values();
        let open = open.filter(|member| member.role.is_like(claim)).count();
        if open >= limits.connections_per_initiator {
            return Err(Status::OUT_OF_RESOURCES);
        }
        let tsih = self.fresh_tsih();
        let member = self.members.get_mut(&connection.id).ok_or(Status::SERVICE_UNAVAILABLE)?;
        let initiator = claim.initiator.clone();
        let (role, unit) = match (claim.target.clone(), grant) {
            (Some(target), Some(grant)) => {
                let export = self.exports.get(&target).ok_or(Status::NOT_FOUND)?;
                let nexus = export.unit.attach(initiator.as_str(), claim.isid, grant.access());
                connection.departure.get_or_init(|| nexus.departure());
                connection.tasks.get_or_init(|| Arc::clone(&export.tasks));
                let (unit, tasks) = (Arc::clone(&export.unit), Arc::clone(&export.tasks));
                let counters = export.accounts.of(&initiator);
                counters.login();
                let lane = export.throttle.lane(&initiator, Instant::now());
                let quiet = Arc::clone(&export.quiet);
                let role = Role::Normal { initiator, target, isid: claim.isid, tsih, grant };
                (role, Some(Attached { unit, nexus, tasks, counters, lane, quiet }))
            }
            (Some(_), None) => return Err(Status::NOT_FOUND),
            (None, _) => (Role::Discovery { initiator }, None),
        };
        member.role = role;
        Ok(Admitted { tsih, unit })
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

    /// Names of the targets granted to an initiator.
    pub(super) fn granted_to(&self, initiator: &Name) -> Vec<Name> {
        let granted = self.exports.iter().filter(|(_, e)| e.grants.contains_key(initiator));
        granted.map(|(iqn, _)| iqn.clone()).collect()
    }

    /// Everything exported.
    pub(super) fn facts(&self) -> Vec<ExportFacts> {
        self.exports.keys().filter_map(|iqn| self.facts_of(iqn)).collect()
    }

    /// One export.
    pub(super) fn facts_of(&self, iqn: &Name) -> Option<ExportFacts> {
        let export = self.exports.get(iqn)?;
        let mut sessions: Vec<_> =
            self.sessions(iqn, None).filter_map(Member::session_facts).collect();
        sessions.sort_by_key(|session| session.tsih);
        let (grants, leaving) = (export.grants.clone(), export.leaving.clone());
        let limit = export.throttle.limit();
        Some(ExportFacts { iqn: iqn.clone(), grants, leaving, sessions, limit })
    }
}
