//! What is made, grown, copied and removed in a pool.
//!
//! Blocks that others had before are never seen: a thick volume is zeroed before it counts as one,
//! and grows only by space that was zeroed while it was nobody's. Each state that a cut can leave
//! is named by a tag on the disk; the next call finishes it or does it over.

use osds_model::{Capacity, FaultKind, SnapshotId, Source, VolumeId};

use super::device;
use super::pool::Pool;
use super::report::{
    COPYING, DELETED, GROWING, Group, LogicalVolume, MAKING, Role, SIZE, SNAPSHOT, State, VOLUME,
    ZEROED,
};
use crate::{DriverError, Hold};

/// How much is zeroed before it is noted how far we are.
const NOTED: u64 = 64 << 30;

impl Pool {
    pub(super) fn create(&self, id: VolumeId, size: Capacity) -> Result<Capacity, DriverError> {
        self.turns.alone(id, || {
            let group = self.look()?;
            if let Some((found, state)) = group.volume(id)? {
                match state {
                    State::Whole => return self.grow(&group, found, id, size),
                    State::Deleted => return Err(buried(found, id)),
                    State::Making => {}
                }
            } else {
                self.make(&group, id, size)?;
            }
            let group = self.look()?;
            let Some((found, State::Making)) = group.volume(id)? else {
                return self.whole(&group, id).map(|found| found.size);
            };
            self.zero(found)?;
            self.grow(&group, found, id, size)
        })
    }

    /// A new logical volume; a thick one is not a volume yet.
    fn make(&self, group: &Group, id: VolumeId, size: Capacity) -> Result<(), DriverError> {
        let (name, tag) = (format!("volume-{id}"), format!("{VOLUME}{id}"));
        let vg = &self.config.volume_group;
        let extents = group.extents(size).max(1).to_string();
        match &self.config.thin_pool {
            None => self.change(&[
                "lvcreate", "-y", "-Wn", "-Zn", "-n", &name, "-l", &extents, "--addtag", &tag,
                "--addtag", MAKING, vg,
            ]),
            Some(thin) => {
                let pool = self.thin_pool(group)?;
                self.check_health(pool)?;
                self.check_room(pool, id, size)?;
                let size = format!("{}b", size.bytes());
                self.change(&[
                    "lvcreate",
                    "-y",
                    "-Wn",
                    "-n",
                    &name,
                    "-V",
                    &size,
                    "--thinpool",
                    thin,
                    "--addtag",
                    &tag,
                    vg,
                ])
            }
        }
    }

    /// A thin volume takes any size; one that can never be filled is refused here. What the volumes
    /// of the pool take together is the controller's account.
    fn check_room(
        &self,
        pool: &LogicalVolume,
        id: VolumeId,
        size: Capacity,
    ) -> Result<(), DriverError> {
        if size <= pool.size {
            return Ok(());
        }
        let (name, has) = (&self.config.pool.name, pool.size);
        let doing = format!("volume {id} shall have {size}, and pool {name} has {has} in all");
        Err(DriverError::new(FaultKind::NoSpace, doing))
    }

    /// Zeroes a thick volume that is being made; then it is one.
    fn zero(&self, volume: &LogicalVolume) -> Result<(), DriverError> {
        let (volume, file) = self.device(volume, true)?;
        let path = self.path(&volume);
        let failed = |error| DriverError::from_io(format!("zeroing {path}"), error);
        let noted = volume.tag(ZEROED).map(str::to_owned);
        let mut at = noted.as_deref().and_then(|at| at.parse().ok()).unwrap_or(0);
        let mut noted = noted.map(|noted| format!("{ZEROED}{noted}"));
        let end = volume.size.bytes();
        loop {
            let next = end.min(at + NOTED);
            device::zero(&file, at, next).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            at = next;
            if at == end {
                break;
            }
            let note = format!("{ZEROED}{at}");
            let mut words = vec!["lvchange", "--addtag", &note];
            if let Some(noted) = &noted {
                words.extend(["--deltag", noted]);
            }
            words.push(&path);
            self.change(&words)?;
            noted = Some(note);
        }
        drop(file);
        let mut words = vec!["lvchange", "--deltag", MAKING];
        if let Some(noted) = &noted {
            words.extend(["--deltag", noted]);
        }
        words.push(&path);
        self.change(&words)
    }

