//! Snapshots on the array, volumes from them, and copies of volumes.
//!
//! The array takes a snapshot in one step, so it is of one moment whoever writes: nobody is held
//! back for it. A snapshot's name says whose it is, `opensds-<volume>-<snapshot>`. A copy of a
//! volume is made through a snapshot that lasts as long as the making, `opensds-copy-<new volume>`;
//! one that was cut off is found by the next listing of the pool and taken away, for by then the
//! volume is there, or its making is begun anew with another moment.
//!
//! Must stay true: of a snapshot that is there nothing is ever changed; a volume is never left that
//! is not a copy of its source.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use osds_model::{Capacity, FaultKind, SnapshotId, Source, VolumeId};

use super::{Inner, RestError, name_of};
use crate::{DriverError, EntryName, Hold, PoolEntry, SnapshotFacts, VolumeFacts};

/// The array's name for a snapshot.
fn snapshot_name(volume: VolumeId, snapshot: SnapshotId) -> String {
    format!("opensds-{volume}-{snapshot}")
}

/// Whose name it is, if it is one of ours.
fn snapshot_of(name: &str) -> Option<(VolumeId, SnapshotId)> {
    let both = name.strip_prefix("opensds-")?;
    // A UUID as we write it has 36 characters.
    let (volume, snapshot) = (both.get(..36)?.parse().ok()?, both.get(37..)?.parse().ok()?);
    (snapshot_name(volume, snapshot) == name).then_some((volume, snapshot))
}

/// The snapshot through which a volume becomes a copy of another.
fn passing_name(copy: VolumeId) -> String {
    format!("opensds-copy-{copy}")
}

fn passing_of(name: &str) -> Option<VolumeId> {
    let copy = name.strip_prefix("opensds-copy-")?.parse().ok()?;
    (passing_name(copy) == name).then_some(copy)
}

/// Says that a volume is being copied, until it is dropped.
struct Copying<'i>(&'i Inner, VolumeId);

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        self.0.copying().remove(&self.1);
    }
}

impl Inner {
    pub(super) fn copying(&self) -> MutexGuard<'_, std::collections::HashSet<VolumeId>> {
        self.copying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(
        &self,
        pool: u32,
        volume: VolumeId,
        snapshot: SnapshotId,
        mut hold: Hold,
    ) -> Result<(), DriverError> {
        let name = snapshot_name(volume, snapshot);
        let doing = format!("taking snapshot {name}");
        let failed = |error: RestError| error.while_doing(doing.clone());
        if self.array.snapshot(&name).map_err(failed)?.is_none() {
            self.take(pool, volume, &name, &doing)?;
        }
        // In one step: it is of one moment, held or not.
        let _ = hold.release();
        Ok(())
    }

    /// Takes a snapshot that was not there, and looks.
    fn take(
        &self,
        pool: u32,
        volume: VolumeId,
        name: &str,
        doing: &str,
    ) -> Result<(), DriverError> {
        let found = self.find(volume)?.ok_or_else(|| gone(doing, "volume"))?;
        let taken = self.array.take_snapshot(&found.name, name);
        match (self.array.snapshot(name), taken) {
            (Ok(Some(_)), _) => Ok(()),
            (Ok(None), Ok(())) => Err(DriverError::new(FaultKind::Temporary, doing)
                .because("the array says that it did, and there is none")),
            (Ok(None), Err(error)) => Err(self.refused(pool, found.size, error, doing.to_owned())),
            (Err(error), _) => Err(error.while_doing(doing)),
        }
    }

