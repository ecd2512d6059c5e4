//! One pool: what lvm says of it, and what of that is its own.
//!
//! A pool is a volume group, or a thin pool in one. What is asked at once is answered by one report
//! that was begun after all had asked, so a thousand volumes do not mean a thousand runs of lvm. A
//! group that goes by the name and is another (its uuid is noted at the first use) is not the pool.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use osds_model::pool::PoolSpec;
use osds_model::{Capacity, Fault, FaultKind, VolumeId};

use super::command::Lvm;
use super::report::{self, Group, LogicalVolume, Role, State};
use crate::config::LvmPoolConfig;
use crate::storage::notes::Notes;
use crate::storage::turns::Turns;
use crate::{BlockSource, DriverError, EntryName, PoolEntry};

/// A volume group, shared by its pools.
#[derive(Debug)]
pub(super) struct VolumeGroup {
    name: String,
    lvm: Arc<dyn Lvm>,
    reports: Mutex<Reports>,
    reported: Condvar,
    space: Mutex<()>,
}

#[derive(Debug, Default)]
struct Reports {
    asked: u64,
    begun: u64,
    running: bool,
    last: Option<(u64, Result<Arc<Group>, Fault>)>,
}

impl VolumeGroup {
    pub(super) fn new(name: String, lvm: Arc<dyn Lvm>) -> Self {
        let (reports, reported, space) = (Mutex::default(), Condvar::new(), Mutex::default());
        Self { name, lvm, reports, reported, space }
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held where space is taken, and where what one command frees is meant for the next.
    pub(super) fn space(&self) -> MutexGuard<'_, ()> {
        self.space.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it was asked what is there.
    #[cfg(test)]
    pub(super) fn asked(&self) -> u64 {
        self.reports().asked
    }

    /// What is there: a report that was begun after this was called.
    pub(super) fn report(&self) -> Result<Arc<Group>, DriverError> {
        let mut reports = self.reports();
        reports.asked += 1;
        let wanted = reports.begun + 1;
        loop {
            if let Some((number, result)) = &reports.last
                && *number >= wanted
            {
                let failed = |fault: Fault| DriverError::new(fault.kind, fault.message);
                return result.clone().map_err(failed);
            }
            if reports.running {
                reports = self.reported.wait(reports).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            reports.running = true;
            reports.begun += 1;
            let number = reports.begun;
            drop(reports);
            let printed = self.lvm.run(&report::words(&self.name));
            let result = printed.and_then(|printed| Group::parse(&printed));
            reports = self.reports();
            reports.running = false;
            reports.last = Some((number, result.map(Arc::new).map_err(|e| e.to_fault())));
            self.reported.notify_all();
        }
    }
}

/// One pool.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) config: LvmPoolConfig,
    pub(super) group: Arc<VolumeGroup>,
    pub(super) lvm: Arc<dyn Lvm>,
    pub(super) turns: Turns<VolumeId>,
    /// Thin pools of the group that are other pools of ours.
    pub(super) others: Vec<String>,
    /// Whether what is ours and in no thin pool is this pool's.
    pub(super) takes_thick: bool,
    pub(super) known_by: Option<SharedNotes>,
}

impl Pool {
    /// What is there, if it is the pool.
    pub(super) fn look(&self) -> Result<Arc<Group>, DriverError> {
        let group = self.group.report()?;
        let id = match &self.config.thin_pool {
            None => group.uuid.clone(),
            Some(_) => self.thin_pool(&group)?.uuid.clone(),
        };
        let Some(notes) = &self.known_by else { return Ok(group) };
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        let name = &self.config.pool.name;
        match notes.of(name) {
            Some(known) if known == id => Ok(group),
            Some(known) => {
                let doing = format!(
                    "{} has uuid {id}, and pool {name} was {known} before: attach the disks that \
                     belong there. If those are lost for good and the pool shall begin anew here, \
                     take it out of {} and restart",
                    self.place(),
                    notes.file().display()
                );
                Err(DriverError::new(FaultKind::Broken, doing))
            }
            None => {
                let doing = || format!("noting which volume group pool {name} is");
                notes.add(name, &id).map_err(|error| DriverError::from_io(doing(), error))?;
                Ok(group)
            }
        }
    }