    pub(super) fn extend(&self, id: VolumeId, size: Capacity) -> Result<Capacity, DriverError> {
        self.turns.alone(id, || {
            let group = self.look()?;
            self.grow(&group, self.whole(&group, id)?, id, size)
        })
    }

    fn grow(
        &self,
        group: &Group,
        volume: &LogicalVolume,
        id: VolumeId,
        size: Capacity,
    ) -> Result<Capacity, DriverError> {
        let extents = group.extents(size);
        let present = group.extents(volume.size);
        if extents <= present {
            self.clear(group, Role::Growing(id))?;
            return Ok(volume.size);
        }
        if volume.is_thin() {
            if let Some(pool) = group.named(&volume.pool) {
                self.check_room(pool, id, size)?;
            }
            let bytes = format!("{}b", size.bytes());
            self.change(&["lvextend", "-y", "-L", &bytes, &self.path(volume)])?;
        } else {
            self.grow_thick(group, volume, id, extents - present)?;
        }
        self.whole(&*self.look()?, id).map(|found| found.size)
    }

    /// The new space is zeroed while it belongs to a logical volume of its own, and then handed
    /// over: hosts may see it from the moment on at which it is part of the volume.
    fn grow_thick(
        &self,
        group: &Group,
        volume: &LogicalVolume,
        id: VolumeId,
        extents: u64,
    ) -> Result<(), DriverError> {
        let path = self.path(volume);
        let has_snapshots = group.dependants(volume).next().is_some();
        if has_snapshots && volume.is_open() {
            let doing = format!(
                "extending {path}: LVM cannot extend a thick volume that has snapshots and is in \
                 use; detach its hosts or delete its snapshots, or put volumes on a thin pool"
            );
            return Err(DriverError::new(FaultKind::InUse, doing));
        }
        self.clear(group, Role::Growing(id))?;
        let (name, tag) = (format!("osds-growing-{id}"), format!("{GROWING}{id}"));
        let extents = extents.to_string();
        let vg = &self.config.volume_group;
        self.change(&[
            "lvcreate", "-y", "-Wn", "-Zn", "-n", &name, "-l", &extents, "--addtag", &tag, vg,
        ])?;
        let group = self.look()?;
        let Some(space) = group.of_role(Role::Growing(id)).next() else {
            let doing = format!("{vg}/{name} went while it was zeroed");
            return Err(DriverError::new(FaultKind::Temporary, doing));
        };
        let (space, file) = self.device(space, true)?;
        device::zero(&file, 0, space.size.bytes())
            .and_then(|()| file.sync_all())
            .map_err(|error| DriverError::from_io(format!("zeroing {vg}/{name}"), error))?;
        drop(file);
        if has_snapshots {
            self.change(&["lvchange", "-y", "-an", &path])?;
        }
        let given = format!("+{extents}");
        let mut words = vec!["lvextend", "-y", "-l", &given, &path];
        words.extend(space.ranges.iter().map(String::as_str));
        // Nobody of ours may take what is free between the two.
        let taken = self.group.space();
        self.change(&["lvremove", "-y", &self.path(&space)])?;
        let grown = self.change(&words);
        drop(taken);
        if has_snapshots {
            self.change(&["lvchange", "-y", "-ay", &path])?;
        }
        grown
    }

    pub(super) fn delete(&self, id: VolumeId) -> Result<(), DriverError> {
        self.turns.alone(id, || {
            let group = self.look()?;
            self.clear(&group, Role::Copying(id))?;
            self.clear(&group, Role::Growing(id))?;
            if let Some((found, state)) = group.volume(id)? {
                let mut snapshots = group.dependants(found).peekable();
                if snapshots.peek().is_none() {
                    self.remove(found)?;
                } else if let Some(foreign) = snapshots.find(|one| one.role() == Role::Foreign) {
                    let (path, theirs) = (self.path(found), self.path(foreign));
                    let doing =
                        format!("deleting {path}: {theirs}, which is not ours, depends on it");
                    return Err(DriverError::new(FaultKind::InUse, doing));
                } else if state != State::Deleted {
                    // Its snapshots outlive it, and need its blocks.
                    let tag = format!("{VOLUME}{id}");
                    let path = self.path(found);
                    self.change(&["lvchange", "--addtag", DELETED, "--addtag", &tag, &path])?;
                }
            }
            self.bury()
        })
    }

