//! Snapshots of several volumes at one moment: when the dock may take them, and what counts as taken.
//!
//! Each volume's wish names its own snapshot and all the others of its [`Moment`]. The dock takes
//! them all for one volume, the leader, once the wishes of all are on its ledger, with the writes of
//! all held. Then one note on the ledger says that the moment was had: that is when they exist, all
//! of them. What is found without that note was left by a dock that was cut off, is of no moment, and
//! is taken anew with the others.

use std::collections::BTreeSet;

use osds_model::{Moment, SnapshotId, VolumeId, VolumeState, VolumeWish};

/// Whether all snapshots of the moment can be taken now, for the volume of this wish. `held` is what
/// the dock's ledger wishes of a volume.
#[must_use]
pub fn is_due(
    wish: &VolumeWish,
    moment: &Moment,
    held: impl Fn(VolumeId) -> Option<VolumeWish>,
) -> bool {
    let told = |(volume, snapshot): (&VolumeId, &SnapshotId)| {
        if *volume == wish.volume {
            return awaits(wish, *snapshot, moment);
        }
        held(*volume).is_some_and(|held| awaits(&held, *snapshot, moment))
    };
    moment.leader() == Some(wish.volume) && moment.of.iter().all(told)
}

/// The volumes to look at next, now that the dock has answered for `volume`: the leader, when there
/// is one volume more that it may have waited for, and all that waited for the leader.
#[must_use]
pub fn concerned(volume: VolumeId, old: &VolumeState, new: &VolumeState) -> BTreeSet<VolumeId> {
    let mut concerned = BTreeSet::new();
    for (id, snapshot) in new.snapshots.iter().filter(|(_, snapshot)| snapshot.wanted) {
        let Some(moment) = &snapshot.moment else { continue };
        let before = old.snapshots.get(id).and_then(|before| before.made);
        match (moment.leader() == Some(volume), before, snapshot.made) {
            (true, None, Some(_)) => concerned.extend(moment.of.keys()),
            (false, _, None) => concerned.extend(moment.leader()),
            (true, _, None) | (true, Some(_), Some(_)) | (false, _, Some(_)) => {}
        }
    }
    concerned.remove(&volume);
    concerned
}

/// Whether the wish still waits for this snapshot, and for this very moment.
fn awaits(wish: &VolumeWish, snapshot: SnapshotId, moment: &Moment) -> bool {
    wish.snapshots.get(&snapshot).is_some_and(|wished| {
        wished.wanted && !wished.exists && wished.moment.as_deref() == Some(moment)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use osds_model::volume::Terms;
    use osds_model::{Capacity, GroupSnapshotId, PoolId};

    use super::*;
    use crate::{snapshot, volume};

    const YOUNG: VolumeId = VolumeId::from_u128(2);
    const OLD: VolumeId = VolumeId::from_u128(1);

    fn moment(number: u128) -> Arc<Moment> {
        let of = [(OLD, SnapshotId::from_u128(10)), (YOUNG, SnapshotId::from_u128(20))];
        Arc::new(Moment { group: GroupSnapshotId::from_u128(number), of: of.into() })
    }

    fn wish(id: VolumeId, moment: Option<&Arc<Moment>>) -> VolumeWish {
        let size = Capacity::from_gib(1).unwrap();
        let mut state = volume::new(size, Terms { multi_attach: true, max_attachments: None });
        state.made = Some(size);
        if let Some(moment) = moment {
            state = snapshot::create(&state, moment.of[&id], Some(Arc::clone(moment))).unwrap();
        }
        volume::wish(id, PoolId::from_u128(1), &state)
    }

    #[test]
    fn the_leader_takes_them_once_all_are_told() {
        let at = moment(1);
        let due = |of: VolumeId, held: &[VolumeWish]| {
            let held: BTreeMap<_, _> = held.iter().map(|wish| (wish.volume, wish)).collect();
            is_due(&wish(of, Some(&at)), &at, |id| held.get(&id).map(|wish| (*wish).clone()))
        };
        let other = wish(OLD, Some(&at));
        assert!(due(YOUNG, std::slice::from_ref(&other)));
        assert!(!due(YOUNG, &[]), "not told");
        assert!(!due(OLD, &[wish(YOUNG, Some(&at))]), "the other one leads");
        assert!(!due(YOUNG, &[wish(OLD, None)]), "not told of this");
        assert!(!due(YOUNG, &[wish(OLD, Some(&moment(2)))]), "another moment");
        let mut leaving = other.clone();
        leaving.snapshots.values_mut().for_each(|snapshot| snapshot.wanted = false);
        assert!(!due(YOUNG, &[leaving]), "given up");
        let mut taken = other;
        taken.snapshots.values_mut().for_each(|snapshot| snapshot.exists = true);
        assert!(!due(YOUNG, &[taken]), "one of another moment cannot be had again");
    }
}
