//! Volumes as logical volumes: each pool is a volume group, or a thin pool in one.
//!
//! Nothing is kept in memory: lvm's report is the truth, and tags on the disk say whose a logical
//! volume is and how far it is made. A volume never shows what was on the disk before: a thick one is
//! zeroed before it counts, and a thin pool has to zero blocks before their first use. A snapshot is
//! LVM's own: the kernel holds all I/O while it is taken, so no target has to hold writes for it.

mod changes;
mod command;
mod device;
mod pool;
mod report;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use osds_model::{Capacity, FaultKind, SnapshotId, Source, VolumeId};

use self::command::{Lvm, Programs};
use self::pool::{Pool, VolumeGroup};
use self::report::Role;
use super::turns::Turns;
use crate::config::LvmConfig;
use crate::thread::in_thread;
use crate::{
    BlockSource, DriverError, Hold, PoolEntry, PoolReport, SnapshotFacts, StorageDriver,
    VolumeFacts,
};

/// The LVM driver.
#[derive(Clone, Debug)]
pub struct LvmStorage {
    pools: Arc<[Arc<Pool>]>,
}

impl LvmStorage {
    /// Serves these pools.
    #[must_use]
    pub fn new(config: LvmConfig) -> Self {
        Self::with(config, &programs(), None)
    }

    /// The same, but a pool that was used before must be the one that it was: the uuid of its group
    /// is noted in `notes` at its first use, and no other is taken for it.
    ///
    /// # Errors
    /// The notes cannot be read.
    pub fn with_notes(config: LvmConfig, notes: &Path) -> Result<Self, DriverError> {
        Ok(Self::with(config, &programs(), Some(&pool::notes(notes)?)))
    }

    fn with(config: LvmConfig, lvm: &Arc<dyn Lvm>, notes: Option<&pool::SharedNotes>) -> Self {
        let mut groups: BTreeMap<String, Arc<VolumeGroup>> = BTreeMap::new();
        let all = config.pools.clone();
        let pool = |(index, config): (usize, crate::config::LvmPoolConfig)| {
            let name = &config.volume_group;
            let beside = |at: usize| at != index && all[at].volume_group == *name;
            let others = (0..all.len()).filter(|at| beside(*at));
            let others = others.filter_map(|at| all[at].thin_pool.clone()).collect();
            // What is thick is of the thick pool; where there is none, of the first.
            let mut of_group = all.iter().enumerate().filter(|(_, one)| one.volume_group == *name);
            let first = of_group.clone().next().map(|(at, _)| at);
            let thick = of_group.find(|(_, one)| one.thin_pool.is_none()).map(|(at, _)| at);
            let group = groups
                .entry(name.clone())
                .or_insert_with(|| Arc::new(VolumeGroup::new(name.clone(), Arc::clone(lvm))));
            Arc::new(Pool {
                group: Arc::clone(group),
                lvm: Arc::clone(lvm),
                turns: Turns::default(),
                others,
                takes_thick: thick.or(first) == Some(index),
                known_by: notes.cloned(),
                config,
            })
        };
        Self { pools: config.pools.into_iter().enumerate().map(pool).collect() }
    }

    async fn in_pool<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Pool) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let pool = self.pools.iter().find(|pool| pool.config.pool.name == name);
        let Some(pool) = pool.cloned() else {
            let doing = format!("there is no pool {name} in the configuration of the LVM driver");
            return Err(DriverError::new(FaultKind::Broken, doing));
        };
        in_thread(move || work(&pool)).await
    }
}

fn programs() -> Arc<dyn Lvm> {
    Arc::new(Programs::default())
}

#[async_trait]
impl StorageDriver for LvmStorage {
    fn name(&self) -> &'static str {
        "lvm"
    }

    async fn pools(&self) -> Vec<PoolReport> {
        let mut reports = Vec::new();
        for pool in &*self.pools {
            let name = pool.config.pool.name.clone();
            let pool = Arc::clone(pool);
            let spec = in_thread(move || pool.spec()).await;
            reports.push(PoolReport { name, spec });
        }
        reports
    }

    async fn find(&self, pool: &str, volume: VolumeId) -> Result<Option<VolumeFacts>, DriverError> {
        self.in_pool(pool, move |pool| Ok(pool.find(volume)?.map(facts))).await
    }

    async fn create(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
    ) -> Result<VolumeFacts, DriverError> {
        self.in_pool(pool, move |pool| pool.create(volume, size).map(facts)).await
    }

    async fn extend(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
    ) -> Result<VolumeFacts, DriverError> {
        self.in_pool(pool, move |pool| pool.extend(volume, size).map(facts)).await
    }

    async fn delete(&self, pool: &str, volume: VolumeId) -> Result<(), DriverError> {
        self.in_pool(pool, move |pool| pool.delete(volume)).await
    }

    async fn open(&self, pool: &str, volume: VolumeId) -> Result<BlockSource, DriverError> {
        self.in_pool(pool, move |pool| pool.open(volume)).await
    }

    async fn create_copy(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
        source: Source,
        hold: Hold,
    ) -> Result<VolumeFacts, DriverError> {
        self.in_pool(pool, move |pool| pool.create_copy(volume, size, source, hold).map(facts))
            .await
    }

    async fn snapshot(
        &self,
        pool: &str,
        volume: VolumeId,
        snapshot: SnapshotId,
        hold: Hold,
    ) -> Result<(), DriverError> {
        self.in_pool(pool, move |pool| pool.snapshot(volume, snapshot, hold)).await
    }

    async fn delete_snapshot(
        &self,
        pool: &str,
        volume: VolumeId,
        snapshot: SnapshotId,
    ) -> Result<(), DriverError> {
        self.in_pool(pool, move |pool| pool.delete_snapshot(volume, snapshot)).await
    }

    async fn snapshots(
        &self,
        pool: &str,
        volume: VolumeId,
        of: &[SnapshotId],
    ) -> Result<BTreeMap<SnapshotId, SnapshotFacts>, DriverError> {
        let of = of.to_vec();
        let find = move |pool: &Pool| {
            let group = pool.look()?;
            let mut found = BTreeMap::new();
            for id in of {
                let mut one = group.of_role(Role::Snapshot(volume, id));
                if let Some(one) = one.next().filter(|one| !one.is_lost()) {
                    found.insert(id, SnapshotFacts { whole: Some(one.content()) });
                }
            }
            Ok(found)
        };
        self.in_pool(pool, find).await
    }

    async fn list(&self, pool: &str) -> Result<Vec<PoolEntry>, DriverError> {
        self.in_pool(pool, Pool::list).await
    }
}

fn facts(size: Capacity) -> VolumeFacts {
    VolumeFacts { size }
}

#[cfg(test)]
mod tests;
