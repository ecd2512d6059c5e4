//! The registry's side of counting: whose counters a session counts in, and reading them all.
//!
//! An account is opened with a grant and closed with it. Reading takes the registry's lock only to
//! learn which accounts there are and how many sessions each has, in one pass over the connections;
//! the counters themselves are read when the lock is free again, so that somebody who reads them
//! all the time holds up no login.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Registry;
use super::state::{Role, State};
use crate::login::status::Status;
use crate::name::Name;
use crate::usage::{Counters, ExportUsage, RefusalCounters, TargetUsage, Usage};

/// The counters of one export.
#[derive(Debug, Default)]
pub struct Accounts {
    initiators: BTreeMap<Name, Arc<Counters>>,
    refusals: Arc<RefusalCounters>,
}

impl Accounts {
    /// An initiator has a grant; a second time is fine.
    pub fn open(&mut self, initiator: &Name) {
        if !self.initiators.contains_key(initiator) {
            self.initiators.insert(initiator.clone(), Arc::default());
        }
    }

    /// The grant is gone.
    pub fn close(&mut self, initiator: &Name) {
        self.initiators.remove(initiator);
    }

    /// What a session of this initiator counts in.
    pub fn of(&self, initiator: &Name) -> Arc<Counters> {
        self.initiators.get(initiator).map(Arc::clone).unwrap_or_default()
    }
}

impl Registry {
    /// Counts a login that was refused. A name that nothing is exported as is not remembered.
    pub fn count_refusal(&self, target: Option<&Name>, class: u8, detail: u8) {
        let refusals = {
            let state = self.lock();
            let export = target.and_then(|target| state.exports.get(target));
            Arc::clone(export.map_or(&state.refusals, |export| &export.accounts.refusals))
        };
        refusals.count(Status { class, detail });
    }

    /// What was done with everything that is exported.
    pub fn usage(&self) -> TargetUsage {
        let (accounts, mut usage) = {
            let state = self.lock();
            let mut sessions = state.count_sessions(None);
            let accounts: Vec<_> = state
                .exports
                .iter()
                .map(|(iqn, export)| {
                    (
                        iqn.clone(),
                        export.accounts.entries(&sessions.remove(iqn).unwrap_or_default()),
                    )
                })
                .collect();
            let usage = TargetUsage {
                exports: BTreeMap::new(),
                refusals: state.refusals.read(),
                connections: state.members.len() as u64,
                strangers: state.strangers().count() as u64,
            };
            (accounts, usage)
        };
        usage.exports = accounts.into_iter().map(|(iqn, entries)| (iqn, entries.read())).collect();
        usage
    }

    /// The same for one target name; `None` when nothing is exported under it.
    pub fn usage_of(&self, iqn: &str) -> Option<ExportUsage> {
        let iqn = Name::new(iqn).ok()?;
        let entries = {
            let state = self.lock();
            let export = state.exports.get(&iqn)?;
            let sessions = state.count_sessions(Some(&iqn)).remove(&iqn).unwrap_or_default();
            export.accounts.entries(&sessions)
        };
        Some(entries.read())
    }
}

/// What is to be read once the lock is free.
struct Entries {
    initiators: Vec<(Name, Arc<Counters>, u64)>,
    refusals: Arc<RefusalCounters>,
}

impl Accounts {
    fn entries(&self, sessions: &HashMap<&Name, u64>) -> Entries {
        let entry = |(name, counters): (&Name, &Arc<Counters>)| {
            let open = sessions.get(name).copied().unwrap_or_default();
            (name.clone(), Arc::clone(counters), open)
        };
        Entries {
            initiators: self.initiators.iter().map(entry).collect(),
            refusals: Arc::clone(&self.refusals),
        }
    }
}

impl Entries {
    fn read(self) -> ExportUsage {
        let read = |(name, counters, sessions): (Name, Arc<Counters>, u64)| {
            (name, Usage { sessions, ..counters.read() })
        };
        ExportUsage {
            initiators: self.initiators.into_iter().map(read).collect(),
            refusals: self.refusals.read(),
        }
    }
}

impl State {
    /// Open sessions by target and initiator, of one target or of all.
    fn count_sessions(&self, of: Option<&Name>) -> HashMap<&Name, HashMap<&Name, u64>> {
        let mut counts: HashMap<&Name, HashMap<&Name, u64>> = HashMap::new();
        for member in self.members.values() {
            match &member.role {
                Role::LoggingIn | Role::Discovery { .. } => {}
                Role::Normal { initiator, target, .. } => {
                    if of.is_none_or(|of| of == target) {
                        *counts.entry(target).or_default().entry(initiator).or_default() += 1;
                    }
                }
            }
        }
        counts
    }
}
