//! Storage in memory: each volume is a memory file, so that real bytes can be written and read.
//!
//! Pools are made, broken and robbed by the test; what a pool promises is held as strictly as on a
//! disk: no more than `usable`, zeros where nobody wrote, the same bytes for every handle.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use osds_model::pool::{PoolExtras, PoolSpec};
use osds_model::{Capacity, FaultKind, SnapshotId, Source, VolumeId};
use rustix::fs::MemfdFlags;

use super::{FaultPlan, Op};
use crate::storage::copy;
use crate::{
    BlockSource, DriverError, EntryName, Hold, PoolEntry, PoolReport, SnapshotFacts, StorageDriver,
    VolumeFacts,
};

/// Storage in memory. Clones are handles on one backend.
#[derive(Clone, Debug, Default)]
pub struct FakeStorage {
    pools: Arc<Mutex<BTreeMap<String, FakePool>>>,
    /// What goes wrong.
    pub faults: FaultPlan,
}

#[derive(Debug)]
struct FakePool {
    spec: PoolSpec,
    broken: Option<FaultKind>,
    volumes: BTreeMap<VolumeId, Blocks>,
    snapshots: BTreeMap<(VolumeId, SnapshotId), Blocks>,
    foreign: BTreeMap<String, Capacity>,
}

#[derive(Debug)]
struct Blocks {
    file: File,
    size: Capacity,
}

impl FakeStorage {
    /// Storage with one empty pool of this size that allows multi-attach.
    #[must_use]
    pub fn with_pool(name: &str, size: Capacity) -> Self {
        let storage = Self::default();
        storage.add_pool(PoolSpec {
            name: name.to_owned(),
            description: String::new(),
            storage_type: "block".to_owned(),
            availability_zone: "default".to_owned(),
            multi_attach: true,
            total: size,
            usable: size,
            extras: PoolExtras::default(),
        });
        storage
    }

    /// Adds an empty pool, or changes what a pool says of itself.
    pub fn add_pool(&self, spec: PoolSpec) {
        let mut pools = self.pools();
        match pools.get_mut(&spec.name) {
            Some(pool) => pool.spec = spec,
            None => {
                let name = spec.name.clone();
                let (volumes, snapshots, foreign) = Default::default();
                pools.insert(name, FakePool { spec, broken: None, volumes, snapshots, foreign });
            }
        }
    }

    /// From now on the pool is reported as broken (or, with `None`, well again).
    pub fn break_pool(&self, pool: &str, kind: Option<FaultKind>) {
        if let Some(pool) = self.pools().get_mut(pool) {
            pool.broken = kind;
        }
    }

    /// Removes a volume behind the driver's back; whether it was there.
    pub fn lose(&self, pool: &str, volume: VolumeId) -> bool {
        self.pools().get_mut(pool).is_some_and(|pool| pool.volumes.remove(&volume).is_some())
    }

    /// Removes a snapshot behind the driver's back; whether it was there.
    pub fn lose_snapshot(&self, pool: &str, volume: VolumeId, snapshot: SnapshotId) -> bool {
        let mut pools = self.pools();
        pools.get_mut(pool).is_some_and(|p| p.snapshots.remove(&(volume, snapshot)).is_some())
    }

    /// Puts something that is not ours into a pool.
    pub fn add_foreign(&self, pool: &str, name: &str, size: Capacity) {
        if let Some(pool) = self.pools().get_mut(pool) {
            pool.foreign.insert(name.to_owned(), size);
        }
    }

    fn pools(&self) -> MutexGuard<'_, BTreeMap<String, FakePool>> {
        self.pools.lock().expect("no fake pool panics while it is held")
    }

    async fn in_pool<T>(
        &self,
        op: Op,
        name: &str,
        effect: impl FnOnce(&mut FakePool) -> Result<T, DriverError> + Send,
    ) -> Result<T, DriverError> {
        let in_pool = || {
            let mut pools = self.pools();
            let pool = pools.get_mut(name).ok_or_else(|| {
                DriverError::new(FaultKind::Broken, format!("there is no pool {name}"))
            })?;
            match pool.broken {
                Some(kind) => Err(DriverError::new(kind, format!("pool {name} is broken"))),
                None => effect(pool),
            }
        };
        self.faults.call(op, in_pool).await
    }
}

