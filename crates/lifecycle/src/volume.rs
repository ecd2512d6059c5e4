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
        limited: IoLimits::NONE,
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

/// Asks for other limits on its I/O, whoever has it. The same again changes nothing.
///
/// # Errors
/// [`Refused::NotChangeable`] once it shall be gone.
pub fn limit(state: &VolumeState, limits: IoLimits) -> Result<VolumeState, Refused> {
    if state.presence == Presence::Unwanted {
        return Err(Refused::NotChangeable { status: status::volume(state) });
    }
    if state.limits == limits {
        return Ok(state.clone());
    }
    Ok(VolumeState { generation: state.generation.next(), limits, fault: None, ..state.clone() })
}

/// Says whether several hosts may have it at once. Its one host, if it has one, does not notice.
/// Whether its pool offers that is for the caller to see to. The same again changes nothing.
///
/// # Errors
/// [`Refused::SeveralHosts`] when it shall be for one and more have it, in any phase;
/// [`Refused::NotChangeable`] once it shall be gone.
pub fn share(state: &VolumeState, multi_attach: bool) -> Result<VolumeState, Refused> {
    if state.presence == Presence::Unwanted {
        return Err(Refused::NotChangeable { status: status::volume(state) });
    }
    if state.terms.multi_attach == multi_attach {
        return Ok(state.clone());
    }
    let hosts = state.attachments.len();
    if !multi_attach && hosts > 1 {
        return Err(Refused::SeveralHosts { hosts });
    }
    Ok(VolumeState {
        generation: state.generation.next(),
        terms: Terms { multi_attach, ..state.terms },
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
            .map(|(id, s)| {
                let (exists, moment) = (s.made.is_some(), s.moment.clone());
                (*id, SnapshotWish { wanted: s.wanted, exists, moment })
            })
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
            state.taken_back.is_none()
                && state.made.is_some_and(|made| made >= size)
                && state.limits == state.limited
        }
        Presence::Unwanted => false,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use osds_model::{Fault, FaultKind, IoRate};

    use super::*;

    fn gib(n: u64) -> Capacity {
        Capacity::from_gib(n).unwrap()
    }

    fn made(size: u64) -> VolumeState {
        let terms = Terms { multi_attach: true, max_attachments: None };
        VolumeState { made: Some(gib(size)), ..new(gib(size), terms) }
    }

    fn failing(state: &VolumeState) -> VolumeState {
        VolumeState { fault: Some(Fault::new(FaultKind::NoSpace, "x")), ..state.clone() }
    }

    /// What each size makes of a volume that has 2 GiB: is at rest, grows to 5, fails to.
    #[test]
    fn sizes_that_may_be_asked_for() {
        let at_rest = made(2);
        let growing = extend(&at_rest, gib(5)).unwrap();
        let stuck = failing(&growing);
        let after = |state: &VolumeState, size| match extend(state, gib(size)) {
            Ok(next) if next == *state => "same".to_owned(),
            Ok(next) => {
                assert!(next.generation > state.generation && next.fault.is_none());
                format!("{} charged {}", size, footprint(&next).whole_gib())
            }
            Err(Refused::NotLarger { current, .. }) => format!("has {}", current.whole_gib()),
            Err(refused) => refused.to_string(),
        };
        let row = |state| [1, 2, 3, 5, 7].map(|size| after(state, size)).join(", ");
        assert_eq!(row(&at_rest), "has 2, has 2, 3 charged 3, 5 charged 5, 7 charged 7");
        assert_eq!(row(&growing), "has 5, has 5, has 5, same, 7 charged 7");
        assert_eq!(row(&stuck), "has 2, 2 charged 5, 3 charged 5, same, 7 charged 7");
        // Taken back, and not yet known what came of the larger one.
        let back = extend(&stuck, gib(2)).unwrap();
        assert_eq!(status::volume(&back), "extending");
        assert_eq!(row(&back), "has 2, same, 3 charged 5, 5 charged 5, 7 charged 7");
        assert!(after(&failing(&at_rest), 3).contains("must be available"));
        assert!(after(&delete(&at_rest).unwrap(), 3).contains("it is deleting"));
    }

    #[test]
    fn what_is_changed_in_place_is_a_new_wish_or_none() {
        let state = made(1);
        let rate = IoRate { iops: NonZeroU64::new(5), ..IoRate::NONE };
        let limits = IoLimits { volume: rate, each_host: IoRate::NONE };
        let limited = limit(&state, limits).unwrap();
        assert!(limited.generation > state.generation && !is_settled(&limited));
        assert!(!status::volume_at_rest(&limited) && status::volume_at_rest(&state));
        assert_eq!(limit(&limited, limits).unwrap(), limited);
        let single = share(&state, false).unwrap();
        assert!(single.generation > state.generation && !single.terms.multi_attach);
        assert_eq!(share(&single, false).unwrap(), single);
        let gone = delete(&state).unwrap();
        assert_eq!(limit(&gone, limits), Err(Refused::NotChangeable { status: "deleting" }));
        assert_eq!(share(&gone, false), Err(Refused::NotChangeable { status: "deleting" }));
    }
}
