//! Huawei FusionStorage: volumes on an array, made and deleted over its REST service.
//!
//! A volume is called `opensds-<id>`, as the original calls it, so that what the original made is
//! found; pools go by the array's numbers. The array is the truth: nothing is remembered here but
//! the session. Blocks never come to this machine: [`StorageDriver::open`] names a unit of the
//! array, and the array's own target exports it.
//!
//! Must stay true: an order whose answer was lost is looked for before it is given again; a volume
//! that some host still reaches is never deleted.

mod array;
mod copies;
mod rest;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use osds_model::{Capacity, FaultKind, SnapshotId, Source, VolumeId};

pub(crate) use self::array::{Array, ArrayVolume, Portal};
use self::rest::Rest;
pub(crate) use self::rest::RestError;
use crate::config::{FusionStorageConfig, PoolConfig};
use crate::thread::in_thread;
use crate::{
    BlockSource, Blocks, DriverError, EntryName, Hold, PoolEntry, PoolReport, SnapshotFacts,
    StorageDriver, VolumeFacts,
};

pub use self::rest::Patience;

/// Volumes on an array. Clones share one session.
#[derive(Clone)]
pub struct FusionStorage {
    inner: Arc<Inner>,
}

struct Inner {
    array: Array,
    pools: Vec<(u32, PoolConfig)>,
    /// Volumes that are being made as copies of others, here and now.
    copying: Mutex<HashSet<VolumeId>>,
}

impl FusionStorage {
    /// A driver for this array, which is not asked anything yet. The password is in clear: who reads
    /// the file has opened it.
    ///
    /// # Errors
    /// The certificates cannot be read, or a pool's name is not a number of the array's.
    pub fn new(config: &FusionStorageConfig, patience: Patience) -> Result<Self, DriverError> {
        let numbered = |pool: &PoolConfig| match pool.name.parse() {
            Ok(id) => Ok((id, pool.clone())),
            Err(error) => {
                let doing = format!(
                    "pool {} is none of the array's: write its number there instead, such as 0:",
                    pool.name
                );
                Err(DriverError::new(FaultKind::Broken, doing).because(error))
            }
        };
        let pools = config.pools.iter().map(numbered).collect::<Result<_, _>>()?;
        let array = Array { rest: Rest::new(config, patience)? };
        Ok(Self { inner: Arc::new(Inner { array, pools, copying: Mutex::default() }) })
    }

    /// Asks the array on a thread that may wait.
    pub(crate) async fn on_array<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Array) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let inner = Arc::clone(&self.inner);
        in_thread(move || work(&inner.array)).await
    }

    /// The same for a pool of the configuration.
    async fn in_pool<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&Inner, u32) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let Some((id, _)) = self.inner.pools.iter().find(|(_, pool)| pool.name == name) else {
            let doing = format!("there is no pool {name} in the configuration of the array");
            return Err(DriverError::new(FaultKind::Broken, doing));
        };
        let (inner, id) = (Arc::clone(&self.inner), *id);
        in_thread(move || work(&inner, id)).await
    }
}

/// The array's name for a volume.
pub(crate) fn name_of(volume: VolumeId) -> String {
    format!("opensds-{volume}")
}

/// Whose name it is, if it is one of ours.
pub(crate) fn volume_of(name: &str) -> Option<VolumeId> {
    let volume = name.strip_prefix("opensds-")?.parse().ok()?;
    // Only as we write it: two names must not be one volume.
    (name_of(volume) == name).then_some(volume)
}

impl Inner {
    fn find(&self, volume: VolumeId) -> Result<Option<ArrayVolume>, DriverError> {
        let name = name_of(volume);
        self.array.volume(&name).map_err(|e| e.while_doing(format!("looking for {name}")))
    }

    fn create(
        &self,
        pool: u32,
        volume: VolumeId,
        size: Capacity,
    ) -> Result<VolumeFacts, DriverError> {
        let name = name_of(volume);
        let doing = format!("creating {name} of {size} in pool {pool}");
        if self.find(volume)?.is_none() {
            self.check_room(pool, size, &doing)?;
            if let Err(error) = self.array.create(&name, size, pool)
                // Its answer may have been lost, or another call was quicker.
                && self.find(volume)?.is_none()
            {
                return Err(self.refused(pool, size, error, doing));
            }
        }
        self.grow(pool, volume, size, &doing)
    }

