//! Snapshots: take, delete, copy from. Edits of the volume's one wish, like everything else.
//!
//! A snapshot is of a moment, so it is taken once: one that was there and is lost is never taken
//! anew. Its end is a wish too, and until the dock has confirmed it the pool stays charged. A
//! volume goes only after its snapshots, and neither goes while something is still copied from it
//! (which the controller knows: that stands in the record of the copy).

use std::sync::Arc;

use osds_model::{Capacity, Moment, Presence, SnapshotId, SnapshotState, VolumeState};

use crate::refused::Refused;
use crate::status;
use crate::volume::blocks;

/// The most snapshots of one volume: each edit of a volume writes them all.
pub const MOST: usize = 256;

/// The most volumes of which snapshots are taken at one moment: each has its writes held meanwhile.
pub const MOST_AT_ONCE: usize = 64;

/// Asks for a snapshot of what the volume holds when the dock gets to it, or gets to all of a
/// `moment`.
///
/// # Errors
/// [`Refused`], with the state unchanged.
pub fn create(
    state: &VolumeState,
    id: SnapshotId,
    moment: Option<Arc<Moment>>,
) -> Result<VolumeState, Refused> {
    if !has_blocks(state) {
        return Err(Refused::NoSnapshot { status: status::volume(state) });
    }
    if state.snapshots.len() >= MOST {
        return Err(Refused::TooManySnapshots { limit: MOST });
    }
    let mut next = state.clone();
    next.generation = next.generation.next();
    let snapshot = SnapshotState { wanted: true, made: None, fault: None, moment };
    next.snapshots.insert(id, snapshot);
    Ok(next)
}

/// Asks for a snapshot to be gone, whether it was ever taken or not. Asking twice, or for one that
/// is not there, changes nothing.
#[must_use]
pub fn delete(state: &VolumeState, id: SnapshotId) -> VolumeState {
    let mut next = state.clone();
    if let Some(snapshot) = next.snapshots.get_mut(&id).filter(|snapshot| snapshot.wanted) {
        // The dock may have taken it and only its answer was lost.
        let made = Some(size(state, snapshot));
        (snapshot.wanted, snapshot.made, snapshot.fault) = (false, made, None);
        next.generation = next.generation.next();
    }
    next
}

/// How large a copy of the volume, or of this snapshot of it, is at least.
///
/// # Errors
/// [`Refused`] when there is nothing to copy.
pub fn copied_size(state: &VolumeState, snapshot: Option<SnapshotId>) -> Result<Capacity, Refused> {
    let Some(id) = snapshot else {
        return match state.made {
            Some(_) if has_blocks(state) => Ok(blocks(state)),
            Some(_) | None => Err(Refused::NotCopied { status: status::volume(state) }),
        };
    };
    match state.snapshots.get(&id) {
        Some(SnapshotState { wanted: true, made: Some(size), fault: None, .. }) => Ok(*size),
        Some(_) | None => Err(Refused::SnapshotNotReady),
    }
}

/// What a snapshot takes of its pool, at most.
pub(crate) fn size(state: &VolumeState, snapshot: &SnapshotState) -> Capacity {
    snapshot.made.unwrap_or_else(|| blocks(state))
}

/// Whether the volume is `available` or in use: what the original asks of it.
fn has_blocks(state: &VolumeState) -> bool {
    state.presence != Presence::Unwanted
        && state.made.is_some()
        && matches!(status::volume(state), status::AVAILABLE | "inUse")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume;
    use osds_model::volume::Terms;
    use osds_model::{Fault, FaultKind};

    const S: SnapshotId = SnapshotId::from_u128(1);
    const T: SnapshotId = SnapshotId::from_u128(2);

    fn gib(n: u64) -> Capacity {
        Capacity::from_gib(n).unwrap()
    }

    fn young() -> VolumeState {
        volume::new(gib(2), Terms { multi_attach: false, max_attachments: None })
    }

    fn made() -> VolumeState {
        VolumeState { made: Some(gib(2)), ..young() }
    }

    #[test]
    fn only_a_volume_that_is_there_has_snapshots() {
        let refused = create(&young(), S, None).unwrap_err();
        assert_eq!(refused, Refused::NoSnapshot { status: "creating" });
        assert!(
            refused.to_string().starts_with("only the status of volume is available or in-use")
        );
        let fault = Some(Fault::new(FaultKind::Gone, "lost"));
        assert!(create(&VolumeState { fault, ..made() }, S, None).is_err());
        let leaving = volume::delete(&made()).unwrap();
        assert_eq!(create(&leaving, S, None), Err(Refused::NoSnapshot { status: "deleting" }));
        let full = (0..MOST as u128)
            .fold(made(), |state, n| create(&state, SnapshotId::from_u128(n), None).unwrap());
        let more = create(&full, SnapshotId::from_u128(u128::MAX), None);
        assert_eq!(more, Err(Refused::TooManySnapshots { limit: MOST }));
    }

    #[test]
    fn a_snapshot_is_charged_until_it_is_confirmed_gone() {
        let one = create(&made(), S, None).unwrap();
        assert_eq!(volume::footprint(&one), gib(4));
        let two = create(&one, T, None).unwrap();
        assert_eq!(volume::footprint(&two), gib(6));
        // Extended before it is taken: it may be taken of the larger one.
        let larger = VolumeState { presence: Presence::Wanted(gib(3)), ..one.clone() };
        assert_eq!(volume::footprint(&larger), gib(6));
        let leaving = delete(&one, S);
        assert!(leaving.generation > one.generation);
        assert_eq!(volume::footprint(&leaving), gib(4));
        assert_eq!(delete(&leaving, S), leaving);
        assert_eq!(delete(&leaving, T), leaving);
        let refused = volume::delete(&leaving).unwrap_err();
        assert_eq!(refused, Refused::HasSnapshots { snapshot: S });
    }

    #[test]
    fn what_can_be_copied() {
        assert_eq!(copied_size(&made(), None), Ok(gib(2)));
        assert_eq!(copied_size(&young(), None), Err(Refused::NotCopied { status: "creating" }));
        let mut one = create(&made(), S, None).unwrap();
        assert_eq!(copied_size(&one, Some(S)), Err(Refused::SnapshotNotReady));
        assert_eq!(copied_size(&one, Some(T)), Err(Refused::SnapshotNotReady));
        one.snapshots.get_mut(&S).unwrap().made = Some(gib(2));
        one.presence = Presence::Wanted(gib(5));
        assert_eq!(copied_size(&one, Some(S)), Ok(gib(2)));
        assert_eq!(copied_size(&delete(&one, S), Some(S)), Err(Refused::SnapshotNotReady));
    }
}
