//! Volumes as sparse files: each pool is a directory, each volume the file `volume-<uuid>.img`.
//!
//! Nothing is kept in memory: the directory is the truth. A volume is always opened beneath its pool's
//! directory, never through a symbolic link, and gets its length under a name that does not count
//! yet. `Ok` means that a power cut cannot undo it. Blocks that nobody wrote are holes: they read as
//! zeros, whatever was on the disk. A snapshot is the file `volume-<uuid>.snap-<uuid>.img`: blocks
//! shared with its volume where the file system can, else a full copy without the holes, and named
//! when it is whole.

mod directory;
mod marker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use osds_model::{Capacity, FaultKind, SnapshotId, Source, VolumeId};
use rustix::io::Errno;

use self::directory::Directory;
use super::notes::Notes;
use super::turns::Turns;
use crate::config::{FileConfig, FilePoolConfig};
use crate::thread::in_thread;
use crate::{
    BlockSource, DriverError, Hold, PoolEntry, PoolReport, SnapshotFacts, StorageDriver,
    VolumeFacts,
};

/// As many volumes of a pool can be created, extended or deleted at once; calls for one volume
/// always share a lock and so come one after the other.
const STRIPES: u128 = 64;

/// The file driver.
#[derive(Clone, Debug)]
pub struct FileStorage {
    pools: Arc<[Arc<FilePool>]>,
}

#[derive(Debug)]
struct FilePool {
    config: FilePoolConfig,
    /// Why the directory could not be made when the driver started.
    not_made: Option<Errno>,
    /// What its directory is known by, and where that is noted; `None` when any directory will do.
    known_by: Option<(String, PathBuf)>,
    stripes: Vec<Mutex<()>>,
    /// The copies that are being made.
    copying: Turns<Source>,
}

impl FileStorage {
    /// Serves these pools. Directories that are missing are made now and never later: one that
    /// vanishes afterwards was unmounted or moved, and an empty new one would look like lost
    /// volumes.
    #[must_use]
    pub fn new(config: FileConfig) -> Self {
        let pool = |config: FilePoolConfig| {
            let not_made = Directory::make(&config.path).err();
            Arc::new(FilePool::new(config, not_made, None))
        };
        Self { pools: config.pools.into_iter().map(pool).collect() }
    }

    /// The same, but a pool that was used before must be found where it was: its directory is marked
    /// at its first use, the mark is noted in `notes`, and no other directory is taken for it.
    ///
    /// # Errors
    /// The notes cannot be read or written.
    pub fn with_notes(config: FileConfig, notes: &Path) -> Result<Self, DriverError> {
        let failed = |doing| {
            let doing = format!("{doing} {}, which says which pools there are", notes.display());
            move |error| DriverError::from_io(doing, error)
        };
        let mut noted = Notes::read(notes).map_err(failed("reading"))?;
        let mut pools = Vec::new();
        for config in config.pools {
            let name = config.pool.name.clone();
            let (mut not_made, mut id) = (None, noted.of(&name).map(str::to_owned));
            if id.is_none() {
                match Directory::make(&config.path).and_then(|()| marker::make(&config.path)) {
                    Ok(made) => {
                        noted.add(&name, &made).map_err(failed("writing"))?;
                        id = Some(made);
                    }
                    Err(error) => not_made = Some(error),
                }
            }
            let known_by = id.map(|id| (id, notes.to_owned()));
            pools.push(Arc::new(FilePool::new(config, not_made, known_by)));
        }
        Ok(Self { pools: pools.into() })
    }

    async fn in_pool<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&FilePool) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let pool = self.pools.iter().find(|pool| pool.config.pool.name == name);
        let Some(pool) = pool.cloned() else {
            let doing = format!("there is no pool {name} in the configuration of the file driver");
            return Err(DriverError::new(FaultKind::Broken, doing));
        };
        in_thread(move || work(&pool)).await
    }
}

#[async_trait]
impl StorageDriver for FileStorage {
    fn name(&self) -> &'static str {
        "file"
    }

    async fn pools(&self) -> Vec<PoolReport> {
        let mut reports = Vec::new();
        for pool in &*self.pools {
            let name = pool.config.pool.name.clone();
            let pool = pool.clone();
            let spec = in_thread(move || pool.spec()).await;
            reports.push(PoolReport { name, spec });
        }
        reports
    }

    async fn find(&self, pool: &str, volume: VolumeId) -> Result<Option<VolumeFacts>, DriverError> {
        self.in_pool(pool, move |pool| Ok(pool.directory()?.find(volume)?.map(facts))).await
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
        self.in_pool(pool, move |pool| {
            pool.locked(volume, || pool.directory()?.delete(alone(volume)))
        })
        .await
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
        let from = Source { volume, snapshot: None };
        let to = Source { volume, snapshot: Some(snapshot) };
        self.in_pool(pool, move |pool| pool.copy(from, to, Capacity::ZERO, hold).map(drop)).await
    }

    async fn delete_snapshot(
        &self,
        pool: &str,
        volume: VolumeId,
        snapshot: SnapshotId,
    ) -> Result<(), DriverError> {
        let of = Source { volume, snapshot: Some(snapshot) };
        self.in_pool(pool, move |pool| pool.copying.alone(of, || pool.directory()?.delete(of)))
            .await
    }

    async fn snapshots(
        &self,
        pool: &str,
        volume: VolumeId,
        of: &[SnapshotId],
    ) -> Result<BTreeMap<SnapshotId, SnapshotFacts>, DriverError> {
        let of = of.to_vec();
        let find = move |pool: &FilePool| {
            let directory = pool.directory()?;
            let mut found = BTreeMap::new();
            for id in of {
                if let Some(facts) = directory.snapshot(volume, id)? {
                    found.insert(id, facts);
                }
            }
            Ok(found)
        };
        self.in_pool(pool, find).await
    }

    async fn open(&self, pool: &str, volume: VolumeId) -> Result<BlockSource, DriverError> {
        self.in_pool(pool, move |pool| pool.directory()?.blocks(volume)).await
    }

    async fn list(&self, pool: &str) -> Result<Vec<PoolEntry>, DriverError> {
        self.in_pool(pool, |pool| pool.directory()?.list()).await
    }
}