    /// The pool in lvm's words.
    fn place(&self) -> String {
        let group = &self.config.volume_group;
        match &self.config.thin_pool {
            None => format!("the volume group {group}"),
            Some(thin) => format!("the thin pool {group}/{thin}"),
        }
    }

    /// The thin pool, which must be one that does not show what others wrote before.
    pub(super) fn thin_pool<'g>(&self, group: &'g Group) -> Result<&'g LogicalVolume, DriverError> {
        let (vg, name) = (&self.config.volume_group, self.config.thin_pool.as_deref());
        let name = name.unwrap_or_default();
        group.named(name).filter(|volume| volume.is_thin_pool()).ok_or_else(|| {
            let doing = format!(
                "there is no thin pool {name} in the volume group {vg}: make it with lvcreate \
                 --type thin-pool -L SIZE -n {name} {vg}, or take thinPool out of the driver's file"
            );
            DriverError::new(FaultKind::Broken, doing)
        })
    }

    /// What the pool offers.
    pub(super) fn spec(&self) -> Result<PoolSpec, DriverError> {
        let group = self.look()?;
        if group.missing > 0 {
            let (count, place) = (group.missing, self.place());
            let doing = format!("{count} disks of {place} are missing (pvs, vgs)");
            return Err(DriverError::new(FaultKind::Broken, doing));
        }
        let mine = group.volumes.iter().filter(|volume| self.has(volume));
        let (total, usable) = match self.config.thin_pool {
            None => {
                let ours = mine.filter(|volume| volume.role() != Role::Foreign);
                let used = ours.fold(Capacity::ZERO, |sum, volume| sum.plus(volume.size));
                (group.size, group.free.plus(used).min(group.size))
            }
            Some(_) => {
                let thin = self.thin_pool(&group)?;
                self.check_health(thin)?;
                let theirs = mine.filter(|volume| volume.role() == Role::Foreign);
                let theirs = theirs.fold(Capacity::ZERO, |sum, volume| sum.plus(volume.size));
                let ratio = self.config.over_subscription;
                (thin.size.times(ratio), thin.size.times(ratio).minus(theirs))
            }
        };
        Ok(self.config.pool.spec(total, usable))
    }

    /// Whether new volumes may be made in the thin pool.
    pub(super) fn check_health(&self, thin: &LogicalVolume) -> Result<(), DriverError> {
        let place = self.place();
        if !thin.zeroes() {
            let doing = format!(
                "{place} does not zero blocks before their first use, so that volumes would show \
                 what others wrote before: lvchange --zero y {}/{}",
                self.config.volume_group, thin.name
            );
            return Err(DriverError::new(FaultKind::Broken, doing));
        }
        if !thin.health.is_empty() {
            let health = &thin.health;
            let doing = format!("{place} is not well, says lvm: {health} (extend or repair it)");
            return Err(DriverError::new(FaultKind::Broken, doing));
        }
        if thin.filled >= 100.0 {
            let doing = format!("{place} is full: lvextend it");
            return Err(DriverError::new(FaultKind::NoSpace, doing));
        }
        Ok(())
    }

    /// Whether a logical volume of the group belongs to this pool.
    fn has(&self, volume: &LogicalVolume) -> bool {
        if self.config.thin_pool.as_deref() == Some(&*volume.pool) {
            return true;
        }
        let is_pool = self.others.contains(&volume.name)
            || self.config.thin_pool.as_deref() == Some(&*volume.name);
        if self.others.contains(&volume.pool) || is_pool || !self.takes_thick {
            return false;
        }
        self.config.thin_pool.is_none() || volume.role() != Role::Foreign
    }

    /// Everything in the pool.
    pub(super) fn list(&self) -> Result<Vec<PoolEntry>, DriverError> {
        let group = self.look()?;
        let mut entries = Vec::new();
        for volume in group.volumes.iter().filter(|volume| self.has(volume)) {
            let name = match volume.role() {
                Role::Volume(_, State::Deleted) | Role::Copying(_) | Role::Growing(_) => continue,
                Role::Volume(id, State::Making | State::Whole) => EntryName::Volume(id),
                Role::Snapshot(id, snapshot) => EntryName::Snapshot(id, snapshot),
                Role::Foreign => EntryName::Foreign(volume.name.clone()),
            };
            entries.push(PoolEntry { name, size: volume.content() });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    /// The size of a volume that is made.
    pub(super) fn find(&self, volume: VolumeId) -> Result<Option<Capacity>, DriverError> {
        let group = self.look()?;
        Ok(group.volume(volume)?.and_then(|(found, state)| match state {
            State::Whole => Some(found.size),
            State::Making | State::Deleted => None,
        }))
    }

    /// A volume that is made.
    pub(super) fn whole<'g>(
        &self,
        group: &'g Group,
        volume: VolumeId,
    ) -> Result<&'g LogicalVolume, DriverError> {
        match group.volume(volume)? {
            Some((found, State::Whole)) => Ok(found),
            Some((_, State::Making | State::Deleted)) | None => {
                let doing = format!("there is no volume {volume} in {}", self.place());
                Err(DriverError::new(FaultKind::Gone, doing))
            }
        }
    }

    /// The volume's blocks.
    pub(super) fn open(&self, volume: VolumeId) -> Result<BlockSource, DriverError> {
        let group = self.look()?;
        let found = self.whole(&group, volume)?;
        if found.tag(report::VOLUME).is_none() {
            self.own(found, volume)?;
        }
        let (found, file) = self.device(found, false)?;
        Ok(BlockSource::of_device(file, found.blocks(), found.path.clone(), found.size))
    }

    /// Opens its device, which is made active if it is not.
    pub(super) fn device(
        &self,
        volume: &LogicalVolume,
        alone: bool,
    ) -> Result<(LogicalVolume, File), DriverError> {
        if volume.device.is_some() {
            return Ok((volume.clone(), self.lvm.open(volume, alone)?));
        }
        self.change(&["lvchange", "-y", "-ay", "-K", &self.path(volume)])?;
        let group = self.look()?;
        let found = group.volumes.iter().find(|found| found.uuid == volume.uuid);
        let found = found.ok_or_else(|| {
            let doing = format!("{} went while it was made active", volume.path.display());
            DriverError::new(FaultKind::Temporary, doing)
        })?;
        Ok((found.clone(), self.lvm.open(found, alone)?))
    }

    /// Puts our tag on what the original has made.
    pub(super) fn own(&self, found: &LogicalVolume, volume: VolumeId) -> Result<(), DriverError> {
        let tag = format!("{}{volume}", report::VOLUME);
        self.change(&["lvchange", "--addtag", &tag, &self.path(found)])
    }

    /// What lvm calls it.
    pub(super) fn path(&self, volume: &LogicalVolume) -> String {
        format!("{}/{}", self.config.volume_group, volume.name)
    }

    /// Runs a command that changes something.
    pub(super) fn change(&self, words: &[&str]) -> Result<(), DriverError> {
        let takes_space = words.first() == Some(&"lvcreate");
        let _turn = takes_space.then(|| self.group.space());
        self.lvm.run(words).map(drop)
    }
}

/// Which group each pool is, in one file for all pools.
pub(super) type SharedNotes = Arc<Mutex<Notes>>;

/// The notes in this file.
pub(super) fn notes(file: &Path) -> Result<SharedNotes, DriverError> {
    let failed = |error| {
        let doing = format!("reading {}, which says which pools there are", file.display());
        DriverError::from_io(doing, error)
    };
    Ok(Arc::new(Mutex::new(Notes::read(file).map_err(failed)?)))
}