    /// Removes volumes that were deleted and whose last snapshot has gone.
    fn bury(&self) -> Result<(), DriverError> {
        let group = self.look()?;
        for volume in &group.volumes {
            let Role::Volume(_, State::Deleted) = volume.role() else { continue };
            if group.dependants(volume).next().is_none() {
                self.remove(volume)?;
            }
        }
        Ok(())
    }

    /// Removes what an interrupted call left.
    fn clear(&self, group: &Group, role: Role) -> Result<(), DriverError> {
        group.of_role(role).try_for_each(|volume| self.remove(volume))
    }

    /// Removes a logical volume, which may have gone meanwhile.
    fn remove(&self, volume: &LogicalVolume) -> Result<(), DriverError> {
        match self.change(&["lvremove", "-y", &self.path(volume)]) {
            Err(error) if error.kind == FaultKind::Gone => Ok(()),
            result => result,
        }
    }

    pub(super) fn snapshot(
        &self,
        id: VolumeId,
        snapshot: SnapshotId,
        mut hold: Hold,
    ) -> Result<(), DriverError> {
        self.turns.alone(id, || {
            let group = self.look()?;
            if let Some(found) = group.of_role(Role::Snapshot(id, snapshot)).next() {
                if !found.is_lost() {
                    return Ok(());
                }
                self.remove(found)?;
            }
            let volume = self.whole(&group, id)?;
            self.flush(volume)?;
            let (name, path) = (format!("_snapshot-{snapshot}"), self.path(volume));
            let tags =
                [format!("{VOLUME}{id}"), format!("{SNAPSHOT}{snapshot}"), size_tag(volume.size)];
            let mut words = vec!["lvcreate", "-y", "-s", "-pr", "-n", &name];
            tags.iter().for_each(|tag| words.extend(["--addtag", tag]));
            if !volume.is_thin() {
                // All that can ever be overwritten has room, or it would be lost one day.
                words.extend(["-l", "100%ORIGIN"]);
            }
            words.push(&path);
            self.change(&words)?;
            // Of one moment whoever writes: the kernel holds all I/O for it.
            let _ = hold.release();
            Ok(())
        })
    }

    pub(super) fn delete_snapshot(
        &self,
        id: VolumeId,
        snapshot: SnapshotId,
    ) -> Result<(), DriverError> {
        self.turns.alone(id, || {
            self.clear(&*self.look()?, Role::Snapshot(id, snapshot))?;
            self.bury()
        })
    }

    pub(super) fn create_copy(
        &self,
        id: VolumeId,
        size: Capacity,
        source: Source,
        hold: Hold,
    ) -> Result<Capacity, DriverError> {
        self.turns.alone(id, || {
            let group = self.look()?;
            match group.volume(id)? {
                Some((found, State::Whole)) => {
                    self.clear(&group, Role::Copying(id))?;
                    return self.grow(&group, found, id, size);
                }
                Some((found, State::Deleted)) => return Err(buried(found, id)),
                // Half of a copy of another moment.
                Some((found, State::Making)) => self.remove(found)?,
                None => {}
            }
            self.clear(&group, Role::Copying(id))?;
            let group = self.look()?;
            let from = self.source(&group, source)?;
            if from.is_thin() {
                self.copy_thin(&group, id, from, hold)?;
            } else {
                self.copy_thick(&group, id, size, from, source, hold)?;
            }
            self.bury()?;
            let group = self.look()?;
            self.grow(&group, self.whole(&group, id)?, id, size)
        })
    }