    fn grow(
        &self,
        pool: u32,
        volume: VolumeId,
        size: Capacity,
        doing: &str,
    ) -> Result<VolumeFacts, DriverError> {
        let gone =
            || DriverError::new(FaultKind::Gone, doing).because("the array has no such volume");
        let found = self.find(volume)?.ok_or_else(gone)?;
        if found.size >= size {
            return Ok(VolumeFacts { size: found.size });
        }
        self.check_room(pool, size, doing)?;
        let expanded = self.array.expand(&found.name, size);
        // Read back, whatever it said.
        let now = self.find(volume)?.ok_or_else(gone)?.size;
        match expanded {
            _ if now >= size => Ok(VolumeFacts { size: now }),
            Err(error) => Err(self.refused(pool, size.minus(now), error, doing.to_owned())),
            Ok(()) => {
                let error = DriverError::new(FaultKind::Broken, doing);
                Err(error.because(format!("the array says that it did, and it has {now}")))
            }
        }
    }

    /// What can never fit is not tried.
    fn check_room(&self, pool: u32, size: Capacity, doing: &str) -> Result<(), DriverError> {
        let pools = self.array.pools().map_err(|error| error.while_doing(doing))?;
        match pools.iter().find(|one| one.id == pool) {
            Some(one) if size > one.total => Err(DriverError::new(FaultKind::NoSpace, doing)
                .because(format!("pool {pool} has {} in all", one.total))),
            Some(_) => Ok(()),
            None => Err(DriverError::new(FaultKind::Broken, doing)
                .because(format!("the array has no pool {pool}"))),
        }
    }

    /// A refusal of which the number says nothing, where there is no room for what was asked, is
    /// for want of room.
    fn refused(&self, pool: u32, more: Capacity, error: RestError, doing: String) -> DriverError {
        let room = |of: &array::ArrayPool| of.id == pool && of.total.minus(of.taken) < more;
        let is_full = matches!(error, RestError::Refused { .. })
            && self.array.pools().is_ok_and(|pools| pools.iter().any(room));
        let mut error = error.while_doing(doing);
        if is_full {
            error.kind = FaultKind::NoSpace;
        }
        error
    }

    fn delete(&self, volume: VolumeId) -> Result<(), DriverError> {
        let (name, array) = (name_of(volume), &self.array);
        let failed = |error: RestError| error.while_doing(format!("deleting {name}"));
        if self.find(volume)?.is_none() {
            return Ok(());
        }
        let hosts = array.hosts_of(&name).map_err(failed)?;
        if let Some((host, _)) = hosts.first() {
            let doing = format!(
                "deleting {name}: the array still lets host {host} in; unmap it there if it is none \
                 of ours"
            );
            return Err(DriverError::new(FaultKind::InUse, doing));
        }
        array.delete(&name).map_err(failed)
    }

    fn pools(&self) -> Vec<PoolReport> {
        let found = self.array.pools();
        let report = |(id, pool): &(u32, PoolConfig)| {
            let doing = format!("looking at pool {id} of the array");
            let spec = match &found {
                Err(error) => Err(DriverError::new(error.kind(), doing).because(error.to_string())),
                Ok(found) => match found.iter().find(|found| found.id == *id) {
                    None => Err(DriverError::new(FaultKind::Broken, doing).because(
                        "the array has no such pool; correct its number in the driver YAML",
                    )),
                    // What others have is not ours to give; what we have is counted elsewhere.
                    Some(found) => self.ours(*id).map(|ours| {
                        let usable = found.total.minus(found.taken.minus(ours));
                        pool.spec(found.total, usable)
                    }),
                },
            };
            PoolReport { name: pool.name.clone(), spec }
        };
        self.pools.iter().map(report).collect()
    }

    /// How large our volumes in the pool are together.
    fn ours(&self, pool: u32) -> Result<Capacity, DriverError> {
        let ours =
            self.volumes(pool)?.into_iter().filter(|volume| volume_of(&volume.name).is_some());
        Ok(ours.fold(Capacity::ZERO, |sum, volume| sum.plus(volume.size)))
    }

    fn volumes(&self, pool: u32) -> Result<Vec<ArrayVolume>, DriverError> {
        let doing = || format!("listing the volumes of pool {pool}");
        self.array.volumes(pool).map_err(|error| error.while_doing(doing()))
    }

