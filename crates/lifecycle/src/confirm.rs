//! Folding a dock's answer back into the record.
//!
//! Only the answer to the *current* generation counts: an answer to an older wish says nothing
//! about the edits since. A host is forgotten only when the dock no longer lists it, that is, when
//! no command of it can reach the blocks any more.

use std::sync::Arc;

use osds_model::{
    Applied, Attachment, Capacity, Fault, FaultKind, HostId, HostOutcome, Phase, Presence,
    SnapshotOutcome, VolumeOutcome, VolumeState,
};

use crate::access::is_promise;
use crate::enforcer::waits_for;
use crate::volume::is_as_wished;

/// What is left of the record after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, taken apart where it is made")]
pub enum Confirmed {
    /// This is what is known now (the same as before when the answer was an old one).
    Known(VolumeState),
    /// The volume is gone and nobody has it: its record can go, and `freed` returns to its pool.
    Gone {
        /// What it took of its pool.
        freed: Capacity,
    },
}

/// Folds `applied` into `state`.
#[must_use]
pub fn confirm(state: &VolumeState, applied: &Applied) -> Confirmed {
    if applied.generation != state.generation {
        return Confirmed::Known(state.clone());
    }
    let mut next = state.clone();
    match (&applied.volume, state.presence) {
        (VolumeOutcome::Absent, Presence::Unwanted) => {
            return Confirmed::Gone { freed: crate::volume::footprint(state) };
        }
        (VolumeOutcome::Absent, Presence::Wanted(_)) => {
            next.fault = Some(Fault::new(FaultKind::Gone, "the dock says the volume is not there"));
        }
        (VolumeOutcome::Present(size), Presence::Wanted(_)) => {
            next.made = Some(*size);
            next.taken_back = None;
            next.limited = state.limits;
            next.fault = None;
        }
        (VolumeOutcome::Present(_), Presence::Unwanted) => {}
        (VolumeOutcome::Failed(fault), _) => next.fault = Some(fault.clone()),
    }
    next.attachments
        .retain(|host, held| held.phase != Phase::Detaching || applied.hosts.contains_key(host));
    for (host, shared) in &mut next.attachments {
        let mut held = Attachment::clone(shared);
        match (applied.hosts.get(host), held.phase) {
            // A promise holds from the moment it is confirmed, so not while another host lingers.
            // Only one that was forced off the record can: nobody else may join beside it.
            (Some(HostOutcome::Granted(_)), Phase::Attaching)
                if is_promise(held.sharing) && lingering(applied, *host).is_some() =>
            {
                held.fault = lingering(applied, *host);
            }
            (Some(HostOutcome::Granted(connection)), Phase::Attaching | Phase::Attached) => {
                held.phase = Phase::Attached;
                held.fault = None;
                held.connection = Some(connection.clone());
            }
            (Some(HostOutcome::GrantFailed(fault) | HostOutcome::RevokeFailed(fault)), _) => {
                held.fault = Some(fault.clone());
            }
            // A dock does not claim to serve a host that this generation takes off the list, and
            // it lists every host that is on it; if one day it did otherwise, ask again.
            (Some(HostOutcome::Granted(_)), Phase::Detaching) | (None, _) => {}
        }
        if held != **shared {
            *shared = Arc::new(held);
        }
    }
    fold_snapshots(&mut next, applied);
    Confirmed::Known(next)
}

/// A snapshot is forgotten when the dock says that it is gone, and only then.
fn fold_snapshots(next: &mut VolumeState, applied: &Applied) {
    next.snapshots.retain(|id, snapshot| {
        snapshot.wanted || applied.snapshots.get(id) != Some(&SnapshotOutcome::Absent)
    });
    for (id, snapshot) in &mut next.snapshots {
        match (applied.snapshots.get(id), snapshot.wanted) {
            (Some(SnapshotOutcome::Present(size)), true) => {
                snapshot.made = Some(*size);
                snapshot.fault = None;
            }
            (Some(SnapshotOutcome::Failed(fault)), _) => snapshot.fault = Some(fault.clone()),
            (Some(SnapshotOutcome::Waiting), _) => snapshot.fault = None,
            (Some(SnapshotOutcome::Absent), _) => {
                let message = "the dock says the snapshot is not there";
                snapshot.fault = Some(Fault::new(FaultKind::Gone, message));
            }
            // A dock does not say so, and names every snapshot of the wish; if one day it did
            // otherwise, ask again.
            (Some(SnapshotOutcome::Present(_)), false) | (None, _) => {}
        }
    }
}

/// Why a host other than `host` may still be served though it should not be.
fn lingering(applied: &Applied, host: HostId) -> Option<Fault> {
    applied.hosts.iter().find_map(|(other, outcome)| match outcome {
        HostOutcome::RevokeFailed(fault) if *other != host => Some(waits_for(*other, fault)),
        HostOutcome::Granted(_) | HostOutcome::GrantFailed(_) | HostOutcome::RevokeFailed(_) => {
            None
        }
    })
}

/// Writes down why nothing could be done: `fault` for everything that is not as wished. What is
/// in place stays untouched: nothing is known to be wrong with it.
#[must_use]
pub fn blame(state: &VolumeState, fault: &Fault) -> VolumeState {
    let mut next = state.clone();
    if !is_as_wished(state) {
        next.fault = Some(fault.clone());
    }
    for held in next.attachments.values_mut().filter(|held| held.phase != Phase::Attached) {
        Arc::make_mut(held).fault = Some(fault.clone());
    }
    for snapshot in next.snapshots.values_mut().filter(|s| !s.wanted || s.made.is_none()) {
        snapshot.fault = Some(fault.clone());
    }
    next
}