    fn source<'g>(
        &self,
        group: &'g Group,
        source: Source,
    ) -> Result<&'g LogicalVolume, DriverError> {
        let Some(snapshot) = source.snapshot else { return self.whole(group, source.volume) };
        let mut found = group.of_role(Role::Snapshot(source.volume, snapshot));
        found.next().filter(|found| !found.is_lost()).ok_or_else(|| {
            let (name, volume) = (&self.config.pool.name, source.volume);
            let doing =
                format!("there is no snapshot {snapshot} of volume {volume} in pool {name}");
            DriverError::new(FaultKind::Gone, doing)
        })
    }

    /// In one step: blocks are shared until they are written.
    fn copy_thin(
        &self,
        group: &Group,
        id: VolumeId,
        from: &LogicalVolume,
        mut hold: Hold,
    ) -> Result<(), DriverError> {
        if let Some(pool) = group.named(&from.pool) {
            self.check_health(pool)?;
        }
        self.flush(from)?;
        let (name, tag, path) = (format!("volume-{id}"), format!("{VOLUME}{id}"), self.path(from));
        self.change(&[
            "lvcreate", "-y", "-s", "-prw", "-kn", "-ay", "-n", &name, "--addtag", &tag, &path,
        ])?;
        let _ = hold.release();
        Ok(())
    }

    /// Byte by byte, from a snapshot: the source's own, or one that lasts as long as this.
    fn copy_thick(
        &self,
        group: &Group,
        id: VolumeId,
        size: Capacity,
        from: &LogicalVolume,
        source: Source,
        mut hold: Hold,
    ) -> Result<(), DriverError> {
        let (name, tag) = (format!("volume-{id}"), format!("{VOLUME}{id}"));
        let vg = &self.config.volume_group;
        let content = from.content();
        let extents = group.extents(size.max(content)).max(1).to_string();
        self.change(&[
            "lvcreate", "-y", "-Wn", "-Zn", "-n", &name, "-l", &extents, "--addtag", &tag,
            "--addtag", MAKING, vg,
        ])?;
        if source.snapshot.is_none() {
            self.fix(id, from)?;
            // The snapshot does not change any more.
            let _ = hold.release();
        }
        let group = self.look()?;
        let fixed = match source.snapshot {
            None => group.of_role(Role::Copying(id)).next(),
            Some(_) => group.volumes.iter().find(|volume| volume.uuid == from.uuid),
        };
        let (Some(fixed), Some((to, _))) = (fixed, group.volume(id)?) else {
            let doing = format!("copying to {vg}/{name}: it or its source went");
            return Err(DriverError::new(FaultKind::Temporary, doing));
        };
        let (_, read) = self.device(fixed, false)?;
        let (to, write) = self.device(to, true)?;
        device::copy(&read, &write, content.bytes())
            .and_then(|()| device::zero(&write, content.bytes(), to.size.bytes()))
            .and_then(|()| write.sync_all())
            .map_err(|error| DriverError::from_io(format!("copying to {vg}/{name}"), error))?;
        drop((read, write));
        // From here on it counts: what helped may stay until somebody removes it.
        self.change(&["lvchange", "--deltag", MAKING, &self.path(&to)])?;
        self.clear(&*self.look()?, Role::Copying(id))
    }

    /// A snapshot of a thick volume for as long as it is copied. It needs room for all that is
    /// written meanwhile; where there is less than for everything, an eighth must do.
    fn fix(&self, id: VolumeId, from: &LogicalVolume) -> Result<(), DriverError> {
        self.flush(from)?;
        let (name, tag, path) =
            (format!("osds-copying-{id}"), format!("{COPYING}{id}"), self.path(from));
        let group = self.look()?;
        let (free, most) = (group.extents(group.free), group.extents(from.size));
        // Beside the blocks it notes where each belongs: 16 bytes for each 4 KiB, and a little.
        let most = most + most.div_ceil(128) + 1;
        let room = if free >= most { "100%ORIGIN".to_owned() } else { free.to_string() };
        if free < (most / 8).max(1) {
            let doing = format!(
                "copying {path} while it may be written: a snapshot for as long as that takes \
                 has no room in {}",
                self.config.volume_group
            );
            return Err(DriverError::new(FaultKind::NoSpace, doing));
        }
        self.change(&[
            "lvcreate", "-y", "-s", "-pr", "-n", &name, "-l", &room, "--addtag", &tag, &path,
        ])
    }

    /// What was written through the page cache and answered is on the disk before a snapshot.
    fn flush(&self, volume: &LogicalVolume) -> Result<(), DriverError> {
        if volume.device.is_none() || !volume.is_open() {
            return Ok(());
        }
        let file = self.lvm.open(volume, false)?;
        let doing = || format!("flushing {}", volume.path.display());
        file.sync_all().map_err(|error| DriverError::from_io(doing(), error))
    }
}

fn size_tag(size: Capacity) -> String {
    format!("{SIZE}{}", size.bytes())
}

fn buried(found: &LogicalVolume, id: VolumeId) -> DriverError {
    let path = found.path.display();
    let doing = format!("volume {id} was deleted, and snapshots of it still need {path}");
    DriverError::new(FaultKind::InUse, doing)
}