    fn list(&self, pool: u32) -> Result<Vec<PoolEntry>, DriverError> {
        let entry = |volume: ArrayVolume| {
            let name = match volume_of(&volume.name) {
                Some(id) => EntryName::Volume(id),
                None => EntryName::Foreign(volume.name),
            };
            PoolEntry { name, size: volume.size }
        };
        let mut entries: Vec<_> = self.volumes(pool)?.into_iter().map(entry).collect();
        entries.extend(self.list_snapshots(pool)?);
        entries.sort();
        Ok(entries)
    }
}

#[async_trait]
impl StorageDriver for FusionStorage {
    fn name(&self) -> &'static str {
        "huawei_fusionstorage"
    }

    async fn pools(&self) -> Vec<PoolReport> {
        let inner = Arc::clone(&self.inner);
        in_thread(move || Ok(inner.pools())).await.unwrap_or_default()
    }

    async fn find(&self, pool: &str, volume: VolumeId) -> Result<Option<VolumeFacts>, DriverError> {
        let facts = |found: ArrayVolume| VolumeFacts { size: found.size };
        self.in_pool(pool, move |inner, _| Ok(inner.find(volume)?.map(facts))).await
    }

    async fn create(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
    ) -> Result<VolumeFacts, DriverError> {
        self.in_pool(pool, move |inner, pool| inner.create(pool, volume, size)).await
    }

    async fn extend(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
    ) -> Result<VolumeFacts, DriverError> {
        self.in_pool(pool, move |inner, pool| {
            let doing = format!("extending {} to {size}", name_of(volume));
            inner.grow(pool, volume, size, &doing)
        })
        .await
    }

    async fn delete(&self, pool: &str, volume: VolumeId) -> Result<(), DriverError> {
        self.in_pool(pool, move |inner, _| inner.delete(volume)).await
    }

    async fn open(&self, pool: &str, volume: VolumeId) -> Result<BlockSource, DriverError> {
        let open = move |inner: &Inner, _| {
            let found = inner.find(volume)?.ok_or_else(|| {
                let doing = format!("the array has no volume {}", name_of(volume));
                DriverError::new(FaultKind::Gone, doing)
            })?;
            let (blocks, size) = (Blocks::Unit(found.blocks), found.size);
            Ok(BlockSource { blocks, path: found.name.into(), size })
        };
        self.in_pool(pool, open).await
    }

    async fn create_copy(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
        source: Source,
        hold: Hold,
    ) -> Result<VolumeFacts, DriverError> {
        let copy = move |inner: &Inner, pool| inner.create_copy(pool, volume, size, source, hold);
        self.in_pool(pool, copy).await
    }

    async fn snapshot(
        &self,
        pool: &str,
        volume: VolumeId,
        snapshot: SnapshotId,
        hold: Hold,
    ) -> Result<(), DriverError> {
        self.in_pool(pool, move |inner, pool| inner.snapshot(pool, volume, snapshot, hold)).await
    }

    async fn delete_snapshot(
        &self,
        pool: &str,
        volume: VolumeId,
        snapshot: SnapshotId,
    ) -> Result<(), DriverError> {
        self.in_pool(pool, move |inner, _| inner.delete_snapshot(volume, snapshot)).await
    }

    async fn snapshots(
        &self,
        pool: &str,
        volume: VolumeId,
        of: &[SnapshotId],
    ) -> Result<BTreeMap<SnapshotId, SnapshotFacts>, DriverError> {
        let of = of.to_vec();
        self.in_pool(pool, move |inner, _| inner.snapshots(volume, &of)).await
    }

    async fn list(&self, pool: &str) -> Result<Vec<PoolEntry>, DriverError> {
        self.in_pool(pool, Inner::list).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_originals_and_no_volume_has_two() {
        let volume = VolumeId::from_u128(0xAB);
        let name = name_of(volume);
        assert_eq!(name, "opensds-00000000-0000-0000-0000-0000000000ab");
        assert_eq!(volume_of(&name), Some(volume));
        let compact = "opensds-000000000000000000000000000000ab".to_owned();
        for other in ["volume", "opensds-", &compact, &name.to_uppercase(), &format!("{name} ")] {
            assert_eq!(volume_of(other), None, "{other}");
        }
    }
}
