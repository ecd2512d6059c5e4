//! The volume itself: new, extend, delete. Each is an edit of the wish; the dock does the work.
//!
//! The wish is what shall be (`presence`, the hosts that shall stay), `made` is what the dock last
//! confirmed; status words are derived from the two. Until the end is confirmed a volume is charged
//! to its pool with the larger of both, so that no space is promised twice.
//!
//! Must stay true: an edit that a dock has to act on raises the generation, and [`wish`] says the
//! same for as long as the generation is the same.

use std::collections::BTreeMap;

use osds_model::volume::Terms;
use osds_model::{Capacity, Generation, Grant, IoLimits, Phase, PoolId, Presence, VolumeId};
use osds_model::{VolumeState, VolumeWish};

use crate::access::is_promise;
use crate::refused::Refused;
use crate::status;

/// A volume that shall be made.
#[must_use]
pub fn new(size: Capacity, terms: Terms) -> VolumeState {
    VolumeState {
        generation: Generation(1),
        terms,
        presence: Presence::Wanted(size),
        limits: IoLimits::NONE,
        made: None,
        fault: None,
        attachments: BTreeMap::new(),
    }
}

/// Asks for a larger volume. Only one that no host has, as in the original: the hosts would have
/// to be told, which is not done yet.
///
/// # Errors
/// [`Refused`], with the state unchanged.
pub fn extend(state: &VolumeState, size: Capacity) -> Result<VolumeState, Refused> {
    let Presence::Wanted(current) = state.presence else {
        return Err(Refused::NotExtendable { status: status::volume(state) });
    };
    if status::volume(state) != status::AVAILABLE || !state.attachments.is_empty() {
        return Err(Refused::NotExtendable { status: status::volume(state) });
    }
    if size <= current {
        return Err(Refused::NotLarger { current, wanted: size });
    }
    Ok(VolumeState {
        generation: state.generation.next(),
        presence: Presence::Wanted(size),
        ..state.clone()
    })
}

/// Asks for the volume to be gone. Works at any time nobody has it, also before it was ever made;
/// asking twice changes nothing.
///
/// # Errors
/// [`Refused::InUse`] while anybody has it.
pub fn delete(state: &VolumeState) -> Result<VolumeState, Refused> {
    if let Some(holder) = state.attachments.keys().next() {
        return Err(Refused::InUse { holder: *holder });
    }
    if state.presence == Presence::Unwanted {
        return Ok(state.clone());
    }
    Ok(VolumeState {
        generation: state.generation.next(),
        presence: Presence::Unwanted,
        // The dock may have made or extended it and only its answer was lost: until it confirms
        // the end, the pool is charged for all that may be there.
        made: Some(footprint(state)),
        fault: None,
        ..state.clone()
    })
}

/// What its dock has to be told: all of it, every time.
#[must_use]
pub fn wish(volume: VolumeId, pool: PoolId, state: &VolumeState) -> VolumeWish {
    VolumeWish {
        volume,
        generation: state.generation,
        pool,
        presence: state.presence,
        exists: state.made.is_some(),
        // Only those that shall stay count: a wish must read the same for as long as its
        // generation lasts, and a host on its way out is forgotten without a new one.
        guarded: !state.terms.multi_attach
            || state
                .attachments
                .values()
                .any(|held| held.phase != Phase::Detaching && is_promise(held.sharing)),
        limits: state.limits,
        hosts: state
            .attachments
            .iter()
            .filter(|(_, held)| held.phase != Phase::Detaching)
            .map(|(host, held)| {
                let (initiators, authentication) =
                    (held.initiators.clone(), held.authentication.clone());
                (*host, Grant { mode: held.mode, initiators, authentication })
            })
            .collect(),
    }
}

/// What the volume takes of its pool: what it has or shall have, whichever is more, until it is
/// confirmed gone.
#[must_use]
pub fn footprint(state: &VolumeState) -> Capacity {
    let made = state.made.unwrap_or(Capacity::ZERO);
    match state.presence {
        Presence::Wanted(size) => size.max(made),
        Presence::Unwanted => made,
    }
}

/// Whether there is nothing left to do for the reconciler.
#[must_use]
pub fn is_settled(state: &VolumeState) -> bool {
    let as_wished = match state.presence {
        Presence::Wanted(size) => state.made.is_some_and(|made| made >= size),
        Presence::Unwanted => false,
    };
    as_wished
        && state.fault.is_none()
        && state.attachments.values().all(|a| a.phase == Phase::Attached && a.fault.is_none())
}