    pub(super) fn create_copy(
        &self,
        pool: u32,
        volume: VolumeId,
        size: Capacity,
        source: Source,
        mut hold: Hold,
    ) -> Result<VolumeFacts, DriverError> {
        let doing = format!("making {} as a copy of {}", name_of(volume), name_of(source.volume));
        let failed = |error: RestError| error.while_doing(doing.clone());
        if self.find(volume)?.is_none() {
            self.check_room(pool, size, &doing)?;
            match source.snapshot {
                Some(snapshot) => {
                    let name = snapshot_name(source.volume, snapshot);
                    let found = self.array.snapshot(&name).map_err(failed)?;
                    let found = found.ok_or_else(|| gone(&doing, "snapshot"))?;
                    self.make_from(pool, &name, volume, size.max(found.size), &doing)?;
                }
                None => {
                    let found = self.find(source.volume)?;
                    let found = found.ok_or_else(|| gone(&doing, "volume"))?;
                    self.copying().insert(volume);
                    let _copying = Copying(self, volume);
                    let name = passing_name(volume);
                    // What an earlier call left is of another moment.
                    self.array.delete_snapshot(&name).map_err(failed)?;
                    self.take(pool, source.volume, &name, &doing)?;
                    let _ = hold.release();
                    let made = self.make_from(pool, &name, volume, size.max(found.size), &doing);
                    // One that stays is found by the next listing.
                    let _ = self.array.delete_snapshot(&name);
                    made?;
                }
            }
        }
        drop(hold);
        self.grow(pool, volume, size, &doing)
    }

    fn make_from(
        &self,
        pool: u32,
        snapshot: &str,
        volume: VolumeId,
        size: Capacity,
        doing: &str,
    ) -> Result<(), DriverError> {
        if let Err(error) = self.array.create_from(snapshot, &name_of(volume), size)
            // Its answer may have been lost.
            && self.find(volume)?.is_none()
        {
            return Err(self.refused(pool, size, error, doing.to_owned()));
        }
        Ok(())
    }

    pub(super) fn delete_snapshot(
        &self,
        volume: VolumeId,
        snapshot: SnapshotId,
    ) -> Result<(), DriverError> {
        let name = snapshot_name(volume, snapshot);
        let doing = || format!("deleting snapshot {name}");
        self.array.delete_snapshot(&name).map_err(|error| error.while_doing(doing()))
    }

    pub(super) fn snapshots(
        &self,
        volume: VolumeId,
        of: &[SnapshotId],
    ) -> Result<BTreeMap<SnapshotId, SnapshotFacts>, DriverError> {
        let mut facts = BTreeMap::new();
        for id in of {
            let name = snapshot_name(volume, *id);
            let found = self.array.snapshot(&name);
            let found = found.map_err(|e| e.while_doing(format!("looking for snapshot {name}")))?;
            facts.extend(found.map(|found| (*id, SnapshotFacts { whole: Some(found.size) })));
        }
        Ok(facts)
    }

    /// The snapshots of a pool. Those of copies that were cut off are taken away.
    pub(super) fn list_snapshots(&self, pool: u32) -> Result<Vec<PoolEntry>, DriverError> {
        let doing = || format!("listing the snapshots of pool {pool}");
        let listed = self.array.snapshots(pool).map_err(|error| error.while_doing(doing()))?;
        let mut entries = Vec::new();
        for found in listed {
            if let Some(copy) = passing_of(&found.name) {
                if !self.copying().contains(&copy) {
                    // Of use to nobody; the next listing tries again.
                    let _ = self.array.delete_snapshot(&found.name);
                }
                continue;
            }
            let name = match snapshot_of(&found.name) {
                Some((volume, snapshot)) => EntryName::Snapshot(volume, snapshot),
                None => EntryName::Foreign(found.name),
            };
            entries.push(PoolEntry { name, size: found.size });
        }
        Ok(entries)
    }
}

fn gone(doing: &str, what: &str) -> DriverError {
    DriverError::new(FaultKind::Gone, doing).because(format!("the array has no such {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshots_name_says_whose_it_is_and_nothing_else_is_taken_for_one() {
        let (volume, snapshot) = (VolumeId::from_u128(0xAB), SnapshotId::from_u128(0xCD));
        let name = snapshot_name(volume, snapshot);
        assert_eq!(snapshot_of(&name), Some((volume, snapshot)));
        let passing = passing_name(volume);
        assert_eq!(passing_of(&passing), Some(volume));
        assert_eq!((snapshot_of(&passing), passing_of(&name)), (None, None));
        for other in [name_of(volume), name.to_uppercase(), format!("{name} "), "opensds-é".into()]
        {
            assert_eq!((snapshot_of(&other), passing_of(&other)), (None, None), "{other}");
        }
    }
}