impl FakePool {
    fn volume(&mut self, id: VolumeId) -> Result<&mut Blocks, DriverError> {
        let gone = || DriverError::new(FaultKind::Gone, format!("there is no volume {id}"));
        self.volumes.get_mut(&id).ok_or_else(gone)
    }

    fn used(&self) -> Capacity {
        let all = self.volumes.values().chain(self.snapshots.values());
        all.fold(Capacity::ZERO, |sum, blocks| sum.plus(blocks.size))
    }

    /// A copy of a volume or a snapshot.
    fn copy(&mut self, of: Source, mut hold: Hold) -> Result<Blocks, DriverError> {
        let doing = format!("copying volume {}", of.volume);
        let blocks = match of.snapshot {
            None => self.volume(of.volume)?,
            Some(id) => {
                let gone =
                    || DriverError::new(FaultKind::Gone, format!("there is no snapshot {id}"));
                self.snapshots.get_mut(&(of.volume, id)).ok_or_else(gone)?
            }
        };
        let size = blocks.size;
        let copied = memory_file(&doing)?;
        copy::byte_by_byte(&doing, &blocks.file, &copied, &hold)?;
        if !hold.release() {
            return Err(copy::too_slow(&doing));
        }
        let usable = self.spec.usable;
        if self.used().plus(size) > usable {
            let doing = format!("{doing}: the pool has {usable} in all");
            return Err(DriverError::new(FaultKind::NoSpace, doing));
        }
        Ok(Blocks { file: copied, size })
    }

    fn grow(&mut self, id: VolumeId, size: Capacity) -> Result<VolumeFacts, DriverError> {
        let all = self.used();
        let usable = self.spec.usable;
        let blocks = self.volume(id)?;
        if blocks.size < size {
            if all.minus(blocks.size).plus(size) > usable {
                let doing = format!("growing volume {id} to {size}: the pool has {usable} in all");
                return Err(DriverError::new(FaultKind::NoSpace, doing));
            }
            let set = blocks.file.set_len(size.bytes());
            set.map_err(|error| DriverError::from_io(format!("growing volume {id}"), error))?;
            blocks.size = size;
        }
        Ok(VolumeFacts { size: blocks.size })
    }
}

fn memory_file(doing: &str) -> Result<File, DriverError> {
    let file = rustix::fs::memfd_create("osds-fake", MemfdFlags::CLOEXEC);
    file.map(File::from).map_err(|error| DriverError::from_io(doing, error))
}

#[async_trait]
impl StorageDriver for FakeStorage {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn pools(&self) -> Vec<PoolReport> {
        let report = || {
            let report = |(name, pool): (&String, &FakePool)| {
                let spec = match pool.broken {
                    Some(kind) => {
                        Err(DriverError::new(kind, format!("reading pool {name}, as planned")))
                    }
                    None => Ok(pool.spec.clone()),
                };
                PoolReport { name: name.clone(), spec }
            };
            Ok(self.pools().iter().map(report).collect())
        };
        self.faults.call(Op::Pools, report).await.unwrap_or_default()
    }

    async fn find(&self, pool: &str, volume: VolumeId) -> Result<Option<VolumeFacts>, DriverError> {
        let find = |pool: &mut FakePool| {
            Ok(pool.volumes.get(&volume).map(|blocks| VolumeFacts { size: blocks.size }))
        };
        self.in_pool(Op::Find, pool, find).await
    }

    async fn create(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
    ) -> Result<VolumeFacts, DriverError> {
        let create = |pool: &mut FakePool| {
            let fresh = !pool.volumes.contains_key(&volume);
            if fresh {
                let file = memory_file(&format!("making volume {volume}"))?;
                let blocks = Blocks { file, size: Capacity::ZERO };
                pool.volumes.insert(volume, blocks);
            }
            let grown = pool.grow(volume, size);
            if fresh && grown.is_err() {
                pool.volumes.remove(&volume);
            }
            grown
        };
        self.in_pool(Op::Create, pool, create).await
    }