/// The volume itself, none of its snapshots.
const fn alone(volume: VolumeId) -> Source {
    Source { volume, snapshot: None }
}

fn facts(size: Capacity) -> VolumeFacts {
    VolumeFacts { size }
}

impl FilePool {
    fn new(
        config: FilePoolConfig,
        not_made: Option<Errno>,
        known_by: Option<(String, PathBuf)>,
    ) -> Self {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Self { config, not_made, known_by, stripes, copying: Turns::default() }
    }

    fn directory(&self) -> Result<Directory, DriverError> {
        let directory = self.opened()?;
        let Some((id, notes)) = &self.known_by else { return Ok(directory) };
        let (name, path) = (&self.config.pool.name, self.config.path.display());
        let found = directory.mark().map_err(|error| {
            DriverError::from_io(format!("reading {path}/{}", marker::MARK), error)
        })?;
        if found.as_ref() == Some(id) {
            return Ok(directory);
        }
        let what = match found {
            Some(_) => "another pool's",
            None => "not marked as a pool's",
        };
        let doing = format!(
            "the directory {path} is {what}, and pool {name} was used before: mount what belongs \
             there. If that is lost for good and the pool shall begin anew there, empty, take it \
             out of {} and restart",
            notes.display()
        );
        Err(DriverError::new(FaultKind::Broken, doing))
    }

    fn opened(&self) -> Result<Directory, DriverError> {
        Directory::open(&self.config.path).map_err(|error| {
            let (name, path) = (&self.config.pool.name, self.config.path.display());
            let doing = match error {
                Errno::NOENT => format!(
                    "the directory {path} of pool {name} is not there: mount it, or make it and \
                     let the user that osds runs as write to it"
                ),
                Errno::ACCESS | Errno::PERM => format!(
                    "opening the directory {path} of pool {name}: let the user that osds runs as \
                     write to it"
                ),
                _ => format!("opening the directory {path} of pool {name}"),
            };
            let cause = self.not_made.filter(|_| error == Errno::NOENT).unwrap_or(error);
            // Not `Gone`, which would be said of a volume: nobody knows what is in there.
            DriverError::new(FaultKind::Broken, doing).because(std::io::Error::from(cause))
        })
    }

    fn spec(&self) -> Result<osds_model::pool::PoolSpec, DriverError> {
        let directory = self.directory()?;
        let space = directory.space()?;
        let total = self.config.capacity.unwrap_or(space.size);
        let usable = space.free.plus(directory.used_by_volumes()?).min(total);
        let ratio = self.config.over_subscription;
        Ok(self.config.pool.spec(total.times(ratio), usable.times(ratio)))
    }

    fn create(&self, volume: VolumeId, size: Capacity) -> Result<Capacity, DriverError> {
        self.locked(volume, || {
            let directory = self.directory()?;
            self.check_room(&directory, volume, size)?;
            match directory.find(volume)? {
                Some(_) => directory.grow(volume, size),
                None => directory.create(volume, size).map(|()| size),
            }
        })
    }

    fn create_copy(
        &self,
        volume: VolumeId,
        size: Capacity,
        source: Source,
        hold: Hold,
    ) -> Result<Capacity, DriverError> {
        self.check_room(&self.directory()?, volume, size)?;
        let made = self.copy(source, alone(volume), size, hold)?;
        if made >= size { Ok(made) } else { self.extend(volume, size) }
    }

    /// Not under a lock of the stripes: it may take long, and others must not wait for it.
    fn copy(
        &self,
        from: Source,
        to: Source,
        size: Capacity,
        hold: Hold,
    ) -> Result<Capacity, DriverError> {
        self.copying.alone(to, || self.directory()?.copy(from, to, size, hold))
    }

    fn extend(&self, volume: VolumeId, size: Capacity) -> Result<Capacity, DriverError> {
        self.locked(volume, || {
            let directory = self.directory()?;
            self.check_room(&directory, volume, size)?;
            directory.grow(volume, size)
        })
    }

    /// A sparse file takes any length; one that can never be filled is refused here. What the
    /// volumes of the pool take together is the controller's account.
    fn check_room(
        &self,
        directory: &Directory,
        volume: VolumeId,
        size: Capacity,
    ) -> Result<(), DriverError> {
        let total = match self.config.capacity {
            Some(capacity) => capacity,
            None => directory.space()?.size,
        };
        if size <= total {
            return Ok(());
        }
        let name = &self.config.pool.name;
        let doing =
            format!("volume {volume} shall have {size}, and pool {name} has {total} in all");
        Err(DriverError::new(FaultKind::NoSpace, doing))
    }

    fn locked<T>(&self, volume: VolumeId, work: impl FnOnce() -> T) -> T {
        let stripe = usize::try_from(volume.0.as_u128() % STRIPES).expect("less than 64");
        // The lock guards the directory, not memory: a panic leaves nothing half-changed in it.
        let _guard = self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }
}

#[cfg(test)]
mod tests;
