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
use osds_model::{SnapshotWish, VolumeState, VolumeWish};

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
        taken_back: None,
        fault: None,
        source: None,
        snapshots: BTreeMap::new(),
        attachments: BTreeMap::new(),
    }
}

/// Asks for a larger volume, whoever has it: every host is told before it is confirmed. While it
/// grows, the same size asked for again changes nothing and a larger one takes its place. One that
/// fails to grow may be asked for any size down to the one it has, which takes the larger wish
/// back: nothing is ever made smaller, only what was not done yet is not done any more.
///
/// # Errors
/// [`Refused`], with the state unchanged.
pub fn extend(state: &VolumeState, size: Capacity) -> Result<VolumeState, Refused> {
    let not_now = Refused::NotExtendable { status: status::volume(state) };
    let (Presence::Wanted(wished), Some(made)) = (state.presence, state.made) else {
        return Err(not_now);
    };
    let growing = made < wished || state.taken_back.is_some();
    let least = match (growing, &state.fault) {
        (true, _) if size == wished => return Ok(state.clone()),
        (true, Some(_)) => made,
        (true, None) => wished.plus(Capacity::from_bytes(1)),
        (false, Some(_)) => return Err(not_now),
        (false, None) => made.max(wished).plus(Capacity::from_bytes(1)),
    };
    if size < least {
        let current = if state.fault.is_some() { made } else { made.max(wished) };
        return Err(Refused::NotLarger { current, wanted: size });
    }
    let charged = blocks(state);
    Ok(VolumeState {
        generation: state.generation.next(),
        presence: Presence::Wanted(size),
        // The dock may have made it so, and only its answer was lost.
        taken_back: (size < charged).then_some(charged),
        fault: None,
        ..state.clone()
    })
}

/// Asks for the volume to be gone. Works at any time nobody has it, also before it was ever made;
/// asking twice changes nothing.
///
/// # Errors
/// [`Refused::InUse`] while anybody has it; [`Refused::HasSnapshots`] while one is not gone.
pub fn delete(state: &VolumeState) -> Result<VolumeState, Refused> {
    if let Some(holder) = state.attachments.keys().next() {
        return Err(Refused::InUse { holder: *holder });
    }
    if let Some(snapshot) = state.snapshots.keys().next() {
        return Err(Refused::HasSnapshots { snapshot: *snapshot });
    }
    if state.presence == Presence::Unwanted {
        return Ok(state.clone());
    }
    Ok(VolumeState {
        generation: state.generation.next(),
        presence: Presence::Unwanted,
        // The dock may have made or extended it and only its answer was lost: until it confirms
        // the end, the pool is charged for all that may be there.
        made: Some(blocks(state)),
        taken_back: None,
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
        source: state.source,
        // Those that shall go are named: what a dock finds and nobody names is left alone.
        snapshots: state
            .snapshots
            .iter()
            .map(|(id, s)| (*id, SnapshotWish { wanted: s.wanted, exists: s.made.is_some() }))
            .collect(),
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

/// What the volume and its snapshots take of their pool: what each has, may have or shall have,
/// whichever is most, until it is confirmed gone. A snapshot is charged in full: it may be a full
/// copy.
#[must_use]
pub fn footprint(state: &VolumeState) -> Capacity {
    let sizes = state.snapshots.values().map(|snapshot| crate::snapshot::size(state, snapshot));
    sizes.fold(blocks(state), Capacity::plus)
}

/// The volume's own part of [`footprint`].
pub(crate) fn blocks(state: &VolumeState) -> Capacity {
    let made = state.made.max(state.taken_back).unwrap_or(Capacity::ZERO);
    match state.presence {
        Presence::Wanted(size) => size.max(made),
        Presence::Unwanted => made,
    }
}

/// Whether there is nothing left to do for the reconciler.
#[must_use]
pub fn is_settled(state: &VolumeState) -> bool {
    is_as_wished(state)
        && state.fault.is_none()
        && state.attachments.values().all(|a| a.phase == Phase::Attached && a.fault.is_none())
        && state.snapshots.values().all(|s| s.wanted && s.made.is_some() && s.fault.is_none())
}

/// Whether the volume itself, as last confirmed, is what shall be.
pub(crate) fn is_as_wished(state: &VolumeState) -> bool {
    match state.presence {
        Presence::Wanted(size) => {
            state.taken_back.is_none() && state.made.is_some_and(|made| made >= size)
        }
        Presence::Unwanted => false,
    }
}