    async fn extend(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
    ) -> Result<VolumeFacts, DriverError> {
        self.in_pool(Op::Extend, pool, |pool| pool.grow(volume, size)).await
    }

    async fn delete(&self, pool: &str, volume: VolumeId) -> Result<(), DriverError> {
        let delete = |pool: &mut FakePool| {
            pool.volumes.remove(&volume);
            Ok(())
        };
        self.in_pool(Op::Delete, pool, delete).await
    }

    async fn create_copy(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
        source: Source,
        hold: Hold,
    ) -> Result<VolumeFacts, DriverError> {
        let create = |pool: &mut FakePool| {
            let fresh = !pool.volumes.contains_key(&volume);
            if fresh {
                let blocks = pool.copy(source, hold)?;
                pool.volumes.insert(volume, blocks);
            }
            let grown = pool.grow(volume, size);
            if fresh && grown.is_err() {
                pool.volumes.remove(&volume);
            }
            grown
        };
        self.in_pool(Op::CreateCopy, pool, create).await
    }

    async fn snapshot(
        &self,
        pool: &str,
        volume: VolumeId,
        snapshot: SnapshotId,
        hold: Hold,
    ) -> Result<(), DriverError> {
        let take = |pool: &mut FakePool| {
            if !pool.snapshots.contains_key(&(volume, snapshot)) {
                let blocks = pool.copy(Source { volume, snapshot: None }, hold)?;
                pool.snapshots.insert((volume, snapshot), blocks);
            }
            Ok(())
        };
        self.in_pool(Op::Snapshot, pool, take).await
    }

    async fn delete_snapshot(
        &self,
        pool: &str,
        volume: VolumeId,
        snapshot: SnapshotId,
    ) -> Result<(), DriverError> {
        let delete = |pool: &mut FakePool| {
            pool.snapshots.remove(&(volume, snapshot));
            Ok(())
        };
        self.in_pool(Op::DeleteSnapshot, pool, delete).await
    }

    async fn snapshots(
        &self,
        pool: &str,
        volume: VolumeId,
        of: &[SnapshotId],
    ) -> Result<BTreeMap<SnapshotId, SnapshotFacts>, DriverError> {
        let find = |pool: &mut FakePool| {
            let facts = |id: &SnapshotId| {
                let blocks = pool.snapshots.get(&(volume, *id))?;
                Some((*id, SnapshotFacts { whole: Some(blocks.size) }))
            };
            Ok(of.iter().filter_map(facts).collect())
        };
        self.in_pool(Op::Snapshots, pool, find).await
    }

    async fn open(&self, pool: &str, volume: VolumeId) -> Result<BlockSource, DriverError> {
        let open = |pool: &mut FakePool| {
            let blocks = pool.volume(volume)?;
            let path = format!("/proc/self/fd/{}", blocks.file.as_raw_fd()).into();
            let file = blocks.file.try_clone();
            let file = file
                .map_err(|error| DriverError::from_io(format!("opening volume {volume}"), error))?;
            Ok(BlockSource::of_file(file, path, blocks.size))
        };
        self.in_pool(Op::Open, pool, open).await
    }

    async fn list(&self, pool: &str) -> Result<Vec<PoolEntry>, DriverError> {
        let list = |pool: &mut FakePool| {
            let ours = pool
                .volumes
                .iter()
                .map(|(id, blocks)| PoolEntry { name: EntryName::Volume(*id), size: blocks.size });
            let foreign = pool.foreign.iter().map(|(name, size)| PoolEntry {
                name: EntryName::Foreign(name.clone()),
                size: *size,
            });
            let snapshots = pool.snapshots.iter().map(|((volume, id), blocks)| PoolEntry {
                name: EntryName::Snapshot(*volume, *id),
                size: blocks.size,
            });
            Ok(ours.chain(snapshots).chain(foreign).collect())
        };
        self.in_pool(Op::List, pool, list).await
    }
}
